//! What must hold. All of it is taken from the world, and nothing from what a participant thinks.

use etcd_transaction::{Answer, Ballot, Decision, Entry, Message, Node, NodeSet, Notice, Phase, Plan, Run, Step};

use super::disk::{Data, Place};
use super::marks::Mark;
use super::world::{Host, Unready, World};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Two clusters serve at once, or an API server shows what is not decided.
    OneClusterServes,
    /// At rest, some nodes are old and some are new.
    NeverMixed,
    /// There is one decision: of a quorum, or of a vote no.
    DecidedOnce,
    /// It is decided to commit without all votes yes.
    AllVotedYes,
    /// A vote yes is the proof that the member serves the new data.
    VoteIsProof,
    /// Ballots: promises are kept, and an owner has those of a quorum.
    Ballots,
    /// Nothing is removed that somebody may want back, and each directory is in one place.
    NothingLost,
    /// A revision that a client has seen does not fall.
    RevisionsDoNotFall,
    /// Nothing is done or said before it is on the disk.
    WrittenBefore,
    /// Steps come in order: all nodes have done one before any begins the next; after the decision, only what belongs to it.
    StepsInOrder,
    /// Nothing begins while something that was cancelled can still take effect.
    OneStepAtATime,
    /// A node stays until nobody can need it.
    StaysWhileNeeded,
    /// It ends, or says what a person has to do.
    ItEnds,
    /// Writes that were acknowledged are there, or are kept.
    AcknowledgedWrites,
    /// A node that hangs keeps the others waiting no longer than a bound.
    BoundedDelay,
    /// A short pause costs its own length, and nothing else; without faults everything commits.
    Patience,
    /// A participant agrees with itself.
    AgreesWithItself,
    /// Nodes go back by themselves only if no API server was ready on the new data.
    NeverReady,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When, in milliseconds.
    pub at: u64,
    /// Which rule.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

/// What one journal's kept lines add up to: counted here once more, and apart.
#[derive(Debug, Clone, Default)]
struct Kept {
    vote: Option<bool>,
    begun: u16,
    done: u16,
    promised: Option<Ballot>,
    accepted: Option<(Ballot, Decision)>,
    decision: Option<Decision>,
    ended: bool,
    all_ended: bool,
    forgotten: bool,
    epoch: u8,
    /// StartEtcd was seen to be proved.
    proved: bool,
    /// etcd ran on the new data.
    ran: bool,
    /// The new data took an acknowledged write.
    wrote: bool,
    /// The highest revision that a client saw here.
    seen: u64,
    /// What it has built for the way back.
    restaged: Option<u64>,
    /// It goes on with the new data.
    stays: bool,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Checker {
    /// Of which transaction.
    turn: usize,
    nodes: Vec<Kept>,
    coordinator: Node,
    plan: Plan,
    yes: NodeSet,
    no: NodeSet,
    promises: Vec<(Ballot, NodeSet, Told)>,
    accepts: Vec<(Ballot, Decision, NodeSet)>,
    chosen: Option<Decision>,
    decided: [NodeSet; 2],
    excluded: NodeSet,
    epoch: u8,
    ordered_ended: bool,
    /// The first rule that was broken.
    pub failure: Option<Failure>,
}

/// What those who promised had accepted: who had accepted nothing, and the values.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    none: NodeSet,
    values: [bool; 2],
}

fn bit(step: Step) -> u16 {
    1 << step as u16
}

const STEPS: [Step; 14] = [
    Step::Preflight,
    Step::StopApi,
    Step::StopEtcd,
    Step::Swap,
    Step::LaunchEtcd,
    Step::StartEtcd,
    Step::StartApi,
    Step::Finish,
    Step::Recheck,
    Step::Restage,
    Step::HandOver,
    Step::UndoStop,
    Step::UndoSwap,
    Step::UndoStart,
];

