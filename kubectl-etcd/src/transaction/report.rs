//! What was done, for people and for scripts.

use std::fmt::Write as _;
use std::path::Path;

use etcd_doctor::{Finding, NodeLeft, Severity};
use etcd_recovery::{is_unready, names, step_labels};
use etcd_wire::restore::{Decision, Ending, Event, Kept, NodeRestore, RestoreKind, RestoreNode, RestorePlan};
use serde::Serialize;

use super::check::Check;
use super::verdict::{NodeEnd, Verdict, away, reasons, seconds};
use crate::output::API_VERSION;
use crate::output::visible::{self, quoted};
use crate::output::{Table, bytes};

/// Checks of left-overs that tell what the plan knew as well.
const NODES: &str = "left-over-nodes";
const API_SERVERS: &str = "left-over-leases";

/// A restore or a way back, at its end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// Names the restore.
    pub(crate) id: String,
    /// The revision of the snapshot, where whoever reports knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_revision: Option<i64>,
    pub(crate) cluster: String,
    started_by: String,
    /// The restore whose old data came back, for a way back.
    went_back_to_before: Option<String>,
    pub(crate) result: Verdict,
    /// Whether revisions may have gone below those that clients have seen, as was asked for.
    may_be_lower: bool,
    /// The cluster that serves the new state, in hex as etcdctl prints it, and the revision that it began with. `None` if none does.
    cluster_id: Option<String>,
    revision: Option<i64>,
    /// For how long the API was away on the node where that was longest.
    api_away_milliseconds: Option<i64>,
    nodes: Vec<Node>,
    /// Whether the cluster had no quorum before: nothing rolls back to its old data.
    #[serde(skip)]
    quorum_rebuilt: bool,
    /// What the new state is without.
    left_out: Vec<LeftOut>,
    /// What the nodes noted.
    notes: Vec<String>,
    /// What was looked at afterwards; `None` if it did not come to that.
    check: Option<Check>,
    /// Nodes that the restored state knows and that had been removed.
    pub(crate) nodes_gone: Vec<String>,
    /// Nodes of a lost cluster that are no machines here, with what came back of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes_without_machine: Vec<NodeLeft>,
    /// What is to be done before all of a lost cluster's state works on the machines that took it over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) to_do: Vec<String>,
    /// Addresses of API servers that the restored state knows and that had gone.
    pub(crate) masters_gone: Vec<String>,
    /// What is left over after the restore, as `doctor` finds it: every check of left-overs, those that passed as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_overs: Vec<Finding>,
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
    /// What it knows to be decided.
    decision: Option<Decision>,
    /// Whether its API server has not become ready in time on the new data.
    unready: bool,
    /// Whether an API server ran on the new data before that.
    intruded: bool,
    /// What was kept besides the old data.
    kept: Vec<Kept>,
    /// Why the node could not be asked.
    trouble: Option<String>,
    events: Vec<Event>,
}

/// A node that was left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftOut {
    node: String,
    /// Whether everything is stopped there; it could not be reached otherwise.
    stopped: bool,
    /// Where the manifests of its static pods are, which are stopped; `None` if it has none, or could not be reached.
    manifests: Option<String>,
    /// The drop-in that keeps etcd from being started there, where etcd is a unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_in: Option<String>,
    /// Whether units start etcd in this cluster: how its members are made is not known then.
    #[serde(skip)]
    by_unit: bool,
}

impl LeftOut {
    fn of(plan: &RestorePlan) -> Vec<LeftOut> {
        let by_unit = plan.nodes.iter().any(|node| node.unit.is_some());
        let stopped = plan.nodes.iter().filter(|node| node.left_out).map(|node| {
            let parent = Path::new(&node.manifests_dir).parent().unwrap_or(Path::new("/"));
            let manifests = parent.join(format!(".kubectl-etcd-{}", plan.id)).display().to_string();
            // A unit of etcd on a machine of its own has no static pod beside it.
            let manifests = Some(manifests).filter(|_| !node.participates_by_unit());
            LeftOut { node: node.node.clone(), stopped: true, manifests, drop_in: node.drop_in(), by_unit }
        });
        let gone = plan.quorum_lost.iter().flat_map(|lost| &lost.gone);
        let not_reached = plan.not_reached.iter().chain(gone);
        let not_reached = not_reached.map(|node| LeftOut {
            node: node.clone(),
            stopped: false,
            manifests: None,
            drop_in: None,
            by_unit,
        });
        stopped.chain(not_reached).collect()
    }

