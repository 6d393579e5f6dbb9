//! What a store has of the cluster.

use etcd_doctor::{BackupAge, Backups, Known};
use etcd_store::freshness::{Asked as Wanted, State};
use etcd_store::{ClusterUid, Freshness, Level, Scope, Store, TrustedKeys, observe};
use jiff::{SignedDuration, Timestamp};

use super::Args;
use crate::output::{Exit, Failed, Outcome};
use crate::stores;

/// A store, and what is wanted of it.
pub(super) struct Asked {
    scope: Scope,
    trusted: Option<TrustedKeys>,
    wanted: Wanted,
    store: Store,
}

impl Asked {
    /// Reads the flags. Nobody is asked.
    ///
    /// # Errors
    /// The store, the age or a key cannot be used.
    pub(super) fn new(store: &str, args: &Args) -> Outcome<Asked> {
        let max_age = SignedDuration::try_from(args.max_age)
            .map_err(|error| Failed::new(Exit::Usage, "--max-age is too long").source(&error))?;
        let scope = stores::scope(store)?;
        let opened = stores::open(&scope)?;
        let wanted = Wanted { max_age, level: Level::Written };
        Ok(Asked { trusted: args.trust.read()?, wanted, store: opened, scope })
    }
}

/// The newest backup of the cluster with this UID, where that is known; otherwise of the only cluster in the store.
pub(super) async fn look(asked: Option<&Asked>, uid: Option<&str>, now: Timestamp) -> Known<Backups> {
    let Some(Asked { scope, trusted, wanted, store }) = asked else {
        return Err("no store is named: pass --store".to_owned());
    };
    let live: Option<ClusterUid> = uid.and_then(|uid| uid.parse().ok());
    let cluster = match (&scope.cluster, live) {
        (Some(named), Some(live)) if *named != live => {
            return Err(format!("the store names cluster {named}, and this is cluster {live}"));
        }
        (Some(cluster), _) => cluster.clone(),
        (None, Some(live)) => live,
        (None, None) => {
            let clusters = store.clusters().await.map_err(|error| error.to_string())?;
            stores::one_cluster(scope, &clusters).map_err(|failed| failed.one_line())?
        }
    };
    let freshness = observe::freshness(store, &cluster, trusted.as_ref(), wanted, now).await;
    judge(freshness, scope.store.to_string(), wanted.max_age)
}

fn judge(freshness: Freshness, store: String, max_age: SignedDuration) -> Known<Backups> {
    let Freshness { state, why, newest, .. } = freshness;
    if state == State::CannotTell {
        return Err(why);
    }
    let newest = newest.map(|newest| BackupAge {
        name: newest.backup.name.to_string(),
        age: newest.age.as_secs(),
        has_node_files: newest.backup.node_files.is_some(),
    });
    Ok(Backups { store, newest, max_age: max_age.as_secs(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_not_an_empty_one() {
        let day = SignedDuration::from_hours(24);
        let away = judge(Freshness::cannot_tell("no route".to_owned()), "s3://b".to_owned(), day);
        assert_eq!(away, Err("no route".to_owned()));
        let none = Freshness { state: State::None, ..Freshness::cannot_tell("there is no backup".to_owned()) };
        let none = judge(none, "s3://b".to_owned(), day).expect("known");
        assert_eq!((none.newest, none.max_age, none.why.as_str()), (None, 86_400, "there is no backup"));
    }
}
