//! `etcd-sidecar status`: how the member on this node is, without an API server and without a workstation.

use std::path::PathBuf;

use clap::ValueEnum;
use etcd_wire::message::{MemberStatus, NodeStatus, StatusRequest};
use etcd_wire::services::EtcdService;
use etcd_wire::{Failure, FailureCode};
use serde::Serialize;

use crate::certificate;
use crate::node::{etcds, settings};
use crate::table::aligned;

pub(crate) const EXAMPLES: &str = "\
Examples, as root on a node with etcd:

  # the member on this node, and the members that the cluster has
  etcd-sidecar status

  # for a script; the exit code is 1 if the member does not answer
  etcd-sidecar status -o json

etcd is found by the static pod manifests of the node, or by the systemd unit etcd.service. The files that they name are used to connect to etcd.

Exit codes: 0 the member answers; 1 the member does not answer, or etcd was not found; 2 wrong usage.";

/// Files of the certificates whose expiry is told.
const CERTIFICATES: [&str; 4] = ["cert-file", "peer-cert-file", "trusted-ca-file", "peer-trusted-ca-file"];

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kubelet's folder of static pod manifests.
    #[arg(long, value_name = "DIR", default_value = etcds::MANIFESTS)]
    manifests_dir: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What was found, to be printed, and whether every member of the node answers.
pub(crate) struct Looked {
    text: String,
    answer: bool,
}

impl Looked {
    /// The text for stdout; an error if a member does not answer. The text has why.
    pub(crate) fn tell(self, print: impl FnOnce(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        print(&self.text)?;
        if self.answer { Ok(()) } else { anyhow::bail!("the member on this node does not answer") }
    }
}

/// A member of this node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    found_by: String,
    name: String,
    data_dir: String,
    status: NodeStatus,
}

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    node: String,
    members: Vec<Told>,
    failures: Vec<Failure>,
}

/// Asks the etcd of this node.
///
/// # Errors
/// None was found.
pub(crate) async fn run(args: &Args) -> Result<Looked, Failure> {
    let dir = std::path::absolute(&args.manifests_dir).map_err(|error| {
        Failure::new(FailureCode::BadRequest, format!("{} is no path", args.manifests_dir.display())).source(&error)
    })?;
    let node = etcds::hostname();
    let found = tokio::task::block_in_place(|| etcds::of_this_node(&dir));
    if found.etcd.is_empty() {
        let failure = Failure::new(FailureCode::Storage, "etcd was not found on this node");
        let causes = found.failures.iter().flat_map(|one| std::iter::once(&one.message).chain(&one.causes));
        let failure = causes.fold(failure, |failure, cause| failure.cause(cause));
        return Err(failure.hint("name the folder that the node's kubelet reads\n  --manifests-dir DIR"));
    }
    let pair = etcds::api_servers_pair(&dir);
    let mut members = Vec::new();
    for EtcdService { found_by, settings: set, source: _ } in found.etcd {
        let text = |name: &str| set.get(name).cloned().unwrap_or_default();
        let certificates = CERTIFICATES.iter().filter_map(|name| set.get(*name).cloned());
        let request = StatusRequest {
            etcd: settings::access(&set, pair.clone()),
            certificates: certificates.collect(),
            ..StatusRequest::default()
        };
        let status = super::run(request).await;
        members.push(Told { found_by, name: text("name"), data_dir: text("data-dir"), status });
    }
    let document = Document { node, members, failures: found.failures };
    let text = match args.output {
        Format::Table => table(&document),
        Format::Json => serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::new(FailureCode::Other, "cannot write JSON").source(&error))?,
    };
    Ok(Looked { text, answer: document.members.iter().all(|one| one.status.etcd.is_some()) })
}

fn table(document: &Document) -> String {
    let head = ["NODE", "MEMBER", "ID", "ROLE", "VERSION", "DB SIZE", "IN USE", "REVISION", "TERM", "INDEX", "APPLIED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(document.members.iter().map(|member| row(&document.node, member)));
    let mut out = aligned(&rows);
    for member in &document.members {
        out.push_str(&details(member));
    }
    for failure in &document.failures {
        out.push_str(&format!("\nnot looked at: {}\n", line(failure)));
    }
    out.truncate(out.trim_end().len());
    out
}

fn row(node: &str, member: &Told) -> Vec<String> {
    let mut cells = vec![node.to_owned(), member.name.clone()];
    match &member.status.etcd {
        None => cells.extend(std::iter::repeat_n("<unknown>".to_owned(), 9)),
        Some(status) => cells.extend([
            format!("{:x}", status.member_id),
            role(status).to_owned(),
            status.version.clone(),
            size(status.db_size),
            size(status.db_size_in_use),
            status.revision.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
        ]),
    }
    cells
}

fn role(status: &MemberStatus) -> &'static str {
    match status.leader_id {
        _ if status.learner => "learner",
        0 => "no leader",
        leader if leader == status.member_id => "leader",
        _ => "follower",
    }
}

