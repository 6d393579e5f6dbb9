//! What a journal holds of the protocol.

use serde::{Deserialize, Serialize};

use crate::input::Component;
use crate::plan::{Node, NodeSet};
use crate::steps::Step;

/// The one thing that is decided. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// The new state stays.
    Commit,
    /// The old state comes back.
    Abort,
}

/// How a restore ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The new state is in place; on a node that is left out of it, everything is stopped and stays so.
    Restored,
    /// The old state is back.
    WentBack,
    /// It was given up before anything was stopped.
    GivenUp,
}

/// A try to decide. Ordered: the higher one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Raised by `restore --resume --without`.
    pub epoch: u8,
    /// Raised by every takeover. Round 0 is the coordinator's own, and needs no promises.
    pub round: u32,
    /// Whose ballot it is.
    pub owner: Node,
}

/// Why a node votes no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Why {
    /// The session that armed the node ended before the restore began.
    Dismissed,
    /// The order to begin never came.
    NeverBegun,
    /// Nothing that shows progress came from the coordinator.
    Silent,
    /// The node has lost its identity.
    IdentityLost,
    /// A step failed.
    Failed {
        /// Which one.
        step: Step,
    },
    /// A step took too long.
    TookTooLong {
        /// Which one.
        step: Step,
    },
    /// On the coordinator: nothing that shows progress came from a node.
    Lost {
        /// Which one.
        node: Node,
    },
    /// On the coordinator: a node does not hear another one.
    Unheard {
        /// The node that does not hear.
        by: Node,
        /// The node that is not heard.
        node: Node,
    },
    /// A manifest came back with other bytes.
    OtherManifest {
        /// Whose.
        component: Component,
    },
}

/// How a node knows a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum How {
    /// A quorum accepted it.
    Ballot {
        /// In this ballot.
        ballot: Ballot,
    },
    /// A node has voted no.
    VoteNo {
        /// Which one.
        node: Node,
    },
    /// A node told it.
    Told {
        /// Which one.
        node: Node,
    },
    /// An operator found it in the journals.
    Operator,
}

/// One fact of the protocol. It is on the disk before anything is done or said that depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Entry {
    /// From here on the node is on its own.
    Armed,
    /// A step begins, or is done and proved.
    Step {
        /// Which one.
        step: Step,
        /// Whether it is done.
        done: bool,
    },
    /// The vote, once. Yes: [`Step::StartEtcd`] is done and proved. No: it is decided to abort.
    Vote {
        /// Which vote.
        yes: bool,
        /// Why it is no.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Why>,
    },
    /// No ballot below this one is accepted any more.
    Promised {
        /// Which one.
        ballot: Ballot,
    },
    /// A value is accepted.
    Accepted {
        /// In which ballot.
        ballot: Ballot,
        /// Which value.
        decision: Decision,
    },
    /// It is decided.
    Decided {
        /// What.
        decision: Decision,
        /// How that is known.
        #[serde(flatten)]
        how: How,
    },
    /// An API server ran on the new data although its manifest was held. Its clients may have been told that writes had succeeded.
    Intruded {
        /// What ran.
        component: Component,
    },
    /// The new data had come to a higher revision than it began with when it was stopped.
    ServedAbove,
    /// [`Step::Restage`] is done.
    Restaged {
        /// Of what was built: equal where the nodes have the same old data.
        digest: u64,
    },
    /// The way back was not prepared in full: this node goes on with the new data for good.
    Stays,
    /// These nodes are gone for good, an operator says.
    Excluded {
        /// Which nodes.
        nodes: NodeSet,
        /// Of the ballots from now on.
        epoch: u8,
    },
    /// It is over on this node.
    Ended {
        /// How.
        ending: Ending,
    },
    /// It is over on all nodes.
    AllEnded,
    /// An operator says that the others need not be waited for.
    Forgotten,
}
