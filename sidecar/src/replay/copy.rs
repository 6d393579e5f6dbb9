//! A copy of what etcd starts from, in a folder that only root can look into.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_wire::{Failure, FailureCode};
use rustix::fs::FlockOperation;

use super::stopped;
use crate::node::{Place, left_over};

/// As much is copied between two looks at whether the user still wants it.
const PIECE: u64 = 8 << 20;
/// What etcd makes ahead of its writing when it starts: a segment to write to, and the next one (server/storage/wal/wal.go, `SegmentSizeBytes`).
const AHEAD: u64 = 2 * 64_000_000;

/// A member's files.
#[derive(Debug)]
pub(super) struct Member {
    /// The folder with the database and the snapshots.
    pub(super) snap: Place,
    /// The folder with the log.
    pub(super) wal: Place,
}

impl Member {
    pub(super) fn new(data_dir: &Path, wal_dir: Option<&Path>) -> Member {
        let data = Place::new(data_dir);
        let wal = wal_dir.map_or_else(|| data.join("member/wal"), Place::new);
        Member { snap: data.join("member/snap"), wal }
    }

    /// Takes the lock that etcd holds on its database for as long as it runs, and with it the certainty that no etcd starts meanwhile. It is given back
    /// with the file.
    ///
    /// # Errors
    /// [`FailureCode::Refused`]: etcd runs. There is no database, or it cannot be opened.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let database = self.snap.join("db");
        let file = database.open_file().map_err(|error| cannot("open", &database.path(), &error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("etcd runs: a process holds the lock of {}", database.display());
                Err(Failure::new(FailureCode::Refused, message)
                    .cause("the log of an etcd that runs grows; nothing was changed")
                    .hint("stop etcd on this node first, a static pod or a unit, for example\n  mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/\n  systemctl stop etcd"))
            }
            Err(error) => Err(cannot("lock", &database.path(), &error.into())),
        }
    }

    /// The same, where an etcd that runs is no obstacle: then the database is only opened.
    ///
    /// # Errors
    /// There is no database, or it cannot be opened.
    pub(super) fn lock_if_stopped(&self) -> Result<File, Failure> {
        match self.lock() {
            Err(failure) if failure.code == FailureCode::Refused => {
                let database = self.snap.join("db");
                database.open_file().map_err(|error| cannot("open", &database.path(), &error))
            }
            locked => locked,
        }
    }

    /// Refuses a copy during which etcd wrote to the member. Without quorum etcd applies nothing, and so does not write to its database; its log may
    /// get records that are no entries, as where it stands for election.
    ///
    /// # Errors
    /// [`FailureCode::Refused`]: the database has changed. It cannot be read.
    pub(super) fn assert_unchanged(&self, data: &Path, cancel: &AtomicBool) -> Result<(), Failure> {
        let (here, there) = (Place::new(data).join("member/snap/db"), self.snap.join("db"));
        let open = |place: &Place| place.open_file().map_err(|error| cannot("open", &place.path(), &error));
        let (mut copy, mut own) = (open(&here)?, open(&there)?);
        let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            let read = fill(&mut copy, &mut one).map_err(|error| cannot("read", &here.path(), &error))?;
            let again = fill(&mut own, &mut other).map_err(|error| cannot("read", &there.path(), &error))?;
            if one.get(..read) != other.get(..again) {
                let message = format!("{} has changed while it was copied", there.display());
                return Err(Failure::new(FailureCode::Refused, message)
                    .cause("etcd runs and applies writes, so that it may have a quorum")
                    .hint("look again; if etcd has no quorum, stop it on this node, a static pod or a unit, for example\n  mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/\n  systemctl stop etcd"));
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Copies both folders to `data/member`.
    ///
    /// # Errors
    /// Something cannot be read or written, there is no room, or the user has ended it.
    pub(super) fn copy(&self, data: &Path, cancel: &AtomicBool) -> Result<(), Failure> {
        let files = [(self.listed(&self.snap)?, "member/snap"), (self.listed(&self.wal)?, "member/wal")];
        let bytes: u64 = files.iter().flat_map(|(files, _)| files).map(|(_, _, bytes)| bytes).sum();
        let (snap, _) = &files[0];
        let database = snap.iter().find(|(name, ..)| name == "db").map_or(0, |(_, _, bytes)| *bytes);
        // The copy, what etcd makes ahead, a database that grows by what is applied, and the snapshot that is made of it.
        room(data, bytes.saturating_add(AHEAD).saturating_add(database).saturating_add(database / 2))?;
        for (files, folder) in files {
            let folder = Place::new(data).join(folder);
            folder.create_folders().map_err(|error| cannot("create", &folder.path(), &error))?;
            for (name, from, _) in files {
                copy_file(&from, &folder.join(name), cancel)?;
            }
        }
        Ok(())
    }

    /// The files of a folder that etcd reads when it starts, with their sizes.
    fn listed(&self, folder: &Place) -> Result<Vec<(String, Place, u64)>, Failure> {
        let mut found = Vec::new();
        for name in folder.names().map_err(|error| cannot("read", &folder.path(), &error))? {
            let Some(name) = name.to_str().filter(|name| is_needed(name)) else { continue };
            let file = folder.join(name);
            let meta = file.open_file().and_then(|open| open.metadata());
            let bytes = meta.map_err(|error| cannot("open", &file.path(), &error))?.len();
            found.push((name.to_owned(), file, bytes));
        }
        Ok(found)
    }
}

/// The database, raft's snapshots, a database that a leader has sent and that is not in use yet, and the segments of the log. Not what etcd has put aside
/// as broken, and not what it has begun to write.
fn is_needed(name: &str) -> bool {
    name == "db" || [".snap", ".snap.db", ".wal"].iter().any(|end| name.ends_with(end))
}

/// Reads as much as fits, or up to the end.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn copy_file(from: &Place, to: &Place, cancel: &AtomicBool) -> Result<(), Failure> {
    let source = from.open_file().map_err(|error| cannot("open", &from.path(), &error))?;
    let mut target = to.create().map_err(|error| cannot("create", &to.path(), &error))?;
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let copied = io::copy(&mut (&source).take(PIECE), &mut target);
        if copied.map_err(|error| cannot("copy", &from.path(), &error))? == 0 {
            return Ok(());
        }
    }
}

