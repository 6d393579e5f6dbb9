//! A folder as a store, with the layout of the others.
//!
//! An object is written to a file beside it whose name no listing knows, synced, and given its name only then, by an operation that
//! replaces nothing: under a name there is a whole object or none, whatever happens.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err as fs;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tempfile::NamedTempFile;

use crate::backend::{Entry, Failure};
use crate::trouble::Trouble;

/// The folder that is a store. It must exist, and is never made: one that does not may be on a file system that is not mounted.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Unnamed {
    file: NamedTempFile,
    name: PathBuf,
}

/// How the names of files begin that are no objects yet.
pub(crate) const PART: &str = ".part-";

const CHUNK: usize = 256 * 1024;

impl Folder {
    pub(crate) fn open(folder: &Path) -> Folder {
        Folder(folder.to_owned())
    }

    fn path(&self, below: &str) -> PathBuf {
        below.split('/').fold(self.0.clone(), |path, segment| path.join(segment))
    }

    fn must_be_there(&self) -> Result<(), Failure> {
        match fs::metadata(&self.0) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(Failure::new(Trouble::NoFolder, "it is not a folder")),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(Failure::new(Trouble::NoFolder, ""))
            }
            Err(error) => Err(failure(&error)),
        }
    }

    /// Everything below a folder of the store. What is no file is left out, and so is what goes meanwhile.
    pub(crate) fn list(&self, folder: &str) -> Result<(Vec<Entry>, u64), Failure> {
        self.must_be_there()?;
        let mut entries = Vec::new();
        let mut strange = 0;
        let mut todo = vec![folder.to_owned()];
        while let Some(folder) = todo.pop() {
            let read = match fs::read_dir(self.path(&folder)) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failure(&error)),
            };
            for entry in read {
                let entry = entry.map_err(|error| failure(&error))?;
                let Ok(name) = entry.file_name().into_string() else {
                    strange += 1;
                    continue;
                };
                let path = format!("{folder}/{name}");
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failure(&error)),
                };
                if meta.is_dir() {
                    todo.push(path);
                } else if meta.is_file() {
                    let modified = meta.modified().map_err(|error| failure(&error))?;
                    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
                    entries.push(Entry { path, size: meta.len(), modified });
                } else {
                    strange += 1;
                }
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok((entries, strange))
    }

    /// The names of the folders in a folder.
    pub(crate) fn folders(&self, folder: &str) -> Result<Vec<String>, Failure> {
        self.must_be_there()?;
        let read = match fs::read_dir(self.path(folder)) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failure(&error)),
        };
        let mut names = Vec::new();
        for entry in read {
            let entry = entry.map_err(|error| failure(&error))?;
            if entry.file_type().map_err(|error| failure(&error))?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The size of an object and its bytes; a part of it where a range is given.
    pub(crate) fn get(
        &self,
        path: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, Failure>>), Failure> {
        let mut file = self.open_file(path)?;
        let size = file.metadata().map_err(|error| failure(&error))?.len();
        let range = range.unwrap_or(0..size);
        let range = range.start.min(size)..range.end.min(size);
        file.seek(SeekFrom::Start(range.start)).map_err(|error| failure(&error))?;
        let left = range.end.saturating_sub(range.start);
        let stream = futures::stream::try_unfold((file, left), |(mut file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let read = move || {
                let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
                let count = file.read(&mut chunk).map_err(|error| failure(&error))?;
                if count == 0 {
                    return Err(Failure::new(Trouble::Damaged, "the file has become shorter while it was read"));
                }
                chunk.truncate(count);
                Ok((Bytes::from(chunk), file))
            };
            let (chunk, file) = blocking(read).await?;
            let count = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            Ok(Some((chunk, (file, left.saturating_sub(count)))))
        });
        Ok((size, Box::pin(stream)))
    }

    fn open_file(&self, path: &str) -> Result<File, Failure> {
        let path = self.path(path);
        // A folder, a device or a pipe is no object; and a pipe would be waited for.
        let meta = fs::metadata(&path).map_err(|error| failure(&error))?;
        if !meta.is_file() {
            return Err(Failure::new(Trouble::Damaged, "it is not a file"));
        }
        fs::File::open(&path).map(fs::File::into_file).map_err(|error| failure(&error))
    }

    pub(crate) fn size(&self, path: &str) -> Result<u64, Failure> {
        Ok(fs::metadata(self.path(path)).map_err(|error| failure(&error))?.len())
    }

    /// Begins an object: a file of its owner only, without its name.
    pub(crate) fn begin(&self, path: &str) -> Result<Unnamed, Failure> {
        let name = self.path(path);
        let folder = name.parent().unwrap_or(&self.0).to_owned();
        self.must_be_there()?;
        make_folder(&self.0, &folder).map_err(|error| failure(&error))?;
        let file = tempfile::Builder::new().prefix(PART).tempfile_in(&folder).map_err(|error| failure(&error))?;
        Ok(Unnamed { file, name })
    }

    pub(crate) fn create(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut unnamed = self.begin(path)?;
        unnamed.write(bytes)?;
        unnamed.finish()
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), Failure> {
        fs::remove_file(self.path(path)).map_err(|error| failure(&error))
    }

    /// Removes a folder that is empty.
    pub(crate) fn delete_folder(&self, path: &str) -> Result<(), Failure> {
        fs::remove_dir(self.path(path)).map_err(|error| failure(&error))
    }
}

