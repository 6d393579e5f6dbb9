//! The plan of a defragmentation, and what came of it.

use etcd_members::defrag::{self, Step};
use etcd_members::space::Alarm;
use etcd_members::{Seen, role};
use serde::Serialize;

use super::carry_out::Done;
use crate::live_members::Live;
use crate::output::{API_VERSION, Format, Outcome, Printer, Table, bytes, print_data};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster_id: String,
    /// Whether nothing was done yet.
    planned: bool,
    threshold_percent: u64,
    members: Vec<Row>,
    /// How the leadership goes, in this order.
    leader_moves: Vec<Move>,
    /// Whether the alarm NOSPACE is raised at the beginning.
    full: bool,
    /// Whether the alarm was disarmed.
    disarmed: bool,
    /// Bytes that were given back in all.
    freed: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    from: String,
    to: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(skip)]
    id: u64,
    name: String,
    role: Option<&'static str>,
    db_size: Option<u64>,
    reclaimable: Option<u64>,
    /// Its place in the order, from 1; null if it is left.
    order: Option<usize>,
    /// Why it is left.
    left: Option<String>,
    db_size_after: Option<u64>,
    freed: Option<u64>,
}

impl Row {
    fn of(member: &Seen, steps: &[Step], threshold: u64, view: &etcd_members::View) -> Row {
        let ids = steps.iter().filter_map(|step| if let Step::Defragment(id) = step { Some(*id) } else { None });
        let status = member.status.as_ref();
        Row {
            id: member.id,
            name: member.title(),
            role: status.map(role),
            db_size: status.and_then(|status| u64::try_from(status.db_size).ok()),
            reclaimable: defrag::reclaimable(member),
            order: ids.into_iter().position(|id| id == member.id).map(|place| place + 1),
            left: defrag::left(view, member, threshold),
            db_size_after: None,
            freed: None,
        }
    }

    fn action(&self, moves: &[Move]) -> String {
        match (&self.left, self.freed, self.order) {
            (_, Some(freed), _) => format!("gave back {}", bytes(freed)),
            (Some(why), ..) => format!("left: it {why}"),
            (None, None, Some(order)) => match moves.iter().find(|one| one.from == self.name) {
                Some(one) => format!("{order}. lead by {}, then defragment", one.to),
                None => format!("{order}. defragment"),
            },
            (None, None, None) => "left".to_owned(),
        }
    }
}

impl Report {
    pub(super) fn planned(live: &Live<'_>, steps: &[Step], threshold: u64, alarm: &Alarm) -> Report {
        let view = etcd_members::View::new(live.listed().iter().map(|one| one.seen.clone()).collect());
        let moves = steps.iter().filter_map(|step| match step {
            Step::MoveLeader { from, to } => Some(Move { from: live.title(*from), to: live.title(*to) }),
            Step::Defragment(_) => None,
        });
        Report {
            api_version: API_VERSION,
            kind: "Defragmentation",
            cluster_id: format!("{:x}", live.id),
            planned: true,
            threshold_percent: threshold,
            members: view.members().iter().map(|member| Row::of(member, steps, threshold, &view)).collect(),
            leader_moves: moves.collect(),
            full: *alarm != Alarm::Silent,
            disarmed: false,
            freed: 0,
        }
    }

    /// The same with what came of it.
    pub(super) fn done(mut self, done: &Done<'_>, disarmed: bool) -> Report {
        for row in &mut self.members {
            if let Some((_, before, after)) = done.freed.iter().find(|(id, ..)| *id == row.id) {
                (row.db_size, row.db_size_after) = (Some(*before), Some(*after));
                row.freed = Some(before.saturating_sub(*after));
            }
        }
        let moves = done.moved.iter().map(|(from, to)| Move { from: from.clone(), to: to.clone() });
        self.leader_moves = moves.collect();
        self.freed = self.members.iter().filter_map(|row| row.freed).sum();
        Report { planned: false, disarmed, ..self }
    }

    pub(super) fn freed(&self) -> u64 {
        self.freed
    }

    pub(super) fn print(&self, printer: Printer, format: Format) -> Outcome {
        print_data(printer, format, self, || self.text())
    }

    pub(super) fn text(&self) -> String {
        let size = |size: Option<u64>| size.map_or("-".to_owned(), bytes);
        let column = if self.planned { "RECLAIMABLE" } else { "SIZE-AFTER" };
        let mut table = Table::new(&["MEMBER", "ROLE", "SIZE", column, "ACTION"]);
        for row in &self.members {
            let role = row.role.unwrap_or("-").to_owned();
            let last = if self.planned { row.reclaimable } else { row.db_size_after };
            table.row(vec![row.name.clone(), role, size(row.db_size), size(last), row.action(&self.leader_moves)]);
        }
        let mut text = table.to_string();
        if self.planned && self.full {
            text.push_str("\nThe alarm NOSPACE is raised; it is disarmed at the end if there is room again.\n");
        }
        text
    }
}
