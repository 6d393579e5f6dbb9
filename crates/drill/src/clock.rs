//! How long the phases of a drill take.

use std::time::Instant;

use crate::report::{Phase, Rto, rounded};

/// Measures one phase after the other.
#[derive(Debug)]
pub struct Clock {
    last: Instant,
    phases: Vec<Phase>,
}

impl Clock {
    /// Begins the first phase.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a clock that begins by the way would measure something else")]
    pub fn new() -> Clock {
        Clock { last: Instant::now(), phases: Vec::new() }
    }

    /// What was done so far is of no phase.
    pub fn skip(&mut self) {
        self.last = Instant::now();
    }

    /// Ends a phase, and begins the next one. `counts`: it comes before etcd serves.
    pub fn lap(&mut self, name: &'static str, counts: bool) {
        let now = Instant::now();
        self.phases.push(Phase { name, seconds: rounded(now - self.last), counts });
        self.last = now;
    }

    pub(crate) fn rto(self) -> Rto {
        let millis: f64 = self.phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds * 1000.0).sum();
        Rto { seconds: millis.round() / 1000.0, phases: self.phases }
    }
}
