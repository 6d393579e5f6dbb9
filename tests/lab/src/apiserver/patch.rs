//! Patches: JSON merge patch (RFC 7386), and strategic merge and apply as a merge in which lists of named things are
//! merged by name. Apply keeps no field ownership and removes nothing.

use serde_json::{Map, Value};

use super::respond::Failure;

/// A patch as sent.
#[derive(Debug)]
pub(super) enum Merge {
    /// `application/merge-patch+json`
    Json(Value),
    /// `application/strategic-merge-patch+json`
    Strategic(Value),
    /// `application/apply-patch+yaml`
    Apply(Value),
}

const ACCEPTED: &str =
    "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Merge {
    pub(super) fn read(media_type: &str, body: &[u8]) -> Result<Self, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::bad_request(format!("the patch cannot be read: {error}"));
        let json = |body| serde_json::from_slice(body).map_err(|error| bad(&error));
        let merge = match media_type {
            "application/merge-patch+json" => Self::Json(json(body)?),
            "application/strategic-merge-patch+json" => Self::Strategic(json(body)?),
            "application/apply-patch+yaml" => {
                Self::Apply(serde_yaml_ng::from_slice(body).map_err(|error| bad(&error))?)
            }
            _ => return Err(Failure::media_type(ACCEPTED)),
        };
        let (Self::Json(value) | Self::Strategic(value) | Self::Apply(value)) = &merge;
        if !value.is_object() {
            return Err(bad(&"it is not an object"));
        }
        Ok(merge)
    }
}

/// Changes the object as the patch says.
pub(super) fn apply(patch: &Merge, object: &mut Value) -> Result<(), Failure> {
    match patch {
        Merge::Json(patch) => merge(object, patch, false),
        Merge::Strategic(patch) | Merge::Apply(patch) => merge(object, patch, true),
    }
}

fn merge(target: &mut Value, patch: &Value, strategic: bool) -> Result<(), Failure> {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() || (strategic && changes.get("$patch").is_some_and(|d| d == "replace")) {
        *target = Value::Object(Map::new());
    }
    let fields = target.as_object_mut().expect("it was made an object above");
    for (name, change) in changes {
        if strategic && name.starts_with('$') {
            // $setElementOrder and $retainKeys only order and prune; $patch was seen to.
            if name != "$patch" && !name.starts_with("$setElementOrder/") && name != "$retainKeys" {
                return Err(Failure::bad_request(format!("the lab does not know the directive {name}")));
            }
        } else if change.is_null() {
            fields.remove(name);
        } else {
            let field = fields.entry(name).or_insert(Value::Null);
            match (change, merge_key(name)) {
                (Value::Array(items), Some(keys)) if strategic => merge_list(field, items, keys)?,
                _ => merge(field, change, strategic)?,
            }
        }
    }
    Ok(())
}

/// By which field the things in a list are told apart; `None` replaces the list.
fn merge_key(field: &str) -> Option<&'static [&'static str]> {
    Some(match field {
        "conditions" => &["type"],
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" => &["name"],
        "addresses" => &["type"],
        "volumeMounts" => &["mountPath"],
        "ownerReferences" => &["uid"],
        "ports" => &["containerPort", "port"],
        _ => return None,
    })
}

fn merge_list(target: &mut Value, changes: &[Value], keys: &[&str]) -> Result<(), Failure> {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let items = target.as_array_mut().expect("it was made a list above");
    for change in changes {
        if change["$patch"] == "replace" {
            items.clear();
            continue;
        }
        let key = keys.iter().find(|key| change.get(**key).is_some()).ok_or_else(|| {
            Failure::bad_request(format!("map: {change} does not contain declared merge key: {}", keys[0]))
        })?;
        let found = items.iter().position(|item| item.get(*key) == change.get(*key));
        match (found, change["$patch"] == "delete") {
            (Some(at), true) => drop(items.remove(at)),
            (None, true) => {}
            (Some(at), false) => merge(&mut items[at], change, true)?,
            (None, false) => {
                let mut item = Value::Null;
                merge(&mut item, change, true)?;
                items.push(item);
            }
        }
    }
    Ok(())
}
