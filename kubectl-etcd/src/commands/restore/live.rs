//! What must be known before a running control plane is restored: the file, the members, and what they hold.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::decode;
use etcd_objects::key::Prefix;
use etcd_snapshot::{DigestCheck, Keep, LiveKeys, Options, Pick, Report, VerifyError};
use etcd_store::ClusterUid;
use etcd_wire::facts::{EncryptionKey, FactsRequest, NodeFacts};
use etcd_wire::message::KubeSystem;
use etcd_wire::restore::Marker;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use super::new_cluster::{self, Known, NewCluster, PublicFiles};
use super::plan::{ApiNode, Cluster, Found, Plan, Seen};
use super::{Bump, Wanted, without_digest};
use crate::commands::proposal::{Keys, live_keys};
use crate::commands::verify::{Recorded, damaged, explain};
use crate::connection::Connection;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{self, EtcdPod, Overrides};
use crate::etcd_clusters::Evidence;
use crate::kube_system;
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt};
use crate::road::Road;
use crate::sidecar::{Ask, Operation, Surveyed, TransferError, Upload, survey};
use crate::snapshot_file::{AccessArgs, SnapshotFile};

/// What is done where members do not answer, or have no leader.
const LOST: &str = "if etcd has lost its quorum, see what is left, and rebuild it\n  kubectl etcd recover";

/// A file that was verified, and what it holds.
pub(super) struct Snapshot {
    file: SnapshotFile,
    report: Report,
    keys: LiveKeys,
    recorded: Recorded,
    /// The nodes of pods, by the pods' keys: where the snapshot is that of a lost cluster.
    bound: BTreeMap<Vec<u8>, String>,
    /// Files of a node of that cluster.
    node_files: Known<PublicFiles>,
}

/// A plan, and what it takes to carry it out.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) upload: Upload,
    /// Of the nodes that take part, by their names.
    pub(super) members: Vec<EtcdPod>,
    pub(super) road: Road,
}

