//! One try of one step at a time.

use alloc::vec::Vec;

use crate::effect::{Effect, How, Notice, Run};
use crate::entry::{Decision, Ending, Entry};
use crate::input::{Millis, Now, Outcome, RunId};
use crate::journal::Phase;
use crate::message::State;
use crate::participant::{Participant, Rule};
use crate::plan::{Node, NodeSet};
use crate::steps::Step;
use crate::timers;

/// What is being tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runner {
    current: Option<Current>,
    /// What has returned, until it is written down.
    pub(crate) finished: Option<(Step, Outcome)>,
    next: u32,
    /// When a step after the decision is tried again.
    retry_at: Option<Now>,
    failed: Option<(Step, u32)>,
    /// When the API server was first started.
    api_since: Option<Now>,
    /// After commit: the API server did not become ready in time.
    pub(crate) unready: bool,
    /// An operator does not wait for it.
    pub(crate) gives_up_api: bool,
    /// An operator says that no etcd runs on new data any more where this node has not heard of it.
    pub(crate) gives_up_others: bool,
    /// What the way back needs could not be built.
    pub(crate) refuses: bool,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    id: RunId,
    step: Step,
    since: Now,
    limit: Millis,
    cancelled: Option<Now>,
}

impl Runner {
    /// Takes the return of a try. Those of a former try are none.
    pub(crate) fn returned(&mut self, run: RunId, outcome: Outcome, believes_any: bool) {
        if let Some(current) = self.current.filter(|current| current.id == run || believes_any) {
            self.current = None;
            self.finished = Some((current.step, outcome));
        }
    }

    /// Whether nothing is being tried, and nothing waits to be written down.
    pub(crate) fn is_free(&self) -> bool {
        self.current.is_none() && self.finished.is_none()
    }

    /// The step that takes too long.
    pub(crate) fn over_limit(&self, now: Now) -> Option<Step> {
        self.current.filter(|current| now.since(current.since) >= current.limit).map(|current| current.step)
    }

    pub(crate) fn deadlines(&self, at: &mut impl FnMut(Now)) {
        if let Some(current) = &self.current {
            match current.cancelled {
                Some(cancelled) => at(cancelled.after(timers::HANGS)),
                None => at(current.since.after(current.limit)),
            }
        }
        self.retry_at.into_iter().for_each(&mut *at);
    }

    /// A process that was paused has not worked.
    pub(crate) fn forgive(&mut self, late: Millis) {
        if let Some(current) = &mut self.current {
            current.since = current.since.after(late);
        }
    }
}

impl Participant {
    /// After the decision: the entry that a try leads to, or that begins the next step, or the end.
    pub(crate) fn entry_of_run(&mut self, effects: &mut Vec<Effect>) -> Option<Entry> {
        let commits = self.recorded().decision == Some(Decision::Commit);
        if let Some(component) = self.inbox.intruder.take().filter(|_| !commits) {
            return Some(Entry::Intruded { component });
        }
        if core::mem::take(&mut self.inbox.served_above) && !self.recorded().served_above {
            return Some(Entry::ServedAbove);
        }
        if let Some((step, outcome)) = self.runner.finished.take() {
            if step.is_turn() {
                if let Some(entry) = self.entry_of_turn(step, outcome, effects) {
                    return Some(entry);
                }
            // What belongs to the time before the decision is not recorded any more: it is undone, or was done.
            } else if !step.is_forth() {
                // An API server that has its manifest may stay unready. One that has none would never start.
                let unready = step == Step::StartApi && outcome == Outcome::Unready;
                let keeps = unready && (self.plan.options().keep_unready || self.runner.gives_up_api);
                if outcome == Outcome::Proved || keeps {
                    (self.runner.failed, self.runner.retry_at) = (None, None);
                    self.runner.unready &= outcome != Outcome::Proved;
                    return Some(Entry::Step { step, done: true });
                }
                self.try_again(step, effects);
            } else if self.breaks(Rule::DoneAfterAbort) && outcome == Outcome::Proved {
                return Some(match step {
                    Step::StartEtcd => Entry::Vote { yes: true, why: None },
                    step => Entry::Step { step, done: true },
                });
            }
        }
        // Whatever was cancelled may still take effect until it has returned.
        if !self.runner.is_free() && !self.breaks(Rule::UndoBeforeReturn) {
            return None;
        }
        match self.next_after_decision() {
            None => Some(Entry::Ended { ending: self.ending() }),
            Some(step) if !self.recorded().begun.contains(step) && self.may_begin(step) => {
                Some(Entry::Step { step, done: false })
            }
            Some(_) => None,
        }
    }

