//! A snapshot of a member that has lost its quorum, brought to this machine: verified before the file gets its name, as a backup is.

use std::path::{Path, PathBuf};

use etcd_wire::replay::{ReplayDone, ReplayRequest};
use etcd_wire::survey::RaftPosition;
use jiff::Timestamp;
use serde::Serialize;

use super::target::Target;
use super::to_file::{Stream, check_pages};
use crate::context::Context;
use crate::kube_system;
use crate::output::{API_VERSION, Failed, Outcome, Progress, bytes, timestamp};
use crate::road::{Road, Sidecar};
use crate::sidecar::TransferError;

/// A snapshot that is here.
#[derive(Debug)]
pub(crate) struct Brought {
    /// The file, with its record beside it.
    pub(crate) path: PathBuf,
}

/// What is recorded beside the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    api_version: &'static str,
    kind: &'static str,
    taken_at: String,
    cluster: Cluster<'a>,
    snapshot: Snapshot,
    source: Source<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cluster<'a> {
    name: &'a str,
    kube_system_uid: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    file: String,
    size: u64,
    sha256: String,
    revision: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    node: &'a str,
    data_dir: &'a str,
    /// The last entry of the log that was applied.
    last: RaftPosition,
    /// What the member's own database has.
    database_revision: i64,
}

/// The name of the file: of which node, and of when.
fn name(node: &str, now: Timestamp) -> String {
    format!("etcd-recovered-{node}-{}.db", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// Has the node make the snapshot, and brings it here, into the current folder.
///
/// # Errors
/// The node refuses or fails, or the snapshot does not come whole. No file is written then, and nothing of the member was changed.
pub(crate) async fn bring(
    cluster: &str,
    node: &str,
    request: ReplayRequest,
    road: &Road,
    context: &Context,
) -> Outcome<Brought> {
    let now = Timestamp::now();
    let target = Target::plan(Some(Path::new(&name(node, now))), cluster, now, false)?;
    let writing = target.begin()?;
    let sidecar = Sidecar::Process { node: node.to_owned() };
    let of_node = |failed: Failed| failed.context(format!("cannot make a snapshot of the member on node {node}"));
    let (data_dir, expected) = (request.data_dir.clone(), request.last);
    let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    context.printer.note(format!("node {node}: applying the log to a copy of the member"));
    let sink = Stream { writing: writing.share(), progress: Progress::new(context.printer, "snapshot", 0) };
    let received = session.replay(request, sink).await.map_err(|error| of_node(error.into_failed()))?;
    let (pages, length) = (received.end.sha256.0, received.end.length);
    let (writing, sha256) = received.sink.finish(received.digest, pages)?;
    let (report, keys) = check_pages(context, &writing, pages, None).await?;
    writing.sync()?;
    let done = session.acknowledge_replay(length).await.map_err(|error| of_node(error.into_failed()))?;
    road.rest(&sidecar, session);
    for folder in &done.removed {
        context.printer.note(format!("node {node}: removed {folder}, the copy of a recover that was killed"));
    }
    agrees(&done, expected, report.current_revision).map_err(|why| of_node(Failed::plain(why)))?;
    let record = Record {
        api_version: API_VERSION,
        kind: "RecoveredSnapshot",
        taken_at: timestamp(now),
        cluster: Cluster {
            name: cluster,
            kube_system_uid: keys.values().find_map(|live| kube_system::uid(live.value.as_deref()?)),
        },
        snapshot: Snapshot {
            file: target.file_name(),
            size: report.file_size,
            sha256: etcd_wire::Sha256(sha256).to_string(),
            revision: report.current_revision,
        },
        source: Source { node, data_dir: &data_dir, last: done.last, database_revision: done.database_revision },
    };
    let path = writing.publish(&record, context.printer)?.ok_or_else(|| Failed::plain("the snapshot has no file"))?;
    context.printer.note(format!(
        "the snapshot of node {node} is kept here: {}, {}, revision {}",
        path.display(),
        bytes(report.file_size),
        report.current_revision
    ));
    Ok(Brought { path })
}

/// Whether the node says of the snapshot what is in it.
fn agrees(done: &ReplayDone, expected: RaftPosition, revision: i64) -> Result<(), String> {
    match () {
        () if done.last != expected => Err(format!(
            "its log ends at term {}, index {}, and ended at term {}, index {} before",
            done.last.term, done.last.index, expected.term, expected.index
        )),
        () if done.revision != revision => {
            Err(format!("the node says that it has revision {}, and the file has {revision}", done.revision))
        }
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_what_its_node_says() {
        let last = RaftPosition { term: 2, index: 9 };
        let done = ReplayDone { last, revision: 7, database_revision: 5, removed: Vec::new() };
        assert_eq!(agrees(&done, last, 7), Ok(()));
        assert!(agrees(&done, last, 8).is_err_and(|why| why.contains("revision 7")));
        let later = RaftPosition { term: 2, index: 10 };
        assert!(agrees(&done, later, 7).is_err_and(|why| why.contains("ended at term 2, index 10")));
    }

    #[test]
    fn the_name_says_of_which_node_and_of_when() {
        assert_eq!(name("cp1", Timestamp::UNIX_EPOCH), "etcd-recovered-cp1-19700101T000000Z.db");
    }
}
