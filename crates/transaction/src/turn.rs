//! The way to the second transaction: what leads from a committed restore whose API servers do not become ready to a participant of the way back.
//!
//! The second transaction is a restore of its own, with its own journal, votes and decision, of the data that this one has set aside. That no API
//! server was ready anywhere is agreed on by who takes part in it: a node is armed for it only if its API server was never seen to be ready and is
//! stopped, and all nodes must be armed before any of them does anything to its data.

use alloc::vec::Vec;

use crate::effect::{Effect, Notice};
use crate::entry::{Decision, Entry};
use crate::input::Outcome;
use crate::journal::Phase;
use crate::participant::{Participant, Rule};
use crate::plan::Node;
use crate::steps::Step;

impl Participant {
    /// The step to the way back that this node has to do now. Once it begins to hand over, it brings that to an end by itself.
    pub(crate) fn turn_due(&self) -> Option<Step> {
        let recorded = self.recorded();
        if self.phase() != Phase::Committed || !self.plan.returns() {
            return None;
        }
        if recorded.may_turn() && recorded.begun.contains(Step::HandOver) {
            return Some(Step::HandOver);
        }
        let next = if recorded.restaged.is_none() { Step::Restage } else { Step::HandOver };
        (self.inbox.order == Some(next) && self.turns()).then_some(next)
    }

    /// Whether this node may be armed for the way back: its API server was looked at by this process from its start until the limit passed, and
    /// was never ready. What one was while no process looked, nobody knows.
    pub(crate) fn turns(&self) -> bool {
        let watched = !self.begun_before.contains(Step::StartApi) || self.breaks(Rule::HandOverAgain);
        (self.recorded().may_turn() && self.runner.unready && watched || self.ignores_ready()) && !self.runner.refuses
    }

    fn ignores_ready(&self) -> bool {
        self.breaks(Rule::ReadyIgnored) && !self.recorded().stays && self.recorded().done.contains(Step::StartApi)
    }

    /// What follows when a step to the way back has returned.
    pub(crate) fn entry_of_turn(&mut self, step: Step, outcome: Outcome, effects: &mut Vec<Effect>) -> Option<Entry> {
        match (step, outcome, self.inbox.restaged.take()) {
            (Step::Restage, Outcome::Proved, Some(digest)) => Some(Entry::Restaged { digest }),
            (Step::HandOver, Outcome::Proved, _) => Some(Entry::Step { step, done: true }),
            (Step::HandOver, ..) => {
                self.tell_once(Notice::Stays, effects);
                Some(Entry::Stays)
            }
            _ => {
                self.runner.refuses = true;
                self.tell_once(Notice::Stays, effects);
                None
            }
        }
    }

    /// What the coordinator orders itself, and what it tells a person.
    pub(crate) fn order_turn(&mut self, effects: &mut Vec<Effect>) {
        let Some(step) = self.turn_step() else { return };
        if step == Step::HandOver && !self.same_old_data() {
            self.tell_once(Notice::OldDataDiffers, effects);
            return;
        }
        self.tell_once(Notice::TurnsBack, effects);
        if !self.recorded().done.contains(step) {
            self.inbox.order = self.inbox.order.max(Some(step));
        }
    }

    /// Orders to the other nodes.
    pub(crate) fn turn_orders(&self) -> impl Iterator<Item = (Node, Step)> + use<> {
        let step = self.turn_step().filter(|&step| step != Step::HandOver || self.same_old_data());
        let waits =
            |node: &Node| step.is_some_and(|step| !self.state_of(*node).is_some_and(|state| state.done.contains(step)));
        let nodes: Vec<Node> = self.others().iter().filter(waits).collect();
        nodes.into_iter().filter_map(move |node| Some((node, step?)))
    }

    /// The next step to the way back, as long as every node is heard and none has an API server that was ready.
    fn turn_step(&self) -> Option<Step> {
        let recorded = self.recorded();
        let unheard = self.unheard();
        let turns = |node: Node| {
            self.state_of(node).is_some_and(|state| {
                let turns = state.turns && state.decision == Some(Decision::Commit) && !state.stays && !state.ended;
                state.done.contains(Step::HandOver) || turns && !unheard.contains(node)
            })
        };
        let all = self.is_coordinator()
            && self.plan.returns()
            && (recorded.handed_over() || self.turns())
            && self.plan.nodes().filter(|&node| node != self.own).all(turns);
        let done = |node: Node, step: Step| match node == self.own {
            true => recorded.done.contains(step),
            false => self.state_of(node).is_some_and(|state| state.done.contains(step)),
        };
        Step::TURN.into_iter().find(|&step| !self.plan.nodes().all(|node| done(node, step))).filter(|_| all)
    }

    /// Whether all nodes have built the same for the way back.
    fn same_old_data(&self) -> bool {
        let own = self.recorded().restaged;
        let same = |node: Node| self.state_of(node).is_some_and(|state| state.restaged == own);
        self.breaks(Rule::OldDataDiffers) || self.plan.nodes().filter(|&node| node != self.own).all(same)
    }
}
