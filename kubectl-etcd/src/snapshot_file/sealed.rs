//! A file that age has encrypted, as a backup in a store is: decrypted and unpacked to a file without a name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use etcd_store::{Identities, OpenError, open_sealed};

use super::unnamed::Unnamed;
use crate::output::{Exit, Failed, Outcome, Printer, Progress};

/// Bytes that are decrypted at once.
const PIECE: usize = 1 << 18;

/// Decrypts and unpacks a whole file.
///
/// # Errors
/// No identity fits (exit 2), the file is damaged (exit 3), or there is no room. Nothing is left behind.
pub(super) fn open(
    path: &Path,
    file: &File,
    identities: &Identities,
    folders: &[PathBuf],
    printer: Printer,
    cancelled: &AtomicBool,
) -> Outcome<File> {
    let name = path.display();
    let cannot = || Failed::plain(format!("cannot decrypt {name}"));
    let total = file.metadata().map_err(|error| cannot().source(&error))?.len();
    let mut target = Unnamed::new(folders, None).map_err(|none| {
        let failed = cannot().causes(none.refused);
        failed.hint("name a folder that can be written to\n  TMPDIR=FOLDER")
    })?;
    let progress = Progress::new(printer, "decrypt", total);
    let mut read = 0;
    let source = Counted { file, read: &mut read, progress: &progress, total };
    let mut opened = open_sealed(source, true, identities).map_err(|error| told(path, &error))?;
    let mut piece = vec![0; PIECE];
    loop {
        if cancelled.load(Relaxed) {
            return Err(Failed::new(Exit::Interrupted, format!("stopped decrypting {name}")));
        }
        let read = match opened.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(told(path, &error)),
        };
        target.write_all(piece.get(..read).unwrap_or_default()).map_err(|error| {
            let place = target.folder.display();
            Failed::plain(format!("cannot decrypt {name} to an unnamed file in {place}")).source(&error)
        })?;
    }
    Ok(target.into_file())
}

fn told(path: &Path, error: &io::Error) -> Failed {
    let name = path.display();
    match OpenError::of(error) {
        None => Failed::plain(format!("cannot read {name}")).source(error),
        Some(why @ OpenError::NoIdentityFits(_)) => Failed::new(Exit::Usage, format!("cannot decrypt {name}"))
            .source(why)
            .hint("name the identity that it was encrypted for\n  --identity FILE"),
        Some(why) => Failed::new(Exit::Damaged, format!("cannot open {name}")).source(why),
    }
}

/// The file, counted.
struct Counted<'a> {
    file: &'a File,
    read: &'a mut u64,
    progress: &'a Progress,
    total: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        *self.read += read as u64;
        self.progress.update((*self.read).min(self.total), self.total);
        Ok(read)
    }
}
