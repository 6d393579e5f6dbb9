//! The road of exec: the sidecar runs in a pod of ours, and the API server passes its streams on.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kube::client::UpgradeConnectionError;

use super::channel::{Channel, Output, ended};
use crate::connection::Connection;
use crate::output::Failed;
use crate::sidecar::access::explain;
use crate::sidecar::{CONTAINER, DEFAULT_IMAGE, TransferError};

/// kube's client is fastest with this much room for stdout (measured against a real API server).
const STDOUT_BUFFER: usize = 1 << 20;

/// Runs `etcd-sidecar serve` in a running pod, in which it lies at `program`.
///
/// # Errors
/// No right to exec, or the pod is gone.
pub(super) async fn open(
    connection: &Connection,
    pod: &str,
    namespace: &str,
    program: &str,
) -> Result<Channel, TransferError> {
    let pods: Api<Pod> = Api::namespaced(connection.streams.clone(), namespace);
    let params = AttachParams::default()
        .container(CONTAINER)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(STDOUT_BUFFER);
    let mut process =
        pods.exec(pod, [program, "serve"], &params).await.map_err(|error| explained(&error, pod, namespace))?;
    let streams = (process.stdin(), process.stdout(), process.stderr(), process.take_status());
    let (Some(stdin), Some(stdout), Some(stderr), Some(status)) = streams else {
        let failed = Failed::plain(format!("cannot talk to the sidecar in pod {pod}"));
        return Err(TransferError::Final(failed.cause("exec gave no streams")));
    };
    let ended = ended(async { status.await.and_then(|status| status.message) });
    Ok(Channel {
        stdin: Box::new(stdin),
        stdout: Box::new(Output::new(stdout, ended.clone())),
        stderr: Box::new(Output::new(stderr, ended.clone())),
        ended,
        place: format!("pod {pod}"),
        another: format!("--image {DEFAULT_IMAGE}"),
        held: Box::new(process),
    })
}

fn explained(error: &kube::Error, pod: &str, namespace: &str) -> TransferError {
    let doing = format!("open a session with the sidecar in pod {namespace}/{pod}");
    let explained = |error: &kube::Error, doing| explain(error, "create", "pods/exec", namespace, doing);
    match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) if code.as_u16() == 403 => {
            let message = "you cannot get and create the resource pods/exec".to_owned();
            let status = kube::core::Status { message, code: 403, ..Default::default() };
            TransferError::Final(explained(&kube::Error::Api(Box::new(status)), doing))
        }
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) if code.as_u16() < 500 => {
            TransferError::Final(explained(error, doing))
        }
        kube::Error::UpgradeConnection(_) | kube::Error::HyperError(_) | kube::Error::Service(_) => {
            TransferError::Transport(explained(error, doing))
        }
        _ => TransferError::Final(explained(error, doing)),
    }
}
