//! An object of a file, or why it cannot be read.

use etcd_objects::encryption::Keyring;
use etcd_objects::key::{Key, Place, Prefix};
use etcd_objects::{Object, ReadValue, Undecodable, read_value};
use etcd_snapshot::LiveKey;

use crate::output::visible;

/// An object of a file.
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) live: LiveKey,
    /// The object, with its resource version, if its value was read; or why it is none.
    pub(crate) object: Result<Object, Undecodable>,
    /// What the value is once it is decrypted.
    pub(crate) stored: Vec<u8>,
}

/// `deployments.apps`
pub(crate) fn resource_name(place: &Place) -> String {
    place.resource_name()
}

impl Entry {
    /// `None` if the key is not that of an object.
    pub(super) fn of(key: Vec<u8>, mut live: LiveKey, prefix: &Prefix, keyring: &Keyring) -> Option<Entry> {
        let Key::Object(place) = prefix.parse(&key) else { return None };
        let value = live.value.take().unwrap_or_default();
        let ReadValue { object, stored } = read_value(&key, &place, value, live.mod_revision, keyring);
        Some(Entry { place, live, object, stored })
    }

    /// The object, or what can be said of it.
    pub(crate) fn shown(&self) -> Option<&Object> {
        match &self.object {
            Ok(object) => Some(object),
            Err(Undecodable::Partly(_, object)) => Some(object),
            Err(_) => None,
        }
    }

    /// `deployments.apps/web in namespace shop`, for messages.
    pub(crate) fn title(&self) -> String {
        let place = match &self.place.namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => String::new(),
        };
        visible::name(&format!("{}/{}{place}", self.resource(), self.place.name)).into_owned()
    }

    /// `deployments.apps`
    pub(crate) fn resource(&self) -> String {
        resource_name(&self.place)
    }

    /// Whether it is a Secret: its values are shown only to whoever names it.
    pub(crate) fn is_secret(&self) -> bool {
        self.place.resource == "secrets" && self.place.group.as_deref().is_none_or(str::is_empty)
    }
}

/// An entry whose value is an object, for tests.
#[cfg(test)]
pub(crate) fn entry_of(key: &str, object: &serde_json::Value) -> Entry {
    let value = Some(object.to_string().into_bytes());
    let live = LiveKey { mod_revision: 1, versions: 1, value_bytes: 1, encrypted_by: None, value };
    Entry::of(key.into(), live, &Prefix::default(), &Keyring::default()).expect("the key of an object")
}

#[cfg(test)]
mod tests {
    use etcd_objects::decode;
    use serde_json::{Value, json};

    use super::*;

    /// Values that another program has encrypted, each with its key.
    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/objects/tests/data/encryption.json");
        serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON")
    }

    fn unpack(base64: &Value) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(base64.as_str().expect("text")).expect("base64")
    }

    fn entry(key: &str, value: Vec<u8>, keyring: &Keyring) -> Option<Entry> {
        let live = LiveKey {
            mod_revision: 7,
            versions: 1,
            value_bytes: value.len() as u64,
            encrypted_by: None,
            value: Some(value),
        };
        Entry::of(key.into(), live, &Prefix::default(), keyring)
    }

    #[test]
    fn an_encrypted_value_is_read_with_its_key_and_named_without() {
        let vectors = vectors();
        let key = vectors["etcdKey"].as_str().expect("a key");
        for provider in ["aescbc", "aesgcm", "secretbox"] {
            let all = vectors["vectors"].as_array().expect("vectors");
            let mut own = all.iter().filter(|one| one["provider"] == provider);
            let one = own.find(|one| decode(&unpack(&one["plain"])).is_ok()).expect("an object");
            let config = json!({
                "kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
                "resources": [{"resources": ["secrets"], "providers": [
                    {provider: {"keys": [{"name": one["name"], "secret": one["secret"]}]}}
                ]}],
            });
            let keyring = Keyring::parse(&config.to_string()).expect("a configuration");
            let read = entry(key, unpack(&one["value"]), &keyring).expect("an object's key");
            let object = read.object.unwrap_or_else(|why| panic!("{provider}: {why}"));
            assert_eq!(
                (object.kind.as_str(), object.json["metadata"]["resourceVersion"].as_str()),
                ("Secret", Some("7"))
            );
            assert_eq!(read.stored, unpack(&one["plain"]));
            let shut = entry(key, unpack(&one["value"]), &Keyring::default()).expect("an object's key");
            let why = shut.object.expect_err("no key").to_string();
            assert!(why.contains(provider) && why.contains("--encryption-config"), "{why}");
            assert_eq!(shut.stored, unpack(&one["value"]));
        }
        let kms = entry(key, b"k8s:enc:kms:v2:vault:xyz".to_vec(), &Keyring::default()).expect("an object's key");
        assert!(kms.object.expect_err("a KMS").to_string().contains("only that KMS"));
    }

    #[test]
    fn keys_of_no_objects_are_none() {
        for key in ["compact_rev_key", "/registry/masterleases/10.0.0.1", "/registry/ranges/serviceips", "/other/x"] {
            assert!(entry(key, b"{}".to_vec(), &Keyring::default()).is_none(), "{key}");
        }
        let secret = entry("/registry/secrets/shop/db", b"{}".to_vec(), &Keyring::default()).expect("an object's key");
        assert!(secret.is_secret() && secret.title() == "secrets/db in namespace shop");
    }
}
