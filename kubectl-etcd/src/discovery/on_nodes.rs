//! Members by the manifests on their nodes, where no API server tells of them: read by a sidecar, understood as pods of the API are.

use std::io;

use etcd_store::node_files::{Kind, Limits, read_node_files};
use etcd_wire::Compression;
use etcd_wire::message::NodeFilesRequest;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::core::SelectorExt as _;

use super::api_server::{self, ApiServer};
use super::environment::Sources;
use super::{EtcdPod, Found, Overrides, SELECTOR, Unreadable, encryption, give_endpoints, kubelets, read};
use crate::output::{Exit, Failed, Outcome};
use crate::road::{Host, Road};
use crate::sidecar::{Operation, Sink, TransferError};

/// Where kubeadm has the kubelet look for static pods.
pub(crate) const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// The namespace of a control plane's static pods.
const NAMESPACE: &str = "kube-system";
/// Files that a failure tells of, of those that were passed over.
const TOLD: usize = 5;

/// The members on these nodes, by the manifests in this folder.
///
/// # Errors
/// None is found on any of them.
pub(crate) async fn on_nodes(road: &Road, hosts: &[Host], overrides: &Overrides, dir: &str) -> Outcome<Found> {
    let read = join_all(hosts.iter().map(|host| manifests(road, host, dir))).await;
    let mut found = Found { named: overrides.reach.pods.selector != SELECTOR, ..Found::default() };
    for (host, files) in hosts.iter().zip(read) {
        match files.and_then(|files| node(host, &files, overrides, dir)) {
            Ok(mut node) => {
                found.members.append(&mut node.members);
                found.unreadable.append(&mut node.unreadable);
                found.api_servers.append(&mut node.api_servers);
            }
            Err(failed) => {
                found.unreadable.push(Unreadable { pod: host.node.clone(), node: Some(host.node.clone()), failed });
            }
        }
    }
    give_endpoints(&mut found, overrides);
    match found.members.is_empty() {
        true => Err(none(found.unreadable)),
        false => Ok(found),
    }
}

/// One failure of all nodes.
fn none(nodes: Vec<Unreadable>) -> Failed {
    let mut nodes = nodes.into_iter().map(|one| one.failed);
    let Some(first) = nodes.next() else { return Failed::plain("no node is named") };
    let rest: Vec<Failed> = nodes.collect();
    if rest.is_empty() {
        return first;
    }
    let exit = if rest.iter().all(|one| one.exit == first.exit) { first.exit } else { Exit::Failed };
    let all = || std::iter::once(&first).chain(&rest);
    let failed = Failed::new(exit, "no etcd member was found on any node").causes(all().map(Failed::one_line));
    let mut hints: Vec<&String> = Vec::new();
    for hint in all().flat_map(|one| &one.hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints.into_iter().fold(failed, |failed, hint| failed.hint(hint))
}

/// The files in the manifests' folder of a node, by name.
async fn manifests(road: &Road, host: &Host, dir: &str) -> Outcome<Vec<(String, Vec<u8>)>> {
    let member = EtcdPod { node: host.node.clone(), ..EtcdPod::default() };
    let sidecar = road.start(&member, Operation::Status, None).await?;
    let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    session.require("nodeFiles")?;
    let request = NodeFilesRequest { paths: vec![dir.to_owned()], compression: Compression::Zstd };
    let read = session.node_files(request, Archive(Vec::new())).await;
    // A folder that is not there is an answer, and the session goes on.
    road.rest(&sidecar, session);
    let (Archive(archive), _) =
        read.map_err(|failed| failed.context(format!("node {}: cannot read {dir}", host.node)))?;
    let files = files(&archive, dir);
    files.map_err(|error| Failed::plain(format!("cannot use the manifests of node {}", host.node)).source(&error))
}

/// The files right in the folder.
fn files(archive: &[u8], dir: &str) -> Result<Vec<(String, Vec<u8>)>, etcd_store::node_files::NodeFilesError> {
    let mut files = Vec::new();
    read_node_files(archive, Limits::default(), |file| {
        let name = file.path.as_str().strip_prefix(dir.trim_start_matches('/'));
        let name =
            name.and_then(|rest| rest.strip_prefix('/')).filter(|name| !name.contains('/') && !name.starts_with('.'));
        if let (Some(name), Kind::File(content)) = (name, file.kind) {
            files.push((name.to_owned(), content));
        }
        Ok(())
    })?;
    Ok(files)
}

/// What the manifests of a node tell, as its kubelet would tell the API.
///
/// # Errors
/// There is none of etcd.
fn node(host: &Host, files: &[(String, Vec<u8>)], overrides: &Overrides, dir: &str) -> Outcome<Found> {
    let labels = &overrides.reach.pods.selector;
    let selector = kubelets::selector(labels).ok_or_else(|| {
        Failed::new(Exit::Usage, format!("the labels {labels:?} cannot be compared with those of static pods"))
    })?;
    let (mut pods, mut passed_over) = (Vec::new(), Vec::new());
    for (name, content) in files {
        match pod(content) {
            Ok(pod) => pods.push(mirrored(pod, host)),
            Err(why) => passed_over.push(format!("{name} was passed over: {why}")),
        }
    }
    let in_namespace = |pod: &&Pod| pod.metadata.namespace.as_deref() == Some(NAMESPACE);
    let ours = |pod: &&Pod| selector.matches(&pod.metadata.labels.clone().unwrap_or_default());
    let etcd: Vec<Pod> = pods.iter().filter(in_namespace).filter(ours).cloned().collect();
    let mut found = read(&etcd, overrides, &Sources::default());
    for member in &mut found.members {
        member.own.mirror = false;
        member.encryption_config = pods.iter().find_map(encryption::config);
    }
    found.api_servers =
        pods.iter().filter(in_namespace).filter(|pod| is_api_server(pod)).filter_map(ApiServer::read).collect();
    if found.members.is_empty() && found.unreadable.is_empty() {
        if !overrides.reach.endpoints.is_empty() {
            found
                .members
                .push(EtcdPod { addresses: vec![host.address.clone()], ..EtcdPod::external(&host.node, overrides) });
            return Ok(found);
        }
        let failed = Failed::new(Exit::Refused, format!("node {} has no manifest of etcd in {dir}", host.node));
        let failed = passed_over.into_iter().take(TOLD).fold(failed, Failed::cause);
        return Err(failed.hint("say where etcd is with --endpoints, --cacert, --cert and --key (paths on the node), or by its labels with -l"));
    }
    Ok(found)
}

/// Reads a manifest.
fn pod(content: &[u8]) -> Result<Pod, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// A static pod as its mirror in the API is: with the node in its name, its namespace, and the node's address.
fn mirrored(mut pod: Pod, host: &Host) -> Pod {
    let name = pod.metadata.name.take().unwrap_or_default();
    pod.metadata.name = Some(format!("{name}-{}", host.node));
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(host.node.clone());
    }
    pod.status = Some(PodStatus { host_ip: Some(host.address.clone()), ..PodStatus::default() });
    pod
}

