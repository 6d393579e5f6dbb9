//! The plan of a restore, as a pure function of what was found: nothing here asks or touches anything.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::key::Prefix;
use etcd_snapshot::Report;
use etcd_store::ClusterUid;
use etcd_wire::facts::{Encryption, EncryptionKey, NodeFacts};
use etcd_wire::message::MemberStatus;
use etcd_wire::restore::{Parts, RestorePlan, least_revision};
use jiff::Timestamp;
use serde::Serialize;

use super::live::uid;
use super::new_cluster::NewCluster;
use super::node_role::{self, NodeRole};
use super::room::Room;
use super::{Bump, Lost};
use crate::commands::proposal::{Changes, Keys, Outage};
use crate::discovery::EtcdPod;
use crate::output::API_VERSION;
use crate::transaction::MARGIN;

/// Revisions between a backup and what is restored of it where no member tells how far the cluster came: more than a cluster makes in years, as upstream
/// advises (etcd.io, "Disaster recovery", `--bump-revision`).
const FAR: u64 = 1_000_000_000;
/// Brings back the old data.
const WAY_BACK: &str = "kubectl etcd rollback";
/// Makes a snapshot of the old data of a cluster without a quorum: no rollback returns to that.
const WAY_BACK_OF_LOST: &str = "etcd-sidecar recover --data-dir DATA_DIR/.kubectl-etcd/ID/old --snapshot FILE";

/// All that is known before a restore.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) file: String,
    /// When the snapshot was taken, where the file beside it says so.
    pub(super) taken_at: Option<String>,
    /// The moment of the plan.
    pub(super) now: Timestamp,
    pub(super) report: &'a Report,
    /// The file's keys.
    pub(super) keys: &'a Keys,
    /// By what the file's values are encrypted.
    pub(super) encryption_keys: Vec<EncryptionKey>,
    /// Namespace kube-system as the file has it.
    pub(super) kube_system: Option<&'a [u8]>,
    pub(super) cluster: Cluster,
    /// That of the cluster's API server.
    pub(super) prefix: &'a Prefix,
    pub(super) members: Vec<Seen<'a>>,
    /// Nodes whose API servers use the etcd of other nodes.
    pub(super) without_etcd: Vec<ApiNode<'a>>,
    /// The cluster's keys, or why no member lists them: the rest of the plan stands without them.
    pub(super) live: Result<&'a Keys, String>,
    /// Where sidecars run.
    pub(super) pod_namespace: &'a str,
    pub(super) bump: Bump,
    /// Whether revisions may go below those that clients have seen.
    pub(super) allow_lower_revisions: bool,
    /// The nodes that get the snapshot; empty if all do.
    pub(super) to_nodes: &'a [String],
    /// What is known of a cluster that has lost its quorum, if this one has.
    pub(super) lost: Option<&'a Lost>,
    /// The lost cluster that the file is of, by the user's word (`--new-cluster`).
    pub(super) new_cluster: Option<&'a ClusterUid>,
    /// Where the API server keeps its objects (`--etcd-prefix`), if that is known.
    pub(super) server_prefix: Option<&'a str>,
}

/// A member, and what is known of it.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) pod: &'a EtcdPod,
    /// What the member said, or why it did not.
    pub(super) status: Result<&'a MemberStatus, String>,
    /// What its node's disk tells, or why nobody could look; `None` if there was no sidecar to look, which is then said in `status`.
    pub(super) facts: Option<Result<&'a NodeFacts, String>>,
}

/// A node without etcd, and what is known of it.
#[derive(Debug)]
pub(super) struct ApiNode<'a> {
    pub(super) pod: &'a EtcdPod,
    /// What starts its API server, or why nobody could look.
    pub(super) facts: Result<&'a NodeFacts, String>,
}

/// The running cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) server: String,
    pub(super) kube_system_uid: Option<String>,
    /// Whether all members say that there is no namespace kube-system.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) empty: bool,
    pub(super) kubernetes_version: Option<String>,
}

impl Cluster {
    /// One whose API server is not asked.
    pub(super) fn without_api(name: &str, kube_system_uid: Option<String>) -> Cluster {
        Cluster {
            name: name.to_owned(),
            server: String::new(),
            kube_system_uid,
            empty: false,
            kubernetes_version: None,
        }
    }
}

