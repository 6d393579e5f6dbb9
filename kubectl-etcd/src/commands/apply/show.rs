//! What is printed.

use serde::Serialize;
use serde_json::{Value, json};

use super::carry_out::{Action, Done, expected};
use super::plan::Item;
use crate::contents::{hide, resource_name};
use crate::context::Context;
use crate::output::API_VERSION;
use crate::output::{Format, Outcome, print_data};

/// What is printed as JSON.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// `client`, `server`, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<&'static str>,
    objects: Vec<Line>,
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    resource: String,
    namespace: Option<String>,
    name: String,
    action: Action,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Report {
    pub(super) fn new(dry_run: Option<&'static str>, left_out: &[String]) -> Report {
        Report { api_version: API_VERSION, kind: "Applied", dry_run, objects: Vec::new(), left_out: left_out.to_vec() }
    }

    pub(super) fn add(&mut self, item: &Item, done: Done) {
        self.objects.push(Line {
            resource: resource_name(&item.place),
            namespace: item.place.namespace.clone(),
            name: item.place.name.clone(),
            action: done.action,
            notes: item.notes.clone(),
            error: done.error,
        });
    }

    pub(super) fn print(&self, format: Format, context: &Context) -> Outcome {
        match format {
            // The lines were printed one after the other.
            Format::Table | Format::Wide => Ok(()),
            format => print_data(context.printer, format, self, String::new),
        }
    }
}

/// `configmap/web created`
pub(super) fn line(item: &Item, action: Action, dry_run: Option<&str>) -> String {
    let action = match action {
        Action::Created => "created",
        Action::Configured => "configured",
        Action::Unchanged => "unchanged",
        Action::Failed => "failed",
    };
    let dry_run = dry_run.map(|how| format!(" ({how} dry run)")).unwrap_or_default();
    format!("{} {action}{dry_run}\n", item.title())
}

/// What has to be known of the objects.
pub(super) fn notes(items: &[Item], context: &Context) {
    for item in items {
        for note in &item.notes {
            context.printer.note(format!("{}: {note}", item.title()));
        }
        if let Some(why) = item.late {
            context.printer.note(format!("{}: the server cannot try it: {why}", item.title()));
        }
    }
}

/// Prints what would be sent; values of Secrets are hidden.
pub(super) fn manifests(items: &[Item], format: Format, context: &Context) -> Outcome {
    if matches!(format, Format::Table | Format::Wide) {
        let lines = items.iter().map(|item| line(item, expected(item), Some("client")));
        return context.printer.data(&lines.collect::<String>());
    }
    let mut sent: Vec<Value> = items.iter().map(|item| item.manifest.clone()).collect();
    sent.iter_mut().for_each(hide);
    let data = match sent.as_slice() {
        [one] => one.clone(),
        _ => json!({"apiVersion": "v1", "items": sent, "kind": "List", "metadata": {}}),
    };
    print_data(context.printer, format, &data, String::new)
}
