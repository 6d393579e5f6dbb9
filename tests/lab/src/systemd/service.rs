//! What a service does next: decisions alone, without processes, files and clocks.

use std::time::{Duration, Instant};

use super::definition::{Definition, Restart};
use super::limit::Limit;
use super::outcome::Outcome;

/// `ActiveState` and `SubState` in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Dead,
    Failed,
    Running {
        pid: u32,
    },
    /// Told to end; started again after that, or not.
    Stopping {
        pid: u32,
        again: bool,
    },
    /// To be started again after a while.
    AutoRestart,
}

/// What is to be done after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// [`Service::attempt`], with the conditions looked at.
    Attempt,
    /// Start the process, and say [`Service::started`] or [`Service::ended`].
    Spawn,
    /// SIGTERM, and after this time [`Service::stop_timeout`].
    Terminate {
        pid: u32,
        patience: Duration,
    },
    /// SIGKILL.
    Kill {
        pid: u32,
    },
    /// [`Service::due`] after this time.
    Wait(Duration),
}

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) state: State,
    pub(super) outcome: Outcome,
    /// Whether the conditions were met when it was last to be started.
    pub(super) conditions_met: bool,
    /// Changes with every state: a timer that was set in another is void.
    pub(super) turn: u64,
    limit: Limit,
}

impl Default for Service {
    fn default() -> Self {
        Self { state: State::Dead, outcome: Outcome::Success, conditions_met: false, turn: 0, limit: Limit::default() }
    }
}

