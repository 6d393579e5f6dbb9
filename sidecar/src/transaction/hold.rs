//! Static pods are stopped by taking their manifests out of the kubelet's folder, and started by putting them back.

use etcd_wire::{Failure, FailureCode};

use super::ground::Component;
use super::journal::storage;
use super::layout::Layout;
use crate::node::Place;

/// Takes a component's manifest out. True if it was still there.
pub(super) fn take(layout: &Layout, component: &Component) -> Result<bool, Failure> {
    let (here, held) = (layout.manifests().join(&component.file), layout.held().join(&component.file));
    move_once(&here, &held, component)
}

/// Puts a component's manifest back. True if it was not there.
pub(super) fn put(layout: &Layout, component: &Component) -> Result<bool, Failure> {
    let (here, held) = (layout.manifests().join(&component.file), layout.held().join(&component.file));
    let moved = move_once(&held, &here, component)?;
    // It goes with the last manifest.
    layout.held().remove_if_empty().map_err(|error| storage("remove the folder of held manifests", &error))?;
    Ok(moved)
}

/// Whether a component's manifest is held.
///
/// # Errors
/// Nobody can tell.
pub(super) fn is_held(layout: &Layout, component: &Component) -> Result<bool, Failure> {
    layout.held().join(&component.file).exists().map_err(|error| storage("look for a manifest", &error))
}

fn move_once(from: &Place, to: &Place, component: &Component) -> Result<bool, Failure> {
    let look = |place: &Place| place.exists().map_err(|error| storage("look for a manifest", &error));
    match (look(from)?, look(to)?) {
        (true, false) => {
            let what = format!("move the manifest of {}", component.name);
            from.rename(to).map_err(|error| storage(&what, &error))?;
            Ok(true)
        }
        (false, true) => {
            // Whoever moved it may have been killed before that was on the disk.
            let settled = to.sync_name().and_then(|()| match from.folder() {
                Some(folder) => folder.sync_if_there().map(|_| ()),
                None => from.sync_name(),
            });
            settled.map_err(|error| storage("synchronise the folders of manifests", &error))?;
            Ok(false)
        }
        (both, _) => {
            let what = if both { "is in both" } else { "is in neither" };
            let message = format!(
                "the manifest of {} {what} {} and {}",
                component.name,
                from.folder().unwrap_or_else(|| from.clone()).display(),
                to.folder().unwrap_or_else(|| to.clone()).display()
            );
            Err(Failure::new(FailureCode::Storage, message)
                .hint("another program has changed the manifest: keep exactly one copy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;
    use fs_err as fs;

    #[test]
    fn a_manifest_is_moved_when_that_is_on_the_disk() {
        for count in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let layout = layout(folder.path());
            fs::create_dir_all(layout.manifests().path()).unwrap();
            fs::write(layout.manifests().join("etcd.yaml").path(), "pod").unwrap();
            let etcd = Component { name: "etcd".into(), file: "etcd.yaml".into(), argv: Vec::new() };
            let folders = [layout.manifests(), layout.held()];
            let (outcome, _) = probe::fail_after(count, || take(&layout, &etcd));
            for _ in 0..2 {
                let (taken, operations) = probe::watch(|| take(&layout, &etcd));
                taken.unwrap();
                assert_eq!(probe::unsynced(&folders, &operations), std::collections::BTreeSet::new(), "{count}");
            }
            if outcome.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn a_manifest_is_in_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        fs::create_dir_all(layout.manifests().path()).unwrap();
        let etcd = Component { name: "etcd".into(), file: "etcd.yaml".into(), argv: Vec::new() };
        assert!(take(&layout, &etcd).is_err());
        let manifest = layout.manifests().join("etcd.yaml").path();
        fs::write(&manifest, "pod").unwrap();
        fs::set_permissions(&manifest, std::fs::Permissions::from_mode(0o600)).unwrap();
        // Only root can give a file to somebody else.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&manifest, Some(2001), Some(2002)).unwrap();
        }
        let shown = |path: &std::path::Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode())
        };
        let before = shown(&manifest);
        assert!(!is_held(&layout, &etcd).unwrap() && !put(&layout, &etcd).unwrap());
        assert!(take(&layout, &etcd).unwrap() && is_held(&layout, &etcd).unwrap() && !take(&layout, &etcd).unwrap());
        assert!(!layout.manifests().join("etcd.yaml").exists().unwrap());
        assert_eq!(shown(&layout.held().join("etcd.yaml").path()), before);
        assert_eq!(shown(&layout.held().path()).2 & 0o7777, 0o700, "nobody else sees what is held");
        assert!(put(&layout, &etcd).unwrap() && !layout.held().exists().unwrap());
        assert_eq!(shown(&manifest), before);
        assert!(take(&layout, &etcd).unwrap());
        fs::write(layout.manifests().join("etcd.yaml").path(), "another").unwrap();
        assert!(put(&layout, &etcd).is_err() && take(&layout, &etcd).is_err());
        assert_eq!(layout.manifests().join("etcd.yaml").read().unwrap(), b"another");
        assert_eq!(layout.held().join("etcd.yaml").read().unwrap(), b"pod");
    }
}