/// Makes the plan, and changes nothing.
///
/// # Errors
/// The cluster cannot be reached. What speaks against the restore is in the plan.
pub(super) async fn plan(
    wanted: &Wanted<'_>,
    context: &Context,
    plane: &ControlPlane,
    snapshot: &Snapshot,
) -> Outcome<Planned> {
    let Snapshot { file, report, keys, recorded, .. } = snapshot;
    let found = members(wanted, context, plane).await?;
    let prefix = Evidence { api_servers: &found.api_servers, served: Err("") }.prefix().map(str::to_owned);
    let without_etcd = found.without_etcd.clone();
    let mut members = match plane.api() {
        Some(_) => found.all()?,
        None => found.all_on(wanted.to_nodes, context.printer)?,
    };
    plane.add_encryption_configs(context, &mut members).await?;
    let road = plane.road(wanted.sidecar, context).await?;
    // Where no API server tells whose cluster it is, its members do.
    let kube_system = plane.api().is_none().then(|| kube_system::key(prefix.as_deref()));
    let ask = Ask { kube_system, ..Ask::default() };
    let surveyed = survey(&road, members, Operation::Plan, &ask).await;
    let facts = join_all(surveyed.iter().map(|one| {
        let may_be_empty = wanted.lost.is_some_and(|lost| lost.is_without_log(&one.member.node));
        facts(&road, one, &wanted.manifests.manifests_dir, may_be_empty)
    }))
    .await;
    let api_nodes = join_all(without_etcd.iter().map(|node| api_facts(&road, node))).await;
    let live = match wanted.lost {
        None => live_keys(&road, &surveyed, context.printer).await,
        Some(lost) => lost.before.as_ref().map(Clone::clone).map_err(Failed::copy),
    };
    // Whoever carries the plan out has sidecars of another kind.
    let sidecars = surveyed.iter().filter_map(|one| one.sidecar.as_ref());
    join_all(sidecars.map(|sidecar| road.make_way(sidecar))).await;
    let cluster = match plane.api() {
        Some(connection) => cluster(connection).await?,
        None => match wanted.lost {
            None => cluster_of(plane.cluster(), &surveyed)?,
            Some(lost) => Cluster::without_api(plane.cluster(), lost.kube_system_uid.clone()),
        },
    };
    // Of a lost cluster it is the one that is named.
    let own_uid = wanted.new_cluster.map(ClusterUid::as_str).or(cluster.kube_system_uid.as_deref());
    let server_prefix = prefix;
    let (prefix, others) = own_prefix(keys, live.as_ref().ok(), own_uid);
    if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(Prefix::as_str).collect();
        let warning = format!(
            "{} also has the objects of other API servers, under {}: they are restored as well, and the plan counts them as other keys",
            wanted.file.display(),
            names.join(", ")
        );
        context.printer.warn(warning);
    }
    let kube_system = keys.get(&kube_system_of(&prefix));
    let found = Found {
        file: wanted.file.display().to_string(),
        taken_at: recorded.taken_at.clone(),
        now: Timestamp::now(),
        report,
        keys: &revisions(keys),
        encryption_keys: encryption_keys(keys),
        kube_system: kube_system.and_then(|live| live.value.as_deref()),
        cluster,
        prefix: &prefix,
        members: surveyed
            .iter()
            .zip(&facts)
            .map(|(one, facts)| Seen {
                pod: &one.member,
                status: one.etcd().map_err(|failed| failed.one_line()),
                facts: facts.as_ref().map(|facts| facts.as_ref().map_err(Failed::one_line)),
            })
            .collect(),
        without_etcd: without_etcd
            .iter()
            .zip(&api_nodes)
            .map(|(pod, facts)| ApiNode { pod, facts: facts.as_ref().map_err(Failed::one_line) })
            .collect(),
        live: live.as_ref().map_err(Failed::one_line),
        pod_namespace: &wanted.sidecar.pod_namespace,
        bump: wanted.bump,
        allow_lower_revisions: wanted.allow_lower_revisions,
        to_nodes: wanted.to_nodes,
        lost: wanted.lost,
        new_cluster: wanted.new_cluster,
        server_prefix: server_prefix.as_deref(),
    };
    let mut plan = Plan::make(&found);
    if let Some(uids) = found.takes_over() {
        plan.new_cluster = Some(compared(uids, snapshot, &found, &surveyed, plane).await);
    }
    for warning in &plan.warnings {
        context.printer.warn(warning);
    }
    let marker = kube_system.and_then(|live| {
        Some(Marker {
            uid: uid(live.value.as_deref()?)?,
            resource_version: live.mod_revision,
            key: Some(String::from_utf8_lossy(&kube_system_of(&prefix)).into_owned()),
        })
    });
    let parts = found.parts();
    plan.bind(
        &wanted.flags.terms(plane, wanted.keep_unready, marker).await,
        wanted.skip_hash_check,
        &parts,
        wanted.lost,
    );
    let taking_part: Vec<EtcdPod> = parts.iter().map(|part| part.pod.clone()).collect();
    let raised_from = (wanted.bump == Bump::Auto).then_some(report.current_revision);
    let upload =
        Upload { raised_from, file: file.clone(), bytes: report.file_size, sha256: report.file_sha256.clone() };
    let of_disks =
        facts.iter().flatten().flatten().flat_map(|facts| &facts.failures).filter_map(|one| one.hint.as_ref());
    let of_pods = surveyed.iter().filter_map(|one| one.outcome.as_ref().err()).flat_map(|failed| &failed.hints);
    plan.hints.extend(of_disks.chain(of_pods).cloned());
    let answers = |one: &Surveyed| one.etcd().is_ok_and(|status| status.leader_id != 0);
    if plane.api().is_none() && wanted.lost.is_none() && !surveyed.iter().all(answers) {
        plan.hints.insert(LOST.to_owned());
    }
    Ok(Planned { plan, upload, members: taking_part, road })
}

/// The lost cluster beside the one that is in place.
async fn compared(
    uids: [&str; 2],
    snapshot: &Snapshot,
    found: &Found<'_>,
    surveyed: &[Surveyed],
    plane: &ControlPlane,
) -> NewCluster {
    let lost = new_cluster::Lost {
        keys: &snapshot.keys,
        prefix: found.prefix,
        recorded: &snapshot.recorded,
        etcd: &snapshot.report.writer,
        encryption_keys: found.encryption_keys.clone(),
        files: &snapshot.node_files,
    };
    let around = new_cluster::Around {
        members: surveyed.iter().map(|one| &one.member).collect(),
        encryption_keys: found.shared_keys(),
        kubernetes: found.cluster.kubernetes_version.clone(),
        etcd: found.oldest_etcd(),
        nodes: found.live.as_ref().ok().map(|live| new_cluster::nodes_in(live.keys(), found.prefix)),
        administrators: found.live.clone().map(|live| new_cluster::binds_administrators(live.keys(), found.prefix)),
    };
    let present = new_cluster::present(plane.api(), around).await;
    let pods = snapshot.pods(found.prefix);
    NewCluster::of(uids, &lost.side(), &present, &pods, &lost.leases())
}

