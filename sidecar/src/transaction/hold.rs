//! Static pods are stopped by taking their manifests out of the kubelet's folder, and started by putting them back. An etcd that systemd starts is held by
//! [`units`].
//!
//! Configuration management may write a manifest again while it is held. Whatever is found is moved aside under a name of its own or left
//! where it is; no byte of it is lost. All functions block, and can be done again after they were cut off anywhere.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_wire::{Failure, FailureCode};

use super::ground::Component;
use super::journal::storage;
use super::launch_manifest;
use super::layout::Layout;
use super::same::{Likeness, compare};
use super::units::Systemd;
use crate::node::Place;

/// How often something is tried anew that another program has changed in between.
pub(super) const TRIES: usize = 10;
/// How often, and after how long each, a file is read again that may still be being written.
const READS: u32 = 10;
const READ_AGAIN: Duration = Duration::from_millis(50);
/// What is appended, with a number, to the name of a manifest that was written again while it was held.
const REAPPEARED: &str = "reappeared";
/// What is appended, with a number, to the name of a manifest that was held while another one took its place.
const HELD: &str = "held";

/// A manifest that was in the kubelet's folder again while it was held. It is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reappeared {
    /// The component whose manifest it is.
    pub(super) component: String,
    /// Whether it is byte for byte the one that is held.
    pub(super) equal_bytes: bool,
    /// Where it is now.
    pub(super) kept: PathBuf,
}

/// What [`take`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether the manifest was taken out now, and not before.
    pub(super) moved: bool,
    /// What was there besides.
    pub(super) reappeared: Option<Reappeared>,
}

/// What [`put`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    /// Whether the manifest was put back now, and not before.
    pub(super) moved: bool,
    /// Copies with other bytes than the manifest that is in place now. Their folder stays.
    pub(super) kept: Vec<PathBuf>,
}

/// Which of two manifests with different bytes is to be in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The one that another program has written: after commit it is the administrator's.
    KeepFound,
    /// The one that is held: an abort restores what was.
    KeepHeld,
}

/// One at a time: what is put back must not be taken for one that has reappeared.
static TURN: Mutex<()> = Mutex::new(());

