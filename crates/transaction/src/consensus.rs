//! The one decision: single-decree Paxos over the journals of the participants.

use alloc::vec::Vec;

use crate::effect::Effect;
use crate::entry::{Ballot, Decision, Entry, How};
use crate::input::{Millis, Now};
use crate::journal::Phase;
use crate::message::{Outgoing, Votes};
use crate::participant::{Participant, Rule};
use crate::plan::{Node, NodeSet};
use crate::timers;

/// A ballot that this process leads. A process that is started again begins another one.
#[derive(Debug, Clone)]
pub(crate) struct Leading {
    pub(crate) ballot: Ballot,
    /// Who promised, and what they had accepted.
    promises: Vec<(Node, Option<(Ballot, Decision)>)>,
    /// Whether `Prepare` was sent at all.
    sent: bool,
}

/// When this node takes over.
#[derive(Debug, Clone)]
pub(crate) struct Takeover {
    /// Since when nothing was heard of another one's ballot.
    pub(crate) since: Now,
    /// Since when the node is in doubt.
    pub(crate) doubt: Now,
    /// Own ballots that failed in a row.
    tries: u32,
    /// The highest round that was seen.
    round: u32,
    /// Whether the node was in doubt when it was last looked at, and whether it knew all votes.
    in_doubt: bool,
    knew_all: bool,
    /// Whether another one's ballot was obeyed since this node led one.
    obeyed: bool,
    /// The value that was sent last, so that it is sent at once when it changes.
    accept_sent: Option<(Ballot, Decision)>,
}

impl Takeover {
    pub(crate) fn new(now: Now) -> Takeover {
        Takeover {
            since: now,
            doubt: now,
            tries: 0,
            round: 0,
            in_doubt: false,
            knew_all: false,
            obeyed: false,
            accept_sent: None,
        }
    }

    /// Remembers a ballot, to be above it with an own one.
    pub(crate) fn see(&mut self, ballot: Ballot) {
        self.round = self.round.max(ballot.round);
    }
}

impl Participant {
    /// The coordinator's first ballot. Phase 1 is not needed: no lower ballot exists.
    fn ballot_zero(&self) -> Ballot {
        Ballot { epoch: 0, round: 0, owner: self.plan.coordinator() }
    }

    /// Whether nodes are a quorum for a ballot: in an epoch above 0 that is every node that is not gone for good.
    pub(crate) fn is_quorum(&self, ballot: Ballot, nodes: NodeSet) -> bool {
        let (excluded, epoch) = self.recorded().excluded();
        if ballot.epoch == 0 {
            if self.breaks(Rule::Half) {
                return nodes.len() * 2 >= self.plan.count();
            }
            return self.plan.is_quorum(nodes);
        }
        ballot.epoch == epoch && nodes.includes(self.plan.all().without(excluded))
    }

    fn all_voted_yes(&self) -> bool {
        let yes = self.votes().yes;
        if self.breaks(Rule::QuorumOfVotes) {
            return self.plan.is_quorum(yes);
        }
        if self.breaks(Rule::WithoutOneVote) {
            return yes.len() + 1 >= self.plan.count();
        }
        yes.includes(self.plan.all())
    }

    /// The value that a quorum has accepted at one ballot, as far as this node knows. What was accepted stays so, however old the news is.
    pub(crate) fn chosen(&self) -> Option<(Decision, Ballot)> {
        let own = self.recorded().accepted.map(|accepted| (self.own, accepted));
        let others = self.plan.nodes().filter(|&node| node != self.own);
        let others = others.filter_map(|node| Some((node, self.state_of(node)?.accepted?)));
        let all: Vec<(Node, (Ballot, Decision))> = own.into_iter().chain(others).collect();
        all.iter().find_map(|&(_, (ballot, decision))| {
            let mut nodes = NodeSet::EMPTY;
            all.iter().filter(|(_, (other, _))| *other == ballot).for_each(|(node, _)| nodes.insert(*node));
            self.is_quorum(ballot, nodes).then_some((decision, ballot))
        })
    }

