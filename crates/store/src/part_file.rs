//! Files of writers that were killed: a store that is a folder has an object under a name of no object until it is whole.

use jiff::{SignedDuration, Timestamp};

use crate::backend::Entry;

/// How long nothing has been written to such a file before it counts as left over.
const LEFT_OVER_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A file of an object that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFile {
    path: String,
    /// Its bytes.
    pub size: u64,
    /// When it was written to last.
    pub modified: Timestamp,
}

impl PartFile {
    pub(crate) fn of(entry: Entry) -> Option<PartFile> {
        let (_, name) = entry.path.rsplit_once('/')?;
        let is_part = name.starts_with(crate::backend::folder::PART);
        is_part.then_some(PartFile { path: entry.path, size: entry.size, modified: entry.modified })
    }

    /// Its name in the folder of the cluster.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// How long nothing was written to it. Never negative.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.modified).max(SignedDuration::ZERO)
    }

    /// Whether its writer has gone for certain.
    pub fn is_left_over(&self, now: Timestamp) -> bool {
        self.age(now) >= LEFT_OVER_AFTER
    }
}
