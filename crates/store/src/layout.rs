//! Where a backup's objects lie in a store: `PREFIX/v1/<kube-system UID>/<name><part>`.
//!
//! Objects are apart, so that stock tools read them: `age -d | zstd -d` of the data is an etcd snapshot.

use std::fmt;

use jiff::Timestamp;

use crate::{ClusterUid, Level, Name};

/// The folder below a store's prefix, by version of this layout.
pub const VERSION: &str = "v1";

/// What an object of a backup is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The snapshot: `.db.zst.age`, or `.db.zst` where the user has said that nothing is to be encrypted.
    Data {
        /// Whether the snapshot is encrypted.
        encrypted: bool,
    },
    /// Files of one node: `.node.tar.zst.age`. Never in clear.
    NodeFiles,
    /// What is recorded of the backup: `.json`. The last object, and the one that makes a backup of the others.
    Record,
    /// The signature of the record: `.json.sig`, an SSHSIG.
    Signature,
    /// That somebody has proved more of the backup than its writer: `.LEVEL-<UTC>-<random>.proof`. See [`Level`].
    Proof {
        /// What was proved.
        level: Level,
        /// When, whole seconds.
        at: Timestamp,
        /// Random letters: two proofs of one second have two names.
        random: String,
    },
    /// The signature of a proof: the name of the proof and `.sig`, an SSHSIG.
    ProofSignature {
        /// What was proved.
        level: Level,
        /// When, whole seconds.
        at: Timestamp,
        /// The random letters of the proof.
        random: String,
    },
    /// What a proof is about, whole, as JSON: `.report` in place of the `.proof` of its proof. For people: nothing is decided by it.
    Report {
        /// What was proved.
        level: Level,
        /// When, whole seconds.
        at: Timestamp,
        /// The random letters of the proof.
        random: String,
    },
    /// The signature of a report: the name of the report and `.sig`, an SSHSIG.
    ReportSignature {
        /// What was proved.
        level: Level,
        /// When, whole seconds.
        at: Timestamp,
        /// The random letters of the proof.
        random: String,
    },
}

/// The place of one object in a store, below the store's prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose the backup is.
    pub cluster: ClusterUid,
    /// Which backup.
    pub name: Name,
    /// Which of its objects.
    pub part: Part,
}

const TIME: &str = "%Y%m%dT%H%M%SZ";
/// How the name of a proof ends.
const PROOF: &str = ".proof";
/// How the name of a report ends.
const REPORT: &str = ".report";

impl Part {
    fn suffix(&self) -> String {
        match self {
            Part::Data { encrypted: true } => ".db.zst.age".to_owned(),
            Part::Data { encrypted: false } => ".db.zst".to_owned(),
            Part::NodeFiles => ".node.tar.zst.age".to_owned(),
            Part::Record => ".json".to_owned(),
            Part::Signature => ".json.sig".to_owned(),
            Part::Proof { level, at, random } => later(*level, *at, random, PROOF),
            Part::ProofSignature { level, at, random } => format!("{}.sig", later(*level, *at, random, PROOF)),
            Part::Report { level, at, random } => later(*level, *at, random, REPORT),
            Part::ReportSignature { level, at, random } => format!("{}.sig", later(*level, *at, random, REPORT)),
        }
    }

    fn of(suffix: &str) -> Option<Part> {
        let fixed = [
            Part::Data { encrypted: true },
            Part::Data { encrypted: false },
            Part::NodeFiles,
            Part::Record,
            Part::Signature,
        ];
        fixed.into_iter().find(|part| part.suffix() == suffix).or_else(|| match suffix.strip_suffix(".sig") {
            None => Part::later(suffix),
            Some(signed) => Part::later(signed)?.signature(),
        })
    }

    /// The signature that belongs to a record, a proof or a report; nothing of other objects is signed.
    pub fn signature(&self) -> Option<Part> {
        match self {
            Part::Record => Some(Part::Signature),
            Part::Proof { level, at, random } => {
                Some(Part::ProofSignature { level: *level, at: *at, random: random.clone() })
            }
            Part::Report { level, at, random } => {
                Some(Part::ReportSignature { level: *level, at: *at, random: random.clone() })
            }
            Part::Data { .. }
            | Part::NodeFiles
            | Part::Signature
            | Part::ProofSignature { .. }
            | Part::ReportSignature { .. } => None,
        }
    }

