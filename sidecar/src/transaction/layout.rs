//! Where a restore keeps its things on a node.

use std::path::Path;

use etcd_wire::restore::{RestoreKind, RestoreNode, RestorePlan};
use etcd_wire::{Failure, FailureCode};

use super::units::NODE;
use crate::node::Place;
use crate::node::dir::OURS;

/// Journals, outside of everything that is exchanged.
pub(crate) const STATE: &str = "/var/lib/kubectl-etcd";
/// The participant's manifest among the node's static pods.
pub(super) const MANIFEST: &str = "kubectl-etcd-restore.yaml";

/// The name of data on which etcd ran until its restore was rolled back.
pub(super) const SERVED: &str = "served";

/// A plan that was checked, as one of its nodes sees it.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    plan: RestorePlan,
    index: usize,
    state: Place,
}

impl Layout {
    /// Checks a plan and finds `node` in it.
    ///
    /// # Errors
    /// [`FailureCode::BadRequest`]: names that are no names, paths that are not absolute, a node or coordinator that is not there.
    pub(crate) fn new(plan: RestorePlan, node: &str) -> Result<Layout, Failure> {
        Layout::at(plan, node, Path::new(STATE))
    }

    pub(super) fn at(plan: RestorePlan, node: &str, state: &Path) -> Result<Layout, Failure> {
        let wrong = |what: String| Failure::new(FailureCode::BadRequest, format!("the plan is not in order: {what}"));
        let of = match &plan.kind {
            RestoreKind::Aside { of, .. } => Some(of),
            RestoreKind::Snapshot { .. } => None,
        };
        if let Some(id) = [Some(&plan.id), of].into_iter().flatten().find(|id| !is_id(id)) {
            return Err(wrong(format!("{id:?} is no id of a restore")));
        }
        let index = plan.nodes.iter().position(|one| one.node == node);
        let index = index.ok_or_else(|| wrong(format!("node {node} is not in it")))?;
        if !plan.serving().any(|one| one.node == plan.coordinator) {
            return Err(wrong(format!("its coordinator {} is no node of the new cluster", plan.coordinator)));
        }
        if plan.quorum_lost.is_some() && (of.is_some() || !plan.not_reached.is_empty()) {
            return Err(wrong(
                "without a quorum a cluster comes back from a snapshot, on all nodes that are not gone".to_owned(),
            ));
        }
        for (number, one) in plan.nodes.iter().enumerate() {
            let data_dir = Some(&one.data_dir).filter(|_| one.has_etcd());
            let paths = [data_dir, one.wal_dir.as_ref(), Some(&one.manifests_dir)];
            if let Some(path) = paths.into_iter().flatten().find(|path| !is_folder(path)) {
                return Err(wrong(format!("{path:?} is no absolute path of a folder")));
            }
            if let Some(wal) = &one.wal_dir {
                let (data, wal) = (Path::new(&one.data_dir), Path::new(wal));
                if data.starts_with(wal) || wal.starts_with(data.join("member")) || wal.starts_with(data.join(OURS)) {
                    return Err(wrong(format!(
                        "the WAL directory {} is exchanged with the data already",
                        wal.display()
                    )));
                }
            }
            if let Some(lost) = &plan.quorum_lost {
                if lost.gone.contains(&one.member) {
                    return Err(wrong(format!("member {} is gone and on a node at once", one.member)));
                }
            } else if one.log_end.is_some() {
                return Err(wrong("the end of a log counts only where the quorum is lost".to_owned()));
            }
            if one.has_etcd() == one.member.is_empty()
                || plan.nodes[..number].iter().any(|other| other.node == one.node)
            {
                return Err(wrong(format!("node {} is in it twice, or has no member", one.node)));
            }
            let of_etcd = one.wal_dir.is_some() || one.unit.is_some() || one.left_out || one.log_end.is_some();
            if !one.has_etcd() && (of_etcd || !one.data_dir.is_empty()) {
                return Err(wrong(format!("node {} has no etcd, and data of it", one.node)));
            }
        }
        Ok(Layout { plan, index, state: Place::new(state) })
    }

