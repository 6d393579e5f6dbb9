//! No bytes make `verify` or `hash_kv` panic, loop or allocate much. A right digest is put behind them too, so that the
//! pages decide. Where a file is sound, both say the same of it.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run verify --fuzz-dir crates/snapshot/fuzz`; a small snapshot is a good seed.

#![no_main]

use etcd_snapshot::{DigestCheck, DigestState, HashKvAt, Options, hash_kv, verify};
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};

fuzz_target!(|bytes: &[u8]| {
    let options = Options::default();
    let _ = verify(&bytes, &options, &|_| {});
    let sealed = [bytes, digest(&SHA256, bytes).as_ref()].concat();
    let skip = Options { digest: DigestCheck::Skip, ..options };
    if let Ok(report) = verify(&sealed, &options, &|_| {}) {
        // Whole disk sectors behind the data make the file a copied database, which has no digest and may be longer than its data.
        let (size, length) = (report.total_size, bytes.len() as u64);
        assert!(size == length || (report.digest == DigestState::Absent && size < length), "{size} of {length}");
        let finished = report.compaction.finished.unwrap_or(-1);
        for at in [HashKvAt::default(), HashKvAt { revision: report.revision, compact_revision: Some(finished) }] {
            if let Ok(hash) = hash_kv(&sealed, &skip, at, &|_| {}) {
                assert!(at != HashKvAt::default() || hash == report.hash_kv);
            }
        }
    } else {
        assert!(hash_kv(&sealed, &options, HashKvAt::default(), &|_| {}).is_err());
    }
});
