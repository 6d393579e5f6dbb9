//! What the records of a log add up to.

use std::collections::VecDeque;

use serde::Serialize;

use super::error::Fault;
use super::record::{Body, EntryHead};
use super::{EntryKind, HardState, Position};
use crate::protobuf::{Wire, fields};

/// Most changes of members that are kept, and most snapshots: the newest.
const KEPT: usize = 256;
/// Most members in a state.
const MEMBERS: usize = 1024;
/// Most places at which the log replaces its own entries. Each is the end of a leader whose last entries were not committed.
const MOST_CUTS: usize = 1 << 16;

/// Whose log it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The member's ID.
    pub node: u64,
    /// The cluster's ID.
    pub cluster: u64,
}

/// Who votes and who learns, as raft has it with a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfState {
    /// IDs of the members that vote.
    pub voters: Vec<u64>,
    /// IDs of those that learn.
    pub learners: Vec<u64>,
}

impl ConfState {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut state = Self::default();
        for field in fields(bytes) {
            match field? {
                (1, Wire::Varint(id)) => state.voters.push(id),
                (2, Wire::Varint(id)) => state.learners.push(id),
                (3 | 4, Wire::Varint(_)) | (5, Wire::Varint(0 | 1)) => {}
                _ => return None,
            }
            if state.voters.len() + state.learners.len() > MEMBERS {
                return None;
            }
        }
        Some(state)
    }
}

/// An entry that changes the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberChange {
    /// Where the entry is.
    pub at: Position,
    /// What it changes.
    pub kind: MemberChangeKind,
    /// ID of the member that is changed.
    pub member: u64,
}

/// What a change of the members does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum MemberChangeKind {
    /// A member is added, or a learner is promoted.
    #[error("add")]
    Add,
    /// A member is removed.
    #[error("remove")]
    Remove,
    /// A member gets other URLs.
    #[error("update")]
    Update,
    /// A learner is added.
    #[error("add learner")]
    AddLearner,
}

/// Where something is in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Sequence number of the segment.
    pub(super) sequence: u64,
    /// Where the frame begins.
    pub(super) offset: u64,
}

/// An entry at this spot has replaced those of its index and above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) at: Spot,
    pub(super) index: u64,
}

/// Why a record does not fit.
pub(super) enum Misfit {
    Fault(Fault),
    TooManyCuts,
}

/// The log so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Builder {
    pub(super) owner: Option<Owner>,
    /// Index of the first entry.
    pub(super) first: Option<u64>,
    /// The last entry, or the snapshot that the log continues.
    pub(super) last: Option<Position>,
    /// A snapshot above all entries, as a leader sends it to a member that is far behind; and what the log was before it. It counts only once it is
    /// committed (etcd server/storage/wal/wal.go, ValidSnapshotEntries).
    pending: Option<(Position, Option<u64>, Option<Position>)>,
    /// The highest snapshot that counts: entries up to it do not count any more.
    floor: u64,
    pub(super) replaced: u64,
    pub(super) records: u64,
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshots: VecDeque<Position>,
    pub(super) conf_state: Option<ConfState>,
    pub(super) changes: VecDeque<MemberChange>,
    pub(super) cuts: Vec<Cut>,
}

impl Builder {
    /// Takes a record whose checksum is right. What does not fit changes nothing.
    pub(super) fn take(&mut self, at: Spot, body: Body, data: &[u8]) -> Result<(), Misfit> {
        match body {
            Body::Crc => {}
            Body::Metadata(owner) => match self.owner {
                Some(before) if before != owner => return Err(Misfit::Fault(Fault::Owner)),
                _ => self.owner = Some(owner),
            },
            Body::HardState(state) => self.hard_state(state)?,
            Body::Snapshot { at, conf_state } => self.snapshot(at, conf_state),
            Body::Entry(head) => self.entry(at, head, data)?,
        }
        self.records += 1;
        Ok(())
    }

    fn hard_state(&mut self, state: HardState) -> Result<(), Misfit> {
        let before = self.hard_state.unwrap_or_default();
        // Neither ever goes back (raft paper, section 5; etcd-io/raft log.go, commitTo).
        if state.term < before.term || state.commit < before.commit {
            return Err(Misfit::Fault(Fault::HardState));
        }
        if let Some((snapshot, ..)) = self.pending.take_if(|(snapshot, ..)| snapshot.index <= state.commit) {
            self.floor = self.floor.max(snapshot.index);
        }
        self.hard_state = Some(state);
        Ok(())
    }

