//! What the two threads of a check share: how far they are, and whether to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Progress, VerifyError};

/// How much work lies between two calls of the caller's progress function.
const STEP: u64 = 1 << 20;

pub(crate) struct Pulse<'a> {
    cancel: Option<&'a AtomicBool>,
    /// Set when one thread failed, so that the other does not finish in vain.
    stop: AtomicBool,
    hashed: AtomicU64,
    walked: AtomicU64,
    total: u64,
    notify: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Pulse<'a> {
    pub(crate) fn new(cancel: Option<&'a AtomicBool>, total: u64, notify: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self {
            cancel,
            stop: AtomicBool::new(false),
            hashed: AtomicU64::new(0),
            walked: AtomicU64::new(0),
            total,
            notify,
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn add_hashed(&self, bytes: u64) -> Result<(), VerifyError> {
        self.add(&self.hashed, bytes)
    }

    pub(crate) fn add_walked(&self, bytes: u64) -> Result<(), VerifyError> {
        self.add(&self.walked, bytes)
    }

    /// # Errors
    /// [`VerifyError::Cancelled`] if the caller or the other thread wants an end.
    pub(crate) fn check(&self) -> Result<(), VerifyError> {
        let cancelled = self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed));
        if cancelled || self.stop.load(Ordering::Relaxed) { Err(VerifyError::Cancelled) } else { Ok(()) }
    }

    /// Says that both are through.
    pub(crate) fn finish(&self) {
        (self.notify)(Progress { hashed: self.total, walked: self.total, total: self.total });
    }

    fn add(&self, counter: &AtomicU64, bytes: u64) -> Result<(), VerifyError> {
        let before = counter.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != before.saturating_add(bytes) / STEP {
            (self.notify)(Progress {
                hashed: self.hashed.load(Ordering::Relaxed),
                walked: self.walked.load(Ordering::Relaxed),
                total: self.total,
            });
        }
        self.check()
    }
}
