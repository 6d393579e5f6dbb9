//! Faults that come once in a while, and their end.

use etcd_transaction::{Node, NodeSet, timers};

use super::choices::{Draw, Kind};
use super::marks::Mark;
use super::world::{Event, Special, World};

/// How often these are drawn.
const OFTEN: u64 = 5_000;

impl World {
    /// Looks which faults come now.
    pub fn weather(&mut self) {
        if self.choices.healed {
            return;
        }
        self.push(OFTEN, Event::Weather);
        if self.special == Special::OnePause && self.now >= self.special_at {
            self.special_at = u64::MAX;
            self.one_pause();
        }
        for node in 0..self.hosts.len() {
            if self.hosts[node].gone || self.hosts[node].left {
                continue;
            }
            let value = self.choices.pick(Kind::Pause, node, 0);
            self.marks.fault(Kind::Pause, value);
            match value {
                0 => {}
                1 => self.pause(node, 1_000, 30_000),
                2 => self.pause(node, 30_000, 120_000),
                _ => self.kill(node),
            }
            let value = self.choices.pick(Kind::Manifest, node, 0);
            if value > 0 {
                self.reappear(node, value);
            }
            let value = self.choices.pick(Kind::Stranger, node, 0);
            self.marks.fault(Kind::Stranger, value);
            if value > 0 {
                let what = self.choices.draw(Draw::Fault, node, 0, 9);
                self.forge(node, what);
            }
            let value = self.choices.pick(Kind::Power, node, 0);
            self.marks.fault(Kind::Power, value);
            match value {
                0 => {}
                1 => self.power_off_for(node, 2_000, 20_000),
                2 => self.power_off_for(node, 20_000, 200_000),
                3 => self.lose(node),
                _ => {
                    self.power_off_for(node, 2_000, 60_000);
                    self.hosts[node].identities = 0;
                    self.marks.add(Mark::IdentityLost);
                }
            }
        }
        let value = self.choices.pick(Kind::PowerAll, 0, 0);
        self.marks.fault(Kind::PowerAll, value);
        if value > 0 {
            for node in 0..self.hosts.len() {
                if !self.hosts[node].gone && !self.hosts[node].left {
                    self.power_off_for(node, 2_000, 60_000);
                    if value == 2 {
                        self.hosts[node].identities = 0;
                        self.marks.add(Mark::IdentityLost);
                    }
                }
            }
        }
        let value = self.choices.pick(Kind::Cut, 0, 0);
        self.marks.fault(Kind::Cut, value);
        if value > 0 {
            self.cut_off(value);
        }
        let value = self.choices.pick(Kind::Operator, 0, 0);
        if value > 0 {
            self.operator(value);
        }
    }

    /// A fault while nodes are in doubt.
    pub fn voted(&mut self, value: u32) {
        let coordinator = self.plan.coordinator().index();
        match value {
            1 => self.power_off_for(coordinator, 20_000, 200_000),
            2 => self.lose(coordinator),
            3 => self.cut_off(5),
            4 => self.kill(coordinator),
            7 => self.cut_off(6),
            5 => {
                for node in 0..self.hosts.len() {
                    self.power_off_for(node, 2_000, 60_000);
                    self.hosts[node].identities = 0;
                    self.marks.add(Mark::IdentityLost);
                }
            }
            _ => {
                let first = self.choices.draw(Draw::Fault, 0, 0, self.hosts.len() as u64 - 1) as usize;
                for node in 0..self.hosts.len() {
                    if !self.plan.is_quorum(self.gone()) {
                        self.lose((first + node) % self.hosts.len());
                    }
                }
            }
        }
    }

    fn one_pause(&mut self) {
        let node = self.choices.draw(Draw::Fault, 0, 0, self.hosts.len() as u64 - 1) as usize;
        // The coordinator is waited for longer than the others are.
        let most = if self.plan.coordinator().index() == node { 33_000 } else { 24_000 };
        self.marks.add(Mark::OnePause);
        self.pause(node, 1_000, most);
    }

