//! A snapshot's buckets as they become those of the new cluster's database.
//!
//! Keys, leases and users are copied item by item; members and versions of the old cluster stay behind. The one form that
//! etcd 3.4 to 3.7 all start from: 3.6 and later take the members from bucket `members`, earlier ones from raft's snapshot;
//! without a version in `cluster` and `meta` each one records its own. Read from etcd server/storage/schema, etcdutl/snapshot
//! and server/etcdserver/bootstrap.go @ v3.6.14 and v3.7.1, etcdserver/server.go @ v3.4.45.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use crc32c::crc32c_append;
use serde::Serialize;

use super::RestoreError;
use super::loader::{Bucket, Loader};
use super::membership::Membership;
use super::wal::TERM;
use crate::record::alarm;
use crate::sink::Store;
use crate::{AlarmKind, Compaction};

/// The buckets that are copied, in byte order.
pub(super) const COPIED: [&str; 6] = ["alarm", "auth", "authRoles", "authUsers", "key", "lease"];
/// Those that are written anew, and those that stay empty.
pub(super) const NEW: [&str; 4] = ["cluster", "members", "members_removed", "meta"];

/// Bytes of a row's key.
const ROW_KEY_BYTES: usize = 17;

/// How many unknown buckets are named; a file may have any number.
const MAX_UNKNOWN: usize = 10;

/// A fingerprint of what is the same in both databases, apart from the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copied {
    items: u64,
    crc: u32,
}

impl Copied {
    pub(super) fn item(&mut self, bucket: &[u8], key: &[u8]) {
        self.items += 1;
        self.value(bucket);
        self.value(key);
    }

    pub(super) fn value(&mut self, piece: &[u8]) {
        self.crc = crc32c_append(self.crc, piece);
    }
}

/// Takes a snapshot's items into a new database.
pub(super) struct Rebuild {
    loader: Loader,
    /// All of [`COPIED`], open to the end: the mark of a revision bump comes behind the rows of `key`, and how high that is,
    /// the walk knows at its end.
    buckets: [Bucket; COPIED.len()],
    /// Which of them is being read; none if its items stay behind.
    bucket: Option<usize>,
    /// Whether that is `key`, over whose rows the walk keeps a hash of its own.
    rows: bool,
    /// Whether the last item stays behind though its bucket does not.
    skipped: bool,
    copied: Copied,
    unknown_buckets: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) copied: Copied,
    /// The row that raises the revision, if it is raised.
    pub(super) mark: Option<[u8; ROW_KEY_BYTES]>,
    pub(super) revision: i64,
    pub(super) members: Records,
    pub(super) meta: Records,
    pub(super) unknown_buckets: Vec<String>,
}

/// Keys and values.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

impl Rebuild {
    pub(super) fn new(loader: Loader) -> Self {
        Self {
            loader,
            buckets: Default::default(),
            bucket: None,
            rows: false,
            skipped: false,
            copied: Copied::default(),
            unknown_buckets: Vec::new(),
        }
    }

    pub(super) fn start_bucket(&mut self, name: &[u8]) {
        let is = |bucket: &&str| bucket.as_bytes() == name;
        self.bucket = COPIED.iter().position(is);
        self.rows = name == b"key";
        if !COPIED.iter().chain(&NEW).any(is) && self.unknown_buckets.len() < MAX_UNKNOWN {
            self.unknown_buckets.push(crate::finding::printable(name));
        }
    }

    pub(super) fn start_item(&mut self, key: &[u8], value_bytes: u64) -> io::Result<()> {
        let Some((name, bucket)) =
            self.bucket.and_then(|index| Some((COPIED.get(index)?, self.buckets.get_mut(index)?)))
        else {
            return Ok(());
        };
        // The new database is compact; that the old one was full says nothing about it.
        self.skipped = *name == "alarm" && alarm(key, b"").is_some_and(|alarm| alarm.kind == AlarmKind::NoSpace);
        if self.skipped {
            return Ok(());
        }
        if !self.rows {
            self.copied.item(name.as_bytes(), key);
        }
        self.loader.item(bucket, key, value_bytes)
    }

