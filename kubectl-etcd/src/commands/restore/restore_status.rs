//! `restore --status`: how the last restore is on every node, and what to do if it does not end.

use etcd_wire::restore::{Decision, NodeRestore};
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use crate::context::Context;
use crate::output::API_VERSION;
use crate::output::{Format, Outcome, Table, age, bytes, print_data, timestamp, visible};
use crate::transaction::{Phase, Recalled, Told, by_time, standing_of, step_labels, unfinished};

/// Tells it.
///
/// # Errors
/// It cannot be written.
pub(super) fn status(args: &Args, context: &Context, nodes: &[Recalled]) -> Outcome {
    let (now, last) = (Timestamp::now(), by_time(nodes).first().map(|restore| restore.plan.id.clone()));
    // The one that needs something done, which is the last one but for odd cases.
    let open = unfinished(nodes).map(|plan| plan.id.clone());
    let shown = open.clone().or_else(|| last.clone());
    let standing = shown.as_deref().and_then(|id| standing_of(id, nodes));
    let told = standing.as_ref().map(|standing| standing.told(now)).unwrap_or_default();
    let data = Restores {
        api_version: API_VERSION,
        kind: "Restores",
        last,
        unfinished: open,
        decision: standing
            .as_ref()
            .and_then(|standing| standing.decided().ok().flatten())
            .map(|(decision, _)| decision),
        advice: &told,
        nodes: nodes
            .iter()
            .map(|node| Node {
                node: &node.node,
                restores: node.restores(),
                error: node.outcome.as_ref().err().map(|failed| failed.one_line()),
            })
            .collect(),
    };
    let Some(shown) = shown else {
        context.printer.note("no node has a journal of a restore");
        return print_data(context.printer, args.output, &data, String::new);
    };
    let wide = args.output == Format::Wide;
    print_data(context.printer, args.output, &data, || text(&shown, nodes, now, wide))?;
    for row in &told {
        context.printer.note(row.lines());
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
    /// What is decided of the unfinished one, or else of the last one.
    decision: Option<Decision>,
    /// What it waits for, and what to do.
    advice: &'a [Told],
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
    let mut headers = vec!["NODE", "VOTE", "STATE", "SINCE", "NOT HEARD", "KEPT"];
    if wide {
        headers.extend(["STEP", "KEPT IN"]);
    }
    let mut table = Table::new(&headers);
    let mut notes = String::new();
    for node in nodes {
        table.row(row(node, id, now, wide));
        let events = node.find(id).map(|restore| restore.events.as_slice()).unwrap_or_default();
        for note in events.iter().filter_map(|event| event.note.as_deref()) {
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

/// How it is on one node.
fn row(node: &Recalled, id: &str, now: Timestamp, wide: bool) -> Vec<String> {
    let empty = String::new;
    let restore = match (node.find(id), &node.outcome) {
        (Some(restore), _) => restore,
        (None, answered) => {
            let state = if answered.is_ok() { "takes no part" } else { "cannot be asked" };
            return [node.node.clone(), empty(), state.to_owned()]
                .into_iter()
                .chain(std::iter::repeat_n(empty(), if wide { 5 } else { 3 }))
                .collect();
        }
    };
    let vote = match restore.vote {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let state = match Phase::of(restore) {
        Phase::Working => "",
        _ => Phase::word(restore),
    };
    let last = restore.events.last().map_or(restore.begun_at, |event| event.at);
    let step = restore.events.iter().rev().find_map(|event| Some((event.step?, event.done)));
    // Of a node that works, how far it is says more than that it does.
    let state = match (state, step) {
        ("", Some((_, true))) => "waits for others",
        ("", Some((_, false))) => "in progress",
        ("", None) => "ready",
        (state, _) => state,
    };
    let unheard = restore.live.as_ref().map(|live| live.unheard.join(",")).unwrap_or_default();
    let size = restore.kept_paths().next().map(|_| bytes(restore.kept_bytes())).unwrap_or_default();
    let since = moment(last).map(|since| age(since, now)).unwrap_or_default();
    let mut row = vec![node.node.clone(), vote.to_owned(), state.to_owned(), since, unheard, size];
    if wide {
        let step = step.map(|(step, done)| if done { step_labels::done(step) } else { step_labels::doing(step) });
        let kept: Vec<&str> = restore.kept_paths().collect();
        row.extend([step.unwrap_or_default().to_owned(), kept.join(", ")]);
    }
    row
}

fn moment(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::{Ending, Kept, Live};

    use super::*;
    use crate::output::Failed;
    use crate::transaction::samples::{journal, recalled};

    fn now() -> Timestamp {
        Timestamp::from_second(137).expect("a moment")
    }

    #[test]
    fn every_node_has_a_line() {
        let lost = Recalled { node: "cp3".into(), outcome: Err(Failed::plain("gone")) };
        let ended = [("b", Some(Ending::Restored))];
        let nodes = [recalled("cp1", &ended), recalled("cp2", &[("b", None)]), lost, recalled("cp4", &[])];
        let text = text("b", &nodes, now(), true);
        let line = |node: &str| text.lines().find(|line| line.starts_with(node)).unwrap_or_default().to_owned();
        assert!(line("cp1").contains("restored") && line("cp1").contains("2m"), "{text}");
        assert!(line("cp2").contains("waits for others") && line("cp2").contains("the API server serves"), "{text}");
        assert!(line("cp3").contains("cannot be asked") && line("cp4").contains("takes no part"), "{text}");
        assert!(text.contains("node cp1: node cp2 was lost"), "{text}");
    }

    /// As a terminal of 80 columns shows it.
    #[test]
    fn the_table_is_as_wide_as_a_terminal() {
        let name = "control-plane-node-1";
        let mut restore = journal(name, 3);
        restore.vote = Some(true);
        restore.live = Some(Live { unheard: vec!["cp2".into(), "cp3".into()], ..Live::default() });
        restore.aside = Some("/var/lib/etcd/.kubectl-etcd/id/old".into());
        restore.aside_bytes = 1_512_345_678;
        restore.kept =
            vec![Kept { path: "/var/lib/etcd/.kubectl-etcd/id/kept".into(), why: "written to".into(), bytes: 0 }];
        let nodes = [Recalled { node: name.into(), outcome: Ok(vec![restore]) }];
        let narrow = text("id", &nodes, now(), false);
        let line = narrow.lines().find(|line| line.starts_with(name)).expect("a line");
        for part in ["yes", "in doubt", "cp2,cp3", "1.5 GB"] {
            assert!(line.contains(part), "{part}: {narrow}");
        }
        let widest =
            narrow.lines().filter(|line| line.starts_with("NODE") || line.starts_with(name)).map(str::len).max();
        assert!(widest.is_some_and(|width| width <= 80), "{narrow}");
        assert!(text("id", &nodes, now(), true).contains("/var/lib/etcd/.kubectl-etcd/id/kept"));
    }
}
