//! Every kind of record, as etcd writes it and broken one part at a time; and what is no damage but worth a warning.

mod support;

use etcd_snapshot::{AlarmKind, Finding, FindingKind as Kind, Keep, Options, Pick, Report, Warning, live_keys};
use support::builder::{
    BRANCH, Image, Item, LEAF, ROOT, bucket, deletion, inline, put, row, row_key, sample, sample_buckets,
};
use support::{check, findings};

/// The sample with these items in one of its small buckets.
fn with(name: &str, items: &[(&[u8], &[u8])]) -> Image {
    let items: Vec<Item> = items.iter().map(|(key, value)| (0, key.to_vec(), value.to_vec())).collect();
    let mut buckets = sample_buckets();
    buckets.retain(|(_, known, _)| known != name.as_bytes());
    buckets.push(inline(name, &items));
    buckets.sort();
    let mut image = sample();
    image.leaf(ROOT, &buckets);
    image
}

/// The sample with these rows in its first leaf, below revision 5.
fn with_rows(rows: &[Item]) -> Image {
    let mut image = sample();
    image.leaf(LEAF, rows);
    image.branch(BRANCH, &[(rows[0].1.clone(), LEAF), (row_key(5), LEAF + 1), (row_key(8), 6)]);
    image
}

fn sound(image: &Image) -> Report {
    check(&image.file()).unwrap_or_else(|error| panic!("{error}"))
}

fn warnings(image: &Image) -> Vec<&'static str> {
    sound(image).warnings.iter().map(Warning::kind).collect()
}

/// The only finding, which names page and offset.
fn one(image: &Image) -> Finding {
    let mut found = findings(&image.file());
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().filter(|finding| finding.page.is_some() && finding.offset.is_some()).expect("where it is")
}

const LEASE: [u8; 8] = [0, 0, 0, 0, 0, 0, 0x12, 0x34];
const MEMBER: &[u8] = br#"{"id":255,"peerURLs":["http://a:2380"],"name":"m1"}"#;

