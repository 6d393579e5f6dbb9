//! `kubectl etcd status`: how every member is, as seen from its own node.

use std::fmt::Write as _;

use etcd_wire::message::MemberStatus;
use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::context::Context;
use crate::discovery::{self, Found, Overrides, Unreadable};
use crate::etcd_clusters::{Contents, EtcdCluster, EtcdClusters, Evidence};
use crate::kube_system;
use crate::output::{Failed, Format, Outcome, Table, bytes, print_data, seconds, timestamp};
use crate::sidecar::{Ask, Operation, Pods, SidecarArgs, Surveyed, access, survey};

const EXAMPLES: &str = "\
Examples:
  # All members
  kubectl etcd status

  # With nodes, quota, raft term and index
  kubectl etcd status -o wide

  # The member of one node, for a script
  kubectl etcd status --node cp1 -o json";

/// Show the members: role, version, size, revision, lag, alarms
///
/// Runs a sidecar on each control-plane node for a few seconds and asks the member there. LAG is the number of raft
/// entries that a member has not applied yet; CERTS is the time until its first certificate expires. Members that do not answer
/// are waited for a few seconds once a quorum has answered. Where the members belong to several etcd clusters, CLUSTER tells them
/// apart, and CONTENTS says what the API server keeps in each.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the member on this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let found =
        discovery::find(&connection, context.connection.etcd_namespace(), &args.overrides, args.node.as_deref())
            .await?;
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, context.printer));
    let Found { members, unreadable, api_servers, .. } = found;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
    let (surveyed, served) =
        tokio::join!(survey(&connection, &pods, members, Operation::Status, &ask), kube_system::served(&connection));
    let served = served.map_err(|failed| failed.one_line());
    let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(String::as_str) };
    let clusters = EtcdClusters::of(&surveyed, &evidence);
    let report = Report::of(&clusters, &unreadable, Timestamp::now());
    let told = print_data(context.printer, args.output, &report, || report.table(args.output == Format::Wide));
    for warning in report.warnings(&clusters) {
        context.printer.warn(warning);
    }
    if report.members.iter().all(|member| member.error.is_some()) {
        let failed = surveyed.iter().filter_map(|one| one.etcd().err()).next();
        return Err(failed
            .unwrap_or_else(|| Failed::plain("no member was found"))
            .context("no member could be asked")
            .also(told));
    }
    told
}

