//! No bytes make the decoders of raft's files panic, loop or allocate much; every record that is read has its checksum.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run wal --fuzz-dir crates/snapshot/fuzz`; `tests/data/restored/*.wal` are good seeds.

#![no_main]

use etcd_snapshot::restore::{RaftSnapshot, Wal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(wal) = Wal::decode(bytes) {
        // A frame takes 8 bytes at least.
        assert!((wal.entries.len() + wal.snapshots.len()) * 8 <= bytes.len());
        assert!(wal.entries.iter().map(|entry| entry.data.len()).sum::<usize>() <= bytes.len());
    }
    if let Ok(snapshot) = RaftSnapshot::decode(bytes) {
        assert!(snapshot.store.len() + snapshot.voters.len() <= bytes.len());
    }
});
