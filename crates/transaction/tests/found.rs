//! What the simulator, or a change of the program that it did not notice, has found, each in as few steps as show it.

mod one;

use etcd_transaction::{
    Ballot, Component, Decision, Effect, Entry, Fact, Input, Limits, Message, Millis, Node, NodeSet, Notice, Now,
    Operator, Outcome, PlanOptions, State, Step, StepSet, Votes, timers,
};
use one::{ABORT, COMMIT, One, set, steps, told};

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
    // Cancelled before it had its manifest.
    one.returns(Outcome::Cancelled);
    assert!(!one.node.view().recorded().done().contains(Step::StartApi));
    one.wait(timers::RETRY);
    assert_eq!(one.run().step(), Step::StartApi);
    one.returns(Outcome::Unready);
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
    let all = (0..5).fold(StepSet::default(), |mut set, step| {
        set.insert(Step::FORTH[step]);
        set
    });
    let mut votes = Votes::default();
    votes.yes.insert(Node(0));
    votes.yes.insert(Node(2));
    let unheard = NodeSet::of(Node(2));
    let state = State { votes, unheard, ..told(all, all) };
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

#[test]
fn nothing_is_ordered_before_an_operator_says_so_and_nothing_is_stopped_before_all_hear_each_other() {
    let mut one = One::new(3, PlanOptions::default(), &[Entry::Armed], true);
    one.give(Input::Deadline);
    one.hear(1, &[]);
    one.hear(2, &[]);
    one.wait(timers::BEAT);
    assert!(one.ordered(Step::Preflight).is_empty() && !one.begun(Step::Preflight));
    one.give(Input::Operator(Operator::Begin));
    assert_eq!((one.ordered(Step::Preflight), one.begun(Step::Preflight)), (vec![1, 2], true));
    one.returns(Outcome::Proved);
    one.hear(1, &[Step::Preflight]);
    assert!(!one.node.view().has_passed_preflight());
    // One has passed, and does not hear another.
    let passed = set(&[Step::Preflight]);
    let deaf = State { unheard: NodeSet::of(Node(1)), ..told(passed, passed) };
    one.give(Input::Received { from: Node(2), message: Message::State(deaf) });
    one.wait(timers::BEAT);
    assert!(one.ordered(Step::StopApi).is_empty() && !one.node.view().has_passed_preflight());
    one.hear(2, &[Step::Preflight]);
    one.hear(1, &[Step::Preflight]);
    assert!(one.node.view().has_passed_preflight());
    one.wait(Millis(timers::GRACE.0 - 1));
    assert!(one.ordered(Step::StopApi).is_empty() && !one.begun(Step::StopApi));
    one.wait(Millis(1));
    assert_eq!((one.ordered(Step::StopApi), one.begun(Step::StopApi)), (vec![1, 2], true));
}

#[test]
fn a_coordinator_that_was_started_again_goes_on_with_what_another_node_has_begun() {
    // Its own journal does not say that the API servers are being stopped, and it does not hear one of the nodes.
    let mut one = One::new(3, PlanOptions::default(), &steps(&Step::FORTH[..1]), true);
    one.give(Input::Deadline);
    let passed = set(&[Step::Preflight]);
    let deaf = |begun| State { unheard: NodeSet::of(Node(2)), ..told(begun, passed) };
    one.give(Input::Received { from: Node(2), message: Message::State(told(passed, passed)) });
    one.give(Input::Received { from: Node(1), message: Message::State(deaf(passed)) });
    one.wait(timers::BEAT);
    assert!(one.ordered(Step::StopApi).is_empty());
    let begun = set(&[Step::Preflight, Step::StopApi]);
    one.give(Input::Received { from: Node(1), message: Message::State(deaf(begun)) });
    assert_eq!((one.ordered(Step::StopApi), one.begun(Step::StopApi)), (vec![1, 2], true));
}

