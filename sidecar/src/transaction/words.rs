//! The protocol's reasons and notices, for people.

use etcd_transaction::{Component, Decision, Node, Notice, Refusal, Step, Why};

use super::ground::{self, API_SERVER, ETCD};

/// A component's name.
pub(super) fn component(component: Component) -> &'static str {
    match component {
        Component::Etcd => "etcd",
        Component::ApiServer => "kube-apiserver",
        Component::ControllerManager => "kube-controller-manager",
        Component::Scheduler => "kube-scheduler",
    }
}

/// Which component it is.
pub(super) fn kind(one: &ground::Component) -> Component {
    match one.name.as_str() {
        ETCD => Component::Etcd,
        API_SERVER => Component::ApiServer,
        "kube-scheduler" => Component::Scheduler,
        _ => Component::ControllerManager,
    }
}

/// A decision of version 0.1, after "decided: ".
pub(super) fn decision(decision: Decision, why: &str) -> String {
    match decision {
        Decision::Commit => "the new data stays".to_owned(),
        Decision::Abort => format!("roll back to the old data: {why}"),
    }
}

/// Why a participant does not take an order.
pub(super) fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Contradiction => "the journal of this node contradicts the protocol: the node does nothing",
        Refusal::NotCoordinator => "this node is not the coordinator of the restore",
        Refusal::Begun => "the restore has begun on this node, and cannot be dismissed any more",
        Refusal::DecidedOtherwise => "another decision is known on this node",
        Refusal::HasNotVoted => "this node has not voted, so the new data cannot have been decided",
        Refusal::NotNew => "the order to decide without nodes names this node, or is older than one that this node has",
        Refusal::NotEnded => "the restore has not ended on this node",
    }
}

/// A step, after "cannot" or "does not".
pub(super) fn step(step: Step) -> &'static str {
    match step {
        Step::Preflight => "pass the preflight",
        Step::StopApi => "stop the API server",
        Step::StopEtcd => "stop etcd",
        Step::Swap => "swap the data directories",
        Step::LaunchEtcd => "launch etcd",
        Step::StartEtcd => "serve the new data",
        Step::StartApi => "start the API server",
        Step::Finish => "start the controllers",
        Step::Recheck => "restart etcd with its own manifest",
        Step::Restage => "build the old data anew",
        Step::HandOver => "prepare the rollback",
        Step::UndoStop => "stop what runs on the new data",
        Step::UndoSwap => "put the old data back",
        Step::UndoStart => "start what was stopped",
    }
}

/// Why a node votes no.
pub(super) fn why(why: Why, name: impl Fn(Node) -> String, port: u16) -> String {
    match why {
        Why::Dismissed => "the command ended before the restore began".to_owned(),
        Why::NeverBegun => "the order to begin never arrived".to_owned(),
        Why::Silent => "no message from the coordinator".to_owned(),
        Why::IdentityLost => "the node has lost its certificate".to_owned(),
        Why::Failed { step: one } => format!("the node cannot {}", step(one)),
        Why::TookTooLong { step: one } => format!("the node did not {} in time", step(one)),
        Why::Lost { node } => format!("node {} has shown no progress for 30s", name(node)),
        Why::Unheard { by, node } => {
            format!("node {} gets no message from node {} on TCP port {port}", name(by), name(node))
        }
        Why::OtherManifest { component: one } => {
            format!("another program has written a different manifest of {}", component(one))
        }
    }
}

/// What a person should know; `None` for what the journal says anyway.
pub(super) fn notice(notice: Notice, name: impl Fn(Node) -> String) -> Option<String> {
    let names = |nodes: etcd_transaction::NodeSet| nodes.iter().map(&name).collect::<Vec<_>>().join(", ");
    Some(match notice {
        Notice::Contradiction => "the journal contradicts the protocol: this node does nothing".to_owned(),
        Notice::Asks => {
            "the node has lost its certificate, and asks the others for the decision; for a new one: kubectl etcd restore --resume"
                .to_owned()
        }
        Notice::InDoubt { heard } => {
            format!("the node has voted yes and waits for a decision; it hears only {}", names(heard))
        }
        Notice::Unheard { node } => format!("no message from node {}", name(node)),
        Notice::Hangs { step: one } => {
            format!(
                "the node was told to stop, but a file operation does not return, so it cannot {} or roll back",
                step(one)
            )
        }
        Notice::TriesAgain { step: one, times } => {
            format!("the node cannot {}, and tries again (failed {times} times)", step(one))
        }
        Notice::Unready => "the API server is not ready on the new data".to_owned(),
        Notice::TurnsBack => "no API server is ready on the new data; the nodes prepare to roll back".to_owned(),
        Notice::OldDataDiffers => {
            "the nodes do not roll back by themselves: their members did not have the same data before the restore".to_owned()
        }
        Notice::Stays => "the node does not roll back by itself: the new data stays".to_owned(),
        Notice::Intruder { component: one, other_bytes } => {
            let what = component(one);
            let how = if other_bytes { "a different manifest" } else { "its manifest or its process" };
            format!("another program has started {what} again: {how} was found, and was moved away or ended")
        }
        Notice::ApiWaits { nodes } => format!(
            "the API server stays stopped until etcd has its old data again on {}; these nodes are not heard, or still roll back",
            names(nodes)
        ),
        Notice::WaitsFor { nodes } => format!("the restore has ended on this node, which waits for {}", names(nodes)),
    })
}
