//! What is done to a store, below what a backup is: objects by their whole path.

pub(crate) mod cloud;
pub(crate) mod folder;

pub(crate) mod answer;
mod azure;
pub(crate) mod bucket;
#[cfg(test)]
pub(crate) mod faulty;
mod gcs;
mod http;
mod roots;
mod s3;
mod sieve;

pub(crate) use cloud::Cloud;
pub(crate) use folder::Folder;

use jiff::Timestamp;

use crate::trouble::Trouble;

/// Why a request failed, before it is known to whom that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    pub(crate) detail: String,
    /// Whether a write may have happened all the same.
    pub(crate) unknown: bool,
    /// Why parts of an object that were sent could not be taken back, where that is so.
    pub(crate) parts: Option<String>,
}

impl Failure {
    pub(crate) fn new(trouble: Trouble, detail: impl Into<String>) -> Failure {
        Failure { trouble, detail: detail.into(), unknown: false, parts: None }
    }
}

/// An object as a listing shows it, by its path below the prefix of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
}

/// One look at the clock of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The time of the store's answer (header `Date`), whole seconds.
    pub theirs: Timestamp,
    /// Our clock when the answer came.
    pub ours: Timestamp,
}
