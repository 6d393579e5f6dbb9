//! The orders of the coordinator: all nodes do a step before any does the next.

use alloc::vec::Vec;

use crate::effect::Effect;
use crate::message::Outgoing;
use crate::participant::{Participant, Rule};
use crate::plan::Node;
use crate::steps::Step;
use crate::timers;

impl Participant {
    /// Orders of a coordinator, to itself and to the others.
    pub(crate) fn order_itself(&mut self) {
        if self.begins && self.began.is_none() && self.recorded().decision.is_none() {
            self.began = Some(self.now);
            // Until now nothing was awaited of anybody.
            let now = self.now;
            self.peers.iter_mut().for_each(|peer| peer.progress = now);
        }
        let passed = (self.began.is_some() || !self.recorded().begun.is_empty())
            && self.plan.nodes().all(|node| self.has_done(node, Step::Preflight));
        if passed && self.passed.is_none() && self.first_unheard().is_none() {
            self.passed = Some(self.now);
        }
        let own = self.orders().find(|(node, _)| *node == self.own).map(|(_, step)| step);
        if let Some(step) = own {
            self.inbox.order = self.inbox.order.max(Some(step));
        }
    }

    /// What the coordinator orders now: all nodes do a step before any does the next.
    fn orders(&self) -> impl Iterator<Item = (Node, Step)> + use<> {
        let begun = self.began.is_some() || !self.recorded().begun.is_empty();
        let undecided = self.recorded().decision.is_none();
        let step = Step::FORTH.into_iter().find(|&step| !self.plan.nodes().all(|node| self.has_done(node, step)));
        let step = step.filter(|_| self.is_coordinator() && begun && undecided);
        // Nobody stops anything before all nodes hear each other.
        let heard = || self.passed.is_some_and(|passed| self.now.since(passed) >= timers::GRACE);
        let step = step.filter(|&step| step != Step::StopApi || self.has_begun(step) || heard());
        let waiting: Vec<Node> = match step {
            Some(step) => self.plan.nodes().filter(|&node| !self.has_done(node, step)).collect(),
            None => Vec::new(),
        };
        let now = self.in_turn(step, &waiting);
        now.into_iter().filter_map(move |node| Some((node, step?)))
    }

    /// Of nodes that have to do a step, those whose turn it is.
    fn in_turn(&self, step: Option<Step>, waiting: &[Node]) -> Vec<Node> {
        let mut nodes = waiting.to_vec();
        match step {
            // A leader that is stopped hands over first, and waits in vain for members that are being stopped, too.
            Some(Step::StopEtcd) if nodes.len() > 1 => nodes.retain(|&node| Some(node) != self.leader),
            Some(Step::LaunchEtcd) if self.plan.options().launch_in_turn => nodes.truncate(1),
            _ => {}
        }
        nodes
    }

    fn has_begun(&self, step: Step) -> bool {
        self.recorded().begun.contains(step)
            || self.others().iter().any(|node| self.state_of(node).is_some_and(|state| state.begun.contains(step)))
    }

    /// Whether a node has done a step, as far as the coordinator knows, or has none of this kind to do.
    fn has_done(&self, node: Node, step: Step) -> bool {
        if !self.plan.concerns(node, step) {
            return true;
        }
        if self.breaks(Rule::BarrierSkipped) && matches!(step, Step::Swap | Step::LaunchEtcd) && node != self.own {
            return true;
        }
        // Whoever has voted yes has done all steps, also if nothing else is known of it any more.
        let voted = self.votes().yes.contains(node);
        if voted || step == Step::StartEtcd {
            return voted;
        }
        if node == self.own {
            return self.recorded().done.contains(step);
        }
        self.state_of(node).is_some_and(|state| state.done.contains(step))
    }

    /// Sends what the coordinator orders: when it changes, and again with every beat until it is done.
    pub(crate) fn send_orders(&mut self, beat: bool, effects: &mut Vec<Effect>) {
        if !self.is_coordinator() {
            return;
        }
        let orders: Vec<(Node, Step)> =
            self.orders().chain(self.turn_orders()).filter(|(node, _)| *node != self.own).collect();
        for (to, step) in orders {
            if beat || self.peer(to).ordered != Some(step) {
                self.peers[to.index()].ordered = Some(step);
                effects.push(Effect::Send { to, message: Outgoing::order(step) });
            }
        }
    }
}
