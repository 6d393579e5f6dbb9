//! Reads again what was written, and compares it with what was meant.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crc32c::crc32c;

use super::RestoreError;
use super::directory::{Staging, failed};
use super::membership::Membership;
use super::raft_snapshot::RaftSnapshot;
use super::rebuild::{Built, COPIED, Copied, NEW, Records};
use super::wal::Wal;
use crate::crc::Splice;
use crate::figures::bucket_root;
use crate::finding::Findings;
use crate::freelist;
use crate::hashkv::{KeyBucket, Leaves, Place, compute};
use crate::meta::MetaPair;
use crate::prefetch::reading_ahead;
use crate::pulse::Pulse;
use crate::sink::Store;
use crate::tree::{Root, Tree, Walk};
use crate::{FileSource, Progress, Source, VerifyError};

/// Compares the database of a member that is not published yet; gives its size. It is sound, page by page; its rows are those
/// of the snapshot, and hash to the snapshot's HashKV; its leases and users are the snapshot's, its members and its place in
/// raft's log those of the new cluster.
pub(super) fn check_database(
    staging: &Staging,
    store: &Store<'_>,
    built: &Built,
    cancel: Option<&AtomicBool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64, RestoreError> {
    let database = staging.database();
    let source = File::open(&database).and_then(FileSource::new).map_err(failed("read", &database))?;
    let pulse = Pulse::new(cancel, source.len(), progress);
    let damage = damage(&source, store, built, &pulse).map_err(|error| match error {
        VerifyError::Cancelled => RestoreError::Verify(error),
        VerifyError::Io(source) => failed("read", &database)(source),
        other => RestoreError::ReadBack(other.to_string()),
    })?;
    match damage {
        Some(damage) => Err(RestoreError::ReadBack(damage)),
        None => Ok(source.len()),
    }
}

/// Compares log and raft snapshot: they are those of the new cluster.
pub(super) fn check_raft(staging: &Staging, membership: &Membership) -> Result<(), RestoreError> {
    let wal = Wal::decode(&read(&staging.wal())?);
    if wal.as_ref() != Ok(&Wal::of(membership)) {
        return Err(RestoreError::ReadBack(differs("the log")));
    }
    let snapshot = RaftSnapshot::of(membership);
    if RaftSnapshot::decode(&read(&staging.snap().join(snapshot.file_name()))?) != Ok(snapshot) {
        return Err(RestoreError::ReadBack(differs("raft's snapshot")));
    }
    Ok(())
}

/// What is wrong with the database, if anything is.
fn damage(
    source: &dyn Source,
    store: &Store<'_>,
    built: &Built,
    pulse: &Pulse<'_>,
) -> Result<Option<String>, VerifyError> {
    let pair = MetaPair::read(source)?;
    if !pair.agrees() || pair.meta.pages * u64::from(pair.meta.page_size) != source.len() {
        return Ok(Some(differs("the pair of meta pages")));
    }
    let (page_size, pages) = (u64::from(pair.meta.page_size), pair.meta.pages);
    let walk = Walk::new(source, page_size, pages, Findings::new(1), pulse);
    reading_ahead(source, page_size, pages, |prefetch| compare(walk.with_prefetch(prefetch), &pair, store, built))?
}

fn compare(
    mut walk: Walk<'_>,
    pair: &MetaPair,
    store: &Store<'_>,
    built: &Built,
) -> Result<Option<String>, VerifyError> {
    let found = Found::read(&mut walk, pair.meta.root)?;
    let hash = match &found.rows {
        Some(rows) if walk.findings.is_empty() => compute(&mut walk.aside(), rows, store.rows)?,
        _ => 0,
    };
    if let Some(freelist) = pair.meta.freelist() {
        freelist::check(&mut walk, freelist)?;
    }
    if let Some(finding) = walk.findings.into_kept().first() {
        return Ok(Some(finding.to_string()));
    }
    let wrong = [
        ("the rows", found.rows_hash() == expected_rows(store, built)),
        ("the HashKV", hash == store.hash_kv.hash),
        ("a lease, a user, a role or an alarm", found.copied == built.copied),
        ("bucket members", found.members == built.members),
        ("bucket meta", found.meta == built.meta),
        ("bucket cluster or members_removed", found.others == 0),
        ("the list of buckets", found.buckets == COPIED.len() + NEW.len()),
    ];
    Ok(wrong.into_iter().find(|(_, right)| !right).map(|(what, _)| differs(what)))
}

/// How many rows there must be, of how many bytes, and their CRC: the snapshot's, then the mark of a bump.
fn expected_rows(store: &Store<'_>, built: &Built) -> Option<(u32, u64, u32)> {
    let KeyBucket { start, end, .. } = store.key_bucket;
    let splice = Splice::new();
    let bytes = end.bytes - start.bytes;
    let (rows, crc) = (end.row - start.row, splice.last(start.hash, end.hash, bytes));
    match &built.mark {
        None => Some((rows, bytes, crc)),
        Some(mark) => {
            let more = mark.len() as u64;
            Some((rows.checked_add(1)?, bytes + more, splice.append(crc, crc32c(mark), more)))
        }
    }
}

/// What the database has.
#[derive(Debug, Default)]
struct Found {
    buckets: usize,
    rows: Option<KeyBucket>,
    copied: Copied,
    members: Records,
    meta: Records,
    /// Items of buckets that have none.
    others: usize,
}

impl Found {
    fn read(walk: &mut Walk<'_>, root: u64) -> Result<Self, VerifyError> {
        let mut found = Self::default();
        let (mut buckets, mut items) = (Tree::default(), Tree::default());
        buckets.enter(walk, Root::Page(root))?;
        while let Some(entry) = buckets.next(walk)? {
            found.buckets += 1;
            if let Some(root) = bucket_root(walk, &mut buckets, &entry)? {
                if buckets.key() == b"key" {
                    walk.read_ahead(root);
                }
                items.enter(walk, root)?;
                if buckets.key() == b"key" {
                    found.rows = Some(rows(walk, &mut items, root)?);
                } else {
                    found.records(walk, &mut items, buckets.key())?;
                }
            }
        }
        Ok(found)
    }

    fn rows_hash(&self) -> Option<(u32, u64, u32)> {
        let Place { row, bytes, hash } = self.rows.as_ref()?.end;
        Some((row, bytes, hash))
    }

    fn records(&mut self, walk: &mut Walk<'_>, items: &mut Tree, bucket: &[u8]) -> Result<(), VerifyError> {
        while let Some(item) = items.next(walk)? {
            let records = match bucket {
                b"members" => &mut self.members,
                b"meta" => &mut self.meta,
                b"cluster" | b"members_removed" => {
                    self.others += 1;
                    continue;
                }
                _ => {
                    let copied = &mut self.copied;
                    copied.item(bucket, items.key());
                    items.value(walk, item.value, |piece| {
                        copied.value(piece);
                        Ok(())
                    })?;
                    continue;
                }
            };
            let value = records.entry(items.key().to_vec()).or_default();
            items.value(walk, item.value, |piece| {
                value.extend_from_slice(piece);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Walks the rows for their bytes alone: what they mean, the snapshot's have told.
fn rows(walk: &mut Walk<'_>, items: &mut Tree, root: Root) -> Result<KeyBucket, VerifyError> {
    items.set_hash(0);
    let (mut leaves, mut row, mut bytes) = (Leaves::default(), 0_u32, 0);
    while let Some(item) = items.next(walk)? {
        leaves.push(item.page, || Place { row, bytes, hash: items.leaf_hash() });
        items.value(walk, item.value, |_| Ok(()))?;
        bytes += items.key().len() as u64 + item.value.length;
        row = row.saturating_add(1);
    }
    let end = Place { row, bytes, hash: items.hash() };
    Ok(KeyBucket { root, leaves, start: Place::default(), end })
}

fn read(path: &Path) -> Result<Vec<u8>, RestoreError> {
    std::fs::read(path).map_err(failed("read", path))
}

fn differs(what: &str) -> String {
    format!("{what} is not as it was meant")
}
