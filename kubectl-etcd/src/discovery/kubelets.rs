//! Static pods as the kubelets know them. The API has a mirror of each, which is gone when it was deleted while etcd takes no writes.

use futures::future::join_all;
use http::Request;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{Expression, Selector, SelectorExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::NodeTrouble;
use super::readiness::LIMIT;
use crate::bounded;
use crate::connection::Connection;
use crate::output::{Failed, Outcome};

/// Labels of control-plane nodes, the newer one first.
const ROLES: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// Where a pod comes from; of a static pod `file` or `http`.
const SOURCE: &str = "kubernetes.io/config.source";

/// Static pods with these labels in this namespace, on every control-plane node that is ready, and why nodes did not tell theirs.
///
/// # Errors
/// No node can be asked.
pub(super) async fn static_pods(
    connection: &Connection,
    namespace: &str,
    labels: &str,
) -> Outcome<(Vec<Pod>, Vec<Failed>)> {
    let unread = || Failed::plain(format!("the labels {labels:?} cannot be compared with those of static pods"));
    let selector = selector(labels).ok_or_else(unread)?;
    let nodes = control_plane(&connection.client).await?;
    if nodes.is_empty() {
        return Err(Failed::plain("no node has the role control-plane and is ready"));
    }
    let answers = join_all(nodes.iter().map(|node| pods(&connection.client, node))).await;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(pods) => found.extend(pods.into_iter().filter(|pod| is_static(pod, namespace, &selector))),
            Err(failed) => failures.push(failed),
        }
    }
    match (found.is_empty(), failures.pop()) {
        (true, Some(failed)) => Err(failed),
        (_, last) => {
            failures.extend(last);
            Ok((found, failures))
        }
    }
}

/// Names of the control-plane nodes that are ready.
async fn control_plane(client: &Client) -> Outcome<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    for role in ROLES {
        let listed = tokio::time::timeout(LIMIT, nodes.list(&ListParams::default().labels(role))).await;
        let failed = || Failed::plain("cannot list the control-plane nodes");
        let listed = listed.map_err(|_| failed().cause("no answer"))?.map_err(|error| failed().source(&error))?;
        let ready =
            listed.items.iter().filter(|node| !matches!(NodeTrouble::of(node), Some(NodeTrouble::Silent { .. })));
        let names: Vec<String> = ready.filter_map(|node| node.metadata.name.clone()).collect();
        if !names.is_empty() {
            return Ok(names);
        }
    }
    Ok(Vec::new())
}

/// The longest list of pods that is read, in bytes: a kubelet runs hundreds of pods at most.
const LONGEST: u64 = 32 << 20;

/// The pods that a node's kubelet tells under a path of its own server, through the API server's node proxy.
///
/// # Errors
/// Those of the request; the answer is longer than `longest` bytes, or no list of pods.
pub(crate) async fn kubelet_pods(client: &Client, node: &str, path: &str, longest: u64) -> kube::Result<Vec<Pod>> {
    let name = utf8_percent_encode(node, NON_ALPHANUMERIC).to_string().replace("%2D", "-").replace("%2E", ".");
    let request = Request::get(format!("/api/v1/nodes/{name}/proxy/{path}")).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    let text = bounded::text(client, request, longest).await?;
    // Of no pods Go makes null.
    let list: PodList = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
    Ok(list.items.unwrap_or_default())
}

/// A list of pods as kubelets give it.
#[derive(Debug, Deserialize)]
struct PodList {
    items: Option<Vec<Pod>>,
}

/// What a node's kubelet is to run.
async fn pods(client: &Client, node: &str) -> Outcome<Vec<Pod>> {
    let failed = || Failed::plain(format!("cannot ask the kubelet of node {node} for its pods"));
    let answer = tokio::time::timeout(LIMIT, kubelet_pods(client, node, "pods", LONGEST)).await;
    match answer.map_err(|_| failed().cause("no answer"))? {
        Ok(pods) => Ok(pods),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(failed().cause("no right to get nodes/proxy").hint("kubectl auth can-i get nodes --subresource=proxy"))
        }
        Err(error) => Err(failed().source(&error)),
    }
}

/// Reads a selector of labels and their values, as kubectl takes it; `None` for one with sets.
pub(super) fn selector(text: &str) -> Option<Selector> {
    let word = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && !text.contains(['(', ')', ' ', '!', '='])).then(|| text.to_owned())
    };
    let expression = |part: &str| {
        let pair = |at: &str| part.split_once(at).map(|(key, value)| Some((word(key)?, value.trim().to_owned())));
        Some(match (pair("!="), pair("=="), pair("="), part.trim().strip_prefix('!')) {
            (Some(pair), ..) => pair.map(|(key, value)| Expression::NotEqual(key, value))?,
            (_, Some(pair), ..) | (_, _, Some(pair), _) => pair.map(|(key, value)| Expression::Equal(key, value))?,
            (.., Some(key)) => Expression::DoesNotExist(word(key)?),
            _ => Expression::Exists(word(part)?),
        })
    };
    text.split(',').map(expression).collect()
}

fn is_static(pod: &Pod, namespace: &str, selector: &Selector) -> bool {
    let metadata = &pod.metadata;
    let source = metadata.annotations.as_ref().and_then(|all| all.get(SOURCE)).map(String::as_str);
    matches!(source, Some("file" | "http"))
        && metadata.namespace.as_deref() == Some(namespace)
        && selector.matches(&metadata.labels.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_pods_of_these_labels_count() {
        let pod = |source: &str, namespace: &str, component: &str| -> Pod {
            let metadata = serde_json::json!({"namespace": namespace, "labels": {"component": component, "tier": "control-plane"},
                "annotations": {SOURCE: source}});
            serde_json::from_value(serde_json::json!({"metadata": metadata})).expect("a pod")
        };
        let selector = selector(crate::discovery::SELECTOR).expect("a selector");
        let is = |pod: Pod| is_static(&pod, "kube-system", &selector);
        assert!(is(pod("file", "kube-system", "etcd")));
        for other in [
            pod("api", "kube-system", "etcd"),
            pod("file", "default", "etcd"),
            pod("file", "kube-system", "kube-apiserver"),
            Pod::default(),
        ] {
            assert!(!is(other));
        }
    }

    #[test]
    fn selectors_are_read_as_kubectl_reads_them() {
        let labels = [("component", "etcd"), ("a/b", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (text, fits) in [
            ("component=etcd", true),
            ("component==etcd, a/b", true),
            ("component!=etcd", false),
            ("!component", false),
            ("!other,other!=x", true),
            ("component=etc", false),
        ] {
            assert_eq!(selector(text).expect(text).matches(&labels), fits, "{text}");
        }
        assert!(selector("component in (etcd, x)").is_none() && selector("a,").is_none());
    }
}
