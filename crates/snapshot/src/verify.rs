//! The whole check of a file.

use std::sync::atomic::AtomicBool;

use crate::{NotASnapshot, Report, Source, VerifyError};

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// SHA-256 of the data, if the caller has hashed the very bytes of this file already: they are then not hashed again,
    /// and a file without a digest of its own counts as truncated.
    pub data_sha256: Option<[u8; 32]>,
    /// How many findings to keep; the others are counted.
    pub max_findings: usize,
    /// Set it to make [`verify`] return [`VerifyError::Cancelled`] soon.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { data_sha256: None, max_findings: 100, cancel: None }
    }
}

/// How far [`verify`] is. It hashes and walks at the same time; both go up to `total`, the walk in leaps over free pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed.
    pub hashed: u64,
    /// Bytes of pages walked.
    pub walked: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// Proves that `source` is a whole and undamaged etcd snapshot, and reads its figures.
///
/// A file without the digest at its end (a copy of `member/snap/db`) is accepted if its pages are in order;
/// [`Report::digest`] says that nothing proves its bytes.
///
/// `progress` is called about once a mebibyte, from two threads.
///
/// # Errors
/// See [`VerifyError`]. All damage that can be found is reported, not only the first.
pub fn verify(
    source: &dyn Source,
    options: &Options<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    let _ = (options, progress);
    if source.is_empty() {
        return Err(VerifyError::NotASnapshot(NotASnapshot::Empty));
    }
    Err(VerifyError::NotASnapshot(NotASnapshot::NoDatabase))
}
