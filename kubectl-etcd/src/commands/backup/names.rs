//! How a backup gets its names: its own, and that of what is recorded beside it.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::target::sync_folder;

/// The names of a backup. Those that end in `.part` belong to this program.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) file: PathBuf,
    pub(super) file_part: PathBuf,
    pub(super) companion: PathBuf,
    pub(super) companion_part: PathBuf,
    /// What `FILE.json` was, until the new one is there.
    pub(super) old_companion: PathBuf,
}

/// What is done, in order. After each step, whatever ends this program then, there is the old pair, the new pair, or a file without a
/// companion: never a file beside another one's companion. What is there already is only replaced where `force` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The old companion is set aside, if there is one.
    SetAside,
    /// The file gets its name, which nothing has.
    Name,
    /// The file gets its name, and what had it goes.
    Replace,
    /// The companion gets its name, which nothing has.
    Companion,
    /// The old companion goes.
    Forget,
}

/// The steps.
pub(super) fn steps(force: bool) -> &'static [Step] {
    match force {
        true => &[Step::SetAside, Step::Replace, Step::Companion, Step::Forget],
        false => &[Step::Name, Step::Companion],
    }
}

impl Names {
    pub(super) fn of(path: &Path) -> Names {
        let companion = beside(path, ".json");
        Names {
            file: path.to_owned(),
            file_part: beside(path, ".part"),
            companion_part: beside(&companion, ".part"),
            old_companion: beside(&companion, ".old.part"),
            companion,
        }
    }

    pub(super) fn carry_out(&self, step: Step) -> Result<()> {
        match step {
            Step::SetAside => {
                unless_missing(std::fs::rename(&self.companion, &self.old_companion))?;
                // On the disk, too, the old companion must not come back beside the new file. A folder that cannot be made durable
                // is told at the end.
                let _told_later = sync_folder(&self.file);
                Ok(())
            }
            Step::Name => rename_new(&self.file_part, &self.file),
            Step::Replace => std::fs::rename(&self.file_part, &self.file),
            Step::Companion => rename_new(&self.companion_part, &self.companion),
            Step::Forget => unless_missing(std::fs::remove_file(&self.old_companion)),
        }
    }

    /// Puts the old companion back beside the old file.
    pub(super) fn put_back(&self) -> Result<()> {
        unless_missing(rename_new(&self.old_companion, &self.companion))
    }

    /// Takes the file its name again, if it is still the one that got it.
    pub(super) fn take_back(&self, file: &std::fs::Metadata) -> Result<()> {
        if !same(file, &self.file.symlink_metadata()?) {
            return Err(Error::new(ErrorKind::AlreadyExists, "it is another file by now"));
        }
        rename_new(&self.file, &self.file_part)
    }
}

/// `PATH` and a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn unless_missing(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Renames a file to a name that nothing has.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] if something has that name.
fn rename_new(from: &Path, to: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can do it (renameat2(2)).
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return done.map_err(Error::from),
        }
    }
    link_new(from, to)
}

/// The same where no system call renames without replacing: a second name for the file, which never replaces anything, and the first one
/// goes. A file system without second names (FAT) leaves a look before the rename, and the moment between the two.
fn link_new(from: &Path, to: &Path) -> Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => {
            // It is there and whole; the other name, if it stays, says only that it is this program's.
            let _second_name = std::fs::remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Whether two are the same file.
#[cfg(unix)]
fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether two seem to be the same file: nothing more is to be had.
#[cfg(not(unix))]
fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.len(), one.created().ok()) == (other.len(), other.created().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there, by name.
    fn contents(names: &Names) -> Vec<(&'static str, String)> {
        let all = [
            ("file", &names.file),
            ("companion", &names.companion),
            ("old companion", &names.old_companion),
            ("file.part", &names.file_part),
            ("companion.part", &names.companion_part),
        ];
        all.into_iter().filter_map(|(name, path)| Some((name, std::fs::read_to_string(path).ok()?))).collect()
    }

    fn begin(folder: &Path, old: &[&str]) -> Names {
        let names = Names::of(&folder.join("a.db"));
        for (path, what) in [(&names.file, "file"), (&names.companion, "companion")] {
            if old.contains(&what) {
                std::fs::write(path, "old").expect("the user's");
            }
        }
        std::fs::write(&names.file_part, "new").expect("ours");
        std::fs::write(&names.companion_part, "new").expect("ours");
        names
    }

    #[test]
    fn whatever_cuts_it_off_no_file_is_beside_another_ones_companion() {
        for (force, old) in
            [(false, &[][..]), (true, &[]), (true, &["file"]), (true, &["companion"]), (true, &["file", "companion"])]
        {
            for cut in 0..=steps(force).len() {
                let folder = tempfile::tempdir().expect("a folder");
                let names = begin(folder.path(), old);
                steps(force)[..cut].iter().for_each(|&step| names.carry_out(step).expect("a step"));
                let there = contents(&names);
                let of = |name: &str| there.iter().find(|(own, _)| *own == name).map(|(_, content)| content.as_str());
                let had_companion_alone = old == ["companion"];
                match (of("file"), of("companion")) {
                    (Some(file), Some(companion)) => assert_eq!(file, companion, "{force} {old:?} {cut}"),
                    (None, Some(_)) => assert!(had_companion_alone && cut == 0, "{force} {old:?} {cut}"),
                    _ => {}
                }
                // The old ones are there until the new file is, and the new ones, under some name, always.
                if of("file") != Some("new") {
                    assert_eq!(of("file").is_some(), old.contains(&"file"));
                    assert_eq!(of("companion").or(of("old companion")).is_some(), old.contains(&"companion"));
                }
                assert_eq!(
                    of("file").filter(|&it| it == "new").or(of("file.part")),
                    Some("new"),
                    "{force} {old:?} {cut}"
                );
                if cut == steps(force).len() {
                    assert_eq!(there, [("file", "new".to_owned()), ("companion", "new".to_owned())]);
                }
                // And it can be done again from there.
                if force {
                    let again = begin(folder.path(), &[]);
                    steps(force).iter().for_each(|&step| again.carry_out(step).expect("a step"));
                    assert_eq!(contents(&again), [("file", "new".to_owned()), ("companion", "new".to_owned())]);
                }
            }
        }
    }

    #[test]
    fn a_name_that_something_has_is_never_taken() {
        for rename in [rename_new, link_new] {
            let folder = tempfile::tempdir().expect("a folder");
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            std::fs::write(&from, "new").expect("a file");
            std::fs::write(&to, "old").expect("a file");
            assert_eq!(rename(&from, &to).expect_err("it is there").kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&to).expect("a file"), b"old");
            std::fs::remove_file(&to).expect("a file");
            rename(&from, &to).expect("free");
            assert!(!from.exists() && std::fs::read(&to).is_ok_and(|content| content == b"new"));
            rename(&from, &to).expect_err("nothing to rename");
        }
    }

    #[test]
    fn only_our_own_file_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = begin(folder.path(), &[]);
        let own = names.file_part.metadata().expect("ours");
        names.carry_out(Step::Name).expect("a name");
        names.take_back(&own).expect("ours");
        assert!(!names.file.exists() && names.file_part.exists());
        std::fs::write(&names.file, "theirs").expect("another");
        names.take_back(&own).expect_err("another's");
        assert!(names.file.exists());
    }
}
