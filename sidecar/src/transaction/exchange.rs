//! The exchange of a member's data: renames within one file system, each of which can be done again or undone, whatever was done
//! before. What is to be done is read from what is there, never from memory.

use std::io;

use etcd_wire::{Failure, FailureCode};

use super::journal::storage;
use super::layout::Exchange;
use crate::node::Place;
use crate::node::dir::OURS;

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
    let look = |place: &Place| place.is_folder().map_err(|error| storage("look at the data", &error));
    let there = (look(&live)?, look(&new)?, look(&old)?);
    let what = || format!("swap {}", live.display());
    let done = match (way, there) {
        (Way::Forth, (true, true, false)) => live.rename(&old).and_then(|()| new.rename(&live)),
        (Way::Forth, (false, true, true)) => new.rename(&live),
        (Way::Forth, (true, false, true)) | (Way::Back, (true, true | false, false)) => Ok(()),
        (Way::Back, (false, true, true)) => old.rename(&live),
        (Way::Back, (true, false, true)) => live.rename(&new).and_then(|()| old.rename(&live)),
        (_, (live_there, new_there, old_there)) => {
            let message = format!(
                "cannot {}: the folder in place, the new and the old one exist: {live_there}, {new_there}, {old_there}",
                what()
            );
            return Err(Failure::new(FailureCode::Storage, message));
        }
    };
    done.and_then(|()| settle(exchange)).map_err(|error| storage(&what(), &error))
}

/// What is found done may have been done by a process that was killed before it was on the disk.
pub(super) fn settled<'a>(mut all: impl Iterator<Item = &'a Exchange>) -> Result<(), Failure> {
    all.try_for_each(settle).map_err(|error| storage("synchronise the data directories", &error))
}

fn settle(exchange: &Exchange) -> io::Result<()> {
    for folder in [&exchange.live, &exchange.new, &exchange.old] {
        folder.sync_if_there()?;
    }
    // The names of the folders themselves. They are in the same one, but for data that an earlier restore has set aside.
    for place in [&exchange.new, &exchange.old] {
        if let Some(folder) = place.folder() {
            folder.sync_if_there()?;
        }
    }
    Ok(())
}

/// Gives new data on which etcd ran a name of its own when the old data has come back, and says which: `None` if there is none, or if it
/// is what an earlier restore has set aside and is back where it was. Both for a data directory and for a WAL directory of its own.
pub(super) fn set_served_apart(exchange: &Exchange) -> Result<Option<Place>, Failure> {
    let served = exchange.served();
    if exchange.new != exchange.old.sibling("new") {
        return Ok(None);
    }
    let holds = |place: &Place| -> io::Result<bool> { Ok(place.is_folder()? && !place.names()?.is_empty()) };
    let apart = || -> io::Result<Option<Place>> {
        if holds(&exchange.old)? || exchange.old.sibling(PARTIAL).exists()? {
            return Err(io::Error::other("the old data has not come back yet"));
        }
        if holds(&exchange.new)? {
            exchange.new.rename(&served)?;
        } else if !served.is_folder()? {
            return Ok(None);
        }
        served.sync_name()?;
        Ok(Some(served.clone()))
    };
    apart().map_err(|error| storage(&format!("set aside {}", exchange.new.display()), &error))
}

/// Whether the new data is, or may be, in place.
pub(super) fn is_exchanged(exchange: &Exchange) -> Result<bool, Failure> {
    exchange.old.join("member").is_folder().map_err(|error| storage("look at the data", &error))
}

/// The name of the folder of old WAL files while not all of them are in it.
const PARTIAL: &str = "old.partial";

/// Exchanges the files of a WAL directory of its own. The folder itself may be a mount point, so its files move one by one; the old
/// ones lie in a folder that bears its name only when all are there.
pub(super) fn wal(exchange: &Exchange, way: Way) -> Result<(), Failure> {
    let partial = exchange.old.sibling(PARTIAL);
    let moved = || -> io::Result<()> {
        match way {
            Way::Forth => {
                if !exchange.old.is_folder()? {
                    partial.create_folders()?;
                    move_all(&exchange.live, &partial)?;
                    partial.rename(&exchange.old)?;
                }
                move_all(&exchange.new, &exchange.live)?;
            }
            Way::Back => {
                if exchange.old.is_folder()? {
                    exchange.new.create_folders()?;
                    move_all(&exchange.live, &exchange.new)?;
                    exchange.old.rename(&partial)?;
                }
                if partial.is_folder()? {
                    move_all(&partial, &exchange.live)?;
                    partial.remove_folder()?;
                }
            }
        }
        settle(exchange)
    };
    moved().map_err(|error| storage(&format!("swap the files in {}", exchange.live.display()), &error))
}

/// Whether new WAL files are, or may be, in place.
pub(super) fn wal_is_exchanged(exchange: &Exchange) -> Result<bool, Failure> {
    let look = |place: &Place| place.is_folder().map_err(|error| storage("look at the data", &error));
    Ok(look(&exchange.old)? || look(&exchange.old.sibling(PARTIAL))?)
}

