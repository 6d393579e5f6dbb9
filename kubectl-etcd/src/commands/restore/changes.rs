//! What a restore would change: the keys that are live now beside those of the snapshot.

use std::collections::BTreeMap;

use serde::Serialize;

use super::resource::{master, node_name, resource};

/// Keys, each with the revision that last changed it.
pub(super) type Keys = BTreeMap<Vec<u8>, i64>;

/// The objects of one resource.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) resource: String,
    /// There now, and not in the snapshot.
    pub(super) vanish: u64,
    /// In the snapshot, and not there now.
    pub(super) come_back: u64,
    /// In both, and written since.
    pub(super) change: u64,
    /// The same.
    pub(super) stay: u64,
}

/// What becomes of the objects, and of what they stand for.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changes {
    /// By resource, in alphabetical order; keys that are no objects are the last.
    pub(super) resources: Vec<Change>,
    /// Nodes that joined since: the restored cluster does not know them.
    pub(super) nodes_joined: Vec<String>,
    /// Nodes that were removed since: the restored cluster waits for them.
    pub(super) nodes_gone: Vec<String>,
    /// Addresses of API servers that are gone since: the restored cluster lists them until their leases end.
    pub(super) masters_gone: Vec<String>,
}

/// What a key that is no object counts as.
const OTHER: &str = "(other keys)";

impl Changes {
    /// Both lists belong to one cluster, so that a revision means the same in both.
    pub(super) fn between(live: &Keys, snapshot: &Keys) -> Changes {
        let mut changes = Changes::default();
        let mut by_resource: BTreeMap<Option<String>, Change> = BTreeMap::new();
        for (key, revision) in snapshot {
            let change = by_resource.entry(resource(key)).or_default();
            match live.get(key) {
                None => {
                    change.come_back += 1;
                    changes.nodes_gone.extend(node_name(key).map(str::to_owned));
                    changes.masters_gone.extend(master(key).map(str::to_owned));
                }
                Some(now) if now == revision => change.stay += 1,
                Some(_) => change.change += 1,
            }
        }
        for key in live.keys().filter(|key| !snapshot.contains_key(*key)) {
            by_resource.entry(resource(key)).or_default().vanish += 1;
            changes.nodes_joined.extend(node_name(key).map(str::to_owned));
        }
        let other = by_resource.remove(&None).map(|change| (Some(OTHER.to_owned()), change));
        changes.resources = by_resource
            .into_iter()
            .chain(other)
            .map(|(resource, change)| Change { resource: resource.unwrap_or_default(), ..change })
            .collect();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &[(&str, i64)]) -> Keys {
        all.iter().map(|(key, revision)| (key.as_bytes().to_vec(), *revision)).collect()
    }

    #[test]
    fn every_key_is_counted_once() {
        let snapshot = keys(&[
            ("/registry/pods/a/stays", 5),
            ("/registry/pods/a/changes", 6),
            ("/registry/pods/a/comes-back", 7),
            ("/registry/minions/old", 2),
            ("/registry/masterleases/10.0.0.9", 3),
            ("compact_rev_key", 4),
        ]);
        let live = keys(&[
            ("/registry/pods/a/stays", 5),
            ("/registry/pods/a/changes", 60),
            ("/registry/pods/a/vanishes", 70),
            ("/registry/minions/new", 80),
            ("compact_rev_key", 90),
        ]);
        let changes = Changes::between(&live, &snapshot);
        let change = |resource: &str, vanish, come_back, change, stay| Change {
            resource: resource.to_owned(),
            vanish,
            come_back,
            change,
            stay,
        };
        assert_eq!(
            changes.resources,
            [
                change("masterleases", 0, 1, 0, 0),
                change("nodes", 1, 1, 0, 0),
                change("pods", 1, 1, 1, 1),
                change("(other keys)", 0, 0, 1, 0)
            ]
        );
        assert_eq!(changes.masters_gone, ["10.0.0.9"]);
        assert_eq!((changes.nodes_joined, changes.nodes_gone), (vec!["new".to_owned()], vec!["old".to_owned()]));
        assert!(
            Changes::between(&snapshot, &snapshot)
                .resources
                .iter()
                .all(|one| one.vanish + one.come_back + one.change == 0)
        );
    }
}
