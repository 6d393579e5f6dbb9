//! What is served: versions, groups, resources, and as much OpenAPI as kubectl needs to trust the server with validation.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::{
    resource::{RESOURCES, Resource, group_version},
    respond::{Reply, bytes_reply, json_reply, text_reply},
};

pub(super) fn answer(path: &str, headers: &HeaderMap) -> Reply {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let answer = match segments.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        ["apis"] => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups().iter().map(|(group, version)| describe(group, version)).collect::<Vec<_>>() })),
        ["apis", group] => groups().iter().find(|(name, _)| *name == group).map(|(group, version)| {
            let mut answer = describe(group, version);
            answer["kind"] = json!("APIGroup");
            answer["apiVersion"] = json!("v1");
            answer
        }),
        ["api", version] => resources("", version),
        ["apis", group, version] => resources(group, version),
        ["openapi", "v2"] => return openapi_v2(headers),
        ["openapi", "v3"] => Some(openapi_index()),
        ["openapi", "v3", "api", version] => openapi("", version),
        ["openapi", "v3", "apis", group, version] => openapi(group, version),
        [] => Some(
            json!({ "paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/openapi/v2", "/openapi/v3", "/version"] }),
        ),
        _ => None,
    };
    match answer {
        Some(answer) => json_reply(StatusCode::OK, &answer),
        None => text_reply(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// The version that the lab stands for.
pub(super) const VERSION: &str = "v1.36.2";

/// As kube-apiserver 1.36.2 says of itself.
fn version() -> Value {
    json!({ "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35", "gitVersion": VERSION, "gitCommit": "abc", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "go1.27.3", "compiler": "gc", "platform": "linux/amd64" })
}

fn groups() -> BTreeMap<&'static str, &'static str> {
    RESOURCES.iter().filter(|r| !r.group.is_empty()).map(|r| (r.group, r.version)).collect()
}

fn describe(group: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": group_version(group, version), "version": version });
    json!({ "name": group, "versions": [version.clone()], "preferredVersion": version })
}

fn of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(move |r| r.group == group && r.version == version)
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let mut entries = Vec::new();
    for res in of(group, version) {
        let verbs: &[&str] = match res.is_review() {
            true => &["create"],
            false => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        };
        let mut entry = json!({ "name": res.plural, "singularName": res.kind.to_lowercase(), "kind": res.kind,
            "namespaced": res.namespaced, "verbs": verbs });
        if !res.short.is_empty() {
            entry["shortNames"] = json!([res.short]);
        }
        entries.push(entry);
        let mut subresource = |name: &str, kind: &str, verbs: &[&str]| {
            entries.push(json!({ "name": format!("{}/{name}", res.plural), "singularName": "", "kind": kind,
                "namespaced": res.namespaced, "verbs": verbs }));
        };
        if res.status {
            subresource("status", res.kind, &["get", "patch", "update"]);
        }
        if res.kind == "Node" {
            subresource("proxy", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"]);
        }
        if res.is_pods() {
            subresource("binding", "Binding", &["create"]);
            subresource("exec", "PodExecOptions", &["create", "get"]);
            subresource("log", "Pod", &["get"]);
            subresource("portforward", "PodPortForwardOptions", &["create", "get"]);
        }
    }
    (!entries.is_empty()).then(|| {
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version),
            "resources": entries })
    })
}

/// An empty document: as protobuf, the only form clients ask for, that is no bytes at all. Clients ask for `spec.v2@v1.0`, which is no media type, and
/// the real server answers with another name.
fn openapi_v2(headers: &HeaderMap) -> Reply {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("protobuf") {
        return bytes_reply(StatusCode::OK, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "");
    }
    let document = json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": "v1.36.2" }, "paths": {} });
    json_reply(StatusCode::OK, &document)
}

fn openapi_index() -> Value {
    let mut paths = serde_json::Map::new();
    for path in std::iter::once("api/v1".to_owned())
        .chain(groups().iter().map(|(group, version)| format!("apis/{group}/{version}")))
    {
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// Says of each kind that the server checks fields and runs dry; kubectl looks for nothing else.
fn openapi(group: &str, version: &str) -> Option<Value> {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let mut paths = serde_json::Map::new();
    for res in of(group, version) {
        let namespace = if res.namespaced { "/namespaces/{namespace}" } else { "" };
        let parameter = |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
        let operation = json!({
            "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": res.kind },
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": { "200": { "description": "OK" } },
        });
        paths.insert(format!("{root}{namespace}/{}/{{name}}", res.plural), json!({ "patch": operation }));
    }
    (!paths.is_empty()).then(|| {
        json!({ "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "v1.36.2" }, "paths": paths,
            "components": { "schemas": {} } })
    })
}
