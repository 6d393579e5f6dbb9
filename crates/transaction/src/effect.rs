//! What a participant wants to be done.

use crate::entry::Entry;
use crate::input::{Component, Millis, RunId, Seq};
use crate::journal::Recorded;
use crate::message::{Answer, Outgoing};
use crate::plan::{Node, NodeSet};
use crate::steps::Step;

/// What is to be done. The driver does it in order, and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write an entry. [`Input::Persisted`](crate::Input::Persisted) follows once it is on the disk.
    Persist {
        /// Names the write.
        seq: Seq,
        /// What is written.
        entry: Entry,
    },
    /// Send a message, if that can be done: it may be lost.
    Send {
        /// To whom.
        to: Node,
        /// What.
        message: Outgoing,
    },
    /// Ask a node, without an identity, what was decided.
    Ask {
        /// Whom.
        to: Node,
    },
    /// Answer a query.
    Answer {
        /// Which one.
        request: u32,
        /// What is known.
        answer: Answer,
    },
    /// Do a step.
    Run(Run),
    /// Stop doing a step as soon as that can be done. [`Input::Returned`](crate::Input::Returned) still follows.
    Cancel(RunId),
    /// See to it that held components do not run, or leave that.
    Guard {
        /// Whether to see to it.
        on: bool,
    },
    /// Tell a person.
    Tell(Notice),
    /// The participant is not needed any more: take it, and the node's identity, away.
    Leave,
}

/// What else a try of a step depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// New data is kept.
    pub(crate) keeps: bool,
    /// An earlier process began it.
    pub(crate) resumed: bool,
}

/// A step to be done. Made only for a step that the journal says is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    id: RunId,
    step: Step,
    limit: Millis,
    keep: bool,
    raise: bool,
    resumed: bool,
}

impl Run {
    pub(crate) fn new(recorded: &Recorded, id: RunId, step: Step, limit: Millis, how: How) -> Option<Run> {
        // Whoever puts a manifest back while it is held starts etcd on the new data as soon as it is in its place.
        let keep = how.keeps && recorded.begun.contains(Step::Swap);
        let raise = recorded.intruded || recorded.served_above;
        recorded.begun.contains(step).then_some(Run { id, step, limit, keep, raise, resumed: how.resumed })
    }

    /// Names this try.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Which step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// How long it may take. The participant cancels it then.
    pub fn limit(&self) -> Millis {
        self.limit
    }

    /// Whether etcd may have run on the new data, which is then kept and named when the old data comes back.
    pub fn keeps_new_data(&self) -> bool {
        self.keep
    }

    /// Whether an earlier process began it. [`Step::HandOver`] then only looks whether the node is armed: how long ago an API server was seen
    /// not to be ready is not known any more.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether clients may have seen the new data, so that the old revision is raised above it before an API server starts.
    pub fn raises_revision(&self) -> bool {
        self.raise
    }
}

/// Something that a person should know. What it means, and what helps, is said by whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Notice {
    /// The journal says what cannot be: nothing is done.
    Contradiction,
    /// The node has no identity, and asks the others.
    Asks,
    /// In doubt: no quorum is heard.
    InDoubt {
        /// Who is heard, this node among them.
        heard: NodeSet,
    },
    /// A node is not heard any more.
    Unheard {
        /// Which one.
        node: Node,
    },
    /// A step that was cancelled does not return: the disk may hang.
    Hangs {
        /// Which one.
        step: Step,
    },
    /// A step after the decision failed, and is tried again.
    TriesAgain {
        /// Which one.
        step: Step,
        /// How often it failed.
        times: u32,
    },
    /// The API server did not become ready in time.
    Unready,
    /// No API server became ready: the nodes go back by themselves.
    TurnsBack,
    /// The old data differs between nodes, which therefore do not go back by themselves.
    OldDataDiffers,
    /// This node could not be armed for the way back, and goes on with the new data.
    Stays,
    /// A component whose manifest is held was there again.
    Intruder {
        /// Which one.
        component: Component,
        /// The file had other bytes than the one that is held.
        other_bytes: bool,
    },
    /// After abort, on a node without etcd: its API server is not started before etcd has its old data on others.
    ApiWaits {
        /// On which.
        nodes: NodeSet,
    },
    /// This node has ended, and waits for others.
    WaitsFor {
        /// For whom.
        nodes: NodeSet,
    },
}
