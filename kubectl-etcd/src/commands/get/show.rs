//! Objects as text.

use etcd_objects::catalog::Catalog;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Args, Format, table};
use crate::contents::{Contents, Entry, Wanted, keeps_copies};
use crate::context::Context;
use crate::json_path::{JsonPath, plain};
use crate::output::{self, Exit, Failed, Outcome, Printer, Table, print_data, visible};

/// `deployment.apps/web`, as kubectl has it.
pub(super) fn name(entry: &Entry, catalog: &Catalog) -> String {
    let group = entry.place.group.as_deref().unwrap_or_default();
    let kind = match catalog.get(group, &entry.place.resource) {
        Some(resource) if group.is_empty() => resource.singular.clone(),
        Some(resource) => format!("{}.{group}", resource.singular),
        None => entry.resource(),
    };
    visible::name(&format!("{kind}/{}", entry.place.name)).into_owned()
}

/// Prints the objects that can be read.
pub(super) fn show(args: &Args, wanted: &Wanted, entries: &[Entry], contents: &Contents, context: &Context) -> Outcome {
    let printer = context.printer;
    match &args.output {
        Format::Table | Format::Wide | Format::CustomColumns(_) if entries.is_empty() => {
            let place =
                wanted.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
            printer.note(format!("no objects found{place}"));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let told = printer.data(&table::tables(args, wanted, entries, contents, Timestamp::now()));
            table::reasons(entries).into_iter().for_each(|why| printer.warn(why));
            told
        }
        Format::Name => {
            printer.data(&entries.iter().map(|entry| name(entry, &contents.catalog) + "\n").collect::<String>())
        }
        Format::CustomColumns(columns) => {
            printer.data(&custom(columns, &objects(args, wanted, entries, printer), args.no_headers)?)
        }
        Format::Yaml => {
            whole(args, wanted, entries, printer, |data| print_data(printer, output::Format::Yaml, data, String::new))
        }
        Format::Json => {
            whole(args, wanted, entries, printer, |data| print_data(printer, output::Format::Json, data, String::new))
        }
        Format::JsonPath(path) => whole(args, wanted, entries, printer, |data| found(path.text(data), printer)),
        Format::JsonPathAsJson(path) => whole(args, wanted, entries, printer, |data| found(path.json(data), printer)),
    }
}

/// Prints what a template has found.
fn found(text: Result<String, String>, printer: Printer) -> Outcome {
    let text = text.map_err(|why| {
        Failed::new(Exit::Usage, "the template does not fit the objects")
            .cause(why)
            .hint("see what the objects have with\n  -o yaml")
    })?;
    printer.raw(text.as_bytes())
}

/// A column for each path, a row for each object; what is not there is `<none>`.
fn custom(columns: &[(String, JsonPath)], objects: &[Value], no_headers: bool) -> Outcome<String> {
    let headers: Vec<&str> = columns.iter().map(|(header, _)| header.as_str()).collect();
    let mut table = Table::new(&headers).without_headers(no_headers);
    for object in objects {
        let cell = |(header, path): &(String, JsonPath)| match path.values(object) {
            Ok(values) if values.is_empty() => Ok("<none>".to_owned()),
            Ok(values) => Ok(values.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",")),
            Err(why) => {
                Err(Failed::new(Exit::Usage, format!("the column {header} does not fit the objects")).cause(why))
            }
        };
        table.row(columns.iter().map(cell).collect::<Outcome<_>>()?);
    }
    Ok(table.to_string())
}

/// Hands on the one object that is named, or a list.
fn whole(
    args: &Args,
    wanted: &Wanted,
    entries: &[Entry],
    printer: Printer,
    print: impl FnOnce(&Value) -> Outcome,
) -> Outcome {
    let objects = objects(args, wanted, entries, printer);
    let named = wanted.requests.iter().map(|request| request.names.len()).sum::<usize>();
    match objects.as_slice() {
        [] if named > 0 => Ok(()),
        [one] if named == 1 && !wanted.whole_namespace => print(one),
        _ => print(&json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}})),
    }
}

/// The objects that can be read, without what is not to be shown of them.
fn objects(args: &Args, wanted: &Wanted, entries: &[Entry], printer: Printer) -> Vec<Value> {
    // A template says itself what it wants.
    let stripped = !args.show_managed_fields && matches!(args.output, Format::Yaml | Format::Json);
    let mut withheld = 0;
    let mut objects = Vec::new();
    for entry in entries {
        let Some(object) = entry.shown() else { continue };
        for field in &object.unknown {
            let path = if field.path.is_empty() { String::new() } else { format!(" in {}", field.path) };
            printer.warn(format!("{}: field {}{path} is not known, and not shown", entry.title(), field.number));
        }
        let mut object = object.clone();
        if stripped {
            object.strip_managed_fields();
        }
        if is_withheld(entry, wanted) {
            withheld += 1;
            withhold(&mut object.json);
        }
        objects.push(object.json);
    }
    if withheld > 0 {
        printer
            .note(format!("the values of {withheld} Secrets are left out: they are shown of Secrets that are named"));
    }
    objects
}

/// Whether an object is a Secret that is not named: nothing that is shown may depend on its values.
pub(super) fn is_withheld(entry: &Entry, wanted: &Wanted) -> bool {
    entry.is_secret() && !wanted.names(&entry.place.resource, &entry.place.name)
}

/// Takes the values out of a Secret.
pub(super) fn withhold(secret: &mut Value) {
    for field in ["data", "stringData"] {
        if let Some(secret) = secret.as_object_mut() {
            secret.remove(field);
        }
    }
    if let Some(annotations) = secret.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !keeps_copies(name));
    }
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
