//! Values as text: sizes, ages, times, and data as JSON or YAML.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
pub(crate) use etcd_recovery::span as seconds;
use jiff::Timestamp;
use serde::Serialize;

use super::{Failed, Outcome, Printer, visible};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For people with wide terminals.
    Wide,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// The parser for `-o` of commands that have nothing more to show in a wide table.
    pub(crate) fn without_wide() -> impl clap::builder::TypedValueParser<Value = Format> {
        PossibleValuesParser::new(["table", "json", "yaml"]).map(|name| match name.as_str() {
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            _ => Format::Table,
        })
    }
}

/// Prints `value` as JSON or YAML, or the text that `human` makes for `table` and `wide`.
///
/// # Errors
/// The value cannot be represented, or stdout cannot be written.
pub(crate) fn print_data(
    printer: Printer,
    format: Format,
    value: &impl Serialize,
    human: impl FnOnce() -> String,
) -> Outcome {
    let text = data_text(format, value, human)?;
    match format {
        Format::Json | Format::Yaml => printer.data(&text),
        Format::Table | Format::Wide => printer.for_people(&text),
    }
}

/// `value` as JSON or YAML, or the text that `human` makes for `table` and `wide`.
///
/// # Errors
/// The value cannot be represented.
pub(crate) fn data_text(format: Format, value: &impl Serialize, human: impl FnOnce() -> String) -> Outcome<String> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value)
            .map(|text| visible::json(text) + "\n")
            .map_err(|error| error.to_string()),
        Format::Yaml => visible::yaml(value),
        Format::Table | Format::Wide => Ok(human()),
    };
    text.map_err(|error| Failed::plain("cannot write the output").cause(error))
}

/// A size with decimal units, as etcd's own tools print it: `152 kB`, `1.6 GB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 && unit > 0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// How long ago a moment was.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    seconds(now.as_second() - since.as_second())
}

/// A moment as in Kubernetes objects: `2026-11-21T06:16:40Z`.
pub(crate) fn timestamp(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_etcd_prints_them() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (151_552, "152 kB"),
            (999_999, "1.0 MB"),
            (1_600_000_000, "1.6 GB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
