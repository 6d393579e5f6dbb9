//! Rules that few seeds of the simulator reach, or that no invariant of it depends on, each on one node alone.

mod one;

use etcd_transaction::{
    Answer, Ballot, Component, Decision, Effect, Ending, Entry, Fact, Input, Limits, Message, Millis, Node, NodeSet,
    Notice, Now, Operator, Outcome, Participant, Phase, Plan, PlanOptions, State, Step, StepSet, Why, timers,
};
use one::{ABORT, COMMIT, One, set, steps, told};

fn options() -> PlanOptions {
    PlanOptions::default()
}

/// What a node in doubt has written.
fn voted() -> Vec<Entry> {
    let mut entries = steps(&Step::FORTH[..5]);
    entries.extend([Entry::Step { step: Step::StartEtcd, done: false }, Entry::Vote { yes: true, why: None }]);
    entries
}

fn from(node: u8, message: Message) -> Input {
    Input::Received { from: Node(node), message }
}

fn why(one: &One) -> Option<Why> {
    one.entries().into_iter().rev().find_map(|entry| match entry {
        Entry::Vote { why, .. } => why,
        _ => None,
    })
}

#[test]
fn what_was_said_once_stays_said() {
    let ballot = Ballot { epoch: 0, round: 3, owner: Node(2) };
    let some = set(&Step::FORTH[..2]);
    let full = State {
        accepted: Some((ballot, Decision::Abort)),
        decision: Some(Decision::Commit),
        ended: true,
        restaged: Some(7),
        stays: true,
        all_ended: true,
        ..told(some, some)
    };
    let empty = told(StepSet::default(), StepSet::default());
    for order in [[&full, &empty], [&empty, &full]] {
        let mut one = One::new(3, options(), &[Entry::Armed], true);
        order.into_iter().for_each(|state| one.give(from(1, Message::State(state.clone()))));
        assert_eq!(one.node.view().state_of(Node(1)), Some(&full));
    }
}

#[test]
fn patience_ends_at_the_moment_that_is_told() {
    // Armed, and never ordered. Its beats are at other moments.
    let mut one = One::new(3, options(), &[Entry::Armed], true);
    one.wait(Millis(1));
    one.give(Input::Deadline);
    one.wait(Millis(timers::BEGIN.0 - 2));
    assert_eq!(one.vote(), None);
    one.wait(Millis(1));
    assert_eq!((one.vote(), why(&one)), (Some(false), Some(Why::NeverBegun)));
    // The coordinator is silent: that counts from its first order on.
    let mut one = One::at(Node(1), 3, options(), &[Entry::Armed], true);
    one.give(Input::Deadline);
    one.wait(Millis(100_001));
    one.give(from(0, Message::Order { step: Step::Preflight }));
    one.returns(Outcome::Proved);
    one.wait(Millis(timers::SELF.0 - 1));
    assert_eq!(one.vote(), None);
    one.wait(Millis(1));
    assert_eq!((one.vote(), why(&one)), (Some(false), Some(Why::Silent)));
    // Another node is lost.
    let mut one = One::new(2, options(), &steps(&Step::FORTH[..1]), true);
    one.wait(Millis(1));
    one.give(Input::Deadline);
    one.wait(Millis(timers::LOST.0 - 2));
    assert_eq!(one.vote(), None);
    one.wait(Millis(1));
    assert_eq!(why(&one), Some(Why::Lost { node: Node(1) }));
}

#[test]
fn nodes_that_do_not_hear_each_other_after_the_preflight_end_it() {
    let mut one = One::new(3, options(), &steps(&Step::FORTH[..1]), true);
    one.give(Input::Deadline);
    let passed = set(&Step::FORTH[..1]);
    let deaf = State { unheard: NodeSet::of(Node(1)), ..told(passed, passed) };
    for _ in 0..15 {
        assert_eq!(one.vote(), None);
        one.hear(1, &Step::FORTH[..1]);
        one.give(from(2, Message::State(deaf.clone())));
        one.wait(timers::BEAT);
    }
    assert_eq!(why(&one), Some(Why::Unheard { by: Node(2), node: Node(1) }));
}