    fn snapshot(&mut self, at: Position, conf_state: Option<ConfState>) {
        let above = self.last.is_none_or(|last| at.index > last.index);
        if above && at.index > 0 {
            let committed = self.hard_state.is_some_and(|state| at.index <= state.commit);
            if !committed && self.last.is_some() {
                self.abandon();
                self.pending = Some((at, self.first, self.last));
            }
            (self.first, self.last) = (None, Some(at));
        }
        if self.pending.is_none() {
            self.floor = self.floor.max(at.index);
        }
        if self.snapshots.len() == KEPT {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(at);
        self.conf_state = conf_state.or(self.conf_state.take());
    }

    fn entry(&mut self, at: Spot, head: EntryHead, data: &[u8]) -> Result<(), Misfit> {
        let index = head.at.index;
        if self.pending.is_some_and(|(snapshot, ..)| index <= snapshot.index) {
            // The member was started again, and has gone on from before it.
            self.abandon();
        }
        if index <= self.floor {
            // etcd passes over these (server/storage/wal/wal.go, ReadAll).
            return Ok(());
        }
        let change = match head.kind {
            EntryKind::Normal => None,
            _ => Some(change(head, data).ok_or(Misfit::Fault(Fault::Record))?),
        };
        if let Some(last) = self.last {
            if last.index.checked_add(1).is_none_or(|next| index > next) {
                return Err(Misfit::Fault(Fault::Index));
            }
            if index <= last.index {
                self.cut(Cut { at, index })?;
                self.replaced += last.index - index + 1;
            }
        }
        self.first = Some(self.first.map_or(index, |first| first.min(index)));
        self.last = Some(head.at);
        if let Some(change) = change {
            if self.changes.len() == KEPT {
                self.changes.pop_front();
            }
            self.changes.push_back(change);
        }
        Ok(())
    }

    /// Entries of this index and above are replaced. Of the places before, only those of lower indexes still matter.
    fn cut(&mut self, cut: Cut) -> Result<(), Misfit> {
        while self.cuts.last().is_some_and(|before| before.index >= cut.index) {
            self.cuts.pop();
        }
        if self.cuts.len() == MOST_CUTS {
            return Err(Misfit::TooManyCuts);
        }
        self.cuts.push(cut);
        while self.changes.back().is_some_and(|change| change.at.index >= cut.index) {
            self.changes.pop_back();
        }
        Ok(())
    }

    /// A snapshot that nobody committed, and that nothing continues, does not count.
    pub(super) fn finish(mut self) -> Self {
        if self.first.is_none() {
            self.abandon();
        }
        self
    }

    /// The log is again what it was before a snapshot that is not committed.
    fn abandon(&mut self) {
        if let Some((snapshot, first, last)) = self.pending.take() {
            (self.first, self.last) = (first, last);
            self.snapshots.retain(|&at| at != snapshot);
        }
    }
}

/// raftpb.ConfChange, or the only change of a raftpb.ConfChangeV2 (etcd writes no others).
fn change(head: EntryHead, data: &[u8]) -> Option<MemberChange> {
    let (mut kind, mut member) = (0, 0);
    let mut single = |message: &[u8], kind_field: u64, member_field: u64| {
        for field in fields(message) {
            match field? {
                (field, Wire::Varint(value)) if field == kind_field => kind = value,
                (field, Wire::Varint(value)) if field == member_field => member = value,
                _ => {}
            }
        }
        Some(())
    };
    match head.kind {
        EntryKind::MemberChange => single(data, 2, 3)?,
        _ => {
            for field in fields(data) {
                if let (2, Wire::Bytes(change)) = field? {
                    single(change, 1, 2)?;
                    break;
                }
            }
        }
    }
    let kind = match kind {
        0 => MemberChangeKind::Add,
        1 => MemberChangeKind::Remove,
        2 => MemberChangeKind::Update,
        3 => MemberChangeKind::AddLearner,
        _ => return None,
    };
    Some(MemberChange { at: head.at, kind, member })
}
