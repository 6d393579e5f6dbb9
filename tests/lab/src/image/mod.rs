//! The lab's images: imported from archives, or assembled from a program of this machine. There is no registry.

mod archive;
mod layer;
mod make;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::files;

pub use make::docker_archive;

/// What an image says of the process that runs in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) env: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image in the store.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The tree, never written to.
    pub(crate) root: PathBuf,
    pub(crate) config: Config,
    /// As the kubelet reports it: `sha256:...`.
    pub(crate) id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    reference: String,
    id: String,
    config: Config,
}

/// The store: one folder an image, named by the digest of its reference.
#[derive(Debug, Clone)]
pub(crate) struct Store(PathBuf);

impl Store {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    fn dir(&self, reference: &str) -> PathBuf {
        self.0.join(hex(ring::digest::digest(&ring::digest::SHA256, reference.as_bytes()).as_ref()))
    }

    /// The image of this reference, if it was imported.
    pub(crate) fn get(&self, reference: &str) -> Result<Option<Image>> {
        let dir = self.dir(&normalize(reference));
        let record = match fs::read(dir.join("image.json")) {
            Ok(record) => record,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record: Record = serde_json::from_slice(&record)?;
        Ok(Some(Image { root: dir.join("root"), config: record.config, id: record.id }))
    }

    /// All references in the store.
    pub(crate) fn references(&self) -> Result<Vec<String>> {
        let mut references = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            if let Ok(record) = fs::read(entry?.path().join("image.json")) {
                references.push(serde_json::from_slice::<Record>(&record)?.reference);
            }
        }
        references.sort();
        Ok(references)
    }

    /// Imports a docker-archive or an oci-archive and returns the references it bears.
    pub(crate) fn import(&self, archive: &Path) -> Result<Vec<String>> {
        fs::create_dir_all(&self.0)?;
        let unpacked = self.0.join(format!(".import-{}", std::process::id()));
        let result = (|| {
            fs::create_dir_all(&unpacked)?;
            tar::Archive::new(fs::File::open(archive)?).unpack(&unpacked)?;
            let mut references = Vec::new();
            for image in archive::images(&unpacked)? {
                for reference in &image.references {
                    let reference = normalize(reference);
                    self.publish(&reference, &image.id, &image.config, |root| {
                        image.layers.iter().try_for_each(|layer| layer::apply(layer, root))
                    })?;
                    references.push(reference);
                }
            }
            if references.is_empty() {
                bail!("the archive names no image");
            }
            Ok(references)
        })()
        .with_context(|| format!("cannot import {}", archive.display()));
        fs::remove_dir_all(&unpacked)?;
        result
    }

    /// Makes an image of programs of this machine, each with the shared libraries it is linked to.
    pub(crate) fn assemble(&self, reference: &str, entrypoint: &str, programs: &[(PathBuf, String)]) -> Result<()> {
        let config = Config {
            entrypoint: vec![entrypoint.to_owned()],
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            ..Config::default()
        };
        let id = hex(ring::digest::digest(&ring::digest::SHA256, reference.as_bytes()).as_ref());
        self.publish(reference, &format!("sha256:{id}"), &config, |root| {
            let mut wanted: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
            for (program, name) in programs {
                wanted.insert((fs::canonicalize(program)?, PathBuf::from("usr/local/bin").join(name)));
                for library in libraries(program)? {
                    let place = library.strip_prefix("/").unwrap_or(&library).to_owned();
                    wanted.insert((fs::canonicalize(&library)?, place));
                }
            }
            for dir in ["tmp", "proc", "sys", "dev", "etc"] {
                fs::create_dir_all(root.join(dir))?;
            }
            wanted.iter().try_for_each(|(from, place)| link_or_copy(from, &root.join(place)))
        })
    }

    fn publish(
        &self,
        reference: &str,
        id: &str,
        config: &Config,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let dir = self.dir(reference);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let root = dir.join("root");
        fs::create_dir_all(&root)?;
        fill(&root)?;
        let record = Record { reference: reference.into(), id: id.into(), config: config.clone() };
        files::write(&dir.join("image.json"), &serde_json::to_vec(&record)?, 0o644)
    }
}

/// The full name of an image, as the runtime knows it: `rig/busybox:1` is `docker.io/rig/busybox:1`.
fn normalize(reference: &str) -> String {
    let (name, rest) = match reference.split_once('@') {
        Some((name, digest)) => (name, format!("@{digest}")),
        None => match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, format!(":{tag}")),
            _ => (reference, ":latest".to_owned()),
        },
    };
    let host = name.split('/').next().unwrap_or_default();
    match name.contains('/') {
        true if host.contains(['.', ':']) || host == "localhost" => format!("{name}{rest}"),
        true => format!("docker.io/{name}{rest}"),
        false => format!("docker.io/library/{name}{rest}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The shared libraries of a program, by the loader's own account; none of a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        if all.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("ldd {}: {}", program.display(), all.trim());
    }
    if text.contains("not found") {
        bail!("{} lacks a library: {}", program.display(), text.trim());
    }
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from))
        .collect())
}

fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a program has a folder")?)?;
    if std::fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn a_short_name_is_one_of_docker_hub() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("rig/busybox:1", "docker.io/rig/busybox:1"),
            ("registry.k8s.io/etcd:3.5.1-0", "registry.k8s.io/etcd:3.5.1-0"),
            ("127.0.0.1:9/none:1", "127.0.0.1:9/none:1"),
            ("localhost/x", "localhost/x:latest"),
        ] {
            assert_eq!(normalize(short), full);
        }
    }
}