/// The cluster's state as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// ID of the cluster that the API server uses, or of the only one, in hex, as etcdctl prints it; null if it cannot be told.
    cluster_id: Option<String>,
    /// Every etcd cluster that members belong to.
    clusters: Vec<ClusterRow>,
    members: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterRow {
    id: String,
    /// What the API server keeps in it: `cluster`, the resources of an etcd of their own, `none`; null if it cannot be told.
    contents: Option<String>,
    voters: usize,
    answering: usize,
    /// Whether there is a leader.
    quorum: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    /// ID of its cluster, in hex.
    cluster_id: Option<String>,
    node: Option<String>,
    id: Option<String>,
    endpoint: Option<String>,
    role: Option<&'static str>,
    learner: Option<bool>,
    version: Option<String>,
    storage_version: Option<String>,
    db_size: Option<i64>,
    db_size_in_use: Option<i64>,
    quota: Option<i64>,
    revision: Option<i64>,
    raft_term: Option<u64>,
    raft_index: Option<u64>,
    raft_applied_index: Option<u64>,
    /// Entries between the newest index that any member of its cluster has and what this one has applied.
    lag: Option<u64>,
    alarms: Vec<String>,
    errors: Vec<String>,
    certificates: Vec<CertificateRow>,
    /// Why nothing is known.
    error: Option<String>,
    /// Seconds until the first certificate expires.
    #[serde(skip)]
    first_expiry: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRow {
    path: String,
    subject: Option<String>,
    not_after: Option<String>,
    error: Option<String>,
}

impl Report {
    fn of(clusters: &EtcdClusters<'_>, unreadable: &[Unreadable], now: Timestamp) -> Report {
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
            ..Row::default()
        }));
        let only = clusters.all.first().filter(|_| clusters.all.len() == 1).map(|cluster| cluster.id);
        Report {
            api_version: API_VERSION,
            kind: "Status",
            cluster_id: clusters.used.or(only).map(|id| format!("{id:x}")),
            clusters: clusters.all.iter().map(|cluster| ClusterRow::of(cluster, clusters)).collect(),
            members,
        }
    }

    fn table(&self, wide: bool) -> String {
        let mut headers = vec!["NAME", "ROLE", "VERSION", "SIZE", "IN-USE", "REVISION", "LAG", "ALARMS", "CERTS"];
        let several = self.clusters.len() > 1;
        if several {
            headers.splice(1..1, ["CLUSTER", "CONTENTS"]);
        }
        if wide {
            headers.extend(["NODE", "ID", "QUOTA", "TERM", "INDEX", "ENDPOINT"]);
        }
        let mut table = Table::new(&headers);
        for row in &self.members {
            let unknown = || "<unknown>".to_owned();
            let size =
                |size: Option<i64>| size.map_or_else(unknown, |s| bytes(s.max(0).unsigned_abs()).replace(' ', ""));
            let text = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
            let number = |value: Option<u64>| value.map_or_else(unknown, |v| v.to_string());
            let mut cells = vec![
                row.name.clone(),
                row.role.map_or_else(unknown, str::to_owned),
                text(&row.version),
                size(row.db_size),
                size(row.db_size_in_use),
                row.revision.map_or_else(unknown, |r| r.to_string()),
                number(row.lag),
                row.alarms.join(","),
                row.first_expiry.map_or_else(unknown, |s| if s < 0 { "EXPIRED".to_owned() } else { seconds(s) }),
            ];
            if several {
                let cluster = self.clusters.iter().find(|cluster| Some(&cluster.id) == row.cluster_id.as_ref());
                let contents = cluster.and_then(|cluster| cluster.contents.clone());
                cells.splice(1..1, [text(&row.cluster_id), text(&contents)]);
            }
            if wide {
                let node = row.node.clone().unwrap_or_default();
                cells.extend([
                    node,
                    text(&row.id),
                    size(row.quota),
                    number(row.raft_term),
                    number(row.raft_index),
                    text(&row.endpoint),
                ]);
            }
            table.row(cells);
        }
        table.to_string()
    }

    fn warnings(&self, clusters: &EtcdClusters<'_>) -> Vec<String> {
        let mut warnings = about_clusters(clusters);
        for row in &self.members {
            let mut about = format!("member {}", row.name);
            if let Some(node) = &row.node {
                let _infallible = write!(about, " on node {node}");
            }
            warnings.extend(row.error.iter().map(|error| format!("{about}: {error}")));
            warnings.extend(row.errors.iter().map(|error| format!("{about} reports: {error}")));
            warnings.extend(row.alarms.iter().map(|alarm| format!("{about} has raised the alarm {alarm}")));
            if row.learner == Some(true) {
                warnings.push(format!("{about} is a learner: it does not vote"));
            }
            if let (Some(used), Some(quota)) = (row.db_size, row.quota)
                && used > quota / 10 * 9
            {
                warnings
                    .push(format!("{about} uses more than 90% of its quota: at 100% the cluster takes no more writes"));
            }
            for certificate in &row.certificates {
                if let Some(error) = &certificate.error {
                    warnings.push(format!("{about}: certificate {}: {error}", certificate.path));
                }
            }
            match row.first_expiry {
                Some(left) if left < 0 => {
                    warnings.push(format!("{about} has an expired certificate; -o json says which"))
                }
                Some(left) if left < 30 * 86_400 => {
                    warnings.push(format!("{about} has a certificate that expires in {}", seconds(left)));
                }
                _ => {}
            }
        }
        warnings
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

/// Which cluster the API server uses, where that is not plain, and whether each has a quorum.
fn about_clusters(clusters: &EtcdClusters<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let several = clusters.all.len() > 1;
    match clusters.used {
        Some(used) if several => {
            let count = clusters.all.len();
            warnings.push(format!("the members belong to {count} etcd clusters; the API server uses {used:x}"));
        }
        None if several => {
            let count = clusters.all.len();
            let message = "etcd clusters, and it cannot be told which one the API server uses";
            warnings.push(format!("the members belong to {count} {message}"));
            warnings.extend(clusters.all.iter().map(EtcdCluster::describe));
        }
        _ => {
            let foreign = clusters.all.iter().filter(|cluster| cluster.is_foreign());
            warnings.extend(
                foreign.map(|one| format!("this is not the etcd of the API server's objects: {}", one.describe())),
            );
        }
    }
    for cluster in &clusters.all {
        let of = if several { format!("etcd cluster {:x}: ", cluster.id) } else { String::new() };
        warnings.extend(cluster.quorum().line().map(|line| format!("{of}{line}")));
    }
    warnings
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
            quorum: quorum.holds,
        }
    }
}

