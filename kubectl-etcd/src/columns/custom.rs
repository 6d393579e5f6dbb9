//! The columns that a custom resource definition gives its objects: kubernetes apiextensions-apiserver
//! pkg/registry/customresource/tableconvertor @ v0.36.0.

use serde_json::Value;

use super::Column;
use super::view::View;
use crate::json_path::{self, JsonPath};

/// `additionalPrinterColumns` of the version in which objects are stored: its paths are of that version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PrinterColumns {
    columns: Vec<PrinterColumn>,
}

#[derive(Debug, Clone, PartialEq)]
struct PrinterColumn {
    header: String,
    wide: bool,
    kind: String,
    /// `None`: it is not understood, and the column is empty.
    path: Option<JsonPath>,
}

impl PrinterColumns {
    /// The columns of a definition of v1; `None` if it has none.
    pub(crate) fn of(definition: &Value) -> Option<PrinterColumns> {
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let stored = versions.iter().find(|version| version["storage"] == true).or_else(|| versions.first())?;
        let columns = stored["additionalPrinterColumns"].as_array()?;
        let column = |one: &Value| PrinterColumn {
            header: one["name"].as_str().unwrap_or_default().to_uppercase(),
            wide: one["priority"].as_i64().unwrap_or_default() > 0,
            kind: one["type"].as_str().unwrap_or_default().to_owned(),
            path: one["jsonPath"].as_str().and_then(|path| JsonPath::parse(&format!("{{{path}}}")).ok()),
        };
        let columns: Vec<PrinterColumn> = columns.iter().map(column).collect();
        (!columns.is_empty()).then_some(PrinterColumns { columns })
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        self.columns.iter().map(|one| Column { header: one.header.clone(), wide: one.wide }).collect()
    }

    pub(super) fn cells(&self, view: &View<'_>) -> Vec<String> {
        self.columns.iter().map(|one| one.cell(view).unwrap_or_default()).collect()
    }
}

impl PrinterColumn {
    /// The first value that the path finds, if it is of the column's type.
    fn cell(&self, view: &View<'_>) -> Option<String> {
        let found = self.path.as_ref()?.values(view.object).ok()?;
        let value = found.first()?.as_ref();
        match (self.kind.as_str(), value) {
            (_, Value::Null) => None,
            ("string", value) => Some(json_path::printed(value)),
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(number) => Some(number.to_string()),
                None => Some(format!("{:.0}", number.as_f64()?.trunc())),
            },
            ("number", value @ Value::Number(_)) => Some(json_path::plain(value)),
            ("boolean", Value::Bool(bool)) => Some(bool.to_string()),
            ("date", Value::String(text)) => Some(match text.parse::<jiff::Timestamp>() {
                Ok(moment) => super::human_duration(view.now.as_second() - moment.as_second()),
                Err(_) => "<invalid>".to_owned(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use etcd_objects::catalog::Catalog;
    use serde_json::json;

    use super::super::Columns;
    use super::*;

    #[test]
    fn a_definition_says_what_is_shown() {
        let column = |name: &str, kind: &str, path: &str, priority: i64| json!({"name": name, "type": kind, "jsonPath": path, "priority": priority});
        let definition = json!({"spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v2", "served": true, "additionalPrinterColumns": [column("Other", "string", ".x", 0)]},
                {"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": [
                    column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", 0),
                    column("Size", "integer", ".spec.size", 0),
                    column("Big", "boolean", ".spec.big", 0),
                    column("Hosts", "string", ".spec.hosts", 1),
                    column("Wrong", "integer", ".spec.name", 0),
                    column("Broken", "string", ".spec[", 0),
                    column("Age", "date", ".metadata.creationTimestamp", 0),
                ]},
            ],
        }});
        let mut catalog = Catalog::builtin();
        catalog.add_crd(&definition).expect("a definition");
        let custom = PrinterColumns::of(&definition).expect("columns");
        let all = BTreeMap::from([(("example.com".to_owned(), "widgets".to_owned()), custom)]);
        let columns = Columns::of(catalog.get("example.com", "widgets"), &all);
        let headers: Vec<(&str, bool)> = columns.columns().iter().map(|one| (one.header.as_str(), one.wide)).collect();
        let expected = [
            ("READY", false),
            ("SIZE", false),
            ("BIG", false),
            ("HOSTS", true),
            ("WRONG", false),
            ("BROKEN", false),
            ("AGE", false),
        ];
        assert_eq!(headers, expected);
        let now = "2026-11-21T06:00:00Z".parse().expect("a time");
        let object = json!({
            "metadata": {"creationTimestamp": "2026-11-21T05:00:00Z"}, "spec": {"size": 3, "big": true, "hosts": ["a", "b"], "name": "x"},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        assert_eq!(columns.cells(&object, true, now), ["True", "3", "true", r#"["a","b"]"#, "", "", "60m"]);
        assert_eq!(columns.cells(&json!({}), false, now), [""; 7]);
        // A definition without columns leaves the age, and so does a type that only keys tell of.
        assert_eq!(PrinterColumns::of(&json!({"spec": {"versions": [{"name": "v1", "storage": true}]}})), None);
        for resource in [catalog.get("example.com", "widgets"), None] {
            let plain = Columns::of(resource, &BTreeMap::new());
            assert_eq!(
                (plain.columns()[0].header.as_str(), plain.cells(&object, false, now)),
                ("AGE", vec!["60m".to_owned()])
            );
        }
    }
}
