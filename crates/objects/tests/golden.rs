//! What a real API server stored, decoded: it must be what that API server answered.

mod support;

use std::collections::HashMap;

use etcd_objects::value::Format;
use etcd_objects::{DecodeError, Object, decode, encode};
use serde_json::Value;

/// What tells an object from all others, whatever version it is shown in.
fn identity(json: &Value) -> String {
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    format!("{group} {} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn objects() -> HashMap<String, (Object, i64)> {
    let mut objects = HashMap::new();
    for (key, live) in support::keys_of("kubeadm-ha") {
        let value = live.value.expect("the value was asked for");
        match decode(&value) {
            Ok(object) => {
                let mut object = object.into_served();
                object.set_resource_version(live.mod_revision);
                object.strip_managed_fields();
                objects.insert(identity(&object.json), (object, live.mod_revision));
            }
            Err(DecodeError::UnknownFormat) if key == b"compact_rev_key" => {}
            Err(error) => panic!("{}: {error}", String::from_utf8_lossy(&key)),
        }
    }
    objects
}

#[test]
fn objects_are_what_kubectl_printed() {
    let objects = objects();
    let (mut same, mut changed, mut different) = (0, 0, Vec::new());
    for printed in ["cluster", "namespaced"].into_iter().flat_map(support::printed) {
        let (object, revision) = objects.get(&identity(&printed)).expect("every printed object is in the snapshot");
        let printed_revision = printed.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if printed_revision != Some(&revision.to_string()) {
            changed += 1;
            continue;
        }
        let mut found = Vec::new();
        support::differences("", &object.json, &printed, &mut found);
        if found.is_empty() {
            same += 1;
        } else {
            different.push(format!("{}\n    {}", identity(&printed), found.join("\n    ")));
        }
    }
    assert!(different.is_empty(), "{} differ, {same} do not:\n{}", different.len(), different.join("\n"));
    assert_eq!((same, changed), (354, 0));
}

#[test]
fn every_object_decodes_without_unknown_fields_and_encodes_to_the_same_bytes() {
    for snapshot in ["kubeadm-ha", "3.4.23", "3.5.30", "3.6.14", "3.7.1"] {
        let (mut decoded, mut protobuf) = (0, 0);
        for (key, live) in support::keys_of(snapshot) {
            let value = live.value.expect("the value was asked for");
            if let Format::Protobuf | Format::Json = Format::of(&value) {
                let object =
                    decode(&value).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&key)));
                assert_eq!(object.unknown, [], "{}", String::from_utf8_lossy(&key));
                if Format::of(&value) == Format::Protobuf {
                    let again = encode(&object.json, &object.api_version, &object.kind);
                    let again = again.unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&key)));
                    assert!(again == value, "{} is not stored as it was", String::from_utf8_lossy(&key));
                    protobuf += 1;
                }
                decoded += 1;
            }
        }
        assert!(decoded > 300 && protobuf > 300, "{snapshot}: {decoded}, {protobuf}");
    }
}
