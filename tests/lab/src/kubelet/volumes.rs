//! A pod's volumes on the node.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::spec::Mount;
use super::{Node, sources};
use crate::pod::{Container, Pod, Volume};

/// Finds or makes what a container mounts. It fails while a host path of type Directory or File is not there.
pub(super) fn mounts(node: &Node, pod: &Pod, container: &Container, pod_dir: &Path) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in &container.volume_mounts {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.with_context(|| format!("no volume {}", mount.name))?;
        let source = source(node, volume, pod_dir)?;
        // A kubelet mounts these read-only whatever the pod says.
        let read_only = mount.read_only || volume.secret.is_some() || volume.config_map.is_some();
        mounts.push(Mount { source, place: mount.mount_path.clone(), read_only });
    }
    Ok(mounts)
}

/// Whether all volumes of a pod can be had; makes those that are to be made.
pub(super) async fn ready(node: &Node, pod: &Pod, pod_dir: &Path) -> Result<()> {
    sources::volumes(node, pod, pod_dir).await?;
    pod.spec.volumes.iter().try_for_each(|volume| {
        // The kubelet's words, its space before the colon included.
        let failed = || format!("MountVolume.SetUp failed for volume {:?} ", volume.name);
        source(node, volume, pod_dir).map(drop).with_context(failed)
    })
}

fn source(node: &Node, volume: &Volume, pod_dir: &Path) -> Result<PathBuf> {
    if let Some(host) = &volume.host_path {
        let path = node.dir.host(&host.path);
        let there = fs::metadata(&path).ok();
        match (host.kind.as_deref().unwrap_or_default(), there) {
            ("DirectoryOrCreate", None) => fs::create_dir_all(&path)?,
            ("FileOrCreate", None) => drop(fs::OpenOptions::new().create(true).append(true).open(&path)?),
            // A runtime makes a folder of an untyped path that is not there.
            ("", None) => fs::create_dir_all(&path)?,
            ("Directory", None) => bail!("hostPath type check failed: {} is not a directory", host.path),
            ("File", None) => bail!("hostPath type check failed: {} is not a file", host.path),
            ("Directory" | "DirectoryOrCreate", Some(there)) if !there.is_dir() => {
                bail!("hostPath type check failed: {} is not a directory", host.path)
            }
            ("File" | "FileOrCreate", Some(there)) if !there.is_file() => {
                bail!("hostPath type check failed: {} is not a file", host.path)
            }
            ("" | "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate", Some(_)) => {}
            (kind, _) => bail!("the lab has no host paths of type {kind}"),
        }
        return Ok(path);
    }
    let path = sources::folder(volume, pod_dir);
    if volume.secret.is_some() || volume.config_map.is_some() {
        anyhow::ensure!(path.exists(), "its object was not read");
        return Ok(path);
    }
    let empty = volume.empty_dir.as_ref().context("a volume is of a kind that the lab has")?;
    if !path.exists() {
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    }
    // What was in memory before the node was switched off is gone, and its mount with it; the folder is still there.
    if empty.medium == "Memory" && !is_mounted(&path)? {
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"mode=0777"))?;
    }
    Ok(path)
}

/// Whether something is mounted at a folder.
fn is_mounted(path: &Path) -> Result<bool> {
    let above = path.parent().context("a volume is in a folder")?;
    Ok(fs::metadata(path)?.dev() != fs::metadata(above)?.dev())
}

/// Takes a pod's folder away, with the memory volumes mounted in it.
pub(super) fn remove(pod: &Pod, pod_dir: &Path) -> Result<()> {
    for volume in &pod.spec.volumes {
        let path = sources::folder(volume, pod_dir);
        if volume.empty_dir.as_ref().is_some_and(|empty| empty.medium == "Memory")
            && path.exists()
            && is_mounted(&path)?
        {
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH)?;
        }
    }
    if pod_dir.exists() {
        fs::remove_dir_all(pod_dir)?;
    }
    Ok(())
}
