//! Orders: what changes something at a member or in its cluster, as command lines of `etcdctl` 3.4 to 3.7, and what became of one. Pure.

use std::time::Duration;

use crate::output::{Exit, Failed};

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Removes old versions of keys from the history of all members.
    Compact {
        /// Up to this revision.
        revision: i64,
        /// Whether the member that is asked answers only when it has removed them from its database.
        physical: bool,
    },
    /// Gives what is free in the member's own database back to the file system. The member stands still meanwhile.
    Defragment,
    /// Disarms every alarm of the cluster: `etcdctl` cannot name one.
    DisarmAlarms,
    /// Removes a member from the cluster, by its ID.
    RemoveMember(u64),
    /// Makes a learner a voter, by its ID.
    Promote(u64),
    /// Gives the leadership to a member, by its ID. Only the leader takes it.
    MoveLeader(u64),
}

/// How long a member may take that has no data to move.
const SHORT: Duration = Duration::from_secs(20);
/// A database has 8 GiB at most, and no disk of a control plane is slower than 10 MB a second.
const LONG: Duration = Duration::from_secs(15 * 60);

impl Order {
    /// How long `etcdctl` waits for its end.
    pub(super) fn limit(&self) -> Duration {
        match self {
            Order::Defragment | Order::Compact { physical: true, .. } => LONG,
            _ => SHORT,
        }
    }

    /// The flag for that.
    pub(super) fn time(&self) -> String {
        format!("--command-timeout={}s", self.limit().as_secs())
    }

    /// Command and arguments.
    pub(super) fn words(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Order::Compact { revision, physical: false } => words(&["compact", &revision.to_string()]),
            Order::Compact { revision, physical: true } => words(&["compact", "--physical", &revision.to_string()]),
            Order::Defragment => words(&["defrag"]),
            Order::DisarmAlarms => words(&["alarm", "disarm"]),
            Order::RemoveMember(id) => words(&["member", "remove", &format!("{id:x}")]),
            Order::Promote(id) => words(&["member", "promote", &format!("{id:x}")]),
            Order::MoveLeader(id) => words(&["move-leader", &format!("{id:x}")]),
        }
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

/// What etcd says when it refuses an order (etcd api/v3rpc/rpctypes/error.go, 3.4 to 3.7), and what `etcdctl` says when it has not sent it.
const REFUSALS: [&str; 16] = [
    "required revision is a future revision",
    "member not found",
    "can only promote a learner member",
    "not enough started members",
    "unhealthy cluster",
    "bad leader transferee",
    "not leader",
    "no leader endpoint given",
    "corrupt cluster",
    "no leader",
    "permission denied",
    "not capable",
    "connection refused",
    "bad certificate",
    "unknown authority",
    "no such file or directory",
];

impl NotDone {
    /// By what was said; `failed` explains it.
    pub(super) fn of(said: &str, failed: Failed) -> NotDone {
        if said.contains("required revision has been compacted") {
            return NotDone::AlreadyCompacted;
        }
        // A request that broke off says so beside what came before.
        let broke_off = ["DeadlineExceeded", "deadline exceeded", "timed out", "leader changed"];
        let is_sent = broke_off.iter().any(|text| said.contains(text)) && !said.contains("connection refused");
        match REFUSALS.iter().any(|text| said.contains(text)) && !is_sent {
            true => NotDone::Refused(failed),
            false => NotDone::Unknown(failed),
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
    use super::*;

    #[test]
    fn orders_are_words_of_etcdctl() {
        for (order, line) in [
            (Order::Compact { revision: 7, physical: false }, "compact 7"),
            (Order::Compact { revision: 7, physical: true }, "compact --physical 7"),
            (Order::Defragment, "defrag"),
            (Order::DisarmAlarms, "alarm disarm"),
            (Order::RemoveMember(0xdead), "member remove dead"),
            (Order::Promote(u64::MAX), "member promote ffffffffffffffff"),
            (Order::MoveLeader(1), "move-leader 1"),
        ] {
            assert_eq!(order.words().join(" "), line);
        }
        assert_eq!(Order::Defragment.time(), "--command-timeout=900s");
        assert_eq!(Order::DisarmAlarms.time(), "--command-timeout=20s");
    }

    #[test]
    fn what_etcd_refuses_is_told_from_what_nobody_knows() {
        let of = |said: &str| NotDone::of(said, Failed::plain("x"));
        for said in [
            "Error: etcdserver: mvcc: required revision is a future revision",
            "Error: etcdserver: can only promote a learner member which is in sync with leader",
            "no leader endpoint given at [https://127.0.0.1:2379]",
            "context deadline exceeded: dial tcp 127.0.0.1:2379: connect: connection refused",
        ] {
            let failed = match of(said) {
                NotDone::Refused(failed) => NotDone::Refused(failed).failed("do it"),
                other => panic!("{said}: {other:?}"),
            };
            assert_eq!((failed.exit, failed.effects), (Exit::Failed, vec!["nothing was changed".to_owned()]));
        }
        assert!(matches!(
            of("Error: etcdserver: mvcc: required revision has been compacted"),
            NotDone::AlreadyCompacted
        ));
        for said in ["", "Error: context deadline exceeded", "Error: etcdserver: request timed out: no leader", "broke"]
        {
            let unknown = of(said);
            assert!(matches!(unknown, NotDone::Unknown(_)), "{said}");
            assert_eq!(unknown.failed("do it").exit, Exit::Changed);
        }
    }
}
