//! SHA-256 as records have it: hexadecimal, lower case.

use std::io::{self, Read};

use ring::digest::{Context, Digest, SHA256, digest};

/// A hash of bytes that come piece by piece.
pub(crate) struct Sha256(Context);

impl Sha256 {
    pub(crate) fn new() -> Sha256 {
        Sha256(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        hexadecimal(&self.0.finish())
    }
}

/// The hash of bytes that are there.
pub(crate) fn of(bytes: &[u8]) -> String {
    hexadecimal(&digest(&SHA256, bytes))
}

/// The hash of everything that is read, hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(source: &mut dyn Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish()),
            Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hexadecimal(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
