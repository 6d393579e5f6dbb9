//! JSONPath as kubectl has it (k8s.io/client-go/util/jsonpath), which is older than RFC 9535 and differs from it: templates of text and
//! `{expressions}`, `{range}` and `{end}`, keys whose dots are escaped, and nothing for what is not there.
//!
//! `tests/data/kubectl` has what kubectl itself prints, and the tests compare with it.

mod evaluate;
mod parse;
mod text;

use serde_json::Value;

use evaluate::{Found, find};
use parse::Part;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath {
    parts: Vec<Part>,
}

impl JsonPath {
    /// Reads a template: `{.metadata.name}`.
    ///
    /// # Errors
    /// What is not understood.
    pub(crate) fn parse(template: &str) -> Result<JsonPath, String> {
        Ok(JsonPath { parts: parse::template(template)? })
    }

    /// Reads one expression whose braces and first dot may be left out: `metadata.name`, `.metadata.name`, `{.metadata.name}`.
    ///
    /// # Errors
    /// What is not understood.
    pub(crate) fn relaxed(expression: &str) -> Result<JsonPath, String> {
        let inside = match expression.strip_prefix('{').map(|text| text.strip_suffix('}')) {
            None => Some(expression),
            Some(inside) => inside,
        };
        let inside = inside.map(|text| text.strip_prefix('.').unwrap_or(text));
        match inside.filter(|text| !text.is_empty() && !text.contains(['{', '}'])) {
            Some(inside) => JsonPath::parse(&format!("{{.{inside}}}")),
            None => Err(format!("{expression:?} is not a path such as .metadata.name")),
        }
    }

    /// What the template means in an object, by expression.
    ///
    /// # Errors
    /// The object is not as the template expects.
    pub(crate) fn find<'a>(&'a self, object: &'a Value) -> Result<Vec<Vec<Found<'a>>>, String> {
        let mut found = Vec::new();
        walk(&self.parts, object, &mut found)?;
        Ok(found)
    }

    /// All that it means, without the division by expression.
    ///
    /// # Errors
    /// As [`JsonPath::find`].
    pub(crate) fn values<'a>(&'a self, object: &'a Value) -> Result<Vec<Found<'a>>, String> {
        Ok(self.find(object)?.into_iter().flatten().collect())
    }

    /// The template with what it means in an object.
    ///
    /// # Errors
    /// As [`JsonPath::find`].
    pub(crate) fn text(&self, object: &Value) -> Result<String, String> {
        let line =
            |values: Vec<Found<'_>>| values.iter().map(|value| text::printed(value)).collect::<Vec<_>>().join(" ");
        Ok(self.find(object)?.into_iter().map(line).collect())
    }

    /// What it means as JSON, a list for each expression.
    ///
    /// # Errors
    /// As [`JsonPath::find`].
    pub(crate) fn json(&self, object: &Value) -> Result<String, String> {
        let list = |values: Vec<Found<'_>>| text::as_json(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        Ok(self.find(object)?.into_iter().map(list).collect())
    }
}

/// A value in a column: as Go's fmt has it.
pub(crate) fn plain(value: &Value) -> String {
    text::plain(value)
}

/// A value by itself: lists and objects as JSON.
pub(crate) fn printed(value: &Value) -> String {
    text::printed(value)
}

fn walk<'a>(parts: &'a [Part], object: &'a Value, found: &mut Vec<Vec<Found<'a>>>) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => found.push(vec![Found::Owned(Value::from(text.as_str()))]),
            Part::Expression(nodes) => found.push(find(object, nodes)?),
            Part::Range(nodes, body) => {
                for value in find(object, nodes)? {
                    match value {
                        Found::Borrowed(value) => walk(body, value, found)?,
                        Found::Owned(value) => walk_owned(body, &value, found)?,
                    }
                }
            }
        }
    }
    Ok(())
}

/// The same for a value that the template has brought along, and that does not outlive the range.
fn walk_owned<'a>(parts: &'a [Part], value: &Value, found: &mut Vec<Vec<Found<'a>>>) -> Result<(), String> {
    let mut own = Vec::new();
    walk(parts, value, &mut own)?;
    let owned = |values: Vec<Found<'_>>| values.into_iter().map(|value| Found::Owned(value.into_owned())).collect();
    found.extend(own.into_iter().map(owned));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(name: &str) -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/kubectl/");
        std::fs::read(format!("{path}{name}")).expect("what was recorded")
    }

    #[test]
    fn kubectl_prints_the_same() {
        let object: Value = serde_yaml_ng::from_slice(&recorded("object.yaml")).expect("YAML");
        let cases: Vec<Value> = serde_json::from_slice(&recorded("jsonpath.json")).expect("JSON");
        let mut wrong = Vec::new();
        for case in &cases {
            let (how, path) =
                case["output"].as_str().and_then(|output| output.split_once('=')).expect("how, and a path");
            let ours = JsonPath::parse(path).and_then(|template| match how {
                "jsonpath" => template.text(&object),
                _ => template.json(&object),
            });
            let same = match (&ours, case["stdout"].as_str()) {
                (Ok(ours), Some(theirs)) => ours == theirs,
                // kubectl repeats the value here.
                (Err(ours), None) if ours.ends_with("cannot be filtered") => {
                    case["error"].as_str().is_some_and(|theirs| theirs.ends_with("cannot be filtered"))
                }
                (Err(ours), None) => case["error"].as_str().is_some_and(|theirs| theirs.ends_with(ours.trim_end())),
                _ => false,
            };
            if !same {
                wrong.push(format!("{case}\n  {ours:?}"));
            }
        }
        assert!(cases.len() > 100 && wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    #[test]
    fn an_error_does_not_repeat_a_value() {
        let object = serde_json::json!({"data": {"password": "c2VjcmV0"}});
        for (path, is) in [
            ("{.data[?(@.x)]}", "map[string]interface {} is not array or slice and cannot be filtered"),
            ("{.data.password[?(@.x)]}", "string is not array or slice and cannot be filtered"),
        ] {
            let why = JsonPath::parse(path).and_then(|template| template.text(&object)).expect_err(path);
            assert_eq!(why.trim_end(), is);
        }
    }

    #[test]
    fn braces_and_the_first_dot_may_be_left_out() {
        let path = JsonPath::parse("{.metadata.name}");
        for text in ["{.metadata.name}", "{metadata.name}", ".metadata.name", "metadata.name"] {
            assert_eq!(JsonPath::relaxed(text), path, "{text}");
        }
        for text in ["", "{}", "{.metadata.name", "a{b}", "{.a}{.b}"] {
            assert!(JsonPath::relaxed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_template_is_too_deep() {
        let nested = format!("{{{}@.a{}}}", "[?(".repeat(1000), ")]".repeat(1000));
        let ranges = "{range .a}".repeat(1000);
        for template in [nested, ranges] {
            JsonPath::parse(&template).expect_err("too deep");
        }
    }
}
