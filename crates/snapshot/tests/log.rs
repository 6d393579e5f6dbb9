//! The logs of real members that were killed (`tests/data/wal`), and those that etcd's own tools restore, against what an independent reader says.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use etcd_snapshot::glance;
use etcd_snapshot::wal::{
    ConfState, Folder, HardState, KeyChange, KeyListing, Limits, Log, LogError, MemberChangeKind, OnlyInLog, Owner,
    Position, SegmentName, SnapshotFiles,
};
use support::unpack;

fn data(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(path)
}

#[test]
fn what_killed_members_have_only_in_their_logs() {
    for (version, applied, last) in [("3.4.23", 17, 23), ("3.5.16", 18, 24)] {
        let files = Folder::new(data(&format!("wal/{version}")));
        let log = Log::read(&files, None).unwrap_or_else(|error| panic!("{version}: {error}"));
        let owner = Owner { node: 6_626_437_895_714_398_515, cluster: 701_135_244_041_704_910 };
        assert_eq!((log.owner, log.first, log.last), (owner, Some(1), Position { term: 2, index: last }), "{version}");
        assert_eq!(log.hard_state, HardState { term: 2, vote: owner.node, commit: last });
        assert_eq!((log.entries, log.replaced, &log.torn), (last, 0, &None));
        let snapshots = [(0, 0), (2, 11), (2, 22)].map(|(term, index)| Position { term, index });
        assert_eq!(log.snapshots, snapshots);
        // 3.4 does not record who votes.
        let voters = (version != "3.4.23").then(|| ConfState { voters: vec![owner.node], learners: vec![] });
        assert_eq!(log.conf_state, voters);
        let changes: Vec<_> = log.changes.iter().map(|change| (change.at.index, change.kind, change.member)).collect();
        assert_eq!(changes, [(1, MemberChangeKind::Add, owner.node)]);

        let database = glance(&unpack(&format!("wal/{version}/db.zst"))).expect("a database");
        assert_eq!((database.consistent_index, database.revision), (Some(applied), 14));
        assert_eq!(database.members[0].id, format!("{:x}", owner.node));
        assert!(database.kube_system.is_some_and(|object| object.starts_with(b"{\"kind\":\"Namespace\"")));
        assert_eq!(SnapshotFiles::read(&files).expect("a folder").newest().map(|file| file.at), Some(snapshots[2]));

        let only = OnlyInLog::gather(&files, &log, applied, Limits::default(), None).expect("a listing");
        let change = |puts, deletes, certain, last| KeyChange { puts, deletes, range_end: None, certain, last };
        let range =
            KeyChange { range_end: Some(b"/registry/configmaps/default/a3".to_vec()), ..change(0, 1, true, last - 2) };
        // The transaction's comparison did not hold: only etcd can tell.
        let expected = [
            ("/registry/configmaps/default/a1", change(0, 1, false, last - 3)),
            ("/registry/configmaps/default/a2", range),
            ("/registry/events/default/e1", change(1, 0, true, last - 4)),
            ("/registry/pods/default/never", change(1, 0, false, last - 3)),
            ("/registry/secrets/default/last", change(1, 0, true, last)),
        ];
        let keys = expected.map(|(key, change)| (key.as_bytes().to_vec(), change)).into();
        assert_eq!(
            only,
            OnlyInLog {
                entries: 6,
                keys: KeyListing { keys, more_changes: 0 },
                leases_granted: 1,
                compacted: Some(5),
                ..OnlyInLog::default()
            },
            "{version}"
        );
        assert!(!format!("{only:?}").contains("the last value"));
    }
}

#[test]
fn logs_that_the_vendors_tools_restore() {
    for (name, members) in [("c3423", 3), ("u351", 3), ("u3530", 3), ("u36", 3), ("u37", 3), ("ub", 1)] {
        let bytes = std::fs::read(data(&format!("restored/{name}.wal"))).expect("a fixture");
        let folder = BTreeMap::from([(SegmentName { sequence: 0, index: 0 }.to_string(), bytes)]);
        let log = Log::read(&folder, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((log.last, log.entries), (Position { term: 1, index: members }, members), "{name}");
        assert_eq!((log.hard_state.commit, log.changes.len() as u64), (members, members), "{name}");
    }
}

/// Any record of a real log, damaged: never a log that ends before the last two records.
#[test]
fn damage_in_a_real_log_is_told() {
    let name = SegmentName { sequence: 0, index: 0 }.to_string();
    let whole = std::fs::read(data("wal/3.5.16").join(&name)).expect("a fixture");
    let last = Log::read(&BTreeMap::from([(name.clone(), whole.clone())]), None).expect("a log").last;
    for at in (0..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        match Log::read(&BTreeMap::from([(name.clone(), bytes)]), None) {
            Ok(log) => assert!(log.last.index + 1 >= last.index, "{at}: {log:?}"),
            Err(error) => assert!(matches!(error, LogError::Corrupt { .. }), "{at}: {error}"),
        }
    }
}
