//! Objects of a backup as files: complete and compared before they have their names, and readable by their owner alone.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use etcd_store::copy::{items, limit};
use etcd_store::fetch::TransferError;
use etcd_store::layout::{Key, Part};
use etcd_store::{StoredObject, sha256_of};
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::output::{Exit, Failed, Outcome, ResultExt};
use crate::snapshot_file::{Stored, not_read, watch};
use crate::stores;

/// Copies all objects of a backup into a folder, its record last. How many were copied, and how many were there already.
///
/// # Errors
/// A file of one of the names has another content (exit 4); the backup is damaged (exit 3); something cannot be read or written.
pub(super) async fn all(stored: &Stored, folder: &Path, context: &Context) -> Outcome<(u64, u64)> {
    let (mut copied, mut kept) = (0, 0);
    for item in items(&stored.found) {
        let path = folder.join(item.key.file());
        let is_there = match &item.recorded {
            Some(recorded) => is_same(path.clone(), recorded.clone()).await?,
            None => false,
        };
        let done = match (is_there, &item.recorded) {
            (true, _) => false,
            (false, Some(recorded)) => object(stored, &item.key, recorded, &path, context).await.map(|()| true)?,
            (false, None) => small(stored, &item.key, &path).await?,
        };
        if done {
            copied += 1;
        } else {
            kept += 1;
        }
    }
    Ok((copied, kept))
}

/// Copies one object to a file that is not there.
///
/// # Errors
/// As [`all`].
pub(super) async fn object(
    stored: &Stored,
    key: &Key,
    recorded: &StoredObject,
    path: &Path,
    context: &Context,
) -> Outcome {
    let part = begin(path)?;
    let watch = watch(context.printer, "copy", recorded.size, context.cancelled());
    let read = stored.found.read_as_it_is(key, recorded, part, watch);
    let failed = |error| match error {
        // The disk that is full is that of the copy, and no folder for what is unpacked.
        TransferError::Write(error) => Failed::plain(format!("cannot write {}", path.display())).source(&error),
        error => not_read(error, &stored.name()),
    };
    let part = context.interruptible(async { read.await.map_err(failed) }).await?;
    let to = path.to_owned();
    let published = tokio::task::spawn_blocking(move || publish(part, &to)).await;
    published.or_fail(|| format!("cannot write {}", path.display()))?
}

/// Copies an object of which nothing is recorded. False: it was there already.
async fn small(stored: &Stored, key: &Key, path: &Path) -> Outcome<bool> {
    let bytes = match key.part {
        // The very bytes whose signature was checked.
        Part::Record => stored.found.record_bytes.clone(),
        _ => stored.found.store.small(key, limit(&key.part)).await.map_err(|error| stores::failed(&error))?,
    };
    match std::fs::read(path) {
        Ok(there) if there == *bytes => return Ok(false),
        Ok(_) => return Err(taken(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failed::plain(format!("cannot read {}", path.display())).source(&error)),
    }
    let mut part = begin(path)?;
    part.write_all(&bytes).or_fail(|| format!("cannot write {}", path.display()))?;
    publish(part, path)?;
    Ok(true)
}

/// Whether a file has the bytes that are recorded. False: it is not there.
async fn is_same(path: PathBuf, recorded: StoredObject) -> Outcome<bool> {
    let shown = path.display().to_string();
    let compare = move || {
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Failed::plain(format!("cannot read {}", path.display())).source(&error)),
        };
        let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        let sha256 = sha256_of(&mut file as &mut dyn Read).or_fail(|| format!("cannot read {}", path.display()))?;
        match length == recorded.size && sha256.eq_ignore_ascii_case(&recorded.sha256) {
            true => Ok(true),
            false => Err(taken(&path)),
        }
    };
    tokio::task::spawn_blocking(compare).await.or_fail(|| format!("cannot read {shown}"))?
}

fn taken(path: &Path) -> Failed {
    Failed::new(Exit::Refused, format!("{} exists with another content, and nothing is overwritten", path.display()))
        .hint("name another folder")
}

/// A file beside the one that is to be, readable by this user alone; it goes when it is dropped.
fn begin(path: &Path) -> Outcome<NamedTempFile> {
    let folder = folder_of(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let part = tempfile::Builder::new().prefix(&format!("{name}.")).suffix(".part").tempfile_in(folder);
    part.or_fail(|| format!("cannot write {}", path.display()))
}

/// Gives a file its name, once its bytes are on the disk.
fn publish(part: NamedTempFile, path: &Path) -> Outcome {
    let cannot = || format!("cannot write {}", path.display());
    part.as_file().sync_all().or_fail(cannot)?;
    match part.persist_noclobber(path) {
        Ok(_) => sync_folder(path).or_fail(cannot),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(taken(path)),
        Err(error) => Err(Failed::plain(cannot()).source(&error.error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name is on the disk only when its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(folder_of(path))?.sync_all()
}

/// Windows keeps names on the disk by itself, and does not open folders as files.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
