//! Restores in which nothing goes wrong, and a few in which one thing does, without a simulator.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_transaction::{
    Decision, Effect, Ending, Entry, Fact, Input, Limits, Message, Node, Now, Operator, Outcome, Participant, Phase,
    Plan, PlanOptions, RunId, Step, timers,
};

/// Nodes whose disks, network and steps are perfect, but for one step on one node.
struct Crew {
    plan: Arc<Plan>,
    nodes: Vec<Participant>,
    journals: Vec<Vec<Entry>>,
    steps: Vec<Vec<Step>>,
    left: Vec<bool>,
    dead: Vec<bool>,
    queue: VecDeque<(usize, Input)>,
    now: Now,
    fails: Option<(usize, Step)>,
    /// No API server becomes ready.
    never_ready: bool,
    trying: Vec<Option<RunId>>,
    digests: Vec<u64>,
}

impl Crew {
    fn new(left_out: &[bool], options: PlanOptions) -> Crew {
        let plan = Arc::new(Plan::new(left_out, Node(0), Limits::default(), options).unwrap());
        let count = plan.count();
        let nodes = plan.nodes().map(|node| Participant::new(Arc::clone(&plan), node, &[Entry::Armed], true, Now(0)));
        let queue = VecDeque::from([(0, Input::Operator(Operator::Begin))]);
        Crew {
            plan: Arc::clone(&plan),
            nodes: nodes.collect(),
            journals: vec![vec![Entry::Armed]; count],
            steps: vec![Vec::new(); count],
            left: vec![false; count],
            dead: vec![false; count],
            queue,
            now: Now(0),
            fails: None,
            never_ready: false,
            trying: vec![None; count],
            digests: vec![7; count],
        }
    }

    fn run(&mut self, until: impl Fn(&Crew) -> bool) {
        for _ in 0..200_000 {
            if until(self) {
                return;
            }
            let (node, input) = match self.queue.pop_front() {
                Some(next) => next,
                None => {
                    let due = self.nodes.iter().enumerate().filter(|(index, _)| !self.dead[*index]);
                    let due = due.filter_map(|(index, node)| Some((node.next_deadline()?, index))).min();
                    let Some((at, node)) = due else { return };
                    self.now = at;
                    (node, Input::Deadline)
                }
            };
            self.step(node, input);
        }
        panic!("it does not end");
    }

    fn step(&mut self, node: usize, input: Input) {
        if self.dead[node] {
            return;
        }
        let mut effects = Vec::new();
        self.nodes[node].step(self.now, input, &mut effects);
        self.nodes[node].view().check().unwrap();
        for effect in effects {
            match effect {
                Effect::Persist { seq, entry } => {
                    self.journals[node].push(entry);
                    self.queue.push_back((node, Input::Persisted(seq)));
                }
                Effect::Send { to, message } => {
                    let from = Node(u8::try_from(node).unwrap());
                    self.queue.push_back((to.index(), Input::Received { from, message: message.into_message() }));
                }
                Effect::Run(run) if self.never_ready && run.step() == Step::StartApi => {
                    self.steps[node].push(run.step());
                    self.trying[node] = Some(run.id());
                }
                Effect::Cancel(run) if self.trying[node] == Some(run) => {
                    self.trying[node] = None;
                    self.queue.push_back((node, Input::Returned { run, outcome: Outcome::Cancelled }));
                }
                Effect::Run(run) => {
                    self.steps[node].push(run.step());
                    if run.step() == Step::Restage {
                        let digest = self.digests[node];
                        self.queue.push_back((node, Input::Observed(Fact::Restaged { digest })));
                    }
                    let outcome =
                        if self.fails == Some((node, run.step())) { Outcome::Failed } else { Outcome::Proved };
                    self.queue.push_back((node, Input::Returned { run: run.id(), outcome }));
                }
                Effect::Leave => self.left[node] = true,
                _ => {}
            }
        }
    }

    /// A node's process is killed, and the next one finds a journal of so many entries.
    fn restart(&mut self, node: usize, entries: usize) {
        let plan = Arc::clone(&self.plan);
        self.journals[node].truncate(entries);
        self.queue.retain(|(to, input)| *to != node || matches!(input, Input::Received { .. }));
        self.queue.push_back((node, Input::Deadline));
        let own = Node(u8::try_from(node).unwrap());
        self.nodes[node] = Participant::new(plan, own, &self.journals[node], true, self.now);
    }

    fn phases(&self) -> Vec<Phase> {
        self.nodes.iter().map(|node| node.view().phase()).collect()
    }
}

fn ended(crew: &Crew) -> bool {
    (0..crew.left.len()).all(|node| crew.left[node] || crew.dead[node])
}

#[test]
fn everyone_commits_and_leaves() {
    for left_out in [&[false][..], &[false; 2], &[false; 3], &[false, true, false], &[false; 5]] {
        let options = PlanOptions { recheck: true, launch_in_turn: left_out.len() == 2, ..PlanOptions::default() };
        let mut crew = Crew::new(left_out, options);
        crew.run(ended);
        for (node, out) in left_out.iter().enumerate() {
            assert!(crew.journals[node].contains(&Entry::Ended { ending: Ending::Restored }), "{:?}", crew.phases());
            let forth = if *out {
                vec![Step::Preflight, Step::StopApi, Step::StopEtcd, Step::Finish]
            } else {
                [&Step::FORTH[..], &Step::ON].concat()
            };
            assert_eq!(crew.steps[node], forth, "{left_out:?} {node}");
        }
        assert!(crew.now < Now(80_000), "{:?}", crew.now);
    }
}

