//! What replacements have left on the node: their journals, and the old data of the members. It goes when somebody asks for that, and only where the
//! journal says that the replacement has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use etcd_wire::replace::{ReplacedData, ReplacedDataRequest};
use etcd_wire::restore::Kept;
use etcd_wire::{Failure, FailureCode};

use super::super::journal::storage;
use super::super::layout::{Layout, STATE, is_id};
use super::super::{enlist, hold, records};
use super::record::{self, Record};
use super::unfinished;
use crate::node::dir::OURS;
use crate::node::{Place, etcds};

/// What replacements have left, and what lies in data directories without a journal.
///
/// # Errors
/// The disk fails. A journal that cannot be read is told with what it is of.
pub(crate) fn tell(request: &ReplacedDataRequest) -> Result<Vec<ReplacedData>, Failure> {
    let mut dirs: BTreeSet<String> = request.data_dirs.iter().filter(|dir| dir.starts_with('/')).cloned().collect();
    if dirs.is_empty() {
        // What cannot be looked at there names no directory. The journals name those of replacements.
        let found = etcds::find(Path::new("/"), Path::new(etcds::MANIFESTS), &etcds::hostname());
        dirs.extend(found.dirs.into_iter().map(|one| one.data_dir.display().to_string()));
    }
    tell_at(&Place::new(STATE), dirs)
}

fn tell_at(state: &Place, mut dirs: BTreeSet<String>) -> Result<Vec<ReplacedData>, Failure> {
    let mut all = BTreeMap::new();
    for (id, read) in journals(state)? {
        let one = match read {
            Ok(journal) => {
                dirs.insert(journal.record.plan.data_dir.clone());
                journal.told()?
            }
            Err(problem) => ReplacedData { id: id.clone(), problem: Some(problem), ..ReplacedData::default() },
        };
        all.insert(id, one);
    }
    for dir in dirs {
        for one in without_journal(state, &Place::new(dir).join(OURS))? {
            all.entry(one.id.clone()).or_insert(one);
        }
    }
    Ok(all.into_values().collect())
}

/// Takes away what ended replacements have set aside, and their journals. Says what that was.
///
/// # Errors
/// [`FailureCode::Busy`] while a restore or a replacement is unfinished; the journal of one of them cannot be read. Nothing was removed then. Or the disk
/// fails.
pub(crate) fn remove(ids: &[String]) -> Result<Vec<ReplacedData>, Failure> {
    remove_at(&Place::new(STATE), ids)
}

fn remove_at(state: &Place, ids: &[String]) -> Result<Vec<ReplacedData>, Failure> {
    let _lock = enlist::exclusive(state)?;
    if let Some((layout, _)) = records::known(state)?.into_iter().find(|(_, state)| state.is_unfinished()) {
        let message = format!("restore {} has not ended", layout.plan().id);
        return Err(Failure::new(FailureCode::Busy, message).hint("kubectl etcd restore --status"));
    }
    let mut wanted = Vec::new();
    for (id, read) in journals(state)? {
        match read {
            Ok(journal) if !journal.record.phase.is_over() => return Err(unfinished(&journal.record)),
            Ok(journal) if ids.contains(&id) => wanted.push(journal),
            Err(problem) if ids.contains(&id) => return Err(problem),
            Ok(_) | Err(_) => {}
        }
    }
    let mut removed = Vec::new();
    for journal in wanted {
        let told = journal.told()?;
        journal.remove(&told)?;
        removed.push(told);
    }
    Ok(removed)
}

/// A journal that could be read, of the folder that it lies in.
struct Journal {
    record: Record,
    layout: Layout,
    /// Milliseconds since 1970.
    written_at: i64,
}

/// The name of a journal's folder, and the journal, or why it cannot be read.
type Read = (String, Result<Journal, Failure>);

