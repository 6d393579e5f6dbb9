//! How long the phases of a drill take.

use std::time::Instant;

use crate::report::{Phase, rounded};

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
        self.phases.push(Phase { name: name.into(), seconds: rounded(now - self.last), counts });
        self.last = now;
    }

    pub(crate) fn phases(self) -> Vec<Phase> {
        self.phases
    }
}