#[test]
fn only_one_of_several_needs_an_identity_to_go_on() {
    for (count, vote) in [(1, None), (2, Some(false)), (3, Some(false))] {
        let mut one = One::new(count, options(), &steps(&Step::FORTH[..2]), false);
        one.give(Input::Deadline);
        assert_eq!(one.vote(), vote, "{count}");
        assert_eq!(why(&one).is_some(), vote.is_some());
    }
}

#[test]
fn a_pause_of_more_than_two_beats_is_forgiven() {
    for (late, forgiven) in [(0, 0), (4_000, 0), (4_001, 4_001)] {
        let mut one = One::at(Node(1), 3, options(), &steps(&Step::FORTH[..1]), true);
        one.give(Input::Deadline);
        one.now = Now(timers::BEAT.0 + late);
        one.give(Input::Deadline);
        one.wait(Millis(timers::SELF.0 + forgiven - 1 - one.now.0));
        assert_eq!(one.vote(), None, "{late}");
        one.wait(Millis(1));
        assert_eq!(one.vote(), Some(false), "{late}");
    }
    // A step has not worked meanwhile. Beats are at other moments than its limit.
    let mut one = One::new(1, options(), &steps(&Step::FORTH[..2]), true);
    one.give(Input::Deadline);
    assert_eq!(one.run().step(), Step::StopEtcd);
    let due = one.node.next_deadline().unwrap();
    one.now = Now(12_000);
    one.give(Input::Deadline);
    let end = Limits::default().of(Step::StopEtcd).0 + one.now.since(due).0;
    assert_ne!(end % timers::BEAT.0, 0);
    one.wait(Millis(end - 1 - one.now.0));
    assert_eq!(one.vote(), None);
    one.wait(Millis(1));
    assert_eq!(why(&one), Some(Why::TookTooLong { step: Step::StopEtcd }));
}

#[test]
fn who_has_left_or_contradicts_itself_waits_for_nothing() {
    let mut one = One::new(1, options(), &[Entry::Armed, ABORT, Entry::Ended { ending: Ending::GivenUp }], true);
    one.give(Input::Deadline);
    assert_eq!(one.effects.last(), Some(&Effect::Leave));
    assert_eq!(one.node.next_deadline(), None);
    let plan = Plan::new(&[false; 3], Node(0), Limits::default(), options()).unwrap();
    let node = Participant::new(plan.into(), Node(0), &[Entry::Armed, COMMIT], true, Now(0));
    assert_eq!((node.view().phase(), node.next_deadline()), (Phase::Contradiction, None));
}

#[test]
fn only_nodes_of_the_plan_are_heard_and_only_by_who_can_prove_who_it_is() {
    let abort = || Message::Decided { decision: Decision::Abort };
    let mut one = One::at(Node(1), 3, options(), &voted(), true);
    for stranger in [1, 3, 9] {
        one.give(from(stranger, abort()));
        one.give(Input::Answered { from: Node(stranger), answer: Answer { decision: Some(Decision::Abort) } });
        assert_eq!(one.decision(), None, "{stranger}");
    }
    let mut without = voted();
    without.push(Entry::Excluded { nodes: NodeSet::of(Node(2)), epoch: 1 });
    let mut one = One::at(Node(1), 3, options(), &without, true);
    one.give(from(2, abort()));
    assert_eq!(one.decision(), None);
    // Without an identity it is told by answers alone, for which it asks with every beat until it knows.
    let mut one = One::at(Node(1), 3, options(), &voted(), false);
    let asks = |one: &One| one.effects.iter().filter(|effect| matches!(effect, Effect::Ask { .. })).count();
    one.give(Input::Deadline);
    one.give(Input::Deadline);
    one.give(from(2, abort()));
    one.wait(Millis(2 * timers::BEAT.0));
    assert_eq!((one.decision(), asks(&one)), (None, 6));
    assert!(one.sent(|_| true).is_empty());
    one.give(Input::Answered { from: Node(2), answer: Answer { decision: Some(Decision::Abort) } });
    one.wait(timers::BEAT);
    assert_eq!((one.decision(), asks(&one)), (Some(Decision::Abort), 6));
}