impl Snapshot {
    /// Pods below a prefix, NAMESPACE/NAME, by their nodes.
    fn pods(&self, prefix: &Prefix) -> BTreeMap<String, Vec<String>> {
        let directory = format!("{}/pods/", prefix.as_str());
        let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, node) in &self.bound {
            if let Some(pod) = key.strip_prefix(directory.as_bytes()).and_then(|pod| std::str::from_utf8(pod).ok()) {
                by_node.entry(node.clone()).or_default().push(pod.to_owned());
            }
        }
        by_node
    }

    /// The members of the cluster when it was written.
    pub(super) fn members(&self) -> &[etcd_snapshot::Member] {
        &self.report.members
    }

    /// Its keys.
    pub(super) fn keys(&self) -> Keys {
        revisions(&self.keys)
    }

    /// The cluster that it is of.
    pub(super) fn kube_system_uid(&self) -> Option<String> {
        let held = self.keys.iter().filter(|(key, _)| is_kube_system(key));
        held.filter_map(|(_, live)| uid(live.value.as_deref()?)).next()
    }
}

fn revisions(keys: &LiveKeys) -> Keys {
    keys.iter().map(|(key, live)| (key.clone(), live.mod_revision)).collect()
}

/// By what the values of a file are encrypted, each key once.
fn encryption_keys(keys: &LiveKeys) -> Vec<EncryptionKey> {
    let all: BTreeSet<_> = keys.values().filter_map(|live| live.encrypted_by.as_deref()).collect();
    let key = |key: &etcd_snapshot::EncryptionKey| EncryptionKey {
        provider: key.provider.clone(),
        version: key.version.clone(),
        name: key.name.clone(),
    };
    all.into_iter().map(key).collect()
}

/// What a node's disk tells; `None` if there is no sidecar to ask.
async fn facts(road: &Road, one: &Surveyed, manifests_dir: &str, may_be_empty: bool) -> Option<Outcome<NodeFacts>> {
    let sidecar = one.sidecar.as_ref()?;
    let Some(data_dir) = one.member.data_dir.clone() else {
        return Some(Err(Failed::plain("its data directory is not on a hostPath volume")));
    };
    let request = FactsRequest {
        data_dir,
        wal_dir: one.member.wal_dir.clone(),
        manifests_dir: manifests_dir.to_owned(),
        may_be_empty,
        parts: one.member.parts,
        health: None,
    };
    let ask = async {
        let mut session = road.session(sidecar).await.map_err(TransferError::into_failed)?;
        session.require("facts")?;
        let facts = session.facts(request).await?;
        road.rest(sidecar, session);
        Ok(facts)
    };
    Some(ask.await)
}

/// What starts the API server of a node without etcd.
async fn api_facts(road: &Road, node: &EtcdPod) -> Outcome<NodeFacts> {
    let sidecar = road.start(node, Operation::Plan, None).await?;
    let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    session.require("facts")?;
    let (manifests_dir, parts) = (node.manifests_dir.clone().unwrap_or_default(), node.parts);
    let facts = session.facts(FactsRequest { manifests_dir, parts, ..FactsRequest::default() }).await?;
    road.rest(&sidecar, session);
    road.make_way(&sidecar).await;
    Ok(facts)
}

/// The members, with the folder of their nodes' static pods.
///
/// # Errors
/// See [`discovery::find`].
async fn members(wanted: &Wanted<'_>, context: &Context, plane: &ControlPlane) -> Outcome<discovery::Found> {
    let overrides = Overrides { reach: wanted.reach.clone(), data_dir: None };
    match wanted.lost {
        None => plane.with_manifests(context, &overrides, wanted.manifests).await,
        Some(lost) => {
            let found = plane.on_hosts(&lost.hosts, &overrides, wanted.manifests).await?;
            Ok(found.without_nodes(&lost.without_etcd, context.printer))
        }
    }
}

