//! A participant as it is, for whoever shows or checks it.

use crate::entry::Decision;
use crate::input::{Millis, Operator};
use crate::journal::{Phase, Recorded};
use crate::message::{State, Votes};
use crate::participant::Participant;
use crate::plan::{Node, NodeSet};
use crate::refusal::Refusal;
use crate::steps::Step;

/// A look at a participant.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(&'a Participant);

impl<'a> View<'a> {
    pub(crate) fn new(participant: &'a Participant) -> View<'a> {
        View(participant)
    }

    /// What is on the disk.
    pub fn recorded(self) -> &'a Recorded {
        self.0.journal.recorded()
    }

    /// What it is at.
    pub fn phase(self) -> Phase {
        self.0.phase()
    }

    /// The votes that it knows.
    pub fn votes(self) -> Votes {
        self.0.votes()
    }

    /// Whom it does not hear.
    pub fn unheard(self) -> NodeSet {
        self.0.unheard()
    }

    /// What another node said of itself last.
    pub fn state_of(self, node: Node) -> Option<&'a State> {
        self.0.peers.get(node.index())?.state.as_ref()
    }

    /// For how long its oldest write or file operation has been going on.
    pub fn oldest(self) -> Millis {
        self.0.oldest()
    }

    /// Whether the API server did not become ready in time.
    pub fn is_unready(self) -> bool {
        self.0.api_is_unready()
    }

    /// After abort, on a node without etcd: the nodes that its API server waits for.
    pub fn awaited(self) -> NodeSet {
        self.0.awaited()
    }

    /// Whether the node may be armed for the way back: its API server was never ready.
    pub fn turns(self) -> bool {
        self.0.turns()
    }

    /// Whether all nodes have passed the preflight, as far as the coordinator knows: it has ordered what follows.
    pub fn has_passed_preflight(self) -> bool {
        self.0.passed.is_some() || self.recorded().begun().contains(Step::StopApi)
    }

    /// Why an order of an operator would not be taken now. One that is carried out already is no error.
    pub fn refusal(self, order: Operator) -> Option<Refusal> {
        self.0.refusal(order)
    }

    /// Whether the participant contradicts itself: one that does must not go on.
    ///
    /// # Errors
    /// Which rule is broken.
    pub fn check(self) -> Result<(), &'static str> {
        let recorded = self.recorded();
        if recorded.contradicts() {
            return Err("the journal contradicts the protocol");
        }
        if recorded.decision() == Some(Decision::Commit) && recorded.vote() != Some(true) {
            return Err("committed without the own vote");
        }
        if Step::BACK.iter().any(|&step| recorded.begun().contains(step))
            && recorded.decision() != Some(Decision::Abort)
        {
            return Err("undone without a decision to abort");
        }
        if Step::ON.iter().any(|&step| recorded.begun().contains(step)) && recorded.decision() != Some(Decision::Commit)
        {
            return Err("finished without a decision to commit");
        }
        if Step::TURN.iter().any(|&step| recorded.begun().contains(step))
            && recorded.decision() != Some(Decision::Commit)
        {
            return Err("on the way back without a decision to commit");
        }
        if recorded.handed_over() && recorded.done().contains(Step::StartApi) {
            return Err("armed for the way back although the API server was ready");
        }
        Ok(())
    }
}
