//! Resource types: what they are called, and in which order their objects can be made anew.

mod crd;
mod resolve;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use crd::NotADefinition;
pub use resolve::ResolveError;

const TABLE: &str = include_str!("types.txt");
/// Before these come the objects of custom resources.
const GROUP_AFTER_CUSTOM: &str = "admissionregistration.k8s.io";

/// A resource type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceType {
    /// Its group; nothing for the core group.
    pub group: String,
    /// Groups that show the same objects, as events.k8s.io does events.
    pub other_groups: Vec<String>,
    /// Its name in paths and commands: `deployments`.
    pub plural: String,
    /// `deployment`
    pub singular: String,
    /// `Deployment`
    pub kind: String,
    /// `deploy`
    pub short_names: Vec<String>,
    /// `all`
    pub categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Versions that its definition serves; nothing for built-in types, of which each Kubernetes serves others.
    pub versions: Vec<String>,
    /// Where its objects are below the prefix: `services/specs`.
    pub directory: String,
    /// Whether a custom resource definition made it.
    pub custom: bool,
    /// Whether it is known only by the keys of its objects: see [`Catalog::add_undefined`].
    pub undefined: bool,
    /// Place in the order: see [`ResourceType::rank`].
    rank: u32,
}

impl ResourceType {
    /// `deployments.apps`, `pods`: what names it without doubt.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Objects are made in ascending order of it: what others refer to first (namespaces, definitions, accounts and rights,
    /// configuration, claims, services, workloads), what stands in the way of others last (webhooks).
    #[must_use]
    pub fn rank(&self) -> u32 {
        self.rank
    }
}

/// Resource types by their names.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Built-in ones in the order of the table, then custom ones by group and name.
    types: Vec<ResourceType>,
}

/// The built-in types, by directory and by group and plural.
pub(crate) struct BuiltIn {
    types: Vec<ResourceType>,
    directories: HashMap<&'static str, usize>,
}

impl BuiltIn {
    pub(crate) fn get() -> &'static BuiltIn {
        static BUILT_IN: OnceLock<BuiltIn> = OnceLock::new();
        BUILT_IN.get_or_init(|| {
            let rows: Vec<_> = TABLE.lines().filter(|line| !line.starts_with('#')).zip(0..).filter_map(read).collect();
            let directories = rows.iter().enumerate().map(|(index, (directory, _))| (*directory, index)).collect();
            BuiltIn { types: rows.into_iter().map(|(_, resource)| resource).collect(), directories }
        })
    }

    /// The type whose objects are in a directory.
    pub(crate) fn in_directory(&self, directory: &str) -> Option<&ResourceType> {
        self.directories.get(directory).and_then(|&index| self.types.get(index))
    }

    /// Whether the first part of a directory is this one.
    pub(crate) fn begins_with(&self, first: &str) -> bool {
        self.types.iter().any(|resource| resource.directory.split('/').next() == Some(first))
    }

    /// The type of a group and a plural.
    pub(crate) fn find(&self, group: &str, plural: &str) -> Option<&ResourceType> {
        self.types.iter().find(|resource| resource.plural == plural && resource.is_of(group))
    }
}