impl Row {
    fn of(one: &Surveyed, known: &[&MemberStatus], newest: u64, now: Timestamp) -> Row {
        let member = &one.member;
        let mut row = Row { name: member.name.clone(), node: Some(member.node.clone()), ..Row::default() };
        let mut files = Vec::new();
        if let Ok(answer) = &one.outcome {
            files.clone_from(&answer.status.certificates);
        }
        // Client certificates are tried in turn, so one that is not there is no fault; the others must be.
        let wanted = [&member.certificates.server_cert, &member.certificates.peer_cert, &member.certificates.ca];
        files.retain(|file| file.not_after.is_some() || wanted.contains(&&Some(file.path.clone())));
        row.first_expiry = files.iter().filter_map(|file| file.not_after).min().map(|end| end - now.as_second());
        row.certificates = files
            .into_iter()
            .map(|file| CertificateRow {
                not_after: file.not_after.and_then(|s| Timestamp::from_second(s).ok()).map(timestamp),
                path: file.path,
                subject: file.subject,
                error: file.error,
            })
            .collect();
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
        row.quota = Some(status.quota.filter(|&quota| quota > 0).unwrap_or(member.quota));
        row.revision = Some(status.revision);
        row.raft_term = Some(status.raft_term);
        row.raft_index = Some(status.raft_index);
        row.raft_applied_index = Some(status.raft_applied_index);
        row.lag = Some(newest.saturating_sub(status.raft_applied_index));
        row.alarms = alarms(known, status.member_id);
        row.errors.clone_from(&status.errors);
        row
    }
}

/// `leader`, `follower` or `learner`; `no-leader` for a member that knows of none.
pub(crate) fn role(status: &MemberStatus) -> &'static str {
    match status {
        status if status.learner => "learner",
        status if status.leader_id == 0 => "no-leader",
        status if status.leader_id == status.member_id => "leader",
        _ => "follower",
    }
}

/// The alarms of a member, as any member knows them.
pub(crate) fn alarms(known: &[&MemberStatus], member: u64) -> Vec<String> {
    let mut kinds: Vec<String> = known
        .iter()
        .flat_map(|status| &status.alarms)
        .filter(|alarm| alarm.member_id == member)
        .map(|alarm| alarm.kind.clone())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::KubeSystem;

    use super::*;
    use crate::etcd_clusters::samples::{answers, api_server, held, silent};
    use crate::kube_system::Served;

    fn report(surveyed: &[Surveyed]) -> (Report, Vec<String>) {
        let api = [api_server("cp1", "https://127.0.0.1:2379", Some("https://127.0.0.1:2381"))];
        let served = Served { uid: "ours".into(), revision: None };
        let clusters = EtcdClusters::of(surveyed, &Evidence { api_servers: &api, served: Ok(&served) });
        let unreadable = Unreadable { pod: "etcd-x".into(), node: None, failed: Failed::plain("it has no node") };
        let report = Report::of(&clusters, &[unreadable], Timestamp::UNIX_EPOCH);
        let warnings = report.warnings(&clusters);
        (report, warnings)
    }

    #[test]
    fn clusters_are_shown_apart_and_never_compared() {
        let mut events = answers("cp1", 2381, 5, &["cp1"], KubeSystem::Absent);
        if let Ok(answer) = &mut events.outcome {
            let status = answer.status.etcd.as_mut().expect("it answers");
            (status.raft_index, status.raft_applied_index) = (9_000_000, 9_000_000);
        }
        let all = [events, answers("cp1", 2379, 9, &["cp1", "cp2"], held("ours")), silent("cp2", 2379)];
        let (report, warnings) = report(&all);
        let table = report.table(false);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with("NAME") && lines[0].contains("CLUSTER") && lines[0].contains("CONTENTS"),
            "{table}"
        );
        assert!(lines[1].contains("cp1-2379") && lines[1].contains("cluster"), "{table}");
        assert!(lines[3].contains("cp1-2381") && lines[3].contains("events"), "{table}");
        assert!(lines[4].contains("etcd-x"), "{table}");
        let lag = |name: &str| report.members.iter().find(|row| row.name == name).and_then(|row| row.lag);
        assert_eq!((lag("cp1-2379"), lag("cp1-2381")), (Some(0), Some(0)));
        assert_eq!(report.cluster_id.as_deref(), Some("9"));
        for text in [
            "2 etcd clusters; the API server uses 9",
            "etcd cluster 9: 1 of 2 members answers; quorum holds",
            "member cp2-2379 on node cp2: no answer",
            "member etcd-x: it has no node",
        ] {
            assert!(warnings.iter().any(|warning| warning.contains(text)), "{text:?} is not in {warnings:?}");
        }
    }

    #[test]
    fn one_cluster_has_no_column_of_its_own() {
        let (plain, warnings) = report(&[answers("cp1", 2379, 9, &["cp1"], held("ours"))]);
        assert!(!plain.table(true).contains("CLUSTER"));
        assert_eq!(warnings, ["member etcd-x: it has no node"]);
        let (_, warnings) = report(&[answers("cp1", 2379, 9, &["cp1"], held("theirs"))]);
        assert!(
            warnings[0].starts_with("this is not the etcd of the API server's objects: etcd cluster 9"),
            "{warnings:?}"
        );
    }
}