    /// What anybody adds to a backup later: a proof or a report.
    fn later(suffix: &str) -> Option<Part> {
        let (named, is_proof) = match suffix.strip_suffix(PROOF) {
            Some(named) => (named, true),
            None => (suffix.strip_suffix(REPORT)?, false),
        };
        let (level, rest) = named.strip_prefix('.')?.split_once('-')?;
        let (at, random) = rest.split_once('-')?;
        let civil = jiff::civil::DateTime::strptime(TIME, at).ok()?;
        let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let (level, random) = (level.parse().ok()?, random.to_owned());
        let plain = !random.is_empty() && random.len() <= 16 && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let part = match is_proof {
            true => Part::Proof { level, at, random },
            false => Part::Report { level, at, random },
        };
        (plain && part.suffix() == suffix).then_some(part)
    }
}

fn later(level: Level, at: Timestamp, random: &str, ends: &str) -> String {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).strftime(TIME);
    format!(".{}-{at}-{random}{ends}", level.word())
}

impl Key {
    /// The key of an object.
    pub fn new(cluster: &ClusterUid, name: &Name, part: Part) -> Key {
        Key { cluster: cluster.clone(), name: name.clone(), part }
    }

    /// The file name in the folder of the cluster, as records have it.
    pub fn file(&self) -> String {
        format!("{}{}", self.name, self.part.suffix())
    }

    /// Reads a key below the store's prefix; nothing for an object that no backup of this layout has.
    pub fn parse(path: &str) -> Option<Key> {
        let (cluster, file) = path.strip_prefix(VERSION)?.strip_prefix('/')?.split_once('/')?;
        let (name, _) = file.split_once('.')?;
        let part = Part::of(file.strip_prefix(name)?)?;
        Some(Key { cluster: cluster.parse().ok()?, name: name.parse().ok()?, part })
    }
}

/// The folder of a cluster's backups, below the store's prefix, without a slash at its end.
pub fn folder(cluster: &ClusterUid) -> String {
    format!("{VERSION}/{cluster}")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}/{}/{}{}", self.cluster, self.name, self.part.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const NAME: &str = "20261127T031500Z-48211-manual-k3f2x2ab";

    #[test]
    fn every_object_has_one_key() {
        let proof = Part::Proof {
            level: Level::Opened,
            at: "2026-11-27T04:00:00Z".parse().unwrap(),
            random: "abcd2345".to_owned(),
        };
        let signature = proof.signature().unwrap();
        let report = Part::Report {
            level: Level::Booted,
            at: "2026-11-27T04:00:00Z".parse().unwrap(),
            random: "abcd2345".to_owned(),
        };
        for (part, suffix) in [
            (report.signature().unwrap(), ".booted-20261127T040000Z-abcd2345.report.sig"),
            (report, ".booted-20261127T040000Z-abcd2345.report"),
            (signature, ".opened-20261127T040000Z-abcd2345.proof.sig"),
            (Part::Data { encrypted: true }, ".db.zst.age"),
            (Part::Data { encrypted: false }, ".db.zst"),
            (Part::NodeFiles, ".node.tar.zst.age"),
            (Part::Record, ".json"),
            (Part::Signature, ".json.sig"),
            (proof, ".opened-20261127T040000Z-abcd2345.proof"),
        ] {
            let key = Key::new(&CLUSTER.parse().unwrap(), &NAME.parse().unwrap(), part);
            assert_eq!(key.to_string(), format!("v1/{CLUSTER}/{NAME}{suffix}"));
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn another_object_is_none_of_ours() {
        for other in [
            format!("v1/{CLUSTER}/{NAME}.db"),
            format!("v1/{CLUSTER}/{NAME}"),
            format!("v1/{CLUSTER}/x/{NAME}.json"),
            format!("v1/other/{NAME}.json"),
            format!("v2/{CLUSTER}/{NAME}.json"),
            format!("v1/{CLUSTER}/{NAME}.json.sig.sig"),
            format!("v1/{CLUSTER}/{NAME}.db.zst.sig"),
            format!("v1/{CLUSTER}/{NAME}.opened-20261127T040000Z-abcd2345.proof.sig.sig"),
            format!("v1/{CLUSTER}/{NAME}.opened-20261127T040000Z-a/b.proof"),
            format!("v1/{CLUSTER}/{NAME}.tasted-20261127T040000Z-abcd2345.proof"),
        ] {
            assert_eq!(Key::parse(&other), None, "{other}");
        }
    }
}
