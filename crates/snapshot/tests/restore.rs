//! Member directories made from real snapshots.

mod support;

use std::path::{Path, PathBuf};

use etcd_snapshot::restore::{
    Destination, Membership, NewCluster, RaftSnapshot, RestoreError, RestoreOptions, Restored, Wal, WalEntry,
    WalSnapshot, restore,
};
use etcd_snapshot::{DigestCheck, DigestState, Options, Report, VerifyError, verify};
use serde_json::Value;
use support::unpack;

/// One member of one.
fn one() -> Membership {
    cluster("default", "default=http://localhost:2380", "etcd-cluster", "http://localhost:2380")
}

/// The first of the three for which the vendor's directories in `tests/data/restored` were made.
fn three() -> Membership {
    let members = "m1=http://127.0.0.1:23811,m2=http://127.0.0.1:23821,m3=http://127.0.0.1:23831";
    cluster("m1", members, "tok", "http://127.0.0.1:23811")
}

fn cluster(name: &str, members: &str, token: &str, urls: &str) -> Membership {
    let [name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls] =
        [name, members, token, urls].map(str::to_owned);
    let initial_advertise_peer_urls = Some(initial_advertise_peer_urls);
    let new = NewCluster { name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls };
    new.validate().unwrap_or_else(|error| panic!("{error}"))
}

const OPTIONS: RestoreOptions<'_> =
    RestoreOptions { bump: 0, digest: DigestCheck::Compute, etcd_version: None, allow_older_etcd: false, cancel: None };

fn inside(data_dir: &Path) -> Destination {
    Destination { data_dir: data_dir.to_owned(), wal_dir: None }
}

