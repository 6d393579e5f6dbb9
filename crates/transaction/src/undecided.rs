//! What a node writes down before it knows a decision.

use crate::entry::{Entry, Why};
use crate::input::{Now, Outcome};
use crate::participant::{Participant, Rule};
use crate::plan::Node;
use crate::steps::Step;
use crate::timers;

impl Participant {
    /// The next entry of an undecided node, the most urgent first.
    pub(crate) fn undecided_entry(&mut self) -> Option<Entry> {
        self.look_at_doubt();
        if let Some((nodes, epoch)) = self.inbox.exclude.take().filter(|(_, epoch)| *epoch > self.recorded().epoch) {
            self.leading = None;
            self.takeover.since = self.now;
            return Some(Entry::Excluded { nodes, epoch });
        }
        if let Some(entry) = self.known_decision() {
            return Some(entry);
        }
        if let Some(component) = self.inbox.intruder.take() {
            return Some(Entry::Intruded { component });
        }
        if self.recorded().vote.is_none() {
            if let Some(why) = self.why_no() {
                return Some(Entry::Vote { yes: false, why: Some(why) });
            }
            if let Some(entry) = self.proved() {
                return Some(entry);
            }
        } else if self.breaks(Rule::AbortsInDoubt) && self.now.since(self.takeover.since) >= timers::LOST {
            return Some(Entry::Decided { decision: crate::Decision::Abort, how: crate::How::Operator });
        }
        if self.breaks(Rule::ApiBeforeDecision)
            && self.recorded().vote == Some(true)
            && !self.recorded().begun.contains(Step::StartApi)
        {
            return Some(Entry::Step { step: Step::StartApi, done: false });
        }
        if let Some(entry) = self.obedience() {
            return Some(entry);
        }
        if let Some(entry) = self.proposal() {
            return Some(entry);
        }
        self.begins_step()
    }

    /// A step that was proved.
    fn proved(&mut self) -> Option<Entry> {
        if let Some((step, outcome)) = self.runner.finished.take() {
            self.inbox.order = None;
            // What failed has made the node vote no. What was cancelled belongs to a vote as well.
            return match (step, outcome) {
                (Step::StartEtcd, Outcome::Proved) => Some(Entry::Vote { yes: true, why: None }),
                (Step::LaunchEtcd, Outcome::Proved) if self.breaks(Rule::VoteAtLaunch) => {
                    Some(Entry::Vote { yes: true, why: None })
                }
                (step, Outcome::Proved) => Some(Entry::Step { step, done: true }),
                (step, _) => Some(Entry::Vote { yes: false, why: Some(Why::Failed { step }) }),
            };
        }
        if self.breaks(Rule::VoteBeforeProof) && self.recorded().begun.contains(Step::StartEtcd) {
            return Some(Entry::Vote { yes: true, why: None });
        }
        // A node that gets no member has nothing to start: it votes when it has stopped.
        let stopped = !self.serves() && self.recorded().done.contains(Step::StopEtcd);
        if stopped && self.inbox.order == Some(Step::StartEtcd) {
            self.inbox.order = None;
            return Some(Entry::Vote { yes: true, why: None });
        }
        None
    }

    /// Why this node, which has not voted, votes no.
    fn why_no(&self) -> Option<Why> {
        let recorded = self.recorded();
        let idle = recorded.begun.is_empty();
        if self.inbox.dismiss && idle {
            return Some(Why::Dismissed);
        }
        if !self.identity && self.plan.count() > 1 && !self.breaks(Rule::IdentityLost) {
            return Some(Why::IdentityLost);
        }
        if let Some((step, outcome)) = self.runner.finished
            && outcome != Outcome::Proved
        {
            return Some(Why::Failed { step });
        }
        if let Some(step) = self.runner.over_limit(self.now) {
            return Some(Why::TookTooLong { step });
        }
        if let Some(component) = self.inbox.other_manifest {
            return Some(Why::OtherManifest { component });
        }
        if idle && self.began.is_none() {
            return (self.now.since(self.started) >= timers::BEGIN).then_some(Why::NeverBegun);
        }
        if let Some(node) = recorded.excluded.iter().next() {
            return Some(Why::Lost { node });
        }
        if self.is_coordinator() {
            let lost = self.others().iter().find(|&node| self.is_lost(node)).map(|node| Why::Lost { node });
            return lost.or_else(|| self.does_not_hear());
        }
        let progress = self.peer(self.plan.coordinator()).progress;
        (self.now.since(progress) >= timers::SELF).then_some(Why::Silent)
    }

    /// On the coordinator: nodes have passed their preflight for longer than that may take, and some do not hear each other.
    fn does_not_hear(&self) -> Option<Why> {
        let limit = self.plan.limits().of(Step::Preflight);
        let late = self.now.since(self.began.unwrap_or(self.started)) >= limit;
        if !late || self.recorded().begun.contains(Step::StopApi) {
            return None;
        }
        self.first_unheard().map(|(by, node)| Why::Unheard { by, node })
    }

    /// Two nodes of which one does not hear the other.
    pub(crate) fn first_unheard(&self) -> Option<(Node, Node)> {
        if let Some(node) = self.unheard().iter().next() {
            return Some((self.own, node));
        }
        self.others().iter().find_map(|by| Some((by, self.state_of(by)?.unheard.iter().next()?)))
    }

    /// The moments at which this node votes no if nothing happens.
    pub(crate) fn patience(&self, at: &mut impl FnMut(Now)) {
        let recorded = self.recorded();
        if recorded.decision.is_some() {
            return;
        }
        let waits = recorded.vote.is_none();
        if waits && recorded.begun.is_empty() && self.began.is_none() {
            at(self.started.after(timers::BEGIN));
        }
        if self.plan.count() == 1 {
            return;
        }
        if self.is_coordinator() {
            self.others().iter().for_each(|node| at(self.peer(node).progress.after(timers::LOST)));
            at(self.began.unwrap_or(self.started).after(self.plan.limits().of(Step::Preflight)));
        } else if waits && !recorded.begun.is_empty() {
            at(self.peer(self.plan.coordinator()).progress.after(timers::SELF));
        }
    }

    /// The step that was ordered, if it is the next one.
    fn begins_step(&mut self) -> Option<Entry> {
        let recorded = self.recorded();
        let step = self.due()?;
        let next = recorded.vote.is_none() && self.runner.is_free();
        let written = recorded.begun.contains(step) || (!self.serves() && step == Step::StartEtcd);
        if !next || written {
            return None;
        }
        if step == Step::Preflight {
            // Until now nothing was awaited of the coordinator.
            let (now, coordinator) = (self.now, self.plan.coordinator());
            self.peers[coordinator.index()].progress = now;
        }
        Some(Entry::Step { step, done: false })
    }

    /// The step before the vote that is due: the first one that is not done, if that or a later one was ordered. A later one is ordered only if
    /// a disk has lost the end of the journal after it said that it had it: then all nodes are that far, and the step is done again.
    pub(crate) fn due(&self) -> Option<Step> {
        let order = self.inbox.order.filter(|order| order.is_forth())?;
        self.next_forth().filter(|&next| next <= order)
    }

    /// The first step before the vote that this node has not done.
    pub(crate) fn next_forth(&self) -> Option<Step> {
        let recorded = self.recorded();
        let concerns = |step: &Step| self.plan.concerns(self.own, *step);
        Step::FORTH.into_iter().filter(concerns).find(|&step| !recorded.done.contains(step))
    }
}
