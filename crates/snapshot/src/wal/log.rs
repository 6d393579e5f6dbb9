//! A log that was checked from its first segment to its last valid record.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::builder::{Builder, ConfState, Cut, MemberChange, Misfit, Owner, Spot};
use super::error::{Fault, LogError};
use super::files::Files;
use super::judge::{TornTail, Verdict, judge};
use super::name::{SegmentName, segments};
use super::record::{Body, Decoded, Keep, Record};
use super::segment::{Here, Segment};
use super::{EntryKind, HardState, Position};

/// How often a log is read again that changes while it is read: a running etcd deletes its oldest segments, and cuts off the zeros of one that it is
/// done with.
const TRIES: usize = 3;

/// A log without damage: its checksums are right from its first record to its last one. Only [`Log::read`] makes one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Log {
    /// Whose log it is.
    pub owner: Owner,
    /// Index of the first entry that is still there; `None` if there is none.
    pub first: Option<u64>,
    /// The last entry, or the snapshot that the log continues: how far this member is.
    pub last: Position,
    /// How many entries count: from the first to the last.
    pub entries: u64,
    /// How many entries were replaced by those of a later leader.
    pub replaced: u64,
    /// The newest hard state: its commit index is often below the last entry.
    pub hard_state: HardState,
    /// Where raft took snapshots: up to 256 of them, the newest last.
    pub snapshots: Vec<Position>,
    /// The members as of the newest snapshot that says so; those of 3.4 do not.
    pub conf_state: Option<ConfState>,
    /// Changes of the members: up to 256 of them, the newest last.
    pub changes: Vec<MemberChange>,
    /// The first and last segment.
    pub segments: (SegmentName, SegmentName),
    /// Bytes of all records.
    pub bytes: u64,
    /// What is left of a write that was cut off.
    pub torn: Option<TornTail>,
    /// Where the first frame is that is not part of the log.
    end: Spot,
    /// The checksum of all records before the end.
    checksum: u32,
    /// Where the log replaces its own entries, by ascending index.
    cuts: Vec<Cut>,
}

/// An entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryAt<'a> {
    /// Where it is.
    pub at: Position,
    /// What it changes.
    pub kind: EntryKind,
    /// Its data; `None` if that is longer than what was asked for.
    pub data: Option<&'a [u8]>,
}

/// Sees entries; `Break` ends it.
pub type Visit<'a> = dyn FnMut(EntryAt<'_>) -> ControlFlow<()> + 'a;

impl Log {
    /// Reads all segments of a folder. The memory that this takes does not grow with the log.
    ///
    /// `cancel` makes it return soon, with [`io::ErrorKind::Interrupted`].
    ///
    /// # Errors
    /// See [`LogError`]. The end of a write that was cut off is no error, see [`Log::torn`].
    pub fn read(files: &dyn Files, cancel: Option<&AtomicBool>) -> Result<Self, LogError> {
        let mut tries = 1..TRIES;
        loop {
            match Pass::new(files, cancel).read() {
                Err(LogError::Io { error, .. }) if moved(&error) && tries.next().is_some() => {}
                read => return read,
            }
        }
    }