fn is_api_server(pod: &Pod) -> bool {
    let label = |(key, value): (&str, &str)| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|its| its == value)
    };
    [api_server::SELECTOR, api_server::OTHER_SELECTOR].iter().filter_map(|one| one.split_once('=')).any(label)
}

/// The archive in memory.
struct Archive(Vec<u8>);

impl Sink for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _total: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cp2() -> (Host, Vec<(String, Vec<u8>)>) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/kubeadm/cp2/manifests");
        let entries = std::fs::read_dir(folder).expect("manifests");
        let file = |entry: std::fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a manifest"))
        };
        let mut files: Vec<_> = entries.map(|entry| file(entry.expect("an entry"))).collect();
        files.sort();
        (Host { node: "cp2".into(), address: "10.89.0.12".into() }, files)
    }

    #[test]
    fn manifests_tell_what_the_pods_of_the_api_tell() {
        let (host, files) = cp2();
        let found = node(&host, &files, &Overrides::default(), MANIFESTS).expect("etcd");
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let pods = list["items"].as_array().expect("a list");
        let mirror = |name: &str| -> Pod {
            let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name).expect("it is there");
            serde_json::from_value(pod.clone()).expect("a pod")
        };
        let api = read(&[mirror("etcd-cp2")], &Overrides::default(), &Sources::default());
        let [(here, there)] = found.members.iter().zip(&api.members).collect::<Vec<_>>()[..] else {
            panic!("{found:?}")
        };
        assert_eq!(here.addresses, ["10.89.0.12"]);
        let without = |member: &EtcdPod| EtcdPod {
            addresses: Vec::new(),
            own: crate::discovery::member::OwnContainer::default(),
            ..member.clone()
        };
        assert_eq!(without(here), without(there));
        assert_eq!(found.api_servers.len(), 1);
        let server = ApiServer::read(&mirror("kube-apiserver-cp2")).expect("it uses etcd");
        assert_eq!(
            ApiServer { addresses: Vec::new(), ..found.api_servers[0].clone() },
            ApiServer { addresses: Vec::new(), ..server }
        );
    }

    #[test]
    fn a_node_without_etcd_is_told_with_what_was_passed_over() {
        let (host, mut files) = cp2();
        files.retain(|(name, _)| name != "etcd.yaml");
        files.push(("etcd.yaml.bak".into(), b"kind: [".to_vec()));
        let failed = node(&host, &files, &Overrides::default(), MANIFESTS).expect_err("no etcd");
        let said = failed.to_string();
        assert!(
            said.contains("node cp2 has no manifest of etcd") && said.contains("etcd.yaml.bak was passed over"),
            "{said}"
        );
        // What the flags say is enough.
        let mut overrides = Overrides::default();
        overrides.reach.endpoints = vec!["https://127.0.0.1:2379".into()];
        let found = node(&host, &files, &overrides, MANIFESTS).expect("an external etcd");
        assert_eq!((found.members[0].node.as_str(), found.members[0].access.endpoints.len()), ("cp2", 1));
    }

    #[test]
    fn nodes_that_were_not_reached_are_all_told() {
        let one = |node: &str, hint: &str| Unreadable {
            pod: node.into(),
            node: Some(node.into()),
            failed: Failed::plain(format!("no way to {node}")).hint(hint),
        };
        assert_eq!(none(vec![one("cp1", "a")]).message, "no way to cp1");
        let failed = none(vec![one("cp1", "a"), one("cp2", "a"), one("cp3", "b")]);
        assert_eq!((failed.causes.len(), failed.hints.len()), (3, 2), "{failed}");
    }
}
