//! Reads of a store what [`crate::freshness`] and [`crate::retention`] decide by: records and signatures, never the backups themselves.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::freshness::{self, Asked, Signed};
use crate::layout::Part;
use crate::retention::Fact;
use crate::{
    Backup, Backups, CLOCK_TOLERANCE, ClusterUid, Freshness, LARGEST_RECORD, Record, Store, StoreError, Trouble,
    TrustedKeys, signature,
};

/// How many requests are on their way at once.
pub const AT_ONCE: usize = 16;

/// What was read of a backup.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its record, or why it is none.
    pub record: Result<Record, String>,
    /// Who has signed the record.
    pub signed: Signed,
}

/// Reads the record of a backup, and its signature if there are keys to check it with: one request, or two.
///
/// # Errors
/// The store does not answer, or refuses. That an object is gone, or is too large, is told in the answer.
pub async fn read(store: &Store, backup: &Backup, trusted: Option<&TrustedKeys>) -> Result<Read, StoreError> {
    let bytes = match store.small(&backup.key(Part::Record), LARGEST_RECORD).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let (record, signed) = (Err(of_object(error)?), Signed::Unchecked);
            return Ok(Read { record, signed });
        }
    };
    let record = Record::read(&bytes, &backup.cluster, &backup.name).map_err(|error| error.to_string());
    let signed = match trusted {
        None => Signed::Unchecked,
        Some(_) if !backup.has_signature => Signed::NotTrusted("its record is not signed".to_owned()),
        Some(trusted) => match store.small(&backup.key(Part::Signature), signature::LARGEST).await {
            Err(error) => Signed::NotTrusted(of_object(error)?),
            Ok(signature) => match trusted.verify(&bytes, &signature) {
                Ok(signer) => Signed::By(signer.to_string()),
                Err(why) => Signed::NotTrusted(format!("the signature of its record does not count: {why}")),
            },
        },
    };
    Ok(Read { record, signed })
}

/// What is wrong with an object, if that is what an error says.
fn of_object(error: StoreError) -> Result<String, StoreError> {
    match error.trouble() {
        Trouble::NotFound | Trouble::Damaged => Ok(error.to_string()),
        _ => Err(error),
    }
}

/// Whether a cluster has a fresh backup: one LIST, one read of a record, and one of a signature if there are keys; more only if the newest backup
/// does not count. Never fails: a store that does not answer is an answer, too.
pub async fn freshness(
    store: &Store,
    cluster: &ClusterUid,
    trusted: Option<&TrustedKeys>,
    asked: &Asked,
    now: Timestamp,
) -> Freshness {
    let listed = match store.list(Some(cluster)).await {
        Ok(listed) => listed,
        Err(error) => return Freshness::cannot_tell(error.to_string()),
    };
    if let Some(why) = freshness::clock_trouble(&listed, now).or_else(|| clock_of(store)) {
        return Freshness::cannot_tell(why);
    }
    let backups = Backups::of(&listed, now);
    match newest(store, &backups, cluster, trusted, asked, now).await {
        Ok(freshness) => freshness,
        Err(error) => Freshness::cannot_tell(error.to_string()),
    }
}

/// The same of a store that was listed.
///
/// # Errors
/// The store does not answer.
pub async fn newest(
    store: &Store,
    backups: &Backups,
    cluster: &ClusterUid,
    trusted: Option<&TrustedKeys>,
    asked: &Asked,
    now: Timestamp,
) -> Result<Freshness, StoreError> {
    let mut passed_over = Vec::new();
    for backup in freshness::candidates(backups, cluster) {
        let Read { record, signed } = read(store, backup, trusted).await?;
        match (freshness::counts(backup, &record, &signed, asked.level), record) {
            (Ok(level), Ok(record)) => {
                let newest = Some((backup, record, level, &signed));
                return Ok(Freshness::of(backups, cluster, newest, passed_over, asked, now));
            }
            (Ok(_), Err(why)) => passed_over.push((backup.name.clone(), freshness::Rejection::Record(why))),
            (Err(why), _) => passed_over.push((backup.name.clone(), why)),
        }
    }
    Ok(Freshness::of(backups, cluster, None, passed_over, asked, now))
}

/// Why ages cannot be told, by the store's clock and ours.
pub fn clock_of(store: &Store) -> Option<String> {
    let clock = store.clock()?;
    let apart = clock.ours.duration_since(clock.theirs).abs();
    (apart > CLOCK_TOLERANCE)
        .then(|| format!("the clock of the store says {}, and the clock of this machine {}", clock.theirs, clock.ours))
}

/// What the records of all backups of a cluster say that are committed and not suspect.
///
/// # Errors
/// The store does not answer: nothing is known then.
pub async fn facts(
    store: &Store,
    backups: &Backups,
    cluster: &ClusterUid,
    trusted: Option<&TrustedKeys>,
) -> Result<Vec<Fact>, StoreError> {
    let ours = backups.committed.iter().filter(|backup| backup.cluster == *cluster);
    let reads = stream::iter(ours).map(|backup| async move {
        let Read { record, signed } = read(store, backup, trusted).await?;
        let genuine = freshness::matches(backup, &record, &signed).map_err(|why| why.to_string());
        Ok(Fact { backup: backup.clone(), genuine })
    });
    reads.buffered(AT_ONCE).try_collect().await
}
