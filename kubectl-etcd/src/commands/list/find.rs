//! Which files of a folder are snapshots.

use std::path::{Path, PathBuf};

use etcd_snapshot::{is_snapshot_name, may_be_snapshot};

use crate::commands::verify::Record;
use crate::output::{Exit, Failed, Outcome, ResultExt};
use crate::snapshot_file::is_database;

/// A file that is a snapshot, or should be one.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// Its name in the folder.
    pub(super) name: String,
    pub(super) size: u64,
    /// What was recorded beside it, whether it is of this file or not.
    pub(super) record: Option<Record>,
}

/// The snapshots of a folder, by name. Other files, and folders in it, are passed over.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn find(folder: &Path) -> Outcome<Vec<Candidate>> {
    let shown = folder.display().to_string();
    let cannot = || format!("cannot read the folder {shown}");
    let read = std::fs::read_dir(folder).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::Usage } else { Exit::Failed };
        Failed::new(exit, cannot()).source(&error)
    })?;
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.or_fail(cannot)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if !may_be_snapshot(&name) {
            continue;
        }
        // A link that leads nowhere is no file.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let record = Record::beside(&path);
        if record.is_some() || is_snapshot_name(&name) || is_database(&path) {
            // `./etcd.db` is what nobody types.
            let path = if folder == Path::new(".") { PathBuf::from(&name) } else { path };
            found.push(Candidate { path, name, size: metadata.len(), record });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_and_what_lies_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "b.db",
            "a.db.zst",
            "b.db.json",
            "c.db.part",
            ".hidden.db",
            "notes.txt",
            "named-otherwise",
            "named-otherwise.json",
        ] {
            std::fs::write(folder.path().join(name), "x").expect("a file");
        }
        let record = r#"{"kind": "Backup", "snapshot": {"size": 1, "sha256": "ab"}}"#;
        std::fs::write(folder.path().join("named-otherwise.json"), record).expect("a record");
        std::fs::create_dir(folder.path().join("folder.db")).expect("a folder");
        let mut database = vec![0; 4096];
        database[16..20].copy_from_slice(&[0xED, 0xDA, 0x0C, 0xED]);
        std::fs::write(folder.path().join("database"), database).expect("a file");
        let found: Vec<String> = find(folder.path()).expect("a folder").into_iter().map(|one| one.name).collect();
        assert_eq!(found, ["a.db.zst", "b.db", "database", "named-otherwise"]);
        assert_eq!(find(&folder.path().join("gone")).expect_err("no folder").exit, Exit::Usage);
    }
}
