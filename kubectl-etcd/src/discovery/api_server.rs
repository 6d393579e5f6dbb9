//! The API servers' own flags: which etcd they use, for what, and under which prefix.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::command_line::{Flags, starts};
use super::environment::Sources;
use super::member::{addresses, host_path};
use crate::connection::Connection;

/// Labels of API servers that run as pods.
pub(crate) const SELECTOR: &str = "component=kube-apiserver";
/// Those of kOps and Talos.
pub(crate) const OTHER_SELECTOR: &str = "k8s-app=kube-apiserver";
const PROGRAM: &str = "kube-apiserver";
/// Where they run.
pub(super) const NAMESPACE: &str = "kube-system";
/// `--etcd-prefix` without the flag: kubernetes apiserver pkg/server/options/etcd.go, staging/.../kubeapiserver/options @ v1.36.0.
const DEFAULT_PREFIX: &str = "/registry";

/// `--secure-port` without the flag: kubernetes pkg/kubeapiserver/options/serving.go @ v1.36.0.
const SECURE_PORT: u16 = 6443;

/// An API server, as its flags describe it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ApiServer {
    /// Node that it runs on.
    pub(crate) node: String,
    /// Addresses of its node.
    pub(crate) addresses: Vec<String>,
    /// `--secure-port`, or its default; `None` if it is not known.
    pub(crate) secure_port: Option<u16>,
    /// `--etcd-servers`.
    pub(crate) servers: Vec<String>,
    /// `--etcd-servers-overrides`: resources that are kept elsewhere.
    pub(crate) overrides: Vec<Override>,
    /// `--etcd-prefix`: what its keys begin with, without a slash at the end. `None` if that is not known.
    pub(crate) prefix: Option<String>,
    /// `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`, on the node.
    pub(crate) files: [Option<String>; 3],
    /// Image reference of its container.
    pub(crate) image: String,
    /// All flags of its command line, as `--name=value`; without the value of one that is not known whole.
    pub(crate) flags: Vec<String>,
}

/// A resource that an API server keeps in an etcd of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Override {
    /// `events`, or `GROUP/RESOURCE`.
    pub(crate) resource: String,
    /// Client URLs of that etcd.
    pub(crate) servers: Vec<String>,
}

impl ApiServer {
    /// Reads a pod; `None` if it says nothing of etcd.
    pub(super) fn read(pod: &Pod) -> Option<ApiServer> {
        let spec = pod.spec.as_ref()?;
        let runs = spec.containers.iter().find(|container| starts(container, PROGRAM));
        let container = runs.or_else(|| spec.containers.first())?;
        let flags = Flags::of(pod, container, PROGRAM, &Sources::default());
        let servers = flags.list("etcd-servers");
        let file = |name: &str| flags.get(name).and_then(|path| host_path(spec, container, path));
        (!servers.is_empty()).then(|| ApiServer {
            node: spec.node_name.clone().unwrap_or_default(),
            addresses: addresses(pod),
            secure_port: match flags.unknown("secure-port") {
                Some(_) => None,
                None => flags.get("secure-port").map_or(Some(SECURE_PORT), |port| port.parse().ok()),
            },
            overrides: flags.list("etcd-servers-overrides").iter().filter_map(|one| Override::parse(one)).collect(),
            prefix: match flags.unknown("etcd-prefix") {
                Some(_) => None,
                None => Some(prefix(flags.get("etcd-prefix").unwrap_or(DEFAULT_PREFIX))),
            },
            files: ["etcd-cafile", "etcd-certfile", "etcd-keyfile"].map(file),
            image: container.image.clone().unwrap_or_default(),
            flags: flags.all(),
            servers,
        })
    }
}

impl Override {
    /// `GROUP/RESOURCE#URL;URL`: kubernetes apiserver pkg/server/options/etcd.go @ v1.36.0.
    fn parse(text: &str) -> Option<Override> {
        let (resource, servers) = text.split_once('#')?;
        let servers = servers.split(';').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
        Some(Override { resource: resource.trim().trim_start_matches('/').to_owned(), servers })
    }
}

/// A prefix as keys have it: `registry/` and `/registry` are the same.
fn prefix(text: &str) -> String {
    match text.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

/// The API servers whose pods can be seen.
///
/// # Errors
/// They cannot be listed.
pub(super) async fn all(connection: &Connection) -> kube::Result<Vec<ApiServer>> {
    labelled(connection, SELECTOR).await
}

/// Those with other labels.
///
/// # Errors
/// They cannot be listed.
pub(super) async fn labelled(connection: &Connection, selector: &str) -> kube::Result<Vec<ApiServer>> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), NAMESPACE);
    let listed = pods.list(&ListParams::default().labels(selector)).await?;
    Ok(listed.items.iter().filter_map(ApiServer::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API server's pod as the API of a real kubeadm control plane gave it, with other flags of etcd.
    fn server(flags: &[&str]) -> ApiServer {
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let pods = list["items"].as_array().expect("a list");
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == "kube-apiserver-cp2").expect("it is there");
        let mut pod: Pod = serde_json::from_value(pod.clone()).expect("a pod");
        let command = pod.spec.as_mut().expect("a spec").containers[0].command.as_mut().expect("a command");
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        ApiServer::read(&pod).expect("it uses etcd")
    }

    #[test]
    fn kubeadms_uses_the_member_on_its_own_node() {
        let server = server(&[]);
        assert_eq!((server.node.as_str(), server.prefix.as_deref()), ("cp2", Some("/registry")));
        assert_eq!(server.servers, ["https://127.0.0.1:2379"]);
        assert_eq!((server.secure_port, server.addresses.is_empty()), (Some(6443), false));
        assert!(server.overrides.is_empty());
        assert_eq!(server.image, "registry.k8s.io/kube-apiserver:v1.36.2");
        assert!(server.flags.contains(&"--service-cluster-ip-range=10.96.0.0/12".to_owned()), "{:?}", server.flags);
        let [ca, cert, key] = server.files.map(Option::unwrap_or_default);
        assert_eq!(ca, "/etc/kubernetes/pki/etcd/ca.crt");
        assert_eq!(cert, "/etc/kubernetes/pki/apiserver-etcd-client.crt");
        assert_eq!(key, "/etc/kubernetes/pki/apiserver-etcd-client.key");
    }

    #[test]
    fn events_and_prefixes_of_their_own() {
        let overrides =
            "--etcd-servers-overrides=/events#https://a:2381;https://b:2381,coordination.k8s.io/leases#https://c:1";
        let server = server(&[overrides, "--etcd-prefix=tenant/"]);
        assert_eq!(server.prefix.as_deref(), Some("/tenant"));
        let [events, leases] = &server.overrides[..] else { panic!("{:?}", server.overrides) };
        assert_eq!((events.resource.as_str(), events.servers.len()), ("events", 2));
        assert_eq!(
            (leases.resource.as_str(), leases.servers[0].as_str()),
            ("coordination.k8s.io/leases", "https://c:1")
        );
        assert_eq!(prefix("/"), "");
    }
}
