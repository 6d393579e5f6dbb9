//! No bytes make the reader of a member's log panic, loop or allocate much, and what is read twice is the same.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run log --fuzz-dir crates/snapshot/fuzz`; `tests/data/restored/*.wal` and `tests/data/wal/*/*.wal` are good seeds.

#![no_main]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use etcd_snapshot::wal::{Limits, Log, OnlyInLog, SegmentName, SnapshotFiles};
use libfuzzer_sys::fuzz_target;

/// What stands between two segments.
const BETWEEN: &[u8] = b"\xffsegment\xff";

fuzz_target!(|bytes: &[u8]| {
    let mut folder = BTreeMap::new();
    let (mut rest, mut sequence) = (bytes, 0);
    loop {
        let cut = rest.windows(BETWEEN.len()).position(|some| some == BETWEEN);
        let segment = cut.map_or(rest, |cut| &rest[..cut]);
        folder.insert(SegmentName { sequence, index: sequence * 2 }.to_string(), segment.to_vec());
        match cut {
            Some(cut) if sequence < 4 => (rest, sequence) = (&rest[cut + BETWEEN.len()..], sequence + 1),
            _ => break,
        }
    }
    if let Ok(log) = Log::read(&folder, None) {
        // A frame takes 8 bytes at least.
        assert!(log.entries * 8 <= bytes.len() as u64);
        assert!(log.bytes <= bytes.len() as u64);
        let mut last = 0;
        log.visit(&folder, 0, 1 << 16, None, &mut |entry| {
            assert!(entry.at.index > last && entry.at.index <= log.last.index, "entries are in order");
            last = entry.at.index;
            ControlFlow::Continue(())
        })
        .expect("what was valid is valid when it is read again");
        OnlyInLog::gather(&folder, &log, 3, Limits { keys: 10, bytes: 1000 }, None).expect("a listing");
    }
    folder.insert("0000000000000001-0000000000000003.snap".to_owned(), bytes.to_vec());
    SnapshotFiles::read(&folder).expect("no file system fails here");
});
