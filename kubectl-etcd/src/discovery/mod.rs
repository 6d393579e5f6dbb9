//! Finds the etcd members of a control plane: the static pods' mirrors in the API say where each member runs, how it
//! was started, and which folders of its node it uses.

mod api_server;
mod command_line;
mod distribution;
mod encryption;
mod environment;
mod external;
mod kubelets;
mod member;
mod not_found;
mod on_nodes;
mod readiness;
mod shell;
mod urls;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

#[cfg(test)]
pub(crate) use api_server::Override;
pub(crate) use api_server::{ApiServer, OTHER_SELECTOR as OTHER_API_SERVERS, SELECTOR as API_SERVERS};
pub(crate) use encryption::add_encryption_configs;
pub(crate) use kubelets::kubelet_pods;
pub(crate) use member::EtcdPod;
pub(crate) use on_nodes::{MANIFESTS, on_nodes};
pub(crate) use readiness::NodeTrouble;
pub(crate) use urls::{address, is_loopback, is_wildcard};

use crate::connection::Connection;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Printer};
use crate::sidecar::access;

/// Labels that kubeadm gives its etcd pods.
const SELECTOR: &str = "component=etcd,tier=control-plane";

/// What is left to do where etcd runs outside of pods, for a command that stops and starts it.
const OUTSIDE: &str = "the command does not stop and start this etcd; build the data directories, and put them in place by hand\n  \
                       kubectl etcd restore FILE --data-dir DIR";

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
    #[arg(long, value_name = "PATH", default_value = MANIFESTS, value_parser = below_another)]
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
    /// Nodes that were named and have no etcd: their API servers use that of the others.
    pub(crate) without_etcd: Vec<EtcdPod>,
    /// The API servers, as far as they are pods that can be seen.
    pub(crate) api_servers: Vec<ApiServer>,
    /// Whether the user has named which members are meant, by node or by label.
    pub(crate) named: bool,
    /// For people: how members outside of pods are reached, where API servers told of them.
    pub(crate) outside: Option<String>,
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

    /// All members, and the nodes whose API servers use their etcd, by node name.
    ///
    /// # Errors
    /// As [`Found::all`].
    pub(crate) fn all_nodes(mut self) -> Outcome<Vec<EtcdPod>> {
        let without_etcd = std::mem::take(&mut self.without_etcd);
        let mut nodes = self.all()?;
        nodes.extend(without_etcd);
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(nodes)
    }

    /// All members, but for those of nodes that are left out: `to_nodes` are the others, all if it is empty. A node that is left out need not answer.
    ///
    /// # Errors
    /// As [`Found::all`].
    pub(crate) fn all_on(mut self, to_nodes: &[String], printer: Printer) -> Outcome<Vec<EtcdPod>> {
        let left_out =
            |one: &Unreadable| !to_nodes.is_empty() && one.node.as_ref().is_some_and(|node| !to_nodes.contains(node));
        for one in self.unreadable.extract_if(.., |one| left_out(one)) {
            printer.warn(one.failed.one_line());
        }
        self.all()
    }

    /// Passes over these nodes where nothing of a control plane was found on them.
    pub(crate) fn without_nodes(mut self, nodes: &[String], printer: Printer) -> Found {
        let passed_over = |one: &Unreadable| one.node.as_ref().is_some_and(|node| nodes.contains(node));
        for one in self.unreadable.extract_if(.., |one| passed_over(one)) {
            printer.warn(format!("{}; the node is left as it is", one.failed.one_line()));
        }
        self
    }

    /// The same for a command that stops and starts etcd by its manifest in this folder: members outside of pods are told as unreadable.
    ///
    /// # Errors
    /// No member is left.
    pub(crate) fn in_pods(self, dir: &str) -> Outcome<Found> {
        self.started_by(dir, |member| !member.pod.is_empty())
    }

    /// The same where a process on the node can also stop and start its unit.
    ///
    /// # Errors
    /// No member is left.
    pub(crate) fn in_pods_or_units(self, dir: &str) -> Outcome<Found> {
        self.started_by(dir, |member| !member.pod.is_empty() || member.unit().is_some())
    }

    fn started_by(mut self, dir: &str, known: fn(&EtcdPod) -> bool) -> Outcome<Found> {
        for member in self.members.extract_if(.., |member| !known(member)) {
            let failed = Failed::new(Exit::Refused, format!("etcd on node {} is not a static pod", member.node));
            let failed = match &member.service {
                Some(service) => failed.cause(format!("etcd is started by {service}")),
                None => failed,
            };
            let failed = failed.hint(OUTSIDE);
            self.unreadable.push(Unreadable { pod: String::new(), node: Some(member.node), failed });
        }
        for member in self.members.iter_mut().chain(&mut self.without_etcd) {
            member.manifests_dir = Some(dir.to_owned());
        }
        if self.members.is_empty() { Err(unreadable(self.unreadable)) } else { Ok(self) }
    }

    /// Whether anything is on a node.
    fn is_on(&self, node: &str) -> bool {
        self.members.iter().any(|member| member.node == node)
            || self.unreadable.iter().any(|one| one.node.as_deref() == Some(node))
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

/// The etcd pods of the control plane, by node name. With `only`, those on that node. For a command that only reads, where no pod runs etcd, the members
/// outside of pods that API servers use.
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
    let mut kubelets = Ok(Vec::new());
    let mut found = match listed.items.is_empty() && overrides.reach.endpoints.is_empty() {
        false => {
            read(&listed.items, overrides, &environment::Sources::read(connection, namespace, &listed.items).await)
        }
        true => match without_mirror(connection, namespace, overrides).await {
            Ok((found, failures)) => {
                kubelets = Ok(failures);
                found
            }
            Err(failed) => {
                kubelets = Err(failed);
                Found::default()
            }
        },
    };
    found.named = only.is_some() || overrides.reach.pods.selector != SELECTOR;
    if let Some(node) = only {
        // The pod on that node may be the one without a mirror.
        if !listed.items.is_empty() && !found.is_on(node) && overrides.reach.endpoints.is_empty() {
            match without_mirror(connection, namespace, overrides).await {
                Ok((more, _)) if more.is_on(node) => found = more,
                Ok(_) => {}
                Err(failed) => kubelets = Err(failed),
            }
        }
        narrow(&mut found, node, overrides).map_err(|refused| match kubelets.as_ref().err() {
            Some(failed) => refused.cause(failed.one_line()),
            None => refused,
        })?;
    }
    if found.members.is_empty() {
        if !found.unreadable.is_empty() {
            return Err(unreadable(found.unreadable));
        }
        return not_found::otherwise(connection, namespace, overrides, only, api_servers, kubelets.err()).await;
    }
    found.api_servers = api_servers.unwrap_or_default();
    give_endpoints(&mut found, overrides);
    if found.members.is_empty() {
        return Err(unreadable(found.unreadable));
    }
    readiness::look(connection, &mut found.members).await;
    Ok(found)
}

