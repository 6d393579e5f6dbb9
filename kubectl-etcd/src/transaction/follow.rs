//! Watches nodes that are on their own: over the sessions as long as they live, and anew once the API is back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_wire::restore::{Decision, NodeRestore, Step};
use futures::future::join_all;

use super::api_away::reachable;
use super::node_sessions::CAPABILITY;
use super::verdict::NodeEnd;
use super::{Work, is_unready, step_labels};
use crate::discovery::EtcdPod;
use crate::output::{Failed, Outcome};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Operation, Session, converse};

const LOOK: Duration = Duration::from_millis(500);
/// How long a coordinator that has ended it may take to hear the same of the nodes that are left out.
const OTHERS: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(3);
/// How long a node may say nothing new, at least.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a node that cannot be asked is waited for once another one has ended: its own API server may need as long as that.
const LATE: Duration = Duration::from_secs(90);
/// How long a sidecar may take to run and to answer, on top of what its pod may take.
const OPEN: Duration = Duration::from_secs(60);

/// What the watchers of one restore know together.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Whether it was told that the API server is away.
    away: AtomicBool,
    /// Whether it was told that the API server answers again.
    returned: AtomicBool,
    /// Whether the decision was told.
    decided: AtomicBool,
    /// Whether the nodes do not roll back by themselves: an API server was ready on the new data, or may have been.
    stays: AtomicBool,
    /// Whether it was told that the nodes roll back by themselves.
    back: AtomicBool,
    /// When the last node that can be asked has ended.
    last_end: Mutex<Option<Instant>>,
    /// Nodes that have something left to do and can be asked.
    going: Mutex<Vec<String>>,
}

impl Board {
    /// Notes that a node answers, and whether it has something left to do.
    fn answers(&self, node: &str, ended: bool) {
        let mut going = locked(&self.going);
        going.retain(|other| other != node);
        match ended {
            true => *locked(&self.last_end) = Some(Instant::now()),
            false => going.push(node.to_owned()),
        }
    }

    /// Notes that a node does not answer; true if it need not be waited for any more, because all others ended it long ago.
    fn is_given_up(&self, node: &str) -> bool {
        let mut going = locked(&self.going);
        going.retain(|other| other != node);
        going.is_empty() && locked(&self.last_end).is_some_and(|last| last.elapsed() > LATE)
    }

    /// Tells that the API server answers again, once: it may take a while from there until a node is heard.
    async fn tell_return(&self, work: &Work<'_>) {
        let Some(connection) = work.plane.api() else { return };
        let away = self.away.load(Ordering::Relaxed) && !self.returned.load(Ordering::Relaxed);
        if away && reachable(connection).await.is_ok() && !self.returned.swap(true, Ordering::Relaxed) {
            work.printer.note(
                "the API server answers again; asking the nodes how far they are, which may take a minute: each needs a new pod",
            );
        }
    }

    /// Tells that the nodes roll back by themselves, once.
    fn tell_way_back(&self, work: &Work<'_>) {
        if !self.back.swap(true, Ordering::Relaxed) {
            work.printer.note("no API server became ready on the new data; the nodes roll back by themselves");
        }
    }

    /// Tells the decision, once.
    fn tell_decision(&self, decision: Decision, work: &Work<'_>) {
        if !self.decided.swap(true, Ordering::Relaxed) {
            work.printer.note(match decision {
                Decision::Commit => "decided: the new data stays; the API servers start",
                Decision::Abort => "decided: all nodes roll back to the old data",
            });
        }
    }
}