/// What would be done, and what speaks against it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    pub(super) cluster: Cluster,
    pub(super) snapshot: Snapshot,
    pub(super) revision: Revision,
    pub(super) members: Vec<Member>,
    /// Nodes without etcd, whose API servers are stopped meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) api_servers: Vec<ApiServerNode>,
    /// What could not be reached to be stopped: nodes, and members that have no pod.
    pub(super) not_reached: Vec<String>,
    pub(super) outage: Outage,
    pub(super) way_back: &'static str,
    /// The lost cluster whose state is taken over, beside the one that is in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_cluster: Option<NewCluster>,
    /// UID of the cluster whose place is taken.
    #[serde(skip)]
    pub(super) replaces: Option<String>,
    /// `None` if it is not known what the cluster holds, or the file is not its own.
    #[serde(flatten)]
    pub(super) changes: Option<Changes>,
    /// Why it is not known what the cluster holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) changes_unknown: Option<String>,
    /// What the nodes are told to do; `None` if a member cannot take part, which is then among the refusals.
    pub(super) transaction: Option<RestorePlan>,
    /// What is worth knowing.
    pub(super) warnings: Vec<String>,
    /// Why it would not be done.
    pub(super) refusals: Vec<String>,
    /// What would mend that, for people.
    #[serde(skip)]
    pub(super) hints: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    pub(super) file: String,
    pub(super) taken_at: Option<String>,
    /// How long before the plan.
    pub(super) age_seconds: Option<i64>,
    pub(super) kube_system_uid: Option<String>,
    pub(super) keys: u64,
    pub(super) total_size: u64,
    /// The line of etcd that wrote it, and the version that its store has, from 3.6 on.
    pub(super) etcd: String,
    pub(super) storage_version: String,
    pub(super) encryption_keys: Vec<EncryptionKey>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revision {
    pub(super) snapshot: i64,
    /// The highest that a member has.
    pub(super) highest: Option<i64>,
    pub(super) bump: u64,
    pub(super) restored: i64,
    /// The least bump above which no client takes what is new for what it has seen; `None` if no member tells its revision.
    pub(super) least_bump: Option<u64>,
    /// Whether the bump may be less, because that was asked for.
    pub(super) may_be_lower: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) node: String,
    #[serde(rename = "fate")]
    pub(super) role: NodeRole,
    pub(super) peer_urls: Vec<String>,
    pub(super) etcd_version: Option<String>,
    pub(super) revision: Option<i64>,
    pub(super) data_dir: Option<String>,
    /// Where the old data will be kept; `ID` stands for what the restore will be called.
    pub(super) aside: Option<String>,
    pub(super) disk: Option<Room>,
    /// The files that start the control plane, by component.
    pub(super) manifests: Option<BTreeMap<String, String>>,
    /// By what the API server on the node encrypts, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<Encryption>,
}

/// A node whose API server uses the etcd of other nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiServerNode {
    pub(super) node: String,
    /// The files that start the control plane, by component.
    pub(super) manifests: Option<BTreeMap<String, String>>,
    pub(super) encryption: Encryption,
}

impl ApiServerNode {
    fn of(node: &ApiNode<'_>) -> ApiServerNode {
        let facts = node.facts.as_ref().ok();
        ApiServerNode {
            node: node.pod.node.clone(),
            manifests: facts.and_then(|facts| facts.manifests.clone()),
            encryption: facts.map(|facts| facts.encryption.clone()).unwrap_or_default(),
        }
    }
}

impl Plan {
    /// Decides what is to be done.
    pub(super) fn make(found: &Found<'_>) -> Plan {
        let report = found.report;
        let revision = Revision::of(found);
        let file_uid = found.kube_system.and_then(uid);
        let permitted = found.permitted(file_uid.as_deref());
        let replaces = found.takes_over().map(|[_, replaced]| replaced.to_owned());
        let mut refusals = found.objections(file_uid.as_deref());
        let revision = revision.unwrap_or_else(|(revision, why)| {
            refusals.push(why);
            revision
        });
        Plan {
            api_version: API_VERSION,
            kind: "RestorePlan",
            cluster: found.cluster.clone(),
            snapshot: Snapshot {
                file: found.file.clone(),
                taken_at: found.taken_at.clone(),
                age_seconds: found.age_seconds(),
                kube_system_uid: file_uid,
                keys: report.live_keys,
                total_size: report.total_size,
                etcd: report.writer.clone(),
                storage_version: report.version.clone(),
                encryption_keys: found.encryption_keys.clone(),
            },
            revision,
            members: found.members.iter().map(|one| Member::of(one, found.role_of(one), report.total_size)).collect(),
            api_servers: found.without_etcd.iter().map(ApiServerNode::of).collect(),
            not_reached: match found.lost {
                None => node_role::not_reached(found.to_nodes, &found.members),
                Some(lost) => lost.gone.clone(),
            },
            outage: Outage::new(),
            way_back: if found.lost.is_none() { WAY_BACK } else { WAY_BACK_OF_LOST },
            new_cluster: None,
            changes: found.live.as_ref().ok().filter(|_| permitted.is_ok()).map(|live| {
                let changes = if replaces.is_some() { Changes::replacing } else { Changes::between };
                changes(live, found.keys, found.prefix, found.pod_namespace)
            }),
            changes_unknown: found.live.as_ref().err().filter(|_| permitted.is_ok()).cloned(),
            replaces,
            transaction: None,
            warnings: found.doubts(),
            refusals,
            hints: permitted.err().and_then(|not| not.hint).into_iter().collect(),
        }
    }
}

