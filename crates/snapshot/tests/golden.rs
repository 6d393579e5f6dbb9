//! Real snapshots of every etcd line, against what the vendor's tools printed for them.

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use etcd_snapshot::{
    AlarmKind, Auth, Beside, DigestCheck, DigestState, FileSource, FindingKind, Fingerprints, Keep, LiveKey,
    MetaReason, Options, Pick, Report, StreamHead, VerifyError, Warning, glance, key_changes, live_keys, verify,
};
use serde_json::{Value, json};
use support::{check, json, unpack};

/// One name for each of the snapshots of one keyspace in six versions.
const SNAPSHOTS: [&str; 6] = ["3.4.23", "3.5.1", "3.5.30", "3.6.14", "3.7.1", "kubeadm-ha"];

/// The figures as etcdutl prints them; `version` only if there is one, as before 3.6.
fn status(report: &Report) -> Value {
    let mut all = serde_json::to_value(report).expect("a report is plain data");
    let mut status = json!({});
    for name in ["hash", "revision", "totalKey", "totalSize", "version"] {
        if all[name] != json!("") {
            status[name] = all[name].take();
        }
    }
    status
}

fn fits(what: &str, report: &Result<Report, VerifyError>, expected: &Value) {
    let report = report.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(&status(report), expected, "{what}");
}

#[test]
fn figures_are_those_of_each_versions_own_tool() {
    for name in SNAPSHOTS {
        let expected = json(&format!("snapshots/{name}.json"));
        let report = check(&unpack(&format!("snapshots/{name}.db.zst")));
        fits(name, &report, &expected["snapshot_status"]);
        let report = report.expect("fits has seen it");
        assert_eq!(report.digest, DigestState::Matches);
        if let Some(keys) = expected["keys"].as_u64() {
            assert_eq!(report.live_keys, keys, "{name}");
        }
        let etcd = expected["etcd"].as_str().expect("each fixture says its etcd");
        assert!(etcd.starts_with(&format!("{}.", report.writer)), "{name}: written by {}", report.writer);
    }
}

#[test]
fn a_database_begins_as_etcd_would_send_it() {
    for name in SNAPSHOTS {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let head = StreamHead::read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(head.bytes, bytes.len() as u64 - 32, "{name}");
        assert!(bytes.starts_with(&head.pages), "{name}");
        // As bbolt leaves a database: another transaction's page first, and the newest one's second.
        let page = head.pages.len() / 2;
        let mut used = bytes.clone();
        used.copy_within(..page, page);
        used[..page].fill(0);
        assert_eq!(StreamHead::read(&used).expect("one of them is enough"), head, "{name}");
    }
    assert!(StreamHead::read(&vec![0; 8192]).is_err());
}

