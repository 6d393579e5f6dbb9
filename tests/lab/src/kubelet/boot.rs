//! What a node is when it is switched on, for the first time or again: the disk as it was, nothing in memory, nothing
//! running.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use rustix::mount::{MountFlags, mount};

use crate::paths::{NodeDir, State};
use crate::record::{Record, unmount_below};

/// Lets go, in the node's own mount namespace, of the disks of other nodes, which were there when it was made: who holds
/// such a mount keeps the disk when its lab is long gone.
pub(super) fn private_mounts(state: &State, own: &NodeDir) -> Result<()> {
    for record in Record::all()? {
        for name in record.node_names() {
            let node = record.state().node(&name);
            if record.dir != state.dir() || node.root() != own.root() {
                unmount_below(&node.root())?;
            }
        }
    }
    Ok(())
}

/// Gives the node its `/run`: memory, as on a real node, in the node's own mount namespace, so that it goes with the
/// last of the node's processes.
pub(super) fn fresh_run(dir: &NodeDir) -> Result<()> {
    let run = dir.host("/run");
    fs::create_dir_all(&run)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &run, "tmpfs", flags, Some(c"mode=0755")).context("cannot mount the node's /run")
}

/// Takes away what the containers of the node's last run left. Returns the id of one container a pod, by the pod's UID.
pub(super) fn clear(dir: &NodeDir) -> Result<HashMap<String, String>> {
    let mut lost = HashMap::new();
    let containers = dir.containers();
    if containers.exists() {
        for entry in fs::read_dir(&containers)? {
            let entry = entry?;
            if let Ok(uid) = std::fs::read_to_string(entry.path().join("uid")) {
                lost.insert(uid, entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    for dir in [dir.runtime(), containers] {
        remove(&dir)?;
        fs::create_dir_all(dir)?;
    }
    fs::create_dir_all(dir.pods())?;
    Ok(lost)
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
