//! What every command gets: where to print, which cluster, and how an interruption is heard.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::connection::ConnectionArgs;
use crate::interruption::{Interruption, interrupted};
use crate::output::{Outcome, Printer};
use crate::road::Road;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) connection: ConnectionArgs,
    pub(crate) interruption: Interruption,
    /// The road to the nodes, once the command has taken one.
    road: Arc<OnceLock<Road>>,
}

impl Context {
    pub(crate) fn new(printer: Printer, connection: ConnectionArgs) -> Context {
        Context { printer, connection, interruption: Interruption::default(), road: Arc::default() }
    }

    /// Registers the road of this run: what is brought to nodes is taken away when the command ends, however it ends.
    pub(crate) fn keep_track(&self, road: Road) -> Road {
        self.road.get_or_init(|| road).clone()
    }

    /// The road of this run.
    pub(crate) fn road(&self) -> Option<&Road> {
        self.road.get()
    }

    /// Work that may be dropped at any moment, and leaves nothing but what is on nodes then.
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
