//! How much of a backup is proved.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much of a backup is proved. Each level includes those below.
///
/// The first two are said by the record that the writer of the backup has made; the others by proofs beside it, which are small objects of
/// their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All bytes came and have etcd's own digest. Pages and records were not checked.
    Digest,
    /// Every page and record was checked, and all objects are in the store.
    Written,
    /// The objects were read from the store, and have the SHA-256 that is recorded.
    Read,
    /// The objects were decrypted and unpacked, and the snapshot was checked again.
    Opened,
    /// A real etcd has served the snapshot.
    Booted,
}

impl Level {
    /// All of them, the least first.
    pub const ALL: [Level; 5] = [Level::Digest, Level::Written, Level::Read, Level::Opened, Level::Booted];

    /// The word in names, on the command line and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Level::Digest => "digest",
            Level::Written => "written",
            Level::Read => "read",
            Level::Opened => "opened",
            Level::Booted => "booted",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A text that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a level: expected digest, written, read, opened or booted")]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let found = Level::ALL.into_iter().find(|level| level.word() == text);
        found.ok_or_else(|| LevelError(text.chars().take(40).collect()))
    }
}
