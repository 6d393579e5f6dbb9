//! What a restore would change: the keys that are live now beside those of the snapshot.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use etcd_objects::key::{Internal, Key, Place, Prefix};
use serde::Serialize;

use crate::contents::resource_name;
use crate::output::{Table, visible};

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

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ChangeKind {
    Vanishes,
    ComesBack,
    Changes,
}

/// An object that does not stay as it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    fate: ChangeKind,
    resource: String,
    namespace: Option<String>,
    name: String,
}

/// What becomes of the objects, and of what they stand for.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changes {
    /// By resource, in alphabetical order; keys that are no objects are the last.
    pub(super) resources: Vec<Change>,
    /// All objects that do not stay as they are, by fate, resource, namespace and name.
    objects: Vec<Object>,
    /// Nodes that joined since: the restored cluster does not know them.
    pub(super) nodes_joined: Vec<String>,
    /// Nodes that were removed since: the restored cluster waits for them.
    pub(super) nodes_gone: Vec<String>,
    /// Addresses of API servers that are gone since: the restored cluster lists them until their leases end.
    pub(super) masters_gone: Vec<String>,
}

/// What a key that is no object counts as.
const OTHER: &str = "(other keys)";
/// Objects that are named to people, of each fate.
const NAMED: usize = 20;
/// What changes all the time, and is not worth a name to people.
const RESTLESS: [&str; 2] = ["events", "leases.coordination.k8s.io"];

impl Changes {
    /// Both lists belong to one cluster, so that a revision means the same in both.
    pub(super) fn between(live: &Keys, snapshot: &Keys, prefix: &Prefix) -> Changes {
        let mut changes = Changes::default();
        let mut by_resource: BTreeMap<Option<String>, Change> = BTreeMap::new();
        for (key, revision) in snapshot {
            let key_is = prefix.parse(key);
            let change = by_resource.entry(resource(&key_is)).or_default();
            let fate = match live.get(key) {
                None => {
                    change.come_back += 1;
                    match &key_is {
                        Key::Object(place) => changes.nodes_gone.extend(node(place)),
                        Key::Internal(Internal::MasterLease(address)) => changes.masters_gone.push(address.clone()),
                        _ => {}
                    }
                    ChangeKind::ComesBack
                }
                Some(now) if now == revision => {
                    change.stay += 1;
                    continue;
                }
                Some(_) => {
                    change.change += 1;
                    ChangeKind::Changes
                }
            };
            changes.objects.extend(Object::of(fate, key_is));
        }
        for key in live.keys().filter(|key| !snapshot.contains_key(*key)) {
            let key_is = prefix.parse(key);
            by_resource.entry(resource(&key_is)).or_default().vanish += 1;
            if let Key::Object(place) = &key_is {
                changes.nodes_joined.extend(node(place));
            }
            changes.objects.extend(Object::of(ChangeKind::Vanishes, key_is));
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

    /// For people: counts, then names, of everything that is worth one.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&["RESOURCE", "VANISH", "COME BACK", "CHANGE", "STAY"]);
        for one in &self.resources {
            let counts = [one.vanish, one.come_back, one.change, one.stay].map(|count| count.to_string());
            table.row(std::iter::once(one.resource.clone()).chain(counts).collect());
        }
        let mut text = format!("\n{table}");
        let mut names = Table::new(&["FATE", "RESOURCE", "NAMESPACE", "NAME"]);
        let (mut named, mut further) = (0, 0);
        for (fate, word) in [
            (ChangeKind::Vanishes, "vanishes"),
            (ChangeKind::ComesBack, "comes back"),
            (ChangeKind::Changes, "changes back"),
        ] {
            let worth = |object: &&Object| object.fate == fate && !RESTLESS.contains(&object.resource.as_str());
            for (index, one) in self.objects.iter().filter(worth).enumerate() {
                if index >= NAMED {
                    further += 1;
                    continue;
                }
                named += 1;
                let namespace = one.namespace.clone().unwrap_or_default();
                names.row(vec![word.to_owned(), one.resource.clone(), namespace, one.name.clone()]);
            }
        }
        if named > 0 {
            let _infallible = write!(text, "\n{names}");
        }
        if further > 0 {
            let _infallible = writeln!(text, "and {further} more: -o json names them all");
        }
        let killed = self
            .objects
            .iter()
            .filter(|object| object.fate == ChangeKind::Vanishes && object.resource == "pods")
            .count();
        if killed > 0 {
            let _infallible =
                writeln!(text, "\nPods that will be killed, because the restored state does not know them: {killed}");
        }
        for (nodes, fate) in [
            (&self.nodes_joined, "joined since, and will not be known"),
            (&self.nodes_gone, "were removed since, and will be waited for"),
        ] {
            if !nodes.is_empty() {
                let _infallible = writeln!(text, "\nNodes that {fate}: {}", visible::name(&nodes.join(", ")));
            }
        }
        text
    }
}

impl Object {
    /// `None` for a key that is no object.
    fn of(fate: ChangeKind, key: Key) -> Option<Object> {
        let Key::Object(place) = key else { return None };
        Some(Object { fate, resource: resource_name(&place), namespace: place.namespace, name: place.name })
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
        let changes = Changes::between(&live, &snapshot, &Prefix::default());
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
        let text = changes.text();
        for part in [
            "vanishes       pods       a           vanishes",
            "Pods that will be killed, because the restored state does not know them: 1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let same = Changes::between(&snapshot, &snapshot, &Prefix::default());
        assert!(
            same.objects.is_empty() && same.resources.iter().all(|one| one.vanish + one.come_back + one.change == 0)
        );
    }

    #[test]
    fn names_of_a_file_and_of_a_cluster_forge_nothing() {
        let hostile = "x\u{1b}[2J\nNodes that joined: none\u{202e}";
        let (node, pod) = (format!("/registry/minions/{hostile}"), format!("/registry/pods/a/{hostile}"));
        let own = keys(&[(node.as_str(), 1), (pod.as_str(), 1), ("/registry/namespaces/default", 1)]);
        for changes in [
            Changes::between(&own, &Keys::new(), &Prefix::default()),
            Changes::between(&Keys::new(), &own, &Prefix::default()),
        ] {
            let text = changes.text();
            assert!(text.contains(r"x\x1b[2J\nNodes that joined: none\u202e"), "{text:?}");
            assert!(text.chars().all(|c| (!c.is_control() && c != '\u{202e}') || c == '\n'), "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("Nodes that joined: none")), "{text}");
        }
    }

    #[test]
    fn people_are_not_told_a_thousand_names() {
        let many: Vec<String> = (0..100).map(|number| format!("/registry/configmaps/a/{number:03}")).collect();
        let mut live = keys(&many.iter().map(|key| (key.as_str(), 5)).collect::<Vec<_>>());
        live.extend(keys(&[("/registry/events/a/b", 4)]));
        let text = Changes::between(&live, &Keys::new(), &Prefix::default()).text();
        assert!(text.contains("and 80 more: -o json names them all"), "{text}");
        assert!(text.contains("019") && !text.contains("020") && !text.contains("vanishes   events"), "{text}");
    }
}
