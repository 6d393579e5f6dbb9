//! Orders of an operator that a participant does not take.

use crate::entry::Decision;
use crate::input::Operator;
use crate::journal::Phase;
use crate::participant::Participant;
use crate::plan::NodeSet;

/// Why an order of an operator would change nothing, although it is not carried out already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The journal contradicts the protocol: the participant does nothing.
    Contradiction,
    /// [`Operator::Begin`] is for the coordinator.
    NotCoordinator,
    /// [`Operator::Dismiss`], and a step was begun.
    Begun,
    /// [`Operator::Decided`], and something else is decided.
    DecidedOtherwise,
    /// [`Operator::Decided`], commit, and this node has not voted yes: no journal can say so.
    HasNotVoted,
    /// [`Operator::Exclude`] names this node, or has an epoch that is not new.
    NotNew,
    /// [`Operator::Forget`], and this node is not done: it is in doubt, goes back, or has components to start.
    NotEnded,
}

impl Participant {
    /// Why an order would not be taken now. One that is carried out already is no error.
    pub(crate) fn refusal(&self, order: Operator) -> Option<Refusal> {
        let recorded = self.recorded();
        let phase = self.phase();
        if phase == Phase::Contradiction {
            return Some(Refusal::Contradiction);
        }
        let (taken, refusal) = match order {
            Operator::Begin => (self.is_coordinator(), Refusal::NotCoordinator),
            Operator::Dismiss => {
                let given_up = recorded.begun.is_empty() || recorded.decision == Some(Decision::Abort);
                (given_up, Refusal::Begun)
            }
            Operator::Decided { decision } => {
                let known = recorded.decision.or(self.inbox.decided.map(|(decision, _)| decision));
                if known.is_some_and(|known| known != decision) {
                    return Some(Refusal::DecidedOtherwise);
                }
                (decision == Decision::Abort || recorded.vote == Some(true), Refusal::HasNotVoted)
            }
            Operator::Exclude { nodes, epoch } => {
                let waiting = self.inbox.exclude.unwrap_or((recorded.excluded, recorded.epoch));
                let newer = epoch > waiting.1 || (nodes, epoch) == waiting;
                let is_other = nodes.without(NodeSet::of(self.own)) == nodes;
                // Whoever knows the decision needs no quorum.
                (is_other && (newer || recorded.decision.is_some()), Refusal::NotNew)
            }
            Operator::AllEnded => (true, Refusal::NotEnded),
            Operator::Forget => {
                let unready = phase == Phase::Committed && self.runner.unready;
                let waits = !self.awaited().is_empty() || self.runner.gives_up_others;
                (phase == Phase::Ended || unready || waits, Refusal::NotEnded)
            }
        };
        (!taken).then_some(refusal)
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use super::*;
    use crate::entry::{Ending, Entry, How};
    use crate::input::{Input, Now};
    use crate::plan::{Node, Plan, PlanOptions};
    use crate::steps::{Limits, Step};

    const OWN: Node = Node(1);
    const YES: Entry = Entry::Vote { yes: true, why: None };
    const NO: Entry = Entry::Vote { yes: false, why: None };

    fn decided(decision: Decision) -> Entry {
        Entry::Decided { decision, how: How::Operator }
    }

    /// A node, which is not the coordinator, with these entries besides the first.
    fn node(entries: &[Entry]) -> Participant {
        let plan = Plan::new(&[false; 3], Node(0), Limits::default(), PlanOptions::default()).unwrap();
        let entries: Vec<Entry> = [&[Entry::Armed], entries].concat();
        Participant::new(Arc::new(plan), OWN, &entries, true, Now(0))
    }

    fn begun(more: &[Entry]) -> Participant {
        node(&[&[Entry::Step { step: Step::Preflight, done: false }], more].concat())
    }

    /// Gives an order, and says whether the refusal told the truth: what is refused, or carried out already, changes nothing.
    fn give(mut node: Participant, order: Operator) -> (Option<Refusal>, Option<Entry>) {
        let refusal = node.refusal(order);
        let mut effects = Vec::new();
        node.step(Now(1), Input::Operator(order), &mut effects);
        let mut written = effects.into_iter().filter_map(|effect| match effect {
            crate::Effect::Persist { entry, .. } => Some(entry),
            _ => None,
        });
        (refusal, written.next())
    }

    #[test]
    fn a_decision_is_taken_unless_another_one_is_known_or_it_is_impossible() {
        let order = |decision| Operator::Decided { decision };
        let how = How::Operator;
        for (entries, decision, refused, written) in [
            (&[YES][..], Decision::Commit, None, Some(Decision::Commit)),
            (&[YES], Decision::Abort, None, Some(Decision::Abort)),
            (&[], Decision::Abort, None, Some(Decision::Abort)),
            (&[], Decision::Commit, Some(Refusal::HasNotVoted), None),
            (&[NO], Decision::Commit, Some(Refusal::DecidedOtherwise), None),
            (&[YES, decided(Decision::Abort)], Decision::Commit, Some(Refusal::DecidedOtherwise), None),
            (&[YES, decided(Decision::Commit)], Decision::Abort, Some(Refusal::DecidedOtherwise), None),
        ] {
            let (refusal, entry) = give(begun(entries), order(decision));
            assert_eq!(refusal, refused, "{entries:?}, {decision:?}");
            let decisions = entry.filter(|entry| matches!(entry, Entry::Decided { .. }));
            assert_eq!(
                decisions,
                written.map(|decision| Entry::Decided { decision, how }),
                "{entries:?}, {decision:?}"
            );
        }
        // Told twice before the disk has it.
        let mut told = begun(&[YES]);
        told.step(Now(1), Input::Operator(order(Decision::Commit)), &mut Vec::new());
        assert_eq!(told.refusal(order(Decision::Commit)), None);
        assert_eq!(told.refusal(order(Decision::Abort)), Some(Refusal::DecidedOtherwise));
        assert_eq!(begun(&[YES, decided(Decision::Commit)]).refusal(order(Decision::Commit)), None);
    }

    #[test]
    fn nodes_are_excluded_in_an_epoch_that_is_new_and_never_the_node_itself() {
        let order = |nodes, epoch| Operator::Exclude { nodes, epoch };
        let gone = NodeSet::of(Node(0));
        let both = gone.union(NodeSet::of(Node(2)));
        let excluded = [YES, Entry::Excluded { nodes: gone, epoch: 2 }];
        for (entries, nodes, epoch, refused) in [
            (&[YES][..], gone, 1, None),
            (&[YES], NodeSet::of(OWN), 1, Some(Refusal::NotNew)),
            (&[YES], gone.union(NodeSet::of(OWN)), 1, Some(Refusal::NotNew)),
            (&excluded, both, 3, None),
            (&excluded, both, 2, Some(Refusal::NotNew)),
            (&excluded, both, 1, Some(Refusal::NotNew)),
        ] {
            let (refusal, entry) = give(begun(entries), order(nodes, epoch));
            assert_eq!(refusal, refused, "{entries:?}, {nodes:?}, {epoch}");
            let written = refused.is_none().then_some(Entry::Excluded { nodes, epoch });
            assert_eq!(entry.filter(|entry| matches!(entry, Entry::Excluded { .. })), written, "{entries:?}, {epoch}");
        }
        // What is carried out already is no error.
        assert_eq!(begun(&excluded).refusal(order(gone, 2)), None);
        assert_eq!(begun(&[YES, decided(Decision::Commit)]).refusal(order(gone, 0)), None);
    }

    #[test]
    fn only_what_was_not_begun_is_dismissed_and_only_the_coordinator_begins() {
        let no = |entry: Option<Entry>| matches!(entry, Some(Entry::Vote { yes: false, .. }));
        let (refusal, entry) = give(node(&[]), Operator::Dismiss);
        assert!(refusal.is_none() && no(entry));
        let (refusal, entry) = give(begun(&[]), Operator::Dismiss);
        assert!(refusal == Some(Refusal::Begun) && !no(entry), "{entry:?}");
        assert_eq!(begun(&[NO]).refusal(Operator::Dismiss), None);
        assert_eq!(begun(&[YES, decided(Decision::Commit)]).refusal(Operator::Dismiss), Some(Refusal::Begun));
        assert_eq!(node(&[]).refusal(Operator::Begin), Some(Refusal::NotCoordinator));
        let plan = Plan::new(&[false; 3], OWN, Limits::default(), PlanOptions::default()).unwrap();
        let coordinator = Participant::new(Arc::new(plan), OWN, &[Entry::Armed], true, Now(0));
        assert_eq!(coordinator.refusal(Operator::Begin), None);
    }

    #[test]
    fn only_a_node_that_has_ended_or_waits_for_its_api_server_stops_waiting() {
        let ended = [YES, decided(Decision::Commit), Entry::Ended { ending: Ending::Restored }];
        let (refusal, entry) = give(begun(&ended), Operator::Forget);
        assert_eq!((refusal, entry), (None, Some(Entry::Forgotten)));
        for entries in [&ended[..2], &[YES], &[NO], &[]] {
            let (refusal, entry) = give(begun(entries), Operator::Forget);
            assert_eq!(refusal, Some(Refusal::NotEnded), "{entries:?}");
            assert_ne!(entry, Some(Entry::Forgotten));
        }
        let mut unready = begun(&ended[..2]);
        unready.runner.unready = true;
        assert_eq!(unready.refusal(Operator::Forget), None);
        let (refusal, entry) = give(begun(&ended), Operator::AllEnded);
        assert_eq!((refusal, entry), (None, Some(Entry::AllEnded)));
        // A journal that contradicts itself takes nothing.
        let contradicts = begun(&[decided(Decision::Commit)]);
        for order in [Operator::Forget, Operator::AllEnded, Operator::Dismiss] {
            assert_eq!(contradicts.refusal(order), Some(Refusal::Contradiction));
        }
    }
}