#[test]
fn a_new_identity_begins_the_waiting_anew() {
    let mut one = One::at(Node(1), 3, options(), &voted(), false);
    one.give(Input::Deadline);
    one.wait(Millis(100_001));
    one.give(Input::Certificate);
    for _ in 0..16 {
        one.hear(2, &Step::FORTH);
        one.wait(timers::BEAT);
    }
    assert!(one.sent(|message| matches!(message, Message::Prepare { .. })).is_empty());
    // One that it had is no news.
    one.give(Input::Certificate);
    one.hear(2, &Step::FORTH);
    one.wait(timers::BEAT);
    assert_eq!(one.sent(|message| matches!(message, Message::Prepare { .. })), [0, 2]);
}

#[test]
fn an_exclusion_is_written_once_and_the_newest_counts() {
    let exclude = |node, epoch| Input::Operator(Operator::Exclude { nodes: NodeSet::of(Node(node)), epoch });
    let mut one = One::at(Node(1), 3, options(), &voted(), true);
    // While an entry is on its way to the disk, others are ordered.
    for order in [exclude(2, 1), exclude(2, 1)] {
        one.node.step(one.now, order, &mut one.effects);
    }
    one.persist();
    let written = |one: &One| -> Vec<Entry> {
        one.entries().into_iter().filter(|entry| matches!(entry, Entry::Excluded { .. })).collect()
    };
    assert_eq!(written(&one).len(), 1);
    for order in [exclude(2, 2), exclude(0, 4), exclude(2, 3), exclude(2, 4)] {
        one.node.step(one.now, order, &mut one.effects);
    }
    one.persist();
    let last = Entry::Excluded { nodes: NodeSet::of(Node(0)), epoch: 4 };
    assert_eq!((written(&one).len(), written(&one).last()), (3, Some(&last)));
}

#[test]
fn an_operator_cannot_give_up_an_api_server_that_is_not_late() {
    let entries = [voted(), vec![COMMIT]].concat();
    let mut one = One::new(1, options(), &entries, true);
    one.give(Input::Deadline);
    let cancels = |one: &One| one.effects.iter().filter(|effect| matches!(effect, Effect::Cancel(_))).count();
    one.give(Input::Operator(Operator::Forget));
    assert_eq!((one.run().step(), cancels(&one), one.node.view().is_unready()), (Step::StartApi, 0, false));
    one.wait(Limits::default().of(Step::StartApi));
    assert!(one.node.view().is_unready());
    one.returns(Outcome::Unready);
    one.wait(timers::RETRY);
    let mut forgotten = one.clone();
    one.returns(Outcome::Proved);
    assert!(!one.node.view().is_unready());
    // One that is late can be given up.
    let before = cancels(&forgotten);
    forgotten.give(Input::Operator(Operator::Forget));
    assert_eq!(cancels(&forgotten), before + 1);
    forgotten.returns(Outcome::Cancelled);
    assert!(!forgotten.node.view().recorded().done().contains(Step::StartApi));
    forgotten.wait(timers::RETRY);
    forgotten.returns(Outcome::Unready);
    assert!(forgotten.node.view().recorded().done().contains(Step::StartApi) && forgotten.node.view().is_unready());
}

#[test]
fn a_decision_is_told_to_who_does_not_know_it_and_an_impossible_one_is_not_heard() {
    let mut one = One::at(Node(1), 3, options(), &steps(&Step::FORTH[..2]), true);
    one.give(Input::Deadline);
    one.give(from(2, Message::Decided { decision: Decision::Commit }));
    assert_eq!(one.decision(), None);
    one.give(from(2, Message::Decided { decision: Decision::Abort }));
    assert_eq!(one.decision(), Some(Decision::Abort));
    let answers = |one: &One| one.sent(|message| *message == Message::Decided { decision: Decision::Abort });
    assert!(answers(&one).is_empty());
    one.hear(0, &Step::FORTH[..2]);
    assert_eq!(answers(&one), [0]);
    let done = set(&Step::FORTH[..2]);
    one.give(from(2, Message::State(State { decision: Some(Decision::Abort), ..told(done, done) })));
    assert_eq!(answers(&one), [0]);
}

