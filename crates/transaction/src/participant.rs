//! One node's state machine: inputs go in, effects come out.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::consensus::{Leading, Takeover};
use crate::effect::{Effect, Notice};
use crate::entry::{Ballot, Decision, Entry, How};
use crate::input::{Component, Fact, Input, Millis, Now, Operator};
use crate::journal::{Journal, Phase, Recorded};
use crate::message::{Answer, Live, Message, Outgoing, State, Votes};
use crate::plan::{Node, NodeSet, Plan};
use crate::runner::Runner;
use crate::steps::{Step, StepSet};
use crate::timers;

/// How long a node may say nothing before it counts as not heard.
const UNHEARD: Millis = Millis(3 * timers::BEAT.0);

/// A node's part in a restore: a pure state machine.
#[derive(Debug, Clone)]
pub struct Participant {
    pub(crate) plan: Arc<Plan>,
    pub(crate) own: Node,
    pub(crate) journal: Journal,
    pub(crate) identity: bool,
    pub(crate) now: Now,
    /// When this process began.
    pub(crate) started: Now,
    pub(crate) peers: Vec<Peer>,
    /// Votes of others that were heard of. A vote is never taken back.
    pub(crate) heard_votes: Votes,
    pub(crate) inbox: Inbox,
    pub(crate) runner: Runner,
    pub(crate) leading: Option<Leading>,
    pub(crate) takeover: Takeover,
    pub(crate) blocked: Option<Now>,
    /// The node with the leader of the old cluster, which is stopped last.
    pub(crate) leader: Option<Node>,
    /// An operator has said to begin.
    pub(crate) begins: bool,
    /// When the coordinator gave its first order.
    pub(crate) began: Option<Now>,
    /// When all nodes had passed the preflight and heard each other.
    pub(crate) passed: Option<Now>,
    next_beat: Now,
    pub(crate) changed: bool,
    guards: bool,
    ended_at: Option<Now>,
    all_ended_at: Option<Now>,
    /// Since when its API server waits for other nodes.
    waits_since: Option<Now>,
    told: Vec<Notice>,
    left: bool,
    /// What an earlier process had begun.
    pub(crate) begun_before: StepSet,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::planted::Planted>,
}

/// What is known of another node. Never stored, and never needed for safety.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// When it was heard last.
    pub(crate) heard: Option<Now>,
    /// When it last showed progress: it was heard, less the time for which its oldest operation had been going on then.
    pub(crate) progress: Now,
    pub(crate) state: Option<State>,
    /// What it was last ordered.
    pub(crate) ordered: Option<Step>,
}

/// What was heard and is not carried out yet, because an entry is on its way to the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    pub(crate) order: Option<Step>,
    pub(crate) prepare: Option<Ballot>,
    pub(crate) promise: Option<Ballot>,
    pub(crate) accept: Option<(Ballot, Decision)>,
    pub(crate) decided: Option<(Decision, How)>,
    pub(crate) intruder: Option<Component>,
    pub(crate) other_manifest: Option<Component>,
    pub(crate) served_above: bool,
    pub(crate) restaged: Option<u64>,
    pub(crate) dismiss: bool,
    pub(crate) exclude: Option<(NodeSet, u8)>,
    pub(crate) all_ended: bool,
    pub(crate) forget: bool,
}

