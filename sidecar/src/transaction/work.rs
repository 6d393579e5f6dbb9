//! What the steps of one node work with.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use etcd_transaction::{Fact, Input, Recorded};
use etcd_wire::restore::{RestorePlan, Staged};
use etcd_wire::{Failure, FailureCode};
use tokio::sync::{mpsc as channel, watch};

use super::api_watch::ApiWatch;
use super::ground::{API_SERVER, Component, ETCD, Ground};
use super::journal::{Entry, Journal};
use super::layout::Layout;
use super::process::Lock;
use super::state::State;

/// What one node does in a restore, but for what is decided: that is the participant's.
pub(super) struct Work {
    pub(super) layout: Layout,
    pub(super) ground: Ground,
    pub(super) staged: Option<Staged>,
    pub(super) writer: Writer,
    /// The old database's lock, while etcd is stopped.
    pub(super) lock: Mutex<Option<Lock>>,
    /// Since when a file operation has been going on.
    operation: Mutex<Option<Instant>>,
    /// The last thing that was told, which is not told twice in a row.
    noted: Mutex<String>,
    /// What the journal adds up to, as the participant was last told.
    recorded: Mutex<Recorded>,
    /// The highest revision that the new data is known to have had.
    served: Mutex<Option<i64>>,
    /// What was kept, so that it is written down once.
    kept: Mutex<Vec<String>>,
    /// Whether the API server was ever ready on the new data.
    pub(super) api: Arc<ApiWatch>,
    /// What was built for a rollback of the nodes' own.
    pub(super) restaged: Mutex<Option<Staged>>,
    /// To the participant.
    inputs: channel::UnboundedSender<Input>,
    /// Ends the process.
    broken: watch::Sender<Option<Failure>>,
}

impl Work {
    /// Goes on where a journal ends.
    pub(super) fn new(
        layout: Layout,
        state: State,
        writer: Writer,
        inputs: channel::UnboundedSender<Input>,
        broken: watch::Sender<Option<Failure>>,
    ) -> Work {
        Work {
            layout,
            ground: state.ground,
            staged: state.staged,
            recorded: Mutex::new(state.recorded),
            served: Mutex::new(state.served),
            kept: Mutex::new(state.kept.into_keys().collect()),
            writer,
            lock: Mutex::new(None),
            operation: Mutex::new(None),
            noted: Mutex::default(),
            api: Arc::default(),
            restaged: Mutex::default(),
            inputs,
            broken,
        }
    }

    /// Ends the process: nobody can tell what the disk has. The next process looks.
    pub(super) fn end(&self, failure: Failure) {
        self.broken.send_replace(Some(failure));
    }

    /// etcd, where it is on this node.
    pub(super) fn etcd(&self) -> Option<Component> {
        self.ground.component(ETCD).ok().cloned()
    }

    /// The API server, where it is on this node.
    pub(super) fn api_server(&self) -> Option<Component> {
        self.ground.component(API_SERVER).ok().cloned()
    }

    /// A component of this node.
    ///
    /// # Errors
    /// The node has none of this name.
    pub(super) fn component(&self, name: &str) -> Result<Component, Failure> {
        self.ground.component(name).cloned()
    }

    /// Whether etcd is launched without its check of the data, and restarted with it after the decision: where a quorum serves meanwhile.
    pub(super) fn is_rechecked(&self) -> bool {
        is_rechecked(self.layout.plan(), &self.ground)
    }

    pub(super) fn controllers(&self) -> Vec<Component> {
        self.ground.controllers().cloned().collect()
    }

