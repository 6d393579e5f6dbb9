//! The room on a node's disk.

use std::io;
use std::path::Path;

use etcd_wire::facts::Disk;
use etcd_wire::{Failure, FailureCode};

use super::dir::Place;

/// What is free, and what the member's database takes.
///
/// # Errors
/// [`FailureCode::Storage`]: a folder cannot be seen, or the data directory has no database, so that it is not a member's.
pub(super) fn of(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Disk, Failure> {
    let database = Place::new(data_dir).join("member/snap/db");
    let found = database.open_file().and_then(|file| file.metadata());
    let meta = found.map_err(|error| cannot("find the database", &database.path(), &error))?;
    Ok(Disk { free_bytes: room(data_dir)?, wal_free_bytes: wal_dir.map(room).transpose()?, database_bytes: meta.len() })
}

/// The same where the member may have no database, and the folders need not be there: they will be made.
///
/// # Errors
/// [`FailureCode::Storage`]: the folders around them cannot be seen, or what is there.
pub(super) fn around(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Disk, Failure> {
    let database = Place::new(data_dir).join("member/snap/db");
    let database_bytes = match database.stat() {
        Ok(found) => found.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0)),
        Err(error) => return Err(cannot("find the database", &database.path(), &error)),
    };
    let nearest = |dir: &Path| room(dir.ancestors().find(|folder| folder.exists()).unwrap_or(dir));
    Ok(Disk { free_bytes: nearest(data_dir)?, wal_free_bytes: wal_dir.map(nearest).transpose()?, database_bytes })
}

fn room(dir: &Path) -> Result<u64, Failure> {
    free(dir).map_err(|error| cannot("find the free space of", dir, &error))
}

/// What a process without privileges can still write, as the sidecar is one.
fn free(dir: &Path) -> io::Result<u64> {
    let space = rustix::fs::fstatvfs(Place::new(dir).open()?)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureCode::Storage, format!("cannot {what} {} on the node", path.display())).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_folder_is_measured_and_another_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path();
        let failure = of(data_dir, None).unwrap_err();
        assert_eq!(failure.code, FailureCode::Storage);
        assert!(failure.message.contains("member/snap/db"), "{failure}");
        let bare = around(&data_dir.join("none"), Some(&data_dir.join("none/wal"))).unwrap();
        assert_eq!((bare.database_bytes, bare.wal_free_bytes.is_some()), (0, true));
        std::fs::create_dir_all(data_dir.join("member/snap")).unwrap();
        std::fs::write(data_dir.join("member/snap/db"), [0; 4096]).unwrap();
        let disk = of(data_dir, None).unwrap();
        assert!(disk.free_bytes > 0 && disk.free_bytes < u64::MAX / 2, "{disk:?}");
        assert_eq!((disk.database_bytes, disk.wal_free_bytes), (4096, None));
        assert_eq!(around(data_dir, None).unwrap().database_bytes, 4096);
        assert!(of(data_dir, Some(data_dir)).unwrap().wal_free_bytes.is_some());
        assert!(of(data_dir, Some(&data_dir.join("wal"))).unwrap_err().message.contains("wal"));
    }
}