fn restore_to(
    path: &Path,
    bytes: &[u8],
    membership: &Membership,
    options: &RestoreOptions<'_>,
) -> Result<Restored, RestoreError> {
    restore(&bytes, membership, &inside(path), options, &|_| {})
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixture(name: &str) -> Vec<u8> {
    read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/restored").join(name))
}

fn figures(database: &[u8]) -> Report {
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    verify(&database, &options, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// All that is under a folder, by path.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_log_is_the_vendors_byte_for_byte() {
    for (name, membership) in [("u351", three()), ("u3530", three()), ("u36", three()), ("ub", one())] {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        restore_to(&data_dir, &unpack("etcd/etcd-3.5.30.db.zst"), &membership, &OPTIONS).expect(name);
        let wal = read(data_dir.join("member/wal/0000000000000000-0000000000000000.wal"));
        assert!(wal == fixture(&format!("{name}.wal")), "{name}: another log");
        let members = membership.members().len();
        let snap = read(data_dir.join(format!("member/snap/0000000000000001-{members:016x}.snap")));
        let (ours, theirs) = (snapshot(&snap), snapshot(&fixture(&format!("{name}.snap"))));
        assert_eq!((ours.index, ours.term, &ours.voters), (theirs.index, theirs.term, &theirs.voters), "{name}");
        let [mut ours, mut theirs] =
            [ours, theirs].map(|it| serde_json::from_slice::<Value>(&it.store).expect("the store is JSON"));
        if name == "u36" {
            // It counts the members in no order.
            forget_indices(&mut ours["Root"]);
            forget_indices(&mut theirs["Root"]);
        }
        for field in ["Root", "CurrentIndex", "CurrentVersion"] {
            assert_eq!(ours[field], theirs[field], "{name}: {field}");
        }
    }
}

fn forget_indices(node: &mut Value) {
    let Some(node) = node.as_object_mut() else { return };
    node.remove("CreatedIndex");
    node.remove("ModifiedIndex");
    node.values_mut().for_each(forget_indices);
}

fn snapshot(bytes: &[u8]) -> RaftSnapshot {
    RaftSnapshot::decode(bytes).unwrap_or_else(|error| panic!("{error}"))
}

/// 3.4 does not record the voters, 3.7 leaves out what is zero.
#[test]
fn logs_of_other_versions_say_the_same() {
    let decode = |name: &str| Wal::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut expected = decode("u351.wal");
    for entry in &mut expected.entries {
        // The change's id, 0, comes first.
        assert_eq!(entry.data[..4], [8, 0, 16, 0]);
        entry.data.drain(..2);
    }
    assert_eq!(decode("u37.wal"), expected);
    let mut expected = decode("u351.wal");
    expected.snapshots[1] = WalSnapshot { voters: Vec::new(), ..expected.snapshots[1].clone() };
    assert_eq!(decode("c3423.wal"), expected);
    for name in ["c3423", "u37"] {
        assert_eq!(
            snapshot(&fixture(&format!("{name}.snap"))).voters,
            expected.entries.iter().map(node).collect::<Vec<_>>()
        );
    }
}

fn node(entry: &WalEntry) -> u64 {
    let text = &entry.data[entry.data.iter().position(|&byte| byte == b'{').expect("JSON")..];
    serde_json::from_slice::<Value>(text).expect("JSON")["id"].as_u64().expect("an id")
}

#[test]
fn figures_of_every_snapshot_come_back() {
    for name in ["3.4.23", "3.5.1", "3.5.30", "3.6.14", "3.7.1", "kubeadm-ha"] {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let folder = tempfile::tempdir().expect("a folder");
        for (data_dir, bump) in [("plain", 0), ("bumped", 1_000_000_000)] {
            let data_dir = folder.path().join(data_dir);
            let restored = restore_to(&data_dir, &bytes, &three(), &RestoreOptions { bump, ..OPTIONS }).expect(name);
            let database = read(data_dir.join("member/snap/db"));
            let found = figures(&database);
            assert_eq!(restored.database_bytes, database.len() as u64);
            assert_eq!(found.free_pages, 0);
            assert!(found.total_size <= restored.report.total_size, "{name}");
            assert_eq!(restored.revision, restored.report.revision + bump as i64, "{name}");
            assert_eq!(found.revision, restored.revision, "{name}");
            // The mark of a bump counts as a key; this file has one already.
            let marks = u64::from(bump > 0 && name != "kubeadm-ha");
            assert_eq!(found.live_keys, restored.report.live_keys + marks, "{name}");
            assert_eq!((found.consistent_index, found.version.as_str(), found.cluster_version), (Some(3), "", None));
            let members: Vec<_> =
                found.members.iter().map(|member| (member.id.as_str(), member.name.as_str())).collect();
            assert_eq!(members, [("2f47df6d4fdfda24", "m3"), ("710a7906b60e0340", "m1"), ("945bdb7332bcaf99", "m2")]);
        }
    }
}

#[test]
fn a_restore_of_a_restore_is_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = RestoreOptions { digest: DigestCheck::Skip, ..OPTIONS };
    let mut bytes = unpack("snapshots/3.5.30.db.zst");
    let mut hashes = Vec::new();
    for round in ["1", "2", "3"] {
        let data_dir = folder.path().join(round);
        restore_to(&data_dir, &bytes, &one(), &options).expect(round);
        bytes = read(data_dir.join("member/snap/db"));
        hashes.push(bytes.clone());
    }
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2]);
}

#[test]
fn a_digest_that_is_skipped_may_be_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let whole = unpack("snapshots/3.6.14.db.zst");
    let cut = &whole[..whole.len() - 32];
    let refused = restore_to(&data_dir, cut, &one(), &OPTIONS);
    assert!(matches!(refused, Err(RestoreError::Verify(VerifyError::Truncated { .. }))), "{refused:?}");
    let options = RestoreOptions { digest: DigestCheck::Skip, ..OPTIONS };
    let restored = restore_to(&data_dir, cut, &one(), &options).expect("all of the data is there");
    assert_eq!(restored.report.digest, DigestState::Absent);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    restore_to(&data_dir, &unpack("snapshots/3.5.30.db.zst"), &one(), &OPTIONS).expect("a sound snapshot");
    let mut paths = tree(&data_dir);
    assert_eq!(paths.len(), 6);
    paths.push(data_dir);
    for path in paths {
        let mode = path.metadata().expect("it was just found").permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn alarms() {
    for name in ["etcd-3.4.23-nospace", "etcd-3.5.30-nospace", "etcd-3.7.1-nospace"] {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        let restored = restore_to(&data_dir, &unpack(&format!("etcd/{name}.db.zst")), &one(), &OPTIONS).expect(name);
        assert_eq!((restored.dropped_alarms.len(), restored.kept_alarms.len()), (1, 0), "{name}");
    }
}
