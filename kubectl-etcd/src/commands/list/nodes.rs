//! The snapshots that backups have kept on nodes, read where they lie: no byte of them leaves the node.

use std::path::PathBuf;

use etcd_wire::message::CopyFile;
use futures::future::join_all;

use super::NodeArgs;
use super::find::Candidate;
use super::show::Row;
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, EtcdPod, Overrides, Reach};
use crate::kube_system::{self, Served};
use crate::output::{Failed, Outcome, Printer};
use crate::road::Road;
use crate::sidecar::{Operation, TransferError, access, lacks_folder};

/// What was found on the nodes, and what was not.
#[derive(Debug, Default)]
pub(super) struct OnNodes {
    /// Each with its place, `NODE:FOLDER`.
    pub(super) rows: Vec<(String, Row)>,
    /// Nodes that have no such folder.
    lacking: Vec<String>,
    /// Nodes that could not be asked, and why.
    unreached: Vec<(String, Failed)>,
}

impl OnNodes {
    fn of(answers: Vec<(String, Outcome<Vec<Row>>)>, folder: &str) -> OnNodes {
        let mut all = OnNodes::default();
        for (node, answer) in answers {
            match answer {
                Ok(rows) => all.rows.extend(rows.into_iter().map(|row| (format!("{node}:{folder}"), row))),
                Err(failed) if lacks_folder(&failed) => all.lacking.push(node),
                Err(failed) => all.unreached.push((node, failed)),
            }
        }
        all
    }

    /// What is told of nodes without an answer, once the others are shown. A node without the folder has no copies; that none has it is a
    /// mistake.
    pub(super) fn verdict(&self, nodes: usize, folder: &str, printer: Printer) -> Outcome {
        if !self.unreached.is_empty() {
            let message = format!("{} of {nodes} nodes could not be asked for their snapshots", self.unreached.len());
            let reasons = self.unreached.iter().map(|(node, failed)| (node.clone(), failed.one_line()));
            let mut failed = Failed::plain(message).each("nodes", reasons);
            for (_, one) in &self.unreached {
                for hint in &one.hints {
                    if !failed.hints.contains(hint) {
                        failed = failed.hint(hint.clone());
                    }
                }
            }
            return Err(failed.unchanged());
        }
        match self.lacking.as_slice() {
            [] => Ok(()),
            lacking if lacking.len() == nodes => Err(Failed::plain(format!("no node has the folder {folder}"))
                .each("nodes", lacking.iter().map(|node| (node.clone(), "there is no such folder".to_owned())))
                .hint("name the folder that was given to backup --on-node")
                .unchanged()),
            lacking => {
                printer.note(format!("these nodes have no folder {folder}: {}", lacking.join(", ")));
                Ok(())
            }
        }
    }
}

/// Asks the nodes, all at once. Gives how many they are as well.
///
/// # Errors
/// No node is known, the user may not make pods, or the user has interrupted. What fails of one node is told of that node.
pub(super) async fn look(
    args: &NodeArgs,
    folder: &str,
    no_verify: bool,
    context: &Context,
) -> Outcome<(OnNodes, usize)> {
    context.interruptible(ask(args, folder, no_verify, context)).await
}

async fn ask(args: &NodeArgs, folder: &str, no_verify: bool, context: &Context) -> Outcome<(OnNodes, usize)> {
    let connection = context.connection.connect().await?;
    let members = members(args, &connection, context).await?;
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let road = context.keep_track(Road::exec(&connection, &args.sidecar, context.printer));
    // The name of this cluster, for what is of it. Without the right to see the namespace, the UID is shown.
    let served = kube_system::served(&connection).await.ok();
    let (connection, road, served) = (&connection, &road, served.as_ref());
    let asked = members.iter().map(|member| async move {
        let answer = of_node(connection, road, member, served, folder, no_verify).await;
        (member.node.clone(), answer)
    });
    Ok((OnNodes::of(join_all(asked).await, folder), members.len()))
}

/// The nodes that are meant; of each no more than its name has to be known.
async fn members(args: &NodeArgs, connection: &Connection, context: &Context) -> Outcome<Vec<EtcdPod>> {
    let mut nodes = args.nodes.clone();
    if nodes.is_empty() {
        let reach = Reach { pods: args.pods.clone(), ..Reach::default() };
        let overrides = Overrides { reach, ..Overrides::default() };
        let found = discovery::find(connection, context.connection.etcd_namespace(), &overrides, None).await;
        let found = found.map_err(|failed| failed.hint("name the nodes with --nodes"))?;
        nodes.extend(found.unreadable.iter().filter_map(|one| one.node.clone()));
        nodes.extend(found.members.into_iter().map(|member| member.node));
    }
    nodes.retain(|node| !node.is_empty());
    nodes.sort();
    nodes.dedup();
    Ok(nodes.into_iter().map(|node| EtcdPod { node, ..EtcdPod::default() }).collect())
}