/// Lets nobody else move manifests for as long as it is kept.
#[must_use]
pub(super) struct Turn(#[allow(dead_code, reason = "it is held, not read")] MutexGuard<'static, ()>);

impl Turn {
    pub(super) fn take() -> Turn {
        Turn(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes a component's manifest out.
///
/// # Errors
/// It is in neither folder, or the disk fails.
pub(super) fn take(layout: &Layout, component: &Component) -> Result<Taken, Failure> {
    let _turn = Turn::take();
    if let Some(unit) = &component.unit {
        let moved = Systemd::of(layout.tree()).hold(unit)?;
        return Ok(Taken { moved, reappeared: None });
    }
    let (here, held) = places(layout, component);
    let mut taken = Taken { moved: false, reappeared: None };
    for _ in 0..TRIES {
        match (exists(&here)?, exists(&held)?) {
            (true, false) => taken.moved |= moved_unless_taken(&here, &held, component)?,
            (true, true) if is_launch(&here, &held)? => {
                withdraw(&here, component)?;
                taken.moved = true;
            }
            (true, true) => taken.reappeared = expelled(&here, &held, component)?.or(taken.reappeared),
            (false, true) => {
                settle(&here, &held)?;
                return Ok(taken);
            }
            (false, false) => return Err(missing(layout, component)),
        }
    }
    Err(restless(component))
}

/// Puts a component's manifest back.
///
/// # Errors
/// It is in neither folder, or the disk fails.
pub(super) fn put(layout: &Layout, component: &Component, conflict: Conflict) -> Result<Put, Failure> {
    let _turn = Turn::take();
    if let Some(unit) = &component.unit {
        let systemd = Systemd::of(layout.tree());
        let moved = systemd.release(unit)?;
        systemd.start(unit)?;
        return Ok(Put { moved, kept: Vec::new() });
    }
    let (here, held) = places(layout, component);
    let mut moved = false;
    for _ in 0..TRIES {
        let (is_here, is_held) = (exists(&here)?, exists(&held)?);
        let found = match (is_here, is_held) {
            (false, _) => Found::Nothing,
            (true, true) if is_launch(&here, &held)? => Found::Launch,
            (true, true) if likeness(&here, &held)? == Some(Likeness::Equal) => Found::Equal,
            (true, _) => Found::Other,
        };
        match putting(found, is_held, conflict) {
            Putting::Missing => return Err(missing(layout, component)),
            Putting::MoveHeld => moved |= moved_unless_taken(&held, &here, component)?,
            Putting::ReplaceFound => {
                // The kubelet sees the one or the other, and never neither.
                held.replace(&here).map_err(|error| moving(component, &error))?;
                moved = true;
            }
            Putting::DropHeld => drop_equal(&here, &held, component)?,
            Putting::SetHeldAside => {
                aside(&held, &held, HELD, component)?;
            }
            Putting::SetFoundAside => {
                expelled(&here, &held, component)?;
            }
            Putting::Done => {
                settle(&here, &held)?;
                let kept = clear_copies(&here, &held, component)?;
                let remove = |error| storage("remove the folder of held manifests", &error);
                // One that was begun, and has no name among the manifests yet.
                draft(&held).remove_file().map_err(remove)?;
                layout.held().remove_if_empty().map_err(remove)?;
                return Ok(Put { moved, kept });
            }
        }
    }
    Err(restless(component))
}

/// Looks whether a component's manifest is there again although it is held, and moves it aside.
///
/// # Errors
/// The disk fails.
pub(super) fn expel(layout: &Layout, component: &Component, _turn: &Turn) -> Result<Option<Reappeared>, Failure> {
    if component.unit.is_some() {
        // Whatever is written over its files, the drop-in holds it.
        return Ok(None);
    }
    let (here, held) = places(layout, component);
    if !exists(&held)? || !exists(&here)? {
        return Ok(None);
    }
    // Our own, of a launch that the journal does not know of.
    if is_launch(&here, &held)? {
        return withdraw(&here, component).map(|()| None);
    }
    expelled(&here, &held, component)
}

/// Manifests that were moved aside before this process began, each with whether it has the bytes of the one that is held.
///
/// # Errors
/// The disk fails.
pub(super) fn found_before(layout: &Layout, component: &Component) -> Result<Vec<bool>, Failure> {
    if component.unit.is_some() {
        return Ok(Vec::new());
    }
    let held = places(layout, component).1;
    if !exists(&held)? {
        return Ok(Vec::new());
    }
    let mut copies = kept_copies(layout, component)?;
    let name = format!("{}.{REAPPEARED}-", component.file);
    copies.retain(|copy| copy.name().as_encoded_bytes().starts_with(name.as_bytes()));
    copies.iter().map(|copy| Ok(likeness(copy, &held)? == Some(Likeness::Equal))).collect()
}

/// Puts a component back as it was found: a unit that did not run then is not started.
///
/// # Errors
/// As [`put`]'s.
pub(super) fn put_as_found(layout: &Layout, component: &Component) -> Result<Put, Failure> {
    match &component.unit {
        Some(unit) if !unit.ran => {
            let _turn = Turn::take();
            let moved = Systemd::of(layout.tree()).release(unit)?;
            Ok(Put { moved, kept: Vec::new() })
        }
        _ => put(layout, component, Conflict::KeepHeld),
    }
}

/// Whether a component's manifest is held.
///
/// # Errors
/// Nobody can tell.
pub(super) fn is_held(layout: &Layout, component: &Component) -> Result<bool, Failure> {
    if let Some(unit) = &component.unit {
        return Systemd::of(layout.tree()).is_held(unit);
    }
    exists(&places(layout, component).1)
}

/// Copies of a component's manifest that are kept in the folder of held ones.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn kept_copies(layout: &Layout, component: &Component) -> Result<Vec<Place>, Failure> {
    copies(&places(layout, component).1).map_err(|error| storage("look for copies of manifests", &error))
}

/// Removes the copies of these components' manifests, and the folder if nothing else is in it.
///
/// # Errors
/// The disk fails.
pub(super) fn remove_copies(layout: &Layout, components: &[Component]) -> Result<(), Failure> {
    remove_those_copies(layout, components, &|_| true)
}

/// Removes those copies that are wanted away, and the folder if nothing else is in it.
///
/// # Errors
/// The disk fails.
pub(super) fn remove_those_copies(
    layout: &Layout,
    components: &[Component],
    wanted: &dyn Fn(&Place) -> bool,
) -> Result<(), Failure> {
    let _turn = Turn::take();
    for component in components {
        for copy in kept_copies(layout, component)?.into_iter().filter(wanted) {
            copy.remove_any().map_err(|error| storage("remove a copy of a manifest", &error))?;
        }
    }
    let removed = layout.held().remove_if_empty();
    removed.map(|_| ()).map_err(|error| storage("remove the folder of held manifests", &error))
}

fn copies(held: &Place) -> io::Result<Vec<Place>> {
    let Some(folder) = held.folder() else { return Ok(Vec::new()) };
    if !folder.is_folder()? {
        return Ok(Vec::new());
    }
    let names = folder.names()?.into_iter().filter(|name| is_copy(name, held.name()));
    Ok(names.map(|name| folder.join(name)).collect())
}

/// Whether a name is that of a copy of a manifest: `FILE.reappeared-1`, `FILE.held-1`.
fn is_copy(name: &OsStr, file: &OsStr) -> bool {
    let after = |name: &[u8], start: &[u8]| name.strip_prefix(start).map(<[u8]>::to_vec);
    let kind = after(name.as_encoded_bytes(), &[file.as_encoded_bytes(), b"."].concat());
    let number =
        kind.and_then(|kind| [REAPPEARED, HELD].iter().find_map(|one| after(&kind, format!("{one}-").as_bytes())));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Where a manifest of ours is written until it is whole.
pub(super) fn draft(held: &Place) -> Place {
    let mut name = held.name().to_owned();
    name.push(".draft");
    held.sibling(name)
}

fn is_launch(here: &Place, held: &Place) -> Result<bool, Failure> {
    launch_manifest::is_in_place(here, held).map_err(|error| storage("compare manifests", &error))
}

/// Takes our own manifest for the launch of etcd away again. It can be made anew from the one that is held.
fn withdraw(here: &Place, component: &Component) -> Result<(), Failure> {
    let withdrawn = here.remove_file().and_then(|_| here.sync_name());
    withdrawn.map_err(|error| storage(&format!("remove the launch manifest of {}", component.name), &error))
}

/// What is next on the way to one manifest in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Putting {
    Missing,
    Done,
    MoveHeld,
    /// What is in place is our own manifest for the launch of etcd.
    ReplaceFound,
    /// What is in place is the manifest.
    DropHeld,
    SetHeldAside,
    SetFoundAside,
}

/// What is where the kubelet looks, compared with the manifest that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Equal,
    Launch,
    Other,
}

fn putting(found: Found, is_held: bool, conflict: Conflict) -> Putting {
    match (found, is_held, conflict) {
        (Found::Nothing, false, _) => Putting::Missing,
        (_, false, _) => Putting::Done,
        (Found::Nothing, true, _) => Putting::MoveHeld,
        (Found::Launch, true, _) => Putting::ReplaceFound,
        (Found::Equal, true, _) => Putting::DropHeld,
        (Found::Other, true, Conflict::KeepFound) => Putting::SetHeldAside,
        (Found::Other, true, Conflict::KeepHeld) => Putting::SetFoundAside,
    }
}

/// Where the kubelet looks for a component's manifest, and where it is held.
pub(super) fn places(layout: &Layout, component: &Component) -> (Place, Place) {
    (layout.manifests().join(&component.file), layout.held().join(&component.file))
}

pub(super) fn exists(place: &Place) -> Result<bool, Failure> {
    place.exists().map_err(|error| storage("look for a manifest", &error))
}

/// Moves a manifest aside that has reappeared. `None` if it has gone by itself.
pub(super) fn expelled(here: &Place, held: &Place, component: &Component) -> Result<Option<Reappeared>, Failure> {
    let earlier = copies(held).map_err(|error| storage("look for copies of manifests", &error))?;
    let Some(kept) = aside(here, held, REAPPEARED, component)? else { return Ok(None) };
    let mut like = likeness(&kept, held)?;
    for _ in 0..READS {
        if like != Some(Likeness::Beginning) {
            break;
        }
        // Whoever writes it goes on doing so under its new name.
        std::thread::sleep(READ_AGAIN);
        like = likeness(&kept, held)?;
    }
    let equal_bytes = like == Some(Likeness::Equal);
    // A program that writes the same file again and again leaves one copy.
    for other in earlier {
        if likeness(&kept, &other)? == Some(Likeness::Equal) {
            drop_equal(&other, &kept, component)?;
            return Ok(Some(Reappeared { component: component.name.clone(), equal_bytes, kept: other.path() }));
        }
    }
    Ok(Some(Reappeared { component: component.name.clone(), equal_bytes, kept: kept.path() }))
}

/// Gives a file a name in the folder of held ones that is free. `None` if it has gone.
fn aside(from: &Place, held: &Place, kind: &str, component: &Component) -> Result<Option<Place>, Failure> {
    for number in 1_u32.. {
        let mut name = held.name().to_owned();
        name.push(format!(".{kind}-{number}"));
        let to = held.sibling(name);
        match from.rename(&to) {
            Ok(()) => return Ok(Some(to)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(from)? => return Ok(None),
            Err(error) => return Err(moving(component, &error)),
        }
    }
    Err(restless(component))
}

/// Removes a copy once the file that it is equal to is on the disk.
fn drop_equal(stays: &Place, goes: &Place, component: &Component) -> Result<(), Failure> {
    let dropped = || -> io::Result<()> {
        stays.sync_file()?;
        stays.sync_name()?;
        goes.remove_file()?;
        goes.sync_name()
    };
    dropped().map_err(|error| moving(component, &error))
}

/// Removes copies that are equal to the manifest in place; says which are left.
fn clear_copies(here: &Place, held: &Place, component: &Component) -> Result<Vec<PathBuf>, Failure> {
    let mut left = Vec::new();
    for copy in copies(held).map_err(|error| storage("look for copies of manifests", &error))? {
        if likeness(&copy, here)? == Some(Likeness::Equal) {
            drop_equal(here, &copy, component)?;
        } else {
            left.push(copy.path());
        }
    }
    Ok(left)
}

pub(super) fn likeness(one: &Place, other: &Place) -> Result<Option<Likeness>, Failure> {
    compare(one, other).map_err(|error| storage("compare manifests", &error))
}

/// True if it was moved; false if another program was faster, so that it has to be looked at again.
fn moved_unless_taken(from: &Place, to: &Place, component: &Component) -> Result<bool, Failure> {
    match from.rename(to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(from)? => Ok(false),
        Err(error) => Err(moving(component, &error)),
    }
}

/// Whoever moved it may have been killed before that was on the disk.
pub(super) fn settle(here: &Place, held: &Place) -> Result<(), Failure> {
    let folder = held.folder().unwrap_or_else(|| held.clone());
    let settled = here.sync_name().and_then(|()| folder.sync_if_there());
    settled.map(|_| ()).map_err(|error| storage("synchronise the folders of manifests", &error))
}

fn moving(component: &Component, error: &io::Error) -> Failure {
    storage(&format!("move the manifest of {}", component.name), error)
}

pub(super) fn missing(layout: &Layout, component: &Component) -> Failure {
    let (here, held) = (layout.manifests().display(), layout.held().display());
    let message = format!("the manifest {} of {} is in neither {here} nor {held}", component.file, component.name);
    Failure::new(FailureCode::Storage, message)
        .hint("another program has removed the manifest: put it back into one of these directories")
}

pub(super) fn restless(component: &Component) -> Failure {
    let message = format!("another program changes the manifest {} of {} all the time", component.file, component.name);
    Failure::new(FailureCode::Storage, message).hint("stop configuration management on this node")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;
    use fs_err as fs;

    const RULES: [Conflict; 2] = [Conflict::KeepFound, Conflict::KeepHeld];

    fn etcd() -> Component {
        Component { name: "etcd".into(), file: "etcd.yaml".into(), ..Component::default() }
    }

    /// A node whose etcd's manifest is held, and what stands in its place.
    fn held(found: Option<&str>) -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        fs::create_dir_all(layout.manifests().path()).unwrap();
        fs::write(layout.manifests().join("etcd.yaml").path(), "pod").unwrap();
        assert!(take(&layout, &etcd()).unwrap().moved);
        if let Some(text) = found {
            fs::write(layout.manifests().join("etcd.yaml").path(), text).unwrap();
        }
        (folder, layout)
    }

    fn text(path: &std::path::Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// The contents of all manifests and copies.
    fn contents(layout: &Layout) -> BTreeSet<String> {
        let folders = [layout.manifests(), layout.held()].into_iter().filter(|folder| folder.exists().unwrap());
        folders
            .flat_map(|folder| folder.names().unwrap().into_iter().map(move |name| text(&folder.join(name).path())))
            .collect()
    }

    #[test]
    fn every_case_has_one_answer() {
        for rule in RULES {
            assert_eq!(putting(Found::Nothing, false, rule), Putting::Missing);
            for found in [Found::Equal, Found::Launch, Found::Other] {
                assert_eq!(putting(found, false, rule), Putting::Done);
            }
            assert_eq!(putting(Found::Nothing, true, rule), Putting::MoveHeld);
            assert_eq!(putting(Found::Launch, true, rule), Putting::ReplaceFound);
            assert_eq!(putting(Found::Equal, true, rule), Putting::DropHeld);
        }
        assert_eq!(putting(Found::Other, true, Conflict::KeepFound), Putting::SetHeldAside);
        assert_eq!(putting(Found::Other, true, Conflict::KeepHeld), Putting::SetFoundAside);
    }

    #[test]
    fn a_manifest_goes_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        fs::create_dir_all(layout.manifests().path()).unwrap();
        assert!(take(&layout, &etcd()).is_err() && put(&layout, &etcd(), Conflict::KeepHeld).is_err());
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
        let nothing = Put { moved: false, kept: Vec::new() };
        assert_eq!(put(&layout, &etcd(), Conflict::KeepHeld).unwrap(), nothing);
        assert!(!is_held(&layout, &etcd()).unwrap());
        for moved in [true, false] {
            assert_eq!(take(&layout, &etcd()).unwrap(), Taken { moved, reappeared: None });
            assert!(is_held(&layout, &etcd()).unwrap() && !manifest.exists());
        }
        assert_eq!(shown(&layout.held().join("etcd.yaml").path()), before);
        assert_eq!(shown(&layout.held().path()).2 & 0o7777, 0o700, "nobody else sees what is held");
        assert_eq!(put(&layout, &etcd(), Conflict::KeepFound).unwrap(), Put { moved: true, ..nothing });
        assert!(!layout.held().exists().unwrap());
        assert_eq!((shown(&manifest), text(&manifest).as_str()), (before, "pod"));
    }

    #[test]
    fn what_is_found_in_its_place_is_the_manifest_or_is_kept() {
        for (found, rule, in_place, kept) in [
            (None, Conflict::KeepFound, "pod", None),
            (None, Conflict::KeepHeld, "pod", None),
            (Some("pod"), Conflict::KeepFound, "pod", None),
            (Some("pod"), Conflict::KeepHeld, "pod", None),
            (Some("other"), Conflict::KeepFound, "other", Some(("etcd.yaml.held-1", "pod"))),
            (Some("other"), Conflict::KeepHeld, "pod", Some(("etcd.yaml.reappeared-1", "other"))),
        ] {
            // The disk fails after every number of operations, and it is done again.
            for count in 0.. {
                let (_folder, layout) = held(found);
                let before = contents(&layout);
                let (outcome, _) = probe::fail_after(count, || put(&layout, &etcd(), rule));
                assert!(contents(&layout).is_superset(&before), "{found:?} {rule:?} {count}");
                let folders = [layout.manifests(), layout.held()];
                let (done, operations) = probe::watch(|| put(&layout, &etcd(), rule));
                let mut unsynced = probe::unsynced(&folders, &operations);
                if !layout.held().exists().unwrap() {
                    unsynced.remove(&layout.held().display());
                }
                assert_eq!(unsynced, BTreeSet::new());
                let copies: Vec<PathBuf> = kept.iter().map(|(name, _)| layout.held().join(name).path()).collect();
                assert_eq!(done.unwrap().kept, copies, "{found:?} {rule:?} {count}");
                assert_eq!(put(&layout, &etcd(), rule).unwrap(), Put { moved: false, kept: copies.clone() });
                assert_eq!(text(&layout.manifests().join("etcd.yaml").path()), in_place);
                assert!(!is_held(&layout, &etcd()).unwrap());
                assert_eq!(layout.held().exists().unwrap(), kept.is_some());
                for (copy, (_, expected)) in copies.iter().zip(kept) {
                    assert_eq!(text(copy), expected);
                }
                if outcome.is_ok() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_manifest_that_reappears_goes_aside_under_a_name_of_its_own() {
        let (_folder, layout) = held(None);
        let manifest = layout.manifests().join("etcd.yaml").path();
        let look = || expel(&layout, &etcd(), &Turn::take()).unwrap();
        assert_eq!(look(), None);
        let reappeared = |equal_bytes, name: &str| {
            Some(Reappeared { component: "etcd".into(), equal_bytes, kept: layout.held().join(name).path() })
        };
        // Again and again the same, and others.
        for (written, equal, name) in [
            ("pod", true, "etcd.yaml.reappeared-1"),
            ("pod", true, "etcd.yaml.reappeared-1"),
            ("other", false, "etcd.yaml.reappeared-2"),
            ("third", false, "etcd.yaml.reappeared-3"),
            ("other", false, "etcd.yaml.reappeared-2"),
            ("pod", true, "etcd.yaml.reappeared-1"),
        ] {
            fs::write(&manifest, written).unwrap();
            assert_eq!(look(), reappeared(equal, name), "{written}");
            assert!(!manifest.exists() && is_held(&layout, &etcd()).unwrap());
        }
        // Neither a link nor a folder is the manifest.
        symlink(layout.held().join("etcd.yaml").path(), &manifest).unwrap();
        assert_eq!(look(), reappeared(false, "etcd.yaml.reappeared-4"));
        fs::create_dir(&manifest).unwrap();
        assert_eq!(look(), reappeared(false, "etcd.yaml.reappeared-5"));
        fs::write(&manifest, "fourth").unwrap();
        let taken = take(&layout, &etcd()).unwrap();
        assert_eq!(taken, Taken { moved: false, reappeared: reappeared(false, "etcd.yaml.reappeared-6") });
        // What is equal goes with the folder, the rest stays and is named.
        let put = put(&layout, &etcd(), Conflict::KeepHeld).unwrap();
        let kept = [2, 3, 4, 5, 6].map(|number| layout.held().join(format!("etcd.yaml.reappeared-{number}")).path());
        assert_eq!(put, Put { moved: true, kept: kept.to_vec() });
        assert_eq!(text(&manifest), "pod");
        // Once it is not held any more, nothing of it is moved.
        assert_eq!(look(), None);
        assert_eq!(text(&manifest), "pod");
    }

    /// A program that writes a file in two pieces does not make it another one.
    #[test]
    fn a_manifest_is_judged_when_it_is_whole() {
        let (_folder, layout) = held(None);
        let manifest = layout.manifests().join("etcd.yaml").path();
        let mut file = fs::File::create(&manifest).unwrap();
        file.write_all(b"p").unwrap();
        let writer = std::thread::spawn(move || {
            while manifest.exists() {
                std::thread::yield_now();
            }
            file.write_all(b"od").unwrap();
        });
        let found = expel(&layout, &etcd(), &Turn::take()).unwrap().unwrap();
        writer.join().unwrap();
        assert!(found.equal_bytes);
    }

    #[test]
    fn a_manifest_is_moved_when_that_is_on_the_disk() {
        for count in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let layout = layout(folder.path());
            fs::create_dir_all(layout.manifests().path()).unwrap();
            fs::write(layout.manifests().join("etcd.yaml").path(), "pod").unwrap();
            let folders = [layout.manifests(), layout.held()];
            let (outcome, _) = probe::fail_after(count, || take(&layout, &etcd()));
            for _ in 0..2 {
                let (taken, operations) = probe::watch(|| take(&layout, &etcd()));
                taken.unwrap();
                assert_eq!(probe::unsynced(&folders, &operations), BTreeSet::new(), "{count}");
            }
            if outcome.is_ok() {
                break;
            }
        }
    }
}