    /// What is to be done about it, for people.
    fn advice(&self) -> String {
        let node = &self.node;
        let how = match (&self.manifests, &self.drop_in) {
            (Some(manifests), None) => {
                format!("is left out: its static pods are stopped, their manifests are in {manifests}")
            }
            (Some(manifests), Some(drop_in)) => format!(
                "is left out: etcd is stopped, and {drop_in} keeps systemd from starting the old data; its static pods are stopped, their manifests are in \
                 {manifests}"
            ),
            (None, Some(drop_in)) => {
                format!("is left out: etcd is stopped, and {drop_in} keeps systemd from starting the old data")
            }
            (None, None) if !self.by_unit => {
                "is left out and was not reached: its static pods start again with the old data when it comes back".to_owned()
            }
            (None, None) => "is left out and was not reached: etcd and the API server start there again with the old data when it comes back, and API servers \
                          that name its etcd may read that data: keep it off the network until its etcd is disabled"
                .to_owned(),
        };
        if self.by_unit {
            let release = self.drop_in.as_ref().map_or_else(String::new, |drop_in| {
                format!(
                    "remove its old data, then\n  rm {} && systemctl daemon-reload     (on the node)\nand ",
                    quoted(drop_in)
                )
            });
            return format!(
                "node {node} {how}; to add it again as a new member, {release}follow the way in which the member was set up"
            );
        }
        format!(
            "node {node} {how}; to add it again as a new member\n  \
             kubeadm reset                        (on the node)\n  \
             kubectl delete node {}\n  \
             kubeadm join ... --control-plane     (on the node)",
            quoted(node)
        )
    }
}

