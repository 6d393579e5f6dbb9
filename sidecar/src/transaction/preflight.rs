//! Tries on a node everything that the steps of a restore need, while all components still run. Nothing is changed. All functions block.

use std::io;
use std::path::Path;

use etcd_wire::{Failure, FailureCode};

use super::disks::{self, FolderId};
use super::ground::{API_SERVER, ETCD, Ground};
use super::journal::storage;
use super::layout::Layout;
use super::process::{self, Lock};
use super::{quorum_lost, sockets};
use crate::node::Place;
use crate::node::dir::OURS;

/// Checks what the steps need of this node alone.
///
/// # Errors
/// What is missing, with what to do. Whatever was tried is taken away again.
pub(super) fn check(layout: &Layout, ground: &Ground) -> Result<(), Failure> {
    // The image may be another one under the same name since the node was prepared.
    layout.require_own_build()?;
    if !layout.is_left_out() {
        runs_as_said(layout, ground)?;
        is_same_disk(layout, ground)?;
        try_data(layout)?;
    }
    // Only what the kubelet starts has a manifest.
    match ground.components.iter().all(|component| component.unit.is_some()) {
        true => Ok(()),
        false => try_manifests(layout),
    }
}

fn refused(what: String) -> Failure {
    Failure::new(FailureCode::Refused, what)
}

/// Whether what will be stopped is what runs.
fn runs_as_said(layout: &Layout, ground: &Ground) -> Result<(), Failure> {
    let looked = |error: io::Error| storage("look at the processes of the node", &error);
    if layout.plan().quorum_lost.is_some() {
        // Whether anything runs is as it is found.
        return if layout.node().has_etcd() { quorum_lost::used_by_own(layout, ground) } else { Ok(()) };
    }
    // A rollback of the nodes' own begins with an API server that is stopped.
    let stopped = layout.plan().rolls_back_from().is_some();
    for component in &ground.components {
        let name = &component.name;
        if ![ETCD, API_SERVER].contains(&name.as_str()) || stopped && name == API_SERVER {
            continue;
        }
        if process::running(&component.command_lines()).map_err(looked)?.is_empty() {
            let message = format!("no process runs the command line with which {} starts {name}", component.file);
            return Err(refused(message));
        }
    }
    let api = if stopped { &[][..] } else { &ground.listens.api[..] };
    let wanted = [&ground.listens.etcd[..], api].concat();
    let open = sockets::listening(&wanted).map_err(looked)?;
    if let Some(address) = wanted.iter().find(|address| !open.contains(address)) {
        let message = format!("nothing listens on {address}, where etcd or the API server is set to listen");
        return Err(refused(message));
    }
    if !layout.node().has_etcd() {
        return Ok(());
    }
    let data_dir = layout.data_dir();
    if !matches!(process::lock(&data_dir).map_err(looked)?, Lock::Held) {
        return Err(refused(format!("no etcd has locked the database in {}", data_dir.display())));
    }
    Ok(())
}

/// Whether the data directories are on the disks that they were on when the node was prepared, and for etcd and the node itself, too.
fn is_same_disk(layout: &Layout, ground: &Ground) -> Result<(), Failure> {
    for (root, before) in layout.roots().into_iter().zip(&ground.data) {
        let looked = |error: io::Error| storage(&format!("look at {}", root.display()), &error);
        let now = FolderId::of(&root).map_err(looked)?;
        let another = |who: &str| {
            let message = format!("{} is another directory {who}", root.display());
            refused(message)
                .cause("a disk was mounted or unmounted there meanwhile")
                .hint("see what is mounted there on the node (findmnt), then try again")
        };
        if before.id.is_some_and(|before| before != now) {
            return Err(another("than when the node was prepared"));
        }
        for process in process::running(&ground.component(ETCD)?.command_lines()).map_err(looked)? {
            if disks::seen_by(process, Path::new(&before.inside)).map_err(looked)? != Some(now) {
                return Err(another("for etcd"));
            }
        }
        nodes_own(layout, &root)?;
    }
    Ok(())
}

