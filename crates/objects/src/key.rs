//! Keys in etcd: which object, or what else, lies where.
//!
//! A key is `PREFIX/DIRECTORY/[NAMESPACE/]NAME`. The directory of a built-in type does not name its group, that of a custom one is
//! `GROUP/PLURAL`: kubernetes/kubernetes pkg/kubeapiserver/default_storage_factory_builder.go, test/integration/etcd/data.go @ 1.36.

use std::collections::BTreeMap;

use crate::catalog::{BuiltIn, ResourceType};

/// What an API server puts before all of its keys: `--etcd-prefix`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(String);

/// An object by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group of its resource, nothing for the core group; `None` if the resource is a built-in one of a newer Kubernetes: the key
    /// does not say its group then, only the object does.
    pub group: Option<String>,
    /// Its resource: `deployments`.
    pub resource: String,
    /// Its namespace, if it is in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// An object of the API.
    Object(Place),
    /// Something that the API server keeps for itself.
    Internal(Internal),
    /// Not of this API server: of another tenant of the etcd.
    Foreign,
}

/// What the API server keeps for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Internal {
    /// An API server that runs, by its address: kubernetes/kubernetes pkg/controlplane/reconcilers/lease.go. Leased for seconds.
    MasterLease(String),
    /// How API servers reach each other, by their identity.
    PeerServerLease(String),
    /// Numbers that are given out, `serviceips` or `servicenodeports`: they must agree with the services.
    Range(String),
    /// The revision to which the API servers compacted last: kubernetes/apiserver pkg/storage/etcd3/compact.go.
    CompactRevision,
    /// What health checks read.
    Health,
}

impl Place {
    /// The resource as kubectl names it: `deployments.apps`, `pods`. Without a group where the key does not say which.
    #[must_use]
    pub fn resource_name(&self) -> String {
        match self.group.as_deref() {
            None | Some("") => self.resource.clone(),
            Some(group) => format!("{}.{group}", self.resource),
        }
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Prefix("/registry".to_owned())
    }
}

impl Prefix {
    /// A prefix as `--etcd-prefix` has it: the API server puts a slash before it if there is none.
    #[must_use]
    pub fn new(text: &str) -> Prefix {
        let text = text.trim_matches('/');
        Prefix(if text.is_empty() { String::new() } else { format!("/{text}") })
    }

    /// Without a slash at its end: `/registry`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Finds the prefix by the namespaces that every cluster has: the first of [`Prefix::detect_all`]. `None` if there is no namespace
    /// anywhere.
    pub fn detect<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Option<Prefix> {
        Prefix::detect_all(keys).into_iter().next()
    }

    /// Finds the prefixes of all API servers that keep their objects in one etcd, by the namespaces that every cluster has. Those nearest to
    /// the root are the first, of those the ones with a namespace `default`, then in the order of the keys.
    ///
    /// A prefix below another one is taken for an object of that (a pod may be called `default` and be in a namespace called `namespaces`),
    /// unless it has a namespace `kube-system` where no type is known.
    pub fn detect_all<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Vec<Prefix> {
        // By prefix, whether there is a namespace `default`, and one called `kube-system`.
        let mut candidates: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for key in keys {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            let Some((rest, name)) = key.rsplit_once('/') else { continue };
            let Some(prefix) = rest.strip_suffix("/namespaces") else { continue };
            if !name.is_empty() {
                let (default, system) = candidates.entry(prefix).or_default();
                *default |= name == "default";
                *system |= name == "kube-system";
            }
        }
        let mut candidates: Vec<(&str, (bool, bool))> = candidates.into_iter().collect();
        candidates.sort_by_key(|(prefix, (default, _))| (prefix.matches('/').count(), !default));
        let mut found: Vec<Prefix> = Vec::new();
        for (prefix, (_, system)) in candidates {
            let is_object = |above: &Prefix| {
                let below = prefix.strip_prefix(&above.0).and_then(|rest| rest.strip_prefix('/'));
                let first = below.and_then(|below| below.split('/').next());
                first.is_some_and(|first| !system || first.contains('.') || BuiltIn::get().begins_with(first))
            };
            if !found.iter().any(is_object) {
                found.push(Prefix(prefix.to_owned()));
            }
        }
        found
    }