#[test]
fn only_an_api_server_on_new_data_is_an_intruder() {
    for (done, component, intruded) in
        [(2, Component::ApiServer, false), (3, Component::ApiServer, true), (3, Component::Etcd, false)]
    {
        let mut one = One::new(1, options(), &steps(&Step::FORTH[..done]), true);
        one.give(Input::Deadline);
        for _ in 0..2 {
            one.give(Input::Observed(Fact::Intruder { component, other_bytes: false }));
        }
        let written = one.entries().into_iter().filter(|entry| matches!(entry, Entry::Intruded { .. })).count();
        assert_eq!((one.node.view().recorded().intruded(), written), (intruded, usize::from(intruded)), "{done}");
    }
}

#[test]
fn only_the_coordinator_says_when_all_have_passed() {
    let mut one = One::at(Node(1), 3, options(), &steps(&Step::FORTH[..1]), true);
    one.hear(0, &Step::FORTH[..1]);
    one.hear(2, &Step::FORTH[..1]);
    assert!(!one.node.view().has_passed_preflight());
}

#[test]
fn nothing_is_guarded_that_is_not_held() {
    let guards = |one: &One| one.effects.iter().filter(|effect| matches!(effect, Effect::Guard { .. })).count();
    for entries in [vec![Entry::Armed], steps(&Step::FORTH[..1]), [voted(), vec![COMMIT]].concat()] {
        let mut one = One::at(Node(1), 3, options(), &entries, true);
        one.give(Input::Deadline);
        assert_eq!(guards(&one), 0, "{entries:?}");
    }
    // It ends before the next entry is on the disk.
    let mut entries = steps(&[&Step::FORTH[..4], &Step::BACK[..2]].concat());
    entries.insert(9, ABORT);
    let mut one = One::new(1, options(), &entries, true);
    one.give(Input::Deadline);
    let run = one.run().id();
    one.node.step(one.now, Input::Returned { run, outcome: Outcome::Proved }, &mut one.effects);
    let seq = one.pending().unwrap();
    one.node.step(one.now, Input::Persisted(seq), &mut one.effects);
    assert_eq!(one.effects.last(), Some(&Effect::Guard { on: false }));
}

#[test]
fn nothing_is_undone_before_a_step_has_returned_and_nothing_that_was_not_begun() {
    let mut one = One::at(Node(1), 3, options(), &steps(&Step::FORTH[..2]), true);
    one.give(Input::Deadline);
    one.give(from(0, Message::Order { step: Step::StopEtcd }));
    one.give(from(0, Message::Decided { decision: Decision::Abort }));
    assert!(matches!(one.effects.iter().rfind(|it| !matches!(it, Effect::Send { .. })), Some(Effect::Cancel(_))));
    assert!(!one.begun(Step::UndoStop));
    let hangs = |one: &One| one.effects.contains(&Effect::Tell(Notice::Hangs { step: Step::StopEtcd }));
    one.wait(Millis(timers::HANGS.0 - 1));
    one.give(Input::Deadline);
    assert!(!hangs(&one));
    one.wait(Millis(1));
    assert!(hangs(&one) && !one.begun(Step::UndoStop));
    // That it was done all the same is not written any more.
    let mut done = one.clone();
    done.returns(Outcome::Proved);
    assert_eq!((done.run().step(), done.node.view().recorded().done()), (Step::UndoStop, set(&Step::FORTH[..2])));
    one.returns(Outcome::Cancelled);
    assert_eq!((one.begun(Step::UndoStop), one.run().step()), (true, Step::UndoStop));
    // What the new data had come to is written once.
    one.give(Input::Observed(Fact::ServedAbove));
    one.give(Input::Observed(Fact::ServedAbove));
    one.returns(Outcome::Proved);
    assert_eq!(one.entries().into_iter().filter(|entry| *entry == Entry::ServedAbove).count(), 1);
    // Nothing was stopped.
    let mut one = One::at(Node(1), 3, options(), &steps(&Step::FORTH[..1]), true);
    one.give(from(0, Message::Decided { decision: Decision::Abort }));
    assert!(!one.begun(Step::UndoStop) && one.entries().contains(&Entry::Ended { ending: Ending::GivenUp }));
    assert!(!one.entries().contains(&Entry::ServedAbove));
}