/// Reads a row, whose rank is its place. Ranks leave room for custom resources.
fn read((line, place): (&'static str, u32)) -> Option<(&'static str, ResourceType)> {
    let mut words = line.split(' ');
    let list = |word: &str| match word {
        "-" => Vec::new(),
        word => word.split(',').map(str::to_owned).collect(),
    };
    let mut groups = words.next()?.split(',').map(|group| if group == "-" { "" } else { group });
    let group = groups.next()?.to_owned();
    let other_groups = groups.map(str::to_owned).collect();
    let (plural, kind, scope) = (words.next()?, words.next()?, words.next()?);
    let (short_names, categories) = (list(words.next()?), list(words.next()?));
    let directory = words.next().unwrap_or(plural);
    let resource = ResourceType {
        rank: if group == GROUP_AFTER_CUSTOM { CUSTOM_RANK + place } else { place },
        group,
        other_groups,
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        short_names,
        categories,
        namespaced: scope == "namespaced",
        versions: Vec::new(),
        directory: directory.to_owned(),
        custom: false,
        undefined: false,
    };
    Some((directory, resource))
}

/// The rank of custom resources.
const CUSTOM_RANK: u32 = 1000;

impl ResourceType {
    fn is_of(&self, group: &str) -> bool {
        self.group == group || self.other_groups.iter().any(|other| other == group)
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::builtin()
    }
}

impl Catalog {
    /// The types that kube-apiserver has of its own, of all versions from 1.19 to 1.36.
    #[must_use]
    pub fn builtin() -> Catalog {
        Catalog { types: BuiltIn::get().types.clone() }
    }

    /// Adds a type of which nothing is known but the group and the name that a key has, and whether its objects are in namespaces: its
    /// definition was deleted, or it is of a newer Kubernetes, and then its group is not known either. A type that is there already
    /// stays as it is.
    pub fn add_undefined(&mut self, group: Option<&str>, plural: &str, namespaced: bool) {
        let known = |resource: &ResourceType| match group {
            Some(group) => resource.plural == plural && resource.is_of(group),
            None => resource.directory == plural,
        };
        if self.types.iter().any(known) {
            return;
        }
        let directory = group.map_or_else(|| plural.to_owned(), |group| format!("{group}/{plural}"));
        self.types.push(ResourceType {
            group: group.unwrap_or_default().to_owned(),
            other_groups: Vec::new(),
            plural: plural.to_owned(),
            singular: plural.to_owned(),
            kind: plural.to_owned(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            versions: Vec::new(),
            directory,
            custom: true,
            undefined: true,
            rank: CUSTOM_RANK,
        });
    }

    /// All types: built-in ones in the order in which their objects can be made, then custom ones, then those that were added without a definition.
    #[must_use]
    pub fn types(&self) -> &[ResourceType] {
        &self.types
    }

    /// The type of a group and a plural, as a [`Place`](crate::key::Place) has them.
    #[must_use]
    pub fn get(&self, group: &str, plural: &str) -> Option<&ResourceType> {
        self.types.iter().find(|resource| resource.plural == plural && resource.is_of(group))
    }

    /// The type of an object by its `apiVersion` and `kind`.
    #[must_use]
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&ResourceType> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.types.iter().find(|resource| resource.kind == kind && resource.is_of(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_row_is_read_and_is_a_kind_of_the_schema() {
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        let built_in = BuiltIn::get();
        assert_eq!((built_in.types.len(), built_in.directories.len()), (rows, rows));
        for resource in &built_in.types {
            let known = |message: &&crate::schema::Message| {
                let group = message.api_version.split_once('/').map_or("", |(group, _)| group);
                message.is_kind && message.name == resource.kind && resource.is_of(group)
            };
            assert!(Schema::kubernetes().messages().iter().any(|message| known(&message)), "{}", resource.full_name());
        }
    }

    /// Kinds with metadata that no type has are requests and answers, never stored.
    #[test]
    fn every_stored_kind_of_the_schema_has_a_type() {
        const REQUESTS: [&str; 5] = ["apidiscovery", "authentication", "authorization", "imagepolicy", "meta"];
        let catalog = Catalog::builtin();
        let missing: std::collections::BTreeSet<_> = Schema::kubernetes()
            .messages()
            .iter()
            .filter(|message| message.is_kind && message.fields.first().is_some_and(|field| field.json == "metadata"))
            .filter(|message| !message.name.ends_with("List"))
            .filter(|message| !REQUESTS.contains(&message.package.split('/').next().unwrap_or_default()))
            .filter(|message| catalog.of_kind(message.api_version, message.name).is_none())
            .map(|message| message.name)
            .collect();
        let requests = [
            "Binding",
            "ComponentStatus",
            "EphemeralContainers",
            "Eviction",
            "JobTemplate",
            "PodStatusResult",
            "RangeAllocation",
            "Scale",
        ];
        assert!(missing.iter().eq(&requests), "{missing:?}");
    }

    #[test]
    fn objects_are_made_in_order() {
        let mut catalog = Catalog::builtin();
        let definition = serde_json::json!({"spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        }});
        catalog.add_crd(&definition).expect("a definition");
        let order = [
            ("", "namespaces"),
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("", "serviceaccounts"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("", "configmaps"),
            ("", "persistentvolumeclaims"),
            ("", "services"),
            ("apps", "deployments"),
            ("apps", "replicasets"),
            ("", "pods"),
            ("apiregistration.k8s.io", "apiservices"),
            ("example.com", "widgets"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ];
        let rank = |&(group, plural): &(&str, &str)| catalog.get(group, plural).map(ResourceType::rank);
        let ranks: Vec<_> = order.iter().map(rank).collect();
        assert!(ranks.iter().all(Option::is_some) && ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }
}
