//! Carries out at the nodes what an operator orders for a restore that has begun. What is right to order is in `etcd_recovery::settle`.

use std::time::{Duration, Instant};

use etcd_recovery::identities;
use etcd_recovery::settle::Resume;
use etcd_transaction::{NodeSet, Operator};
use etcd_wire::restore::{Decision, DirectRequest, Identity, RestorePlan};

use super::Work;
use super::follow::Watched;
use super::recall::{Recalled, recall};
use crate::output::{Exit, Failed, Outcome, ResultExt};

/// How long participants may take to leave once nothing is waited for: the protocol's time, and more.
const LEAVE: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_secs(2);

/// Does at the nodes what a restore is resumed by. The coordinator, who counts the others as lost after a while, comes last.
///
/// # Errors
/// A node could not be told. Exit 5 if others were: the command can be repeated.
pub(crate) async fn carry_out(
    work: &Work<'_>,
    watched: &mut [Watched<'_>],
    plan: &RestorePlan,
    resume: &Resume,
) -> Outcome {
    // Those of two authorities do not understand each other: all are made at once, and given one after the other.
    let identities =
        if resume.renews() { identities(&plan.id, plan.nodes.len()).or_fail(no_certificates)? } else { Vec::new() };
    let mut nodes: Vec<usize> = resume.nodes().iter().map(etcd_transaction::Node::index).collect();
    nodes.sort_by_key(|&index| plan.nodes.get(index).is_some_and(|node| node.node == plan.coordinator));
    let told = match resume {
        Resume::Follow => return Ok(()),
        Resume::Bring { decision: Decision::Commit, .. } => "knows now that the new data stays",
        Resume::Bring { decision: Decision::Abort, .. } => "knows now that it has to return to the old data",
        Resume::Identities { .. } => "has a new certificate",
        Resume::Exclude { .. } => "has a new certificate, and decides without the nodes that are gone",
    };
    // All are reached before the first one is told anything.
    for &index in &nodes {
        session_of(work, watched, plan, index).await.map_err(Failed::unchanged)?;
    }
    let mut done: Vec<&str> = Vec::new();
    for index in nodes {
        let name = plan.nodes.get(index).map(|node| node.node.as_str()).unwrap_or_default();
        match direct(work, watched, plan, index, identities.get(index).cloned(), resume.order()).await {
            Ok(()) => {
                work.printer.note(format!("node {name} {told}"));
                done.push(name);
            }
            Err(failed) => {
                let failed = failed.context(format!("cannot resume restore {} on node {name}", plan.id));
                let again = "bring the node back, and repeat the command; all nodes are then told anew";
                return Err(match done.is_empty() {
                    true => failed.hint(again),
                    false => Failed { exit: Exit::Changed, ..failed }
                        .effect(format!("told already: {}", done.join(", ")))
                        .hint(again),
                });
            }
        }
    }
    Ok(())
}

/// Gives nodes an order that ends their participants, and waits until these are gone. Says of each what became of it.
///
/// # Errors
/// A node could not be told, or its participant stays. Exit 5 if another one has ended.
pub(crate) async fn dismiss(
    work: &Work<'_>,
    watched: &mut [Watched<'_>],
    plan: &RestorePlan,
    orders: &[(NodeSet, Operator)],
) -> Outcome {
    let mut waited: Vec<&str> = Vec::new();
    let mut troubles: Vec<String> = Vec::new();
    for &(nodes, order) in orders {
        for index in nodes.iter().map(etcd_transaction::Node::index) {
            let Some(node) = plan.nodes.get(index) else { continue };
            match direct(work, watched, plan, index, None, Some(order)).await {
                Ok(()) => waited.push(&node.node),
                Err(failed) => troubles.push(format!("node {}: {}", node.node, failed.one_line())),
            }
        }
    }
    let told = !waited.is_empty();
    let begun = Instant::now();
    while !waited.is_empty() {
        let stay: Vec<&str> = {
            let nodes = recall(work, watched).await;
            waited.iter().copied().filter(|name| !has_left(&nodes, name, &plan.id)).collect()
        };
        for name in waited.iter().filter(|name| !stay.contains(name)) {
            work.printer.note(format!("node {name}: restore {} is over; nothing is waited for any more", plan.id));
        }
        waited = stay;
        if begun.elapsed() > LEAVE {
            let late = |name: &&str| format!("node {name}: its participant is still there after {}s", LEAVE.as_secs());
            troubles.extend(waited.iter().map(late));
            break;
        }
        if !waited.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
    if troubles.is_empty() {
        return Ok(());
    }
    let exit = if told { Exit::Changed } else { Exit::Failed };
    Err(Failed::new(exit, format!("not all participants of restore {} have ended", plan.id))
        .causes(troubles)
        .hint("look again, and repeat the command\n  kubectl etcd restore --status"))
}

/// What cannot be done when the machine gives no random numbers.
pub(super) fn no_certificates() -> String {
    "make certificates for the nodes".to_owned()
}

/// Whether a node's participant of a restore has gone. Not so if that cannot be seen.
fn has_left(nodes: &[Recalled], name: &str, id: &str) -> bool {
    let node = nodes.iter().find(|node| node.node == name && node.outcome.is_ok());
    node.is_some_and(|node| node.find(id).is_none_or(|restore| !restore.participates && !restore.waits_for_others))
}

async fn session_of<'w, 'a>(
    work: &Work<'_>,
    watched: &'w mut [Watched<'a>],
    plan: &RestorePlan,
    index: usize,
) -> Outcome<&'w mut Watched<'a>> {
    let name = plan.nodes.get(index).map(|node| node.node.as_str()).unwrap_or_default();
    let one = watched.iter_mut().find(|one| one.member.node == name);
    let one = one.ok_or_else(|| Failed::plain(format!("no etcd member is found on node {name} any more")))?;
    one.session(work).await?;
    Ok(one)
}

async fn direct(
    work: &Work<'_>,
    watched: &mut [Watched<'_>],
    plan: &RestorePlan,
    index: usize,
    identity: Option<Identity>,
    order: Option<Operator>,
) -> Outcome {
    let one = session_of(work, watched, plan, index).await?;
    let request = DirectRequest { id: plan.id.clone(), identity, order };
    let answer = one.session(work).await?.direct(request).await;
    // A refusal leaves the session as it was.
    if answer.as_ref().is_err_and(|failed| failed.exit != Exit::Refused) {
        one.lose();
    }
    answer
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::Ending;

    use super::super::samples::journal;
    use super::*;

    #[test]
    fn a_participant_has_left_when_its_node_says_so() {
        let node = |participates, waits_for_others| {
            let restore = etcd_wire::restore::NodeRestore {
                participates,
                waits_for_others,
                ended: Some(Ending::Restored),
                ..journal("cp1", 2)
            };
            [Recalled { node: "cp1".into(), outcome: Ok(vec![restore]) }]
        };
        assert!(has_left(&node(false, false), "cp1", "id"));
        assert!(!has_left(&node(true, false), "cp1", "id") && !has_left(&node(false, true), "cp1", "id"));
        let gone = [Recalled { node: "cp1".into(), outcome: Err(Failed::plain("no route")) }];
        assert!(!has_left(&gone, "cp1", "id") && !has_left(&node(false, false), "cp2", "id"));
    }
}
