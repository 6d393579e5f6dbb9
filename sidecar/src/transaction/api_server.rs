//! Asks the node's own API server whether it is ready, and whether it serves what it should.

use etcd_wire::restore::Marker;
use etcd_wire::{Failure, FailureCode};
use hyper::StatusCode;

use super::http::Server;

/// Whether it is ready, and serves the marker.
///
/// A server that knows its kubelet client but does not let it read namespaces is judged by its readiness alone.
///
/// # Errors
/// What it is not, or what it serves instead.
pub(super) async fn prove(api: &Server, marker: Option<&Marker>) -> Result<(), Failure> {
    let not = |what: String| Failure::new(FailureCode::Refused, what);
    let (status, body) = api.get("/readyz").await?;
    match status {
        StatusCode::OK => {}
        // It does not tell strangers; that it answers is all there is to know.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(()),
        _ => {
            let said = String::from_utf8_lossy(&body);
            let failed = said.lines().filter(|line| line.starts_with("[-]"));
            let failed: Vec<&str> = failed.collect();
            return Err(not(format!("the API server is not ready: {status} {}", failed.join(" "))));
        }
    }
    let Some(marker) = marker else { return Ok(()) };
    let (status, body) = api.get("/api/v1/namespaces/kube-system").await?;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(());
    }
    let object: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let (uid, version) = (&object["metadata"]["uid"], &object["metadata"]["resourceVersion"]);
    if status != StatusCode::OK || *uid != *marker.uid {
        return Err(not(format!(
            "the API server does not serve the namespace kube-system of the snapshot: {status}, UID {uid}"
        )));
    }
    // It may have been written since; it cannot be older.
    let version = version.as_str().and_then(|version| version.parse::<i64>().ok()).unwrap_or(0);
    if version < marker.resource_version {
        return Err(not(format!(
            "the API server serves namespace kube-system as of revision {version}, and the snapshot has it as of {}",
            marker.resource_version
        )));
    }
    Ok(())
}
