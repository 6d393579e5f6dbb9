//! `-o` of `get`.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;

use crate::json_path::JsonPath;

/// `-o`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    /// kubectl's columns.
    Table,
    /// The same with kubectl's wide columns, and what etcd knows.
    Wide,
    /// TYPE/NAME.
    Name,
    /// Whole objects.
    Yaml,
    /// Whole objects.
    Json,
    /// A template with what it finds.
    JsonPath(JsonPath),
    /// What a template finds, as JSON.
    JsonPathAsJson(JsonPath),
    /// Headers, and what is below them.
    CustomColumns(Vec<(String, JsonPath)>),
}

impl Format {
    /// Whether the format shows more of an object than a row.
    pub(super) fn shows_objects(&self) -> bool {
        !matches!(self, Format::Table | Format::Wide | Format::Name)
    }

    /// Whether the columns are those of `get`.
    pub(super) fn is_table(&self) -> bool {
        matches!(self, Format::Table | Format::Wide)
    }

    fn parse(text: &str) -> Result<Format, String> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let template = |example: &str| {
            let template = argument.filter(|template| !template.is_empty());
            template.ok_or_else(|| format!("{name} needs a template: {name}={example}"))
        };
        let path = || JsonPath::parse(template("'{.metadata.name}'")?);
        match (name, argument) {
            ("table", None) => Ok(Format::Table),
            ("wide", None) => Ok(Format::Wide),
            ("name", None) => Ok(Format::Name),
            ("yaml", None) => Ok(Format::Yaml),
            ("json", None) => Ok(Format::Json),
            ("jsonpath", _) => path().map(Format::JsonPath),
            ("jsonpath-as-json", _) => path().map(Format::JsonPathAsJson),
            ("custom-columns", _) => {
                let columns = template("NAME:.metadata.name,IMAGES:.spec.containers[*].image")?;
                columns.split(',').map(column).collect::<Result<_, _>>().map(Format::CustomColumns)
            }
            _ => Err(format!("it is none of {}", NAMES.join(", "))),
        }
    }
}

fn column(text: &str) -> Result<(String, JsonPath), String> {
    let (header, path) = text.split_once(':').ok_or_else(|| format!("column {text:?} is not HEADER:PATH"))?;
    Ok((header.to_owned(), JsonPath::relaxed(path).map_err(|error| format!("column {text:?}: {error}"))?))
}

const NAMES: [&str; 8] =
    ["table", "wide", "name", "yaml", "json", "jsonpath=TEMPLATE", "jsonpath-as-json=TEMPLATE", "custom-columns=SPEC"];

/// Reads `-o`.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        Format::parse(&text).map_err(|why| {
            let message = format!("invalid value '{text}' for '--output <FORMAT>': {why}\n");
            clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(NAMES.into_iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!(Format::parse("table"), Ok(Format::Table));
        assert!(matches!(Format::parse("jsonpath={.metadata.name}={.x}"), Ok(Format::JsonPath(_))));
        let columns = Format::parse("custom-columns=NAME:.metadata.name,A B:spec.x");
        assert!(matches!(columns, Ok(Format::CustomColumns(columns)) if columns.len() == 2 && columns[1].0 == "A B"));
        for (wrong, why) in [
            ("tables", "none of table, wide"),
            ("json=x", "none of"),
            ("jsonpath", "needs a template"),
            ("jsonpath={", "unclosed action"),
            ("custom-columns=", "needs a template"),
            ("custom-columns=NAME", "is not HEADER:PATH"),
            ("custom-columns=A:", "is not a path"),
        ] {
            let said = Format::parse(wrong).expect_err(wrong);
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
