//! The steps of a restore and its ends, for people.

use etcd_wire::restore::{Ending, Step};

/// What follows when revisions go below those that clients have seen.
pub const LOWER: &str = "revisions go below those that clients have seen: existing watches stop receiving events; restart kubelets and controllers";

/// A step that is going on, after the name of a node.
pub fn doing(step: Step) -> &'static str {
    match step {
        Step::Preflight => "runs its preflight",
        Step::StopApi => "stops the API server",
        Step::StopEtcd => "stops etcd",
        Step::Swap => "swaps the data directories",
        Step::LaunchEtcd => "starts etcd",
        Step::StartEtcd => "waits for all members",
        Step::StartApi => "starts the API server",
        Step::Finish => "starts controller manager and scheduler",
        Step::Recheck => "restarts etcd with its own manifest",
        Step::Restage => "builds the old data anew",
        Step::HandOver => "stops the API server and prepares the rollback",
        Step::UndoStop => "rolls back: stops what runs on the new data",
        Step::UndoSwap => "rolls back: puts the old data back",
        Step::UndoStart => "rolls back: starts all components",
    }
}

/// A step that is done, after the name of a node.
pub fn done(step: Step) -> &'static str {
    match step {
        Step::Preflight => "has passed its preflight",
        Step::StopApi => "has stopped the API server",
        Step::StopEtcd => "has stopped etcd",
        Step::Swap => "has swapped the data directories",
        Step::LaunchEtcd => "etcd runs",
        Step::StartEtcd => "etcd serves",
        Step::StartApi => "the API server serves",
        Step::Finish => "runs all components",
        Step::Recheck => "etcd runs with its own manifest",
        Step::Restage => "has built the old data anew",
        Step::HandOver => "is prepared for the rollback",
        Step::UndoStop => "rolled back: what ran on the new data is stopped",
        Step::UndoSwap => "rolled back: the old data is back",
        Step::UndoStart => "rolled back: all components are started",
    }
}

/// How it ended on a node.
pub fn ended(ending: Ending) -> &'static str {
    match ending {
        Ending::Restored => "restored",
        Ending::WentBack => "rolled back",
        Ending::GivenUp => "cancelled",
    }
}
