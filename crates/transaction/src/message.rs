//! What nodes tell each other. Every message may be lost, doubled, reordered or late.

use serde::{Deserialize, Serialize};

use crate::entry::{Ballot, Decision};
use crate::input::Millis;
use crate::journal::Recorded;
use crate::plan::{Node, NodeSet};
use crate::steps::{Step, StepSet};

/// A message from one node to another. Whoever receives it knows the sender by its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Message {
    /// How the sender is: every two seconds, and at every change.
    State(State),
    /// From the coordinator: do this step.
    Order {
        /// Which one.
        step: Step,
    },
    /// From the owner of a ballot: accept no lower ballot.
    Prepare {
        /// The ballot.
        ballot: Ballot,
    },
    /// The answer: no lower ballot is accepted any more.
    Promise {
        /// The ballot.
        ballot: Ballot,
        /// What was accepted before.
        accepted: Option<(Ballot, Decision)>,
        /// The votes that the sender knows.
        votes: Votes,
    },
    /// From the owner of a ballot: accept this.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// The value.
        decision: Decision,
    },
    /// It is decided. The answer to everything that an undecided node sends.
    Decided {
        /// What.
        decision: Decision,
    },
    /// It is over on all nodes.
    AllEnded,
}

/// Votes that a node knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Votes {
    /// Who has voted yes.
    pub yes: NodeSet,
    /// Who has voted no.
    pub no: NodeSet,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The votes that it knows, its own among them.
    pub votes: Votes,
    /// Steps that were begun.
    pub begun: StepSet,
    /// Steps that are done and proved.
    pub done: StepSet,
    /// How long its oldest write or file operation has been going on; 0 if there is none.
    pub oldest: Millis,
    /// What it has accepted.
    pub accepted: Option<(Ballot, Decision)>,
    /// What it knows to be decided.
    pub decision: Option<Decision>,
    /// Whether it is over there.
    pub ended: bool,
    /// Whether it knows that it is over everywhere.
    pub all_ended: bool,
    /// Whom it does not hear.
    pub unheard: NodeSet,
    /// After commit: its API server did not become ready in time.
    pub unready: bool,
    /// Its API server was looked at all the time and was never ready: the node may be armed for the way back.
    pub turns: bool,
    /// The digest of what it has built for the way back.
    pub restaged: Option<u64>,
    /// It goes on with the new data for good.
    pub stays: bool,
}

/// The answer to a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// What is decided, if the node knows that.
    pub decision: Option<Decision>,
}

/// A message that may be sent: made only of what is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outgoing(Message);

impl Outgoing {
    /// What it says.
    pub fn message(&self) -> &Message {
        &self.0
    }

    /// What it says.
    pub fn into_message(self) -> Message {
        self.0
    }

    /// How this node is. `votes` are those of others that it knows.
    pub(crate) fn state(recorded: &Recorded, own: Node, votes: Votes, live: Live) -> Outgoing {
        Outgoing(Message::State(State {
            votes: recorded.votes(own, votes),
            begun: recorded.begun,
            done: recorded.done,
            oldest: live.oldest,
            accepted: recorded.accepted,
            decision: recorded.decision,
            ended: recorded.ended.is_some(),
            all_ended: recorded.all_ended,
            unheard: live.unheard,
            unready: live.unready,
            turns: live.turns,
            restaged: recorded.restaged,
            stays: recorded.stays,
        }))
    }

    /// An order says nothing of this node.
    pub(crate) fn order(step: Step) -> Outgoing {
        Outgoing(Message::Order { step })
    }

    /// Whoever asks for promises has promised.
    pub(crate) fn prepare(recorded: &Recorded, ballot: Ballot) -> Option<Outgoing> {
        (recorded.promised == Some(ballot)).then_some(Outgoing(Message::Prepare { ballot }))
    }

    /// A promise is what the journal says at the moment when it was made: one that would say something else is not made again.
    pub(crate) fn promise(recorded: &Recorded, own: Node, ballot: Ballot, votes: Votes) -> Option<Outgoing> {
        let same = recorded.promised == Some(ballot)
            && recorded.accepted.is_none_or(|(accepted, _)| accepted < ballot)
            && recorded.decision.is_none();
        let votes = recorded.votes(own, votes);
        same.then_some(Outgoing(Message::Promise { ballot, accepted: recorded.accepted, votes }))
    }

    /// Whoever asks others to accept has accepted.
    pub(crate) fn accept(recorded: &Recorded) -> Option<Outgoing> {
        recorded.accepted.map(|(ballot, decision)| Outgoing(Message::Accept { ballot, decision }))
    }

    /// What is decided, once it is.
    pub(crate) fn decided(recorded: &Recorded) -> Option<Outgoing> {
        recorded.decision.map(|decision| Outgoing(Message::Decided { decision }))
    }

    /// That all have ended, once it is known.
    pub(crate) fn all_ended(recorded: &Recorded) -> Option<Outgoing> {
        recorded.all_ended.then_some(Outgoing(Message::AllEnded))
    }
}

/// What a node tells of itself that is in no journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    pub(crate) oldest: Millis,
    pub(crate) unheard: NodeSet,
    pub(crate) unready: bool,
    pub(crate) turns: bool,
}
