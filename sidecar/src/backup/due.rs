//! Whether the store has the backup of this tick: by its list, and the records of the few that may be it.

use std::time::Duration;

use etcd_store::freshness::matches;
use etcd_store::{Backup, Backups, Class, ClusterUid, Listed, Name, Store, TrustedKeys, observe};
use etcd_wire::Failure;
use jiff::{SignedDuration, Timestamp};

use crate::store_failure::failed;

/// The scheduled backups of a cluster that are younger than half of the time between two ticks, the newest first.
fn recent<'a>(backups: &'a Backups, cluster: &ClusterUid, every: Duration, now: Timestamp) -> Vec<&'a Backup> {
    let half = SignedDuration::try_from(every / 2).unwrap_or(SignedDuration::MAX);
    let is_recent = |one: &&Backup| one.name.class() == Class::Scheduled && one.age(now) < half;
    backups.newest_first(cluster).into_iter().filter(is_recent).collect()
}

/// The backup of this tick, if a pod has taken it already. One whose objects are not as recorded is none, and neither is one that no trusted key
/// has signed: anybody who may write to the store could keep backups from being taken.
///
/// # Errors
/// The store does not answer.
pub(super) async fn there(
    store: &Store,
    listed: &Listed,
    cluster: &ClusterUid,
    every: Duration,
    trusted: Option<&TrustedKeys>,
) -> Result<Option<Name>, Failure> {
    let now = Timestamp::now();
    let backups = Backups::of(listed, now);
    for backup in recent(&backups, cluster, every, now) {
        let read = observe::read(store, backup, trusted).await.map_err(|error| failed(&error))?;
        match matches(backup, &read.record, &read.signed) {
            Ok(_) => return Ok(Some(backup.name.clone())),
            Err(why) => tracing::warn!("{} does not count: {why}", backup.name),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use etcd_store::{Key, Object, Part};

    use super::*;

    #[test]
    fn only_a_scheduled_backup_of_this_tick_is_the_backup_of_this_tick() {
        let cluster: ClusterUid = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().unwrap();
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let found = |minutes: i64, class, parts: &[Part]| {
            let taken = now - SignedDuration::from_mins(minutes);
            let name = Name::new(taken, 7, class);
            let object =
                |part: &Part| Object { key: Key::new(&cluster, &name, part.clone()), size: 1, modified: taken };
            let listed = Listed { objects: parts.iter().map(object).collect(), foreign: 0 };
            recent(&Backups::of(&listed, now), &cluster, Duration::from_secs(3600), now).len()
        };
        let whole = [Part::Data { encrypted: true }, Part::Record];
        assert_eq!(found(29, Class::Scheduled, &whole), 1);
        // A clock that is a little ahead.
        assert_eq!(found(-5, Class::Scheduled, &whole), 1);
        assert_eq!(found(30, Class::Scheduled, &whole), 0);
        assert_eq!(found(29, Class::Manual, &whole), 0);
        assert_eq!(found(29, Class::PreRestore, &whole), 0);
        // From the future: suspect.
        assert_eq!(found(-600, Class::Scheduled, &whole), 0);
        // Not committed.
        assert_eq!(found(29, Class::Scheduled, &whole[..1]), 0);
    }
}