    /// Whether this node may obey a ballot: one of its own epoch, and not below what it promised.
    fn obeys(&self, ballot: Ballot) -> bool {
        let recorded = self.recorded();
        let promised = recorded.promised.is_none_or(|promised| ballot >= promised) || self.breaks(Rule::LowerBallot);
        ballot.epoch == recorded.epoch && promised
    }

    pub(crate) fn hear_prepare(&mut self, from: Node, ballot: Ballot, effects: &mut Vec<Effect>) {
        if ballot.owner != from {
            return;
        }
        if self.recorded().decision.is_some() && !self.breaks(Rule::DecidedPromises) {
            return self.tell_decision(from, effects);
        }
        self.takeover.see(ballot);
        if ballot.epoch != self.recorded().epoch {
            return;
        }
        if self.recorded().promised.is_none_or(|promised| ballot > promised) {
            self.inbox.prepare = self.inbox.prepare.max(Some(ballot));
        } else if self.recorded().promised == Some(ballot) {
            self.inbox.promise = self.inbox.promise.max(Some(ballot));
        }
    }

    pub(crate) fn hear_promise(
        &mut self,
        from: Node,
        ballot: Ballot,
        accepted: Option<(Ballot, Decision)>,
        votes: Votes,
    ) {
        self.hear_votes(votes);
        if let Some(leading) = self.leading.as_mut().filter(|leading| leading.ballot == ballot)
            && !leading.promises.iter().any(|(node, _)| *node == from)
        {
            leading.promises.push((from, accepted));
        }
    }

    pub(crate) fn hear_accept(&mut self, from: Node, ballot: Ballot, decision: Decision, effects: &mut Vec<Effect>) {
        if ballot.owner != from {
            return;
        }
        if self.recorded().decision.is_some() {
            return self.tell_decision(from, effects);
        }
        self.takeover.see(ballot);
        if self.obeys(ballot) {
            self.inbox.accept = self.inbox.accept.max(Some((ballot, decision)));
        }
    }

    /// A ballot of another node that is due to be obeyed.
    pub(crate) fn obedience(&mut self) -> Option<Entry> {
        let accept = self.inbox.accept.take().filter(|&(ballot, _)| self.obeys(ballot));
        if let Some((ballot, decision)) = accept {
            self.foreign_ballot(ballot);
            if self.recorded().accepted.is_none_or(|(accepted, _)| accepted != ballot) {
                return Some(Entry::Accepted { ballot, decision });
            }
        }
        let prepare = self.inbox.prepare.take().filter(|&ballot| self.obeys(ballot));
        let ballot = prepare.filter(|&ballot| self.recorded().promised.is_none_or(|promised| ballot > promised))?;
        self.foreign_ballot(ballot);
        self.inbox.promise = self.inbox.promise.max(Some(ballot));
        Some(Entry::Promised { ballot })
    }

    /// Another node leads, and lives.
    fn foreign_ballot(&mut self, ballot: Ballot) {
        if self.leading.as_ref().is_some_and(|leading| leading.ballot < ballot) {
            self.leading = None;
        }
        self.takeover.since = self.now;
        self.takeover.tries = 0;
        self.takeover.obeyed = true;
    }