/// The decision that journals prove: one of them has it, or has voted no, or a quorum has accepted in one ballot.
pub fn decision_in<'a, I: Iterator<Item = (Node, &'a [Entry])>>(
    plan: &Plan,
    journals: impl Fn() -> I,
) -> Option<Decision> {
    let mut accepts: Vec<(Ballot, Decision, NodeSet)> = Vec::new();
    for (node, entries) in journals() {
        for entry in entries {
            match *entry {
                Entry::Decided { decision, .. } => return Some(decision),
                Entry::Vote { yes: false, .. } => return Some(Decision::Abort),
                Entry::Accepted { ballot, decision } => match accepts.iter_mut().find(|(other, ..)| *other == ballot) {
                    Some((.., nodes)) => nodes.insert(node),
                    None => accepts.push((ballot, decision, NodeSet::of(node))),
                },
                _ => {}
            }
        }
    }
    let quorum = |(ballot, _, nodes): &&(Ballot, Decision, NodeSet)| ballot.epoch == 0 && plan.is_quorum(*nodes);
    accepts.iter().find(quorum).map(|(_, decision, _)| *decision)
}

impl Checker {
    /// Nothing was seen yet.
    pub fn new(plan: &Plan, turn: usize) -> Checker {
        Checker {
            turn,
            nodes: vec![Kept::default(); plan.count()],
            coordinator: plan.coordinator(),
            plan: plan.clone(),
            yes: NodeSet::EMPTY,
            no: NodeSet::EMPTY,
            promises: Vec::new(),
            accepts: Vec::new(),
            chosen: None,
            decided: [NodeSet::EMPTY; 2],
            excluded: NodeSet::EMPTY,
            epoch: 0,
            ordered_ended: false,
            failure: None,
        }
    }

    /// Notes a broken rule: the first one counts.
    pub fn fail(&mut self, at: u64, invariant: Invariant, what: String) {
        if self.failure.is_none() {
            self.failure = Some(Failure { at, invariant, what });
        }
    }

