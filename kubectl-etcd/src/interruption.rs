//! The user's wish to end a command: heard by what waits, and by work on threads of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use crate::output::{Exit, Failed, Outcome};

/// Raised once, and then for ever. Clones are the same interruption.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interruption {
    token: CancellationToken,
    /// Raised by a second interruption: nothing is waited for any more.
    urgent: CancellationToken,
    /// The same for work that cannot wait for a token: it looks now and then.
    flag: Arc<AtomicBool>,
}

impl Interruption {
    pub(crate) fn raise(&self) {
        self.flag.store(true, Relaxed);
        self.token.cancel();
    }

    /// The user has interrupted again, and waits no longer.
    pub(crate) fn urge(&self) {
        self.urgent.cancel();
    }

    pub(crate) fn happened(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the user has interrupted.
    pub(crate) async fn heard(&self) {
        self.token.cancelled().await;
    }

    /// For work on a thread of its own, which ends soon after this is set.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Work that the first interruption does not end.
    ///
    /// # Errors
    /// `told`, if the user interrupts for the second time before the work is done.
    pub(crate) async fn unless_urged<T>(
        &self,
        told: impl FnOnce() -> Failed,
        work: impl Future<Output = T>,
    ) -> Outcome<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.urgent.cancelled() => Err(told()),
        }
    }

    /// Work that may be dropped at any moment. Where such work is part of other such work, the inner one says how the
    /// interruption is told.
    ///
    /// # Errors
    /// `told`, if the user interrupts before the work is done.
    pub(crate) async fn or<T>(&self, told: impl FnOnce() -> Failed, work: impl Future<Output = T>) -> Outcome<T> {
        tokio::select! {
            // What is done was not interrupted.
            biased;
            done = work => Ok(done),
            () = self.heard() => Err(told()),
        }
    }
}

/// How an interruption is told where nothing more is to be said.
pub(crate) fn interrupted() -> Failed {
    Failed::new(Exit::Interrupted, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_inner_work_says_how_the_interruption_is_told() {
        let interruption = Interruption::default();
        let inner = interruption.or(|| interrupted().cause("a copy is on node cp1"), std::future::pending::<()>());
        let outer = interruption.or(interrupted, inner);
        interruption.raise();
        let told = outer.await.expect("the inner work has ended").expect_err("interrupted");
        assert_eq!((told.exit, told.causes), (Exit::Interrupted, vec!["a copy is on node cp1".to_owned()]));
        assert!(interruption.happened() && interruption.flag().load(Relaxed));
    }

    #[tokio::test]
    async fn what_is_done_was_not_interrupted() {
        let interruption = Interruption::default();
        interruption.raise();
        assert_eq!(interruption.or(interrupted, async { 7 }).await.expect("done"), 7);
    }
}
