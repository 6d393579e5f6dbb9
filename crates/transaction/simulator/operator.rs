//! The person who reads what the nodes tell, and types what helps.

use etcd_transaction::{Decision, Input, Node, NodeSet, Notice, Operator, Phase};

use super::choices::Draw;
use super::marks::Mark;
use super::world::{Event, World};

/// How often the operator looks.
const LOOKS: u64 = 60_000;
/// After how many looks the operator waits for API servers no longer.
const PATIENCE: u32 = 5;

impl World {
    /// A command at a moment when nothing asks for it.
    pub fn operator(&mut self, value: u32) {
        match value {
            1 => self.resume(),
            2 => self.without(),
            3 => self.forget(self.last_turn()),
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
            for turn in 0..2 {
                let of = |node: &Node| self.hosts[node.index()].turn == turn;
                let there: Vec<Node> = living.iter().filter(of).collect();
                let ended = |node: Node| self.checkers[turn].ended(node);
                if living.iter().all(ended) && self.gone().is_empty() {
                    there.iter().for_each(|node| self.order(node.index(), Operator::AllEnded));
                // One that is not armed for the way back has no part in it.
                } else if living.iter().all(|node| ended(node) || self.hosts[node.index()].turn < turn) {
                    self.forget(turn);
                }
            }
        }
        if notices.iter().any(|notice| matches!(notice, Notice::ApiWaits { .. })) {
            self.let_api_servers_start();
        }
        // What has not gone back by itself by now never will.
        if notices.contains(&Notice::Unready) && self.looks > PATIENCE {
            for node in 0..self.hosts.len() {
                let host = &self.hosts[node];
                let waits = host.process.as_ref().filter(|process| process.participant.view().is_unready());
                if waits.is_some_and(|process| process.participant.view().phase() == Phase::Committed) {
                    self.marks.add(Mark::UnreadyForgotten);
                    self.order(node, Operator::Forget);
                }
            }
        }
    }

    /// `restore --forget`: API servers wait no longer for etcd of nodes that are gone for good, or have gone back.
    fn let_api_servers_start(&mut self) {
        for node in 0..self.hosts.len() {
            let turn = self.hosts[node].turn;
            let awaited = self.hosts[node].process.as_ref().map(|process| process.participant.view().awaited());
            let awaited = awaited.filter(|awaited| !awaited.is_empty()).unwrap_or_default();
            let mut waits = awaited.without(self.gone()).iter();
            if !awaited.is_empty() && waits.all(|other| self.checkers[turn].ended(other)) {
                self.marks.add(Mark::ApiServersForgotten);
                self.order(node, Operator::Forget);
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
        let turn = self.last_turn();
        let reached = self.nodes(|host| host.turn == turn && host.power && !host.gone && host.stuck_until <= now);
        for node in reached.iter() {
            let lines = self.hosts[node.index()].journal.seen().len();
            if self.planted != Some(super::planted::Planted::OperatorReadsWithoutSync) {
                self.sync_journal(node.index(), lines);
            }
        }
        reached
    }

    /// The transaction that was begun last.
    fn last_turn(&self) -> usize {
        self.hosts.iter().map(|host| host.turn).max().unwrap_or(0)
    }

    fn found(&self, reached: NodeSet) -> Option<Decision> {
        let journals = || reached.iter().map(|node| (node, self.hosts[node.index()].journal.seen()));
        super::checker::decision_in(&self.plan, journals)
    }

    /// `restore --resume`.
    pub fn resume(&mut self) {
        let reached = self.reached();
        if self.has_failed() || self.checkers[self.last_turn()].epoch() > 0 {
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
        let checker = &self.checkers[self.last_turn()];
        if self.has_failed() || rest.iter().all(|node| checker.decision(node).is_some()) {
            return;
        }
        // What was ordered takes its time.
        let ordered = checker.epoch() > 0 && rest.iter().all(|node| checker.epoch_of(node) == checker.epoch());
        if ordered && !self.looks.is_multiple_of(8) {
            return;
        }
        if let Some(decision) = self.found(rest) {
            rest.iter().for_each(|node| self.order(node.index(), Operator::Decided { decision }));
            return;
        }
        self.marks.add(Mark::Without);
        self.new_identities(rest);
        let epoch = self.checkers[self.last_turn()].epoch() + 1;
        rest.iter().for_each(|node| self.order(node.index(), Operator::Exclude { nodes: gone, epoch }));
    }

    /// `restore --forget`.
    pub fn forget(&mut self, turn: usize) {
        for node in 0..self.hosts.len() {
            if self.hosts[node].turn == turn && self.checkers[turn].ended(Node(node as u8)) {
                self.marks.add(Mark::Forget);
                self.order(node, Operator::Forget);
            }
        }
    }
}
