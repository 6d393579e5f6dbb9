//! What is in a log and not in the database beside it, by key.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use super::EntryKind;
use super::entry::{Condition, Effect, effects};
use super::error::LogError;
use super::files::Files;
use super::log::{EntryAt, Log};

/// Longest data of an entry that is looked into: etcd takes requests of 1.5 MiB unless it is told otherwise.
const LARGEST_ENTRY: usize = 8 << 20;

/// How much is listed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most keys.
    pub keys: usize,
    /// Most bytes of all keys together.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 500, bytes: 256 << 10 }
    }
}

/// What a log has above the last entry that a database has applied: what would be lost with the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnlyInLog {
    /// How many entries.
    pub entries: u64,
    /// How many of them are above the commit index of the log. They may have been acknowledged all the same: a leader commits before
    /// it writes down that it has.
    pub uncommitted: u64,
    /// The first index that neither has, if entries between the database and the log are missing.
    pub missing_from: Option<u64>,
    /// Whether the database has applied more than the log has: the log has lost its end.
    pub database_is_ahead: bool,
    /// The keys that are changed, or may be.
    pub keys: KeyListing,
    /// Leases that are granted.
    pub leases_granted: u64,
    /// Leases that end.
    pub leases_revoked: u64,
    /// The highest revision up to which the history is compacted.
    pub compacted: Option<i64>,
    /// Changes of users and roles.
    pub auth_changes: u64,
    /// Changes of the members.
    pub member_changes: u64,
    /// Changes of alarms, of the cluster's version, and of attributes of members.
    pub cluster_changes: u64,
    /// Entries that are too large to be looked into, or whose request is not known.
    pub unread: u64,
}

/// Keys that are changed, or may be, in byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyListing {
    /// Each with what happens to it. A range that is deleted is listed by its first key.
    pub keys: BTreeMap<Vec<u8>, KeyChange>,
    /// Changes of keys that are not listed, because there are too many.
    pub more_changes: u64,
}

/// What happens to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// How many entries put it.
    pub puts: u64,
    /// How many delete it, or a range that begins with it.
    pub deletes: u64,
    /// The end of the range that is deleted, where one is.
    pub range_end: Option<Vec<u8>>,
    /// Whether at least one of these changes happens in any case, and does not depend on what a transaction compares.
    pub certain: bool,
    /// Raft index of the last of them.
    pub last: u64,
}

impl OnlyInLog {
    /// Gathers it for a database that has applied the entries up to an index.
    ///
    /// Of etcd 3.5.0 to 3.5.2, which may record an entry as applied whose data is not in the database (etcd-io/etcd#13766), that is the index before
    /// the one that the database says.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn gather(
        files: &dyn Files,
        log: &Log,
        applied: u64,
        limits: Limits,
        cancel: Option<&AtomicBool>,
    ) -> Result<Self, LogError> {
        let mut only = Self { database_is_ahead: applied > log.last.index, ..Self::default() };
        let next = applied.saturating_add(1);
        only.missing_from = match log.first {
            Some(first) => (first > next).then_some(next),
            None => (log.last.index > applied).then_some(next),
        };
        let (mut room, commit) = (limits, log.hard_state.commit);
        log.visit(files, applied, LARGEST_ENTRY, cancel, &mut |entry| {
            only.entries += 1;
            only.uncommitted += u64::from(entry.at.index > commit);
            only.take(entry, &mut room);
            ControlFlow::Continue(())
        })?;
        Ok(only)
    }

    fn take(&mut self, entry: EntryAt<'_>, room: &mut Limits) {
        if entry.kind != EntryKind::Normal {
            self.member_changes += 1;
            return;
        }
        let told = entry.data.map(|data| effects(data, &mut |effect| self.effect(effect, entry.at.index, room)));
        if !matches!(told, Some(Ok(()))) {
            self.unread += 1;
        }
    }

    fn effect(&mut self, effect: Effect<'_>, index: u64, room: &mut Limits) {
        match effect {
            Effect::Put { key, when } => {
                self.keys.change(key, index, when, room, |change| change.puts += 1);
            }
            Effect::Delete { key, range_end, when } => {
                self.keys.change(key, index, when, room, |change| {
                    change.deletes += 1;
                    if !range_end.is_empty() {
                        change.range_end = Some(range_end.to_vec());
                    }
                });
            }
            Effect::Compaction(revision) => self.compacted = self.compacted.max(Some(revision)),
            Effect::LeaseGrant(_) => self.leases_granted += 1,
            Effect::LeaseRevoke(_) => self.leases_revoked += 1,
            Effect::Auth => self.auth_changes += 1,
            Effect::Alarm | Effect::Cluster => self.cluster_changes += 1,
            Effect::Unknown(_) => self.unread += 1,
        }
    }
}

impl KeyListing {
    fn change(
        &mut self,
        key: &[u8],
        index: u64,
        when: Condition,
        room: &mut Limits,
        change: impl FnOnce(&mut KeyChange),
    ) {
        if !self.keys.contains_key(key) {
            // The end of a range is as long as its start, or nearly.
            let bytes = key.len().saturating_mul(2);
            let (Some(keys), Some(left)) = (room.keys.checked_sub(1), room.bytes.checked_sub(bytes)) else {
                self.more_changes += 1;
                return;
            };
            *room = Limits { keys, bytes: left };
        }
        let new = KeyChange { puts: 0, deletes: 0, range_end: None, certain: false, last: index };
        let listed = self.keys.entry(key.to_vec()).or_insert(new);
        listed.certain |= when == Condition::Always;
        listed.last = index;
        change(listed);
    }
}