#[test]
fn a_step_that_fails_takes_everyone_back() {
    for step in Step::FORTH {
        for node in 0..3 {
            let mut crew = Crew::new(&[false; 3], PlanOptions::default());
            crew.fails = Some((node, step));
            crew.run(ended);
            let expected = if step == Step::Preflight { Ending::GivenUp } else { Ending::WentBack };
            for journal in &crew.journals {
                assert!(journal.contains(&Entry::Ended { ending: expected }), "{step:?} {node} {journal:?}");
            }
        }
    }
}

#[test]
fn the_coordinator_lost_after_the_votes_blocks_nobody() {
    let mut crew = Crew::new(&[false; 3], PlanOptions::default());
    crew.run(|crew| crew.phases().iter().all(|phase| *phase == Phase::InDoubt));
    crew.dead[0] = true;
    crew.queue.retain(|(_, input)| !matches!(input, Input::Received { message: Message::Accept { .. }, .. }));
    let begun = crew.now;
    crew.run(|crew| crew.nodes[1..].iter().all(|node| node.view().recorded().decision().is_some()));
    let decisions: Vec<_> = crew.nodes[1..].iter().map(|node| node.view().recorded().decision()).collect();
    assert_eq!(decisions, [Some(Decision::Commit); 2]);
    assert!(crew.now.since(begun) <= timers::SELF, "{:?}", crew.now.since(begun));
    crew.run(|crew| crew.phases()[1..].iter().all(|phase| *phase == Phase::Ended));
    // They wait for the lost one until it is heard, or an operator says that it is gone.
    crew.queue.push_back((1, Input::Operator(Operator::Forget)));
    crew.queue.push_back((2, Input::Operator(Operator::Forget)));
    crew.run(ended);
}

#[test]
fn a_node_lost_before_its_vote_takes_everyone_back() {
    let mut crew = Crew::new(&[false; 3], PlanOptions::default());
    crew.run(|crew| crew.steps[2].contains(&Step::StopEtcd));
    crew.dead[2] = true;
    crew.run(ended);
    for journal in &crew.journals[..2] {
        assert!(journal.contains(&Entry::Ended { ending: Ending::WentBack }), "{journal:?}");
    }
}

#[test]
fn what_a_disk_lost_although_it_was_written_is_done_again() {
    for node in 0..3 {
        for length in 2.. {
            let mut crew = Crew::new(&[false; 3], PlanOptions { recheck: true, ..PlanOptions::default() });
            crew.run(|crew| crew.journals[node].len() == length || ended(crew));
            if ended(&crew) {
                assert!(length > 15, "{length}");
                break;
            }
            // It is told to the others.
            let written = |(to, input): &(usize, Input)| *to == node && matches!(input, Input::Persisted(_));
            crew.run(|crew| crew.journals[node].len() > length || !crew.queue.iter().any(written));
            crew.restart(node, length - 1);
            crew.run(ended);
            // That it has begun is known to the coordinator by its first entry alone.
            let ending = if (node, length) == (0, 2) { Ending::GivenUp } else { Ending::Restored };
            let alike = |journal: &Vec<Entry>| journal.contains(&Entry::Ended { ending });
            assert!(crew.journals.iter().all(alike), "{node} {length}: {:?}", crew.journals);
        }
    }
}

fn returning() -> PlanOptions {
    PlanOptions { returns: true, ..PlanOptions::default() }
}

#[test]
fn without_a_ready_api_server_all_are_armed_for_the_way_back() {
    for count in [1, 2, 3] {
        let mut crew = Crew::new(&[false; 3][..count], returning());
        crew.never_ready = true;
        crew.run(ended);
        for (node, journal) in crew.journals.iter().enumerate() {
            assert!(journal.contains(&Entry::Step { step: Step::HandOver, done: true }), "{journal:?}");
            assert!(journal.contains(&Entry::Ended { ending: Ending::Restored }), "{journal:?}");
            assert!(!journal.contains(&Entry::Step { step: Step::StartApi, done: true }), "{journal:?}");
            assert!(crew.nodes[node].view().recorded().handed_over());
        }
        assert!(crew.now < Now(220_000), "{:?}", crew.now);
    }
}

#[test]
fn nobody_is_armed_where_old_data_differs_or_the_plan_does_not_return() {
    let keeps = PlanOptions { keep_unready: true, ..returning() };
    for (options, digest) in [(returning(), 8), (PlanOptions::default(), 7), (keeps, 7)] {
        let mut crew = Crew::new(&[false; 3], options);
        (crew.never_ready, crew.digests[2]) = (true, digest);
        crew.run(|crew| crew.now > Now(600_000));
        assert!(crew.steps.iter().all(|steps| !steps.contains(&Step::HandOver)), "{options:?}");
        assert_eq!(crew.steps[0].contains(&Step::Restage), digest == 8, "{options:?}");
    }
}

#[test]
fn a_node_that_cannot_be_armed_starts_its_api_server_again_and_is_never_armed() {
    let mut crew = Crew::new(&[false; 3], returning());
    (crew.never_ready, crew.fails) = (true, Some((2, Step::HandOver)));
    crew.run(|crew| crew.now > Now(900_000));
    assert!(crew.left[0] && crew.left[1] && !crew.left[2]);
    let steps = &crew.steps[2];
    assert_eq!(steps.iter().filter(|step| **step == Step::HandOver).count(), 1, "{steps:?}");
    assert_eq!(steps.last(), Some(&Step::StartApi));
    assert!(crew.journals[2].contains(&Entry::Stays));
}
