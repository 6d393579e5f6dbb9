//! The one node that says when. All nodes do a step before any does the next; what is decided is in the coordinator's journal before
//! anybody hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etcd_wire::restore::{Decision, Ending, Order, Step};
use etcd_wire::{Failure, FailureCode};
use futures::future::{join_all, try_join_all};

use super::journal::Entry;
use super::state::State;
use super::work::{Work, is_lost};
use super::{member, participant, peer, steps};

/// How often every node is looked at, which also tells it that the coordinator lives.
const BEAT: Duration = Duration::from_secs(2);
/// How long a node may be out of reach before it counts as lost. A kubelet starts a participant that was killed again within this time.
pub(super) const LOST: Duration = Duration::from_secs(30);
/// How often a node is told that it may end.
const DISMISSALS: usize = 5;
const RETRY: Duration = Duration::from_millis(300);

/// The steps forth after the preflight.
const FORTH: [Step; 6] = [Step::StopApi, Step::StopEtcd, Step::Swap, Step::LaunchEtcd, Step::StartEtcd, Step::StartApi];
const BACK: [Step; 3] = [Step::UndoStop, Step::UndoSwap, Step::UndoStart];

/// Begins: every node passes its preflight, or it is given up. What is then [due](is_due) goes on by itself.
///
/// # Errors
/// This node is not the coordinator, or a node does not pass. All nodes have then given it up, those that can be reached.
pub(super) async fn begin(work: &Arc<Work>) -> Result<(), Failure> {
    if !work.layout.is_coordinator() {
        return Err(Failure::new(FailureCode::BadRequest, "another node is this restore's coordinator"));
    }
    if work.decision().is_some() || work.state(|state| !state.begun.is_empty()) {
        return Err(Failure::new(FailureCode::Refused, "the restore has already begun"));
    }
    let crew = Crew::new(work);
    let heart = tokio::spawn(Arc::clone(&crew).beat());
    let passed = crew.everywhere(Step::Preflight).await;
    heart.abort();
    if let Err(failure) = &passed {
        work.decide(Decision::Abort, &failure.message)?;
    }
    passed
}

/// Whether it was stopped in its preflight, when nothing was begun that could go on.
pub(super) fn was_cut_off_early(work: &Work) -> bool {
    let early = |state: &State| !state.begun.is_empty() && !state.everywhere.contains(&Step::Preflight);
    work.layout.is_coordinator() && work.decision().is_none() && work.state(early)
}

/// Whether there is something to coordinate that was begun.
pub(super) fn is_due(work: &Work) -> bool {
    work.state(concerns)
}

/// Whether a journal is that of a coordinator which has something left to do.
pub(super) fn concerns(state: &State) -> bool {
    // What was given up before anything was stopped concerns nobody: the others give it up by themselves.
    let concluded = has_concluded(state) || state.ended == Some(Ending::GivenUp);
    let begun = state.everywhere.contains(&Step::Preflight) || state.decision.is_some();
    state.plan.coordinator == state.node && begun && !concluded
}

/// Whether every node has ended it, as far as that has to be waited for.
fn has_concluded(state: &State) -> bool {
    state.everywhere.contains(&Step::Finish) || state.everywhere.contains(&Step::UndoStart)
}

/// Whether a node may have given its word: no node does before all members serve.
pub(super) fn word_may_be_given(state: &State) -> bool {
    state.everywhere.contains(&Step::StartEtcd)
}

/// Lets go of nodes that have ended it, should the coordinator have been stopped before it could. True if there was nothing else to do.
pub(super) async fn has_dismissed(work: &Arc<Work>) -> bool {
    let over = work.state(|state| has_concluded(state) && state.ended.is_some());
    if work.layout.is_coordinator() && over {
        Crew::new(work).dismiss().await;
        return true;
    }
    false
}

/// From wherever the journal says that it is, to the end.
pub(super) async fn run(work: Arc<Work>) {
    if work.decision().is_none() {
        let alone = work.layout.plan().nodes.len() == 1;
        if work.tls().is_none() && !alone && work.state(word_may_be_given) {
            // It cannot speak to anybody, and others may have given their word: whoever resumes the restore brings certificates.
            work.note("the coordinator restarted and waits for: kubectl etcd restore --resume".to_owned());
            // Those that had not given their word may have gone back by themselves; nobody else can have decided otherwise.
            if let Err(failure) = participant::ask(&work).await {
                tracing::warn!(causes = ?failure.causes, "{failure}");
            }
            tokio::time::sleep(BEAT).await;
            return;
        }
        let crew = Crew::new(&work);
        let heart = tokio::spawn(Arc::clone(&crew).beat());
        let decided = match crew.forth().await {
            Ok(()) => work.decide(Decision::Commit, "every node serves the new data"),
            Err(failure) => {
                let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
                work.decide(Decision::Abort, &format!("{}{causes}", failure.message))
            }
        };
        heart.abort();
        if let Err(failure) = decided {
            // Without a journal nothing is decided. The process ends, and the next one goes on by what the disk has.
            tracing::error!(causes = ?failure.causes, "{failure}");
            return;
        }
    }
    conclude(work).await;
}

