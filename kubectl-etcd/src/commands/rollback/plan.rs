//! What a rollback would do, as a pure function of what the nodes' journals say.

use etcd_wire::restore::{Ending, NodeRestore, Parts, RestoreKind, RestorePlan};
use jiff::Timestamp;
use serde::Serialize;

use super::changes::Looked;
use crate::commands::proposal::{Changes, Named, Outage};
use crate::discovery::EtcdPod;
use crate::output::API_VERSION;
use crate::output::{Outcome, timestamp};
use crate::transaction::{Part, Recalled, Terms, by_time, draw_up, is_unready, new_id, standing_of, step_labels};

/// All that is known before it.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) server: &'a str,
    /// Whether the directories come back as they are.
    pub(super) keep_revisions: bool,
    pub(super) terms: &'a Terms,
    pub(super) members: &'a [EtcdPod],
    pub(super) nodes: &'a [Recalled],
    /// The restore whose old data is to come back; the last one if `None`.
    pub(super) id: Option<&'a str>,
}

/// What would be done, and what speaks against it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) cluster: String,
    pub(super) server: String,
    /// The restore whose old data would come back.
    pub(super) restore: Option<Earlier>,
    /// All whose old data was in place before on a node, the last one first.
    pub(super) restores: Vec<Choice>,
    pub(super) nodes: Vec<Node>,
    pub(super) outage: Outage,
    /// `None` if it is not known, or it was not looked at because the rollback is refused.
    #[serde(flatten)]
    pub(super) changes: Option<Changes>,
    /// Whether the old data is of another cluster than the current data.
    #[serde(skip)]
    pub(super) other_cluster: bool,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) changes_unknown: Option<String>,
    pub(super) transaction: Option<RestorePlan>,
    /// What is worth knowing.
    pub(super) warnings: Vec<String>,
    /// Why it would not be done.
    pub(super) refusals: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Earlier {
    pub(super) id: String,
    pub(super) begun_at: Option<String>,
    pub(super) started_by: String,
}

/// A restore that could be undone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Choice {
    pub(super) id: String,
    pub(super) begun_at: Option<String>,
    pub(super) started_by: String,
    /// What is missing of its old data, a sentence a node; empty if it can come back.
    pub(super) missing: Vec<String>,
}

impl Choice {
    fn of(restore: &NodeRestore, nodes: &[Recalled]) -> Choice {
        Choice {
            id: restore.plan.id.clone(),
            begun_at: moment(restore),
            started_by: restore.plan.started_by.clone(),
            missing: missing(&restore.plan, nodes),
        }
    }
}

/// What is missing of the old data of a restore on the nodes that can be asked.
fn missing(plan: &RestorePlan, nodes: &[Recalled]) -> Vec<String> {
    let of = |node: &Recalled| {
        let what = match node.find(&plan.id) {
            None => "has no journal of it".to_owned(),
            Some(NodeRestore { ended: Some(Ending::Restored), aside: Some(_), .. }) => return None,
            // It has the new data, and is what a rollback is for.
            Some(restore) if is_unready(restore) && restore.aside.is_some() => return None,
            Some(NodeRestore { ended: Some(Ending::Restored), .. }) => "has no old data".to_owned(),
            Some(NodeRestore { ended: Some(ending), .. }) => {
                format!("has not had the new data: {}", step_labels::ended(*ending))
            }
            Some(NodeRestore { ended: None, .. }) => "has not ended it".to_owned(),
        };
        Some(format!("node {} {what}", node.node))
    };
    let serves = |node: &&Recalled| plan.serving().any(|one| one.node == node.node);
    nodes.iter().filter(|node| node.outcome.is_ok()).filter(serves).filter_map(of).collect()
}

fn moment(restore: &NodeRestore) -> Option<String> {
    Timestamp::from_millisecond(restore.begun_at).ok().map(timestamp)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) node: String,
    pub(super) member: String,
    pub(super) aside: Option<String>,
    pub(super) aside_bytes: u64,
}