    fn ending(&self) -> Ending {
        let recorded = self.recorded();
        match recorded.decision {
            Some(Decision::Commit) => Ending::Restored,
            _ if recorded.begun.contains(Step::StopApi) => Ending::WentBack,
            _ => Ending::GivenUp,
        }
    }

    fn try_again(&mut self, step: Step, effects: &mut Vec<Effect>) {
        let times = self.runner.failed.filter(|(failed, _)| *failed == step).map_or(1, |(_, times)| times + 1);
        self.runner.failed = Some((step, times));
        self.runner.retry_at = Some(self.now.after(timers::RETRY));
        // Often enough to be seen, seldom enough for a journal.
        if times.is_power_of_two() {
            self.tell_once(Notice::TriesAgain { step, times }, effects);
        }
    }

    /// The first step after the decision that is not done.
    fn next_after_decision(&self) -> Option<Step> {
        let recorded = self.recorded();
        if recorded.handed_over() && !self.breaks(Rule::GoesOnAfterHandOver) {
            return None;
        }
        if let Some(step) = self.turn_due() {
            return Some(step);
        }
        let steps: &[Step] = match recorded.decision? {
            Decision::Commit => &Step::ON,
            Decision::Abort if recorded.begun.contains(Step::StopApi) => &Step::BACK,
            // Nothing was touched.
            Decision::Abort => &[],
        };
        let concerns = |step: &Step| self.plan.concerns(self.own, *step);
        steps.iter().copied().filter(concerns).find(|&step| !recorded.done.contains(step))
    }

    fn may_begin(&self, step: Step) -> bool {
        match step {
            Step::Recheck => self.may_recheck(),
            Step::UndoStart => self.awaited().is_empty(),
            _ => true,
        }
    }

    /// On a node without etcd, after abort: the nodes that its API server waits for. It may go to the member of any node: no quorum of these may still run on
    /// the new data, and none may have a revision that is yet to be raised above what clients have seen. A node that is lost is not waited for where that
    /// leaves the new data without a quorum: the others have raised the revision.
    pub(crate) fn awaited(&self) -> NodeSet {
        let waits = self.phase() == Phase::Aborting
            && self.plan.is_without_etcd(self.own)
            && self.recorded().begun.contains(Step::StopApi)
            && !self.recorded().begun.contains(Step::UndoStart)
            && !self.runner.gives_up_others
            && !self.breaks(Rule::ApiBesideNewData);
        let (mut awaited, mut lost) = (NodeSet::EMPTY, NodeSet::EMPTY);
        let serving = self.plan.serving();
        for node in self.others().iter().filter(|&node| waits && serving.contains(node)) {
            let state = self.state_of(node);
            let is_back = |state: &State| state.ended || state.done.contains(Step::UndoStart);
            let has_old_data = |state: &State| state.done.contains(Step::UndoSwap);
            match state {
                Some(state) if is_back(state) || self.is_lost(node) && has_old_data(state) => {}
                _ if self.is_lost(node) => lost.insert(node),
                _ => awaited.insert(node),
            }
        }
        let is_quorum = 2 * lost.len() > serving.len();
        if is_quorum { awaited.union(lost) } else { awaited }
    }

