//! Several API servers may keep their objects in one etcd, and other programs their keys: whose a key is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use etcd_objects::key::{Key, Prefix};

/// Prefixes that are told apart.
const MOST: usize = 20;
/// What keys are counted as that have no prefix, or one of too many.
const REST: &str = "";

/// The API server that is looked at, and the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbours {
    own: Prefix,
    others: Vec<Prefix>,
}

impl Neighbours {
    /// `all` are the prefixes of all API servers.
    pub(super) fn new(own: Prefix, all: Vec<Prefix>) -> Neighbours {
        let others = all.into_iter().filter(|other| *other != own).collect();
        Neighbours { own, others }
    }

    /// The prefixes of the other API servers.
    pub(crate) fn others(&self) -> &[Prefix] {
        &self.others
    }

    /// The prefix of a key that is not that of the API server which is looked at, as far as it has one.
    pub(crate) fn of_key(&self, key: &[u8]) -> Option<Cow<'_, str>> {
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
    pub(crate) fn parse(&self, key: &[u8]) -> Key {
        if self.of_key(key).is_some() { Key::Foreign } else { self.own.parse(key) }
    }
}

/// Keys of others, which were not looked at.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(BTreeMap<String, u64>);

impl PassedOver {
    /// Counts a key of this prefix.
    pub(crate) fn add(&mut self, prefix: &str) {
        let known = self.0.len() < MOST || self.0.contains_key(prefix);
        let counted = if known { prefix } else { REST };
        match self.0.get_mut(counted) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(counted.to_owned(), 1)),
        }
    }

    /// The prefixes, each with its keys.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(prefix, count)| (prefix.as_str(), *count))
    }

    /// What was not looked at, in one line, with the flag that looks at it; `None` if that is nothing.
    pub(super) fn line(&self) -> Option<String> {
        let one = |(prefix, count): (&str, u64)| match prefix {
            REST => format!("{count} elsewhere"),
            prefix => format!("{count} under {prefix} (--prefix {prefix})"),
        };
        // Those that can be named first.
        let mut named: Vec<_> = self.counts().filter(|(prefix, _)| *prefix != REST).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = self.counts().filter(|(prefix, _)| *prefix == REST);
        let told: Vec<String> = named.into_iter().chain(rest).map(one).collect();
        (!told.is_empty()).then(|| format!("keys under other prefixes were not looked at: {}", told.join(", ")))
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

    #[test]
    fn what_is_passed_over_is_told_with_the_flag_that_shows_it() {
        let mut passed = PassedOver::default();
        assert_eq!(passed.line(), None);
        for prefix in ["/b", "/calico", "", "/calico"] {
            passed.add(prefix);
        }
        let told = "2 under /calico (--prefix /calico), 1 under /b (--prefix /b), 1 elsewhere";
        assert_eq!(passed.line(), Some(format!("keys under other prefixes were not looked at: {told}")));
        (0..100).for_each(|n| passed.add(&format!("/{n}")));
        assert_eq!((passed.counts().count(), passed.counts().map(|(_, count)| count).sum()), (MOST, 104));
    }
}
