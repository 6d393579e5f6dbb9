//! What every command gets: where to print, which cluster, and how an interruption is heard and told.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::connection::ConnectionArgs;
use crate::output::{Exit, Failed, Printer};
use crate::sidecar::Pods;

/// How often work that cleans up itself looks whether it is wanted.
const INTERRUPTION: Duration = Duration::from_millis(100);

/// What every command gets.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) connection: ConnectionArgs,
    /// The pods that the command has made, once it has made any.
    pub(crate) pods: Arc<OnceLock<Pods>>,
    /// What an interruption leaves behind that is no pod.
    left: Arc<OnceLock<String>>,
    /// How an interruption is told from now on, where it does not undo what was begun.
    goes_on: Arc<Mutex<Option<Failed>>>,
    /// Set when the user has interrupted; work that cannot be dropped looks at it.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Set by a command that looks at `cancelled` and then cleans up itself: it is not dropped but waited for.
    pub(crate) ends_itself: Arc<AtomicBool>,
}

impl Context {
    pub(crate) fn new(printer: Printer, connection: ConnectionArgs) -> Context {
        Context {
            printer,
            connection,
            pods: Default::default(),
            left: Default::default(),
            goes_on: Default::default(),
            cancelled: Default::default(),
            ends_itself: Default::default(),
        }
    }

    /// Registers the pods of this run: they are deleted when the command ends, however it ends.
    pub(crate) fn keep_track(&self, pods: Pods) -> Pods {
        self.pods.get_or_init(|| pods).clone()
    }

    /// Notes what is left behind should the command be interrupted from now on.
    pub(crate) fn note_left(&self, what: String) {
        self.left.get_or_init(|| what);
    }

    /// Notes how an interruption is told from now on: the cluster goes on changing without this program. `None`: as before.
    pub(crate) fn note_going_on(&self, told: Option<Failed>) {
        *self.goes_on.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub(crate) fn interrupted(&self) -> Failed {
        let goes_on = self.goes_on.lock().unwrap_or_else(PoisonError::into_inner).take();
        goes_on.unwrap_or_else(|| Failed::new(Exit::Interrupted, "interrupted").causes(self.left.get().cloned()))
    }

    /// Resolves when the user has interrupted. For work that cleans up itself.
    pub(crate) async fn interruption(&self) {
        while !self.cancelled.load(Relaxed) {
            tokio::time::sleep(INTERRUPTION).await;
        }
    }
}
