//! One node, driven by hand.
#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::sync::Arc;

use etcd_transaction::{
    Decision, Effect, Entry, How, Input, Limits, Message, Millis, Node, NodeSet, Now, Outcome, Participant, Plan,
    PlanOptions, Seq, State, Step, StepSet, Votes,
};

/// A node whose disk is perfect.
#[derive(Clone)]
pub(crate) struct One {
    pub(crate) node: Participant,
    pub(crate) now: Now,
    pub(crate) effects: Vec<Effect>,
}

impl One {
    pub(crate) fn new(count: usize, options: PlanOptions, entries: &[Entry], identity: bool) -> One {
        One::at(Node(0), count, options, entries, identity)
    }

    pub(crate) fn at(own: Node, count: usize, options: PlanOptions, entries: &[Entry], identity: bool) -> One {
        One::without_etcd(own, count, NodeSet::EMPTY, options, entries, identity)
    }

    /// In a plan of which some nodes have no etcd.
    pub(crate) fn without_etcd(
        own: Node,
        count: usize,
        nodes: NodeSet,
        options: PlanOptions,
        entries: &[Entry],
        identity: bool,
    ) -> One {
        let plan = Plan::new(&vec![false; count], Node(0), Limits::default(), options).unwrap();
        let plan = Arc::new(plan.with_nodes_without_etcd(nodes).unwrap());
        One { node: Participant::new(plan, own, entries, identity, Now(0)), now: Now(0), effects: Vec::new() }
    }

    /// Gives an input, and the news of all writes that follow from it.
    pub(crate) fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let before = self.effects.len();
            self.node.step(self.now, input, &mut self.effects);
            self.node.view().check().unwrap();
            for effect in &self.effects[before..] {
                if let Effect::Persist { seq, .. } = effect {
                    inputs.push(Input::Persisted(*seq));
                }
            }
        }
    }

    pub(crate) fn wait(&mut self, time: Millis) {
        let end = self.now.after(time);
        while let Some(due) = self.node.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.give(Input::Deadline);
        }
        self.now = end;
    }

    pub(crate) fn run(&self) -> etcd_transaction::Run {
        let mut runs =
            self.effects.iter().filter_map(|effect| if let Effect::Run(run) = effect { Some(*run) } else { None });
        runs.next_back().unwrap()
    }

    pub(crate) fn returns(&mut self, outcome: Outcome) {
        let run = self.run().id();
        self.give(Input::Returned { run, outcome });
    }
}

pub(crate) fn steps(steps: &[Step]) -> Vec<Entry> {
    let both = |&step: &Step| [false, true].map(|done| Entry::Step { step, done });
    [Entry::Armed].into_iter().chain(steps.iter().flat_map(both)).collect()
}

pub(crate) const COMMIT: Entry = Entry::Decided { decision: Decision::Commit, how: How::Operator };
pub(crate) const ABORT: Entry = Entry::Decided { decision: Decision::Abort, how: How::Operator };

/// What a node tells of its steps, and of nothing else.
pub(crate) fn told(begun: StepSet, done: StepSet) -> State {
    State {
        votes: Votes::default(),
        begun,
        done,
        oldest: Millis(0),
        accepted: None,
        decision: None,
        ended: false,
        all_ended: false,
        unheard: NodeSet::EMPTY,
        unready: false,
        turns: false,
        restaged: None,
        stays: false,
    }
}

pub(crate) fn set(steps: &[Step]) -> StepSet {
    let mut set = StepSet::default();
    steps.iter().for_each(|&step| set.insert(step));
    set
}

impl One {
    /// Another node tells that it has done these steps.
    pub(crate) fn hear(&mut self, from: u8, done: &[Step]) {
        let message = Message::State(told(set(done), set(done)));
        self.give(Input::Received { from: Node(from), message });
    }

    /// Whom it has ordered to do a step so far, in order, each once.
    pub(crate) fn ordered(&self, step: Step) -> Vec<u8> {
        let sent = self.sent(|message| *message == Message::Order { step });
        sent.into_iter().fold(Vec::new(), |mut nodes, node| {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
            nodes
        })
    }

    /// To whom it has sent messages of a kind.
    pub(crate) fn sent(&self, kind: impl Fn(&Message) -> bool) -> Vec<u8> {
        let sent = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { to, message } if kind(message.message()) => Some(to.0),
            _ => None,
        });
        sent.collect()
    }

    pub(crate) fn begun(&self, step: Step) -> bool {
        self.node.view().recorded().begun().contains(step)
    }

    /// All that was written since it began.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |effect: &Effect| match effect {
            Effect::Persist { entry, .. } => Some(*entry),
            _ => None,
        };
        self.effects.iter().filter_map(entry).collect()
    }

    /// The last entry that was to be written.
    pub(crate) fn pending(&self) -> Option<Seq> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Persist { seq, .. } => Some(*seq),
            _ => None,
        })
    }

    /// The last entry is on the disk, and so are those that follow.
    pub(crate) fn persist(&mut self) {
        let seq = self.pending().unwrap();
        self.give(Input::Persisted(seq));
    }

    pub(crate) fn vote(&self) -> Option<bool> {
        self.node.view().recorded().vote()
    }

    pub(crate) fn decision(&self) -> Option<Decision> {
        self.node.view().recorded().decision()
    }
}
