//! A backup on its way out of a store: which one, whose signature, and that its bytes are those that are recorded.
//!
//! Nothing is believed before it was compared: the record by its signature, where keys are trusted; the stored bytes by the record; and the
//! snapshot that comes out of them by the record, too.

mod choose;
mod transfer;

use bytes::Bytes;
use jiff::Timestamp;

use crate::backups::LARGEST_RECORD;
use crate::freshness::LOOKED_AT;
use crate::layout::{Key, Part};
use crate::observe;
use crate::{
    Agreed, Backup, Backups, ClusterUid, Contradiction, Identities, Level, Name, Record, RecordError, SignatureError,
    Signer, Store, StoreError, StoredObject, TrustedKeys, Wanted, agree, signature,
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
    /// Others that were passed over where the latest was asked for, each with the reason: suspect, or not signed by a trusted key.
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
        why: Contradiction,
    },
}

impl FindError {
    /// Whether it is the matter of one backup, so that another may be good.
    fn is_of_backup(&self) -> bool {
        match self {
            FindError::Store(error) => error.is_of_object(),
            FindError::Choose(_) => false,
            FindError::Record { .. }
            | FindError::Unsigned(_)
            | FindError::Signature { .. }
            | FindError::Contradicts { .. } => true,
        }
    }
}

impl Found {
    /// Finds a backup, reads its record, and checks the signature of that where keys are trusted. Reads no other object.
    ///
    /// With trusted keys, the latest is the newest that they have signed: whoever may write to a store can put a newer one there, and that must
    /// not be in the way of those that are ours. Without keys nothing tells whose a record is, and the newest must be good.
    ///
    /// # Errors
    /// See [`FindError`]. Where none of several is good, what is against the newest.
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
        let candidates = match choose(&listed, cluster, wanted, now) {
            Ok(candidates) => candidates,
            Err(ChooseError::Several(newest)) => {
                return Err(ChooseError::Several(named(store, newest, trusted).await).into());
            }
            Err(error) => return Err(error.into()),
        };
        let tried = if trusted.is_some() { LOOKED_AT } else { 1 };
        let (mut passed_over, mut first) = (Vec::new(), None);
        for backup in candidates.into_iter().take(tried) {
            let name = backup.name.clone();
            match Found::read(store, backup, trusted).await {
                Ok(mut found) => {
                    if *wanted == Wanted::Latest {
                        let backups = Backups::of(&listed, now);
                        let suspects = backups.suspects_after(&found.backup);
                        let suspects =
                            suspects.map(|one| format!("backup {} is newer and suspect: {}", one.name, one.doubt));
                        found.passed_over = passed_over.into_iter().chain(suspects).collect();
                    }
                    return Ok(found);
                }
                Err(error) if trusted.is_some() && error.is_of_backup() => {
                    passed_over.push(format!("backup {name} is passed over: {error}"));
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or(ChooseError::Empty.into()))
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
        let Agreed { backup, data } = agree(&backup, &record).map_err(|why| FindError::Contradicts { name, why })?;
        Ok(Found { store: store.clone(), backup, record, record_bytes, signer, data, passed_over: Vec::new() })
    }

    /// The object of the snapshot, as it is recorded.
    pub fn data(&self) -> &StoredObject {
        &self.data
    }

    /// What is recorded of an object.
    pub fn recorded(&self, key: &Key) -> Option<&StoredObject> {
        let name = key.file();
        self.record.objects.iter().find(|object| object.name == name)
    }

    /// Where a recorded object lies.
    pub fn key_of(&self, recorded: &StoredObject) -> Option<Key> {
        let mut keys = self.backup.objects.iter().map(|object| &object.key);
        keys.find(|key| key.file() == recorded.name).cloned()
    }

    /// Reads what a check of the snapshot has not read: the files of a node. They are opened, too, where an identity fits. Gives what is verified
    /// of the whole backup then, where the snapshot was opened.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn read_rest(&self, identities: Option<&Identities>, watch: impl Watch) -> Result<Level, TransferError> {
        let key = self.backup.key(Part::NodeFiles);
        let Some(object) = self.recorded(&key) else { return Ok(Level::Opened) };
        match identities.filter(|identities| identities.fit(&object.recipients)) {
            None => self.read_as_it_is(&key, object, std::io::sink(), watch).await.map(|_| Level::Read),
            Some(identities) => self.open_node_files(object, identities, watch).await.map(|()| Level::Opened),
        }
    }

    /// SHA-256 of the record as it is stored, hexadecimal.
    pub fn record_sha256(&self) -> String {
        crate::digest::of(&self.record_bytes)
    }
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
