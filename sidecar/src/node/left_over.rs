//! The folder of a copy, and what becomes of it where nobody was there to remove it: whoever uses it holds its lock, and the next one who comes by removes
//! those that nobody holds. A kernel gives the lock of a process back however it ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use etcd_wire::{Failure, FailureCode};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::dir::{OURS, Place, descriptor};

/// What follows our name in that of a folder with a copy, before a number.
const KIND: &str = "-recover-";
/// As many names are tried. One that is taken is that of a process in another namespace of process IDs, or of a copy that cannot be removed.
const TRIES: u32 = 16;

/// Makes the folder of a copy, that only root can look into. It is this process's for as long as the file is open.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make(folder: &Place) -> Result<(Place, File), Failure> {
    let first = format!("{OURS}{KIND}{}", std::process::id());
    for attempt in 0..TRIES {
        let place = folder.join(if attempt == 0 { first.clone() } else { format!("{first}-{attempt}") });
        let failed = |error: io::Error| {
            Failure::new(FailureCode::Storage, format!("cannot create {}", place.display())).source(&error)
        };
        match place.create_folder() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(failed)?,
        }
        // Whoever comes by in between takes it for one that nobody uses, and removes it.
        let held = match place.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => continue,
            // Where nothing can be locked nobody removes anything.
            Err(error) => tracing::warn!("cannot lock {}: {error}", place.display()),
        }
        let (own, there) = (held.metadata().map_err(failed)?, place.stat().map_err(failed)?);
        if there.is_some_and(|there| (there.st_dev, there.st_ino) == (own.dev(), own.ino())) {
            return Ok((place, held));
        }
    }
    let message = format!("cannot make a folder for a copy in {}", folder.display());
    Err(Failure::new(FailureCode::Storage, message).cause("all names are taken"))
}

/// Removes the copies in a folder that nobody uses any more, and says which those were. What cannot be removed stays, and is logged.
pub(crate) fn sweep(folder: &Place) -> Vec<String> {
    let names = match folder.names() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!("cannot look for left-over copies: {error}");
            return Vec::new();
        }
    };
    let mut removed = Vec::new();
    for place in names.iter().filter(|name| name.to_str().is_some_and(is_of_a_copy)).map(|name| folder.join(name)) {
        match remove(&place) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("removed {}: a copy that a killed recover has left", place.display());
                removed.push(place.display());
            }
            Err(error) => {
                tracing::warn!("cannot remove {}, which may have a copy of the database: {error}", place.display())
            }
        }
    }
    removed
}

/// Whether a name is that of a folder with a copy: with one number, or two.
fn is_of_a_copy(name: &str) -> bool {
    let numbers = name.strip_prefix(OURS).and_then(|rest| rest.strip_prefix(KIND));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|numbers| numbers.split('-').count() <= 2 && numbers.split('-').all(is_number))
}

/// Removes a copy that nobody holds. False if it stays: somebody holds it, or it is no folder of root's alone. What is removed is in the folder that was
/// looked at, whatever gets its name meanwhile.
fn remove(place: &Place) -> io::Result<bool> {
    if !matches!(place.is_folder(), Ok(true)) {
        return Ok(false);
    }
    let folder = place.open()?;
    let meta = folder.metadata()?;
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o7777 != 0o700 {
        return Ok(false);
    }
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    for entry in std::fs::read_dir(descriptor(&folder))? {
        let entry = entry?;
        // A link goes as a link, and below std follows none either.
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    place.remove_folder()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::path::Path;

    use fs_err as fs;

    use super::*;

    /// A copy that a process has left which is not there any more.
    fn left(folder: &Path, name: &str) {
        let place = folder.join(name);
        fs::create_dir_all(place.join("member/snap")).unwrap();
        fs::write(place.join("member/snap/db"), "secrets").unwrap();
        fs::write(place.join("etcd.log"), "log").unwrap();
        fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn what_nobody_holds_goes_and_what_somebody_holds_stays() {
        let folder = tempfile::tempdir().unwrap();
        let here = Place::new(folder.path());
        let (used, held) = make(&here).unwrap();
        fs::write(used.join("db").path(), "in use").unwrap();
        left(folder.path(), ".kubectl-etcd-recover-1");
        left(folder.path(), ".kubectl-etcd-recover-2-1");
        // What a link in it leads to is not its own.
        let victim = folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), "kept").unwrap();
        symlink(&victim, folder.path().join(".kubectl-etcd-recover-1/link")).unwrap();
        let gone = [".kubectl-etcd-recover-1", ".kubectl-etcd-recover-2-1"];
        assert_eq!(sweep(&here), gone.map(|name| here.join(name).display()));
        assert!(gone.iter().all(|name| !folder.path().join(name).exists()));
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(used.join("db").path()).unwrap(), "in use");
        assert_eq!(sweep(&here), [""; 0]);
        // Its process ends.
        drop(held);
        assert_eq!(sweep(&here), [used.display()]);
        assert_eq!(here.names().unwrap(), ["victim"]);
        assert_eq!(sweep(&here.join("nothing")), [""; 0]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let here = Place::new(folder.path());
        let others = [
            ".kubectl-etcd",
            ".kubectl-etcd-recover-",
            ".kubectl-etcd-recover-1-2-3",
            ".kubectl-etcd-recover-1x",
            ".kubectl-etcd-recover-1-",
            ".kubectl-etcd-recovered-1",
            ".kubectl-etcd-20261127-100000-abcde",
            "kubectl-etcd-recover-1",
        ];
        others.iter().for_each(|name| left(folder.path(), name));
        // A folder that others can look into, a file, and a link to a folder.
        left(folder.path(), ".kubectl-etcd-recover-1");
        let open = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join(".kubectl-etcd-recover-1"), open).unwrap();
        fs::write(folder.path().join(".kubectl-etcd-recover-2"), "a file").unwrap();
        let target = tempfile::tempdir().unwrap();
        left(target.path(), "folder");
        symlink(target.path().join("folder"), folder.path().join(".kubectl-etcd-recover-3")).unwrap();
        if rustix::process::geteuid().is_root() {
            left(folder.path(), ".kubectl-etcd-recover-4");
            chown(folder.path().join(".kubectl-etcd-recover-4"), Some(2001), Some(2001)).unwrap();
        }
        let before = here.names().unwrap();
        assert_eq!(sweep(&here), [""; 0]);
        assert_eq!(here.names().unwrap(), before);
        assert!(target.path().join("folder/member/snap/db").exists());
        assert!(others.iter().all(|name| folder.path().join(name).join("member/snap/db").exists()));
    }

    #[test]
    fn a_name_that_is_taken_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let here = Place::new(folder.path());
        let (one, _held) = make(&here).unwrap();
        let (other, _other) = make(&here).unwrap();
        assert_eq!(other.name().to_str(), Some(&*format!("{}-1", one.name().to_str().unwrap())));
        assert_eq!(other.stat().unwrap().unwrap().st_mode & 0o7777, 0o700);
        assert_eq!(sweep(&here), [""; 0]);
    }
}
