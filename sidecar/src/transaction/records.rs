//! What restores have left on a node: their journals, and the data that they have set aside.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_wire::restore::{Control, Kept, Live, NodeRestore};
use etcd_wire::{Failure, FailureCode};
use rustix::fs::{FileType, Stat};

use super::exchange::is_exchanged;
use super::journal::{self, storage};
use super::layout::{Layout, SERVED, STATE, is_id};
use super::state::{Standing, State};
use super::{arm, bare, control, enlist, hold};
use crate::node::Place;

/// How long a participant on this node may take to say how it is.
const ANSWER: Duration = Duration::from_secs(2);

/// All restores that this node knows of, oldest first.
pub(crate) async fn all() -> Result<Vec<NodeRestore>, Failure> {
    Ok(of_node(&Place::new(STATE)).await?.into_iter().map(|one| one.restore).collect())
}

/// A restore of this node.
pub(super) struct OfNode {
    pub(super) layout: Layout,
    /// What its journal and its participant say.
    pub(super) restore: NodeRestore,
    /// The authorities of its nodes' certificates. PEM.
    pub(super) authorities: Vec<String>,
}

/// All restores of a state folder, oldest first.
pub(super) async fn of_node(state: &Place) -> Result<Vec<OfNode>, Failure> {
    let (known, tellers) = tokio::task::block_in_place(|| {
        let known = known(state)?;
        let tellers = tellers(&known)?;
        Ok::<_, Failure>((known, tellers))
    })?;
    let mut restores = Vec::new();
    for (layout, state) in known {
        let live = control::tell(&layout, Control::Look, ANSWER).await.ok().map(|state| state.live);
        let authorities = state.authorities.clone();
        let restore = tokio::task::block_in_place(|| told(&layout, state, &tellers, live))?;
        restores.push(OfNode { layout, restore, authorities });
    }
    Ok(restores)
}

fn told(layout: &Layout, state: State, tellers: &Tellers, live: Option<Live>) -> Result<NodeRestore, Failure> {
    let exchanged = match layout.node().has_etcd().then(|| is_exchanged(&layout.exchanges().0)) {
        // Nothing is exchanged on a node that is left out, perhaps because of its disk.
        Some(Err(_)) if layout.is_left_out() => false,
        exchanged => exchanged.transpose()?.unwrap_or(false),
    };
    let aside = match exchanged {
        true => {
            let sizes = layout.folders().into_iter().map(|folder| size(&folder.join("old"), LEVELS));
            let bytes = sizes.sum::<std::io::Result<u64>>();
            Some((layout.aside().display(), bytes.map_err(|error| storage("measure the old data", &error))?))
        }
        false => None,
    };
    let kept = match kept(layout, &state, tellers) {
        Err(_) if layout.is_left_out() => Vec::new(),
        kept => kept?,
    };
    let has_identity =
        layout.identity().exists().map_err(|error| storage("look for the node's certificate", &error))?;
    let participates = arm::is_placed(layout)?;
    Ok(state.told(Standing { has_identity, participates, live, aside, kept }))
}

/// Which restore tells of a copy of a manifest, by its path: a restore and a rollback of its nodes' own keep theirs in one folder.
type Tellers = BTreeMap<String, String>;

/// Each copy is told once: by the restore whose journal names it, or else by the first one.
fn tellers(known: &[(Layout, State)]) -> Result<Tellers, Failure> {
    let (mut first, mut named) = (Tellers::new(), Tellers::new());
    for (layout, state) in known {
        for copy in copies(layout, state)? {
            let path = copy.display();
            let tellers = if state.kept.contains_key(&path) { &mut named } else { &mut first };
            tellers.entry(path).or_insert_with(|| layout.plan().id.clone());
        }
    }
    first.extend(named);
    Ok(first)
}

/// Copies of manifests in the folder of held ones; none on a node that is left out, if its disk does not tell.
fn copies(layout: &Layout, state: &State) -> Result<Vec<Place>, Failure> {
    let all = || -> Result<Vec<Place>, Failure> {
        let each = state.ground.components.iter().map(|component| hold::kept_copies(layout, component));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    };
    match all() {
        Err(_) if layout.is_left_out() => Ok(Vec::new()),
        all => all,
    }
}

