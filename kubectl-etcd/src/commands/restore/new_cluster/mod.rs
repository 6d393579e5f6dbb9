//! `--new-cluster UID`: new machines take over the state of a cluster whose machines are all lost. Whose a file is, and what of the lost cluster will
//! not work on the machines that are there.

mod compare;
mod files;
mod lost;
mod present;
mod show;
mod side;

use std::collections::{BTreeMap, BTreeSet};

use etcd_doctor::NodeLeft;
use etcd_store::ClusterUid;
use serde::Serialize;

use compare::{Comparison, compare};
pub(super) use files::files;
pub(super) use lost::{Lost, binds_administrators, keeps, node_of, nodes_in};
pub(super) use present::{Around, present};
pub(super) use side::{Known, PublicFiles, Side};

/// Where the whole way is described.
const DOCUMENT: &str = "docs/RESTORE.md, \"All machines are gone\"";

/// Why a file is refused for the cluster that it is of, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotThis {
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

/// Whose data the running cluster has, by namespace kube-system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running<'a> {
    /// The cluster with this UID.
    Of(&'a str),
    /// Nobody's: every member says that there is no such namespace, as where the data was deleted.
    Nobodys,
    /// Nobody can tell.
    Unknown,
}

/// Whether a file may be restored here, by the UIDs of namespace kube-system: of the file, of the running cluster, and of `--new-cluster`. `command` is the
/// restore as it is typed, without that flag; `None` where the flag cannot be given.
///
/// # Errors
/// Why not.
pub(super) fn permitted(
    file: Option<&str>,
    running: Running<'_>,
    named: Option<&ClusterUid>,
    command: Option<&str>,
) -> Result<(), NotThis> {
    let not = |why: String, hint: Option<String>| Err(NotThis { why, hint });
    let named = named.map(ClusterUid::as_str);
    match (file, running) {
        (None, _) => {
            not("cannot tell which cluster the file is from: it has no readable namespace kube-system".to_owned(), None)
        }
        (_, Running::Unknown) => {
            not("cannot identify this cluster: no UID of its namespace kube-system is known".to_owned(), None)
        }
        (Some(file), Running::Nobodys) if named.is_none() => not(
            "this etcd has no namespace kube-system: its data was deleted, or it is no Kubernetes cluster's".to_owned(),
            command.map(|command| {
                format!("if this is the cluster of the file, name the UID of its namespace kube-system\n  {command} --new-cluster {file}")
            }),
        ),
        (Some(file), Running::Of(running)) if file == running => match named {
            None => Ok(()),
            Some(_) => not(
                format!("--new-cluster is not needed: the file is of this cluster, whose UID is {running}"),
                command.map(|command| format!("leave the flag out\n  {command}")),
            ),
        },
        (Some(file), Running::Of(_) | Running::Nobodys) if named == Some(file) => Ok(()),
        (Some(file), running) => match (named, running) {
            (None, Running::Of(running)) => not(
                format!(
                    "the file is another cluster's: namespace kube-system has UID {file} in the file, and {running} in this cluster"
                ),
                command.map(|command| {
                    format!("if all machines of that cluster are lost, and this cluster is to take over its state, see {DOCUMENT}\n  {command} --new-cluster {file}")
                }),
            ),
            (named, _) => not(
                format!("--new-cluster names cluster {}, and the file is of cluster {file}", named.unwrap_or("none")),
                Some("see which clusters a store has backups of\n  kubectl etcd list STORE --all-clusters".to_owned()),
            ),
        },
    }
}

/// What a plan says of the lost cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewCluster {
    /// UID of namespace kube-system of the lost cluster.
    lost_uid: String,
    /// That of the cluster that is in place.
    replaced_uid: String,
    /// What was compared, and what could not be.
    comparisons: Vec<Comparison>,
    /// Nodes of the lost cluster that are no machines here, with what is bound to them.
    nodes_without_machine: Vec<NodeLeft>,
}

