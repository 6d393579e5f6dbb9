//! A snapshot file that is named on the command line: opened once, whatever reads it. The only place that opens one.
//!
//! What gzip or zstd have compressed, what age has encrypted, and what lies in a store is brought to a file without a name, which only this user can read and which ends with the
//! program, however that ends.

mod access;
mod recognise;
mod sealed;
mod stored;
mod unnamed;
mod unpack;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use etcd_snapshot::{FileSource, Source};
use etcd_store::Identities;

use crate::context::Context;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Printer, Progress, ResultExt};
pub(crate) use access::{AccessArgs, identities, is_stored};
pub(crate) use recognise::Compression;
use recognise::{BEGINNING, Kind, Other, recognise};
pub(crate) use stored::{Stored, find, not_read, watch};
use unpack::Unpacking;

/// An open snapshot file. Its clones are the same open file.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    source: Arc<FileSource>,
    compression: Option<Compression>,
    stored: Option<Stored>,
}

impl SnapshotFile {
    /// Opens a file, and unpacks it if it is compressed, on a thread of its own; or a backup in a store, which is fetched, checked and
    /// decrypted.
    ///
    /// # Errors
    /// As [`SnapshotFile::open_here`], [`find`] and [`SnapshotFile::fetch`].
    pub(crate) async fn open(path: &Path, access: &AccessArgs, context: &Context) -> Outcome<SnapshotFile> {
        if is_stored(path) {
            return SnapshotFile::fetch(path, find(path, access, context).await?, access, context).await;
        }
        let identities = access.read(context).await?.identities.clone();
        let (path, printer, cancelled) = (path.to_owned(), context.printer, context.cancelled());
        let shown = path.display().to_string();
        let open = tokio::task::spawn_blocking(move || {
            SnapshotFile::open_here(&path, identities.as_ref(), printer, &cancelled)
        });
        open.await.or_fail(|| format!("cannot read {shown}"))?
    }

    /// Brings a backup that was found in a store to this machine.
    ///
    /// # Errors
    /// No identity fits (exit 2); the backup is damaged (exit 3); the store cannot be read; there is no room.
    pub(crate) async fn fetch(
        path: &Path,
        stored: Stored,
        access: &AccessArgs,
        context: &Context,
    ) -> Outcome<SnapshotFile> {
        let file = stored::fetch(&stored, access.read(context).await?, context).await?;
        let cannot = || Failed::plain(format!("cannot read {}", path.display()));
        let source = FileSource::new(file).map_err(|error| cannot().source(&error))?;
        Ok(SnapshotFile { path: path.to_owned(), source: Arc::new(source), compression: None, stored: Some(stored) })
    }

    /// Opens a file, and unpacks it if it is compressed, on this thread.
    ///
    /// # Errors
    /// It cannot be read; it is recognised as something that is no snapshot file (exit 2); it is compressed or encrypted, and damaged (exit
    /// 3); no identity fits (exit 2).
    pub(crate) fn open_here(
        path: &Path,
        identities: Option<&Identities>,
        printer: Printer,
        cancelled: &AtomicBool,
    ) -> Outcome<SnapshotFile> {
        let cannot = || Failed::plain(format!("cannot read {}", path.display()));
        // Before it is opened: that a pipe is opened may wait for its writer without end.
        regular(path, &std::fs::metadata(path).map_err(|error| cannot().source(&error))?)?;
        let file = File::open(path).map_err(|error| cannot().source(&error))?;
        regular(path, &file.metadata().map_err(|error| cannot().source(&error))?)?;
        let (file, compression) = match recognise(&beginning(&file).map_err(|error| cannot().source(&error))?) {
            Kind::Snapshot => (file, None),
            Kind::Encrypted(other) => match identities {
                None => {
                    return Err(wrong(path, None, other)
                        .hint("or name the identity that it was encrypted for\n  --identity KEY_FILE"));
                }
                Some(identities) => {
                    let folders = [folder_of(path), std::env::temp_dir()];
                    let file = sealed::open(path, &file, identities, &folders, printer, cancelled)?;
                    match recognise(&beginning(&file).map_err(|error| cannot().source(&error))?) {
                        Kind::Snapshot => (file, None),
                        Kind::Compressed(_) => return Err(twice(path)),
                        Kind::Encrypted(other) | Kind::Other(other) => return Err(wrong(path, None, other)),
                    }
                }
            },
            Kind::Other(other) => return Err(wrong(path, None, other)),
            Kind::Compressed(compression) => {
                let progress = Progress::new(printer, "unpack", 0);
                let folders = [folder_of(path), std::env::temp_dir()];
                let unpacking =
                    Unpacking { path, file: &file, compression, folders: &folders, cancelled, progress: &progress };
                (unpacking.run()?, Some(compression))
            }
        };
        let source = FileSource::new(file).map_err(|error| cannot().source(&error))?;
        Ok(SnapshotFile { path: path.to_owned(), source: Arc::new(source), compression, stored: None })
    }