impl Revision {
    /// To which revision the cluster is raised.
    ///
    /// # Errors
    /// Why it cannot, or must not, be that one.
    fn of(found: &Found<'_>) -> Result<Revision, (Revision, String)> {
        let told = found.members.iter().filter_map(|one| Some(one.status.as_ref().ok()?.revision));
        let highest = told.chain(found.lost.and_then(|lost| lost.highest)).max();
        let snapshot = found.report.current_revision;
        let above = |revision: i64| u64::try_from(revision.saturating_sub(snapshot)).unwrap_or(0);
        let bump = match found.bump {
            Bump::By(amount) => amount,
            // How far the cluster came after the backup is not known.
            Bump::Auto if found.lost.is_some() && highest.is_none() => FAR,
            Bump::Auto => highest.map_or(0, above).saturating_add(MARGIN.unsigned_abs()),
        };
        let restored = i64::try_from(bump).ok().and_then(|bump| snapshot.checked_add(bump));
        let least_bump = highest.map(|highest| above(least_revision(highest)));
        let may_be_lower = found.allow_lower_revisions;
        let revision =
            Revision { snapshot, highest, bump, restored: restored.unwrap_or(snapshot), least_bump, may_be_lower };
        if restored.is_none() {
            let why = format!("revision {snapshot} cannot be raised by {bump}: revisions end at {}", i64::MAX);
            return Err((revision, why));
        }
        match (highest, least_bump) {
            (Some(highest), Some(least)) if revision.is_lower() && !may_be_lower => {
                let why = format!(
                    "revisions would go below those that clients have seen: the file is at revision {snapshot}, --bump-revision raises it by \
                     {bump} to {}, and a member has served revision {highest}; the least bump that is safe is {least} plus the writes until \
                     etcd stops. Use --bump-revision auto. --allow-lower-revisions permits lower revisions",
                    revision.restored
                );
                Err((revision, why))
            }
            _ => Ok(revision),
        }
    }

    /// Whether clients that have seen the cluster as it is may take new revisions for those that they know.
    pub(super) fn is_lower(&self) -> bool {
        self.least_bump.is_some_and(|least| self.bump < least)
    }
}

impl Member {
    fn of(seen: &Seen<'_>, role: NodeRole, snapshot_bytes: u64) -> Member {
        let (pod, status) = (seen.pod, seen.status.as_ref().ok());
        let facts = seen.facts.as_ref().and_then(|facts| facts.as_ref().ok());
        let restored = role == NodeRole::Restored;
        let aside = |dir: &String| format!("{}/.kubectl-etcd/ID/old", dir.trim_end_matches('/'));
        Member {
            name: pod.name.clone(),
            node: pod.node.clone(),
            role,
            peer_urls: pod.peer_urls.clone(),
            etcd_version: status.map(|status| status.version.clone()),
            revision: status.map(|status| status.revision),
            data_dir: pod.data_dir.clone(),
            aside: pod.data_dir.as_ref().filter(|_| restored).map(aside),
            disk: facts.filter(|_| restored).and_then(|facts| Some(Room::of(facts.disk.as_ref()?, snapshot_bytes))),
            manifests: facts.and_then(|facts| facts.manifests.clone()),
            encryption: (pod.parts != Parts::Etcd)
                .then(|| facts.map(|facts| facts.encryption.clone()).unwrap_or_default()),
        }
    }
}

