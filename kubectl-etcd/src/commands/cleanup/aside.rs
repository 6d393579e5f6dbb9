//! `cleanup --aside`: the data that restores have set aside on the nodes, and their journals.

use std::time::Duration;

use etcd_wire::restore::{Ending, NodeRestore};
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use crate::cli::Context;
use crate::commands::API_VERSION;
use crate::discovery::{self, Overrides};
use crate::output::{Exit, Failed, Format, Outcome, Printer, Table, age, bytes, print_data, timestamp};
use crate::sidecar::{Pods, access, build};
use crate::transaction::{self, Recalled, Work, silence, words};

/// What was prepared and never begun belongs to nobody after this time: no sidecar of a restore lives longer.
const ABANDONED: Duration = Duration::from_secs(6 * 3600);

/// Lists what is kept, asks, and removes it.
///
/// # Errors
/// No node can be asked, nobody agreed (exit 4), or something could not be removed (exit 5 if other data was).
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let connection = context.connection.connect().await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let members =
        discovery::with_manifests(&connection, context.connection.etcd_namespace(), &overrides, &args.manifests)
            .await?;
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    let mut watched = work.watch();
    let nodes = transaction::recall(&work, &mut watched).await;
    if let Some(failed) = silence(&nodes) {
        return Err(failed.cause("nothing was removed"));
    }
    let now = Timestamp::now();
    let kept = Kept::of(&nodes, now);
    let empty = kept.nodes.iter().all(|node| node.restores.is_empty());
    if empty {
        printer.note("no restore has left anything on the nodes that answer");
    }
    if !empty || args.output != Format::Table {
        print_data(printer, args.output, &kept, || kept.table(now))?;
    }
    for node in &nodes {
        if let Err(failed) = &node.outcome {
            printer.warn(format!("node {} cannot be asked: {}", node.node, failed.one_line()));
        }
    }
    let (count, size) = kept.removable();
    if count == 0 || args.dry_run {
        return Ok(());
    }
    for (node, one) in kept.nodes.iter().zip(&mut watched) {
        if node.restores.iter().any(|restore| restore.removable) {
            build::same([(node.node.as_str(), one.session(&work).await?.peer())])
                .map_err(|failed| failed.cause("nothing was removed"))?;
        }
    }
    agree(&args, count, size, printer).await?;
    let mut removed = 0;
    for (node, one) in kept.nodes.iter().zip(&mut watched) {
        let ids: Vec<String> =
            node.restores.iter().filter(|restore| restore.removable).map(|restore| restore.id.clone()).collect();
        if ids.is_empty() {
            continue;
        }
        let asked = async { one.session(&work).await?.remove_aside(ids).await };
        let gone = asked.await.map_err(|failed| {
            let failed = failed.context(format!("remove old data from node {}", node.node));
            match removed {
                0 => failed,
                _ => Failed { exit: Exit::Changed, ..failed }
                    .cause(format!("the old data of {removed} restore(s) was removed before")),
            }
        })?;
        for restore in &gone {
            printer.note(format!(
                "node {}: what restore {} had kept is removed ({})",
                node.node,
                restore.plan.id,
                bytes(restore.aside_bytes)
            ));
        }
        removed += gone.len();
    }
    Ok(())
}

async fn agree(args: &Args, count: usize, size: u64, printer: Printer) -> Outcome {
    if args.yes {
        return Ok(());
    }
    if !Printer::interactive() {
        return Err(Failed::new(Exit::Refused, "nothing was removed: there is no terminal to ask on")
            .hint("kubectl etcd cleanup --aside --yes"));
    }
    let question = format!("Remove {count} folder(s) of old data, {}? No rollback is possible then.", bytes(size));
    let answer = tokio::task::spawn_blocking(move || printer.confirm(&question)).await;
    if answer.unwrap_or(false) { Ok(()) } else { Err(Failed::new(Exit::Refused, "nothing was removed")) }
}

/// What restores have left on the nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    api_version: &'static str,
    kind: &'static str,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    node: String,
    restores: Vec<One>,
    /// Why it could not be asked.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct One {
    id: String,
    begun_at: Option<String>,
    ended: Option<Ending>,
    aside: Option<String>,
    aside_bytes: u64,
    /// Whether it can go: one that has not ended stays.
    removable: bool,
    #[serde(skip)]
    begun: Option<Timestamp>,
}

impl Kept {
    fn of(nodes: &[Recalled], now: Timestamp) -> Kept {
        let node = |node: &Recalled| Node {
            node: node.node.clone(),
            restores: node.restores().iter().map(|restore| One::of(restore, now)).collect(),
            error: node.outcome.as_ref().err().map(|failed| failed.one_line()),
        };
        Kept { api_version: API_VERSION, kind: "OldData", nodes: nodes.iter().map(node).collect() }
    }

    /// How much there is to remove, and how many bytes that is.
    fn removable(&self) -> (usize, u64) {
        let all = self.nodes.iter().flat_map(|node| &node.restores).filter(|restore| restore.removable);
        all.fold((0, 0), |(count, size), restore| (count + 1, size + restore.aside_bytes))
    }

    fn table(&self, now: Timestamp) -> String {
        let mut table = Table::new(&["NODE", "RESTORE", "RESULT", "OLD DATA", "SIZE", "AGE"]);
        for node in &self.nodes {
            for restore in &node.restores {
                let result = match (restore.ended, restore.removable) {
                    (Some(ending), _) => words::ended(ending),
                    (None, true) => "abandoned",
                    (None, false) => "unfinished, stays",
                };
                table.row(vec![
                    node.node.clone(),
                    restore.id.clone(),
                    result.to_owned(),
                    restore.aside.clone().unwrap_or_default(),
                    bytes(restore.aside_bytes),
                    restore.begun.map(|begun| age(begun, now)).unwrap_or_default(),
                ]);
            }
        }
        table.to_string()
    }
}

impl One {
    fn of(restore: &NodeRestore, now: Timestamp) -> One {
        let begun = Timestamp::from_millisecond(restore.begun_at).ok();
        let old = begun.is_some_and(|begun| now.as_second() - begun.as_second() > ABANDONED.as_secs() as i64);
        One {
            id: restore.plan.id.clone(),
            begun_at: begun.map(timestamp),
            ended: restore.ended,
            aside: restore.aside.clone(),
            aside_bytes: restore.aside_bytes,
            removable: restore.ended.is_some() && !restore.waits_for_others || !restore.armed && old,
            begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::samples::recalled;

    #[test]
    fn what_has_not_ended_stays() {
        let mut node = recalled("cp1", &[("a", Some(Ending::Restored)), ("b", None), ("c", None)]);
        if let Ok(restores) = &mut node.outcome {
            restores[2].armed = false;
        }
        let lost = Recalled { node: "cp2".into(), outcome: Err(Failed::plain("gone")) };
        let soon = Timestamp::from_second(60).expect("a moment");
        let late = Timestamp::from_second(7 * 3600).expect("a moment");
        let nodes = [node, lost];
        assert_eq!(Kept::of(&nodes, soon).removable(), (1, 4096));
        let kept = Kept::of(&nodes, late);
        assert_eq!(kept.removable(), (2, 8192));
        let table = kept.table(late);
        for (line, part) in [(1, "restored"), (2, "unfinished, stays"), (3, "abandoned")] {
            assert!(table.lines().nth(line).is_some_and(|line| line.contains(part)), "{table}");
        }
        assert!(table.contains("7h"), "{table}");
    }
}
