//! The plan of a restore, as a pure function of what was found: nothing here asks or touches anything.

use std::fmt::Write as _;

use etcd_snapshot::{Report, minor};
use etcd_wire::message::MemberStatus;
use etcd_wire::restore::RestorePlan;
use serde::Serialize;

use super::Bump;
use super::changes::{Changes, Keys};
use super::identity::uid;
use crate::commands::API_VERSION;
use crate::discovery::EtcdPod;
use crate::output::{Table, bytes};

/// What `auto` adds to the highest revision that a member has: more than is written while the plan is read and carried out.
const MARGIN: u64 = 1_000_000;

/// All that is known before a restore.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) file: String,
    /// When the snapshot was taken, where the file beside it says so.
    pub(super) taken_at: Option<String>,
    pub(super) report: &'a Report,
    /// The file's keys.
    pub(super) keys: &'a Keys,
    /// Namespace kube-system as the file has it.
    pub(super) kube_system: Option<&'a [u8]>,
    pub(super) cluster: Cluster,
    /// Each member's pod, and what the member said, or why it did not.
    pub(super) members: Vec<(&'a EtcdPod, Result<&'a MemberStatus, String>)>,
    /// The cluster's keys; `None` if no member could list them, which is then among the refusals.
    pub(super) live: Option<&'a Keys>,
    pub(super) bump: Bump,
}

/// The running cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) server: String,
    pub(super) kube_system_uid: Option<String>,
    pub(super) kubernetes_version: Option<String>,
}

/// What would be done, and what speaks against it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    pub(super) cluster: Cluster,
    snapshot: Snapshot,
    pub(super) revision: Revision,
    members: Vec<Member>,
    /// `None` if it is not known what the cluster holds, or the file is not its own.
    #[serde(flatten)]
    pub(super) changes: Option<Changes>,
    /// What the nodes are told to do; `None` if a member cannot take part, which is then among the refusals.
    pub(super) transaction: Option<RestorePlan>,
    /// Why it would not be done.
    pub(super) refusals: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    file: String,
    taken_at: Option<String>,
    kube_system_uid: Option<String>,
    keys: u64,
    total_size: u64,
    /// The line of etcd that wrote it, and the version that its store has, from 3.6 on.
    etcd: String,
    storage_version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revision {
    snapshot: i64,
    /// The highest that a member has.
    highest: Option<i64>,
    pub(super) bump: u64,
    restored: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    name: String,
    node: String,
    peer_urls: Vec<String>,
    etcd_version: Option<String>,
    revision: Option<i64>,
    data_dir: Option<String>,
}

impl Plan {
    /// Decides what is to be done.
    pub(super) fn make(found: &Found<'_>) -> Plan {
        let report = found.report;
        let highest = found.members.iter().filter_map(|(_, said)| Some(said.as_ref().ok()?.revision)).max();
        let snapshot = report.current_revision;
        let bump = match found.bump {
            Bump::By(amount) => amount,
            Bump::Auto => highest.and_then(|highest| u64::try_from(highest - snapshot).ok()).unwrap_or(0) + MARGIN,
        };
        let restored = i64::try_from(bump).ok().and_then(|bump| snapshot.checked_add(bump));
        let file_uid = found.kube_system.and_then(uid);
        let same = file_uid.is_some() && file_uid == found.cluster.kube_system_uid;
        let mut refusals = found.objections(file_uid.as_deref());
        if restored.is_none() {
            refusals.push(format!("revision {snapshot} cannot be raised by {bump}: revisions end at {}", i64::MAX));
        }
        Plan {
            api_version: API_VERSION,
            kind: "RestorePlan",
            cluster: found.cluster.clone(),
            snapshot: Snapshot {
                file: found.file.clone(),
                taken_at: found.taken_at.clone(),
                kube_system_uid: file_uid,
                keys: report.live_keys,
                total_size: report.total_size,
                etcd: report.writer.clone(),
                storage_version: report.version.clone(),
            },
            revision: Revision { snapshot, highest, bump, restored: restored.unwrap_or(snapshot) },
            members: found.members.iter().map(|(pod, said)| Member::of(pod, said.as_ref().ok().copied())).collect(),
            // Revisions of two clusters have nothing to do with each other.
            changes: found.live.filter(|_| same).map(|live| Changes::between(live, found.keys)),
            transaction: None,
            refusals,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (cluster, snapshot, revision) = (&self.cluster, &self.snapshot, &self.revision);
        let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "<unknown>".to_owned());
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _infallible = writeln!(text, "{:<10} {value}", format!("{name}:"));
        };
        line(
            "Cluster",
            format!("{} ({}), Kubernetes {}", cluster.name, cluster.server, unknown(&cluster.kubernetes_version)),
        );
        line(
            "Snapshot",
            format!(
                "{}, {}, {} keys, of etcd {}",
                snapshot.file,
                bytes(snapshot.total_size),
                snapshot.keys,
                snapshot.etcd
            ),
        );
        line("Taken", unknown(&snapshot.taken_at));
        line(
            "Revision",
            match revision.highest {
                Some(highest) => format!(
                    "{} in the snapshot, {highest} in the cluster; raised by {} to {}",
                    revision.snapshot, revision.bump, revision.restored
                ),
                None => format!(
                    "{} in the snapshot; raised by {} to {}",
                    revision.snapshot, revision.bump, revision.restored
                ),
            },
        );
        let mut members = Table::new(&["MEMBER", "NODE", "ETCD", "REVISION", "DATA DIR"]);
        for member in &self.members {
            members.row(vec![
                member.name.clone(),
                member.node.clone(),
                member.etcd_version.clone().unwrap_or_default(),
                member.revision.map(|revision| revision.to_string()).unwrap_or_default(),
                member.data_dir.clone().unwrap_or_default(),
            ]);
        }
        let _infallible = write!(text, "\n{members}");
        let Some(changes) = &self.changes else { return text };
        let mut table = Table::new(&["RESOURCE", "VANISH", "COME BACK", "CHANGE", "STAY"]);
        for one in &changes.resources {
            let counts = [one.vanish, one.come_back, one.change, one.stay].map(|count| count.to_string());
            table.row(std::iter::once(one.resource.clone()).chain(counts).collect());
        }
        let _infallible = write!(text, "\n{table}");
        for (nodes, fate) in [
            (&changes.nodes_joined, "joined since, and will not be known"),
            (&changes.nodes_gone, "were removed since, and will be waited for"),
        ] {
            if !nodes.is_empty() {
                let _infallible = writeln!(text, "\nNodes that {fate}: {}", nodes.join(", "));
            }
        }
        text
    }
}

