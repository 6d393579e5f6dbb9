//! Static pods: what lies in the manifests folder runs. Like the real kubelet this takes any file that does not begin
//! with a dot.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use fs_err as fs;
use serde_json::{Value, json};

use super::handle::Handle;
use super::{Node, api, volumes, worker};
use crate::image::hex;
use crate::paths::MANIFESTS;
use crate::pod::Pod;

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A static pod as it should be.
#[derive(Debug, Clone)]
struct Wanted {
    hash: String,
    manifest: Value,
    pod: Pod,
}

/// A file as it was last read.
struct Seen {
    stamp: (SystemTime, u64, u64),
    wanted: Option<Wanted>,
}

/// Keeps the static pods running that the folder names.
pub(super) async fn run(node: Arc<Node>) -> Result<()> {
    let mut files: BTreeMap<PathBuf, Seen> = BTreeMap::new();
    let mut running: BTreeMap<String, Arc<Handle>> = BTreeMap::new();
    let mut clock = tokio::time::interval(POLL);
    loop {
        clock.tick().await;
        scan(&node, &mut files)?;
        // Of two files that name the same pod, the later name counts, as long as it is there.
        let wanted: BTreeMap<String, &Wanted> = files
            .values()
            .filter_map(|seen| seen.wanted.as_ref())
            .map(|wanted| (format!("{}/{}", wanted.pod.metadata.namespace, wanted.pod.metadata.name), wanted))
            .collect();
        let mut ended = Vec::new();
        for (name, handle) in &running {
            if wanted.get(name).is_none_or(|wanted| wanted.hash != handle.pod.metadata.uid) {
                handle.end(handle.grace());
            }
            if !handle.is_active() {
                ended.push(name.clone());
            }
        }
        for name in ended {
            if let Some(handle) = running.remove(&name) {
                node.remove(&handle.pod.metadata.uid);
                volumes::remove(&handle.pod, &handle.dir(&node))?;
                node.statics_changed.notify_one();
            }
        }
        for (name, wanted) in wanted {
            if let Entry::Vacant(place) = running.entry(name) {
                let (handle, reports) = Handle::new(wanted.pod.clone(), wanted.manifest.clone(), true);
                let handle = Arc::new(handle);
                node.insert(&wanted.hash, Arc::clone(&handle));
                place.insert(Arc::clone(&handle));
                tokio::spawn(api::report(Arc::clone(&node), Arc::clone(&handle), reports));
                let node_of_pod = Arc::clone(&node);
                tokio::spawn(async move {
                    let name = handle.api_name(&node_of_pod.name);
                    if let Err(error) = worker::run(node_of_pod, handle).await {
                        tracing::error!(pod = name, "{error:#}");
                    }
                });
                node.statics_changed.notify_one();
            }
        }
    }
}

/// Reads what is new in the folder.
fn scan(node: &Node, files: &mut BTreeMap<PathBuf, Seen>) -> Result<()> {
    let mut there = BTreeMap::new();
    let entries = match fs::read_dir(node.dir.manifests()) {
        Ok(entries) => entries,
        // The real kubelet takes a folder that is not there for an empty one.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files.clear();
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        // A file that went away in between is one that is not there.
        let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
        if entry.file_name().to_string_lossy().starts_with('.') || !meta.is_file() {
            continue;
        }
        let stamp = (meta.modified()?, meta.len(), std::os::unix::fs::MetadataExt::ino(&meta));
        let seen = match files.remove(&entry.path()) {
            Some(seen) if seen.stamp == stamp => seen,
            _ => {
                let Ok(content) = std::fs::read(entry.path()) else { continue };
                let wanted = match parse(node, &content) {
                    Ok(wanted) => Some(wanted),
                    Err(error) => {
                        tracing::warn!(file = %entry.path().display(), "no static pod: {error:#}");
                        None
                    }
                };
                Seen { stamp, wanted }
            }
        };
        there.insert(entry.path(), seen);
    }
    *files = there;
    Ok(())
}

/// Reads a manifest and makes of it what the mirror pod will be.
fn parse(node: &Node, content: &[u8]) -> Result<Wanted> {
    let mut manifest: Value = serde_yaml_ng::from_slice(content)?;
    let fields = manifest.as_object_mut().context("not an object")?;
    anyhow::ensure!(fields.get("kind").and_then(Value::as_str) == Some("Pod"), "not a Pod");
    fields.remove("status");
    let digest =
        ring::digest::digest(&ring::digest::SHA256, &[content, node.name.as_bytes(), MANIFESTS.as_bytes()].concat());
    let hash = hex(&digest.as_ref()[..16]);
    let mut pod: Pod = Pod::parse(manifest.clone())?;
    pod.metadata.uid.clone_from(&hash);
    manifest["metadata"]["namespace"] = pod.metadata.namespace.clone().into();
    manifest["metadata"]["name"] = format!("{}-{}", pod.metadata.name, node.name).into();
    let annotations = &mut manifest["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = json!({});
    }
    for (name, value) in [
        ("config.hash", hash.as_str()),
        ("config.mirror", &hash),
        ("config.seen", &jiff::Timestamp::now().to_string()),
        ("config.source", "file"),
    ] {
        annotations[format!("kubernetes.io/{name}")] = value.into();
    }
    manifest["spec"]["nodeName"] = node.name.clone().into();
    manifest["spec"]["tolerations"] = json!([{"effect": "NoExecute", "operator": "Exists"}]);
    Ok(Wanted { hash, manifest, pod })
}