    fn must(&mut self, at: u64, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(at, invariant, what());
        }
    }

    /// What a node's journal says is decided.
    pub fn decision(&self, node: Node) -> Option<Decision> {
        self.nodes[node.index()].decision
    }

    /// Whether it is over on a node.
    pub fn ended(&self, node: Node) -> bool {
        self.nodes[node.index()].ended
    }

    /// The epoch of ballots.
    pub fn epoch(&self) -> u8 {
        self.epoch
    }

    /// The epoch of a node's journal.
    pub fn epoch_of(&self, node: Node) -> u8 {
        self.nodes[node.index()].epoch
    }

    /// Whether a node's new data took writes.
    pub fn took_writes(&self, node: Node) -> bool {
        self.nodes[node.index()].wrote
    }

    fn is_decided(&self, decision: Decision) -> bool {
        let deciders = self.decided[decision as usize].without(self.excluded);
        !deciders.is_empty()
    }

    /// The decision that somebody has, if nobody excluded it.
    fn known(&self) -> Option<Decision> {
        [Decision::Commit, Decision::Abort].into_iter().find(|&decision| self.is_decided(decision))
    }

    /// A line is kept from now on. `stopped` says that neither etcd nor an API server runs on the node.
    pub fn kept(&mut self, at: u64, gone: NodeSet, node: Node, entry: Entry, stopped: bool) {
        let index = node.index();
        match entry {
            Entry::Armed | Entry::Intruded { .. } | Entry::ServedAbove => {}
            Entry::Restaged { digest } => {
                let kept = &mut self.nodes[index];
                let begun = kept.begun & bit(Step::Restage) != 0;
                kept.done |= bit(Step::Restage);
                kept.restaged = Some(digest);
                self.must(at, begun, Invariant::WrittenBefore, || format!("{node} ends Restage and never began"));
            }
            Entry::Stays => {
                let kept = &mut self.nodes[index];
                kept.stays = true;
                let fine = kept.begun & bit(Step::HandOver) != 0 && kept.done & bit(Step::HandOver) == 0;
                self.must(at, fine, Invariant::StepsInOrder, || format!("{node} stays, and is armed for the way back"));
            }
            Entry::Step { step, done } => {
                let kept = &mut self.nodes[index];
                let free = kept.vote.is_none() && kept.decision.is_none();
                let begun = kept.begun & bit(step) != 0;
                if done {
                    kept.done |= bit(step);
                } else {
                    kept.begun |= bit(step);
                }
                self.must(at, free || !step.is_forth(), Invariant::StepsInOrder, || {
                    format!("{node} writes down {step:?} after a vote or a decision")
                });
                let both = bit(Step::HandOver) | bit(Step::StartApi);
                let ready = self.nodes[index].done & both == both;
                self.must(at, !ready, Invariant::NeverReady, || {
                    format!("{node} is armed for the way back, and its API server was ready")
                });
                let decision = self.nodes[index].decision;
                let fits = match decision {
                    Some(Decision::Commit) => !step.is_back(),
                    Some(Decision::Abort) => step.is_back() || step.is_forth(),
                    None => step.is_forth(),
                };
                self.must(at, fits, Invariant::StepsInOrder, || {
                    format!("{node} writes down {step:?}; it is decided {decision:?}")
                });
                self.must(at, !done || begun, Invariant::WrittenBefore, || {
                    format!("{node} ends {step:?} and never began")
                });
            }
            Entry::Vote { yes, .. } => self.voted(at, node, yes, stopped),
            Entry::Promised { ballot } => {
                let kept = &mut self.nodes[index];
                let higher = kept.promised < Some(ballot) && kept.decision.is_none();
                kept.promised = kept.promised.max(Some(ballot));
                self.must(at, higher, Invariant::Ballots, || {
                    format!("{node} promises {ballot:?} below another promise")
                });
                let accepted = self.nodes[index].accepted;
                if !self.promises.iter().any(|(other, ..)| *other == ballot) {
                    self.promises.push((ballot, NodeSet::EMPTY, Told::default()));
                }
                if let Some((_, nodes, told)) = self.promises.iter_mut().find(|(other, ..)| *other == ballot) {
                    nodes.insert(node);
                    match accepted {
                        Some((_, value)) => told.values[value as usize] = true,
                        None => told.none.insert(node),
                    }
                }
            }
            Entry::Accepted { ballot, decision } => self.accepted(at, node, ballot, decision),
            Entry::Decided { decision, .. } => self.decide(at, gone, node, decision),
            Entry::Excluded { nodes, epoch } => {
                let kept = &mut self.nodes[index];
                kept.epoch = epoch;
                if epoch > self.epoch {
                    self.epoch = epoch;
                    self.excluded = self.excluded.union(nodes);
                    self.chosen = self.known();
                }
            }
            Entry::Ended { .. } => {
                let kept = &mut self.nodes[index];
                kept.ended = true;
                let steps: &[Step] = match kept.decision {
                    _ if kept.done & bit(Step::HandOver) != 0 => &[Step::HandOver],
                    Some(Decision::Commit) => &Step::ON,
                    // Whoever has stopped nothing has nothing to undo.
                    _ if kept.begun & bit(Step::StopApi) == 0 => &[],
                    _ => &Step::BACK,
                };
                let missing = steps.iter().find(|&&step| self.plan.concerns(node, step) && kept.done & bit(step) == 0);
                if let Some(missing) = missing {
                    self.fail(at, Invariant::StepsInOrder, format!("{node} has ended without {missing:?}"));
                }
            }
            Entry::AllEnded => {
                self.nodes[index].all_ended = true;
                let all = self.plan.nodes().all(|node| self.excluded.contains(node) || self.nodes[node.index()].ended);
                self.must(at, all, Invariant::StaysWhileNeeded, || format!("{node} says that all have ended"));
            }
            Entry::Forgotten => self.nodes[index].forgotten = true,
        }
    }

    fn voted(&mut self, at: u64, node: Node, yes: bool, stopped: bool) {
        let kept = &mut self.nodes[node.index()];
        let (before, proved, decided) = (kept.vote, kept.proved, kept.decision);
        kept.vote = Some(yes);
        self.must(at, before.is_none(), Invariant::DecidedOnce, || format!("{node} votes twice"));
        self.must(at, decided.is_none(), Invariant::DecidedOnce, || format!("{node} votes after the decision"));
        if yes {
            self.nodes[node.index()].done |= bit(Step::StartEtcd);
            self.yes.insert(node);
            let serves = self.plan.serving().contains(node);
            let proved = if serves { proved } else { stopped || self.ran_intruder(node) };
            self.must(at, proved, Invariant::VoteIsProof, || format!("{node} votes yes without a proof"));
            let launched =
                self.plan.serving().iter().all(|node| self.nodes[node.index()].done & bit(Step::LaunchEtcd) != 0);
            self.must(at, launched, Invariant::VoteIsProof, || format!("{node} votes yes before all are launched"));
        } else {
            self.no.insert(node);
            self.nodes[node.index()].decision = Some(Decision::Abort);
            self.add_decision(at, NodeSet::EMPTY, node, Decision::Abort);
        }
    }

    /// A component of a node that gets no member may be there again at the moment of its vote: that is the guard's business.
    fn ran_intruder(&self, node: Node) -> bool {
        self.nodes[node.index()].done & bit(Step::StopEtcd) != 0
    }

    fn accepted(&mut self, at: u64, node: Node, ballot: Ballot, decision: Decision) {
        let kept = &mut self.nodes[node.index()];
        let (promised, before, decided) = (kept.promised, kept.accepted, kept.decision);
        kept.promised = kept.promised.max(Some(ballot));
        kept.accepted = kept.accepted.max(Some((ballot, decision)));
        self.must(at, promised <= Some(ballot), Invariant::Ballots, || {
            format!("{node} accepts {ballot:?} and has promised {promised:?}")
        });
        self.must(at, decided.is_none(), Invariant::Ballots, || format!("{node} accepts after the decision"));
        self.must(at, before.is_none_or(|(before, _)| before < ballot), Invariant::Ballots, || {
            format!("{node} accepts twice at {ballot:?}")
        });
        if decision == Decision::Commit {
            let yes = self.yes;
            let all = yes.includes(self.plan.all());
            self.must(at, all, Invariant::AllVotedYes, || {
                format!("{node} accepts commit; only {yes:?} have voted yes")
            });
        }
        let quorum = |checker: &Checker, nodes: NodeSet| {
            if ballot.epoch == 0 {
                checker.plan.is_quorum(nodes)
            } else {
                nodes.includes(checker.plan.all().without(checker.excluded))
            }
        };
        if ballot.owner == node && (ballot.round > 0) {
            let promises = self.promises.iter().find(|(other, ..)| *other == ballot);
            let (nodes, told) = promises.map_or((NodeSet::EMPTY, Told::default()), |(_, nodes, told)| (*nodes, *told));
            // Without a quorum of promises of nodes that had accepted nothing, the value is one that somebody had accepted.
            let free = quorum(self, told.none) || !quorum(self, nodes) || told.values[decision as usize];
            self.must(at, free, Invariant::DecidedOnce, || {
                format!("{node} proposes {decision:?} at {ballot:?}, and another value was accepted")
            });
            let fine = quorum(self, nodes);
            self.must(at, fine, Invariant::Ballots, || {
                format!("{node} proposes at {ballot:?} with the promises of {nodes:?}")
            });
        }
        let owners = ballot.round > 0 || ballot.owner == self.coordinator;
        self.must(at, owners, Invariant::Ballots, || format!("{node} accepts ballot 0 of another node"));
        let nodes = match self.accepts.iter_mut().find(|(other, ..)| *other == ballot) {
            Some((_, value, nodes)) => {
                nodes.insert(node);
                let (value, nodes) = (*value, *nodes);
                self.must(at, value == decision, Invariant::DecidedOnce, || format!("two values at {ballot:?}"));
                nodes
            }
            None => {
                self.accepts.push((ballot, decision, NodeSet::of(node)));
                NodeSet::of(node)
            }
        };
        if ballot.epoch == self.epoch && quorum(self, nodes) {
            let other = self.chosen.is_some_and(|chosen| chosen != decision);
            self.must(at, !other, Invariant::DecidedOnce, || format!("a second value is chosen at {ballot:?}"));
            self.chosen = Some(decision);
        }
    }

    fn decide(&mut self, at: u64, gone: NodeSet, node: Node, decision: Decision) {
        let kept = &mut self.nodes[node.index()];
        let before = kept.decision;
        kept.decision = Some(decision);
        let vote = kept.vote;
        self.must(at, before.is_none_or(|before| before == decision), Invariant::DecidedOnce, || {
            format!("{node} decides anew: {decision:?}")
        });
        if decision == Decision::Commit {
            let yes = self.yes;
            let all = yes.includes(self.plan.all()) && vote == Some(true);
            self.must(at, all, Invariant::AllVotedYes, || format!("{node} commits; only {yes:?} have voted yes"));
        }
        let no = decision == Decision::Abort && !self.no.is_empty();
        let proved = no || self.chosen == Some(decision) || self.is_decided(decision);
        self.must(at, proved, Invariant::DecidedOnce, || format!("{node} decides {decision:?}, and nobody knows why"));
        self.add_decision(at, gone, node, decision);
    }

    fn add_decision(&mut self, at: u64, gone: NodeSet, node: Node, decision: Decision) {
        self.decided[decision as usize].insert(node);
        let other = match decision {
            Decision::Commit => Decision::Abort,
            Decision::Abort => Decision::Commit,
        };
        // Of nodes that are gone for good, and without which an operator let the others decide, nobody knows.
        let excused = if self.epoch > 0 { gone.union(self.excluded) } else { NodeSet::EMPTY };
        let others = self.decided[other as usize].without(excused);
        self.must(at, others.is_empty(), Invariant::DecidedOnce, || {
            format!("{node} decides {decision:?}, {others:?} did not")
        });
    }

    /// A message is sent.
    pub fn sends(&mut self, at: u64, node: Node, message: &Message) {
        let kept = &self.nodes[node.index()];
        let fine = match message {
            Message::State(state) => {
                let own = |set: NodeSet, vote: bool| !set.contains(node) || kept.vote == Some(vote);
                let steps = |set: etcd_transaction::StepSet, kept: u16| {
                    STEPS.iter().all(|&step| !set.contains(step) || kept & bit(step) != 0)
                };
                own(state.votes.yes, true)
                    && own(state.votes.no, false)
                    && self.yes.includes(state.votes.yes)
                    && self.no.includes(state.votes.no)
                    && steps(state.begun, kept.begun)
                    && steps(state.done, kept.done)
                    // What came to the disk by somebody else's sync may not be known yet.
                    && (state.accepted.is_none() || state.accepted <= kept.accepted && self.has_accepted(node, state.accepted))
                    && (state.decision.is_none() || state.decision == kept.decision)
                    && (!state.ended || kept.ended)
                    && (!state.all_ended || kept.all_ended)
                    && (state.restaged.is_none() || state.restaged == kept.restaged)
                    && (!state.stays || kept.stays)
            }
            Message::Order { .. } => true,
            Message::Prepare { ballot } => kept.promised >= Some(*ballot),
            Message::Promise { ballot, accepted, votes } => {
                let later = kept.accepted.is_some_and(|(accepted, _)| accepted >= *ballot);
                kept.promised >= Some(*ballot)
                    && (kept.accepted == *accepted || later)
                    && (kept.decision.is_none() || later)
                    && self.yes.includes(votes.yes)
                    && self.no.includes(votes.no)
            }
            Message::Accept { ballot, decision } => self.has_accepted(node, Some((*ballot, *decision))),
            Message::Decided { decision } => kept.decision == Some(*decision),
            Message::AllEnded => kept.all_ended,
        };
        self.must(at, fine, Invariant::WrittenBefore, || format!("{node} says what is not on its disk: {message:?}"));
    }

    fn has_accepted(&self, node: Node, accepted: Option<(Ballot, Decision)>) -> bool {
        accepted.is_some_and(|(ballot, decision)| {
            self.accepts
                .iter()
                .any(|(other, value, nodes)| *other == ballot && *value == decision && nodes.contains(node))
        })
    }

    /// A query is answered.
    pub fn answers(&mut self, at: u64, node: Node, answer: Answer) {
        let fine = answer.decision.is_none() || answer.decision == self.nodes[node.index()].decision;
        self.must(at, fine, Invariant::WrittenBefore, || format!("{node} answers {answer:?}"));
    }

    /// A step begins. `busy` says that an earlier one has not returned.
    pub fn runs(&mut self, at: u64, node: Node, plan: &Plan, run: Run, busy: bool) {
        let step = run.step();
        let kept = &self.nodes[node.index()];
        let written = kept.begun & bit(step) != 0;
        let (decision, vote) = (kept.decision, kept.vote);
        let handed_over = kept.done & bit(Step::HandOver) != 0;
        self.must(at, !handed_over, Invariant::StepsInOrder, || {
            format!("{node} begins {step:?}, and is armed for the way back")
        });
        self.must(at, !busy, Invariant::OneStepAtATime, || format!("{node} begins {step:?} beside another step"));
        self.must(at, written, Invariant::WrittenBefore, || {
            format!("{node} begins {step:?}, which is not on its disk")
        });
        let fits = if step.is_forth() {
            decision.is_none() && vote.is_none()
        } else if step.is_back() {
            decision == Some(Decision::Abort)
        } else {
            decision == Some(Decision::Commit)
        };
        self.must(at, fits, Invariant::StepsInOrder, || format!("{node} begins {step:?}; it is decided {decision:?}"));
        let before = Step::FORTH.iter().rev().find(|&&before| before < step && step.is_forth());
        if let Some(&before) = before {
            // Whoever gets no member has nothing to swap and to launch.
            let done = |other: Node| {
                let before = if plan.serving().contains(other) { before } else { before.min(Step::StopEtcd) };
                self.nodes[other.index()].done & bit(before) != 0
            };
            let all = plan.nodes().all(done);
            self.must(at, all, Invariant::StepsInOrder, || {
                format!("{node} begins {step:?} before all have done {before:?}")
            });
        }
    }

    /// A step was seen to be done.
    pub fn proved(&mut self, node: Node, step: Step, serves_new: bool) {
        if step == Step::StartEtcd && serves_new {
            self.nodes[node.index()].proved = true;
        }
    }

    /// A participant leaves.
    pub fn leaves(&mut self, at: u64, node: Node) {
        let kept = &self.nodes[node.index()];
        let fine = kept.ended
            && (kept.all_ended || kept.forgotten || self.yes.is_empty() || kept.done & bit(Step::HandOver) != 0);
        self.must(at, fine, Invariant::StaysWhileNeeded, || format!("{node} leaves although another one may need it"));
    }

    /// etcd runs on data.
    pub fn ran(&mut self, node: Node, data: Data) {
        self.nodes[node.index()].ran |= data == Data::new(self.turn);
    }

    /// A client has written, and was told that it succeeded.
    pub fn client(&mut self, at: u64, node: Node, cluster: Data, revision: u64, members: NodeSet, intruder: bool) {
        let new = cluster == Data::new(self.turn);
        if new {
            members.iter().for_each(|member| self.nodes[member.index()].wrote = true);
        }
        // Clients are the same, whichever transaction is under way.
        if self.turn > 0 && !new {
            return;
        }
        let seen = self.nodes[node.index()].seen;
        self.nodes[node.index()].seen = seen.max(revision);
        self.must(at, revision > seen || self.turn > 0, Invariant::RevisionsDoNotFall, || {
            format!("a client of {node} sees revision {revision} after {seen}")
        });
        if new && !intruder {
            let decided = self.is_decided(Decision::Commit);
            self.must(at, decided, Invariant::OneClusterServes, || {
                format!("{node} shows the new state, which is not decided")
            });
        }
    }

    /// Data is removed.
    pub fn deletes(&mut self, at: u64, node: Node, data: Data) {
        let kept = &self.nodes[node.index()];
        let fine = data == Data::new(self.turn) && !kept.ran && !kept.wrote;
        let invariant = if kept.wrote { Invariant::AcknowledgedWrites } else { Invariant::NothingLost };
        self.must(at, fine, invariant, || format!("{node} removes {data:?} data on which etcd ran"));
    }
}

