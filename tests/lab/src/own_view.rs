//! A mount namespace in which the node's files are at their own paths, and this machine's programs are the node's. What runs in one sees
//! `/var/lib/etcd` of the node there, and not below the lab's folder.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};

use crate::paths::{JOURNALS, NodeDir, SYSTEMCTL};

/// The folders of this machine whose own folders are the node's.
const PLACES: [&str; 2] = ["/etc", "/var/lib"];

/// Turns the process's mount namespace, which is its own already, into a view of the node. What is changed in it besides the node's
/// own folders is in memory at `scratch`, which is the view's own.
pub(crate) fn enter(dir: &NodeDir, scratch: &Path) -> Result<()> {
    fs::create_dir_all(scratch)?;
    memory(scratch, c"mode=0755")?;
    for place in PLACES {
        lay_over(Path::new(place), scratch)?;
    }
    fs::create_dir_all(dir.host(JOURNALS))?;
    follow(dir)?;
    mount_bind_recursive(dir.host("/run"), "/run").context("cannot mount the node's /run")?;
    memory(Path::new("/dev/shm"), c"mode=1777")?;
    show_systemctl(dir, scratch)
}

/// Puts the node's own folders in the place of this machine's; those that are there already stay. A folder that the node has no more,
/// or has another in its place, goes first.
pub(crate) fn follow(dir: &NodeDir) -> Result<()> {
    for place in PLACES {
        let own = id(Path::new(place))?.map(|(device, _)| device);
        for entry in fs::read_dir(place)?.collect::<Result<Vec<_>, _>>()? {
            let there = entry.path();
            // What is on another device than the folder itself was mounted by us: of this machine, a view has no mount in it.
            let mounted = there.is_dir() && id(&there)?.map(|(device, _)| device) != own;
            if mounted && id(&there)? != id(&dir.host(place).join(entry.file_name()))? {
                unmount(&there, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {}", there.display()))?;
            }
        }
        for entry in fs::read_dir(dir.host(place))? {
            let entry = entry?;
            let there = Path::new(place).join(entry.file_name());
            if entry.file_type()?.is_dir() && id(&entry.path())? != id(&there)? {
                fs::create_dir_all(&there)?;
                mount_bind(entry.path(), &there).with_context(|| format!("cannot mount {}", there.display()))?;
            }
        }
    }
    Ok(())
}

/// What tells a file or folder from every other; nothing when there is none.
fn id(path: &Path) -> Result<Option<(u64, u64)>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// Puts the node's systemctl, where it has one, in the place of this machine's.
fn show_systemctl(dir: &NodeDir, scratch: &Path) -> Result<()> {
    let (ours, there) = (dir.host(SYSTEMCTL), Path::new(SYSTEMCTL));
    if !ours.exists() {
        return Ok(());
    }
    if !there.exists() {
        lay_over(there.parent().context("a program is in a folder")?, scratch)?;
        fs::write(there, b"")?;
    }
    mount_bind(ours, there).context("cannot mount the node's systemctl")
}

fn memory(place: &Path, options: &std::ffi::CStr) -> Result<()> {
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options))
        .with_context(|| format!("cannot mount memory at {}", place.display()))
}

/// Lets a folder of this machine be written to without a trace.
fn lay_over(place: &Path, scratch: &Path) -> Result<()> {
    let name = place.to_string_lossy().replace('/', "-");
    let (upper, work) = (scratch.join(format!("upper{name}")), scratch.join(format!("work{name}")));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", place.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options)?;
    mount("overlay", place, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .with_context(|| format!("cannot lay a folder over {}", place.display()))
}
