//! `cleanup --old-data`: the data that restores have set aside on the nodes, and their journals.

use std::time::Duration;

use etcd_wire::restore::{Ending, NodeRestore};
use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::Overrides;
use crate::output::API_VERSION;
use crate::output::confirm::Question;
use crate::output::{Exit, Failed, Format, Outcome, Table, age, bytes, print_data, timestamp};
use crate::sidecar::{Operation, build};
use crate::transaction::{self, Recalled, Watched, Work, by_time, silence, step_labels};

/// What was prepared and never begun belongs to nobody after this time: no sidecar of a restore lives longer.
const ABANDONED: Duration = Duration::from_secs(6 * 3600);

/// Lists what is kept, asks, and removes it.
///
/// # Errors
/// No node can be asked, nobody agreed (exit 4), or something could not be removed on a node (exit 5 if other data was). The others are
/// tidied all the same.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let members = transaction::to_recall(&plane, &context, &overrides, &args.manifests).await?;
    let road = plane.road(&args.sidecar, &context).await?;
    let work = Work::new(&context, &plane, &road, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Recall);
    let nodes = transaction::recall(&work, &mut watched).await;
    if let Some(failed) = silence(&nodes) {
        return Err(failed.effect("nothing was removed"));
    }
    // Those that read journals cannot remove anything.
    transaction::forget(&work, watched).await;
    let now = Timestamp::now();
    let mut kept = Kept::of(&nodes, now);
    let empty = kept.nodes.iter().all(|node| node.restores.is_empty());
    if empty {
        printer.note("the nodes that answer have no old data of a restore");
    }
    for node in &nodes {
        if let Err(failed) = &node.outcome {
            printer.warn(format!("node {} cannot be asked: {}", node.node, failed.one_line()));
        }
    }
    let (count, size) = kept.removable();
    let only_shown = count == 0 || args.dry_run.is_some();
    let (wide, is_table) = (args.output == Format::Wide, matches!(args.output, Format::Table | Format::Wide));
    // Data is what was done; until then what is kept is for whoever has to agree to it.
    if only_shown || is_table {
        if !empty || !is_table {
            print_data(printer, args.output, &kept, || kept.table(now, wide))?;
        }
    } else if !args.yes {
        printer.show(&kept.table(now, true));
    }
    if only_shown {
        return Ok(());
    }
    let question = Question {
        text: format!("Remove {count} folder(s) of old data, {}? No rollback is possible then.", bytes(size)),
        otherwise: "nothing was removed",
        hint: "kubectl etcd cleanup --old-data --yes",
    };
    question.ask(args.yes, printer).await?;
    let mut removals = unasked(&nodes);
    let mut watched = work.watch(Operation::Remove);
    let having = kept.nodes.iter().zip(&mut watched).filter(|(node, _)| node.ids().next().is_some());
    let removing = join_all(having.map(|(node, one)| remove(node, one, &work)));
    let cut_off = || {
        Failed::new(Exit::Changed, "interrupted while old data was removed")
            .effect("old data may be gone on some nodes and not on others")
            .hint("see what is left\n  kubectl etcd cleanup --old-data --dry-run")
    };
    removals.extend(context.interruption.or(cut_off, removing).await?);
    kept.tell(&removals);
    let told = match is_table {
        true => Ok(()),
        false => print_data(printer, args.output, &kept, String::new),
    };
    match (outcome(&removals), told) {
        (Err(failed), told) => Err(failed.also(told)),
        (Ok(()), told) => told.map_err(|failed| failed.after_change("the old data was removed")),
    }
}

/// What became of the old data on a node.
#[derive(Debug)]
struct Removal {
    node: String,
    /// Restores whose old data is gone.
    removed: Vec<String>,
    trouble: Option<Trouble>,
}

/// Why old data is still there.
#[derive(Debug)]
struct Trouble {
    failed: Failed,
    /// Whether the node had begun to remove something, so that part of it may be gone.
    begun: bool,
}

