//! `kubectl etcd status`: how every member is, as seen from its own node.

use std::fmt::Write as _;

use etcd_wire::message::MemberStatus;
use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::cli::Context;
use crate::discovery::{self, Overrides};
use crate::output::{Failed, Format, Outcome, Table, bytes, print_data, seconds, timestamp};
use crate::sidecar::{Operation, Pods, SidecarArgs, Surveyed, access, survey};

const EXAMPLES: &str = "\
Examples:
  # All members
  kubectl etcd status

  # With nodes, quota, raft term and index
  kubectl etcd status -o wide

  # The member of one node, for a script
  kubectl etcd status --node cp1 -o json";

/// Show the members: role, version, size, revision, lag, alarms, certificate expiry
///
/// Runs a sidecar on each control-plane node for a few seconds and asks the member there. LAG is the number of raft
/// entries that a member has not applied yet; CERTS is the time until its first certificate expires.
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
    let members =
        discovery::find(&connection, context.connection.etcd_namespace(), &args.overrides, args.node.as_deref())
            .await?;
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, context.printer));
    let surveyed = survey(&connection, &pods, members, Operation::Status).await;
    let report = Report::of(&surveyed, Timestamp::now());
    let told = print_data(context.printer, args.output, &report, || report.table(args.output == Format::Wide));
    for warning in report.warnings() {
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
    /// Cluster ID in hex, as etcdctl prints it.
    cluster_id: Option<String>,
    members: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
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
    /// Entries between the newest index that any member has and what this one has applied.
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
    fn of(surveyed: &[Surveyed], now: Timestamp) -> Report {
        let known: Vec<&MemberStatus> = surveyed.iter().filter_map(|one| one.etcd().ok()).collect();
        let newest = known.iter().map(|status| status.raft_index).max().unwrap_or(0);
        let mut members: Vec<Row> = surveyed.iter().map(|one| Row::of(one, &known, newest, now)).collect();
        // Members that etcd knows of and that no pod was found for.
        if let Some(status) = known.iter().max_by_key(|status| status.raft_applied_index) {
            let have = |id: u64| known.iter().any(|status| status.member_id == id);
            let unseen = |name: &str| !name.is_empty() && members.iter().any(|row| row.name == name);
            let missing: Vec<Row> = status
                .members
                .iter()
                .filter(|member| !have(member.id) && !unseen(&member.name))
                .map(|member| Row {
                    name: if member.name.is_empty() { "<unstarted>".to_owned() } else { member.name.clone() },
                    id: Some(format!("{:x}", member.id)),
                    learner: Some(member.learner),
                    alarms: alarms(&known, member.id),
                    error: Some("not asked: no etcd pod of this member was looked at".to_owned()),
                    ..Row::default()
                })
                .collect();
            members.extend(missing);
        }
        let cluster_id = known.first().map(|status| format!("{:x}", status.cluster_id));
        Report { api_version: API_VERSION, kind: "Status", cluster_id, members }
    }

    fn table(&self, wide: bool) -> String {
        let mut headers = vec!["NAME", "ROLE", "VERSION", "SIZE", "IN-USE", "REVISION", "LAG", "ALARMS", "CERTS"];
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

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
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