    /// What this node itself proposes.
    pub(crate) fn proposal(&mut self) -> Option<Entry> {
        if self.phase() != Phase::InDoubt || !(self.speaks() || self.plan.count() == 1) {
            return None;
        }
        let (promised, accepted, epoch) = {
            let recorded = self.recorded();
            (recorded.promised, recorded.accepted, recorded.epoch)
        };
        if self.is_coordinator() && epoch == 0 && promised.is_none() && accepted.is_none() {
            let ballot = self.ballot_zero();
            if self.all_voted_yes() {
                return Some(Entry::Accepted { ballot, decision: Decision::Commit });
            }
            let known = self.votes().yes;
            let lost = self.others().iter().any(|node| !known.contains(node) && self.is_lost(node));
            if lost {
                return Some(Entry::Accepted { ballot, decision: Decision::Abort });
            }
        }
        let commits = Some((self.ballot_zero(), Decision::Commit));
        if self.breaks(Rule::OtherValue) && self.is_coordinator() && accepted == commits && !self.all_voted_yes() {
            return Some(Entry::Accepted { ballot: self.ballot_zero(), decision: Decision::Abort });
        }
        if let Some(entry) = self.second_phase() {
            return Some(entry);
        }
        self.take_over()
    }

    /// With the promises of a quorum, the value of the ballot is fixed.
    fn second_phase(&self) -> Option<Entry> {
        let leading = self.leading.as_ref()?;
        let (ballot, recorded) = (leading.ballot, self.recorded());
        if recorded.promised != Some(ballot) || recorded.accepted.is_some_and(|(accepted, _)| accepted >= ballot) {
            return None;
        }
        let mut nodes = NodeSet::of(self.own);
        leading.promises.iter().for_each(|(node, _)| nodes.insert(*node));
        if !self.is_quorum(ballot, nodes) && !self.breaks(Rule::NoPhaseOne) {
            return None;
        }
        let before = leading.promises.iter().filter_map(|(_, accepted)| *accepted).chain(recorded.accepted);
        let highest = before.max_by_key(|(ballot, _)| *ballot).filter(|_| !self.breaks(Rule::ValueIgnored));
        let free = if self.all_voted_yes() { Decision::Commit } else { Decision::Abort };
        Some(Entry::Accepted { ballot, decision: highest.map_or(free, |(_, decision)| decision) })
    }

    /// Begins a ballot of its own when nobody else has led one for long enough.
    fn take_over(&mut self) -> Option<Entry> {
        if self.takeover_at().is_none_or(|at| self.now < at) || self.plan.count() == 1 {
            return None;
        }
        let ballot = self.next_ballot();
        // Without a quorum it would only raise the numbers of ballots.
        if !self.is_quorum(ballot, self.heard()) {
            return None;
        }
        self.leading = Some(Leading { ballot, promises: Vec::new(), sent: false });
        self.takeover.since = self.now;
        self.takeover.tries = self.takeover.tries.saturating_add(1);
        self.takeover.obeyed = false;
        Some(Entry::Promised { ballot })
    }

    /// An own ballot above all that were seen.
    pub(crate) fn next_ballot(&self) -> Ballot {
        let recorded = self.recorded();
        let seen = self.takeover.round.max(recorded.promised.map_or(0, |ballot| ballot.round));
        Ballot { epoch: recorded.epoch, round: seen.saturating_add(1), owner: self.own }
    }

    /// When this node takes over; nothing if it is not in doubt.
    pub(crate) fn takeover_at(&self) -> Option<Now> {
        if self.phase() != Phase::InDoubt || !self.speaks() || self.breaks(Rule::NoTakeover) {
            return None;
        }
        let rank = timers::RANK * self.plan.rank(self.own);
        let takeover = &self.takeover;
        if takeover.tries > 0 {
            let first = timers::TAKE_AGAIN.0 + rank;
            let longer = first.saturating_mul(1 << (takeover.tries - 1).min(6));
            return Some(takeover.since.after(Millis(longer.min(timers::TAKE_MOST.0.max(first)))));
        }
        if takeover.obeyed || self.all_voted_yes() {
            return Some(takeover.since.after(Millis(timers::TAKE.0 + rank)));
        }
        // While nothing was proposed, a coordinator that makes progress waits for the missing votes: it knows when to end that.
        let untouched = self.recorded().promised.is_none();
        if untouched && self.is_coordinator() && self.recorded().epoch == 0 {
            return None;
        }
        let coordinator = self.peer(self.plan.coordinator()).progress;
        let since = if untouched { takeover.since.max(coordinator) } else { takeover.since };
        Some(since.after(Millis(timers::TAKE_UNKNOWN.0 + rank)))
    }

