//! How often a unit may be started.

use std::time::{Duration, Instant};

/// Counts starts in an interval, which begins with the first of them; so does systemd.
#[derive(Debug, Default)]
pub(super) struct Limit {
    begun: Option<Instant>,
    count: u32,
}

impl Limit {
    /// Whether one more is allowed now; it is counted then. An interval or a number of zero is no limit.
    pub(super) fn allows(&mut self, now: Instant, interval: Duration, burst: u32) -> bool {
        if interval.is_zero() || burst == 0 {
            return true;
        }
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) > interval) {
            *self = Self { begun: Some(now), count: 0 };
        }
        let allowed = self.count < burst;
        self.count += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted_from_the_first() {
        let (mut limit, begun) = (Limit::default(), Instant::now());
        let mut allows = |seconds| limit.allows(begun + Duration::from_secs(seconds), Duration::from_secs(10), 2);
        let answers = [0, 9, 10, 11, 20, 21].map(&mut allows);
        assert_eq!(answers, [true, true, false, true, true, false]);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut limit = Limit::default();
        let now = Instant::now();
        assert!((0..9).all(|_| limit.allows(now, Duration::ZERO, 1) && limit.allows(now, Duration::MAX, 0)));
    }
}
