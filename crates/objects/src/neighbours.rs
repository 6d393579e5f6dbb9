//! Several API servers may keep their objects in one etcd, and other programs their keys: whose a key is.

use std::borrow::Cow;

use crate::key::{Key, Prefix};

/// What keys are said to be under that have no prefix.
const REST: &str = "";

/// The API server that is looked at, and the others.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    own: Prefix,
    others: Vec<Prefix>,
}

impl Neighbours {
    /// The prefix of the API server that is looked at, and those of all API servers.
    #[must_use]
    pub fn new(own: Prefix, all: Vec<Prefix>) -> Neighbours {
        let others = all.into_iter().filter(|other| *other != own).collect();
        Neighbours { own, others }
    }

    /// The prefixes of the other API servers.
    #[must_use]
    pub fn others(&self) -> &[Prefix] {
        &self.others
    }

    /// The prefix of a key that is not that of the API server which is looked at, as far as it has one.
    #[must_use]
    pub fn of_key(&self, key: &[u8]) -> Option<Cow<'_, str>> {
        let other = self.others.iter().filter(|other| other.covers(key)).max_by_key(|other| other.as_str().len());
        if self.own.covers(key) && other.is_none_or(|other| other.as_str().len() < self.own.as_str().len()) {
            return None;
        }
        if let Some(other) = other {
            return Some(Cow::Borrowed(other.as_str()));
        }
        // Every version of the API server keeps it there, whatever its prefix.
        if key == b"compact_rev_key" {
            return None;
        }
        let text = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix('/'));
        let first = text.and_then(|text| text.split_once('/')).map(|(first, _)| format!("/{first}"));
        Some(first.map_or(Cow::Borrowed(REST), Cow::Owned))
    }

    /// What a key is to the API server that is looked at.
    #[must_use]
    pub fn parse(&self, key: &[u8]) -> Key {
        if self.of_key(key).is_some() { Key::Foreign } else { self.own.parse(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_an_owner() {
        let all = ["/registry", "/b", "/registry/c"].map(Prefix::new);
        let of = |own: &str, key: &str| {
            let neighbours = Neighbours::new(Prefix::new(own), all.to_vec());
            neighbours.of_key(key.as_bytes()).map(Cow::into_owned)
        };
        for (own, key, expected) in [
            ("/registry", "/registry/pods/a/b", None),
            ("/registry", "compact_rev_key", None),
            ("/registry", "/b/pods/a/b", Some("/b")),
            ("/registry", "/registry/c/pods/a/b", Some("/registry/c")),
            ("/registry", "/registry2/pods/a/b", Some("/registry2")),
            ("/registry", "/calico/ipam/x", Some("/calico")),
            ("/registry", "loose", Some("")),
            ("/registry/c", "/registry/c/pods/a/b", None),
            ("/registry/c", "/registry/pods/a/b", Some("/registry")),
            ("/b", "/b/pods/a/b", None),
            ("/b", "/registry/pods/a/b", Some("/registry")),
        ] {
            assert_eq!(of(own, key).as_deref(), expected, "{own} {key}");
        }
    }
}