    /// Begins to count when the node comes into doubt, and again when it knows all votes.
    pub(crate) fn look_at_doubt(&mut self) {
        let (in_doubt, knows_all) = (self.phase() == Phase::InDoubt, self.all_voted_yes());
        if in_doubt && (!self.takeover.in_doubt || (knows_all && !self.takeover.knew_all)) {
            self.takeover.since = self.now;
        }
        if in_doubt && !self.takeover.in_doubt {
            self.takeover.doubt = self.now;
        }
        (self.takeover.in_doubt, self.takeover.knew_all) = (in_doubt, knows_all);
    }

    /// Messages of ballots: promises that were made, and what an own ballot needs.
    pub(crate) fn send_ballots(&mut self, beat: bool, effects: &mut Vec<Effect>) {
        if let Some(ballot) = self.inbox.promise {
            if self.recorded().promised == Some(ballot) {
                if let Some(message) = Outgoing::promise(self.recorded(), self.own, ballot, self.heard_votes) {
                    effects.push(Effect::Send { to: ballot.owner, message });
                }
                self.inbox.promise = None;
            } else if self.recorded().promised > Some(ballot) {
                self.inbox.promise = None;
            }
        }
        if self.recorded().decision.is_some() {
            self.leading = None;
            return;
        }
        self.send_prepare(beat, effects);
        self.send_accept(beat, effects);
    }

    fn send_prepare(&mut self, beat: bool, effects: &mut Vec<Effect>) {
        let Some(leading) = &self.leading else { return };
        let Some(message) = Outgoing::prepare(self.recorded(), leading.ballot) else { return };
        if leading.sent && !beat {
            return;
        }
        for to in self.others().iter() {
            if !leading.promises.iter().any(|(node, _)| *node == to) {
                effects.push(Effect::Send { to, message: message.clone() });
            }
        }
        if let Some(leading) = &mut self.leading {
            leading.sent = true;
        }
    }

    fn send_accept(&mut self, beat: bool, effects: &mut Vec<Effect>) {
        let recorded = self.recorded();
        let Some((ballot, decision)) = recorded.accepted.filter(|(ballot, _)| ballot.owner == self.own) else { return };
        // A promise to a higher ballot ends this one. Of a former process, only ballot 0 goes on: it has one value for ever.
        let goes_on = recorded.promised == Some(ballot)
            && (ballot.round == 0 || self.leading.as_ref().is_some_and(|leading| leading.ballot == ballot));
        let fresh = self.takeover.accept_sent != Some((ballot, decision));
        if !goes_on || !(fresh || beat) {
            return;
        }
        if let Some(message) = Outgoing::accept(recorded) {
            for to in self.others().iter() {
                if self.state_of(to).is_none_or(|state| state.accepted.is_none_or(|(theirs, _)| theirs < ballot)) {
                    effects.push(Effect::Send { to, message: message.clone() });
                }
            }
        }
        self.takeover.accept_sent = Some((ballot, decision));
    }

    /// The decision that is known, if it can be recorded: no node commits that has not voted yes.
    pub(crate) fn known_decision(&self) -> Option<Entry> {
        let told = self.inbox.decided;
        let chosen = || self.chosen().map(|(decision, ballot)| (decision, How::Ballot { ballot }));
        let voted_no = || {
            let node = self.votes().no.iter().find(|&node| node != self.own)?;
            Some((Decision::Abort, How::VoteNo { node }))
        };
        let (decision, how) = told.or_else(chosen).or_else(voted_no)?;
        (decision == Decision::Abort || self.recorded().vote == Some(true)).then_some(Entry::Decided { decision, how })
    }
}
