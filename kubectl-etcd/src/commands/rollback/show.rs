//! The plan of a rollback for people.

use std::fmt::Write as _;

use etcd_doctor::CameBack;
use etcd_wire::restore::{RestoreKind, RestorePlan};

use super::plan::Plan;
use crate::commands::proposal::{Changes, Fields, Proposal};
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Table, bytes, visible};
use crate::transaction::{LOWER, Report};

/// What comes back.
const DATA: &str = "the old data";

impl Proposal for Plan {
    fn text(&self, wide: bool) -> String {
        let mut fields = Fields::default();
        fields.line("Cluster", &self.cluster);
        // Over SSH no API server is asked.
        if !self.server.is_empty() {
            fields.line("Server", &self.server);
        }
        // The only one that there is stands below.
        if self.restores.len() > 1 || self.restore.is_none() && !self.restores.is_empty() {
            return format!(
                "{}\nRestores that can be rolled back (--id ID):\n\n{}\n{}",
                fields.into_text(),
                self.choices(),
                self.chosen(wide)
            );
        }
        format!("{}{}", fields.into_text(), self.chosen(wide))
    }

    fn transaction(&self) -> Option<&RestorePlan> {
        self.transaction.as_ref().filter(|_| self.refusals.is_empty())
    }

    fn refused(&self) -> Failed {
        let failed = Failed::new(Exit::Refused, format!("cannot roll back cluster {}", self.cluster));
        let failed = failed.causes(self.refusals.iter().cloned());
        match self.another() {
            Some(id) => failed.hint(format!(
                "the old data of another restore is on all nodes; to roll that one back\n  kubectl etcd rollback --id {}",
                quoted(id)
            )),
            None => failed,
        }
    }

    fn came_back(&self) -> Vec<CameBack> {
        self.changes.as_ref().map(Changes::came_back).unwrap_or_default()
    }

    fn complete(&self, report: &mut Report) {
        if let Some(changes) = &self.changes {
            report.nodes_gone.clone_from(&changes.nodes_gone);
            report.masters_gone.clone_from(&changes.masters_gone);
        }
    }
}

impl Plan {
    /// The restores that could be undone.
    fn choices(&self) -> Table {
        let mut table = Table::new(&["ID", "BEGUN", "BY", "OLD DATA"]);
        for choice in &self.restores {
            let kept = if choice.missing.is_empty() { "on all nodes".to_owned() } else { choice.missing.join("; ") };
            let begun = choice.begun_at.clone().unwrap_or_default();
            table.row(vec![choice.id.clone(), begun, choice.started_by.clone(), kept]);
        }
        table
    }

    /// What the rollback of the restore that was chosen would do.
    fn chosen(&self, wide: bool) -> String {
        let Some(restore) = &self.restore else { return String::new() };
        let mut fields = Fields::default();
        let begun = restore.begun_at.as_deref().unwrap_or("at an unknown time");
        fields.line("Back to", &format!("before restore {}, begun {begun} by {}", restore.id, restore.started_by));
        let kind = self.transaction.as_ref().map(|transaction| &transaction.kind);
        match kind {
            Some(RestoreKind::Aside { raise: false, .. }) => {
                fields.line("Watches", &format!("{LOWER}. On every node: systemctl restart kubelet"));
            }
            Some(_) => fields.line("Revision", "raised above all that clients have seen"),
            None => {}
        }
        let nodes = self.transaction.as_ref().map_or(self.nodes.len(), |transaction| transaction.nodes.len());
        self.outage.add_to(&mut fields, nodes, self.transaction.as_ref());
        if let Some(transaction) = &self.transaction {
            if !transaction.not_reached.is_empty() {
                fields.line("Left out", &format!("{} (as by that restore)", transaction.not_reached.join(", ")));
            }
            fields.line("Kept", "the current data, on each node; roll back again to return to it");
            fields.line("ID", &transaction.id);
        }
        let mut headers = vec!["NODE", "MEMBER", "SIZE"];
        if wide {
            headers.push("OLD DATA");
        }
        let mut table = Table::new(&headers);
        for node in &self.nodes {
            let mut row = vec![node.node.clone(), node.member.clone(), bytes(node.aside_bytes)];
            if wide {
                row.push(node.aside.clone().unwrap_or_default());
            }
            table.row(row);
        }
        let mut text = format!("{}\n{table}", fields.into_text());
        match (&self.changes, &self.changes_unknown) {
            (Some(changes), _) => text.push_str(&changes.text(DATA, wide)),
            (None, Some(why)) => {
                let _infallible = writeln!(
                    text,
                    "\nWhich objects would be deleted, come back or change back is not known:\n  {}",
                    visible::name(why)
                );
            }
            (None, None) => {}
        }
        text
    }
}