    pub(crate) fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// Refuses a plan of another build: how the steps go is not in the plan.
    ///
    /// # Errors
    /// [`FailureCode::Refused`], with both builds. A plan that names none is another build's.
    pub(super) fn require_own_build(&self) -> Result<(), Failure> {
        let theirs = self.plan.build.as_deref();
        if theirs == Some(etcd_build::ID) {
            return Ok(());
        }
        let theirs = theirs.map_or("no build".to_owned(), |build| format!("build {build}"));
        let message = format!("the sidecar on node {} is another build than the plan", self.node().node);
        Err(Failure::new(FailureCode::Refused, message)
            .cause(format!("the plan names {theirs}, the sidecar is build {}", etcd_build::ID))
            .hint("use the image of the same build as the plugin on every node: --image"))
    }

    /// The rollback that the nodes begin by themselves if no API server becomes ready; `None` where they do not.
    pub(super) fn way_back(&self) -> Option<Layout> {
        let plan = self.plan.way_back().filter(|plan| is_id(&plan.id))?;
        Some(Layout { plan, index: self.index, state: self.state.clone() })
    }

    /// This node's place in the plan.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// This node.
    pub(crate) fn node(&self) -> &RestoreNode {
        &self.plan.nodes[self.index]
    }

    /// Whether a member of the new cluster will be here.
    pub(super) fn serves(&self) -> bool {
        self.node().has_etcd() && !self.is_left_out()
    }

    /// Whether a member of the old cluster is here, and none of the new one will be.
    pub(super) fn is_left_out(&self) -> bool {
        self.node().left_out
    }

    pub(super) fn is_coordinator(&self) -> bool {
        self.plan.coordinator == self.node().node
    }

    /// The folder of all restores' journals.
    pub(super) fn state(&self) -> &Place {
        &self.state
    }

    /// The folder of this restore's journal.
    pub(crate) fn records(&self) -> Place {
        self.state.join(&self.plan.id)
    }

    pub(super) fn journal(&self) -> Place {
        self.records().join("journal")
    }

    /// What the node proves to the others by who it is. Only root may read it.
    pub(super) fn identity(&self) -> Place {
        self.records().join("identity.json")
    }

    /// Where etcd's data is: its data directory, and a WAL directory of its own. Nothing without etcd.
    pub(super) fn roots(&self) -> Vec<Place> {
        let data_dir = self.node().has_etcd().then(|| self.data_dir());
        [data_dir, self.wal_dir()].into_iter().flatten().collect()
    }

    /// Our folders for this restore, where data is.
    pub(super) fn folders(&self) -> Vec<Place> {
        self.roots().iter().map(|root| self.ours(root)).collect()
    }

    fn ours(&self, root: &Place) -> Place {
        root.join(OURS).join(&self.plan.id)
    }

    /// etcd's data directory.
    pub(super) fn data_dir(&self) -> Place {
        Place::new(&self.node().data_dir)
    }

    /// etcd's WAL directory, where it is not in the data directory.
    pub(super) fn wal_dir(&self) -> Option<Place> {
        self.node().wal_dir.as_ref().map(Place::new)
    }

    /// This restore's folder in the data directory.
    pub(super) fn folder(&self) -> Place {
        self.ours(&self.data_dir())
    }

    /// The snapshot, until the new data is made of it.
    pub(super) fn upload(&self) -> Place {
        self.folder().join("snapshot.db")
    }

    /// Where the engine builds the new data directory, and a WAL directory of its own.
    pub(super) fn built(&self) -> (Place, Option<Place>) {
        (self.folder().join("new"), self.wal_dir().map(|wal| self.ours(&wal).join("new")))
    }

    /// Where `member` and, with a WAL directory of its own, the WAL files are that will be in place, and where those go that are.
    pub(super) fn exchanges(&self) -> (Exchange, Option<Exchange>) {
        let exchange = |root: Place| {
            let ours = root.join(OURS);
            let new = match &self.plan.kind {
                RestoreKind::Aside { of, raise: false, .. } => ours.join(of).join("old"),
                RestoreKind::Snapshot { .. } | RestoreKind::Aside { .. } => ours.join(&self.plan.id).join("new"),
            };
            Exchange { live: root, new, old: ours.join(&self.plan.id).join("old") }
        };
        (exchange(self.data_dir()), self.wal_dir().map(exchange))
    }

