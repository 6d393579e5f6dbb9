//! Which keys are read through etcd: one of every resource, and one of every key that values are encrypted with. Pure.

use std::collections::BTreeMap;

use etcd_objects::Neighbours;
use etcd_objects::key::Key;
use etcd_snapshot::LiveKeys;

/// A key that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The key in etcd.
    pub(crate) key: Vec<u8>,
    /// The revision that last changed it, by the file.
    pub(crate) mod_revision: i64,
    /// How many keys it stands for.
    pub(crate) of: u64,
}

/// The keys that are read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    /// By resource, as in `deployments.apps`: the first object of each.
    pub(crate) resources: BTreeMap<String, Sample>,
    /// By encryption key, as in `secretbox:v1:key1`: the first value of each.
    pub(crate) encryption: BTreeMap<String, Sample>,
}

impl Samples {
    /// Of the keys of a file.
    pub(crate) fn of(keys: &LiveKeys, neighbours: &Neighbours) -> Samples {
        let mut samples = Samples::default();
        for (key, live) in keys {
            let Key::Object(place) = neighbours.parse(key) else { continue };
            let first = || Sample { key: key.clone(), mod_revision: live.mod_revision, of: 0 };
            samples.resources.entry(place.resource_name()).or_insert_with(first).of += 1;
            if let Some(by) = &live.encrypted_by {
                samples.encryption.entry(by.to_string()).or_insert_with(first).of += 1;
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etcd_objects::key::Prefix;
    use etcd_snapshot::{EncryptionKey, LiveKey};

    use super::*;

    #[test]
    fn one_of_every_resource_and_encryption_key_is_read() {
        let by = |name: &str| {
            Some(Arc::new(EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: name.into() }))
        };
        let live = |mod_revision, encrypted_by| LiveKey {
            mod_revision,
            versions: 1,
            value_bytes: 1,
            encrypted_by,
            value: None,
        };
        let keys: LiveKeys = [
            ("/registry/configmaps/a/x", live(3, None)),
            ("/registry/secrets/a/old", live(5, by("key1"))),
            ("/registry/secrets/a/plain", live(6, None)),
            ("/registry/secrets/b/new", live(7, by("key2"))),
            ("/registry/secrets/b/newer", live(8, by("key2"))),
            ("/registry/deployments/a/web", live(9, None)),
            ("/other/secrets/b/newer", live(10, by("key3"))),
            ("compact_rev_key", live(11, None)),
        ]
        .map(|(key, live)| (key.as_bytes().to_vec(), live))
        .into();
        let prefix = Prefix::new("/registry");
        let samples = Samples::of(&keys, &Neighbours::new(prefix.clone(), vec![prefix]));
        let shown = |samples: &BTreeMap<String, Sample>| -> Vec<String> {
            let line = |(name, sample): (&String, &Sample)| {
                format!("{name} {} {} {}", String::from_utf8_lossy(&sample.key), sample.mod_revision, sample.of)
            };
            samples.iter().map(line).collect()
        };
        assert_eq!(
            shown(&samples.resources),
            [
                "configmaps /registry/configmaps/a/x 3 1",
                "deployments.apps /registry/deployments/a/web 9 1",
                "secrets /registry/secrets/a/old 5 4"
            ]
        );
        assert_eq!(
            shown(&samples.encryption),
            ["aescbc:v1:key1 /registry/secrets/a/old 5 1", "aescbc:v1:key2 /registry/secrets/b/new 7 2"]
        );
    }
}