#[test]
fn a_step_that_fails_again_and_again_is_told_seldom() {
    let entries = [voted(), vec![COMMIT]].concat();
    let mut one = One::new(1, options(), &entries, true);
    one.give(Input::Deadline);
    for _ in 0..9 {
        one.returns(Outcome::Failed);
        one.wait(timers::RETRY);
    }
    let times = one.effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Notice::TriesAgain { step: Step::StartApi, times }) => Some(*times),
        _ => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), [1, 2, 4, 8]);
    // Each step by itself.
    one.returns(Outcome::Proved);
    one.returns(Outcome::Failed);
    let again = Notice::TriesAgain { step: Step::Finish, times: 1 };
    assert!(one.effects.contains(&Effect::Tell(again)));
}

#[test]
fn who_is_alone_in_doubt_says_so() {
    let says = |one: &One| one.effects.iter().any(|it| matches!(it, Effect::Tell(Notice::InDoubt { .. })));
    let mut alone = One::at(Node(1), 3, options(), &voted(), true);
    alone.give(Input::Deadline);
    alone.wait(Millis(timers::LOST.0 - 1));
    assert!(!says(&alone));
    alone.wait(timers::BEAT);
    assert!(says(&alone));
    let mut two = One::at(Node(1), 3, options(), &voted(), true);
    two.give(Input::Deadline);
    for _ in 0..20 {
        two.hear(2, &Step::FORTH);
        two.wait(timers::BEAT);
    }
    assert!(!says(&two));
    // A node is heard for three beats after its last message.
    two.hear(2, &Step::FORTH);
    two.wait(Millis(3 * timers::BEAT.0));
    two.give(Input::Deadline);
    assert!(!two.node.view().unheard().contains(Node(2)));
    two.wait(Millis(1));
    two.give(Input::Deadline);
    assert!(two.node.view().unheard().contains(Node(2)));
}

/// When a node leaves, in milliseconds after its end; `None` if not within some minutes. `state` is what the two others tell with every beat.
fn leaves(entries: &[Entry], state: Option<&State>) -> (Option<u64>, One) {
    let mut one = One::at(Node(1), 3, options(), entries, true);
    one.give(Input::Deadline);
    for beat in 0..100 {
        for node in [0, 2] {
            if let Some(state) = state {
                one.give(from(node, Message::State(state.clone())));
            }
        }
        one.wait(timers::BEAT);
        if one.effects.contains(&Effect::Leave) {
            return (Some(beat * timers::BEAT.0), one);
        }
    }
    (None, one)
}

