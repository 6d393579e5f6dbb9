//! The figures of `snapshot status`, and what else a file tells about its cluster, gathered while its buckets are walked.
//!
//! Read from etcd etcdutl/snapshot/v3_snapshot.go @ v3.5.33 and v3.6.14, clientv3/snapshot/v3_snapshot.go @ v3.4.45.

use std::io;

use crc32c::crc32c_append;

use crate::bytes::le_u64;
use crate::hashkv::{KeyBucket, Leaves, Place};
use crate::page::BUCKET_ELEMENT;
use crate::row::RowValue;
use crate::rows::Rows;
use crate::settings::{self, Settings};
use crate::sink::Sink;
use crate::tree::{Entry, Root, Span, Tree, Walk};
use crate::{Finding, FindingKind, VerifyError};

/// What the buckets hold.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) hash: u32,
    pub(crate) items: u64,
    pub(crate) settings: Settings,
    pub(crate) rows: Rows,
    pub(crate) key_bucket: Option<KeyBucket>,
    /// The value of a small record.
    value: Vec<u8>,
}

/// Walks all buckets.
pub(crate) fn gather(walk: &mut Walk<'_>, root: u64, rows: Rows, sink: &mut impl Sink) -> Result<Figures, VerifyError> {
    let mut figures =
        Figures { hash: 0, items: 0, settings: Settings::default(), rows, key_bucket: None, value: Vec::new() };
    let mut buckets = Tree::default();
    let mut items = Tree::default();
    let mut name = Vec::new();
    let mut has_key_bucket = false;
    buckets.enter(walk, Root::Page(root))?;
    while let Some(entry) = buckets.next(walk)? {
        name.clear();
        name.extend_from_slice(buckets.key());
        walk.findings.enter(Some(&name));
        figures.hash = crc32c_append(figures.hash, &name);
        has_key_bucket |= name == b"key";
        sink.bucket(&name)?;
        let root = bucket_root(walk, &mut buckets, &entry)?;
        let Some(root) = root else {
            walk.findings.enter(None);
            continue;
        };
        if name == b"key" {
            walk.read_ahead(root);
        }
        items.enter(walk, root)?;
        items.set_hash(figures.hash);
        if name == b"key" {
            figures.rows(walk, root, &mut items, sink)?;
        } else {
            while let Some(item) = items.next(walk)? {
                figures.record(walk, &name, &mut items, &item, sink)?;
            }
        }
        figures.hash = items.hash();
        walk.findings.enter(None);
    }
    if !has_key_bucket {
        let message = "no bucket \"key\": a bbolt database, but not etcd's";
        walk.findings.push(|| Finding::new(FindingKind::MissingBucket, message));
    }
    Ok(figures)
}

/// Where a bucket's items are. Its value is the id of its root page and a sequence that etcd does not use; with id 0, the
/// root page follows in the value itself.
pub(crate) fn bucket_root(walk: &mut Walk<'_>, buckets: &mut Tree, entry: &Entry) -> Result<Option<Root>, VerifyError> {
    let mut start = [0; 16];
    let mut filled = false;
    if entry.flags != BUCKET_ELEMENT {
        let message = format!("flags {:#x} instead of a bucket's", entry.flags);
        walk.findings.push(|| Finding::new(FindingKind::ElementFlags, message).page(entry.page).offset(entry.offset));
        return Ok(None);
    }
    let header = Span { length: entry.value.length.min(start.len() as u64), ..entry.value };
    buckets.value(walk, header, |piece| {
        if piece.len() == start.len() {
            start.copy_from_slice(piece);
            filled = true;
        }
        Ok(())
    })?;
    let page = le_u64(&start, 0).unwrap_or_default();
    let after = entry.value.length.saturating_sub(header.length);
    if !filled || (page != 0 && after > 0) {
        let message = format!("bucket of {} bytes with root page {page}", entry.value.length);
        walk.findings.push(|| Finding::new(FindingKind::Bucket, message).page(entry.page).offset(entry.offset));
        return Ok(None);
    }
    if page != 0 {
        return Ok(Some(Root::Page(page)));
    }
    let span = Span { offset: entry.value.offset + header.length, length: after };
    Ok(Some(Root::Inline { page: entry.page, span }))
}

impl Figures {
    /// The items of bucket `key`.
    fn rows(
        &mut self,
        walk: &mut Walk<'_>,
        root: Root,
        tree: &mut Tree,
        sink: &mut impl Sink,
    ) -> Result<(), VerifyError> {
        let mut bucket = KeyBucket { root, leaves: Leaves::default(), start: Place::default(), end: Place::default() };
        bucket.start.hash = self.hash;
        let mut bytes = 0;
        while let Some(item) = tree.next(walk)? {
            bucket.leaves.push(item.page, || Place { row: self.rows.len(), bytes, hash: tree.leaf_hash() });
            if !self.begin(walk, tree, &item, sink)? {
                continue;
            }
            if self.rows.is_full() {
                return Err(VerifyError::Io(io::ErrorKind::FileTooLarge.into()));
            }
            bytes += tree.key().len() as u64 + item.value.length;
            let mut value = RowValue::new(self.rows.hasher);
            tree.value(walk, item.value, |piece| {
                value.feed(piece);
                sink.value(piece)
            })?;
            if let Err(finding) = self.rows.push(tree.key(), &value, item.value.length) {
                walk.findings.push(|| finding.page(item.page).offset(item.offset).key(tree.key()));
            }
        }
        bucket.end = Place { row: self.rows.len(), bytes, hash: tree.hash() };
        self.key_bucket = Some(bucket);
        Ok(())
    }

    /// An item of another bucket.
    fn record(
        &mut self,
        walk: &mut Walk<'_>,
        bucket: &[u8],
        tree: &mut Tree,
        item: &Entry,
        sink: &mut impl Sink,
    ) -> Result<(), VerifyError> {
        if !self.begin(walk, tree, item, sink)? {
            return Ok(());
        }
        let short = item.value.length <= settings::MAX_BYTES as u64;
        let value = &mut self.value;
        value.clear();
        tree.value(walk, item.value, |piece| {
            if short {
                value.extend_from_slice(piece);
            }
            sink.value(piece)
        })?;
        if let Err(finding) = self.settings.take(bucket, tree.key(), short.then_some(value)) {
            walk.findings.push(|| finding.page(item.page).offset(item.offset).key(tree.key()));
        }
        Ok(())
    }

    /// Counts an item; `false` for one that is none.
    fn begin(
        &mut self,
        walk: &mut Walk<'_>,
        tree: &Tree,
        item: &Entry,
        sink: &mut impl Sink,
    ) -> Result<bool, VerifyError> {
        if item.flags != 0 {
            let message = format!("flags {:#x}; etcd has no buckets in buckets", item.flags);
            let finding = || Finding::new(FindingKind::ElementFlags, message).page(item.page).offset(item.offset);
            walk.findings.push(|| finding().key(tree.key()));
            return Ok(false);
        }
        self.items += 1;
        sink.item(tree.key(), item.value.length)?;
        Ok(true)
    }
}
