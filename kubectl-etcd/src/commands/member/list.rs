//! The member list, for people and for scripts.

use etcd_members::space::NO_SPACE;
use etcd_members::{View, alarms, role};
use serde::Serialize;

use crate::live_members::{Listed, Live};
use crate::output::{API_VERSION, Exit, Failed, Format, Outcome, Printer, Table, print_data};
use crate::sidecar::Via;

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For people with wide terminals.
    Wide,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// A name a line.
    Name,
}

impl Output {
    /// The format of what is no list.
    ///
    /// # Errors
    /// Usage: only a list has such a format.
    pub(super) fn of_change(self) -> Outcome<Format> {
        match self {
            Output::Table => Ok(Format::Table),
            Output::Json => Ok(Format::Json),
            Output::Yaml => Ok(Format::Yaml),
            Output::Wide | Output::Name => {
                Err(Failed::new(Exit::Usage, "-o wide and -o name are for member list").unchanged())
            }
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: &'static str,
    kind: &'static str,
    cluster_id: String,
    /// How many voters have to agree.
    quorum: usize,
    members: Vec<Row>,
}

/// A member of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    name: String,
    id: String,
    node: Option<String>,
    /// `leader`, `follower`, `learner`, `no-leader`; null if the member does not answer.
    role: Option<&'static str>,
    learner: bool,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    /// `healthy`, `full`, `unhealthy`, `silent`, or `unstarted`.
    status: &'static str,
    /// What is wrong.
    trouble: Option<String>,
    version: Option<String>,
    raft_applied_index: Option<u64>,
    via: Option<Via>,
}

impl Row {
    fn of(one: &Listed, view: &View) -> Row {
        let said = one.seen.status.as_ref();
        let trouble = view.trouble(&one.seen);
        let full = alarms(&view.statuses(), one.seen.id).iter().any(|alarm| alarm == NO_SPACE);
        Row {
            name: one.seen.name.clone(),
            id: format!("{:x}", one.seen.id),
            node: one.node.clone(),
            role: said.map(role),
            learner: one.seen.learner,
            peer_urls: one.peer_urls.clone(),
            client_urls: one.client_urls.clone(),
            status: match (&trouble, said) {
                (None, _) if full => "full",
                (None, _) => "healthy",
                (Some(_), Some(_)) => "unhealthy",
                (Some(_), None) if one.seen.name.is_empty() => "unstarted",
                (Some(_), None) => "silent",
            },
            trouble: trouble.map(|trouble| match one.error.as_ref().filter(|_| said.is_none()) {
                Some(error) => format!("{trouble}: {error}"),
                None => trouble,
            }),
            version: said.map(|status| status.version.clone()),
            raft_applied_index: said.map(|status| status.raft_applied_index),
            via: one.via,
        }
    }

    /// What the member is called.
    fn title(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// All members.
pub(super) fn rows(live: &Live<'_>, view: &View) -> Vec<Row> {
    live.listed().iter().map(|one| Row::of(one, view)).collect()
}

/// Prints the list, and warns of what is wrong.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn print(live: &Live<'_>, output: Output, printer: Printer) -> Outcome {
    let view = live.view()?;
    let list = List {
        api_version: API_VERSION,
        kind: "MemberList",
        cluster_id: format!("{:x}", live.id),
        quorum: view.quorum(),
        members: rows(live, view),
    };
    let format = match output {
        Output::Name => {
            let names: String = list.members.iter().map(|row| format!("{}\n", row.title())).collect();
            return printer.data(&names);
        }
        Output::Json => Format::Json,
        Output::Yaml => Format::Yaml,
        Output::Table | Output::Wide => Format::Table,
    };
    print_data(printer, format, &list, || table(&list.members, output == Output::Wide))?;
    for row in &list.members {
        if let Some(trouble) = &row.trouble {
            printer.warn(format!("member {} {trouble}", row.title()));
        }
    }
    Ok(())
}

fn table(rows: &[Row], wide: bool) -> String {
    let mut headers = vec!["NAME", "ID", "NODE", "ROLE", "PEER-URLS", "CLIENT-URLS", "STATUS"];
    if wide {
        headers.extend(["VERSION", "INDEX", "VIA"]);
    }
    let mut table = Table::new(&headers);
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let listed = if row.learner { "learner" } else { "voter" };
        let mut cells = vec![
            row.title().to_owned(),
            row.id.clone(),
            text(row.node.clone()),
            row.role.unwrap_or(listed).to_owned(),
            row.peer_urls.join(","),
            row.client_urls.join(","),
            row.status.to_owned(),
        ];
        if wide {
            let via = row.via.map(|via| via.word().to_owned());
            cells.extend([
                text(row.version.clone()),
                text(row.raft_applied_index.map(|index| index.to_string())),
                text(via),
            ]);
        }
        table.row(cells);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use etcd_members::Seen;
    use etcd_wire::message::{Alarm, MemberStatus};

    use super::*;

    fn listed(id: u64, name: &str, status: Option<MemberStatus>) -> Listed {
        let seen = Seen { id, name: name.into(), learner: false, status, quota: 0 };
        let error = seen.status.is_none().then(|| "no answer".to_owned());
        Listed { seen, node: None, peer_urls: vec!["https://p".into()], client_urls: Vec::new(), via: None, error }
    }

    #[test]
    fn a_row_says_how_the_member_is() {
        let status = |id| MemberStatus { member_id: id, leader_id: 1, version: "3.5.1".into(), ..Default::default() };
        let full = MemberStatus { alarms: vec![Alarm { member_id: 2, kind: NO_SPACE.into() }], ..status(2) };
        let lost = MemberStatus { leader_id: 0, ..status(3) };
        let all = [
            listed(1, "cp1", Some(status(1))),
            listed(2, "cp2", Some(full)),
            listed(3, "cp3", Some(lost)),
            listed(4, "cp4", None),
            listed(0xab, "", None),
        ];
        let view = View::new(all.iter().map(|one| one.seen.clone()).collect());
        let rows: Vec<Row> = all.iter().map(|one| Row::of(one, &view)).collect();
        let said: Vec<_> = rows.iter().map(|row| (row.title(), row.role.unwrap_or("?"), row.status)).collect();
        assert_eq!(
            said,
            [
                ("cp1", "leader", "healthy"),
                ("cp2", "follower", "full"),
                ("cp3", "no-leader", "unhealthy"),
                ("cp4", "?", "silent"),
                ("ab", "?", "unstarted"),
            ]
        );
        assert_eq!(rows[3].trouble.as_deref(), Some("does not answer: no answer"));
        let text = table(&rows, true);
        assert!(text.lines().nth(4).is_some_and(|line| line.starts_with("cp4") && line.contains(" voter ")), "{text}");
    }
}
