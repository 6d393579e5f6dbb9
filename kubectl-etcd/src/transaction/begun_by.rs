//! Who begins a restore: the user that the API server sees, if one is asked, and where from.

use serde::Deserialize;
use serde_json::json;

use crate::connection::Connection;
use crate::control_plane::ControlPlane;
use crate::sidecar::started_by;

/// Versions of the review, the newest one first: v1 from Kubernetes 1.28 on.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// How long the API server may take to say who asks.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Deserialize)]
struct Review {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
}

/// The user as the API server names them, or else as the kubeconfig does, and the user and machine of this process.
pub(crate) async fn begun_by(plane: &ControlPlane) -> String {
    let Some(connection) = plane.api() else { return started_by() };
    let mut user = None;
    for version in VERSIONS {
        // Nobody waits long for a name.
        let reviewed = tokio::time::timeout(LIMIT, review(connection, version));
        let Ok(reviewed) = reviewed.await else { break };
        match reviewed {
            Ok(name) => {
                user = Some(name).filter(|name| !name.is_empty());
                break;
            }
            // Older servers lack it, and it can be forbidden: it only names somebody.
            Err(error) => tracing::debug!("cannot review the user by authentication.k8s.io/{version}: {error}"),
        }
    }
    let user = user.unwrap_or_else(|| connection.user.clone());
    if user.is_empty() { started_by() } else { format!("{user} ({})", started_by()) }
}

async fn review(connection: &Connection, version: &str) -> Result<String, kube::Error> {
    let group = format!("authentication.k8s.io/{version}");
    let body = json!({"apiVersion": group, "kind": "SelfSubjectReview"}).to_string().into_bytes();
    let request = http::Request::post(format!("/apis/{group}/selfsubjectreviews"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    let review: Review = connection.client.request(request).await?;
    Ok(review.status.user_info.username)
}
