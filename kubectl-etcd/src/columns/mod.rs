//! The columns in which kubectl shows objects: those of the API server's own tables (kubernetes pkg/printers/internalversion), and what a custom
//! resource definition says of its objects (`additionalPrinterColumns`).
//!
//! Kinds without columns of their own have NAME and AGE. Where Kubernetes has changed a table, this is the newest one.
//!
//! Pure: an object and the time of now in, cells out. Ages are relative to now, as kubectl shows them.

mod access;
mod cluster;
mod custom;
mod network;
mod pods;
mod storage;
mod view;
mod workloads;

use std::collections::BTreeMap;

use etcd_objects::catalog::ResourceType;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use custom::PrinterColumns;
use view::View;
pub(crate) use view::{human_duration, labels};

/// A column, and whether only a wide table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) header: String,
    pub(crate) wide: bool,
}

/// A built-in kind: its columns after the name, and what they hold.
struct Kind {
    kind: &'static str,
    /// Headers; those of a wide table begin with `+`.
    headers: &'static [&'static str],
    cells: fn(&View<'_>) -> Vec<String>,
    /// Gives another name than the object's own, for `standard (default)`.
    name: Option<fn(&View<'_>) -> String>,
    /// Whether the name comes first; that of an event is its last column, in a wide table.
    named: bool,
}

impl Kind {
    const fn new(kind: &'static str, headers: &'static [&'static str], cells: fn(&View<'_>) -> Vec<String>) -> Kind {
        Kind { kind, headers, cells, name: None, named: true }
    }
}

/// Kinds that the API server shows with the moment of their creation instead of their age.
const CREATED_AT: [&str; 4] = ["Role", "ClusterRole", "CustomResourceDefinition", "LimitRange"];

/// How objects of one type are shown.
pub(crate) struct Columns {
    columns: Vec<Column>,
    cells: Cells,
}

enum Cells {
    Kind(&'static Kind),
    Custom(PrinterColumns),
    Age,
    CreatedAt,
}

impl Columns {
    /// The columns of a type. `None` as the type: nothing is known of it.
    pub(crate) fn of(resource: Option<&ResourceType>, custom: &BTreeMap<(String, String), PrinterColumns>) -> Columns {
        let plain = |header: &str| vec![Column { header: header.to_owned(), wide: false }];
        match resource {
            Some(one) if one.custom => match custom.get(&(one.group.clone(), one.plural.clone())) {
                Some(columns) => Columns { columns: columns.columns(), cells: Cells::Custom(columns.clone()) },
                None => Columns { columns: plain("AGE"), cells: Cells::Age },
            },
            Some(one) if CREATED_AT.contains(&one.kind.as_str()) => {
                Columns { columns: plain("CREATED AT"), cells: Cells::CreatedAt }
            }
            Some(one) => match kinds().find(|kind| kind.kind == one.kind) {
                Some(kind) => Columns { columns: kind.headers.iter().map(column).collect(), cells: Cells::Kind(kind) },
                None => Columns { columns: plain("AGE"), cells: Cells::Age },
            },
            None => Columns { columns: plain("AGE"), cells: Cells::Age },
        }
    }

    /// The headers, after that of the name.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether the name of an object comes before its cells.
    pub(crate) fn named(&self) -> bool {
        !matches!(&self.cells, Cells::Kind(kind) if !kind.named)
    }

    /// The cells of an object, one for each column.
    pub(crate) fn cells(&self, object: &Value, wide: bool, now: Timestamp) -> Vec<String> {
        let view = View { object, wide, now };
        match &self.cells {
            Cells::Kind(kind) => (kind.cells)(&view),
            Cells::Custom(columns) => columns.cells(&view),
            Cells::Age => vec![view.age()],
            Cells::CreatedAt => vec![view.text("/metadata/creationTimestamp").to_owned()],
        }
    }

    /// The name of an object as the table has it.
    pub(crate) fn name(&self, name: &str, object: Option<&Value>, now: Timestamp) -> String {
        match (&self.cells, object) {
            (Cells::Kind(Kind { name: Some(shown), .. }), Some(object)) => shown(&View { object, wide: false, now }),
            _ => name.to_owned(),
        }
    }
}

fn column(header: &&'static str) -> Column {
    match header.strip_prefix('+') {
        Some(header) => Column { header: header.to_owned(), wide: true },
        None => Column { header: (*header).to_owned(), wide: false },
    }
}

fn kinds() -> impl Iterator<Item = &'static Kind> {
    [access::KINDS, cluster::KINDS, network::KINDS, pods::KINDS, storage::KINDS, workloads::KINDS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use etcd_objects::catalog::Catalog;
    use serde_json::json;

    use super::*;

    /// A row as a table has it, without the name.
    pub(super) fn row(kind: &str, wide: bool, object: &Value) -> Vec<String> {
        let catalog = Catalog::builtin();
        let resource = catalog.types().iter().find(|one| one.kind == kind).expect("a kind");
        let columns = Columns::of(Some(resource), &BTreeMap::new());
        let now: Timestamp = "2026-11-21T06:00:00Z".parse().expect("a time");
        let cells = columns.cells(object, wide, now);
        assert_eq!(cells.len(), columns.columns().len(), "{kind}");
        let shown = cells.into_iter().zip(columns.columns()).filter(|(_, column)| wide || !column.wide);
        shown.map(|(cell, _)| cell).collect()
    }

    #[test]
    fn every_kind_is_a_type_and_shows_even_an_empty_object() {
        let catalog = Catalog::builtin();
        let mut seen = BTreeSet::new();
        for kind in kinds() {
            assert!(seen.insert(kind.kind), "{} is there twice", kind.kind);
            assert!(catalog.types().iter().any(|one| one.kind == kind.kind), "{} is no type", kind.kind);
            for object in [
                json!({}),
                json!({"spec": 1, "status": [], "metadata": "x", "data": null, "subsets": [[]], "rules": {}}),
            ] {
                row(kind.kind, true, &object);
            }
        }
    }

    #[test]
    fn other_kinds_have_an_age_or_the_moment_of_their_creation() {
        let made = json!({"metadata": {"name": "a", "creationTimestamp": "2026-11-20T06:00:00Z"}});
        assert_eq!(row("Role", false, &made), ["2026-11-20T06:00:00Z"]);
        assert_eq!(row("LimitRange", false, &made), ["2026-11-20T06:00:00Z"]);
        assert_eq!(row("CSIStorageCapacity", false, &made), ["24h"]);
        assert_eq!(row("CSIStorageCapacity", false, &json!({})), ["<unknown>"]);
    }
}
