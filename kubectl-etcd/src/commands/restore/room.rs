//! Whether a node has room for a restore: the new data is made beside the old, which stays.

use etcd_wire::facts::{Disk, WAL_BYTES, staging_bytes};
use serde::Serialize;

use crate::output::bytes;

/// The room on one node, in bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Room {
    /// Where the data directory is: twice the snapshot, for the file itself and the database that is made of it, and 128 MiB for
    /// etcd's WAL.
    pub(super) needed_bytes: u64,
    pub(super) free_bytes: u64,
    /// Of the WAL directory, where it is not in the data directory.
    wal: Option<WalRoom>,
    /// What the member's database takes now, and goes on taking while it is kept.
    database_bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct WalRoom {
    needed_bytes: u64,
    free_bytes: u64,
}

impl Room {
    /// For a snapshot of so many bytes.
    pub(super) fn of(disk: &Disk, snapshot_bytes: u64) -> Room {
        Room {
            needed_bytes: staging_bytes(snapshot_bytes),
            free_bytes: disk.free_bytes,
            wal: disk.wal_free_bytes.map(|free_bytes| WalRoom { needed_bytes: WAL_BYTES, free_bytes }),
            database_bytes: disk.database_bytes,
        }
    }

    /// What is missing, if anything is.
    pub(super) fn objection(&self) -> Option<String> {
        let data = (self.free_bytes < self.needed_bytes).then(|| {
            let (needed, free) = (bytes(self.needed_bytes), bytes(self.free_bytes));
            let reckoned = format!("twice the snapshot and {}", bytes(WAL_BYTES));
            format!("its disk has too little room: {needed} are needed ({reckoned}), {free} are free")
        });
        let wal = || {
            let wal = self.wal.as_ref().filter(|wal| wal.free_bytes < wal.needed_bytes)?;
            let (needed, free) = (bytes(wal.needed_bytes), bytes(wal.free_bytes));
            Some(format!("the disk of its WAL has too little room: {needed} are needed, {free} are free"))
        };
        data.or_else(wal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_snapshot_and_the_wal() {
        let needed = 2 * 1_000_000 + (128 << 20);
        let disk = Disk { free_bytes: needed, wal_free_bytes: None, database_bytes: 7 };
        assert_eq!(Room::of(&disk, 1_000_000).objection(), None);
        let short = Room::of(&Disk { free_bytes: needed - 1, ..disk }, 1_000_000).objection().unwrap();
        assert!(short.contains("too little room") && short.contains("twice the snapshot"), "{short}");
        let wal = Room::of(&Disk { wal_free_bytes: Some(5), ..disk }, 1_000_000).objection().unwrap();
        assert!(wal.contains("of its WAL"), "{wal}");
        assert_eq!(Room::of(&Disk { wal_free_bytes: Some(WAL_BYTES), ..disk }, 1_000_000).objection(), None);
        assert!(Room::of(&disk, u64::MAX).objection().is_some());
    }
}