impl NewCluster {
    /// Compares both clusters. `pods` are those of the snapshot, by their nodes, and `leases` the names of nodes that have one.
    pub(super) fn of(
        [lost_uid, replaced_uid]: [&str; 2],
        lost: &Side,
        present: &Side,
        pods: &BTreeMap<String, Vec<String>>,
        leases: &BTreeSet<String>,
    ) -> NewCluster {
        let machines = present.nodes.as_ref().ok();
        let gone = |name: &&String| machines.is_some_and(|machines| !machines.contains_key(*name));
        // A node whose object is gone already may have left pods and a lease.
        let names: BTreeSet<&String> =
            lost.nodes.iter().flat_map(BTreeMap::keys).chain(pods.keys()).chain(leases).filter(gone).collect();
        let left = |node: &String| NodeLeft {
            node: node.clone(),
            pods: pods.get(node).cloned().unwrap_or_default(),
            lease: leases.contains(node),
        };
        NewCluster {
            lost_uid: lost_uid.to_owned(),
            replaced_uid: replaced_uid.to_owned(),
            comparisons: compare(lost, present),
            nodes_without_machine: names.into_iter().map(left).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const HERE: &str = "11111111-2222-4333-8444-555555555555";
    const COMMAND: &str = "kubectl etcd restore a.db";

    #[test]
    fn a_file_is_permitted_by_the_cluster_that_it_is_of() {
        let uid = |text: &str| text.parse::<ClusterUid>().expect("a UID");
        let judge = |file, running: Option<&'static str>, named: Option<&str>| {
            let running = running.map_or(Running::Unknown, |running| match running {
                "" => Running::Nobodys,
                running => Running::Of(running),
            });
            permitted(file, running, named.map(uid).as_ref(), Some(COMMAND))
        };
        assert_eq!(judge(Some(HERE), Some(HERE), None), Ok(()));
        assert_eq!(judge(Some(LOST), Some(HERE), Some(LOST)), Ok(()));
        assert_eq!(judge(Some(LOST), Some(""), Some(LOST)), Ok(()));
        for (file, running, named, why, hint) in [
            // Without the flag: the flag, the UID and the document are named.
            (Some(LOST), Some(HERE), None, "the file is another cluster's", &["--new-cluster", LOST, "RESTORE.md"][..]),
            (Some(LOST), Some(HERE), Some(HERE), "names cluster 11111111", &["kubectl etcd list"]),
            (Some(HERE), Some(HERE), Some(HERE), "--new-cluster is not needed", &["leave the flag out"]),
            (Some(HERE), Some(HERE), Some(LOST), "--new-cluster is not needed", &["leave the flag out"]),
            (None, Some(HERE), Some(LOST), "cannot tell which cluster the file is from", &[]),
            (Some(LOST), None, Some(LOST), "cannot identify this cluster", &[]),
            // Data that was deleted.
            (Some(LOST), Some(""), None, "this etcd has no namespace kube-system", &["--new-cluster", LOST]),
            (Some(LOST), Some(""), Some(HERE), "names cluster 11111111", &["kubectl etcd list"]),
        ] {
            let not = judge(file, running, named).expect_err(why);
            assert!(not.why.contains(why), "{not:?}");
            let said = not.hint.unwrap_or_default();
            assert!(hint.iter().all(|part| said.contains(part)) && hint.is_empty() == said.is_empty(), "{said}");
        }
        // recover has no such flag.
        let not = permitted(Some(LOST), Running::Of(HERE), None, None).expect_err("another");
        assert!(not.why.contains("another cluster's") && not.hint.is_none(), "{not:?}");
    }

    #[test]
    fn nodes_without_a_machine_are_named_with_their_pods_and_leases() {
        let (mut lost, mut present) = (side::tests::side(), side::tests::side());
        lost.nodes = Ok([("cp1".into(), vec![]), ("old".into(), vec![])].into());
        present.nodes = Ok([("cp1".into(), vec![])].into());
        let pods = [("old".to_owned(), vec!["shop/web".to_owned()]), ("older".to_owned(), vec!["shop/db".to_owned()])];
        let leases = BTreeSet::from(["cp1".to_owned(), "old".to_owned()]);
        let found = NewCluster::of([LOST, HERE], &lost, &present, &pods.clone().into(), &leases);
        let left = |node: &str, pod: &str, lease| NodeLeft { node: node.into(), pods: vec![pod.into()], lease };
        assert_eq!(found.nodes_without_machine, [left("old", "shop/web", true), left("older", "shop/db", false)]);
        // Where nobody knows which machines there are, none is called gone.
        present.nodes = Err("forbidden".into());
        assert!(NewCluster::of([LOST, HERE], &lost, &present, &pods.into(), &leases).nodes_without_machine.is_empty());
    }
}
