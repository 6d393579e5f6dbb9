//! What the entries on the disk add up to, and the one that is being written.

use crate::entry::{Ballot, Decision, Ending, Entry, How};
use crate::input::{Now, Seq};
use crate::message::Votes;
use crate::plan::{Node, NodeSet};
use crate::steps::{Step, StepSet};

/// The sum of the entries that are known to be on the disk. Messages and runs are made of it alone, and only this module makes it: so
/// nothing can be said or done that depends on an entry which is not on the disk yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    pub(crate) vote: Option<bool>,
    pub(crate) begun: StepSet,
    pub(crate) done: StepSet,
    pub(crate) promised: Option<Ballot>,
    pub(crate) accepted: Option<(Ballot, Decision)>,
    pub(crate) decision: Option<Decision>,
    pub(crate) how: Option<How>,
    pub(crate) intruded: bool,
    pub(crate) served_above: bool,
    pub(crate) restaged: Option<u64>,
    pub(crate) stays: bool,
    pub(crate) excluded: NodeSet,
    pub(crate) epoch: u8,
    pub(crate) ended: Option<Ending>,
    pub(crate) all_ended: bool,
    pub(crate) forgotten: bool,
    /// The entries contradict each other.
    pub(crate) contradiction: bool,
}

impl Recorded {
    /// Adds up entries that are on the disk.
    pub fn of(entries: &[Entry]) -> Recorded {
        let mut recorded = Recorded::default();
        entries.iter().for_each(|entry| recorded.add(entry));
        recorded
    }

    fn add(&mut self, entry: &Entry) {
        match *entry {
            Entry::Armed => {}
            Entry::Step { step, done } => {
                let set = if done { &mut self.done } else { &mut self.begun };
                set.insert(step);
            }
            Entry::Vote { yes, .. } => {
                self.contradiction |= self.vote.is_some();
                self.vote = Some(yes);
                if yes {
                    self.done.insert(Step::StartEtcd);
                } else {
                    self.decide(Decision::Abort, None);
                }
            }
            Entry::Promised { ballot } => self.promised = self.promised.max(Some(ballot)),
            Entry::Accepted { ballot, decision } => {
                self.promised = self.promised.max(Some(ballot));
                self.accepted = self.accepted.max(Some((ballot, decision)));
            }
            Entry::Decided { decision, how } => self.decide(decision, Some(how)),
            Entry::Intruded { .. } => self.intruded = true,
            Entry::ServedAbove => self.served_above = true,
            Entry::Restaged { digest } => {
                self.restaged = Some(digest);
                self.done.insert(Step::Restage);
            }
            Entry::Stays => self.stays = true,
            Entry::Excluded { nodes, epoch } => {
                self.excluded = self.excluded.union(nodes);
                self.epoch = self.epoch.max(epoch);
            }
            Entry::Ended { ending } => {
                self.contradiction |= self.decision.is_none();
                self.ended = Some(ending);
            }
            Entry::AllEnded => self.all_ended = true,
            Entry::Forgotten => self.forgotten = true,
        }
    }

    fn decide(&mut self, decision: Decision, how: Option<How>) {
        // No node decides to commit that has not voted yes, and no decision changes.
        self.contradiction |= self.decision.is_some_and(|before| before != decision);
        self.contradiction |= decision == Decision::Commit && self.vote != Some(true);
        self.decision.get_or_insert(decision);
        self.how = self.how.or(how);
    }

    /// The node's own vote.
    pub fn vote(&self) -> Option<bool> {
        self.vote
    }

    /// Steps that were begun.
    pub fn begun(&self) -> StepSet {
        self.begun
    }

    /// Steps that are done and proved.
    pub fn done(&self) -> StepSet {
        self.done
    }

    /// What is decided.
    pub fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// How the decision is known; nothing for a node that voted no.
    pub fn how(&self) -> Option<How> {
        self.how
    }

    /// What was accepted, and in which ballot.
    pub fn accepted(&self) -> Option<(Ballot, Decision)> {
        self.accepted
    }

    /// The highest ballot that was promised to.
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// How it ended here.
    pub fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// Whether it is known to have ended everywhere.
    pub fn all_ended(&self) -> bool {
        self.all_ended
    }

    /// Whether an operator said that the others need not be waited for.
    pub fn forgotten(&self) -> bool {
        self.forgotten
    }

    /// Whether an API server ran on the new data while its manifest was held.
    pub fn intruded(&self) -> bool {
        self.intruded
    }

