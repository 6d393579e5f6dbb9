//! The figures of `snapshot status`, and what else a file tells about its cluster, gathered while its buckets are walked.
//!
//! Read from etcd etcdutl/snapshot/v3_snapshot.go @ v3.5.33 and v3.6.14, clientv3/snapshot/v3_snapshot.go @ v3.4.45.

use std::collections::HashSet;

use crc32c::crc32c_append;

use crate::bytes::{be_u64, le_u64};
use crate::page::BUCKET_ELEMENT;
use crate::record::{KeyDigest, RowKey, UserKey, member};
use crate::sink::Sink;
use crate::tree::{Entry, Root, Span, Tree, Walk};
use crate::window::WINDOW_BYTES;
use crate::{Finding, FindingKind, Member, VerifyError};

/// What the buckets hold.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    pub(crate) items: u64,
    live: HashSet<KeyDigest>,
    pub(crate) version: String,
    pub(crate) cluster_version: Option<String>,
    pub(crate) consistent_index: Option<u64>,
    pub(crate) members: Vec<Member>,
    /// 3.5 and later record the raft term or the voters.
    has_term: bool,
    has_key_bucket: bool,
}

impl Figures {
    pub(crate) fn live_keys(&self) -> u64 {
        self.live.len() as u64
    }

    /// Whether the writer's own tool counts live keys and not items.
    pub(crate) fn counts_live_keys(&self) -> bool {
        let (major, minor) = self.minor();
        (major, minor) >= (3, 6)
    }

    /// The minor version of etcd that wrote the records.
    pub(crate) fn writer(&self) -> String {
        let (major, minor) = self.minor();
        format!("{major}.{minor}")
    }

    /// The storage version tells from 3.6 on, but a cluster records it only some seconds after it has started. Before
    /// that the cluster version does: it is that of the oldest member.
    fn minor(&self) -> (u32, u32) {
        let recorded = parse_minor(&self.version).or_else(|| self.cluster_version.as_deref().and_then(parse_minor));
        match recorded {
            Some(recorded) if recorded >= (3, 6) => recorded,
            _ if self.has_term => (3, 5),
            _ => (3, 4),
        }
    }
}

