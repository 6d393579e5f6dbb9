//! How often a backup is taken, as cron says it. Pure.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The intervals that cron can keep to: those that divide an hour, a day, or a week.
const MINUTES: [u64; 6] = [5, 6, 10, 12, 15, 30];
const HOURS: [u64; 8] = [1, 2, 3, 4, 6, 8, 12, 24];

/// An interval that cron can keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cadence {
    every: u64,
}

impl Cadence {
    /// # Errors
    /// Cron has no such interval.
    pub(super) fn of(every: Duration) -> Result<Cadence, String> {
        let seconds = every.as_secs();
        let known = MINUTES.contains(&(seconds / MINUTE)) && seconds.is_multiple_of(MINUTE)
            || seconds == 20 * MINUTE
            || HOURS.contains(&(seconds / HOUR)) && seconds.is_multiple_of(HOUR)
            || seconds == 7 * DAY;
        match known && every.subsec_nanos() == 0 {
            true => Ok(Cadence { every: seconds }),
            false => Err(format!(
                "a CronJob cannot run every {}: expected 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 24h or 168h",
                short(every)
            )),
        }
    }

    pub(super) fn every(self) -> Duration {
        Duration::from_secs(self.every)
    }

    /// The schedule, moved by a number that is the same for the same arguments: not all clusters of a fleet begin in the same minute.
    pub(super) fn cron(self, number: u32) -> String {
        let number = u64::from(number);
        let (minute, hour) = (number % 60, number / 60);
        match self.every {
            every if every < HOUR => {
                let step = every / MINUTE;
                format!("{}-59/{step} * * * *", number % step)
            }
            HOUR => format!("{minute} * * * *"),
            every if every < DAY => {
                let step = every / HOUR;
                format!("{minute} {}-23/{step} * * *", hour % step)
            }
            DAY => format!("{minute} {} * * *", hour % 24),
            _ => format!("{minute} {} * * {}", hour % 24, hour / 24 % 7),
        }
    }

    /// How late a backup may begin, in seconds: half of the interval, after which the next one is nearer.
    pub(super) fn starting_deadline(self) -> u64 {
        self.every / 2
    }

    /// How long a backup may take, in seconds.
    pub(super) fn active_deadline(self) -> u64 {
        self.every.clamp(10 * MINUTE, 6 * HOUR)
    }
}

/// A duration as it is typed: `3h`, `90m`, `45s`.
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if duration.subsec_nanos() > 0 => format!("{duration:?}"),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(HOUR) => format!("{}h", seconds / HOUR),
        _ if seconds.is_multiple_of(MINUTE) => format!("{}m", seconds / MINUTE),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cron_can_say_is_said_with_an_offset() {
        for (minutes, number, cron) in [
            (5, 7, "2-59/5 * * * *"),
            (15, 31, "1-59/15 * * * *"),
            (20, 0, "0-59/20 * * * *"),
            (60, 130, "10 * * * *"),
            (180, 60 * 5 + 1, "1 2-23/3 * * *"),
            (720, 60 * 23 + 59, "59 11-23/12 * * *"),
            (1440, 60 * 25, "0 1 * * *"),
            (10080, u32::MAX, "15 4 * * 0"),
        ] {
            let cadence = Cadence::of(Duration::from_secs(minutes * 60)).unwrap();
            assert_eq!(cadence.cron(number), cron, "{minutes} {number}");
        }
    }

    /// The minutes of a day at which each schedule fires are as far apart as was asked for, also from one day to the next.
    #[test]
    fn every_schedule_keeps_its_interval() {
        let field = |text: &str, top: u64| -> Vec<u64> {
            match text.split_once("-").map(|(from, rest)| (from, rest.split_once('/').unwrap().1)) {
                _ if text == "*" => (0..top).collect(),
                None => vec![text.parse().unwrap()],
                Some((from, step)) => (from.parse().unwrap()..top).step_by(step.parse().unwrap()).collect(),
            }
        };
        for seconds in (1..=DAY / 60).map(|minutes| minutes * 60) {
            let Ok(cadence) = Cadence::of(Duration::from_secs(seconds)) else { continue };
            for number in (0..3000).step_by(7) {
                let cron = cadence.cron(number);
                let fields: Vec<&str> = cron.split(' ').collect();
                let minutes = field(fields[0], 60);
                let mut times: Vec<u64> = field(fields[1], 24)
                    .iter()
                    .flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute))
                    .collect();
                times.push(times[0] + 24 * 60);
                assert!(times.windows(2).all(|two| (two[1] - two[0]) * 60 == seconds), "{cron}");
            }
        }
    }

    #[test]
    fn what_cron_cannot_say_is_refused() {
        for wrong in [0, 1, 60, 240, 420, 2700, 5400, 5 * HOUR, 25 * HOUR, 2 * DAY, 30 * DAY] {
            let said = Cadence::of(Duration::from_secs(wrong)).unwrap_err();
            assert!(said.contains("expected 5m") && said.contains(&short(Duration::from_secs(wrong))), "{said}");
        }
        assert!(Cadence::of(Duration::from_millis(3_600_500)).is_err());
        for (seconds, text) in [(5400, "90m"), (7200, "2h"), (61, "61s"), (0, "0s")] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