    /// Whether a key is below it.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// What a key is.
    #[must_use]
    pub fn parse(&self, key: &[u8]) -> Key {
        let Ok(key) = std::str::from_utf8(key) else { return Key::Foreign };
        if key == "compact_rev_key" {
            return Key::Internal(Internal::CompactRevision);
        }
        match key.strip_prefix(&self.0).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => parse(rest).unwrap_or(Key::Foreign),
            None => Key::Foreign,
        }
    }

    /// The key of an object.
    #[must_use]
    pub fn key(&self, place: &Place) -> Vec<u8> {
        let Place { group, resource, namespace, name } = place;
        let directory = match group {
            None => resource.clone(),
            Some(group) => match BuiltIn::get().find(group, resource) {
                Some(built_in) => built_in.directory.clone(),
                None => format!("{group}/{resource}"),
            },
        };
        self.below(&directory, namespace.as_deref(), name)
    }

    /// The key of the object of a type that has this name; the namespace counts only if objects of the type are in one.
    #[must_use]
    pub fn key_of(&self, resource: &ResourceType, namespace: &str, name: &str) -> Vec<u8> {
        self.below(&resource.directory, resource.namespaced.then_some(namespace), name)
    }

    /// What the keys of all objects of a type begin with, or of those in one namespace.
    #[must_use]
    pub fn directory(&self, resource: &ResourceType, namespace: Option<&str>) -> Vec<u8> {
        self.below(&resource.directory, namespace.filter(|_| resource.namespaced), "")
    }

    fn below(&self, directory: &str, namespace: Option<&str>, name: &str) -> Vec<u8> {
        match namespace {
            Some(namespace) => format!("{}/{directory}/{namespace}/{name}", self.0),
            None => format!("{}/{directory}/{name}", self.0),
        }
        .into_bytes()
    }
}

/// What follows the prefix.
fn parse(rest: &str) -> Option<Key> {
    match rest {
        "health" => return Some(Key::Internal(Internal::Health)),
        "compact_rev_key" => return Some(Key::Internal(Internal::CompactRevision)),
        _ => {}
    }
    let (first, below) = rest.split_once('/')?;
    let only = |make: fn(String) -> Internal| name(below).map(|name| Key::Internal(make(name.to_owned())));
    match first {
        "masterleases" => return only(Internal::MasterLease),
        "peerserverleases" => return only(Internal::PeerServerLease),
        "ranges" => return only(Internal::Range),
        _ => {}
    }
    let built_in = BuiltIn::get();
    let object = |group: Option<&str>, resource: &str, below: &str| {
        let (namespace, below) = match below.split_once('/') {
            Some((namespace, below)) => (Some(name(namespace)?.to_owned()), below),
            None => (None, below),
        };
        let name = name(below)?.to_owned();
        Some(Key::Object(Place { group: group.map(str::to_owned), resource: resource.to_owned(), namespace, name }))
    };
    // Directories of two parts: of services, of custom resources, and of the two built-in types that are kept like them.
    if first == "services" || first.contains('.') {
        let (second, below) = below.split_once('/')?;
        return match built_in.in_directory(&format!("{first}/{second}")) {
            Some(resource) => object(Some(&resource.group), &resource.plural, below),
            None if first == "services" => None,
            None => object(Some(first), name(second)?, below),
        };
    }
    match built_in.in_directory(first) {
        Some(resource) => object(Some(&resource.group), &resource.plural, below),
        None => object(None, name(first)?, below),
    }
}

/// A name is not empty, and its last part.
fn name(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('/')).then_some(text)
}
