//! Snapshots in a folder of this node, such as those that backups have kept there: which there are, and whether they are whole. Only reads.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use etcd_snapshot::{
    DATABASE_BEGINNING, DigestState, FileSource, Keep, Options, Pick, VerifyError, is_database, is_snapshot_name,
    live_keys, may_be_snapshot,
};
use etcd_store::uid_of;
use etcd_wire::message::{
    CheckCopyRequest, CheckedCopy, CopiesFound, CopiesRequest, CopyFile, KUBE_SYSTEM, MAX_COPIES,
};
use etcd_wire::{Failure, FailureCode};
use rustix::fs::FileType;

use crate::node::Place;
use crate::serve::{Client, Stop};
use crate::streaming::on_a_thread;

/// The snapshots in the folder.
pub(crate) async fn find(request: CopiesRequest, client: &mut Client) -> Result<CopiesFound, Stop> {
    on_a_thread(client, move |_| found(&folder(&request.folder)?)).await
}

/// Reads one of them from its beginning to its end.
pub(crate) async fn check(request: CheckCopyRequest, client: &mut Client) -> Result<CheckedCopy, Stop> {
    on_a_thread(client, move |cancel| checked(&folder(&request.folder)?, &request.name, &cancel)).await
}

fn folder(path: &str) -> Result<Place, Failure> {
    match Path::new(path).is_absolute() {
        true => Ok(Place::new(path)),
        false => Err(Failure::new(FailureCode::BadRequest, format!("{path} is not an absolute path of a folder"))),
    }
}

fn found(folder: &Place) -> Result<CopiesFound, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(FailureCode::Storage, format!("cannot read the folder {} on the node", folder.display()))
            .source(&error)
    };
    let mut found = CopiesFound::default();
    for name in folder.names().map_err(failed)? {
        let place = folder.join(&name);
        let shown = name.to_string_lossy();
        // One that has gone meanwhile is none.
        let Some(stat) = place.stat().map_err(failed)? else { continue };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || !may_be_snapshot(&shown) || !(is_snapshot_name(&shown) || begins_as_database(&place)) {
            continue;
        }
        match name.to_str() {
            Some(name) if found.copies.len() < MAX_COPIES => {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                found.copies.push(CopyFile { name: name.to_owned(), size });
            }
            _ => found.omitted += 1,
        }
    }
    Ok(found)
}

/// A file that cannot be read, and is not named as snapshots are, is none of them.
fn begins_as_database(place: &Place) -> bool {
    let mut beginning = [0; DATABASE_BEGINNING];
    let read = place.open_file().and_then(|mut file| file.read_exact(&mut beginning));
    read.is_ok() && is_database(&beginning)
}

fn checked(folder: &Place, name: &str, cancel: &AtomicBool) -> Result<CheckedCopy, Failure> {
    let place = folder.join(name);
    let failed = |error: &dyn std::error::Error| {
        Failure::new(FailureCode::Storage, format!("cannot read {} on the node", place.display())).source(error)
    };
    if Path::new(name).file_name() != Some(name.as_ref()) {
        return Err(Failure::new(FailureCode::BadRequest, format!("{name} is no name of a file")));
    }
    let source = place.open_file().and_then(FileSource::new).map_err(|error| failed(&error))?;
    let options = Options { cancel: Some(cancel), ..Options::default() };
    let keep = |key: &[u8]| if key.ends_with(KUBE_SYSTEM.as_bytes()) { Keep::Value } else { Keep::Nothing };
    match live_keys(&source, &options, &Pick::new(&keep), &|_| {}) {
        Ok((report, keys)) => Ok(CheckedCopy {
            damage: None,
            proven: report.digest == DigestState::Matches,
            revision: Some(report.revision),
            kube_system_uid: keys.values().find_map(|live| uid_of(live.value.as_deref()?)),
        }),
        Err(VerifyError::Damaged(damage)) => {
            let first = damage.findings.first().map_or_else(|| damage.to_string(), ToString::to_string);
            Ok(CheckedCopy { damage: Some(first), ..CheckedCopy::default() })
        }
        Err(VerifyError::Io(error)) => Err(failed(&error)),
        Err(VerifyError::Cancelled) => Err(Failure::new(FailureCode::Other, "the client has given up")),
        Err(error) => Ok(CheckedCopy { damage: Some(error.to_string()), ..CheckedCopy::default() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn snapshot() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/etcd/etcd-3.6.14.db.zst");
        zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn snapshots_are_found_by_name_or_content_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, bytes) in [("b.db", b"x".as_slice()), ("a", &snapshot()), ("notes", b"text"), ("b.db.json", b"{}")] {
            std::fs::write(at(name), bytes).unwrap();
        }
        std::fs::create_dir(at("folder.db")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link.db")).unwrap();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.db")), "x").unwrap();
        let found = found(&Place::new(dir.path())).unwrap();
        let names: Vec<&str> = found.copies.iter().map(|copy| copy.name.as_str()).collect();
        assert_eq!((names, found.omitted), (vec!["a", "b.db"], 1));
        assert_eq!(found.copies[1].size, 1);
        assert_eq!(folder("relative").unwrap_err().code, FailureCode::BadRequest);
        let gone = super::found(&Place::new(at("gone"))).unwrap_err();
        assert_eq!(gone.code, FailureCode::Storage);
    }

    #[test]
    fn a_copy_is_whole_or_damaged_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Place::new(dir.path());
        let mut bytes = snapshot();
        let check = |bytes: &[u8], cancel: bool| {
            std::fs::write(dir.path().join("a.db"), bytes).unwrap();
            checked(&folder, "a.db", &AtomicBool::new(cancel))
        };
        let whole = check(&bytes, false).unwrap();
        assert!(whole.proven && whole.damage.is_none() && whole.revision.is_some(), "{whole:?}");
        assert!(check(&bytes, true).is_err());
        let cut = check(&bytes[..bytes.len() - 32], false).unwrap();
        assert!(cut.damage.is_some_and(|damage| damage.contains("truncated")));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let damaged = check(&bytes, false).unwrap();
        assert!(damaged.damage.is_some() && damaged.revision.is_none(), "{damaged:?}");
        assert!(check(b"older", false).unwrap().damage.is_some());
        std::os::unix::fs::symlink("a.db", dir.path().join("link.db")).unwrap();
        for name in ["gone.db", "link.db", "../a.db", "a.db/", "..", ""] {
            assert!(checked(&folder, name, &AtomicBool::new(false)).is_err(), "{name}");
        }
    }
}
