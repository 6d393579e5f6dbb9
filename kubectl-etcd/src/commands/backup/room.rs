//! Whether a snapshot has room where it is to be written.

use std::io::{Error, ErrorKind, Result};

/// Refuses a length for which a file's disk has no room.
///
/// # Errors
/// [`ErrorKind::StorageFull`].
pub(super) fn expect(file: &std::fs::File, needed: u64) -> Result<()> {
    fits(free(file)?, needed)
}

fn fits(free: Option<u64>, needed: u64) -> Result<()> {
    match free {
        Some(free) if free < needed => {
            let why = format!("the snapshot has {needed} bytes, and {free} bytes are free");
            Err(Error::new(ErrorKind::StorageFull, why))
        }
        _ => Ok(()),
    }
}

/// Bytes that are free where a file is.
#[cfg(unix)]
fn free(file: &std::fs::File) -> Result<Option<u64>> {
    let space = rustix::fs::fstatvfs(file)?;
    // A file system without any blocks does not tell.
    Ok((space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Elsewhere a disk is full when it says so.
#[cfg(not(unix))]
fn free(_file: &std::fs::File) -> Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_without_room_is_refused() {
        assert!(fits(Some(10), 10).is_ok() && fits(None, u64::MAX).is_ok());
        assert_eq!(fits(Some(10), 11).unwrap_err().kind(), ErrorKind::StorageFull);
        let file = tempfile::tempfile().unwrap();
        expect(&file, 1).unwrap();
        assert_eq!(expect(&file, u64::MAX).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
