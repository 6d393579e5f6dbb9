//! Asks the node's own API server whether it is ready, and whether it serves what it should.

use etcd_wire::restore::Marker;
use etcd_wire::{Failure, FailureCode};
use hyper::StatusCode;

use super::http::Server;

const READY: &str = "/readyz";
const MARKER: &str = "/api/v1/namespaces/kube-system";
/// A list says at which revision it is, which only the new state has reached.
const REVISION: &str = "/api/v1/namespaces?limit=1";

/// What an API server has to serve.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) marker: Option<Marker>,
    /// At least.
    pub(super) revision: i64,
}

/// Whether it tells the node's own client about itself. One that does now will do so again, as soon as it knows who may ask what.
pub(super) async fn is_open(api: &Server) -> bool {
    for path in [READY, MARKER, REVISION] {
        if !matches!(api.get(path).await, Ok((StatusCode::OK, _))) {
            return false;
        }
    }
    true
}

/// Whether it is ready, and serves what it should. One that is not `open` is judged by whether it answers, which is all it tells.
///
/// # Errors
/// What it is not, or what it serves instead.
pub(super) async fn prove(api: &Server, open: bool, expected: &Expected) -> Result<(), Failure> {
    let not = |what: String| Err(Failure::new(FailureCode::Refused, what));
    let (status, body) = api.get(READY).await?;
    // An API server that has not read yet who may do what refuses everybody.
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !open {
        return Ok(());
    }
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(&body);
        let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("[-]")).collect();
        return not(format!("the API server is not ready: {status} {}", failed.join(" ")));
    }
    if !open {
        return Ok(());
    }
    let (status, list) = json(api, REVISION).await?;
    let revision = version(&list);
    if status != StatusCode::OK || revision < expected.revision {
        let wanted = expected.revision;
        return not(format!("the API server serves revision {revision} instead of {wanted}: {status}"));
    }
    let Some(marker) = &expected.marker else { return Ok(()) };
    let (status, object) = json(api, MARKER).await?;
    let uid = &object["metadata"]["uid"];
    if status != StatusCode::OK || *uid != *marker.uid {
        return not(format!(
            "the API server does not serve the namespace kube-system of the snapshot: {status}, UID {uid}"
        ));
    }
    // It may have been written since; it cannot be older.
    if version(&object) < marker.resource_version {
        return not(format!(
            "the API server serves namespace kube-system as of revision {}, and the snapshot has it as of {}",
            version(&object),
            marker.resource_version
        ));
    }
    Ok(())
}

async fn json(api: &Server, path: &str) -> Result<(StatusCode, serde_json::Value), Failure> {
    let (status, body) = api.get(path).await?;
    let answer = match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| {
            Failure::new(FailureCode::Refused, format!("the API server's answer to {path} is no JSON")).source(&error)
        })?,
        // An error is told by its status.
        _ => serde_json::Value::Null,
    };
    Ok((status, answer))
}

fn version(object: &serde_json::Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}
