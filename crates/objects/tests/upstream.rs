//! Every kind of every version as Kubernetes itself writes it, in protobuf and in JSON: the files that its own round-trip tests go by.
//!
//! They are not in this repository. To run this, set `KUBERNETES_TESTDATA` to a folder that holds folders with the files of
//! `testdata/HEAD` in github.com/kubernetes/api and of `pkg/apis/testdata/HEAD` in apiextensions-apiserver, each at any tags:
//!
//!     KUBERNETES_TESTDATA=... cargo test -p etcd-objects --test upstream -- --ignored

mod support;

use std::path::{Path, PathBuf};

use etcd_objects::{DecodeError, decode, encode};
use serde_json::Value;

/// Kinds of requests and answers, which every group has and none stores.
const NEVER_STORED: [&str; 12] = [
    "APIGroup",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "ExportOptions",
    "GetOptions",
    "JobTemplate",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
    "WatchEvent",
];

/// Where an older version shows something else than the newest, by which we go; and how its files begin where they are wrong.
const CHANGED: [(&str, &str); 10] = [
    // Shown as null before 1.34.
    ("", "metadata.creationTimestamp: None Some(Null)"),
    // An alpha field of 1.26 to 1.28, of claims of which nothing could be claimed: told as unknown.
    ("", "resources.claims: None Some("),
    ("", "[UnknownField { path: \""),
    // Shown always, since.
    ("apps", ".status.availableReplicas: Some("),
    ("networking.k8s.io", ".spec.parameters.scope: Some(Null)"),
    ("admissionregistration.k8s.io.v1alpha1.ValidatingAdmissionPolicy", ".status: Some("),
    ("resource.k8s.io.v1alpha3.DeviceTaintRule", ".status: Some("),
    ("resource.k8s.io.v1alpha3.ResourceClaim", "adminAccess: Some(Null)"),
    ("certificates.k8s.io.v1beta1.PodCertificateRequest", ".spec.stubPKCS10Request: Some(Null)"),
    // A wrong file of 1.23.
    ("autoscaling.v2.HorizontalPodAutoscaler", ".apiVersion: "),
];

fn is_known_change(file: &str, difference: &str) -> bool {
    CHANGED.iter().any(|(name, what)| file.starts_with(name) && difference.contains(what))
}

/// Files with this ending below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "pb") && path.with_extension("json").exists() {
            found.push(path);
        }
    }
}

/// Only a server that converts says of claims what they are; these files are written without.
fn forget_kinds_of_claims(json: &mut Value) {
    let claims = json.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
        claim.remove("apiVersion");
        claim.remove("kind");
    }
}

#[test]
#[ignore = "needs files of Kubernetes"]
fn kinds_as_kubernetes_writes_them() {
    let folder = std::env::var_os("KUBERNETES_TESTDATA").expect("KUBERNETES_TESTDATA");
    let mut all = Vec::new();
    files(Path::new(&folder), &mut all);
    all.sort();
    let (mut same, mut changed, mut wrong) = (0, 0, Vec::new());
    for path in &all {
        let name = path.strip_prefix(&folder).expect("within").display();
        let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let value = std::fs::read(path).expect("read");
        let json = std::fs::read(path.with_extension("json")).expect("read");
        // One of 1.22 is broken: its kind was gone by then.
        let Ok(mut json) = serde_json::from_slice::<Value>(&json) else { continue };
        let mut object = match decode(&value) {
            Ok(object) => object,
            Err(DecodeError::UnknownKind { .. })
                if NEVER_STORED.iter().any(|kind| file.contains(&format!(".{kind}."))) =>
            {
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let again = encode(&object.json, &object.api_version, &object.kind);
        let full = object.json.clone();
        forget_kinds_of_claims(&mut object.json);
        forget_kinds_of_claims(&mut json);
        let mut found = Vec::new();
        support::differences("", &object.json, &json, &mut found);
        if !object.unknown.is_empty() {
            found.push(format!("{:?}", object.unknown));
        }
        let mut differs = !found.is_empty();
        found.retain(|difference| !is_known_change(file, difference));
        match again {
            Ok(again) if again == value => {}
            // Newer versions have more fields that they write even if they are zero.
            Ok(again) => match decode(&again) {
                Ok(twice) if twice.json == full => differs = true,
                _ => found.push("other bytes".to_owned()),
            },
            Err(error) => found.push(error.to_string()),
        }
        match (found.is_empty(), differs) {
            (true, false) => same += 1,
            (true, true) => changed += 1,
            _ => wrong.push(format!("{name}: {}", found.join("; "))),
        }
    }
    assert!(
        wrong.is_empty(),
        "{same} are as they should be, {changed} as newer versions are, others not:\n{}",
        wrong.join("\n")
    );
    assert!(same > 100 && changed < same, "{same} {changed}");
}
