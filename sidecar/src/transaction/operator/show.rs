//! `restore --status` on a node, for people and for programs.

use std::fmt::Write as _;

use etcd_recovery::{Known, Phase, Standing, Told, names, step_labels};
use etcd_transaction::Node;
use etcd_wire::Failure;
use etcd_wire::restore::{Decision, NodeRestore};
use jiff::Timestamp;
use serde::Serialize;

use super::args::Format;
use super::gather::Gathered;

/// What the plugin's JSON bears as well.
const API_VERSION: &str = "kubectl-etcd/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeRestores<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// The restore; nothing else is there if no journal is.
    id: Option<&'a str>,
    /// This node.
    node: Option<&'a str>,
    /// What is decided, if that is known.
    decision: Option<Decision>,
    /// What it waits for, and what to do.
    advice: Vec<Told>,
    nodes: Vec<NodeSeen<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeSeen<'a> {
    node: &'a str,
    /// What its journal says: this node's, or a copy of another node's.
    restore: Option<&'a NodeRestore>,
    /// What can be heard of it, for people.
    heard: String,
}

/// All of it as text, or as JSON.
///
/// # Errors
/// The plan is none.
pub(super) fn status(gathered: Option<&Gathered>, format: Format, now: Timestamp) -> Result<String, Failure> {
    let standing = gathered.map(Gathered::standing).transpose()?;
    let seen = gathered.zip(standing.as_ref()).map(|(gathered, standing)| seen(gathered, standing)).unwrap_or_default();
    let advice = standing.as_ref().map(|standing| standing.told(now)).unwrap_or_default();
    match (format, gathered) {
        (Format::Table, None) => Ok("this node has no journal of a restore".to_owned()),
        (Format::Table, Some(gathered)) => Ok(text(gathered, &seen, &advice)),
        (Format::Json, gathered) => {
            let all = NodeRestores {
                api_version: API_VERSION,
                kind: "NodeRestores",
                id: gathered.map(|gathered| gathered.here.plan.id.as_str()),
                node: gathered.map(|gathered| gathered.here.node.as_str()),
                decision: standing
                    .as_ref()
                    .and_then(|standing| standing.decided().ok().flatten())
                    .map(|(decision, _)| decision),
                advice,
                nodes: seen,
            };
            Ok(serde_json::to_string_pretty(&all).expect("strings, numbers, lists and structures"))
        }
    }
}

fn seen<'a>(gathered: &Gathered, standing: &Standing<'a>) -> Vec<NodeSeen<'a>> {
    let one = |(node, name, known): (Node, &'a str, &Known<'a>)| {
        let heard = match known {
            Known::Journal(_) if node != gathered.own() => "by the copy of its journal".to_owned(),
            Known::Journal(restore) => match (&restore.live, restore.participates) {
                (Some(_), _) => "this node: its participant answers".to_owned(),
                (None, true) => "this node: its participant does not answer".to_owned(),
                (None, false) => "this node: it has no participant any more".to_owned(),
            },
            Known::Answers(Some(decision)) => format!("answers: {}", etcd_recovery::decision(*decision)),
            Known::Answers(None) => "answers, and knows no decision".to_owned(),
            Known::NoJournal => "something listens there, and does not answer as this restore's participant".to_owned(),
            Known::Unread(why) => format!("does not answer: {why}"),
        };
        NodeSeen { node: name, restore: known.journal(), heard }
    };
    standing.nodes().map(one).collect()
}

fn text(gathered: &Gathered, seen: &[NodeSeen<'_>], advice: &[Told]) -> String {
    let (plan, begun) = (&gathered.here.plan, Timestamp::from_millisecond(gathered.here.begun_at));
    let begun = begun.map(|begun| begun.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    let mut text = format!("Restore {} of cluster {}, begun {begun} by {}\n\n", plan.id, plan.cluster, plan.started_by);
    let rows: Vec<[String; 4]> = seen.iter().map(row).collect();
    let header = ["NODE", "VOTE", "STATE", "HEARD"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [node, vote, state, heard] in [&header].into_iter().chain(&rows) {
        let [first, second, third] = widths;
        let _infallible = writeln!(text, "{node:first$}   {vote:second$}   {state:third$}   {heard}");
    }
    for row in advice {
        let _infallible = write!(text, "\n{}\n", row.lines());
    }
    visible(text.trim_end())
}

fn row(seen: &NodeSeen<'_>) -> [String; 4] {
    let vote = match seen.restore.and_then(|restore| restore.vote) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let state = seen.restore.map(|restore| match (Phase::of(restore), last_step(restore)) {
        (Phase::Working | Phase::Committed | Phase::Aborting, Some(step)) => {
            format!("{}, {step}", Phase::word(restore))
        }
        _ => Phase::word(restore).to_owned(),
    });
    [seen.node.to_owned(), vote.to_owned(), state.unwrap_or_default(), seen.heard.clone()]
}

fn last_step(restore: &NodeRestore) -> Option<&'static str> {
    let (step, done) = restore.events.iter().rev().find_map(|event| Some((event.step?, event.done)))?;
    Some(if done { step_labels::done(step) } else { step_labels::doing(step) })
}

/// Text of journals and of other nodes, without what moves a cursor.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push(letter),
            hidden if hidden.is_control() => shown.extend(hidden.escape_default()),
            plain => shown.push(plain),
        }
    }
    shown
}

/// `node cp1`, `nodes cp1 and cp2`.
pub(super) fn nodes(all: &[&str]) -> String {
    format!("node{} {}", if all.len() == 1 { "" } else { "s" }, names(all))
}
