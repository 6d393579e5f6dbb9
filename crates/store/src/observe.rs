//! Reads of a store what [`crate::freshness`] and [`crate::retention`] decide by: records and signatures, never the backups themselves.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::freshness::{self, Asked, Rejection, Signed};
use crate::layout::Part;
use crate::proof::{self, Proof};
use crate::retention::Fact;
use crate::{
    Backup, Backups, CLOCK_TOLERANCE, ClusterUid, Freshness, LARGEST_RECORD, Level, Record, Store, StoreError,
    TrustedKeys, signature,
};

/// How many requests are on their way at once.
pub const AT_ONCE: usize = 16;

/// What was read of a backup.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its record, or why it is none.
    pub record: Result<Record, Rejection>,
    /// Who has signed the record.
    pub signed: Signed,
    /// What was proved of the backup, by a proof that was read, and whose signature counts where keys are given.
    pub proved: Option<Level>,
}

/// Reads the record of a backup, and its signature if there are keys to check it with: one request, or two.
///
/// # Errors
/// The store does not answer, or refuses whatever is asked. What is the matter with one object is told in the answer.
pub async fn read(store: &Store, backup: &Backup, trusted: Option<&TrustedKeys>) -> Result<Read, StoreError> {
    let none = |record| Read { record: Err(record), signed: Signed::Unchecked, proved: None };
    let bytes = match store.small(&backup.key(Part::Record), LARGEST_RECORD).await {
        Ok(bytes) => bytes,
        Err(error) => return of_object(error).map(none),
    };
    let record = Record::read(&bytes, &backup.cluster, &backup.name);
    let record = record.map_err(|error| Rejection::Record(error.to_string()));
    let signed = match trusted {
        None => Signed::Unchecked,
        Some(_) if !backup.has_signature => Signed::NotTrusted("its record is not signed".to_owned()),
        Some(trusted) => match store.small(&backup.key(Part::Signature), signature::LARGEST).await {
            Err(error) => match of_object(error)? {
                Rejection::Record(why) => Signed::NotTrusted(why),
                unreadable => return Ok(none(unreadable)),
            },
            Ok(signature) => match trusted.verify(&bytes, &signature) {
                Ok(signer) => Signed::By(signer.to_string()),
                Err(why) => Signed::NotTrusted(format!("the signature of its record does not count: {why}")),
            },
        },
    };
    let proved = proved(store, backup, &bytes, trusted).await?;
    Ok(Read { record, signed, proved })
}

/// Proofs of a backup that are read at most: anybody who may write to a store may put some there.
const PROOFS: usize = 8;

/// The highest level that is proved. What a proof is called decides nothing but which of them are read first.
async fn proved(
    store: &Store,
    backup: &Backup,
    record: &[u8],
    trusted: Option<&TrustedKeys>,
) -> Result<Option<Level>, StoreError> {
    let level_of = |part: &Part| match part {
        Part::Proof { level, .. } => Some(*level),
        _ => None,
    };
    let parts = backup.objects.iter().map(|object| &object.key.part);
    let mut proofs: Vec<(Level, &Part)> = parts.filter_map(|part| Some((level_of(part)?, part))).collect();
    proofs.sort_by(|one, other| other.cmp(one));
    for (level, part) in proofs.into_iter().take(PROOFS) {
        let bytes = match store.small(&backup.key(part.clone()), proof::LARGEST).await {
            Ok(bytes) => bytes,
            Err(error) => {
                of_object(error)?;
                continue;
            }
        };
        if Proof::read(&bytes, level, record).is_err() {
            continue;
        }
        let (Some(trusted), Some(signature)) = (trusted, part.signature()) else { return Ok(Some(level)) };
        match store.small(&backup.key(signature), signature::LARGEST).await {
            Ok(signature) if trusted.verify(&bytes, &signature).is_ok() => return Ok(Some(level)),
            Ok(_) => {}
            Err(error) => drop(of_object(error)?),
        }
    }
    Ok(None)
}

/// A backup with what was proved of it, in place of what the names of its proofs say.
fn with_proof(backup: &Backup, proof: Option<Level>) -> Backup {
    Backup { proof, ..backup.clone() }
}

/// What is the matter with an object, if that is what an error says, and not that the store gives nothing.
fn of_object(error: StoreError) -> Result<Rejection, StoreError> {
    match error.is_of_object() {
        true if error.is_not_given() => Ok(Rejection::Unreadable(error.to_string())),
        true => Ok(Rejection::Record(error.to_string())),
        false => Err(error),
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
        let Read { record, signed, proved } = read(store, backup, trusted).await?;
        match (freshness::counts(&with_proof(backup, proved), &record, &signed, asked.level), record) {
            (Ok((backup, level)), Ok(record)) => {
                let newest = Some((&backup, record, level, &signed));
                return Ok(Freshness::of(backups, cluster, newest, passed_over, asked, now));
            }
            (Ok(_), Err(why)) | (Err(why), _) => passed_over.push((backup.name.clone(), why)),
        }
    }
    Ok(Freshness::of(backups, cluster, None, passed_over, asked, now))
}

