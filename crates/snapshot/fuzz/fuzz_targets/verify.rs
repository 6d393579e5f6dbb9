//! No bytes make `verify` panic, loop or allocate much. A right digest is put behind them too, so that the pages decide.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run verify --fuzz-dir crates/snapshot/fuzz`; a small snapshot is a good seed.

#![no_main]

use etcd_snapshot::{Options, verify};
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};

fuzz_target!(|bytes: &[u8]| {
    let options = Options::default();
    let _ = verify(&bytes, &options, &|_| {});
    let sealed = [bytes, digest(&SHA256, bytes).as_ref()].concat();
    if let Ok(report) = verify(&sealed, &options, &|_| {}) {
        assert_eq!(report.total_size, bytes.len() as u64);
    }
});
