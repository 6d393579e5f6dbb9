//! Which disk a folder is on, for this process, for others, and for the node itself.
//!
//! A container sees the file systems that were mounted when it was started. One that is mounted over a data directory later is seen by the
//! node, and by an etcd that starts later, and not by this program.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use etcd_wire::{Failure, FailureCode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::journal::storage;
use crate::node::Place;

/// A folder, whatever its path. Only compared within one boot of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// The folder at a place, as this process sees it.
    ///
    /// # Errors
    /// It is not there, or cannot be seen.
    pub(super) fn of(place: &Place) -> io::Result<FolderId> {
        FolderId::at(place.open()?)
    }

    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ by architecture")]
    fn at(open: impl AsFd) -> io::Result<FolderId> {
        let stat = rustix::fs::fstat(open)?;
        Ok(FolderId { device: stat.st_dev as u64, inode: stat.st_ino as u64 })
    }
}

/// The folder that a process has at a path; `None` if it has none there.
///
/// # Errors
/// It cannot be seen.
pub(super) fn seen_by(process: Pid, path: &Path) -> io::Result<Option<FolderId>> {
    const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let root = format!("/proc/{}/root", process.as_raw_nonzero());
    let opened = || -> Result<OwnedFd, Errno> {
        let root = rustix::fs::open(&root, FOLDER, Mode::empty())?;
        // Links lead to where they lead for that process.
        match rustix::fs::openat2(&root, path, FOLDER, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::NOSYS) => {
                rustix::fs::openat(&root, path.strip_prefix("/").unwrap_or(path), FOLDER, Mode::empty())
            }
            opened => opened,
        }
    };
    match opened() {
        Ok(folder) => FolderId::at(folder).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(io::Error::new(
            io::Error::from(error).kind(),
            format!("cannot look at {} of process {}: {error}", path.display(), process.as_raw_nonzero()),
        )),
    }
}

/// Refuses if the node has another file system at a folder than this process sees. `anchor` is a folder that both have: where the first process
/// of the node has another one there, it does not see what the kubelet sees, and nothing can be said.
///
/// # Errors
/// [`FailureCode::Refused`] with what to do; [`FailureCode::Storage`] if nobody can tell.
pub(super) fn require_nodes_own(folder: &Place, anchor: &Place) -> Result<(), Failure> {
    let looked = |error: io::Error| storage(&format!("look at {}", folder.display()), &error);
    let same =
        |place: &Place| -> io::Result<bool> { Ok(seen_by(Pid::INIT, &place.path())? == Some(FolderId::of(place)?)) };
    if same(anchor).map_err(looked)? && !same(folder).map_err(looked)? {
        let message = format!("the node has another file system at {} than the container sees", folder.display());
        return Err(Failure::new(FailureCode::Refused, message)
            .cause("a disk was mounted or unmounted there after the container had been started")
            .hint("see what is mounted there on the node (findmnt), then try again"));
    }
    Ok(())
}

/// What a file system is called where a place is: `ext4`, `nfs4`.
///
/// # Errors
/// The place cannot be opened, or the kernel does not tell.
pub(super) fn file_system(place: &Place) -> io::Result<String> {
    let open: File = place.open()?;
    let mut info = String::new();
    File::open(format!("/proc/self/fdinfo/{}", open.as_raw_fd()))?.read_to_string(&mut info)?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let id = id.ok_or_else(|| io::Error::other("the kernel does not tell which mount it is on"))?;
    let mut mounts = String::new();
    File::open("/proc/self/mountinfo")?.read_to_string(&mut mounts)?;
    let unknown = || io::Error::other(format!("mount {id} is not listed"));
    kind_of(&mounts, id).map(str::to_owned).ok_or_else(unknown)
}

/// The type of the mount with this ID (proc_pid_mountinfo(5)): the first field after the dash, which ends the optional ones.
fn kind_of<'a>(mounts: &'a str, id: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split_whitespace().next() == Some(id))?;
    line.split_once(" - ")?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_same_for_whoever_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for path in [&one, &other] {
            std::fs::create_dir(path).unwrap();
        }
        std::os::unix::fs::symlink(&one, folder.path().join("link")).unwrap();
        let own = FolderId::of(&Place::new(&one)).unwrap();
        let process = rustix::process::getpid();
        assert_eq!(seen_by(process, &one).unwrap(), Some(own));
        assert_eq!(seen_by(process, &folder.path().join("link")).unwrap(), Some(own));
        assert!(seen_by(process, &other).unwrap().is_some_and(|other| other != own));
        assert_eq!(seen_by(process, &folder.path().join("nothing/at/all")).unwrap(), None);
        assert!(FolderId::of(&Place::new(folder.path().join("nothing"))).is_err());
    }

    #[test]
    fn a_mounts_type_comes_after_the_dash() {
        let mounts = "\
            21 28 0:19 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            28 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw\n\
            281 28 0:50 /export /var/lib/etcd rw - nfs4 server:/export rw,vers=4.2\n";
        for (id, expected) in [("28", Some("ext4")), ("281", Some("nfs4")), ("1", None), ("2", None)] {
            assert_eq!(kind_of(mounts, id), expected, "{id}");
        }
        assert!(!file_system(&Place::new("/proc")).unwrap().is_empty());
        assert_eq!(file_system(&Place::new("/proc")).unwrap(), "proc");
    }
}
