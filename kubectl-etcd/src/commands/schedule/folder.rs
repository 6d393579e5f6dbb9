//! A folder of files, written whole or not at all, over nothing that is there.

use std::io::Write as _;
use std::path::Path;

use crate::output::{Exit, Failed, Outcome};

/// Writes files into a folder that is empty or does not exist.
///
/// # Errors
/// Exit 4: there is something in it. Exit 1: it cannot be written; what was written of it is gone again then.
pub(super) fn write(folder: &Path, files: &[(String, String)]) -> Outcome {
    let cannot = |error: std::io::Error| {
        Failed::plain(format!("cannot write to {}", folder.display())).source(&error).unchanged()
    };
    let existed = match fs_err::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Failed::new(
                    Exit::Refused,
                    format!("{} is not empty: nothing in it is overwritten", folder.display()),
                )
                .unchanged()
                .hint(
                    "name another folder, and compare the two; changes of your own belong in an overlay of kustomize",
                ));
            }
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(cannot(error)),
    };
    fs_err::create_dir_all(folder).map_err(cannot)?;
    let mut written = Vec::new();
    let done = files.iter().try_for_each(|(name, text)| {
        let path = folder.join(name);
        let mut file = fs_err::File::create_new(&path)?;
        written.push(path);
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    done.map_err(|error| {
        let kept = written.iter().filter(|path| fs_err::remove_file(path).is_err()).count();
        let folder_kept = !existed && fs_err::remove_dir(folder).is_err();
        let failed = Failed::plain(format!("cannot write to {}", folder.display())).source(&error);
        match kept == 0 && !folder_kept {
            true => failed.unchanged(),
            false => failed.effect(format!("a part of the files may be left in {}", folder.display())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), format!("{name}\n"))).collect()
    }

    #[test]
    fn only_what_is_empty_is_written_to() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a/b");
        write(&folder, &files(&["x", "y"])).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("y")).unwrap(), "y\n");
        let failed = write(&folder, &files(&["x", "z"])).unwrap_err();
        assert_eq!(failed.exit, Exit::Refused);
        assert!(!folder.join("z").exists());
        let empty = tempfile::tempdir().unwrap();
        write(empty.path(), &files(&["x"])).unwrap();
        assert!(empty.path().join("x").is_file());
    }

    #[test]
    fn what_cannot_be_written_whole_is_taken_back() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("new");
        let failed = write(&folder, &files(&["x", "no/such"])).unwrap_err();
        assert_eq!(failed.exit, Exit::Failed);
        assert!(!folder.exists());
        std::fs::write(top.path().join("file"), "").unwrap();
        assert_eq!(write(&top.path().join("file"), &files(&["x"])).unwrap_err().exit, Exit::Failed);
        assert_eq!(std::fs::read(top.path().join("file")).unwrap(), b"");
    }
}
