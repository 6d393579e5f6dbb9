//! The two archive forms, unpacked: docker's (`manifest.json`) and OCI's (`index.json`). An archive with both is read
//! as docker's, which has the names as they were written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Config, hex};

/// An image in an archive.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) references: Vec<String>,
    /// Lowest first.
    pub(super) layers: Vec<PathBuf>,
    pub(super) config: Config,
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| path.display().to_string())
}

/// A path an archive names, which may not lead out of it.
fn inside(dir: &Path, name: &str) -> Result<PathBuf> {
    if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        bail!("the archive names a file outside itself: {name}");
    }
    Ok(dir.join(name))
}

fn blob(dir: &Path, digest: &str) -> Result<PathBuf> {
    let path = inside(dir, &format!("blobs/{}", digest.replace(':', "/")))?;
    let content = fs::read(&path)?;
    let actual = hex(ring::digest::digest(&ring::digest::SHA256, &content).as_ref());
    if digest != format!("sha256:{actual}") {
        bail!("blob {digest} has digest sha256:{actual}");
    }
    Ok(path)
}

/// The images in an unpacked archive.
pub(super) fn images(dir: &Path) -> Result<Vec<Found>> {
    if dir.join("manifest.json").exists() {
        let images: Vec<DockerImage> = json(&dir.join("manifest.json"))?;
        return images.into_iter().map(|image| docker(dir, image)).collect();
    }
    if !dir.join("index.json").exists() {
        bail!("neither a docker-archive nor an oci-archive");
    }
    let index: Index = json(&dir.join("index.json"))?;
    index.manifests.into_iter().map(|descriptor| oci(dir, &descriptor)).collect()
}

fn docker(dir: &Path, image: DockerImage) -> Result<Found> {
    let config = inside(dir, &image.config)?;
    let id = hex(ring::digest::digest(&ring::digest::SHA256, &fs::read(&config)?).as_ref());
    Ok(Found {
        references: image.repo_tags.unwrap_or_default(),
        layers: image.layers.iter().map(|layer| inside(dir, layer)).collect::<Result<_>>()?,
        config: json::<ConfigFile>(&config)?.config,
        id: format!("sha256:{id}"),
    })
}

fn oci(dir: &Path, descriptor: &Descriptor) -> Result<Found> {
    // containerd writes the full name, buildah and skopeo what they were given.
    let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .find_map(|key| descriptor.annotations.get(*key))
        .context("an image of the oci-archive has no name: give one as in oci-archive:FILE:NAME:TAG")?;
    let manifest: Manifest = json(&blob(dir, &descriptor.digest)?)?;
    Ok(Found {
        references: vec![name.clone()],
        layers: manifest.layers.iter().map(|layer| blob(dir, &layer.digest)).collect::<Result<_>>()?,
        config: json::<ConfigFile>(&blob(dir, &manifest.config.digest)?)?.config,
        id: manifest.config.digest,
    })
}