    pub(super) fn take_value(&mut self, piece: &[u8]) -> io::Result<()> {
        match self.bucket.and_then(|index| self.buckets.get_mut(index)) {
            Some(bucket) if !self.skipped => {
                if !self.rows {
                    self.copied.value(piece);
                }
                self.loader.value(bucket, piece)
            }
            _ => Ok(()),
        }
    }

    /// Writes what does not come from the snapshot's items, and gives the file, which still has to be synced. `failed` makes an
    /// error of the file's.
    pub(super) fn finish(
        self,
        membership: &Membership,
        store: &Store<'_>,
        bump: u64,
        failed: impl FnOnce(io::Error) -> RestoreError,
    ) -> Result<(Built, File), RestoreError> {
        let revision = i64::try_from(bump)
            .ok()
            .and_then(|bump| store.current_revision.checked_add(bump))
            .ok_or(RestoreError::RevisionOverflow { revision: store.current_revision, bump })?;
        let mark = (bump > 0).then(|| row_key(revision));
        let built = Built {
            copied: self.copied,
            mark,
            revision,
            members: members(membership),
            meta: meta(membership, store.compaction, mark),
            unknown_buckets: self.unknown_buckets,
        };
        let file = write_rest(self.loader, self.buckets, &built).map_err(failed)?;
        Ok((built, file))
    }
}

fn write_rest(mut loader: Loader, copied: [Bucket; COPIED.len()], built: &Built) -> io::Result<File> {
    for (name, mut bucket) in COPIED.into_iter().zip(copied) {
        if let Some(mark) = built.mark.as_ref().filter(|_| name == "key") {
            loader.put(&mut bucket, mark, b"")?;
        }
        loader.end(name, bucket)?;
    }
    for name in NEW {
        let mut bucket = Bucket::default();
        let records = match name {
            "members" => &built.members,
            "meta" => &built.meta,
            _ => &Records::new(),
        };
        records.iter().try_for_each(|(key, value)| loader.put(&mut bucket, key, value))?;
        loader.end(name, bucket)?;
    }
    loader.finish()
}

/// Bucket `members`.
fn members(membership: &Membership) -> Records {
    membership.members().iter().map(|member| (format!("{:x}", member.id).into_bytes(), member.record())).collect()
}

/// Bucket `meta`: where raft is, and how far the history is compacted. No storage version: the server records its own.
fn meta(membership: &Membership, compaction: Compaction, mark: Option<[u8; ROW_KEY_BYTES]>) -> Records {
    #[derive(Serialize)]
    struct ConfState {
        voters: Vec<u64>,
        auto_leave: bool,
    }
    let voters = ConfState { voters: membership.ids(), auto_leave: false };
    let voters = serde_json::to_vec(&voters).expect("numbers are always JSON");
    let scheduled = mark.or(compaction.scheduled.map(row_key));
    let records = [
        ("confState", Some(voters)),
        // The very index of raft's snapshot. With a lower one etcd panics, with a higher one it silently skips what is between.
        ("consistent_index", Some(membership.last_index().to_be_bytes().to_vec())),
        ("finishedCompactRev", compaction.finished.map(|revision| row_key(revision).to_vec())),
        ("scheduledCompactRev", scheduled.map(|mark| mark.to_vec())),
        ("term", Some(TERM.to_be_bytes().to_vec())),
    ];
    records.into_iter().filter_map(|(key, value)| Some((key.as_bytes().to_vec(), value?))).collect()
}

/// The key of a revision's first row; the marks of compactions have the same form.
fn row_key(revision: i64) -> [u8; ROW_KEY_BYTES] {
    let mut key = [0; ROW_KEY_BYTES];
    let (main, rest) = key.split_at_mut(size_of::<i64>());
    main.copy_from_slice(&revision.to_be_bytes());
    rest[0] = b'_';
    key
}