/// Major and minor of a version such as `3.6.0`.
fn parse_minor(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Walks all buckets, from the page that lists them.
pub(crate) fn gather(walk: &mut Walk<'_>, root: u64, sink: &mut impl Sink) -> Result<Figures, VerifyError> {
    let mut figures = Figures::default();
    let mut buckets = Tree::default();
    let mut items = Tree::default();
    let mut name = Vec::new();
    buckets.enter(walk, Root::Page(root))?;
    while let Some(entry) = buckets.next(walk)? {
        name.clear();
        name.extend_from_slice(buckets.key());
        walk.findings.enter(Some(&name));
        figures.hash = crc32c_append(figures.hash, &name);
        figures.has_key_bucket |= name == b"key";
        sink.bucket(&name)?;
        if let Some(root) = bucket_root(walk, &mut buckets, &entry)? {
            items.enter(walk, root)?;
            while let Some(item) = items.next(walk)? {
                figures.item(walk, &name, &mut items, &item, sink)?;
            }
        }
        walk.findings.enter(None);
    }
    if !figures.has_key_bucket {
        let message = "no bucket \"key\": a bbolt database, but not etcd's";
        walk.findings.push(|| Finding::new(FindingKind::MissingBucket, message));
    }
    Ok(figures)
}

/// Where a bucket's items are. Its value is the id of its root page and a sequence that etcd does not use; with id 0, the
/// root page follows in the value itself.
fn bucket_root(walk: &mut Walk<'_>, buckets: &mut Tree, entry: &Entry) -> Result<Option<Root>, VerifyError> {
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
    fn item(
        &mut self,
        walk: &mut Walk<'_>,
        bucket: &[u8],
        tree: &mut Tree,
        item: &Entry,
        sink: &mut impl Sink,
    ) -> Result<(), VerifyError> {
        if item.flags != 0 {
            let message = format!("flags {:#x}; etcd has no buckets in buckets", item.flags);
            let finding = || Finding::new(FindingKind::ElementFlags, message).page(item.page).offset(item.offset);
            walk.findings.push(|| finding().key(tree.key()));
            return Ok(());
        }
        self.items += 1;
        self.hash = crc32c_append(self.hash, tree.key());
        sink.item(tree.key(), item.value.length)?;
        let sound = match bucket {
            b"key" => self.row(walk, tree, item, sink)?,
            b"meta" | b"cluster" | b"members" => self.setting(walk, bucket, tree, item, sink)?,
            _ => {
                let hash = &mut self.hash;
                tree.value(walk, item.value, |piece| {
                    *hash = crc32c_append(*hash, piece);
                    sink.value(piece)
                })?;
                true
            }
        };
        if !sound {
            let message = "not a record that etcd writes here";
            let finding = || Finding::new(FindingKind::Record, message).page(item.page).offset(item.offset);
            walk.findings.push(|| finding().key(tree.key()));
        }
        Ok(())
    }

    fn row(
        &mut self,
        walk: &Walk<'_>,
        tree: &mut Tree,
        item: &Entry,
        sink: &mut impl Sink,
    ) -> Result<bool, VerifyError> {
        let row = RowKey::parse(tree.key());
        let mut key = if item.value.length == 0 { UserKey::start(0, &[]) } else { None };
        let hash = &mut self.hash;
        let mut first = true;
        tree.value(walk, item.value, |piece| {
            *hash = crc32c_append(*hash, piece);
            if std::mem::take(&mut first) {
                key = UserKey::start(item.value.length, piece);
            } else if let Some(key) = &mut key {
                key.feed(piece);
            }
            sink.value(piece)
        })?;
        let (Some(row), Some(key)) = (row, key) else { return Ok(false) };
        self.revision = row.revision;
        if row.tombstone {
            self.live.remove(&key.finish());
        } else {
            self.live.insert(key.finish());
        }
        Ok(true)
    }

    /// A small record; one that does not fit into a window is none of etcd's.
    fn setting(
        &mut self,
        walk: &Walk<'_>,
        bucket: &[u8],
        tree: &mut Tree,
        item: &Entry,
        sink: &mut impl Sink,
    ) -> Result<bool, VerifyError> {
        let mut value = Vec::new();
        let hash = &mut self.hash;
        tree.value(walk, item.value, |piece| {
            *hash = crc32c_append(*hash, piece);
            if item.value.length <= WINDOW_BYTES as u64 {
                value.extend_from_slice(piece);
            }
            sink.value(piece)
        })?;
        if item.value.length > WINDOW_BYTES as u64 {
            return Ok(false);
        }
        let text = || String::from_utf8(value.clone()).ok();
        match (bucket, tree.key()) {
            (b"meta", b"storageVersion") => {
                let Some(version) = text().filter(|version| version.is_ascii() && !version.is_empty()) else {
                    return Ok(false);
                };
                self.version = version;
            }
            (b"meta", b"consistent_index") => {
                self.consistent_index = be_u64(&value, 0).filter(|_| value.len() == 8);
                return Ok(self.consistent_index.is_some());
            }
            (b"meta", b"term" | b"confState") => self.has_term = true,
            (b"meta", b"scheduledCompactRev" | b"finishedCompactRev") => return Ok(RowKey::parse(&value).is_some()),
            (b"cluster", b"clusterVersion") => {
                self.cluster_version = text();
                return Ok(self.cluster_version.is_some());
            }
            (b"members", key) => {
                let Some(member) = member(key, &value) else { return Ok(false) };
                self.members.push(member);
            }
            _ => {}
        }
        Ok(true)
    }
}
