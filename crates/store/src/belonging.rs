//! Which objects belong to a backup: its record, the signature and the proofs of that, and what the record names, of the sizes that it says.
//!
//! Other objects under the name of a backup are foreign: anybody who may write to a store may put them there. They are told and never used, and
//! the backup is as good as without them.

use crate::layout::{Key, Part};
use crate::{Backup, Object, Record, StoredObject};

/// A record says something else of a backup than the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// An object is missing.
    #[error("{0} is recorded, and is not there")]
    Missing(String),
    /// An object has another size.
    #[error("{object} has {listed} bytes, and {recorded} are recorded")]
    Size {
        /// File name of the object.
        object: String,
        /// Bytes in the record.
        recorded: u64,
        /// Bytes in the store.
        listed: u64,
    },
    /// Nobody can tell what an object is to be.
    #[error("{0} is recorded twice")]
    Twice(String),
    /// There is nothing to restore.
    #[error("no snapshot is recorded")]
    NoSnapshot,
    /// Nobody can tell which one is meant.
    #[error("an encrypted snapshot and one that is not encrypted are recorded")]
    TwoSnapshots,
    /// Nobody could decrypt the snapshot.
    #[error("{0} is encrypted, and no recipient is recorded")]
    NoRecipient(String),
    /// The snapshot object is not the one that the record names.
    #[error("{0} is not encrypted, and recipients are recorded")]
    Recipients(String),
}

/// A backup as its record and the store agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The backup with the objects that belong to it, and no others.
    pub backup: Backup,
    /// The object of the snapshot, as it is recorded.
    pub data: StoredObject,
}

/// Compares the objects that are listed of a backup with its record.
///
/// # Errors
/// The record says something of an object that the store does not.
pub fn agree(backup: &Backup, record: &Record) -> Result<Agreed, Contradiction> {
    for (index, recorded) in record.objects.iter().enumerate() {
        let listed = backup.objects.iter().find(|object| object.key.file() == recorded.name);
        match listed.map(|object| object.size) {
            None => return Err(Contradiction::Missing(recorded.name.clone())),
            Some(listed) if listed != recorded.size => {
                let (object, recorded) = (recorded.name.clone(), recorded.size);
                return Err(Contradiction::Size { object, recorded, listed });
            }
            Some(_) => {}
        }
        if record.objects.iter().skip(index + 1).any(|other| other.name == recorded.name) {
            return Err(Contradiction::Twice(recorded.name.clone()));
        }
    }
    let recorded = |key: &Key| {
        let name = key.file();
        record.objects.iter().find(|object| object.name == name)
    };
    let data = |encrypted| recorded(&backup.key(Part::Data { encrypted })).cloned();
    let (data, encrypted) = match (data(true), data(false)) {
        (Some(data), None) => (data, true),
        (None, Some(data)) => (data, false),
        (None, None) => return Err(Contradiction::NoSnapshot),
        (Some(_), Some(_)) => return Err(Contradiction::TwoSnapshots),
    };
    match (encrypted, data.recipients.is_empty()) {
        (true, true) => return Err(Contradiction::NoRecipient(data.name)),
        (false, false) => return Err(Contradiction::Recipients(data.name)),
        _ => {}
    }
    let all = backup.objects.iter().chain(&backup.foreign).cloned();
    let (mut objects, mut foreign): (Vec<Object>, Vec<Object>) =
        all.partition(|object| needs_no_entry(&object.key.part) || recorded(&object.key).is_some());
    objects.sort_by(|one, other| one.key.cmp(&other.key));
    foreign.sort_by(|one, other| one.key.cmp(&other.key));
    let node_files = recorded(&backup.key(Part::NodeFiles)).map(|object| object.size);
    let backup = Backup { size: data.size, encrypted, node_files, objects, foreign, ..backup.clone() };
    Ok(Agreed { backup, data })
}

