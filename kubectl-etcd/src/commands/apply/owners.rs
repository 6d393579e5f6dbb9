//! Owners: an object whose owner is not there is taken away by the garbage collector, so it may not name one.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use serde_json::Value;

/// An object that another one names as its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: String,
    /// Whether it makes the object, and makes it anew.
    pub(super) controls: bool,
    /// Where it is, if its type is known.
    pub(super) place: Option<Place>,
    /// `ReplicaSet web-1`
    pub(super) title: String,
}

/// The owners that an object names: in its own namespace, or in none.
pub(super) fn owners(place: &Place, object: &Value, catalog: &Catalog) -> Vec<Owner> {
    let references = object["metadata"]["ownerReferences"].as_array();
    let owner = |reference: &Value| {
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let resource = catalog.of_kind(text("apiVersion"), kind);
        let of = |resource: &etcd_objects::catalog::ResourceType| Place {
            group: Some(resource.group.clone()),
            resource: resource.plural.clone(),
            namespace: place.namespace.clone().filter(|_| resource.namespaced),
            name: name.to_owned(),
        };
        let controls = reference["controller"] == true;
        Owner { uid: text("uid").to_owned(), controls, place: resource.map(of), title: format!("{kind} {name}") }
    };
    references.into_iter().flatten().map(owner).collect()
}

/// What becomes of an object's references.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Linked {
    /// Owners that get other UIDs, by the ones that are named.
    pub(super) anew: BTreeMap<String, Place>,
    /// Owners that are not named any more.
    pub(super) dropped: Vec<String>,
}

/// Judges the owners of an object. `is_live` says whether one is there with its UID, `is_applied` whether it is among what is applied.
pub(super) fn link(owners: &[Owner], is_live: impl Fn(&Owner) -> bool, is_applied: impl Fn(&Place) -> bool) -> Linked {
    let mut linked = Linked::default();
    for owner in owners {
        match &owner.place {
            _ if is_live(owner) => {}
            Some(place) if is_applied(place) => drop(linked.anew.insert(owner.uid.clone(), place.clone())),
            _ => linked.dropped.push(owner.title.clone()),
        }
    }
    linked
}

/// Takes out the references that do not hold, and gives others the UIDs that are known by now.
pub(super) fn rewrite(object: &mut Value, keep: impl Fn(&str) -> bool, uids: &BTreeMap<String, String>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(references) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) else { return };
    references.retain(|reference| reference["uid"].as_str().is_some_and(&keep));
    for reference in references.iter_mut() {
        if let Some(uid) = reference["uid"].as_str().and_then(|uid| uids.get(uid)) {
            reference["uid"] = Value::from(uid.as_str());
        }
    }
    if references.is_empty() {
        metadata.remove("ownerReferences");
    }
}

/// The order in which objects are applied: as they are, but for owners, which come before what they own.
pub(super) fn owners_first(objects: &[(Place, BTreeSet<Place>)]) -> Vec<usize> {
    let places: BTreeMap<&Place, usize> = objects.iter().zip(0..).map(|((place, _), index)| (place, index)).collect();
    let (mut seen, mut order) = (vec![false; objects.len()], Vec::new());
    for index in 0..objects.len() {
        // A stack, as owners may have owners without end. `true`: all before it is done.
        let mut open = vec![(index, false)];
        while let Some((at, done)) = open.pop() {
            if done {
                order.push(at);
            } else if !std::mem::replace(&mut seen[at], true) {
                open.push((at, true));
                open.extend(objects[at].1.iter().rev().filter_map(|owner| Some((*places.get(owner)?, false))));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(resource: &str, name: &str) -> Place {
        let group = Some(if resource == "pods" { String::new() } else { "apps".to_owned() });
        Place { group, resource: resource.to_owned(), namespace: Some("shop".to_owned()), name: name.to_owned() }
    }

    fn pod() -> Value {
        let reference = |kind: &str, name: &str, uid: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid});
        json!({"metadata": {"ownerReferences": [reference("ReplicaSet", "web", "1"), reference("Widget", "w", "2"), reference("Deployment", "web", "3")]}})
    }

    #[test]
    fn owners_that_are_not_there_are_dropped_or_made_first() {
        let mut pod = pod();
        let owners = owners(&place("pods", "a"), &pod, &Catalog::builtin());
        assert_eq!(owners[0].place, Some(place("replicasets", "web")));
        assert_eq!((&owners[1].place, owners[1].title.as_str()), (&None, "Widget w"));
        let nothing = link(&owners, |_| false, |_| false);
        assert_eq!((nothing.dropped.len(), nothing.anew.len()), (3, 0));
        let some = link(&owners, |owner| owner.uid == "3", |place| place.resource == "replicasets");
        assert_eq!(some.anew, [("1".to_owned(), place("replicasets", "web"))].into());
        assert_eq!(some.dropped, ["Widget w"]);
        rewrite(&mut pod, |uid| uid != "2", &[("1".to_owned(), "9".to_owned())].into());
        let uids: Vec<_> = pod["metadata"]["ownerReferences"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["uid"].clone())
            .collect();
        assert_eq!(uids, ["9", "3"]);
        rewrite(&mut pod, |_| false, &BTreeMap::new());
        assert_eq!(pod, json!({"metadata": {}}));
    }

    #[test]
    fn owners_come_before_what_they_own() {
        let object = |place: Place, owners: &[Place]| (place, owners.iter().cloned().collect::<BTreeSet<_>>());
        let (pod, set, deployment) = (place("pods", "p"), place("replicasets", "r"), place("deployments", "d"));
        let objects = [
            object(place("pods", "other"), &[]),
            object(pod.clone(), std::slice::from_ref(&set)),
            object(set.clone(), std::slice::from_ref(&deployment)),
            object(deployment.clone(), &[]),
        ];
        assert_eq!(owners_first(&objects), [0, 3, 2, 1]);
        // A circle ends.
        let circle = [object(pod.clone(), std::slice::from_ref(&set)), object(set, std::slice::from_ref(&pod))];
        assert_eq!(owners_first(&circle).len(), 2);
    }
}