/// The nodes that could not be asked what they keep. One that the last restore has left out keeps nothing of it.
fn unasked(nodes: &[Recalled]) -> Vec<Removal> {
    let last = by_time(nodes).into_iter().next().map(|restore| restore.plan.left_out()).unwrap_or_default();
    let failed = nodes.iter().filter(|node| !last.contains(&node.node.as_str()));
    let failed = failed.filter_map(|node| Some((&node.node, node.outcome.as_ref().err()?)));
    let removal = |(node, failed): (&String, &Failed)| Removal {
        node: node.clone(),
        removed: Vec::new(),
        trouble: Some(Trouble { failed: failed.copy(), begun: false }),
    };
    failed.map(removal).collect()
}

/// Removes what a node keeps, the oldest first, until something fails.
async fn remove(node: &Node, one: &mut Watched<'_>, work: &Work<'_>) -> Removal {
    let mut removal = Removal { node: node.node.clone(), removed: Vec::new(), trouble: None };
    for id in node.ids() {
        let opened = one.session(work).await;
        let session = match opened.and_then(|session| {
            build::same([(node.node.as_str(), session.peer())])?;
            Ok(session)
        }) {
            Ok(session) => session,
            Err(failed) => {
                removal.trouble = Some(Trouble { failed, begun: false });
                break;
            }
        };
        match session.remove_aside(vec![id.to_owned()]).await {
            Ok(gone) => {
                removal.removed.push(id.to_owned());
                let size = bytes(gone.iter().map(NodeRestore::kept_bytes).sum());
                work.printer.note(format!("node {}: old data of restore {id} removed ({size})", node.node));
            }
            Err(failed) => {
                // A node refuses before it removes anything.
                let begun = failed.exit != Exit::Refused;
                removal.trouble = Some(Trouble {
                    failed: failed.context(format!("cannot remove the old data of restore {id}")),
                    begun,
                });
                break;
            }
        }
    }
    removal
}

/// How the command ends.
///
/// # Errors
/// Exit 5 if something was removed, or may have been, and something was not; else the failure, with nothing changed.
fn outcome(removals: &[Removal]) -> Outcome {
    let failed = || removals.iter().filter_map(|removal| Some((&removal.node, removal.trouble.as_ref()?)));
    if failed().next().is_none() {
        return Ok(());
    }
    let changed = removals.iter().any(|one| !one.removed.is_empty() || one.trouble.as_ref().is_some_and(|it| it.begun));
    let refused = failed().all(|(_, trouble)| trouble.failed.exit == Exit::Refused);
    let exit = match (changed, refused) {
        (true, _) => Exit::Changed,
        (false, true) => Exit::Refused,
        (false, false) => Exit::Failed,
    };
    let nodes: Vec<&str> = failed().map(|(node, _)| node.as_str()).collect();
    let mut all = Failed::new(exit, format!("cannot remove all old data: some is left on {}", nodes.join(", ")));
    for (node, trouble) in failed() {
        let part = if trouble.begun { "; part of it may be gone" } else { "" };
        all = all.cause(format!("node {node}: {}{part}", trouble.failed.one_line()));
        for hint in &trouble.failed.hints {
            if !all.hints.contains(hint) {
                all = all.hint(hint);
            }
        }
    }
    let gone: Vec<String> = removals
        .iter()
        .filter(|one| !one.removed.is_empty())
        .map(|one| format!("node {} ({})", one.node, one.removed.join(", ")))
        .collect();
    if !gone.is_empty() {
        all = all.effect(format!("removed from {}", gone.join(", ")));
    } else if !changed {
        all = all.effect("nothing was removed");
    }
    Err(all.hint("remove the cause and run it again\n  kubectl etcd cleanup --old-data"))
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
    /// Why it could not be asked, or something could not be removed.
    error: Option<String>,
}

