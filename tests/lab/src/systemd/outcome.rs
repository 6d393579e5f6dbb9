//! How a service fared.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

/// The signals by which a process may end well.
const CLEAN: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::TERM, Signal::PIPE];

/// `Result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    ExitCode,
    Signal,
    CoreDump,
    Timeout,
    Resources,
    StartLimitHit,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Timeout => "timeout",
            Self::Resources => "resources",
            Self::StartLimitHit => "start-limit-hit",
        }
    }

    /// How a process has ended.
    pub(super) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Success,
            (Some(_), _) => Self::ExitCode,
            (None, Some(signal)) if CLEAN.iter().any(|clean| clean.as_raw() == signal) => Self::Success,
            (None, _) if status.core_dumped() => Self::CoreDump,
            (None, _) => Self::Signal,
        }
    }

    /// What systemctl says of a job that failed by it.
    pub(super) fn because(self) -> &'static str {
        match self {
            Self::ExitCode => " because the control process exited with error code",
            Self::Signal => " because a fatal signal was delivered to the control process",
            Self::CoreDump => " because a fatal signal was delivered causing the control process to dump core",
            Self::Timeout => " because a timeout was exceeded",
            Self::Resources => " because of unavailable resources or another system error",
            Self::StartLimitHit => " because start of the service was attempted too often",
            Self::Success => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        for (raw, want) in [
            (0, Outcome::Success),
            (1 << 8, Outcome::ExitCode),
            (Signal::TERM.as_raw(), Outcome::Success),
            (Signal::KILL.as_raw(), Outcome::Signal),
            (Signal::ABORT.as_raw() | 0x80, Outcome::CoreDump),
        ] {
            assert_eq!(Outcome::of(ExitStatus::from_raw(raw)), want, "{raw}");
        }
    }
}
