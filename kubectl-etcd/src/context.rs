//! What every command gets: where to print, which cluster, and how an interruption is heard.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::connection::ConnectionArgs;
use crate::interruption::{Interruption, interrupted};
use crate::output::{Outcome, Printer};
use crate::sidecar::Pods;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) connection: ConnectionArgs,
    pub(crate) interruption: Interruption,
    /// The pods that the command has made, once it has made any.
    pods: Arc<OnceLock<Pods>>,
}

impl Context {
    pub(crate) fn new(printer: Printer, connection: ConnectionArgs) -> Context {
        Context { printer, connection, interruption: Interruption::default(), pods: Arc::default() }
    }

    /// Registers the pods of this run: they are deleted when the command ends, however it ends.
    pub(crate) fn keep_track(&self, pods: Pods) -> Pods {
        self.pods.get_or_init(|| pods).clone()
    }

    /// The pods of this run.
    pub(crate) fn pods(&self) -> Option<&Pods> {
        self.pods.get()
    }

    /// Work that may be dropped at any moment, and leaves nothing but pods then.
    ///
    /// # Errors
    /// Those of the work; exit 130 if the user interrupts before the work has ended.
    pub(crate) async fn interruptible<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.interruption.or(interrupted, work).await?
    }

    /// For work on a thread of its own: set once the user has interrupted.
    pub(crate) fn cancelled(&self) -> Arc<AtomicBool> {
        self.interruption.flag()
    }
}