impl Found<'_> {
    pub(super) fn role_of(&self, seen: &Seen<'_>) -> NodeRole {
        NodeRole::of(seen, self.to_nodes)
    }

    fn age_seconds(&self) -> Option<i64> {
        let taken: Timestamp = self.taken_at.as_ref()?.parse().ok()?;
        Some(self.now.as_second() - taken.as_second())
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::{Options, verify};
    use etcd_wire::facts::Disk;
    use etcd_wire::message::Member as Listed;
    use etcd_wire::{Failure, FailureCode};

    use super::*;

    /// A real snapshot of etcd 3.6, by its figures.
    fn report() -> Report {
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/etcd/etcd-3.6.14-learner.db.zst");
        let bytes = zstd::decode_all(std::fs::File::open(packed).expect("the tests' data")).expect("zstd");
        verify(&bytes, &Options::default(), &|_| {}).expect("a sound file")
    }

    fn pod(name: &str) -> EtcdPod {
        EtcdPod { name: name.into(), node: name.into(), data_dir: Some("/var/lib/etcd".into()), ..Default::default() }
    }

    fn plan(change: impl FnOnce(&mut Found<'_>), status: MemberStatus) -> Plan {
        plan_on(&facts(), change, status)
    }

    /// On a node whose disk tells this.
    fn plan_on(facts: &NodeFacts, change: impl FnOnce(&mut Found<'_>), status: MemberStatus) -> Plan {
        let (report, keys, one) = (report(), Keys::new(), pod("cp1"));
        let uid = br#"{"metadata":{"uid":"a-b"}}"#;
        let mut found = Found {
            file: "a.db".into(),
            taken_at: Some("2026-11-21T06:00:00Z".into()),
            now: "2026-11-21T09:00:00Z".parse().expect("a time"),
            report: &report,
            keys: &keys,
            encryption_keys: Vec::new(),
            kube_system: Some(uid),
            cluster: Cluster {
                name: "c".into(),
                server: "s".into(),
                kube_system_uid: Some("a-b".into()),
                empty: false,
                kubernetes_version: None,
            },
            prefix: &Prefix::default(),
            members: vec![Seen { pod: &one, status: Ok(&status), facts: Some(Ok(facts)) }],
            without_etcd: Vec::new(),
            live: Ok(&keys),
            pod_namespace: "kube-system",
            bump: Bump::Auto,
            allow_lower_revisions: false,
            to_nodes: &[],
            lost: None,
            new_cluster: None,
            server_prefix: Some("/registry"),
        };
        change(&mut found);
        Plan::make(&found)
    }

    fn facts() -> NodeFacts {
        NodeFacts {
            disk: Some(Disk { free_bytes: 1 << 40, wal_free_bytes: None, database_bytes: 5 << 20 }),
            manifests: Some(BTreeMap::from([("etcd".into(), "etcd.yaml".into())])),
            encryption: Encryption::Off,
            failures: Vec::new(),
            health: None,
        }
    }

    fn key(name: &str) -> EncryptionKey {
        EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: name.into() }
    }

    fn status() -> MemberStatus {
        MemberStatus { version: "3.6.14".into(), revision: 5000, ..Default::default() }
    }

    #[test]
    fn auto_is_a_margin_above_the_highest_revision_there_is() {
        let snapshot = report().current_revision;
        let revision = plan(|_| {}, status()).revision;
        assert_eq!((revision.highest, revision.restored), (Some(5000), 5000 + MARGIN));
        // A member that is behind the file does not lower it.
        let behind = plan(|_| {}, MemberStatus { revision: 1, ..status() }).revision;
        assert_eq!(behind.restored, snapshot + MARGIN);
        // One that is behind the file is no reason to raise it at all.
        let behind = plan(|found| found.bump = Bump::By(0), MemberStatus { revision: 1, ..status() });
        assert_eq!((behind.revision.restored, behind.refusals.len()), (snapshot, 0));
        let beyond = plan(|found| found.bump = Bump::By(i64::MAX as u64), status());
        assert!(beyond.refusals[0].contains("cannot be raised"), "{:?}", beyond.refusals);
    }

    #[test]
    fn over_ssh_a_member_without_a_leader_is_no_member_of_a_quorum() {
        let over_ssh = |found: &mut Found<'_>| found.cluster.server.clear();
        let refusals = plan(over_ssh, MemberStatus { leader_id: 0, ..status() }).refusals;
        assert!(refusals.iter().any(|why| why.contains("has no leader: etcd has lost its quorum")), "{refusals:?}");
        assert!(plan(over_ssh, MemberStatus { leader_id: 1, ..status() }).refusals.is_empty());
    }

    /// What a dead member would say is known from disks.
    #[test]
    fn a_cluster_without_quorum_is_planned_by_what_lies_on_its_nodes() {
        // As long as any plan lives.
        let lost: &'static Lost = Box::leak(Box::new(Lost {
            without_etcd: Vec::new(),
            hosts: Vec::new(),
            gone: vec!["cp2".into(), "cp3".into()],
            ends: Vec::new(),
            highest: Some(9000),
            kube_system_uid: Some("a-b".into()),
            before: Ok(Keys::new()),
        }));
        let found = |found: &mut Found<'_>| {
            found.cluster.server.clear();
            found.members[0].status = Err("it does not run".into());
            found.lost = Some(lost);
        };
        let plan = plan(found, status());
        assert_eq!((&plan.refusals, plan.revision.restored), (&Vec::new(), 9000 + MARGIN));
        assert_eq!(plan.not_reached, ["cp2", "cp3"]);
        let text = plan.whole_text(false);
        assert!(!text.contains("etcd rollback") && text.contains("Undo:       etcd-sidecar recover "), "{text}");
    }

    #[test]
    fn what_nodes_and_servers_say_forges_no_line_of_a_plan() {
        let hostile = || "v1\u{1b}[1A\u{9b}2K\nCluster:   another\u{2066}".to_owned();
        let change = |found: &mut Found<'_>| {
            found.cluster.name = hostile();
            found.cluster.kubernetes_version = Some(hostile());
            found.taken_at = Some(hostile());
            found.encryption_keys = vec![key(&hostile())];
        };
        let encryption = Encryption::Keys { keys: vec![key(&hostile())] };
        let text =
            plan_on(&NodeFacts { encryption, ..facts() }, change, MemberStatus { version: hostile(), ..status() })
                .whole_text(false);
        assert!(text.contains(r"v1\x1b[1A\x9b2K\nCluster:   another\u2066"), "{text:?}");
        assert!(text.chars().all(|c| (!c.is_control() && c != '\u{2066}') || c == '\n'), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("Cluster:")).count(), 1, "{text}");
    }

    #[test]
    fn revisions_go_down_only_if_that_is_asked_for() {
        let snapshot = report().current_revision;
        // A client that has seen 5000 watches from 5001 on, which must be below what is compacted.
        let least = u64::try_from(5002 - snapshot).expect("above the file's");
        for (bump, lower) in [(0, true), (7, true), (least - 1, true), (least, false)] {
            let refused = plan(|found| found.bump = Bump::By(bump), status());
            assert_eq!(refused.refusals.len(), usize::from(lower), "{bump}: {:?}", refused.refusals);
            let numbers = [
                format!("the file is at revision {snapshot}"),
                format!("raises it by {bump} to"),
                "has served revision 5000".to_owned(),
                format!("the least bump that is safe is {least}"),
                "--allow-lower-revisions".to_owned(),
            ];
            assert!(refused.refusals.iter().all(|why| numbers.iter().all(|part| why.contains(part))), "{refused:?}");
            let allowed = plan(|found| (found.bump, found.allow_lower_revisions) = (Bump::By(bump), true), status());
            assert!(allowed.refusals.is_empty() && allowed.revision.may_be_lower, "{:?}", allowed.refusals);
            assert_eq!(allowed.whole_text(false).contains("\nWatches:"), lower, "{}", allowed.whole_text(false));
        }
        // Nothing is allowed that cannot be.
        let beyond = plan(|found| (found.bump, found.allow_lower_revisions) = (Bump::By(u64::MAX), true), status());
        assert!(beyond.refusals.len() == 1 && beyond.refusals[0].contains("cannot be raised"), "{beyond:?}");
        let silent = plan(|found| found.members[0].status = Err("no route".into()), status());
        assert_eq!((silent.revision.least_bump, silent.revision.bump), (None, MARGIN.unsigned_abs()));
    }

    #[test]
    fn what_speaks_against_it_is_told() {
        assert!(plan(|_| {}, status()).refusals.is_empty());
        let other = plan(|found| found.cluster.kube_system_uid = Some("c-d".into()), status());
        assert!(other.refusals[0].contains("another cluster's") && other.changes.is_none(), "{:?}", other.refusals);
        let hides: [fn(&mut Found<'_>); 2] =
            [|found| found.kube_system = None, |found| found.cluster.kube_system_uid = None];
        for hide in hides {
            let plan = plan(hide, status());
            assert!(plan.refusals[0].starts_with("cannot ") && plan.changes.is_none(), "{:?}", plan.refusals);
        }
        let listed = |name: &str| Listed { name: name.into(), ..Default::default() };
        for (status, text) in [
            (MemberStatus { version: "3.5.16".into(), ..status() }, "is etcd 3.5.16, the file was written by 3.6"),
            (MemberStatus { learner: true, ..status() }, "is a learner"),
            (
                MemberStatus { members: vec![listed("cp1"), listed("cp2")], ..status() },
                "member cp2 of the etcd cluster has no pod",
            ),
        ] {
            let refusals = plan(|_| {}, status).refusals;
            assert!(refusals.len() == 1 && refusals[0].contains(text), "{refusals:?}");
        }
        let events: &MemberStatus = Box::leak(Box::new(MemberStatus { cluster_id: 7, ..status() }));
        let mixed = |found: &mut Found<'_>| {
            let (pod, facts) = (found.members[0].pod, found.members[0].facts.clone());
            found.members.push(Seen { pod, status: Ok(events), facts });
        };
        let refusals = plan(mixed, status()).refusals;
        assert!(refusals[0].contains("several etcd clusters: 0 (cp1) and 7 (cp1); -l"), "{refusals:?}");
        let silent = plan(|found| found.members[0].status = Err("no route".into()), status());
        assert!(silent.refusals[0].contains("does not answer: no route"), "{:?}", silent.refusals);
    }

    /// The UIDs of the lost cluster and of the one that is in place, for tests of --new-cluster.
    const LOST: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

    /// The plan for a snapshot of another cluster, where `named` is the cluster of --new-cluster.
    fn plan_of_lost(named: Option<&str>, change: impl FnOnce(&mut Found<'_>)) -> Plan {
        let named: Option<ClusterUid> = named.map(|uid| uid.parse().expect("a UID"));
        let object = serde_json::json!({"metadata": {"uid": LOST}}).to_string();
        let (report, one, facts, status) = (report(), pod("cp1"), facts(), status());
        let keys: Keys =
            [(b"/registry/namespaces/kube-system".to_vec(), 7), (b"/registry/minions/old".to_vec(), 8)].into();
        // The same revision by chance.
        let live: Keys = [(b"/registry/namespaces/kube-system".to_vec(), 7)].into();
        let mut found = Found {
            file: "a b.db".into(),
            taken_at: None,
            now: Timestamp::UNIX_EPOCH,
            report: &report,
            keys: &keys,
            encryption_keys: Vec::new(),
            kube_system: Some(object.as_bytes()),
            cluster: Cluster::without_api("c", Some("a-b".into())),
            prefix: &Prefix::default(),
            members: vec![Seen { pod: &one, status: Ok(&status), facts: Some(Ok(&facts)) }],
            without_etcd: Vec::new(),
            live: Ok(&live),
            pod_namespace: "kube-system",
            bump: Bump::Auto,
            allow_lower_revisions: false,
            to_nodes: &[],
            lost: None,
            new_cluster: named.as_ref(),
            server_prefix: Some("/registry"),
        };
        found.cluster.server = "s".into();
        change(&mut found);
        Plan::make(&found)
    }

    #[test]
    fn the_snapshot_of_a_lost_cluster_is_restored_only_by_its_uid() {
        let refused = plan_of_lost(None, |_| {});
        assert!(refused.refusals.len() == 1 && refused.refusals[0].contains("is another cluster's"), "{refused:?}");
        assert!(refused.changes.is_none() && refused.replaces.is_none());
        let hint = refused.hints.first().expect("what to type");
        assert!(hint.ends_with(&format!("kubectl etcd restore 'a b.db' --new-cluster {LOST}")), "{hint}");
        assert!(hint.contains("docs/RESTORE.md"), "{hint}");
        let wrong = plan_of_lost(Some("11111111-2222-4333-8444-555555555555"), |_| {});
        assert!(wrong.refusals.len() == 1 && wrong.refusals[0].starts_with("--new-cluster names"), "{wrong:?}");
        assert!(wrong.replaces.is_none() && wrong.changes.is_none());

        let taken = plan_of_lost(Some(LOST), |_| {});
        assert!(taken.refusals.is_empty() && taken.hints.is_empty(), "{taken:?}");
        assert_eq!(taken.replaces.as_deref(), Some("a-b"));
        // Equal revisions of two clusters are not the same object.
        let changes = serde_json::to_value(taken.changes.expect("both are known")).expect("JSON");
        assert_eq!((&changes["resources"][0]["change"], &changes["nodesGone"][0]), (&1.into(), &"old".into()));

        let own = plan_of_lost(Some(LOST), |found| found.cluster.kube_system_uid = Some(LOST.into()));
        assert!(own.refusals.len() == 1 && own.refusals[0].starts_with("--new-cluster is not needed"), "{own:?}");
        // Its API servers would not see the objects.
        let elsewhere = plan_of_lost(Some(LOST), |found| found.server_prefix = Some("/tenant"));
        assert!(
            elsewhere.refusals.len() == 1 && elsewhere.refusals[0].ends_with("--etcd-prefix=/registry"),
            "{elsewhere:?}"
        );
        assert!(plan_of_lost(Some(LOST), |found| found.server_prefix = None).refusals.is_empty());
    }

    #[test]
    fn what_all_members_have_is_compared() {
        let (key1, key2) = (key("key1"), key("key2"));
        let with = |encryption| NodeFacts { encryption, ..facts() };
        let (both, only) = (
            with(Encryption::Keys { keys: vec![key1.clone(), key2.clone()] }),
            with(Encryption::Keys { keys: vec![key2.clone()] }),
        );
        let unread = with(Encryption::Unread { why: "w".into() });
        let (one, two) = (pod("cp1"), pod("cp2"));
        let older = MemberStatus { version: "3.6.9".into(), ..status() };
        let newer = MemberStatus { version: "3.10.1".into(), ..status() };
        plan_of_lost(Some(LOST), |found| {
            let seen = |pod, status, facts| Seen { pod, status: Ok(status), facts: Some(Ok(facts)) };
            // Members of one test outlive its plan.
            let leak = |value: &NodeFacts| -> &'static NodeFacts { Box::leak(Box::new(value.clone())) };
            let (one, two): (&'static EtcdPod, &'static EtcdPod) =
                (Box::leak(Box::new(one.clone())), Box::leak(Box::new(two.clone())));
            let (older, newer): (&'static MemberStatus, &'static MemberStatus) =
                (Box::leak(Box::new(older.clone())), Box::leak(Box::new(newer.clone())));
            found.members = vec![seen(one, newer, leak(&both)), seen(two, older, leak(&only))];
            assert_eq!(found.shared_keys(), Ok(vec![key2.clone()]));
            assert_eq!(found.oldest_etcd().as_deref(), Ok("3.6.9"));
            found.members[1] = seen(two, older, leak(&unread));
            assert!(found.shared_keys().is_err_and(|why| why.ends_with("node cp2 is not known: w")));
        });
    }

    #[test]
    fn a_plan_stands_although_no_member_lists_its_keys() {
        let plan = plan(|found| found.live = Err("no route".into()), status());
        assert!(plan.refusals.is_empty() && plan.changes.is_none(), "{:?}", plan.refusals);
        assert_eq!(plan.warnings, ["the plan cannot show which objects change: no route"]);
        let text = plan.whole_text(false);
        assert!(text.contains("change back is not known") && text.contains("Undo:"), "{text}");
        assert_eq!(serde_json::to_value(&plan).expect("data")["changesUnknown"], "no route");
    }

    #[test]
    fn an_api_server_on_a_node_without_etcd_is_told() {
        let with = |keys: &[&str]| {
            let live: Keys = keys.iter().map(|key| (key.as_bytes().to_vec(), 1)).collect();
            let live: &'static Keys = Box::leak(Box::new(live));
            plan(|found| found.live = Ok(live), status()).refusals
        };
        let own = "/registry/masterleases/10.0.0.1";
        assert_eq!(with(&[own]), [""; 0]);
        let refusals = with(&[own, "/registry/masterleases/10.0.0.9"]);
        assert!(refusals.len() == 1 && refusals[0].contains("2 API servers (10.0.0.1, 10.0.0.9)"), "{refusals:?}");
        assert!(refusals[0].contains("--ssh --nodes"), "{refusals:?}");
    }

    /// The plan for etcd on a machine of its own, with as many nodes that have an API server and no etcd, and as many leases.
    fn plan_apart(facts: Result<&NodeFacts, String>, servers: usize, leases: usize, keys: &[EncryptionKey]) -> Plan {
        let (mut etcd, of_etcd) = (pod("etcd1"), NodeFacts { encryption: Encryption::Unknown, ..self::facts() });
        etcd.parts = Parts::Etcd;
        let nodes: Vec<EtcdPod> = (0..servers)
            .map(|number| EtcdPod { node: format!("a{number}"), parts: Parts::ApiServer, ..EtcdPod::default() })
            .collect();
        let live: Keys =
            (0..leases).map(|number| (format!("/registry/masterleases/10.0.0.{number}").into_bytes(), 1)).collect();
        let (report, own, uid, status) = (report(), Keys::new(), br#"{"metadata":{"uid":"a-b"}}"#, status());
        Plan::make(&Found {
            file: "a.db".into(),
            taken_at: None,
            now: Timestamp::UNIX_EPOCH,
            report: &report,
            keys: &own,
            encryption_keys: keys.to_vec(),
            kube_system: Some(uid),
            cluster: Cluster::without_api("c", Some("a-b".into())),
            prefix: &Prefix::default(),
            members: vec![Seen {
                pod: &etcd,
                status: Ok(&MemberStatus { leader_id: 1, ..status }),
                facts: Some(Ok(&of_etcd)),
            }],
            without_etcd: nodes.iter().map(|pod| ApiNode { pod, facts: facts.clone() }).collect(),
            live: Ok(&live),
            pod_namespace: "kube-system",
            bump: Bump::Auto,
            allow_lower_revisions: false,
            to_nodes: &[],
            lost: None,
            new_cluster: None,
            server_prefix: None,
        })
    }

    #[test]
    fn etcd_on_machines_of_its_own_needs_the_nodes_with_the_api_servers() {
        let fine = facts();
        let plan = plan_apart(Ok(&fine), 2, 2, &[]);
        assert_eq!((&plan.refusals[..], &plan.warnings[..]), (&[][..], &[][..]));
        assert_eq!((plan.api_servers.len(), &plan.members[0].encryption), (2, &None));
        assert!(plan.whole_text(false).contains("<API server>"), "{}", plan.whole_text(false));
        let none = plan_apart(Ok(&fine), 0, 0, &[]).refusals;
        assert!(none.len() == 1 && none[0].contains("no node with an API server was named"), "{none:?}");
        let more = plan_apart(Ok(&fine), 2, 3, &[]).refusals;
        assert!(more.len() == 1 && more[0].contains("API servers are on 2 of the nodes that were named"), "{more:?}");
        // The API servers have to have the keys, wherever they are.
        let key = key("key1");
        let lacks = plan_apart(Ok(&fine), 1, 1, std::slice::from_ref(&key)).refusals;
        assert!(lacks.len() == 1 && lacks[0].starts_with("node a0: its API server lacks the key"), "{lacks:?}");
        let has = NodeFacts { encryption: Encryption::Keys { keys: vec![key.clone()] }, ..facts() };
        let plan = plan_apart(Ok(&has), 1, 1, &[key]);
        assert_eq!((&plan.refusals[..], &plan.warnings[..]), (&[][..], &[][..]));
        let unread = plan_apart(Err("no route".into()), 1, 1, &[]).refusals;
        assert_eq!(unread, ["node a0: cannot look at its static pods: no route"]);
        let failure = Failure::new(FailureCode::BadRequest, "there is no manifest of kube-apiserver in /m");
        let failed = NodeFacts { failures: vec![failure], ..facts() };
        let failed = plan_apart(Ok(&failed), 1, 1, &[]).refusals;
        assert_eq!(failed, ["node a0: there is no manifest of kube-apiserver in /m"]);
    }

    /// The plan for a node whose disk tells this, and a file with these keys.
    fn plan_with(facts: &NodeFacts, keys: &[EncryptionKey]) -> Plan {
        plan_on(facts, |found| found.encryption_keys = keys.to_vec(), status())
    }

    #[test]
    fn what_a_nodes_disk_has_against_it_is_told() {
        let failure = |message: &str| Failure::new(FailureCode::BadRequest, message).cause("two of them");
        let (no_manifests, no_data) = (failure("there is no manifest of etcd in /m"), failure("cannot find /d"));
        for (facts, texts) in [
            (
                NodeFacts { disk: Some(Disk { free_bytes: 1000, ..Disk::default() }), ..facts() },
                &["member cp1 on node cp1: its disk has too little room"][..],
            ),
            (
                NodeFacts { manifests: None, encryption: Encryption::Unknown, failures: vec![no_manifests], ..facts() },
                &["there is no manifest of etcd in /m: two of them"],
            ),
            (NodeFacts { disk: None, failures: vec![no_data], ..facts() }, &["cannot find /d"]),
        ] {
            let Plan { refusals, warnings, .. } = plan_with(&facts, &[]);
            assert_eq!((refusals.len(), warnings.len()), (texts.len(), 0), "{refusals:?}");
            assert!(refusals.iter().zip(texts).all(|(refusal, text)| refusal.contains(text)), "{refusals:?}");
        }
        let blind = plan(|found| found.members[0].facts = Some(Err("no facts".into())), status()).refusals;
        assert_eq!(blind, ["member cp1 on node cp1: cannot check the disk of its node: no facts"]);
        // There is no sidecar: that is told once.
        let gone = |found: &mut Found<'_>| {
            found.members[0].facts = None;
            found.members[0].status = Err("no pod".into());
        };
        assert_eq!(plan(gone, status()).refusals.len(), 1);
    }

    #[test]
    fn a_key_that_is_missing_is_refused_and_one_that_is_not_known_is_warned_of() {
        let with = |encryption| NodeFacts { encryption, ..facts() };
        let of = |names: &[&str]| Encryption::Keys { keys: names.iter().map(|name| key(name)).collect() };
        for (encryption, refusal) in [
            (of(&["key1", "key9"]), None),
            (of(&["key1"]), Some("aescbc:v1:key9")),
            (Encryption::Off, Some("aescbc:v1:key9")),
        ] {
            let Plan { refusals, warnings, .. } = plan_with(&with(encryption), &[key("key9")]);
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(refusals.len(), usize::from(refusal.is_some()), "{refusals:?}");
            assert!(refusal.is_none_or(|key| refusals[0].ends_with(key)), "{refusals:?}");
        }
        let unread = with(Encryption::Unread { why: "it is elsewhere".into() });
        let Plan { refusals, warnings, .. } = plan_with(&unread, &[key("key9")]);
        assert!(refusals.is_empty() && warnings.len() == 1, "{refusals:?} {warnings:?}");
        assert!(warnings[0].contains("key9") && warnings[0].ends_with("it is elsewhere"), "{warnings:?}");
        // Nothing in the file is encrypted.
        assert!(plan_with(&unread, &[]).warnings.is_empty());
    }

    #[test]
    fn people_are_told_what_stops_what_stays_and_the_way_back() {
        let text = plan(|_| {}, status()).whole_text(false);
        for line in [
            "Taken:      2026-11-21T06:00:00Z, 3h ago",
            "Kept:       the current data, on each node in DATA DIR/.kubectl-etcd/ID/old",
            "Undo:       kubectl etcd rollback",
        ] {
            assert!(text.lines().any(|other| other == line), "{line:?} is not in:\n{text}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("on the node at the same time, for about 10 to 60 seconds."), "{text}");
        assert!(!text.contains("Encrypted:"), "{text}");
        for (wide, columns) in [(false, 80), (true, 120)] {
            let text = plan(|_| {}, status()).whole_text(wide);
            assert!(text.lines().all(|line| line.len() <= columns), "{text}");
        }
        let text =
            plan_with(&NodeFacts { encryption: Encryption::Keys { keys: vec![key("a")] }, ..facts() }, &[key("b")])
                .whole_text(false);
        assert!(text.contains("\nEncrypted:  snapshot aescbc:v1:b; cp1 aescbc:v1:a\n"), "{text}");
        let json = serde_json::to_value(plan(|_| {}, status())).expect("JSON");
        assert_eq!(json["members"][0]["aside"], "/var/lib/etcd/.kubectl-etcd/ID/old");
        assert_eq!((&json["snapshot"]["ageSeconds"], &json["wayBack"]), (&10_800.into(), &WAY_BACK.into()));
        assert_eq!(json["members"][0]["encryption"]["state"], "off");
    }
}
