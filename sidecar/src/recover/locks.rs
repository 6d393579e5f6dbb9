//! Whether an etcd has a data directory open, by its locks: `flock` on the database (bbolt bolt_unix.go), and an open file description lock on
//! each segment of the log (etcd client/pkg/fileutil/lock_linux.go). Nothing is locked for longer than it takes to look.

use std::io;

use etcd_wire::survey::EtcdState;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::node::Place;

/// Looks at the database and at the last segment.
///
/// # Errors
/// A lock could not be tried.
pub(super) fn state(database: &Place, segment: Option<&Place>) -> io::Result<EtcdState> {
    let mut seen = false;
    for (place, is_database) in [(Some(database), true), (segment, false)] {
        let Some(place) = place else { continue };
        let file = match place.open_file() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        seen = true;
        let held = if is_database {
            // A shared lock, which goes with the descriptor: an etcd that starts at this moment tries again.
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => false,
                Err(Errno::WOULDBLOCK) => true,
                Err(error) => return Err(error.into()),
            }
        } else {
            fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.is_some()
        };
        if held {
            return Ok(EtcdState::Running);
        }
    }
    Ok(if seen { EtcdState::Stopped } else { EtcdState::Unknown })
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn a_lock_of_another_descriptor_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (database, segment) = (Place::new(folder.path()).join("db"), Place::new(folder.path()).join("0.wal"));
        assert_eq!(state(&database, Some(&segment)).unwrap(), EtcdState::Unknown);
        fs::write(database.path(), "").unwrap();
        fs::write(segment.path(), "").unwrap();
        assert_eq!(state(&database, Some(&segment)).unwrap(), EtcdState::Stopped);
        let held = fs::File::open(database.path()).unwrap();
        rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(state(&database, Some(&segment)).unwrap(), EtcdState::Running);
        drop(held);
        assert_eq!(state(&database, None).unwrap(), EtcdState::Stopped);
    }
}
