//! Where segments and snapshots are read from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::{FileSource, Source};

/// A folder of files that are read only.
pub trait Files {
    /// The names in the folder.
    ///
    /// # Errors
    /// It cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file in it.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn Source + '_>>;
}

/// A folder of the file system. Links in it are followed.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }
}

impl Files for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // A name that is no text is none of etcd's.
        names.filter_map(Result::transpose).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source + '_>> {
        Ok(Box::new(FileSource::new(File::open(self.0.join(name))?)?))
    }
}

/// Files in memory, by their names.
impl Files for BTreeMap<String, Vec<u8>> {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source + '_>> {
        let bytes: &[u8] = self.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(bytes))
    }
}
