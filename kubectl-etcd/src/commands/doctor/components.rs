//! The versions of Kubernetes on control-plane nodes, as the API tells them.

use std::collections::BTreeSet;

use etcd_doctor::{Component, Known};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};

use crate::connection::Connection;
use crate::output::Failed;

/// Kubelets and API servers of these nodes.
pub(super) async fn versions(connection: &Connection, nodes: &BTreeSet<String>) -> Known<Vec<Component>> {
    let all: Api<Node> = Api::all(connection.client.clone());
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), "kube-system");
    let (params, servers) = (ListParams::default(), ListParams::default().labels("component=kube-apiserver"));
    let (listed, servers) = tokio::join!(all.list(&params), pods.list(&servers));
    let failed =
        |what: &str, error: &kube::Error| Failed::plain(format!("cannot list {what}")).source(error).one_line();
    let listed = listed.map_err(|error| failed("nodes", &error))?.items;
    let servers = servers.map_err(|error| failed("the API servers' pods", &error))?.items;
    let found = listed.iter().filter_map(kubelet).chain(servers.iter().filter_map(api_server));
    Ok(found.filter(|component| nodes.contains(&component.node)).collect())
}

fn kubelet(node: &Node) -> Option<Component> {
    let version = node.status.as_ref()?.node_info.as_ref()?.kubelet_version.clone();
    Some(Component { node: node.metadata.name.clone()?, name: "kubelet", version })
}

/// The tag of its image is how a pod names the version.
fn api_server(pod: &Pod) -> Option<Component> {
    let spec = pod.spec.as_ref()?;
    let image = spec.containers.iter().find(|container| container.name == "kube-apiserver")?.image.as_deref()?;
    let (_, tag) = image.split('@').next()?.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    Some(Component { node: spec.node_name.clone()?, name: "kube-apiserver", version: tag.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_servers_version_is_that_of_its_image() {
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let pods = list["items"].as_array().expect("a list").iter();
        let pods: Vec<Pod> = pods.map(|pod| serde_json::from_value(pod.clone()).expect("a pod")).collect();
        let found: Vec<Component> = pods.iter().filter_map(api_server).collect();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|one| one.version.starts_with("v1.") && one.name == "kube-apiserver"), "{found:?}");
    }
}
