//! Where the API servers have their encryption configurations, by the mirrors of their static pods.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::EtcdPod;
use super::command_line::Flags;
use super::environment::Sources;
use super::member::host_path;
use crate::connection::Connection;
use crate::output::Outcome;
use crate::sidecar::access;

/// Adds to every member the configuration file of its node's API server, where one is named.
///
/// # Errors
/// The pods cannot be listed.
pub(crate) async fn add_encryption_configs(
    connection: &Connection,
    namespace: &str,
    members: &mut [EtcdPod],
) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels("component=kube-apiserver")).await.map_err(|error| {
        access::explain(&error, "list", "pods", namespace, format!("find the API servers in namespace {namespace}"))
    })?;
    for member in members {
        member.encryption_config = listed.items.iter().filter(|pod| runs_on(pod, &member.node)).find_map(config);
    }
    Ok(())
}

fn runs_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

/// The file on the node that an API server reads.
pub(super) fn config(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = spec.containers.iter().find(|container| container.name == "kube-apiserver");
    let container = named.or_else(|| spec.containers.first())?;
    let flags = Flags::of(pod, container, "kube-apiserver", &Sources::default());
    host_path(spec, container, flags.get("encryption-provider-config")?).filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_followed_to_its_path_on_the_node() {
        let pod = |flag: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "spec": {
                    "nodeName": "cp1",
                    "containers": [
                        {"name": "other"},
                        {
                            "name": "kube-apiserver",
                            "command": ["kube-apiserver", flag],
                            "volumeMounts": [{"name": "e", "mountPath": "/enc"}, {"name": "k", "mountPath": "/keys"}],
                        },
                    ],
                    "volumes": [{"name": "e", "hostPath": {"path": "/etc/kubernetes/enc"}}, {"name": "k", "emptyDir": {}}],
                },
            }))
            .expect("a pod")
        };
        let path = |flag: &str| config(&pod(flag));
        let flag = "--encryption-provider-config=/enc/c.yaml";
        assert_eq!(path(flag).as_deref(), Some("/etc/kubernetes/enc/c.yaml"));
        assert!(runs_on(&pod(flag), "cp1") && !runs_on(&pod(flag), "cp2"));
        for none in ["--secure-port=6443", "--encryption-provider-config=/keys/c", "--encryption-provider-config=/x"] {
            assert_eq!(path(none), None, "{none}");
        }
    }
}
