//! What becomes of each bucket.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::Path;

use super::loader::{Bucket, Loader};
use super::*;
use crate::sink::Sink;
use crate::verify::verify_into;
use crate::{AlarmKind, FileSource};

pub(super) type Items = Vec<(Vec<u8>, Vec<u8>)>;
type Buckets = BTreeMap<String, Items>;

/// Everything in a database.
#[derive(Default)]
struct All(Buckets, String);

impl Sink for All {
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError> {
        self.1 = String::from_utf8_lossy(name).into_owned();
        self.0.insert(self.1.clone(), Items::new());
        Ok(())
    }

    fn item(&mut self, key: &[u8], _: u64) -> Result<(), VerifyError> {
        self.0.entry(self.1.clone()).or_default().push((key.to_vec(), Vec::new()));
        Ok(())
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        let items = self.0.entry(self.1.clone()).or_default();
        items.last_mut().expect("an item comes before its value").1.extend_from_slice(piece);
        Ok(())
    }
}

/// Verifies a database and gives what is in it.
pub(super) fn contents(source: &dyn Source) -> (Report, Buckets) {
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    let mut all = All::default();
    let report = verify_into(source, &options, &|_| {}, &mut all).unwrap_or_else(|error| panic!("{error}"));
    (report, all.0)
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn row_key(revision: i64) -> Vec<u8> {
    [&revision.to_be_bytes()[..], b"_", &[0; 8]].concat()
}

/// A put of a one-byte key, without value.
fn row(revision: u8) -> (Vec<u8>, Vec<u8>) {
    (row_key(i64::from(revision)), vec![0x0a, 1, b'k', 0x10, revision, 0x18, revision, 0x20, 1])
}

/// A store of 3.6 that has everything.
fn store() -> Buckets {
    let list = |items: &[(&[u8], &[u8])]| items.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    BTreeMap::from([
        (
            "alarm".to_owned(),
            list(&[(b"\x08\x05\x10\x01", b""), (b"\x08\x05\x10\x02", b""), (b"\x08\x06\x10\x01", b"")]),
        ),
        ("auth".to_owned(), list(&[(b"authEnabled", b"\x01"), (b"authRevision", &7_u64.to_be_bytes())])),
        ("authRoles".to_owned(), list(&[(b"r", b"\x0a\x01r")])),
        ("authUsers".to_owned(), list(&[(b"root", b"\x0a\x04root\x12\x02pw")])),
        (
            "cluster".to_owned(),
            list(&[(b"clusterVersion", b"3.6.0"), (b"downgrade", br#"{"target-version":"3.5.0","enabled":true}"#)]),
        ),
        ("key".to_owned(), vec![row(5), row(9)]),
        ("lease".to_owned(), list(&[(&3_u64.to_be_bytes(), b"\x08\x03\x10\x3c")])),
        ("members".to_owned(), list(&[(b"5", br#"{"id":5,"peerURLs":["http://old:1"],"name":"old"}"#)])),
        ("members_removed".to_owned(), list(&[(b"6", b"removed")])),
        (
            "meta".to_owned(),
            vec![
                (text("confState"), text(r#"{"voters":[5],"auto_leave":false}"#)),
                (text("consistent_index"), 4711_u64.to_be_bytes().to_vec()),
                (text("finishedCompactRev"), row_key(4)),
                (text("scheduledCompactRev"), row_key(4)),
                (text("storageVersion"), text("3.6.0")),
                (text("term"), 12_u64.to_be_bytes().to_vec()),
            ],
        ),
        ("of_a_later_etcd".to_owned(), list(&[(b"k", b"v")])),
    ])
}

/// A database of these buckets, without a digest.
fn database(buckets: Buckets) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    let mut loader = Loader::new(file.try_clone().expect("another handle"), 4096).expect("a loader");
    for (name, items) in buckets {
        let mut bucket = Bucket::default();
        items.iter().for_each(|(key, value)| loader.put(&mut bucket, key, value).expect("room"));
        loader.end(name.leak(), bucket).expect("room");
    }
    loader.finish().expect("room");
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a readable file");
    bytes
}

fn two_members() -> Membership {
    let cluster = NewCluster {
        name: "a".to_owned(),
        initial_cluster: "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380".to_owned(),
        initial_cluster_token: "t".to_owned(),
        initial_advertise_peer_urls: Some("http://10.0.0.1:2380".to_owned()),
    };
    cluster.validate().expect("a cluster")
}

fn restored(source: Vec<u8>, bump: u64, data_dir: &Path) -> Result<(Restored, Buckets), RestoreError> {
    let options =
        RestoreOptions { bump, digest: DigestCheck::Skip, etcd_version: None, allow_older_etcd: false, cancel: None };
    let destination = Destination { data_dir: data_dir.to_owned(), wal_dir: None };
    let restored = restore(&source, &two_members(), &destination, &options, &|_| {})?;
    let database = std::fs::File::open(data_dir.join("member/snap/db")).and_then(FileSource::new).expect("a file");
    Ok((restored, contents(&database).1))
}

#[test]
fn what_is_copied_and_what_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (restored, found) = restored(database(store()), 0, &folder.path().join("data")).expect("a sound database");

    let mut expected = store();
    expected.remove("of_a_later_etcd");
    // The old database was full; the new one is not. What is corrupt stays so.
    expected.entry("alarm".to_owned()).or_default().retain(|(key, _)| key.ends_with(&[2]));
    expected.insert("cluster".to_owned(), Items::new());
    expected.insert("members_removed".to_owned(), Items::new());
    let ids: Vec<_> = two_members().members().iter().map(|member| member.id).collect();
    let record = |member: &NewMember| (text(&format!("{:x}", member.id)), member.record());
    expected.insert("members".to_owned(), two_members().members().iter().map(record).collect());
    let meta = vec![
        (text("confState"), text(&format!(r#"{{"voters":[{},{}],"auto_leave":false}}"#, ids[0], ids[1]))),
        (text("consistent_index"), 2_u64.to_be_bytes().to_vec()),
        (text("finishedCompactRev"), row_key(4)),
        (text("scheduledCompactRev"), row_key(4)),
        (text("term"), 1_u64.to_be_bytes().to_vec()),
    ];
    expected.insert("meta".to_owned(), meta);
    assert_eq!(found, expected);
    assert_eq!(restored.revision, 9);
    assert_eq!(restored.warnings, [RestoreWarning::UnknownBucket("of_a_later_etcd".to_owned())]);
    let kinds = |alarms: &[Alarm]| alarms.iter().map(|alarm| (alarm.member_id.clone(), alarm.kind)).collect::<Vec<_>>();
    let no_space = |id: &str| (id.to_owned(), AlarmKind::NoSpace);
    assert_eq!(kinds(&restored.dropped_alarms), [no_space("5"), no_space("6")]);
    assert_eq!(kinds(&restored.kept_alarms), [("5".to_owned(), AlarmKind::Corrupt)]);
}

#[test]
fn a_bump_is_one_row_and_one_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, plain) = restored(database(store()), 0, &folder.path().join("plain")).expect("a sound database");
    let (bumped, mut found) =
        restored(database(store()), 1000, &folder.path().join("bumped")).expect("a sound database");
    assert_eq!(bumped.revision, 1009);
    assert_eq!(found.get_mut("key").and_then(Vec::pop), Some((row_key(1009), Vec::new())));
    let scheduled =
        found.get_mut("meta").and_then(|meta| meta.iter_mut().find(|(key, _)| key == b"scheduledCompactRev"));
    assert_eq!(scheduled.map(|(_, mark)| std::mem::replace(mark, row_key(4))), Some(row_key(1009)));
    assert_eq!(found, plain);
}

/// Revisions must not go back: rows that a compaction took away were there, too.
#[test]
fn a_bump_starts_from_the_compaction_if_that_is_above_the_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = store();
    store.insert(
        "meta".to_owned(),
        vec![(text("finishedCompactRev"), row_key(30)), (text("scheduledCompactRev"), row_key(50))],
    );
    let (restored, _) = restored(database(store), 1000, &folder.path().join("data")).expect("a sound database");
    assert_eq!(restored.revision, 1050);
    assert_eq!((restored.hash_kv.revision, restored.hash_kv.compact_revision), (50, 50));
}

#[test]
fn buckets_that_are_missing_are_there_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bare = store();
    bare.retain(|name, _| name == "key");
    let (restored, found) = restored(database(bare), 5, &folder.path().join("data")).expect("a sound database");
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let all =
        ["alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"];
    assert_eq!(names, all);
    assert_eq!(restored.revision, 14);
}

#[test]
fn an_empty_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = || database(BTreeMap::from([("key".to_owned(), Items::new())]));
    let (restored_plain, _) = restored(empty(), 0, &folder.path().join("plain")).expect("a sound database");
    assert_eq!(restored_plain.revision, 1);
    let (restored_bumped, found) = restored(empty(), 7, &folder.path().join("bumped")).expect("a sound database");
    assert_eq!(restored_bumped.revision, 8);
    assert_eq!(found["key"], [(row_key(8), Vec::new())]);
}

#[test]
fn revisions_end_somewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    for (bump, fits) in [(i64::MAX as u64 - 9, true), (i64::MAX as u64 - 8, false), (u64::MAX, false)] {
        let data_dir = folder.path().join(bump.to_string());
        match restored(database(store()), bump, &data_dir) {
            Ok((restored, _)) => assert!(fits && restored.revision == i64::MAX),
            Err(RestoreError::RevisionOverflow { revision: 9, bump: given }) => assert!(!fits && given == bump),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(data_dir.exists(), fits);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
