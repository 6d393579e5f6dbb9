//! The person who reads what the nodes tell, and types what helps.

use etcd_transaction::{Decision, Input, Node, NodeSet, Notice, Operator};

use super::choices::Draw;
use super::marks::Mark;
use super::world::{Event, World};

/// How often the operator looks.
const LOOKS: u64 = 60_000;

impl World {
    /// A command at a moment when nothing asks for it.
    pub fn operator(&mut self, value: u32) {
        match value {
            1 => self.resume(),
            2 => self.without(),
            3 => self.forget(),
            _ => {
                let node = self.choices.draw(Draw::Fault, 0, 0, self.hosts.len() as u64 - 1) as usize;
                self.order(node, Operator::Dismiss);
            }
        }
    }

    /// Reads what the nodes tell, and does what helps.
    pub fn look(&mut self) {
        self.looks += 1;
        self.push(LOOKS, Event::Look);
        let notices: Vec<Notice> = self
            .hosts
            .iter()
            .filter_map(|host| host.process.as_ref())
            .flat_map(|process| process.notices.clone())
            .collect();
        if notices.iter().any(|notice| matches!(notice, Notice::InDoubt { .. } | Notice::Asks)) {
            self.resume();
            self.without();
        }
        if notices.iter().any(|notice| matches!(notice, Notice::WaitsFor { .. })) {
            let living = self.plan.all().without(self.gone());
            if living.iter().all(|node| self.checker.ended(node)) {
                if self.gone().is_empty() {
                    living.iter().for_each(|node| self.order(node.index(), Operator::AllEnded));
                } else {
                    self.forget();
                }
            }
        }
    }

    fn order(&mut self, node: usize, order: Operator) {
        if self.hosts[node].process.is_some() {
            self.note(node, 19 << 40, || format!("! the operator: {order:?}"));
            self.step(node, Input::Operator(order));
        }
    }

    /// Nodes that can be logged in to. Their journals are made sure of before they are believed.
    fn reached(&mut self) -> NodeSet {
        // Whoever reads a journal whose disk hangs, hangs.
        let now = self.now;
        let reached = self.nodes(|host| host.power && !host.gone && host.stuck_until <= now);
        for node in reached.iter() {
            let lines = self.hosts[node.index()].journal.seen().len();
            if self.planted != Some(super::planted::Planted::OperatorReadsWithoutSync) {
                self.sync_journal(node.index(), lines);
            }
        }
        reached
    }

    fn found(&self, reached: NodeSet) -> Option<Decision> {
        let journals = || reached.iter().map(|node| (node, self.hosts[node.index()].journal.seen()));
        super::checker::decision_in(&self.plan, journals)
    }

    /// `restore --resume`.
    pub fn resume(&mut self) {
        let reached = self.reached();
        if self.checker.failure.is_some() || self.checker.epoch() > 0 {
            return;
        }
        if let Some(decision) = self.found(reached) {
            self.marks.add(Mark::ResumeDecided);
            reached.iter().for_each(|node| self.order(node.index(), Operator::Decided { decision }));
            return;
        }
        let newest = self.newest;
        let working = self.nodes(|host| !host.gone && host.identities >> newest & 1 == 1);
        let others = self.plan.all().without(self.gone()).without(working);
        if others.is_empty() || (self.plan.is_quorum(working) && !reached.includes(working)) {
            return;
        }
        self.marks.add(Mark::Resume);
        self.new_identities(reached);
    }

    fn new_identities(&mut self, nodes: NodeSet) {
        self.newest = (self.newest + 1).min(30);
        for node in nodes.iter() {
            let newest = self.newest;
            let host = &mut self.hosts[node.index()];
            let Some(process) = &mut host.process else { continue };
            process.authority = newest;
            host.identities |= 1 << newest;
            host.authorities |= 1 << newest;
            self.note(node.index(), 20 << 40 | u64::from(newest), || format!("! the operator: identity {newest}"));
            self.step(node.index(), Input::Certificate);
        }
    }

    /// `restore --resume --without`, of all that are gone.
    pub fn without(&mut self) {
        let gone = self.gone();
        let rest = self.plan.all().without(gone);
        let reached = self.reached();
        let running = self.nodes(|host| host.process.is_some());
        if gone.is_empty() || self.plan.is_quorum(rest) || !reached.includes(rest) || !running.includes(rest) {
            return;
        }
        if self.checker.failure.is_some() || rest.iter().all(|node| self.checker.decision(node).is_some()) {
            return;
        }
        // What was ordered takes its time.
        let ordered =
            self.checker.epoch() > 0 && rest.iter().all(|node| self.checker.epoch_of(node) == self.checker.epoch());
        if ordered && !self.looks.is_multiple_of(8) {
            return;
        }
        if let Some(decision) = self.found(rest) {
            rest.iter().for_each(|node| self.order(node.index(), Operator::Decided { decision }));
            return;
        }
        self.marks.add(Mark::Without);
        self.new_identities(rest);
        let epoch = self.checker.epoch() + 1;
        rest.iter().for_each(|node| self.order(node.index(), Operator::Exclude { nodes: gone, epoch }));
    }

    /// `restore --forget`.
    pub fn forget(&mut self) {
        for node in 0..self.hosts.len() {
            if self.checker.ended(Node(node as u8)) {
                self.marks.add(Mark::Forget);
                self.order(node, Operator::Forget);
            }
        }
    }
}