impl World {
    /// No two clusters serve, and none that is decided against.
    pub fn check_clusters(&mut self) {
        let mut shown = [NodeSet::EMPTY; 3];
        for node in 0..self.hosts.len() {
            let host = &self.hosts[node];
            if host.api && !host.intruder {
                self.shown(node).iter().for_each(|&cluster| shown[cluster as usize].insert(Node(node as u8)));
            }
        }
        let several = shown.iter().filter(|nodes| !nodes.is_empty()).count() > 1;
        let former = (0..2).any(|turn| {
            !shown[Data::old(turn) as usize].is_empty() && self.checkers[turn].is_decided(Decision::Commit)
        });
        if several || former {
            let [old, new, raised] = shown;
            self.fail(
                Invariant::OneClusterServes,
                format!("{old:?} show the old state, {new:?} the new one, {raised:?} that of the way back"),
            );
        }
    }

    /// Each directory is in one place.
    pub fn check_data(&mut self, node: usize) {
        let names = self.hosts[node].data.seen();
        let count = |data| names.find(data).count();
        let used = |turn: usize| {
            let kept = &self.checkers[turn].nodes[node];
            usize::from(kept.ran || kept.wrote)
        };
        let fine = |turn: usize| (used(turn)..=1).contains(&count(Data::new(turn)));
        if self.plan.is_without_etcd(Node(node as u8)) {
            return;
        }
        if count(Data::Old) != 1 || !fine(0) || !fine(1) {
            self.fail(Invariant::NothingLost, format!("n{node} has {names:?}"));
        }
    }

