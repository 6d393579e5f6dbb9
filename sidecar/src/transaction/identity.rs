//! By what a node proves to the others who it is: a file of the journal's folder, which only root can read. It outlives a loss of power, and goes at the
//! end of the restore.

use std::io::{ErrorKind, Write};

use etcd_wire::restore::Identity;
use etcd_wire::{Failure, FailureCode};

use super::journal::storage;
use super::layout::Layout;
use crate::node::Place;

fn file(layout: &Layout) -> Place {
    layout.identity()
}

fn draft(layout: &Layout) -> Place {
    layout.records().join("identity.json.draft")
}

/// Writes an identity in the place of the one that is there, if any is: whole or not at all. It is on the disk when this returns.
///
/// # Errors
/// [`FailureCode::Storage`]. The one that was there before may be there still.
pub(super) fn write(layout: &Layout, identity: &Identity) -> Result<(), Failure> {
    let draft = draft(layout);
    let written = || -> std::io::Result<()> {
        draft.remove_file()?;
        draft.create()?.write_all(&serde_json::to_vec(identity)?)?;
        draft.sync_file()?;
        draft.replace(&file(layout))
    };
    written().map_err(|error| {
        let failure = storage("write the node's certificate", &error);
        match draft.remove_file() {
            Ok(_) => failure,
            Err(worse) => failure.cause(worse),
        }
    })
}

/// Reads the identity; `None` if there is none.
///
/// # Errors
/// [`FailureCode::Storage`]. No error shows anything of it.
pub(super) fn read(layout: &Layout) -> Result<Option<Identity>, Failure> {
    let file = file(layout);
    let bytes = match file.read() {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("read the node's certificate", &error)),
    };
    let read = serde_json::from_slice(&bytes).map(Some);
    read.map_err(|error| {
        // What serde says may quote the key.
        let message = format!("cannot read the node's certificate {}", file.display());
        Failure::new(FailureCode::Storage, message)
            .cause(format!("it is damaged in line {}, column {}", error.line(), error.column()))
            .hint("kubectl etcd restore --resume writes a new one")
    })
}

/// Removes the identity, if there is one. That is on the disk when this returns.
///
/// # Errors
/// [`FailureCode::Storage`].
pub(super) fn remove(layout: &Layout) -> Result<(), Failure> {
    let removed = || -> std::io::Result<()> {
        file(layout).remove_file()?;
        draft(layout).remove_file()?;
        // Whoever removed it before may have been killed before that was on the disk.
        layout.records().sync_if_there().map(|_| ())
    };
    removed().map_err(|error| storage("remove the node's certificate", &error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;

    fn identity(key: &str) -> Identity {
        Identity { ca: "ca".into(), cert: "cert".into(), key: key.into() }
    }

    fn prepared() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = layout(root.path());
        std::fs::create_dir(root.path().join("state")).unwrap();
        layout.records().create_folder().unwrap();
        (root, layout)
    }

    #[test]
    fn it_is_whole_private_and_gone_after_its_removal() {
        let (_root, layout) = prepared();
        assert!(read(&layout).unwrap().is_none());
        for key in ["one", "two"] {
            write(&layout, &identity(key)).unwrap();
            assert_eq!(read(&layout).unwrap(), Some(identity(key)));
            assert_eq!(file(&layout).path().metadata().unwrap().mode() & 0o7777, 0o600);
            assert_eq!(layout.records().names().unwrap(), ["identity.json"]);
        }
        assert!(!format!("{:?}", identity("one")).contains("one"));
        draft(&layout).create().unwrap();
        let (removed, operations) = probe::watch(|| remove(&layout));
        removed.unwrap();
        assert_eq!(operations.last(), Some(&format!("sync {}", layout.records().display())));
        assert!(layout.records().names().unwrap().is_empty());
        remove(&layout).unwrap();
        layout.records().remove_folder().unwrap();
        remove(&layout).unwrap();
        assert!(read(&layout).unwrap().is_none());
        assert_eq!(write(&layout, &identity("one")).unwrap_err().code, FailureCode::Storage);
    }

    #[test]
    fn after_any_failure_of_the_disk_there_is_the_old_or_the_new_one() {
        let (_root, layout) = prepared();
        write(&layout, &identity("old")).unwrap();
        let (written, operations) = probe::watch(|| write(&layout, &identity("new")));
        written.unwrap();
        let folder = format!("sync {}", layout.records().display());
        let position = |wanted: &str| operations.iter().position(|one| one.starts_with(wanted)).unwrap();
        let synced = format!("sync {}", draft(&layout).display());
        assert!(position(&synced) < position("rename ") && operations.last() == Some(&folder), "{operations:?}");
        for count in 0..operations.len() {
            write(&layout, &identity("old")).unwrap();
            let (written, _) = probe::fail_after(count, || write(&layout, &identity("new")));
            assert_eq!(written.unwrap_err().code, FailureCode::Storage, "{count}");
            let there = read(&layout).unwrap();
            assert!(there == Some(identity("old")) || there == Some(identity("new")), "{count}");
        }
        for count in 0..3 {
            let (removed, _) = probe::fail_after(count, || remove(&layout));
            assert_eq!(removed.unwrap_err().code, FailureCode::Storage, "{count}");
        }
    }

    #[test]
    fn an_error_shows_nothing_of_it_and_is_no_absence() {
        let (_root, layout) = prepared();
        for damaged in ["\"secret\"", "{\"ca\": \"secret\", \"cert\": 5", ""] {
            std::fs::write(file(&layout).path(), damaged).unwrap();
            let failure = read(&layout).unwrap_err();
            assert_eq!(failure.code, FailureCode::Storage);
            assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
        }
        file(&layout).remove_file().unwrap();
        file(&layout).create_folder().unwrap();
        assert_eq!(read(&layout).unwrap_err().code, FailureCode::Storage);
    }
}
