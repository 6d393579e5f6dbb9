//! How often a request that fails for a moment is made again.

use std::time::Duration;

/// The bound of retries. What cannot get better by waiting, a wrong key, a certificate, is never tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often one request is made again.
    pub retries: usize,
    /// How long to wait before the first of those. Each wait is a random one of up to twice the one before.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Patience {
    /// Six more requests in some seconds: enough for a server that starts anew or asks to slow down, and not too long for a person.
    fn default() -> Patience {
        Patience { retries: 6, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(5) }
    }
}