impl Unnamed {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| failure(&error))
    }

    /// Gives the object its name, once it is on the disk, and only if there is none of that name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Unnamed { file, name } = self;
        file.as_file().sync_all().map_err(|error| failure(&error))?;
        file.persist_noclobber(&name).map_err(|error| failure(&error.error))?;
        sync_folder(name.parent()).map_err(|error| failure(&error))
    }
}

/// Runs file operations where they may take their time.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::new(Trouble::Other, error.to_string())),
    }
}

/// Makes a folder below a root, and those above it that are missing, for its owner only. Each is on the disk before something is in it.
fn make_folder(root: &Path, folder: &Path) -> io::Result<()> {
    let below = folder.ancestors().take_while(|folder| *folder != root);
    let missing: Vec<&Path> = below.take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
            }
            _ => sync_folder(folder.parent())?,
        }
    }
    Ok(())
}

/// A name is on the disk only when its folder is.
#[cfg(unix)]
fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// Windows keeps names on the disk by itself, and does not open folders as files.
#[cfg(not(unix))]
fn sync_folder(_: Option<&Path>) -> io::Result<()> {
    Ok(())
}

fn failure(error: &io::Error) -> Failure {
    let trouble = match error.kind() {
        io::ErrorKind::NotFound => Trouble::NotFound,
        io::ErrorKind::AlreadyExists => Trouble::Exists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Trouble::AccessDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Trouble::Full,
        io::ErrorKind::Unsupported => Trouble::Unsupported,
        _ => Trouble::Other,
    };
    let detail = if matches!(trouble, Trouble::Exists | Trouble::NotFound) { String::new() } else { error.to_string() };
    Failure::new(trouble, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "v1/x/a.json";

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_object_is_created_once_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let store = Folder::open(root.path());
        store.create(OBJECT, b"one").unwrap();
        assert_eq!(store.create(OBJECT, b"two").unwrap_err().trouble, Trouble::Exists);
        let folder = root.path().join("v1/x");
        assert_eq!(std::fs::read(folder.join("a.json")).unwrap(), b"one");
        assert_eq!(names(&folder), ["a.json"]);
        #[cfg(unix)]
        for (path, mode) in [("v1", 0o700), ("v1/x", 0o700), ("v1/x/a.json", 0o600)] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(root.path().join(path).metadata().unwrap().permissions().mode() & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn an_object_that_is_not_finished_has_no_name() {
        let root = tempfile::tempdir().unwrap();
        let store = Folder::open(root.path());
        let mut unnamed = store.begin(OBJECT).unwrap();
        unnamed.write(b"half").unwrap();
        assert_eq!(store.size(OBJECT).unwrap_err().trouble, Trouble::NotFound);
        drop(unnamed);
        assert_eq!(names(&root.path().join("v1/x")), [""; 0]);
    }

    #[test]
    fn a_store_whose_folder_is_not_there_is_an_error_and_is_not_made() {
        let root = tempfile::tempdir().unwrap();
        let store = Folder::open(&root.path().join("none"));
        assert_eq!(store.list("v1").unwrap_err().trouble, Trouble::NoFolder);
        assert_eq!(store.folders("v1").unwrap_err().trouble, Trouble::NoFolder);
        assert_eq!(store.create(OBJECT, b"one").unwrap_err().trouble, Trouble::NoFolder);
        assert!(!root.path().join("none").exists());
        // One that is there is a store without backups.
        let store = Folder::open(root.path());
        assert_eq!(store.list("v1").unwrap(), (Vec::new(), 0));
        assert_eq!(store.folders("v1").unwrap(), [""; 0]);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_no_object() {
        let root = tempfile::tempdir().unwrap();
        let store = Folder::open(root.path());
        store.create(OBJECT, b"one").unwrap();
        std::os::unix::fs::symlink("a.json", root.path().join("v1/x/link.json")).unwrap();
        let (entries, strange) = store.list("v1").unwrap();
        assert_eq!((entries.len(), strange), (1, 1));
        assert_eq!(store.folders("v1").unwrap(), ["x"]);
        assert_eq!(store.get("v1/x", None).err().unwrap().trouble, Trouble::Damaged);
    }
}
