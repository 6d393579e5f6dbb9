//! SHA-256 as records have it: hexadecimal, lower case.

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

fn hexadecimal(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
