//! Runs a command in a member's container by exec.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use kube::client::UpgradeConnectionError;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Ended;
use crate::connection::Connection;
use crate::discovery::EtcdPod;
use crate::output::Failed;

/// More is no answer of `etcdctl`.
const LONGEST: u64 = 1 << 20;

/// Runs a command and gives what it writes to stdout.
pub(super) async fn run(connection: &Connection, member: &EtcdPod, words: &[String]) -> Result<String, Ended> {
    let pods: Api<Pod> = Api::namespaced(connection.streams.clone(), &member.own.namespace);
    let params = AttachParams::default().container(&member.own.container).stdin(false).stdout(true).stderr(true);
    let mut process = pods.exec(&member.pod, words, &params).await.map_err(|error| refused(member, &error))?;
    let (Some(stdout), Some(stderr), Some(status)) = (process.stdout(), process.stderr(), process.take_status()) else {
        return Err(Ended::NoWay(Failed::plain("exec gave no streams")));
    };
    let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), status);
    match status {
        Some(status) => outcome(&status, stdout, &stderr),
        None => Err(Ended::Failed("the connection to the kubelet broke".to_owned())),
    }
}

async fn read(stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is what there is; the status says how it ended.
    let _partial = stream.take(LONGEST).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What became of a process, by the last word of the kubelet.
fn outcome(status: &Status, stdout: String, stderr: &str) -> Result<String, Ended> {
    if status.status.as_deref() == Some("Success") {
        return Ok(stdout);
    }
    if status.reason.as_deref() == Some("NonZeroExitCode") {
        return Err(Ended::Failed(format!("{stdout}\n{stderr}")));
    }
    let message = status.message.clone().unwrap_or_default();
    Err(not_started(&message))
}

/// A command that the kubelet could not start.
pub(super) fn not_started(message: &str) -> Ended {
    let is_down = message.contains("container not found") || message.contains("is not running");
    if is_down {
        return Ended::Failed("the etcd container does not run".to_owned());
    }
    if message.contains("executable file not found") || message.contains("no such file or directory") {
        return Ended::NoWay(Failed::plain("its image has no etcdctl"));
    }
    Ended::NoWay(Failed::plain("etcdctl cannot be run in its container").cause(message))
}

/// An exec that the API server refused.
fn refused(member: &EtcdPod, error: &kube::Error) -> Ended {
    let failed = Failed::plain(format!("cannot run etcdctl in pod {}/{}", member.own.namespace, member.pod));
    let (code, message) = match error {
        // Some servers do not tell why over a WebSocket.
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => (code.as_u16(), None),
        kube::Error::Api(status) => (status.code, Some(status.message.as_str())),
        _ => return Ended::Failed(failed.source(error).one_line()),
    };
    match (code, message) {
        (403, _) => {
            Ended::NoWay(Failed::plain(format!("no right to exec in pods of namespace {}", member.own.namespace)))
        }
        (404, _) => Ended::NoWay(failed.cause("the pod is gone")),
        (_, Some(message)) if message.contains("container not found") => not_started(message),
        (_, message) => {
            let state = member.own.state.as_ref().map(|state| format!("its container is {state}"));
            let why = state.or_else(|| message.map(str::to_owned));
            let why = why.unwrap_or_else(|| "its container does not run, or the kubelet does not answer".to_owned());
            Ended::Failed(failed.cause(why).one_line())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: &str) -> Result<String, Ended> {
        outcome(&serde_json::from_str(status).expect("a status"), "out".to_owned(), "err")
    }

    #[test]
    fn how_it_ended_is_told_by_the_kubelet() {
        assert_eq!(ended(r#"{"metadata":{},"status":"Success"}"#).expect("success"), "out");
        let exited = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 3",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert!(matches!(ended(&exited.replace('\n', "")), Err(Ended::Failed(said)) if said == "out\nerr"));
        let missing = r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: Internal error occurred: error executing command in container: failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: exec: \"etcdctl\": executable file not found in $PATH","reason":"InternalError","code":500}"#;
        let Err(Ended::NoWay(failed)) = ended(missing) else { panic!("another way is needed") };
        assert_eq!(failed.one_line(), "its image has no etcdctl");
        let down = r#"{"status":"Failure","message":"unable to upgrade connection: container not found (\"etcd\")"}"#;
        assert!(matches!(ended(down), Err(Ended::Failed(said)) if said == "the etcd container does not run"));
    }
}
