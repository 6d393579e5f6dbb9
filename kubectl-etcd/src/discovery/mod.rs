//! Finds the etcd members of a control plane: the static pods' mirrors in the API say where each member runs, how it
//! was started, and which folders of its node it uses.

mod api_server;
mod command_line;
mod encryption;
mod member;
mod readiness;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

pub(crate) use api_server::ApiServer;
#[cfg(test)]
pub(crate) use api_server::Override;
pub(crate) use encryption::add_encryption_configs;
pub(crate) use member::EtcdPod;
pub(crate) use readiness::NodeTrouble;

use crate::connection::Connection;
use crate::output::{Exit, Failed, Outcome, Printer};
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

/// Which pods are etcd's.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where etcd is (found by itself on kubeadm clusters)")]
pub(crate) struct Selector {
    /// Label selector of the etcd pods
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = SELECTOR)]
    pub(crate) selector: String,
}

impl Default for Selector {
    fn default() -> Selector {
        Selector { selector: SELECTOR.to_owned() }
    }
}

/// Which pods are etcd's, and how a member is reached from its node.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Where etcd is (found by itself on kubeadm clusters)")]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) pods: Selector,
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

/// What was found of a control plane's etcd.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The members whose pods could be read, by node name.
    pub(crate) members: Vec<EtcdPod>,
    /// The pods that could not be read, each with the reason.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The API servers, as far as they are pods that can be seen.
    pub(crate) api_servers: Vec<ApiServer>,
    /// Whether the user has named which members are meant, by node or by label.
    pub(crate) named: bool,
}

/// An etcd pod that could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Name of the pod.
    pub(crate) pod: String,
    /// Its node, where it has one.
    pub(crate) node: Option<String>,
    /// Why.
    pub(crate) failed: Failed,
}

impl Found {
    /// All members, for an operation that needs every one of them.
    ///
    /// # Errors
    /// Pods that could not be read, each with its reason (exit 4).
    pub(crate) fn all(self) -> Outcome<Vec<EtcdPod>> {
        if self.unreadable.is_empty() { Ok(self.members) } else { Err(unreadable(self.unreadable)) }
    }

    /// The members that could be read; the others are told as warnings.
    pub(crate) fn readable(self, printer: Printer) -> Vec<EtcdPod> {
        for one in &self.unreadable {
            printer.warn(one.failed.one_line());
        }
        self.members
    }
}

/// One failure of several pods.
fn unreadable(mut pods: Vec<Unreadable>) -> Failed {
    if pods.len() == 1
        && let Some(one) = pods.pop()
    {
        return one.failed;
    }
    let failed = Failed::new(Exit::Refused, format!("{} etcd pods cannot be understood", pods.len()));
    let mut hints: Vec<String> = Vec::new();
    let failed = failed.causes(pods.iter().map(|one| one.failed.one_line()));
    for hint in pods.into_iter().flat_map(|one| one.failed.hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints.into_iter().fold(failed, Failed::hint)
}

/// The etcd pods of the control plane, by node name. With `only`, those on that node.
///
/// # Errors
/// None are there (and why that may be), none on that node, or not one of them can be understood.
pub(crate) async fn find(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
    only: Option<&str>,
) -> Outcome<Found> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let selector = ListParams::default().labels(&overrides.reach.pods.selector);
    let (listed, api_servers) = tokio::join!(pods.list(&selector), api_server::all(connection));
    let listed = listed.map_err(|error| {
        access::explain(&error, "list", "pods", namespace, format!("find the etcd pods in namespace {namespace}"))
    })?;
    let mut found = read(&listed.items, overrides);
    found.api_servers = api_servers.unwrap_or_default();
    found.named = only.is_some() || overrides.reach.pods.selector != SELECTOR;
    if let Some(node) = only {
        narrow(&mut found, node, overrides)?;
    }
    if found.members.is_empty() {
        if !found.unreadable.is_empty() {
            return Err(unreadable(found.unreadable));
        }
        return Err(nothing_found(&pods, namespace, overrides).await);
    }
    readiness::look(connection, &mut found.members).await;
    Ok(found)
}

/// Reads pods, each by itself.
fn read(pods: &[Pod], overrides: &Overrides) -> Found {
    let mut found = Found::default();
    for pod in pods {
        match EtcdPod::read(pod, overrides) {
            Ok(member) => found.members.push(member),
            Err(failed) => found.unreadable.push(Unreadable {
                pod: pod.metadata.name.clone().unwrap_or_default(),
                node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
                failed,
            }),
        }
    }
    found.members.sort_by(|a, b| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
    found
}

/// Leaves what is on one node. A node without an etcd pod may reach an external etcd.
///
/// # Errors
/// Nothing is on that node.
fn narrow(found: &mut Found, node: &str, overrides: &Overrides) -> Outcome {
    let mut nodes: Vec<String> = found.members.iter().map(|member| member.node.clone()).collect();
    nodes.dedup();
    found.members.retain(|member| member.node == node);
    found.unreadable.retain(|one| one.node.as_deref() == Some(node));
    if !found.members.is_empty() || !found.unreadable.is_empty() {
        return Ok(());
    }
    if !overrides.reach.endpoints.is_empty() {
        found.members.push(EtcdPod::external(node, overrides));
        return Ok(());
    }
    if nodes.is_empty() {
        return Ok(());
    }
    Err(Failed::new(Exit::Refused, format!("no etcd member runs on node {node}"))
        .cause(format!("etcd runs on {}", nodes.join(", "))))
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
) -> Outcome<Found> {
    let mut found = find(connection, namespace, overrides, None).await?;
    for member in &mut found.members {
        member.manifests_dir = Some(manifests.manifests_dir.clone());
    }
    Ok(found)
}

/// Why there are no etcd pods: what the API servers' own flags say, or that there are none to be seen either.
async fn nothing_found(pods: &Api<Pod>, namespace: &str, overrides: &Overrides) -> Failed {
    let failed = Failed::new(
        Exit::Refused,
        format!("no etcd pods in namespace {namespace} with labels {}", overrides.reach.pods.selector),
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