/// Verifies the file, and reads its keys.
///
/// # Errors
/// The file is damaged, or nothing proves its bytes (exit 3), or it cannot be read.
pub(super) async fn read(wanted: &Wanted<'_>, access: &AccessArgs, context: &Context) -> Outcome<Snapshot> {
    let file = SnapshotFile::open(wanted.file, access, context).await?;
    let (to_read, shown) = (file.clone(), wanted.file);
    let digest = if wanted.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute };
    let (printer, cancelled) = (context.printer, context.cancelled());
    let of_lost = wanted.new_cluster.is_some();
    let node_files = match of_lost {
        true => new_cluster::files(&file, access, context).await?,
        false => Err("no lost cluster is named".to_owned()),
    };
    let read = tokio::task::spawn_blocking(move || {
        let bar = Progress::new(printer, "verify", 0);
        let options = Options { digest, cancel: Some(&cancelled), ..Options::default() };
        let progress = |at: etcd_snapshot::Progress| bar.update(at.walked, at.total);
        let keep = |key: &[u8]| match of_lost {
            true => new_cluster::keeps(key),
            false if is_kube_system(key) => Keep::Value,
            false => Keep::Key,
        };
        // The last revision of a pod counts, if it is still there.
        let bound = RefCell::new(BTreeMap::new());
        let look = |key: &[u8], revision: i64, value: Vec<u8>| {
            bound.borrow_mut().insert(key.to_vec(), (revision, new_cluster::node_of(&value)));
        };
        let pick = Pick { look: Some(&look), ..Pick::new(&keep) };
        let (report, keys) = etcd_snapshot::live_keys(to_read.source(), &options, &pick, &progress)?;
        let is_live = |key: &Vec<u8>, revision| keys.get(key).is_some_and(|live| live.mod_revision == revision);
        let bound = bound.into_inner().into_iter().filter(|(key, (revision, _))| is_live(key, *revision));
        let bound = bound.filter_map(|(key, (_, node))| Some((key, node?))).collect::<BTreeMap<_, _>>();
        Ok((report, keys, bound))
    });
    let (mut report, keys, bound) =
        read.await.or_fail(|| "cannot read the file".to_owned())?.map_err(|error| match error {
            VerifyError::Damaged(damage) => damaged(shown, &damage),
            error => explain(error, shown),
        })?;
    if report.digest == etcd_snapshot::DigestState::Absent && !wanted.skip_hash_check {
        return Err(without_digest(shown));
    }
    let recorded = Recorded::of(&file, &report, context.printer);
    recorded.etcd_version.iter().for_each(|version| report.taken_from(version));
    for warning in &report.warnings {
        context.printer.warn(warning.to_string());
    }
    Ok(Snapshot { file, report, keys, recorded, bound, node_files })
}

fn kube_system_of(prefix: &Prefix) -> Vec<u8> {
    format!("{}/namespaces/kube-system", prefix.as_str()).into_bytes()
}

/// The prefix of the API server of the running cluster, by the UID that it serves, and those of others that keep their objects in the
/// same etcd.
fn own_prefix(keys: &LiveKeys, live: Option<&Keys>, served: Option<&str>) -> (Prefix, Vec<Prefix>) {
    let mut all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
    if all.is_empty() {
        all = Prefix::detect_all(live.into_iter().flat_map(Keys::keys).map(Vec::as_slice));
    }
    let is_served = |prefix: &Prefix| {
        let value = keys.get(&kube_system_of(prefix)).and_then(|live| live.value.as_deref());
        served.is_some() && value.and_then(uid).as_deref() == served
    };
    // Of none, it is another cluster's file, which the plan refuses.
    let own = all.iter().position(is_served).unwrap_or_default();
    if all.is_empty() { (Prefix::default(), Vec::new()) } else { (all.remove(own), all) }
}

/// Whether a key is that of namespace kube-system, whose UID a cluster keeps for life.
fn is_kube_system(key: &[u8]) -> bool {
    key.ends_with(b"/namespaces/kube-system")
}

/// The UID of an object as the API server stored it; `None` if it is encrypted, or no object.
pub(super) fn uid(stored: &[u8]) -> Option<String> {
    let object = decode(stored).ok()?;
    object.uid().filter(|uid| !uid.is_empty()).map(str::to_owned)
}