    /// Does file operations on a thread of its own, and waits until they have returned, however long that takes: what a disk that hangs still
    /// does later must not meet what is done to undo it.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        operate: impl FnOnce(&Work) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = Arc::clone(self);
        let thread = tokio::task::spawn_blocking(move || {
            *work.operation.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            operate(&work)
        });
        let lost = |error| Err(Failure::new(FailureCode::Other, "a file operation was cut off").source(&error));
        let done = thread.await.unwrap_or_else(lost);
        *self.operation.lock().unwrap_or_else(PoisonError::into_inner) = None;
        done
    }

    /// Since when a file operation has been going on.
    pub(super) fn operating_since(&self) -> Option<Instant> {
        *self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the participant something that was seen.
    pub(super) fn saw(&self, fact: Fact) {
        self.input(Input::Observed(fact));
    }

    /// Gives the participant an input. The input is dropped if the participant has ended.
    pub(super) fn input(&self, input: Input) {
        let _ended = self.inputs.send(input);
    }

    /// Writes something to tell, if it can be written.
    pub(super) fn note(&self, text: String) {
        tracing::info!("{text}");
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != text {
            noted.clone_from(&text);
            drop(noted);
            // That the journal cannot be written ends the process, whoever wrote.
            self.writer.append(Entry::Note { text });
        }
    }

    /// What the journal adds up to.
    pub(super) fn recorded(&self) -> Recorded {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_recorded(&self, recorded: &Recorded) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone_from(recorded);
    }

    /// The highest revision that the new data is known to have had.
    pub(super) fn served(&self) -> Option<i64> {
        *self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down how far the new data has come.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn serve(&self, revision: i64) -> Result<(), Failure> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        *served = (*served).max(Some(revision));
        drop(served);
        self.record(Entry::Served { revision })
    }

    /// Writes down what was kept instead of being deleted.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn keep(&self, path: String, why: String) -> Result<(), Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.contains(&path) {
            return Ok(());
        }
        kept.push(path.clone());
        drop(kept);
        self.record(Entry::Kept { path, why })
    }

    /// Writes an entry that something which is done next depends on, and waits until it is on the disk.
    ///
    /// # Errors
    /// The journal cannot be written: the process ends.
    pub(super) fn record(&self, entry: Entry) -> Result<(), Failure> {
        self.writer.append_and_wait(entry)
    }
}

/// Members that one of three or more can be spared of.
const SPARED_OF: usize = 3;

/// Whether etcd is launched without its check of the data, and restarted with it after the decision.
pub(super) fn is_rechecked(plan: &RestorePlan, ground: &Ground) -> bool {
    let can = ground.component(ETCD).is_ok_and(|etcd| etcd.launch_argv.is_some());
    can && plan.serving().count() >= SPARED_OF
}

/// The thread that writes the journal. Nothing but what depends on an entry waits for the disk.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Order>);

struct Order {
    entry: Entry,
    done: Box<dyn FnOnce() + Send>,
}

impl Writer {
    /// Starts the thread. `broken` is told when the journal cannot be written: nobody knows what the disk has then, so the process has to
    /// end, and the next one believes the disk.
    pub(super) fn start(mut journal: Journal, broken: watch::Sender<Option<Failure>>) -> Writer {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for Order { entry, done } in orders {
                match journal.append(entry) {
                    Ok(_) => done(),
                    Err(failure) => {
                        broken.send_replace(Some(failure));
                        return;
                    }
                }
            }
        });
        Writer(sender)
    }

    /// Writes an entry, and calls `done` once it is on the disk.
    pub(super) fn write(&self, entry: Entry, done: impl FnOnce() + Send + 'static) {
        // A thread that has ended has said why.
        let _ended = self.0.send(Order { entry, done: Box::new(done) });
    }

    fn append(&self, entry: Entry) {
        self.write(entry, || {});
    }

    fn append_and_wait(&self, entry: Entry) -> Result<(), Failure> {
        let (done, wait) = mpsc::channel();
        self.write(entry, move || {
            let _gave_up = done.send(());
        });
        wait.recv().map_err(|_| Failure::new(FailureCode::Storage, "the journal cannot be written"))
    }
}

/// Says when a step is not wanted any more.
#[derive(Debug, Clone)]
pub(super) struct Cancel(watch::Receiver<bool>);

impl Cancel {
    pub(super) fn new() -> (watch::Sender<bool>, Cancel) {
        let (sender, receiver) = watch::channel(false);
        (sender, Cancel(receiver))
    }

    pub(super) fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is not wanted any more.
    pub(super) async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for something that changes nothing, until it is there or not wanted any more.
    ///
    /// # Errors
    /// It is not wanted any more.
    pub(super) async fn or<T>(&self, wait: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Failure::new(FailureCode::Refused, "the step was cancelled")),
            done = wait => done,
        }
    }
}
