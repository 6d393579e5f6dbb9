//! A record that is wrong: a write that was cut off, or damage.
//!
//! etcd writes a log from its start to its end, and syncs it before anybody is told: what a crash cuts off is the end of the last segment.
//! Everything else is damage, which must not pass as an end: behind it there are writes that were acknowledged.
//!
//! * The disk writes whole sectors. A sector of zeros inside a record that is otherwise laid out well was never written: etcd takes that
//!   for the end, whatever follows (server/storage/wal/decoder.go, isTornEntry), and cuts it off when it starts.
//! * Otherwise it is the end only if no two records follow of which the second has the checksum that continues the first.

use std::io;

use serde::Serialize;

use super::error::Fault;
use super::record::{Body, Decoded, Keep};
use super::segment::{Frame, Here, LENGTH, SECTOR, Segment, outline};
use crate::bytes::le_u64;
use crate::window::WINDOW_BYTES;

/// Most bytes of records that are hashed while records are looked for. A segment has 64 MB; more is none that etcd has written.
const MOST_HASHED: u64 = 256 << 20;

/// The end of a log that was cut off while it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TornTail {
    /// The name of the last segment.
    pub segment: String,
    /// Where the first frame is that is not whole: the log is valid up to here.
    pub offset: u64,
    /// Why it is not.
    pub reason: TornReason,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
    /// Whether whole records follow, which is so where the disk has written a later part of the last writes and not an earlier one. etcd drops
    /// them, too.
    pub records_follow: bool,
}

/// What shows that a log was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum TornReason {
    /// A sector of the record was never written.
    #[error("a sector of the record was never written")]
    ZeroSector,
    /// The record ends beyond the end of the file.
    #[error("the record ends beyond the end of the file")]
    Beyond,
    /// The record is not laid out like one.
    #[error("the record is not whole")]
    Malformed,
    /// The record has another checksum than it says.
    #[error("the checksum of the record is wrong")]
    Checksum,
}

/// Whether a fault in the last segment is its torn end.
pub(super) enum Verdict {
    Torn { reason: TornReason, bytes: u64, records_follow: bool },
    Corrupt,
}

/// Judges the fault at an offset of the last segment; `differs` are the two checksums of a record that is laid out well.
pub(super) fn judge(
    segment: &mut Segment<'_>,
    offset: u64,
    fault: Fault,
    differs: Option<(u32, u32)>,
) -> io::Result<Verdict> {
    let bytes = segment.content_end(offset)?.saturating_sub(offset);
    let records_follow = match follows(segment, offset, differs)? {
        Some(follow) => follow,
        None => return Ok(Verdict::Corrupt),
    };
    if has_zero_sector(segment, offset)? {
        return Ok(Verdict::Torn { reason: TornReason::ZeroSector, bytes, records_follow });
    }
    if records_follow {
        return Ok(Verdict::Corrupt);
    }
    let reason = match fault {
        Fault::Beyond => TornReason::Beyond,
        Fault::Checksum => TornReason::Checksum,
        _ => TornReason::Malformed,
    };
    Ok(Verdict::Torn { reason, bytes, records_follow })
}

/// Whether a sector was never written: the rest of the one in which the frame's length should be, or one of the record's.
fn has_zero_sector(segment: &mut Segment<'_>, offset: u64) -> io::Result<bool> {
    let frame = match segment.here(offset)? {
        Here::Zero => {
            let end = (offset / SECTOR + 1) * SECTOR;
            return segment.is_zero(offset, end);
        }
        Here::Fault(_) => return Ok(false),
        Here::Frame(frame) => frame,
    };
    // The length is believed only if the record agrees, or is missing: a length that is damaged could reach into the zeros at the end of the file.
    let missing = segment.is_zero(frame.record, (frame.record / SECTOR + 1) * SECTOR)?;
    if !missing && segment.outline(frame)?.is_none() {
        return Ok(false);
    }
    let mut sector = frame.record / SECTOR * SECTOR;
    while sector < frame.next && sector + SECTOR <= segment.len() {
        // The sector of the length has been written: its part behind the length counts only if a later one was not.
        if sector > offset && segment.is_zero(sector, sector + SECTOR)? {
            return Ok(true);
        }
        sector += SECTOR;
    }
    Ok(false)
}

/// Whether two records follow that are linked by their checksums; the one at the offset may be the first of them. `None` if there is too much that
/// looks like it.
fn follows(segment: &mut Segment<'_>, offset: u64, differs: Option<(u32, u32)>) -> io::Result<Option<bool>> {
    let mut left = MOST_HASHED;
    if let (Some((says, has)), Here::Frame(frame)) = (differs, segment.here(offset)?) {
        for running in [says, has] {
            match continues(segment, frame, running, &mut left)? {
                Some(false) => {}
                other => return Ok(other),
            }
        }
    }
    let (mut at, end) = (offset, segment.len());
    while at + LENGTH < end {
        let length = usize::try_from(end - at).map_or(WINDOW_BYTES, |rest| rest.min(WINDOW_BYTES));
        let words = candidates(segment.bytes(at, length)?, at, end);
        for frame in words {
            let Some(crc) = segment.outline(frame)? else { continue };
            match continues(segment, frame, crc, &mut left)? {
                Some(false) => {}
                other => return Ok(other),
            }
        }
        if at + length as u64 >= end {
            break;
        }
        // The start of a record is looked at together with its length: pieces overlap.
        at += (WINDOW_BYTES as u64) - SECTOR;
    }
    Ok(Some(false))
}

/// The frames in a piece of a segment whose records begin as etcd's do.
fn candidates(piece: &[u8], at: u64, file: u64) -> Vec<Frame> {
    let offsets = (0..piece.len()).step_by(8);
    let frames = offsets.filter_map(|start| {
        let word = le_u64(piece, start)?;
        let Here::Frame(frame) = Segment::frame(at + start as u64, word, file) else { return None };
        let record = piece.get(start + 8..)?;
        let most = usize::try_from(frame.bytes).unwrap_or(record.len());
        let record = record.get(..most).unwrap_or(record);
        // At the end of the piece the start of the record may be cut: the next piece has it whole.
        outline(record, frame.bytes).map(|_| frame)
    });
    frames.collect()
}

/// Whether the record behind a frame has the checksum that continues this one.
fn continues(segment: &mut Segment<'_>, frame: Frame, running: u32, left: &mut u64) -> io::Result<Option<bool>> {
    let Here::Frame(next) = segment.here(frame.next)? else { return Ok(Some(false)) };
    match left.checked_sub(next.bytes) {
        Some(rest) => *left = rest,
        None => return Ok(None),
    }
    let mut kept = Vec::new();
    // A crc record says the checksum of what is before it, and has none of its own.
    let decoded = segment.decode(next, running, Keep::Changes, &mut kept)?;
    Ok(Some(matches!(decoded, Decoded::Whole(record) if record.body != Body::Crc)))
}
