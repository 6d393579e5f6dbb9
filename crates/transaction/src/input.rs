//! What a participant is told.

use serde::{Deserialize, Serialize};

use crate::entry::Decision;
use crate::message::{Answer, Message};
use crate::plan::{Node, NodeSet};

/// A length of time, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A moment of this process's monotonic clock, in milliseconds. Never sent, stored, or compared with another process's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// How long ago another moment was; nothing if that is still to come.
    #[must_use]
    pub fn since(self, earlier: Now) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// A later moment.
    #[must_use]
    pub fn after(self, time: Millis) -> Now {
        Now(self.0.saturating_add(time.0))
    }

    /// An earlier moment; the beginning of the clock if there is none.
    #[must_use]
    pub fn before(self, time: Millis) -> Now {
        Now(self.0.saturating_sub(time.0))
    }
}

/// Names a write of an entry. Later writes have higher numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Names one try of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u32);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This write, and all before, are on the disk. A write that fails is no input: the process ends.
    Persisted(Seq),
    /// A message of another node, whose certificate proved who it is.
    Received {
        /// Who sent it.
        from: Node,
        /// What it says.
        message: Message,
    },
    /// Somebody who proves nothing asks what was decided.
    Queried {
        /// Names the question.
        request: u32,
    },
    /// A node of the plan, whose certificate proved who it is, answers a query.
    Answered {
        /// Who answers.
        from: Node,
        /// What it knows.
        answer: Answer,
    },
    /// A try of a step has returned: exactly once for every [`Effect::Run`](crate::Effect::Run), also after
    /// [`Effect::Cancel`](crate::Effect::Cancel), and not before nothing of it can still take effect.
    Returned {
        /// Which one.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
    /// Something was seen on this node.
    Observed(Fact),
    /// The node has an identity, of `restore --resume`.
    Certificate,
    /// An operator orders something.
    Operator(Operator),
    /// [`Participant::next_deadline`](crate::Participant::next_deadline) has passed.
    Deadline,
}

/// How a try of a step returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and was seen to be done.
    Proved,
    /// It is not done. A part of it may be.
    Failed,
    /// It was cancelled. A part of it, or all, may be done.
    Cancelled,
    /// It was cancelled after the API server had got its manifest: the API server is started, and was not seen to be ready. Only
    /// [`Step::StartApi`](crate::Step::StartApi) returns so.
    Unready,
}

/// What was seen on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A file operation has been going on since this moment.
    Blocked {
        /// When it began or, if it copies, when it last moved a byte.
        since: Now,
    },
    /// No file operation has been going on for long any more.
    Unblocked,
    /// Which node has the leader of the old cluster.
    Leader(Node),
    /// A component whose manifest is held was there again: its file, its process or both. They are gone again.
    Intruder {
        /// Which one.
        component: Component,
        /// The file had other bytes than the one that is held.
        other_bytes: bool,
    },
    /// The revision of the member on new data was above the one that it began with when it was stopped.
    ServedAbove,
    /// What was built for the way back.
    Restaged {
        /// Equal where the nodes have the same old data.
        digest: u64,
    },
}

/// A component of the control plane that has a static pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Component {
    /// etcd.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controller manager.
    ControllerManager,
    /// The scheduler.
    Scheduler,
}

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operator {
    /// To the coordinator: begin.
    Begin,
    /// Give up what was not begun.
    Dismiss,
    /// This was found in the journals of nodes: it is decided.
    Decided {
        /// The decision.
        decision: Decision,
    },
    /// These nodes are gone for good: the rest decides. `restore --resume --without`.
    Exclude {
        /// The nodes.
        nodes: NodeSet,
        /// One above the highest that any journal of the rest has.
        epoch: u8,
    },
    /// Every node has ended, as all journals say.
    AllEnded,
    /// `restore --forget`. On a node that has ended: do not wait for others any more. On one whose API server did not become ready in time: do not
    /// wait for that any more. On one without etcd that goes back: no etcd runs on new data any more. Nothing is heard of it elsewhere.
    Forget,
}
