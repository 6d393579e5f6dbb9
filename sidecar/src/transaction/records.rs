//! What restores have left on a node: their journals, and the data that they have set aside.

use std::path::Path;

use etcd_wire::restore::NodeRestore;
use etcd_wire::{Failure, FailureCode};
use fs_err as fs;

use super::exchange::is_exchanged;
use super::journal::{self, storage};
use super::layout::{Layout, STATE};
use super::state::State;
use super::{arm, coordinator, enlist};

/// All restores that this node knows of, oldest first.
pub(crate) fn all() -> Result<Vec<NodeRestore>, Failure> {
    Ok(known(Path::new(STATE))?.into_iter().map(|(layout, state)| told(&layout, state)).collect())
}

fn told(layout: &Layout, state: State) -> NodeRestore {
    let (member, _) = layout.exchanges();
    let aside = is_exchanged(&member).then(|| {
        let bytes = layout.folders().iter().map(|folder| size(&folder.join("old"))).sum();
        (layout.aside().display().to_string(), bytes)
    });
    state.told(layout.identity().exists(), aside)
}

/// Every journal in a state folder, with what it adds up to.
pub(super) fn known(state: &Path) -> Result<Vec<(Layout, State)>, Failure> {
    let entries = match fs::read_dir(state) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("look for journals", &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| storage("look for journals", &error))?.path().join("journal");
        if !path.exists() {
            continue;
        }
        let (lines, _) = journal::read(&path)?;
        // One that was cut before its first entry was whole has done nothing.
        if lines.is_empty() {
            continue;
        }
        let begun = State::of(lines)?;
        let layout = Layout::new(begun.plan.clone(), &begun.node)?;
        found.push((layout, begun));
    }
    found.sort_by_key(|(_, state)| state.begun_at);
    Ok(found)
}

/// Takes away a restore that never came to anything: its data, and the journal that says so.
pub(super) fn discard(layout: &Layout) -> Result<(), Failure> {
    discard_data(layout)?;
    remove_all(&layout.records())
}

/// Takes away what a restore has put beside the data in place. Data that was set aside is never among it.
pub(super) fn discard_data(layout: &Layout) -> Result<(), Failure> {
    for folder in layout.folders() {
        let old = folder.join("old");
        let kept = fs::read_dir(&old).is_ok_and(|mut entries| entries.next().is_some());
        if kept || folder.join("old.partial").exists() {
            let message = format!("{} still holds what was in place before", old.display());
            return Err(Failure::new(FailureCode::Storage, message));
        }
        remove_all(&folder)?;
        if let Some(ours) = folder.parent() {
            let _not_empty = std::fs::remove_dir(ours);
        }
    }
    Ok(())
}

/// Takes away what ended restores have set aside, and their journals. Says what that was.
pub(crate) fn remove(ids: &[String]) -> Result<Vec<NodeRestore>, Failure> {
    let _lock = enlist::exclusive(Path::new(STATE))?;
    let mut known = known(Path::new(STATE))?;
    // One that is unfinished may need what another has set aside.
    let unfinished = |state: &State| state.ended.is_none() || coordinator::concerns(state);
    if let Some((layout, _)) = known.iter().find(|(_, state)| state.armed && unfinished(state)) {
        let message = format!("restore {} has not ended", layout.plan().id);
        return Err(Failure::new(FailureCode::Busy, message).hint("kubectl etcd restore --status"));
    }
    known.retain(|(layout, _)| ids.contains(&layout.plan().id));
    let mut removed = Vec::new();
    for (layout, state) in known {
        let one = told(&layout, state);
        for folder in layout.folders() {
            remove_all(&folder)?;
            if let Some(ours) = folder.parent() {
                let _not_empty = std::fs::remove_dir(ours);
            }
        }
        arm::leave(&layout)?;
        remove_all(&layout.records())?;
        removed.push(one);
    }
    Ok(removed)
}

fn remove_all(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(storage("take away a folder of ours", &error))
        }
        _ => Ok(()),
    }
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
