//! Members by what is on their nodes, where no API server tells of them: manifests, read by a sidecar and understood as pods of the API are; and where
//! there is none of etcd, the node's systemd unit.

use std::io;

use etcd_store::node_files::{Kind, Limits, read_node_files};
use etcd_wire::message::NodeFilesRequest;
use etcd_wire::restore::Parts;
use etcd_wire::services::{EtcdService, NodeServices};
use etcd_wire::{Compression, Failure};
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

/// What a node tells of the etcd that it starts.
struct Told {
    /// The files in the folder of the manifests, by name; or why it cannot be read.
    files: Outcome<Vec<(String, Vec<u8>)>>,
    /// Those outside of static pods.
    services: NodeServices,
}

/// The members on these nodes, by the manifests in this folder; on a node without one of etcd, by what else starts etcd there.
///
/// # Errors
/// None is found on any of them.
pub(crate) async fn on_nodes(road: &Road, hosts: &[Host], overrides: &Overrides, dir: &str) -> Outcome<Found> {
    let read = join_all(hosts.iter().map(|host| ask(road, host, dir))).await;
    let mut found = Found { named: overrides.reach.pods.selector != SELECTOR, ..Found::default() };
    for (host, told) in hosts.iter().zip(read) {
        match told.and_then(|told| node(host, told, overrides, dir)) {
            Ok(mut node) => {
                found.members.append(&mut node.members);
                found.unreadable.append(&mut node.unreadable);
                found.without_etcd.append(&mut node.without_etcd);
                found.api_servers.append(&mut node.api_servers);
            }
            Err(failed) => {
                found.unreadable.push(Unreadable { pod: host.node.clone(), node: Some(host.node.clone()), failed });
            }
        }
    }
    give_endpoints(&mut found, overrides);
    match found.members.is_empty() {
        true if found.unreadable.is_empty() => Err(without_etcd(&found)),
        true => Err(none(found.unreadable)),
        false => Ok(found),
    }
}

