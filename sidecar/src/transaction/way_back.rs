//! A node is armed for a rollback that the nodes begin by themselves: a journal of its own, which is written by the participant of the restore before.

use etcd_transaction::Entry as Fact;
use etcd_wire::restore::{Identity, Staged, Step};
use etcd_wire::{Failure, FailureCode};

use super::ground::{Before, Ground};
use super::journal::{Entry, FORMAT, Journal, PROTOCOL};
use super::layout::Layout;
use super::work::Work;
use super::{hold, identity, records};

/// Arms the node, whose API server is stopped: as one that had come as far in the rollback. If it fails, nothing of the rollback is left, or the
/// process ends.
///
/// # Errors
/// Why it is not armed.
pub(super) fn arm(work: &Work, back: &Layout, built: &Staged, before: Before, why: String) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(FailureCode::Refused, what);
    for component in &work.ground.components {
        // The rollback would take it for one that was written during its own steps.
        if !hold::kept_copies(&work.layout, component)?.is_empty() {
            return Err(refused("another program has written manifests during the restore"));
        }
    }
    let restore = records::of(work.layout.state(), &work.layout.plan().id)?;
    let (_, state) = restore.ok_or_else(|| refused("the journal of the restore is gone"))?;
    let identity = identity::read(&work.layout)?;
    if identity.is_none() && back.plan().nodes.len() > 1 {
        return Err(refused("the node has lost its certificate"));
    }
    let ground = Ground { before, ..work.ground.clone() };
    let prepared = prepare(back, ground, built, state.authorities, identity.as_ref(), why);
    let armed = match prepared {
        // If it fails, the disk may have it or not.
        Ok(mut journal) => {
            journal.append(Entry::Protocol(Fact::Armed)).inspect_err(|failure| work.end(failure.clone()))
        }
        Err(failure) => Err(discard_journal(back).err().map_or(failure, |worse| {
            work.end(worse.clone());
            worse
        })),
    };
    armed.map(|_| ())
}

/// Writes everything but that the node is armed.
fn prepare(
    back: &Layout,
    ground: Ground,
    built: &Staged,
    authorities: Vec<String>,
    own: Option<&Identity>,
    why: String,
) -> Result<Journal, Failure> {
    let mut journal = Journal::create(&back.journal())?;
    let begun = Entry::Transaction {
        format: FORMAT,
        protocol: PROTOCOL,
        plan: Box::new(back.plan().clone()),
        node: back.node().node.clone(),
        ground: Box::new(ground),
    };
    let authorities = authorities.into_iter().map(|authority| Entry::Authority { authority });
    let entries = [begun, Entry::Staged { staged: built.clone() }].into_iter().chain(authorities);
    let stopped = Fact::Step { step: Step::StopApi, done: false };
    for entry in entries.chain([Entry::Note { text: why }, Entry::Protocol(stopped)]) {
        journal.append(entry)?;
    }
    if let Some(own) = own {
        identity::write(back, own)?;
    }
    Ok(journal)
}

/// Whether the node is armed, which is on the disk then. If it is not, nothing of the rollback's journal is left.
///
/// # Errors
/// Nobody can tell.
pub(super) fn is_armed(back: &Layout) -> Result<bool, Failure> {
    if has_armed(back)? {
        // What could not be written by the process before may be in memory alone: opening writes it once more.
        return Journal::open(&back.journal()).map(|_| true);
    }
    discard_journal(back).map(|()| false)
}

/// Takes away what was built for a rollback that does not come. One that the node is armed for is left alone.
///
/// # Errors
/// The disk fails.
pub(super) fn discard(back: &Layout) -> Result<(), Failure> {
    if has_armed(back)? {
        return Ok(());
    }
    records::discard_data(back)?;
    discard_journal(back)
}

fn has_armed(back: &Layout) -> Result<bool, Failure> {
    Ok(records::of(back.state(), &back.plan().id)?.is_some_and(|(_, state)| state.armed))
}

fn discard_journal(back: &Layout) -> Result<(), Failure> {
    records::remove_all(&back.records())
}

#[cfg(test)]
mod tests {
    use etcd_transaction::{Ballot, Decision, Ending, How, Node};
    use tokio::sync::{mpsc, watch};

    use super::super::arm::tests as arming;
    use super::super::journal;
    use super::super::layout::tests::plan;
    use super::super::state::State;
    use super::super::work::Writer;
    use super::*;
    use crate::node::probe;

    /// A node that has committed, with an identity and built data, and what ends its process.
    fn committed(root: &std::path::Path) -> (Work, Layout, watch::Receiver<Option<Failure>>) {
        let layout = arming::armed(root, plan(root));
        let (mut journal, _) = Journal::open(&layout.journal()).unwrap();
        journal.append(Entry::Authority { authority: "ca".into() }).unwrap();
        identity::write(&layout, &arming::identity()).unwrap();
        let state = State::of(journal::read(&layout.journal()).unwrap().0).unwrap();
        let (broken, ended) = watch::channel(None);
        let writer = Writer::start(journal, broken.clone());
        let back = layout.way_back().unwrap();
        (Work::new(layout, state, writer, mpsc::unbounded_channel().0, broken), back, ended)
    }