    /// The database that an earlier restore has set aside.
    pub(super) fn set_aside(&self, of: &str) -> Place {
        set_aside(&self.data_dir(), of)
    }

    /// Where the data is kept that is in place before.
    pub(crate) fn aside(&self) -> Place {
        self.folder().join("old")
    }

    pub(super) fn manifests(&self) -> Place {
        Place::new(&self.node().manifests_dir)
    }

    /// Where manifests are while their pods are stopped: beside their folder, never in it. A rollback of the nodes' own goes on with those that the
    /// restore holds.
    pub(super) fn held(&self) -> Place {
        let id = self.plan.rolls_back_from().unwrap_or(&self.plan.id);
        Place::new(self.beside()).join(format!("{OURS}-{id}"))
    }

    /// The folder that the manifests' folder is in. Where no kubelet is needed, that of the journals' folder.
    pub(super) fn beside(&self) -> &Path {
        let (manifests, state) = (Path::new(&self.node().manifests_dir), Path::new(STATE));
        let inside = if self.node().participates_by_unit() { state } else { manifests };
        inside.parent().unwrap_or(Path::new("/"))
    }

    /// Where the participant sees the node's file tree: it is in a container, or not.
    pub(super) fn tree(&self) -> &'static Path {
        Path::new(if self.node().participates_by_unit() { "/" } else { NODE })
    }
}

/// The folders of one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Where etcd looks.
    pub(super) live: Place,
    /// What will be there.
    pub(super) new: Place,
    /// What was there.
    pub(super) old: Place,
}

impl Exchange {
    /// Where the new data goes on which etcd ran when the old data has come back.
    pub(super) fn served(&self) -> Place {
        self.old.sibling(SERVED)
    }
}

/// The database that a restore has kept in a data directory.
///
/// # Errors
/// [`FailureCode::BadRequest`] for what is no path or no id.
pub(crate) fn kept_database(data_dir: &str, id: &str) -> Result<Place, Failure> {
    if !is_folder(data_dir) || !is_id(id) {
        let message = format!("{data_dir:?} is no absolute path of a folder, or {id:?} no id of a restore");
        return Err(Failure::new(FailureCode::BadRequest, message));
    }
    Ok(set_aside(&Place::new(data_dir), id))
}

fn set_aside(data_dir: &Place, id: &str) -> Place {
    data_dir.join(OURS).join(id).join("old/member/snap/db")
}

/// Whether a name can be the ID of a restore, which is the name of a folder.
pub(super) fn is_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&id.len()) && id.bytes().all(good) && !id.starts_with('-')
}

fn is_folder(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("") && parts.all(|part| !part.is_empty() && part != "." && part != "..") && path.len() > 1
}

#[cfg(test)]
pub(super) mod tests {
    use etcd_wire::restore::{Parts, QuorumLost};
    use etcd_wire::survey::RaftPosition;

    use super::*;

    /// A plan of one node whose folders are below `root`.
    pub(crate) fn plan(root: &Path) -> RestorePlan {
        let path = |name: &str| root.join(name).display().to_string();
        RestorePlan {
            id: "20261121-100000-abcde".into(),
            kind: RestoreKind::Snapshot {
                bump: 0,
                token: "t".into(),
                skip_hash_check: false,
                allow_lower_revisions: false,
            },
            cluster: "c".into(),
            started_by: "me".into(),
            coordinator: "cp1".into(),
            not_reached: Vec::new(),
            nodes: vec![RestoreNode {
                node: "cp1".into(),
                member: "cp1".into(),
                address: "127.0.0.1".into(),
                peer_urls: vec!["https://127.0.0.1:2380".into()],
                data_dir: path("etcd"),
                manifests_dir: path("kubernetes/manifests"),
                ..Default::default()
            }],
            peer_port: 2382,
            start_timeout: 180,
            marker: None,
            keep_unready: false,
            quorum_lost: None,
            replaces: None,
            build: Some(etcd_build::ID.to_owned()),
        }
    }

