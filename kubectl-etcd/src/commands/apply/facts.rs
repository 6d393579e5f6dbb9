//! What has to be known of the cluster before anything is planned: which objects are there that matter to those of the file.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::owners::{Owner, owners};
use super::refuse::never;
use crate::api::{Serving, get};
use crate::connection::Connection;
use crate::contents::{Entry, resource_name};
use crate::output::{Failed, Outcome};

/// Objects that are asked for at the same time.
const AT_ONCE: usize = 8;

/// Objects of the cluster.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What was looked for, and what is there.
    asked: BTreeMap<Place, Option<Value>>,
}

impl Facts {
    /// The object that is at a place now.
    pub(super) fn live(&self, place: &Place) -> Option<&Value> {
        self.asked.get(place)?.as_ref()
    }

    /// Whether an owner is there, and still the same.
    pub(super) fn is_live(&self, owner: &Owner) -> bool {
        let live = owner.place.as_ref().and_then(|place| self.live(place));
        live.is_some_and(|live| live["metadata"]["uid"] == owner.uid.as_str())
    }

    /// Looks for all that matters to some objects, unless that was done.
    ///
    /// # Errors
    /// The API server does not answer, or does not let the user look.
    pub(super) async fn gather(
        &mut self,
        entries: &[Entry],
        serving: &Serving,
        catalog: &Catalog,
        connection: &Connection,
    ) -> Outcome {
        let mut needed: BTreeMap<Place, Option<String>> = BTreeMap::new();
        for entry in entries {
            let Ok(object) = &entry.object else { continue };
            // What is never sent needs nothing: a namespace may have thousands of events.
            if never(&entry.place, &object.json).is_some() {
                continue;
            }
            // The object itself in the version that it will be sent in, to be compared with.
            needed.insert(entry.place.clone(), Some(object.api_version.clone()));
            for place in around(&entry.place, &object.json, catalog) {
                needed.entry(place).or_default();
            }
        }
        let asked = needed.into_iter().filter(|(place, _)| !self.asked.contains_key(place));
        let requests = asked.map(|(place, version)| async move {
            let group = place.group.as_deref().unwrap_or_default();
            let exact = version.and_then(|version| serving.at(&version, &place.resource));
            let Some(served) = exact.or_else(|| serving.preferred(group, &place.resource)) else {
                return Ok::<(Place, Option<Value>), Failed>((place, None));
            };
            let found = get(&connection.client, served, place.namespace.as_deref(), &place.name).await;
            let found = found.map_err(|error| {
                Failed::plain(format!("cannot get {}/{}", resource_name(&place), place.name)).source(&error)
            })?;
            Ok((place, found))
        });
        let requests: Vec<_> = requests.collect();
        let mut answers = stream::iter(requests).buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let (place, found) = answer?;
            self.asked.insert(place, found);
        }
        Ok(())
    }
}

fn core(resource: &str, namespace: Option<&str>, name: &str) -> Place {
    let namespace = namespace.map(str::to_owned);
    Place { group: Some(String::new()), resource: resource.to_owned(), namespace, name: name.to_owned() }
}

/// The namespace of a place.
pub(super) fn namespace_of(place: &Place) -> Option<Place> {
    Some(core("namespaces", None, place.namespace.as_deref()?))
}

/// The volume that a claim names.
pub(super) fn volume_of(place: &Place, object: &Value) -> Option<Place> {
    let name = object["spec"]["volumeName"].as_str().filter(|name| !name.is_empty())?;
    (place.resource == "persistentvolumeclaims").then(|| core("persistentvolumes", None, name))
}

/// The claim that a volume names.
pub(super) fn claim_of(place: &Place, object: &Value) -> Option<Place> {
    let claim = &object["spec"]["claimRef"];
    let (namespace, name) = (claim["namespace"].as_str()?, claim["name"].as_str()?);
    (place.resource == "persistentvolumes").then(|| core("persistentvolumeclaims", Some(namespace), name))
}

/// What matters to an object.
fn around(place: &Place, object: &Value, catalog: &Catalog) -> BTreeSet<Place> {
    let owners = owners(place, object, catalog).into_iter().filter_map(|owner| owner.place);
    [namespace_of(place), volume_of(place, object), claim_of(place, object)]
        .into_iter()
        .flatten()
        .chain(owners)
        .collect()
}

#[cfg(test)]
impl Facts {
    pub(super) fn of(objects: impl IntoIterator<Item = (Place, Value)>) -> Facts {
        Facts { asked: objects.into_iter().map(|(place, object)| (place, Some(object))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_matters_to_an_object() {
        let catalog = Catalog::builtin();
        let reference = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1"}]);
        let claim = json!({"metadata": {"ownerReferences": reference}, "spec": {"volumeName": "pv"}});
        let names: Vec<String> = around(&core("persistentvolumeclaims", Some("shop"), "a"), &claim, &catalog)
            .iter()
            .map(|place| format!("{}/{}", place.resource, place.name))
            .collect();
        assert_eq!(names, ["namespaces/shop", "persistentvolumes/pv", "statefulsets/db"]);
        let volume = json!({"spec": {"claimRef": {"namespace": "shop", "name": "a"}}});
        assert_eq!(
            claim_of(&core("persistentvolumes", None, "pv"), &volume),
            Some(core("persistentvolumeclaims", Some("shop"), "a"))
        );
        assert_eq!(volume_of(&core("configmaps", Some("shop"), "a"), &claim), None);
    }
}