    fn arm_it(work: &Work, back: &Layout) -> Result<(), Failure> {
        let built = Staged { cluster_id: 7, revision: 9, hash_kv: Some(1), ..Staged::default() };
        arm(work, back, &built, Before { cluster_id: 5, revision: 8 }, "why".to_owned())
    }

    fn state(layout: &Layout) -> State {
        State::of(journal::read(&layout.journal()).unwrap().0).unwrap()
    }

    /// Wherever the disk fails, the node is armed or nothing of it is left, and one that cannot tell ends.
    #[test]
    fn a_node_is_armed_or_not() {
        for count in 0.. {
            let root = tempfile::tempdir().unwrap();
            let (work, back, ended) = committed(root.path());
            let (outcome, _) = probe::fail_after(count, || arm_it(&work, &back));
            if let Err(failure) = outcome {
                assert!(ended.borrow().is_some() || !back.records().exists().unwrap(), "{count}: {failure}");
                assert!(!is_armed(&back).unwrap(), "{count}");
                assert!(!back.records().exists().unwrap(), "{count}");
                continue;
            }
            assert!(is_armed(&back).unwrap() && ended.borrow().is_none());
            let armed = state(&back);
            assert!(armed.armed && !armed.untouched() && armed.ended().is_none());
            assert_eq!(
                (armed.staged.map(|staged| staged.cluster_id), armed.authorities),
                (Some(7), vec!["ca".to_owned()])
            );
            assert_eq!(armed.ground.before, Before { cluster_id: 5, revision: 8 });
            assert!(armed.recorded.begun().contains(Step::StopApi) && !armed.recorded.done().contains(Step::StopApi));
            assert_eq!(identity::read(&back).unwrap(), identity::read(&work.layout).unwrap());
            // What a node is armed for is not taken away.
            discard(&back).unwrap();
            assert!(is_armed(&back).unwrap());
            break;
        }
    }

    #[test]
    fn a_node_that_was_not_armed_is_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let (work, back, _) = committed(root.path());
        // A process that was killed before the last entry.
        let ground = Ground { before: Before::default(), ..work.ground.clone() };
        drop(prepare(&back, ground, &Staged::default(), Vec::new(), None, String::new()).unwrap());
        std::fs::create_dir_all(back.data_dir().path()).unwrap();
        back.folder().join("new/member").create_folders().unwrap();
        assert!(!state(&back).armed);
        assert!(!is_armed(&back).unwrap());
        discard(&back).unwrap();
        assert!(!back.records().exists().unwrap() && !back.folder().exists().unwrap());
        // A node of several that cannot prove who it is takes no part.
        let mut several = plan(root.path());
        let other = etcd_wire::restore::RestoreNode { node: "cp2".into(), ..several.nodes[0].clone() };
        several.nodes.push(other);
        let back = Layout::at(several, "cp1", &root.path().join("state")).unwrap().way_back().unwrap();
        identity::remove(&work.layout).unwrap();
        assert!(arm_it(&work, &back).unwrap_err().message.contains("certificate"));
        assert!(!back.records().exists().unwrap());
    }

    #[test]
    fn a_rollback_goes_on_with_the_manifests_that_the_restore_holds() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::at(plan(root.path()), "cp1", &root.path().join("state")).unwrap();
        let back = layout.way_back().unwrap();
        assert_eq!(back.held(), layout.held());
        assert_ne!((back.folder(), back.records()), (layout.folder(), layout.records()));
        assert_eq!(
            Layout::at(back.plan().clone(), "cp1", &root.path().join("state")).unwrap().records(),
            back.records()
        );
        assert!(back.way_back().is_none());
    }

    #[test]
    fn who_has_begun_a_rollback_waits_for_nobody() {
        let root = tempfile::tempdir().unwrap();
        let step = |step| Fact::Step { step, done: true };
        let how = How::Ballot { ballot: Ballot { epoch: 0, round: 0, owner: Node(0) } };
        for (turned, waits) in [(false, true), (true, false)] {
            let plan = etcd_wire::restore::RestorePlan { id: format!("id-{turned}"), ..plan(root.path()) };
            let layout = arming::armed(root.path(), plan);
            let (mut journal, _) = Journal::open(&layout.journal()).unwrap();
            let decided = Fact::Decided { decision: Decision::Commit, how };
            let mut facts = vec![step(Step::LaunchEtcd), Fact::Vote { yes: true, why: None }, decided];
            facts.extend(turned.then(|| step(Step::HandOver)));
            facts.push(Fact::Ended { ending: Ending::Restored });
            facts.into_iter().for_each(|fact| drop(journal.append(Entry::Protocol(fact)).unwrap()));
            assert_eq!((state(&layout).waits_for_others(), state(&layout).is_unfinished()), (waits, waits));
        }
    }
}