    /// Whether the node was armed for the way back: this transaction is over on it, and nobody is waited for. All nodes know its decision.
    pub fn handed_over(&self) -> bool {
        self.done.contains(Step::HandOver)
    }

    /// Whether the node may still be armed for the way back: an API server that was ready, or a try that failed, is an end to that.
    pub(crate) fn may_turn(&self) -> bool {
        self.decision == Some(Decision::Commit)
            && !self.done.contains(Step::StartApi)
            && !self.stays
            && self.ended.is_none()
    }

    /// Nodes that an operator said are gone for good, and the epoch of ballots without them.
    pub fn excluded(&self) -> (NodeSet, u8) {
        (self.excluded, self.epoch)
    }

    /// Whether the entries contradict each other. Then nothing may be done.
    pub fn contradicts(&self) -> bool {
        self.contradiction
    }

    /// The phase that the entries say.
    pub fn phase(&self) -> Phase {
        match (self.decision, self.vote, self.ended) {
            _ if self.contradiction => Phase::Contradiction,
            (.., Some(_)) => Phase::Ended,
            (Some(Decision::Commit), ..) => Phase::Committed,
            (Some(Decision::Abort), ..) => Phase::Aborting,
            (None, Some(_), None) => Phase::InDoubt,
            (None, None, None) if self.begun.is_empty() => Phase::Armed,
            (None, None, None) => Phase::Working,
        }
    }

    /// Whether no node of the plan can be in doubt: none votes yes before all members are launched.
    pub(crate) fn nobody_has_voted_yes(&self, serves: bool) -> bool {
        // All others wait for what a node that gets no member does last.
        let last = if serves { Step::LaunchEtcd } else { Step::StopEtcd };
        !self.done.contains(last)
    }

    /// The votes that a node knows: its own by its journal, the others' by what it heard.
    pub(crate) fn votes(&self, own: Node, heard: Votes) -> Votes {
        let mut votes = heard;
        votes.yes.remove(own);
        votes.no.remove(own);
        match self.vote {
            Some(true) => votes.yes.insert(own),
            Some(false) => votes.no.insert(own),
            None => {}
        }
        votes
    }
}

/// What a node is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing was begun.
    Armed,
    /// At the steps before the vote.
    Working,
    /// It has voted yes, and knows no decision: it undoes nothing, and starts no API server.
    InDoubt,
    /// The new state stays.
    Committed,
    /// It goes back.
    Aborting,
    /// It is over here.
    Ended,
    /// The journal contradicts the protocol.
    Contradiction,
}

/// The journal of a participant: what is on the disk, and at most one entry on its way there.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    recorded: Recorded,
    pending: Option<(Seq, Entry, Now)>,
    next: Seq,
}

impl Journal {
    pub(crate) fn new(entries: &[Entry]) -> Journal {
        Journal { recorded: Recorded::of(entries), pending: None, next: Seq(1) }
    }

    pub(crate) fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Since when an entry has been on its way to the disk.
    pub(crate) fn pending(&self) -> Option<Now> {
        self.pending.map(|(.., since)| since)
    }

    pub(crate) fn write(&mut self, now: Now, entry: Entry) -> Seq {
        debug_assert!(self.pending.is_none(), "one entry at a time");
        let seq = self.next;
        self.next = Seq(seq.0 + 1);
        self.pending = Some((seq, entry, now));
        seq
    }

    /// Takes what is on the disk now; true if that is anything.
    pub(crate) fn persisted(&mut self, up_to: Seq) -> bool {
        match self.pending {
            Some((seq, entry, _)) if seq <= up_to => {
                self.pending = None;
                self.recorded.add(&entry);
                true
            }
            _ => false,
        }
    }

    /// Forgets what was promised.
    #[cfg(feature = "planted")]
    pub(crate) fn forget_promise(&mut self) {
        self.recorded.promised = self.recorded.accepted.map(|(ballot, _)| ballot);
    }

