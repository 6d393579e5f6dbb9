//! The plan of a restore for people.

use std::fmt::Write as _;

use etcd_doctor::CameBack;
use etcd_wire::facts::Encryption;
use etcd_wire::restore::RestorePlan;

use super::at_rest::describe;
use super::new_cluster::NewCluster;
use super::node_role::NodeRole;
use super::plan::Plan;
use super::room::Room;
use crate::commands::proposal::{Changes, Fields, Proposal};
use crate::output::{Exit, Failed, Table, bytes, seconds};
use crate::transaction::{LOWER, Report};

/// What comes back.
const DATA: &str = "the snapshot";

impl Proposal for Plan {
    fn text(&self, wide: bool) -> String {
        self.whole_text(wide)
    }

    fn transaction(&self) -> Option<&RestorePlan> {
        self.transaction.as_ref().filter(|_| self.refusals.is_empty())
    }

    fn refused(&self) -> Failed {
        let (file, cluster) = (&self.snapshot.file, &self.cluster.name);
        let failed = Failed::new(Exit::Refused, format!("cannot restore {file} to cluster {cluster}"));
        self.hints.iter().fold(failed.causes(self.refusals.clone()), Failed::hint)
    }

    fn came_back(&self) -> Vec<CameBack> {
        match &self.new_cluster {
            Some(new_cluster) => new_cluster.came_back(),
            None => {
                let mut back = self.changes.as_ref().map(Changes::came_back).unwrap_or_default();
                // Where etcd has lost its data, the nodes of the restore itself were no nodes before.
                let restored = || self.members.iter().filter(|member| member.role == NodeRole::Restored);
                back.retain(|one| restored().all(|member| member.node != one.node));
                back
            }
        }
    }

    fn complete(&self, report: &mut Report) {
        report.snapshot_revision = Some(self.revision.snapshot);
        if let Some(changes) = &self.changes {
            report.nodes_gone.clone_from(&changes.nodes_gone);
            report.masters_gone.clone_from(&changes.masters_gone);
        }
        if let Some(new_cluster) = &self.new_cluster {
            new_cluster.complete(report);
        }
    }
}

impl Plan {
    /// What would be done, what would be lost, and how to undo it; all objects if it may be wide.
    pub(super) fn whole_text(&self, wide: bool) -> String {
        let mut fields = Fields::default();
        self.before_and_after(&mut fields);
        self.outage_and_undo(&mut fields);
        let mut text = fields.into_text();
        let _infallible = write!(text, "\n{}", self.table(wide));
        text.push_str(&self.new_cluster.as_ref().map(NewCluster::text).unwrap_or_default());
        match (&self.changes, &self.changes_unknown) {
            (Some(changes), _) => text.push_str(&changes.text(DATA, wide)),
            (None, Some(_)) => {
                text.push_str("\nWhich objects would be deleted, come back or change back is not known.\n")
            }
            (None, None) => {}
        }
        text
    }

    fn before_and_after(&self, fields: &mut Fields) {
        let (cluster, snapshot, revision) = (&self.cluster, &self.snapshot, &self.revision);
        let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "<unknown>".to_owned());
        fields.line("Cluster", &format!("{}, Kubernetes {}", cluster.name, unknown(&cluster.kubernetes_version)));
        // Over SSH no API server is asked.
        if !cluster.server.is_empty() {
            fields.line("Server", &cluster.server);
        }
        fields.line(
            "Snapshot",
            &format!(
                "{}, {}, {} keys, of etcd {}",
                snapshot.file,
                bytes(snapshot.total_size),
                snapshot.keys,
                snapshot.etcd
            ),
        );
        if let Some(new_cluster) = &self.new_cluster {
            fields.line("Replaces", &new_cluster.line());
        }
        let taken = match snapshot.age_seconds {
            Some(age) => format!("{}, {} ago", unknown(&snapshot.taken_at), seconds(age)),
            None => unknown(&snapshot.taken_at),
        };
        fields.line("Taken", &taken);
        let now = revision.highest.map(|highest| format!(", {highest} in the cluster now")).unwrap_or_default();
        let raised = match revision.bump {
            0 => "not raised".to_owned(),
            bump => format!("raised by {bump} to {}", revision.restored),
        };
        fields.line("Revision", &format!("{} in the snapshot{now}; {raised}", revision.snapshot));
        if revision.is_lower() {
            fields.line("Watches", LOWER);
        }
        let beside_etcd = self.members.iter().filter_map(|member| Some((&member.node, member.encryption.as_ref()?)));
        let mut servers = beside_etcd.chain(self.api_servers.iter().map(|one| (&one.node, &one.encryption)));
        let encrypts = |(_, encryption): (_, &Encryption)| describe(encryption) != describe(&Encryption::Off);
        if !snapshot.encryption_keys.is_empty() || servers.clone().any(encrypts) {
            let file = Encryption::Keys { keys: snapshot.encryption_keys.clone() };
            let servers = servers.by_ref().map(|(node, encryption)| format!("; {node} {}", describe(encryption)));
            fields.line("Encrypted", &format!("snapshot {}{}", describe(&file), servers.collect::<String>()));
        }
    }

    fn outage_and_undo(&self, fields: &mut Fields) {
        let nodes = self.members.iter().filter(|member| member.role != NodeRole::NotReached).count();
        let nodes = nodes + self.api_servers.len();
        self.outage.add_to(fields, nodes, self.transaction.as_ref());
        let stopped = self.members.iter().filter(|member| member.role == NodeRole::Stopped);
        let mut left_out: Vec<String> = stopped.map(|member| format!("{} (stays stopped)", member.node)).collect();
        left_out.extend(self.not_reached.iter().map(|name| format!("{name} (not reached)")));
        if !left_out.is_empty() {
            fields.line("Left out", &left_out.join(", "));
        }
        fields.line("Kept", "the current data, on each node in DATA DIR/.kubectl-etcd/ID/old");
        fields.line("Undo", self.way_back);
        if let Some(transaction) = &self.transaction {
            fields.line("ID", &transaction.id);
        }
    }

    fn table(&self, wide: bool) -> Table {
        let mut headers = vec!["NODE", "MEMBER", "ETCD", "REVISION", "NEEDS", "FREE"];
        if wide {
            headers.push("DATA DIR");
        }
        let mut table = Table::new(&headers);
        for member in &self.members {
            let room =
                |figure: fn(&Room) -> u64| member.disk.as_ref().map(|room| bytes(figure(room))).unwrap_or_default();
            let mut row = vec![
                member.node.clone(),
                member.name.clone(),
                member.etcd_version.clone().unwrap_or_default(),
                member.revision.map(|revision| revision.to_string()).unwrap_or_default(),
                room(|room| room.needed_bytes),
                room(|room| room.free_bytes),
            ];
            if wide {
                row.push(member.data_dir.clone().unwrap_or_default());
            }
            table.row(row);
        }
        for one in &self.api_servers {
            let mut row = vec![one.node.clone(), "<API server>".to_owned()];
            row.resize(headers.len(), String::new());
            table.row(row);
        }
        table
    }
}