    /// A process is paused for some time.
    pub fn pause(&mut self, node: usize, from: u64, to: u64) {
        let until = self.now + self.choices.draw(Draw::Fault, node, from, to);
        let now = self.now;
        self.note(node, 15 << 40 | until, || format!("! paused until {until}"));
        if let Some(process) = &mut self.hosts[node].process {
            process.paused_until = process.paused_until.max(until);
            process.unsure |= process.watches && until - now > timers::SURE.0;
        }
    }

    fn power_off_for(&mut self, node: usize, from: u64, to: u64) {
        let time = self.choices.draw(Draw::Fault, node, from, to);
        self.power_off(node, Some(time));
    }

    /// A node is gone for good, if that many may be.
    fn lose(&mut self, node: usize) {
        let gone = self.gone().union(NodeSet::of(Node(node as u8)));
        let most = if self.any_gone { gone.len() < self.hosts.len() } else { !self.plan.is_quorum(gone) };
        // Where fewer than a quorum are gone, the others must be one of both clusters.
        let few = self.any_gone || self.plan.serving().without(gone).len() * 2 > self.plan.serving().len();
        let few = few && (self.any_gone || self.plan.all().without(gone).len() * 2 > self.plan.count());
        if most && few {
            self.power_off(node, None);
        }
    }

    /// A node has no power for some time, or for ever.
    pub fn power_off(&mut self, node: usize, time: Option<u64>) {
        if !self.hosts[node].power || self.hosts[node].gone {
            return;
        }
        self.note(node, 16 << 40 | time.unwrap_or(0), || format!("! without power: {time:?}"));
        let draw = |world: &mut World, most: usize| world.choices.draw(Draw::Kept, node, 0, most as u64) as usize;
        let unsynced = self.hosts[node].journal.unsynced();
        let lines = draw(self, unsynced);
        let unsynced = self.hosts[node].next.unsynced();
        let next = draw(self, unsynced);
        let unsynced = self.hosts[node].data.unsynced();
        let data = draw(self, unsynced);
        let unsynced = self.hosts[node].manifests.unsynced();
        let manifests = draw(self, unsynced);
        let host = &mut self.hosts[node];
        host.process = None;
        host.incarnation += 1;
        host.boot += 1;
        host.power = false;
        host.job = None;
        host.stuck_until = 0;
        host.kubelet_at = None;
        (host.etcd, host.api, host.controllers) = (None, false, false);
        host.data.fail(data);
        host.manifests.fail(manifests);
        let fresh = host.journal.fail(lines);
        let next = host.next.fail(next);
        host.gone = time.is_none();
        let boot = host.boot;
        self.kept(node, fresh);
        self.kept_next(node, next);
        if let Some(time) = time {
            self.push(time, Event::PowerOn { node, boot });
        }
        self.check_data(node);
        self.components_changed();
    }

    /// A node has power again: its kubelet starts what has a manifest.
    pub fn power_on(&mut self, node: usize, boot: u32) {
        let host = &mut self.hosts[node];
        if host.power || host.gone || host.boot != boot {
            return;
        }
        host.power = true;
        let incarnation = host.incarnation;
        self.note(node, 17 << 40, || "! has power".into());
        self.ask_kubelet(node);
        let later = self.choices.draw(Draw::Start, node, 300, 10_000);
        self.push(later, Event::Start { node, incarnation });
    }

    /// Faults end. What is gone stays so.
    pub fn heal(&mut self) {
        self.note(0, 18 << 40, || "! faults end".into());
        self.choices.healed = true;
        self.mend_all();
        for node in 0..self.hosts.len() {
            let now = self.now;
            if let Some(process) = &mut self.hosts[node].process {
                process.paused_until = process.paused_until.min(now);
            }
            let boot = self.hosts[node].boot;
            self.power_on(node, boot);
            let incarnation = self.hosts[node].incarnation;
            if self.hosts[node].manifests.seen().there.iter().any(Option::is_some) {
                self.ask_kubelet(node);
            }
            self.push(300, Event::Guard { node, incarnation });
        }
        self.components_changed();
    }
}