/// What is still there of what was kept besides the old data.
fn kept(layout: &Layout, state: &State, tellers: &Tellers) -> Result<Vec<Kept>, Failure> {
    let mut places: Vec<Place> = layout.folders().iter().map(|folder| folder.join(SERVED)).collect();
    let own = |copy: &Place| tellers.get(&copy.display()) == Some(&layout.plan().id);
    places.extend(copies(layout, state)?.into_iter().filter(own));
    let mut found = Vec::new();
    for place in places {
        let measured = || -> std::io::Result<Option<u64>> {
            Ok(match place.stat()? {
                None => None,
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    Some(size(&place, LEVELS)?)
                }
                Some(stat) => Some(u64::try_from(stat.st_size).unwrap_or(0)),
            })
        };
        let bytes = measured().map_err(|error| storage("measure what was kept", &error))?;
        if let Some(bytes) = bytes {
            let path = place.display();
            let why = state.kept.get(&path).cloned().unwrap_or_else(|| "the journal does not say why".to_owned());
            found.push(Kept { path, why, bytes });
        }
    }
    Ok(found)
}

/// Every journal in a state folder, with what it adds up to.
pub(super) fn known(state: &Place) -> Result<Vec<(Layout, State)>, Failure> {
    let names = match state.names() {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("look for journals", &error)),
    };
    let mut found = Vec::new();
    for name in names {
        let folder = state.join(name);
        let has_journal = || -> std::io::Result<bool> {
            let is_folder = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            Ok(folder.stat()?.is_some_and(is_folder) && folder.join("journal").exists()?)
        };
        if has_journal().map_err(|error| storage("look for journals", &error))? {
            found.extend(read(state, &folder.join("journal"))?);
        }
    }
    found.sort_by_key(|(_, state)| state.begun_at);
    Ok(found)
}

/// The journal of one restore, whatever state those of others are in; `None` if there is none. The ID may be anybody's.
///
/// # Errors
/// It cannot be read.
pub(super) fn of(state: &Place, id: &str) -> Result<Option<(Layout, State)>, Failure> {
    if !is_id(id) {
        return Ok(None);
    }
    let journal = state.join(id).join("journal");
    match journal.exists() {
        Ok(true) => Ok(read(state, &journal)?.filter(|(layout, _)| layout.plan().id == id)),
        Ok(false) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage("look for the journal", &error)),
    }
}

/// One journal; `None` if it was cut before its first entry was whole: that restore has done nothing.
fn read(state: &Place, journal: &Place) -> Result<Option<(Layout, State)>, Failure> {
    let (lines, _) = journal::read(journal)?;
    if lines.is_empty() {
        return Ok(None);
    }
    let begun = State::of(lines)?;
    let layout = Layout::at(begun.plan.clone(), &begun.node, &state.path())?;
    Ok(Some((layout, begun)))
}

/// Why a restore was given up on this node.
pub(super) fn reason(layout: &Layout) -> Result<Failure, Failure> {
    let (lines, _) = journal::read(&layout.journal())?;
    let notes = State::of(lines)?.notes();
    let first = notes.first().cloned().unwrap_or_else(|| "a node has voted no".to_owned());
    Ok(notes.into_iter().skip(1).fold(Failure::new(FailureCode::Refused, first), Failure::cause))
}

/// Takes away a restore that never came to anything: its data, and the journal that says so.
pub(super) fn discard(layout: &Layout) -> Result<(), Failure> {
    discard_data(layout)?;
    for folder in layout.folders() {
        if folder.exists().map_err(|error| storage("look for kept data", &error))? {
            let message = format!("{} holds data on which etcd ran", folder.display());
            return Err(Failure::new(FailureCode::Storage, message));
        }
    }
    arm::remove_program(layout)?;
    remove_all(&layout.records())
}