impl Plan {
    /// Decides what is to be done.
    pub(super) fn make(found: &Found<'_>) -> Plan {
        let mut plan = Plan {
            api_version: API_VERSION,
            kind: "RollbackPlan",
            cluster: found.terms.cluster.clone(),
            server: found.server.to_owned(),
            restore: None,
            restores: Vec::new(),
            nodes: Vec::new(),
            outage: Outage::new(),
            changes: None,
            other_cluster: false,
            changes_unknown: None,
            transaction: None,
            warnings: Vec::new(),
            refusals: Vec::new(),
        };
        let bars =
            by_time(found.nodes).into_iter().filter_map(|restore| standing_of(&restore.plan.id, found.nodes)?.bars());
        plan.refusals.extend(bars.map(|(why, command)| format!("{why}: {command}")));
        // What has put new data in place on a node has set its old data aside.
        let in_place = |id: &str| {
            let has_it = |restore: &NodeRestore| restore.ended == Some(Ending::Restored) || is_unready(restore);
            found.nodes.iter().filter_map(|node| node.find(id)).any(has_it)
        };
        let all: Vec<&NodeRestore> =
            by_time(found.nodes).into_iter().filter(|restore| in_place(&restore.plan.id)).collect();
        plan.restores = all.iter().map(|restore| Choice::of(restore, found.nodes)).collect();
        let earlier = match found.id {
            Some(id) => all.iter().find(|restore| restore.plan.id == id).copied(),
            None => all.first().copied(),
        };
        // All that came after the old data was in place: the last one first, and the one that is undone at the end.
        let since =
            earlier.map_or(0, |earlier| 1 + all.iter().take_while(|one| one.plan.id != earlier.plan.id).count());
        let lowered: Vec<&str> = all[..since]
            .iter()
            .filter(|restore| restore.plan.kind.may_lower_revisions())
            .map(|restore| restore.plan.id.as_str())
            .collect();
        plan.other_cluster = all[..since].iter().any(|restore| restore.plan.replaces.is_some());
        for node in found.nodes {
            if let Err(failed) = &node.outcome
                && earlier.is_none_or(|earlier| takes_part(&earlier.plan, &node.node))
            {
                plan.refusals.push(format!("node {} cannot be asked: {}", node.node, failed.one_line()));
            }
        }
        let again = found.nodes.iter().filter(|node| {
            node.outcome.is_ok() && earlier.is_some_and(|earlier| !takes_part(&earlier.plan, &node.node))
        });
        plan.refusals.extend(again.map(|node| {
            format!(
                "node {} was left out of that restore and runs again: stop it or remove its member first; if its etcd does not run, do not name the node",
                node.node
            )
        }));
        let Some(earlier) = earlier else {
            plan.refusals.push(match found.id {
                Some(id) => {
                    format!("no node has old data of a restore {id}: --dry-run=client lists the restores that have")
                }
                None => "no node has old data of a restore: there is nothing to roll back to".to_owned(),
            });
            return plan;
        };
        let id = &earlier.plan.id;
        plan.refusals.extend(
            missing(&earlier.plan, found.nodes)
                .into_iter()
                .map(|what| format!("old data of restore {id} is missing: {what}")),
        );
        if earlier.plan.quorum_lost.is_some() {
            plan.refusals.push(format!(
                "the old data of restore {id} is that of a cluster without a quorum: its database lacks what only its log has; docs/RECOVER.md says how to return to it"
            ));
        }
        plan.restore = Some(Earlier {
            id: earlier.plan.id.clone(),
            begun_at: moment(earlier),
            started_by: earlier.plan.started_by.clone(),
        });
        plan.nodes = found.nodes.iter().filter_map(|node| Node::of(node, &earlier.plan)).collect();
        let (members, left_out): (Vec<_>, Vec<_>) =
            found.members.iter().partition(|member| takes_part(&earlier.plan, &member.node));
        plan.refusals.extend(changed(&earlier.plan, &members));
        if !lowered.is_empty() {
            plan.warnings.push(format!(
                "revisions were let go down by {}: an object with the same revision before and after it is shown as unchanged",
                lowered.join(", ")
            ));
        }
        let parts: Vec<_> = members.into_iter().map(Part::of).collect();
        let left_out = left_out.into_iter().map(|member| member.node.clone()).collect();
        let id = new_id(Timestamp::now());
        let (of, raise) = (earlier.plan.id.clone(), !found.keep_revisions);
        let kind = RestoreKind::Aside { of, raise, token: format!("rollback-{id}") };
        let of_all = matches!(earlier.plan.kind, RestoreKind::Snapshot { .. });
        if found.keep_revisions && of_all && !earlier.plan.left_out().is_empty() {
            plan.refusals.push(format!(
                "restore {} left nodes out ({}), whose data the old data includes: roll back without --keep-revisions",
                earlier.plan.id,
                earlier.plan.left_out().join(", ")
            ));
        }
        match draw_up(id, kind, found.terms, &parts, left_out) {
            Ok(transaction) => plan.transaction = Some(transaction),
            Err(against) => plan.refusals.extend(against),
        }
        plan
    }