/// The journals of replacements in a state folder.
fn journals(state: &Place) -> Result<Vec<Read>, Failure> {
    let names = match state.names() {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("look for journals", &error)),
    };
    let mut found = Vec::new();
    for name in names {
        let id = name.to_string_lossy().into_owned();
        match journal(state, &state.join(&name), &id) {
            Ok(None) => {}
            Ok(Some(journal)) => found.push((id, Ok(journal))),
            Err(problem) => found.push((id, Err(problem))),
        }
    }
    Ok(found)
}

fn journal(state: &Place, folder: &Place, id: &str) -> Result<Option<Journal>, Failure> {
    let Some(record) = record::read(folder)? else { return Ok(None) };
    if record.plan.id != id {
        let message = format!("the journal in {} is that of replacement {}", folder.display(), record.plan.id);
        return Err(Failure::new(FailureCode::Storage, message));
    }
    let layout = record.layout(state)?;
    let written = record::file(folder).open_file().and_then(|file| file.metadata());
    let written = written.map_err(|error| storage("look at the journal of a replacement", &error))?;
    let written_at = written.mtime().saturating_mul(1000).saturating_add(written.mtime_nsec() / 1_000_000);
    Ok(Some(Journal { record, layout, written_at }))
}

impl Journal {
    fn told(&self) -> Result<ReplacedData, Failure> {
        let (mut bytes, mut there) = (0_u64, false);
        for folder in self.layout.folders() {
            let old = folder.join("old");
            there |= old.exists().map_err(|error| storage("look for the old data", &error))?;
            let size = records::size(&old, records::LEVELS);
            bytes = bytes.saturating_add(size.map_err(|error| storage("measure the old data", &error))?);
        }
        Ok(ReplacedData {
            id: self.record.plan.id.clone(),
            member: Some(self.record.plan.member.clone()),
            phase: Some(self.record.phase),
            written_at: Some(self.written_at),
            old_data: there.then(|| self.layout.aside().display()),
            old_data_bytes: bytes,
            kept: self.kept()?,
            problem: None,
        })
    }

    /// What is still there of the manifests that the journal names. Whoever does not see their folder tells them without a size.
    fn kept(&self) -> Result<Vec<Kept>, Failure> {
        let looked = |error: std::io::Error| storage("look at a manifest that was kept", &error);
        let sees = Place::new(self.layout.beside()).is_folder().map_err(looked)?;
        let mut kept = Vec::new();
        for path in &self.record.kept {
            let there = Place::new(path).stat().map_err(looked)?;
            if there.is_some() || !sees {
                let bytes = there.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
                let why = "another program has written it while the member was replaced".to_owned();
                kept.push(Kept { path: path.clone(), why, bytes });
            }
        }
        Ok(kept)
    }

    /// Removes the old data, what was told to be kept, and at last the journal. Can be done again if it fails half way.
    fn remove(&self, told: &ReplacedData) -> Result<(), Failure> {
        for folder in self.layout.folders() {
            records::break_up(&folder)?;
        }
        for folder in self.layout.folders() {
            records::remove_all(&folder)?;
            records::remove_ours(&folder)?;
        }
        let components: Vec<_> =
            [Some(&self.record.etcd), self.record.api_server.as_ref()].into_iter().flatten().cloned().collect();
        hold::remove_those_copies(&self.layout, &components, &|copy| {
            told.kept.iter().any(|kept| kept.path == copy.display())
        })?;
        record::remove(&self.layout)
    }
}

