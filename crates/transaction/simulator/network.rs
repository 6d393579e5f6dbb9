//! Connections between nodes.

use etcd_transaction::{Message, Node};

use super::choices::{Draw, Kind};
use super::world::{Event, MOST, World};

impl World {
    /// Whether nothing goes from one node to another.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from] >> to & 1 == 1
    }

    /// How long something takes from one node to another; nothing if it is lost.
    pub fn travels(&mut self, from: usize, to: usize) -> Option<u64> {
        (!self.is_cut(from, to)).then(|| self.choices.draw(Draw::Message, from, 1, 40))
    }

    /// A message is on its way.
    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        let Some(mut later) = self.travels(from, to) else { return };
        let authority = self.hosts[from].process.as_ref().map_or(0, |process| process.authority);
        let turn = self.hosts[from].turn;
        let value = self.choices.pick(Kind::Message, from, to);
        self.marks.fault(Kind::Message, value);
        match value {
            1 => return,
            2 => {
                let again = later + self.choices.draw(Draw::Fault, from, 1, 5_000);
                self.push(again, Event::Deliver { to, from, authority, turn, message: message.clone() });
            }
            3 => later += self.choices.draw(Draw::Fault, from, 1_000, 60_000),
            4 => later += self.choices.draw(Draw::Fault, from, 60_000, 600_000),
            _ => {}
        }
        self.push(later, Event::Deliver { to, from, authority, turn, message });
    }

    /// Connections are cut for a while, as [`Kind::Cut`] says; 5 is
    /// the coordinator, and 6 one way to it.
    pub fn cut_off(&mut self, value: u32) {
        let count = self.hosts.len() as u64;
        if count < 2 {
            return;
        }
        let mut cut = [0_u8; MOST];
        let a = self.choices.draw(Draw::Fault, 0, 0, count - 1) as usize;
        let b = (a + self.choices.draw(Draw::Fault, 0, 1, count - 1) as usize) % count as usize;
        let all = (1_u8 << count) - 1;
        match value {
            6 => {
                let node = self.plan.coordinator().index();
                cut[if a == node { b } else { a }] = 1 << node;
            }
            5 => {
                let node = self.plan.coordinator().index();
                cut = [1 << node; MOST];
                cut[node] = all;
            }
            1 => cut[a] = 1 << b,
            2 => (cut[a], cut[b]) = (1 << b, 1 << a),
            3 => {
                cut = [1 << a; MOST];
                cut[a] = all;
            }
            _ => {
                let half = self.choices.draw(Draw::Fault, 0, 1, u64::from(all)) as u8;
                for (node, cut) in cut.iter_mut().enumerate() {
                    *cut = if half >> node & 1 == 1 { all & !half } else { half };
                }
            }
        }
        self.note(a, 9 << 40 | u64::from(value), || format!("! cut {cut:?}"));
        self.next_cut += 1;
        let id = self.next_cut;
        self.cuts.push((id, cut));
        self.join_cuts();
        let time = self.choices.one_of(Draw::Fault, 0, &[1_000, 5_000, 15_000, 40_000, 80_000, 300_000]);
        self.push(time, Event::Mend { cut: id });
    }

    /// A cut heals.
    pub fn mend(&mut self, cut: u32) {
        self.cuts.retain(|(id, _)| *id != cut);
        self.join_cuts();
        self.components_changed();
    }

    /// All connections are as before.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.join_cuts();
    }

    fn join_cuts(&mut self) {
        self.cut = [0; MOST];
        for (_, cut) in &self.cuts {
            for (node, part) in cut.iter().enumerate() {
                self.cut[node] |= part & !(1 << node);
            }
        }
    }

    /// Somebody with an identity of the plan sends what only another one may send.
    pub fn forge(&mut self, to: usize, value: u64) {
        use etcd_transaction::{Ballot, Decision, Step};
        let count = self.hosts.len();
        if count < 2 {
            return;
        }
        let others: Vec<usize> =
            (0..count).filter(|&node| node != to && node != self.plan.coordinator().index()).collect();
        let Some(&from) = others.first() else { return };
        let ballot = Ballot { epoch: 0, round: 1_000, owner: Node(to as u8) };
        let zero = Ballot { epoch: 0, round: 0, owner: self.plan.coordinator() };
        let message = match value {
            0..=5 => Message::Order { step: Step::FORTH[value as usize] },
            8 | 9 => Message::Order { step: Step::TURN[value as usize - 8] },
            6 => Message::Prepare { ballot },
            _ => Message::Accept { ballot: zero, decision: Decision::Commit },
        };
        let authority = self.hosts[to].process.as_ref().map_or(0, |process| process.authority);
        let turn = self.hosts[to].turn;
        self.push(1, Event::Deliver { to, from, authority, turn, message });
    }
}