/// Takes away what a restore has put beside the data in place. Data that was set aside, or on which etcd ran, is never among it.
pub(super) fn discard_data(layout: &Layout) -> Result<(), Failure> {
    for folder in layout.folders() {
        let old = folder.join("old");
        let looked = |error: std::io::Error| storage("look for the old data", &error);
        let kept = old.is_folder().map_err(looked)? && !old.names().map_err(looked)?.is_empty();
        if kept || folder.join("old.partial").exists().map_err(looked)? {
            let message = format!("{} still holds the old data", old.display());
            return Err(Failure::new(FailureCode::Storage, message));
        }
        if folder.join(SERVED).exists().map_err(looked)? {
            for name in folder.names().map_err(looked)?.iter().filter(|name| *name != SERVED) {
                folder
                    .join(name)
                    .remove_any()
                    .map_err(|error| storage("remove what is not needed any more", &error))?;
            }
        } else {
            remove_all(&folder)?;
            remove_ours(&folder)?;
        }
    }
    // The journal of one that was cut off at its beginning may say nothing, and nothing was made then.
    match of(layout.state(), &layout.plan().id)? {
        Some((_, state)) => bare::remove(layout, &state.ground.missing),
        None => Ok(()),
    }
}

/// Takes away the folder of all restores that one's folder was in, if no other restore has anything in it.
pub(super) fn remove_ours(folder: &Place) -> Result<(), Failure> {
    let Some(ours) = folder.folder() else { return Ok(()) };
    ours.remove_if_empty().map(|_| ()).map_err(|error| storage("remove a folder of this program", &error))
}

/// Takes away what ended restores have set aside, and their journals. Says what that was.
pub(crate) fn remove(ids: &[String]) -> Result<Vec<NodeRestore>, Failure> {
    let _lock = enlist::exclusive(&Place::new(STATE))?;
    let mut known = known(&Place::new(STATE))?;
    // One that is unfinished may need what another has set aside.
    if let Some((layout, _)) = known.iter().find(|(_, state)| state.is_unfinished()) {
        let message = format!("restore {} has not ended", layout.plan().id);
        return Err(Failure::new(FailureCode::Busy, message).hint("kubectl etcd restore --status"));
    }
    // All have ended. What a participant that lingers runs may lie in the folder of another restore.
    known.iter().try_for_each(|(layout, _)| arm::leave(layout))?;
    let tellers = tellers(&known)?;
    known.retain(|(layout, _)| ids.contains(&layout.plan().id));
    let mut removed = Vec::new();
    for (layout, state) in known {
        let components = state.ground.components.clone();
        let one = told(&layout, state, &tellers, None)?;
        for folder in layout.folders() {
            break_up(&folder)?;
        }
        for folder in layout.folders() {
            remove_all(&folder)?;
            remove_ours(&folder)?;
        }
        hold::remove_copies(&layout, &components)?;
        remove_all(&layout.records())?;
        removed.push(one);
    }
    Ok(removed)
}

/// Sees to it that what was set aside does not count as whole any more, should its removal fail half way.
pub(super) fn break_up(folder: &Place) -> Result<(), Failure> {
    let (old, rest) = (folder.join("old"), folder.join("rest"));
    let broken =
        || -> std::io::Result<()> { if old.exists()? && !rest.exists()? { old.rename(&rest) } else { Ok(()) } };
    broken().map_err(|error| storage("remove the old data", &error))
}

pub(super) fn remove_all(folder: &Place) -> Result<(), Failure> {
    folder.remove_all().map_err(|error| storage("remove a folder of this program", &error))
}

/// Folders below each other that are looked into: a member's data has three levels, and whoever owns it can make any number.
pub(super) const LEVELS: u8 = 5;

/// Bytes of all files below a folder; none of what is not there.
pub(super) fn size(folder: &Place, levels: u8) -> std::io::Result<u64> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(0) };
    let names = match folder.names() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        names => names?,
    };
    let of = |place: Place| match place.stat()? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => size(&place, levels),
        Some(stat) => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
        None => Ok(0),
    };
    names.iter().map(|name| of(folder.join(name))).sum()
}