/// Moves everything but our own folder.
fn move_all(from: &Place, to: &Place) -> io::Result<()> {
    from.names()?.iter().filter(|name| *name != OURS).try_for_each(|name| from.join(name).rename(&to.join(name)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use fs_err as fs;

    use super::*;
    use crate::node::probe;

    /// All files below a folder with their contents.
    fn tree(root: &Path) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() {
                    continue;
                }
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

    fn write(place: &Place, text: &str) {
        place.folder().unwrap().create_folders().unwrap();
        fs::write(place.path(), text).unwrap();
    }

    fn text(place: &Place) -> String {
        String::from_utf8(place.read().unwrap()).unwrap()
    }

    fn at(root: &Path) -> Exchange {
        let ours = Place::new(root).join(OURS).join("id");
        Exchange { live: Place::new(root), new: ours.join("new"), old: ours.join("old") }
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
            assert_eq!(text(&exchange.live.join("member/db")), expected);
        };
        member(&exchange, Way::Back).unwrap();
        assert!(!is_exchanged(&exchange).unwrap());
        forth("new");
        forth("new");
        assert!(is_exchanged(&exchange).unwrap());
        member(&exchange, Way::Back).unwrap();
        member(&exchange, Way::Back).unwrap();
        assert_eq!(tree(folder.path()), before);
        // Between the two renames.
        exchange.live.join("member").rename(&exchange.old.join("member")).unwrap();
        assert!(is_exchanged(&exchange).unwrap());
        member(&exchange, Way::Back).unwrap();
        assert_eq!(tree(folder.path()), before);
        exchange.live.join("member").rename(&exchange.old.join("member")).unwrap();
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
            let partial = exchange.old.sibling(PARTIAL);
            // As many renames as were done when it was cut.
            let renames = [
                (exchange.live.join("0-0.wal"), partial.join("0-0.wal")),
                (exchange.live.join("1-1.wal"), partial.join("1-1.wal")),
                (partial.clone(), exchange.old.clone()),
                (exchange.new.join("0-0.wal"), exchange.live.join("0-0.wal")),
            ];
            let cut = || renames.iter().take(steps).for_each(|(from, to)| from.rename(to).unwrap());
            cut();
            wal(&exchange, Way::Back).unwrap();
            assert_eq!(tree(folder.path()), before, "{steps}");
            cut();
            wal(&exchange, Way::Forth).unwrap();
            assert_eq!(text(&exchange.live.join("0-0.wal")), "new");
            assert!(!exchange.live.join("1-1.wal").exists().unwrap() && exchange.old.join("1-1.wal").exists().unwrap());
            wal(&exchange, Way::Forth).unwrap();
            wal(&exchange, Way::Back).unwrap();
            assert_eq!(tree(folder.path()), before, "{steps}");
        }
    }

    /// Wherever the disk fails, what is said to be done is on it, also if it was done before.
    #[test]
    fn nothing_is_done_before_it_is_on_the_disk() {
        for way in [Way::Forth, Way::Back] {
            for count in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let exchange = at(folder.path());
                write(&exchange.live.join("member/db"), "old");
                write(&exchange.new.join("member/db"), "new");
                if way == Way::Back {
                    member(&exchange, Way::Forth).unwrap();
                }
                let folders = [exchange.live.clone(), exchange.new.clone(), exchange.old.clone()];
                let (outcome, _) = probe::fail_after(count, || member(&exchange, way));
                let failed = outcome.is_err();
                for _ in 0..2 {
                    let (outcome, operations) = probe::watch(|| member(&exchange, way));
                    outcome.unwrap();
                    assert_eq!(probe::unsynced(&folders, &operations), BTreeSet::new(), "{way:?} {count}");
                }
                let expected = if way == Way::Forth { "new" } else { "old" };
                assert_eq!(text(&exchange.live.join("member/db")), expected);
                if !failed {
                    break;
                }
            }
            for count in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let exchange = at(folder.path());
                write(&exchange.live.join("0-0.wal"), "old");
                write(&exchange.live.join("1-1.wal"), "old");
                write(&exchange.new.join("0-0.wal"), "new");
                if way == Way::Back {
                    wal(&exchange, Way::Forth).unwrap();
                }
                let (outcome, _) = probe::fail_after(count, || wal(&exchange, way));
                let failed = outcome.is_err();
                for _ in 0..2 {
                    let (outcome, operations) = probe::watch(|| wal(&exchange, way));
                    outcome.unwrap();
                    let there = |folder: &&Place| folder.exists().unwrap();
                    let folders: Vec<Place> =
                        [&exchange.live, &exchange.new, &exchange.old].into_iter().filter(there).cloned().collect();
                    let mut unsynced = probe::unsynced(&folders, &operations);
                    unsynced.remove(&exchange.old.sibling(PARTIAL).display());
                    assert_eq!(unsynced, BTreeSet::new(), "{way:?} {count}");
                }
                let expected = if way == Way::Forth { "new" } else { "old" };
                assert_eq!(text(&exchange.live.join("0-0.wal")), expected);
                if !failed {
                    break;
                }
            }
        }
    }

    #[test]
    fn new_data_on_which_etcd_ran_gets_a_name_of_its_own() {
        for count in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let exchange = at(folder.path());
            write(&exchange.live.join("member/db"), "old");
            write(&exchange.new.join("member/db"), "new");
            member(&exchange, Way::Forth).unwrap();
            assert!(set_served_apart(&exchange).is_err(), "the old data is not back");
            member(&exchange, Way::Back).unwrap();
            let (outcome, _) = probe::fail_after(count, || set_served_apart(&exchange));
            for _ in 0..2 {
                let (apart, operations) = probe::watch(|| set_served_apart(&exchange));
                assert_eq!(apart.unwrap(), Some(exchange.served()), "{count}");
                let ours = exchange.served().folder().unwrap();
                assert_eq!(probe::unsynced(&[ours], &operations), BTreeSet::new());
            }
            assert_eq!(text(&exchange.served().join("member/db")), "new");
            assert_eq!(text(&exchange.live.join("member/db")), "old");
            assert!(!exchange.new.exists().unwrap());
            if outcome.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn there_may_be_no_new_data_or_that_of_an_earlier_restore() {
        let folder = tempfile::tempdir().unwrap();
        let mut exchange = at(folder.path());
        assert_eq!(set_served_apart(&exchange).unwrap(), None);
        exchange.new.create_folders().unwrap();
        assert_eq!(set_served_apart(&exchange).unwrap(), None);
        exchange.new = Place::new(folder.path()).join(OURS).join("earlier/old");
        write(&exchange.new.join("member/db"), "earlier");
        assert_eq!(set_served_apart(&exchange).unwrap(), None);
        assert_eq!(text(&exchange.new.join("member/db")), "earlier");
        // Two are never made one.
        let exchange = at(folder.path());
        write(&exchange.new.join("member/db"), "new");
        write(&exchange.served().join("member/db"), "served");
        assert!(set_served_apart(&exchange).is_err());
        assert_eq!(text(&exchange.new.join("member/db")), "new");
        assert_eq!(text(&exchange.served().join("member/db")), "served");
    }

    #[test]
    fn links_are_neither_followed_nor_exchanged() {
        let elsewhere = tempfile::tempdir().unwrap();
        write(&Place::new(elsewhere.path()).join("member/db"), "theirs");
        let victim = tree(elsewhere.path());
        for planted in ["member", OURS, "id", "new", "old", "member of new", "member of old"] {
            let folder = tempfile::tempdir().unwrap();
            let exchange = at(folder.path());
            write(&exchange.live.join("member/db"), "old");
            write(&exchange.new.join("member/db"), "new");
            let (ours, member) = (folder.path().join(OURS), elsewhere.path().join("member"));
            let (there, target) = match planted {
                "member" => (folder.path().join("member"), member.as_path()),
                OURS => (ours, elsewhere.path()),
                "id" => (ours.join("id"), elsewhere.path()),
                "new" => (ours.join("id/new"), elsewhere.path()),
                "old" => (ours.join("id/old"), elsewhere.path()),
                "member of new" => (ours.join("id/new/member"), member.as_path()),
                _ => {
                    exchange.old.create_folders().unwrap();
                    (ours.join("id/old/member"), member.as_path())
                }
            };
            if there.exists() {
                fs::rename(&there, folder.path().join("away")).unwrap();
            }
            std::os::unix::fs::symlink(target, &there).unwrap();
            let before = tree(folder.path());
            for way in [Way::Forth, Way::Back] {
                let failure = super::member(&exchange, way).unwrap_err();
                let said = format!("{failure} {:?}", failure.causes);
                assert!(said.contains("symbolic link"), "{planted}: {said}");
            }
            assert_eq!(tree(folder.path()), before, "{planted}");
            assert_eq!(tree(elsewhere.path()), victim, "{planted}");
        }
    }

    #[test]
    fn links_in_a_wal_directory_are_not_followed() {
        let elsewhere = tempfile::tempdir().unwrap();
        write(&Place::new(elsewhere.path()).join("0-0.wal"), "theirs");
        let victim = tree(elsewhere.path());
        for planted in ["new", "old", PARTIAL] {
            let folder = tempfile::tempdir().unwrap();
            let exchange = at(folder.path());
            write(&exchange.live.join("0-0.wal"), "old");
            exchange.new.folder().unwrap().create_folders().unwrap();
            let there = exchange.old.sibling(planted).path();
            std::os::unix::fs::symlink(elsewhere.path(), there).unwrap();
            // The old files may have moved before new ones are looked for; nothing else has, and all of them come back.
            assert!(wal(&exchange, Way::Forth).is_err(), "{planted}");
            assert_eq!(tree(elsewhere.path()), victim, "{planted}");
            fs::remove_file(exchange.old.sibling(planted).path()).unwrap();
            wal(&exchange, Way::Back).unwrap();
            assert_eq!(text(&exchange.live.join("0-0.wal")), "old");
        }
    }
}