/// What is behind a lock, whatever became of who held it: each change is whole.
fn locked<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A node that is watched: with a session, or with none any more.
pub(crate) struct Watched<'a> {
    pub(crate) member: &'a EtcdPod,
    /// For what its node gets a sidecar.
    operation: Operation,
    sidecar: Option<Sidecar>,
    session: Option<Session>,
    /// Entries of its journal that were told.
    told: usize,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(member: &'a EtcdPod, operation: Operation, talk: Option<(Sidecar, Session)>) -> Watched<'a> {
        let (sidecar, session) = talk.unzip();
        Watched { member, operation, sidecar, session, told: 0 }
    }

    /// The sidecar that was asked last. A session that is open is given back to the road, for whoever asks the node next.
    pub(crate) fn give_back(self, road: &Road) -> Option<Sidecar> {
        if let (Some(sidecar), Some(session)) = (&self.sidecar, self.session) {
            road.rest(sidecar, session);
        }
        self.sidecar
    }

    /// A session with the node, an open one or a new one.
    ///
    /// # Errors
    /// The API server is not there, or a pod does not start.
    pub(crate) async fn session(&mut self, work: &Work<'_>) -> Outcome<&mut Session> {
        if self.session.is_none() {
            if let Some(connection) = work.plane.api() {
                reachable(connection).await?;
            }
            let opened = match self.sidecar.take() {
                // Its session broke; the pod may be there all the same.
                Some(sidecar) => match tokio::time::timeout(OPEN, work.road.session(&sidecar)).await {
                    Ok(Ok(session)) => Some((sidecar, session)),
                    _ => None,
                },
                None => None,
            };
            let (sidecar, session) = match opened {
                Some(opened) => opened,
                None => {
                    let opening = converse(work.road, self.member, self.operation, CAPABILITY);
                    let late = || Failed::plain(format!("the sidecar on node {} does not answer", self.member.node));
                    tokio::time::timeout(OPEN + work.pod_running_timeout, opening).await.map_err(|_| late())??
                }
            };
            self.sidecar = Some(sidecar);
            self.session = Some(session);
        }
        self.session.as_mut().ok_or_else(|| Failed::plain("the session was lost"))
    }

    /// What the node's journals say. A session that broke is given up.
    pub(crate) async fn restores(&mut self, work: &Work<'_>) -> Outcome<Vec<NodeRestore>> {
        let read = self.session(work).await?.restores().await;
        if read.is_err() {
            self.session = None;
        }
        read
    }

    /// Gives up the session that is open, after it failed.
    pub(crate) fn lose(&mut self) {
        self.session = None;
    }

    /// Watches until the node's part in a restore has ended, or nothing new was heard for long. A rollback that the nodes begin by themselves is
    /// watched to its end, too.
    async fn until_ended(&mut self, id: &str, work: &Work<'_>, board: &Board) -> NodeEnd {
        let node = self.member.node.clone();
        let mut back = false;
        let mut patience = PATIENCE;
        let mut news = Instant::now();
        let mut last: Option<NodeRestore> = None;
        let mut cut = true;
        loop {
            let talked = self.session.is_some();
            if !talked {
                board.tell_return(work).await;
            }
            match self.restores(work).await {
                Ok(restores) => {
                    if !back && restores.iter().any(|restore| is_way_back(restore, id)) {
                        back = true;
                        board.tell_way_back(work);
                    }
                    let Some(restore) = own_of(restores, id) else {
                        board.answers(&node, true);
                        return NodeEnd { node, restore: None, trouble: None };
                    };
                    // Nothing is heard while a step goes on, and this one takes as long as was said.
                    let start = Duration::from_secs(restore.plan.start_timeout.into());
                    patience = PATIENCE.max(start.saturating_mul(2));
                    if self.tell(&restore, work) {
                        news = Instant::now();
                    }
                    let ended = restore.ended.is_some();
                    restore.decision.iter().filter(|_| !back).for_each(|decision| board.tell_decision(*decision, work));
                    if was_ready(&restore) || is_unready(&restore) && !may_turn_back(&restore) {
                        board.stays.store(true, Ordering::Relaxed);
                    }
                    // It goes on trying, and may do so for ever. Unless all nodes roll back, which takes a while to begin.
                    let unready = is_unready(&restore) && board.stays.load(Ordering::Relaxed);
                    board.answers(&node, ended || unready);
                    if unready {
                        let trouble =
                            format!("its API server has not become ready within {}s", restore.plan.start_timeout);
                        return NodeEnd { node, restore: Some(restore), trouble: Some(trouble) };
                    }
                    // Nodes that are left out cannot be asked any more; the coordinator says when they have ended it.
                    let of_others = restore.waits_for_others && restore.plan.nodes.iter().any(|node| node.left_out);
                    last = Some(restore);
                    // The end is written down just before the step that leads to it is proved, which tells how long that took.
                    // Its rollback is armed, and shows at the next look.
                    let ended = ended && (back || !last.as_ref().is_some_and(has_handed_over));
                    if ended && cut && !last.as_ref().is_some_and(has_proved) {
                        cut = false;
                    } else if ended && !(of_others && news.elapsed() < OTHERS) {
                        return NodeEnd { node, restore: last, trouble: None };
                    }
                    if news.elapsed() > patience {
                        let trouble = format!("no progress for {} minutes", patience.as_secs() / 60);
                        return NodeEnd { node, restore: last, trouble: Some(trouble) };
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(failed) => {
                    if talked && !board.away.swap(true, Ordering::Relaxed) {
                        let away = match work.plane.api() {
                            Some(_) => "the API server is away, which is normal during a restore".to_owned(),
                            None => format!("the connection to node {node} is gone, and is tried again"),
                        };
                        work.printer.note(format!(
                            "{away}; the nodes continue without this command. To look later\n  kubectl etcd restore --status"
                        ));
                    }
                    if news.elapsed() > patience || board.is_given_up(&node) {
                        return NodeEnd { node, restore: last, trouble: Some(failed.one_line()) };
                    }
                    tracing::debug!("node {node}: {failed}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tells what is new; true if there is anything.
    fn tell(&mut self, restore: &NodeRestore, work: &Work<'_>) -> bool {
        let new = restore.events.get(self.told..).unwrap_or_default();
        let step = new.iter().rev().find_map(|event| Some((event.step?, event.done)));
        // Of what happened while nobody looked, the last step is enough; the report has them all.
        let step = step.map(|(step, done)| if done { step_labels::done(step) } else { step_labels::doing(step) });
        for text in new.iter().filter_map(|event| event.note.as_deref()) {
            work.printer.note(format!("node {}: {text}", restore.node));
        }
        if let Some(text) = step {
            work.printer.detail(format!("node {}: {text}", restore.node));
        }
        self.told = restore.events.len();
        !new.is_empty()
    }
}

/// Whether it is the rollback that the nodes begin by themselves after a restore.
fn is_way_back(restore: &NodeRestore, of: &str) -> bool {
    restore.armed && restore.plan.rolls_back_from() == Some(of)
}

/// What a node says of a restore. If it rolls back by itself, what it says of that, after what happened before.
fn own_of(mut restores: Vec<NodeRestore>, id: &str) -> Option<NodeRestore> {
    let before = restores.iter().position(|restore| restore.plan.id == id).map(|index| restores.remove(index));
    let Some(mut back) = restores.into_iter().find(|restore| is_way_back(restore, id)) else { return before };
    back.events.splice(..0, before.map(|before| before.events).unwrap_or_default());
    Some(back)
}

fn has_done(restore: &NodeRestore, step: Step) -> bool {
    restore.events.iter().any(|event| event.step == Some(step) && event.done)
}

/// Whether the node was armed for a rollback, and its part in the restore is over.
fn has_handed_over(restore: &NodeRestore) -> bool {
    has_done(restore, Step::HandOver)
}

/// Whether its API server was ready on the new data.
fn was_ready(restore: &NodeRestore) -> bool {
    has_done(restore, Step::StartApi)
}

/// Whether all nodes may still roll back by themselves because of the API server of this one.
fn may_turn_back(restore: &NodeRestore) -> bool {
    restore.plan.way_back().is_some() && restore.live.as_ref().is_some_and(|live| live.turns)
}

/// Whether the last step that was begun is proved.
fn has_proved(restore: &NodeRestore) -> bool {
    restore.events.iter().rev().find(|event| event.step.is_some()).is_none_or(|event| event.done)
}

/// Watches nodes of a restore to its end.
pub(crate) async fn follow(watched: &mut [&mut Watched<'_>], id: &str, work: &Work<'_>, board: &Board) -> Vec<NodeEnd> {
    join_all(watched.iter_mut().map(|one| one.until_ended(id, work, board))).await
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::{Event, RestorePlan};

    use super::super::samples::journal;
    use super::*;

    #[test]
    fn a_node_that_rolls_back_by_itself_says_so_after_what_happened_before() {
        let event = |at| Event { at, step: None, done: false, note: None };
        let mut before = journal("cp1", 3);
        before.events = vec![event(1), event(2)];
        let mut back = journal("cp1", 3);
        (back.plan, back.events) = (before.plan.way_back().expect("a restore of all nodes"), vec![event(3)]);
        let other = NodeRestore { plan: RestorePlan { id: "other".into(), ..before.plan.clone() }, ..before.clone() };
        let own = |restores: &[&NodeRestore]| own_of(restores.iter().copied().cloned().collect(), "id");
        assert_eq!(own(&[&other]), None);
        assert_eq!(own(&[&before, &other]).as_ref(), Some(&before));
        let told = own(&[&other, &before, &back]).expect("a journal");
        assert_eq!((told.plan.id.as_str(), told.events), ("id-r", vec![event(1), event(2), event(3)]));
        // One that is not armed is none.
        back.armed = false;
        assert_eq!(own(&[&before, &back]).as_ref(), Some(&before));
    }

    #[test]
    fn a_node_that_is_gone_is_given_up_only_long_after_all_others_have_ended() {
        let board = Board::default();
        let long_ago = || Instant::now().checked_sub(LATE + LATE);
        let set = |board: &Board| *board.last_end.lock().expect("a lock") = long_ago();
        assert!(!board.is_given_up("cp3"));
        board.answers("cp1", true);
        board.answers("cp2", false);
        assert!(!board.is_given_up("cp3"));
        set(&board);
        assert!(long_ago().is_none() || !board.is_given_up("cp3"), "cp2 has something left to do");
        board.answers("cp2", true);
        assert!(!board.is_given_up("cp3"), "it has only just ended");
        set(&board);
        assert!(long_ago().is_none() || board.is_given_up("cp3"));
    }
}