#[cfg(test)]
mod tests {
    use super::super::arm::tests as arming;
    use super::super::ground::Component;
    use super::super::layout::tests::{layout, plan};
    use super::*;

    #[test]
    fn data_on_which_etcd_ran_outlives_the_rest() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout(root.path());
        let folder = layout.folders().swap_remove(0);
        let make = |name: &str| {
            std::fs::create_dir_all(folder.join(name).path().parent().unwrap()).unwrap();
            std::fs::write(folder.join(name).path(), "data").unwrap();
        };
        make("new/member/snap/db");
        make("snapshot.db");
        discard_data(&layout).unwrap();
        assert!(!folder.exists().unwrap() && !folder.folder().unwrap().exists().unwrap());
        make("new/member/snap/db");
        make("snapshot.db");
        make("served/member/snap/db");
        for _ in 0..2 {
            discard_data(&layout).unwrap();
            assert_eq!(folder.names().unwrap(), [SERVED]);
        }
        assert_eq!(folder.join("served/member/snap/db").read().unwrap(), b"data");
        assert!(discard(&layout).is_err(), "its journal says what it is");
        make("old/member/snap/db");
        assert!(discard_data(&layout).is_err());
        assert_eq!(folder.names().unwrap(), ["old", SERVED]);
    }

    #[test]
    fn each_copy_of_a_manifest_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let layout = arming::armed(root.path(), plan(root.path()));
        let back = layout.way_back().unwrap();
        let (mut restore, mut rollback) = (state(&layout), state(&layout));
        let component = Component { name: "etcd".into(), file: "etcd.yaml".into(), ..Component::default() };
        for state in [&mut restore, &mut rollback] {
            state.ground.components.push(component.clone());
        }
        let copy = |number: u8| layout.held().join(format!("{}.reappeared-{number}", component.file));
        layout.held().create_folders().unwrap();
        for number in [1, 2, 3] {
            std::fs::write(copy(number).path(), "other").unwrap();
        }
        restore.kept.insert(copy(1).display(), "of the restore".into());
        rollback.kept.insert(copy(2).display(), "of the rollback".into());
        let both = [(layout.clone(), restore), (back.clone(), rollback)];
        let told = |both: &[(Layout, State)]| -> Vec<Vec<(String, String)>> {
            let tellers = tellers(both).unwrap();
            let of = |(layout, state): &(Layout, State)| {
                let mut kept = kept(layout, state, &tellers).unwrap();
                kept.sort_by(|a, b| a.path.cmp(&b.path));
                kept.into_iter().map(|one| (one.path, one.why)).collect()
            };
            both.iter().map(of).collect()
        };
        let nobody = "the journal does not say why";
        let is = |number: u8, why: &str| (copy(number).display(), why.to_owned());
        assert_eq!(told(&both), [vec![is(1, "of the restore"), is(3, nobody)], vec![is(2, "of the rollback")]]);
        // The journal of the restore is gone.
        assert_eq!(told(&both[1..]), [vec![is(1, nobody), is(2, "of the rollback"), is(3, nobody)]]);
    }

    fn state(layout: &Layout) -> State {
        State::of(journal::read(&layout.journal()).unwrap().0).unwrap()
    }

    #[test]
    fn the_rest_of_a_removal_is_no_data_that_could_come_back() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout(root.path());
        let folder = layout.folders().swap_remove(0);
        std::fs::create_dir_all(folder.join("old/member/snap").path()).unwrap();
        std::fs::write(folder.join("old/member/snap/db").path(), "").unwrap();
        assert!(is_exchanged(&layout.exchanges().0).unwrap());
        break_up(&folder).unwrap();
        assert!(!is_exchanged(&layout.exchanges().0).unwrap());
        // It can be done again, and there may be nothing.
        break_up(&folder).unwrap();
        remove_all(&folder).unwrap();
        break_up(&folder).unwrap();
        assert!(!folder.exists().unwrap());
    }
}
