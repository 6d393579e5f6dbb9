//! One change of a whole control plane, driven from the workstation as far as that goes: the nodes are prepared, get the new data, are
//! armed and told to begin; then they are on their own, and what they did is read from their journals. A restore and the way back from
//! one are the same transaction over other data.

mod api_away;
mod begun_by;
mod by_journal;
mod check;
mod follow;
mod node_sessions;
mod operator;
mod order;
mod recall;
mod report;
mod restore_flags;
mod standing;
mod verdict;

use std::time::Duration;

use etcd_doctor::{CameBack, examine_left_overs};
pub(crate) use etcd_recovery::step_labels::LOWER;
pub(crate) use etcd_recovery::{Phase, Told, is_unready, settle, step_labels};
use etcd_wire::restore::{RestoreNode, RestorePlan};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

pub(crate) use api_away::until_back;
use begun_by::begun_by;
pub(crate) use by_journal::{describe, to_recall};
pub(crate) use follow::Watched;
use follow::{Board, follow};
pub(crate) use node_sessions::MARGIN;
use node_sessions::NodeSessions;
pub(crate) use operator::{carry_out, dismiss};
pub(crate) use order::{Part, PeerUrls, Terms, draw_up, new_id, peer_urls};
pub(crate) use recall::{Recalled, by_time, recall, silence, unfinished};
pub(crate) use report::Report;
pub(crate) use restore_flags::RestoreFlags;
pub(crate) use standing::standing_of;
use verdict::{NodeEnd, Verdict};

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::EtcdPod;
use crate::interruption;
use crate::left_overs::{self, Besides, Patience};
use crate::output::{Exit, Failed, Outcome, Printer};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Committed, MANAGED_BY, Operation, SidecarArgs, Upload, remove};

/// What a transaction works with.
pub(crate) struct Work<'a> {
    pub(crate) context: &'a Context,
    pub(crate) plane: &'a ControlPlane,
    pub(crate) road: &'a Road,
    /// The members of all nodes that take part, by the names of their nodes.
    pub(crate) members: &'a [EtcdPod],
    /// The file that every node gets, if they get one.
    pub(crate) upload: Option<Upload>,
    /// Nodes that come back with the data, by the plan.
    pub(crate) came_back: Vec<CameBack>,
    /// Image of the sidecar, and of the nodes' participants, where pods are made.
    pub(crate) image: String,
    pub(crate) pod_running_timeout: Duration,
    pub(crate) namespace: String,
    pub(crate) printer: Printer,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        context: &'a Context,
        plane: &'a ControlPlane,
        road: &'a Road,
        members: &'a [EtcdPod],
        args: &SidecarArgs,
    ) -> Work<'a> {
        Work {
            context,
            plane,
            road,
            members,
            upload: None,
            came_back: Vec::new(),
            image: args.image.clone(),
            pod_running_timeout: args.pod_running_timeout,
            namespace: args.pod_namespace.clone(),
            printer: context.printer,
        }
    }

    /// All members, each to be asked through a sidecar that is there for this operation.
    pub(crate) fn watch(&self, operation: Operation) -> Vec<Watched<'a>> {
        self.members.iter().map(|member| Watched::new(member, operation, None)).collect()
    }
}

/// How a transaction ended, to be told before its failure, if it failed.
pub(crate) struct Ended {
    /// `None` if no node could tell anything.
    pub(crate) report: Option<Report>,
    pub(crate) outcome: Outcome,
}

