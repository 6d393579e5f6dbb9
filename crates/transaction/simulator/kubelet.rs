//! What starts and stops the components of a node.

use etcd_transaction::{Component, Fact, Input, Node};

use super::choices::{Draw, Kind};
use super::disk::{Bytes, Data, PARTS, Part, Place};
use super::marks::Mark;
use super::world::{Event, Host, OVERLOOKED, World};

impl Host {
    /// Whether a component runs.
    pub fn runs(&self, part: Part) -> bool {
        match part {
            Part::Etcd => self.etcd.is_some(),
            Part::Api => self.api,
            Part::Controllers => self.controllers,
        }
    }
}

impl World {
    /// A kubelet will notice that something has changed.
    pub fn ask_kubelet(&mut self, node: usize) {
        let value = self.choices.pick(Kind::Kubelet, node, 0);
        self.marks.fault(Kind::Kubelet, value);
        let later = match value {
            0 => self.choices.draw(Draw::Kubelet, node, 100, 2_000),
            1 => self.choices.draw(Draw::Fault, node, 2_000, 20_000),
            _ => self.choices.draw(Draw::Fault, node, 20_000, 200_000),
        };
        let at = self.now + later;
        let host = &mut self.hosts[node];
        if host.power && host.kubelet_at.is_none_or(|planned| planned > at) {
            host.kubelet_at = Some(at);
            let boot = host.boot;
            self.push(later, Event::Kubelet { node, boot });
        }
    }

    /// A kubelet starts what has a manifest, and stops what has none.
    pub fn kubelet(&mut self, node: usize, boot: u32) {
        let now = self.now;
        let host = &mut self.hosts[node];
        if host.boot != boot || !host.power || host.kubelet_at != Some(now) {
            return;
        }
        host.kubelet_at = None;
        let (names, live) = (host.manifests.seen(), host.data.seen().at(Place::Live));
        let before = (host.etcd, host.api, host.controllers);
        let there = |part: Part| names.there[part as usize];
        match (host.etcd, there(Part::Etcd)) {
            (None, Some(_)) => host.etcd = live,
            (Some(_), None) => host.etcd = None,
            _ => {}
        }
        host.controllers = there(Part::Controllers).is_some();
        let api = there(Part::Api);
        if !host.api && api.is_some() {
            host.intruder = api != Some(Bytes::Own);
            host.api_since = now;
            let ready = host.delays;
            host.api = true;
            for delay in ready.into_iter().filter(|&delay| delay > 0 && delay < u64::MAX) {
                self.push(delay, Event::Ready);
            }
        }
        let host = &mut self.hosts[node];
        host.api = api.is_some();
        let etcd_waits = host.etcd.is_none() && there(Part::Etcd).is_some();
        let after = (host.etcd, host.api, host.controllers);
        self.note(node, 13 << 40, || {
            format!("    kubelet: etcd {:?}, API {}, controllers {}", after.0, after.1, after.2)
        });
        if etcd_waits {
            // There is no data: it is tried again.
            self.hosts[node].kubelet_at = Some(now + 10_000);
            self.push(10_000, Event::Kubelet { node, boot });
        }
        if before != after {
            self.components_changed();
        }
    }

    /// A component's process ends.
    pub fn end(&mut self, node: usize, part: Part) {
        let host = &mut self.hosts[node];
        match part {
            Part::Etcd => host.etcd = None,
            Part::Api => host.api = false,
            Part::Controllers => host.controllers = false,
        }
        self.components_changed();
    }

    /// Something runs, serves, or can be reached that did not, or the other way round.
    pub fn components_changed(&mut self) {
        for node in 0..self.hosts.len() {
            if let Some(data) = self.hosts[node].etcd {
                for checker in &mut self.checkers {
                    checker.ran(Node(node as u8), data);
                }
            }
            self.look_at_readiness(node);
            if !self.hosts[node].api {
                continue;
            }
            self.shown(node).into_iter().for_each(|cluster| self.client_writes(node, cluster));
        }
        self.check_clusters();
        self.look_again();
    }

