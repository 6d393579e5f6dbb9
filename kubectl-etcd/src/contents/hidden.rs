//! The values of Secrets, out of sight: what is shown of two still tells whether they differ.

use std::collections::BTreeSet;

use serde_json::Value;

/// Whether an annotation is one in which a tool keeps what it applied, values and all: kubectl.kubernetes.io/last-applied-configuration,
/// objectset.rio.cattle.io/applied, kapp.k14s.io/original, kopf.zalando.org/last-handled-configuration and their like.
pub(crate) fn keeps_copies(annotation: &str) -> bool {
    let name = annotation.rsplit_once('/').map_or(annotation, |(_, name)| name);
    ["applied", "original", "handled"].iter().any(|part| name.contains(part))
}

/// Whether an object is a Secret of the core group.
fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"].as_str().is_some_and(|version| !version.contains('/'))
}

/// Hides the values of a Secret. Other objects stay as they are.
pub(crate) fn hide(object: &mut Value) {
    hide_pair(object, &mut Value::Null);
}

/// Hides the values of Secrets that are shown side by side: equal ones look alike, and others do not. There is no digest in what is
/// shown: a short password is guessed from it.
pub(super) fn hide_pair(before: &mut Value, after: &mut Value) {
    let secret = [&*before, &*after].into_iter().any(is_secret);
    if !secret {
        return;
    }
    for field in ["data", "stringData"] {
        let values = |object: &Value| object[field].as_object().cloned().unwrap_or_default();
        let (old, new) = (values(before), values(after));
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            mask(before, &[field, name], new.get(name), "before");
            mask(after, &[field, name], old.get(name), "after");
        }
        // What should be a map and is none may be a value as well.
        for object in [&mut *before, &mut *after] {
            if object.get(field).is_some_and(|data| !data.is_object() && !data.is_null()) {
                object[field] = Value::from("<hidden>");
            }
        }
    }
    let annotations = |object: &Value| object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let (old, new) = (annotations(before), annotations(after));
    for name in old.keys().chain(new.keys()).filter(|name| keeps_copies(name)).collect::<BTreeSet<_>>() {
        let path = ["metadata", "annotations", name];
        mask(before, &path, new.get(name), "before");
        mask(after, &path, old.get(name), "after");
    }
}

/// Puts a mark in the place of a value that may be there; `other` is what is in that place of the other object.
fn mask(object: &mut Value, path: &[&str], other: Option<&Value>, side: &str) {
    let found = path.iter().try_fold(object, |value, name| value.get_mut(*name));
    let Some(value) = found else { return };
    let size = match (&*value, path) {
        (Value::String(text), ["data", _]) => decoded_length(text),
        (Value::String(text), _) => text.len(),
        (value, _) => value.to_string().len(),
    };
    let differs = other.is_some_and(|other| *other != *value);
    let side = if differs { format!(", {side}") } else { String::new() };
    *value = Value::from(format!("<hidden: {size} bytes{side}>"));
}

/// How many bytes base64 stands for.
fn decoded_length(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// A message of the API server about a Secret, without any value that it repeats.
pub(crate) fn without_values(message: &str, object: &Value) -> String {
    if !is_secret(object) {
        return message.to_owned();
    }
    let values =
        ["data", "stringData"].iter().filter_map(|field| object[field].as_object()).flat_map(|data| data.values());
    let values = values.filter_map(Value::as_str).filter(|value| value.len() > 3);
    values.fold(message.to_owned(), |message, value| message.replace(value, "<hidden>"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

    fn secret(password: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "data": {"password": password, "same": "c2FtZQ=="}, "stringData": {"plain": "hush"},
            "metadata": {"name": "db", "annotations": {
                LAST_APPLIED: password, "objectset.rio.cattle.io/applied": password, "a": "b"}},
        })
    }

    #[test]
    fn values_are_hidden_and_still_differ() {
        let (mut before, mut after) = (secret("aHVzaA=="), secret("c2VjcmV0"));
        hide_pair(&mut before, &mut after);
        assert_eq!(before["data"], json!({"password": "<hidden: 4 bytes, before>", "same": "<hidden: 4 bytes>"}));
        assert_eq!(after["data"], json!({"password": "<hidden: 6 bytes, after>", "same": "<hidden: 4 bytes>"}));
        assert_eq!(before["metadata"]["annotations"]["a"], "b");
        for object in [&before, &after] {
            let text = object.to_string();
            for value in ["aHVzaA", "c2VjcmV0", "c2FtZQ", "hush"] {
                assert!(!text.contains(value), "{text}");
            }
        }
        // Of equal length, too, and where only one side has them.
        let (mut before, mut after) = (secret("YWFh"), secret("YmJi"));
        hide_pair(&mut before, &mut after);
        assert_ne!(before, after);
        let mut alone = secret("aHVzaA==");
        hide(&mut alone);
        assert_eq!(alone["data"]["password"], "<hidden: 4 bytes>");
        let mut odd = json!({"apiVersion": "v1", "kind": "Secret", "data": "hush", "stringData": {"a": ["hush"]}});
        hide(&mut odd);
        assert!(!odd.to_string().contains("hush"), "{odd}");
    }

    #[test]
    fn only_secrets_are_hidden() {
        for other in [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}),
            json!({"apiVersion": "example.com/v1", "kind": "Secret", "data": {"a": "b"}}),
        ] {
            let mut shown = other.clone();
            hide(&mut shown);
            assert_eq!(shown, other);
        }
        assert_eq!(without_values("a c2VjcmV0 b", &secret("c2VjcmV0")), "a <hidden> b");
    }
}
