//! The steps of a restore and its ends, for people.

use etcd_wire::restore::{Ending, Step};

/// What follows when revisions go below those that clients have seen.
pub(crate) const LOWER: &str = "revisions go below those that clients have seen: existing watches stop receiving events; restart kubelets and controllers";

/// A step that is going on, after the name of a node.
pub(crate) fn doing(step: Step) -> &'static str {
    match step {
        Step::Preflight => "checks that everything is there",
        Step::StopApi => "stops the API server",
        Step::StopEtcd => "stops etcd",
        Step::Swap => "exchanges the data",
        Step::LaunchEtcd => "starts etcd",
        Step::StartEtcd => "waits until all members serve",
        Step::StartApi => "starts the API server",
        Step::Finish => "starts controller manager and scheduler",
        Step::UndoStop => "goes back: stops what runs on the new data",
        Step::UndoSwap => "goes back: puts the old data in its place",
        Step::UndoStart => "goes back: starts everything",
    }
}

/// A step that is done, after the name of a node.
pub(crate) fn done(step: Step) -> &'static str {
    match step {
        Step::Preflight => "everything is there",
        Step::StopApi => "the API server is stopped",
        Step::StopEtcd => "etcd is stopped",
        Step::Swap => "the data is exchanged",
        Step::LaunchEtcd => "etcd runs",
        Step::StartEtcd => "etcd serves",
        Step::StartApi => "the API server serves",
        Step::Finish => "everything runs",
        Step::UndoStop => "went back: what ran on the new data is stopped",
        Step::UndoSwap => "went back: the old data is in its place",
        Step::UndoStart => "went back: everything is started again",
    }
}

/// How it ended on a node.
pub(crate) fn ended(ending: Ending) -> &'static str {
    match ending {
        Ending::Restored => "restored",
        Ending::WentBack => "went back",
        Ending::GivenUp => "given up",
    }
}
