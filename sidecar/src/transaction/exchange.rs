//! The exchange of a member's data: renames within one file system, each of which can be done again or undone, whatever was done
//! before. What is to be done is read from what is there, never from memory.

use std::io;
use std::path::Path;

use etcd_wire::{Failure, FailureCode};
use fs_err as fs;

use super::journal::{storage, sync_folder};
use super::layout::{Exchange, OURS};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The new data comes into its place.
    Forth,
    /// The old data comes back.
    Back,
}

/// Exchanges the folder `member` of a data directory.
pub(super) fn member(exchange: &Exchange, way: Way) -> Result<(), Failure> {
    let (live, new, old) = (exchange.live.join("member"), exchange.new.join("member"), exchange.old.join("member"));
    let look = |path: &Path| path.try_exists().map_err(|error| storage("look at the data", &error));
    let there = (look(&live)?, look(&new)?, look(&old)?);
    let what = || format!("exchange {}", live.display());
    let done = match (way, there) {
        (Way::Forth, (true, true, false)) => rename(&live, &old).and_then(|()| rename(&new, &live)),
        (Way::Forth, (false, true, true)) => rename(&new, &live),
        (Way::Forth, (true, false, true)) | (Way::Back, (true, true | false, false)) => Ok(()),
        (Way::Back, (false, true, true)) => rename(&old, &live),
        (Way::Back, (true, false, true)) => rename(&live, &new).and_then(|()| rename(&old, &live)),
        (_, (live_there, new_there, old_there)) => {
            let message = format!(
                "cannot {}: of the folder in place, the new and the old one there are {live_there}, {new_there}, {old_there}",
                what()
            );
            return Err(Failure::new(FailureCode::Storage, message));
        }
    };
    done.map_err(|error| storage(&what(), &error))
}

/// Whether the new data is, or may be, in place.
pub(super) fn is_exchanged(exchange: &Exchange) -> bool {
    exchange.old.join("member").exists()
}

/// The name of the folder of old WAL files while not all of them are in it.
const PARTIAL: &str = "old.partial";

/// Exchanges the files of a WAL directory of its own. The folder itself may be a mount point, so its files move one by one; the old
/// ones lie in a folder that bears its name only when all are there.
pub(super) fn wal(exchange: &Exchange, way: Way) -> Result<(), Failure> {
    let partial = exchange.old.with_file_name(PARTIAL);
    let moved = || -> io::Result<()> {
        match way {
            Way::Forth => {
                if !exchange.old.exists() {
                    fs::create_dir_all(&partial)?;
                    move_all(&exchange.live, &partial)?;
                    rename(&partial, &exchange.old)?;
                }
                move_all(&exchange.new, &exchange.live)
            }
            Way::Back => {
                if exchange.old.exists() {
                    fs::create_dir_all(&exchange.new)?;
                    move_all(&exchange.live, &exchange.new)?;
                    rename(&exchange.old, &partial)?;
                }
                if partial.exists() {
                    move_all(&partial, &exchange.live)?;
                    fs::remove_dir(&partial)?;
                }
                Ok(())
            }
        }
    };
    moved().map_err(|error| storage(&format!("exchange the files in {}", exchange.live.display()), &error))
}

/// Whether new WAL files are, or may be, in place.
pub(super) fn wal_is_exchanged(exchange: &Exchange) -> bool {
    exchange.old.exists() || exchange.old.with_file_name(PARTIAL).exists()
}

/// Moves everything but our own folder.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != OURS {
            rename(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Renames what must not replace anything, and returns once the disk has it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from_folder, to_folder) = (folder_of(from)?, folder_of(to)?);
    if !to_folder.try_exists()? {
        fs::create_dir_all(to_folder)?;
        fs::set_permissions(to_folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        sync_folder(folder_of(to_folder)?)?;
    }
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, rustix::fs::RenameFlags::NOREPLACE).map_err(
        |error| {
            io::Error::new(
                io::Error::from(error).kind(),
                format!("rename {} to {}: {error}", from.display(), to.display()),
            )
        },
    )?;
    sync_folder(to_folder)?;
    sync_folder(from_folder)
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{} has no folder", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// All files below a folder with their contents.
    fn tree(root: &Path) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    all.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        all
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn at(root: &Path) -> Exchange {
        let ours = root.join(OURS).join("id");
        Exchange { live: root.to_owned(), new: ours.join("new"), old: ours.join("old") }
    }

    #[test]
    fn a_member_goes_and_comes_back_from_wherever_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let exchange = at(folder.path());
        write(&exchange.live.join("member/db"), "old");
        write(&exchange.new.join("member/db"), "new");
        let before = tree(folder.path());
        let forth = |expected: &str| {
            member(&exchange, Way::Forth).unwrap();
            assert_eq!(fs::read_to_string(exchange.live.join("member/db")).unwrap(), expected);
        };
        member(&exchange, Way::Back).unwrap();
        assert!(!is_exchanged(&exchange));
        forth("new");
        forth("new");
        assert!(is_exchanged(&exchange));
        member(&exchange, Way::Back).unwrap();
        member(&exchange, Way::Back).unwrap();
        assert_eq!(tree(folder.path()), before);
        // Between the two renames.
        rename(&exchange.live.join("member"), &exchange.old.join("member")).unwrap();
        assert!(is_exchanged(&exchange));
        member(&exchange, Way::Back).unwrap();
        assert_eq!(tree(folder.path()), before);
        rename(&exchange.live.join("member"), &exchange.old.join("member")).unwrap();
        forth("new");
        // What cannot be is not touched.
        write(&exchange.new.join("member/db"), "third");
        let strange = tree(folder.path());
        assert!(member(&exchange, Way::Forth).is_err() && member(&exchange, Way::Back).is_err());
        assert_eq!(tree(folder.path()), strange);
    }

    #[test]
    fn the_files_of_a_wal_directory_go_and_come_back_from_wherever_they_were_left() {
        for steps in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let exchange = at(folder.path());
            for name in ["0-0.wal", "1-1.wal"] {
                write(&exchange.live.join(name), "old");
            }
            write(&exchange.new.join("0-0.wal"), "new");
            let before = tree(folder.path());
            let partial = exchange.old.with_file_name(PARTIAL);
            // As many renames as were done when it was cut.
            let renames = [
                (exchange.live.join("0-0.wal"), partial.join("0-0.wal")),
                (exchange.live.join("1-1.wal"), partial.join("1-1.wal")),
                (partial.clone(), exchange.old.clone()),
                (exchange.new.join("0-0.wal"), exchange.live.join("0-0.wal")),
            ];
            let cut = || renames.iter().take(steps).for_each(|(from, to)| rename(from, to).unwrap());
            cut();
            wal(&exchange, Way::Back).unwrap();
            assert_eq!(tree(folder.path()), before, "{steps}");
            cut();
            wal(&exchange, Way::Forth).unwrap();
            assert_eq!(fs::read_to_string(exchange.live.join("0-0.wal")).unwrap(), "new");
            assert!(!exchange.live.join("1-1.wal").exists() && exchange.old.join("1-1.wal").exists());
            wal(&exchange, Way::Forth).unwrap();
            wal(&exchange, Way::Back).unwrap();
            assert_eq!(tree(folder.path()), before, "{steps}");
        }
    }

    #[test]
    fn nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        write(&a, "a");
        write(&b, "b");
        assert!(rename(&a, &b).is_err());
        assert_eq!(tree(folder.path()).len(), 2);
    }
}
