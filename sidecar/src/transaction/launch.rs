//! etcd is launched with a manifest of ours, and gets its own one back later. At every moment the kubelet sees one whole manifest.
//!
//! The original stays held meanwhile, and what is in place is read from what is there: [`in_place`]. All functions block, and can be done
//! again after they were cut off anywhere.

use std::io::{self, Write};

use etcd_wire::{Failure, FailureCode};
use serde::{Deserialize, Serialize};

use super::ground::Component;
use super::hold::{self, Reappeared, TRIES, Turn, exists, expelled, likeness, missing, places, restless, settle};
use super::journal::storage;
use super::layout::Layout;
use super::process;
use super::same::Likeness;
use super::{launch_manifest, owner, units};
use crate::node::Place;

/// Which manifest of etcd the kubelet sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum InPlace {
    /// None: etcd is stopped.
    Nothing,
    /// The one without the check.
    Launch,
    /// Its own.
    Original,
    /// One that another program has written.
    Other,
}

/// What [`start`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Started {
    /// What is in place now: [`InPlace::Launch`], or [`InPlace::Original`] where the check cannot be turned off alone.
    pub(super) manifest: InPlace,
    /// What was in its place.
    pub(super) reappeared: Option<Reappeared>,
}

/// Processes of etcd on this node, by the manifest that they were started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    /// Without the check.
    pub(super) launched: usize,
    /// With the manifest that etcd had.
    pub(super) original: usize,
}

/// Looks which manifest is in place.
///
/// # Errors
/// Nobody can tell.
pub(super) fn in_place(layout: &Layout, etcd: &Component) -> Result<InPlace, Failure> {
    if etcd.unit.is_some() {
        return Ok(if hold::is_held(layout, etcd)? { InPlace::Nothing } else { InPlace::Original });
    }
    let (here, held) = places(layout, etcd);
    look(&here, &held)
}

fn look(here: &Place, held: &Place) -> Result<InPlace, Failure> {
    let compared = |error: io::Error| storage("compare manifests", &error);
    Ok(match (exists(here)?, exists(held)?) {
        (false, _) => InPlace::Nothing,
        (true, false) => InPlace::Original,
        (true, true) if launch_manifest::is_in_place(here, held).map_err(compared)? => InPlace::Launch,
        (true, true) if likeness(here, held)? == Some(Likeness::Equal) => InPlace::Original,
        (true, true) => InPlace::Other,
    })
}

/// Lets the kubelet start etcd without its check. The manifest that it had stays held, unless it has no check that can be turned off alone:
/// then it is put back itself. Another manifest that is there is moved aside first, and told.
///
/// # Errors
/// There is no manifest, or the disk fails.
pub(super) fn start(layout: &Layout, etcd: &Component) -> Result<Started, Failure> {
    // A unit makes its check like a manifest in which that cannot be turned off.
    if etcd.unit.is_some() {
        hold::put(layout, etcd, hold::Conflict::KeepHeld)?;
        return Ok(Started { manifest: InPlace::Original, reappeared: None });
    }
    let turn = Turn::take();
    let (here, held) = places(layout, etcd);
    let mut reappeared = None;
    for _ in 0..TRIES {
        match look(&here, &held)? {
            InPlace::Nothing if !exists(&held)? => return Err(missing(layout, etcd)),
            InPlace::Nothing => {
                let read = launch_manifest::read(&held).map_err(|error| storage("read etcd's manifest", &error))?;
                let Some(launch) = read else {
                    drop(turn);
                    hold::put(layout, etcd, hold::Conflict::KeepHeld)?;
                    return Ok(Started { manifest: InPlace::Original, reappeared });
                };
                match write(&here, &held, &launch.bytes) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    written => written.map_err(|error| storage("write the launch manifest of etcd", &error))?,
                }
            }
            InPlace::Other => reappeared = expelled(&here, &held, etcd)?.or(reappeared),
            manifest => {
                here.sync_file().map_err(|error| storage("synchronise etcd's manifest", &error))?;
                settle(&here, &held)?;
                return Ok(Started { manifest, reappeared });
            }
        }
    }
    Err(restless(etcd))
}

/// Gives the launch manifest its name when it is whole, with owner, mode and label of the original.
pub(super) fn write(here: &Place, held: &Place, bytes: &[u8]) -> io::Result<()> {
    let draft = hold::draft(held);
    draft.remove_file()?;
    let mut file = draft.create()?;
    let placed = file.write_all(bytes).and_then(|()| {
        owner::give(&held.open_file()?, &file)?;
        file.sync_all()?;
        draft.rename(here)
    });
    if placed.is_err() {
        draft.remove_file()?;
    }
    placed
}

