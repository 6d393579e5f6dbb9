//! What the simulator has found, each in as few steps as show it.

use std::sync::Arc;

use etcd_transaction::{
    Component, Decision, Effect, Entry, Fact, How, Input, Limits, Message, Millis, Node, Notice, Now, Outcome,
    Participant, Plan, PlanOptions, Step, timers,
};

/// A node whose disk is perfect.
struct One {
    node: Participant,
    now: Now,
    effects: Vec<Effect>,
}

impl One {
    fn new(count: usize, options: PlanOptions, entries: &[Entry], identity: bool) -> One {
        let plan = Arc::new(Plan::new(&vec![false; count], Node(0), Limits::default(), options).unwrap());
        One { node: Participant::new(plan, Node(0), entries, identity, Now(0)), now: Now(0), effects: Vec::new() }
    }

    /// Gives an input, and the news of all writes that follow from it.
    fn give(&mut self, input: Input) {
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

    fn wait(&mut self, time: Millis) {
        let end = self.now.after(time);
        while let Some(due) = self.node.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.give(Input::Deadline);
        }
        self.now = end;
    }

    fn run(&self) -> etcd_transaction::Run {
        let mut runs =
            self.effects.iter().filter_map(|effect| if let Effect::Run(run) = effect { Some(*run) } else { None });
        runs.next_back().unwrap()
    }

    fn returns(&mut self, outcome: Outcome) {
        let run = self.run().id();
        self.give(Input::Returned { run, outcome });
    }
}

fn steps(steps: &[Step]) -> Vec<Entry> {
    let both = |&step: &Step| [false, true].map(|done| Entry::Step { step, done });
    [Entry::Armed].into_iter().chain(steps.iter().flat_map(both)).collect()
}

const COMMIT: Entry = Entry::Decided { decision: Decision::Commit, how: How::Operator };
const ABORT: Entry = Entry::Decided { decision: Decision::Abort, how: How::Operator };

#[test]
fn a_node_without_an_identity_that_has_ended_says_whom_it_waits_for() {
    let mut entries = steps(&Step::FORTH);
    entries.extend([ABORT, Entry::Ended { ending: etcd_transaction::Ending::WentBack }]);
    let mut one = One::new(3, PlanOptions::default(), &entries, false);
    one.give(Input::Deadline);
    one.wait(Millis(2 * timers::LEAVE.0));
    let waits = one.effects.iter().filter(|effect| matches!(effect, Effect::Tell(Notice::WaitsFor { .. })));
    assert_eq!(waits.count(), 1);
}

#[test]
fn an_api_server_that_could_not_be_started_is_none_that_is_kept_although_unready() {
    let mut entries = steps(&Step::FORTH[..5]);
    entries.extend([Entry::Step { step: Step::StartEtcd, done: false }, Entry::Vote { yes: true, why: None }, COMMIT]);
    let mut one = One::new(1, PlanOptions { keep_unready: true, ..PlanOptions::default() }, &entries, true);
    one.give(Input::Deadline);
    one.returns(Outcome::Failed);
    assert!(!one.node.view().recorded().done().contains(Step::StartApi));
    one.wait(timers::RETRY);
    one.wait(Limits::default().of(Step::StartApi));
    assert!(matches!(one.effects.last(), Some(Effect::Cancel(_))), "{:?}", one.effects.last());
    one.returns(Outcome::Cancelled);
    assert!(one.node.view().recorded().done().contains(Step::StartApi));
}

#[test]
fn new_data_in_its_place_is_kept_although_nobody_launched_etcd() {
    let mut entries = steps(&Step::FORTH[..4]);
    entries.extend([ABORT]);
    let mut one = One::new(1, PlanOptions::default(), &entries, true);
    one.give(Input::Deadline);
    one.give(Input::Observed(Fact::Intruder { component: Component::ApiServer, other_bytes: false }));
    one.returns(Outcome::Proved);
    assert_eq!((one.run().step(), one.run().keeps_new_data()), (Step::UndoSwap, true));
    assert!(one.node.view().recorded().intruded());
}

#[test]
fn what_is_held_is_guarded_until_everything_runs_again() {
    let mut entries = steps(&[&Step::FORTH[..4], &Step::BACK[..2]].concat());
    entries.insert(9, ABORT);
    let mut one = One::new(1, PlanOptions::default(), &entries, true);
    one.give(Input::Deadline);
    let guards = |one: &One| one.effects.iter().rfind(|effect| matches!(effect, Effect::Guard { .. })).cloned();
    assert_eq!((one.run().step(), guards(&one)), (Step::UndoStart, Some(Effect::Guard { on: true })));
    one.returns(Outcome::Proved);
    assert_eq!(guards(&one), Some(Effect::Guard { on: false }));
}

#[test]
fn a_coordinator_that_was_started_again_knows_by_a_vote_what_a_lost_node_has_done() {
    let mut entries = steps(&Step::FORTH[..5]);
    entries.extend([Entry::Step { step: Step::StartEtcd, done: false }, Entry::Vote { yes: true, why: None }]);
    let mut one = One::new(3, PlanOptions::default(), &entries, true);
    one.give(Input::Deadline);
    // Node 2 is gone; node 1, which has not voted, knows of its vote.
    let all = (0..5).fold(etcd_transaction::StepSet::default(), |mut set, step| {
        set.insert(Step::FORTH[step]);
        set
    });
    let mut votes = etcd_transaction::Votes::default();
    votes.yes.insert(Node(0));
    votes.yes.insert(Node(2));
    let state = etcd_transaction::State {
        votes,
        begun: all,
        done: all,
        oldest: Millis(0),
        accepted: None,
        decision: None,
        ended: false,
        all_ended: false,
        unheard: etcd_transaction::NodeSet::of(Node(2)),
        unready: false,
        turns: false,
        restaged: None,
        stays: false,
    };
    one.give(Input::Received { from: Node(1), message: Message::State(state) });
    let mut orders = one.effects.iter().filter_map(|effect| match effect {
        Effect::Send { to: Node(1), message } => match message.message() {
            Message::Order { step } => Some(*step),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(orders.next_back(), Some(Step::StartEtcd));
}
