//! A backup on its way out of a store: which one, whose signature, and that its bytes are those that are recorded.
//!
//! Nothing is believed before it was compared: the record by its signature, where keys are trusted; the stored bytes by the record; and the
//! snapshot that comes out of them by the record, too.

mod choose;
mod transfer;

use bytes::Bytes;
use jiff::Timestamp;

use crate::backups::LARGEST_RECORD;
use crate::layout::{Key, Part};
use crate::observe;
use crate::{
    Backup, Backups, ClusterUid, Name, Record, RecordError, SignatureError, Signer, Store, StoreError, StoredObject,
    TrustedKeys, Wanted, signature,
};
pub use choose::{ChooseError, Newest, choose};
pub use transfer::{TransferError, Watch};

/// A backup that was found, with its record. Its bytes have not been read yet.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is.
    pub store: Store,
    /// Its objects.
    pub backup: Backup,
    /// What is recorded of it.
    pub record: Record,
    /// The record as it is stored.
    pub record_bytes: Bytes,
    /// Who has signed the record. Nothing: nobody was trusted, and nothing was checked.
    pub signer: Option<Signer>,
    /// The object of the snapshot, as it is recorded.
    pub(crate) data: StoredObject,
    /// Newer ones that are suspect, where the latest was asked for, with the reasons.
    pub passed_over: Vec<String>,
}

/// A backup cannot be found, or its record is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// None is meant, or several may be.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// Its record.
    #[error("the record of backup {name} is not to be believed: {why}")]
    Record {
        /// The backup.
        name: Name,
        /// Why not.
        why: RecordError,
    },
    /// The record has no signature, and only what trusted keys have signed counts.
    #[error("the record of backup {0} is not signed, and only records that a trusted key has signed count")]
    Unsigned(Name),
    /// The signature of the record does not count.
    #[error("the signature of the record of backup {name} does not count: {why}")]
    Signature {
        /// The backup.
        name: Name,
        /// Why not.
        why: SignatureError,
    },
    /// The record contradicts what lies in the store.
    #[error("the record of backup {name} contradicts the store: {why}")]
    Contradicts {
        /// The backup.
        name: Name,
        /// In what.
        why: String,
    },
}

impl Found {
    /// Finds a backup, reads its record, and checks the signature of that where keys are trusted. Reads no other object.
    ///
    /// # Errors
    /// See [`FindError`].
    pub async fn find(
        store: &Store,
        cluster: Option<&ClusterUid>,
        wanted: &Wanted,
        trusted: Option<&TrustedKeys>,
        now: Timestamp,
    ) -> Result<Found, FindError> {
        let listed = store.list(cluster).await?;
        if let (Wanted::Latest, Some(why)) = (wanted, observe::clock_of(store)) {
            return Err(ChooseError::Clock(why).into());
        }
        let backup = match choose(&listed, cluster, wanted, now) {
            Ok(backup) => backup,
            Err(ChooseError::Several(newest)) => {
                return Err(ChooseError::Several(named(store, newest, trusted).await).into());
            }
            Err(error) => return Err(error.into()),
        };
        let mut found = Found::read(store, backup, trusted).await?;
        if *wanted == Wanted::Latest {
            let backups = Backups::of(&listed, now);
            let suspects = backups.suspects_after(&found.backup);
            found.passed_over =
                suspects.map(|one| format!("backup {} is newer and suspect: {}", one.name, one.doubt)).collect();
        }
        Ok(found)
    }

