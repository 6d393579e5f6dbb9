//! Where a copy goes, by how it was typed.

use std::path::{Path, PathBuf};

use etcd_store::StoreUrl;

use crate::output::{Exit, Failed, Outcome};
use crate::snapshot_file::is_stored;

/// Where a copy goes.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// The snapshot alone, to a file that is not there.
    File(PathBuf),
    /// All objects, into a folder that is there.
    Folder(PathBuf),
    /// All objects, into another store.
    Store(StoreUrl),
}

impl Target {
    /// Tells what is meant.
    ///
    /// # Errors
    /// The file exists, the folder does not, or the store's URL is none (exit 2).
    pub(super) fn of(typed: &Path) -> Outcome<Target> {
        let shown = typed.display();
        if is_stored(typed) {
            let url = shown.to_string().parse();
            // What was typed is not told: it may hold a password.
            return url
                .map(Target::Store)
                .map_err(|error: etcd_store::UrlError| Failed::new(Exit::Usage, error.to_string()));
        }
        if typed.is_dir() {
            return Ok(Target::Folder(typed.to_owned()));
        }
        if typed.to_string_lossy().ends_with(std::path::is_separator) {
            let failed = Failed::new(Exit::Usage, format!("there is no folder {shown}"));
            return Err(failed.hint("make it first, or name a file for the snapshot alone"));
        }
        match typed.symlink_metadata() {
            Ok(_) => Err(Failed::new(Exit::Refused, format!("{shown} exists, and nothing is overwritten"))
                .unchanged()
                .hint("name another file")),
            Err(_) => Ok(Target::File(typed.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_stores_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        assert_eq!(Target::of(folder.path()).expect("a folder"), Target::Folder(folder.path().to_owned()));
        assert_eq!(Target::of(&at("new.db")).expect("a file"), Target::File(at("new.db")));
        assert!(matches!(Target::of(Path::new("file:///mnt/vault")), Ok(Target::Store(_))));
        std::fs::write(at("old.db"), b"").expect("written");
        assert_eq!(Target::of(&at("old.db")).expect_err("there").exit, Exit::Refused);
        assert_eq!(Target::of(&at("none/")).expect_err("no folder").exit, Exit::Usage);
        assert_eq!(Target::of(Path::new("s3://")).expect_err("no store").exit, Exit::Usage);
    }
}
