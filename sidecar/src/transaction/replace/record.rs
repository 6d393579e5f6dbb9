//! The journal of a replacement: a file that always is whole, and on the disk before the next thing is done.

use std::io::Write;
use std::net::SocketAddr;

use etcd_wire::Failure;
use etcd_wire::replace::{ReplacePhase, ReplacePlan, Replacement};
use etcd_wire::restore::{RestoreKind, RestoreNode, RestorePlan};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::node::Place;
use crate::transaction::ground::Component;
use crate::transaction::journal::storage;
use crate::transaction::layout::{Layout, is_id};

/// The journal's file in a folder of the state folder.
pub(super) fn file(folder: &Place) -> Place {
    folder.join(FILE)
}

/// The file's name, in a folder that is named by the ID. Journals of restores have another one.
const FILE: &str = "replacement";

/// What was done, and what is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) plan: ReplacePlan,
    /// etcd's static pod, as it was found.
    pub(super) etcd: Component,
    /// The API server's static pod, where it has no other etcd than this one: it is stopped until the new member serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) api_server: Option<Component>,
    /// Where etcd listens.
    pub(super) listens: Vec<SocketAddr>,
    pub(super) phase: ReplacePhase,
    /// The members with which etcd joins, as its flag names them.
    pub(super) initial_cluster: Option<String>,
    pub(super) new_member: Option<u64>,
    pub(super) failure: Option<Failure>,
    /// Manifests of another program that were kept.
    pub(super) kept: Vec<String>,
}

impl Record {
    /// Where everything of this replacement is.
    ///
    /// # Errors
    /// Names or paths of the plan are none.
    pub(super) fn layout(&self, state: &Place) -> Result<Layout, Failure> {
        layout(&self.plan, state)
    }

    /// Puts it on the disk, in place of what is there.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), Failure> {
        let place = layout.records().join(FILE);
        let bytes = serde_json::to_vec_pretty(self).expect("strings and numbers");
        let written = || -> std::io::Result<()> {
            layout.records().create_folders()?;
            let draft = place.sibling(format!("{FILE}.draft"));
            draft.remove_file()?;
            let mut file = draft.create()?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            draft.replace(&place)
        };
        written().map_err(|error| storage("write the journal of the replacement", &error))
    }

    /// The same for a client. `running` says whether a process goes on with it.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn told(&self, layout: &Layout, running: bool) -> Result<Replacement, Failure> {
        let old = layout.aside();
        let there = old.join("member").is_folder().map_err(|error| storage("look for the old data", &error))?;
        Ok(Replacement {
            id: self.plan.id.clone(),
            phase: self.phase,
            running,
            failure: self.failure.clone(),
            old_data: there.then(|| old.display()),
            new_member: self.new_member,
            kept: self.kept.clone(),
        })
    }
}

/// Where a replacement keeps its things: as a restore of this node alone does.
///
/// # Errors
/// Names or paths of the plan are none.
pub(super) fn layout(plan: &ReplacePlan, state: &Place) -> Result<Layout, Failure> {
    let node = RestoreNode {
        node: plan.node.clone(),
        member: plan.member.clone(),
        peer_urls: plan.peer_urls.clone(),
        data_dir: plan.data_dir.clone(),
        wal_dir: plan.wal_dir.clone(),
        manifests_dir: plan.manifests_dir.clone(),
        etcd: plan.etcd.clone(),
        ..RestoreNode::default()
    };
    let kind =
        RestoreKind::Snapshot { bump: 0, token: String::new(), skip_hash_check: false, allow_lower_revisions: false };
    let like_restore = RestorePlan {
        id: plan.id.clone(),
        kind,
        cluster: String::new(),
        started_by: String::new(),
        coordinator: plan.node.clone(),
        nodes: vec![node],
        not_reached: Vec::new(),
        peer_port: 0,
        marker: None,
        start_timeout: plan.patience,
        keep_unready: false,
        quorum_lost: None,
        replaces: None,
        build: Some(plan.build.clone()),
    };
    Layout::at(like_restore, &plan.node, &state.path())
}

/// All replacements that a state folder knows of.
///
/// # Errors
/// The disk fails, or a journal cannot be read: nobody knows then what is under way.
pub(super) fn all(state: &Place) -> Result<Vec<Record>, Failure> {
    let names = match state.names() {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("look for journals", &error)),
    };
    let mut found = Vec::new();
    for name in names {
        found.extend(read(&state.join(name))?);
    }
    Ok(found)
}

/// The one with an ID, which may be anybody's; `None` if there is none.
///
/// # Errors
/// See [`all`].
pub(super) fn of(state: &Place, id: &str) -> Result<Option<Record>, Failure> {
    if is_id(id) { read(&state.join(id)) } else { Ok(None) }
}

/// The one in a folder of the state folder; `None` if the folder has none.
///
/// # Errors
/// See [`all`].
pub(super) fn read(folder: &Place) -> Result<Option<Record>, Failure> {
    let looked = |error: std::io::Error| storage("read the journal of a replacement", &error);
    let is_folder = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !folder.stat().map_err(looked)?.is_some_and(is_folder) {
        return Ok(None);
    }
    let file = folder.join(FILE);
    if !file.exists().map_err(looked)? {
        return Ok(None);
    }
    let record = serde_json::from_slice(&file.read().map_err(looked)?);
    record.map(Some).map_err(|error| storage(&format!("read {}", file.display()), &error))
}

/// Takes the journal away.
///
/// # Errors
/// The disk fails.
pub(super) fn remove(layout: &Layout) -> Result<(), Failure> {
    let removed = layout.records().remove_all();
    removed.map_err(|error| storage("remove the journal of the replacement", &error))
}