#[test]
fn nobody_leaves_before_it_is_not_needed_any_more() {
    let waits = |one: &One| one.effects.iter().any(|it| matches!(it, Effect::Tell(Notice::WaitsFor { .. })));
    let all = set(&Step::FORTH);
    let within = |(left, one): (Option<u64>, One), moment: Millis| {
        let left = left.expect("it leaves");
        assert!(left + timers::BEAT.0 >= moment.0 && left <= moment.0 + timers::BEAT.0, "{left}");
        one
    };
    let committed = [voted(), vec![COMMIT], vec![Entry::Ended { ending: Ending::Restored }]].concat();
    let ended = State { ended: true, decision: Some(Decision::Commit), ..told(all, all) };
    // All know that all have ended; all have ended, and nobody knows whether they know; some have not ended.
    let known = State { all_ended: true, ..ended.clone() };
    assert!(!waits(&within(leaves(&committed, Some(&known)), timers::LINGER)));
    assert!(!waits(&within(leaves(&committed, Some(&ended)), timers::LEAVE)));
    let (left, one) = leaves(&committed, Some(&State { ended: false, ..ended.clone() }));
    assert!(left.is_none() && waits(&one));
    assert!(leaves(&committed, None).0.is_none());
    let mut one = One::at(Node(1), 3, options(), &committed, true);
    one.give(Input::Deadline);
    one.wait(Millis(timers::LEAVE.0 - 1));
    assert!(!waits(&one));
    one.wait(timers::BEAT);
    assert!(waits(&one));
    // Nobody can be in doubt: who is lost is not waited for, who is heard is.
    let early = [steps(&Step::FORTH[..2]), vec![ABORT, Entry::Ended { ending: Ending::WentBack }]].concat();
    within(leaves(&early, None), timers::LEAVE);
    assert!(leaves(&early, Some(&told(all, all))).0.is_none());
    within(
        leaves(&early, Some(&State { ended: true, decision: Some(Decision::Abort), ..told(all, all) })),
        timers::LEAVE,
    );
    // Who is armed for the way back waits a little for the others.
    let over = [voted(), vec![COMMIT], steps(&[Step::Restage, Step::HandOver])[1..].to_vec()].concat();
    let over = [over, vec![Entry::Ended { ending: Ending::Restored }]].concat();
    within(leaves(&over, None), timers::PARTING);
    let armed = set(&[&Step::FORTH[..], &Step::TURN].concat());
    within(leaves(&over, Some(&State { decision: Some(Decision::Commit), ..told(armed, armed) })), Millis(0));
}

#[test]
fn members_are_restarted_one_after_the_other() {
    let done = |more: &[Step]| {
        let steps = set(&[&Step::FORTH[..], more].concat());
        State { decision: Some(Decision::Commit), ..told(steps, steps) }
    };
    let (starts, finished) = (done(&[Step::StartApi]), done(&[Step::StartApi, Step::Finish]));
    let rechecked = done(&[Step::StartApi, Step::Finish, Step::Recheck]);
    let (ended, unready) = (State { ended: true, ..starts.clone() }, State { unready: true, ..starts.clone() });
    let entries = [voted(), vec![COMMIT], steps(&Step::ON[..2])[1..].to_vec()].concat();
    for (before, after, begins) in [
        (&finished, &finished, false),
        (&finished, &rechecked, false),
        (&starts, &finished, false),
        (&rechecked, &starts, false),
        (&rechecked, &finished, true),
        (&rechecked, &rechecked, true),
        (&ended, &finished, true),
        (&unready, &finished, true),
        (&rechecked, &ended, true),
        (&rechecked, &unready, true),
    ] {
        let options = PlanOptions { recheck: true, ..options() };
        let mut one = One::at(Node(1), 3, options, &entries, true);
        one.give(from(0, Message::State(before.clone())));
        one.give(from(2, Message::State(after.clone())));
        assert_eq!(one.begun(Step::Recheck), begins, "{before:?} {after:?}");
        // Who is lost is not waited for.
        one.wait(timers::LOST);
        assert!(one.begun(Step::Recheck));
    }
}

#[test]
fn a_try_waits_and_counts_from_the_first_one_on() {
    let entries = [voted(), vec![COMMIT]].concat();
    let mut one = One::new(1, options(), &entries, true);
    let runs = |one: &One| one.effects.iter().filter(|effect| matches!(effect, Effect::Run(_))).count();
    one.give(Input::Deadline);
    one.wait(Millis(1_000));
    one.returns(Outcome::Failed);
    // Beats are at other moments from here on.
    one.now = Now(2_001);
    one.give(Input::Deadline);
    one.wait(Millis(998));
    one.give(Input::Deadline);
    assert_eq!((runs(&one), one.run().is_resumed()), (1, false));
    let first = one.run().id();
    one.wait(Millis(1));
    assert_eq!((runs(&one), one.run().id() == first), (2, false));
    one.wait(Millis(Limits::default().of(Step::StartApi).0 - 1 - one.now.0));
    assert!(!one.node.view().is_unready());
    one.wait(Millis(1));
    assert!(one.node.view().is_unready());
    let told = one.effects.iter().filter(|effect| **effect == Effect::Tell(Notice::Unready)).count();
    assert_eq!(told, 1);
    // A process that is started again goes on with what the one before has begun.
    let begun = [entries, vec![Entry::Step { step: Step::StartApi, done: false }]].concat();
    let mut one = One::new(1, options(), &begun, true);
    one.give(Input::Deadline);
    assert!(one.run().is_resumed());
}

