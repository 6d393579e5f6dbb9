//! The folder of a drill: made for it alone, and taken away however the drill ends. It holds the whole snapshot in clear.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Kind, Outcome, Trouble};

/// What the names of these folders begin with.
const PREFIX: &str = "kubectl-etcd-drill-";
/// What etcd makes ahead of its writing when it starts: a segment of its log to write to, and the next one (server/storage/wal/wal.go @ v3.6.14,
/// `SegmentSizeBytes`).
const AHEAD: u64 = 2 * 64_000_000;
/// Bytes of the longest path of a socket on macOS, without its last zero; Linux has four more.
const SOCKET_PATH: usize = 103;

/// A folder that only this user can look into, and that goes with its last handle.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    removed: bool,
}

impl Folder {
    /// Makes the folder, in another one that exists.
    ///
    /// # Errors
    /// It cannot be made, its path is too long for sockets, or there is not enough room for a snapshot of so many bytes.
    pub fn new(parent: &Path, snapshot: u64) -> Outcome<Folder> {
        let cannot = || format!("cannot make a folder for the drill in {}", parent.display());
        let failed = |error: &std::io::Error| Trouble::plain(cannot()).source(error);
        let parent = std::path::absolute(parent).map_err(|error| failed(&error))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
        let made = builder
            .tempdir_in(&parent)
            .map_err(|error| failed(&error).hint("name a folder that can be written to\n  --data-dir FOLDER"))?;
        let folder = Folder { path: made.keep(), removed: false };
        if folder.path.join(crate::server::CLIENTS).as_os_str().len() > SOCKET_PATH {
            return Err(Trouble::plain(cannot())
                .cause(format!(
                    "the path of a socket may have {SOCKET_PATH} bytes, and that in {} has more",
                    folder.path.display()
                ))
                .hint("name a folder with a shorter path\n  --data-dir FOLDER"));
        }
        match room(&folder.path).map_err(|error| failed(&error))? {
            Some(free) => enough(free, snapshot, &parent).map(|()| folder),
            None => Ok(folder),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which no other drill has.
    pub(crate) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or(PREFIX)
    }

    /// Takes the folder away.
    ///
    /// # Errors
    /// It is still there, or a part of it.
    pub fn remove(&mut self) -> Outcome {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.path).map_err(|error| {
            let path = self.path.display();
            Trouble::new(Kind::Left, format!("cannot remove {path}"))
                .source(&error)
                .effect(format!("{path} holds the snapshot in clear, with every Secret"))
                .hint(format!("remove the folder\n  rm -rf {path}"))
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(failed) = self.remove() {
            tracing::error!("{failed}; the folder holds every Secret in clear");
        }
    }
}

/// Bytes that a drill of a snapshot of so many bytes takes.
#[must_use]
pub fn needs(snapshot: u64) -> u64 {
    snapshot.saturating_add(AHEAD)
}

fn enough(free: u64, snapshot: u64, parent: &Path) -> Outcome {
    let needed = needs(snapshot);
    if free >= needed {
        return Ok(());
    }
    Err(Trouble::new(Kind::Refused, format!("not enough room in {}", parent.display()))
        .cause(format!("a drill of this snapshot needs {}, and {} are free", megabytes(needed), megabytes(free)))
        .hint("name a folder on a larger disk\n  --data-dir FOLDER"))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// Bytes that are free where a folder is; `None` where the file system does not tell.
fn room(folder: &Path) -> std::io::Result<Option<u64>> {
    let space = rustix::fs::statvfs(folder)?;
    Ok((space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("a folder").count()
    }

    #[test]
    fn nobody_else_can_look_into_the_folder_and_nothing_of_it_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(parent.path(), 1).expect("a folder");
        let mode = std::fs::metadata(folder.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(folder.path().join("secret"), "x").expect("a file");
        drop(folder);
        assert_eq!(entries(parent.path()), 0);
    }

    #[test]
    fn a_folder_without_room_or_with_too_long_a_path_is_refused_and_nothing_is_left() {
        let parent = tempfile::tempdir().expect("a folder");
        let full = Folder::new(parent.path(), u64::MAX).expect_err("no room");
        assert_eq!(full.kind, Kind::Refused);
        assert!(full.to_string().contains("--data-dir"), "{full}");
        assert_eq!(entries(parent.path()), 0);
        let long = parent.path().join("x".repeat(SOCKET_PATH));
        std::fs::create_dir(&long).expect("a folder");
        let failed = Folder::new(&long, 1).expect_err("too long");
        assert!(failed.to_string().contains("shorter"), "{failed}");
        assert_eq!(entries(&long), 0);
        let missing = Folder::new(&parent.path().join("nosuch"), 1).expect_err("missing");
        assert!(missing.to_string().contains("nosuch"), "{missing}");
    }

    #[test]
    fn the_room_is_that_of_the_database_and_of_the_log() {
        assert!(enough(AHEAD + 10, 10, Path::new("/x")).is_ok());
        assert!(enough(AHEAD + 9, 10, Path::new("/x")).is_err());
        assert!(enough(u64::MAX - 1, u64::MAX, Path::new("/x")).is_err());
    }
}
