//! Which of several backups are kept, as restic's `forget` decides.
//!
//! Source: restic's manual, "Removing snapshots according to a policy". Times are UTC. Since restic 0.16 the oldest snapshot is kept as long as
//! fewer periods have a snapshot than are to be kept; this is so here, too.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How many are kept, in restic's words. Zero: not by this rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest.
    pub last: u32,
    /// The newest of each of so many hours.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks, which begin on Monday.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
    /// All that are so much older than the newest, at most.
    pub within: Option<Within>,
}

/// A span as restic writes it: `1y5m7d2h`, where `m` are months.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within {
    years: u16,
    months: u16,
    days: u32,
    hours: u32,
}

/// A text that is no such span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span: expected years, months, days and hours as in 1y5m7d2h")]
pub struct WithinError(String);

/// A rule that keeps a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `--keep-last`
    Last,
    /// `--keep-hourly`
    Hourly,
    /// `--keep-daily`
    Daily,
    /// `--keep-weekly`
    Weekly,
    /// `--keep-monthly`
    Monthly,
    /// `--keep-yearly`
    Yearly,
    /// `--keep-within`
    Within,
}

impl Rule {
    const PERIODS: [Rule; 6] = [Rule::Last, Rule::Hourly, Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly];

    /// The word in the plan.
    pub fn word(self) -> &'static str {
        match self {
            Rule::Last => "last",
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
            Rule::Within => "within",
        }
    }

    /// The period of a time. Periods of later times are not lower.
    fn period(self, time: Timestamp, number: usize) -> (i64, i64) {
        let at = civil(time);
        let year = i64::from(at.year());
        match self {
            Rule::Last | Rule::Within => (0, i64::try_from(number).unwrap_or(i64::MAX)),
            Rule::Hourly => (time.as_second().div_euclid(3600), 0),
            Rule::Daily => (time.as_second().div_euclid(86_400), 0),
            Rule::Weekly => {
                let week = at.date().iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Rule::Monthly => (year, i64::from(at.month())),
            Rule::Yearly => (year, 0),
        }
    }
}

fn civil(time: Timestamp) -> DateTime {
    time.to_zoned(TimeZone::UTC).datetime()
}

impl Keep {
    /// Whether no rule is set: nothing would be kept.
    pub fn is_empty(&self) -> bool {
        *self == Keep::default()
    }

    fn count(&self, rule: Rule) -> u32 {
        match rule {
            Rule::Last => self.last,
            Rule::Hourly => self.hourly,
            Rule::Daily => self.daily,
            Rule::Weekly => self.weekly,
            Rule::Monthly => self.monthly,
            Rule::Yearly => self.yearly,
            Rule::Within => 0,
        }
    }

    /// By which rules each of some times is kept. None: it is forgotten. `times` are the newest first.
    pub fn rules(&self, times: &[Timestamp]) -> Vec<Vec<Rule>> {
        self.decide(times, true)
    }

    /// `oldest`: whether the oldest is kept while a count is left.
    pub(super) fn decide(&self, times: &[Timestamp], oldest: bool) -> Vec<Vec<Rule>> {
        let mut kept = vec![Vec::new(); times.len()];
        for rule in Rule::PERIODS {
            let mut left = self.count(rule);
            let mut before = None;
            for (number, (time, kept)) in times.iter().zip(&mut kept).enumerate() {
                if left == 0 {
                    break;
                }
                let period = rule.period(*time, number);
                if before != Some(period) || oldest && number + 1 == times.len() {
                    kept.push(rule);
                    before = Some(period);
                    left -= 1;
                }
            }
        }
        if let (Some(within), Some(newest)) = (self.within, times.first()) {
            let since = within.before(*newest);
            for (time, kept) in times.iter().zip(&mut kept) {
                if since.is_none_or(|since| *time > since) {
                    kept.push(Rule::Within);
                }
            }
        }
        kept
    }
}

impl Within {
    /// The moment that is so much earlier; nothing if no calendar has it. As Go's `AddDate`, which restic uses: a month before the 31st of
    /// March is the 31st of February, which is the 3rd of March.
    fn before(self, time: Timestamp) -> Option<Timestamp> {
        let at = civil(time);
        let months = i32::from(at.year()) * 12 + i32::from(at.month()) - 1;
        let months = months - i32::from(self.years) * 12 - i32::from(self.months);
        let (year, month) = (i16::try_from(months.div_euclid(12)).ok()?, i8::try_from(months.rem_euclid(12) + 1).ok()?);
        let first = Date::new(year, month, 1).ok()?.to_datetime(at.time()).to_zoned(TimeZone::UTC).ok()?.timestamp();
        let days = i64::from(at.day()) - 1 - i64::from(self.days);
        first.checked_add(SignedDuration::from_hours(days * 24 - i64::from(self.hours))).ok()
    }
}

impl FromStr for Within {
    type Err = WithinError;

    fn from_str(text: &str) -> Result<Self, WithinError> {
        let error = || WithinError(text.chars().take(40).collect());
        let mut within = Within { years: 0, months: 0, days: 0, hours: 0 };
        let (mut rest, mut seen) = (text, String::new());
        while let Some(at) = rest.find(|c: char| !c.is_ascii_digit()) {
            let (number, unit) = rest.split_at(at);
            let mut unit = unit.chars();
            let letter = unit.next().filter(|letter| !seen.contains(*letter)).ok_or_else(error)?;
            match letter {
                'y' => within.years = number.parse().map_err(|_| error())?,
                'm' => within.months = number.parse().map_err(|_| error())?,
                'd' => within.days = number.parse().map_err(|_| error())?,
                'h' => within.hours = number.parse().map_err(|_| error())?,
                _ => return Err(error()),
            }
            seen.push(letter);
            rest = unit.as_str();
        }
        let nothing = (within.years, within.months, within.days, within.hours) == (0, 0, 0, 0);
        if !rest.is_empty() || nothing { Err(error()) } else { Ok(within) }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(u32::from(self.years), 'y'), (u32::from(self.months), 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}
