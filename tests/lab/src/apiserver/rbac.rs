//! What they may do: system:masters everything, nodes what a kubelet does, everybody else what the stored roles say.

use serde_json::{Value, json};

use super::{
    auth::User,
    faults::Deny,
    request::Info,
    resource,
    respond::Failure,
    store::{Store, Stored},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Paths nobody is asked about, so that health can be told while there are no roles to read
/// (`--authorization-always-allow-paths` of the real server's defaults).
const ALWAYS_ALLOWED: &[&str] = &["/healthz", "/livez", "/readyz"];

/// Allowed, for the reason given, or not.
pub(super) type Verdict = Option<String>;

/// Decides a request; `deny` is a fault.
pub(super) async fn decide(store: &Store, user: &User, info: &Info, deny: &[Deny]) -> Result<Verdict, Failure> {
    if ALWAYS_ALLOWED.contains(&info.path.as_str()) {
        return Ok(Some(String::new()));
    }
    if user.is_in("system:nodes") && node_rules().iter().any(|rule| covers(rule, info)) {
        return Ok(Some(String::new()));
    }
    if deny.iter().any(|deny| info.resource_request && deny.covers(info.verb, &info.full_resource())) {
        return Ok(None);
    }
    if user.is_in("system:masters") {
        return Ok(Some(String::new()));
    }
    for grant in grants(store, user, info.namespace.as_deref()).await? {
        if grant.rules.iter().any(|rule| covers(rule, info)) {
            return Ok(Some(grant.reason));
        }
    }
    Ok(None)
}

/// Refuses what [`decide`] does not allow, in the real server's words.
pub(super) async fn authorize(store: &Store, user: &User, info: &Info, deny: &[Deny]) -> Result<(), Failure> {
    match decide(store, user, info, deny).await? {
        Some(_) => Ok(()),
        None => Err(refusal(user, info)),
    }
}

fn refusal(user: &User, info: &Info) -> Failure {
    if !info.resource_request {
        let message = format!("forbidden: User {:?} cannot {} path {:?}", user.name, info.verb, info.path);
        return Failure::new(http::StatusCode::FORBIDDEN, "Forbidden", message);
    }
    let scope = match &info.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {:?} cannot {} resource {:?} in API group {:?} {scope}",
        user.name,
        info.verb,
        info.full_resource(),
        info.group
    );
    Failure::forbidden(&info.group, &info.resource, info.name.as_deref(), &why)
}

/// Rules of one binding that binds the user.
struct Grant {
    rules: Vec<Value>,
    reason: String,
}

/// All rules that hold for the user in the namespace.
pub(super) async fn rules(store: &Store, user: &User, namespace: &str) -> Result<Vec<Value>, Failure> {
    let mut rules: Vec<Value> = grants(store, user, Some(namespace)).await?.into_iter().flat_map(|g| g.rules).collect();
    if user.is_in("system:nodes") {
        rules.extend(node_rules());
    }
    if user.is_in("system:masters") {
        rules.push(all_resources());
        rules.push(all_paths());
    }
    Ok(rules)
}

fn all_resources() -> Value {
    json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] })
}

fn all_paths() -> Value {
    json!({ "verbs": ["*"], "nonResourceURLs": ["*"] })
}

async fn grants(store: &Store, user: &User, namespace: Option<&str>) -> Result<Vec<Grant>, Failure> {
    let mut grants = Vec::new();
    for binding in all(store, "clusterrolebindings", None).await? {
        grants.extend(grant(store, user, &binding.object, None).await?);
    }
    if let Some(namespace) = namespace {
        for binding in all(store, "rolebindings", Some(namespace)).await? {
            grants.extend(grant(store, user, &binding.object, Some(namespace)).await?);
        }
    }
    Ok(grants)
}

async fn all(store: &Store, plural: &str, namespace: Option<&str>) -> Result<Vec<Stored>, Failure> {
    store.cached(found(plural), namespace).await
}

fn found(plural: &str) -> &'static resource::Resource {
    resource::find(GROUP, "v1", plural).expect("the RBAC resources are in the table")
}

