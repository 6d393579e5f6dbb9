//! What `status` tells, as data.

use etcd_members::{NO_LEADER, alarms, role};
use etcd_wire::message::{Certificate, MemberStatus};
use jiff::Timestamp;
use serde::Serialize;

use crate::discovery::Unreadable;
use crate::etcd_clusters::{Contents, EtcdCluster, EtcdClusters};
use crate::output::API_VERSION;
use crate::output::timestamp;
use crate::sidecar::{Surveyed, Via};

/// The cluster's state as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// ID of the cluster that the API server uses, or of the only one, in hex, as etcdctl prints it; null if it cannot be told.
    pub(super) cluster_id: Option<String>,
    /// Whether anything is wrong: exit code 6 with `--exit-code`.
    pub(super) degraded: bool,
    /// Every etcd cluster that members belong to.
    pub(super) clusters: Vec<ClusterRow>,
    pub(super) members: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterRow {
    pub(super) id: String,
    /// What the API server keeps in it: `cluster`, the resources of an etcd of their own, `none`; null if it cannot be told.
    pub(super) contents: Option<String>,
    voters: usize,
    answering: usize,
    /// Voters that answer and know the leader; where there is no leader, those that answer.
    healthy: usize,
    /// How many more members it can lose and still take writes; null if it takes none now, or if too few members were asked.
    can_lose: Option<usize>,
    /// Whether a voter that answers knows a leader.
    quorum: bool,
    /// Whether the member list is known; where it is not, `voters` counts the etcd pods that were found.
    member_list_known: bool,
    /// Alarms of members that do not answer or no longer exist: etcd keeps an alarm until it is disarmed.
    pub(super) other_alarms: Vec<OtherAlarm>,
    /// The same for people.
    #[serde(skip)]
    pub(super) summary: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OtherAlarm {
    pub(super) member_id: String,
    pub(super) alarm: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) name: String,
    /// ID of its cluster, in hex.
    pub(super) cluster_id: Option<String>,
    pub(super) node: Option<String>,
    pub(super) id: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) role: Option<&'static str>,
    pub(super) learner: Option<bool>,
    pub(super) version: Option<String>,
    pub(super) storage_version: Option<String>,
    pub(super) db_size: Option<i64>,
    pub(super) db_size_in_use: Option<i64>,
    pub(super) quota: Option<i64>,
    pub(super) revision: Option<i64>,
    pub(super) raft_term: Option<u64>,
    pub(super) raft_index: Option<u64>,
    pub(super) raft_applied_index: Option<u64>,
    /// Entries between the newest index that any member of its cluster has and what this one has applied.
    pub(super) lag: Option<u64>,
    pub(super) alarms: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) certificates: Vec<CertificateRow>,
    /// What the member presents to its clients, where the member itself was looked at.
    pub(super) served_certificate: Option<CertificateRow>,
    /// Whether the certificate files on the node were read: only a sidecar can.
    pub(super) certificate_files_read: bool,
    /// How the member was asked; null if it did not answer.
    pub(super) via: Option<Via>,
    /// Why nothing is known.
    pub(super) error: Option<String>,
    /// Seconds until the first certificate expires.
    #[serde(skip)]
    pub(super) first_expiry: Option<i64>,
    /// Which one that is: its file, or the client URL.
    #[serde(skip)]
    pub(super) first_to_expire: Option<String>,
    /// Whether it was to be asked.
    #[serde(skip)]
    pub(super) asked: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateRow {
    /// The file on the node; of a served certificate the client URL.
    pub(super) path: String,
    pub(super) subject: Option<String>,
    pub(super) not_after: Option<String>,
    pub(super) error: Option<String>,
}

impl Report {
    pub(super) fn of(clusters: &EtcdClusters<'_>, unreadable: &[Unreadable], now: Timestamp, named: bool) -> Report {
        let mut members: Vec<Row> = Vec::new();
        for cluster in &clusters.all {
            members.extend(rows(cluster, now));
        }
        let silent = clusters.unplaced.iter().map(|one| Row::of(one, &[], 0, now));
        members.extend(silent.map(|row| Row { cluster_id: None, ..row }));
        members.extend(unreadable.iter().map(|one| Row {
            name: one.pod.clone(),
            node: one.node.clone(),
            error: Some(one.failed.one_line()),
            asked: true,
            ..Row::default()
        }));
        let only = clusters.all.first().filter(|_| clusters.all.len() == 1).map(|cluster| cluster.id);
        let lost = |cluster: &EtcdCluster<'_>| {
            let quorum = cluster.quorum();
            let led = cluster.statuses().iter().any(|status| status.leader_id != 0);
            // Who asks about a learner is not told of the voters, which were not asked.
            !(quorum.holds || quorum.is_unknown() && named && led)
        };
        let mut rows: Vec<ClusterRow> = clusters.all.iter().map(|cluster| ClusterRow::of(cluster, clusters)).collect();
        for (row, cluster) in rows.iter_mut().zip(&clusters.all) {
            row.other_alarms = other_alarms(cluster, &members);
        }
        let alarmed = rows.iter().any(|row| !row.other_alarms.is_empty());
        Report {
            degraded: alarmed || clusters.all.iter().any(lost) || members.iter().any(|row| row.is_degraded(named)),
            api_version: API_VERSION,
            kind: "Status",
            cluster_id: clusters.used.or(only).map(|id| format!("{id:x}")),
            clusters: rows,
            members,
        }
    }
}

