//! What a sound file still makes worth knowing before it is restored.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::report::AlarmKind;

/// Something that is no damage, but that whoever restores the file should know. Shown as one sentence; as data it is an
/// object of `kind` and `message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A copy of a database file, without the digest that etcd sends.
    #[error(
        "the file has no digest at its end (a copy of a database file): its structure is sound, but nothing proves its bytes"
    )]
    NoDigest,
    /// The digest was to be skipped.
    #[error("the digest at the end of the file was not compared with its bytes")]
    DigestUnchecked,
    /// The cluster has a learner.
    #[error(
        "learner {members} does not vote: if the snapshot was taken from it, it may lag behind the cluster; a restore makes \
         every member that it is given a voter"
    )]
    Learner {
        /// Names or ids of the learners.
        members: String,
    },
    /// Written by etcd 3.5.0 to 3.5.2.
    #[error(
        "etcd {version} can lose part of a member's data when it is killed (fixed in 3.5.3), which its snapshot alone does \
         not show: compare the HashKV of all members"
    )]
    Etcd35Inconsistency {
        /// The member's version, as the caller gave it.
        version: String,
    },
    /// Authentication is on.
    #[error(
        "authentication is on, with {users} users: it comes back with a restore, and then only they can use etcd; Kubernetes \
         needs a user for its client certificate"
    )]
    AuthEnabled {
        /// How many users there are.
        users: u64,
    },
    /// An alarm is active.
    #[error("member {member_id} has raised the alarm {kind}: {}", alarm_advice(*kind))]
    Alarm {
        /// The member's id in hex.
        member_id: String,
        /// What it is about.
        kind: AlarmKind,
    },
    /// Keys whose lease does not exist.
    #[error("{keys} keys have a lease that does not exist: etcd keeps such keys until somebody deletes them")]
    LeaseMissing {
        /// How many live keys.
        keys: u64,
    },
    /// There are too many leases to look at each key's.
    #[error("the file has more than {limit} leases: whether each key's lease exists was not checked")]
    LeasesUnchecked {
        /// How many are compared at most.
        limit: u64,
    },
    /// A downgrade of the cluster has begun.
    #[error("a downgrade of the cluster to {target} is under way")]
    Downgrade {
        /// The version it is to have.
        target: String,
    },
    /// A record that the writer's version always has is missing.
    #[error("bucket meta has no {key}, which etcd {writer} writes")]
    NoRecord {
        /// The record's key.
        key: &'static str,
        /// The minor version of etcd that wrote the file.
        writer: String,
    },
    /// Branch pages with one child: bbolt never writes one.
    #[error(
        "{pages} branch pages have a single child, the first is page {first}: etcd panics when a compaction empties that \
         child; a restore writes new pages"
    )]
    SingleChild {
        /// How many there are.
        pages: u64,
        /// The first of them in key order.
        first: u64,
    },
}

fn alarm_advice(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => {
            "the database had reached its quota; a restore drops the alarm, as its database is compact"
        }
        AlarmKind::Corrupt => "its data was found to differ from that of other members; a restore keeps the alarm",
        AlarmKind::Unknown => "a kind of alarm that is not known here; a restore keeps it",
    }
}

impl Warning {
    /// Its name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoDigest => "noDigest",
            Self::DigestUnchecked => "digestUnchecked",
            Self::Learner { .. } => "learner",
            Self::Etcd35Inconsistency { .. } => "etcd35Inconsistency",
            Self::AuthEnabled { .. } => "authEnabled",
            Self::Alarm { .. } => "alarm",
            Self::LeaseMissing { .. } => "leaseMissing",
            Self::LeasesUnchecked { .. } => "leasesUnchecked",
            Self::Downgrade { .. } => "downgrade",
            Self::NoRecord { .. } => "noRecord",
            Self::SingleChild { .. } => "singleChild",
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Warning", 2)?;
        object.serialize_field("kind", self.kind())?;
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}

/// Whether etcd of this version can write data that its log does not have, or lose data that it has.
pub(crate) fn is_inconsistent_release(version: &str) -> bool {
    matches!(version.trim_start_matches('v'), "3.5.0" | "3.5.1" | "3.5.2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_data() {
        let warning = Warning::LeaseMissing { keys: 2 };
        let data = serde_json::to_value(&warning).expect("plain data");
        assert_eq!(data["kind"], "leaseMissing");
        assert!(data["message"].as_str().is_some_and(|message| message.starts_with("2 keys")), "{data}");
    }

    #[test]
    fn releases() {
        let all = ["3.5.0", "3.5.2", "v3.5.1", "3.5.3", "3.5.12", "3.4.2", "3.6.1"];
        let bad: Vec<_> = all.into_iter().filter(|version| is_inconsistent_release(version)).collect();
        assert_eq!(bad, ["3.5.0", "3.5.2", "v3.5.1"]);
    }
}