impl Member {
    fn of(pod: &EtcdPod, status: Option<&MemberStatus>) -> Member {
        Member {
            name: pod.name.clone(),
            node: pod.node.clone(),
            peer_urls: pod.peer_urls.clone(),
            etcd_version: status.map(|status| status.version.clone()),
            revision: status.map(|status| status.revision),
            data_dir: pod.data_dir.clone(),
        }
    }
}

impl Found<'_> {
    /// What speaks against a restore of this file here.
    fn objections(&self, file_uid: Option<&str>) -> Vec<String> {
        let mut against = Vec::new();
        match (file_uid, self.cluster.kube_system_uid.as_deref()) {
            (Some(theirs), Some(ours)) if theirs == ours => {}
            (Some(theirs), Some(ours)) => {
                against.push(format!(
                    "the file is another cluster's: its namespace kube-system has UID {theirs}, this one's {ours}"
                ));
            }
            (None, _) => against.push(
                "the file does not tell whose it is: it has no namespace kube-system that can be read".to_owned(),
            ),
            (_, None) => against
                .push("this cluster does not tell who it is: its namespace kube-system cannot be read".to_owned()),
        }
        for (pod, said) in &self.members {
            let member = format!("member {} on node {}", pod.name, pod.node);
            let status = match said {
                Ok(status) => status,
                Err(why) => {
                    against.push(format!("{member} does not answer: {why}"));
                    continue;
                }
            };
            if status.learner {
                against.push(format!("{member} is a learner: promote or remove it first"));
            }
            if let (Some(its), Some(files)) = (minor(&status.version), self.report.etcd())
                && files > its
            {
                against.push(format!(
                    "{member} is etcd {}, the file was written by {}.{}",
                    status.version, files.0, files.1
                ));
            }
            if pod.data_dir.is_none() {
                against.push(format!("{member} keeps its data where no folder of the node is mounted"));
            }
        }
        let known =
            self.members.iter().filter_map(|(_, said)| said.as_ref().ok()).find(|status| !status.members.is_empty());
        for listed in known.iter().flat_map(|status| &status.members) {
            if !self.members.iter().any(|(pod, _)| pod.name == listed.name) {
                let name = if listed.name.is_empty() { format!("{:x}", listed.id) } else { listed.name.clone() };
                against.push(format!("member {name} of the etcd cluster has no pod here"));
            }
        }
        against
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::{Options, verify};
    use etcd_wire::message::Member as Listed;

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
        let (report, keys, one) = (report(), Keys::new(), pod("cp1"));
        let uid = br#"{"metadata":{"uid":"a-b"}}"#;
        let mut found = Found {
            file: "a.db".into(),
            taken_at: None,
            report: &report,
            keys: &keys,
            kube_system: Some(uid),
            cluster: Cluster {
                name: "c".into(),
                server: "s".into(),
                kube_system_uid: Some("a-b".into()),
                kubernetes_version: None,
            },
            members: vec![(&one, Ok(&status))],
            live: Some(&keys),
            bump: Bump::Auto,
        };
        change(&mut found);
        Plan::make(&found)
    }

    fn status() -> MemberStatus {
        MemberStatus { version: "3.6.14".into(), revision: 5000, ..Default::default() }
    }

    #[test]
    fn auto_is_a_margin_above_the_highest_revision_there_is() {
        let snapshot = report().current_revision;
        let revision = plan(|_| {}, status()).revision;
        assert_eq!((revision.highest, revision.restored), (Some(5000), 5000 + 1_000_000));
        // A member that is behind the file does not lower it.
        let behind = plan(|_| {}, MemberStatus { revision: 1, ..status() }).revision;
        assert_eq!(behind.restored, snapshot + 1_000_000);
        assert_eq!(plan(|found| found.bump = Bump::By(0), status()).revision.restored, snapshot);
        let beyond = plan(|found| found.bump = Bump::By(i64::MAX as u64), status());
        assert!(beyond.refusals[0].contains("cannot be raised"), "{:?}", beyond.refusals);
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
            assert!(plan.refusals[0].contains("does not tell") && plan.changes.is_none(), "{:?}", plan.refusals);
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
        let silent = plan(|found| found.members[0].1 = Err("no route".into()), status());
        assert!(silent.refusals[0].contains("does not answer: no route"), "{:?}", silent.refusals);
    }
}
