//! What was done, for people and for scripts.

use std::fmt::Write as _;

use etcd_wire::restore::{Ending, Event, NodeRestore, RestoreKind, Step};
use serde::Serialize;

use super::check::Check;
use super::verdict::{NodeEnd, Verdict, reasons};
use super::words;
use crate::commands::API_VERSION;
use crate::output::{Table, bytes};

/// A restore or a way back, at its end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// Names the restore.
    pub(crate) id: String,
    pub(crate) cluster: String,
    started_by: String,
    /// The restore whose old data came back, for a way back.
    went_back_to_before: Option<String>,
    pub(crate) result: Verdict,
    /// The cluster that serves the new state, in hex as etcdctl prints it, and the revision that it began with. `None` if none does.
    cluster_id: Option<String>,
    revision: Option<i64>,
    /// For how long the API was away on the node where that was longest.
    api_away_milliseconds: Option<i64>,
    nodes: Vec<Node>,
    /// What the nodes noted.
    notes: Vec<String>,
    /// What was looked at afterwards; `None` if it did not come to that.
    check: Option<Check>,
    /// Nodes that the restored state knows and that had been removed.
    pub(crate) nodes_gone: Vec<String>,
    /// Pods of this program that came back with the restored state.
    pub(crate) pods_back: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    node: String,
    member: String,
    ended: Option<Ending>,
    /// Each by the clock of its own node.
    api_away_milliseconds: Option<i64>,
    aside: Option<String>,
    aside_bytes: u64,
    /// Why the node could not be asked.
    trouble: Option<String>,
    events: Vec<Event>,
}

impl Report {
    /// Of what the nodes say. `None` if none of them knows of it.
    pub(crate) fn of(result: Verdict, ends: &[NodeEnd], check: Option<Check>) -> Option<Report> {
        let known = ends.iter().find_map(|end| end.restore.as_ref())?;
        let plan = &known.plan;
        let nodes: Vec<Node> = ends.iter().map(Node::of).collect();
        let staged = ends.iter().filter_map(|end| end.restore.as_ref()?.staged.as_ref());
        let new = result == Verdict::Restored;
        Some(Report {
            api_version: API_VERSION,
            kind: "RestoreReport",
            id: plan.id.clone(),
            cluster: plan.cluster.clone(),
            started_by: plan.started_by.clone(),
            went_back_to_before: match &plan.kind {
                RestoreKind::Aside { of, .. } => Some(of.clone()),
                RestoreKind::Snapshot { .. } => None,
            },
            result,
            cluster_id: new.then(|| known.staged.as_ref().map(|staged| format!("{:x}", staged.cluster_id))).flatten(),
            revision: staged.map(|staged| staged.revision).filter(|_| new).min(),
            api_away_milliseconds: nodes.iter().filter_map(|node| node.api_away_milliseconds).max(),
            nodes,
            notes: reasons(ends),
            check,
            nodes_gone: Vec::new(),
            pods_back: Vec::new(),
        })
    }

