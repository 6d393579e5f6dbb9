//! Reads again what was written, as anybody else would, and compares it with what was meant.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::RestoreError;
use super::directory::{Staging, failed};
use super::membership::Membership;
use super::raft_snapshot::RaftSnapshot;
use super::rebuild::{Built, COPIED, Copied, NEW, Records};
use super::wal::Wal;
use crate::sink::Sink;
use crate::verify::run;
use crate::{DigestCheck, FileSource, HashKv, HashKvAt, Options, Progress, VerifyError};

/// Compares the files of a member that is not published yet. The database is whole and sound, has the rows, leases and users of
/// the snapshot, one by one, and the new cluster's members and place in raft's log; log and raft snapshot say the same. Gives the
/// database's size in bytes.
pub(super) fn check(
    staging: &Staging,
    membership: &Membership,
    built: &Built,
    cancel: Option<&AtomicBool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64, RestoreError> {
    let database_bytes = check_database(&staging.database(), built, cancel, progress)?;
    let wal = Wal::decode(&read(&staging.wal())?);
    if wal.as_ref() != Ok(&Wal::of(membership)) {
        return Err(differs("the log"));
    }
    let snapshot = RaftSnapshot::of(membership);
    if RaftSnapshot::decode(&read(&staging.snap().join(snapshot.file_name()))?) != Ok(snapshot) {
        return Err(differs("raft's snapshot"));
    }
    Ok(database_bytes)
}

fn check_database(
    path: &Path,
    built: &Built,
    cancel: Option<&AtomicBool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64, RestoreError> {
    let source = File::open(path).and_then(FileSource::new).map_err(failed("read", path))?;
    let options = Options { digest: DigestCheck::Skip, cancel, ..Options::default() };
    // Up to where the snapshot's rows go, as a member that has compacted what the snapshot's has.
    let HashKv { revision, compact_revision, .. } = built.hash_kv;
    let at = HashKvAt { revision, compact_revision: Some(compact_revision) };
    let mut found = Found { mark: built.mark.map(Vec::from), ..Found::default() };
    let report = run(&source, &options, at, progress, &mut found).map_err(|error| match error {
        VerifyError::Cancelled => RestoreError::Verify(error),
        VerifyError::Io(source) => failed("read", path)(source),
        damaged => RestoreError::ReadBack(damaged.to_string()),
    })?;
    for (what, right) in [
        ("the HashKV of the database", report.hash_kv == built.hash_kv),
        ("what was copied from the snapshot", found.copied == built.copied),
        ("the mark of the revision bump", found.marked == built.mark.is_some()),
        ("the revision", report.current_revision == built.revision),
        ("bucket members", found.members == built.members),
        ("bucket meta", found.meta == built.meta),
        ("bucket cluster or members_removed", found.others == 0),
        ("the list of buckets", found.buckets == COPIED.len() + NEW.len()),
    ] {
        if !right {
            return Err(differs(what));
        }
    }
    Ok(report.file_size)
}

/// What the database has.
#[derive(Debug, Default)]
struct Found {
    /// The key of the row that marks a revision bump; a row of that key is not one of the snapshot's.
    mark: Option<Vec<u8>>,
    marked: bool,
    bucket: Vec<u8>,
    buckets: usize,
    /// Of `members` or `meta`: the item that is being read.
    key: Vec<u8>,
    meta: Records,
    members: Records,
    others: usize,
    copied: Copied,
}

impl Sink for Found {
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError> {
        self.buckets += 1;
        self.bucket = name.to_owned();
        Ok(())
    }

    fn item(&mut self, key: &[u8], value_bytes: u64) -> Result<(), VerifyError> {
        match self.bucket.as_slice() {
            b"meta" | b"members" => {
                self.key = key.to_owned();
                self.value(b"")?;
            }
            b"cluster" | b"members_removed" => self.others += 1,
            b"key" if value_bytes == 0 && self.mark.as_deref() == Some(key) => self.marked = true,
            bucket => self.copied.item(bucket, key),
        }
        Ok(())
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        match self.bucket.as_slice() {
            b"meta" => self.meta.entry(self.key.clone()).or_default().extend_from_slice(piece),
            b"members" => self.members.entry(self.key.clone()).or_default().extend_from_slice(piece),
            b"cluster" | b"members_removed" => {}
            _ => self.copied.value(piece),
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RestoreError> {
    std::fs::read(path).map_err(failed("read", path))
}

fn differs(what: &str) -> RestoreError {
    RestoreError::ReadBack(format!("{what} is not as it was meant"))
}