impl Node {
    /// Restores whose old data can go, the oldest first.
    fn ids(&self) -> impl Iterator<Item = &str> {
        self.restores.iter().filter(|restore| restore.removable).map(|restore| restore.id.as_str())
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct One {
    id: String,
    begun_at: Option<String>,
    ended: Option<Ending>,
    /// Where the data is that was in place before.
    aside: Option<String>,
    aside_bytes: u64,
    /// What else is kept.
    kept: Vec<etcd_wire::restore::Kept>,
    /// Whether it can go: one that has not ended stays.
    removable: bool,
    /// Whether it was removed by this run.
    removed: bool,
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
        all.fold((0, 0), |(count, size), restore| (count + 1 + restore.kept.len(), size + restore.bytes()))
    }

    /// Adds what became of it.
    fn tell(&mut self, removals: &[Removal]) {
        for node in &mut self.nodes {
            for removal in removals.iter().filter(|removal| removal.node == node.node) {
                for restore in &mut node.restores {
                    restore.removed |= removal.removed.contains(&restore.id);
                }
                let error = removal.trouble.as_ref().map(|trouble| trouble.failed.one_line());
                node.error = node.error.take().or(error);
            }
        }
    }

    /// The plain table fits a terminal of 80 columns; the wide one says where everything lies, and why.
    fn table(&self, now: Timestamp, wide: bool) -> String {
        let mut headers = vec!["NODE", "RESTORE", "RESULT", "SIZE", "AGE"];
        headers.extend(wide.then_some("PATH"));
        let mut table = Table::new(&headers).fitted(wide);
        let mut row = |cells: [String; 5], path: &str| {
            table.row(cells.into_iter().chain(wide.then(|| path.to_owned())).collect());
        };
        for node in &self.nodes {
            for restore in &node.restores {
                let result = match (restore.ended, restore.removable) {
                    (Some(ending), _) => step_labels::ended(ending),
                    (None, true) => "abandoned",
                    (None, false) => "unfinished",
                };
                let (node, id) = (&node.node, &restore.id);
                let begun = restore.begun.map(|begun| age(begun, now)).unwrap_or_default();
                let cells = [node.clone(), id.clone(), result.to_owned(), bytes(restore.aside_bytes), begun];
                row(cells, restore.aside.as_deref().unwrap_or_default());
                for kept in &restore.kept {
                    let what = if wide { format!("kept: {}", kept.why) } else { "kept as well".to_owned() };
                    row([node.clone(), id.clone(), what, bytes(kept.bytes), String::new()], &kept.path);
                }
            }
        }
        table.to_string()
    }
}

impl One {
    /// Bytes of everything that would go.
    fn bytes(&self) -> u64 {
        self.kept.iter().fold(self.aside_bytes, |bytes, kept| bytes.saturating_add(kept.bytes))
    }

    fn of(restore: &NodeRestore, now: Timestamp) -> One {
        let begun = Timestamp::from_millisecond(restore.begun_at).ok();
        let old = begun.is_some_and(|begun| now.as_second() - begun.as_second() > ABANDONED.as_secs() as i64);
        One {
            id: restore.plan.id.clone(),
            begun_at: begun.map(timestamp),
            ended: restore.ended,
            aside: restore.aside.clone(),
            aside_bytes: restore.aside_bytes,
            kept: restore.kept.clone(),
            removable: restore.ended.is_some() && !restore.waits_for_others || !restore.armed && old,
            removed: false,
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
        let table = kept.table(late, false);
        for (line, part) in [(1, "restored"), (2, "unfinished"), (3, "abandoned")] {
            assert!(table.lines().nth(line).is_some_and(|line| line.contains(part)), "{table}");
        }
        assert!(table.contains("7h"), "{table}");
    }

    #[test]
    fn what_was_kept_besides_counts_and_is_named() {
        let mut node = recalled("cp1", &[("a", Some(Ending::WentBack))]);
        for restore in node.outcome.as_mut().expect("journals") {
            restore.kept =
                vec![etcd_wire::restore::Kept { path: "/data/kept".into(), why: "written to".into(), bytes: 904 }];
        }
        let kept = Kept::of(&[node], Timestamp::UNIX_EPOCH);
        assert_eq!(kept.removable(), (2, 5000));
        let table = kept.table(Timestamp::UNIX_EPOCH, true);
        assert!(table.lines().any(|line| line.contains("kept: written to") && line.contains("/data/kept")), "{table}");
    }

    #[test]
    fn the_plain_table_fits_a_terminal() {
        let id = "20261127-131747-abcde-r";
        let mut node = recalled("control-plane-node-1", &[(id, Some(Ending::WentBack))]);
        for restore in node.outcome.as_mut().expect("journals") {
            let path = format!("/var/lib/etcd/.kubectl-etcd/{id}/served");
            let why = "the new data was served before the restore was rolled back".to_owned();
            restore.kept = vec![etcd_wire::restore::Kept { path, why, bytes: 1_512_345_678 }];
        }
        let kept = Kept::of(&[node], Timestamp::UNIX_EPOCH);
        let late = Timestamp::from_second(400 * 86_400).expect("a moment");
        let table = kept.table(late, false);
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.lines().skip(1).all(|line| line.contains(id)) && table.contains("1.5 GB"), "{table}");
        assert!(kept.table(late, true).contains("/served"));
    }