    /// A node has been hanging for as long as the others may wait for it.
    pub fn overdue(&mut self, node: usize, since: u64, coordinator: bool) {
        if self.hosts[node].stuck_until < self.now {
            return;
        }
        let waiting: Vec<usize> = (0..self.hosts.len())
            .filter(|&other| other != node && !self.hosts[other].left)
            .filter(|&other| {
                let kept = &self.checkers[self.hosts[other].turn].nodes[other];
                // In doubt without a quorum, nobody can decide: so it is with two nodes.
                let rest = self.plan.all().without(NodeSet::of(Node(node as u8)));
                let can = kept.vote.is_none() || self.plan.is_quorum(rest);
                can && kept.decision.is_none() && kept.begun & bit(Step::StopApi) != 0
            })
            .collect();
        if !waiting.is_empty() {
            let who = if coordinator { "the coordinator" } else { "a node" };
            self.fail(
                Invariant::BoundedDelay,
                format!("{waiting:?} still wait for n{node}, {who}, which has hung for {} ms", self.now - since),
            );
        }
    }

    /// Whether a node may wait for a person or for others for ever, and says so.
    fn is_excused(&self, host: &Host) -> bool {
        let Some(process) = &host.process else { return false };
        let tries = process.notices.iter().any(|notice| matches!(notice, Notice::TriesAgain { .. } | Notice::Unready));
        let gone = self.gone();
        let few = |of: NodeSet| of.without(gone).len() * 2 <= of.len();
        tries && (few(self.members(Data::Old)) || few(self.members(Data::New)))
    }

