//! What etcd serves, beside what was recorded of the backup and what is in the file. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Result {
    /// As expected.
    Equal,
    /// Not as expected: the drill has failed.
    Different,
    /// Nothing tells.
    NotProved,
}

impl Result {
    /// The word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Result::Equal => "equal",
            Result::Different => "different",
            Result::NotProved => "not proved",
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// `revision`, `hashKv`, `keys` or `kubeSystemUid`.
    pub name: Cow<'static, str>,
    /// What was expected; nothing where nothing is known.
    pub expected: Option<String>,
    /// Where that is from: `record` or `file`.
    pub source: Cow<'static, str>,
    /// What etcd serves.
    pub served: Option<String>,
    /// What it came to.
    pub result: Result,
    /// What is worth knowing of it.
    pub note: Option<String>,
}

/// A figure, and whether the record has it or only the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected<T> {
    value: T,
    source: &'static str,
}

impl<T> Expected<T> {
    /// What is recorded counts for more than what is in the file.
    pub(crate) fn of(record: Option<T>, file: T) -> Expected<T> {
        match record {
            Some(value) => Expected { value, source: "record" },
            None => Expected { value: file, source: "file" },
        }
    }
}

/// The revision that etcd came up with. Leases that have run out delete their keys, which is a later revision.
pub(crate) fn revision(expected: &Expected<i64>, served: i64, leases: u64) -> Check {
    let later = served.saturating_sub(expected.value);
    let (result, note) = match later {
        0 => (Result::Equal, None),
        1.. if leases > 0 => (Result::Equal, Some(format!("{later} revisions later: leases have run out since"))),
        _ => (Result::Different, None),
    };
    Check {
        name: "revision".into(),
        expected: Some(expected.value.to_string()),
        source: expected.source.into(),
        served: Some(served.to_string()),
        result,
        note,
    }
}

/// The hash of all keys. `comparable` is why the hashes cannot be compared, if they cannot.
pub(crate) fn hash_kv(expected: &Expected<u32>, served: u32, comparable: std::result::Result<(), String>) -> Check {
    let (result, note) = match comparable {
        _ if served == expected.value => (Result::Equal, None),
        Ok(()) => (Result::Different, None),
        Err(why) => (Result::NotProved, Some(why)),
    };
    Check {
        name: "hashKv".into(),
        expected: Some(expected.value.to_string()),
        source: expected.source.into(),
        served: Some(served.to_string()),
        result,
        note,
    }
}

/// The number of keys.
pub(crate) fn keys(expected: u64, served: u64) -> Check {
    Check {
        name: "keys".into(),
        expected: Some(expected.to_string()),
        source: "file".into(),
        served: Some(served.to_string()),
        result: if expected == served { Result::Equal } else { Result::Different },
        note: None,
    }
}

/// UID of namespace kube-system: `served` is it, or why it cannot be read.
pub(crate) fn cluster(expected: &Expected<Option<String>>, served: std::result::Result<String, String>) -> Check {
    let (result, note) = match (&expected.value, &served) {
        (Some(expected), Ok(served)) if expected == served => (Result::Equal, None),
        (Some(_), Ok(_)) => (Result::Different, Some("the snapshot is of another cluster".to_owned())),
        (None, Ok(_)) => (Result::NotProved, Some("no record says of which cluster the backup is".to_owned())),
        (_, Err(why)) => (Result::NotProved, Some(why.clone())),
    };
    Check {
        name: "kubeSystemUid".into(),
        expected: expected.value.clone(),
        source: expected.source.into(),
        served: served.ok(),
        result,
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_counts_for_more_than_the_file() {
        assert_eq!(Expected::of(Some(7), 8), Expected { value: 7, source: "record" });
        assert_eq!(Expected::of(None, 8), Expected { value: 8, source: "file" });
    }

    #[test]
    fn only_leases_let_a_revision_be_later() {
        let expected = Expected::of(None, 10);
        assert_eq!(revision(&expected, 10, 0).result, Result::Equal);
        assert_eq!(revision(&expected, 11, 0).result, Result::Different);
        assert_eq!(revision(&expected, 9, 3).result, Result::Different);
        let later = revision(&expected, 12, 3);
        assert_eq!(later.result, Result::Equal);
        assert!(later.note.expect("a note").contains("2 revisions"));
    }

    #[test]
    fn another_hash_or_number_of_keys_is_another_content() {
        let expected = Expected::of(Some(5), 6);
        assert_eq!(hash_kv(&expected, 5, Ok(())).result, Result::Equal);
        assert_eq!(hash_kv(&expected, 5, Err("x".into())).result, Result::Equal);
        assert_eq!(hash_kv(&expected, 6, Ok(())).result, Result::Different);
        assert_eq!(hash_kv(&expected, 6, Err("x".into())).result, Result::NotProved);
        assert_eq!((keys(3, 3).result, keys(3, 2).result), (Result::Equal, Result::Different));
    }

    #[test]
    fn another_cluster_is_told_and_what_cannot_be_read_is_not_proved() {
        let recorded = Expected::of(Some(Some("a".to_owned())), None);
        assert_eq!(cluster(&recorded, Ok("a".into())).result, Result::Equal);
        assert_eq!(cluster(&recorded, Ok("b".into())).result, Result::Different);
        assert_eq!(cluster(&recorded, Err("encrypted".into())).result, Result::NotProved);
        assert_eq!(cluster(&Expected::of(None, None), Ok("b".into())).result, Result::NotProved);
    }
}