/// Node 3 of four, which has no etcd, after an abort of a restore that has come this far.
fn api_server_that_goes_back(forth: &[Step], identity: bool) -> One {
    let mut entries = steps(forth);
    entries.push(ABORT);
    let mut one = One::without_etcd(Node(3), 4, NodeSet::of(Node(3)), options(), &entries, identity);
    one.give(Input::Deadline);
    one
}

#[test]
fn an_api_server_without_etcd_starts_once_etcd_is_back_everywhere() {
    let back = Step::BACK;
    let swapped = &back[..2];
    let mut one = api_server_that_goes_back(&Step::FORTH[..3], true);
    assert_eq!(one.node.view().awaited().len(), 3);
    one.hear(0, &back);
    one.hear(1, swapped);
    one.hear(2, &back);
    assert!(!one.begun(Step::UndoStart), "the revision of the old data may have to be raised yet");
    assert_eq!(one.node.view().awaited(), NodeSet::of(Node(1)));
    let mut finished = one.clone();
    finished.hear(1, &back);
    assert_eq!(finished.run().step(), Step::UndoStart);
    // One that is lost has its old data, and the other ones have raised the revision.
    one.wait(timers::LOST);
    assert_eq!(one.run().step(), Step::UndoStart);

    // One of three that is lost may run on the new data, and serves nobody.
    let mut one = api_server_that_goes_back(&Step::FORTH[..3], true);
    one.hear(0, &back);
    one.wait(Millis(timers::LOST.0 / 2));
    one.hear(1, &back);
    assert!(!one.begun(Step::UndoStart));
    one.wait(Millis(timers::LOST.0 / 2));
    assert_eq!(one.run().step(), Step::UndoStart);

    // Two of three may serve the new data, until somebody says that they do not.
    let mut one = api_server_that_goes_back(&Step::FORTH[..3], true);
    one.hear(0, &back);
    one.wait(Millis(10 * timers::LOST.0));
    assert!(!one.begun(Step::UndoStart));
    let told = one.effects.iter().filter(|effect| matches!(effect, Effect::Tell(Notice::ApiWaits { .. })));
    assert_eq!(told.count(), 1);
    assert_eq!(one.node.view().refusal(Operator::Forget), None);
    one.give(Input::Operator(Operator::Forget));
    assert_eq!((one.run().step(), one.node.view().refusal(Operator::Forget)), (Step::UndoStart, None));

    // Nothing was stopped: nothing is waited for.
    let one = api_server_that_goes_back(&Step::FORTH[..1], true);
    assert!(one.node.view().recorded().ended().is_some());
    // Nobody is heard without an identity.
    let mut one = api_server_that_goes_back(&Step::FORTH[..2], false);
    one.wait(Millis(2 * timers::LOST.0));
    assert!(!one.begun(Step::UndoStart) && one.node.view().refusal(Operator::Forget).is_none());
}

#[test]
fn a_node_with_etcd_stays_for_an_api_server_that_waits_for_it() {
    let mut entries = steps(&[&Step::FORTH[..3], &Step::BACK[..]].concat());
    entries.insert(7, ABORT);
    entries.push(Entry::Ended { ending: etcd_transaction::Ending::WentBack });
    for (without, leaves) in [(NodeSet::EMPTY, true), (NodeSet::of(Node(2)), false)] {
        let mut one = One::without_etcd(Node(0), 3, without, options(), &entries, true);
        one.give(Input::Deadline);
        one.give(from(1, Message::State(State { ended: true, ..told(StepSet::default(), StepSet::default()) })));
        one.wait(Millis(10 * timers::LOST.0));
        assert_eq!(one.effects.iter().any(|effect| matches!(effect, Effect::Leave)), leaves, "{without:?}");
    }
}