    /// At rest.
    pub fn check_end(&mut self) {
        let living: Vec<usize> = (0..self.hosts.len()).filter(|&node| !self.hosts[node].gone).collect();
        let of = |turn: usize| living.iter().map(|&node| self.checkers[turn].nodes[node].decision).collect::<Vec<_>>();
        let (decisions, back) = (of(0), of(1));
        let commits = |decision: &Option<Decision>| *decision == Some(Decision::Commit);
        // One that is not armed for the way back has no part in it, and the others cannot commit it.
        let mixed = back.iter().any(commits) && !back.iter().all(commits);
        if decisions.windows(2).any(|two| two[0] != two[1]) || mixed {
            return self.fail(Invariant::NeverMixed, format!("at rest: {decisions:?}, {back:?}"));
        }
        let committed = decisions.first().is_some_and(commits);
        let turned = back.first().is_some_and(commits);
        let digests: Vec<u64> = living.iter().map(|&node| self.hosts[node].digest).collect();
        if turned && digests.windows(2).any(|two| two[0] != two[1]) {
            self.fail(Invariant::NeverMixed, format!("what they have gone back to differs: {digests:?}"));
        }
        for &node in &living {
            let host = &self.hosts[node];
            let names = host.data.seen();
            let out = self.plan.is_left_out(Node(node as u8));
            let (live, etcd) = match (committed, out) {
                _ if self.plan.is_without_etcd(Node(node as u8)) => (None, None),
                _ if turned => (Some(Data::Raised), Some(Data::Raised)),
                (true, true) => (Some(Data::Old), None),
                (true, false) => (Some(Data::New), Some(Data::New)),
                (false, _) => (Some(Data::Old), Some(Data::Old)),
            };
            // What somebody starts on a node that is left out is theirs, once it is decided.
            let theirs = host.theirs && out && committed;
            let runs = theirs
                || host.kubelet_at.is_some()
                || host.power && host.etcd == etcd && host.api != (committed && out);
            let kept = host.data.unsynced() == 0;
            if names.at(Place::Live) != live {
                self.fail(Invariant::NeverMixed, format!("n{node} at rest: {names:?}"));
            } else if !kept {
                self.fail(Invariant::WrittenBefore, format!("n{node} has ended with names that are not kept"));
            } else if !runs && host.power {
                self.fail(
                    Invariant::NeverMixed,
                    format!("n{node} at rest runs etcd on {:?}, API {}", host.etcd, host.api),
                );
            }
            for (turn, stays) in [committed, turned].into_iter().enumerate() {
                let wrote = self.checkers[turn].nodes[node].wrote && !stays && live.is_some();
                if wrote && self.hosts[node].data.seen().at(Place::kept(turn)).is_none() {
                    self.fail(
                        Invariant::AcknowledgedWrites,
                        format!("n{node} does not have what was written to the new data"),
                    );
                }
            }
        }
        let smooth = self.smooth && self.choices.taken.is_empty();
        let paused = self.special == super::world::Special::OnePause;
        if (smooth || paused) && !committed {
            self.fail(Invariant::Patience, "it did not commit".to_string());
        }
        let same = digests.windows(2).all(|two| two[0] == two[1]);
        let never = matches!(self.unready, Unready::Everywhere | Unready::ForEver) && self.plan.returns();
        if smooth && self.unready != Unready::Late && turned != (never && same) {
            self.fail(Invariant::Patience, format!("it went back by itself: {turned}"));
        }
        self.marks_of_end(committed);
        if turned {
            self.marks.add(Mark::TurnedBack);
        } else if self.hosts.iter().any(|host| host.turn > 0) {
            self.marks.add(Mark::TurnedInVain);
        }
    }

