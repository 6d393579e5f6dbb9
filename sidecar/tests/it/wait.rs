//! The container's main process, in a PID namespace of its own.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::session::ended;

/// `unshare` gives a PID namespace and its own /proc, so that the sidecar is PID 1 there; that takes root.
fn namespace(script: &str) -> Child {
    assert!(rustix::process::geteuid().is_root(), "this test makes a PID namespace, which takes root");
    Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script])
        .env("SIDECAR", env!("CARGO_BIN_EXE_etcd-sidecar"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn it_ends_when_nobody_is_there() {
    let mut process = namespace("exec $SIDECAR wait --idle-timeout 200ms");
    assert!(ended(&mut process).await.success());
}

#[tokio::test]
async fn it_stays_while_somebody_is_there_and_reaps() {
    // The session lives until its stdin ends; it is an orphan, whose zombie only PID 1 can take away.
    let mut process = namespace("{ cat <&3 >/dev/null & } 3<&0; echo ready; exec $SIDECAR wait --idle-timeout 200ms");
    let input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    assert_eq!(output.next_line().await.unwrap().as_deref(), Some("ready"));
    let early = tokio::time::timeout(std::time::Duration::from_secs(2), process.wait()).await;
    assert!(early.is_err(), "it ended with a session running: {early:?}");
    drop(input);
    assert!(ended(&mut process).await.success());
}

#[tokio::test]
async fn signals_end_it_at_once() {
    for signal in ["TERM", "INT"] {
        // Once PID 1 handles signals 2 and 15, a helper inside sends it one.
        let script = format!(
            "(while ! grep -q '^SigCgt:.*[4-7c-f]..[2367abef]$' /proc/1/status; do :; done; kill -{signal} 1) & \
             exec $SIDECAR wait --idle-timeout 1h"
        );
        let mut process = namespace(&script);
        let status = ended(&mut process).await;
        assert!(status.success(), "{signal}: {status}");
    }
}