async fn cluster(connection: &Connection) -> Outcome<Cluster> {
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let (namespace, version) = tokio::join!(namespaces.get("kube-system"), connection.client.apiserver_version());
    let namespace = namespace.map_err(|error| {
        if matches!(&error, kube::Error::Api(status) if status.code == 404) {
            let failed = Failed::new(Exit::Refused, "the cluster has no namespace kube-system: etcd has lost its data");
            return failed.source(&error).hint(
                "restore a backup over SSH, where the API server is not asked\n  \
                 kubectl etcd restore FILE --ssh --nodes NODE=ADDRESS --new-cluster UID",
            );
        }
        let failed = Failed::plain("cannot identify the cluster: cannot read namespace kube-system").source(&error);
        failed.hint(
            "a restore needs the right to get namespace kube-system\n  kubectl auth can-i get namespace/kube-system",
        )
    })?;
    Ok(Cluster {
        name: connection.cluster.clone(),
        server: connection.server.clone(),
        kube_system_uid: namespace.metadata.uid,
        empty: false,
        kubernetes_version: version.ok().map(|version| version.git_version),
    })
}

/// The cluster as its members tell it.
///
/// # Errors
/// They are of several clusters (exit 4).
fn cluster_of(name: &str, surveyed: &[Surveyed]) -> Outcome<Cluster> {
    let uid = |one: &Surveyed| match &one.etcd().ok()?.kube_system {
        Some(KubeSystem::Held { value, .. }) => kube_system::uid(value),
        _ => None,
    };
    let told: Vec<(&str, String)> =
        surveyed.iter().filter_map(|one| Some((one.member.node.as_str(), uid(one)?))).collect();
    let answers: Vec<_> = surveyed.iter().filter_map(|one| one.etcd().ok()?.kube_system.as_ref()).collect();
    let empty = !answers.is_empty() && answers.iter().all(|found| matches!(found, KubeSystem::Absent));
    Ok(Cluster { empty, ..Cluster::without_api(name, agreed(&told)?) })
}

/// The UID of namespace kube-system that all members have which tell one, by their nodes.
fn agreed(told: &[(&str, String)]) -> Outcome<Option<String>> {
    let Some((_, first)) = told.first() else { return Ok(None) };
    match told.iter().all(|(_, uid)| uid == first) {
        true => Ok(Some(first.clone())),
        false => {
            Err(Failed::new(Exit::Refused, "the members are of several clusters, by the UID of namespace kube-system")
                .causes(told.iter().map(|(node, uid)| format!("node {node}: {uid}")))
                .hint("see what each node has\n  kubectl etcd recover"))
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::LiveKey;

    use super::*;

    #[test]
    fn members_of_several_clusters_are_told() {
        let told = |uids: &[&'static str]| uids.iter().map(|uid| (*uid, (*uid).to_owned())).collect::<Vec<_>>();
        assert_eq!(agreed(&told(&["a", "a"])).expect("one"), Some("a".to_owned()));
        assert_eq!(agreed(&[]).expect("none"), None);
        let failed = agreed(&told(&["a", "b"])).expect_err("two");
        assert_eq!((failed.exit, failed.causes.len()), (Exit::Refused, 2));
    }

    #[test]
    fn the_api_server_that_runs_is_found_among_several() {
        let namespace = |key: &str, uid: &str| {
            let json = serde_json::json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"uid": uid}});
            let value = Some(json.to_string().into_bytes());
            let live = LiveKey { mod_revision: 1, versions: 1, value_bytes: 1, encrypted_by: None, value };
            (format!("{key}/namespaces/kube-system").into_bytes(), live)
        };
        let keys: LiveKeys = [namespace("/a", "1"), namespace("/b", "2")].into();
        let found = |keys: &LiveKeys, live: Option<&Keys>, served| {
            let (own, others) = own_prefix(keys, live, served);
            (
                own.as_str().to_owned(),
                others.iter().map(|other| other.as_str().to_owned()).collect::<Vec<_>>().join(" "),
            )
        };
        for (served, expected) in
            [(Some("1"), ("/a", "/b")), (Some("2"), ("/b", "/a")), (Some("3"), ("/a", "/b")), (None, ("/a", "/b"))]
        {
            assert_eq!(found(&keys, None, served), (expected.0.to_owned(), expected.1.to_owned()), "{served:?}");
        }
        let live: Keys = [(b"/c/namespaces/default".to_vec(), 1)].into();
        assert_eq!(found(&LiveKeys::new(), Some(&live), Some("1")), ("/c".to_owned(), String::new()));
        assert_eq!(found(&LiveKeys::new(), None, None), ("/registry".to_owned(), String::new()));
    }
}