    /// The last restore that can be undone, where it is another than the one that would be.
    pub(super) fn another(&self) -> Option<&str> {
        let chosen = self.restore.as_ref().map(|restore| restore.id.as_str());
        let whole = self.restores.iter().filter(|choice| choice.missing.is_empty()).map(|choice| choice.id.as_str());
        let mut whole = whole.filter(|id| Some(*id) != chosen && !self.refusals.is_empty());
        whole.next()
    }

    /// The restore whose old data would come back.
    pub(super) fn restored(&self) -> Option<&str> {
        self.restore.as_ref().map(|restore| restore.id.as_str())
    }

    /// Adds what would become of the objects, or why that is not known; and what speaks against it because of API servers that nothing would stop.
    pub(super) fn add(&mut self, looked: Outcome<Looked>) {
        let nodes = self.transaction.iter().flat_map(|transaction| &transaction.nodes);
        let stopped = nodes.clone().filter(|node| node.has_api_server()).count();
        let apart = nodes.clone().any(|node| node.parts != Parts::Both);
        let named = if self.server.is_empty() { Named::OverSsh } else { Named::ByApi };
        match looked {
            Ok(Looked { changes, leases }) => {
                self.changes = Some(changes);
                self.refusals.extend(leases.objection(stopped, named));
            }
            Err(failed) => {
                let why = failed.one_line();
                if apart {
                    self.refusals.push(format!("it is not known which API servers run: {why}"));
                }
                self.warnings.push(format!("the plan cannot show which objects change: {why}"));
                self.changes_unknown = Some(why);
            }
        }
    }
}

impl Node {
    fn of(node: &Recalled, plan: &RestorePlan) -> Option<Node> {
        let restore = node.find(&plan.id)?;
        let member = plan.nodes.iter().find(|one| one.node == node.node);
        Some(Node {
            node: node.node.clone(),
            member: member.map(|one| one.member.clone()).unwrap_or_default(),
            aside: restore.aside.clone(),
            aside_bytes: restore.aside_bytes,
        })
    }
}

/// Whether a node has its part in the way back from a restore: what that has left out has none.
fn takes_part(earlier: &RestorePlan, node: &str) -> bool {
    !earlier.left_out().contains(&node)
}

