//! An object of a file, or why it cannot be read.

use std::fmt;

use etcd_objects::encryption::{DecryptError, Keyring};
use etcd_objects::key::{Key, Place, Prefix};
use etcd_objects::value::{EncryptionKey, Format};
use etcd_objects::{DecodeError, Object, decode};
use etcd_snapshot::LiveKey;

/// An object of a file.
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) live: LiveKey,
    /// The object, with its resource version, if its value was read; or why it is none.
    pub(crate) object: Result<Object, Undecodable>,
    /// What the value is once it is decrypted.
    pub(crate) stored: Vec<u8>,
}

/// Why a value is not shown as an object.
#[derive(Debug)]
pub(crate) enum Undecodable {
    /// It is encrypted, and no key was given.
    Encrypted(EncryptionKey),
    /// The key that was given does not decrypt it.
    Decrypt(DecryptError),
    /// Its bytes are no object.
    Decode(DecodeError),
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecodable::Encrypted(key) if key.provider == "kms" => {
                write!(f, "encrypted by {key}: only that KMS can decrypt it")
            }
            Undecodable::Encrypted(key) => {
                write!(f, "encrypted by {key}: --encryption-config names the file that has the key")
            }
            Undecodable::Decrypt(error) => error.fmt(f),
            Undecodable::Decode(error) => error.fmt(f),
        }
    }
}

/// `deployments.apps`
pub(crate) fn resource_name(place: &Place) -> String {
    match place.group.as_deref() {
        None | Some("") => place.resource.clone(),
        Some(group) => format!("{}.{group}", place.resource),
    }
}

impl Entry {
    /// `None` if the key is not that of an object.
    pub(super) fn of(key: Vec<u8>, mut live: LiveKey, prefix: &Prefix, keyring: &Keyring) -> Option<Entry> {
        let Key::Object(place) = prefix.parse(&key) else { return None };
        let mut stored = live.value.take().unwrap_or_default();
        let mut object = Ok(());
        if let Format::Encrypted(by) = Format::of(&stored) {
            if keyring.is_empty() {
                object = Err(Undecodable::Encrypted(by));
            } else {
                match keyring.decrypt(&key, &stored) {
                    Ok(plain) => stored = plain.to_vec(),
                    Err(error) => object = Err(Undecodable::Decrypt(error)),
                }
            }
        }
        let object = object.and_then(|()| decode(&stored).map(Object::into_served).map_err(Undecodable::Decode)).map(
            |mut object| {
                object.set_resource_version(live.mod_revision);
                object
            },
        );
        Some(Entry { place, live, object, stored })
    }

    /// `deployments.apps/web in namespace shop`, for messages.
    pub(crate) fn title(&self) -> String {
        let place = match &self.place.namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => String::new(),
        };
        format!("{}/{}{place}", self.resource(), self.place.name)
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
