//! What a restore or a rollback would change: the keys that are live now beside those that come back.

use std::collections::BTreeMap;

use etcd_doctor::CameBack;
use etcd_objects::key::{Internal, Key, Place, Prefix};
use serde::Serialize;

use super::classes::{Class, is_built_in, rank};
use crate::contents::resource_name;

/// Keys, each with the revision that last changed it.
pub(crate) type Keys = BTreeMap<Vec<u8>, i64>;

/// The objects of one resource.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(super) resource: String,
    /// There now, and not in the data that comes back.
    pub(super) vanish: u64,
    /// In the data that comes back, and not there now.
    pub(super) come_back: u64,
    /// In both, and written since.
    pub(super) change: u64,
    /// The same.
    pub(super) stay: u64,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ChangeKind {
    Vanishes,
    ComesBack,
    Changes,
}

/// An object that does not stay as it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    #[serde(rename = "fate")]
    pub(super) kind: ChangeKind,
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) class: Class,
    /// What is told first has the lowest.
    #[serde(skip)]
    pub(super) rank: u8,
    /// The resource as the plan calls it.
    #[serde(skip)]
    pub(super) short: String,
}

/// What becomes of the objects, and of what they stand for.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changes {
    /// By resource, in alphabetical order; keys that are no objects are the last.
    pub(super) resources: Vec<Change>,
    /// All objects that do not stay as they are, by kind, resource, namespace and name.
    pub(super) objects: Vec<Object>,
    /// Nodes that joined since: the data that comes back does not have them.
    pub(super) nodes_joined: Vec<String>,
    /// Nodes that were removed since: the data that comes back has them.
    pub(crate) nodes_gone: Vec<String>,
    /// Addresses of API servers that are gone since: the data that comes back lists them until their leases end.
    pub(crate) masters_gone: Vec<String>,
}

/// What a key that is no object counts as.
const OTHER: &str = "(other keys)";

impl Changes {
    /// Both lists belong to one cluster, so that a revision means the same in both. `pod_namespace` is where sidecars run.
    pub(crate) fn between(live: &Keys, back: &Keys, prefix: &Prefix, pod_namespace: &str) -> Changes {
        Changes::of(live, back, prefix, pod_namespace, |now, then| now == then)
    }

    /// The lists belong to two clusters, whose revisions have nothing to do with each other: nothing stays, whatever it is called.
    pub(crate) fn replacing(live: &Keys, back: &Keys, prefix: &Prefix, pod_namespace: &str) -> Changes {
        Changes::of(live, back, prefix, pod_namespace, |_, _| false)
    }

    /// Nodes that come back. What is bound to them is not known by keys.
    pub(crate) fn came_back(&self) -> Vec<CameBack> {
        self.nodes_gone.iter().map(|node| CameBack { node: node.clone(), with: None }).collect()
    }

    fn of(live: &Keys, back: &Keys, prefix: &Prefix, pod_namespace: &str, stays: fn(i64, i64) -> bool) -> Changes {
        let mut changes = Changes::default();
        let mut by_resource: BTreeMap<Option<String>, Change> = BTreeMap::new();
        for (key, revision) in back {
            let key_is = prefix.parse(key);
            let change = by_resource.entry(resource(&key_is)).or_default();
            let kind = match live.get(key) {
                None => {
                    change.come_back += 1;
                    match &key_is {
                        Key::Object(place) => changes.nodes_gone.extend(node(place)),
                        Key::Internal(Internal::MasterLease(address)) => changes.masters_gone.push(address.clone()),
                        _ => {}
                    }
                    ChangeKind::ComesBack
                }
                Some(now) if stays(*now, *revision) => {
                    change.stay += 1;
                    continue;
                }
                Some(_) => {
                    change.change += 1;
                    ChangeKind::Changes
                }
            };
            changes.objects.extend(Object::of(kind, key_is, pod_namespace));
        }
        for key in live.keys().filter(|key| !back.contains_key(*key)) {
            let key_is = prefix.parse(key);
            by_resource.entry(resource(&key_is)).or_default().vanish += 1;
            if let Key::Object(place) = &key_is {
                changes.nodes_joined.extend(node(place));
            }
            changes.objects.extend(Object::of(ChangeKind::Vanishes, key_is, pod_namespace));
        }
        changes.objects.sort();
        let other = by_resource.remove(&None).map(|change| (Some(OTHER.to_owned()), change));
        changes.resources = by_resource
            .into_iter()
            .chain(other)
            .map(|(resource, change)| Change { resource: resource.unwrap_or_default(), ..change })
            .collect();
        changes
    }
}

impl Object {
    /// `None` for a key that is no object.
    fn of(kind: ChangeKind, key: Key, pod_namespace: &str) -> Option<Object> {
        let Key::Object(place) = key else { return None };
        let class = Class::of(&place, kind, pod_namespace);
        let (rank, resource) = (rank(&place), resource_name(&place));
        let group = place.group.as_deref().unwrap_or_default();
        let short = if is_built_in(group) { place.resource } else { resource.clone() };
        Some(Object { kind, resource, namespace: place.namespace, name: place.name, class, rank, short })
    }
}

/// The resource as kubectl names it; `None` for a key that is no object, but for those that the API server keeps in view.
fn resource(key: &Key) -> Option<String> {
    match key {
        Key::Object(place) => Some(resource_name(place)),
        Key::Internal(Internal::MasterLease(_)) => Some("masterleases".to_owned()),
        _ => None,
    }
}

/// The name of a Node, if the object is one.
fn node(place: &Place) -> Option<String> {
    let is_node = place.resource == "nodes" && place.namespace.is_none() && place.group.as_deref() == Some("");
    is_node.then(|| place.name.clone())
}

#[cfg(test)]
mod tests {
    use super::super::tests::keys;
    use super::*;

    #[test]
    fn every_key_is_counted_once() {
        let snapshot = keys(&[
            ("/registry/pods/a/stays", 5),
            ("/registry/pods/a/changes", 6),
            ("/registry/pods/a/comes-back", 7),
            ("/registry/minions/old", 2),
            ("/registry/masterleases/10.0.0.9", 3),
            ("/registry/namespaces/default", 1),
            ("compact_rev_key", 4),
        ]);
        let live = keys(&[
            ("/registry/pods/a/stays", 5),
            ("/registry/pods/a/changes", 60),
            ("/registry/pods/a/vanishes", 70),
            ("/registry/minions/new", 80),
            ("/registry/namespaces/default", 1),
            ("compact_rev_key", 90),
        ]);
        let changes = Changes::between(&live, &snapshot, &Prefix::default(), "kube-system");
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
                change("namespaces", 0, 0, 0, 1),
                change("nodes", 1, 1, 0, 0),
                change("pods", 1, 1, 1, 1),
                change("(other keys)", 0, 0, 1, 0)
            ]
        );
        assert_eq!(changes.masters_gone, ["10.0.0.9"]);
        assert_eq!((&changes.nodes_joined, &changes.nodes_gone), (&vec!["new".to_owned()], &vec!["old".to_owned()]));
        assert_eq!(changes.objects.len(), 5);
        // Of two clusters, equal revisions are chance.
        let other = Changes::replacing(&live, &snapshot, &Prefix::default(), "kube-system");
        assert!(other.resources.iter().all(|one| one.stay == 0), "{:?}", other.resources);
        assert_eq!(other.objects.len(), 7);
        let same = Changes::between(&snapshot, &snapshot, &Prefix::default(), "kube-system");
        assert!(
            same.objects.is_empty() && same.resources.iter().all(|one| one.vanish + one.come_back + one.change == 0)
        );
    }
}
