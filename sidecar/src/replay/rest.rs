//! When etcd has applied everything and its database rests. Pure.
//!
//! Without quorum etcd installs no signal handler, so nothing makes it write what it has applied: it has to be left alone until it has. It writes
//! 100 ms after the last change (server/storage/backend/backend.go, `defaultBatchInterval`), so a database that has not changed for a second rests.
//! The consistent index in the database cannot be waited for: entries that change nothing do not raise it in every version.

use std::time::Duration;

/// How long the database has to be unchanged.
pub(super) const REST: Duration = Duration::from_secs(1);
/// How long nothing at all may happen before etcd is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// What a look at etcd shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The index of the last entry that etcd says it has applied; `None` if it does not answer yet.
    pub(super) applied: Option<u64>,
    /// Size and time of the last change of the database file, in nanoseconds.
    pub(super) database: (u64, i128),
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again.
    Wait,
    /// Everything is in the database.
    Done,
    /// Nothing has happened for too long.
    Stuck,
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    /// The index of the last entry.
    target: u64,
    /// Whether there is nothing above the snapshot that etcd begins with: then it applies nothing, and says of no index that it was applied.
    nothing_to_apply: bool,
    last: Option<Look>,
    /// When the database was seen to change last, or etcd to apply.
    changed: Duration,
}

impl Watch {
    /// `begun` is the index of the snapshot that etcd begins with.
    pub(super) fn new(target: u64, begun: u64) -> Watch {
        Watch { target, nothing_to_apply: begun >= target, last: None, changed: Duration::ZERO }
    }

    /// Takes a look that was taken so long after the start.
    pub(super) fn see(&mut self, at: Duration, look: Look) -> Next {
        if self.last.replace(look) != Some(look) {
            self.changed = at;
            return Next::Wait;
        }
        let quiet = at.saturating_sub(self.changed);
        let applied = look.applied.is_some_and(|applied| self.nothing_to_apply || applied >= self.target);
        match applied {
            true if quiet >= REST => Next::Done,
            false if quiet >= PATIENCE => Next::Stuck,
            _ => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn look(applied: Option<u64>, changed: i128) -> Look {
        Look { applied, database: (4096, changed) }
    }

    #[test]
    fn a_database_that_changes_after_the_last_entry_does_not_rest() {
        let mut watch = Watch::new(10, 0);
        assert_eq!(watch.see(at(0), look(None, 1)), Next::Wait);
        assert_eq!(watch.see(at(2000), look(None, 1)), Next::Wait);
        assert_eq!(watch.see(at(2100), look(Some(10), 1)), Next::Wait);
        // The batch is written after the metric has said that everything was applied.
        assert_eq!(watch.see(at(3099), look(Some(10), 1)), Next::Wait);
        assert_eq!(watch.see(at(3100), look(Some(10), 2)), Next::Wait);
        assert_eq!(watch.see(at(4099), look(Some(10), 2)), Next::Wait);
        assert_eq!(watch.see(at(4100), look(Some(10), 2)), Next::Done);
    }

    #[test]
    fn etcd_that_stops_below_the_last_entry_is_given_up() {
        let mut watch = Watch::new(10, 0);
        assert_eq!(watch.see(at(0), look(Some(9), 1)), Next::Wait);
        assert_eq!(watch.see(PATIENCE - at(1), look(Some(9), 1)), Next::Wait);
        assert_eq!(watch.see(PATIENCE, look(Some(9), 1)), Next::Stuck);
        let mut silent = Watch::new(10, 10);
        assert_eq!(silent.see(at(0), look(None, 1)), Next::Wait);
        assert_eq!(silent.see(PATIENCE, look(None, 1)), Next::Stuck);
    }

    #[test]
    fn a_long_replay_goes_on_as_long_as_something_happens() {
        let mut watch = Watch::new(1000, 0);
        for applied in 0..1000 {
            assert_eq!(
                watch.see((PATIENCE - at(1)) * u32::try_from(applied).unwrap(), look(Some(applied), 1)),
                Next::Wait
            );
        }
    }

    #[test]
    fn where_nothing_is_to_be_applied_etcd_says_so_of_no_index() {
        let mut watch = Watch::new(10, 10);
        assert_eq!(watch.see(at(0), look(Some(0), 1)), Next::Wait);
        assert_eq!(watch.see(REST, look(Some(0), 1)), Next::Done);
    }
}
