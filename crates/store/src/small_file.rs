//! Files of keys, as users name them: small, and of text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Bytes of the largest such file: thousands of keys.
pub(crate) const MOST: u64 = 1 << 20;

/// A file of keys that cannot be read. Nothing of its text is told: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub why: io::Error,
}

/// Reads the whole file, which may be secret.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let fail = |why| FileError { path: path.to_owned(), why };
    // Before it is opened: that a pipe is opened may wait for its writer without end.
    if std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > MOST {
        return Err(fail(io::Error::other(format!("it has more than {MOST} bytes, and is no file of keys"))));
    }
    Ok(bytes)
}

/// Reads the whole file as text.
pub(crate) fn read_text(path: &Path) -> Result<SecretString, FileError> {
    let text = String::from_utf8(read(path)?);
    text.map(SecretString::from).map_err(|_| FileError {
        path: path.to_owned(),
        why: io::Error::new(io::ErrorKind::InvalidData, "it is not text"),
    })
}

/// The lines that count, with their numbers from 1: not the empty ones, nor comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
