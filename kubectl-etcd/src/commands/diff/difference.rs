//! One difference, and how two objects are compared.

use etcd_objects::Object;
use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use serde::Serialize;
use serde_json::Value;

use crate::contents::{differing, plain, resource_name, unified};

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Change {
    OnlyInFirst,
    OnlyInSecond,
    Differs,
}

/// An object that is not the same on both sides.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    pub(super) change: Change,
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// What differs: `spec.replicas`.
    pub(super) fields: Vec<String>,
    /// Why nobody can tell what differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreadable: Option<String>,
    /// A unified diff.
    #[serde(skip)]
    pub(super) patch: String,
    /// Its place among the others.
    #[serde(skip)]
    rank: u32,
}

impl Difference {
    pub(super) fn order(&self) -> (u32, &str, Option<&str>, &str) {
        (self.rank, &self.resource, self.namespace.as_deref(), &self.name)
    }
}

/// How objects are compared, and what the two sides are called.
pub(super) struct Comparison<'a> {
    pub(super) first: String,
    pub(super) second: String,
    pub(super) with_status: bool,
    /// Whether patches are made.
    pub(super) patches: bool,
    pub(super) catalog: &'a Catalog,
}

impl Comparison<'_> {
    /// Compares an object of a file with one from anywhere.
    pub(super) fn compare(&self, place: &Place, first: &Object, second: &Value) -> Option<Difference> {
        let metadata = |field: &str| second["metadata"][field].as_str();
        let revision = first.json["metadata"]["resourceVersion"].as_str();
        // Nobody has changed it since.
        if first.uid().is_some() && first.uid() == metadata("uid") && revision == metadata("resourceVersion") {
            return None;
        }
        self.compare_plain(place, &first.json, second)
    }

    /// Compares two objects by what is in them.
    pub(super) fn compare_plain(&self, place: &Place, first: &Value, second: &Value) -> Option<Difference> {
        let (first, second) = (plain(first, self.with_status), plain(second, self.with_status));
        let fields = differing(&first, &second);
        if fields.is_empty() {
            return None;
        }
        let patch = self.patch(place, Some(&first), Some(&second));
        Some(Difference { fields, patch, ..self.difference(Change::Differs, place) })
    }

    /// An object that only one side has; the object is for the patch.
    pub(super) fn only(&self, change: Change, place: &Place, object: Option<&Value>) -> Difference {
        let object = object.filter(|_| self.patches).map(|object| plain(object, self.with_status));
        let patch = match (change, &object) {
            (_, None) => String::new(),
            (Change::OnlyInSecond, object) => self.patch(place, None, object.as_ref()),
            (_, object) => self.patch(place, object.as_ref(), None),
        };
        Difference { patch, ..self.difference(change, place) }
    }

    /// Objects of which one cannot be read.
    pub(super) fn unreadable(&self, change: Change, place: &Place, why: &str) -> Difference {
        Difference { unreadable: Some(format!("cannot be read: {why}")), ..self.difference(change, place) }
    }

    fn difference(&self, change: Change, place: &Place) -> Difference {
        let group = place.group.as_deref().unwrap_or_default();
        Difference {
            change,
            resource: resource_name(place),
            namespace: place.namespace.clone(),
            name: place.name.clone(),
            fields: Vec::new(),
            unreadable: None,
            patch: String::new(),
            rank: self.catalog.get(group, &place.resource).map_or(u32::MAX, |resource| resource.rank()),
        }
    }

    fn patch(&self, place: &Place, first: Option<&Value>, second: Option<&Value>) -> String {
        if !self.patches {
            return String::new();
        }
        let namespace = place.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}"));
        let title = format!("{}/{}{}", resource_name(place), place.name, namespace.unwrap_or_default());
        let (one, other) = (format!("{}: {title}", self.first), format!("{}: {title}", self.second));
        unified((&one, first), (&other, second))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(revision: &str, uid: &str, value: &str) -> Object {
        let json = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value},
            "metadata": {"name": "a", "namespace": "shop", "uid": uid, "resourceVersion": revision},
        });
        Object { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned(), json, unknown: Vec::new() }
    }

    #[test]
    fn objects_are_compared_by_what_is_wanted() {
        let catalog = Catalog::builtin();
        let comparison = Comparison {
            first: "a.db".to_owned(),
            second: "live".to_owned(),
            with_status: false,
            patches: true,
            catalog: &catalog,
        };
        let place = Place {
            group: Some(String::new()),
            resource: "configmaps".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "a".to_owned(),
        };
        let first = object("7", "u", "1");
        for (second, differs) in [
            (object("7", "u", "1"), false),
            // Made anew, and the same.
            (object("9", "v", "1"), false),
            (object("9", "u", "2"), true),
            // Of another cluster.
            (object("7", "v", "2"), true),
            // Never: a revision of an object has one value.
            (object("7", "u", "2"), false),
        ] {
            let said = comparison.compare(&place, &first, &second.json);
            assert_eq!(said.is_some(), differs, "{}", second.json);
            if let Some(said) = said {
                assert_eq!((said.fields.as_slice(), said.change), (&["data.a".to_owned()][..], Change::Differs));
                assert!(
                    said.patch.starts_with("--- a.db: configmaps/a in namespace shop\n+++ live: "),
                    "{}",
                    said.patch
                );
                assert!(said.patch.contains("-  a: \"1\"\n+  a: \"2\"\n"), "{}", said.patch);
            }
        }
        let only = comparison.only(Change::OnlyInSecond, &place, Some(&first.json));
        assert!(only.patch.contains("+  a: \"1\"\n") && !only.patch.contains("uid"), "{}", only.patch);
    }
}