    pub(crate) fn layout(root: &Path) -> Layout {
        Layout::at(plan(root), "cp1", &root.join("state")).unwrap()
    }

    #[test]
    fn only_plans_in_order_are_taken() {
        let root = Path::new("/x");
        layout(root);
        let spoil: [fn(&mut RestorePlan); 12] = [
            |plan| plan.id = "../x".into(),
            |plan| plan.id = String::new(),
            |plan| plan.kind = RestoreKind::Aside { of: "a/b".into(), raise: false, token: String::new() },
            |plan| plan.coordinator = "cp9".into(),
            |plan| plan.nodes[0].data_dir = "/".into(),
            |plan| plan.nodes[0].data_dir = "/a/../b".into(),
            |plan| plan.nodes[0].manifests_dir = "etc".into(),
            |plan| plan.nodes.push(plan.nodes[0].clone()),
            |plan| plan.quorum_lost = Some(QuorumLost { gone: vec!["cp1".into()] }),
            |plan| (plan.quorum_lost, plan.not_reached) = (Some(QuorumLost::default()), vec!["cp2".into()]),
            |plan| {
                plan.quorum_lost = Some(QuorumLost::default());
                plan.kind = RestoreKind::Aside { of: "a".into(), raise: true, token: String::new() };
            },
            |plan| plan.nodes[0].log_end = Some(RaftPosition { term: 1, index: 1 }),
        ];
        for spoil in spoil {
            let mut plan = plan(root);
            spoil(&mut plan);
            assert_eq!(Layout::new(plan, "cp1").unwrap_err().code, FailureCode::BadRequest);
        }
        assert!(Layout::new(plan(root), "cp2").is_err());
        // A node without etcd has nothing of a member, and does not coordinate.
        let mut apart = plan(root);
        let manifests_dir = apart.nodes[0].manifests_dir.clone();
        let (node, parts) = ("a1".to_owned(), Parts::ApiServer);
        apart.nodes.push(RestoreNode { node, parts, manifests_dir, ..Default::default() });
        let server = Layout::new(apart.clone(), "a1").unwrap();
        assert!(!server.serves() && !server.is_left_out() && server.folders().is_empty());
        assert_eq!((server.way_back().is_none(), Layout::new(apart.clone(), "cp1").unwrap().serves()), (true, true));
        let spoil: [fn(&mut RestorePlan); 6] = [
            |plan| plan.nodes[1].member = "a1".into(),
            |plan| plan.nodes[1].data_dir = "/var/lib/etcd".into(),
            |plan| plan.nodes[1].wal_dir = Some("/var/lib/wal".into()),
            |plan| plan.nodes[1].unit = Some("/etc/systemd/system/etcd.service".into()),
            |plan| plan.nodes[1].left_out = true,
            |plan| plan.coordinator = "a1".into(),
        ];
        for spoil in spoil {
            let mut spoilt = apart.clone();
            spoil(&mut spoilt);
            assert_eq!(Layout::new(spoilt, "cp1").unwrap_err().code, FailureCode::BadRequest);
        }
        // Systemd runs the participant of a machine of etcd alone, which sees the node's files at their own paths.
        apart.nodes[0].parts = Parts::Etcd;
        assert_eq!(Layout::new(apart.clone(), "cp1").unwrap().tree(), Path::new(NODE));
        apart.nodes[0].unit = Some("/etc/systemd/system/etcd.service".into());
        let unit = Layout::new(apart, "cp1").unwrap();
        assert_eq!((unit.tree(), unit.beside()), (Path::new("/"), Path::new("/var/lib")));
        let mut lost = plan(root);
        lost.quorum_lost = Some(QuorumLost { gone: vec!["cp2".into()] });
        lost.nodes[0].log_end = Some(RaftPosition { term: 2, index: 9 });
        assert!(Layout::new(lost, "cp1").is_ok());
        layout(root).require_own_build().unwrap();
        for build in [Some("0123456789abcdef".to_owned()), None] {
            let other = Layout::new(RestorePlan { build, ..plan(root) }, "cp1").unwrap();
            assert_eq!(other.require_own_build().unwrap_err().code, FailureCode::Refused);
        }
    }
}