    /// One member after the other is restarted, in the order of the plan. A node that is lost is not waited for: whether a quorum serves
    /// is looked at by the step itself.
    fn may_recheck(&self) -> bool {
        let serving = self.plan.serving();
        let passed = |node: Node| {
            self.is_lost(node)
                || self
                    .state_of(node)
                    .is_some_and(|state| state.ended || state.unready || state.done.contains(Step::Recheck))
        };
        let ready = |node: Node| {
            self.is_lost(node)
                || self
                    .state_of(node)
                    .is_some_and(|state| state.done.contains(Step::Finish) || state.unready || state.ended)
        };
        let others = || self.others().iter().filter(|&node| serving.contains(node));
        others().filter(|&node| node < self.own).all(passed) && others().all(ready)
    }

    /// Starts and cancels tries.
    pub(crate) fn run_steps(&mut self, effects: &mut Vec<Effect>) {
        self.look_at_api(effects);
        self.cancel_what_ended(effects);
        if !self.runner.is_free() && !self.breaks(Rule::UndoBeforeReturn)
            || self.runner.retry_at.is_some_and(|at| self.now < at || self.breaks(Rule::NeverRetries))
        {
            return;
        }
        // What is being written may be that the step is done, or that nothing more is to be done.
        if self.journal.pending().is_some() {
            return;
        }
        let step = match self.phase() {
            Phase::Armed | Phase::Working => self.due(),
            Phase::Committed | Phase::Aborting => self.next_after_decision(),
            Phase::InDoubt if self.breaks(Rule::ApiBeforeDecision) => Some(Step::StartApi),
            _ => None,
        };
        let hurries = self.breaks(Rule::UndoBeforeReturn);
        let free =
            |step: Step| self.runner.current.is_none_or(|current| hurries && current.step.is_forth() && step.is_back());
        let Some(step) = step.filter(|&step| free(step)) else { return };
        let id = RunId(self.runner.next);
        let limit = self.plan.limits().of(step);
        let resumed = self.begun_before.contains(step) && !self.breaks(Rule::HandOverAgain);
        let how = How { keeps: !self.breaks(Rule::NotKept), resumed };
        if let Some(run) = Run::new(self.recorded(), id, step, limit, how) {
            self.runner.next += 1;
            self.runner.retry_at = None;
            if step == Step::StartApi {
                self.runner.api_since.get_or_insert(self.now);
            }
            self.runner.current = Some(Current { id, step, since: self.now, limit, cancelled: None });
            effects.push(Effect::Run(run));
        }
    }

    /// An API server that is not ready in time is told of, and tried on.
    fn look_at_api(&mut self, effects: &mut Vec<Effect>) {
        // What is being written may be that it is ready.
        let settled = self.journal.pending().is_none();
        let waits = settled && self.phase() == Phase::Committed && !self.recorded().done.contains(Step::StartApi);
        let limit = self.plan.limits().of(Step::StartApi);
        let late = self.runner.api_since.is_some_and(|since| self.now.since(since) >= limit);
        if waits && late && !self.runner.unready {
            self.runner.unready = true;
            self.changed = true;
            self.tell_once(Notice::Unready, effects);
        }
    }

    /// When an API server that was started is late.
    pub(crate) fn api_late_at(&self) -> Option<Now> {
        let waits = self.phase() == Phase::Committed && !self.recorded().done.contains(Step::StartApi);
        let since = self.runner.api_since.filter(|_| waits && !self.runner.unready)?;
        Some(since.after(self.plan.limits().of(Step::StartApi)))
    }

    fn cancel_what_ended(&mut self, effects: &mut Vec<Effect>) {
        let (now, decided) = (self.now, self.recorded().decision.is_some());
        let gives_up = self.runner.gives_up_api || self.turn_due().is_some();
        let Some(current) = &mut self.runner.current else { return };
        let step = current.step;
        let given_up = step == Step::StartApi && gives_up;
        let late = now.since(current.since) >= current.limit || given_up;
        let over = if step.is_forth() { decided } else { late };
        match current.cancelled {
            None if over => {
                current.cancelled = Some(now);
                let id = current.id;
                effects.push(Effect::Cancel(id));
            }
            Some(cancelled) if now.since(cancelled) >= timers::HANGS => self.tell_once(Notice::Hangs { step }, effects),
            _ => {}
        }
    }
}
