//! Who may do what, and who looks at it before it is done.

use serde_json::Value;

use super::Kind;
use super::cluster::names;
use super::view::{NONE, View, human_duration, or};

pub(super) const KINDS: &[Kind] = &[
    Kind::new("ServiceAccount", &["SECRETS", "AGE"], |view| vec![view.count("/secrets").to_string(), view.age()]),
    Kind::new("RoleBinding", BINDING, binding),
    Kind::new("ClusterRoleBinding", BINDING, binding),
    Kind::new(
        "CertificateSigningRequest",
        &["AGE", "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", "CONDITION"],
        |view| {
            let lasts = view.at("/spec/expirationSeconds").as_i64().map_or_else(|| NONE.to_owned(), human_duration);
            let requestor = view.text("/spec/username").to_owned();
            vec![view.age(), view.text_or("/spec/signerName", NONE), requestor, lasts, request_condition(view)]
        },
    ),
    Kind::new("MutatingWebhookConfiguration", &["WEBHOOKS", "AGE"], webhooks),
    Kind::new("ValidatingWebhookConfiguration", &["WEBHOOKS", "AGE"], webhooks),
    Kind::new("ValidatingAdmissionPolicy", &["VALIDATIONS", "PARAMKIND", "AGE"], |view| {
        vec![view.count("/spec/validations").to_string(), parameter_kind(view), view.age()]
    }),
    Kind::new("ValidatingAdmissionPolicyBinding", &["POLICYNAME", "PARAMREF", "AGE"], policy_binding),
    Kind::new("MutatingAdmissionPolicy", &["MUTATIONS", "PARAMKIND", "AGE"], |view| {
        vec![view.count("/spec/mutations").to_string(), parameter_kind(view), view.age()]
    }),
    Kind::new("MutatingAdmissionPolicyBinding", &["POLICYNAME", "PARAMREF", "AGE"], policy_binding),
];

const BINDING: &[&str] = &["ROLE", "AGE", "+USERS", "+GROUPS", "+SERVICEACCOUNTS"];

fn binding(view: &View<'_>) -> Vec<String> {
    let subjects = |kind: &str| -> Vec<&Value> {
        view.items("/subjects").iter().filter(|subject| subject["kind"] == kind).collect()
    };
    let named = |kind: &str| {
        let all: Vec<&str> = subjects(kind).into_iter().filter_map(|one| one["name"].as_str()).collect();
        all.join(", ")
    };
    let account = |one: &&Value| {
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        format!("{}/{}", text("namespace"), text("name"))
    };
    let accounts: Vec<String> = subjects("ServiceAccount").iter().map(account).collect();
    vec![
        format!("{}/{}", view.text("/roleRef/kind"), view.text("/roleRef/name")),
        view.age(),
        named("User"),
        named("Group"),
        accounts.join(", "),
    ]
}

fn webhooks(view: &View<'_>) -> Vec<String> {
    vec![names(view.at("/webhooks")).len().to_string(), view.age()]
}

fn parameter_kind(view: &View<'_>) -> String {
    match view.has("/spec/paramKind") {
        true => format!("{}/{}", view.text("/spec/paramKind/apiVersion"), view.text("/spec/paramKind/kind")),
        false => "<unset>".to_owned(),
    }
}

fn policy_binding(view: &View<'_>) -> Vec<String> {
    let (namespace, name) = (view.text("/spec/paramRef/namespace"), view.text("/spec/paramRef/name"));
    let parameters = match (namespace, name) {
        ("", name) => or(name, if view.has("/spec/paramRef") { "*" } else { "<unset>" }),
        (namespace, name) => format!("{namespace}/{}", or(name, "*")),
    };
    vec![view.text("/spec/policyName").to_owned(), parameters, view.age()]
}

fn request_condition(view: &View<'_>) -> String {
    let has = |kind: &str| view.condition(kind).is_some();
    let first = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if view.text("/status/certificate").is_empty() { "" } else { ",Issued" };
    format!("{first}{failed}{issued}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;

    #[test]
    fn bindings_and_requests() {
        let binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "User", "name": "bob"}, {"kind": "Group", "name": "ops"},
                         {"kind": "ServiceAccount", "name": "ci", "namespace": "build"}],
        });
        let shown = ["ClusterRole/view", "<unknown>", "ann, bob", "ops", "build/ci"];
        assert_eq!(row("RoleBinding", true, &binding), shown);
        let request = json!({
            "spec": {"signerName": "kubernetes.io/kubelet-serving", "username": "system:node:w1", "expirationSeconds": 86400},
            "status": {"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="},
        });
        let shown = ["<unknown>", "kubernetes.io/kubelet-serving", "system:node:w1", "24h", "Approved,Issued"];
        assert_eq!(row("CertificateSigningRequest", false, &request), shown);
        let hooks = json!({"webhooks": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(row("ValidatingWebhookConfiguration", false, &hooks)[0], "2");
    }
}
