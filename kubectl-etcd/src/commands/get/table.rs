//! Objects as kubectl's table shows them, a table for each type.

use etcd_objects::catalog::ResourceType;
use jiff::Timestamp;

use super::show::name;
use super::{Args, Format};
use crate::columns::{Columns, labels};
use crate::contents::{Contents, Entry, Wanted};
use crate::output::{Table, bytes, grouped};

/// What is shown of an object that cannot be read.
const UNKNOWN: &str = "<unknown>";
/// What only etcd knows, in a wide table.
const OF_ETCD: [&str; 4] = ["REVISION", "VERSIONS", "BYTES", "STORED AS"];

/// The tables, in the order in which their types come.
pub(super) fn tables(args: &Args, wanted: &Wanted, entries: &[Entry], contents: &Contents, now: Timestamp) -> String {
    let mut types: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in entries {
        let resource = entry.resource();
        match types.iter_mut().find(|(known, _)| *known == resource) {
            Some((_, of_type)) if args.sort_by.is_none() => of_type.push(entry),
            // Sorted objects are not put together again: a new table begins where the type changes.
            _ => match types.last_mut().filter(|(last, _)| *last == resource) {
                Some((_, of_type)) => of_type.push(entry),
                None => types.push((resource, vec![entry])),
            },
        }
    }
    let several = wanted.whole_namespace || wanted.requests.len() > 1;
    let all = types.iter().map(|(_, entries)| one(args, wanted, entries, contents, several, now));
    all.collect::<Vec<_>>().join("\n")
}

/// The objects of one type.
fn one(args: &Args, wanted: &Wanted, entries: &[&Entry], contents: &Contents, several: bool, now: Timestamp) -> String {
    let wide = args.output == Format::Wide;
    let place = entries.first().map(|entry| &entry.place);
    let resource: Option<&ResourceType> = place.and_then(|place| {
        let group = place.group.as_deref().unwrap_or_default();
        contents.catalog.get(group, &place.resource)
    });
    let columns = Columns::of(resource, &contents.printer_columns);
    let with_namespace = wanted.namespace.is_none() && entries.iter().any(|entry| entry.place.namespace.is_some());
    let mut headers: Vec<&str> = Vec::new();
    if with_namespace {
        headers.push("NAMESPACE");
    }
    if columns.named() {
        headers.push("NAME");
    }
    headers.extend(columns.columns().iter().filter(|one| wide || !one.wide).map(|one| one.header.as_str()));
    if wide {
        headers.extend(OF_ETCD);
    }
    let label_headers: Vec<String> = args.label_columns.iter().map(|label| header_of_label(label)).collect();
    headers.extend(label_headers.iter().map(String::as_str));
    if args.show_labels {
        headers.push("LABELS");
    }
    let mut table = Table::new(&headers).with_blanks().without_headers(args.no_headers);
    for entry in entries {
        let object = entry.shown().map(|object| &object.json);
        let mut row = Vec::new();
        if with_namespace {
            row.push(entry.place.namespace.clone().unwrap_or_default());
        }
        if columns.named() {
            row.push(match several {
                true => name(entry, &contents.catalog),
                false => columns.name(&entry.place.name, object, now),
            });
        }
        let cells = match object {
            Some(object) => columns.cells(object, wide, now),
            None => vec![UNKNOWN.to_owned(); columns.columns().len()],
        };
        let cells = cells.into_iter().zip(columns.columns()).filter(|(_, column)| wide || !column.wide);
        row.extend(cells.map(|(cell, _)| first_line(&cell)));
        if wide {
            let stored =
                entry.shown().map_or_else(|| UNKNOWN.to_owned(), |one| format!("{} {}", one.api_version, one.kind));
            let live = &entry.live;
            row.extend([live.mod_revision.to_string(), live.versions.to_string(), bytes(live.value_bytes), stored]);
        }
        let own = object.map(|object| &object["metadata"]["labels"]);
        let label = |label: &String| own.and_then(|own| own[label.as_str()].as_str()).unwrap_or("<none>").to_owned();
        row.extend(args.label_columns.iter().map(label));
        if args.show_labels {
            row.push(own.map_or_else(|| UNKNOWN.to_owned(), labels));
        }
        table.row(row);
    }
    table.to_string()
}

/// The last part of a label's name.
fn header_of_label(label: &str) -> String {
    label.rsplit_once('/').map_or(label, |(_, name)| name).to_uppercase()
}

/// A cell ends at the end of its first line.
fn first_line(cell: &str) -> String {
    match cell.split_once(['\n', '\r', '\u{c}']) {
        Some((line, _)) => format!("{line}..."),
        None => cell.to_owned(),
    }
}

/// Why objects are not shown, or not whole: each reason once.
pub(super) fn reasons(entries: &[Entry]) -> Vec<String> {
    let unread = entries.iter().filter_map(|entry| Some((entry.title(), entry.object.as_ref().err()?.to_string())));
    grouped("objects", unread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::entry_of;

    #[test]
    fn equal_reasons_are_told_once() {
        let broken = |name: &str| entry_of(&format!("/registry/secrets/shop/{name}"), &serde_json::json!("no object"));
        let one = reasons(&[broken("a")]);
        assert!(one.len() == 1 && one[0].starts_with("secrets/a in namespace shop: "), "{one:?}");
        let several = reasons(&["a", "b", "c", "d", "e"].map(broken));
        let named = "5 objects (secrets/a in namespace shop, secrets/b in namespace shop, secrets/c in namespace shop and 2 more): ";
        assert!(several.len() == 1 && several[0].starts_with(named), "{several:?}");
    }

    #[test]
    fn cells_and_headers() {
        assert_eq!(header_of_label("app.kubernetes.io/name"), "NAME");
        assert_eq!(first_line("a\nb"), "a...");
    }
}