/// The static etcd pods that the kubelets know, and why kubelets did not answer. Beside those of the API there is only one that lost its
/// mirror.
///
/// # Errors
/// No kubelet can be asked.
pub(crate) async fn without_mirror(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
) -> Outcome<(Found, Vec<Failed>)> {
    let (pods, failures) = kubelets::static_pods(connection, namespace, &overrides.reach.pods.selector).await?;
    let mut found = read(&pods, overrides, &environment::Sources::read(connection, namespace, &pods).await);
    for member in &mut found.members {
        member.own.mirror = false;
    }
    Ok((found, failures))
}

/// Reads pods, each by itself.
fn read(pods: &[Pod], overrides: &Overrides, sources: &environment::Sources) -> Found {
    let mut found = Found::default();
    for pod in pods {
        match EtcdPod::read(pod, overrides, sources) {
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

/// Gives each of several members those of `--endpoints` that are its own. The only member gets all of them.
fn give_endpoints(found: &mut Found, overrides: &Overrides) {
    let endpoints = &overrides.reach.endpoints;
    if endpoints.is_empty() || found.members.len() + found.unreadable.len() < 2 {
        return;
    }
    for mut member in std::mem::take(&mut found.members) {
        member.access.endpoints = endpoints.iter().filter(|url| urls::is_own(&member, url)).cloned().collect();
        if member.access.endpoints.is_empty() {
            let failed =
                Failed::new(Exit::Refused, format!("member {} on node {} has no endpoint", member.name, member.node))
                    .cause(format!(
                        "none of --endpoints leads to node {} ({})",
                        member.node,
                        member.addresses.join(", ")
                    ))
                    .hint(format!(
                        "give its own client URL as well, or name its node: --node {} takes --endpoints as they are",
                        quoted(&member.node)
                    ));
            found.unreadable.push(Unreadable { pod: member.pod, node: Some(member.node), failed });
        } else {
            found.members.push(member);
        }
    }
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
    find(connection, namespace, overrides, None).await?.in_pods(&manifests.manifests_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> (Found, Overrides) {
        let member = |node: &str, address: &str| EtcdPod {
            node: node.into(),
            name: node.into(),
            pod: format!("etcd-{node}"),
            addresses: vec![address.into()],
            listen_urls: vec!["https://127.0.0.1:2379".into(), format!("https://{address}:2379")],
            ..EtcdPod::default()
        };
        let found = Found { members: vec![member("cp1", "10.0.0.1"), member("cp2", "10.0.0.2")], ..Found::default() };
        (found, Overrides::default())
    }

    fn given(endpoints: &[&str]) -> Found {
        let (mut found, mut overrides) = found();
        overrides.reach.endpoints = endpoints.iter().map(|url| (*url).to_owned()).collect();
        give_endpoints(&mut found, &overrides);
        found
    }

    #[test]
    fn each_of_several_members_is_asked_at_its_own_endpoint() {
        let both = given(&["https://10.0.0.2:2379", "https://10.0.0.1:2379"]);
        let endpoints: Vec<_> = both.members.iter().map(|member| member.access.endpoints.join(",")).collect();
        assert_eq!(endpoints, ["https://10.0.0.1:2379", "https://10.0.0.2:2379"]);
        let local = given(&["https://127.0.0.1:2379"]);
        assert!(local.members.iter().all(|member| member.access.endpoints == ["https://127.0.0.1:2379"]));
        // Nobody is asked in another's place.
        let one = given(&["https://10.0.0.1:2379"]);
        assert_eq!((one.members.len(), one.unreadable.len()), (1, 1));
        let said = one.all().unwrap_err().to_string();
        assert!(
            said.contains("none of --endpoints leads to node cp2 (10.0.0.2)") && said.contains("--node cp2"),
            "{said}"
        );
    }

    #[test]
    fn what_stops_etcd_refuses_an_etcd_outside_of_pods() {
        let outside = || {
            let (mut all, _) = found();
            all.members[1].pod.clear();
            all.members[1].service = Some("the unit /etc/systemd/system/etcd.service".into());
            let unit = Some("/etc/systemd/system/etcd.service".into());
            all.members[1].settings_source = Some(etcd_wire::services::SettingsSource { unit, ..Default::default() });
            all
        };
        let both = outside().in_pods_or_units("/m").unwrap().all().unwrap();
        assert_eq!((both.len(), both[1].manifests_dir.as_deref()), (2, Some("/m")));
        let mut files = outside();
        files.members[1].settings_source = Some(etcd_wire::services::SettingsSource::default());
        assert!(files.in_pods_or_units("/m").unwrap().all().is_err(), "variables alone start nothing");
        let all = outside();
        let found = all.in_pods("/m").unwrap();
        assert_eq!(found.members[0].manifests_dir.as_deref(), Some("/m"));
        let failed = found.all().unwrap_err();
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Refused, "etcd on node cp2 is not a static pod"));
        assert!(failed.to_string().contains("by the unit /etc/systemd"), "{failed}");
        let outside = EtcdPod { node: "cp1".into(), ..EtcdPod::default() };
        let none = Found { members: vec![outside], ..Found::default() }.in_pods("/m").unwrap_err();
        assert!(none.hints[0].contains("restore FILE --data-dir DIR"), "{none}");
    }

    #[test]
    fn pods_that_cannot_be_read_are_told_beside_those_that_can() {
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let etcd = list["items"].as_array().expect("a list").iter();
        let etcd = etcd.filter(|pod| pod["metadata"]["labels"]["component"] == "etcd").cloned();
        let mut pods: Vec<Pod> = etcd.map(|pod| serde_json::from_value(pod).expect("a pod")).collect();
        pods[0].spec.as_mut().expect("a spec").host_network = None;
        pods[1].spec.as_mut().expect("a spec").node_name = None;
        let found = read(&pods, &Overrides::default(), &environment::Sources::default());
        assert_eq!(found.members.iter().map(|member| member.node.as_str()).collect::<Vec<_>>(), ["cp3"]);
        assert_eq!(found.unreadable.iter().map(|one| one.pod.as_str()).collect::<Vec<_>>(), ["etcd-cp1", "etcd-cp2"]);
        // What needs all of them says why there are not all.
        let failed = found.all().unwrap_err();
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Refused, "2 etcd pods cannot be understood"));
        assert!(failed.causes[0].contains("etcd-cp1") && failed.causes[1].contains("it has no node"), "{failed}");
    }

    #[test]
    fn a_node_may_run_several_members_or_one_that_cannot_be_read() {
        let (mut found, overrides) = found();
        let events = EtcdPod { node: "cp1".into(), pod: "etcd-events".into(), ..EtcdPod::default() };
        found.members.push(events);
        narrow(&mut found, "cp1", &overrides).unwrap();
        assert_eq!(found.members.len(), 2);
        let said = narrow(&mut found, "cp9", &overrides).unwrap_err().to_string();
        assert!(said.contains("no etcd member runs on node cp9") && said.contains("etcd runs on cp1"), "{said}");
    }
}
