//! Which backup is meant: a pure function of what a store lists.

use std::fmt;

use jiff::Timestamp;

use crate::freshness::clock_trouble;
use crate::{Backup, Backups, ClusterUid, Listed, Name, Wanted};

/// Clusters that are told with their names.
pub(super) const NAMED: usize = 20;

/// The newest backup of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Whose.
    pub cluster: ClusterUid,
    /// The backup, if there is one that may be restored from.
    pub backup: Option<Backup>,
    /// What its record calls the cluster, if that was read.
    pub called: Option<String>,
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cluster)?;
        if let Some(called) = &self.called {
            write!(f, " ({called})")?;
        }
        match &self.backup {
            Some(backup) => write!(f, ", newest backup {}", backup.name),
            None => write!(f, ", no backup"),
        }
    }
}

/// No backup is meant, or several may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// There are none.
    #[error("there is no backup")]
    Empty,
    /// The cluster has none.
    #[error("there is no backup of cluster {0}")]
    NoneOf(ClusterUid),
    /// The one of this name is not there.
    #[error("there is no backup {0}")]
    Missing(Name),
    /// Objects of it are there, and no record.
    #[error("backup {0} has no record: it is being written, or was never finished")]
    Unfinished(Name),
    /// It cannot be restored from.
    #[error("backup {name} is suspect: {why}")]
    Suspect {
        /// The backup.
        name: Name,
        /// Why.
        why: String,
    },
    /// Nobody can tell which is the latest.
    #[error("nobody can tell which backup is the latest: {0}")]
    Clock(String),
    /// The store has backups of several clusters, and none was named.
    #[error("the store has backups of {} clusters", .0.len())]
    Several(Vec<Newest>),
}

/// Chooses a backup: the first of those that are given. Of a name there is one; of the latest, those that would be the latest without the one
/// before them.
///
/// # Errors
/// See [`ChooseError`].
pub fn choose(
    listed: &Listed,
    cluster: Option<&ClusterUid>,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Vec<Backup>, ChooseError> {
    let backups = Backups::of(listed, now);
    let clusters: Vec<&ClusterUid> = backups.clusters().into_iter().collect();
    match wanted {
        Wanted::Backup(name) => Ok(vec![named(&backups, &clusters, cluster, name)?]),
        Wanted::Latest => {
            let cluster = match (cluster, clusters.as_slice()) {
                (Some(cluster), _) => cluster,
                (None, []) => return Err(ChooseError::Empty),
                (None, [one]) => one,
                (None, _) => return Err(several(&backups, &clusters)),
            };
            if let Some(why) = clock_trouble(listed, now) {
                return Err(ChooseError::Clock(why));
            }
            match backups.latest_first(cluster).into_iter().cloned().collect::<Vec<_>>() {
                none if none.is_empty() => Err(ChooseError::NoneOf(cluster.clone())),
                found => Ok(found),
            }
        }
    }
}

fn named(
    backups: &Backups,
    clusters: &[&ClusterUid],
    cluster: Option<&ClusterUid>,
    name: &Name,
) -> Result<Backup, ChooseError> {
    let in_question = |one: &ClusterUid| cluster.is_none_or(|cluster| cluster == one);
    let mut found = clusters.iter().filter(|one| in_question(one)).filter_map(|one| backups.find(one, name));
    match (found.next(), found.next()) {
        (Some(backup), None) => return Ok(backup.clone()),
        // Nobody makes such a name by chance.
        (Some(_), Some(_)) => return Err(several(backups, clusters)),
        (None, _) => {}
    }
    let suspect = backups.suspects.iter().find(|one| in_question(&one.cluster) && one.name == *name);
    if let Some(suspect) = suspect {
        return Err(ChooseError::Suspect { name: name.clone(), why: suspect.doubt.to_string() });
    }
    let unfinished = backups.left_overs.iter().any(|one| in_question(&one.cluster) && one.name == *name);
    Err(if unfinished { ChooseError::Unfinished(name.clone()) } else { ChooseError::Missing(name.clone()) })
}

fn several(backups: &Backups, clusters: &[&ClusterUid]) -> ChooseError {
    let newest = |cluster: &&ClusterUid| Newest {
        cluster: (*cluster).clone(),
        backup: backups.latest(cluster).cloned(),
        called: None,
    };
    ChooseError::Several(clusters.iter().map(newest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Part;
    use crate::{Key, Object};

    const CLUSTER: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

    fn listed(backups: &[&str], modified: &str) -> Listed {
        let object = |name: &str, part| Object {
            key: Key::new(&CLUSTER.parse().unwrap(), &name.parse().unwrap(), part),
            size: 9,
            modified: modified.parse().unwrap(),
        };
        let both = |name: &&str| [object(name, Part::Data { encrypted: true }), object(name, Part::Record)];
        Listed { objects: backups.iter().flat_map(both).collect(), foreign: 0 }
    }

    const MANUAL: &str = "20261127T031500Z-7-manual-aaaaaaaa";
    const BEFORE: &str = "20261127T033000Z-8-pre-restore-bbbbbbbb";

    #[test]
    fn a_restore_that_is_tried_again_does_not_restore_what_the_first_was_about_to_replace() {
        let latest = |backups: &[&str]| {
            let now = "2026-11-27T04:00:00Z".parse().unwrap();
            let chosen = choose(&listed(backups, "2026-11-27T03:31:00Z"), None, &Wanted::Latest, now);
            chosen.map(|found| found.first().map(|one| one.name.to_string()).unwrap())
        };
        assert_eq!(latest(&[MANUAL, BEFORE]).unwrap(), MANUAL);
        assert_eq!(latest(&[BEFORE]).unwrap(), BEFORE);
        assert_eq!(latest(&[]), Err(ChooseError::Empty));
    }

    #[test]
    fn with_a_clock_that_is_behind_the_newest_would_count_as_one_to_come() {
        let late = listed(&[MANUAL], "2026-11-27T03:31:00Z");
        let now = "2026-11-27T02:00:00Z".parse().unwrap();
        assert!(matches!(choose(&late, None, &Wanted::Latest, now), Err(ChooseError::Clock(_))));
    }
}