    /// Reads the record of a backup, and checks its signature where keys are trusted.
    ///
    /// # Errors
    /// See [`FindError`].
    pub async fn read(store: &Store, backup: Backup, trusted: Option<&TrustedKeys>) -> Result<Found, FindError> {
        let name = backup.name.clone();
        let record_bytes = store.small(&backup.key(Part::Record), LARGEST_RECORD).await?;
        let signer = match trusted {
            None => None,
            Some(_) if !backup.has_signature => return Err(FindError::Unsigned(name)),
            Some(trusted) => {
                let signature = store.small(&backup.key(Part::Signature), signature::LARGEST).await?;
                let signer = trusted.verify(&record_bytes, &signature);
                Some(signer.map_err(|why| FindError::Signature { name: name.clone(), why })?)
            }
        };
        let record = Record::read(&record_bytes, &backup.cluster, &backup.name)
            .map_err(|why| FindError::Record { name: name.clone(), why })?;
        let data = agreed(&record, &backup).map_err(|why| FindError::Contradicts { name, why })?;
        Ok(Found { store: store.clone(), backup, record, record_bytes, signer, data, passed_over: Vec::new() })
    }

    /// The object of the snapshot, as it is recorded.
    pub fn data(&self) -> &StoredObject {
        &self.data
    }

    /// What is recorded of an object.
    pub fn recorded(&self, key: &Key) -> Option<&StoredObject> {
        let name = file_name(key);
        self.record.objects.iter().find(|object| object.name == name)
    }

    /// Where a recorded object lies.
    pub fn key_of(&self, recorded: &StoredObject) -> Option<Key> {
        let mut keys = self.backup.objects.iter().map(|object| &object.key);
        keys.find(|key| file_name(key) == recorded.name).cloned()
    }

    /// SHA-256 of the record as it is stored, hexadecimal.
    pub fn record_sha256(&self) -> String {
        crate::digest::of(&self.record_bytes)
    }
}

/// The recorded object of the snapshot, where the record says of the objects what the listing says.
fn agreed(record: &Record, backup: &Backup) -> Result<StoredObject, String> {
    let in_store = |key: &Key| {
        let name = file_name(key);
        backup.objects.iter().find(|object| object.key == *key).map(|object| (name, object.size))
    };
    for recorded in &record.objects {
        let here = backup.objects.iter().find(|object| file_name(&object.key) == recorded.name);
        match here.map(|object| object.size) {
            None => return Err(format!("{} is recorded, and is not there", recorded.name)),
            Some(size) if size != recorded.size => {
                return Err(format!("{} has {size} bytes, and {} are recorded", recorded.name, recorded.size));
            }
            Some(_) => {}
        }
    }
    let of = |key: Key| {
        let name = file_name(&key);
        let mut all = record.objects.iter().filter(|recorded| recorded.name == name);
        match (all.next(), all.next()) {
            (Some(one), None) => Ok(one.clone()),
            (None, _) => Err(format!("{name} is there, and is not recorded")),
            (Some(_), Some(_)) => Err(format!("{name} is recorded twice")),
        }
    };
    let data = of(backup.data())?;
    if in_store(&backup.key(Part::NodeFiles)).is_some() {
        of(backup.key(Part::NodeFiles))?;
    }
    match (backup.encrypted, data.recipients.is_empty()) {
        (true, true) => Err(format!("{} is encrypted, and no recipient is recorded", data.name)),
        (false, false) => Err(format!("{} is not encrypted, and recipients are recorded", data.name)),
        _ => Ok(data),
    }
}

/// The name of an object in the folder of its cluster.
pub fn file_name(key: &Key) -> String {
    let text = key.to_string();
    text.rsplit_once('/').map_or(text.as_str(), |(_, name)| name).to_owned()
}

/// Says of each cluster what its newest record calls it, as far as that can be read: this is for people.
async fn named(store: &Store, newest: Vec<Newest>, trusted: Option<&TrustedKeys>) -> Vec<Newest> {
    let mut named = Vec::with_capacity(newest.len());
    for mut one in newest {
        if let Some(backup) = one.backup.clone().filter(|_| named.len() < choose::NAMED)
            && let Ok(found) = Found::read(store, backup, trusted).await
        {
            one.called = found.record.cluster.name;
        }
        named.push(one);
    }
    named
}
