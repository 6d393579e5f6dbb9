//! The name of a backup in a store: most of what `list` and `prune` need to know of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Why a backup was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// By a person.
    Manual,
    /// By a restore, of what it was about to replace.
    PreRestore,
    /// By a schedule.
    Scheduled,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 3] = [Class::Manual, Class::PreRestore, Class::Scheduled];

    /// The word in names, on the command line and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Class::Manual => "manual",
            Class::PreRestore => "pre-restore",
            Class::Scheduled => "scheduled",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Class {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Class::ALL.into_iter().find(|class| class.word() == text).ok_or_else(|| NameError::of(text))
    }
}

/// `<UTC>-<revision>-<class>-<random>`, as in `20261127T031500Z-48211-scheduled-k3f9x2ab`.
///
/// Names in the order of their text are in the order of their time: the time has a fixed width.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    taken: Timestamp,
    revision: i64,
    class: Class,
    random: String,
}

/// A text that is no name of a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a backup: expected TIME-REVISION-CLASS-RANDOM as in 20261127T031500Z-48211-manual-k3f9x2ab"
)]
pub struct NameError(String);

impl NameError {
    fn of(text: &str) -> NameError {
        NameError(text.chars().take(120).collect())
    }
}

/// Characters of the random part: no two backups of one second and revision have the same name.
const RANDOM: usize = 8;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const TIME: &str = "%Y%m%dT%H%M%SZ";

impl Name {
    /// A new name. `taken` is cut to whole seconds; `revision` is the member's when the backup began: the snapshot's own, which is in the
    /// `.json`, may be higher.
    pub fn new(taken: Timestamp, revision: i64, class: Class) -> Name {
        Name { taken: whole_seconds(taken), revision: revision.max(0), class, random: random_letters() }
    }

    /// When the backup began, by the clock of who took it.
    pub fn taken(&self) -> Timestamp {
        self.taken
    }

    /// etcd's revision when the backup began.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Why it was taken.
    pub fn class(&self) -> Class {
        self.class
    }
}

/// Eight letters that nobody else has.
pub(crate) fn random_letters() -> String {
    let mut random = rand::rng();
    let letter = |_| char::from(ALPHABET.get(random.random_range(0..ALPHABET.len())).copied().unwrap_or(b'a'));
    (0..RANDOM).map(letter).collect()
}

/// A time without its fraction of a second, which names do not have.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.taken.to_zoned(TimeZone::UTC).strftime(TIME);
        write!(f, "{time}-{}-{}-{}", self.revision, self.class, self.random)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let (time, rest) = text.split_once('-')?;
            let (revision, rest) = rest.split_once('-')?;
            let (class, random) = rest.rsplit_once('-')?;
            let civil = jiff::civil::DateTime::strptime(TIME, time).ok()?;
            let taken = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
            let revision = revision.parse().ok()?;
            let alphabet = random.len() == RANDOM && random.bytes().all(|byte| ALPHABET.contains(&byte));
            alphabet.then(|| Some(Name { taken, revision, class: class.parse().ok()?, random: random.to_owned() }))?
        };
        // Only what is written as this program writes it: one backup has one name.
        parse().filter(|name| name.to_string() == text).ok_or_else(|| NameError::of(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_what_and_why() {
        let name: Name = "20261127T031500Z-48211-pre-restore-k3f2x2ab".parse().unwrap();
        assert_eq!(name.taken().to_string(), "2026-11-27T03:15:00Z");
        assert_eq!((name.revision(), name.class()), (48211, Class::PreRestore));
        let new = Name::new("2026-11-27T03:15:00.7Z".parse().unwrap(), 7, Class::Manual);
        assert_eq!(new.to_string().parse::<Name>().unwrap(), new);
        assert!(new.to_string().starts_with("20261127T031500Z-7-manual-"));
    }

    #[test]
    fn one_backup_has_one_name() {
        for bad in [
            "",
            "latest",
            "20261127T031500Z-048211-manual-k3f2x2ab",
            "20261127T031500Z--1-manual-k3f2x2ab",
            "20261127T031500Z-1-other-k3f2x2ab",
            "20261127T031500Z-1-manual-K3F2X2AB",
            "20261127T031500Z-1-manual-k3f2x2a",
            "20261327T031500Z-1-manual-k3f2x2ab",
            "2026-11-27T03:15:00Z-1-manual-k3f2x2ab",
            "20261127T031500Z-1-manual-k3f2x2ab/",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
