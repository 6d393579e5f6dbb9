//! HashKV of real files, against what their members answered and the vendor's tools printed, and of histories by the
//! definition.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::{DigestCheck, HashKv, HashKvAt, HashKvError, Options, hash_kv};
use proptest::prelude::*;
use serde_json::Value;
use support::builder::{Image, Item, bucket, inline, put, row_key};
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

/// A row: revision, number within it, whether it is a deletion, which user key; then its bytes.
#[derive(Debug, Clone)]
struct Row {
    revision: u64,
    sub: u64,
    deletion: bool,
    user_key: u8,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What a random history leaves in the file.
#[derive(Debug)]
struct History {
    rows: Vec<Row>,
    finished: Option<u64>,
    scheduled: Option<u64>,
}

impl History {
    /// Changes of user keys; some in one transaction with the change before.
    fn of(changes: &[(u8, bool, bool)], compaction: Option<(f64, f64, bool)>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let (mut revision, mut sub) = (1_u64, 0_u64);
        let mut changed = BTreeSet::new();
        let mut live: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for &(user_key, deletion, together) in changes {
            if deletion && !live.contains_key(&user_key) {
                continue;
            }
            if together && !rows.is_empty() && changed.insert(user_key) {
                sub += 1;
            } else {
                (revision, sub) = (revision + 1, 0);
                changed = BTreeSet::from([user_key]);
            }
            let mut key = [&revision.to_be_bytes()[..], b"_", &u64::to_be_bytes(sub)].concat();
            let value = if deletion {
                live.remove(&user_key);
                key.push(b't');
                vec![0x0a, 1, user_key]
            } else {
                let (created, version) = live.entry(user_key).or_insert((revision, 0));
                *version += 1;
                put(&[user_key], [*created, revision, *version], &vec![user_key; usize::from(user_key) * 9], 0)
            };
            rows.push(Row { revision, sub, deletion, user_key, key, value });
        }
        let Some((finished, scheduled, keeps_deletions)) = compaction else {
            return Self { rows, finished: None, scheduled: None };
        };
        let part = |of: f64, from: u64| from + ((revision - from) as f64 * of) as u64;
        let finished = part(finished, 1);
        let kept = newest(&rows, finished);
        let mut all = rows.clone();
        all.retain(|row| {
            row.revision > finished
                || kept.contains(&(row.revision, row.sub))
                || keeps_deletions && row.deletion && row.revision == finished
        });
        Self { rows: all, finished: Some(finished), scheduled: Some(part(scheduled, finished)) }
    }

    fn current(&self) -> u64 {
        let last = self.rows.last().map_or(1, |row| row.revision);
        last.max(self.scheduled.unwrap_or(1))
    }

    /// The definition, word by word, over the rows that the compaction leaves.
    fn hash(&self, revision: u64, compacted: i64) -> u32 {
        let kept = newest(&self.rows, revision);
        let left = newest(&self.rows, u64::try_from(compacted).unwrap_or_default());
        let skipped = |row: &Row| {
            let old = i64::try_from(row.revision).expect("small") <= compacted;
            let at_compaction = i64::try_from(row.revision).expect("small") == compacted;
            row.revision > revision
                || old && !left.contains(&(row.revision, row.sub))
                || old && !kept.is_empty() && !kept.contains(&(row.revision, row.sub))
                || at_compaction && row.deletion
        };
        let rows = self.rows.iter().filter(|row| !skipped(row));
        crc32c::crc32c(&rows.fold(b"key".to_vec(), |all, row| [&all[..], &row.key, &row.value].concat()))
    }

    /// In as many leaves as it takes, a few rows each.
    fn file(&self, rows_a_leaf: usize) -> Vec<u8> {
        let items: Vec<Item> = self.rows.iter().map(|row| (0, row.key.clone(), row.value.clone())).collect();
        let leaves: Vec<&[Item]> = items.chunks(rows_a_leaf).collect();
        // The branch page is as long as it takes.
        let branch = 3 + leaves.len() as u64;
        let mut image = Image::new(branch + 3);
        let mark = |key: &str, revision: Option<u64>| revision.map(|at| (0, key.into(), row_key(at)));
        let marks = [mark("finishedCompactRev", self.finished), mark("scheduledCompactRev", self.scheduled)];
        let root = if leaves.len() > 1 { branch } else { 3 };
        image.leaf(2, &[bucket("key", root), inline("meta", &marks.into_iter().flatten().collect::<Vec<_>>())]);
        if leaves.len() > 1 {
            let children: Vec<_> = leaves.iter().zip(3..).map(|(leaf, page)| (leaf[0].1.clone(), page)).collect();
            image.branch(branch, &children);
        }
        leaves.iter().zip(3..).for_each(|(leaf, page)| image.leaf(page, leaf));
        image.file()
    }
}

/// The newest row of each key up to a revision, without those that are deletions.
fn newest(rows: &[Row], revision: u64) -> BTreeSet<(u64, u64)> {
    let rows = rows.iter().filter(|row| row.revision <= revision);
    let last: BTreeMap<u8, &Row> = rows.map(|row| (row.user_key, row)).collect();
    last.into_values().filter(|row| !row.deletion).map(|row| (row.revision, row.sub)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_as_defined(
        changes in prop::collection::vec((1..6_u8, prop::bool::weighted(0.4), prop::bool::weighted(0.3)), 1..40),
        compaction in prop::option::of((0.0..1.0_f64, prop_oneof![Just(0.0), 0.0..1.0_f64, Just(1.0)], any::<bool>())),
        rows_a_leaf in 1..6_usize,
    ) {
        let history = History::of(&changes, compaction);
        prop_assume!(!history.rows.is_empty());
        let file = history.file(rows_a_leaf);
        let (finished, own) = (history.finished.map_or(-1, |at| at as i64), history.scheduled.map_or(-1, |at| at as i64));
        let current = history.current() as i64;
        let latest = check(&file).expect("a sound file").hash_kv;
        prop_assert_eq!(latest, HashKv { hash: history.hash(current as u64, own), revision: current, compact_revision: own });
        let options = Options { digest: DigestCheck::Skip, ..Options::default() };
        for revision in 1..current + 2 {
            for compact_revision in [None, Some(-1), Some(finished), Some(revision - 1), Some(revision), Some(revision + 1)] {
                let ours = hash_kv(&file, &options, HashKvAt { revision, compact_revision }, &|_| {});
                let compacted = compact_revision.unwrap_or(own);
                match ours {
                    Ok(ours) => {
                        prop_assert!(revision <= current && compacted >= finished && compacted <= revision);
                        let hash = history.hash(revision as u64, compacted);
                        prop_assert_eq!(ours, HashKv { hash, revision, compact_revision: compacted });
                    }
                    Err(HashKvError::FutureRevision { .. }) => prop_assert!(revision > current),
                    Err(HashKvError::Compacted { .. }) => prop_assert!(compacted < finished || revision < compacted),
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
        }
    }
}