impl Participant {
    /// Goes on where a journal ends. `entries` are known to be on the disk, all of them. `identity` says whether the node can prove to the
    /// others who it is. `own` is a node of the plan. What is due at once is heard by a first [`Input::Deadline`].
    pub fn new(plan: Arc<Plan>, own: Node, entries: &[Entry], identity: bool, now: Now) -> Participant {
        let peer = Peer { progress: now, ..Peer::default() };
        let peers = plan.nodes().map(|_| peer.clone()).collect();
        let journal = Journal::new(entries);
        let begun_before = journal.recorded().begun;
        Participant {
            plan,
            own,
            journal,
            identity,
            now,
            started: now,
            peers,
            heard_votes: Votes::default(),
            inbox: Inbox::default(),
            runner: Runner::default(),
            leading: None,
            takeover: Takeover::new(now),
            blocked: None,
            leader: None,
            begins: false,
            began: None,
            passed: None,
            next_beat: now,
            changed: true,
            guards: false,
            ended_at: None,
            all_ended_at: None,
            waits_since: None,
            told: Vec::new(),
            left: false,
            begun_before,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Takes what happened, and adds to `effects` what is to be done. `now` never goes back.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.forgive_pause(now);
        self.now = self.now.max(now);
        if self.left {
            return;
        }
        if self.phase() != Phase::Contradiction {
            self.take_in(input, effects);
        } else if let Input::Queried { request } = input {
            effects.push(Effect::Answer { request, answer: Answer::default() });
        }
        self.advance(effects);
    }

    /// When [`Input::Deadline`] is due, should nothing happen before. Always later than the last input.
    pub fn next_deadline(&self) -> Option<Now> {
        if self.left || self.phase() == Phase::Contradiction {
            return None;
        }
        let mut next: Option<Now> = None;
        let mut at = |moment: Now| {
            if moment > self.now && next.is_none_or(|next| moment < next) {
                next = Some(moment);
            }
        };
        at(self.next_beat);
        self.patience(&mut at);
        self.takeover_at().into_iter().for_each(&mut at);
        self.runner.deadlines(&mut at);
        self.api_late_at().into_iter().for_each(&mut at);
        self.passed.into_iter().for_each(|passed| at(passed.after(timers::GRACE)));
        self.ended_at.into_iter().for_each(|ended| at(ended.after(timers::LINGER)));
        let parts = self.ended_at.filter(|_| self.recorded().handed_over());
        parts.into_iter().for_each(|ended| at(ended.after(timers::PARTING)));
        self.all_ended_at.into_iter().for_each(|ended| at(ended.after(timers::LEAVE)));
        next
    }

    /// How it is, for whoever shows or checks it.
    pub fn view(&self) -> crate::status::View<'_> {
        crate::status::View::new(self)
    }