/// Where only nodes are named whose API servers use the etcd of others.
fn without_etcd(found: &Found) -> Failed {
    let uses =
        |server: &ApiServer| format!("the API server on node {} uses {}", server.node, server.servers.join(", "));
    Failed::new(Exit::Refused, "no node that was named has etcd")
        .causes(found.api_servers.iter().map(uses))
        .hint("name the nodes of etcd as well\n  --nodes etcd1=10.0.0.21,etcd2=10.0.0.22,etcd3=10.0.0.23,cp1=10.0.0.11")
        .hint("if etcd runs on these nodes, say where it is\n  --endpoints https://127.0.0.1:2379")
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

/// Asks a node.
async fn ask(road: &Road, host: &Host, dir: &str) -> Outcome<Told> {
    let member = EtcdPod { node: host.node.clone(), ..EtcdPod::default() };
    let sidecar = road.start(&member, Operation::Status, None).await?;
    let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    session.require("nodeFiles")?;
    let request = NodeFilesRequest { paths: vec![dir.to_owned()], etcd_unit: false, compression: Compression::Zstd };
    // A folder that is not there is an answer, and the session goes on.
    let read = session.node_files(request, Archive(Vec::new())).await;
    let services = session.services().await;
    road.rest(&sidecar, session);
    let read = read.map_err(|failed| failed.context(format!("node {}: cannot read {dir}", host.node)));
    let files = read.and_then(|(Archive(archive), _)| {
        let files = files(&archive, dir);
        files.map_err(|error| Failed::plain(format!("cannot use the manifests of node {}", host.node)).source(&error))
    });
    // Where the conversation broke, the first failure says why.
    let services = services.or_else(|failed| if files.is_err() { Ok(NodeServices::default()) } else { Err(failed) })?;
    Ok(Told { files, services })
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

/// What a node tells, as its kubelet would tell the API.
///
/// # Errors
/// Nothing starts etcd there.
fn node(host: &Host, told: Told, overrides: &Overrides, dir: &str) -> Outcome<Found> {
    let labels = &overrides.reach.pods.selector;
    let selector = kubelets::selector(labels).ok_or_else(|| {
        Failed::new(Exit::Usage, format!("the labels {labels:?} cannot be compared with those of static pods"))
    })?;
    let (files, unread) = match told.files {
        Ok(files) => (files, None),
        Err(failed) => (Vec::new(), Some(failed)),
    };
    let (mut pods, mut passed_over) = (Vec::new(), Vec::new());
    for (name, content) in &files {
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
    }
    found.api_servers =
        pods.iter().filter(in_namespace).filter(|pod| is_api_server(pod)).filter_map(ApiServer::read).collect();
    if found.members.is_empty() && found.unreadable.is_empty() {
        if use_others(&found.api_servers, host, &told.services.etcd) && overrides.reach.endpoints.is_empty() {
            let addresses = addresses(found.api_servers.first(), host);
            let parts = Parts::ApiServer;
            found.without_etcd.push(EtcdPod { node: host.node.clone(), addresses, parts, ..EtcdPod::default() });
            return Ok(found);
        }
        let member = match (&told.services.etcd[..], overrides.reach.endpoints.is_empty()) {
            ([service], _) => EtcdPod::of_service(&host.node, service, found.api_servers.first(), overrides),
            (_, false) => EtcdPod::external(&host.node, overrides),
            (services, true) => {
                return Err(not_started(host, dir, unread, passed_over, services, &told.services.failures));
            }
        };
        found.members.push(EtcdPod { addresses: host.addresses(), ..member });
    }
    let is_alone = found.api_servers.is_empty()
        && !pods.iter().any(is_control_plane)
        && !passed_over.iter().any(|file| is_kubes(file));
    for member in &mut found.members {
        member.encryption_config = pods.iter().find_map(encryption::config);
        member.parts = if is_alone { Parts::Etcd } else { Parts::Both };
    }
    Ok(found)
}

/// Whether a file that was passed over is called as one of the control plane is.
fn is_kubes(passed_over: &str) -> bool {
    passed_over.starts_with("kube-")
}

/// Whether API servers of a node use only the etcd of other nodes. A unit of etcd may be there that a package has brought, and that nobody uses. Where
/// there is one, a name in the place of an address may be this node's: then nobody can tell.
fn use_others(servers: &[ApiServer], host: &Host, services: &[EtcdService]) -> bool {
    let advertised = services.iter().filter_map(|service| service.settings.get("advertise-client-urls"));
    let own: Vec<String> = advertised.flat_map(|list| list.split(',')).filter_map(host_of).collect();
    let may_be_own = |url: &String| {
        host_of(url).is_none_or(|named| {
            let address = named.parse::<std::net::IpAddr>().ok();
            let is_loopback = address.is_some_and(|address| address.is_loopback());
            let is_name = address.is_none() && !services.is_empty();
            let is_this = named == host.address || named == host.node || own.contains(&named);
            named == "localhost" || is_loopback || is_name || is_this
        })
    };
    !servers.is_empty() && !servers.iter().flat_map(|server| &server.servers).any(may_be_own)
}

/// Where the other nodes reach a node: at the address that its API server tells everybody, or else where SSH does.
fn addresses(server: Option<&ApiServer>, host: &Host) -> Vec<String> {
    const FLAG: &str = "--advertise-address=";
    let told = server.iter().flat_map(|server| &server.flags).filter_map(|flag| flag.strip_prefix(FLAG));
    let told = told.filter(|address| address.parse::<std::net::IpAddr>().is_ok_and(|ip| !ip.is_unspecified()));
    let mut all: Vec<String> = told.map(str::to_owned).collect();
    all.extend(host.addresses().into_iter().filter(|address| !all.contains(address)).collect::<Vec<_>>());
    all
}

/// The host of a URL.
fn host_of(url: &str) -> Option<String> {
    Some(url.trim().parse::<http::Uri>().ok()?.host()?.trim_matches(['[', ']']).to_owned())
}

/// Why there is no member on a node.
fn not_started(
    host: &Host,
    dir: &str,
    unread: Option<Failed>,
    passed_over: Vec<String>,
    services: &[EtcdService],
    failures: &[Failure],
) -> Failed {
    let node = &host.node;
    let none = || format!("node {node} has no manifest of etcd in {dir}, and no unit etcd.service");
    let failed = match (unread, services) {
        (Some(failed), []) => failed,
        (_, []) => Failed::new(Exit::Refused, none()),
        (_, several) => {
            let failed = Failed::new(Exit::Refused, format!("node {node} has several files with settings of etcd"));
            failed.causes(several.iter().map(|one| one.found_by.clone()))
        }
    };
    let failed = passed_over.into_iter().take(TOLD).fold(failed, Failed::cause);
    let failed = failures.iter().fold(failed, |failed, one| failed.cause(Failed::from(one.clone()).one_line()));
    failed.hint(
        "say where etcd is with --endpoints, --cacert, --cert and --key (paths on the node), or by its labels with -l",
    )
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
    pod.status = Some(PodStatus { host_ip: host.addresses().pop(), ..PodStatus::default() });
    pod
}

fn is_api_server(pod: &Pod) -> bool {
    [api_server::SELECTOR, api_server::OTHER_SELECTOR].iter().filter_map(|one| one.split_once('=')).any(has_label(pod))
}

/// Whether a pod is one of those that run beside an API server.
fn is_control_plane(pod: &Pod) -> bool {
    let names = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    names.iter().flat_map(|name| [("component", *name), ("k8s-app", *name)]).any(has_label(pod))
}

fn has_label<'a>(pod: &'a Pod) -> impl Fn((&str, &str)) -> bool + 'a {
    |(key, value)| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|its| its == value)
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

    fn told(files: Vec<(String, Vec<u8>)>) -> Told {
        Told { files: Ok(files), services: NodeServices::default() }
    }

    /// As kubespray has it.
    fn service() -> EtcdService {
        let settings = [
            ("name", "etcd2"),
            ("data-dir", "/var/lib/etcd"),
            ("wal-dir", "/var/lib/etcd/member/wal"),
            ("listen-client-urls", "https://10.89.0.12:2379,https://127.0.0.1:2379"),
            ("advertise-client-urls", "https://10.89.0.12:2379"),
            ("trusted-ca-file", "/etc/ssl/etcd/ssl/ca.pem"),
            ("cert-file", "/etc/ssl/etcd/ssl/member-cp2.pem"),
            ("key-file", "/etc/ssl/etcd/ssl/member-cp2-key.pem"),
            ("quota-backend-bytes", "8589934592"),
        ];
        EtcdService {
            found_by: "the unit /etc/systemd/system/etcd.service".into(),
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            source: None,
        }
    }

    #[test]
    fn a_unit_tells_of_etcd_where_no_manifest_does() {
        let (host, mut files) = cp2();
        let services = || NodeServices { etcd: vec![service()], failures: Vec::new() };
        // A manifest counts before a unit, which may be disabled.
        let all = Told { files: Ok(files.clone()), services: services() };
        let found = node(&host, all, &Overrides::default(), MANIFESTS).expect("etcd");
        assert_eq!((found.members[0].pod.as_str(), found.members.len()), ("etcd-cp2", 1));
        files.retain(|(name, _)| name != "etcd.yaml");
        let all = Told { files: Ok(files), services: services() };
        let found = node(&host, all, &Overrides::default(), MANIFESTS).expect("etcd");
        let [member] = &found.members[..] else { panic!("{found:?}") };
        assert_eq!((member.name.as_str(), member.pod.as_str(), member.quota), ("etcd2", "", 8 << 30));
        assert_eq!((member.data_dir.as_deref(), &member.wal_dir), (Some("/var/lib/etcd"), &None));
        assert_eq!(member.access.endpoints, ["https://127.0.0.1:2379", "https://10.89.0.12:2379"]);
        assert_eq!(member.addresses, ["10.89.0.12"]);
        let certs: Vec<&str> = member.access.credentials.iter().map(|pair| pair.cert.as_str()).collect();
        let [client, _, server] = certs[..] else { panic!("{certs:?}") };
        assert_eq!(client, "/etc/kubernetes/pki/apiserver-etcd-client.crt", "the one of the API server beside it");
        assert_eq!(server, "/etc/ssl/etcd/ssl/member-cp2.pem");

        // A machine of etcd alone has no kubelet.
        let missing = || Failed::new(Exit::Refused, "node cp2: cannot read /etc/kubernetes/manifests");
        let alone = Told { files: Err(missing()), services: services() };
        let found = node(&host, alone, &Overrides::default(), MANIFESTS).expect("etcd");
        assert_eq!((found.members[0].access.credentials.len(), found.api_servers.len()), (2, 0));
        let failures = vec![Failure::new(etcd_wire::FailureCode::BadRequest, "etcd.service starts no program etcd")];
        let nothing = Told { files: Err(missing()), services: NodeServices { etcd: Vec::new(), failures } };
        let failed = node(&host, nothing, &Overrides::default(), MANIFESTS).expect_err("nothing");
        assert!(failed.message.contains("cannot read") && failed.to_string().contains("starts no program"), "{failed}");
        let several = NodeServices { etcd: vec![service(), service()], failures: Vec::new() };
        let failed = node(&host, Told { files: Err(missing()), services: several }, &Overrides::default(), MANIFESTS);
        assert!(failed.expect_err("which?").message.contains("several"));
    }

    #[test]
    fn etcd_and_api_servers_may_be_on_different_machines() {
        let (host, mut files) = cp2();
        let services = || NodeServices { etcd: vec![service()], failures: Vec::new() };
        let found = node(&host, told(files.clone()), &Overrides::default(), MANIFESTS).expect("etcd");
        assert_eq!(found.members[0].parts, Parts::Both);
        // etcd alone, as a static pod and as a unit. A file that may be an API server's is no sign of that.
        let etcd: Vec<_> = files.iter().filter(|(name, _)| name == "etcd.yaml").cloned().collect();
        let parts = |files, services| {
            let found =
                node(&host, Told { files: Ok(files), services }, &Overrides::default(), MANIFESTS).expect("etcd");
            found.members[0].parts
        };
        assert_eq!(parts(etcd.clone(), NodeServices::default()), Parts::Etcd);
        assert_eq!(parts(Vec::new(), services()), Parts::Etcd);
        let unread = [etcd, vec![("kube-apiserver.yaml".to_owned(), b"kind: [".to_vec())]].concat();
        assert_eq!(parts(unread, NodeServices::default()), Parts::Both);
        let scheduler: Vec<_> = files.iter().filter(|(name, _)| name == "kube-scheduler.yaml").cloned().collect();
        assert_eq!(parts(scheduler, services()), Parts::Both);

        // An API server that uses the etcd of others. A package may have brought a unit that nobody uses.
        files.retain(|(name, _)| name != "etcd.yaml");
        let with_servers = |servers: &str| {
            let replace = |(name, text): &(String, Vec<u8>)| {
                let text = String::from_utf8_lossy(text).replace("https://127.0.0.1:2379", servers);
                (name.clone(), text.into_bytes())
            };
            files.iter().map(replace).collect::<Vec<_>>()
        };
        let others = || with_servers("https://10.89.0.21:2379,https://10.89.0.22:2379");
        for services in [NodeServices::default(), services()] {
            let all = Told { files: Ok(others()), services };
            let found = node(&host, all, &Overrides::default(), MANIFESTS).expect("an API server");
            let [alone] = &found.without_etcd[..] else { panic!("{found:?}") };
            assert_eq!(
                (alone.node.as_str(), alone.parts, &alone.addresses[..]),
                ("cp2", Parts::ApiServer, &["10.89.0.12".to_owned()][..])
            );
            assert!(found.members.is_empty() && found.unreadable.is_empty());
        }
        // A name may be anybody's where a unit is there.
        let named = || with_servers("https://etcd.example:2379");
        let all = Told { files: Ok(named()), services: services() };
        assert_eq!(node(&host, all, &Overrides::default(), MANIFESTS).expect("etcd").members.len(), 1);
        let alone = node(&host, told(named()), &Overrides::default(), MANIFESTS).expect("an API server");
        assert_eq!(alone.without_etcd.len(), 1);
        // Its own etcd by its address, or by its name.
        for own in ["https://10.89.0.21:2379,https://10.89.0.12:2379", "https://cp2:2379", "https://localhost:2379"] {
            let all = Told { files: Ok(with_servers(own)), services: services() };
            let found = node(&host, all, &Overrides::default(), MANIFESTS).expect("etcd");
            assert_eq!((found.members.len(), found.members[0].parts), (1, Parts::Both), "{own}");
            let none = node(&host, told(with_servers(own)), &Overrides::default(), MANIFESTS).expect_err("no etcd");
            assert!(none.message.contains("has no manifest of etcd"), "{none}");
        }
    }

    #[test]
    fn manifests_tell_what_the_pods_of_the_api_tell() {
        let (host, files) = cp2();
        let found = node(&host, told(files), &Overrides::default(), MANIFESTS).expect("etcd");
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
        let failed = node(&host, told(files.clone()), &Overrides::default(), MANIFESTS).expect_err("no etcd");
        let said = failed.to_string();
        assert!(
            said.contains("node cp2 has no manifest of etcd") && said.contains("etcd.yaml.bak was passed over"),
            "{said}"
        );
        // What the flags say is enough.
        let mut overrides = Overrides::default();
        overrides.reach.endpoints = vec!["https://127.0.0.1:2379".into()];
        let found = node(&host, told(files), &overrides, MANIFESTS).expect("an external etcd");
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
