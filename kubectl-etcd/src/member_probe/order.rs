//! Orders as command lines of `etcdctl` 3.4 to 3.7, and what became of one. Pure.

use etcd_members::order::{Verdict, verdict};
use etcd_wire::order::{Order, OrderOutcome};

use crate::output::{Exit, Failed};

/// The flag that limits how long `etcdctl` waits for the end of an order.
pub(super) fn time(order: Order) -> String {
    format!("--command-timeout={}s", order.limit().as_secs())
}

/// Command and arguments.
pub(super) fn words(order: Order) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match order {
        Order::Compact { revision, physical: false } => words(&["compact", &revision.to_string()]),
        Order::Compact { revision, physical: true } => words(&["compact", "--physical", &revision.to_string()]),
        Order::Defragment => words(&["defrag"]),
        // It cannot name an alarm, and disarms all; where another alarm is raised, the rules do not let this order be given.
        Order::DisarmNoSpace => words(&["alarm", "disarm"]),
        Order::RemoveMember { id } => words(&["member", "remove", &format!("{id:x}")]),
        Order::Promote { id } => words(&["member", "promote", &format!("{id:x}")]),
        Order::MoveLeader { id } => words(&["move-leader", &format!("{id:x}")]),
    }
}

/// Why an order was not carried out.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// It was refused, or did not reach etcd.
    Refused(Failed),
    /// The revision is compacted already.
    AlreadyCompacted,
    /// It may have been carried out.
    Unknown(Failed),
}

impl NotDone {
    /// By what `etcdctl` said; `failed` explains it.
    pub(super) fn of(said: &str, failed: Failed) -> NotDone {
        match verdict(said) {
            Verdict::AlreadyCompacted => NotDone::AlreadyCompacted,
            Verdict::Refused => NotDone::Refused(failed),
            Verdict::Unknown => NotDone::Unknown(failed),
        }
    }

    /// By what a sidecar told.
    ///
    /// # Errors
    /// The order was not carried out, or nobody knows.
    pub(crate) fn told(outcome: OrderOutcome) -> Result<(), NotDone> {
        match outcome {
            OrderOutcome::Done => Ok(()),
            OrderOutcome::AlreadyCompacted => Err(NotDone::AlreadyCompacted),
            OrderOutcome::Refused { failure } => Err(NotDone::Refused(failure.into())),
            OrderOutcome::MaybeDone { failure } => Err(NotDone::Unknown(failure.into())),
            OrderOutcome::Unknown => {
                Err(NotDone::Unknown(Failed::plain("the sidecar's answer is one of a later version")))
            }
        }
    }

    /// For people. `doing` is what could not be done.
    pub(crate) fn failed(self, doing: &str) -> Failed {
        let message = format!("cannot {doing}");
        match self {
            NotDone::Refused(failed) => failed.context(message).unchanged(),
            NotDone::AlreadyCompacted => Failed::plain(message).cause("the revision is compacted already").unchanged(),
            NotDone::Unknown(failed) => {
                let failed = Failed { exit: Exit::Changed, ..failed.context(message) };
                failed.effect("it may have been done, or still go on").hint("kubectl etcd status")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::{Failure, FailureCode};

    use super::*;

    #[test]
    fn orders_are_words_of_etcdctl() {
        for (order, line) in [
            (Order::Compact { revision: 7, physical: false }, "compact 7"),
            (Order::Compact { revision: 7, physical: true }, "compact --physical 7"),
            (Order::Defragment, "defrag"),
            (Order::DisarmNoSpace, "alarm disarm"),
            (Order::RemoveMember { id: 0xdead }, "member remove dead"),
            (Order::Promote { id: u64::MAX }, "member promote ffffffffffffffff"),
            (Order::MoveLeader { id: 1 }, "move-leader 1"),
        ] {
            assert_eq!(words(order).join(" "), line);
        }
        assert_eq!(time(Order::Defragment), "--command-timeout=900s");
        assert_eq!(time(Order::DisarmNoSpace), "--command-timeout=20s");
    }

    #[test]
    fn what_etcd_refuses_is_told_from_what_nobody_knows() {
        let refused = "Error: etcdserver: mvcc: required revision is a future revision";
        let failed = NotDone::of(refused, Failed::plain("x")).failed("do it");
        assert_eq!((failed.exit, failed.effects), (Exit::Failed, vec!["nothing was changed".to_owned()]));
        let compacted = NotDone::of("etcdserver: mvcc: required revision has been compacted", Failed::plain("x"));
        assert!(matches!(compacted, NotDone::AlreadyCompacted));
        for said in ["", "Error: context deadline exceeded"] {
            let unknown = NotDone::of(said, Failed::plain("x"));
            assert!(matches!(unknown, NotDone::Unknown(_)), "{said}");
            assert_eq!(unknown.failed("do it").exit, Exit::Changed);
        }
    }

    #[test]
    fn what_a_sidecar_tells_is_the_same() {
        let failure = || Failure::new(FailureCode::Etcd, "x");
        assert!(NotDone::told(OrderOutcome::Done).is_ok());
        let said = |outcome| NotDone::told(outcome).expect_err("not done");
        assert!(matches!(said(OrderOutcome::AlreadyCompacted), NotDone::AlreadyCompacted));
        assert!(matches!(said(OrderOutcome::Refused { failure: failure() }), NotDone::Refused(_)));
        for outcome in [OrderOutcome::MaybeDone { failure: failure() }, OrderOutcome::Unknown] {
            assert!(matches!(said(outcome), NotDone::Unknown(_)));
        }
    }
}