async fn grant(store: &Store, user: &User, binding: &Value, namespace: Option<&str>) -> Result<Option<Grant>, Failure> {
    let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(subject) = subjects.iter().find_map(|subject| bound(user, subject, namespace)) else { return Ok(None) };
    let (kind, name) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
    let (plural, of) = match (kind, namespace) {
        ("Role", Some(_)) => ("roles", namespace),
        _ => ("clusterroles", None),
    };
    // A binding to a role that does not exist grants nothing.
    let roles = all(store, plural, of).await?;
    let Some(role) = roles.into_iter().find(|role| role.object["metadata"]["name"] == name) else { return Ok(None) };
    let of = match namespace {
        None => format!("ClusterRoleBinding {:?}", text(&binding["metadata"]["name"])),
        Some(namespace) => format!("RoleBinding \"{}/{namespace}\"", text(&binding["metadata"]["name"])),
    };
    let rules = role.object["rules"].as_array().cloned().unwrap_or_default();
    Ok(Some(Grant { rules, reason: format!("RBAC: allowed by {of} of {kind} {name:?} to {subject}") }))
}

fn bound(user: &User, subject: &Value, namespace: Option<&str>) -> Option<String> {
    let name = text(&subject["name"]);
    match text(&subject["kind"]) {
        "User" if user.name == name => Some(format!("User {name:?}")),
        "Group" if user.is_in(name) => Some(format!("Group {name:?}")),
        "ServiceAccount" => {
            let of = subject["namespace"].as_str().or(namespace)?;
            (user.service_account() == Some((of, name))).then(|| format!("ServiceAccount \"{name}/{of}\""))
        }
        _ => None,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn covers(rule: &Value, info: &Info) -> bool {
    if !texts(rule, "verbs").any(|verb| verb == "*" || verb == info.verb) {
        return false;
    }
    if !info.resource_request {
        return texts(rule, "nonResourceURLs").any(|url| match url.strip_suffix('*') {
            Some(prefix) => info.path.starts_with(prefix),
            None => url == info.path,
        });
    }
    let full = info.full_resource();
    let any_sub = format!("*/{}", info.subresource);
    texts(rule, "apiGroups").any(|group| group == "*" || group == info.group)
        && texts(rule, "resources").any(|r| r == "*" || r == full || (!info.subresource.is_empty() && r == any_sub))
        && (texts(rule, "resourceNames").next().is_none()
            || texts(rule, "resourceNames").any(|name| Some(name) == info.name.as_deref()))
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({ "verbs": verbs, "apiGroups": [group], "resources": resources })
}

/// What a kubelet may do (`system:node`); the lab does not narrow it to the node's own pods.
fn node_rules() -> Vec<Value> {
    vec![
        rule(&["get", "list", "watch", "create", "update", "patch", "delete"], "", &["nodes"]),
        rule(&["get", "list", "watch", "create", "delete"], "", &["pods"]),
        rule(&["get", "update", "patch"], "", &["nodes/status", "pods/status"]),
        rule(&["create", "update", "patch"], "", &["events"]),
        rule(
            &["get", "list", "watch"],
            "",
            &["services", "configmaps", "secrets", "persistentvolumes", "persistentvolumeclaims", "namespaces"],
        ),
        rule(&["get", "create", "update", "patch", "delete"], "coordination.k8s.io", &["leases"]),
    ]
}

/// The roles and bindings a server makes when it starts, and the one kubeadm adds for its admin.conf:
/// `(plural, object)`.
pub(super) fn bootstrap() -> Vec<(&'static str, Value)> {
    let open = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
    let discovery: Vec<&str> = discovery.iter().chain(&open).copied().collect();
    let reviews = rule(&["create"], "authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]);
    let who = rule(&["create"], "authentication.k8s.io", &["selfsubjectreviews"]);
    let role = |name: &str, rules: Value| {
        let object = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name, "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" } }, "rules": rules });
        ("clusterroles", object)
    };
    let binding = |name: &str, role: &str, groups: &[&str]| {
        let subjects: Vec<Value> =
            groups.iter().map(|group| json!({ "kind": "Group", "apiGroup": GROUP, "name": group })).collect();
        let object = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": name }, "subjects": subjects,
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role } });
        ("clusterrolebindings", object)
    };
    vec![
        role("cluster-admin", json!([all_resources(), all_paths()])),
        role("system:discovery", json!([{ "verbs": ["get"], "nonResourceURLs": discovery }])),
        role("system:public-info-viewer", json!([{ "verbs": ["get"], "nonResourceURLs": open }])),
        role("system:basic-user", json!([reviews, who])),
        binding("cluster-admin", "cluster-admin", &["system:masters"]),
        binding("system:discovery", "system:discovery", &["system:authenticated"]),
        binding(
            "system:public-info-viewer",
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
        binding("system:basic-user", "system:basic-user", &["system:authenticated"]),
        binding("kubeadm:cluster-admins", "cluster-admin", &["kubeadm:cluster-admins"]),
    ]
}
