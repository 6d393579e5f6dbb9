//! `restore --status`, `--follow` and `--resume`: what the nodes say of the last restore.

use std::time::{Duration, Instant};

use etcd_wire::restore::{NodeRestore, RestorePlan};
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use crate::commands::API_VERSION;
use crate::commands::proposal::tell;
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::EtcdPod;
use crate::output::{Format, Outcome, Table, age, bytes, print_data, timestamp, visible};
use crate::sidecar::{Operation, Pods, access};
use crate::transaction::{self, Recalled, Work, by_time, silence, step_labels, unfinished};

/// How soon an unfinished restore is looked at again, once the API server is back.
const AGAIN: Duration = Duration::from_secs(2);

/// Tells how the last restore is on every node; with `--follow` and `--resume`, follows one that is unfinished to its end.
///
/// # Errors
/// No node can be asked, or the API server stays away; with `--follow` and `--resume`, however the restore ends.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let connection = context.interruptible(context.connection.connect()).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let looking = look(&args, &context, &connection, &pods);
    let (members, nodes) = context.interruptible(looking).await?;
    for node in &nodes {
        if let Err(failed) = &node.outcome {
            printer.warn(format!("node {}: {}", node.node, failed.one_line()));
        }
    }
    if args.live.status {
        return status(&args, &context, &nodes);
    }
    let Some(plan) = unfinished(&nodes) else {
        printer.note("no restore is unfinished");
        return status(&args, &context, &nodes);
    };
    printer.note(format!("following restore {}, begun by {}", plan.id, plan.started_by));
    let work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Follow);
    let ended = match args.live.resume {
        true => transaction::resume(&work, &mut watched, plan).await,
        false => transaction::follow_on(&work, &mut watched, plan).await,
    };
    tell(ended, args.output, printer)
}

/// What the nodes' journals say. An API server that is away is waited for, and then the end of the restore that is under way.
async fn look(
    args: &Args,
    context: &Context,
    connection: &Connection,
    pods: &Pods,
) -> Outcome<(Vec<EtcdPod>, Vec<Recalled>)> {
    let (printer, begun, limit) = (context.printer, Instant::now(), args.live.timeout);
    let mut was_away = false;
    loop {
        let found = look_once(args, context, connection, pods).await;
        match found {
            Ok((_, nodes))
                if args.live.status && was_away && unfinished(&nodes).is_some() && begun.elapsed() < limit =>
            {
                printer.detail("the API server is back; the restore is not finished on all nodes");
                tokio::time::sleep(AGAIN).await;
            }
            Ok(found) => return Ok(found),
            Err(failed) => match transaction::until_back(connection, begun, limit, printer).await {
                Ok(true) => was_away = true,
                // It went away and came back, or it is there and something else fails.
                Ok(false) if was_away && begun.elapsed() < limit => tokio::time::sleep(AGAIN).await,
                Ok(false) => return Err(failed),
                Err(away) => return Err(away),
            },
        }
    }
}

async fn look_once(
    args: &Args,
    context: &Context,
    connection: &Connection,
    pods: &Pods,
) -> Outcome<(Vec<EtcdPod>, Vec<Recalled>)> {
    let members = super::live::members(args, context, connection).await?.readable(context.printer);
    access::preflight(connection, &args.sidecar.pod_namespace).await?;
    let nodes = {
        let work = Work::new(context, connection, pods, &members, &args.sidecar);
        let mut watched = work.watch(Operation::Recall);
        let nodes = transaction::recall(&work, &mut watched).await;
        // Those that read journals can bring no certificates, and are not needed again.
        transaction::forget(&work, watched).await;
        nodes
    };
    match silence(&nodes) {
        Some(failed) => Err(failed),
        None => Ok((members, nodes)),
    }
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
        context.printer.note("no node has a journal of a restore");
        return print_data(context.printer, args.output, &data, String::new);
    };
    let wide = args.output == Format::Wide;
    print_data(context.printer, args.output, &data, || text(&last, nodes, Timestamp::now(), wide))?;
    if let Some(plan) = unfinished(nodes) {
        context.printer.note(unfinished_advice(plan, nodes));
    }
    Ok(())
}

