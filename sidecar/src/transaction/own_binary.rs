//! The participant's program where no registry has an image of ours: a copy of the sidecar that was brought to the node. The participant's container
//! runs it in the image of the node's own etcd, which is there; or its unit does.
//!
//! The copy belongs to one restore, and to the rollback of the nodes' own that follows it. It is on the disk before the manifest names it, so that the
//! kubelet can start the participant again after a loss of power, and is removed only once no manifest names it any more.

use std::path::{Path, PathBuf};

use etcd_wire::{Failure, FailureCode};
use rustix::fs::{Mode, StatVfsMountFlags};
use serde_json::Value;

use super::journal::storage;
use super::layout::Layout;
use crate::node::Place;
use crate::node::dir::OURS;

/// Where it is in the participant's container. That is also where the image of the sidecar has it.
pub(super) const INSIDE: &str = "/etcd-sidecar";

/// The folders that a copy may be in, the best first: beside the journal, and beside the manifests, where programs may not run there. Both outlive a
/// loss of power.
fn folders(layout: &Layout) -> [Place; 2] {
    let id = layout.plan().rolls_back_from().unwrap_or(&layout.plan().id);
    let beside = Place::new(layout.beside()).join(format!("{OURS}-{id}.bin"));
    [layout.state().join(id).join("bin"), beside]
}

/// Copies the program to a folder of the node that only root can look into, and that lets programs run.
///
/// # Errors
/// [`FailureCode::Refused`]: no folder lets programs run. [`FailureCode::Storage`]: the copy cannot be written. Nothing is left then.
pub(super) fn put(layout: &Layout, program: &Path) -> Result<PathBuf, Failure> {
    let candidates = folders(layout);
    for folder in &candidates {
        let mut lets_run = false;
        let copied = copy(folder, program, &mut lets_run);
        if !lets_run || copied.is_err() {
            folder.remove_all().map_err(|error| storage("remove the copy of the sidecar", &error))?;
        }
        match copied {
            Ok(_) if !lets_run => {}
            copied => return copied.map_err(|error| storage("copy the sidecar for the participant", &error)),
        }
    }
    let names = candidates.iter().filter_map(|folder| folder.folder().map(|above| above.display()));
    let message = "no folder on the node lets the participant's program run";
    Err(Failure::new(FailureCode::Refused, message)
        .cause(format!("mounted noexec: {}", names.collect::<Vec<_>>().join(", ")))
        .hint("mount one of them without noexec"))
}

/// Writes the copy if the folder lets programs run, and says whether it does.
fn copy(folder: &Place, program: &Path, lets_run: &mut bool) -> std::io::Result<PathBuf> {
    // An earlier try may have been cut off.
    folder.remove_all()?;
    folder.create_folders()?;
    let flags = rustix::fs::fstatvfs(folder.open()?)?.f_flag;
    *lets_run = !flags.contains(StatVfsMountFlags::NOEXEC);
    let target = folder.join(format!("etcd-sidecar-{}", etcd_build::ID));
    if *lets_run {
        let mut source = std::fs::File::open(program)?;
        let mut file = target.create()?;
        std::io::copy(&mut source, &mut file)?;
        rustix::fs::fchmod(&file, Mode::RWXU)?;
        file.sync_all()?;
        drop(file);
        folder.sync()?;
    }
    Ok(target.path())
}

/// Removes the copy of a restore, if it has one and what starts the participant does not name a file in its folder.
///
/// # Errors
/// [`FailureCode::Storage`].
pub(super) fn remove(layout: &Layout, is_named: impl Fn(&Path) -> bool) -> Result<(), Failure> {
    let removed = || -> std::io::Result<()> {
        for folder in folders(layout) {
            if !is_named(&folder.path()) && folder.exists()? {
                folder.remove_all()?;
                folder.folder().map_or(Ok(()), |above| above.sync())?;
            }
        }
        Ok(())
    };
    removed().map_err(|error| storage("remove the participant's program", &error))
}

/// Whether a pod mounts anything of a folder.
pub(super) fn names(pod: &Value, folder: &Path) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paths = volumes.iter().filter_map(|volume| volume["hostPath"]["path"].as_str());
    paths.into_iter().any(|path| Path::new(path).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;

    fn made(root: &Path) -> Layout {
        let layout = layout(root);
        for folder in [layout.records().path(), layout.manifests().path()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        layout
    }

    #[test]
    fn a_copy_runs_and_is_whole_or_not_there() {
        for count in 0.. {
            let root = tempfile::tempdir().unwrap();
            let layout = made(root.path());
            let (outcome, _) = probe::fail_after(count, || put(&layout, Path::new("/bin/true")));
            match outcome {
                Ok(copy) => {
                    assert!(copy.starts_with(layout.records().path()), "{}", copy.display());
                    assert!(copy.display().to_string().ends_with(etcd_build::ID));
                    assert!(std::process::Command::new(&copy).status().unwrap().success());
                    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
                    assert_eq!((mode(&copy), mode(copy.parent().unwrap())), (0o700, 0o700));
                    break;
                }
                Err(failure) => {
                    assert_eq!(failure.code, FailureCode::Storage);
                    // Whatever is left is taken away by who gives the restore up.
                    remove(&layout, |_| false).unwrap();
                    assert_eq!(layout.records().names().unwrap(), [""; 0], "{count}");
                }
            }
        }
        let root = tempfile::tempdir().unwrap();
        let layout = made(root.path());
        assert_eq!(put(&layout, Path::new("/nonexistent")).unwrap_err().code, FailureCode::Storage);
        assert_eq!(layout.records().names().unwrap(), [""; 0]);
    }

    #[test]
    fn a_copy_stays_as_long_as_a_manifest_names_it() {
        let root = tempfile::tempdir().unwrap();
        let layout = made(root.path());
        let copy = put(&layout, Path::new("/bin/true")).unwrap();
        let pod = |path: &str| json!({"spec": {"volumes": [{"emptyDir": {}}, {"hostPath": {"path": path}}]}});
        let back = layout.way_back().unwrap();
        // The rollback of the nodes' own runs the program of its restore.
        for of in [&layout, &back] {
            remove(of, |folder| names(&pod(copy.to_str().unwrap()), folder)).unwrap();
            assert!(copy.exists());
        }
        let folder = layout.records().join("bin");
        for other in [pod("/elsewhere"), pod(&format!("{}x/y", folder.display())), json!({}), json!({"spec": 1})] {
            put(&layout, Path::new("/bin/true")).unwrap();
            remove(&back, |folder| names(&other, folder)).unwrap();
            assert!(!folder.exists().unwrap(), "{other}");
        }
        remove(&layout, |_| false).unwrap();
    }
}
