//! What is known of backups: what the last look has seen, and, where it could not see, what an earlier one has. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use etcd_store::freshness::{Asked, State};
use etcd_store::{ClusterUid, Freshness, metrics};
use jiff::Timestamp;

/// What a look has seen of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) cluster: ClusterUid,
    pub(super) freshness: Freshness,
    /// When the newest backup was taken that was decrypted and checked.
    pub(super) opened: Option<Timestamp>,
    /// And when the newest that a real etcd has served.
    pub(super) booted: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Cluster {
    name: Option<String>,
    freshness: Freshness,
    opened: Option<Timestamp>,
    booted: Option<Timestamp>,
}

/// What is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    clusters: BTreeMap<ClusterUid, Cluster>,
    /// Whether there was a look, and why the last one has failed.
    last: Option<Result<(), String>>,
    /// When the last look was that went through.
    success: Option<Timestamp>,
}

impl Known {
    /// Why the last look could not tell.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.last {
            Some(Err(why)) => Some(why),
            _ => None,
        }
    }

    /// Takes in a look. A cluster that was seen before and is not any more has no backups.
    pub(super) fn learn(&mut self, look: Result<Vec<Seen>, String>, now: Timestamp) {
        let mut seen = match look {
            Ok(seen) => {
                let mut all: BTreeMap<_, _> = seen.into_iter().map(|one| (one.cluster.clone(), one)).collect();
                for cluster in self.clusters.keys() {
                    all.entry(cluster.clone()).or_insert_with(|| Seen {
                        cluster: cluster.clone(),
                        freshness: Freshness {
                            state: State::None,
                            ..Freshness::cannot_tell("there is no backup any more".to_owned())
                        },
                        opened: None,
                        booted: None,
                    });
                }
                self.last = Some(Ok(()));
                all
            }
            Err(why) => {
                self.last = Some(Err(why.clone()));
                let unseen = |cluster: &ClusterUid| Seen {
                    cluster: cluster.clone(),
                    freshness: Freshness::cannot_tell(why.clone()),
                    opened: None,
                    booted: None,
                };
                self.clusters.keys().map(|cluster| (cluster.clone(), unseen(cluster))).collect()
            }
        };
        for (uid, Seen { freshness, opened, booted, .. }) in std::mem::take(&mut seen) {
            let before = self.clusters.get(&uid);
            let unknown = freshness.state == State::CannotTell;
            if unknown && self.last == Some(Ok(())) {
                self.last = Some(Err(format!("cluster {uid}: {}", freshness.why)));
            }
            let (opened, booted) = match unknown {
                true => (before.and_then(|before| before.opened), before.and_then(|before| before.booted)),
                false => (opened, booted),
            };
            let freshness =
                before.map_or_else(|| freshness.clone(), |before| freshness.clone().remembering(&before.freshness));
            let name = freshness.newest.as_ref().and_then(|newest| newest.record.cluster.name.clone());
            let name = name.or_else(|| before.and_then(|before| before.name.clone()));
            self.clusters.insert(uid, Cluster { name, freshness, opened, booted });
        }
        if self.last == Some(Ok(())) {
            self.success = Some(now);
        }
    }

    /// All of that in Prometheus' text format, with ages as of now. Before the first look: nothing of clusters or success.
    pub(super) fn metrics(&self, asked: &Asked, now: Timestamp) -> String {
        let aged: Vec<_> = self
            .clusters
            .iter()
            .map(|(uid, one)| (uid, one.name.as_deref(), one.freshness.clone().later(asked, now)))
            .collect();
        let mut text = metrics::text(aged.iter().map(|(uid, name, freshness)| (*uid, *name, freshness)));
        let times = |of: fn(&Cluster) -> Option<Timestamp>| {
            self.clusters.iter().filter_map(move |(uid, one)| Some((uid, one.name.as_deref(), of(one)?)))
        };
        text += &metrics::opened(times(|one| one.opened));
        text += &metrics::booted(times(|one| one.booted));
        let gauges = [
            (
                "kubectl_etcd_watch_success",
                "Whether the last look at the store could tell the age of backups. While this is 0, ages are those of backups seen before.",
                self.last.as_ref().map(|last| i64::from(last.is_ok())),
            ),
            (
                "kubectl_etcd_watch_success_timestamp_seconds",
                "Time of the last look at the store that could tell, in seconds since 1970.",
                self.success.map(Timestamp::as_second),
            ),
            (
                "kubectl_etcd_watch_clusters",
                "Clusters of which there are backups in the store, or were.",
                self.success.map(|_| i64::try_from(self.clusters.len()).unwrap_or(i64::MAX)),
            ),
        ];
        for (name, help, value) in gauges {
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            if let Some(value) = value {
                let _ = writeln!(text, "{name} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_store::Level;
    use jiff::SignedDuration;

    const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

    fn seen(state: State) -> Seen {
        let freshness = Freshness { state, ..Freshness::cannot_tell("x".to_owned()) };
        Seen {
            cluster: UID.parse().unwrap(),
            freshness,
            opened: Some(Timestamp::UNIX_EPOCH),
            booted: Some(Timestamp::UNIX_EPOCH),
        }
    }

    fn values(known: &Known) -> Vec<String> {
        let asked = Asked { max_age: SignedDuration::from_hours(1), level: Level::Written };
        let text = known.metrics(&asked, "2026-11-27T12:00:00Z".parse().unwrap());
        let short = format!("{{cluster_uid=\"{UID}\",cluster=\"\"}}");
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.replace(&short, "")).collect()
    }

    #[test]
    fn before_the_first_look_nothing_is_said() {
        assert_eq!(values(&Known::default()), [""; 0]);
    }

    #[test]
    fn a_look_that_fails_keeps_what_is_known_and_says_so() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let mut known = Known::default();
        known.learn(Err("no answer".to_owned()), now);
        assert_eq!(values(&known), ["kubectl_etcd_watch_success 0"]);
        known.learn(Ok(vec![seen(State::None)]), Timestamp::UNIX_EPOCH);
        assert_eq!(known.trouble(), None);
        let whole = [
            "kubectl_etcd_backup_check_success 1",
            "kubectl_etcd_backup_fresh 0",
            "kubectl_etcd_backup_suspects 0",
            "kubectl_etcd_backup_opened_timestamp_seconds 0",
            "kubectl_etcd_backup_booted_timestamp_seconds 0",
            "kubectl_etcd_watch_success 1",
            "kubectl_etcd_watch_success_timestamp_seconds 0",
            "kubectl_etcd_watch_clusters 1",
        ];
        assert_eq!(values(&known), whole);
        let blind = [
            "kubectl_etcd_backup_check_success 0",
            "kubectl_etcd_backup_opened_timestamp_seconds 0",
            "kubectl_etcd_backup_booted_timestamp_seconds 0",
            "kubectl_etcd_watch_success 0",
            "kubectl_etcd_watch_success_timestamp_seconds 0",
            "kubectl_etcd_watch_clusters 1",
        ];
        // Of the store, and of one cluster in it.
        for look in [Err("gone".to_owned()), Ok(vec![seen(State::CannotTell)])] {
            known.learn(look, now);
            assert_eq!(values(&known), blind);
            assert!(known.trouble().is_some());
        }
        // A cluster that has gone from the store has no backup.
        known.learn(Ok(Vec::new()), Timestamp::UNIX_EPOCH);
        assert_eq!(values(&known)[..2], whole[..2]);
    }
}
