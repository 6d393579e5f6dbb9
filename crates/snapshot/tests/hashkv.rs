//! HashKV of real files, against what their members answered and the vendor's tools printed, and of histories by the
//! definition.

mod support;

use etcd_snapshot::{HashKv, HashKvAt, HashKvError, Options, hash_kv};
use serde_json::Value;
use support::{check, json, unpack};

fn at(bytes: &[u8], revision: i64, compact_revision: Option<i64>) -> Result<HashKv, HashKvError> {
    hash_kv(&bytes, &Options::default(), HashKvAt { revision, compact_revision }, &|_| {})
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

#[test]
fn as_members_of_each_version_answered() {
    let mut answers = 0;
    for (name, expected) in json("etcd/vectors.json")["snapshots"].as_object().expect("an object") {
        let bytes = unpack(&format!("etcd/{name}.db.zst"));
        let report = check(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let latest = expected["hashkv_latest"].as_array().expect("hash, compact revision, revision");
        let [hash, compact_revision, revision] = latest.as_slice() else { panic!("{name}: {latest:?}") };
        let expected_latest = HashKv {
            hash: u32::try_from(number(hash)).expect("32 bits"),
            revision: number(revision),
            compact_revision: number(compact_revision),
        };
        assert_eq!(report.hash_kv, expected_latest, "{name}");
        for (revision, answer) in expected["live_hashkv"].as_object().into_iter().flatten() {
            let revision: i64 = revision.parse().expect("a revision");
            let ours = at(&bytes, revision, None);
            let Some(hash) = answer["hash"].as_u64() else {
                // Old servers refuse the compacted revision itself, too, and newer ones answer it from a cache.
                assert!(revision <= 40, "{name}: {answer}");
                assert_eq!(matches!(ours, Err(HashKvError::Compacted { .. })), revision < 40, "{name}: {ours:?}");
                continue;
            };
            if revision == 40 {
                continue;
            }
            let ours = ours.unwrap_or_else(|error| panic!("{name} at {revision}: {error}"));
            let compacted = answer["compact_revision"].as_i64();
            assert_eq!((u64::from(ours.hash), Some(ours.compact_revision)), (hash, compacted), "{name} at {revision}");
            answers += 1;
        }
    }
    assert!(answers > 70, "{answers}");
}

#[test]
fn of_a_key_space_in_every_version() {
    for name in ["3.4.23", "3.5.1", "3.5.30", "3.6.14", "3.7.1"] {
        let expected = json(&format!("snapshots/{name}.json"));
        let answer = &expected["live_hashkv"][0]["HashKV"];
        let ours = check(&unpack(&format!("snapshots/{name}.db.zst"))).expect("a sound snapshot").hash_kv;
        assert_eq!(i64::from(ours.hash), number(&answer["hash"]), "{name}");
        assert_eq!(ours.compact_revision, number(&answer["compact_revision"]), "{name}");
        assert_eq!(ours.revision, number(&expected["live_revision"]), "{name}");
    }
    let ours = check(&unpack("snapshots/kubeadm-ha.db.zst")).expect("a sound snapshot").hash_kv;
    let theirs = &json("snapshots/kubeadm-ha.json")["etcdutl_hashkv_by_3.7.1"];
    assert_eq!(i64::from(ours.hash), number(&theirs["hash"]));
    assert_eq!(ours.revision, number(&theirs["hashRevision"]));
    assert_eq!(ours.compact_revision, number(&theirs["compactRevision"]));
}

/// What proves a restore: the rows are the same, whatever else is new.
#[test]
fn a_restore_by_the_vendor_keeps_it() {
    for (restored, source) in
        [("c3423", "3.4.23"), ("u351", "3.5.1"), ("u3530", "3.5.30"), ("u36", "3.6.14"), ("u37", "3.7.1")]
    {
        let source = check(&unpack(&format!("etcd/etcd-{source}.db.zst"))).expect("a sound snapshot").hash_kv;
        let bytes = unpack(&format!("restored/{restored}.db.zst"));
        assert_eq!(check(&bytes).expect("a sound database").hash_kv, source, "{restored}");
    }
    // A revision bump is a compaction that was only begun: the rows can still be compared with those of the source.
    let source = check(&unpack("etcd/etcd-3.5.30.db.zst")).expect("a sound snapshot").hash_kv;
    let bumped = unpack("restored/ub.db.zst");
    let report = check(&bumped).expect("a sound database");
    assert_eq!((report.hash_kv.revision, report.hash_kv.compact_revision), (1053, 1053));
    assert_eq!((report.compaction.scheduled, report.compaction.finished), (Some(1053), Some(40)));
    assert_eq!(at(&bumped, 53, Some(40)).expect("nothing is gone yet"), source);
    assert!(matches!(at(&bumped, 53, None), Err(HashKvError::Compacted { revision: 53, compact_revision: 1053 })));
    assert!(matches!(at(&bumped, 0, Some(39)), Err(HashKvError::Compacted { revision: 39, compact_revision: 40 })));
    assert!(matches!(at(&bumped, 1054, None), Err(HashKvError::FutureRevision { current_revision: 1053, .. })));
}