impl Report {
    /// Of what the nodes say. `None` if none of them knows of it.
    pub(crate) fn of(result: Verdict, ends: &[NodeEnd], check: Option<Check>) -> Option<Report> {
        let known = ends.iter().find_map(|end| end.restore.as_ref())?;
        let plan = &known.plan;
        let nodes: Vec<Node> = ends.iter().map(Node::of).collect();
        let staged = ends.iter().filter_map(|end| end.restore.as_ref()?.staged.as_ref());
        let new = matches!(result, Verdict::Restored | Verdict::RolledBack | Verdict::Unready);
        Some(Report {
            api_version: API_VERSION,
            kind: "RestoreReport",
            id: plan.id.clone(),
            snapshot_revision: None,
            cluster: plan.cluster.clone(),
            started_by: plan.started_by.clone(),
            went_back_to_before: match &plan.kind {
                RestoreKind::Aside { of, .. } => Some(of.clone()),
                RestoreKind::Snapshot { .. } => None,
            },
            result,
            may_be_lower: plan.kind.may_lower_revisions(),
            cluster_id: new.then(|| known.staged.as_ref().map(|staged| format!("{:x}", staged.cluster_id))).flatten(),
            revision: staged.map(|staged| staged.revision).filter(|_| new).min(),
            api_away_milliseconds: nodes.iter().filter_map(|node| node.api_away_milliseconds).max(),
            nodes,
            quorum_rebuilt: plan.quorum_lost.is_some(),
            left_out: if new { LeftOut::of(plan) } else { Vec::new() },
            notes: reasons(ends),
            check,
            nodes_gone: Vec::new(),
            nodes_without_machine: Vec::new(),
            to_do: Vec::new(),
            masters_gone: Vec::new(),
            left_overs: Vec::new(),
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
            let _infallible = writeln!(text, "{:<10} {}", format!("{name}:"), visible::name(&value));
        };
        let what = match &self.went_back_to_before {
            Some(of) => format!("{}, rolled back to before {of}", self.id),
            None => self.id.clone(),
        };
        line("Restore", what);
        line("Cluster", self.cluster.clone());
        if let (Some(id), Some(revision)) = (&self.cluster_id, self.revision) {
            line("Serves", format!("etcd cluster {id}, from revision {revision}"));
        }
        if let Some(away) = self.api_away_milliseconds {
            line("API away", seconds(away));
        }
        if let Some(Check { hash_kv: Some(hash), hash_revision: Some(revision), .. }) = &self.check {
            line("Compared", format!("all members have the same keys: hash {hash} at revision {revision}"));
        }
        // Most often the same on all nodes.
        let mut kept: Vec<&str> = self.nodes.iter().filter_map(|node| node.aside.as_deref()).collect();
        kept.dedup();
        for folder in kept {
            line("Old data", folder.to_owned());
        }
        for node in &self.nodes {
            if node.intruded {
                line(
                    "Intruder",
                    format!("on node {}, an API server ran on the new data before the decision", node.node),
                );
            }
            for Kept { path, why, .. } in &node.kept {
                line("Kept", format!("{path} on node {}: {why}", node.node));
            }
        }
        let mut table = Table::new(&["NODE", "MEMBER", "RESULT", "API AWAY", "OLD DATA"]);
        for node in &self.nodes {
            let result = match (&node.trouble, node.ended) {
                (_, Some(ending)) => step_labels::ended(ending),
                (Some(_), None) if node.unready => "API not ready",
                (Some(_), None) => "unknown",
                (None, None) => "unfinished",
            };
            let kept = if node.aside.is_some() { bytes(node.aside_bytes) } else { String::new() };
            table.row(vec![
                node.node.clone(),
                node.member.clone(),
                result.to_owned(),
                node.api_away_milliseconds.map(seconds).unwrap_or_default(),
                kept,
            ]);
        }
        for node in &self.left_out {
            let result = if node.stopped { "left out, stopped" } else { "left out" };
            let empty = String::new;
            table.row(vec![node.node.clone(), empty(), result.to_owned(), empty(), empty()]);
        }
        let _infallible = write!(text, "\n{table}");
        if !self.nodes_without_machine.is_empty() && !self.is_checked(NODES) {
            text.push_str("\nNodes without a machine came back:\n");
            for line in NodeLeft::lines(&self.nodes_without_machine) {
                let _infallible = writeln!(text, "  {}", visible::name(&line));
            }
        }
        text.push_str(&self.left_over_text());
        text
    }

    /// Whether a check of left-overs was made, so that it has told what the plan knew.
    fn is_checked(&self, check: &str) -> bool {
        let made = |one: &Finding| one.check == check && one.severity != Severity::Unknown;
        self.left_overs.iter().any(made)
    }

    /// What is left over, and what could not be looked for; nothing where all passed.
    fn left_over_text(&self) -> String {
        let mut text = String::new();
        let of = |severity: Severity| self.left_overs.iter().filter(move |one| one.severity == severity);
        for (number, one) in of(Severity::Error).chain(of(Severity::Warning)).enumerate() {
            if number == 0 {
                text.push_str("\nLeft over after the restore. To look again: kubectl etcd doctor\n");
            }
            let _infallible = writeln!(text, "  {}", one.check);
            one.evidence.iter().for_each(|line| text.push_str(&format!("    {}\n", visible::name(line))));
            one.mend.iter().for_each(|line| text.push_str(&format!("    -> {}\n", visible::name(line))));
        }
        // Over SSH all have the same reason.
        let mut unknown: Vec<(String, Vec<&str>)> = Vec::new();
        for one in of(Severity::Unknown) {
            let why = one.evidence.join("; ");
            match unknown.iter_mut().find(|(reason, _)| *reason == why) {
                Some((_, checks)) => checks.push(one.check),
                None => unknown.push((why, vec![one.check])),
            }
        }
        if !unknown.is_empty() {
            text.push_str("\nLeft-overs that could not be looked for:\n");
        }
        for (why, checks) in unknown {
            let _infallible = writeln!(text, "  {}: {}", checks.join(", "), visible::name(&why));
        }
        text
    }

    /// How it ended, in one line.
    pub(crate) fn result_line(&self) -> String {
        let cluster = &self.cluster;
        let mut line = match (&self.went_back_to_before, self.snapshot_revision) {
            (Some(of), _) => format!("rolled back cluster {cluster} to before restore {of}"),
            (None, Some(revision)) => format!("restored cluster {cluster} to revision {revision}"),
            (None, None) => format!("restored cluster {cluster}"),
        };
        if let Some(away) = self.api_away_milliseconds {
            let _infallible = write!(line, "; API away {}", seconds(away));
        }
        line
    }

    /// What is to be known or done next, for people.
    pub(crate) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let kept: Vec<&str> =
            self.nodes.iter().filter(|node| !node.kept.is_empty()).map(|node| node.node.as_str()).collect();
        if !kept.is_empty() {
            advice.push(format!(
                "files or data besides the old data are kept on {}, named under Kept; look at them before you remove them\n  kubectl etcd cleanup --old-data",
                names(&kept)
            ));
        }
        if !matches!(self.result, Verdict::Restored | Verdict::RolledBack) {
            return advice;
        }
        if self.nodes.iter().all(|node| node.aside.is_some()) {
            let kept = match self.quorum_rebuilt {
                false => {
                    "the old data is kept on every node; to return to it, or to remove it when it is not needed any more\n  \
                     kubectl etcd rollback\n  kubectl etcd cleanup --old-data"
                }
                // See docs/RECOVER.md.
                true => {
                    "the old data is kept on every node; no rollback returns to it, for it had no quorum; to remove it when it is not needed any more\n  \
                     kubectl etcd cleanup --old-data"
                }
            };
            advice.push(kept.to_owned());
        }
        if self.may_be_lower {
            advice.push(format!(
                "{}\n  systemctl restart kubelet     (on every node of the cluster)",
                step_labels::LOWER
            ));
        }
        match &self.went_back_to_before {
            None => advice.extend(self.left_out.iter().map(LeftOut::advice)),
            Some(_) => advice.extend(self.left_out.iter().map(|one| format!("node {} stays left out", one.node))),
        }
        advice.extend(self.to_do.iter().cloned());
        // Of a lost cluster that is said above, and what was looked for among the left-overs.
        if !self.nodes_gone.is_empty() && self.nodes_without_machine.is_empty() && !self.is_checked(NODES) {
            advice.push(format!(
                "nodes that had been removed are listed again: {}; if they are gone\n  kubectl delete node {}",
                self.nodes_gone.join(", "),
                self.nodes_gone.iter().map(|node| quoted(node)).collect::<Vec<_>>().join(" ")
            ));
        }
        if !self.masters_gone.is_empty() && !self.is_checked(API_SERVERS) {
            advice.push(format!(
                "records of API servers that are gone came back: {}; they expire within a minute. If they do not, service kubernetes still has their addresses\n  \
                 kubectl get endpoints kubernetes",
                self.masters_gone.join(", ")
            ));
        }
        if !self.pods_back.is_empty() {
            advice.push(format!(
                "sidecars of an earlier run came back with the restored data: {}\n  kubectl etcd cleanup",
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
        let own = restore.and_then(own);
        let has_api_server = own.as_ref().is_none_or(RestoreNode::has_api_server);
        Node {
            node: end.node.clone(),
            member: own.map(|node| node.member).unwrap_or_default(),
            ended: restore.and_then(|restore| restore.ended),
            api_away_milliseconds: restore.filter(|_| has_api_server).and_then(away),
            aside: restore.and_then(|restore| restore.aside.clone()),
            aside_bytes: restore.map_or(0, |restore| restore.aside_bytes),
            decision: restore.and_then(|restore| restore.decision),
            unready: restore.is_some_and(is_unready),
            intruded: restore.is_some_and(|restore| restore.intruded),
            kept: restore.map(|restore| restore.kept.clone()).unwrap_or_default(),
            trouble: end.trouble.clone(),
            events: restore.map(|restore| restore.events.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::QuorumLost;

    use super::super::verdict::tests::node;
    use super::*;

    #[test]
    fn nobody_is_sent_back_to_the_data_of_a_cluster_without_a_quorum() {
        let mut one = node("cp1", Some(Ending::Restored));
        let report = |one: &NodeEnd| Report::of(Verdict::Restored, std::slice::from_ref(one), None).expect("a journal");
        assert!(report(&one).advice()[0].contains("kubectl etcd rollback"));
        one.restore.as_mut().expect("a journal").plan.quorum_lost = Some(QuorumLost::default());
        let advice = report(&one).advice().join("\n");
        assert!(!advice.contains("etcd rollback") && advice.contains("kubectl etcd cleanup --old-data"), "{advice}");
    }

    #[test]
    fn a_report_tells_what_was_done_and_where_the_old_data_is() {
        let ends = [node("cp1", Some(Ending::Restored)), node("cp2", Some(Ending::Restored))];
        let mut report = Report::of(Verdict::Restored, &ends, Some(Check::default())).expect("a journal");
        assert_eq!(report.result_line(), "restored cluster prod; API away 12.0 s");
        report.snapshot_revision = Some(41_873);
        assert_eq!(report.result_line(), "restored cluster prod to revision 41873; API away 12.0 s");
        report.nodes_gone = vec!["old".into()];
        report.masters_gone = vec!["10.0.0.9".into()];
        assert_eq!(report.api_away_milliseconds, Some(12_000));
        let text = report.text();
        for part in ["prod", "12.0 s", "/var/lib/etcd/.kubectl-etcd/id/old", "4.1 kB", "restored"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let advice = report.advice().join("\n");
        assert!(advice.contains("kubectl etcd rollback") && advice.contains("kubectl delete node old"), "{advice}");
        assert!(advice.contains("came back: 10.0.0.9"), "{advice}");
        assert!(!advice.contains("watches"), "{advice}");
        report.to_do = vec!["nodes of the lost cluster: old\n  kubectl delete node old".into()];
        report.nodes_without_machine = vec![NodeLeft { node: "old".into(), pods: vec!["a/b".into()], lease: true }];
        let advice = report.advice().join("\n");
        assert!(advice.matches("kubectl delete node old").count() == 1 && advice.contains("lost cluster"), "{advice}");
        assert!(report.text().ends_with("came back:\n  old: 1 pod (a/b), a lease\n"), "{}", report.text());
        // What was looked for is told once.
        let finding = |check, severity, evidence: &str, mend: &[&str]| Finding {
            check,
            severity,
            evidence: vec![evidence.to_owned()],
            why: "",
            mend: mend.iter().map(|line| (*line).to_owned()).collect(),
        };
        report.left_overs = vec![
            finding("left-over-pods", Severity::Ok, "none", &[]),
            finding(NODES, Severity::Warning, "old: it came back", &["kubectl delete node old"]),
            finding(API_SERVERS, Severity::Ok, "none", &[]),
            finding("left-over-volumes", Severity::Unknown, "no right", &[]),
            finding("left-over-tokens", Severity::Unknown, "no right", &[]),
        ];
        let (text, advice) = (report.text(), report.advice().join("\n"));
        assert!(!text.contains("came back:") && !advice.contains("came back: 10.0.0.9"), "{text}{advice}");
        let told = "  left-over-nodes\n    old: it came back\n    -> kubectl delete node old\n";
        assert!(
            text.contains(told) && text.ends_with("looked for:\n  left-over-volumes, left-over-tokens: no right\n"),
            "{text}"
        );
        assert!(!text.contains("left-over-pods"), "{text}");
        report.may_be_lower = true;
        assert!(report.advice().join("\n").contains("existing watches stop receiving events; restart kubelets"));
        let json = serde_json::to_value(&report).expect("data");
        assert_eq!((&json["kind"], &json["result"]), (&"RestoreReport".into(), &"restored".into()));
        assert_eq!(json["nodes"][1]["asideBytes"], 4096);
    }

    #[test]
    fn what_is_left_out_is_named_with_the_way_to_have_it_back() {
        let mut end = node("cp1", Some(Ending::Restored));
        let plan = &mut end.restore.as_mut().expect("a journal").plan;
        plan.nodes[1].left_out = true;
        plan.not_reached = vec!["cp3".into()];
        let report = Report::of(Verdict::Restored, &[end], Some(Check::default())).expect("a journal");
        let (text, advice) = (report.text(), report.advice().join("\n"));
        assert!(text.lines().any(|line| line.starts_with("cp2") && line.contains("left out, stopped")), "{text}");
        for part in ["in /etc/kubernetes/.kubectl-etcd-id;", "node cp3 is left out and was not reached", "rollback"] {
            assert!(advice.contains(part), "{part} is not in\n{advice}");
        }
        // What systemd starts is held on.
        let mut end = node("cp1", Some(Ending::Restored));
        let left_out = &mut end.restore.as_mut().expect("a journal").plan.nodes[1];
        (left_out.left_out, left_out.unit) = (true, Some("/etc/systemd/system/etcd.service".into()));
        let report = Report::of(Verdict::Restored, &[end], Some(Check::default())).expect("a journal");
        let drop_in = "/etc/systemd/system/etcd.service.d/zz-kubectl-etcd-restore.conf";
        let advice = report.advice().join("\n");
        for part in
            [format!("{drop_in} keeps systemd from starting"), format!("rm {drop_in} && systemctl daemon-reload")]
        {
            assert!(advice.contains(&part) && !advice.contains("kubeadm"), "{advice}");
        }
        assert_eq!(serde_json::to_value(&report).expect("data")["leftOut"][0]["dropIn"], drop_in);
    }

    #[test]
    fn what_was_kept_is_told_however_it_ended() {
        let mut end = node("cp1", Some(Ending::WentBack));
        let restore = end.restore.as_mut().expect("a journal");
        restore.intruded = true;
        restore.kept = vec![Kept { path: "/data/kept".into(), why: "an API server wrote to it".into(), bytes: 0 }];
        let report = Report::of(Verdict::WentBack, &[end], None).expect("a journal");
        let text = report.text();
        for part in
            ["/data/kept on node cp1: an API server wrote to it", "on node cp1, an API server ran on the new data"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(report.advice()[0].starts_with("files or data besides the old data are kept on cp1,"));
        let json = serde_json::to_value(&report).expect("data");
        assert_eq!(
            (&json["nodes"][0]["intruded"], &json["nodes"][0]["kept"][0]["path"]),
            (&true.into(), &"/data/kept".into())
        );
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