impl Service {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
    }

    /// `systemctl start`. What waits to be restarted goes on waiting, as in the real one.
    pub(super) fn start(&mut self) -> Step {
        match self.state {
            State::Running { .. } | State::AutoRestart => Step::Nothing,
            State::Stopping { pid, .. } => {
                self.state = State::Stopping { pid, again: true };
                Step::Nothing
            }
            State::Dead | State::Failed => Step::Attempt,
        }
    }

    /// `systemctl stop`. A failed service stays failed.
    pub(super) fn stop(&mut self, unit: &Definition) -> Step {
        match self.state {
            State::Running { pid } => self.terminate(unit, pid, false),
            State::Stopping { pid, .. } => {
                self.state = State::Stopping { pid, again: false };
                Step::Nothing
            }
            State::AutoRestart => {
                self.enter(State::Dead);
                Step::Nothing
            }
            State::Dead | State::Failed => Step::Nothing,
        }
    }

    /// `systemctl restart`.
    pub(super) fn restart(&mut self, unit: &Definition) -> Step {
        match self.state {
            State::Running { pid } => self.terminate(unit, pid, true),
            State::Stopping { .. } => self.start(),
            State::AutoRestart => {
                self.enter(State::Dead);
                Step::Attempt
            }
            State::Dead | State::Failed => Step::Attempt,
        }
    }

    fn terminate(&mut self, unit: &Definition, pid: u32, again: bool) -> Step {
        self.enter(State::Stopping { pid, again });
        Step::Terminate { pid, patience: unit.stop_timeout }
    }

    /// Starts it, if its conditions are met and it has not been started too often; what is not met is no failure, and does not count.
    pub(super) fn attempt(&mut self, unit: &Definition, now: Instant, conditions_met: bool) -> Step {
        self.conditions_met = conditions_met;
        if !conditions_met {
            return Step::Nothing;
        }
        if !self.limit.allows(now, unit.limit_interval, unit.limit_burst) {
            self.outcome = Outcome::StartLimitHit;
            self.enter(State::Failed);
            return Step::Nothing;
        }
        self.outcome = Outcome::Success;
        Step::Spawn
    }

    /// Its process runs.
    pub(super) fn started(&mut self, pid: u32) {
        self.enter(State::Running { pid });
    }

    /// Its process has ended, or could not be started: then it is [`Outcome::Resources`] or [`Outcome::ExitCode`].
    pub(super) fn ended(&mut self, unit: &Definition, how: Outcome) -> Step {
        // What was the first to go wrong counts.
        if self.outcome == Outcome::Success {
            self.outcome = how;
        }
        let ended = if self.outcome == Outcome::Success { State::Dead } else { State::Failed };
        if let State::Stopping { again, .. } = self.state {
            self.enter(ended);
            return if again { Step::Attempt } else { Step::Nothing };
        }
        let again = match unit.restart {
            Restart::No => false,
            Restart::Always => true,
            Restart::OnFailure => self.outcome != Outcome::Success,
        };
        if again {
            self.enter(State::AutoRestart);
            return Step::Wait(unit.restart_after);
        }
        self.enter(ended);
        Step::Nothing
    }

    /// The time to restart has come.
    pub(super) fn due(&mut self) -> Step {
        self.enter(State::Dead);
        Step::Attempt
    }

    /// It was told to end, and has not.
    pub(super) fn stop_timeout(&mut self) -> Step {
        match self.state {
            State::Stopping { pid, .. } => {
                self.outcome = Outcome::Timeout;
                Step::Kill { pid }
            }
            _ => Step::Nothing,
        }
    }

    /// `systemctl reset-failed`: also forgets how often it was started.
    pub(super) fn reset_failed(&mut self) {
        if self.state == State::Failed {
            self.enter(State::Dead);
        }
        self.outcome = Outcome::Success;
        self.limit = Limit::default();
    }

    /// `systemctl daemon-reload`, over which the real one does not keep how often it was started.
    pub(super) fn reloaded(&mut self) {
        self.limit = Limit::default();
    }

    /// The id of its process, 0 without one.
    pub(super) fn pid(&self) -> u32 {
        match self.state {
            State::Running { pid } | State::Stopping { pid, .. } => pid,
            State::Dead | State::Failed | State::AutoRestart => 0,
        }
    }

    /// `ActiveState` and `SubState`.
    pub(super) fn states(&self) -> (&'static str, &'static str) {
        match self.state {
            State::Dead => ("inactive", "dead"),
            State::Failed => ("failed", "failed"),
            State::Running { .. } => ("active", "running"),
            State::Stopping { .. } if self.outcome == Outcome::Timeout => ("deactivating", "stop-sigkill"),
            State::Stopping { .. } => ("deactivating", "stop-sigterm"),
            State::AutoRestart => ("activating", "auto-restart"),
        }
    }

    /// Whether there is nothing more to come of a start.
    pub(super) fn is_settled_up(&self) -> bool {
        !matches!(self.state, State::Stopping { .. } | State::AutoRestart)
    }

    /// Whether there is nothing more to come of a stop.
    pub(super) fn is_settled_down(&self) -> bool {
        !matches!(self.state, State::Stopping { .. } | State::Running { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(restart: Restart) -> Definition {
        Definition { restart, ..Definition::default() }
    }

    /// A service that runs.
    fn running(unit: &Definition, now: Instant) -> Service {
        let mut service = Service::default();
        assert_eq!(service.start(), Step::Attempt);
        assert_eq!(service.attempt(unit, now, true), Step::Spawn);
        service.started(7);
        assert_eq!((service.states(), service.pid()), (("active", "running"), 7));
        service
    }

    #[test]
    fn a_start_of_what_runs_does_nothing() {
        let unit = unit(Restart::Always);
        let mut service = running(&unit, Instant::now());
        assert_eq!(service.start(), Step::Nothing);
        assert!(service.is_settled_up());
    }

    #[test]
    fn conditions_that_are_not_met_are_no_failure() {
        let unit = unit(Restart::Always);
        let mut service = Service::default();
        for _ in 0..9 {
            assert_eq!(service.start(), Step::Attempt);
            assert_eq!(service.attempt(&unit, Instant::now(), false), Step::Nothing);
        }
        assert_eq!((service.state, service.outcome, service.conditions_met), (State::Dead, Outcome::Success, false));
        assert_eq!(service.attempt(&unit, Instant::now(), true), Step::Spawn);
        assert!(service.conditions_met);
    }

    #[test]
    fn a_stopped_service_is_not_restarted() {
        let unit = unit(Restart::Always);
        let mut service = running(&unit, Instant::now());
        let patience = Duration::from_secs(90);
        assert_eq!(service.stop(&unit), Step::Terminate { pid: 7, patience });
        assert!(!service.is_settled_down() && service.states() == ("deactivating", "stop-sigterm"));
        assert_eq!(service.stop(&unit), Step::Nothing);
        assert_eq!(service.ended(&unit, Outcome::Success), Step::Nothing);
        assert_eq!((service.state, service.outcome), (State::Dead, Outcome::Success));
        assert!(service.is_settled_down());
    }

    #[test]
    fn what_does_not_end_is_killed_and_has_failed() {
        let unit = unit(Restart::Always);
        let mut service = running(&unit, Instant::now());
        service.stop(&unit);
        assert_eq!(service.stop_timeout(), Step::Kill { pid: 7 });
        assert_eq!(service.ended(&unit, Outcome::Signal), Step::Nothing);
        assert_eq!((service.state, service.outcome), (State::Failed, Outcome::Timeout));
        assert_eq!(service.stop(&unit), Step::Nothing);
        assert_eq!(service.state, State::Failed);
    }

    #[test]
    fn what_ends_is_restarted_as_the_unit_says() {
        let wait = Step::Wait(Duration::from_millis(100));
        for (restart, how, step, state) in [
            (Restart::No, Outcome::Success, Step::Nothing, State::Dead),
            (Restart::No, Outcome::ExitCode, Step::Nothing, State::Failed),
            (Restart::OnFailure, Outcome::Success, Step::Nothing, State::Dead),
            (Restart::OnFailure, Outcome::Signal, wait, State::AutoRestart),
            (Restart::Always, Outcome::Success, wait, State::AutoRestart),
            (Restart::Always, Outcome::ExitCode, wait, State::AutoRestart),
        ] {
            let unit = unit(restart);
            let mut service = running(&unit, Instant::now());
            assert_eq!(service.ended(&unit, how), step, "{restart:?} {how:?}");
            assert_eq!((service.state, service.outcome, service.pid()), (state, how, 0), "{restart:?} {how:?}");
        }
    }

    #[test]
    fn a_restart_looks_at_the_conditions_again() {
        let unit = unit(Restart::Always);
        let now = Instant::now();
        let mut service = running(&unit, now);
        service.ended(&unit, Outcome::Signal);
        assert!(!service.is_settled_up() && service.start() == Step::Nothing);
        assert_eq!(service.due(), Step::Attempt);
        assert_eq!(service.attempt(&unit, now, false), Step::Nothing);
        assert_eq!((service.state, service.outcome, service.conditions_met), (State::Dead, Outcome::Signal, false));
    }

    #[test]
    fn a_timer_of_another_state_is_void() {
        let unit = unit(Restart::Always);
        let mut service = running(&unit, Instant::now());
        service.ended(&unit, Outcome::Signal);
        let turn = service.turn;
        assert_eq!(service.stop(&unit), Step::Nothing);
        assert_eq!(service.state, State::Dead);
        assert_ne!(service.turn, turn);
    }

    #[test]
    fn too_many_starts_are_refused_until_they_are_forgotten() {
        let unit = unit(Restart::Always);
        let now = Instant::now();
        let mut service = running(&unit, now);
        for _ in 1..5 {
            service.ended(&unit, Outcome::ExitCode);
            assert_eq!(service.due(), Step::Attempt);
            assert_eq!(service.attempt(&unit, now, true), Step::Spawn);
            service.started(8);
        }
        service.ended(&unit, Outcome::ExitCode);
        service.due();
        for _ in 0..2 {
            assert_eq!(service.attempt(&unit, now, true), Step::Nothing);
            assert_eq!((service.state, service.outcome), (State::Failed, Outcome::StartLimitHit));
        }
        service.reset_failed();
        assert_eq!((service.state, service.outcome), (State::Dead, Outcome::Success));
        assert_eq!(service.attempt(&unit, now, true), Step::Spawn);
        while service.attempt(&unit, now, true) == Step::Spawn {}
        service.reloaded();
        assert_eq!((service.state, service.outcome), (State::Failed, Outcome::StartLimitHit));
        assert_eq!(service.attempt(&unit, now, true), Step::Spawn);
    }

    #[test]
    fn a_start_or_restart_comes_after_the_end() {
        let unit = unit(Restart::No);
        let now = Instant::now();
        let mut service = running(&unit, now);
        service.stop(&unit);
        assert_eq!(service.start(), Step::Nothing);
        assert_eq!(service.ended(&unit, Outcome::Success), Step::Attempt);
        let mut service = running(&unit, now);
        assert!(matches!(service.restart(&unit), Step::Terminate { pid: 7, .. }));
        assert!(!service.is_settled_up());
        assert_eq!(service.ended(&unit, Outcome::ExitCode), Step::Attempt);
        assert_eq!(service.attempt(&unit, now, true), Step::Spawn);
        assert_eq!(service.outcome, Outcome::Success);
        let mut service = running(&unit, now);
        service.restart(&unit);
        service.stop(&unit);
        assert_eq!(service.ended(&unit, Outcome::Success), Step::Nothing);
    }
}
