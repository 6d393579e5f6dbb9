//! Times and durations as Go writes and reads them in JSON.

use jiff::Timestamp;

/// 0001-01-01T00:00:00Z: Go's time zero.
pub(crate) const ZERO: i64 = -62_135_596_800;
/// The units of a duration, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A time in whole seconds; inside of it `None` for the time zero. `None` for what has no year of four digits.
pub(crate) fn time(seconds: i64) -> Option<Option<String>> {
    if seconds == ZERO {
        return Some(None);
    }
    let time = Timestamp::from_second(seconds).ok().filter(|_| seconds > ZERO)?;
    Some(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// A time with its microseconds.
pub(crate) fn micro_time(seconds: i64, nanos: i64) -> Option<Option<String>> {
    let micros = nanos / 1000;
    if seconds == ZERO && micros == 0 {
        return Some(None);
    }
    let nanos = i32::try_from(micros * 1000).ok()?;
    let time = Timestamp::new(seconds, nanos).ok().filter(|time| time.as_second() >= ZERO)?;
    Some(Some(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()))
}

/// Seconds and nanoseconds of a time.
pub(crate) fn parse_time(text: &str) -> Option<(i64, i32)> {
    let time: Timestamp = text.parse().ok()?;
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 { Some((seconds.checked_sub(1)?, nanos.checked_add(1_000_000_000)?)) } else { Some((seconds, nanos)) }
}

/// `1h2m3.5s`; below a second one smaller unit; `0s`.
pub(crate) fn duration(nanos: i64) -> String {
    let (sign, left) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let small = |unit: u64, name: &str| format!("{sign}{}{name}", decimal(left, unit));
    match left {
        0 => "0s".to_owned(),
        1..1000 => small(1, "ns"),
        1000..1_000_000 => small(1000, "\u{b5}s"),
        1_000_000..1_000_000_000 => small(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (left / 60_000_000_000, left % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit`, exact, without zeros at the end.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Nanoseconds of what [`duration`] wrote, or of anything that Go's `time.ParseDuration` reads.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    while {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = i128::from(UNITS.iter().find(|(name, _)| *name == unit)?.1);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
            return None;
        }
        total += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? } * unit;
        let mut place = unit;
        for digit in fraction.bytes().take(18) {
            if !digit.is_ascii_digit() {
                return None;
            }
            total += i128::from(digit - b'0') * place / 10;
            place /= 10;
        }
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
        rest = tail;
        !rest.is_empty()
    } {}
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        // Examples of Go's own: time package, Duration.String.
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, text) in cases {
            assert_eq!((duration(nanos).as_str(), parse_duration(text)), (text, Some(nanos)));
        }
        assert_eq!((parse_duration("1.5h"), parse_duration("+.5s")), (Some(5_400_000_000_000), Some(500_000_000)));
        for text in ["", "1", "s", "1x", "-", ".s", "1.2.3s", "99999999999999999999h", "9223372036854775808ns"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(0).flatten().as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!((time(ZERO), time(ZERO - 1), time(i64::MAX)), (Some(None), None, None));
        assert_eq!(time(ZERO + 1).flatten().as_deref(), Some("0001-01-01T00:00:01Z"));
        assert_eq!(micro_time(1, 2_999).flatten().as_deref(), Some("1970-01-01T00:00:01.000002Z"));
        assert_eq!(parse_time("1969-12-31T23:59:59.5Z"), Some((-1, 500_000_000)));
    }
}
