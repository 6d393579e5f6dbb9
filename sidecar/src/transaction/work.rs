//! A participant's work: one step at a time, each in the journal before it begins and after it is proved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use etcd_wire::restore::{Decision, Ending, Order, Standing, Step};
use etcd_wire::{Failure, FailureCode};
use tokio::sync::{Notify, watch};

use super::journal::{Entry, Journal};
use super::layout::Layout;
use super::peer::Obey;
use super::process::Lock;
use super::state::State;
use super::tls::Tls;
use super::{coordinator, steps};

/// What one node does in a restore.
pub(super) struct Work {
    pub(super) layout: Layout,
    /// `None` after the node was started anew: what was in memory is gone.
    tls: RwLock<Option<Tls>>,
    record: Mutex<(Journal, State)>,
    /// One step at a time.
    turn: tokio::sync::Mutex<()>,
    decision: watch::Sender<Option<Decision>>,
    heard: Mutex<Instant>,
    /// Told when the journal cannot be written: the process has to end.
    pub(super) broken: Notify,
    /// The last thing that was told, which is not told twice in a row.
    noted: Mutex<String>,
    /// Told when there is nothing more to do here.
    pub(super) dismissed: Notify,
    /// The old database's, while etcd is stopped.
    pub(super) lock: Mutex<Option<Lock>>,
}

impl Work {
    /// Goes on where the journal ends.
    pub(super) fn open(layout: Layout, tls: Option<Tls>) -> Result<Work, Failure> {
        let (journal, lines) = Journal::open(&layout.journal())?;
        let state = State::of(lines)?;
        Ok(Work {
            layout,
            tls: RwLock::new(tls),
            broken: Notify::new(),
            noted: Mutex::default(),
            decision: watch::Sender::new(state.decision),
            record: Mutex::new((journal, state)),
            turn: tokio::sync::Mutex::default(),
            heard: Mutex::new(Instant::now()),
            dismissed: Notify::new(),
            lock: Mutex::new(None),
        })
    }

