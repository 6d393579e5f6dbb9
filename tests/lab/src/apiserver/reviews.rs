//! Reviews: may I, what may I, who am I.

use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    protobuf, rbac,
    request::Info,
    resource::Resource,
    respond::{Failure, Reply, json_reply},
    rest,
    server::Cx,
};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(super) async fn answer(cx: Cx, res: &Resource, request: Request<Incoming>) -> Result<Reply, Failure> {
    let review = if request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROTOBUF) {
        let wrong = || Failure::bad_request(format!("the body of the request is no {}", res.kind));
        protobuf::review(res.kind, &rest::bytes(request).await?).ok_or_else(wrong)?
    } else {
        rest::body(request).await?
    };
    let spec = &review["spec"];
    let status = match res.kind {
        "SelfSubjectAccessReview" => {
            let info = asked(spec)?;
            match rbac::decide(&cx.server.store, &cx.user, &info, &cx.faults.deny).await? {
                Some(reason) if reason.is_empty() => json!({ "allowed": true }),
                Some(reason) => json!({ "allowed": true, "reason": reason }),
                None => json!({ "allowed": false }),
            }
        }
        "SelfSubjectRulesReview" => {
            let namespace = text(&spec["namespace"]);
            if namespace.is_empty() {
                return Err(Failure::bad_request("no namespace on request"));
            }
            let rules = rbac::rules(&cx.server.store, &cx.user, namespace).await?;
            let (paths, resources): (Vec<Value>, Vec<Value>) =
                rules.into_iter().partition(|rule| rule.get("nonResourceURLs").is_some());
            json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false })
        }
        _ => json!({ "userInfo": cx.user.info() }),
    };
    let answer = json!({ "kind": res.kind, "apiVersion": res.api_version(), "metadata": {}, "spec": review["spec"],
        "status": status });
    Ok(json_reply(StatusCode::CREATED, &answer))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn asked(spec: &Value) -> Result<Info, Failure> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == path.is_object() {
        return Err(Failure::bad_request(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let some = |field: &str| Some(text(&resource[field]).to_owned()).filter(|t| !t.is_empty());
    let verb = known_verb(text(if path.is_object() { &path["verb"] } else { &resource["verb"] }));
    Ok(Info {
        verb,
        path: text(&path["path"]).to_owned(),
        resource_request: resource.is_object(),
        group: text(&resource["group"]).to_owned(),
        version: text(&resource["version"]).to_owned(),
        resource: text(&resource["resource"]).to_owned(),
        subresource: text(&resource["subresource"]).to_owned(),
        rest: String::new(),
        namespace: some("namespace"),
        name: some("name"),
    })
}

/// A verb nobody grants by name still falls under `*`.
fn known_verb(verb: &str) -> &'static str {
    const VERBS: &[&str] = &[
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "impersonate",
        "post",
        "put",
        "head",
        "options",
        "bind",
        "escalate",
        "use",
        "approve",
        "sign",
        "*",
    ];
    VERBS.iter().find(|known| **known == verb).copied().unwrap_or("unknown")
}