    /// Believes an entry that is not on the disk yet.
    #[cfg(feature = "planted")]
    pub(crate) fn believe(&mut self) {
        if let Some((_, entry, _)) = self.pending {
            self.recorded.add(&entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Why;

    const ABORT: Entry = Entry::Decided { decision: Decision::Abort, how: How::Operator };
    const COMMIT: Entry = Entry::Decided { decision: Decision::Commit, how: How::Operator };

    #[test]
    fn phases_are_what_the_entries_say() {
        let begun = Entry::Step { step: Step::StopApi, done: false };
        let (yes, no) = (Entry::Vote { yes: true, why: None }, Entry::Vote { yes: false, why: Some(Why::Silent) });
        let ended = Entry::Ended { ending: Ending::Restored };
        for (entries, phase) in [
            (&[Entry::Armed][..], Phase::Armed),
            (&[Entry::Armed, begun], Phase::Working),
            (&[Entry::Armed, begun, yes], Phase::InDoubt),
            (&[Entry::Armed, begun, no], Phase::Aborting),
            (&[Entry::Armed, begun, yes, COMMIT], Phase::Committed),
            (&[Entry::Armed, begun, yes, ABORT], Phase::Aborting),
            (&[Entry::Armed, begun, yes, COMMIT, ended], Phase::Ended),
            (&[Entry::Armed, begun, COMMIT], Phase::Contradiction),
            (&[Entry::Armed, begun, yes, COMMIT, ABORT], Phase::Contradiction),
            (&[Entry::Armed, begun, yes, no], Phase::Contradiction),
            (&[Entry::Armed, ended], Phase::Contradiction),
        ] {
            assert_eq!(Recorded::of(entries).phase(), phase, "{entries:?}");
        }
    }

    #[test]
    fn what_is_not_on_the_disk_is_not_recorded() {
        let mut journal = Journal::new(&[Entry::Armed]);
        let seq = journal.write(Now(5), Entry::Vote { yes: true, why: None });
        assert_eq!((journal.recorded().vote(), journal.pending()), (None, Some(Now(5))));
        assert!(!journal.persisted(Seq(seq.0 - 1)) && journal.persisted(seq) && !journal.persisted(seq));
        assert_eq!((journal.recorded().vote(), journal.pending()), (Some(true), None));
    }

    #[test]
    fn everything_that_was_written_is_told() {
        let ballot = Ballot { epoch: 0, round: 2, owner: Node(1) };
        let entries = [
            Entry::Armed,
            Entry::Vote { yes: true, why: None },
            Entry::Accepted { ballot, decision: Decision::Commit },
            COMMIT,
            Entry::Intruded { component: crate::Component::ApiServer },
            Entry::Ended { ending: Ending::Restored },
            Entry::AllEnded,
            Entry::Forgotten,
        ];
        let told = |entries: &[Entry]| {
            let recorded = Recorded::of(entries);
            let flags = [recorded.intruded(), recorded.all_ended(), recorded.forgotten(), recorded.contradicts()];
            (recorded.accepted(), recorded.how(), recorded.ended(), flags)
        };
        let nothing = (None, None, None, [false; 4]);
        let accepted = Some((ballot, Decision::Commit));
        let all = (accepted, Some(How::Operator), Some(Ending::Restored), [true, true, true, false]);
        assert_eq!((told(&entries[..1]), told(&entries)), (nothing, all));
        assert!(told(&[Entry::Armed, COMMIT]).3[3]);
    }

    #[test]
    fn a_node_may_turn_until_its_api_server_was_ready_or_it_stays_or_has_ended() {
        let entries = [Entry::Armed, Entry::Vote { yes: true, why: None }, COMMIT];
        let may = |more: &[Entry]| Recorded::of(&[&entries[..], more].concat()).may_turn();
        assert!(may(&[]) && may(&[Entry::Step { step: Step::StartApi, done: false }]));
        let ready = Entry::Step { step: Step::StartApi, done: true };
        for end in [ready, Entry::Stays, Entry::Ended { ending: Ending::Restored }] {
            assert!(!may(&[end]), "{end:?}");
        }
        assert!(!Recorded::of(&entries[..2]).may_turn());
    }

    #[test]
    fn each_entry_has_a_number_of_its_own() {
        let mut journal = Journal::new(&[Entry::Armed]);
        let numbers = [1, 2, 3].map(|_| {
            let seq = journal.write(Now(0), Entry::AllEnded);
            assert!(journal.persisted(seq));
            seq.0
        });
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn the_highest_ballot_counts_whatever_the_order() {
        let ballot = |round| Ballot { epoch: 0, round, owner: Node(1) };
        let accepted = Entry::Accepted { ballot: ballot(2), decision: Decision::Abort };
        let recorded = Recorded::of(&[Entry::Promised { ballot: ballot(3) }, accepted]);
        assert_eq!(recorded.promised(), Some(ballot(3)));
        let recorded = Recorded::of(&[Entry::Promised { ballot: ballot(1) }, accepted]);
        assert_eq!(recorded.promised(), Some(ballot(2)));
    }
}
