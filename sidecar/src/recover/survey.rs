//! Looks at the data directories of etcd on this node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_snapshot::wal::{self, Files, Limits, Log, SegmentName, SnapshotFiles};
use etcd_snapshot::{FileSource, Glance, Source, VerifyError, glance};
use etcd_store::uid_of;
use etcd_wire::survey::{
    DatabaseSurvey, EtcdState, EtcdSurvey, KeyInLog, LogSurvey, NodeSurvey, OnlyInLog, RaftPosition, SurveyRequest,
    SurveyedMember, TornSurvey,
};
use etcd_wire::{Failure, FailureCode};

use super::locks;
use crate::node::Place;
use crate::node::etcds::{self, DataDir, Found};

/// How often the database of a running etcd is read again, whose pages change meanwhile.
const TRIES: usize = 4;
/// Most bytes of a key, and of any other text of a database, that are told.
const LONGEST: usize = 1024;
/// Most members, alarms and files that are told. With the keys, four directories stay far below what a frame can hold, whatever is in them.
const MOST: usize = 32;
/// Most URLs of a member that are told.
const MOST_URLS: usize = 4;
/// Most keys that are told. Escaped, a byte can take five.
const KEYS: Limits = Limits { keys: 500, bytes: 64 << 10 };

/// Answers in every case but one: what cannot be looked at is among the failures of the answer.
///
/// # Errors
/// [`FailureCode::BadRequest`] if a path is not absolute.
pub(crate) async fn run(request: SurveyRequest) -> Result<NodeSurvey, Failure> {
    for path in [&request.data_dir, &request.wal_dir, &request.manifests_dir].into_iter().flatten() {
        if !Path::new(path).is_absolute() {
            return Err(Failure::new(FailureCode::BadRequest, format!("{path:?} is not an absolute path")));
        }
    }
    let cancel = Arc::new(AtomicBool::new(false));
    let _ended = SetOnDrop(Arc::clone(&cancel));
    // A disk may be slow, and the client is still to be heard meanwhile.
    let gathered = tokio::task::spawn_blocking(move || gather(request, &cancel)).await;
    gathered.map_err(|error| Failure::new(FailureCode::Other, "cannot look at the node's disk").source(&error))
}

/// Nobody waits for the answer any more.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn gather(request: SurveyRequest, cancel: &AtomicBool) -> NodeSurvey {
    let node = etcds::hostname();
    let found = match request.data_dir {
        Some(data_dir) => {
            let wal_dir = request.wal_dir.map(PathBuf::from);
            let named = DataDir { found_by: "the given path".to_owned(), data_dir: data_dir.into(), wal_dir };
            Found { dirs: vec![named], failures: Vec::new() }
        }
        None => {
            let manifests_dir = request.manifests_dir.as_deref().unwrap_or(etcds::MANIFESTS);
            etcds::find(Path::new("/"), Path::new(manifests_dir), &node)
        }
    };
    let etcd = found.dirs.into_iter().map(|dir| look(dir, cancel)).collect();
    NodeSurvey { node, etcd, failures: found.failures }
}

/// A folder of the node below which no link is followed.
struct Dir(Place);

