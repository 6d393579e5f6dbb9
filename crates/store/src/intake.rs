//! A snapshot on its way from a member into a store, in one pass: packed, encrypted and sent as its bytes come, and kept in a spool beside
//! that.

use std::fs::File;
use std::io::{self, Write};

use ring::digest::{Context, SHA256};

use crate::{Encryption, Sealer, Spool, UploadWriter};

/// Takes the bytes of a snapshot. Memory does not grow with them: what `output` does not take, is not taken here.
pub struct Intake<W: Write> {
    sealer: Sealer<W>,
    digest: Context,
    length: u64,
    spool: Spool,
}

/// A snapshot that was taken whole.
#[derive(Debug)]
pub struct Taken<W> {
    /// Where it was sent.
    pub output: W,
    /// Bytes of the snapshot, as they came.
    pub size: u64,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
    /// The same bytes on the disk, or why they are not there.
    pub spool: io::Result<File>,
}

impl<W: Write> Intake<W> {
    /// Begins. `output` gets the header of the encryption, if there is one.
    ///
    /// # Errors
    /// `output` cannot be written to.
    pub fn new(output: W, encryption: &Encryption, spool: Spool) -> io::Result<Intake<W>> {
        let sealer = Sealer::new(output, encryption)?;
        Ok(Intake { sealer, digest: Context::new(&SHA256), length: 0, spool })
    }

    /// So many bytes will come, at most.
    pub fn expect(&mut self, bytes: u64) {
        self.spool.expect(bytes);
    }

    /// All bytes have come: the ends of compression and encryption are sent.
    ///
    /// # Errors
    /// `output` cannot be written to.
    pub fn finish(self) -> io::Result<Taken<W>> {
        let output = self.sealer.finish()?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        Ok(Taken { output, size: self.length, sha256, spool: self.spool.finish() })
    }
}

/// A snapshot of which all bytes were handed over to its upload.
#[derive(Debug)]
pub struct Shipped {
    /// Bytes of the snapshot, with the digest at its end.
    pub size: u64,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
    /// The same bytes on the disk, or why they are not there.
    pub spool: io::Result<File>,
}

impl Intake<UploadWriter> {
    /// Appends etcd's own digest of the database, as its snapshots end, and ends the upload's object. For a thread that may block.
    ///
    /// # Errors
    /// The upload has failed: [`Upload::finish`](crate::Upload::finish) says why.
    pub fn ship(mut self, digest: [u8; 32]) -> io::Result<Shipped> {
        self.write_all(&digest)?;
        let taken = self.finish()?;
        taken.output.end()?;
        Ok(Shipped { size: taken.size, sha256: taken.sha256, spool: taken.spool })
    }
}

impl<W: Write> Write for Intake<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sealer.write_all(bytes)?;
        self.digest.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.spool.keep(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sealer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    fn take(spool: Spool, bytes: &[u8]) -> Taken<Vec<u8>> {
        let mut intake = Intake::new(Vec::new(), &Encryption::Off, spool).unwrap();
        intake.expect(bytes.len() as u64);
        for piece in bytes.chunks(1000) {
            intake.write_all(piece).unwrap();
        }
        intake.finish().unwrap()
    }

    #[test]
    fn one_pass_packs_hashes_and_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let taken = take(Spool::in_folders(&[folder.path().to_owned()]), &bytes);
        assert_eq!(taken.size, bytes.len() as u64);
        assert_eq!(taken.sha256, ring::digest::digest(&SHA256, &bytes).as_ref());
        assert_eq!(zstd::decode_all(&taken.output[..]).unwrap(), bytes);
        let (mut file, mut kept) = (taken.spool.unwrap(), Vec::new());
        file.rewind().unwrap();
        file.read_to_end(&mut kept).unwrap();
        assert_eq!(kept, bytes);
    }

    #[test]
    fn without_a_spool_the_snapshot_is_sent_all_the_same() {
        let taken = take(Spool::in_folders(&[]), b"hello");
        assert!(taken.spool.is_err());
        assert_eq!(zstd::decode_all(&taken.output[..]).unwrap(), b"hello");
        assert_eq!(taken.sha256, ring::digest::digest(&SHA256, b"hello").as_ref());
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("the store is gone"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut intake = Intake::new(Broken, &Encryption::Off, Spool::in_folders(&[])).unwrap();
        let written = intake.write_all(&[0; 100]).and_then(|()| intake.finish().map(drop));
        assert_eq!(written.unwrap_err().to_string(), "the store is gone");
    }
}