    /// A client writes to a cluster. One of the group system:masters does so also where the API server is not ready.
    fn client_writes(&mut self, node: usize, cluster: Data) {
        if !self.is_ready(node) && self.choices.draw(Draw::Master, node, 0, 7) > 0 {
            return;
        }
        let host = &self.hosts[node];
        let (intruder, now) = (host.intruder, self.now);
        self.revisions[cluster as usize] += 1;
        let revision = self.revisions[cluster as usize];
        let members = self.members_up(node, cluster);
        // An intruder does not count until it is ended, which somebody is at.
        let guarded = self.hosts[node].process.as_ref().is_none_or(|process| process.guards);
        if intruder && guarded && cluster == Data::old(self.hosts[node].turn) {
            return;
        }
        for checker in &mut self.checkers {
            checker.client(now, Node(node as u8), cluster, revision, members, intruder);
        }
        if intruder && cluster == Data::New {
            self.marks.add(Mark::IntruderWrote);
        }
    }

    /// For how long an API server has been ready on the new data of a node that is not armed for the way back.
    fn look_at_readiness(&mut self, node: usize) {
        let ready = self.is_ready(node);
        let now = self.now;
        let host = &mut self.hosts[node];
        let looks = host.process.as_mut().filter(|process| process.watches && process.paused_until <= now);
        looks.into_iter().for_each(|process| process.saw_ready |= ready);
        let counts = host.turn == 0 && !host.intruder && host.next.seen().is_empty();
        let since = host.ready_from.filter(|_| counts);
        host.was_ready |= since.is_some_and(|since| now - since > OVERLOOKED);
        host.ready_from = (ready && counts && host.etcd == Some(Data::New)).then(|| since.unwrap_or(now));
    }

    /// Held manifests that came back are moved aside, and what they started is ended.
    pub fn guard(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Some(process) = host.process.as_ref().filter(|process| process.guards) else { return };
        let _ = process;
        let mut names = host.manifests.seen();
        let mut found = Vec::new();
        for part in PARTS {
            let place = part as usize;
            if let Some(bytes) = names.there[place].filter(|_| names.held[place]) {
                found.push((part, bytes));
                names.there[place] = None;
                names.moved[place] = true;
            }
        }
        if found.is_empty() {
            return;
        }
        host.manifests.set(names);
        host.manifests.sync();
        for &(part, _) in &found {
            self.end(node, part);
        }
        for (part, bytes) in found {
            self.marks.add(Mark::Intruder);
            let fact = Fact::Intruder { component: component(part), other_bytes: bytes == Bytes::Other };
            if self.dies(node, 1) {
                return;
            }
            self.step(node, Input::Observed(fact));
        }
    }

    /// A process that was started again tells of manifests that came back before.
    pub fn tell_of_moved(&mut self, node: usize) {
        let moved = self.hosts[node].manifests.seen().moved;
        for part in PARTS {
            if moved[part as usize] && self.hosts[node].process.is_some() {
                let fact = Fact::Intruder { component: component(part), other_bytes: false };
                self.step(node, Input::Observed(fact));
            }
        }
    }

    /// A manifest that is held is there again.
    pub fn reappear(&mut self, node: usize, value: u32) {
        let parts: &[Part] = match value {
            1 | 4 => &[Part::Api],
            2 => &[Part::Etcd],
            _ => &[Part::Etcd, Part::Api],
        };
        let bytes = if value == 4 { Bytes::Other } else { Bytes::Again };
        let host = &mut self.hosts[node];
        let mut names = host.manifests.seen();
        let before = names;
        for &part in parts {
            let place = part as usize;
            if names.held[place] && names.there[place].is_none() {
                names.there[place] = Some(bytes);
            }
        }
        if names == before {
            return;
        }
        host.manifests.set(names);
        host.manifests.sync();
        host.theirs |= self.checkers[host.turn].decision(Node(node as u8)).is_some();
        let incarnation = host.incarnation;
        self.note(node, 14 << 40 | u64::from(value), || format!("! manifests are there again: {parts:?} {bytes:?}"));
        self.ask_kubelet(node);
        self.push(200, Event::Guard { node, incarnation });
    }
}

fn component(part: Part) -> Component {
    match part {
        Part::Etcd => Component::Etcd,
        Part::Api => Component::ApiServer,
        Part::Controllers => Component::ControllerManager,
    }
}
