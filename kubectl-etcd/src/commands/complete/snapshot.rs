//! Candidates out of a snapshot file.

use std::collections::BTreeSet;
use std::path::Path;

use etcd_objects::key::{Key, Place};
use etcd_snapshot::Keep;

use crate::contents::{Contents, FileArgs, Request, resource_name};
use crate::context::Context;
use crate::output::Outcome;

/// A file and the places of its objects.
pub(super) struct Snapshot {
    contents: Contents,
    places: Vec<Place>,
}

impl Snapshot {
    pub(super) async fn read(file: &Path, context: &Context) -> Outcome<Snapshot> {
        let (contents, keys) = Contents::open_with(&FileArgs::of(file), context, |_| Keep::Key).await?;
        let place = |key: &Vec<u8>| match contents.prefix.parse(key) {
            Key::Object(place) => Some(place),
            _ => None,
        };
        let places = keys.keys().filter_map(place).collect();
        Ok(Snapshot { contents, places })
    }

    /// The types that there are objects of.
    pub(super) fn types(&self) -> BTreeSet<String> {
        self.places.iter().map(resource_name).collect()
    }

    /// The namespaces that there are objects in.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.places.iter().filter_map(|place| place.namespace.clone()).collect()
    }

    /// The names of objects of a type; of one that is in namespaces, in `namespace`, if that is said.
    pub(super) fn names(&self, kind: &str, namespace: Option<&str>) -> BTreeSet<String> {
        let Ok(resource) = self.contents.catalog.resolve(kind) else { return BTreeSet::new() };
        let request = Request { resource: resource.clone(), names: Vec::new() };
        let inside =
            |place: &&Place| namespace.is_none() || !resource.namespaced || place.namespace.as_deref() == namespace;
        self.places.iter().filter(|place| request.is_of(place)).filter(inside).map(|place| place.name.clone()).collect()
    }
}
