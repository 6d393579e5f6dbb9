//! Where a backup is written: under another name until it is whole, and then renamed.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err::{File, OpenOptions};
use jiff::Timestamp;
use serde::Serialize;

use super::names::{Names, Step, beside, steps};
use super::room;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Printer, ResultExt};

/// The place of a backup, as a plan: nothing is touched.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    File { path: PathBuf, force: bool },
    Stdout { name: String },
}

impl Target {
    /// `file` as it was typed. Without it, or where it is a folder, a name that says of what and of when the snapshot is.
    ///
    /// # Errors
    /// The file or its companion exists and `force` is not set; stdout is a terminal; the folder is not there.
    pub(super) fn plan(file: Option<&Path>, cluster: &str, now: Timestamp, force: bool) -> Outcome<Target> {
        let name = default_name(cluster, now);
        let path = match file {
            Some(path) if path == Path::new("-") => {
                if std::io::stdout().is_terminal() {
                    return Err(Failed::new(Exit::Usage, "a snapshot is not written to a terminal")
                        .hint("name a file, or put a pipe behind -"));
                }
                return Ok(Target::Stdout { name });
            }
            Some(path) if path.is_dir() => path.join(&name),
            Some(path) if path.to_string_lossy().ends_with(std::path::is_separator) => {
                return Err(Failed::new(Exit::Usage, format!("there is no folder {}", path.display())));
            }
            Some(path) => path.to_owned(),
            None => PathBuf::from(name),
        };
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
            return Err(Failed::new(Exit::Usage, format!("{} is not a regular file", path.display())));
        }
        let target = Target::File { path, force };
        target.refuse_to_overwrite()?;
        Ok(target)
    }

    /// The name that the snapshot has, without its folder.
    pub(super) fn file_name(&self) -> String {
        match self {
            Target::File { path, .. } => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Target::Stdout { name } => name.clone(),
        }
    }

    fn refuse_to_overwrite(&self) -> Outcome {
        let Target::File { path, force: false } = self else { return Ok(()) };
        for existing in [path, &beside(path, ".json")] {
            if existing.symlink_metadata().is_ok() {
                return Err(exists(existing));
            }
        }
        Ok(())
    }

    /// Creates `FILE.part`, readable by its owner alone from the first byte.
    ///
    /// # Errors
    /// The folder is not there or not writable, or another run's `FILE.part` is there.
    pub(super) fn begin(&self) -> Outcome<Writing> {
        let inner = match self {
            Target::Stdout { .. } => Inner::Stdout,
            Target::File { path, force } => {
                let part = beside(path, ".part");
                if *force {
                    // Not opened and emptied: it would keep its mode, which others may read.
                    match std::fs::remove_file(&part) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(Failed::plain(format!("cannot remove {}", part.display())).source(&error));
                        }
                        _ => {}
                    }
                }
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                {
                    use fs_err::os::unix::fs::OpenOptionsExt;
                    options.mode(0o600);
                }
                let file = options.open(&part).map_err(|error| {
                    let exists = error.kind() == ErrorKind::AlreadyExists;
                    let failed = Failed::plain(format!("cannot write {}", path.display())).source(&error);
                    if exists {
                        failed.hint(format!(
                            "another run is writing it, or one was killed; if none is, remove it\n  rm {}",
                            quoted(&part.display().to_string())
                        ))
                    } else {
                        failed
                    }
                })?;
                Inner::Part(Part {
                    file,
                    part,
                    target: Target::File { path: path.clone(), force: *force },
                    published: false,
                })
            }
        };
        Ok(Writing(Arc::new(Mutex::new(inner))))
    }
}

/// A backup being written. The last of its handles to go removes what was not published.
#[derive(Debug)]
pub(super) struct Writing(Arc<Mutex<Inner>>);

#[derive(Debug)]
enum Inner {
    Part(Part),
    Stdout,
}

#[derive(Debug)]
struct Part {
    file: File,
    part: PathBuf,
    target: Target,
    published: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            // Nothing to be done about a failure here: the file keeps the name that says it is not whole.
            let _gone_already = std::fs::remove_file(&self.part);
        }
    }
}

impl Writing {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another handle to the same file, for the thread that writes.
    pub(super) fn share(&self) -> Writing {
        Writing(Arc::clone(&self.0))
    }

    /// The file as long as it has no name of its own.
    pub(super) fn path(&self) -> PathBuf {
        match &*self.lock() {
            Inner::Part(part) => part.part.clone(),
            Inner::Stdout => PathBuf::from("-"),
        }
    }

