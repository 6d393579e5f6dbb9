//! The participants of restores: static pods on control-plane nodes, which no API server can delete. One that has missed its dismissal is
//! told to end; one that nothing is known of is named.

use etcd_transaction::{NodeSet, Operator};
use etcd_wire::restore::RestorePlan;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;

use super::Args;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{EtcdPod, Overrides};
use crate::output::{Outcome, Table};
use crate::sidecar::Operation;
use crate::transaction::settle::dismissal;
use crate::transaction::{self, Recalled, Work, by_time, silence, standing_of};

/// Label of a participant's pod: the restore that it takes part in.
const RESTORE: &str = "kubectl-etcd/restore";
/// Its manifest in the kubelet's folder of static pods.
const MANIFEST: &str = "kubectl-etcd-restore.yaml";

/// Whether a pod is a participant.
pub(super) fn is_participant(pod: &Pod) -> bool {
    pod.labels().contains_key(RESTORE)
}

/// Node and restore of a participant's pod.
fn of_pod(pod: &Pod) -> (String, String) {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    (node, pod.labels().get(RESTORE).cloned().unwrap_or_default())
}

/// Nodes and restores of the participants that the journals tell of.
fn by_journals(nodes: &[Recalled]) -> Vec<(String, String)> {
    let of = |node: &Recalled| {
        let restores = node.restores().iter().filter(|restore| restore.participates);
        restores.map(|restore| (node.node.clone(), restore.plan.id.clone())).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of).collect()
}

/// What is to become of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// Its restore has ended everywhere, or is not waited for: it can be ended.
    Left,
    /// Its restore has ended on its node, and not, as far as can be seen, on all others.
    Waits,
    /// Its restore is unfinished.
    Unfinished,
    /// Its node has no journal of its restore.
    NoJournal,
    /// Its node cannot be asked.
    CannotBeAsked,
}

/// A participant, by the API server; over SSH, by the journal on its node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Participant {
    pub(super) node: String,
    pub(super) restore: String,
    pub(super) state: State,
}

impl Participant {
    /// What to do about one that this command does not end.
    fn advice(&self) -> Option<String> {
        let (node, id) = (&self.node, &self.restore);
        match self.state {
            State::Left => None,
            State::Waits | State::Unfinished => Some(format!(
                "the participant of restore {id} on node {node} stays: the restore has not ended on all nodes; see what it waits for\n  kubectl etcd restore --status"
            )),
            State::NoJournal => Some(format!(
                "node {node} runs a participant of restore {id}, and has no journal of it; if no restore is under way, remove its manifest on the node\n  rm /etc/kubernetes/manifests/{MANIFEST}"
            )),
            State::CannotBeAsked => {
                Some(format!("the participant of restore {id} stays: node {node} cannot be asked whether it has ended"))
            }
        }
    }
}

/// All participants, and what it takes to end those that can be ended.
#[derive(Debug, Default)]
pub(super) struct Participants {
    pub(super) all: Vec<Participant>,
    orders: Vec<(RestorePlan, Vec<(NodeSet, Operator)>)>,
    members: Vec<EtcdPod>,
}

impl Participants {
    /// Asks the nodes about the participants that the API server knows; nobody is asked if there are none. Over SSH the nodes tell which there are.
    ///
    /// # Errors
    /// The members cannot be found, or nothing may be made in the namespace of the sidecars.
    pub(super) async fn of(
        args: &Args,
        context: &Context,
        plane: &ControlPlane,
        pods: &[Pod],
    ) -> Outcome<Participants> {
        if pods.is_empty() && plane.api().is_some() {
            return Ok(Participants::default());
        }
        let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
        let members = transaction::to_recall(plane, context, &overrides, &args.manifests).await?;
        let own = plane.road(&args.sidecar, context).await?;
        let nodes = {
            let work = Work::new(context, plane, &own, &members, &args.sidecar);
            let mut watched = work.watch(Operation::Recall);
            let nodes = transaction::recall(&work, &mut watched).await;
            transaction::forget(&work, watched).await;
            nodes
        };
        let known = match plane.api() {
            Some(_) => pods.iter().map(of_pod).collect(),
            None => {
                if let Some(failed) = silence(&nodes) {
                    return Err(failed.effect("nothing was deleted"));
                }
                for node in &nodes {
                    if let Err(failed) = &node.outcome {
                        context.printer.warn(format!("node {} cannot be asked: {}", node.node, failed.one_line()));
                    }
                }
                by_journals(&nodes)
            }
        };
        Ok(Participants { members, ..Participants::judge(known, &nodes) })
    }