/// Whether an object belongs to a backup without being named in its record: what is written with the record, and after it.
fn needs_no_entry(part: &Part) -> bool {
    match part {
        Part::Record
        | Part::Signature
        | Part::Proof { .. }
        | Part::ProofSignature { .. }
        | Part::Report { .. }
        | Part::ReportSignature { .. } => true,
        Part::Data { .. } | Part::NodeFiles => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::tests::{CLUSTER, record};
    use crate::{Backups, Level, Listed};

    const NAME: &str = "20261127T110000Z-7-scheduled-aaaaaaaa";
    const SEALED: Part = Part::Data { encrypted: true };
    const CLEAR: Part = Part::Data { encrypted: false };

    /// A backup that has these objects and its record, each of 50 bytes.
    fn backup(parts: &[Part]) -> Backup {
        let object = |part: &Part| Object {
            key: Key::new(&CLUSTER.parse().unwrap(), &NAME.parse().unwrap(), part.clone()),
            size: 50,
            modified: "2026-11-27T11:01:00Z".parse().unwrap(),
        };
        let objects = parts.iter().chain([&Part::Record, &Part::Signature]).map(object).collect();
        let mut backups = Backups::of(&Listed { objects, foreign: 0 }, "2026-11-27T12:00:00Z".parse().unwrap());
        backups.committed.remove(0)
    }

    fn parts(objects: &[Object]) -> Vec<Part> {
        objects.iter().map(|object| object.key.part.clone()).collect()
    }

    #[test]
    fn what_the_record_does_not_name_is_foreign_and_spoils_nothing() {
        let good = record(&backup(&[SEALED]), Level::Written);
        for planted in [vec![], vec![CLEAR], vec![Part::NodeFiles], vec![CLEAR, Part::NodeFiles]] {
            let listed = backup(&[vec![SEALED], planted.clone()].concat());
            let agreed = agree(&listed, &good).unwrap();
            assert_eq!((agreed.backup.encrypted, agreed.backup.size, agreed.backup.node_files), (true, 50, None));
            assert_eq!(parts(&agreed.backup.objects), [SEALED, Part::Record, Part::Signature]);
            assert_eq!(parts(&agreed.backup.foreign), planted);
            // What was sorted out stays so.
            assert_eq!(agree(&agreed.backup, &good), Ok(agreed));
        }
    }

    #[test]
    fn the_record_says_which_of_two_snapshots_is_meant() {
        let mut clear = record(&backup(&[CLEAR]), Level::Written);
        clear.objects[0].recipients.clear();
        let listed = backup(&[CLEAR, SEALED]);
        assert!(listed.encrypted && listed.is_ambiguous());
        let agreed = agree(&listed, &clear).unwrap();
        assert!(!agreed.backup.encrypted && !agreed.backup.is_ambiguous());
        assert_eq!(agreed.backup.data(), listed.key(CLEAR));
        assert_eq!(parts(&agreed.backup.foreign), [SEALED]);
        let both = Record {
            objects: [clear.objects.clone(), record(&backup(&[SEALED]), Level::Written).objects].concat(),
            ..clear
        };
        assert_eq!(agree(&listed, &both), Err(Contradiction::TwoSnapshots));
    }

    #[test]
    fn what_is_recorded_must_be_there_once_and_as_it_is_recorded() {
        let listed = backup(&[SEALED, Part::NodeFiles]);
        let good = record(&listed, Level::Written);
        let other = |change: &dyn Fn(&mut Vec<StoredObject>)| {
            let mut record = good.clone();
            change(&mut record.objects);
            agree(&listed, &record).unwrap_err().to_string()
        };
        let file = |part| listed.key(part).file();
        assert_eq!(other(&|all| all.clear()), "no snapshot is recorded");
        assert_eq!(other(&|all| all[0].size = 51), format!("{} has 50 bytes, and 51 are recorded", file(SEALED)));
        assert_eq!(other(&|all| all[0].name = "x".into()), "x is recorded, and is not there");
        assert_eq!(other(&|all| all.push(all[0].clone())), format!("{} is recorded twice", file(SEALED)));
        let unsealed = other(&|all| all[0].recipients.clear());
        assert_eq!(unsealed, format!("{} is encrypted, and no recipient is recorded", file(SEALED)));
    }
}
