//! Objects as text: one document, or the files of a folder for kustomize.

use std::fmt::Write as _;

use serde_json::json;

use super::objects::Named;
use super::plan::Plan;
use crate::output::visible::yaml;
use crate::output::{Failed, Outcome};

/// All objects, one behind the other.
///
/// # Errors
/// An object cannot be written as YAML.
pub(super) fn document(plan: &Plan, objects: &[Named]) -> Outcome<String> {
    let mut text = head(plan, "kubectl apply -f FILE");
    for (_, object) in objects {
        write!(text, "---\n{}", text_of(object)?).map_err(|error| unwritten(&error))?;
    }
    Ok(text)
}

/// A file an object, and what lists them.
///
/// # Errors
/// An object cannot be written as YAML.
pub(super) fn files(plan: &Plan, objects: &[Named]) -> Outcome<Vec<(String, String)>> {
    let mut files = Vec::new();
    for (name, object) in objects {
        files.push((format!("{name}.yaml"), text_of(object)?));
    }
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    let list = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names});
    let list = format!("{}{}", head(plan, "kubectl apply -k DIR"), text_of(&list)?);
    files.push(("kustomization.yaml".to_owned(), list));
    Ok(files)
}

fn text_of(object: &serde_json::Value) -> Outcome<String> {
    let mut text = yaml(object).map_err(|error| unwritten(&error))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn unwritten(error: &dyn std::fmt::Display) -> Failed {
    Failed::plain("cannot write the objects as YAML").cause(error)
}

/// What a reader of the file needs to know.
fn head(plan: &Plan, apply: &str) -> String {
    let namespace = &plan.namespace;
    let mut lines = vec![
        format!("Backups of etcd, by kubectl etcd schedule {}. To apply:", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  {apply}"),
    ];
    let mut objects = Vec::new();
    let secret = |name: &str, from: &str| format!("kubectl create secret generic {name} -n {namespace} {from}");
    if let Some(name) = &plan.credential {
        objects.push((secret(name, "--from-env-file=store.env"), "may list, read and write the store"));
    }
    if let Some(name) = plan.prune_credential.as_ref().filter(|_| !plan.keep.is_empty()) {
        objects.push((secret(name, "--from-env-file=prune.env"), "may also delete"));
    }
    if let Some(name) = &plan.sign_key {
        objects.push((secret(name, "--from-file=key=SIGN-KEY"), "signs the records; without a passphrase"));
    }
    if let Some(name) = plan.drill.as_ref().and_then(|drill| drill.identity.as_ref()) {
        let what = "decrypts ALL backups: whoever can read Secrets here can read them";
        objects.push((secret(name, "--from-file=identity=IDENTITY-FILE"), what));
    }
    if let Some((_, name)) = &plan.ca {
        let made = format!("kubectl create configmap {name} -n {namespace} --from-file=ca.crt=CA-FILE");
        objects.push((made, "the certificate authority of the store"));
    }
    if !objects.is_empty() {
        lines.extend([
            String::new(),
            "Once, with files of yours, which belong in no repository:".to_owned(),
            String::new(),
        ]);
        for (command, what) in objects {
            lines.push(format!("  {command}"));
            lines.push(format!("    # {what}"));
        }
    }
    if plan.credential.is_some() {
        let example = match plan.store.scheme() {
            "s3" => "AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=...",
            "gs" => "GOOGLE_SERVICE_ACCOUNT_KEY=...",
            _ => "AZURE_STORAGE_KEY=...",
        };
        lines.extend([String::new(), format!("An env file has lines such as {example}")]);
    }
    lines.extend([
        String::new(),
        "The pod of a backup has the network of its node: no NetworkPolicy covers it.".to_owned(),
        "The others are reached at their port of metrics, and reach the DNS and the port of the store.".to_owned(),
    ]);
    lines.iter().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}
