//! What the file has of every resource: what an API server has to list. Pure.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::Neighbours;
use etcd_objects::key::{Key, Place, Prefix};
use etcd_snapshot::LiveKeys;

/// The objects of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// How many.
    pub(crate) objects: u64,
    /// What their keys begin with, up to namespace or name.
    pub(crate) prefixes: BTreeSet<Vec<u8>>,
    /// The keys that values are encrypted with, as in `secretbox:v1:key1`.
    pub(crate) encrypted_by: BTreeSet<String>,
    /// Its name without its group, where its keys do not say the group.
    pub(crate) without_group: Option<String>,
    /// Whether a CustomResourceDefinition of the file makes it.
    pub(crate) custom: bool,
}

/// By resource, as in `deployments.apps`.
pub(crate) fn stored(keys: &LiveKeys, prefix: &Prefix, neighbours: &Neighbours) -> BTreeMap<String, Stored> {
    let mut all: BTreeMap<String, Stored> = BTreeMap::new();
    for (key, live) in keys {
        let Key::Object(place) = neighbours.parse(key) else { continue };
        let name = place.resource_name();
        let one = all.entry(name).or_insert_with_key(|name| Stored {
            without_group: place.group.is_none().then(|| place.resource.clone()),
            custom: keys.contains_key(definition(prefix, name).as_bytes()),
            ..Stored::default()
        });
        one.objects += 1;
        let begin = beginning(key, &place);
        if !one.prefixes.contains(begin) {
            one.prefixes.insert(begin.to_owned());
        }
        if let Some(by) = &live.encrypted_by {
            one.encrypted_by.insert(by.to_string());
        }
    }
    all
}

/// The key of the CustomResourceDefinition of a resource, whose name is that of the resource.
fn definition(prefix: &Prefix, resource: &str) -> String {
    format!("{}/apiextensions.k8s.io/customresourcedefinitions/{resource}", prefix.as_str())
}

/// A key without namespace and name.
fn beginning<'a>(key: &'a [u8], place: &Place) -> &'a [u8] {
    let namespace = place.namespace.as_ref().map_or(0, |namespace| namespace.len() + 1);
    key.get(..key.len().saturating_sub(place.name.len() + namespace)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etcd_snapshot::{EncryptionKey, LiveKey};

    use super::*;

    #[test]
    fn every_resource_has_its_number_its_prefix_and_what_encrypts_it() {
        let by = Some(Arc::new(EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: "k".into() }));
        let live = |encrypted_by| LiveKey { mod_revision: 3, versions: 1, value_bytes: 1, encrypted_by, value: None };
        let keys: LiveKeys = [
            ("/registry/secrets/a/x", live(by)),
            ("/registry/secrets/b/y", live(None)),
            ("/registry/services/specs/a/web", live(None)),
            ("/registry/minions/cp1", live(None)),
            ("/registry/example.com/widgets/a/w", live(None)),
            ("/registry/example.com/orphans/a/w", live(None)),
            ("/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com", live(None)),
            ("/registry/masterleases/10.0.0.1", live(None)),
        ]
        .into_iter()
        .map(|(key, live)| (key.as_bytes().to_owned(), live))
        .collect();
        let prefix = Prefix::default();
        let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
        let stored = stored(&keys, &prefix, &Neighbours::new(prefix.clone(), all));
        let begins = |name: &str| -> Vec<String> {
            stored[name].prefixes.iter().map(|one| String::from_utf8_lossy(one).into_owned()).collect()
        };
        assert_eq!(begins("secrets"), ["/registry/secrets/"]);
        assert_eq!(begins("services"), ["/registry/services/specs/"]);
        assert_eq!(begins("nodes"), ["/registry/minions/"]);
        assert_eq!(begins("widgets.example.com"), ["/registry/example.com/widgets/"]);
        assert_eq!((stored["secrets"].objects, stored["secrets"].encrypted_by.len()), (2, 1));
        assert_eq!((stored["widgets.example.com"].custom, stored["orphans.example.com"].custom), (true, false));
        assert_eq!(stored.len(), 6, "{stored:?}");
    }
}
