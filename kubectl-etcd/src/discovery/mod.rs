//! Finds the etcd members of a control plane: the static pods' mirrors in the API say where each member runs, how it
//! was started, and which folders of its node it uses.

mod command_line;
mod encryption;
mod member;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

pub(crate) use encryption::add_encryption_configs;
pub(crate) use member::EtcdPod;

use crate::connection::Connection;
use crate::output::{Exit, Failed, Outcome};
use crate::sidecar::access;

/// Labels that kubeadm gives its etcd pods.
const SELECTOR: &str = "component=etcd,tier=control-plane";

/// Where etcd is, where discovery cannot tell or is wrong.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Where etcd is (found by itself on kubeadm clusters)")]
pub(crate) struct Overrides {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Folder on the node: etcd's data directory, as recorded with a backup
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub(crate) data_dir: Option<String>,
}

/// Which pods are etcd's, and how a member is reached from its node.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where etcd is (found by itself on kubeadm clusters)")]
pub(crate) struct Reach {
    /// Label selector of the etcd pods
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = SELECTOR)]
    pub(crate) selector: String,
    /// Client URLs of etcd, as seen from its node
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// File on the node: authority that signed etcd's certificate
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub(crate) cacert: Option<String>,
    /// File on the node: client certificate for etcd
    #[arg(long, value_name = "PATH", value_parser = absolute, requires = "key")]
    pub(crate) cert: Option<String>,
    /// File on the node: key of the client certificate
    #[arg(long, value_name = "PATH", value_parser = absolute, requires = "cert")]
    pub(crate) key: Option<String>,
}

impl Default for Reach {
    fn default() -> Reach {
        let (endpoints, cacert, cert, key) = Default::default();
        Reach { selector: SELECTOR.to_owned(), endpoints, cacert, cert, key }
    }
}

/// Where the kubelets look for static pods.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where etcd is (found by itself on kubeadm clusters)")]
pub(crate) struct Manifests {
    /// Folder on the nodes: the kubelet's static pod manifests (its staticPodPath)
    #[arg(long, value_name = "PATH", default_value = "/etc/kubernetes/manifests", value_parser = below_another)]
    pub(crate) manifests_dir: String,
}

/// A folder of the node that is not at its root: a restore works in the folder above it, and that is never `/`.
fn below_another(path: &str) -> Result<String, String> {
    let path = absolute(path)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.len() {
        0 | 1 => Err("the folder above it would be the node's root".to_owned()),
        _ => Ok(format!("/{}", parts.join("/"))),
    }
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') && !path.split('/').any(|part| part == "..") {
        Ok(path.to_owned())
    } else {
        Err("this is a path on the node: it must be absolute and without '..'".to_owned())
    }
}

/// The etcd pods of the control plane, by node name. With `only`, the one on that node.
///
/// # Errors
/// None are there (and why that may be), none on that node, or one whose way of running cannot be understood.
pub(crate) async fn find(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
    only: Option<&str>,
) -> Outcome<Vec<EtcdPod>> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels(&overrides.reach.selector)).await.map_err(|error| {
        access::explain(&error, "list", "pods", namespace, format!("find the etcd pods in namespace {namespace}"))
    })?;
    let mut found = listed.items.iter().map(|pod| EtcdPod::read(pod, overrides)).collect::<Outcome<Vec<EtcdPod>>>()?;
    found.sort_by(|a, b| a.node.cmp(&b.node));
    match only {
        None if found.is_empty() => Err(nothing_found(&pods, namespace, overrides).await),
        None if found.len() > 1 && !overrides.reach.endpoints.is_empty() => {
            Err(Failed::new(Exit::Usage, "--endpoints needs --node: the member that they lead to from there"))
        }
        None => Ok(found),
        Some(node) => match found.iter().position(|member| member.node == node) {
            Some(index) => Ok(vec![found.swap_remove(index)]),
            None if !overrides.reach.endpoints.is_empty() => Ok(vec![EtcdPod::external(node, overrides)]),
            None if found.is_empty() => Err(nothing_found(&pods, namespace, overrides).await),
            None => {
                let nodes: Vec<&str> = found.iter().map(|member| member.node.as_str()).collect();
                Err(Failed::new(Exit::Refused, format!("no etcd member runs on node {node}"))
                    .cause(format!("etcd runs on {}", nodes.join(", "))))
            }
        },
    }
}

/// The etcd pods, each with the folder in which its node's kubelet looks for static pods.
///
/// # Errors
/// See [`find`].
pub(crate) async fn with_manifests(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
    manifests: &Manifests,
) -> Outcome<Vec<EtcdPod>> {
    let mut members = find(connection, namespace, overrides, None).await?;
    for member in &mut members {
        member.manifests_dir = Some(manifests.manifests_dir.clone());
    }
    Ok(members)
}

/// Why there are no etcd pods: what the API servers' own flags say, or that there are none to be seen either.
async fn nothing_found(pods: &Api<Pod>, namespace: &str, overrides: &Overrides) -> Failed {
    let failed = Failed::new(
        Exit::Refused,
        format!("no etcd pods in namespace {namespace} with labels {}", overrides.reach.selector),
    );
    let servers = match pods.list(&ListParams::default().labels("component=kube-apiserver")).await {
        Ok(servers) => servers.items,
        Err(error) => return failed.cause("and looking for API servers failed").source(&error),
    };
    let external: Vec<String> = servers.iter().flat_map(command_line::of_pod).collect();
    let external = command_line::Flags::parse(&external).list("etcd-servers");
    if let (Some(server), false) = (servers.first(), external.is_empty()) {
        let node = server.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| "NODE".to_owned());
        let urls = external.join(",");
        return failed.cause(format!("the API server uses an external etcd: {urls}")).hint(format!(
            "name a node that reaches it and the certificate files there:\n  kubectl etcd backup --node {node} \
             --endpoints {urls} --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/apiserver-etcd-client.crt \
             --key /etc/kubernetes/pki/apiserver-etcd-client.key"
        ));
    }
    failed.cause("there are no API server pods either: this looks like a managed control plane, which hides its etcd").hint(
        "a managed control plane is backed up by its provider; where etcd runs as pods with other labels, name them:\n  \
         kubectl get pods -A | grep etcd\n  kubectl etcd status -n NAMESPACE -l SELECTOR",
    )
}