/// Carries out what was decided.
async fn conclude(work: Arc<Work>) {
    let crew = Crew::new(&work);
    let heart = tokio::spawn(Arc::clone(&crew).beat());
    let last = match work.decision() {
        Some(Decision::Commit) => {
            crew.finish().await;
            Step::Finish
        }
        _ => {
            crew.back().await;
            Step::UndoStart
        }
    };
    heart.abort();
    if let Err(failure) = work.write(Entry::Everywhere { step: last }) {
        // The process ends, and the next one concludes it.
        tracing::error!(causes = ?failure.causes, "{failure}");
        return;
    }
    crew.dismiss().await;
    work.dismissed.notify_one();
}

/// All nodes, as the coordinator sees them.
struct Crew {
    work: Arc<Work>,
    begun: Instant,
    /// When each node answered last, milliseconds since `begun`.
    heard: Vec<AtomicU64>,
}

impl Crew {
    fn new(work: &Arc<Work>) -> Arc<Crew> {
        let heard = work.layout.plan().nodes.iter().map(|_| AtomicU64::new(0)).collect();
        Arc::new(Crew { work: Arc::clone(work), begun: Instant::now(), heard })
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.work.layout.index();
        (0..self.heard.len()).filter(move |&index| index != own)
    }

    async fn beat(self: Arc<Self>) {
        loop {
            join_all(self.others().map(|index| self.once(index, Order::Look))).await;
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Lets every other node end. One that does not hear it stays, and harms nobody.
    async fn dismiss(&self) {
        let tried = self.others().map(|index| async move {
            for _ in 0..DISMISSALS {
                match self.once(index, Order::Dismiss).await {
                    Err(failure) if is_lost(&failure) => tokio::time::sleep(BEAT).await,
                    _ => return,
                }
            }
        });
        join_all(tried).await;
    }

    /// Gives a node an order that it carries out at once.
    async fn once(&self, index: usize, order: Order) -> Result<(), Failure> {
        self.order(index, order, Duration::from_secs(5)).await
    }

    async fn order(&self, index: usize, order: Order, patience: Duration) -> Result<(), Failure> {
        let Some(tls) = self.work.tls() else {
            let lost = "the coordinator restarted and lost its certificate";
            return Err(Failure::new(FailureCode::Unreachable, lost));
        };
        let answer = peer::give(&self.work.layout, &tls, index, order, patience).await;
        if !answer.as_ref().is_err_and(is_lost) {
            let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.heard[index].store(now, Ordering::Relaxed);
        }
        answer.map(|_| ())
    }

    fn silence(&self, index: usize) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.heard[index].load(Ordering::Relaxed)))
    }

    /// Lets a node do a step, again after every loss, until it is done or the node is lost.
    async fn insist(&self, index: usize, step: Step) -> Result<(), Failure> {
        let lost = async {
            while self.silence(index) < LOST {
                tokio::time::sleep(RETRY).await;
            }
            let node = &self.work.layout.plan().nodes[index].node;
            Failure::new(FailureCode::Unreachable, format!("node {node} has been out of reach for {}s", LOST.as_secs()))
        };
        let done = async {
            let patience = steps::limit(self.work.layout.plan(), step) + Duration::from_secs(10);
            let begun = Instant::now();
            loop {
                match self.order(index, Order::Do { step }, patience).await {
                    Err(failure) if is_lost(&failure) && begun.elapsed() < patience => tokio::time::sleep(RETRY).await,
                    outcome => return outcome,
                }
            }
        };
        tokio::select! {
            biased;
            failure = lost => Err(failure),
            outcome = done => outcome,
        }
    }

    /// All nodes do a step at the same time.
    async fn everywhere(&self, step: Step) -> Result<(), Failure> {
        let of = |index: usize, failure: Failure| {
            let node = &self.work.layout.plan().nodes[index].node;
            if is_lost(&failure) {
                return failure;
            }
            let named =
                Failure::new(failure.code, format!("node {node} cannot {}", steps::name(step))).cause(&failure.message);
            let named = failure.causes.into_iter().fold(named, Failure::cause);
            failure.hint.into_iter().fold(named, Failure::hint)
        };
        let one = |index: usize| async move {
            let own = index == self.work.layout.index();
            let done = if own { self.work.perform(step).await } else { self.insist(index, step).await };
            done.map_err(|failure| of(index, failure))
        };
        let nodes = 0..self.heard.len();
        match step {
            Step::LaunchEtcd if self.work.state(|state| state.ground.checks_at_start) => {
                for index in nodes {
                    one(index).await?;
                }
            }
            // A leader that is stopped hands over first, and waits in vain for members that are being stopped, too: seven seconds. One
            // that has nobody left ends at once.
            Step::StopEtcd => {
                let leader = member::leader(&self.work.layout).await;
                try_join_all(nodes.filter(|index| Some(*index) != leader).map(one)).await?;
                if let Some(leader) = leader {
                    one(leader).await?;
                }
            }
            _ => {
                try_join_all(nodes.map(one)).await?;
            }
        }
        self.work.write(Entry::Everywhere { step })
    }

    async fn forth(&self) -> Result<(), Failure> {
        for step in FORTH {
            if !self.work.state(|state| state.everywhere.contains(&step)) {
                self.everywhere(step).await?;
            }
        }
        Ok(())
    }

    /// Tells everyone that the new state stays, until all have carried it out.
    async fn finish(&self) {
        let why = "every node serves the new data";
        let told = self.others().map(|index| async move {
            let told = self.see_through(index, Decision::Commit, why, &[Step::Finish]);
            // What is left out is stopped, and stays so: nobody may ever reach it again.
            if self.work.layout.plan().nodes[index].left_out {
                let _unheard = tokio::time::timeout(2 * LOST, told).await;
            } else {
                told.await;
            }
        });
        tokio::join!(self.persist(Step::Finish), join_all(told));
    }

    /// Everyone who can be reached goes back step by step. Whoever cannot is told when it can: it may have given its word, and waits.
    async fn back(&self) {
        let why = "another node could not continue";
        join_all(self.others().map(|index| async move {
            while self.silence(index) < LOST {
                let decide = Order::Decide { decision: Decision::Abort, why: why.to_owned() };
                match self.once(index, decide).await {
                    Err(failure) if is_lost(&failure) => tokio::time::sleep(RETRY).await,
                    _ => return,
                }
            }
        }))
        .await;
        for step in BACK {
            let own = self.work.layout.index();
            let all = (0..self.heard.len()).map(|index| async move {
                let done = if index == own { self.work.perform(step).await } else { self.insist(index, step).await };
                if let Err(failure) = done {
                    let node = &self.work.layout.plan().nodes[index].node;
                    self.work.note(format!("node {node} did not {}: {failure}", steps::name(step)));
                }
            });
            join_all(all).await;
        }
        // What keeps this node from it must not keep the others: they have been told to start.
        let own = async {
            for step in BACK {
                self.persist(step).await;
            }
        };
        let waiting = if self.work.state(word_may_be_given) { self.others().collect() } else { Vec::new() };
        let others = waiting.into_iter().map(|index| self.see_through(index, Decision::Abort, why, &BACK));
        tokio::join!(own, join_all(others));
    }

    /// Tells a node what was decided, and lets it do what follows, until it has: however long it is away, and whatever keeps it from it.
    async fn see_through(&self, index: usize, decision: Decision, why: &str, steps: &[Step]) {
        loop {
            let orders = std::iter::once(Order::Decide { decision, why: why.to_owned() });
            let orders = orders.chain(steps.iter().map(|&step| Order::Do { step }));
            let mut outcome = Ok(());
            for order in orders {
                let patience = match &order {
                    Order::Do { step } => steps::limit(self.work.layout.plan(), *step),
                    _ => Duration::from_secs(5),
                };
                outcome = self.order(index, order, patience).await;
                if outcome.is_err() {
                    break;
                }
            }
            let Err(failure) = outcome else { return };
            let node = &self.work.layout.plan().nodes[index].node;
            tracing::info!("node {node} has not ended it yet: {failure}");
            tokio::time::sleep(BEAT).await;
        }
    }

    /// What this node itself has to do to get to the end, it tries until it is done.
    async fn persist(&self, step: Step) {
        while let Err(failure) = self.work.perform(step).await {
            tracing::error!(causes = ?failure.causes, "{failure}");
            tokio::time::sleep(BEAT).await;
        }
    }
}
