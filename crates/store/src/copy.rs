//! A backup from one store into another, its bytes as they are.

use std::io;

use crate::fetch::{Found, TransferError, Watch};
use crate::layout::{Key, Part};
use crate::{LARGEST_RECORD, Listed, Object, PartsLeft, Store, StoreError, StoredObject, proof, signature};

/// An object of a backup that is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub key: Key,
    /// Its bytes.
    pub size: u64,
    /// What is recorded of it. Of proofs, reports, signatures and the record itself nothing is.
    pub recorded: Option<StoredObject>,
}

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was copied.
    Copied,
    /// It was there, with the same bytes.
    Kept,
}

/// A backup could not be copied. What was copied before stays; the same command goes on there.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The bytes, where they come from.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The same, and parts that were sent could not be taken back.
    #[error("{0}; {1}")]
    Left(TransferError, PartsLeft),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another object has its name.
    #[error("{0} is there already with another content, and is left as it is")]
    Taken(Key),
}

/// Whether an object is one of those that anybody adds to a backup later, and is larger than any such object is. It is not copied: nobody
/// would read it.
pub fn is_too_large(object: &Object) -> bool {
    match object.key.part {
        Part::Proof { .. } => object.size > proof::LARGEST as u64,
        Part::Report { .. } => object.size > proof::LARGEST_REPORT as u64,
        Part::ProofSignature { .. } | Part::ReportSignature { .. } => object.size > signature::LARGEST as u64,
        _ => false,
    }
}

/// The objects of a backup in the order in which they are copied: what the record says something of, reports, proofs, signatures, and last the record
/// which makes them a backup.
pub fn items(found: &Found) -> Vec<Item> {
    let mut all: Vec<Item> = found
        .backup
        .objects
        .iter()
        .filter(|object| !is_too_large(object))
        .map(|object| Item {
            key: object.key.clone(),
            size: object.size,
            recorded: found.recorded(&object.key).cloned(),
        })
        .collect();
    all.sort_by_key(|item| rank(&item.key.part));
    all
}

fn rank(part: &Part) -> u8 {
    match part {
        Part::Data { .. } => 0,
        Part::NodeFiles => 1,
        Part::ReportSignature { .. } => 2,
        Part::Report { .. } => 3,
        Part::ProofSignature { .. } => 4,
        Part::Proof { .. } => 5,
        Part::Signature => 6,
        Part::Record => 7,
    }
}

/// Copies an object. `there` is what the other store has.
///
/// Must be called in a tokio runtime. Dropping the future gives the object up: nothing is left under its name.
///
/// # Errors
/// See [`CopyError`].
pub async fn copy(
    found: &Found,
    item: &Item,
    to: &Store,
    there: &Listed,
    watch: impl Watch + Clone,
) -> Result<Done, CopyError> {
    let is_there = there.objects.iter().any(|object| object.key == item.key);
    match &item.recorded {
        Some(recorded) if is_there => {
            let kept = Found { store: to.clone(), ..found.clone() };
            match kept.read_as_it_is(&item.key, recorded, io::sink(), watch).await {
                Ok(_) => Ok(Done::Kept),
                Err(TransferError::Changed { .. }) => Err(CopyError::Taken(item.key.clone())),
                Err(error) => Err(error.into()),
            }
        }
        Some(recorded) => stream(found, item, recorded, to, watch).await,
        None => small(found, item, to).await,
    }
}

async fn stream(
    found: &Found,
    item: &Item,
    recorded: &StoredObject,
    to: &Store,
    watch: impl Watch,
) -> Result<Done, CopyError> {
    let (writer, upload) = to.upload(&item.key);
    let read = found.read_as_it_is(&item.key, recorded, writer, watch).await;
    match read {
        Ok(writer) => {
            let ended = tokio::task::spawn_blocking(move || writer.end());
            // Why it could not end, the upload says better.
            let _ = ended.await;
            let sent = upload.finish().await?;
            match sent.sha256.eq_ignore_ascii_case(&recorded.sha256) {
                true => Ok(Done::Copied),
                false => Err(CopyError::Taken(item.key.clone())),
            }
        }
        // The other store has refused the bytes, and says why.
        Err(TransferError::Write(error)) => match upload.finish().await {
            Err(refused) => Err(refused.into()),
            Ok(_) => Err(TransferError::Write(error).into()),
        },
        Err(error) => match upload.abort().await {
            None => Err(error.into()),
            Some(parts) => Err(CopyError::Left(error, parts)),
        },
    }
}

async fn small(found: &Found, item: &Item, to: &Store) -> Result<Done, CopyError> {
    let limit = limit(&item.key.part);
    let bytes = match item.key.part {
        // The very bytes whose signature was checked.
        Part::Record => found.record_bytes.clone(),
        _ => found.store.small(&item.key, limit).await?,
    };
    match to.create(&item.key, bytes.clone()).await {
        Ok(()) => Ok(Done::Copied),
        Err(error) if error.is_exists() => match to.small(&item.key, limit).await? == bytes {
            true => Ok(Done::Kept),
            false => Err(CopyError::Taken(item.key.clone())),
        },
        Err(error) => Err(error.into()),
    }
}

/// Bytes of the largest small object of a kind.
pub fn limit(part: &Part) -> usize {
    match part {
        Part::Signature | Part::ProofSignature { .. } | Part::ReportSignature { .. } => signature::LARGEST,
        _ => LARGEST_RECORD,
    }
}
