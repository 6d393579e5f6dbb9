//! `restore --status` and `restore --resume`: what the nodes say of the last restore.

use etcd_wire::restore::NodeRestore;
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use super::apply::tell;
use crate::commands::API_VERSION;
use crate::context::Context;
use crate::output::{Outcome, Table, age, bytes, print_data, timestamp, visible};
use crate::sidecar::{Operation, Pods, access};
use crate::transaction::{self, Recalled, Work, by_time, silence, step_labels, unfinished};

/// Tells how the last restore is on every node, and with `--resume` follows one that is unfinished to its end.
///
/// # Errors
/// No node can be asked; with `--resume`, however the restore ends.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let connection = context.interruptible(context.connection.connect()).await?;
    let members = context.interruptible(super::live::members(&args, &context, &connection)).await?.readable(printer);
    context.interruptible(access::preflight(&connection, &args.sidecar.pod_namespace)).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Recall);
    let recalling = async { Ok(transaction::recall(&work, &mut watched).await) };
    let nodes = context.interruptible(recalling).await?;
    for node in &nodes {
        if let Err(failed) = &node.outcome {
            printer.warn(format!("node {}: {}", node.node, failed.one_line()));
        }
    }
    if let Some(failed) = silence(&nodes) {
        return Err(failed);
    }
    if args.live.resume {
        let Some(plan) = unfinished(&nodes) else {
            printer.note("no restore is unfinished");
            return status(&args, &context, &nodes);
        };
        printer.note(format!("following restore {} of {}", plan.id, plan.started_by));
        let plan = plan.clone();
        // Those that read journals cannot bring certificates.
        transaction::forget(&work, watched).await;
        let mut watched = work.watch(Operation::Follow);
        return tell(transaction::resume(&work, &mut watched, &plan).await, args.output, printer);
    }
    status(&args, &context, &nodes)
}

fn status(args: &Args, context: &Context, nodes: &[Recalled]) -> Outcome {
    let last = by_time(nodes).first().map(|restore| restore.plan.id.clone());
    let data = Restores {
        api_version: API_VERSION,
        kind: "Restores",
        last: last.clone(),
        unfinished: unfinished(nodes).map(|plan| plan.id.clone()),
        nodes: nodes
            .iter()
            .map(|node| Node {
                node: &node.node,
                restores: node.restores(),
                error: node.outcome.as_ref().err().map(|failed| failed.one_line()),
            })
            .collect(),
    };
    let Some(last) = last else {
        context.printer.note("no node knows of a restore");
        return print_data(context.printer, args.output, &data, String::new);
    };
    print_data(context.printer, args.output, &data, || text(&last, nodes, Timestamp::now()))?;
    if data.unfinished.is_some() {
        context.printer.note("it goes on by itself; to follow it to its end\n  kubectl etcd restore --resume");
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Restores<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// The one that began last, and the last one that has not ended.
    last: Option<String>,
    unfinished: Option<String>,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    node: &'a str,
    restores: &'a [NodeRestore],
    /// Why it could not be asked.
    error: Option<String>,
}

/// How a restore is on all nodes, for people.
fn text(id: &str, nodes: &[Recalled], now: Timestamp) -> String {
    let known = nodes.iter().find_map(|node| node.find(id));
    let begun = known.and_then(|restore| moment(restore.begun_at)).map_or_else(String::new, timestamp);
    let by = known.map(|restore| restore.plan.started_by.as_str()).unwrap_or_default();
    let mut table = Table::new(&["NODE", "STEP", "STATE", "SINCE", "OLD DATA", "SIZE"]);
    let mut notes = String::new();
    for node in nodes {
        let (step, state, since) = match (node.find(id), &node.outcome) {
            (Some(restore), _) => state(restore),
            (None, Ok(_)) => (String::new(), "no part in it".to_owned(), None),
            (None, Err(_)) => (String::new(), "cannot be asked".to_owned(), None),
        };
        let restore = node.find(id);
        let aside = restore.and_then(|restore| restore.aside.clone());
        let size = restore.filter(|_| aside.is_some()).map(|restore| bytes(restore.aside_bytes));
        table.row(vec![
            node.node.clone(),
            step,
            state,
            since.map(|since| age(since, now)).unwrap_or_default(),
            aside.unwrap_or_default(),
            size.unwrap_or_default(),
        ]);
        for note in restore.iter().flat_map(|restore| &restore.events).filter_map(|event| event.note.as_deref()) {
            notes.push_str(&visible::name(&format!("node {}: {note}", node.node)));
            notes.push('\n');
        }
    }
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    let left_out = known.map(|restore| restore.plan.left_out().join(", ")).filter(|names| !names.is_empty());
    let left_out = left_out.map_or_else(String::new, |names| format!("Left out of it: {}\n", visible::name(&names)));
    let begun = format!("Restore {id}, begun {begun} by {by}");
    format!("{}\n{left_out}\n{table}{notes}", visible::name(&begun))
}

/// The last step, how far it is, and since when.
fn state(restore: &NodeRestore) -> (String, String, Option<Timestamp>) {
    let last = restore.events.last().map_or(restore.begun_at, |event| event.at);
    let step = restore.events.iter().rev().find_map(|event| Some((event.step?, event.done)));
    let state = match (restore.ended, step, restore.armed) {
        (Some(ending), ..) => step_labels::ended(ending),
        (None, Some((_, true)), _) => "waits for the others",
        (None, Some((_, false)), _) => "goes on",
        (None, None, true) => "ready",
        (None, None, false) => "being prepared",
    };
    let step = step.map(|(step, done)| if done { step_labels::done(step) } else { step_labels::doing(step) });
    (step.unwrap_or_default().to_owned(), state.to_owned(), moment(last))
}

fn moment(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::Ending;

    use super::*;
    use crate::output::Failed;
    use crate::transaction::samples::recalled;

    #[test]
    fn every_node_has_a_line() {
        let lost = Recalled { node: "cp3".into(), outcome: Err(Failed::plain("gone")) };
        let ended = [("b", Some(Ending::Restored))];
        let nodes = [recalled("cp1", &ended), recalled("cp2", &[("b", None)]), lost, recalled("cp4", &[])];
        let text = text("b", &nodes, Timestamp::from_second(137).expect("a moment"));
        let line = |node: &str| text.lines().find(|line| line.starts_with(node)).unwrap_or_default().to_owned();
        assert!(line("cp1").contains("restored") && line("cp1").contains("2m"), "{text}");
        assert!(line("cp2").contains("the API server serves   waits for the others"), "{text}");
        assert!(line("cp3").contains("cannot be asked") && line("cp4").contains("no part in it"), "{text}");
        assert!(text.contains("node cp1: node cp2 was lost"), "{text}");
    }
}