    fn marks_of_end(&mut self, committed: bool) {
        self.marks.add(if committed { Mark::Committed } else { Mark::Aborted });
        if self.smooth && self.choices.taken.is_empty() {
            self.marks.add(Mark::Smooth);
        }
        if self.checkers[0].accepts.iter().any(|(ballot, ..)| ballot.round > 0) {
            self.marks.add(Mark::Takeover);
        }
        let gone = self.gone();
        if !gone.is_empty() {
            self.marks.add(if self.plan.is_quorum(gone) { Mark::MajorityLost } else { Mark::MinorityLost });
        }
    }

    /// It should have ended long ago.
    pub fn bound(&mut self) {
        let waiting: Vec<usize> =
            (0..self.hosts.len()).filter(|&node| !self.hosts[node].gone && !self.hosts[node].left).collect();
        let alone: Vec<usize> = waiting.iter().copied().filter(|&node| !self.is_excused(&self.hosts[node])).collect();
        // Who has ended waits for those that are excused, and so does who restarts members in turn, and an API server that uses their etcd.
        let awaits = |node: usize| {
            let process = self.hosts[node].process.as_ref();
            process.is_some_and(|process| !process.participant.view().awaited().is_empty())
        };
        let ended =
            alone.iter().all(|&node| awaits(node) || matches!(self.phase(node), Some(Phase::Ended | Phase::Committed)));
        if ended && alone.len() < waiting.len() {
            self.marks.add(Mark::Blocked);
            for &node in &waiting {
                self.hosts[node].left = true;
            }
            self.blocked = true;
            return;
        }
        let phases: Vec<_> = waiting.iter().map(|&node| (node, self.phase(node))).collect();
        self.fail(Invariant::ItEnds, format!("these have not ended, and nobody knows what to do: {phases:?}"));
    }
}