    /// Empties the file for another attempt. False where that cannot be: bytes in a pipe cannot be called back.
    pub(super) fn restart(&mut self) -> Outcome<bool> {
        use std::io::Seek;
        match &mut *self.lock() {
            Inner::Part(part) => {
                part.file
                    .set_len(0)
                    .and_then(|()| part.file.rewind())
                    .or_fail(|| "cannot start the file again".to_owned())?;
                Ok(true)
            }
            Inner::Stdout => Ok(false),
        }
    }

    /// Refuses a length for which the file's disk has no room, before anything is written.
    pub(super) fn expect_room(&self, bytes: u64) -> std::io::Result<()> {
        match &*self.lock() {
            Inner::Part(part) => room::expect(part.file.file(), bytes),
            Inner::Stdout => Ok(()),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut *self.lock() {
            Inner::Part(part) => part.file.write_all(bytes),
            Inner::Stdout => std::io::stdout().lock().write_all(bytes),
        }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Outcome {
        match &*self.lock() {
            Inner::Part(part) => part.file.sync_all().or_fail(|| "cannot write the snapshot to the disk".to_owned()),
            Inner::Stdout => Ok(()),
        }
    }

    /// Writes `FILE.json` and gives both files their names. Returns the snapshot's, if it has one.
    ///
    /// # Errors
    /// Nothing was changed; or, with exit 5, the snapshot has its name and nothing is recorded beside it.
    pub(super) fn publish(self, manifest: &impl Serialize, printer: Printer) -> Outcome<Option<PathBuf>> {
        self.publish_by(manifest, printer, &Names::carry_out)
    }

    fn publish_by(
        self,
        manifest: &impl Serialize,
        printer: Printer,
        carry_out: &dyn Fn(&Names, Step) -> std::io::Result<()>,
    ) -> Outcome<Option<PathBuf>> {
        let part = &mut *self.lock();
        let part = match part {
            Inner::Stdout => {
                std::io::stdout().lock().flush().or_fail(|| "cannot write to stdout".to_owned())?;
                return Ok(None);
            }
            Inner::Part(part) => part,
        };
        let Target::File { path, force } = &part.target else { return Ok(None) };
        let names = Names::of(path);
        let companion = &names.companion;
        let text =
            serde_json::to_string_pretty(manifest).or_fail(|| format!("cannot write {}", companion.display()))? + "\n";
        let beside_part = Target::File { path: companion.clone(), force: *force }.begin()?;
        beside_part.write(text.as_bytes()).or_fail(|| format!("cannot write {}", companion.display()))?;
        let mut json = beside_part.lock();
        let Inner::Part(json) = &mut *json else { return Ok(None) };
        json.file.sync_all().or_fail(|| format!("cannot write {} to the disk", companion.display()))?;
        part.target.refuse_to_overwrite()?;
        let had_companion = companion.symlink_metadata().is_ok();
        for &step in steps(*force) {
            match (step, carry_out(&names, step)) {
                (Step::Name | Step::Replace, Ok(())) => part.published = true,
                (Step::Companion, Ok(())) => json.published = true,
                (Step::SetAside | Step::Forget, Ok(())) => {}
                (Step::Forget, Err(error)) => {
                    printer.warn(format!("{} stays: {error}", names.old_companion.display()));
                }
                (Step::SetAside | Step::Name | Step::Replace, Err(error)) => {
                    return Err(nothing_done(&names, step, had_companion, &error));
                }
                (Step::Companion, Err(error)) => {
                    let taken = error.kind() == ErrorKind::AlreadyExists;
                    // Somebody else's companion must not be beside it.
                    let taken_back =
                        taken && !force && part.file.metadata().is_ok_and(|own| names.take_back(&own).is_ok());
                    part.published = !taken_back;
                    return Err(if taken_back { exists(companion) } else { without_companion(&names, &error) });
                }
            }
        }
        // Some file systems cannot do this; the files are whole and have their names all the same.
        if let Err(error) = sync_folder(path) {
            printer.warn(format!("the new names may be lost if this machine fails now: {error}"));
        }
        Ok(Some(path.clone()))
    }
}

/// The file did not get its name; what was there is there.
fn nothing_done(names: &Names, step: Step, had_companion: bool, error: &std::io::Error) -> Failed {
    if step == Step::Name && error.kind() == ErrorKind::AlreadyExists {
        return exists(&names.file);
    }
    let failed = Failed::plain(format!("cannot give {} its name", names.file.display())).source(error);
    // What another run, which was cut off, has set aside may be of another file.
    let put_back = if step == Step::Replace && had_companion { names.put_back() } else { Ok(()) };
    match put_back {
        Ok(()) => failed,
        Err(error) => failed.after_change(format!(
            "{} is at {}, and cannot be put back: {error}",
            names.companion.display(),
            names.old_companion.display()
        )),
    }
}

/// The file has its name, and nothing is beside it.
fn without_companion(names: &Names, error: &std::io::Error) -> Failed {
    let _described_what_is_gone = names.carry_out(Step::Forget);
    let file = names.file.display();
    Failed::plain(format!("cannot give {} its name", names.companion.display()))
        .source(error)
        .after_change(format!("{file} is complete; only the record beside it (.json) is missing"))
}

fn exists(path: &Path) -> Failed {
    Failed::new(Exit::Refused, format!("{} exists", path.display()))
        .hint("take another name, or overwrite it with --force")
}

/// Makes the names in a file's folder durable.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened; its entries are durable when the file system says so.
#[cfg(not(unix))]
pub(super) fn sync_folder(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// `etcd-<cluster>-<UTC time>.db`; characters that file systems or shells dislike become dashes.
fn default_name(cluster: &str, now: Timestamp) -> String {
    let safe: String =
        cluster.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' }).collect();
    let safe = safe.trim_matches(['-', '.']);
    let cluster = if safe.is_empty() { "cluster" } else { &safe[..safe.len().min(100)] };
    format!("etcd-{cluster}-{}.db", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// When a backup was taken, by the name that it was given by default.
pub(crate) fn taken_by_name(file: &str) -> Option<Timestamp> {
    let (_, time) = file.strip_prefix("etcd-")?.strip_suffix(".db")?.rsplit_once('-')?;
    let taken = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    taken.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T06:16:40Z".parse().expect("a time")
    }

    #[test]
    fn the_time_is_read_out_of_a_default_name_and_no_other() {
        assert_eq!(taken_by_name(&default_name("prod-eu", now())), Some(now()));
        for name in
            ["etcd.db", "etcd-prod-20261121.db", "prod-20261121T061640Z.db", "etcd-prod-20261121T061640Z.db.zst"]
        {
            assert_eq!(taken_by_name(name), None, "{name}");
        }
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("a.db")
    }

    fn plan(path: &Path, force: bool) -> Outcome<Target> {
        Target::plan(Some(path), "c", now(), force)
    }

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_default_name_says_of_what_and_of_when() {
        assert_eq!(default_name("prod", now()), "etcd-prod-20261121T061640Z.db");
        assert_eq!(default_name("arn:aws/prod cluster", now()), "etcd-arn-aws-prod-cluster-20261121T061640Z.db");
        assert_eq!(default_name("../..", now()), "etcd-cluster-20261121T061640Z.db");
    }

    #[test]
    fn in_a_folder_the_name_is_the_default_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd-c-20261121T061640Z.db");
        assert_eq!(plan(folder.path(), false).unwrap(), Target::File { path, force: false });
        let gone = plan(&folder.path().join("gone/"), false).unwrap_err();
        assert_eq!((gone.exit, entries(folder.path()).len()), (Exit::Usage, 0));
    }

    #[test]
    fn the_file_appears_whole_and_private_with_its_companion() {
        let folder = tempfile::tempdir().unwrap();
        let mut writing = plan(&file(folder.path()), false).unwrap().begin().unwrap();
        writing.write(b"first attempt").unwrap();
        assert_eq!(entries(folder.path()), ["a.db.part"]);
        assert!(writing.restart().unwrap());
        writing.write(b"whole").unwrap();
        writing.publish(&serde_json::json!({"a": 1}), Printer::new(true)).unwrap();
        assert_eq!(entries(folder.path()), ["a.db", "a.db.json"]);
        assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"whole");
        #[cfg(unix)]
        for name in ["a.db", "a.db.json"] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_not_published_goes_with_the_last_handle() {
        let folder = tempfile::tempdir().unwrap();
        let writing = plan(&file(folder.path()), false).unwrap().begin().unwrap();
        let other = writing.share();
        drop(writing);
        assert_eq!(entries(folder.path()), ["a.db.part"]);
        drop(other);
        assert!(entries(folder.path()).is_empty());
    }

    #[test]
    fn nothing_is_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path()), "mine").unwrap();
        assert_eq!(plan(&file(folder.path()), false).unwrap_err().exit, Exit::Refused);
        std::fs::rename(file(folder.path()), folder.path().join("a.db.json")).unwrap();
        assert_eq!(plan(&file(folder.path()), false).unwrap_err().exit, Exit::Refused);
        std::fs::rename(folder.path().join("a.db.json"), folder.path().join("a.db.part")).unwrap();
        assert!(plan(&file(folder.path()), false).unwrap().begin().is_err());
        assert_eq!(std::fs::read(folder.path().join("a.db.part")).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let writing = plan(&file(folder.path()), false).unwrap().begin().unwrap();
        std::fs::write(file(folder.path()), "theirs").unwrap();
        assert!(writing.publish(&(), Printer::new(true)).is_err());
        assert_eq!(entries(folder.path()), ["a.db"]);
        assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"theirs");
    }

