//! The snapshot of a real cluster, and its objects as `kubectl get -o yaml` printed them seconds before.

#![allow(dead_code, reason = "every test takes what it needs")]
#![allow(unreachable_pub, reason = "it is part of several tests")]

pub mod instances;

use std::path::PathBuf;

use etcd_snapshot::{FileSource, Keep, LiveKeys, Options, Pick, live_keys};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

/// All keys of a snapshot, with their values.
pub fn keys_of(snapshot: &str) -> LiveKeys {
    let packed = std::fs::File::open(data(&format!("snapshots/{snapshot}.db.zst"))).expect("the snapshot");
    let mut file = tempfile::tempfile().expect("a temporary file");
    zstd::stream::copy_decode(packed, &mut file).expect("unpacked");
    let source = FileSource::new(file).expect("a source");
    live_keys(&source, &Options::default(), &Pick::new(&|_| Keep::Value), &|_| {}).expect("a sound snapshot").1
}

/// The objects in one of the two lists.
pub fn printed(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(data(&format!("objects/{name}.yaml"))).expect("the list");
    let list: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    list.get("items").and_then(Value::as_array).cloned().expect("items")
}

/// Where two values differ, each with its path and both values.
pub fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&path, a, b, found),
                    (ours, theirs) => found.push(format!("{path}: {ours:?} {theirs:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {a} {b}")),
    }
}