    /// The path as it was typed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the engine reads: the snapshot, unpacked.
    pub(crate) fn source(&self) -> &FileSource {
        &self.source
    }

    /// The same, for a thread.
    #[cfg(unix)]
    pub(crate) fn shared_source(&self) -> Arc<FileSource> {
        Arc::clone(&self.source)
    }

    /// The backup in a store that it was brought from.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        self.stored.as_ref()
    }

    /// With what the file is compressed.
    pub(crate) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Paths that name the snapshot: as it was typed, and without the ending of its compression. What was written beside a backup bears one
    /// of them. What was copied out of a store has its record beside itself without any ending.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        let ending = self.path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let compressed = self.compression.is_some_and(|compression| compression.endings().contains(&ending));
        let unpacked = compressed.then(|| self.path.with_extension(""));
        let name = self.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
        let copied =
            name.filter(|name| name.parse::<etcd_store::Name>().is_ok()).map(|name| self.path.with_file_name(name));
        std::iter::once(self.path.clone()).chain(unpacked).chain(copied).collect()
    }

    /// Reads up to a whole buffer from a place of the snapshot; nothing at its end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        self.source.read_at(offset, buffer).map(|()| length)
    }
}

/// A folder, a pipe or a device is no snapshot file.
fn regular(path: &Path, metadata: &std::fs::Metadata) -> Outcome {
    if metadata.is_file() {
        return Ok(());
    }
    let name = path.display();
    if !metadata.is_dir() {
        let failed = Failed::new(Exit::Usage, format!("{name} is not a regular file"));
        return Err(failed.hint("a snapshot is not read from its beginning to its end: write it to a file first"));
    }
    let failed = Failed::new(Exit::Usage, format!("{name} is a folder, not a regular file"));
    let database =
        ["member/snap/db", "snap/db", "db"].map(|below| path.join(below)).into_iter().find(|db| db.is_file());
    Err(match database {
        Some(database) => failed.cause("it is the data directory of an etcd member, or a part of one").hint(format!(
            "stop etcd, and name a copy of its database\n  cp {} etcd.db",
            quoted(&database.display().to_string())
        )),
        None => failed.hint("name a snapshot file"),
    })
}

/// What a file is that is no snapshot, and the command that takes one out of it.
fn wrong(path: &Path, outer: Option<Compression>, Other { is, command }: Other) -> Failed {
    let name = path.display().to_string();
    let outside = outer.map_or_else(String::new, |outer| format!(", compressed with {}", outer.name()));
    let failed = Failed::new(Exit::Usage, format!("{name} is {is}{outside}"));
    // Beside every backup there is a `.json` that is easily taken for it.
    let backup = path.extension().filter(|ending| *ending == "json").map(|_| path.with_extension(""));
    match (command, backup.filter(|backup| backup.is_file())) {
        // tar unpacks what is compressed by itself; no other program of these does.
        (Some(command), _) if outer.is_none() || is.contains("tar") => failed.hint(format!(
            "unpack it, and name the snapshot that comes out\n  {}",
            command.replace("{}", &quoted(&name))
        )),
        (Some(_), _) => {
            let how = outer.map_or("", Compression::name);
            failed.hint(format!("unpack it, and name what comes out\n  {how} -dc {} > UNPACKED", quoted(&name)))
        }
        (None, Some(backup)) => failed.hint(format!("the backup itself is\n  {}", backup.display())),
        (None, None) => failed.hint("name a snapshot file"),
    }
}

fn twice(path: &Path) -> Failed {
    Failed::new(Exit::Usage, format!("{} is compressed twice below its encryption", path.display()))
        .hint("decrypt and unpack it, and name the snapshot")
}

fn folder_of(path: &Path) -> PathBuf {
    // The file's own, wherever a link to it lies.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real.parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Whether a file begins as a database of etcd does; not, if it cannot be read.
pub(crate) fn is_database(path: &Path) -> bool {
    let read = || File::open(path).and_then(|file| beginning(&file));
    read().is_ok_and(|beginning| etcd_snapshot::is_database(&beginning))
}

/// The first bytes of a file.
fn beginning(mut file: &File) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::with_capacity(BEGINNING);
    file.rewind()?;
    file.take(BEGINNING as u64).read_to_end(&mut beginning)?;
    file.rewind()?;
    Ok(beginning)
}

/// A file that is opened without a command, for tests.
#[cfg(test)]
pub(crate) fn opened(path: &Path) -> SnapshotFile {
    SnapshotFile::open_here(path, None, Printer::new(true), &AtomicBool::new(false))
        .unwrap_or_else(|failed| panic!("{failed}"))
}

#[cfg(test)]
mod tests;