    /// Publishes, and has one step fail.
    fn failing(folder: &Path, force: bool, at: Step, kind: ErrorKind) -> Failed {
        let writing = plan(&file(folder), force).unwrap().begin().unwrap();
        writing.write(b"new").unwrap();
        let carry_out = |names: &Names, step: Step| if step == at { Err(kind.into()) } else { names.carry_out(step) };
        writing.publish_by(&"new", Printer::new(true), &carry_out).unwrap_err()
    }

    fn old_pair() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.db", "a.db.json"] {
            std::fs::write(folder.path().join(name), "old").unwrap();
        }
        folder
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        for step in [Step::SetAside, Step::Replace] {
            let folder = old_pair();
            assert_eq!(failing(folder.path(), true, step, ErrorKind::PermissionDenied).exit, Exit::Failed);
            assert_eq!(entries(folder.path()), ["a.db", "a.db.json"], "{step:?}");
            for name in ["a.db", "a.db.json"] {
                assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"old", "{step:?}");
            }
        }
        // A run that was cut off once the file had its name has left the old companion.
        let folder = old_pair();
        std::fs::rename(folder.path().join("a.db.json"), folder.path().join("a.db.json.old.part")).unwrap();
        assert_eq!(failing(folder.path(), true, Step::Replace, ErrorKind::PermissionDenied).exit, Exit::Failed);
        assert_eq!(entries(folder.path()), ["a.db", "a.db.json.old.part"]);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(failing(folder.path(), false, Step::Name, ErrorKind::PermissionDenied).exit, Exit::Failed);
        assert_eq!(failing(folder.path(), false, Step::Name, ErrorKind::AlreadyExists).exit, Exit::Refused);
        assert!(entries(folder.path()).is_empty());
    }

    #[test]
    fn without_its_companion_a_file_is_whole_or_gone_and_beside_no_other_one() {
        for force in [false, true] {
            let folder = if force { old_pair() } else { tempfile::tempdir().unwrap() };
            let failed = failing(folder.path(), force, Step::Companion, ErrorKind::PermissionDenied);
            assert!(failed.exit == Exit::Changed && failed.to_string().contains("is complete"), "{failed}");
            assert_eq!(entries(folder.path()), ["a.db"]);
            assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"new");
        }
        // Somebody else's companion appears behind the file.
        let folder = tempfile::tempdir().unwrap();
        let writing = plan(&file(folder.path()), false).unwrap().begin().unwrap();
        let carry_out = |names: &Names, step: Step| {
            if step == Step::Companion {
                std::fs::write(&names.companion, "theirs").unwrap();
            }
            names.carry_out(step)
        };
        let failed = writing.publish_by(&"new", Printer::new(true), &carry_out).unwrap_err();
        assert_eq!(failed.exit, Exit::Refused);
        assert_eq!(entries(folder.path()), ["a.db.json"]);
        assert_eq!(std::fs::read(folder.path().join("a.db.json")).unwrap(), b"theirs");
    }

    #[test]
    fn a_file_that_appears_at_the_last_moment_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let writing = plan(&file(folder.path()), false).unwrap().begin().unwrap();
        let carry_out = |names: &Names, step: Step| {
            if step == Step::Name {
                std::fs::write(&names.file, "theirs").unwrap();
            }
            names.carry_out(step)
        };
        assert_eq!(writing.publish_by(&"new", Printer::new(true), &carry_out).unwrap_err().exit, Exit::Refused);
        assert_eq!(entries(folder.path()), ["a.db"]);
        assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"theirs");
    }

    #[test]
    fn force_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.db", "a.db.json", "a.db.part"] {
            std::fs::write(folder.path().join(name), "old").unwrap();
        }
        let writing = plan(&file(folder.path()), true).unwrap().begin().unwrap();
        writing.write(b"new").unwrap();
        writing.publish(&(), Printer::new(true)).unwrap();
        assert_eq!(entries(folder.path()), ["a.db", "a.db.json"]);
        assert_eq!(std::fs::read(file(folder.path())).unwrap(), b"new");
    }
}