    #[test]
    fn what_fails_on_one_node_is_told_and_the_others_go_on() {
        let trouble = |exit, begun| Some(Trouble { failed: Failed::new(exit, "no room"), begun });
        let removal = |node: &str, removed: &[&str], trouble| Removal {
            node: node.into(),
            removed: removed.iter().map(|id| (*id).to_owned()).collect(),
            trouble,
        };
        assert!(outcome(&[removal("cp1", &["a"], None), removal("cp2", &[], None)]).is_ok());
        for (removals, exit, texts) in [
            (
                vec![removal("cp1", &["a", "b"], None), removal("cp2", &["a"], trouble(Exit::Failed, true))],
                Exit::Changed,
                vec!["node cp2: no room; part of it may be gone", "removed from node cp1 (a, b), node cp2 (a)"],
            ),
            (
                vec![removal("cp1", &["a"], None), removal("cp2", &[], trouble(Exit::Failed, false))],
                Exit::Changed,
                vec!["node cp2: no room", "removed from node cp1 (a)"],
            ),
            (
                vec![removal("cp1", &[], trouble(Exit::Failed, true))],
                Exit::Changed,
                vec!["node cp1: no room; part of it may be gone"],
            ),
            (
                vec![
                    removal("cp1", &[], trouble(Exit::Failed, false)),
                    removal("cp2", &[], trouble(Exit::Refused, false)),
                ],
                Exit::Failed,
                vec!["node cp1: no room", "node cp2: no room", "nothing was removed"],
            ),
            (
                vec![removal("cp1", &[], trouble(Exit::Refused, false))],
                Exit::Refused,
                vec!["node cp1: no room", "nothing was removed"],
            ),
        ] {
            let failed = outcome(&removals).expect_err("some is left");
            let told: Vec<String> = failed.causes.iter().chain(&failed.effects).cloned().collect();
            assert_eq!((failed.exit, &told), (exit, &texts.iter().map(|text| (*text).to_owned()).collect()));
        }
        // The data says so too.
        let nodes = [recalled("cp1", &[("a", Some(Ending::Restored)), ("b", Some(Ending::Restored))])];
        let mut kept = Kept::of(&nodes, Timestamp::UNIX_EPOCH);
        kept.tell(&[removal("cp1", &["a"], trouble(Exit::Failed, true))]);
        let json = serde_json::to_value(&kept).expect("JSON");
        let node = &json["nodes"][0];
        assert_eq!((&node["restores"][0]["removed"], &node["restores"][1]["removed"]), (&true.into(), &false.into()));
        assert_eq!(node["error"], "no room");
    }

    #[test]
    fn a_node_that_cannot_be_asked_has_not_been_tidied_unless_it_was_left_out() {
        let lost = |name: &str| Recalled { node: name.into(), outcome: Err(Failed::plain("gone")) };
        let mut nodes = [recalled("cp1", &[("a", Some(Ending::Restored))]), lost("cp2"), lost("cp3")];
        assert_eq!(unasked(&nodes).len(), 2);
        for restore in nodes[0].outcome.as_mut().expect("journals") {
            restore.plan.not_reached = vec!["cp3".into()];
        }
        let left: Vec<_> = unasked(&nodes).into_iter().map(|removal| removal.node).collect();
        assert_eq!(left, ["cp2"]);
    }
}
