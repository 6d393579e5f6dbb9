//! Spans of time, as unit files have them.

use std::time::Duration;

/// `90`, `1min 30s`, `100ms`; a number without a unit is seconds. `infinity` is the longest there is. Nothing for anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text.trim() == "infinity" {
        return Some(Duration::MAX);
    }
    let (mut total, mut rest) = (None, text.trim());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "us" | "usec" => 1e-6,
            "ms" | "msec" => 1e-3,
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ => return None,
        };
        let span = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = Some(total.unwrap_or(Duration::ZERO).saturating_add(span));
        rest = after.trim_start();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sums_of_numbers_with_units() {
        for (text, want) in [
            ("5", Some(Duration::from_secs(5))),
            ("0", Some(Duration::ZERO)),
            ("100ms", Some(Duration::from_millis(100))),
            ("1min 30s", Some(Duration::from_secs(90))),
            ("2 h", Some(Duration::from_secs(7200))),
            ("infinity", Some(Duration::MAX)),
            ("", None),
            ("5 parsecs", None),
            ("s", None),
            ("-1", None),
        ] {
            assert_eq!(parse(text), want, "{text:?}");
        }
    }
}
