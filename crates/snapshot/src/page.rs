//! A bbolt page: a header, a table of elements, then their keys and values.
//!
//! ```text
//!  0        8      10     12          16                    16 + 16 * count
//! +--------+------+------+-----------+---------------------+------------------------+
//! | id     | flags| count| overflow  | elements, 16 each   | keys and values        |
//! +--------+------+------+-----------+---------------------+------------------------+
//! leaf element:    flags u32, pos u32, key size u32, value size u32
//! branch element:  pos u32, key size u32, child page u64
//! ```
//! `pos` counts from the element's own start. A page whose bytes do not fit goes on in `overflow` further pages, which have
//! no header. Read from bbolt internal/common/page.go @ v1.4.3; the same since v1.3.3.

use crate::bytes::{le_u16, le_u32, le_u64};

/// Bytes of a page header, and of an element of either kind.
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const ELEMENT_BYTES: usize = 16;

/// Longest key that bbolt stores.
pub(crate) const MAX_KEY_BYTES: u32 = 32768;

/// Ids of the first page that is not a meta page.
pub(crate) const FIRST_TREE_PAGE: u64 = 2;

/// The element's value is a bucket.
pub(crate) const BUCKET_ELEMENT: u32 = 0x01;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Branch,
    Leaf,
    Meta,
    Freelist,
}

/// A page header as it stands there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    /// `None` if there are too few bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: le_u64(bytes, 0)?,
            flags: le_u16(bytes, 8)?,
            count: le_u16(bytes, 10)?,
            overflow: le_u32(bytes, 12)?,
        })
    }

    /// `None` unless exactly one known flag is set.
    pub(crate) fn kind(&self) -> Option<PageKind> {
        match self.flags {
            0x01 => Some(PageKind::Branch),
            0x02 => Some(PageKind::Leaf),
            0x04 => Some(PageKind::Meta),
            0x10 => Some(PageKind::Freelist),
            _ => None,
        }
    }
}

/// An element of a leaf or branch page as it stands there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    /// Distance from the element to its key.
    pub(crate) pos: u32,
    pub(crate) key_bytes: u32,
    pub(crate) payload: Payload,
}

/// What an element leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload {
    /// A value, right behind the key.
    Value { flags: u32, bytes: u32 },
    /// A page one level below.
    Child(u64),
}

impl Element {
    pub(crate) fn parse_leaf(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            pos: le_u32(bytes, 4)?,
            key_bytes: le_u32(bytes, 8)?,
            payload: Payload::Value { flags: le_u32(bytes, 0)?, bytes: le_u32(bytes, 12)? },
        })
    }

    pub(crate) fn parse_branch(bytes: &[u8]) -> Option<Self> {
        Some(Self { pos: le_u32(bytes, 0)?, key_bytes: le_u32(bytes, 4)?, payload: Payload::Child(le_u64(bytes, 8)?) })
    }

    /// Bytes of the value behind the key.
    pub(crate) fn value_bytes(&self) -> u64 {
        match self.payload {
            Payload::Value { bytes, .. } => u64::from(bytes),
            Payload::Child(_) => 0,
        }
    }
}

/// A set of page ids below a bound that the file's length sets.
#[derive(Debug)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    count: u64,
}

impl PageSet {
    /// For ids below `pages`, which the caller has compared with the file's length.
    pub(crate) fn new(pages: u64) -> Self {
        Self { words: vec![0; usize::try_from(pages.div_ceil(64)).unwrap_or(0)], count: 0 }
    }

    /// Whether the id was not in the set yet, and lies within the bound.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let mask = 1 << (id % 64);
        match usize::try_from(id / 64).ok().and_then(|index| self.words.get_mut(index)) {
            Some(word) if *word & mask == 0 => {
                *word |= mask;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        usize::try_from(id / 64)
            .ok()
            .and_then(|index| self.words.get(index))
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_flag() {
        let header = |flags| Header { id: 0, flags, count: 0, overflow: 0 };
        assert_eq!(header(0x10).kind(), Some(PageKind::Freelist));
        for flags in [0, 0x03, 0x06, 0x08, 0x102] {
            assert_eq!(header(flags).kind(), None);
        }
    }

    #[test]
    fn a_page_is_in_a_set_once() {
        let mut set = PageSet::new(65);
        assert!(set.insert(64) && !set.insert(64) && set.contains(64));
        assert!(!set.contains(63) && !set.contains(u64::MAX) && !set.insert(u64::MAX));
        assert_eq!(set.count(), 1);
    }
}