/// What is no longer as it was at the restore: the old data belongs to members as they were.
fn changed(plan: &RestorePlan, members: &[&EtcdPod]) -> Vec<String> {
    let mut changed = Vec::new();
    for node in plan.serving() {
        let Some(member) = members.iter().find(|member| member.node == node.node) else {
            changed.push(format!("node {} took part in that restore and has no etcd pod now", node.node));
            continue;
        };
        let now = (&member.name, member.data_dir.as_ref(), member.wal_dir.as_ref());
        if now != (&node.member, Some(&node.data_dir), node.wal_dir.as_ref()) {
            changed
                .push(format!("the member on node {} has another name or directory than at that restore", node.node));
        }
    }
    for node in plan.nodes.iter().filter(|node| !node.has_etcd()) {
        if !members.iter().any(|member| member.node == node.node && member.parts == Parts::ApiServer) {
            changed.push(format!(
                "node {} took part in that restore with an API server, and was not named or has none now: name it with --nodes",
                node.node
            ));
        }
    }
    let joined = members.iter().filter(|member| member.parts != Parts::ApiServer);
    let joined = joined.filter(|member| !plan.serving().any(|node| node.node == member.node));
    changed.extend(joined.map(|member| format!("node {} joined after that restore", member.node)));
    changed
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::QuorumLost;

    use super::*;
    use crate::commands::proposal::Proposal as _;
    use crate::output::Failed;
    use crate::transaction::samples::{pod, recalled, terms};

    const DONE: Option<Ending> = Some(Ending::Restored);

    fn plan(nodes: &[Recalled], members: &[EtcdPod]) -> Plan {
        plan_of(None, nodes, members)
    }

    fn plan_of(id: Option<&str>, nodes: &[Recalled], members: &[EtcdPod]) -> Plan {
        Plan::make(&Found { server: "https://x", keep_revisions: false, terms: &terms(), members, nodes, id })
    }

    fn members() -> [EtcdPod; 2] {
        [pod("cp1"), pod("cp2")]
    }

    #[test]
    fn the_last_restore_with_old_data_everywhere_is_undone() {
        let back = Some(Ending::WentBack);
        let past = [("a", DONE), ("b", DONE), ("c", back)];
        let made = plan(&[recalled("cp1", &past), recalled("cp2", &past)], &members());
        assert_eq!(made.refusals, Vec::<String>::new());
        let transaction = made.transaction.as_ref().expect("a plan");
        assert!(matches!(&transaction.kind, RestoreKind::Aside { of, raise: true, .. } if of == "b"));
        assert_eq!((transaction.nodes.len(), transaction.marker.is_none()), (2, true));
        let text = made.text(false);
        for part in ["before restore b", "4.1 kB", "cp1 coordinates", "roll back again"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(made.another(), None);
    }

    /// As after a removal of old data that failed on one node.
    #[test]
    fn an_older_restore_is_undone_only_if_it_is_chosen() {
        let past = [("a", DONE), ("b", DONE)];
        let mut lost = recalled("cp2", &past);
        lost.outcome.as_mut().expect("journals")[1].aside = None;
        for (second, text) in [
            (recalled("cp2", &past[..1]), "old data of restore b is missing: node cp2 has no journal of it"),
            (lost, "old data of restore b is missing: node cp2 has no old data"),
            (
                recalled("cp2", &[("a", DONE), ("b", Some(Ending::WentBack))]),
                "node cp2 has not had the new data: rolled back",
            ),
        ] {
            let nodes = [recalled("cp1", &past), second];
            let made = plan(&nodes, &members());
            assert_eq!(made.refusals.len(), 1, "{:?}", made.refusals);
            assert!(made.refusals[0].contains(text), "{:?}", made.refusals);
            assert_eq!((made.restore.as_ref().map(|one| one.id.as_str()), made.another()), (Some("b"), Some("a")));
            let text = made.text(false);
            let row = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap_or_default();
            assert!(row("a ").ends_with("on all nodes") && row("b ").contains("node cp2"), "{text}");
            let json = serde_json::to_value(&made).expect("JSON");
            assert_eq!(
                (&json["restores"][0]["id"], &json["restores"][1]["missing"]),
                (&"b".into(), &serde_json::json!([]))
            );
            let chosen = plan_of(Some("a"), &nodes, &members());
            assert_eq!(chosen.refusals, Vec::<String>::new());
            let kind = &chosen.transaction.expect("a plan").kind;
            assert!(matches!(kind, RestoreKind::Aside { of, .. } if of == "a"), "{kind:?}");
            let unknown = plan_of(Some("x"), &nodes, &members());
            assert!(unknown.refusals[0].contains("restore x") && unknown.transaction.is_none(), "{unknown:?}");
            assert!(unknown.text(false).lines().any(|line| line.starts_with("a ") && line.ends_with("on all nodes")));
        }
    }

    #[test]
    fn every_restore_since_that_lowered_revisions_is_named() {
        let lowering = |name: &str| {
            let mut node = recalled(name, &[("a", DONE), ("b", DONE), ("c", DONE)]);
            for restore in node.outcome.as_mut().expect("journals") {
                let (of, token) = ("x".to_owned(), String::new());
                if restore.plan.id != "b" {
                    restore.plan.kind = RestoreKind::Aside { of, raise: restore.plan.id == "a", token };
                }
            }
            node
        };
        let nodes = [lowering("cp1"), lowering("cp2")];
        for (id, named) in [(None, Some("c")), (Some("b"), Some("c")), (Some("a"), Some("c"))] {
            let warnings = plan_of(id, &nodes, &members()).warnings;
            assert_eq!(
                warnings.iter().any(|one| one.starts_with("revisions were let go down by c:")),
                named.is_some(),
                "{id:?}: {warnings:?}"
            );
        }
        let before = [recalled("cp1", &[("a", DONE)]), recalled("cp2", &[("a", DONE)])];
        assert_eq!(plan(&before, &members()).warnings, Vec::<String>::new());
    }

    #[test]
    fn an_id_of_a_journal_is_one_word_of_the_command() {
        let past = [("a;reboot", DONE), ("b", DONE)];
        let nodes = [recalled("cp1", &past), recalled("cp2", &past[..1])];
        let refused = plan(&nodes, &members()).refused();
        assert!(refused.hints[0].ends_with("\n  kubectl etcd rollback --id 'a;reboot'"), "{refused}");
    }

    #[test]
    fn what_the_restore_has_left_out_has_no_part_in_the_way_back() {
        let mut nodes = [recalled("cp1", &[("a", DONE)]), recalled("cp2", &[])];
        for restore in nodes[0].outcome.as_mut().expect("journals") {
            restore.plan.nodes.pop();
            restore.plan.not_reached = vec!["cp2".into()];
        }
        nodes[1].outcome = Err(Failed::plain("gone"));
        let made = plan(&nodes, &members());
        assert_eq!(made.refusals, Vec::<String>::new());
        let transaction = made.transaction.expect("a plan");
        assert_eq!((transaction.nodes.len(), transaction.not_reached), (1, vec!["cp2".to_owned()]));
        // One that can be asked may have joined again.
        let [one, _] = &nodes;
        let joined = [Recalled { node: one.node.clone(), outcome: Ok(one.restores().to_vec()) }, recalled("cp2", &[])];
        let refusals = plan(&joined, &members()).refusals;
        assert!(
            refusals.iter().any(|why| why.contains("cp2 was left out") && why.contains("runs again")),
            "{refusals:?}"
        );
        let (members, terms) = (members(), terms());
        let (server, keep_revisions, id) = ("", true, None);
        let found = Found { server, keep_revisions, terms: &terms, members: &members, nodes: &nodes, id };
        let refusals = Plan::make(&found).refusals;
        assert!(refusals.len() == 1 && refusals[0].contains("left nodes out (cp2)"), "{refusals:?}");
    }

    #[test]
    fn nothing_rolls_back_to_a_cluster_without_a_quorum() {
        let mut nodes = [recalled("cp1", &[("a", DONE)]), recalled("cp2", &[("a", DONE)])];
        for restore in nodes.iter_mut().flat_map(|node| node.outcome.as_mut().expect("journals")) {
            restore.plan.quorum_lost = Some(QuorumLost::default());
        }
        let refusals = plan(&nodes, &members()).refusals;
        assert!(refusals.len() == 1 && refusals[0].contains("restore a is that of a cluster without"), "{refusals:?}");
    }

    #[test]
    fn what_speaks_against_a_way_back_is_told() {
        let past = [("a", DONE)];
        let both = || [recalled("cp1", &past), recalled("cp2", &past)];
        let [one, two] = members();
        let moved = EtcdPod { data_dir: Some("/other".into()), ..two.clone() };
        for (nodes, members, text) in [
            ([recalled("cp1", &[]), recalled("cp2", &[])], vec![one.clone(), two.clone()], "nothing to roll back to"),
            (
                [recalled("cp1", &past), recalled("cp2", &[("a", None)])],
                vec![one.clone(), two.clone()],
                "is unfinished",
            ),
            (
                [recalled("cp1", &past), Recalled { node: "cp2".into(), outcome: Err(Failed::plain("gone")) }],
                vec![one.clone(), two.clone()],
                "cp2 cannot be asked: gone",
            ),
            (both(), vec![one.clone(), moved], "another name or directory"),
            (both(), vec![one.clone()], "cp2 took part"),
            (both(), vec![one.clone(), two.clone(), pod("cp3")], "cp3 joined"),
        ] {
            let refusals = plan(&nodes, &members).refusals;
            assert!(refusals.iter().any(|why| why.contains(text)), "{text}: {refusals:?}");
        }
    }
}
