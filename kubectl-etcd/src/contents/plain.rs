//! What counts of an object when it is compared with another, or made anew: all that somebody wants, and nothing that the API server
//! says by itself.

use serde_json::{Map, Value};

/// What the API server fills in: kubernetes/apimachinery pkg/apis/meta/v1/types.go, ObjectMeta @ v0.36.0.
const OF_THE_SERVER: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The object without what the API server sets by itself, and without its status unless that is wanted.
///
/// A field that is null is one that is not there: older API servers wrote `creationTimestamp: null` into templates, and newer ones
/// leave it out.
pub(crate) fn plain(object: &Value, with_status: bool) -> Value {
    let mut object = object.clone();
    drop_nulls(&mut object);
    if let Some(fields) = object.as_object_mut() {
        if !with_status {
            fields.remove("status");
        }
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            OF_THE_SERVER.iter().for_each(|field| drop(metadata.remove(*field)));
            for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
                if metadata.get(field).is_some_and(is_empty) {
                    metadata.remove(field);
                }
            }
        }
    }
    object
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Which fields of two plain objects differ, no deeper than `spec.replicas`, `metadata.labels` or `data.KEY`.
pub(crate) fn differing(one: &Value, other: &Value) -> Vec<String> {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        return if one == other { Vec::new() } else { vec!["the whole".to_owned()] };
    };
    let mut fields = Vec::new();
    for name in names(one, other) {
        match (one.get(name), other.get(name)) {
            (a, b) if a == b => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                fields.extend(
                    names(a, b).filter(|below| a.get(*below) != b.get(*below)).map(|below| format!("{name}.{below}")),
                );
            }
            // Told by its parts where only one side has it, too: `data.KEY`.
            (Some(Value::Object(only)), None) | (None, Some(Value::Object(only))) if !only.is_empty() => {
                fields.extend(only.keys().map(|below| format!("{name}.{below}")));
            }
            _ => fields.push(name.to_owned()),
        }
    }
    fields
}

/// The names of the fields of both, sorted.
fn names<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
    let names: std::collections::BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_says_does_not_count() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2, "selfLink": "/x",
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}], "deletionTimestamp": "x",
                "deletionGracePeriodSeconds": 30, "labels": {"app": "web"}, "annotations": {}, "finalizers": [],
            },
            "spec": {"replicas": 1, "template": {"metadata": {"creationTimestamp": null}, "list": [{"a": null, "b": {}}]}},
            "status": {"replicas": 1},
        });
        let bare = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 1, "template": {"metadata": {}, "list": [{"b": {}}]}},
        });
        assert_eq!(plain(&object, false), bare);
        assert_eq!(plain(&object, true)["status"], json!({"replicas": 1}));
        assert_eq!(plain(&json!("no object"), false), json!("no object"));
    }

    #[test]
    fn fields_are_told_two_deep() {
        let one =
            json!({"kind": "A", "spec": {"replicas": 1, "same": 1, "deep": {"a": 1}}, "data": {"k": "v"}, "list": [1]});
        let other =
            json!({"kind": "A", "spec": {"replicas": 2, "same": 1, "deep": {"a": 2}}, "list": [2], "type": "t"});
        assert_eq!(differing(&one, &other), ["data.k", "list", "spec.deep", "spec.replicas", "type"]);
        assert_eq!(differing(&other, &one), differing(&one, &other));
        assert!(differing(&one, &one).is_empty());
        assert_eq!(differing(&json!(1), &one), ["the whole"]);
        assert_eq!(differing(&json!({"data": {}}), &json!({})), ["data"]);
    }
}
