//! How objects are shown: whole, as rows of a table, or as their metadata.

use serde_json::{Value, json};

use super::{request::Render, resource::Resource};

/// One object.
pub(super) fn render_one(render: Render, res: &Resource, object: &Value) -> Value {
    match render {
        Render::Json => object.clone(),
        Render::Partial => partial(object),
        Render::Table => {
            let mut table = table(res, &json!({ "resourceVersion": object["metadata"]["resourceVersion"] }));
            table["rows"] = json!([row(res, object)]);
            table
        }
    }
}

/// A list without its items, and the field they belong into.
pub(super) fn render_list(render: Render, res: &Resource, metadata: &Value) -> (&'static str, Value) {
    match render {
        Render::Json => {
            let kind = format!("{}List", res.kind);
            ("items", json!({ "kind": kind, "apiVersion": res.api_version(), "metadata": metadata }))
        }
        Render::Partial => {
            let kind = "PartialObjectMetadataList";
            ("items", json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": metadata }))
        }
        Render::Table => ("rows", table(res, metadata)),
    }
}

/// One item of a list.
pub(super) fn render_item(render: Render, res: &Resource, object: Value) -> Value {
    match render {
        Render::Json => object,
        Render::Partial => partial(&object),
        Render::Table => row(res, &object),
    }
}

fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

fn columns(res: &Resource) -> &'static [&'static str] {
    match res.kind {
        "Pod" => &["Name", "Ready", "Status", "Restarts", "Age"],
        "Node" => &["Name", "Status", "Roles", "Age", "Version"],
        "Namespace" => &["Name", "Status", "Age"],
        _ => &["Name", "Age"],
    }
}

/// A table without rows.
fn table(res: &Resource, metadata: &Value) -> Value {
    let definitions: Vec<Value> = columns(res)
        .iter()
        .map(|name| {
            let (kind, format) = if *name == "Restarts" { ("integer", "") } else { ("string", "") };
            let format = if *name == "Name" { "name" } else { format };
            json!({ "name": name, "type": kind, "format": format, "description": "", "priority": 0 })
        })
        .collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions })
}

fn row(res: &Resource, object: &Value) -> Value {
    let cells: Vec<Value> = columns(res).iter().map(|column| cell(res, column, object)).collect();
    json!({ "cells": cells, "object": partial(object) })
}

fn cell(res: &Resource, column: &str, object: &Value) -> Value {
    let statuses = || object["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (res.kind, column) {
        (_, "Name") => object["metadata"]["name"].clone(),
        (_, "Age") => age(object).into(),
        ("Pod", "Ready") => {
            let ready = statuses().iter().filter(|status| status["ready"] == true).count();
            let all = object["spec"]["containers"].as_array().map_or(0, Vec::len);
            format!("{ready}/{all}").into()
        }
        ("Pod", "Status") => pod_status(object, statuses()).into(),
        ("Pod", _) => statuses().iter().filter_map(|status| status["restartCount"].as_i64()).sum::<i64>().into(),
        ("Node", "Status") => {
            let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            match conditions.iter().find(|condition| condition["type"] == "Ready") {
                Some(ready) if ready["status"] == "True" => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            }
            .into()
        }
        ("Node", "Roles") => roles(object).into(),
        ("Node", _) => object["status"]["nodeInfo"]["kubeletVersion"].clone(),
        _ => object["status"]["phase"].clone(),
    }
}

fn pod_status(pod: &Value, statuses: &[Value]) -> String {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".to_owned();
    }
    let why = statuses.iter().rev().find_map(|status| {
        status["state"]["waiting"]["reason"].as_str().or(status["state"]["terminated"]["reason"].as_str())
    });
    let why = why.or(pod["status"]["reason"].as_str()).or(pod["status"]["phase"].as_str());
    why.unwrap_or("Unknown").to_owned()
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(label, _)| label.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn age(object: &Value) -> String {
    let made = object["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let Some(made) = made else { return "<unknown>".to_owned() };
    let seconds = jiff::Timestamp::now().duration_since(made).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