#[test]
fn the_leader_of_the_old_cluster_is_stopped_last() {
    let mut one = One::new(3, PlanOptions::default(), &steps(&Step::FORTH[..2]), true);
    one.give(Input::Deadline);
    one.give(Input::Observed(Fact::Leader(Node(1))));
    one.hear(1, &Step::FORTH[..2]);
    one.hear(2, &Step::FORTH[..2]);
    assert_eq!((one.ordered(Step::StopEtcd), one.begun(Step::StopEtcd)), (vec![2], true));
    one.returns(Outcome::Proved);
    assert_eq!(one.ordered(Step::StopEtcd), [2]);
    one.hear(2, &Step::FORTH[..3]);
    assert_eq!(one.ordered(Step::StopEtcd), [2, 1]);
    // It is nobody's turn to wait for who is the only one.
    let mut alone = One::new(1, PlanOptions::default(), &steps(&Step::FORTH[..2]), true);
    alone.give(Input::Observed(Fact::Leader(Node(0))));
    assert!(alone.begun(Step::StopEtcd));
}

#[test]
fn members_that_check_their_data_are_launched_one_after_the_other() {
    for (launch_in_turn, at_once) in [(false, vec![1, 2]), (true, vec![])] {
        let options = PlanOptions { launch_in_turn, ..PlanOptions::default() };
        let mut one = One::new(3, options, &steps(&Step::FORTH[..4]), true);
        one.give(Input::Deadline);
        one.hear(1, &Step::FORTH[..4]);
        one.hear(2, &Step::FORTH[..4]);
        assert_eq!((one.ordered(Step::LaunchEtcd), one.begun(Step::LaunchEtcd)), (at_once, true));
        one.returns(Outcome::Proved);
        let next = one.ordered(Step::LaunchEtcd);
        assert_eq!(next, if launch_in_turn { vec![1] } else { vec![1, 2] });
        one.hear(1, &Step::FORTH[..5]);
        assert_eq!(one.ordered(Step::LaunchEtcd), [1, 2]);
    }
}

/// Node 1 of three, which is in doubt.
fn in_doubt() -> One {
    let mut entries = steps(&Step::FORTH[..5]);
    entries.extend([Entry::Step { step: Step::StartEtcd, done: false }, Entry::Vote { yes: true, why: None }]);
    let mut one = One::at(Node(1), 3, PlanOptions::default(), &entries, true);
    one.give(Input::Deadline);
    one
}

#[test]
fn a_promise_that_was_lost_is_made_again() {
    let mut one = in_doubt();
    let ballot = Ballot { epoch: 0, round: 3, owner: Node(2) };
    for times in 1..=3 {
        one.give(Input::Received { from: Node(2), message: Message::Prepare { ballot } });
        assert_eq!(one.sent(|message| matches!(message, Message::Promise { .. })), vec![2; times]);
    }
    // Not to a lower one.
    let lower = Ballot { round: 2, ..ballot };
    one.give(Input::Received { from: Node(2), message: Message::Prepare { ballot: lower } });
    assert_eq!(one.sent(|message| matches!(message, Message::Promise { .. })).len(), 3);
}

#[test]
fn a_node_takes_over_soon_if_all_votes_are_known_and_above_every_ballot_that_it_saw() {
    let mut votes = Votes::default();
    [0, 1, 2].into_iter().for_each(|node| votes.yes.insert(Node(node)));
    let all = set(&Step::FORTH);
    let seen = Ballot { epoch: 0, round: 7, owner: Node(0) };
    let state = |votes, accepted| State { votes, accepted, ..told(all, all) };
    let prepared = |one: &One| one.sent(|message| matches!(message, Message::Prepare { .. }));
    let mut one = in_doubt();
    let beats = |one: &mut One, time: Millis, state: &State| {
        let end = Now(one.now.0 + time.0);
        while one.now < end {
            one.give(Input::Received { from: Node(2), message: Message::State(state.clone()) });
            one.wait(Millis(timers::BEAT.0.min(end.since(one.now).0)));
        }
    };
    // The first in the order of takeovers waits for 8 s.
    let known = state(votes, Some((seen, Decision::Commit)));
    beats(&mut one, Millis(7_999), &known);
    assert!(prepared(&one).is_empty());
    beats(&mut one, Millis(2), &known);
    assert_eq!(prepared(&one), [0, 2]);
    let ballot = one.node.view().recorded().promised().unwrap();
    assert_eq!(ballot, Ballot { epoch: 0, round: 8, owner: Node(1) });
    // Where a vote is missing, it waits for as long as a coordinator that lives may.
    let mut one = in_doubt();
    beats(&mut one, Millis(33_999), &state(Votes::default(), None));
    assert!(prepared(&one).is_empty());
    beats(&mut one, Millis(2), &state(Votes::default(), None));
    assert_eq!(prepared(&one), [0, 2]);
}
