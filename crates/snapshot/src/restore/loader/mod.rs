//! Writes a bbolt database in one go: items come in order, and every page is written once, when it is full.
//!
//! Leaves are written as they fill; the first key of each goes up to the level above, which is written in the same way. A page
//! that is not full yet is all that a level keeps in memory. What bbolt demands of the result, and its own checks do not see:
//! a branch page with one child is read well, and makes etcd panic when a compaction shrinks that child. So every
//! branch page gets two at least. Read from bbolt node.go and bucket.go @ v1.4.3.

mod pages;

use std::fs::File;
use std::io;

use crate::page::{BUCKET_ELEMENT, ELEMENT_BYTES, HEADER_BYTES};
use pages::{Body, Pages};

/// A leaf is collected up to this size, if its page is not larger; an item beyond it has a leaf to itself and is written as it comes.
const LEAF_BYTES: u64 = 4 << 20;

/// bbolt leaves a page of so many items as it is, however large it gets.
const NEVER_SPLIT: usize = 4;

/// One less than the number that bbolt keeps for itself.
const MAX_COUNT: usize = 0xFFFE;

/// The longest value that bbolt takes.
const MAX_VALUE_BYTES: u64 = (1 << 31) - 2;

/// Larger buckets have pages of their own, however large those are: all that is within values stays in memory.
const MAX_INLINE_BYTES: usize = 16 << 10;

/// A database that is being written.
pub(super) struct Loader {
    pages: Pages,
    /// The finished buckets, by name, and what leads to them.
    buckets: Vec<(&'static str, Vec<u8>)>,
}

impl Loader {
    /// Starts in an empty file.
    pub(super) fn new(file: File, page_size: u32) -> io::Result<Self> {
        Ok(Self { pages: Pages::start(file, page_size)?, buckets: Vec::new() })
    }

    /// An item of a bucket begins; its key is above those before it.
    pub(super) fn item(&mut self, bucket: &mut Bucket, key: &[u8], value_bytes: u64) -> io::Result<()> {
        bucket.item(&mut self.pages, key, value_bytes)
    }

    /// Its value, in pieces.
    pub(super) fn value(&mut self, bucket: &mut Bucket, piece: &[u8]) -> io::Result<()> {
        bucket.value(&mut self.pages, piece)
    }

    /// An item as a whole.
    pub(super) fn put(&mut self, bucket: &mut Bucket, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.item(bucket, key, value.len() as u64)?;
        self.value(bucket, value)
    }

    /// No more items come. Buckets may be open at the same time, and end in any order.
    pub(super) fn end(&mut self, name: &'static str, bucket: Bucket) -> io::Result<()> {
        let value = bucket.into_value(&mut self.pages)?;
        self.buckets.push((name, value));
        Ok(())
    }

    /// Writes the list of buckets, an empty freelist and the meta pages. The file is whole, and still has to be synced.
    pub(super) fn finish(mut self) -> io::Result<File> {
        let mut list = Bucket { flags: BUCKET_ELEMENT, ..Bucket::default() };
        self.buckets.sort_unstable();
        for (name, value) in std::mem::take(&mut self.buckets) {
            self.put(&mut list, name.as_bytes(), &value)?;
        }
        let root = list.into_root(&mut self.pages)?;
        self.pages.finish(root)
    }
}

/// A bucket that is being written.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Of its elements.
    flags: u32,
    leaf: Leaf,
    /// Bytes of the last item's value still to come.
    left: u64,
    /// The key and page of a last item that goes right to the file.
    large: Option<(Vec<u8>, u64)>,
    /// Branch pages, the lowest level first.
    levels: Vec<Branch>,
}

impl Bucket {
    fn item(&mut self, pages: &mut Pages, key: &[u8], value_bytes: u64) -> io::Result<()> {
        if self.left > 0 || value_bytes > MAX_VALUE_BYTES {
            return Err(unfit());
        }
        let bytes = (ELEMENT_BYTES + key.len()) as u64 + value_bytes;
        if !self.leaf.takes(bytes, pages.page_size()) {
            self.end_leaf(pages)?;
        }
        let sizes = (u32::try_from(key.len()).map_err(|_| unfit())?, u32::try_from(value_bytes).map_err(|_| unfit())?);
        self.left = value_bytes;
        if HEADER_BYTES as u64 + bytes > LEAF_BYTES.max(pages.page_size()) {
            let id = pages.begin(Body::Leaf, 1, bytes)?;
            pages.write(&element(self.flags, ELEMENT_BYTES as u64, sizes)?)?;
            pages.write(key)?;
            self.large = Some((key.to_vec(), id));
        } else {
            self.leaf.elements.push(sizes);
            self.leaf.data.extend_from_slice(key);
        }
        Ok(())
    }