    /// What is to become of each, by the journals.
    fn judge(known: Vec<(String, String)>, nodes: &[Recalled]) -> Participants {
        let mut orders: Vec<(RestorePlan, Vec<(NodeSet, Operator)>)> = Vec::new();
        for restore in by_time(nodes) {
            let Some(standing) = standing_of(&restore.plan.id, nodes) else { continue };
            let each = standing.all().iter().filter_map(|node| Some((NodeSet::of(node), dismissal(&standing, node)?)));
            let each: Vec<_> = each.collect();
            if !each.is_empty() {
                orders.push((restore.plan.clone(), each));
            }
        }
        let is_left = |node: &str, id: &str| {
            orders.iter().filter(|(plan, _)| plan.id == id).any(|(plan, orders)| {
                let index = plan.nodes.iter().position(|one| one.node == node);
                orders.iter().any(|(set, _)| set.iter().any(|one| Some(one.index()) == index))
            })
        };
        let state = |node: &str, id: &str| match nodes.iter().find(|one| one.node == node) {
            Some(Recalled { outcome: Ok(_), .. }) if is_left(node, id) => State::Left,
            Some(known @ Recalled { outcome: Ok(_), .. }) => match known.find(id) {
                Some(restore) if restore.ended.is_some() => State::Waits,
                Some(_) => State::Unfinished,
                None => State::NoJournal,
            },
            Some(Recalled { outcome: Err(_), .. }) | None => State::CannotBeAsked,
        };
        let participant =
            |(node, restore): (String, String)| Participant { state: state(&node, &restore), node, restore };
        Participants { all: known.into_iter().map(participant).collect(), orders, members: Vec::new() }
    }

    /// How many can be ended.
    pub(super) fn left(&self) -> usize {
        self.all.iter().filter(|one| one.state == State::Left).count()
    }

    /// What to do about those that are not ended.
    pub(super) fn advice(&self) -> Vec<String> {
        self.all.iter().filter_map(Participant::advice).collect()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&["NODE", "RESTORE", "PARTICIPANT"]);
        for one in &self.all {
            let state = match one.state {
                State::Left => "its restore has ended",
                State::Waits => "waits for other nodes",
                State::Unfinished => "takes part",
                State::NoJournal => "no journal of it",
                State::CannotBeAsked => "cannot be asked",
            };
            table.row(vec![one.node.clone(), one.restore.clone(), state.to_owned()]);
        }
        table.to_string()
    }

    /// Ends those that can be ended, and waits until they are gone.
    ///
    /// # Errors
    /// A node could not be told, or its participant stays.
    pub(super) async fn end(&self, args: &Args, context: &Context, plane: &ControlPlane) -> Outcome {
        let own = plane.road(&args.sidecar, context).await?;
        let work = Work::new(context, plane, &own, &self.members, &args.sidecar);
        let mut watched = work.watch(Operation::Follow);
        for (plan, orders) in &self.orders {
            transaction::dismiss(&work, &mut watched, plan, orders).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::{Decision, Ending, NodeRestore};

    use super::*;
    use crate::output::Failed;
    use crate::transaction::samples::journal;

    fn pod(node: &str, id: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("kubectl-etcd-restore-{node}"), "labels": {RESTORE: id}},
            "spec": {"nodeName": node, "containers": []},
        }))
        .expect("a pod")
    }

    fn node(name: &str, change: impl FnOnce(&mut NodeRestore)) -> Recalled {
        let mut restore = journal(name, 2);
        change(&mut restore);
        Recalled { node: name.into(), outcome: Ok(vec![restore]) }
    }

    fn ended(restore: &mut NodeRestore) {
        (restore.vote, restore.decision, restore.ended) = (Some(true), Some(Decision::Commit), Some(Ending::Restored));
        restore.waits_for_others = true;
    }

    #[test]
    fn without_an_api_server_the_journals_tell_of_participants() {
        let has_left = |restore: &mut NodeRestore| restore.participates = false;
        let nodes = [node("cp1", ended), node("cp2", has_left)];
        assert_eq!(by_journals(&nodes), [("cp1".to_owned(), "id".to_owned())]);
    }

    #[test]
    fn only_what_has_ended_everywhere_is_ended() {
        let pods = [pod("cp1", "id"), pod("cp2", "id"), pod("cp1", "other")];
        let states = |nodes: &[Recalled]| {
            let judged = Participants::judge(pods.iter().map(of_pod).collect(), nodes);
            (judged.all.iter().map(|one| one.state).collect::<Vec<_>>(), judged.left())
        };
        let lost = || Recalled { node: "cp2".into(), outcome: Err(Failed::plain("gone")) };
        assert_eq!(
            states(&[node("cp1", ended), node("cp2", ended)]),
            (vec![State::Left, State::Left, State::NoJournal], 2)
        );
        assert_eq!(
            states(&[node("cp1", ended), node("cp2", |_| {})]),
            (vec![State::Waits, State::Unfinished, State::NoJournal], 0)
        );
        assert_eq!(
            states(&[node("cp1", ended), lost()]),
            (vec![State::Waits, State::CannotBeAsked, State::NoJournal], 0)
        );
        let judged = Participants::judge(pods.iter().map(of_pod).collect(), &[node("cp1", ended), node("cp2", ended)]);
        let advice = judged.advice();
        assert!(
            advice.len() == 1 && advice[0].ends_with("\n  rm /etc/kubernetes/manifests/kubectl-etcd-restore.yaml"),
            "{advice:?}"
        );
        assert!(judged.table().lines().nth(1).is_some_and(|line| line.ends_with("its restore has ended")));
    }
}