    /// What is wrong although the new state is in place.
    pub(crate) fn troubles(&self) -> &[String] {
        self.check.as_ref().map(|check| check.troubles.as_slice()).unwrap_or_default()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _infallible = writeln!(text, "{:<10} {value}", format!("{name}:"));
        };
        let what = match &self.went_back_to_before {
            Some(of) => format!("{}, back to before {of}", self.id),
            None => self.id.clone(),
        };
        line("Restore", what);
        line("Cluster", self.cluster.clone());
        if let (Some(id), Some(revision)) = (&self.cluster_id, self.revision) {
            line("Serves", format!("etcd cluster {id}, from revision {revision} on"));
        }
        if let Some(away) = self.api_away_milliseconds {
            line("API away", seconds(away));
        }
        if let Some(Check { hash_kv: Some(hash), hash_revision: Some(revision), .. }) = &self.check {
            line("Compared", format!("the keys of all members hash to {hash} at revision {revision}"));
        }
        let mut table = Table::new(&["NODE", "MEMBER", "RESULT", "API AWAY", "OLD DATA", "SIZE"]);
        for node in &self.nodes {
            let result = match (&node.trouble, node.ended) {
                (_, Some(ending)) => words::ended(ending),
                (Some(_), None) => "unknown",
                (None, None) => "unfinished",
            };
            let size = if node.aside.is_some() { bytes(node.aside_bytes) } else { String::new() };
            table.row(vec![
                node.node.clone(),
                node.member.clone(),
                result.to_owned(),
                node.api_away_milliseconds.map(seconds).unwrap_or_default(),
                node.aside.clone().unwrap_or_default(),
                size,
            ]);
        }
        let _infallible = write!(text, "\n{table}");
        text
    }

    /// What is to be known or done next, for people.
    pub(crate) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.result != Verdict::Restored {
            return advice;
        }
        if self.nodes.iter().all(|node| node.aside.is_some()) {
            advice.push(
                "the data of before is kept on every node; to go back to it, or to be rid of it once it is not wanted:\n  \
                 kubectl etcd rollback\n  kubectl etcd cleanup --aside"
                    .to_owned(),
            );
        }
        if !self.nodes_gone.is_empty() {
            advice.push(format!(
                "nodes that had been removed are known again: {}; where they are really gone\n  kubectl delete node {}",
                self.nodes_gone.join(", "),
                self.nodes_gone.join(" ")
            ));
        }
        if !self.pods_back.is_empty() {
            advice.push(format!(
                "pods of an earlier run came back with the restored state: {}\n  kubectl etcd cleanup",
                self.pods_back.join(", ")
            ));
        }
        advice.extend(self.check.iter().flat_map(|check| check.remarks.iter().cloned()));
        advice
    }
}

impl Node {
    fn of(end: &NodeEnd) -> Node {
        let restore = end.restore.as_ref();
        let own = |restore: &NodeRestore| restore.plan.nodes.iter().find(|node| node.node == end.node).cloned();
        Node {
            node: end.node.clone(),
            member: restore.and_then(own).map(|node| node.member).unwrap_or_default(),
            ended: restore.and_then(|restore| restore.ended),
            api_away_milliseconds: restore.and_then(away),
            aside: restore.and_then(|restore| restore.aside.clone()),
            aside_bytes: restore.map_or(0, |restore| restore.aside_bytes),
            trouble: end.trouble.clone(),
            events: restore.map(|restore| restore.events.clone()).unwrap_or_default(),
        }
    }
}

/// How long the API was away on a node, by that node's own clock: clocks of different nodes are not compared.
fn away(restore: &NodeRestore) -> Option<i64> {
    let begun = restore.events.iter().find(|event| event.step == Some(Step::StopApi) && !event.done)?.at;
    let back = |event: &&Event| event.done && matches!(event.step, Some(Step::StartApi | Step::UndoStart));
    let back = restore.events.iter().rfind(back)?.at;
    (back >= begun).then_some(back - begun)
}

fn seconds(milliseconds: i64) -> String {
    format!("{:.1}s", milliseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::node;
    use super::*;

    #[test]
    fn a_report_tells_what_was_done_and_where_the_old_data_is() {
        let ends = [node("cp1", Some(Ending::Restored)), node("cp2", Some(Ending::Restored))];
        let mut report = Report::of(Verdict::Restored, &ends, Some(Check::default())).expect("a journal");
        report.nodes_gone = vec!["old".into()];
        assert_eq!(report.api_away_milliseconds, Some(12_000));
        let text = report.text();
        for part in ["prod", "12.0s", "/var/lib/etcd/.kubectl-etcd/id/old", "4.1 kB", "restored"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let advice = report.advice().join("\n");
        assert!(advice.contains("kubectl etcd rollback") && advice.contains("kubectl delete node old"), "{advice}");
        let json = serde_json::to_value(&report).expect("data");
        assert_eq!((&json["kind"], &json["result"]), (&"RestoreReport".into(), &"restored".into()));
        assert_eq!(json["nodes"][1]["asideBytes"], 4096);
    }

    #[test]
    fn a_report_of_what_did_not_end_advises_nothing() {
        let lost = NodeEnd { node: "cp2".into(), restore: None, trouble: Some("no route".into()) };
        let ends = [node("cp1", Some(Ending::WentBack)), lost];
        let report = Report::of(Verdict::Unknown, &ends, None).expect("a journal");
        assert!(report.advice().is_empty() && report.text().contains("unknown"));
        assert!(Report::of(Verdict::Unknown, &ends[1..], None).is_none());
    }
}