impl Files for Dir {
    fn names(&self) -> io::Result<Vec<String>> {
        // A name that is no text is none of etcd's.
        Ok(self.0.names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source + '_>> {
        Ok(Box::new(FileSource::new(self.0.join(name).open_file()?)?))
    }
}

/// Where the log of a member is.
fn log_dir(data_dir: &Place, wal_dir: Option<&Place>) -> Place {
    wal_dir.cloned().unwrap_or_else(|| data_dir.join("member/wal"))
}

/// Whether an etcd has a data directory open.
///
/// # Errors
/// A lock could not be tried.
pub(crate) fn in_use(data_dir: &Place, wal_dir: Option<&Place>) -> io::Result<EtcdState> {
    let log_dir = log_dir(data_dir, wal_dir);
    locks::state(&data_dir.join("member/snap/db"), last_segment(&log_dir).as_ref())
}

fn last_segment(log_dir: &Place) -> Option<Place> {
    let names = Dir(log_dir.clone()).names().ok()?;
    let last = names.iter().filter_map(|name| SegmentName::parse(name)).max()?;
    Some(log_dir.join(last.to_string()))
}

/// Whether a folder of a log is not there, or has no segment in it. etcd makes the first one before it answers anybody (server/etcdserver/bootstrap.go,
/// `bootstrapNewWAL` @ v3.6.13).
fn is_empty(log_dir: &Place) -> bool {
    match Dir(log_dir.clone()).names() {
        Ok(names) => names.iter().all(|name| SegmentName::parse(name).is_none()),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The last valid entry of a member's log. The whole log is read.
///
/// # Errors
/// [`FailureCode::Storage`]: the log cannot be read, or is damaged before its end.
pub(crate) fn log_end(data_dir: &Place, wal_dir: Option<&Place>) -> Result<RaftPosition, Failure> {
    let log_dir = log_dir(data_dir, wal_dir);
    let log = Log::read(&Dir(log_dir.clone()), None).map_err(|error| {
        let message = format!("cannot read the log in {} on the node", log_dir.display());
        Failure::new(FailureCode::Storage, message).source(&error)
    })?;
    Ok(position(log.last))
}

/// Looks at one data directory. The database comes first: what it has applied by then is in the log that is read after it.
fn look(dir: DataDir, cancel: &AtomicBool) -> EtcdSurvey {
    let DataDir { found_by, data_dir, wal_dir } = dir;
    let place = Place::new(&data_dir);
    let log_dir = log_dir(&place, wal_dir.as_ref().map(Place::new).as_ref());
    let snap = place.join("member/snap");
    let mut failures = Vec::new();
    let mut failed = |what: &str, path: &Place, error: &dyn std::error::Error| {
        let message = format!("cannot {what} {} on the node", path.display());
        failures.push(Failure::new(FailureCode::Storage, message).source(error));
    };

    let files = Dir(log_dir.clone());
    let segment = last_segment(&log_dir);
    let database = snap.join("db");
    let state = locks::state(&database, segment.as_ref());
    let state = state.map_err(|error| failed("try the locks in", &place, &error)).unwrap_or_default();

    let seen = read_database(&database, state).map_err(|error| failed("read", &database, &*error)).ok();
    let log = Log::read(&files, Some(cancel)).map_err(|error| failed("read the log in", &log_dir, &error)).ok();
    let applied = seen.as_ref().and_then(|seen| seen.consistent_index);
    let only_in_log = log.as_ref().zip(applied).and_then(|(log, applied)| {
        let only = wal::OnlyInLog::gather(&files, log, applied, KEYS, Some(cancel));
        only.map_err(|error| failed("read the log in", &log_dir, &error)).ok()
    });
    let snapshots = SnapshotFiles::read(&Dir(snap.clone()));
    let snapshots = snapshots.map_err(|error| failed("read", &snap, &error)).unwrap_or_default();
    let mut free = |place: &Place| {
        let space = place.open().and_then(|folder| Ok(rustix::fs::fstatvfs(folder)?));
        let free = space.map(|space| space.f_bavail.saturating_mul(space.f_frsize));
        free.map_err(|error| failed("find the free space of", place, &error)).ok()
    };
    let (free_bytes, wal_free_bytes) = (free(&place), wal_dir.as_ref().and_then(|_| free(&log_dir)));

    EtcdSurvey {
        found_by,
        data_dir: data_dir.display().to_string(),
        wal_dir: wal_dir.map(|dir| dir.display().to_string()),
        state,
        empty: is_empty(&log_dir),
        log: log.as_ref().map(told_log),
        database: seen.map(told_database),
        only_in_log: only_in_log.map(told_only),
        raft_snapshot: snapshots.newest().map(|file| position(file.at)),
        received_databases: snapshots.received.into_iter().rev().take(MOST).collect(),
        free_bytes,
        wal_free_bytes,
        failures,
    }
}

/// The pages of a running etcd's database can change while they are read.
fn read_database(place: &Place, state: EtcdState) -> Result<Glance, Box<dyn std::error::Error>> {
    let mut tries = if state == EtcdState::Running { TRIES } else { 1 };
    loop {
        tries -= 1;
        match glance(&FileSource::new(place.open_file()?)?) {
            Err(VerifyError::Damaged(_) | VerifyError::Truncated { .. }) if tries > 0 => {}
            seen => return Ok(seen?),
        }
    }
}

fn position(at: wal::Position) -> RaftPosition {
    RaftPosition { term: at.term, index: at.index }
}

fn told_log(log: &Log) -> LogSurvey {
    let torn = log.torn.as_ref().map(|torn| TornSurvey {
        segment: torn.segment.clone(),
        offset: torn.offset,
        reason: torn.reason.to_string(),
        bytes: torn.bytes,
        records_follow: torn.records_follow,
    });
    LogSurvey {
        member_id: format!("{:x}", log.owner.node),
        cluster_id: format!("{:x}", log.owner.cluster),
        last: position(log.last),
        commit: log.hard_state.commit,
        term: log.hard_state.term,
        first: log.first,
        entries: log.entries,
        replaced: log.replaced,
        bytes: log.bytes,
        torn,
    }
}

fn told_database(seen: Glance) -> DatabaseSurvey {
    let member = |member: etcd_snapshot::Member| SurveyedMember {
        id: member.id,
        name: text(member.name.as_bytes()),
        peer_urls: member.peer_urls.iter().take(MOST_URLS).map(|url| text(url.as_bytes())).collect(),
        learner: member.is_learner,
    };
    let alarms = seen.alarms.iter().map(|alarm| format!("{} of member {}", alarm.kind, alarm.member_id));
    DatabaseSurvey {
        bytes: seen.total_size,
        revision: seen.revision,
        consistent_index: seen.consistent_index,
        term: seen.term,
        storage_version: text(seen.version.as_bytes()),
        cluster_version: seen.cluster_version.map(|version| text(version.as_bytes())),
        alarms: alarms.take(MOST).collect(),
        kube_system_uid: seen.kube_system.as_deref().and_then(uid_of).map(|uid| text(uid.as_bytes())),
        members: seen.members.into_iter().take(MOST).map(member).collect(),
    }
}

fn told_only(only: wal::OnlyInLog) -> OnlyInLog {
    let key = |(key, change): (Vec<u8>, wal::KeyChange)| KeyInLog {
        key: text(&key),
        range_end: change.range_end.as_deref().map(text),
        puts: change.puts,
        deletes: change.deletes,
        certain: change.certain,
    };
    OnlyInLog {
        entries: only.entries,
        uncommitted: only.uncommitted,
        missing_from: only.missing_from,
        database_is_ahead: only.database_is_ahead,
        keys: only.keys.keys.into_iter().map(key).collect(),
        more_changes: only.keys.more_changes,
        leases_granted: only.leases_granted,
        leases_revoked: only.leases_revoked,
        compacted: only.compacted,
        auth_changes: only.auth_changes,
        member_changes: only.member_changes,
        unread: only.unread,
    }
}

/// A key for people: what is no printable ASCII is escaped.
fn text(key: &[u8]) -> String {
    let shown = key.get(..LONGEST).unwrap_or(key);
    let cut = if shown.len() < key.len() { "..." } else { "" };
    format!("{}{cut}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// The directory of a real member that was killed.
    fn killed(version: &str) -> tempfile::TempDir {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wal").join(version);
        let folder = tempfile::tempdir().unwrap();
        for name in ["member/wal", "member/snap"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for entry in fs::read_dir(data).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let to = match name.rsplit_once('.').unwrap().1 {
                "wal" => format!("member/wal/{name}"),
                "snap" => format!("member/snap/{name}"),
                _ => continue,
            };
            fs::copy(entry.path(), folder.path().join(to)).unwrap();
        }
        folder
    }

    async fn of(data_dir: &Path) -> EtcdSurvey {
        let data_dir = Some(data_dir.display().to_string());
        let survey = run(SurveyRequest { data_dir, ..SurveyRequest::default() }).await.unwrap();
        assert!(!survey.node.is_empty() && survey.failures.is_empty());
        survey.etcd.into_iter().next().unwrap()
    }

    #[tokio::test]
    async fn what_can_be_read_is_told_and_the_rest_is_a_failure() {
        let folder = killed("3.5.16");
        let survey = of(folder.path()).await;
        let log = survey.log.unwrap();
        assert_eq!((log.last, log.commit, log.torn), (RaftPosition { term: 2, index: 24 }, 24, None));
        assert_eq!(
            (survey.state, survey.raft_snapshot),
            (EtcdState::Stopped, Some(RaftPosition { term: 2, index: 22 }))
        );
        assert!(survey.database.is_none() && survey.only_in_log.is_none() && survey.free_bytes > Some(0));
        let [failure] = &survey.failures[..] else { panic!("{:?}", survey.failures) };
        assert!(failure.message.contains("member/snap/db"), "{failure}");

        let survey = of(Path::new("/nonexistent")).await;
        assert!(survey.log.is_none() && survey.database.is_none() && survey.state == EtcdState::Unknown);
        assert!(!survey.failures.is_empty());
        let place = Place::new(folder.path());
        assert_eq!(log_end(&place, None).unwrap(), RaftPosition { term: 2, index: 24 });
        assert_eq!(log_end(&place, Some(&place.join("member/wal"))).unwrap().index, 24);
        assert_eq!(in_use(&place, None).unwrap(), EtcdState::Stopped);
        let nowhere = Place::new("/nonexistent");
        assert_eq!(log_end(&nowhere, None).unwrap_err().code, FailureCode::Storage);
        assert_eq!(in_use(&nowhere, None).unwrap(), EtcdState::Unknown);
        let wrong = SurveyRequest { data_dir: Some("data".to_owned()), ..SurveyRequest::default() };
        assert_eq!(run(wrong).await.unwrap_err().code, FailureCode::BadRequest);
    }

    #[tokio::test]
    async fn no_link_below_the_data_directory_is_followed() {
        let (folder, other) = (killed("3.4.23"), killed("3.5.16"));
        fs::remove_dir_all(folder.path().join("member/wal")).unwrap();
        std::os::unix::fs::symlink(other.path().join("member/wal"), folder.path().join("member/wal")).unwrap();
        let survey = of(folder.path()).await;
        assert!(survey.log.is_none());
        assert!(format!("{:?}", survey.failures).contains("symbolic link"), "{:?}", survey.failures);
    }

    #[test]
    fn keys_are_shown_as_they_can_be() {
        assert_eq!(text(b"/registry/a\x00\xff\""), "/registry/a\\x00\\xff\\\"");
        assert_eq!(text(&[b'a'; 2000]).len(), LONGEST + 3);
    }
}
