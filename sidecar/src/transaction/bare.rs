//! A node without data of etcd: the data was deleted, or its disk is a new one. Where the quorum is lost, such a node takes part like the others. The
//! folders that are not there are made, empty, and are what is set aside.

use std::io;
use std::os::unix::fs::PermissionsExt;

use etcd_wire::Failure;

use super::journal::storage;
use super::layout::Layout;
use super::owner;
use crate::node::Place;

/// The folders that data is exchanged in, each after the one that it is in.
fn folders(layout: &Layout) -> impl DoubleEndedIterator<Item = Place> {
    let data_dir = layout.data_dir();
    let member = data_dir.join("member");
    [Some(data_dir), Some(member), layout.wal_dir()].into_iter().flatten()
}

/// Those of them that are not there, by their paths. None where a quorum is to be stopped: etcd runs there.
///
/// # Errors
/// One of them cannot be looked at, or is no folder.
pub(super) fn missing(layout: &Layout) -> Result<Vec<String>, Failure> {
    if !layout.serves() || layout.plan().quorum_lost.is_none() {
        return Ok(Vec::new());
    }
    let mut missing: Vec<String> = Vec::new();
    for folder in folders(layout) {
        // Below a folder that is not there nothing can be looked at.
        let inside = missing.iter().any(|around| folder.path().starts_with(around));
        if inside || !folder.is_folder().map_err(|error| storage("look at the data", &error))? {
            missing.push(folder.display());
        }
    }
    Ok(missing)
}

/// Where the data will be: the data directory, or the folder around it while it is not there.
pub(super) fn nearest(layout: &Layout, missing: &[String]) -> Place {
    let data_dir = layout.data_dir();
    match data_dir.path().parent() {
        Some(around) if missing.contains(&data_dir.display()) => Place::new(around),
        _ => data_dir,
    }
}

/// Makes them, with the owner of the folder around them where that is etcd's.
///
/// # Errors
/// The disk fails.
pub(super) fn make(layout: &Layout, missing: &[String]) -> Result<(), Failure> {
    let made = |folder: &Place| -> io::Result<()> {
        match folder.create_folder() {
            // The kubelet starts etcd there again and again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_folder()? => return Ok(()),
            created => created?,
        }
        if let Some(around) = folder.folder() {
            let made = folder.open()?;
            owner::give(&around.open()?, &made)?;
            made.set_permissions(PermissionsExt::from_mode(0o700))?;
        }
        folder.sync_name()
    };
    let mut all = folders(layout).filter(|folder| missing.contains(&folder.display()));
    all.try_for_each(|folder| made(&folder)).map_err(|error| storage("make a folder for the data", &error))
}

/// Takes those away again that are still empty.
///
/// # Errors
/// The disk fails.
pub(super) fn remove(layout: &Layout, missing: &[String]) -> Result<(), Failure> {
    for folder in folders(layout).rev().filter(|folder| missing.contains(&folder.display())) {
        folder.remove_if_empty().map_err(|error| storage("remove an empty folder", &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::QuorumLost;

    use super::super::layout::tests::{layout, plan};
    use super::*;

    fn without_quorum(root: &std::path::Path) -> Layout {
        let mut lost = plan(root);
        lost.quorum_lost = Some(QuorumLost::default());
        Layout::at(lost, "cp1", root).unwrap()
    }

    #[test]
    fn what_is_missing_is_made_and_goes_if_nothing_came_of_it() {
        let root = tempfile::tempdir().unwrap();
        let layout = without_quorum(root.path());
        let data_dir = layout.data_dir();
        if data_dir.exists().unwrap() {
            data_dir.remove_all().unwrap();
        }
        let missing = missing(&layout).unwrap();
        assert_eq!(missing[..2], [data_dir.display(), data_dir.join("member").display()]);
        assert_eq!(nearest(&layout, &missing).path(), data_dir.path().parent().unwrap());
        make(&layout, &missing).unwrap();
        assert!(super::missing(&layout).unwrap().is_empty());
        // Whoever has made them meanwhile.
        make(&layout, &missing).unwrap();
        assert_eq!(nearest(&layout, &[]).path(), data_dir.path());
        for folder in folders(&layout) {
            assert_eq!(folder.open().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        remove(&layout, &missing).unwrap();
        assert!(!data_dir.exists().unwrap());
        // Whatever is in it stays.
        make(&layout, &missing).unwrap();
        data_dir.join("member/snap").create_folder().unwrap();
        remove(&layout, &missing).unwrap();
        assert!(data_dir.join("member/snap").exists().unwrap());
        assert_eq!(super::missing(&layout).unwrap(), missing[2..]);
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_no_missing_folder() {
        let root = tempfile::tempdir().unwrap();
        let layout = without_quorum(root.path());
        let data_dir = layout.data_dir();
        if data_dir.exists().unwrap() {
            data_dir.remove_all().unwrap();
        }
        std::fs::create_dir_all(data_dir.path()).unwrap();
        std::fs::write(data_dir.path().join("member"), "").unwrap();
        assert!(missing(&layout).is_err());
    }

    #[test]
    fn where_a_quorum_is_stopped_nothing_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout(root.path());
        if layout.data_dir().exists().unwrap() {
            layout.data_dir().remove_all().unwrap();
        }
        assert_eq!(missing(&layout).unwrap(), [""; 0]);
    }
}
