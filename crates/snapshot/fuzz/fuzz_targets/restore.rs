//! No bytes make `restore` panic, loop or write much, and what it refuses leaves nothing. What it writes is sound: a restore of
//! that is the same.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run restore --fuzz-dir crates/snapshot/fuzz`; a small snapshot is a good seed.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use etcd_snapshot::DigestCheck;
use etcd_snapshot::restore::{Destination, Membership, NewCluster, RestoreOptions, restore};
use libfuzzer_sys::fuzz_target;

static MEMBERSHIP: LazyLock<Membership> = LazyLock::new(|| {
    let cluster = NewCluster {
        name: "a".to_owned(),
        initial_cluster: "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380".to_owned(),
        initial_cluster_token: "t".to_owned(),
        initial_advertise_peer_urls: Some("http://10.0.0.1:2380".to_owned()),
    };
    cluster.validate().expect("a cluster")
});

fuzz_target!(|bytes: &[u8]| {
    let bytes = &mended(bytes);
    // A filesystem in memory: the directories are many.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let once = folder.path().join("once");
    let left = || std::fs::read_dir(folder.path()).expect("a folder").count();
    if restored(bytes, 7, &once) {
        let copy = std::fs::read(once.join("member/snap/db")).expect("a database");
        let twice = folder.path().join("twice");
        assert!(restored(&copy, 0, &twice), "it does not read what it wrote");
        assert!(std::fs::read(twice.join("member/snap/db")).expect("a database") == copy);
        assert_eq!(left(), 2);
    } else {
        assert_eq!(left(), 0);
    }
});

fn restored(bytes: &[u8], bump: u64, data_dir: &Path) -> bool {
    let options =
        RestoreOptions { bump, digest: DigestCheck::Skip, etcd_version: None, allow_older_etcd: false, cancel: None };
    let destination = Destination { data_dir: data_dir.to_owned(), wal_dir: None };
    restore(&bytes, &MEMBERSHIP, &destination, &options, &|_| {}).is_ok()
}

/// The same with right checksums in the meta pages, so that what they lead to decides.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let page_size = bytes.get(24..28).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    for start in [0, page_size] {
        let Some(meta) = start.checked_add(80).and_then(|end| bytes.get_mut(start..end)) else { continue };
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let checksum = meta[16..72].iter().fold(0xcbf2_9ce4_8422_2325, fold);
        meta[72..].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}
