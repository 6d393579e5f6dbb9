//! The survey for people. Pure.

use etcd_wire::survey::{EtcdState, EtcdSurvey};

use super::judge::{Report, name};
use crate::output::Table;

/// Most keys of a member that are shown; JSON has more.
const KEYS: usize = 10;

/// A line a data directory, then what follows.
pub(super) fn table(report: &Report) -> String {
    let mut table = Table::new(&["NODE", "ETCD", "TERM", "INDEX", "REVISION", "ONLY IN LOG", "DATA DIRECTORY", "LOG"]);
    for node in &report.nodes {
        let found = node.survey.as_ref().map(|survey| survey.etcd.as_slice()).unwrap_or_default();
        if found.is_empty() {
            let state = if node.error.is_some() { "not reached" } else { "not found" };
            table.row(cells(&node.node, state, [""; 6].map(str::to_owned)));
        }
        for (survey, etcd) in node.survey.iter().flat_map(|survey| survey.etcd.iter().map(move |etcd| (survey, etcd))) {
            table.row(row(report, &node.node, &name(&node.node, survey, etcd), etcd));
        }
    }
    let mut out = table.to_string();
    for node in &report.nodes {
        for etcd in node.survey.iter().flat_map(|survey| &survey.etcd) {
            out.push_str(&only_in_log(&node.node, etcd));
        }
    }
    if let [best, ..] = &report.best[..] {
        let best_node = best.split(' ').next().unwrap_or(best);
        let data_dir = report.nodes.iter().find(|node| node.node == best_node).and_then(|node| {
            let survey = node.survey.as_ref()?;
            let mut with_log = survey.etcd.iter().filter(|etcd| etcd.log.is_some());
            Some(with_log.find(|etcd| name(&node.node, survey, etcd) == *best)?.data_dir.clone())
        });
        let data_dir = data_dir.unwrap_or_else(|| "DIR".to_owned());
        let equal = match &report.best[1..] {
            [] => String::new(),
            more => format!(" (as much as {})", more.join(", ")),
        };
        if report.quorum.as_ref().is_some_and(|quorum| quorum.running >= quorum.needed) {
            out.push_str(&format!("\nNode {best} has the most{equal}. Nothing was changed.\n"));
            return out;
        }
        out.push_str(&format!(
            "\nNode {best} has the most{equal}. The quorum is rebuilt from it with\n  \
             kubectl etcd recover --from best\nBy hand, with etcd stopped on all nodes, a snapshot with every entry of its log is made on this node:\n  \
             etcd-sidecar recover --data-dir {data_dir} --snapshot /var/lib/recovered.db\nThe whole way is in docs/RECOVER.md. Nothing was changed.\n"
        ));
    }
    out
}

fn cells(node: &str, state: &str, rest: [String; 6]) -> Vec<String> {
    [node.to_owned(), state.to_owned()].into_iter().chain(rest).collect()
}

fn row(report: &Report, node: &str, name: &str, etcd: &EtcdSurvey) -> Vec<String> {
    let unknown = || if etcd.is_bare() { "<none>" } else { "<unknown>" }.to_owned();
    let state = match etcd.state {
        EtcdState::Running => "running",
        EtcdState::Stopped => "stopped",
        // No file is there that a process could have open.
        EtcdState::Unknown if etcd.is_bare() && etcd.database.is_none() => "stopped",
        EtcdState::Unknown => "<unknown>",
    };
    let log = etcd.log.as_ref();
    let standing = report.members.iter().find(|member| member.name == name);
    let rest = [
        log.map_or_else(unknown, |log| log.last.term.to_string()),
        log.map_or_else(unknown, |log| log.last.index.to_string()),
        etcd.database
            .as_ref()
            .filter(|_| !etcd.is_bare())
            .map_or_else(unknown, |database| database.revision.to_string()),
        etcd.only_in_log.as_ref().map_or_else(unknown, |only| only.entries.to_string()),
        etcd.data_dir.clone(),
        standing.map_or_else(unknown, |member| member.standing.clone()),
    ];
    cells(node, state, rest)
}

/// The keys that the database of a member lacks.
fn only_in_log(node: &str, etcd: &EtcdSurvey) -> String {
    let Some(only) = etcd.only_in_log.as_ref().filter(|only| !only.keys.is_empty()) else { return String::new() };
    let mut out = format!("\nIn the log of node {node}, and not in its database:\n");
    for key in only.keys.iter().take(KEYS) {
        let what = match (key.puts > 0, key.deletes > 0) {
            (true, true) => "put and delete",
            (false, true) => "delete",
            _ => "put",
        };
        let range = key.range_end.as_ref().map(|end| format!(" up to {end}")).unwrap_or_default();
        let certain = if key.certain { "" } else { ", if the comparison of a transaction holds" };
        out.push_str(&format!("  {what} {}{range}{certain}\n", key.key));
    }
    let more = (only.keys.len().saturating_sub(KEYS) as u64).saturating_add(only.more_changes);
    if more > 0 {
        out.push_str(&format!("  and {more} more\n"));
    }
    out
}