/// Refuses if a disk was mounted over data where this program does not see it. Cheap enough to be asked again right before the exchange.
///
/// # Errors
/// [`FailureCode::Refused`] with what to do; [`FailureCode::Storage`] if nobody can tell.
pub(super) fn disks_are_the_nodes(layout: &Layout) -> Result<(), Failure> {
    layout.roots().iter().try_for_each(|root| nodes_own(layout, root))
}

fn nodes_own(layout: &Layout, root: &Place) -> Result<(), Failure> {
    disks::require_nodes_own(root, &Place::new(layout.beside()))
}

/// A file and a folder go the ways that data will go.
fn try_data(layout: &Layout) -> Result<(), Failure> {
    for (root, folder) in layout.roots().into_iter().zip(layout.folders()) {
        let name = format!("{OURS}-{}.probe", layout.plan().id);
        let (inside, outside) = (folder.join("probe"), root.join(&name));
        let clean = || inside.remove_any().and_then(|()| outside.remove_any());
        let tried = || -> io::Result<()> {
            // An earlier try may have been cut off.
            clean()?;
            inside.create_folder()?;
            inside.rename(&outside)?;
            outside.remove_any()?;
            inside.create()?;
            inside.rename(&outside)?;
            outside.rename(&inside)
        };
        let outcome = tried();
        let cleaned = clean();
        outcome.and(cleaned).map_err(|error| cannot_rename(&root, &error))?;
    }
    Ok(())
}

/// A file that kubelets pass over goes the way that the manifests will go.
fn try_manifests(layout: &Layout) -> Result<(), Failure> {
    let name = format!(".{}", layout.plan().id);
    let (here, there) = (layout.manifests().join(&name), layout.held().join(&name));
    let clean = || -> io::Result<()> {
        here.remove_file()?;
        there.remove_file()?;
        layout.held().remove_if_empty().map(|_| ())
    };
    let tried = || -> io::Result<()> {
        // An earlier try may have been cut off.
        clean()?;
        here.create()?;
        here.rename(&there)
    };
    let outcome = tried();
    let cleaned = clean();
    outcome.and(cleaned).map_err(|error| cannot_rename(&layout.manifests(), &error))
}

/// Names the file system where it is the one that cannot.
fn cannot_rename(root: &Place, error: &io::Error) -> Failure {
    let kind = disks::file_system(root).unwrap_or_else(|_| "of a type that is not known".to_owned());
    let failure = storage(&format!("rename in {}, whose file system is {kind}", root.display()), error);
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => failure
            .cause("the file system does not support renames that replace nothing (RENAME_NOREPLACE)")
            .hint("a restore in place needs a local file system such as ext4 or xfs"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;

    #[test]
    fn what_was_tried_is_gone_again_and_a_failure_is_told() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout(root.path());
        std::fs::create_dir_all(layout.manifests().path()).unwrap();
        for folder in layout.folders() {
            std::fs::create_dir_all(layout.data_dir().path()).unwrap();
            folder.create_folders().unwrap();
        }
        let names = |place: &Place| place.names().unwrap();
        for count in 0.. {
            let both = || try_data(&layout).and_then(|()| try_manifests(&layout));
            let (outcome, _) = probe::fail_after(count, both);
            if let Err(failure) = &outcome {
                assert_eq!(failure.code, FailureCode::Storage);
                assert!(failure.message.contains("whose file system is "), "{failure}");
            }
            // Wherever it was cut off before.
            both().unwrap();
            assert_eq!(names(&layout.data_dir()), [OURS], "{count}");
            assert_eq!(names(&layout.folder()), [""; 0]);
            assert_eq!(names(&layout.manifests()), [""; 0]);
            assert!(!layout.held().exists().unwrap());
            if outcome.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn a_file_system_without_these_renames_is_named() {
        let place = Place::new("/proc");
        for kind in [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported] {
            let failure = cannot_rename(&place, &kind.into());
            assert_eq!(failure.message, "cannot rename in /proc, whose file system is proc");
            assert!(failure.causes.iter().any(|cause| cause.contains("RENAME_NOREPLACE")), "{:?}", failure.causes);
        }
        let failure = cannot_rename(&place, &io::ErrorKind::StorageFull.into());
        assert!(!failure.causes.iter().any(|cause| cause.contains("NOREPLACE")), "{:?}", failure.causes);
    }
}