/// Carries a plan out, and follows it to its end.
///
/// # Errors
/// It did not begin, and nothing was changed. How it ended once it had begun is in what it gives.
pub(crate) async fn run(work: &Work<'_>, plan: &RestorePlan) -> Outcome<Ended> {
    let interruption = &work.context.interruption;
    // An interruption ends the sessions in order: the nodes take back what they have begun.
    let mut nodes = tokio::select! {
        nodes = NodeSessions::gather(work, plan) => nodes.map_err(untouched)?,
        () = interruption.heard() => return Err(interrupted()),
    };
    let ready = tokio::select! {
        // A node's refusal counts for more than an interruption that came with it.
        biased;
        staged = nodes.ready() => staged.map(|_| ()).map_err(untouched),
        () = interruption.heard() => Err(interrupted()),
    };
    if let Err(failed) = ready {
        nodes.dismiss().await;
        return Err(failed);
    }
    if interruption.happened() {
        nodes.dismiss().await;
        return Err(interrupted());
    }
    work.printer.note("all nodes are ready; the API server and etcd stop on all nodes now");
    let continues = || on_their_own(&plan.id);
    let word = match interruption.unless_urged(continues, nodes.commit()).await? {
        Committed::Begun => None,
        Committed::Refused(failed) => {
            nodes.dismiss().await;
            return Err(untouched(failed));
        }
        Committed::Unknown(failed) => Some(failed),
    };
    // An interruption meanwhile has waited for the word; from now on it is told as what it is, and nothing has to be taken back.
    if interruption.happened() {
        return Err(on_their_own(&plan.id));
    }
    let talks = nodes.hands.into_iter().map(|hand| Some((hand.sidecar, hand.session)));
    let mut watched: Vec<Watched<'_>> =
        work.members.iter().zip(talks).map(|(member, talk)| Watched::new(member, Operation::Follow, talk)).collect();
    let mut watched: Vec<&mut Watched<'_>> = watched.iter_mut().collect();
    Ok(conclude(work, &mut watched, plan, &[], word).await)
}

/// Lets go of nodes that were asked: their sidecars are not needed any more.
pub(crate) async fn forget(work: &Work<'_>, watched: Vec<Watched<'_>>) {
    let sidecars: Vec<Sidecar> = watched.into_iter().filter_map(|one| one.give_back(work.road)).collect();
    join_all(sidecars.iter().map(|sidecar| work.road.make_way(sidecar))).await;
}

