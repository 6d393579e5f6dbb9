//! One segment: frames, and what is between and behind them.

use std::io;

use super::error::Fault;
use super::record::{Decoded, Keep, RecordParser};
use crate::Source;
use crate::bytes::{le_u64, varint};
use crate::window::{WINDOW_BYTES, Window};

/// Bytes of a frame before its record.
pub(super) const LENGTH: u64 = 8;
/// Bytes that a disk writes as a whole (etcd server/storage/wal/decoder.go, minSectorSize).
pub(super) const SECTOR: u64 = 512;

/// A segment that is read from its start to its end, in windows.
pub(super) struct Segment<'a> {
    source: &'a dyn Source,
    window: Window,
}

/// A frame whose length is one that etcd writes, and within the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where its record begins, and how long that is.
    pub(super) record: u64,
    pub(super) bytes: u64,
    /// Where the next frame begins.
    pub(super) next: u64,
}

/// What is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Frame(Frame),
    /// A length of 0, or fewer bytes than a length has, all zero: the end, if nothing but zeros follows.
    Zero,
    Fault(Fault),
}

impl<'a> Segment<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, window: Window::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    /// Forgets what was read, so that it is read again: a log that is written to meanwhile has changed.
    pub(super) fn forget(&mut self) {
        self.window.clear();
    }

    /// Bytes that are within the file, at most a window.
    pub(super) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.source.len();
        self.window.get(self.source, offset, length, end)
    }

    /// What is at an offset up to the length of the file.
    pub(super) fn here(&mut self, offset: u64) -> io::Result<Here> {
        let left = self.len().saturating_sub(offset);
        if left < LENGTH {
            let rest = usize::try_from(left).unwrap_or_default();
            let zero = rest == 0 || self.bytes(offset, rest)?.iter().all(|&byte| byte == 0);
            return Ok(if zero { Here::Zero } else { Here::Fault(Fault::Beyond) });
        }
        let word = le_u64(self.bytes(offset, 8)?, 0).unwrap_or_default();
        Ok(Self::frame(offset, word, self.len()))
    }

    /// What a length at an offset says.
    pub(super) fn frame(offset: u64, word: u64, file: u64) -> Here {
        if word == 0 {
            return Here::Zero;
        }
        let (bytes, top) = (word & ((1 << 56) - 1), word >> 56);
        let pad = match top {
            0 => 0,
            0x81..=0x87 => top & 7,
            _ => return Here::Fault(Fault::Length),
        };
        if bytes == 0 || !(bytes + pad).is_multiple_of(8) {
            return Here::Fault(Fault::Length);
        }
        let record = offset.saturating_add(LENGTH);
        let next = record.saturating_add(bytes + pad);
        if next > file { Here::Fault(Fault::Beyond) } else { Here::Frame(Frame { record, bytes, next }) }
    }

    /// Decodes the record of a frame.
    pub(super) fn decode(&mut self, frame: Frame, running: u32, keep: Keep, kept: &mut Vec<u8>) -> io::Result<Decoded> {
        let mut record = RecordParser::new(running, keep, kept);
        let mut done = 0;
        while done < frame.bytes {
            let length = usize::try_from(frame.bytes - done).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            record.feed(self.bytes(frame.record + done, length)?);
            done += length as u64;
        }
        Ok(record.finish())
    }

    /// Where the last byte that is not zero ends, from an offset on; the offset itself if there is none.
    pub(super) fn content_end(&mut self, offset: u64) -> io::Result<u64> {
        let (mut at, mut end) = (offset, offset);
        while at < self.len() {
            let length = usize::try_from(self.len() - at).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            let bytes = self.bytes(at, length)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                end = at + last as u64 + 1;
            }
            at += length as u64;
        }
        Ok(end)
    }

    /// Whether all bytes of a range are zero; it is cut at the end of the file.
    pub(super) fn is_zero(&mut self, mut from: u64, to: u64) -> io::Result<bool> {
        let to = to.min(self.len());
        while from < to {
            let length = usize::try_from(to - from).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            if self.bytes(from, length)?.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            from += length as u64;
        }
        Ok(true)
    }

    /// The checksum that a record says, if its type, its checksum and the length of its data fit its frame.
    pub(super) fn outline(&mut self, frame: Frame) -> io::Result<Option<u32>> {
        const MOST: usize = 2 + 6 + 11;
        let length = usize::try_from(frame.bytes).map_or(MOST, |bytes| bytes.min(MOST));
        Ok(outline(self.bytes(frame.record, length)?, frame.bytes))
    }
}

/// The checksum in the start of a record of so many bytes.
pub(super) fn outline(start: &[u8], bytes: u64) -> Option<u32> {
    let [0x08, kind @ 1..=5, rest @ ..] = start else { return None };
    let (crc, rest) = match rest {
        [0x10, rest @ ..] => {
            let (crc, taken) = varint(rest)?;
            (crc, rest.get(taken..)?)
        }
        rest => (0, rest),
    };
    let data = match rest {
        [0x1a, rest @ ..] => {
            let (length, taken) = varint(rest)?;
            length.checked_add(1 + taken as u64)?
        }
        _ => 0,
    };
    let head = (start.len() - rest.len()) as u64;
    let fits = head.checked_add(data)? == bytes && (*kind == 4) == (data == 0);
    u32::try_from(crc).ok().filter(|_| fits)
}
