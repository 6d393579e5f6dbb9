//! A snapshot on the disk while it is on its way into a store, for the check of its pages: a file without a name, which goes with its
//! last handle.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes of a disk that are never taken: others write to it, too.
const SPARE: u64 = 64 << 20;

/// Where the bytes of a snapshot are kept until its pages were checked. What cannot be kept is no failure: the backup is then one whose
/// pages were not checked ([`Level::Digest`](crate::Level::Digest)).
#[derive(Debug)]
pub struct Spool(Result<File, io::Error>);

impl Spool {
    /// A file without a name in the first of these folders in which one can be made, which only this user can read.
    pub fn in_folders(folders: &[PathBuf]) -> Spool {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "no folder is named");
        for folder in folders {
            match tempfile::tempfile_in(folder).and_then(private) {
                Ok(file) => return Spool(Ok(file)),
                Err(error) => failed = io::Error::new(error.kind(), format!("{}: {error}", folder.display())),
            }
        }
        Spool(Err(failed))
    }

    /// A spool in a file that is open already.
    pub fn of(file: File) -> Spool {
        Spool(Ok(file))
    }

    /// So many bytes will come. Where they have no room, nothing is kept, and nobody else's disk is filled.
    pub fn expect(&mut self, bytes: u64) {
        let room = self.0.as_ref().ok().and_then(|file| free(file).transpose()).transpose();
        match room {
            Ok(Some(free)) if free.saturating_sub(SPARE) < bytes => {
                let why = format!("the snapshot has up to {bytes} bytes, and {free} bytes are free");
                self.0 = Err(io::Error::new(io::ErrorKind::StorageFull, why));
            }
            Err(error) => self.0 = Err(error),
            Ok(_) => {}
        }
    }

    /// Keeps bytes, or nothing any more from the first ones on that cannot be kept: the room is given back then.
    pub fn keep(&mut self, bytes: &[u8]) {
        if let Ok(file) = &mut self.0
            && let Err(error) = file.write_all(bytes)
        {
            self.0 = Err(error);
        }
    }

    /// The file with all bytes.
    ///
    /// # Errors
    /// Why they were not all kept.
    pub fn finish(self) -> io::Result<File> {
        let mut file = self.0?;
        file.flush()?;
        Ok(file)
    }
}

/// Nobody else can open it by its process either.
#[cfg(unix)]
fn private(file: File) -> io::Result<File> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Elsewhere a temporary file is in a folder of this user.
#[cfg(not(unix))]
fn private(file: File) -> io::Result<File> {
    Ok(file)
}

/// Bytes that are free where a file is.
#[cfg(unix)]
fn free(file: &File) -> io::Result<Option<u64>> {
    let space = rustix::fs::fstatvfs(file)?;
    // A file system without any blocks does not tell.
    Ok((space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Elsewhere a disk is full when it says so.
#[cfg(not(unix))]
fn free(_file: &File) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn what_was_kept_is_there_and_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::in_folders(&["/nowhere/at/all".into(), folder.path().to_owned()]);
        spool.expect(5);
        spool.keep(b"he");
        spool.keep(b"llo");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut file = spool.finish().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let meta = file.metadata().unwrap();
            assert_eq!((meta.mode() & 0o777, meta.nlink()), (0o600, 0));
        }
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn what_has_no_room_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::in_folders(&[folder.path().to_owned()]);
        spool.expect(u64::MAX);
        spool.keep(b"hello");
        assert_eq!(spool.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let nowhere = Spool::in_folders(&["/nowhere/at/all".into()]).finish().unwrap_err();
        assert!(nowhere.to_string().starts_with("/nowhere/at/all: "), "{nowhere}");
        assert!(Spool::in_folders(&[]).finish().is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_ends_the_spool_and_nothing_else() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut spool = Spool::of(full);
        spool.keep(b"hello");
        spool.keep(b"again");
        assert_eq!(spool.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