#[test]
fn records_of_every_bucket() {
    for (bucket, key, value) in [
        ("alarm", &b"\x08\x01\x10\x01"[..], &b""[..]),
        ("auth", b"authEnabled", b"\x00"),
        ("auth", b"authRevision", &[0; 8]),
        ("authRoles", b"r", b"\x0a\x01r\x12\x07\x08\x02\x12\x01a\x1a\x00"),
        ("authUsers", b"u", b"\x0a\x01u\x12\x02pw\x1a\x04root"),
        ("cluster", b"clusterVersion", b"3.5.0"),
        ("cluster", b"downgrade", br#"{"target-version":"","enabled":false}"#),
        ("lease", &LEASE, b"\x08\xb4\x24\x10\x3c"),
        ("members", b"ff", MEMBER),
        ("members_removed", b"ff", b"removed"),
        ("meta", b"confState", br#"{"voters":[255],"auto_leave":false}"#),
        ("meta", b"consistent_index", &[0; 8]),
        ("meta", b"term", &[0; 8]),
        ("meta", b"storageVersion", b"3.6.0"),
        ("meta", b"scheduledCompactRev", b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\0"),
    ] {
        sound(&with(bucket, &[(key, value)]));
        // Cut, lengthened, and something else: all of it is told apart from a record, and from no other place.
        let cut = value.split_last().map_or(&b""[..], |(_, rest)| rest);
        for bad in [cut, &[value, b"\xff"].concat(), &[0xff; 20]] {
            if bad == value || (key == b"storageVersion" || key == b"clusterVersion") && bad == cut {
                continue;
            }
            let found = one(&with(bucket, &[(key, bad)]));
            assert_eq!((found.kind, found.page), (Kind::Record, Some(ROOT)), "{bucket}: {found}");
            assert_eq!(found.bucket.as_deref(), Some(bucket));
            let shown = str::from_utf8(key).ok().filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(shown.is_none_or(|key| found.key.as_deref() == Some(key)), "{found:?}");
        }
    }
    // Under another key.
    for (bucket, key, value) in [
        ("authRoles", &b"s"[..], &b"\x0a\x01r"[..]),
        ("authUsers", b"v", b"\x0a\x01u"),
        ("lease", &[0; 8], b"\x08\xb4\x24\x10\x3c"),
        ("lease", b"short", b"\x08\xb4\x24\x10\x3c"),
        ("members", b"fe", MEMBER),
        ("members_removed", b"0f", b"removed"),
        ("alarm", b"\x08\x01\x10", b""),
    ] {
        assert_eq!(one(&with(bucket, &[(key, value)])).kind, Kind::Record, "{bucket}");
    }
}

#[test]
fn what_a_later_etcd_may_add_is_no_damage() {
    let mut image = with("meta", &[(b"consistent_index", &[0, 0, 0, 0, 0, 0, 0, 7]), (b"somethingNew", b"\xff")]);
    sound(&image);
    let mut buckets = sample_buckets();
    buckets.push(inline("newBucket", &[(0, b"k".to_vec(), b"v".to_vec())]));
    image.leaf(ROOT, &buckets);
    assert_eq!(sound(&image).items, 9);
    sound(&with("auth", &[(b"authNew", b"?")]));
    sound(&with("cluster", &[(b"clusterNew", b"?")]));
    sound(&with("lease", &[(&LEASE, b"\x08\xb4\x24\x10\x3c\x7a\x01?")]));
    sound(&with("alarm", &[(b"\x08\x01\x10\x07", b"")]));
    let newer = [row(2, "a", 3).2, b"\x7a\x01?".to_vec()].concat();
    sound(&with_rows(&[(0, row_key(2), newer), row(3, "b", 0), row(4, "c", 7)]));
}

fn sub(revision: u64, sub: u64) -> Vec<u8> {
    [&revision.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat()
}

#[test]
fn histories_that_real_ones_have() {
    // Deleted and made anew, a transaction whose first changes were compacted away, an empty value, a key from before the
    // history starts.
    sound(&with_rows(&[row(2, "a", 3), deletion(3, "a"), (0, row_key(4), put(b"a", [4, 4, 1], b"", 0))]));
    sound(&with_rows(&[(0, sub(2, 3), put(b"x", [2, 2, 1], b"v", 0)), (0, sub(2, 7), put(b"y", [1, 2, 9], b"v", 0))]));
    // Rows of a lease that is gone: only the newest row of a key matters.
    let gone = |numbers, lease| put(b"a", numbers, b"v", lease);
    let image = with_rows(&[(0, row_key(2), gone([2, 2, 1], 9)), (0, row_key(3), gone([2, 3, 2], 0))]);
    assert_eq!((warnings(&image), sound(&image).keys_with_lease), (vec![], 0));
    let image = with_rows(&[(0, row_key(2), gone([2, 2, 1], 9)), deletion(3, "a")]);
    assert_eq!(warnings(&image), [""; 0]);
    // A compaction that was cut short.
    let index = (&b"consistent_index"[..], &[0; 8][..]);
    let (two, five) = (row_key(2), row_key(5));
    let image = with("meta", &[index, (b"finishedCompactRev", &two), (b"scheduledCompactRev", &five)]);
    assert_eq!(warnings(&image), [""; 0]);
    let report = sound(&image);
    assert_eq!((report.compaction.finished, report.compaction.scheduled), (Some(2), Some(5)));
    assert_eq!((report.current_revision, report.hash_kv.compact_revision), (8, 5));
    // A mark above all rows, as servers that crashed in a compaction could leave.
    let nine = row_key(9);
    let report = sound(&with("meta", &[index, (b"scheduledCompactRev", &nine)]));
    assert_eq!((report.revision, report.current_revision, report.hash_kv.revision), (8, 9, 9));
    assert_eq!(sound(&with("meta", &[index])).current_revision, 8);
}

#[test]
fn rows_that_contradict_themselves() {
    let of = |value: Vec<u8>| one(&with_rows(&[row(2, "a", 3), (0, row_key(3), value)]));
    for (numbers, what) in [
        ([3, 2, 1], "mod revision 2"),
        ([3, 4, 1], "mod revision 4"),
        ([4, 3, 1], "created in 4"),
        ([0, 3, 2], "created in 0"),
        ([3, 3, 2], "version 2"),
        ([2, 3, 1], "version 1"),
        ([3, 3, 0], "version 0"),
        ([u64::MAX, 3, 2], "created in -1"),
        ([2, 3, u64::MAX], "version -1"),
    ] {
        let found = of(put(b"b", numbers, b"v", 0));
        assert_eq!((found.kind, found.page, found.bucket.as_deref()), (Kind::Revision, Some(LEAF), Some("key")));
        assert!(found.message.contains(what) && found.key.is_some(), "{found}");
    }
    assert_eq!(of(put(b"", [3, 3, 1], b"v", 0)).kind, Kind::Record);
    let twice = with_rows(&[row(2, "a", 3), row(3, "b", 3), deletion(3, "a")]);
    assert_eq!(one(&twice).kind, Kind::Revision);
    let more = (0, [&row_key(3)[..], b"t"].concat(), put(b"a", [2, 3, 2], b"", 0));
    assert_eq!(one(&with_rows(&[row(2, "a", 3), more])).kind, Kind::Record);
    let (two, five) = (row_key(2), row_key(5));
    let marks = with("meta", &[(b"finishedCompactRev", &five), (b"scheduledCompactRev", &two)]);
    let found = findings(&marks.file());
    assert_eq!((found.len(), found[0].kind, found[0].bucket.as_deref()), (1, Kind::Revision, Some("meta")));
}

/// A value of several windows, broken near its end: the pieces before it were hashed and passed on already.
#[test]
fn the_end_of_a_long_value() {
    let with_value = |value: Vec<u8>| {
        let mut image = Image::new(400);
        image.leaf(ROOT, &[bucket("key", 3)]);
        image.leaf(3, &[(0, row_key(2), value)]);
        image
    };
    let value = put(b"a", [2, 2, 1], &[b'v'; 300_000], 1);
    assert_eq!(sound(&with_value(value.clone())).keys_with_lease, 1);
    for bad in [value[..value.len() - 1].to_vec(), [&value[..], b"\x30"].concat(), value[..200_000].to_vec()] {
        assert_eq!(one(&with_value(bad)).kind, Kind::Record);
    }
}

#[test]
fn what_is_worth_a_warning() {
    let index = (&b"consistent_index"[..], &[0; 8][..]);
    let term = (&b"term"[..], &[0; 8][..]);
    assert_eq!(warnings(&with("meta", &[index, term])), [""; 0]);
    assert_eq!(warnings(&with("meta", &[])), ["noRecord"]);
    assert_eq!(warnings(&with("meta", &[(b"confState", b"{}"), index])), ["noRecord"]);
    let learner = br#"{"id":255,"peerURLs":["http://a:2380"],"isLearner":true}"#;
    let report = sound(&with("members", &[(b"ff", learner)]));
    assert_eq!(report.warnings, [Warning::Learner { members: "ff".to_owned() }]);
    let downgrade = br#"{"target-version":"3.5.0","enabled":true}"#;
    let report = sound(&with("cluster", &[(b"downgrade", downgrade)]));
    assert_eq!(report.warnings, [Warning::Downgrade { target: "3.5.0".to_owned() }]);
    let report = sound(&with("alarm", &[(b"\x08\xff\x01\x10\x02", b"")]));
    assert_eq!(report.warnings, [Warning::Alarm { member_id: "ff".to_owned(), kind: AlarmKind::Corrupt }]);
    let report = sound(&with("auth", &[(b"authEnabled", b"\x01")]));
    assert_eq!((report.auth.enabled, &report.warnings[..]), (true, &[Warning::AuthEnabled { users: 0 }][..]));
    let report = sound(&with("members_removed", &[(b"ff", b"removed")]));
    assert_eq!((report.members_removed, report.warnings), (vec!["ff".to_owned()], vec![]));

    let leased = |lease| {
        let mut image = with("lease", &[(&LEASE, b"\x08\xb4\x24\x10\x3c")]);
        let keys =
            [(0, row_key(2), put(b"a", [2, 2, 1], b"", lease)), (0, row_key(3), put(b"b", [3, 3, 1], b"", 0x1234))];
        image.leaf(LEAF, &keys);
        sound(&image)
    };
    let report = leased(0x1234);
    assert_eq!((report.leases, report.keys_with_lease, report.warnings), (1, 2, vec![]));
    let report = leased(0x1235);
    assert_eq!((report.keys_with_lease, report.warnings), (2, vec![Warning::LeaseMissing { keys: 1 }]));

    let mut single = sample();
    single.branch(BRANCH, &[(row_key(2), LEAF)]);
    let report = sound(&single);
    assert_eq!(report.warnings, [Warning::SingleChild { pages: 1, first: BRANCH }]);
    assert_eq!(report.free_pages, 3);
}

/// Lists that a file can make as long as it likes are not kept without end.
#[test]
fn more_members_than_any_cluster_has() {
    let ids = 1..=20_000_u64;
    let mut items: Vec<Item> = ids.map(|id| (0, format!("{id:x}").into_bytes(), b"removed".to_vec())).collect();
    items.sort();
    let mut image = Image::new(600);
    let leaves = items.chunks(1000).zip((10..).step_by(29)).map(|(leaf, page)| (leaf, page as u64));
    let children: Vec<_> = leaves.clone().map(|(leaf, page)| (leaf[0].1.clone(), page)).collect();
    leaves.for_each(|(leaf, page)| image.leaf(page, leaf));
    image.branch(3, &children);
    image.leaf(ROOT, &[inline("key", &[]), bucket("members_removed", 3)]);
    let found = findings(&image.file());
    assert!(found.iter().all(|finding| finding.message == "more records than any cluster has"), "{}", found[0]);
}

/// What the last value of a key is encrypted by counts, not what an earlier one was.
#[test]
fn keys_of_encrypted_values() {
    let value = |key: &str, value: &[u8], revision| put(key.as_bytes(), [revision, revision, 1], value, 0);
    let long = [&b"k8s:enc:kms:v2:plugin:"[..], &[7; 50_000]].concat();
    let rows = [
        (0, row_key(2), value("a", b"k8s:enc:aescbc:v1:old:x", 2)),
        (0, row_key(3), value("b", b"k8s:enc:aescbc:v1:old:x", 3)),
        (0, row_key(4), value("c", b"k8s\0plain", 4)),
        (0, row_key(5), value("d", b"k8s:enc:aescbc:v1:gone:x", 5)),
        (0, row_key(6), value("a", b"k8s:enc:aescbc:v1:new:x", 6)),
        deletion(7, "d"),
        (0, row_key(8), value("e", &long, 8)),
    ];
    let mut image = Image::new(100);
    image.leaf(ROOT, &[bucket("key", 3)]);
    image.leaf(3, &rows);
    let (_, keys) =
        live_keys(&image.file(), &Options::default(), &Pick::new(&|_| Keep::Key), &|_| {}).expect("a sound file");
    let by = |key: &str| keys[key.as_bytes()].encrypted_by.as_ref().map(ToString::to_string);
    let found: Vec<_> = ["a", "b", "c", "e"].map(by).into();
    assert_eq!(found, [Some("aescbc:v1:new".into()), Some("aescbc:v1:old".into()), None, Some("kms:v2:plugin".into())]);
}
