//! The two meta pages, and what the file's length must be by them.
//!
//! ```text
//! 16      20        24         28      32     40         48         56          64     72
//! +-------+---------+----------+-------+------+----------+----------+-----------+------+----------+
//! | magic | version | pageSize | flags | root | sequence | freelist | highWater | txid | checksum |
//! +-------+---------+----------+-------+------+----------+----------+-----------+------+----------+
//! ```
//! The checksum is FNV-1a (64 bits) over bytes 16 to 71. Read from bbolt internal/common/meta.go, db.go and tx.go @ v1.4.3.

use std::io;

use crate::bytes::{le_u32, le_u64};
use crate::page::{FIRST_TREE_PAGE, HEADER_BYTES, Header, PageKind};
use crate::{DigestCheck, MetaReason, MetaState, NotASnapshot, Source, VerifyError};

/// Bytes of a meta page that mean something, header included.
pub(crate) const META_BYTES: usize = 80;
/// Bytes of the SHA-256 behind the data.
pub(crate) const DIGEST_BYTES: u64 = 32;

pub(crate) const MAGIC: u32 = 0xED0C_DAED;
const MAGIC_OF_THE_OTHER_ORDER: u32 = 0xEDDA_0CED;
pub(crate) const VERSION: u32 = 2;
/// A freelist that is not stored, as etcd on Linux has it.
const NO_FREELIST: u64 = u64::MAX;
const MIN_PAGE_SIZE: u32 = 1 << 10;
const MAX_PAGE_SIZE: u32 = 1 << 24;

/// What a valid meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) sequence: u64,
    /// Raw: may be the mark for "not stored".
    freelist: u64,
    /// Number of pages; all ids are below it.
    pub(crate) pages: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// Parses the start of a page. Says why it is not valid.
    pub(crate) fn parse(page: &[u8]) -> Result<Self, MetaState> {
        let field = |at| le_u64(page, at).ok_or(MetaState::BadMagic);
        if le_u32(page, 16) != Some(MAGIC) {
            return Err(MetaState::BadMagic);
        }
        if le_u32(page, 20) != Some(VERSION) {
            return Err(MetaState::BadVersion);
        }
        if field(72)? != fnv1a(page.get(16..72).unwrap_or_default()) {
            return Err(MetaState::BadChecksum);
        }
        let page_size = le_u32(page, 24).unwrap_or_default();
        if !page_size.is_power_of_two() || !(MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size) {
            return Err(MetaState::BadPageSize);
        }
        Ok(Self {
            page_size,
            root: field(32)?,
            sequence: field(40)?,
            freelist: field(48)?,
            pages: field(56)?,
            txid: field(64)?,
        })
    }

    /// The page that lists free pages, if one does.
    pub(crate) fn freelist(&self) -> Option<u64> {
        (self.freelist != NO_FREELIST).then_some(self.freelist)
    }

    /// What makes it useless in spite of its checksum.
    pub(crate) fn misfit(&self) -> Option<String> {
        let tree = FIRST_TREE_PAGE..self.pages;
        if !tree.contains(&self.root) {
            return Some(format!("root page {} is not one of the {} pages", self.root, self.pages));
        }
        if let Some(freelist) = self.freelist().filter(|id| !tree.contains(id)) {
            return Some(format!("freelist page {freelist} is not one of the {} pages", self.pages));
        }
        (self.txid == 0).then(|| "transaction id is 0".to_owned())
    }

    /// Whether another meta page describes the same tree.
    fn same_tree(&self, other: &Self) -> bool {
        Self { txid: 0, ..*self } == Self { txid: 0, ..*other }
    }
}

/// Both meta pages; at least one is valid.
#[derive(Debug)]
pub(crate) struct MetaPair {
    pub(crate) states: [MetaState; 2],
    metas: [Option<Meta>; 2],
    headers: [Option<Header>; 2],
    /// Which of them is in force, and why.
    pub(crate) active: u8,
    pub(crate) reason: MetaReason,
    pub(crate) meta: Meta,
}

impl MetaPair {
    /// Finds the page size and the meta page in force.
    ///
    /// # Errors
    /// The source cannot be read, or there is no valid meta page.
    pub(crate) fn read(source: &dyn Source) -> Result<Self, VerifyError> {
        let length = source.len();
        if length == 0 {
            return Err(VerifyError::NotASnapshot(NotASnapshot::Empty));
        }
        let Some(first) = read_start(source, 0)? else {
            return Err(VerifyError::NotASnapshot(NotASnapshot::TooShort { length }));
        };
        let page_size = match Meta::parse(&first) {
            Ok(meta) => meta.page_size,
            Err(_) => find_second(source)?.ok_or_else(|| VerifyError::NotASnapshot(what_else(&first)))?,
        };
        let starts = [Some(first), read_start(source, u64::from(page_size))?];
        let parsed = starts.map(|start| {
            let meta = start.map_or(Err(MetaState::BadMagic), |start| Meta::parse(&start));
            meta.and_then(|meta| if meta.page_size == page_size { Ok(meta) } else { Err(MetaState::BadPageSize) })
        });
        let metas = parsed.map(Result::ok);
        let (active, reason, meta) = match metas {
            [Some(zero), Some(one)] if one.txid > zero.txid => (1, MetaReason::LaterTransaction, one),
            [Some(zero), Some(one)] if one.txid == zero.txid => (0, MetaReason::First, zero),
            [Some(zero), Some(_)] => (0, MetaReason::LaterTransaction, zero),
            [Some(zero), None] => (0, MetaReason::OnlyValid, zero),
            [None, Some(one)] => (1, MetaReason::OnlyValid, one),
            [None, None] => return Err(VerifyError::NotASnapshot(NotASnapshot::NoValidMeta)),
        };
        let states = parsed.map(|meta| meta.err().unwrap_or(MetaState::Valid));
        Ok(Self { states, metas, headers: starts.map(|start| Header::parse(&start?)), active, reason, meta })
    }

