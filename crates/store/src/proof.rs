//! A proof: that somebody has read a backup after it was written, and how much of it was checked. A small object beside the backup, which is
//! created once and never changed, as all others are.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fetch::Found;
use crate::layout::{Key, Part};
use crate::name::{random_letters, whole_seconds};
use crate::{API_VERSION, Level, Program, SigningKey, StoreError, signature};

/// What this document is.
pub const KIND: &str = "BackupProof";

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// What was proved.
    pub level: Level,
    /// When, by the clock of who has proved it.
    pub at: Timestamp,
    /// Who has proved it.
    pub by: Program,
    /// SHA-256 of the record of the backup, hexadecimal: the record says which bytes were proved.
    pub record_sha256: String,
}

/// A proof could not be written. There is none then, unless [`StoreError::is_outcome_unknown`].
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report is larger than any that is read.
    #[error("the report has {0} bytes, and {LARGEST_REPORT} at most are written")]
    Large(usize),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] signature::SignError),
    /// It cannot be written as JSON.
    #[error("the proof cannot be written as JSON: {0}")]
    Form(#[from] serde_json::Error),
}

/// Bytes of the largest proof that is read.
pub(crate) const LARGEST: usize = 64 << 10;
/// Bytes of the largest report that is written or copied.
pub(crate) const LARGEST_REPORT: usize = 4 << 20;

impl Proof {
    /// Reads a proof that says of itself, by its name, that it proves a level of the backup with this record.
    ///
    /// # Errors
    /// It is no proof, or is one of another record or level.
    pub(crate) fn read(bytes: &[u8], level: Level, record: &[u8]) -> Result<Proof, String> {
        let proof: Proof = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if (proof.api_version.as_str(), proof.kind.as_str()) != (API_VERSION, KIND) {
            return Err(format!("it is a {} of {}", proof.kind, proof.api_version));
        }
        if proof.level != level {
            return Err(format!("it proves {}, and its name says {level}", proof.level));
        }
        if proof.record_sha256 != crate::digest::of(record) {
            return Err("it is of another record".to_owned());
        }
        Ok(proof)
    }

    /// Writes that a backup was proved, with a signature if there is a key: first the signature, then the proof. A report of how it was proved,
    /// as JSON, is written before both, in the same way: where anything breaks, there is no proof without its report. Gives where the proof lies.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn write(
        found: &Found,
        level: Level,
        by: Program,
        now: Timestamp,
        key: Option<&SigningKey>,
        report: Option<Bytes>,
    ) -> Result<Key, ProofError> {
        if let Some(report) = report.as_ref().filter(|report| report.len() > LARGEST_REPORT) {
            return Err(ProofError::Large(report.len()));
        }
        let at = whole_seconds(now);
        let record_sha256 = found.record_sha256();
        let (api_version, kind) = (API_VERSION.to_owned(), KIND.to_owned());
        let proof = Proof { api_version, kind, level, at, by, record_sha256 };
        let mut bytes = serde_json::to_vec_pretty(&proof)?;
        bytes.push(b'\n');
        let random = random_letters();
        if let Some(report) = report {
            create(found, Part::Report { level, at, random: random.clone() }, report, key).await?;
        }
        create(found, Part::Proof { level, at, random }, Bytes::from(bytes), key).await
    }
}

/// Creates an object, and before it its signature if there is a key.
async fn create(found: &Found, part: Part, bytes: Bytes, key: Option<&SigningKey>) -> Result<Key, ProofError> {
    if let (Some(key), Some(signature)) = (key, part.signature()) {
        let signed = key.sign(&bytes)?;
        found.store.create(&found.backup.key(signature), Bytes::from(signed)).await?;
    }
    let place = found.backup.key(part);
    found.store.create(&place, bytes).await?;
    Ok(place)
}