#[test]
fn a_glance_says_what_the_whole_check_says() {
    let vectors = json("etcd/vectors.json");
    let small = vectors["snapshots"].as_object().expect("an object").keys().map(|name| format!("etcd/{name}.db.zst"));
    for path in SNAPSHOTS.map(|name| format!("snapshots/{name}.db.zst")).into_iter().chain(small) {
        let bytes = unpack(&path);
        let report = check(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        let glance = glance(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(glance.consistent_index, report.consistent_index, "{path}");
        assert_eq!((glance.term, glance.revision), (report.term, report.current_revision), "{path}");
        assert_eq!((&glance.members, &glance.alarms), (&report.members, &report.alarms), "{path}");
        assert_eq!((glance.compaction, glance.total_size), (report.compaction, report.total_size), "{path}");
        assert_eq!((&glance.version, &glance.cluster_version), (&report.version, &report.cluster_version), "{path}");
        assert_eq!(glance.kube_system.is_some(), path.starts_with("snapshots/"), "{path}");
        // A file that ends in the middle of its pages, or has none, is told.
        let half = bytes[..bytes.len() / 2].to_vec();
        assert!(matches!(etcd_snapshot::glance(&half), Err(VerifyError::Truncated { .. })), "{path}");
        assert!(etcd_snapshot::glance(&Vec::new()).is_err());
    }
}

#[test]
fn figures_of_small_snapshots() {
    let vectors = json("etcd/vectors.json");
    let snapshots = vectors["snapshots"].as_object().expect("an object");
    assert_eq!(snapshots.len(), 15);
    for (name, expected) in snapshots {
        let report = check(&unpack(&format!("etcd/{name}.db.zst"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        let status = &expected["status"];
        // The learners' files of 3.6 and 3.7 are so young that no storage version is recorded yet.
        let old = name.starts_with("etcd-3.4.") || name.starts_with("etcd-3.5.");
        let total = if old { &status["totalKey_old"] } else { &status["totalKey_new"] };
        assert!(name.starts_with(&format!("etcd-{}.", report.writer)), "{name}: written by {}", report.writer);
        assert_eq!(json!(report.total_key), *total, "{name}");
        assert_eq!(json!(report.items), status["totalKey_old"], "{name}");
        assert_eq!(json!(report.live_keys), status["totalKey_new"], "{name}");
        for (ours, theirs) in [
            (json!(report.hash), "hash"),
            (json!(report.revision), "revision"),
            (json!(report.total_size), "totalSize"),
            (json!(report.version), "version"),
        ] {
            assert_eq!(ours, status[theirs], "{name}: {theirs}");
        }
        assert_eq!(json!(report.sha256), expected["sha256_trailer"], "{name}");
        assert_eq!(json!(report.file_size), expected["size"], "{name}");
        let index = expected["meta"]["consistent_index"].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        assert_eq!(report.consistent_index, index, "{name}");
        assert_eq!(name.contains("learner"), report.members.iter().any(|member| member.is_learner), "{name}");
        for (tool, printed) in expected["tool_status"].as_object().into_iter().flatten() {
            // A newer tool counts live keys in an older file; ours counts as the file's own line does.
            let own = tool.starts_with(&report.writer) || report.writer == "3.4" && tool.starts_with("3.5");
            let printed = printed.as_object().filter(|_| own);
            assert!(printed.is_none_or(|printed| printed["totalKey"] == json!(report.total_key)), "{name}: {tool}");
        }
    }
}

#[test]
fn copied_databases_are_accepted_without_proof() {
    for name in ["c3423", "copied-3.5.30", "u351", "u3530", "u36", "u37", "ub"] {
        let bytes = unpack(&format!("restored/{name}.db.zst"));
        let report = check(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.digest, DigestState::Absent, "{name}");
        assert_eq!(report.file_size, bytes.len() as u64, "{name}");
        assert_eq!(report.total_size, 151_552, "{name}");
    }
    let copied = check(&unpack("restored/copied-3.5.30.db.zst")).expect("it was accepted above");
    let taken = check(&unpack("etcd/etcd-3.5.30.db.zst")).expect("a sound snapshot");
    assert_eq!((copied.revision, copied.live_keys), (taken.revision, taken.live_keys));
    assert_eq!(copied.active_meta, 1);
}

/// What is known of each snapshot beside its figures, and nothing that would make a sound file suspicious.
#[test]
fn what_is_worth_knowing() {
    let about = |path: &str| check(&unpack(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kinds = |report: &Report| report.warnings.iter().map(Warning::kind).collect::<Vec<_>>();
    for name in SNAPSHOTS {
        let report = about(&format!("snapshots/{name}.db.zst"));
        assert_eq!(kinds(&report), [""; 0], "{name}");
        assert_eq!(report.term.is_some(), report.writer != "3.4", "{name}");
        assert_eq!(report.active_meta_reason, MetaReason::LaterTransaction);
        assert!(report.leases > 0 && report.keys_with_lease > 0 && report.auth == Auth::default(), "{name}");
    }
    let vectors = json("etcd/vectors.json");
    for (name, expected) in vectors["snapshots"].as_object().expect("an object") {
        let report = about(&format!("etcd/{name}.db.zst"));
        let (warned, counted) = match name.rsplit('-').next() {
            Some("auth") => (vec!["authEnabled"], Auth { enabled: true, users: 3, roles: 1 }),
            Some("nospace") => (vec!["alarm"], Auth::default()),
            Some("learner") => (vec!["learner"], Auth::default()),
            _ => (vec![], Auth::default()),
        };
        assert_eq!((kinds(&report), report.auth), (warned, counted), "{name}");
        let buckets = &expected["buckets"];
        assert_eq!(json!(report.leases), buckets["lease"], "{name}");
        assert_eq!(json!(report.alarms.len()), buckets["alarm"], "{name}");
        assert!(report.alarms.iter().all(|alarm| alarm.kind == AlarmKind::NoSpace && alarm.member_id.len() == 16));
        assert_eq!(json!(report.members_removed.len()), buckets["members_removed"], "{name}");
        let finished = Some(expected["compact"][0].as_i64().expect("a revision")).filter(|&revision| revision > 0);
        assert_eq!(report.compaction.finished, finished, "{name}");
        let term = expected["meta"]["term"].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        assert_eq!(report.term, term, "{name}");
    }
    for name in ["c3423", "copied-3.5.30", "u351", "u3530", "u36", "u37", "ub"] {
        assert_eq!(kinds(&about(&format!("restored/{name}.db.zst"))), ["noDigest"], "{name}");
    }
    let mut report = check(&unpack("snapshots/3.5.1.db.zst")).expect("a sound snapshot");
    report.taken_from("3.5.3");
    assert_eq!(report.warnings, []);
    report.taken_from("3.5.1");
    assert_eq!(report.warnings, [Warning::Etcd35Inconsistency { version: "3.5.1".to_owned() }]);
}

/// `etcdutl hashkv` opens a snapshot for writing: its pages are the same but for the meta pages, and the digest is void.
#[test]
fn a_snapshot_that_etcdutl_wrote_into_is_damaged_but_has_figures() {
    for name in ["3.6.14", "3.7.1", "kubeadm-ha"] {
        let bytes = unpack(&format!("touched/{name}.db.zst"));
        let Err(VerifyError::Damaged(damage)) = check(&bytes) else { panic!("{name} is not damaged") };
        assert_eq!(damage.findings[0].kind, FindingKind::DigestMismatch, "{name}");
        let report = damage.report.expect("its pages are in order");
        assert_eq!(status(&report), json(&format!("snapshots/{name}.json"))["snapshot_status"], "{name}");
        assert_eq!(report.digest, DigestState::Mismatch);
        // Two empty commits leave the pair as a stream has it.
        let says_so = damage.findings.iter().any(|finding| finding.kind == FindingKind::MetaPair);
        assert_eq!(says_so, name != "kubeadm-ha");
    }
}

#[test]
fn members_and_cluster() {
    let report = check(&unpack("snapshots/kubeadm-ha.db.zst")).expect("a sound snapshot");
    let names: Vec<_> = report.members.iter().map(|member| member.name.as_str()).collect();
    let mut expected: Vec<_> = json("snapshots/kubeadm-ha.json")["members"]
        .as_array()
        .expect("members")
        .iter()
        .map(|member| (format!("{:x}", member["ID"].as_u64().expect("an id")), member["name"].clone()))
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names, expected.iter().map(|(_, name)| name.as_str().expect("a name")).collect::<Vec<_>>());
    assert_eq!(report.members[0].id, expected[0].0);
    assert_eq!(report.cluster_version.as_deref(), Some("3.6.0"));
}

#[test]
fn a_file_on_disk_and_a_digest_known_before() {
    let bytes = unpack("snapshots/3.5.30.db.zst");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("etcd.db");
    std::fs::write(&path, &bytes).expect("room on the disk");
    let source = FileSource::new(std::fs::File::open(&path).expect("it was just written")).expect("a file");
    let hashed = verify(&source, &Options::default(), &|_| {}).expect("a sound snapshot");
    assert_eq!(hashed, check(&bytes).expect("a sound snapshot"));

    let data = bytes.len() - 32;
    let mut digest: [u8; 32] = bytes[data..].try_into().expect("32 bytes");
    let known = Options { digest: DigestCheck::Known(digest), ..Options::default() };
    let report = verify(&source, &known, &|_| {}).expect("a sound snapshot");
    assert_eq!(report, Report { file_sha256: None, ..hashed.clone() });

    digest[31] ^= 1;
    let other = Options { digest: DigestCheck::Known(digest), ..Options::default() };
    assert!(matches!(verify(&source, &other, &|_| {}), Err(VerifyError::Damaged(_))));
    let skip = Options { digest: DigestCheck::Skip, ..Options::default() };
    let report = verify(&source, &skip, &|_| {}).expect("a sound snapshot");
    let warnings = vec![Warning::DigestUnchecked];
    let unchecked = Report { sha256: None, file_sha256: None, digest: DigestState::Unchecked, warnings, ..hashed };
    assert_eq!(report, unchecked);
    let mut flipped = bytes.clone();
    flipped[data] ^= 1;
    assert_eq!(verify(&flipped, &skip, &|_| {}).expect("nobody looks at the digest"), unchecked);
    // Who hashed a stream knows that it has a digest.
    let copied = unpack("restored/u351.db.zst");
    assert!(matches!(verify(&copied, &known, &|_| {}), Err(VerifyError::Truncated { .. })));
}

#[test]
fn live_keys_are_as_many_as_the_vendor_counts() {
    for name in SNAPSHOTS {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let wanted = |key: &[u8]| key.starts_with(b"/registry/namespaces/");
        let keep = |key: &[u8]| if wanted(key) { Keep::Value } else { Keep::Key };
        let (report, keys) = live_keys(&bytes, &Options::default(), &Pick::new(&keep), &|_| {}).expect(name);
        // The raised revision left a key without a name, which the vendor counts.
        let nameless = u64::from(name == "kubeadm-ha");
        assert_eq!(keys.len() as u64 + nameless, report.live_keys, "{name}");
        assert!(keys.values().all(|live| (1..=report.revision).contains(&live.mod_revision)), "{name}");
        for (key, live) in keys {
            assert_eq!(live.value.as_ref().map(|value| value.len() as u64), wanted(&key).then_some(live.value_bytes));
        }
    }
}

#[test]
fn changes_add_up_to_the_live_keys() {
    for name in SNAPSHOTS {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let (_, live) = live_keys(&bytes, &Options::default(), &Pick::new(&|_| Keep::Key), &|_| {}).expect(name);
        let mut keys = std::collections::BTreeMap::new();
        let mut each = |key: &[u8], revision: Option<i64>| match revision {
            Some(revision) => drop(keys.insert(key.to_vec(), revision)),
            None => drop(keys.remove(key)),
        };
        let report = key_changes(&bytes, &Options::default(), &mut each, &|_| {}).expect(name);
        assert!(keys.iter().eq(live.iter().map(|(key, live)| (key, &live.mod_revision)).collect::<Vec<_>>()), "{name}");
        assert!(keys.values().all(|revision| *revision <= report.revision), "{name}");
    }
}

#[test]
fn what_is_picked_is_as_it_was_then() {
    for name in SNAPSHOTS {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let keep = |key: &[u8]| if key.starts_with(b"/registry/") { Keep::Value } else { Keep::Nothing };
        let now = Pick::new(&keep);
        let (report, all) = live_keys(&bytes, &Options::default(), &now, &|_| {}).expect(name);
        assert!(all.keys().all(|key| key.starts_with(b"/registry/")), "{name}");
        let rows: u64 = all.values().map(|live| u64::from(live.versions)).sum();
        assert!((all.len() as u64..=report.items).contains(&rows), "{name}: {rows}");
        // What was written last is not there as of just before; everything older is.
        let last = all.values().map(|live| live.mod_revision).max().expect("keys");
        let (_, before) =
            live_keys(&bytes, &Options::default(), &Pick { at: Some(last - 1), ..now }, &|_| {}).expect(name);
        let older = |live: &&LiveKey| live.mod_revision < last;
        assert_eq!(
            all.values().filter(older).count(),
            before.keys().filter(|key| all.get(*key).is_some_and(|live| older(&live))).count()
        );
        assert!(before.values().all(|live| older(&live)), "{name}");
    }
}

#[test]
fn fingerprints_tell_what_differs() {
    // One key space, written to by different versions: what differs is what has another value.
    let read = |name: &str| {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let all = live_keys(&bytes, &Options::default(), &Pick::new(&|_| Keep::Value), &|_| {}).expect(name).1;
        // Every value is seen, the last one with the revision that the key has.
        let seen = RefCell::new(BTreeMap::new());
        let look = |key: &[u8], revision, value| drop(seen.borrow_mut().insert((key.to_vec(), revision), value));
        let pick = Pick { look: Some(&look), ..Pick::new(&|_| Keep::Look) };
        let kept = live_keys(&bytes, &Options::default(), &pick, &|_| {}).expect(name).1;
        let seen = seen.into_inner();
        assert!(kept.len() == all.len() && kept.values().all(|live| live.value.is_none()), "{name}");
        assert!(seen.len() >= kept.values().map(|live| live.versions as usize).sum(), "{name}");
        assert!(
            all.iter().all(|(key, live)| seen.get(&(key.clone(), live.mod_revision)) == live.value.as_ref()),
            "{name}"
        );
        let prints = Fingerprints::read(&bytes, &Options::default(), b"/registry", &|_| {}).expect(name).1;
        let values: BTreeMap<_, _> = all.into_iter().map(|(key, live)| (key, live.value)).collect();
        (values, prints)
    };
    let sides: Vec<_> = SNAPSHOTS.iter().map(|name| read(name)).collect();
    for (one, prints) in &sides {
        for (other, other_prints) in &sides {
            for (key, value) in one {
                let expected = match other.get(key) {
                    None => Beside::Missing,
                    Some(there) if there == value => Beside::Same,
                    Some(_) => Beside::Other,
                };
                assert_eq!(prints.beside(other_prints, key, b"/registry"), expected);
            }
        }
    }
    // A prefix does not count.
    let (one, prints) = &sides[0];
    let moved = |key: &[u8]| [b"/other", key.strip_prefix(b"/registry").unwrap_or(key)].concat();
    let key = one.keys().find(|key| key.starts_with(b"/registry/")).expect("a key");
    assert_eq!(prints.beside(prints, &moved(key), b"/other"), Beside::Same);
    assert_eq!(prints.beside(&Fingerprints::default(), &moved(key), b"/other"), Beside::Missing);
}

#[test]
fn a_damaged_file_has_no_live_keys() {
    let mut bytes = unpack("snapshots/3.6.14.db.zst");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let found = live_keys(&bytes, &Options::default(), &Pick::new(&|_| Keep::Value), &|_| {});
    assert!(matches!(found, Err(VerifyError::Damaged(_))), "{found:?}");
}
