//! Takes a pod away, and makes sure that it is gone.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(200);
/// How long one request may take. A road that is gone must not hold up the end of a command.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a pod may take to go away before it is reported as left behind.
const GONE: Duration = Duration::from_secs(30);
/// How long a node has to end a pod before the pod is taken out of the API without it. A node that is down never says
/// that it did; should the container live there after all, it ends by itself soon, because nobody speaks to it.
const FORCE: Duration = Duration::from_secs(5);
/// The same for a pod that no kubelet has ever taken, as on a node that is off: nothing of it runs anywhere.
const FORCE_UNTAKEN: Duration = Duration::from_secs(2);
/// How long an API server that fails, or cannot be reached, has to recover.
const RECOVERY: Duration = Duration::from_secs(10);

/// Deletes a pod and waits until it is gone. True when it was there.
///
/// # Errors
/// Why it is still there, or may be.
pub(crate) async fn remove(pods: &Api<Pod>, name: &str) -> Result<bool, String> {
    let begun = Instant::now();
    let (mut asked, mut forced, mut untaken) = (false, false, false);
    loop {
        let patience = if untaken { FORCE_UNTAKEN } else { FORCE };
        let there = if !asked {
            limited(async { pods.delete(name, &DeleteParams::default()).await.map(|_| true) }).await
        } else if !forced && begun.elapsed() > patience {
            forced = true;
            limited(async { pods.delete(name, &DeleteParams::default().grace_period(0)).await.map(|_| true) }).await
        } else {
            let pod = limited(async { pods.get_opt(name).await }).await;
            untaken = matches!(&pod, Ok(Some(pod)) if is_untaken(pod));
            pod.map(|pod| pod.is_some())
        };
        match there {
            Ok(true) if begun.elapsed() > GONE => {
                return Err("it is being deleted, but its node does not end it".to_owned());
            }
            Ok(true) => asked = true,
            Ok(false) => return Ok(asked),
            Err(Some(kube::Error::Api(status))) if status.code == 404 => return Ok(asked),
            Err(Some(kube::Error::Api(status))) if status.code < 500 => return Err(status.message),
            // An API server whose etcd has just lost its leader, or that another one stands in for, is well in seconds.
            Err(_) if begun.elapsed() < RECOVERY => {}
            Err(Some(kube::Error::Api(status))) => return Err(status.message),
            Err(Some(error)) => return Err(error.to_string()),
            Err(None) => return Err("the API server does not answer".to_owned()),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether no kubelet has said anything of a pod yet.
fn is_untaken(pod: &Pod) -> bool {
    pod.status.as_ref().is_none_or(|status| status.start_time.is_none() && status.container_statuses.is_none())
}

/// `None` is a request that took too long.
async fn limited<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Option<kube::Error>> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}