    /// Shows the entries above an index that count, in their order, with up to `most` bytes of data each. They are read again, up to where the log
    /// was valid when it was read first.
    ///
    /// # Errors
    /// See [`LogError`]; one of them is that the log is another one by now.
    pub fn visit(
        &self,
        files: &dyn Files,
        above: u64,
        most: usize,
        cancel: Option<&AtomicBool>,
        visit: &mut Visit<'_>,
    ) -> Result<(), LogError> {
        let names = names(files)?;
        let (first, last) = self.segments;
        let known = |name: &&SegmentName| (first.sequence..=last.sequence).contains(&name.sequence);
        let found: Vec<SegmentName> = segments(&names)?.iter().filter(known).copied().collect();
        // The last one that was begun when the log did not reach above the index: what segments before it have above it was replaced.
        let start = found.iter().rposition(|name| name.index <= above.saturating_add(1)).unwrap_or_default();
        let mut pass = Pass { keep: Keep::All(most), ..Pass::new(files, cancel) };
        for name in found.into_iter().skip(start) {
            let more = pass.visit(name, self, above, visit)?;
            if more.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Where in the last segment the log ends.
    pub(super) fn end_offset(&self) -> u64 {
        self.end.offset
    }

    /// The checksum that the next record continues.
    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Whether the entry at a spot is still the one of its index at the end of the log.
    fn counts(&self, spot: Spot, index: u64) -> bool {
        let later = self.cuts.partition_point(|cut| cut.at <= spot);
        let held = self.first.is_some_and(|first| (first..=self.last.index).contains(&index));
        held && self.cuts.get(later).is_none_or(|cut| cut.index > index)
    }
}

/// Whether a file has gone, or has become shorter.
fn moved(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

fn names(files: &dyn Files) -> Result<Vec<String>, LogError> {
    files.names().map_err(|error| LogError::Io { name: "the log".to_owned(), error })
}

/// One walk through segments.
struct Pass<'a> {
    files: &'a dyn Files,
    cancel: Option<&'a AtomicBool>,
    keep: Keep,
    /// The checksum up to here; `None` before the first record.
    running: Option<u32>,
    kept: Vec<u8>,
    builder: Builder,
    /// Index of the last entry that was shown.
    shown: u64,
}

/// How a step through a segment went.
enum Step {
    Record { record: Record, next: u64 },
    End,
    Wrong { fault: Fault, differs: Option<(u32, u32)> },
}

impl<'a> Pass<'a> {
    fn new(files: &'a dyn Files, cancel: Option<&'a AtomicBool>) -> Self {
        let builder = Builder::default();
        Self { files, cancel, keep: Keep::Changes, running: None, kept: Vec::new(), builder, shown: 0 }
    }

    fn read(mut self) -> Result<Log, LogError> {
        let found = segments(&names(self.files)?)?;
        let ([first, ..], [.., last]) = (&found[..], &found[..]) else { return Err(LogError::NoSegments) };
        let (first, last) = (*first, *last);
        let (mut bytes, mut end) = (0, Spot::default());
        let mut torn = None;
        for name in found {
            let (offset, tail) = self.segment(name, name == last)?;
            bytes += offset;
            end = Spot { sequence: name.sequence, offset };
            torn = tail;
        }
        let checksum = self.running.unwrap_or_default();
        let mut builder = self.builder.finish();
        let Some(owner) = builder.owner else { return Err(LogError::Empty { segment: first }) };
        let last_entry = builder.last.unwrap_or_default();
        Ok(Log {
            owner,
            first: builder.first,
            last: last_entry,
            entries: builder.first.map_or(0, |first| (last_entry.index + 1).saturating_sub(first)),
            replaced: builder.replaced,
            hard_state: builder.hard_state.unwrap_or_default(),
            snapshots: builder.snapshots.into(),
            conf_state: builder.conf_state.take(),
            changes: builder.changes.into(),
            segments: (first, last),
            bytes,
            torn,
            end,
            checksum,
            cuts: builder.cuts,
        })
    }

    /// Reads a segment; says how far it is valid, and what is left of a write that was cut off.
    fn segment(&mut self, name: SegmentName, is_last: bool) -> Result<(u64, Option<TornTail>), LogError> {
        let io = |error| LogError::Io { name: name.to_string(), error };
        let source = self.files.open(&name.to_string()).map_err(io)?;
        let mut segment = Segment::new(&*source);
        let (mut offset, mut number) = (0, 0_u64);
        loop {
            self.check_cancel().map_err(io)?;
            let step = self.step(&mut segment, name, offset, number).map_err(io)?;
            let (fault, differs) = match step {
                Step::Record { record: Record { crc, body }, next } => {
                    let spot = Spot { sequence: name.sequence, offset };
                    match self.builder.take(spot, body, &self.kept) {
                        Ok(()) => {}
                        Err(Misfit::Fault(fault)) => return Err(LogError::Corrupt { segment: name, offset, fault }),
                        Err(Misfit::TooManyCuts) => return Err(LogError::TooManyRewrites { segment: name, offset }),
                    }
                    self.running = Some(crc);
                    (offset, number) = (next, number + 1);
                    continue;
                }
                // The segment that comes next tells whether it was the end: its first record has the checksum of all before it.
                Step::End if !is_last => return Ok((offset, None)),
                Step::End => match segment.is_zero(offset, segment.len()).map_err(io)? {
                    true => return Ok((offset, None)),
                    false => (Fault::Length, None),
                },
                Step::Wrong { fault, differs } => (fault, differs),
            };
            if !is_last {
                return Err(LogError::Corrupt { segment: name, offset, fault });
            }
            let verdict = judge(&mut segment, offset, fault, differs).map_err(io)?;
            if let Verdict::Torn { reason, bytes, records_follow } = verdict {
                let tail = TornTail { segment: name.to_string(), offset, reason, bytes, records_follow };
                return Ok((offset, Some(tail)));
            }
            // Whoever writes the log may have completed the record meanwhile.
            segment.forget();
            if matches!(self.step(&mut segment, name, offset, number).map_err(io)?, Step::Wrong { .. } | Step::End) {
                return Err(LogError::Corrupt { segment: name, offset, fault });
            }
        }
    }

    /// Decodes what is at an offset, the `number`th record of the segment.
    fn step(&mut self, segment: &mut Segment<'_>, name: SegmentName, offset: u64, number: u64) -> io::Result<Step> {
        let wrong = |fault| Ok(Step::Wrong { fault, differs: None });
        let frame = match segment.here(offset)? {
            Here::Zero => return Ok(Step::End),
            Here::Fault(fault) => return wrong(fault),
            Here::Frame(frame) => frame,
        };
        let running = self.running.unwrap_or_default();
        let record = match segment.decode(frame, running, self.keep, &mut self.kept)? {
            Decoded::Whole(record) => record,
            Decoded::Differs { says, has } => {
                return Ok(Step::Wrong { fault: Fault::Checksum, differs: Some((says, has)) });
            }
            Decoded::Malformed => return wrong(Fault::Record),
        };
        // etcd begins each segment with these two, and writes them nowhere else (server/storage/wal/wal.go, Create and cut).
        let in_place = match record.body {
            Body::Crc => number == 0,
            Body::Metadata(_) => number == 1,
            _ => number > 1,
        };
        if !in_place {
            return wrong(Fault::Record);
        }
        if record.body == Body::Crc {
            // Of the oldest segment that is left, the checksum is taken as it is, unless nothing was before it.
            let expected = self.running.or((name.sequence == 0).then_some(0));
            if expected.is_some_and(|expected| expected != record.crc) {
                return wrong(Fault::Chain);
            }
        }
        Ok(Step::Record { record, next: frame.next })
    }

    /// Shows entries of a segment.
    fn visit(
        &mut self,
        name: SegmentName,
        log: &Log,
        above: u64,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, LogError> {
        let io = |error| LogError::Io { name: name.to_string(), error };
        let source = self.files.open(&name.to_string()).map_err(io)?;
        let mut segment = Segment::new(&*source);
        let (mut offset, mut number) = (0, 0_u64);
        loop {
            self.check_cancel().map_err(io)?;
            let spot = Spot { sequence: name.sequence, offset };
            if spot >= log.end {
                return Ok(ControlFlow::Break(()));
            }
            let (record, next) = match self.step(&mut segment, name, offset, number).map_err(io)? {
                Step::Record { record, next } => (record, next),
                Step::End if spot.sequence < log.end.sequence => return Ok(ControlFlow::Continue(())),
                Step::End | Step::Wrong { .. } => {
                    return Err(LogError::Corrupt { segment: name, offset, fault: Fault::Changed });
                }
            };
            if let Body::Entry(head) = record.body
                && head.at.index > above
                && log.counts(spot, head.at.index)
                && head.at.index > self.shown
            {
                self.shown = head.at.index;
                let whole = self.kept.len() as u64 == head.data_bytes;
                let entry = EntryAt { at: head.at, kind: head.kind, data: whole.then_some(&self.kept) };
                if visit(entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            self.running = Some(record.crc);
            (offset, number) = (next, number + 1);
        }
    }

    fn check_cancel(&self) -> io::Result<()> {
        match self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }
}