    /// Breaks a rule.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: crate::planted::Planted) {
        self.planted = Some(planted);
        if planted == crate::planted::Planted::PromiseForgotten {
            self.journal.forget_promise();
        }
    }

    pub(crate) fn recorded(&self) -> &Recorded {
        self.journal.recorded()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.recorded().phase()
    }

    pub(crate) fn is_coordinator(&self) -> bool {
        self.plan.coordinator() == self.own
    }

    /// Whether it gets a member of the new cluster.
    pub(crate) fn serves(&self) -> bool {
        self.plan.serving().contains(self.own)
    }

    /// Whether it can speak to the others; one alone has nobody to speak to.
    pub(crate) fn speaks(&self) -> bool {
        self.identity && self.plan.count() > 1
    }

    /// The other nodes, without those that are gone for good.
    pub(crate) fn others(&self) -> NodeSet {
        self.plan.all().without(NodeSet::of(self.own)).without(self.recorded().excluded)
    }

    /// The votes that it knows.
    pub(crate) fn votes(&self) -> Votes {
        self.recorded().votes(self.own, self.heard_votes)
    }

    pub(crate) fn peer(&self, node: Node) -> &Peer {
        &self.peers[node.index()]
    }

    pub(crate) fn state_of(&self, node: Node) -> Option<&State> {
        self.peer(node).state.as_ref()
    }

    /// Whether nothing has shown progress of a node for too long.
    pub(crate) fn is_lost(&self, node: Node) -> bool {
        node != self.own && self.now.since(self.peer(node).progress) >= timers::LOST
    }

    /// Nodes that are heard, this one among them.
    pub(crate) fn heard(&self) -> NodeSet {
        self.others().union(NodeSet::of(self.own)).without(self.unheard())
    }

    /// Nodes that are not heard.
    pub(crate) fn unheard(&self) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        for node in self.others().iter() {
            if self.peer(node).heard.is_none_or(|heard| self.now.since(heard) > UNHEARD) {
                set.insert(node);
            }
        }
        set
    }

    /// For how long the oldest write or file operation has been going on.
    pub(crate) fn oldest(&self) -> Millis {
        let since = [self.journal.pending(), self.blocked].into_iter().flatten().min();
        since.map_or(Millis(0), |since| self.now.since(since))
    }

    pub(crate) fn api_is_unready(&self) -> bool {
        self.runner.unready
    }

    /// A process that was paused has not heard silence.
    fn forgive_pause(&mut self, now: Now) {
        let Some(due) = self.next_deadline() else { return };
        let late = now.since(due);
        if late.0 <= 2 * timers::BEAT.0 || self.breaks(Rule::Pause) {
            return;
        }
        let later = |moment: &mut Now| *moment = moment.after(late);
        self.peers.iter_mut().for_each(|peer| {
            later(&mut peer.progress);
            peer.heard.iter_mut().for_each(later);
        });
        later(&mut self.started);
        later(&mut self.takeover.since);
        self.began.iter_mut().for_each(later);
        self.runner.forgive(late);
    }

    fn take_in(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Persisted(seq) => {
                if self.journal.persisted(seq) {
                    self.changed = true;
                }
            }
            Input::Received { from, message } => self.receive(from, message, effects),
            Input::Queried { request } => {
                let answer = Answer { decision: self.recorded().decision };
                effects.push(Effect::Answer { request, answer });
            }
            Input::Answered { from, answer } => {
                if let Some(decision) = answer.decision.filter(|_| self.is_of_plan(from)) {
                    self.learn(decision, How::Told { node: from });
                }
            }
            Input::Returned { run, outcome } => self.runner.returned(run, outcome, self.breaks(Rule::FormerRun)),
            Input::Observed(fact) => self.observe(fact, effects),
            Input::Certificate => {
                if !self.identity {
                    let now = self.now;
                    self.peers.iter_mut().for_each(|peer| peer.progress = now);
                    self.takeover.since = now;
                }
                self.identity = true;
                self.changed = true;
            }
            Input::Operator(order) => self.operate(order),
            Input::Deadline => {}
        }
    }

    fn is_of_plan(&self, node: Node) -> bool {
        self.plan.all().contains(node) && node != self.own && !self.recorded().excluded.contains(node)
    }

    fn receive(&mut self, from: Node, message: Message, effects: &mut Vec<Effect>) {
        if !self.is_of_plan(from) || !self.speaks() {
            return;
        }
        let now = self.now;
        self.peers[from.index()].heard = Some(now);
        let decided = self.recorded().decision.is_some();
        match message {
            Message::State(state) => self.hear_state(from, state, effects),
            Message::Order { step } => {
                if from == self.plan.coordinator() || self.breaks(Rule::AnyMayOrder) {
                    self.inbox.order = self.inbox.order.max(Some(step));
                }
                if decided {
                    self.tell_decision(from, effects);
                }
            }
            Message::Prepare { ballot } => self.hear_prepare(from, ballot, effects),
            Message::Promise { ballot, accepted, votes } => self.hear_promise(from, ballot, accepted, votes),
            Message::Accept { ballot, decision } => self.hear_accept(from, ballot, decision, effects),
            Message::Decided { decision } => self.learn(decision, How::Told { node: from }),
            Message::AllEnded => self.inbox.all_ended = true,
        }
    }

    fn hear_state(&mut self, from: Node, state: State, effects: &mut Vec<Effect>) {
        let now = self.now;
        let shown = if self.breaks(Rule::HungIsAlive) { now } else { now.before(state.oldest) };
        self.hear_votes(state.votes);
        state.accepted.into_iter().for_each(|(ballot, _)| self.takeover.see(ballot));
        if let Some(decision) = state.decision {
            self.learn(decision, How::Told { node: from });
        } else if self.recorded().decision.is_some() {
            self.tell_decision(from, effects);
        }
        if state.all_ended {
            self.inbox.all_ended = true;
        } else if state.ended
            && let Some(message) = Outgoing::all_ended(self.recorded())
        {
            effects.push(Effect::Send { to: from, message });
        }
        let peer = &mut self.peers[from.index()];
        peer.progress = peer.progress.max(shown);
        // States can overtake each other. What is done stays done.
        peer.state = Some(match peer.state.take() {
            Some(before) => State {
                begun: before.begun.union(state.begun),
                done: before.done.union(state.done),
                accepted: before.accepted.max(state.accepted),
                decision: before.decision.or(state.decision),
                ended: before.ended || state.ended,
                restaged: before.restaged.or(state.restaged),
                stays: before.stays || state.stays,
                all_ended: before.all_ended || state.all_ended,
                ..state
            },
            None => state,
        });
    }

    /// Remembers votes. The node's own is what its journal says.
    pub(crate) fn hear_votes(&mut self, votes: Votes) {
        self.heard_votes.yes = self.heard_votes.yes.union(votes.yes);
        self.heard_votes.no = self.heard_votes.no.union(votes.no);
    }

    /// Remembers a decision until the journal can take it.
    pub(crate) fn learn(&mut self, decision: Decision, how: How) {
        // No node commits that has not voted yes: such a claim is no news. It is made to a node whose disk has lost its vote: it does the steps again,
        // which all nodes have done.
        if decision == Decision::Commit && self.recorded().vote.is_none() {
            self.inbox.order = self.inbox.order.max(Some(Step::StartEtcd));
        }
        let possible = decision == Decision::Abort || self.recorded().vote == Some(true);
        if possible && self.recorded().decision.is_none() && self.inbox.decided.is_none() {
            self.inbox.decided = Some((decision, how));
        }
    }

    /// The answer to whatever an undecided node sends.
    pub(crate) fn tell_decision(&mut self, to: Node, effects: &mut Vec<Effect>) {
        if let Some(message) = Outgoing::decided(self.recorded()) {
            effects.push(Effect::Send { to, message });
        }
    }

    fn observe(&mut self, fact: Fact, effects: &mut Vec<Effect>) {
        match fact {
            Fact::Blocked { since } => self.blocked = Some(since),
            Fact::Unblocked => self.blocked = None,
            Fact::Leader(node) => self.leader = Some(node).filter(|&node| self.plan.all().contains(node)),
            Fact::Intruder { component, other_bytes } => {
                effects.push(Effect::Tell(Notice::Intruder { component, other_bytes }));
                let recorded = self.recorded();
                let first = !recorded.intruded && recorded.begun.contains(Step::Swap);
                if component == Component::ApiServer && first {
                    self.inbox.intruder = Some(component);
                }
                if other_bytes {
                    self.inbox.other_manifest = Some(component);
                }
            }
            Fact::ServedAbove => self.inbox.served_above = true,
            Fact::Restaged { digest } => self.inbox.restaged = Some(digest),
        }
    }

    fn operate(&mut self, order: Operator) {
        match order {
            Operator::Begin => self.begins = self.is_coordinator(),
            Operator::Dismiss => self.inbox.dismiss = true,
            Operator::Decided { decision } => self.learn(decision, How::Operator),
            Operator::Exclude { nodes, epoch } => {
                let others = nodes.without(NodeSet::of(self.own));
                let newer = self.inbox.exclude.is_none_or(|(_, waiting)| epoch > waiting);
                if others == nodes && epoch > self.recorded().epoch && newer {
                    self.inbox.exclude = Some((nodes, epoch));
                }
            }
            Operator::AllEnded => self.inbox.all_ended = true,
            Operator::Forget => {
                self.inbox.forget = self.phase() == Phase::Ended;
                self.runner.gives_up_api = self.phase() == Phase::Committed && self.runner.unready;
                self.runner.gives_up_others |= !self.awaited().is_empty();
            }
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        if self.phase() == Phase::Contradiction {
            self.tell_once(Notice::Contradiction, effects);
            return;
        }
        if self.is_coordinator() && self.recorded().vote.is_none() {
            self.order_itself();
        }
        self.order_turn(effects);
        if self.journal.pending().is_none()
            && let Some(entry) = self.next_entry(effects)
        {
            let seq = self.journal.write(self.now, entry);
            #[cfg(feature = "planted")]
            if self.breaks(Rule::ToldBeforeWritten) {
                self.journal.believe();
                self.changed = true;
            }
            effects.push(Effect::Persist { seq, entry });
        }
        // What puts a manifest back is begun after the guard is told to leave it.
        self.guard(effects);
        self.run_steps(effects);
        self.send(effects);
        self.leave(effects);
    }

    /// The entry that is due, if any. One at a time: everything is considered anew once it is on the disk.
    fn next_entry(&mut self, effects: &mut Vec<Effect>) -> Option<Entry> {
        match self.phase() {
            Phase::Contradiction => None,
            Phase::Armed | Phase::Working | Phase::InDoubt => self.undecided_entry(),
            Phase::Committed | Phase::Aborting => self.entry_of_run(effects),
            Phase::Ended => self.ended_entry(),
        }
    }

    fn ended_entry(&mut self) -> Option<Entry> {
        let recorded = self.recorded();
        if !recorded.all_ended && (self.inbox.all_ended || self.all_have_ended()) {
            return Some(Entry::AllEnded);
        }
        // Whoever did not wait for the others does not do so later.
        ((self.inbox.forget || self.runner.gives_up_others) && !recorded.forgotten).then_some(Entry::Forgotten)
    }

    fn all_have_ended(&self) -> bool {
        let others = self.plan.all().without(NodeSet::of(self.own));
        // Also those that an operator says are gone for good: nobody knows whether they have.
        others.iter().all(|node| self.state_of(node).is_some_and(|state| state.ended))
    }

    fn guard(&mut self, effects: &mut Vec<Effect>) {
        let recorded = self.recorded();
        let on = recorded.begun.contains(Step::StopApi)
            && recorded.decision != Some(Decision::Commit)
            // What is not put back yet is held, and may have to wait until the revision is raised.
            && !recorded.done.contains(Step::UndoStart)
            && recorded.ended.is_none();
        if on != self.guards {
            self.guards = on;
            effects.push(Effect::Guard { on });
        }
    }

    fn send(&mut self, effects: &mut Vec<Effect>) {
        let beat = self.now >= self.next_beat;
        if beat {
            self.next_beat = self.now.after(timers::BEAT);
        }
        if self.plan.count() == 1 {
            return;
        }
        if !self.identity {
            if beat && self.recorded().decision.is_none() {
                self.others().iter().for_each(|to| effects.push(Effect::Ask { to }));
                self.tell_once(Notice::Asks, effects);
            }
            if beat {
                self.tell_of_others(effects);
            }
            return;
        }
        if beat || self.changed {
            self.changed = false;
            let live = Live {
                oldest: self.oldest(),
                unheard: self.unheard(),
                unready: self.api_is_unready(),
                turns: self.turns(),
            };
            let message = Outgoing::state(self.recorded(), self.own, self.heard_votes, live);
            for to in self.others().iter() {
                effects.push(Effect::Send { to, message: message.clone() });
            }
        }
        self.send_orders(beat, effects);
        self.send_ballots(beat, effects);
        if beat {
            self.tell_of_others(effects);
        }
    }

    /// What a person should know of the others.
    fn tell_of_others(&mut self, effects: &mut Vec<Effect>) {
        let (phase, unheard) = (self.phase(), self.unheard());
        if phase == Phase::InDoubt {
            let heard = self.heard();
            let alone =
                !self.is_quorum(self.next_ballot(), heard) && self.now.since(self.takeover.doubt) >= timers::LOST;
            if alone {
                self.tell_once(Notice::InDoubt { heard }, effects);
            }
        }
        if matches!(phase, Phase::Working | Phase::InDoubt) {
            for node in unheard.iter().filter(|&node| self.is_lost(node)).collect::<Vec<_>>() {
                self.tell_once(Notice::Unheard { node }, effects);
            }
        }
        let awaited = self.awaited();
        if awaited.is_empty() {
            self.waits_since = None;
        } else if self.now.since(*self.waits_since.get_or_insert(self.now)) >= timers::LOST {
            self.tell_once(Notice::ApiWaits { nodes: awaited }, effects);
        }
        if phase == Phase::Ended && !self.recorded().all_ended {
            let ended = |node: Node| self.state_of(node).is_some_and(|state| state.ended);
            let mut nodes = self.others();
            self.others().iter().filter(|&node| ended(node)).for_each(|node| nodes.remove(node));
            if self.ended_at.is_some_and(|ended| self.now.since(ended) >= timers::LEAVE) {
                self.tell_once(Notice::WaitsFor { nodes }, effects);
            }
        }
    }

    /// Tells something that was not told by this process before.
    pub(crate) fn tell_once(&mut self, notice: Notice, effects: &mut Vec<Effect>) {
        if !self.told.contains(&notice) {
            self.told.push(notice);
            effects.push(Effect::Tell(notice));
        }
    }

    /// Ends the participation once nobody needs this node any more.
    fn leave(&mut self, effects: &mut Vec<Effect>) {
        let recorded = self.recorded();
        if recorded.ended.is_none() || self.journal.pending().is_some() {
            return;
        }
        let (all_ended, forgotten, handed_over) = (recorded.all_ended, recorded.forgotten, recorded.handed_over());
        let nobody_asks = recorded.nobody_has_voted_yes(self.serves());
        let ended = *self.ended_at.get_or_insert(self.now);
        let lingered = self.now.since(ended) >= timers::LINGER || self.plan.count() == 1;
        let everyone_knows = self.others().iter().all(|node| self.state_of(node).is_some_and(|state| state.all_ended));
        let early = self.breaks(Rule::LeavesEarly);
        let over = if handed_over {
            // The way back is another transaction's, which says to the others that it is there.
            let know = self
                .others()
                .iter()
                .all(|node| self.state_of(node).is_some_and(|state| state.done.contains(Step::HandOver)));
            know || self.now.since(ended) >= timers::PARTING
        } else if all_ended {
            let known = *self.all_ended_at.get_or_insert(self.now);
            lingered && (everyone_knows || self.now.since(known) >= timers::LEAVE)
        } else {
            // Nobody can be in doubt. Whoever is away goes back alone, and is not waited for.
            let is_over = |node: Node| self.state_of(node).is_some_and(|state| state.ended);
            let away = self.now.since(ended) >= timers::LEAVE;
            // But a node without etcd is told that this one has gone back.
            let waits = |node: Node| self.plan.is_without_etcd(node);
            let settled =
                self.others().iter().all(|node| is_over(node) || (away && self.is_lost(node) && !waits(node)));
            lingered && ((nobody_asks && settled) || early)
        };
        if over || forgotten {
            self.left = true;
            effects.push(Effect::Leave);
        }
    }
}

