//! A copy of the snapshot on the node, which is there whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use etcd_wire::{Failure, FailureCode};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::node::Place;

/// A copy that has no name yet. However the process ends, the kernel takes it away with the last descriptor.
#[derive(Debug)]
pub(crate) struct Unnamed {
    target: PathBuf,
    folder: File,
    file: File,
}

impl Unnamed {
    /// Begins a copy that is to become `target`.
    ///
    /// Refuses with [`FailureCode::Storage`] when it is already there, or when its folder is not or cannot hold
    /// unnamed files.
    pub(crate) fn create(target: &str) -> Result<Unnamed, Failure> {
        let target = PathBuf::from(target);
        let (Some(parent), Some(name)) = (target.parent().filter(|_| target.is_absolute()), target.file_name()) else {
            let message = format!("{} is not an absolute path of a file", target.display());
            return Err(Failure::new(FailureCode::BadRequest, message));
        };
        let refuse = |what: String| Failure::new(FailureCode::Storage, format!("{what} on the node"));
        let place = Place::new(parent);
        let folder = place
            .open()
            .map_err(|error| refuse(format!("cannot open the folder {}", parent.display())).source(&error))?;
        match place.join(name).exists() {
            Ok(true) => return Err(already(&target)),
            Ok(false) => {}
            Err(error) => return Err(refuse(format!("cannot look for {}", target.display())).source(&error)),
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR).map_err(|error| {
            let failure = refuse(format!("cannot make a file in {}", parent.display()));
            match error {
                // EISDIR is how a kernel or file system that does not know O_TMPFILE says so (open(2)).
                Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT => failure
                    .cause("its file system has no unnamed files (O_TMPFILE)")
                    .hint("choose a folder on a local file system such as ext4, xfs or btrfs"),
                error => failure.source(&error),
            }
        })?;
        Ok(Unnamed { target, folder, file: file.into() })
    }

    /// Checks that `bytes` fit.
    pub(crate) fn expect_room(&self, bytes: u64) -> Result<(), Failure> {
        let space = rustix::fs::fstatvfs(&self.file).map_err(|error| self.failed("find the free space for", &error))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        let message =
            format!("no room on the node for {}: it needs {bytes} bytes, {free} are free", self.target.display());
        Err(Failure::new(FailureCode::Storage, message))
    }

    /// Appends to it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.failed("write", &error))
    }

    /// Gives it its name, for good. Answers the name.
    pub(crate) fn publish(self) -> Result<String, Failure> {
        self.file.sync_all().map_err(|error| self.failed("flush", &error))?;
        // By way of /proc, because linking a bare descriptor takes CAP_DAC_READ_SEARCH (open(2), O_TMPFILE).
        let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        let name = self.target.file_name().expect("checked when the copy was begun");
        match rustix::fs::linkat(CWD, descriptor, &self.folder, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(already(&self.target)),
            Err(error) => return Err(self.failed("name", &error)),
        }
        // Some file systems cannot do this; the copy is whole and has its name all the same.
        if let Err(error) = self.folder.sync_all() {
            tracing::warn!("the new name may be lost if the node fails now: {error}");
        }
        Ok(self.target.display().to_string())
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) -> Failure {
        Failure::new(FailureCode::Storage, format!("cannot {what} {} on the node", self.target.display())).source(error)
    }
}

fn already(target: &std::path::Path) -> Failure {
    Failure::new(FailureCode::Storage, format!("{} is already there on the node", target.display()))
        .hint("choose another name; nothing is overwritten")
}