/// What is known of a restore that is unfinished, and what to do.
fn unfinished_advice(plan: &RestorePlan, nodes: &[Recalled]) -> String {
    let coordinator = &plan.coordinator;
    let answers = nodes.iter().any(|node| node.node == *coordinator && node.outcome.is_ok());
    let id = &plan.id;
    let known = if answers {
        format!("restore {id} is unfinished; node {coordinator} coordinates it")
    } else {
        format!(
            "restore {id} is unfinished; node {coordinator}, which coordinates it, cannot be asked: whether it continues is not known"
        )
    };
    format!(
        "{known}. Follow it to its end or, if a node restarted meanwhile, resume it\n  \
         kubectl etcd restore --follow\n  kubectl etcd restore --resume"
    )
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
fn text(id: &str, nodes: &[Recalled], now: Timestamp, wide: bool) -> String {
    let known = nodes.iter().find_map(|node| node.find(id));
    let begun = known.and_then(|restore| moment(restore.begun_at)).map_or_else(String::new, timestamp);
    let by = known.map(|restore| restore.plan.started_by.as_str()).unwrap_or_default();
    let mut headers = vec!["NODE", "STEP", "STATE", "SINCE", "KEPT"];
    if wide {
        headers.push("OLD DATA");
    }
    let mut table = Table::new(&headers);
    let mut notes = String::new();
    for node in nodes {
        let (step, state, since) = match (node.find(id), &node.outcome) {
            (Some(restore), _) => state(restore),
            (None, Ok(_)) => (String::new(), "takes no part".to_owned(), None),
            (None, Err(_)) => (String::new(), "cannot be asked".to_owned(), None),
        };
        let restore = node.find(id);
        let kept = restore.map(|restore| restore.kept_paths().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        let size = restore.filter(|_| !kept.is_empty()).map(|restore| bytes(restore.kept_bytes()));
        let since = since.map(|since| age(since, now)).unwrap_or_default();
        let mut row = vec![node.node.clone(), step, state, since, size.unwrap_or_default()];
        if wide {
            row.push(kept);
        }
        table.row(row);
        for note in restore.iter().flat_map(|restore| &restore.events).filter_map(|event| event.note.as_deref()) {
            notes.push_str(&visible::name(&format!("node {}: {note}", node.node)));
            notes.push('\n');
        }
    }
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    let left_out = known.map(|restore| restore.plan.left_out().join(", ")).filter(|names| !names.is_empty());
    let left_out = left_out.map_or_else(String::new, |names| format!("Left out: {}\n", visible::name(&names)));
    let begun = format!("Restore {id}, begun {begun} by {by}");
    format!("{}\n{left_out}\n{table}{notes}", visible::name(&begun))
}

/// The last step, how far it is, and since when.
fn state(restore: &NodeRestore) -> (String, String, Option<Timestamp>) {
    let last = restore.events.last().map_or(restore.begun_at, |event| event.at);
    let step = restore.events.iter().rev().find_map(|event| Some((event.step?, event.done)));
    let state = match (restore.ended, step, restore.armed) {
        (Some(ending), ..) => step_labels::ended(ending),
        (None, Some((_, true)), _) => "waits for other nodes",
        (None, Some((_, false)), _) => "in progress",
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
        let text = text("b", &nodes, Timestamp::from_second(137).expect("a moment"), false);
        let line = |node: &str| text.lines().find(|line| line.starts_with(node)).unwrap_or_default().to_owned();
        assert!(line("cp1").contains("restored") && line("cp1").contains("2m"), "{text}");
        assert!(line("cp2").contains("the API server serves   waits for other nodes"), "{text}");
        assert!(line("cp3").contains("cannot be asked") && line("cp4").contains("takes no part"), "{text}");
        assert!(text.contains("node cp1: node cp2 was lost"), "{text}");
    }

    #[test]
    fn nothing_is_claimed_of_a_coordinator_that_cannot_be_asked() {
        let mut nodes = [recalled("cp1", &[("b", None)]), recalled("cp2", &[("b", None)])];
        let plan = nodes[1].restores()[0].plan.clone();
        let known = unfinished_advice(&plan, &nodes);
        assert!(known.contains("node cp1 coordinates it") && !known.contains("not known"), "{known}");
        nodes[0].outcome = Err(Failed::plain("gone"));
        let unknown = unfinished_advice(&plan, &nodes);
        assert!(
            unknown.contains("cp1, which coordinates it, cannot be asked: whether it continues is not known"),
            "{unknown}"
        );
    }
}
