//! A value of etcd, read as an object, or why it is none.

use std::fmt;

use crate::encryption::{DecryptError, Keyring};
use crate::key::Place;
use crate::value::{EncryptionKey, Format};
use crate::{DecodeError, Object, decode, decode_metadata};

/// Why a value is not shown as an object.
#[derive(Debug)]
pub enum Undecodable {
    /// It is encrypted, and no key was given.
    Encrypted(EncryptionKey),
    /// The key that was given does not decrypt it.
    Decrypt(DecryptError),
    /// Its bytes are no object.
    Decode(DecodeError),
    /// It is of a built-in kind of which nothing is known but what nearly all kinds have: the object has its metadata, and nothing else.
    Partly(DecodeError, Box<Object>),
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
            Undecodable::Partly(error, _) => write!(f, "{error}: only its metadata can be read"),
        }
    }
}

/// A value that was read.
#[derive(Debug)]
pub struct ReadValue {
    /// The object as the API server would answer it, with its resource version, or why there is none.
    pub object: Result<Object, Undecodable>,
    /// What the value is once it is decrypted.
    pub stored: Vec<u8>,
}

/// Reads the value under the key of a place, which a revision has changed last.
#[must_use]
pub fn read_value(key: &[u8], place: &Place, value: Vec<u8>, mod_revision: i64, keyring: &Keyring) -> ReadValue {
    let mut stored = value;
    let mut object = Ok(());
    if let Format::Encrypted(by) = Format::of(&stored) {
        if keyring.is_empty() {
            object = Err(Undecodable::Encrypted(by));
        } else {
            match keyring.decrypt(key, &stored) {
                Ok(plain) => stored = plain.to_vec(),
                Err(error) => object = Err(Undecodable::Decrypt(error)),
            }
        }
    }
    let mut object = object.and_then(|()| match decode(&stored).map(Object::into_served) {
        Err(error @ DecodeError::UnknownKind { .. }) => match decode_metadata(&stored) {
            // Of another name than its key, it is not that what it was taken for.
            Ok(object) if object.name() == Some(&place.name) => Err(Undecodable::Partly(error, Box::new(object))),
            _ => Err(Undecodable::Decode(error)),
        },
        decoded => decoded.map_err(Undecodable::Decode),
    });
    match &mut object {
        Ok(object) => object.set_resource_version(mod_revision),
        Err(Undecodable::Partly(_, object)) => object.set_resource_version(mod_revision),
        Err(_) => {}
    }
    ReadValue { object, stored }
}