    /// By what the node proves who it is.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes new certificates.
    pub(super) fn set_tls(&self, tls: Tls) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }

    fn record(&self) -> MutexGuard<'_, (Journal, State)> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what the journal adds up to.
    pub(super) fn state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.record().1)
    }

    /// Writes an entry. Once this returns it is on the disk.
    pub(super) fn write(&self, entry: Entry) -> Result<(), Failure> {
        self.append(&mut self.record(), entry)
    }

    fn append(&self, record: &mut (Journal, State), entry: Entry) -> Result<(), Failure> {
        let line = record.0.append(entry).inspect_err(|_| self.broken.notify_one())?;
        record.1.add(&line);
        Ok(())
    }

    /// Writes that a step is proved. Once it is decided to go back, no step forth is: the last one is this node's vote.
    fn proved(&self, step: Step) -> Result<(), Failure> {
        let mut record = self.record();
        if step <= Step::StartApi && record.1.decision == Some(Decision::Abort) {
            return Err(Failure::new(FailureCode::Refused, "the restore was cancelled"));
        }
        self.append(&mut record, Entry::Step { step, done: true })
    }

    /// Writes something to tell, if it can be written.
    pub(super) fn note(&self, text: String) {
        tracing::info!("{text}");
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted == text {
            return;
        }
        noted.clone_from(&text);
        drop(noted);
        if let Err(failure) = self.write(Entry::Note { text }) {
            tracing::warn!(causes = ?failure.causes, "{failure}");
        }
    }

    pub(super) fn decision(&self) -> Option<Decision> {
        *self.decision.borrow()
    }

    /// Since when no order came.
    pub(super) fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) fn standing(&self) -> Standing {
        let (node, ended) = self.state(|state| (state.node.clone(), state.ended));
        Standing { node, decision: self.decision(), ended }
    }

    /// Writes down what was decided. It stays so.
    ///
    /// # Errors
    /// The other was decided before, or the journal cannot be written.
    pub(super) fn decide(&self, decision: Decision, why: &str) -> Result<(), Failure> {
        self.settle(self.record(), decision, why)
    }

    /// Decides to go back, unless this node has given its word meanwhile.
    pub(super) fn give_up(&self, why: &str) -> Result<(), Failure> {
        let record = self.record();
        if record.1.voted() && !self.layout.is_coordinator() {
            return Err(Failure::new(FailureCode::Refused, "the node has voted for the new data"));
        }
        self.settle(record, Decision::Abort, why)
    }

    fn settle(
        &self,
        mut record: MutexGuard<'_, (Journal, State)>,
        decision: Decision,
        why: &str,
    ) -> Result<(), Failure> {
        match record.1.decision {
            Some(before) if before == decision => return Ok(()),
            Some(before) => {
                let message = format!("node {} has already decided: {before:?}", record.1.node);
                return Err(Failure::new(FailureCode::Refused, message));
            }
            None => {}
        }
        self.append(&mut record, Entry::Decided { decision, why: why.to_owned() })?;
        drop(record);
        tracing::info!("decided: {decision:?}: {why}");
        self.decision.send_replace(Some(decision));
        Ok(())
    }

    /// Does a step, or finds that it is done. A step forth stops when it is decided to go back.
    ///
    /// # Errors
    /// Why it is not done. What it did so far can be done again, and undone.
    pub(super) async fn perform(&self, step: Step) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.permitted(step)?;
        if self.state(|state| state.done.contains(&step)) {
            return Ok(());
        }
        if !self.state(|state| state.begun.contains(&step)) {
            self.write(Entry::Step { step, done: false })?;
        }
        tracing::info!("{step:?}");
        let mut decision = self.decision.subscribe();
        let given_up = async {
            let abort = |decision: &Option<Decision>| step <= Step::StartApi && *decision == Some(Decision::Abort);
            if decision.wait_for(abort).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(steps::limit(self.layout.plan(), step), steps::carry_out(self, step)) => outcome.unwrap_or_else(|_| {
                Err(Failure::new(FailureCode::Refused, format!("it took longer than {}s", steps::limit(self.layout.plan(), step).as_secs())))
            }),
            () = given_up => Err(Failure::new(FailureCode::Refused, "the restore was cancelled")),
        };
        match outcome {
            Ok(()) => self.proved(step),
            Err(failure) => {
                let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
                self.note(format!("{}: {failure}{causes}", steps::name(step)));
                Err(failure)
            }
        }
    }

    fn permitted(&self, step: Step) -> Result<(), Failure> {
        let needed = match step {
            Step::Finish => Some(Decision::Commit),
            Step::UndoStop | Step::UndoSwap | Step::UndoStart => Some(Decision::Abort),
            _ => None,
        };
        let before = match step {
            Step::UndoSwap => Some(Step::UndoStop),
            Step::UndoStart => Some(Step::UndoSwap),
            _ => None,
        };
        if let Some(before) = before.filter(|before| self.state(|state| !state.done.contains(before))) {
            let node = &self.layout.node().node;
            let message = format!("node {node} has to {} before it can {}", steps::name(before), steps::name(step));
            return Err(Failure::new(FailureCode::Refused, message));
        }
        let decision = self.decision();
        // A step forth that is done before it was decided to go forth is asked for again by a coordinator that has forgotten.
        if decision == needed || (needed.is_none() && decision == Some(Decision::Commit)) {
            return Ok(());
        }
        let message =
            format!("node {} does not {}: {decision:?} was decided", self.layout.node().node, steps::name(step));
        Err(Failure::new(FailureCode::Refused, message))
    }

    /// Goes back without waiting for anybody.
    pub(super) async fn go_back(&self) -> Result<(), Failure> {
        for step in [Step::UndoStop, Step::UndoSwap, Step::UndoStart] {
            self.perform(step).await?;
        }
        Ok(())
    }

    /// Marks the end.
    pub(super) fn end(&self, ending: Ending) -> Result<(), Failure> {
        if self.state(|state| state.ended.is_none()) {
            self.write(Entry::Ended { ending })?;
        }
        Ok(())
    }

    /// Ends what has not begun. What has begun is not ended by whoever goes away.
    async fn dismiss(&self) -> Result<(), Failure> {
        if self.state(|state| state.ended.is_none()) {
            if self.state(|state| !state.begun.is_empty()) {
                return Err(Failure::new(FailureCode::Refused, "the restore is under way"));
            }
            self.decide(Decision::Abort, "it was not begun")?;
            self.go_back().await?;
        }
        self.dismissed.notify_one();
        Ok(())
    }
}

impl Obey for Work {
    fn tls(&self) -> Option<Tls> {
        Work::tls(self)
    }

    async fn obey(self: Arc<Self>, order: Order) -> Result<Standing, Failure> {
        if order == Order::Ask {
            return Ok(self.standing());
        }
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match order {
            Order::Look | Order::Ask => {}
            Order::Do { step } => self.perform(step).await?,
            Order::Decide { decision, why } => self.decide(decision, &why)?,
            Order::Commit => coordinator::begin(&self).await?,
            Order::Dismiss => self.dismiss().await?,
        }
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(self.standing())
    }
}

/// Whether an error is worth another try: nobody knows what became of the order.
pub(super) fn is_lost(failure: &Failure) -> bool {
    failure.code == FailureCode::Unreachable
}