/// Follows a restore to its end, whoever began it. `gone` are nodes that are not waited for.
pub(crate) async fn follow_on(
    work: &Work<'_>,
    watched: &mut [Watched<'_>],
    plan: &RestorePlan,
    gone: &[&str],
) -> Ended {
    let mut watched: Vec<&mut Watched<'_>> =
        watched.iter_mut().filter(|one| !gone.contains(&one.member.node.as_str())).collect();
    conclude(work, &mut watched, plan, gone, None).await
}

/// Follows, judges, checks. `word` is what was heard when it was to begin, if that was no clear word. An interruption ends only the
/// watching: the nodes go on.
async fn conclude(
    work: &Work<'_>,
    watched: &mut [&mut Watched<'_>],
    plan: &RestorePlan,
    gone: &[&str],
    word: Option<Failed>,
) -> Ended {
    let interruption = &work.context.interruption;
    let over = || {
        let over = Failed::new(Exit::Changed, "interrupted while the restored cluster was checked");
        over.cause("the restore itself has ended on all nodes").hint("kubectl etcd restore --status")
    };
    let runs_on = |one: &&mut Watched<'_>| runs_on(plan).any(|node| node.node == one.member.node);
    let (mut serving, mut left_out): (Vec<_>, Vec<_>) = watched.iter_mut().map(|one| &mut **one).partition(runs_on);
    let followed = follow_all(work, &mut serving, &mut left_out, plan, gone);
    let ended = match interruption.or(|| on_their_own(&plan.id), followed).await {
        Ok((ends, verdict)) => interruption.or(over, judge(work, &mut serving, plan, &ends, verdict, word)).await,
        Err(failed) => Err(failed),
    };
    ended.unwrap_or_else(|failed| Ended { report: None, outcome: Err(failed) })
}

/// The nodes on which something runs on the new data: members, or API servers that use those of other nodes.
fn runs_on(plan: &RestorePlan) -> impl Iterator<Item = &RestoreNode> {
    plan.nodes.iter().filter(|node| !node.left_out)
}

/// Follows the nodes to their ends.
async fn follow_all(
    work: &Work<'_>,
    serving: &mut [&mut Watched<'_>],
    left_out: &mut [&mut Watched<'_>],
    plan: &RestorePlan,
    gone: &[&str],
) -> (Vec<NodeEnd>, Verdict) {
    let board = Board::default();
    let counts = |node: &&RestoreNode| !gone.contains(&node.node.as_str());
    let mut ends: Vec<NodeEnd> = follow(serving, &plan.id, work, &board).await;
    unwatched(&mut ends, runs_on(plan).filter(counts));
    let verdict = Verdict::of(&ends);
    if matches!(verdict, Verdict::Restored | Verdict::Unready) || runs_on(plan).count() == plan.nodes.len() {
        return (ends, verdict);
    }
    // The API servers of what was left out are to run again.
    ends.extend(follow(left_out, &plan.id, work, &board).await);
    unwatched(&mut ends, plan.nodes.iter().filter(counts));
    let verdict = Verdict::of(&ends);
    (ends, verdict)
}

/// Looks at the cluster as it is now, and says how the transaction ended.
async fn judge(
    work: &Work<'_>,
    serving: &mut [&mut Watched<'_>],
    plan: &RestorePlan,
    ends: &[NodeEnd],
    verdict: Verdict,
    word: Option<Failed>,
) -> Ended {
    let check = match verdict {
        Verdict::Restored | Verdict::RolledBack => Some(check::check(work, serving, ends).await),
        _ => None,
    };
    let mut report = Report::of(verdict, ends, check);
    let outcome = match (verdict, word, &mut report) {
        // It was refused after all.
        (Verdict::GivenUp, Some(word), _) => {
            Err(untouched(Failed { exit: Exit::Refused, ..word }).causes(verdict::reasons(ends)))
        }
        (Verdict::Restored, _, Some(report)) => {
            let begun = ends.iter().filter_map(|end| end.restore.as_ref()).map(|restore| restore.begun_at).min();
            report.pods_back = send_away(work, begun).await;
            let besides = Besides { came_back: work.came_back.clone(), own: work.road.pods() };
            let found = left_overs::look(work.plane.api(), Patience::PodsMayEnd, besides).await;
            report.left_overs = examine_left_overs(&found);
            healthy(report)
        }
        _ => verdict.outcome(&plan.id, ends),
    };
    Ended { report, outcome }
}

/// Adds the nodes that nobody could watch.
fn unwatched<'p>(ends: &mut Vec<NodeEnd>, nodes: impl Iterator<Item = &'p RestoreNode>) {
    for node in nodes {
        if !ends.iter().any(|end| end.node == node.node) {
            let trouble = Some("no etcd member is found there any more".to_owned());
            ends.push(NodeEnd { node: node.node.clone(), restore: None, trouble });
        }
    }
}

/// The new state is in place: whether it is well.
fn healthy(report: &Report) -> Outcome {
    if report.troubles().is_empty() {
        return Ok(());
    }
    Err(Failed::new(Exit::Changed, "the new data is in place on all nodes, but the cluster is not healthy")
        .causes(report.troubles().iter().cloned())
        .hint("look at the members, or roll back\n  kubectl etcd status\n  kubectl etcd rollback"))
}

/// Pods of ours that were there when the data now in place was that of the cluster: they came back with it, and nobody speaks to them any
/// more. Deletes those that are older than the restore (milliseconds since 1970), and names what is left.
async fn send_away(work: &Work<'_>, begun: Option<i64>) -> Vec<String> {
    // Over SSH nobody makes pods, and those of others are for whoever reaches the API server.
    let Some(connection) = work.plane.api() else { return Vec::new() };
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &work.namespace);
    let own = work.road.pods();
    // What cannot be listed is not told; `cleanup` finds it.
    let listed = pods.list(&ListParams::default().labels(MANAGED_BY)).await.map(|list| list.items).unwrap_or_default();
    let mut left = Vec::new();
    for pod in listed.iter().filter(|pod| !own.contains(&format!("{}/{}", work.namespace, pod.name_any()))) {
        let (name, made) = (pod.name_any(), pod.creation_timestamp().map(|made| made.0.as_millisecond()));
        if made.zip(begun).is_some_and(|(made, begun)| made < begun) {
            match remove(&pods, &name).await {
                Ok(_) => work.printer.note(format!("pod/{name} came back with the restored data; deleted")),
                Err(reason) => {
                    work.printer.warn(format!("pod/{name} came back with the restored data: {reason}"));
                    left.push(format!("{}/{name}", work.namespace));
                }
            }
        } else {
            left.push(format!("{}/{name}", work.namespace));
        }
    }
    left
}

fn untouched(failed: Failed) -> Failed {
    failed.unchanged()
}

fn interrupted() -> Failed {
    untouched(interruption::interrupted())
}

/// What an interruption is told as while nodes are on their own.
fn on_their_own(id: &str) -> Failed {
    Failed::new(Exit::Changed, format!("interrupted; restore {id} continues on the nodes"))
        .cause("the nodes finish it, or roll back, without this command")
        .hint("look at it, or follow it to its end\n  kubectl etcd restore --status\n  kubectl etcd restore --follow")
}

#[cfg(test)]
pub(crate) mod samples;
