//! Objects as text.

use etcd_objects::catalog::Catalog;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Args;
use crate::contents::{Entry, Wanted, keeps_copies};
use crate::context::Context;
use crate::output::{self, Outcome, Table, age, bytes, print_data, visible};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A line an object
    Table,
    /// The same with more columns
    Wide,
    /// TYPE/NAME
    Name,
    /// Whole objects
    Yaml,
    /// Whole objects
    Json,
}

/// `deployment.apps/web`, as kubectl has it.
fn name(entry: &Entry, catalog: &Catalog) -> String {
    let group = entry.place.group.as_deref().unwrap_or_default();
    let kind = match catalog.get(group, &entry.place.resource) {
        Some(resource) if group.is_empty() => resource.singular.clone(),
        Some(resource) => format!("{}.{group}", resource.singular),
        None => entry.resource(),
    };
    visible::name(&format!("{kind}/{}", entry.place.name)).into_owned()
}

/// Prints the objects that can be read.
pub(super) fn show(args: &Args, wanted: &Wanted, entries: &[Entry], catalog: &Catalog, context: &Context) -> Outcome {
    let printer = context.printer;
    let format = match args.output {
        Format::Table | Format::Wide => {
            if entries.is_empty() {
                let place = wanted
                    .namespace
                    .as_ref()
                    .map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
                printer.note(format!("no objects found{place}"));
                return Ok(());
            }
            return printer.data(&table(entries, wanted, args.output == Format::Wide, Timestamp::now()));
        }
        Format::Name => {
            return printer.data(&entries.iter().map(|entry| name(entry, catalog) + "\n").collect::<String>());
        }
        Format::Yaml => output::Format::Yaml,
        Format::Json => output::Format::Json,
    };
    let mut withheld = 0;
    let mut objects = Vec::new();
    for entry in entries {
        let Some(object) = entry.shown() else { continue };
        for field in &object.unknown {
            let path = if field.path.is_empty() { String::new() } else { format!(" in {}", field.path) };
            printer.warn(format!("{}: field {}{path} is not known, and not shown", entry.title(), field.number));
        }
        let mut object = object.clone();
        if !args.show_managed_fields {
            object.strip_managed_fields();
        }
        if entry.is_secret() && !wanted.names(&entry.place.resource, &entry.place.name) {
            withheld += 1;
            withhold(&mut object.json);
        }
        objects.push(object.json);
    }
    if withheld > 0 {
        printer
            .note(format!("the values of {withheld} Secrets are left out: they are shown of Secrets that are named"));
    }
    let named = wanted.requests.iter().map(|request| request.names.len()).sum::<usize>();
    let data = match objects.as_slice() {
        [] if named > 0 => return Ok(()),
        [one] if named == 1 && !wanted.whole_namespace => one.clone(),
        _ => json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}}),
    };
    print_data(printer, format, &data, String::new)
}

/// Takes the values out of a Secret.
fn withhold(secret: &mut Value) {
    for field in ["data", "stringData"] {
        if let Some(secret) = secret.as_object_mut() {
            secret.remove(field);
        }
    }
    if let Some(annotations) = secret.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !keeps_copies(name));
    }
}

fn table(entries: &[Entry], wanted: &Wanted, wide: bool, now: Timestamp) -> String {
    let several = wanted.whole_namespace || wanted.requests.len() > 1;
    let with_namespace = wanted.namespace.is_none();
    let mut headers = Vec::new();
    if with_namespace {
        headers.push("NAMESPACE");
    }
    headers.extend(["NAME", "AGE", "REVISION"]);
    if wide {
        headers.extend(["VERSIONS", "BYTES", "STORED AS", "UID"]);
    }
    let mut table = Table::new(&headers);
    for entry in entries {
        let mut row = Vec::new();
        if with_namespace {
            row.push(entry.place.namespace.clone().unwrap_or_default());
        }
        row.push(match several {
            true => format!("{}/{}", entry.resource(), entry.place.name),
            false => entry.place.name.clone(),
        });
        let object = entry.shown();
        let made = object.and_then(|object| object.json["metadata"]["creationTimestamp"].as_str()?.parse().ok());
        row.push(match &entry.object {
            Ok(_) => made.map(|made| age(made, now)).unwrap_or_default(),
            Err(why) => format!("<{why}>"),
        });
        row.push(entry.live.mod_revision.to_string());
        if wide {
            let kind = object.map(|object| format!("{} {}", object.api_version, object.kind));
            let uid = object.and_then(|object| object.uid()).unwrap_or_default().to_owned();
            row.extend([entry.live.versions.to_string(), bytes(entry.live.value_bytes), kind.unwrap_or_default(), uid]);
        }
        table.row(row);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_not_named_keeps_its_values() {
        let mut secret = json!({
            "kind": "Secret", "data": {"password": "c2VjcmV0"}, "stringData": {"a": "secret"}, "type": "Opaque",
            "metadata": {"name": "db", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secret", "a": "b"}},
        });
        withhold(&mut secret);
        assert_eq!(
            secret,
            json!({"kind": "Secret", "type": "Opaque", "metadata": {"name": "db", "annotations": {"a": "b"}}})
        );
    }
}