async fn of_node(
    connection: &Connection,
    road: &Road,
    member: &EtcdPod,
    served: Option<&Served>,
    folder: &str,
    no_verify: bool,
) -> Outcome<Vec<Row>> {
    let (node, printer) = (&member.node, road.printer());
    let sidecar = road.start(member, Operation::List, Some(folder)).await?;
    let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    session.require("copies")?;
    let found = session.copies(folder).await?;
    if found.omitted > 0 {
        printer.warn(format!("{} more snapshots in {folder} on node {node} are not shown", found.omitted));
    }
    let mut rows = Vec::new();
    for copy in &found.copies {
        let candidate = candidate(node, folder, copy);
        if no_verify {
            rows.push(Row::on_node(&candidate, None, None));
            continue;
        }
        printer.detail(format!("checking {} on node {node}", copy.name));
        rows.push(match session.check_copy(folder, copy).await {
            Ok(checked) => {
                let is_ours = |served: &&Served| Some(&served.uid) == checked.kube_system_uid.as_ref();
                let cluster = served.filter(is_ours).map(|_| connection.cluster.clone());
                Row::on_node(&candidate, Some(&checked), cluster)
            }
            // The sidecar says why this file cannot be read; a road that breaks fails the next request as well.
            Err(failed) => Row::failed(&candidate, &failed),
        });
    }
    drop(session);
    road.release(&sidecar).await;
    Ok(rows)
}

fn candidate(node: &str, folder: &str, copy: &CopyFile) -> Candidate {
    let name = format!("{node}:{folder}/{}", copy.name);
    Candidate { path: PathBuf::from(&name), name, size: copy.size, record: None }
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::CheckedCopy;

    use super::*;

    fn copy() -> Candidate {
        candidate("cp1", "/b", &CopyFile { name: "etcd-prod-20261121T061640Z.db".to_owned(), size: 7 })
    }

    #[test]
    fn a_copy_is_named_with_its_node_and_its_time_is_that_of_its_name() {
        let checked = CheckedCopy { proven: true, revision: Some(9), ..CheckedCopy::default() };
        let row = Row::on_node(&copy(), Some(&checked), Some("prod".to_owned()));
        assert_eq!(row.path, "cp1:/b/etcd-prod-20261121T061640Z.db");
        assert_eq!((row.taken_at.as_deref(), row.state), (Some("2026-11-21T06:16:40Z"), "yes"));
        assert_eq!((row.cluster.as_deref(), row.revision), (Some("prod"), Some(9)));
        let damaged = CheckedCopy { damage: Some("truncated".to_owned()), ..CheckedCopy::default() };
        let row = Row::on_node(&copy(), Some(&damaged), None);
        assert_eq!((row.state, row.reason.as_deref(), row.taken_at), ("no", Some("truncated"), None));
        assert_eq!(Row::on_node(&copy(), None, None).state, "unchecked");
    }

    #[test]
    fn a_node_that_is_not_reached_is_told_and_one_without_the_folder_has_no_copies() {
        let printer = Printer::new(true);
        let lacking = || Failed::plain("does not start").cause("hostPath type check failed: /b is not a directory");
        let row = || vec![Row::on_node(&copy(), None, None)];
        let of = |answers| OnNodes::of(answers, "/b");
        let mixed = of(vec![("cp1".to_owned(), Ok(row())), ("cp2".to_owned(), Err(lacking()))]);
        assert_eq!(mixed.rows[0].0, "cp1:/b");
        assert!(mixed.verdict(2, "/b", printer).is_ok());
        let none = of(vec![("cp1".to_owned(), Err(lacking()))]).verdict(1, "/b", printer).unwrap_err();
        assert!(none.message.contains("no node has the folder /b"), "{none}");
        let gone = Failed::plain("gone").hint("kubectl get node cp2");
        let gone = of(vec![("cp1".to_owned(), Ok(row())), ("cp2".to_owned(), Err(gone))]);
        let told = gone.verdict(2, "/b", printer).unwrap_err();
        assert!(told.message.starts_with("1 of 2 nodes") && told.hints == ["kubectl get node cp2"], "{told}");
        assert_eq!(gone.rows.len(), 1);
    }
}
