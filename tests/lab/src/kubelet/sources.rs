//! What a pod takes of Secrets and ConfigMaps: volumes, and variables of its containers. Unlike a real kubelet's, a volume stays
//! as its object was when the pod began.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Node;
use crate::pod::{Container, Pod, Source, Volume};

/// The mode of files of a volume that says nothing of it.
const MODE: u32 = 0o644;

/// Which kind of object.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    /// As a kubelet calls it in messages; with an `s` it is the resource.
    fn word(self) -> &'static str {
        match self {
            Kind::Secret => "secret",
            Kind::ConfigMap => "configmap",
        }
    }
}

/// Where the files of a volume are.
pub(super) fn folder(volume: &Volume, pod_dir: &Path) -> PathBuf {
    pod_dir.join("volumes").join(&volume.name)
}

/// Makes the volumes of a pod that are Secrets and ConfigMaps; those that are there stay as they are.
///
/// # Errors
/// An object is not there, or the API server does not answer.
pub(super) async fn volumes(node: &Node, pod: &Pod, pod_dir: &Path) -> Result<()> {
    for volume in &pod.spec.volumes {
        let (kind, source) = match (&volume.secret, &volume.config_map) {
            (Some(secret), _) => (Kind::Secret, secret),
            (None, Some(config_map)) => (Kind::ConfigMap, config_map),
            (None, None) => continue,
        };
        let folder = folder(volume, pod_dir);
        if folder.exists() {
            continue;
        }
        // The kubelet's words, its space before the colon included.
        let failed = || format!("MountVolume.SetUp failed for volume {:?} ", volume.name);
        let data = object(node, pod, kind, source).await.with_context(failed)?;
        write(&folder, &data, source.default_mode.unwrap_or(MODE)).with_context(failed)?;
    }
    Ok(())
}

/// Writes the files of a volume. The folder is there only when it is whole.
fn write(folder: &Path, data: &BTreeMap<String, Vec<u8>>, mode: u32) -> Result<()> {
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    for (name, value) in data {
        let file = part.join(name);
        fs::write(&file, value)?;
        fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(&part, folder)?)
}

/// The variables that a container takes of whole objects. Of two of one name the later counts.
///
/// # Errors
/// As [`volumes`].
pub(super) async fn variables(node: &Node, pod: &Pod, container: &Container) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for from in &container.env_from {
        let (kind, source) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(secret), _) => (Kind::Secret, secret),
            (None, Some(config_map)) => (Kind::ConfigMap, config_map),
            (None, None) => continue,
        };
        for (name, value) in object(node, pod, kind, source).await? {
            let value = String::from_utf8(value).with_context(|| format!("{name} is not text"))?;
            all.insert(format!("{}{name}", from.prefix), value);
        }
    }
    Ok(all)
}

/// What is in an object.
async fn object(node: &Node, pod: &Pod, kind: Kind, source: &Source) -> Result<BTreeMap<String, Vec<u8>>> {
    let path = format!("/api/v1/namespaces/{}/{}s/{}", pod.metadata.namespace, kind.word(), source.name);
    match node.api.call(Method::GET, &path, None).await? {
        (status, object) if status.is_success() => contents(kind, &object),
        (StatusCode::NOT_FOUND, _) if source.optional => Ok(BTreeMap::new()),
        (StatusCode::NOT_FOUND, _) => bail!("{} {:?} not found", kind.word(), source.name),
        (status, answer) => bail!("GET {path}: {status}: {answer}"),
    }
}

fn contents(kind: Kind, object: &Value) -> Result<BTreeMap<String, Vec<u8>>> {
    let (plain, encoded) = match kind {
        Kind::Secret => (None, object["data"].as_object()),
        Kind::ConfigMap => (object["data"].as_object(), object["binaryData"].as_object()),
    };
    let mut all = BTreeMap::new();
    for (name, value) in plain.into_iter().flatten() {
        all.insert(name.clone(), value.as_str().context("a value that is text")?.into());
    }
    for (name, value) in encoded.into_iter().flatten() {
        all.insert(name.clone(), STANDARD.decode(value.as_str().context("a value that is text")?)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_an_object_is_decoded() {
        let map = |kind, object| contents(kind, &object).unwrap().into_iter().collect::<Vec<_>>();
        let bytes = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let object = serde_json::json!({"data": {"a": "eA=="}, "binaryData": {"b": "/w=="}});
        assert_eq!(map(Kind::Secret, object.clone()), [bytes("a", b"x")]);
        assert_eq!(map(Kind::ConfigMap, object), [bytes("a", b"eA=="), bytes("b", &[255])]);
        assert!(contents(Kind::Secret, &serde_json::json!({"data": {"a": "no base64"}})).is_err());
        assert!(contents(Kind::Secret, &Value::Null).unwrap().is_empty());
    }

    #[test]
    fn a_volume_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        std::fs::create_dir(folder.path().join("v.part")).unwrap();
        std::fs::write(folder.path().join("v.part/old"), "").unwrap();
        write(&volume, &[("key".to_owned(), b"x".to_vec())].into(), 0o400).unwrap();
        let files: Vec<_> = fs::read_dir(&volume).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(files, ["key"]);
        assert_eq!(fs::metadata(volume.join("key")).unwrap().permissions().mode() & 0o777, 0o400);
    }
}
