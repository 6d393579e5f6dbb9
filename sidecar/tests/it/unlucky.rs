//! The pod of a schedule with a real server of S3: killed at every moment, and twice at once. Whatever happens, what looks like a backup is one.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Pid, Signal, kill_process};
use stores::{Act, Proxy, Seaweed};

use crate::backup::{Node, RECIPIENT, stalling};

fn tick(node: &Node, flags: &[&str]) -> Child {
    let spool = node.path("spool").display().to_string();
    node.start("backup", &[&["--recipient", RECIPIENT, "--spool", &spool], flags].concat())
}

#[tokio::test]
async fn a_pod_that_ends_during_an_upload_leaves_no_backup() {
    let server = Seaweed::start().unwrap();
    let node = Node::with(Some((server.url("prod"), server.variables())));
    node.member.fill(130, 120_000);
    // The first part has gone, and the rest of the snapshot does not come.
    node.manifests(&stalling(&node.member.url, 14 << 20));
    for (signal, left) in [(Signal::TERM, 0), (Signal::KILL, 1)] {
        let mut sidecar = tick(&node, &[]);
        let log = BufReader::new(sidecar.stderr.take().unwrap()).lines().map_while(Result::ok);
        while server.incomplete_uploads().unwrap() == 0 {
            assert!(sidecar.try_wait().unwrap().is_none(), "it runs");
        }
        kill_process(Pid::from_child(&sidecar), signal).unwrap();
        let told = log.collect::<Vec<_>>().join("\n");
        let code = sidecar.wait().unwrap().code();
        if signal == Signal::TERM {
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains("ended by SIGTERM") && told.contains("no backup was added to the store"), "{told}");
        }
        // What a killed pod has sent is no object: docs/STORE.md says what takes it away.
        assert_eq!(server.incomplete_uploads().unwrap(), left, "{signal:?}: {told}");
        assert_eq!(node.stored().await.1, 0, "{signal:?}: {told}");
        node.nothing_in_clear();
    }
    // The next tick is not in its way.
    node.manifests(&node.member.url);
    let (code, log) = node.backup(&["--every", "1h"]);
    assert_eq!(code, Some(0), "{log}");
    let (records, objects) = node.stored().await;
    assert_eq!((records.len(), objects), (1, 2));
}

#[tokio::test]
async fn a_pod_that_ends_at_any_request_leaves_a_whole_backup_or_none() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    for signal in [Signal::KILL, Signal::TERM] {
        let node = Node::with(Some((proxy.url(&format!("{signal:?}")), proxy.variables())));
        let mut whole = 0;
        for unlucky in 0.. {
            let (pid, hit) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
            let (its, was_hit) = (Arc::clone(&pid), Arc::clone(&hit));
            proxy.decide(move |seen| {
                if seen.index != unlucky {
                    return Act::Pass;
                }
                was_hit.store(true, Ordering::SeqCst);
                kill_process(*its.wait(), signal).unwrap();
                // What a killed pod has asked last is not heard; who is told to end has asked.
                if signal == Signal::KILL { Act::Drop } else { Act::Pass }
            });
            let sidecar = tick(&node, &[]);
            pid.set(Pid::from_child(&sidecar)).unwrap();
            let output = sidecar.wait_with_output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            proxy.decide(|_| Act::Pass);
            let (records, objects) = node.stored().await;
            let what = format!("{signal:?} at request {unlucky}: {log}");
            assert_eq!(server.incomplete_uploads().unwrap(), 0, "{what}");
            match records.len() - whole {
                0 => assert!(!output.status.success() && !log.contains("is in the store"), "{what}"),
                added => assert_eq!(added, 1, "{what}"),
            }
            whole = records.len();
            // Only a pod that is killed leaves an object of which nobody knows.
            assert!(signal == Signal::KILL || objects == 2 * whole, "{what}");
            if !hit.load(Ordering::SeqCst) {
                assert!(output.status.success() && unlucky > 3, "{what}");
                break;
            }
        }
        assert!(whole > 0);
        node.nothing_in_clear();
    }
}

#[tokio::test]
async fn two_ticks_at_once_end_well() {
    let server = Seaweed::start().unwrap();
    let node = Node::with(Some((server.url("prod"), server.variables())));
    let both = [(); 2].map(|()| tick(&node, &["--every", "1h"]));
    for sidecar in both {
        let output = sidecar.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (records, objects) = node.stored().await;
    assert!(matches!(records.len(), 1 | 2), "{records:?}");
    assert_eq!((objects, server.incomplete_uploads().unwrap()), (2 * records.len(), 0));
    let (code, log) = node.backup(&["--every", "1h"]);
    assert!(code == Some(0) && log.contains("nothing to do"), "{log}");
}