    fn value(&mut self, pages: &mut Pages, piece: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(unfit)?;
        if self.large.is_none() {
            self.leaf.data.extend_from_slice(piece);
            return Ok(());
        }
        pages.write(piece)?;
        if self.left == 0
            && let Some((key, id)) = self.large.take()
        {
            pages.end()?;
            self.add_child(pages, 0, &key, id)?;
        }
        Ok(())
    }

    fn end_leaf(&mut self, pages: &mut Pages) -> io::Result<()> {
        let id = pages.begin(Body::Leaf, self.leaf.elements.len(), self.leaf.bytes() - HEADER_BYTES as u64)?;
        self.leaf.write(self.flags, |bytes| pages.write(bytes))?;
        pages.end()?;
        let leaf = std::mem::take(&mut self.leaf);
        self.add_child(pages, 0, leaf.first_key(), id)?;
        self.leaf = leaf.emptied();
        Ok(())
    }

    /// Takes a page into the branch page above it. One that is full is written but for its last child, so that the next one
    /// has two with the child that comes now.
    fn add_child(&mut self, pages: &mut Pages, level: usize, key: &[u8], id: u64) -> io::Result<()> {
        if level == self.levels.len() {
            self.levels.push(Branch::default());
        }
        let branch = &mut self.levels[level];
        if branch.is_full(key, pages.page_size()) {
            let full = branch.split_off_last();
            let id = full.write(pages)?;
            self.add_child(pages, level + 1, full.key(0), id)?;
        }
        self.levels[level].push(key, id);
        Ok(())
    }

    /// What the list of buckets has for this one: the root page's id, or the only page itself if it is small.
    fn into_value(self, pages: &mut Pages) -> io::Result<Vec<u8>> {
        let inline = (pages.page_size() / 4).min(MAX_INLINE_BYTES as u64);
        let mut value = vec![0; 2 * size_of::<u64>()];
        if self.left == 0 && self.levels.is_empty() && self.leaf.bytes() <= inline {
            value.extend(pages::header(0, Body::Leaf, self.leaf.elements.len(), 0)?);
            self.leaf.write(self.flags, |bytes| {
                value.extend_from_slice(bytes);
                Ok(())
            })?;
        } else {
            let root = self.into_root(pages)?;
            value[..size_of::<u64>()].copy_from_slice(&root.to_le_bytes());
        }
        Ok(value)
    }

    /// Writes all pages that are left, and gives the id of the topmost.
    fn into_root(mut self, pages: &mut Pages) -> io::Result<u64> {
        if self.left > 0 {
            return Err(unfit());
        }
        if !self.leaf.elements.is_empty() || self.levels.is_empty() {
            self.end_leaf(pages)?;
        }
        let mut level = 0;
        loop {
            // A level under another one has two children at least; so the level with one is the topmost.
            if let [(_, only)] = self.levels[level].children[..] {
                return Ok(only);
            }
            let branch = std::mem::take(&mut self.levels[level]);
            let id = branch.write(pages)?;
            self.add_child(pages, level + 1, branch.key(0), id)?;
            level += 1;
        }
    }
}

/// A leaf that is not written yet.
#[derive(Debug, Default)]
struct Leaf {
    /// Bytes of each item's key and value.
    elements: Vec<(u32, u32)>,
    /// All keys and values.
    data: Vec<u8>,
}

impl Leaf {
    /// Bytes of the page, not rounded up.
    fn bytes(&self) -> u64 {
        (HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.data.len()) as u64
    }