    /// Whether the pair is what a snapshot stream starts with: the transaction's meta, then the same once more with the
    /// transaction id before it. A database in use has the last two commits there instead, the even one in page 0.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self.metas, [Some(zero), Some(one)] if zero.same_tree(&one) && zero.txid.checked_sub(1) == Some(one.txid))
    }

    /// Whether nothing but a snapshot stream starts with the pair. bbolt itself has an odd transaction in page 1; that of an
    /// even one it leaves too, if the last commit changed nothing, as the one with which etcd stops.
    fn is_surely_streamed(&self) -> bool {
        self.is_streamed() && self.meta.txid % 2 == 1
    }

    /// Whether both are valid and describe the same tree.
    pub(crate) fn agrees(&self) -> bool {
        matches!(self.metas, [Some(zero), Some(one)] if zero.same_tree(&one))
    }

    /// What is wrong with the header of one of the pages.
    pub(crate) fn header_misfit(&self, index: u8) -> Option<String> {
        let header = self.headers.get(usize::from(index)).copied().flatten()?;
        (header.id != u64::from(index) || header.kind() != Some(PageKind::Meta) || header.overflow != 0)
            .then(|| format!("header says id {}, flags {:#x}, overflow {}", header.id, header.flags, header.overflow))
    }
}

/// What a file's length makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The data, then a digest.
    Snapshot,
    /// A copied database, at least as long as its data.
    Copy,
}

/// Compares the length with what the meta page claims, before anything is allocated or read by that claim.
///
/// # Errors
/// The file is too short, or neither a snapshot nor whole disk sectors.
pub(crate) fn extent(pair: &MetaPair, length: u64, digest: DigestCheck) -> Result<Extent, VerifyError> {
    let data = pair.meta.pages.saturating_mul(u64::from(pair.meta.page_size));
    let whole = data.saturating_add(DIGEST_BYTES);
    let digest_known = matches!(digest, DigestCheck::Known(_));
    // The streamed pair ends on its data: somebody cut off the digest, or the file broke off there. Who skips the digest
    // needs none.
    let cut = length == data && (digest_known || (digest == DigestCheck::Compute && pair.is_surely_streamed()));
    if length < data || cut || (length > data && length < whole) {
        Err(VerifyError::Truncated { length, expected: whole })
    } else if length == whole {
        Ok(Extent::Snapshot)
    } else if !length.is_multiple_of(512) || (digest_known && length > whole) {
        Err(VerifyError::TrailingBytes { length, expected: whole })
    } else {
        Ok(Extent::Copy)
    }
}

fn read_start(source: &dyn Source, offset: u64) -> io::Result<Option<[u8; META_BYTES]>> {
    let mut start = [0; META_BYTES];
    if source.len() < offset.saturating_add(META_BYTES as u64) {
        return Ok(None);
    }
    source.read_at(offset, &mut start)?;
    Ok(Some(start))
}

/// Looks for the second meta page where each page size would put it.
fn find_second(source: &dyn Source) -> io::Result<Option<u32>> {
    let mut size = MIN_PAGE_SIZE;
    while size <= MAX_PAGE_SIZE {
        let Some(start) = read_start(source, u64::from(size))? else { return Ok(None) };
        if Meta::parse(&start).is_ok_and(|meta| meta.page_size == size) {
            return Ok(Some(size));
        }
        size *= 2;
    }
    Ok(None)
}

/// What a file without a valid meta page is.
fn what_else(start: &[u8]) -> NotASnapshot {
    match (le_u32(start, HEADER_BYTES), start) {
        (Some(MAGIC), _) => NotASnapshot::NoValidMeta,
        (Some(MAGIC_OF_THE_OTHER_ORDER), _) => NotASnapshot::BigEndian,
        (_, [0x28, 0xb5, 0x2f, 0xfd, ..]) => NotASnapshot::Compressed("zstd"),
        (_, [0x1f, 0x8b, ..]) => NotASnapshot::Compressed("gzip"),
        _ => NotASnapshot::NoDatabase,
    }
}

pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