/// The members of a cluster, and those that it knows of and that no pod was found for.
fn rows(cluster: &EtcdCluster<'_>, now: Timestamp) -> Vec<Row> {
    let known = cluster.statuses();
    let newest = known.iter().map(|status| status.raft_index).max().unwrap_or(0);
    let mut rows: Vec<Row> = cluster.members.iter().map(|one| Row::of(one, &known, newest, now)).collect();
    if let Some(status) = known.iter().max_by_key(|status| status.raft_applied_index) {
        let have = |id: u64| known.iter().any(|status| status.member_id == id);
        let unseen = |name: &str| !name.is_empty() && rows.iter().any(|row| row.name == name);
        let missing = status.members.iter().filter(|member| !have(member.id) && !unseen(&member.name));
        let missing: Vec<Row> = missing
            .map(|member| Row {
                name: if member.name.is_empty() { "<unstarted>".to_owned() } else { member.name.clone() },
                id: Some(format!("{:x}", member.id)),
                learner: Some(member.learner),
                alarms: alarms(&known, member.id),
                error: Some("not asked: no etcd pod of this member was looked at".to_owned()),
                ..Row::default()
            })
            .collect();
        rows.extend(missing);
    }
    rows.into_iter().map(|row| Row { cluster_id: Some(format!("{:x}", cluster.id)), ..row }).collect()
}

impl ClusterRow {
    fn of(cluster: &EtcdCluster<'_>, clusters: &EtcdClusters<'_>) -> ClusterRow {
        let contents = match () {
            () if clusters.used == Some(cluster.id) => Some(Contents::Cluster.word()),
            () if !cluster.resources.is_empty() && cluster.served_on.is_empty() => Some(cluster.resources.join(",")),
            () if clusters.used.is_some() || cluster.is_foreign() => Some("none".to_owned()),
            () => None,
        };
        let quorum = cluster.quorum();
        ClusterRow {
            id: format!("{:x}", cluster.id),
            contents,
            voters: quorum.voters,
            answering: quorum.answering,
            healthy: quorum.healthy,
            can_lose: quorum.can_lose(),
            quorum: quorum.holds,
            member_list_known: quorum.listed,
            other_alarms: Vec::new(),
            summary: quorum.summary(),
        }
    }
}

impl Row {
    fn of(one: &Surveyed, statuses: &[&MemberStatus], newest: u64, now: Timestamp) -> Row {
        let member = &one.member;
        let (name, node) = (member.name.clone(), Some(member.node.clone()));
        let mut row = Row { name, node, asked: true, via: one.outcome.is_ok().then_some(one.via), ..Row::default() };
        let mut files = Vec::new();
        if let Ok(status) = &one.outcome {
            files.clone_from(&status.certificates);
        }
        row.certificate_files_read = !files.is_empty();
        // Client certificates are tried in turn, so one that is not there is no fault; the others must be.
        let wanted = [&member.certificates.server_cert, &member.certificates.peer_cert, &member.certificates.ca];
        files.retain(|file| file.not_after.is_some() || wanted.contains(&&Some(file.path.clone())));
        let known = files.iter().chain(&one.served);
        let first = known.filter_map(|file| Some((file.not_after?, &file.path))).min();
        row.first_expiry = first.map(|(end, _)| end - now.as_second());
        row.first_to_expire = first.map(|(_, path)| path.clone());
        row.certificates = files.iter().map(CertificateRow::of).collect();
        row.served_certificate = one.served.as_ref().map(CertificateRow::of);
        let status = match one.etcd() {
            Ok(status) => status,
            Err(failed) => {
                row.error = Some(failed.one_line());
                return row;
            }
        };
        row.id = Some(format!("{:x}", status.member_id));
        row.endpoint = Some(status.endpoint.clone());
        row.role = Some(role(status));
        row.learner = Some(status.learner);
        row.version = Some(status.version.clone());
        row.storage_version.clone_from(&status.storage_version);
        row.db_size = Some(status.db_size);
        row.db_size_in_use = Some(status.db_size_in_use);
        row.quota = status.quota.filter(|&quota| quota > 0).or_else(|| Some(member.quota).filter(|&quota| quota != 0));
        row.revision = Some(status.revision);
        row.raft_term = Some(status.raft_term);
        row.raft_index = Some(status.raft_index);
        row.raft_applied_index = Some(status.raft_applied_index);
        row.lag = Some(newest.saturating_sub(status.raft_applied_index));
        row.alarms = alarms(statuses, status.member_id);
        row.errors.clone_from(&status.errors);
        row
    }

    /// Whether something is wrong with this member: it does not answer (one that was not named need not), it knows no leader, an alarm is raised, or a
    /// certificate has expired.
    fn is_degraded(&self, named: bool) -> bool {
        let silent = self.error.is_some() && (self.asked || !named);
        let expired = self.first_expiry.is_some_and(|left| left < 0);
        silent || expired || !self.alarms.is_empty() || self.role == Some(NO_LEADER)
    }
}

impl CertificateRow {
    fn of(one: &Certificate) -> CertificateRow {
        CertificateRow {
            not_after: one.not_after.and_then(|s| Timestamp::from_second(s).ok()).map(timestamp),
            path: one.path.clone(),
            subject: one.subject.clone(),
            error: one.error.clone(),
        }
    }
}

/// The alarms that no row of a member shows.
fn other_alarms(cluster: &EtcdCluster<'_>, rows: &[Row]) -> Vec<OtherAlarm> {
    let known = cluster.statuses();
    let mut ids: Vec<u64> = known.iter().flat_map(|status| &status.alarms).map(|alarm| alarm.member_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let shown = |id: &u64| rows.iter().any(|row| row.id.as_ref() == Some(&format!("{id:x}")));
    let of =
        |id: u64| alarms(&known, id).into_iter().map(move |alarm| OtherAlarm { member_id: format!("{id:x}"), alarm });
    ids.into_iter().filter(|id| !shown(id)).flat_map(of).collect()
}
