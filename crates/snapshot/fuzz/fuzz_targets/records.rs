//! Records of any bytes, in pages that are in order: what is wrong is found in the records, and nowhere else.
//!
//! The input is a list of records: a byte for the bucket, two for the lengths of key and value, then both. The keys of rows
//! are revisions that rise, so that their values get looked at.

#![no_main]

use std::collections::BTreeMap;

use etcd_snapshot::{DigestCheck, FindingKind, Options, VerifyError, verify};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/support/builder.rs"]
mod builder;

use builder::{Image, Item, bucket};

const BUCKETS: [&str; 10] =
    ["alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"];
const PAGES: usize = 40;

/// Keys that mean something in some bucket.
const KEYS: [&[u8]; 10] = [
    b"authEnabled",
    b"authRevision",
    b"clusterVersion",
    b"confState",
    b"consistent_index",
    b"downgrade",
    b"finishedCompactRev",
    b"scheduledCompactRev",
    b"storageVersion",
    b"term",
];

fuzz_target!(|bytes: &[u8]| {
    let mut contents: [BTreeMap<Vec<u8>, Vec<u8>>; 10] = Default::default();
    let mut rest = bytes;
    let mut revision = 1_u64;
    while let [kind, key_bytes, value_bytes, after @ ..] = rest {
        let (key, after) = after.split_at(usize::from(*key_bytes).min(after.len()));
        let (value, after) = after.split_at(usize::from(*value_bytes).min(after.len()));
        rest = after;
        let number = usize::from(kind % 16) % BUCKETS.len();
        let key = match (BUCKETS[number], key) {
            ("key", key) => {
                revision += u64::from(kind / 64);
                let tombstone: &[u8] = if kind & 32 == 0 { b"" } else { b"t" };
                [&revision.to_be_bytes()[..], b"_", &u64::to_be_bytes(key.len() as u64), tombstone].concat()
            }
            (_, []) => KEYS[usize::from(kind / 16) % KEYS.len()].to_vec(),
            (_, key) => key.to_vec(),
        };
        contents[number].insert(key, value.to_vec());
    }
    let mut image = Image::new((3 + BUCKETS.len() * PAGES) as u64);
    let roots = (0..BUCKETS.len()).map(|number| (3 + number * PAGES) as u64);
    for (items, root) in contents.iter().zip(roots.clone()) {
        // As many as fit into a bucket's pages.
        let mut room = PAGES * builder::PAGE - 16;
        let items = items.iter().map(|(key, value)| (0, key.clone(), value.clone()));
        let fits = |(_, key, value): &Item| {
            let bytes = 16 + key.len() + value.len();
            room.checked_sub(bytes).map(|left| room = left).is_some()
        };
        image.leaf(root, &items.take_while(fits).collect::<Vec<Item>>());
    }
    image.leaf(2, &BUCKETS.into_iter().zip(roots).map(|(name, root)| bucket(name, root)).collect::<Vec<_>>());
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    match verify(&image.file(), &options, &|_| {}) {
        Ok(report) => assert!(report.current_revision >= report.revision.max(1)),
        Err(VerifyError::Damaged(damage)) => {
            let of_records = |kind| matches!(kind, FindingKind::Record | FindingKind::Revision);
            assert!(damage.findings.iter().all(|finding| of_records(finding.kind)), "{damage}");
        }
        Err(other) => panic!("{other}"),
    }
});
