//! How a backup comes into a store: its data first, then node files, then the signature of its record, and the record last and create-only.
//! A backup that breaks at any point has no record, and is none.

mod leftovers;
mod rules;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::leftovers::{Leftovers, Stays};
pub use self::rules::{Mismatch, Step, compare, order};
use crate::layout::{Key, Part};
use crate::signature::SignError;
use crate::{ClusterUid, Name, Record, SigningKey, Store, StoreError, StoredObject, Upload, UploadWriter};

/// How often the record, or its signature, is created where nobody knows whether that has happened.
const ATTEMPTS: u32 = 3;

/// A backup that is being written, and is none yet.
#[derive(Debug)]
pub struct Pending {
    store: Store,
    cluster: ClusterUid,
    name: Name,
    /// What may be in the store under its name by now, in the order in which it was begun. An upload that was not finished has no name.
    begun: Vec<Part>,
}

/// Objects of a backup whose bytes were all handed over.
#[derive(Debug)]
pub struct Uploads {
    /// The snapshot.
    pub data: Sealed,
    /// Files of a node, if the backup has them.
    pub node_files: Option<Sealed>,
}

/// An object whose bytes were all handed over.
#[derive(Debug)]
pub struct Sealed {
    /// Which object it is.
    pub part: Part,
    /// Its upload, which is not finished.
    pub upload: Upload,
    /// age recipients that can decrypt it.
    pub recipients: Vec<String>,
}

/// A backup that is in the store.
#[derive(Debug)]
pub struct Committed {
    /// Its record.
    pub record: Record,
    /// Bytes of all its objects in the store.
    pub stored_bytes: u64,
    /// Why the sizes of the objects could not be compared after the record was written.
    pub not_compared: Option<StoreError>,
}

/// A backup that is not in the store.
#[derive(Debug)]
pub struct NotCommitted {
    /// Why.
    pub why: Why,
    /// What is left of it.
    pub left: Leftovers,
}

/// Why a backup is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// A request failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whether the record was written is not known: the backup may be there.
    #[error("whether the record was written is not known: {0}")]
    Unknown(StoreError),
    /// Another object lies where one of this backup belongs, and was left alone.
    #[error("{0} is in the store already, with another content")]
    Taken(Key),
    /// The record could not be made.
    #[error("the record cannot be written as JSON: {0}")]
    Record(#[from] serde_json::Error),
    /// The record could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store does not have what was written.
    #[error("the store does not have what was written: {}", told(.0))]
    Differs(Vec<Mismatch>),
}

