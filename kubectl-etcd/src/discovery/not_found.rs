//! Why there are no etcd pods where they were looked for, and what to pass instead.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::api_server::{ApiServer, NAMESPACE, SELECTOR as API_SERVERS};
use super::member::etcd_container;
use super::{Overrides, address, is_loopback};
use crate::connection::Connection;
use crate::output::{Exit, Failed};

/// Labels that say best what a pod is, best first.
const TELLING: [&str; 4] = ["component", "app", "k8s-app", "app.kubernetes.io/name"];
/// Where kubeadm has the files with which its API server reaches etcd.
const KUBEADM: [&str; 3] = [
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.key",
];

/// A pod that runs etcd and has other labels, or is in another namespace.
struct Other {
    namespace: String,
    name: String,
    /// `KEY=VALUE` of its most telling label.
    label: Option<String>,
}

impl Other {
    fn of(pod: &Pod) -> Option<Other> {
        etcd_container(pod.spec.as_ref()?)?;
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let telling = TELLING.iter().find_map(|key| labels.get_key_value(*key)).or_else(|| labels.iter().next());
        Some(Other {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            label: telling.map(|(key, value)| format!("{key}={value}")),
        })
    }
}

/// Looks for etcd elsewhere, and explains.
pub(super) async fn explain(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
    api_servers: kube::Result<Vec<ApiServer>>,
    kubelets: Option<Failed>,
) -> Failed {
    let mut others = Vec::new();
    let mut namespaces = vec![namespace];
    namespaces.extend((namespace != NAMESPACE).then_some(NAMESPACE));
    for one in &namespaces {
        let pods: Api<Pod> = Api::namespaced(connection.client.clone(), one);
        // What cannot be listed cannot be found.
        if let Ok(listed) = pods.list(&ListParams::default()).await {
            others.extend(listed.items.iter().filter_map(Other::of));
        }
    }
    let selector = &overrides.reach.pods.selector;
    let failed = Failed::new(Exit::Refused, format!("no etcd pods in namespace {namespace} with labels {selector}"));
    match (&others[..], api_servers) {
        ([], Err(error)) => failed.cause("and looking for API servers failed").source(&error),
        ([], Ok(servers)) => without_pods(failed, &namespaces, &servers, kubelets),
        (others, _) => elsewhere(failed, others),
    }
}

/// Pods run etcd under other labels or in another namespace.
fn elsewhere(failed: Failed, others: &[Other]) -> Failed {
    let name = |other: &Other| {
        let label = other.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
        format!("{}/{}{label}", other.namespace, other.name)
    };
    let names: Vec<String> = others.iter().map(name).collect();
    let failed = failed.cause(format!("these pods run etcd: {}", names.join(", ")));
    match others.iter().find_map(|other| Some((other, other.label.as_ref()?))) {
        Some((other, label)) => {
            let command = format!("kubectl etcd status -n {} -l {label}", other.namespace);
            failed.hint(format!("name them by namespace and label:\n  {command}"))
        }
        None => failed.hint("give them a label, and name it with -l"),
    }
}

/// No pod runs etcd: API servers say where theirs is, or there are none to be seen.
fn without_pods(failed: Failed, namespaces: &[&str], servers: &[ApiServer], kubelets: Option<Failed>) -> Failed {
    let Some(server) = servers.first() else {
        let looked = namespaces.join(" and ");
        let failed = failed
            .cause(format!("no pod in {looked} runs etcd, and no pod in {NAMESPACE} is an API server ({API_SERVERS})"));
        return failed
            .hint(
                "where etcd runs as pods, name them:\n  kubectl get pods -A | grep etcd\n  \
                 kubectl etcd status -n NAMESPACE -l SELECTOR",
            )
            .hint(
                "where etcd runs outside of pods (k3s, microk8s, kubespray), name a node and what clients of etcd use there:\n  \
                 kubectl etcd status --node NODE --endpoints URL --cacert FILE --cert FILE --key FILE",
            )
            .hint("a managed control plane hides its etcd, and is backed up by its provider");
    };
    let urls = server.servers.join(",");
    let local = server.servers.iter().filter_map(|url| address(url)).any(|(host, _)| is_loopback(&host));
    let mut failed = failed.cause(match local {
        true => format!("the API server on node {} uses an etcd there that is no pod in the API: {urls}", server.node),
        false => format!("the API server uses an external etcd: {urls}"),
    });
    // Only an etcd beside the API server may be a static pod.
    if let Some(kubelets) = kubelets.filter(|_| local) {
        failed = failed.cause(kubelets.one_line());
        failed = failed.hint(
            "where etcd is a static pod, its mirror in the API is gone while etcd takes no writes; the kubelets know the pod, and \
             tell it to users with the right to get nodes/proxy",
        );
        failed.hints.extend(kubelets.hints);
    }
    let file = |index: usize| server.files[index].as_deref().unwrap_or(KUBEADM[index]);
    failed.hint(format!(
        "name a node that reaches it and the certificate files there:\n  kubectl etcd backup --node {} --endpoints {urls} \
         --cacert {} --cert {} --key {}",
        server.node,
        file(0),
        file(1),
        file(2)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Failed {
        Failed::new(Exit::Refused, "no etcd pods")
    }

    #[test]
    fn a_pod_with_other_labels_is_named_with_its_own() {
        let pod: Pod =
            serde_saphyr::from_str(include_str!("../../../tests/data/discovery/etcd-env.yaml")).expect("a pod");
        let other = Other::of(&pod).expect("it runs etcd");
        let said = elsewhere(failed(), &[other]).to_string();
        assert!(said.contains("these pods run etcd: kube-system/etcd-env (app=etcd)"), "{said}");
        assert!(said.contains("kubectl etcd status -n kube-system -l app=etcd"), "{said}");
        let none: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "command": ["sh", "-c", "cat /etcd/x; sleep 1"]}]}}))
        .expect("a pod");
        assert!(Other::of(&none).is_none());
    }

    #[test]
    fn an_etcd_outside_of_pods_is_reached_with_the_api_servers_own_files() {
        let server = ApiServer {
            node: "n1".into(),
            servers: vec!["https://10.0.0.5:2379".into()],
            files: [Some("/etc/ssl/etcd/ssl/ca.pem".into()), Some("/etc/ssl/etcd/ssl/node.pem".into()), None],
            ..ApiServer::default()
        };
        let said = without_pods(failed(), &["kube-system"], std::slice::from_ref(&server), None).to_string();
        for text in [
            "the API server uses an external etcd: https://10.0.0.5:2379",
            "--node n1 --endpoints https://10.0.0.5:2379 --cacert /etc/ssl/etcd/ssl/ca.pem --cert /etc/ssl/etcd/ssl/node.pem",
            "--key /etc/kubernetes/pki/apiserver-etcd-client.key",
        ] {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
        let local = ApiServer { servers: vec!["https://127.0.0.1:2379".into()], ..server };
        let said = without_pods(failed(), &["kube-system"], &[local], Some(Failed::plain("no right"))).to_string();
        assert!(
            said.contains("on node n1 uses an etcd there that is no pod in the API") && !said.contains("external"),
            "{said}"
        );
        assert!(said.contains("  cause: no right\n") && said.contains("the right to get nodes/proxy"), "{said}");
    }

    #[test]
    fn where_nothing_is_found_it_is_said_where_it_was_looked_for() {
        let said = without_pods(failed(), &["default", "kube-system"], &[], None).to_string();
        for text in
            ["no pod in default and kube-system runs etcd", "-n NAMESPACE -l SELECTOR", "--node NODE --endpoints URL"]
        {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
    }
}