/// When the newest backup of a cluster was taken of which so much is proved, by a proof that counts. Reads only backups for which
/// there is such a proof by its name, and no more of them than [`freshness::LOOKED_AT`].
///
/// # Errors
/// The store does not answer.
pub async fn proved_at(
    store: &Store,
    backups: &Backups,
    cluster: &ClusterUid,
    trusted: Option<&TrustedKeys>,
    level: Level,
) -> Result<Option<Timestamp>, StoreError> {
    let claimed = backups.newest_first(cluster).into_iter().filter(|backup| backup.proof >= Some(level));
    for backup in claimed.take(freshness::LOOKED_AT) {
        let Read { record, signed, proved } = read(store, backup, trusted).await?;
        if freshness::counts(&with_proof(backup, proved), &record, &signed, level).is_ok() {
            return Ok(Some(backup.time()));
        }
    }
    Ok(None)
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
        let Read { record, signed, proved } = read(store, backup, trusted).await?;
        let backup = with_proof(backup, proved);
        Ok(match freshness::matches(&backup, &record, &signed) {
            Ok((backup, level)) => Fact { backup, genuine: Ok(level) },
            Err(why) => Fact { backup, genuine: Err(why.to_string()) },
        })
    });
    reads.buffered(AT_ONCE).try_collect().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::SignedDuration;
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::backend::faulty::{Fails, Faulty, When};
    use crate::freshness::State;
    use crate::freshness::tests::{CLUSTER, record};
    use crate::{Class, Key, Listed, Name, Object, Patience};

    const DATA: Part = Part::Data { encrypted: true };

    /// A store with three backups that began just now, and fails from a request on.
    async fn store(fails: usize) -> (Faulty, Store) {
        store_that(Fails::Before, When::From(fails)).await
    }

    async fn store_that(fails: Fails, when: When) -> (Faulty, Store) {
        let faulty = Faulty::new(fails, when, true);
        let (cluster, now): (ClusterUid, _) = (CLUSTER.parse().unwrap(), Timestamp::now());
        for minutes in [0, 1, 2] {
            let name = Name::new(now - SignedDuration::from_mins(minutes), 7, Class::Scheduled);
            let object = |part| Object { key: Key::new(&cluster, &name, part), size: 50, modified: now };
            let objects = vec![object(DATA), object(Part::Record)];
            let backups = Backups::of(&Listed { objects, foreign: 0 }, now);
            let record = record(&backups.committed[0], Level::Written).to_json().unwrap();
            for (part, bytes) in [(DATA, vec![0; 50]), (Part::Record, record)] {
                let path = Key::new(&cluster, &name, part).to_string().into();
                faulty.inner.put(&path, bytes.into()).await.unwrap();
            }
        }
        let patience = Patience { retries: 0, first_wait: Duration::ZERO, longest_wait: Duration::ZERO };
        let store = Store::over(Arc::new(faulty.share()), patience);
        (faulty, store)
    }

    #[tokio::test]
    async fn freshness_takes_one_listing_and_one_record() {
        let asked = Asked { max_age: SignedDuration::from_hours(3), level: Level::Written };
        for (fails, state) in [(1, State::CannotTell), (2, State::CannotTell), (3, State::Fresh)] {
            let (faulty, store) = store(fails).await;
            let found = freshness(&store, &CLUSTER.parse().unwrap(), None, &asked, Timestamp::now()).await;
            assert_eq!((found.state, faulty.has_failed()), (state, fails < 3), "{fails}: {}", found.why);
        }
    }

    #[tokio::test]
    async fn one_record_that_is_not_given_hides_no_other_backup() {
        let (cluster, now): (ClusterUid, _) = (CLUSTER.parse().unwrap(), Timestamp::now());
        let asked = Asked { max_age: SignedDuration::from_hours(3), level: Level::Written };
        let (faulty, store) = store_that(Fails::Refused, When::Once(2)).await;
        let found = freshness(&store, &cluster, None, &asked, now).await;
        assert!(faulty.has_failed());
        assert_eq!(found.state, State::Fresh);
        assert!(matches!(found.passed_over[..], [(_, Rejection::Unreadable(_))]), "{:?}", found.passed_over);
        // It is neither kept for nor deleted.
        let (_, store) = store_that(Fails::Refused, When::Once(3)).await;
        let backups = Backups::of(&store.list(None).await.unwrap(), now);
        let facts = facts(&store, &backups, &cluster, None).await.unwrap();
        let genuine: Vec<bool> = facts.iter().map(|fact| fact.genuine.is_ok()).collect();
        assert_eq!(genuine, [true, false, true]);
        // A store that gives no record at all.
        let (_, store) = store_that(Fails::Refused, When::From(2)).await;
        let found = freshness(&store, &cluster, None, &asked, now).await;
        assert_eq!((found.state, found.passed_over.len()), (State::CannotTell, 3));
        assert!(found.why.contains("access denied"), "{}", found.why);
    }

    #[tokio::test]
    async fn nothing_is_decided_by_half_of_the_records() {
        for fails in [1, 2, 3, 4] {
            let (faulty, store) = store(fails + 1).await;
            let now = Timestamp::now();
            let backups = Backups::of(&store.list(None).await.unwrap(), now);
            let facts = facts(&store, &backups, &CLUSTER.parse().unwrap(), None).await;
            assert_eq!(
                (facts.map(|facts| facts.len()).ok(), faulty.has_failed()),
                match fails {
                    4 => (Some(3), false),
                    _ => (None, true),
                }
            );
        }
    }
}