fn size(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn details(member: &Told) -> String {
    let mut lines = vec![format!("{}, found by {}", member.data_dir, member.found_by)];
    if let Some(status) = &member.status.etcd {
        lines.extend(status.members.iter().map(|one| {
            let name = if one.name.is_empty() { "<not started>" } else { &one.name };
            let learner = if one.learner { ", a learner" } else { "" };
            format!("  member {:x} {name} {}{learner}", one.id, one.peer_urls.join(","))
        }));
        lines.extend(
            status.alarms.iter().map(|alarm| format!("  alarm {} of member {:x}", alarm.kind, alarm.member_id)),
        );
        lines.extend(status.errors.iter().map(|error| format!("  {error}")));
    }
    lines.extend(member.status.failure.iter().map(|failure| format!("  {}", line(failure))));
    lines.extend(member.status.certificates.iter().map(|one| match (one.not_after, &one.error) {
        (Some(end), _) => format!("  certificate {} expires {}", one.path, certificate::date(end)),
        (None, why) => format!("  certificate {}: {}", one.path, why.as_deref().unwrap_or("nothing is known")),
    }));
    format!("\n{}\n", lines.join("\n"))
}

/// A failure in one line.
fn line(failure: &Failure) -> String {
    std::iter::once(&failure.message).chain(&failure.causes).cloned().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::{Alarm, Certificate, Member};

    use super::*;

    fn told(status: NodeStatus) -> Document {
        let found_by = "the unit /etc/systemd/system/etcd.service".to_owned();
        let member = Told { found_by, name: "cp1".into(), data_dir: "/var/lib/etcd".into(), status };
        Document { node: "cp1".into(), members: vec![member], failures: Vec::new() }
    }

    #[test]
    fn a_member_is_shown_with_what_it_knows() {
        let other = Member { id: 11, peer_urls: vec!["https://b:2380".into()], learner: true, ..Member::default() };
        let status = MemberStatus {
            member_id: 10,
            leader_id: 10,
            version: "3.5.16".into(),
            db_size: 3 << 20,
            db_size_in_use: 1 << 20,
            revision: 41,
            raft_term: 3,
            raft_index: 65,
            raft_applied_index: 64,
            members: vec![other],
            alarms: vec![Alarm { member_id: 10, kind: "NOSPACE".into() }],
            ..MemberStatus::default()
        };
        let certificates = vec![Certificate { path: "/a.crt".into(), not_after: Some(0), ..Certificate::default() }];
        let shown = table(&told(NodeStatus { etcd: Some(status), certificates, ..NodeStatus::default() }));
        let lines: Vec<String> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "NODE MEMBER ID ROLE VERSION DB SIZE IN USE REVISION TERM INDEX APPLIED",
                "cp1 cp1 a leader 3.5.16 3.0 MiB 1.0 MiB 41 3 65 64",
                "",
                "/var/lib/etcd, found by the unit /etc/systemd/system/etcd.service",
                "member b <not started> https://b:2380, a learner",
                "alarm NOSPACE of member a",
                &format!("certificate /a.crt expires {}", certificate::date(0)),
            ]
        );
    }

    #[test]
    fn a_member_that_does_not_answer_is_told_with_the_reason() {
        let failure = Failure::new(FailureCode::Etcd, "etcd does not answer").cause("connection refused");
        let shown = table(&told(NodeStatus { failure: Some(failure), ..NodeStatus::default() }));
        assert!(shown.contains("cp1    cp1      <unknown>"), "{shown}");
        assert!(shown.ends_with("\n  etcd does not answer: connection refused"), "{shown}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_without_etcd_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("etcd.yaml"), "kind: [").unwrap();
        let args = Args { manifests_dir: folder.path().to_owned(), output: Format::Json };
        match run(&args).await {
            Err(failure) => assert!(format!("{failure:?}").contains("etcd.yaml was passed over"), "{failure:?}"),
            // This machine has a unit of its own.
            Ok(looked) => assert!(looked.text.contains("etcd.yaml was passed over"), "{}", looked.text),
        }
    }
}