fn told(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Pending {
    /// A backup of this name; nothing is written yet.
    pub fn new(store: &Store, cluster: &ClusterUid, name: &Name) -> Pending {
        Pending { store: store.clone(), cluster: cluster.clone(), name: name.clone(), begun: Vec::new() }
    }

    /// Begins an object. An upload of the same object that was begun before must have been dropped.
    pub fn upload(&mut self, part: Part) -> (UploadWriter, Upload) {
        self.store.upload(&self.key(&part))
    }

    /// Gives the backup up. The uploads must have been dropped.
    pub async fn abandon(self) -> Leftovers {
        leftovers::remove(&self.store, &self.cluster, &self.name, &self.begun).await
    }

    /// Writes what is left to be written, the record last, and compares what the store has with what was written. `record` makes the record
    /// from what was sent.
    ///
    /// # Errors
    /// The backup is not in the store, and what is left of it was removed where that may be done.
    pub async fn commit(
        mut self,
        uploads: Uploads,
        record: impl FnOnce(Vec<StoredObject>) -> Record,
        key: Option<&SigningKey>,
    ) -> Result<Committed, NotCommitted> {
        match self.write(uploads, record, key).await {
            Ok(committed) => Ok(committed),
            // What is there may be whole, or was written by somebody else.
            Err(why @ (Why::Unknown(_) | Why::Taken(_))) => {
                let left = leftovers::untouched(&self.store, &self.cluster, &self.name, &self.begun).await;
                Err(NotCommitted { why, left })
            }
            Err(why) => Err(NotCommitted { why, left: self.abandon().await }),
        }
    }

    async fn write(
        &mut self,
        uploads: Uploads,
        record: impl FnOnce(Vec<StoredObject>) -> Record,
        key: Option<&SigningKey>,
    ) -> Result<Committed, Why> {
        let steps = order(uploads.node_files.is_some(), key.is_some());
        let (mut data, mut node_files) = (Some(uploads.data), uploads.node_files);
        let (mut make, mut made) = (Some(record), None);
        let mut objects: Vec<StoredObject> = Vec::new();
        let mut written: Vec<(Key, u64)> = Vec::new();
        let mut not_compared = None;
        for step in steps {
            match step {
                Step::Data | Step::NodeFiles => {
                    let sealed = if step == Step::Data { data.take() } else { node_files.take() };
                    let Some(Sealed { part, upload, recipients }) = sealed else { continue };
                    let key = self.key(&part);
                    self.note(part.clone());
                    let sent = match upload.finish().await {
                        Ok(sent) => sent,
                        // What lies there was not written by this backup.
                        Err(error) if error.is_exists() => {
                            self.begun.retain(|begun| *begun != part);
                            return Err(Why::Taken(key));
                        }
                        Err(error) => return Err(error.into()),
                    };
                    objects.push(StoredObject { name: key.file(), size: sent.size, sha256: sent.sha256, recipients });
                    written.push((key, sent.size));
                }
                Step::Signature | Step::Record => {
                    // Made before the first of the two, and the same for both.
                    if let Some(make) = make.take() {
                        let record = make(std::mem::take(&mut objects));
                        let bytes = Bytes::from(record.to_json()?);
                        made = Some((record, bytes));
                    }
                    let Some((_, bytes)) = &made else { continue };
                    let (part, content) = match key.filter(|_| step == Step::Signature) {
                        Some(key) => (Part::Signature, Bytes::from(key.sign(bytes)?)),
                        None => (Part::Record, bytes.clone()),
                    };
                    let key = self.key(&part);
                    self.note(part);
                    written.push((key.clone(), content.len() as u64));
                    create(&self.store, &key, content, step == Step::Record).await?;
                }
                Step::Compare => match self.store.list(Some(&self.cluster)).await {
                    Ok(listed) => {
                        not_compared = self.settle(compare(&written, &listed.objects)).await?;
                    }
                    Err(error) => not_compared = Some(error),
                },
            }
        }
        let stored_bytes = written.iter().map(|(_, size)| size).sum();
        match made {
            Some((record, _)) => Ok(Committed { record, stored_bytes, not_compared }),
            None => Err(Why::Differs(Vec::new())),
        }
    }

    /// Asks for each object that is not listed as it was written: a listing may come late. Gives why that could not be found out.
    async fn settle(&self, mismatches: Vec<Mismatch>) -> Result<Option<StoreError>, Why> {
        let (mut certain, mut not_compared) = (Vec::new(), None);
        for mismatch in mismatches {
            let stored = match self.store.size(&mismatch.key).await {
                Ok(size) => Some(size),
                Err(error) if error.is_not_found() => None,
                Err(error) => {
                    not_compared = Some(error);
                    continue;
                }
            };
            if stored != Some(mismatch.written) {
                certain.push(Mismatch { stored, ..mismatch });
            }
        }
        if certain.is_empty() { Ok(not_compared) } else { Err(Why::Differs(certain)) }
    }

    fn key(&self, part: &Part) -> Key {
        Key::new(&self.cluster, &self.name, part.clone())
    }

    fn note(&mut self, part: Part) {
        if !self.begun.contains(&part) {
            self.begun.push(part);
        }
    }
}

/// Creates a small object. Where one is there already, or nobody knows whether this one is, it is read back and compared.
async fn create(store: &Store, key: &Key, content: Bytes, is_record: bool) -> Result<(), Why> {
    let mut maybe = None;
    for _ in 0..ATTEMPTS {
        let error = match store.create(key, content.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.is_outcome_unknown() {
            maybe = Some(error.clone());
        } else if !error.is_exists() {
            return Err(unknown(maybe, error, is_record));
        }
        match store.small(key, content.len()).await {
            Ok(there) if there == content => return Ok(()),
            Ok(_) => return Err(Why::Taken(key.clone())),
            // Longer than what was written.
            Err(read) if *read.trouble() == crate::Trouble::Damaged => return Err(Why::Taken(key.clone())),
            // Not there: the request was lost, or may still come through.
            Err(read) if read.is_not_found() => {
                maybe.get_or_insert(error);
            }
            Err(read) => return Err(unknown(Some(maybe.unwrap_or(error)), read, is_record)),
        }
    }
    match maybe {
        Some(error) if is_record => Err(Why::Unknown(error)),
        Some(error) => Err(Why::Store(error)),
        // There were attempts, and each has ended otherwise.
        None => Err(Why::Taken(key.clone())),
    }
}

/// Only of the record it matters that an earlier request may still come through: it alone makes a backup.
fn unknown(maybe: Option<StoreError>, error: StoreError, is_record: bool) -> Why {
    match maybe {
        Some(earlier) if is_record => Why::Unknown(earlier),
        _ => Why::Store(error),
    }
}