/// Gives etcd its own manifest back, in one rename: the kubelet then restarts it. A manifest that another program has written stays, and the
/// original is kept and named.
///
/// # Errors
/// There is no manifest, or the disk fails.
pub(super) fn restore_original(layout: &Layout, etcd: &Component) -> Result<hold::Put, Failure> {
    hold::put(layout, etcd, hold::Conflict::KeepFound)
}

/// Which processes of etcd run. Those of a restart are over when none is launched and one is original.
///
/// # Errors
/// The processes of the node cannot be seen.
pub(super) fn running(etcd: &Component) -> Result<Running, Failure> {
    let count = |argv: &[String]| -> Result<usize, Failure> {
        let found = process::running(&[etcd.command_line(argv)])
            .map_err(|error| storage("look at the processes of the node", &error))?;
        Ok(found.len())
    };
    let launched = etcd.launch_argv.as_deref().map_or(Ok(0), count)?;
    Ok(Running { launched, original: count(&etcd.argv)? })
}

/// Refuses to go on with a manifest of etcd that is not the one that was seen when the node was prepared.
///
/// # Errors
/// [`FailureCode::Refused`]: the command line differs.
pub(super) fn is_as_prepared(layout: &Layout, etcd: &Component) -> Result<(), Failure> {
    if let Some(unit) = &etcd.unit {
        return units::is_as_prepared(layout.tree(), unit, &etcd.argv);
    }
    let (here, held) = places(layout, etcd);
    let original = if exists(&held)? { held } else { here };
    let launch = launch_manifest::read(&original).map_err(|error| storage("read etcd's manifest", &error))?;
    if launch.map(|launch| launch.argv) == etcd.launch_argv {
        return Ok(());
    }
    let message = format!("{} was changed since the node was prepared", original.display());
    Err(Failure::new(FailureCode::Refused, message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use fs_err as fs;

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;

    const ORIGINAL: &str = include_str!("../../../tests/data/kubeadm/cp1/manifests/etcd.yaml");

    fn launch() -> String {
        ORIGINAL.replace("InitialCorruptCheck=true", "InitialCorruptCheck=false")
    }

    fn etcd() -> Component {
        let launch_argv = launch_manifest::of(ORIGINAL.as_bytes()).map(|launch| launch.argv);
        Component { name: "etcd".into(), file: "etcd.yaml".into(), launch_argv, ..Component::default() }
    }

    /// A node whose etcd is stopped.
    fn stopped(original: &str) -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        fs::create_dir_all(layout.manifests().path()).unwrap();
        let manifest = layout.manifests().join("etcd.yaml").path();
        fs::write(&manifest, original).unwrap();
        fs::set_permissions(&manifest, std::fs::Permissions::from_mode(0o640)).unwrap();
        hold::take(&layout, &etcd()).unwrap();
        (folder, layout)
    }

    fn text(place: &Place) -> String {
        String::from_utf8(place.read().unwrap()).unwrap()
    }

    #[test]
    fn etcd_is_launched_without_its_check_and_gets_its_manifest_back_wherever_it_was_cut_off() {
        for count in 0.. {
            let (_folder, layout) = stopped(ORIGINAL);
            let (here, held) = places(&layout, &etcd());
            assert_eq!(in_place(&layout, &etcd()).unwrap(), InPlace::Nothing);
            let (first, _) = probe::fail_after(count, || start(&layout, &etcd()));
            for _ in 0..2 {
                let (started, operations) = probe::watch(|| start(&layout, &etcd()));
                assert_eq!(started.unwrap(), Started { manifest: InPlace::Launch, reappeared: None }, "{count}");
                let folders = [layout.manifests(), layout.held(), here.clone()];
                assert_eq!(probe::unsynced(&folders, &operations), BTreeSet::new());
            }
            assert_eq!((text(&here), text(&held)), (launch(), ORIGINAL.to_owned()));
            assert_eq!(here.path().metadata().unwrap().mode() & 0o7777, 0o640);
            assert_eq!(layout.held().names().unwrap(), ["etcd.yaml"], "no draft is left");
            is_as_prepared(&layout, &etcd()).unwrap();

            let (second, operations) = probe::fail_after(count, || restore_original(&layout, &etcd()));
            assert!(here.exists().unwrap(), "the kubelet always sees one");
            assert!(!operations.iter().any(|operation| *operation == format!("remove {}", here.display())));
            let put = restore_original(&layout, &etcd()).unwrap();
            assert!(put.kept.is_empty());
            assert_eq!((text(&here), layout.held().exists().unwrap()), (ORIGINAL.to_owned(), false));
            assert_eq!(in_place(&layout, &etcd()).unwrap(), InPlace::Original);
            assert_eq!(start(&layout, &etcd()).unwrap().manifest, InPlace::Original);
            if first.is_ok() && second.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn an_abort_takes_the_launch_manifest_away_and_brings_the_original_back() {
        for count in 0.. {
            let (_folder, layout) = stopped(ORIGINAL);
            let (here, held) = places(&layout, &etcd());
            // It may have been cut off anywhere, and leave a draft.
            let (begun, _) = probe::fail_after(count, || start(&layout, &etcd()));
            if begun.is_err() {
                hold::put(&layout, &etcd(), hold::Conflict::KeepHeld).unwrap();
                assert_eq!((text(&here), layout.held().exists().unwrap()), (ORIGINAL.to_owned(), false));
                hold::take(&layout, &etcd()).unwrap();
            }
            start(&layout, &etcd()).unwrap();
            let (first, _) = probe::fail_after(count, || hold::take(&layout, &etcd()));
            let taken = hold::take(&layout, &etcd()).unwrap();
            assert_eq!(taken.reappeared, None);
            assert!(!here.exists().unwrap());
            assert_eq!(text(&held), ORIGINAL);
            hold::put(&layout, &etcd(), hold::Conflict::KeepHeld).unwrap();
            assert_eq!((text(&here), layout.held().exists().unwrap()), (ORIGINAL.to_owned(), false));
            if begun.is_ok() && first.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn what_another_program_wrote_is_accepted_or_kept() {
        let (_folder, layout) = stopped(ORIGINAL);
        let (here, held) = places(&layout, &etcd());
        // Before the launch.
        fs::write(here.path(), "other").unwrap();
        assert_eq!(in_place(&layout, &etcd()).unwrap(), InPlace::Other);
        let started = start(&layout, &etcd()).unwrap();
        let found = started.reappeared.unwrap();
        assert_eq!((started.manifest, found.equal_bytes), (InPlace::Launch, false));
        assert_eq!(fs::read(&found.kept).unwrap(), b"other");
        // While it runs: its own manifest is as good.
        fs::write(here.path(), ORIGINAL).unwrap();
        let started = start(&layout, &etcd()).unwrap();
        assert_eq!(started, Started { manifest: InPlace::Original, reappeared: None });
        // At the end another one stays, and nothing is lost.
        fs::write(here.path(), "third").unwrap();
        let put = restore_original(&layout, &etcd()).unwrap();
        assert_eq!(text(&here), "third");
        let mut kept: Vec<String> = put.kept.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        kept.sort();
        assert_eq!(kept, [ORIGINAL, "other"]);
        assert!(!held.exists().unwrap());
    }

    #[test]
    fn a_manifest_without_a_check_is_put_back_itself() {
        let plain = ORIGINAL.replace("InitialCorruptCheck=true", "InitialCorruptCheck=false");
        let (_folder, layout) = stopped(&plain);
        let (here, held) = places(&layout, &etcd());
        let started = start(&layout, &etcd()).unwrap();
        assert_eq!(started, Started { manifest: InPlace::Original, reappeared: None });
        assert_eq!((text(&here), held.exists().unwrap()), (plain, false));
        assert!(is_as_prepared(&layout, &etcd()).is_err());
        fs::remove_file(here.path()).unwrap();
        assert!(start(&layout, &etcd()).is_err());
    }

    #[test]
    fn processes_are_told_by_the_manifest_that_they_have() {
        let sleep = |argument: String| {
            let child = std::process::Command::new("sleep").arg(&argument).spawn().unwrap();
            (child, vec!["sleep".to_owned(), argument])
        };
        let number = 70_000 + std::process::id();
        let (mut launched, launch_argv) = sleep(format!("{number}.1"));
        let (mut original, argv) = sleep(format!("{number}.2"));
        let etcd = Component { name: "etcd".into(), argv, launch_argv: Some(launch_argv), ..Component::default() };
        // The children have their command lines only after they have become other programs.
        while running(&etcd).unwrap() != (Running { launched: 1, original: 1 }) {
            std::thread::yield_now();
        }
        assert_eq!(process::running(&etcd.command_lines()).unwrap().len(), 2);
        launched.kill().unwrap();
        launched.wait().unwrap();
        assert_eq!(running(&etcd).unwrap(), Running { launched: 0, original: 1 });
        original.kill().unwrap();
        original.wait().unwrap();
    }
}