/// The folders of this program in a data directory of which no journal tells, neither of a restore nor of a replacement.
fn without_journal(state: &Place, ours: &Place) -> Result<Vec<ReplacedData>, Failure> {
    let looked = |error: std::io::Error| storage("look for old data without a journal", &error);
    let names = match ours.names() {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(looked(error)),
    };
    let mut found = Vec::new();
    for name in names {
        let Some(id) = name.to_str().filter(|name| is_id(name)) else { continue };
        let (folder, records) = (ours.join(id), state.join(id));
        let has = |file: &Place| file.exists().map_err(looked);
        // A folder that is a file or a link is none of ours.
        if !matches!(folder.is_folder(), Ok(true)) || has(&records.join("journal"))? || has(&record::file(&records))? {
            continue;
        }
        let size = records::size(&folder, records::LEVELS + 1);
        let problem = Failure::new(FailureCode::Storage, format!("{} has no journal", folder.display()))
            .cause("nobody knows what it is, and whether it is needed")
            .hint(format!(
                "look at it on the node, and remove it by hand when you are sure\n  rm -r {}",
                folder.display()
            ));
        found.push(ReplacedData {
            id: id.to_owned(),
            old_data: Some(folder.display()),
            old_data_bytes: size.map_err(|error| storage("measure data without a journal", &error))?,
            problem: Some(problem),
            ..ReplacedData::default()
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use etcd_wire::replace::{ReplacePhase, ReplacePlan};
    use fs_err as fs;

    use super::super::super::ground::{Component, ETCD};
    use super::*;

    const DONE: &str = "20261127-100000-abcde";
    const LATER: &str = "20261127-110000-abcde";

    /// A replacement with old data, a log of its own, and a manifest that was kept.
    fn replaced(root: &Path, id: &str, phase: ReplacePhase) -> (Record, Layout) {
        let path = |name: &str| root.join(name).display().to_string();
        let plan = ReplacePlan {
            id: id.into(),
            node: "cp2".into(),
            member: "cp2".into(),
            data_dir: path("etcd"),
            wal_dir: Some(path("wal")),
            manifests_dir: path("kubernetes/manifests"),
            ..ReplacePlan::default()
        };
        let etcd = Component { name: ETCD.into(), file: "etcd.yaml".into(), ..Component::default() };
        for folder in ["etcd", "wal", "kubernetes/manifests", "state"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let layout = record::layout(&plan, &Place::new(root.join("state"))).unwrap();
        let kept = layout.held().join("etcd.yaml.reappeared-1");
        let record = Record {
            plan,
            etcd,
            api_server: None,
            listens: Vec::new(),
            phase,
            initial_cluster: None,
            new_member: None,
            failure: None,
            kept: vec![kept.display()],
        };
        let put = |place: &Place, bytes: &str| {
            fs::create_dir_all(place.path().parent().unwrap()).unwrap();
            fs::write(place.path(), bytes).unwrap();
        };
        put(&layout.aside().join("member/snap/db"), "old");
        put(&layout.folders()[1].join("old/0.wal"), "log");
        put(&kept, "other");
        put(&layout.held().join("etcd.yaml.reappeared-2"), "nobody was told of this one");
        record.write(&layout).unwrap();
        (record, layout)
    }

    fn list(root: &Path) -> Vec<ReplacedData> {
        tell_at(&Place::new(root.join("state")), BTreeSet::from([root.join("etcd").display().to_string()])).unwrap()
    }

    fn take(root: &Path, id: &str) -> Result<Vec<ReplacedData>, Failure> {
        remove_at(&Place::new(root.join("state")), &[id.to_owned()])
    }

    #[test]
    fn the_old_data_of_a_replaced_member_goes_with_its_journal() {
        let root = tempfile::tempdir().unwrap();
        let (_, layout) = replaced(root.path(), DONE, ReplacePhase::Done);
        let listed = list(root.path());
        let [one] = &listed[..] else { panic!("{listed:?}") };
        assert!(one.is_over() && one.written_at.is_some_and(|at| at > 0), "{one:?}");
        assert_eq!((one.id.as_str(), one.member.as_deref()), (DONE, Some("cp2")));
        assert_eq!((one.old_data.clone(), one.old_data_bytes, one.bytes()), (Some(layout.aside().display()), 6, 11));
        // Not by the ID of another one.
        assert_eq!(take(root.path(), LATER).unwrap(), []);
        assert_eq!(take(root.path(), DONE).unwrap(), listed);
        assert_eq!(list(root.path()), []);
        assert!(layout.state().names().unwrap().is_empty());
        for folder in ["etcd", "wal"] {
            assert_eq!(fs::read_dir(root.path().join(folder)).unwrap().count(), 0, "{folder}");
        }
        // What nobody was told of is not removed.
        assert_eq!(layout.held().names().unwrap(), ["etcd.yaml.reappeared-2"]);
    }

    #[test]
    fn a_removal_that_was_cut_off_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        let (_, layout) = replaced(root.path(), DONE, ReplacePhase::Done);
        records::break_up(&layout.folder()).unwrap();
        fs::remove_file(layout.folder().join("rest/member/snap/db").path()).unwrap();
        assert_eq!(take(root.path(), DONE).unwrap().len(), 1);
        assert!(!layout.folder().exists().unwrap() && list(root.path()).is_empty());
    }

    #[test]
    fn nothing_goes_while_a_replacement_is_unfinished() {
        for phase in [ReplacePhase::Begun, ReplacePhase::SetAside, ReplacePhase::OwnManifest, ReplacePhase::Unknown] {
            let root = tempfile::tempdir().unwrap();
            let (_, done) = replaced(root.path(), DONE, ReplacePhase::Done);
            let (_, other) = replaced(root.path(), LATER, phase);
            let listed = list(root.path());
            assert_eq!(listed.iter().map(ReplacedData::is_over).collect::<Vec<_>>(), [true, false], "{phase:?}");
            for id in [DONE, LATER] {
                assert_eq!(take(root.path(), id).unwrap_err().code, FailureCode::Busy, "{phase:?}");
            }
            assert!([done, other].iter().all(|layout| layout.aside().join("member/snap/db").exists().unwrap()));
        }
        // One that a process works at is not touched either.
        let root = tempfile::tempdir().unwrap();
        let (_, layout) = replaced(root.path(), DONE, ReplacePhase::Done);
        let _lock = enlist::exclusive(layout.state()).unwrap();
        assert_eq!(take(root.path(), DONE).unwrap_err().code, FailureCode::Busy);
    }

    #[test]
    fn what_has_no_journal_that_can_be_read_is_named_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let (_, done) = replaced(root.path(), DONE, ReplacePhase::Done);
        let (record, broken) = replaced(root.path(), LATER, ReplacePhase::Done);
        let journal = record::file(&broken.records()).path();
        // Of another replacement, damaged, away, and with its folder.
        let other = Record { plan: ReplacePlan { id: DONE.into(), ..record.plan.clone() }, ..record };
        fs::write(&journal, serde_json::to_vec(&other).unwrap()).unwrap();
        for step in 0..4 {
            match step {
                0 => {}
                1 => fs::write(&journal, "{").unwrap(),
                2 => fs::remove_file(&journal).unwrap(),
                _ => fs::remove_dir(broken.records().path()).unwrap(),
            }
            let listed = list(root.path());
            let [one, other] = &listed[..] else { panic!("{listed:?}") };
            assert!(one.is_over() && !other.is_over() && other.problem.is_some(), "{other:?}");
            assert_eq!(other.id, LATER);
            assert!(take(root.path(), LATER).map_or(true, |removed| removed.is_empty()), "{step}");
            assert!(broken.aside().join("member/snap/db").exists().unwrap());
        }
        assert_eq!(list(root.path())[1].old_data, Some(broken.folder().display()));
        // It keeps nothing else from going.
        assert_eq!(take(root.path(), DONE).unwrap().len(), 1);
        assert!(!done.folder().exists().unwrap() && broken.aside().exists().unwrap());
    }

    #[test]
    fn the_journal_of_a_restore_is_one() {
        let root = tempfile::tempdir().unwrap();
        let (_, layout) = replaced(root.path(), DONE, ReplacePhase::Done);
        record::remove(&layout).unwrap();
        fs::create_dir_all(layout.records().path()).unwrap();
        fs::write(layout.journal().path(), "").unwrap();
        assert_eq!(list(root.path()), []);
    }
}