fn room(folder: &Path, needed: u64) -> Result<(), Failure> {
    let space = Place::new(folder).open().and_then(|open| Ok(rustix::fs::fstatvfs(open)?));
    let space = space.map_err(|error| cannot("find the free space of", folder, &error))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let message = format!("no room in {}: {needed} bytes are needed, {free} are free", folder.display());
    Err(Failure::new(FailureCode::Storage, message)
        .cause("a copy of the member is made beside the snapshot, and removed afterwards")
        .hint("name a snapshot file on a larger disk"))
}

pub(super) fn cannot(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureCode::Storage, format!("cannot {doing} {}", path.display())).source(error)
}

/// The folder of a copy, which goes when this does.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
    /// Whoever looks for what was left over passes over what is held.
    _held: File,
}

impl Work {
    /// Makes a folder beside a file, that only root can look into.
    pub(super) fn beside(file: &Path) -> Result<Work, Failure> {
        let folder = file.parent().unwrap_or(Path::new("/"));
        let (place, held) = left_over::make(&Place::new(folder))?;
        Ok(Work { path: place.path(), _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder with everything in it.
    ///
    /// # Errors
    /// Something stays, which holds all Secrets of the cluster.
    pub(super) fn remove(self) -> Result<(), Failure> {
        let removed = std::fs::remove_dir_all(&self.path);
        removed.map_err(|error| {
            let failure =
                cannot("remove", &self.path, &error).cause("it has a copy of the database, with every Secret");
            failure.hint(format!("remove the folder yourself\n  rm -r {}", self.path.display()))
        })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("cannot remove {}, which has a copy of the database: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn member(folder: &Path) -> Member {
        for (name, bytes) in [
            ("snap/db", &b"database"[..]),
            ("snap/0000000000000001-0000000000000004.snap", b"snapshot"),
            ("snap/0000000000000009.snap.db", b"received"),
            ("snap/0000000000000001-0000000000000003.snap.broken", b"broken"),
            ("wal/0000000000000000-0000000000000000.wal", b"log"),
            ("wal/0.tmp", b"ahead"),
        ] {
            let file = folder.join("member").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        Member::new(folder, None)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_etcd_starts_from_is_copied_for_nobody_else_to_read() {
        let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let work = Work::beside(&here.path().join("etcd.db")).unwrap();
        member(there.path()).copy(work.path(), &AtomicBool::new(false)).unwrap();
        let copied = work.path().join("member");
        let snap = ["0000000000000001-0000000000000004.snap", "0000000000000009.snap.db", "db"];
        assert_eq!(names(&copied.join("snap")), snap);
        assert_eq!(names(&copied.join("wal")), ["0000000000000000-0000000000000000.wal"]);
        assert_eq!(std::fs::read(copied.join("snap/db")).unwrap(), b"database");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(work.path()), mode(&copied.join("snap/db"))), (0o700, 0o600));
        work.remove().unwrap();
        assert_eq!(names(here.path()), [""; 0]);
    }

    #[test]
    fn a_copy_that_is_not_wanted_any_more_leaves_nothing() {
        let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let work = Work::beside(&here.path().join("etcd.db")).unwrap();
        let failure = member(there.path()).copy(work.path(), &AtomicBool::new(true)).unwrap_err();
        assert_eq!(failure.code, FailureCode::Other);
        drop(work);
        assert_eq!(names(here.path()), [""; 0]);
    }

    #[test]
    fn a_link_in_a_members_folder_is_not_followed() {
        let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let member = member(there.path());
        std::fs::write(here.path().join("secret"), b"secret").unwrap();
        symlink(here.path().join("secret"), there.path().join("member/snap/planted.snap")).unwrap();
        let work = Work::beside(&here.path().join("etcd.db")).unwrap();
        let failure = member.copy(work.path(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(failure.code, FailureCode::Storage);
        assert!(failure.message.contains("planted.snap"), "{failure}");
    }

    /// Without quorum etcd does not write to its database.
    #[test]
    fn a_member_that_runs_is_copied_only_while_it_does_not_change() {
        let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (member, cancel) = (member(there.path()), AtomicBool::new(false));
        let _etcd = member.lock().unwrap();
        drop(member.lock_if_stopped().unwrap());
        let work = Work::beside(&here.path().join("etcd.db")).unwrap();
        member.copy(work.path(), &cancel).unwrap();
        member.assert_unchanged(work.path(), &cancel).unwrap();
        for changed in ["databasf", "database and more", "data"] {
            std::fs::write(there.path().join("member/snap/db"), changed).unwrap();
            let failure = member.assert_unchanged(work.path(), &cancel).unwrap_err();
            assert_eq!(failure.code, FailureCode::Refused, "{failure}");
        }
    }

    #[test]
    fn a_member_that_runs_is_refused() {
        let there = tempfile::tempdir().unwrap();
        let member = member(there.path());
        let held = member.lock().unwrap();
        let failure = member.lock().unwrap_err();
        assert_eq!(failure.code, FailureCode::Refused);
        drop(held);
        member.lock().unwrap();
    }
}
