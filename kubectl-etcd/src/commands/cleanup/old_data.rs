//! `cleanup --old-data`: the data that restores and replacements of members have set aside on the nodes, and their journals.

use std::time::Duration;

use etcd_wire::replace::{ReplacePhase, ReplacedData};
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
    let mut nodes = transaction::recall(&work, &mut watched).await;
    let replaced = look_for_replaced(&work, &mut watched, &mut nodes).await;
    if let Some(failed) = silence(&nodes) {
        return Err(failed.effect("nothing was removed"));
    }
    // Those that read journals cannot remove anything.
    transaction::forget(&work, watched).await;
    let now = Timestamp::now();
    let mut kept = Kept::of(&nodes, &replaced, now);
    let empty = kept.nodes.iter().all(|node| node.restores.is_empty() && node.replacements.is_empty());
    if empty {
        printer.note("the nodes that answer have no old data of a restore or of a replaced member");
    }
    for advice in kept.advice() {
        printer.warn(advice);
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
    let last = if kept.takes_a_way_back() { " No rollback is possible then." } else { "" };
    let question = Question {
        text: format!("Remove {count} folder(s) of old data, {}?{last}", bytes(size)),
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

/// Asks the nodes whose journals of restores were read for those of replacements: a list a node. A node that does not tell counts as one that cannot be
/// asked.
async fn look_for_replaced(
    work: &Work<'_>,
    watched: &mut [Watched<'_>],
    nodes: &mut [Recalled],
) -> Vec<Vec<ReplacedData>> {
    let asking = watched.iter_mut().zip(nodes.iter_mut()).map(|(one, node)| async move {
        if node.outcome.is_err() {
            return Vec::new();
        }
        let data_dirs: Vec<String> = one.member.data_dir.iter().cloned().collect();
        let asked = match one.session(work).await {
            Ok(session) => session.replaced_data(data_dirs).await,
            Err(failed) => Err(failed),
        };
        asked.unwrap_or_else(|failed| {
            one.lose();
            node.outcome = Err(failed);
            Vec::new()
        })
    });
    join_all(asking).await
}

/// What became of the old data on a node.
#[derive(Debug)]
struct Removal {
    node: String,
    /// Restores and replacements whose old data is gone.
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
    for (id, of) in node.ids() {
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
        let ids = vec![id.to_owned()];
        let removed = match of {
            Of::Restore => session.remove_aside(ids).await.map(|gone| gone.iter().map(NodeRestore::kept_bytes).sum()),
            Of::Replacement(_) => {
                session.remove_replaced_data(ids).await.map(|gone| gone.iter().map(ReplacedData::bytes).sum())
            }
        };
        match removed {
            Ok(size) => {
                removal.removed.push(id.to_owned());
                work.printer.note(format!("node {}: {} removed ({})", node.node, of.old_data(id), bytes(size)));
            }
            Err(failed) => {
                // A node refuses before it removes anything.
                let begun = failed.exit != Exit::Refused;
                removal.trouble =
                    Some(Trouble { failed: failed.context(format!("cannot remove the {}", of.old_data(id))), begun });
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

/// Whose old data it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of<'a> {
    Restore,
    /// Of the member with this name.
    Replacement(&'a str),
}

impl Of<'_> {
    /// What is removed, in words.
    fn old_data(self, id: &str) -> String {
        match self {
            Of::Restore => format!("old data of restore {id}"),
            Of::Replacement(member) => format!("old data of replaced member {member} ({id})"),
        }
    }
}

/// What restores and replacements have left on the nodes.
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
    /// Old data of members that were replaced.
    replacements: Vec<Replaced>,
    /// Why it could not be asked, or something could not be removed.
    error: Option<String>,
}

impl Node {
    /// Restores whose old data can go, the oldest first, and then replacements.
    fn ids(&self) -> impl Iterator<Item = (&str, Of<'_>)> {
        let restores = self.restores.iter().filter(|restore| restore.removable);
        let replacements = self.replacements.iter().filter(|replaced| replaced.removable);
        let restores = restores.map(|restore| (restore.id.as_str(), Of::Restore));
        restores.chain(replacements.map(|replaced| (replaced.id.as_str(), Of::Replacement(replaced.member()))))
    }
}

/// What the replacement of a member has left, or a folder of which no journal tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    id: String,
    /// Name of the member that was replaced; null without a journal that can be read.
    member: Option<String>,
    phase: Option<ReplacePhase>,
    /// When the journal was written last.
    written_at: Option<String>,
    /// Where the old data of the member is.
    old_data: Option<String>,
    old_data_bytes: u64,
    /// What else is kept.
    kept: Vec<etcd_wire::restore::Kept>,
    /// Why nobody knows what it is; it is not removed then.
    problem: Option<String>,
    /// Whether it can go: nothing goes while a replacement or a restore is unfinished on the node.
    removable: bool,
    /// Whether it was removed by this run.
    removed: bool,
    #[serde(skip)]
    written: Option<Timestamp>,
    #[serde(skip)]
    hint: Option<String>,
}

impl Replaced {
    fn of(one: &ReplacedData, may_go: bool) -> Replaced {
        let written = one.written_at.and_then(|at| Timestamp::from_millisecond(at).ok());
        Replaced {
            id: one.id.clone(),
            member: one.member.clone(),
            phase: one.phase,
            written_at: written.map(timestamp),
            old_data: one.old_data.clone(),
            old_data_bytes: one.old_data_bytes,
            kept: one.kept.clone(),
            problem: one.problem.clone().map(|problem| Failed::from(problem).one_line()),
            removable: may_go && one.is_over(),
            removed: false,
            written,
            hint: one.problem.as_ref().and_then(|problem| problem.hint.clone()),
        }
    }

    fn member(&self) -> &str {
        self.member.as_deref().unwrap_or_default()
    }

    fn result(&self) -> &'static str {
        match self.phase {
            Some(ReplacePhase::Done) => "replaced member",
            Some(ReplacePhase::Undone) => "undone",
            Some(_) => "unfinished",
            None if self.old_data.is_some() => "no journal",
            None => "unreadable journal",
        }
    }

    /// Bytes of everything that would go.
    fn bytes(&self) -> u64 {
        self.kept.iter().fold(self.old_data_bytes, |bytes, kept| bytes.saturating_add(kept.bytes))
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
    /// `replaced` has a list for each node.
    fn of(nodes: &[Recalled], replaced: &[Vec<ReplacedData>], now: Timestamp) -> Kept {
        let node = |(node, replaced): (&Recalled, &Vec<ReplacedData>)| {
            let unfinished = replaced.iter().any(|one| one.problem.is_none() && !one.is_over());
            let may_go = !unfinished && !node.restores().iter().any(|restore| restore.armed && restore.ended.is_none());
            Node {
                node: node.node.clone(),
                restores: node.restores().iter().map(|restore| One::of(restore, now)).collect(),
                replacements: replaced.iter().map(|one| Replaced::of(one, may_go)).collect(),
                error: node.outcome.as_ref().err().map(|failed| failed.one_line()),
            }
        };
        Kept { api_version: API_VERSION, kind: "OldData", nodes: nodes.iter().zip(replaced).map(node).collect() }
    }

    /// How much there is to remove, and how many bytes that is.
    fn removable(&self) -> (usize, u64) {
        let restores = self.nodes.iter().flat_map(|node| &node.restores).filter(|restore| restore.removable);
        let restores = restores.map(|restore| (restore.kept.len(), restore.bytes()));
        let replaced = self.nodes.iter().flat_map(|node| &node.replacements).filter(|replaced| replaced.removable);
        let replaced = replaced.map(|replaced| (replaced.kept.len(), replaced.bytes()));
        restores.chain(replaced).fold((0, 0), |(count, sum), (kept, bytes)| (count + 1 + kept, sum + bytes))
    }

    /// Whether something would go that a rollback could put back. Nothing returns to the data of a replaced member.
    fn takes_a_way_back(&self) -> bool {
        self.nodes.iter().flat_map(Node::ids).any(|(_, of)| of == Of::Restore)
    }

    /// What to do about that which no journal tells of.
    fn advice(&self) -> Vec<String> {
        let stays = |node: &Node, one: &Replaced| {
            let problem = one.problem.as_ref()?;
            let hint = one.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            Some(format!("node {}: {} stays: {problem}{hint}", node.node, one.id))
        };
        let all = self.nodes.iter().flat_map(|node| node.replacements.iter().filter_map(move |one| stays(node, one)));
        all.collect()
    }

    /// Adds what became of it.
    fn tell(&mut self, removals: &[Removal]) {
        for node in &mut self.nodes {
            for removal in removals.iter().filter(|removal| removal.node == node.node) {
                for restore in &mut node.restores {
                    restore.removed |= removal.removed.contains(&restore.id);
                }
                for replaced in &mut node.replacements {
                    replaced.removed |= removal.removed.contains(&replaced.id);
                }
                let error = removal.trouble.as_ref().map(|trouble| trouble.failed.one_line());
                node.error = node.error.take().or(error);
            }
        }
    }

    /// The plain tables fit a terminal of 80 columns; the wide ones say where everything lies, and why.
    fn table(&self, now: Timestamp, wide: bool) -> String {
        let restores = self.nodes.iter().any(|node| !node.restores.is_empty());
        let replaced = self.nodes.iter().any(|node| !node.replacements.is_empty());
        match (restores, replaced) {
            (true, true) => format!("{}\n{}", self.restores_table(now, wide), self.replaced_table(now, wide)),
            (false, true) => self.replaced_table(now, wide),
            (_, false) => self.restores_table(now, wide),
        }
    }

    /// Old data of members that were replaced.
    fn replaced_table(&self, now: Timestamp, wide: bool) -> String {
        let mut headers = vec!["NODE", "REPLACEMENT", "RESULT", "SIZE", "AGE"];
        headers.extend(wide.then_some("PATH"));
        let mut table = Table::new(&headers).fitted(wide);
        let mut row = |cells: [String; 5], path: &str| {
            table.row(cells.into_iter().chain(wide.then(|| path.to_owned())).collect());
        };
        for node in &self.nodes {
            for one in &node.replacements {
                let (node, id) = (&node.node, &one.id);
                let result = match (wide, &one.member, &one.problem) {
                    (true, Some(member), _) if one.phase == Some(ReplacePhase::Done) => {
                        format!("old data of replaced member {member}")
                    }
                    (true, _, Some(problem)) => problem.clone(),
                    _ => one.result().to_owned(),
                };
                let written = one.written.map(|written| age(written, now)).unwrap_or_default();
                let cells = [node.clone(), id.clone(), result, bytes(one.old_data_bytes), written];
                row(cells, one.old_data.as_deref().unwrap_or_default());
                for kept in &one.kept {
                    let what = if wide { format!("kept: {}", kept.why) } else { "kept as well".to_owned() };
                    row([node.clone(), id.clone(), what, bytes(kept.bytes), String::new()], &kept.path);
                }
            }
        }
        table.to_string()
    }

    fn restores_table(&self, now: Timestamp, wide: bool) -> String {
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
        let none = [Vec::new(), Vec::new()];
        assert_eq!(Kept::of(&nodes, &none, soon).removable(), (1, 4096));
        let kept = Kept::of(&nodes, &none, late);
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
        let kept = Kept::of(&[node], &[Vec::new()], Timestamp::UNIX_EPOCH);
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
        let kept = Kept::of(&[node], &[Vec::new()], Timestamp::UNIX_EPOCH);
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
        let mut kept = Kept::of(&nodes, &[Vec::new()], Timestamp::UNIX_EPOCH);
        kept.tell(&[removal("cp1", &["a"], trouble(Exit::Failed, true))]);
        let json = serde_json::to_value(&kept).expect("JSON");
        let node = &json["nodes"][0];
        assert_eq!((&node["restores"][0]["removed"], &node["restores"][1]["removed"]), (&true.into(), &false.into()));
        assert_eq!(node["error"], "no room");
    }

    /// What a replacement of member cp1 has left.
    fn replaced(id: &str, phase: ReplacePhase) -> ReplacedData {
        ReplacedData {
            id: id.into(),
            member: Some("cp1".into()),
            phase: Some(phase),
            written_at: Some(0),
            old_data: Some(format!("/var/lib/etcd/.kubectl-etcd/{id}/old")),
            old_data_bytes: 1_512_345_678,
            ..ReplacedData::default()
        }
    }

    fn unknown(id: &str) -> ReplacedData {
        let problem = etcd_wire::Failure::new(etcd_wire::FailureCode::Storage, "no journal of it");
        ReplacedData {
            member: None,
            phase: None,
            written_at: None,
            problem: Some(problem.hint("look at it")),
            ..replaced(id, ReplacePhase::Done)
        }
    }

    #[test]
    fn the_old_data_of_a_replaced_member_is_listed_as_that_and_can_go() {
        let id = "20261127-131747-abcde";
        let nodes = [recalled("control-plane-node-1", &[])];
        let now = Timestamp::from_second(7 * 3600).expect("a moment");
        let mut kept = Kept::of(&nodes, &[vec![replaced(id, ReplacePhase::Done), unknown("other")]], now);
        assert_eq!(kept.removable(), (1, 1_512_345_678));
        assert_eq!(kept.nodes[0].ids().collect::<Vec<_>>(), [(id, Of::Replacement("cp1"))]);
        assert!(!kept.takes_a_way_back());
        let table = kept.table(now, false);
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        let line = table.lines().nth(1).expect("a row");
        assert!([id, "replaced member", "1.5 GB", "7h"].iter().all(|part| line.contains(part)), "{table}");
        assert!(table.lines().nth(2).is_some_and(|line| line.contains("no journal")), "{table}");
        let wide = kept.table(now, true);
        assert!(wide.contains("old data of replaced member cp1") && wide.contains("/old"), "{wide}");
        let advice = kept.advice();
        assert_eq!(advice, ["node control-plane-node-1: other stays: no journal of it; look at it"]);
        kept.tell(&[Removal { node: "control-plane-node-1".into(), removed: vec![id.into()], trouble: None }]);
        let json = serde_json::to_value(&kept).expect("JSON");
        let told = &json["nodes"][0]["replacements"];
        assert_eq!((&told[0]["member"], &told[0]["removable"]), (&"cp1".into(), &true.into()), "{json}");
        assert_eq!((&told[0]["phase"], &told[0]["removed"]), (&"done".into(), &true.into()), "{json}");
        assert_eq!((&told[1]["problem"], &told[1]["removable"]), (&"no journal of it".into(), &false.into()), "{json}");
        assert_eq!(told[1]["removed"], false, "{json}");
    }

    #[test]
    fn the_old_data_of_a_replaced_member_stays_while_something_is_unfinished_on_its_node() {
        let now = Timestamp::UNIX_EPOCH;
        let done = || replaced("a", ReplacePhase::Done);
        let free = [recalled("cp1", &[("x", Some(Ending::Restored))])];
        let kept = Kept::of(&free, &[vec![done()]], now);
        assert_eq!(kept.nodes[0].ids().collect::<Vec<_>>(), [("x", Of::Restore), ("a", Of::Replacement("cp1"))]);
        assert!(kept.takes_a_way_back());
        let tables = kept.table(now, false);
        assert!(tables.contains("RESTORE") && tables.contains("REPLACEMENT"), "{tables}");
        for phase in [ReplacePhase::Begun, ReplacePhase::OwnManifest, ReplacePhase::Unknown] {
            let kept = Kept::of(&free, &[vec![done(), replaced("b", phase)]], now);
            assert_eq!(kept.nodes[0].ids().collect::<Vec<_>>(), [("x", Of::Restore)], "{phase:?}");
            assert!(kept.table(now, false).contains("unfinished"));
        }
        let busy = [recalled("cp1", &[("x", None)])];
        assert_eq!(Kept::of(&busy, &[vec![done()]], now).removable(), (0, 0));
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
