//! Files without a name: what is unpacked or decrypted goes there, and ends with the program, however that ends.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes of a disk that are never taken: others write to it, too.
pub(super) const SPARE: u64 = 64 << 20;
/// Bytes between two looks at the room on the disk.
pub(super) const BETWEEN_LOOKS: u64 = 32 << 20;

/// A file without a name, which only this user can read, in the first folder that can be written to and has the room.
pub(super) struct Unnamed {
    file: File,
    pub(super) folder: PathBuf,
    written: u64,
    looked: u64,
}

/// No folder takes the file.
pub(super) struct NoPlace {
    /// One that is too full.
    pub(super) full: Option<PathBuf>,
    /// Those in which no file can be made, and why.
    pub(super) refused: Vec<String>,
}

impl Unnamed {
    /// Makes the file. `announced`: how many bytes are to come, if that is known.
    pub(super) fn new(folders: &[PathBuf], announced: Option<u64>) -> Result<Unnamed, NoPlace> {
        let mut none = NoPlace { full: None, refused: Vec::new() };
        for folder in folders {
            match tempfile::tempfile_in(folder) {
                Ok(file)
                    if announced.zip(room(&file)).is_some_and(|(needs, has)| needs.saturating_add(SPARE) > has) =>
                {
                    none.full.get_or_insert_with(|| folder.clone());
                }
                Ok(file) => return Ok(Unnamed { file, folder: folder.clone(), written: 0, looked: 0 }),
                Err(error) => none.refused.push(format!("no file can be made in {}: {error}", folder.display())),
            }
        }
        Err(none)
    }

    /// The file.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written - self.looked >= BETWEEN_LOOKS {
            self.looked = self.written;
            if room(&self.file).is_some_and(|room| room < SPARE) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that are free on the disk of a file; `None` if the system does not tell.
#[cfg(unix)]
pub(super) fn room(file: &File) -> Option<u64> {
    let disk = rustix::fs::fstatvfs(file).ok()?;
    // A file system without any blocks does not tell.
    if disk.f_blocks > 0 { disk.f_bavail.checked_mul(disk.f_frsize) } else { None }
}

#[cfg(not(unix))]
pub(super) fn room(_: &File) -> Option<u64> {
    None
}