/// Rules that can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "asked for only where faults are planted"))]
pub(crate) enum Rule {
    Pause,
    FormerRun,
    AnyMayOrder,
    HungIsAlive,
    ToldBeforeWritten,
    LeavesEarly,
    Half,
    LowerBallot,
    ValueIgnored,
    WithoutOneVote,
    QuorumOfVotes,
    VoteBeforeProof,
    VoteAtLaunch,
    AbortsInDoubt,
    UndoBeforeReturn,
    DoneAfterAbort,
    NoPhaseOne,
    OtherValue,
    DecidedPromises,
    ApiBeforeDecision,
    NeverRetries,
    NoTakeover,
    IdentityLost,
    BarrierSkipped,
    NotKept,
    ReadyIgnored,
    OldDataDiffers,
    GoesOnAfterHandOver,
    HandOverAgain,
    ApiBesideNewData,
}

impl Participant {
    /// Whether a rule is broken on purpose: never, but for the tests of the simulator.
    #[cfg(not(feature = "planted"))]
    #[allow(clippy::unused_self, reason = "as with planted faults")]
    pub(crate) fn breaks(&self, _rule: Rule) -> bool {
        false
    }

    /// Whether a rule is broken on purpose.
    #[cfg(feature = "planted")]
    pub(crate) fn breaks(&self, rule: Rule) -> bool {
        use crate::planted::Planted as P;
        let planted = match rule {
            Rule::Pause => P::SilenceCountedOverPause,
            Rule::FormerRun => P::FormerRunBelieved,
            Rule::AnyMayOrder => P::AnyNodeMayOrder,
            Rule::HungIsAlive => P::HungNodeIsAlive,
            Rule::ToldBeforeWritten => P::ToldBeforeWritten,
            Rule::LeavesEarly => P::LeavesBeforeAllEnded,
            Rule::Half => P::HalfIsAQuorum,
            Rule::LowerBallot => P::LowerBallotAccepted,
            Rule::ValueIgnored => P::AcceptedValueIgnored,
            Rule::WithoutOneVote => P::CommitWithoutOneVote,
            Rule::QuorumOfVotes => P::CommitByAQuorumOfVotes,
            Rule::VoteBeforeProof => P::VoteBeforeProof,
            Rule::VoteAtLaunch => P::VoteAtLaunch,
            Rule::AbortsInDoubt => P::AbortsAfterVoteByItself,
            Rule::UndoBeforeReturn => P::UndoBeforeReturn,
            Rule::DoneAfterAbort => P::StepRecordedAfterAbort,
            Rule::NoPhaseOne => P::NoPhaseOne,
            Rule::OtherValue => P::OtherValueInSameBallot,
            Rule::DecidedPromises => P::DecidedNodePromises,
            Rule::ApiBeforeDecision => P::ApiBeforeDecision,
            Rule::NeverRetries => P::NeverRetries,
            Rule::NoTakeover => P::NoTakeover,
            Rule::IdentityLost => P::IdentityLostIgnored,
            Rule::BarrierSkipped => P::BarrierSkipped,
            Rule::NotKept => P::NewDataNotKept,
            Rule::ReadyIgnored => P::ReadyApiServerIgnored,
            Rule::OldDataDiffers => P::OldDataThatDiffersIgnored,
            Rule::GoesOnAfterHandOver => P::GoesOnAfterHandOver,
            Rule::HandOverAgain => P::HandOverBegunAnew,
            Rule::ApiBesideNewData => P::ApiServerBesideNewData,
        };
        self.planted == Some(planted)
    }
}