    /// Whether an item is better off in this leaf than in the next one. Beyond the end of a page only while bbolt would not
    /// split it, and where that fills the pages better.
    fn takes(&self, item: u64, page_size: u64) -> bool {
        let (before, after) = (self.bytes(), self.bytes() + item);
        let pages = |bytes: u64| bytes.div_ceil(page_size);
        match self.elements.len() {
            0 => true,
            MAX_COUNT.. => false,
            _ if after <= page_size => true,
            NEVER_SPLIT.. => false,
            _ if after > LEAF_BYTES => false,
            _ => {
                let saves = pages(after) < pages(before) + pages(HEADER_BYTES as u64 + item);
                let loose = before * 4 < pages(before) * page_size * 3;
                saves || loose
            }
        }
    }

    fn first_key(&self) -> &[u8] {
        let key = self.elements.first().map_or(0, |&(key, _)| key as usize);
        self.data.get(..key).unwrap_or_default()
    }

    /// What stands behind the header.
    fn write(&self, flags: u32, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut pos = (self.elements.len() * ELEMENT_BYTES) as u64;
        for &(key, value) in &self.elements {
            to(&element(flags, pos, (key, value))?)?;
            pos = pos - ELEMENT_BYTES as u64 + u64::from(key) + u64::from(value);
        }
        to(&self.data)
    }

    /// An empty one that has the memory of this one.
    fn emptied(mut self) -> Self {
        self.elements.clear();
        self.data.clear();
        self
    }
}

/// A branch page that is not written yet.
#[derive(Debug, Default)]
struct Branch {
    /// Where each child's key ends in `keys`, and its page.
    children: Vec<(usize, u64)>,
    keys: Vec<u8>,
}

impl Branch {
    /// Whether another child must go into the next page: this one has enough, and at least the two that it must have when
    /// its last one goes there too.
    fn is_full(&self, key: &[u8], page_size: u64) -> bool {
        let bytes = HEADER_BYTES + (self.children.len() + 1) * ELEMENT_BYTES + self.keys.len() + key.len();
        self.children.len() > 2 && (bytes as u64 > page_size || self.children.len() >= MAX_COUNT)
    }

    fn push(&mut self, key: &[u8], id: u64) {
        self.keys.extend_from_slice(key);
        self.children.push((self.keys.len(), id));
    }

    fn key(&self, index: usize) -> &[u8] {
        let end = |index: usize| self.children.get(index).map_or(0, |&(end, _)| end);
        let start = index.checked_sub(1).map_or(0, end);
        self.keys.get(start..end(index)).unwrap_or_default()
    }

    /// Keeps the last child only, and gives the others.
    fn split_off_last(&mut self) -> Self {
        let mut kept = Self::default();
        if let Some((index, &(_, id))) = self.children.iter().enumerate().next_back() {
            kept.push(self.key(index), id);
            self.keys.truncate(self.keys.len() - kept.keys.len());
            self.children.truncate(index);
        }
        std::mem::replace(self, kept)
    }

    fn write(&self, pages: &mut Pages) -> io::Result<u64> {
        let table = self.children.len() * ELEMENT_BYTES;
        let id = pages.begin(Body::Branch, self.children.len(), (table + self.keys.len()) as u64)?;
        let mut start = 0;
        for (index, &(end, child)) in self.children.iter().enumerate() {
            let pos = u32::try_from(table - index * ELEMENT_BYTES + start).map_err(|_| unfit())?;
            let key_bytes = u32::try_from(end - start).map_err(|_| unfit())?;
            let mut element = [0; ELEMENT_BYTES];
            element[..4].copy_from_slice(&pos.to_le_bytes());
            element[4..8].copy_from_slice(&key_bytes.to_le_bytes());
            element[8..].copy_from_slice(&child.to_le_bytes());
            pages.write(&element)?;
            start = end;
        }
        pages.write(&self.keys)?;
        pages.end()?;
        Ok(id)
    }
}

/// A leaf's element.
fn element(flags: u32, pos: u64, (key_bytes, value_bytes): (u32, u32)) -> io::Result<[u8; ELEMENT_BYTES]> {
    let mut element = [0; ELEMENT_BYTES];
    let pos = u32::try_from(pos).map_err(|_| unfit())?;
    for (to, word) in element.chunks_exact_mut(4).zip([flags, pos, key_bytes, value_bytes]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    Ok(element)
}

/// Items that no sound database has: sizes that do not add up or that bbolt cannot store.
fn unfit() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "an item does not have the size that was said, or one that bbolt cannot store",
    )
}

#[cfg(test)]
mod tests;
