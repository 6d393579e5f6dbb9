//! Which backups a store has: a pure function of what the store lists, and of a clock.
//!
//! One LIST tells nearly everything that `list` and `prune` need: names bear time, revision, class and what was proved.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::layout::Part;
use crate::{Class, ClusterUid, Key, Level, Listed, Name, Object};

/// How far two honest clocks may be apart. S3 refuses requests of a client whose clock is off by more (`RequestTimeTooSkewed`).
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// How long after its beginning a backup may be committed. One that appears later was copied there, or bears a name that is not its own.
pub const COMMIT_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Bytes of the largest record that is read.
pub const LARGEST_RECORD: usize = 4 << 20;

/// A backup that has a record and a data object. What the record says is not known yet; [`crate::agree`] brings that in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Whose it is.
    pub cluster: ClusterUid,
    /// Its name.
    pub name: Name,
    /// Bytes of the snapshot in the store.
    pub size: u64,
    /// Whether the snapshot is encrypted.
    pub encrypted: bool,
    /// Bytes of the files of a node, if there are any.
    pub node_files: Option<u64>,
    /// Whether the record has a signature. Says nothing of whose.
    pub has_signature: bool,
    /// The highest level of its proofs. Without a proof, the level is in the record.
    pub proof: Option<Level>,
    /// When the record was written, by the clock of the store.
    pub modified: Timestamp,
    /// All its objects, in the order of their keys.
    pub objects: Vec<Object>,
    /// Objects under its name that its record does not name. None are known before the record was read.
    pub foreign: Vec<Object>,
}

impl Backup {
    /// Whether there are two snapshots, of which only the record tells which is the backup's. The encrypted one is taken for it until then.
    pub fn is_ambiguous(&self) -> bool {
        let mut data = self.objects.iter().filter(|object| matches!(object.key.part, Part::Data { .. }));
        data.next().and(data.next()).is_some()
    }

    /// The time of the backup: what its name says, or when the record was written if that is earlier.
    pub fn time(&self) -> Timestamp {
        self.name.taken().min(self.modified)
    }

    /// How old the backup is. Never negative: two clocks differ by a little.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.time()).max(SignedDuration::ZERO)
    }

    /// Where one of its objects lies.
    pub fn key(&self, part: Part) -> Key {
        Key::new(&self.cluster, &self.name, part)
    }

    /// Where its snapshot lies.
    pub fn data(&self) -> Key {
        self.key(Part::Data { encrypted: self.encrypted })
    }

    /// How much of the backup is proved, by its proofs and by the level that the record says.
    ///
    /// `read` proves the stored bytes only: pages that were not checked stay unchecked.
    pub fn level(&self, recorded: Level) -> Level {
        match (recorded, self.proof) {
            (Level::Digest, Some(Level::Written | Level::Read)) => Level::Digest,
            (recorded, proof) => proof.map_or(recorded, |proof| proof.max(recorded)),
        }
    }
}

/// Why a backup is suspect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// There is nothing to restore.
    #[error("it has a record and no snapshot")]
    NoData,
    /// An object has a size that no such object has.
    #[error("{0} has {1} bytes")]
    Odd(String, u64),
    /// The store has listed an object twice.
    #[error("the store lists {0} twice")]
    Twice(String),
    /// Its name, or the store, says a time that is still to come.
    #[error("it is from the future: {0}, and now it is {1}")]
    Future(Timestamp, Timestamp),
    /// It was stored before it began.
    #[error("its name says {0}, and the store has had it since {1}")]
    Ahead(Timestamp, Timestamp),
    /// It was stored long after it began.
    #[error("it is backdated: its name says {0}, and the store has had it since {1} only")]
    Backdated(Timestamp, Timestamp),
}

impl Doubt {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Doubt::NoData => "no-data",
            Doubt::Odd(..) | Doubt::Twice(_) => "odd",
            Doubt::Future(..) => "future",
            Doubt::Ahead(..) => "ahead",
            Doubt::Backdated(..) => "backdated",
        }
    }
}

/// Something with a record that is not to be trusted as it is: never deleted, and nothing else is deleted because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Whose it is.
    pub cluster: ClusterUid,
    /// Its name.
    pub name: Name,
    /// Why it is suspect.
    pub doubt: Doubt,
    /// The backup, if it was stored late and there is nothing else to say against it. Copied backups are so.
    pub backup: Option<Backup>,
    /// All its objects.
    pub objects: Vec<Object>,
}

/// Objects without a record: of a backup that is being written, or was never finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// Whose they are.
    pub cluster: ClusterUid,
    /// Of which backup.
    pub name: Name,
    /// When the last of them was written.
    pub modified: Timestamp,
    /// All of them.
    pub objects: Vec<Object>,
}

impl LeftOver {
    /// How long nothing has been written to it. Never negative.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.modified.max(self.name.taken())).max(SignedDuration::ZERO)
    }

    /// Bytes of its objects.
    pub fn size(&self) -> u64 {
        self.objects.iter().fold(0, |sum, object| sum.saturating_add(object.size))
    }
}

/// The backups of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backups {
    /// Those that are committed and not suspect, the newest first.
    pub committed: Vec<Backup>,
    /// Those that are suspect, by cluster and name.
    pub suspects: Vec<Suspect>,
    /// Objects without a record, by cluster and name.
    pub left_overs: Vec<LeftOver>,
    /// Objects that are none of this layout.
    pub foreign: u64,
}

impl Backups {
    /// Sorts what a store lists.
    pub fn of(listed: &Listed, now: Timestamp) -> Backups {
        let mut groups: BTreeMap<(&ClusterUid, &Name), Vec<Object>> = BTreeMap::new();
        for object in &listed.objects {
            groups.entry((&object.key.cluster, &object.key.name)).or_default().push(object.clone());
        }
        let mut backups = Backups { foreign: listed.foreign, ..Backups::default() };
        for ((cluster, name), mut objects) in groups {
            objects.sort_by(|one, other| one.key.cmp(&other.key));
            backups.add(cluster, name, objects, now);
        }
        backups.committed.sort_by(|one, other| order(other).cmp(&order(one)));
        backups
    }

    fn add(&mut self, cluster: &ClusterUid, name: &Name, objects: Vec<Object>, now: Timestamp) {
        let (cluster, name) = (cluster.clone(), name.clone());
        let Some(record) = objects.iter().find(|object| object.key.part == Part::Record) else {
            let modified = objects.iter().map(|object| object.modified).max().unwrap_or(now);
            return self.left_overs.push(LeftOver { cluster, name, modified, objects });
        };
        let modified = record.modified;
        match Backup::of(&cluster, &name, modified, &objects) {
            Err(doubt) => self.suspects.push(Suspect { cluster, name, doubt, backup: None, objects }),
            Ok(backup) => match misdated(&backup, now) {
                None => self.committed.push(backup),
                Some(doubt) => {
                    let backup = Some(backup).filter(|_| matches!(doubt, Doubt::Backdated(..)));
                    self.suspects.push(Suspect { cluster, name, doubt, backup, objects });
                }
            },
        }
    }

    /// The backups of a cluster that may be restored from, the newest first: those that are not suspect, and those that were stored late.
    /// Of the latter only the time in the store is against them, and that is later than the time they are ranked by.
    pub fn newest_first(&self, cluster: &ClusterUid) -> Vec<&Backup> {
        let late = self.suspects.iter().filter_map(|suspect| suspect.backup.as_ref());
        let mut found: Vec<&Backup> = self.committed.iter().chain(late).filter(|one| one.cluster == *cluster).collect();
        found.sort_by(|one, other| order(other).cmp(&order(one)));
        found
    }

    /// The same in the order in which they are the latest. What a restore was about to replace is the latest only where there is nothing
    /// else: a restore that is tried again would restore that.
    pub fn latest_first(&self, cluster: &ClusterUid) -> Vec<&Backup> {
        let mut found = self.newest_first(cluster);
        // Stable: the newest of each kind stays first.
        found.sort_by_key(|backup| backup.name.class() == Class::PreRestore);
        found
    }

    /// The newest backup of a cluster that may be restored from. Its record and signature are still to be checked.
    pub fn latest(&self, cluster: &ClusterUid) -> Option<&Backup> {
        let found = self.latest_first(cluster);
        found.first().copied()
    }

    /// The suspects of a cluster that a backup is older than, and that therefore might have been its latest.
    pub fn suspects_after(&self, backup: &Backup) -> impl Iterator<Item = &Suspect> {
        let after =
            |suspect: &&Suspect| suspect.cluster == backup.cluster && suspect.name.taken() > backup.name.taken();
        self.suspects.iter().filter(|suspect| suspect.backup.is_none()).filter(after)
    }

    /// The backup of a name, whether or not its times fit.
    pub fn find(&self, cluster: &ClusterUid, name: &Name) -> Option<&Backup> {
        let late = self.suspects.iter().filter_map(|suspect| suspect.backup.as_ref());
        self.committed.iter().chain(late).find(|backup| (&backup.cluster, &backup.name) == (cluster, name))
    }

    /// The clusters of which there is anything.
    pub fn clusters(&self) -> BTreeSet<&ClusterUid> {
        let committed = self.committed.iter().map(|backup| &backup.cluster);
        let suspects = self.suspects.iter().map(|suspect| &suspect.cluster);
        committed.chain(suspects).chain(self.left_overs.iter().map(|left| &left.cluster)).collect()
    }
}

/// Backups of one time are in the order of their names.
fn order(backup: &Backup) -> (Timestamp, &Name, &ClusterUid) {
    (backup.time(), &backup.name, &backup.cluster)
}

impl Backup {
    fn of(cluster: &ClusterUid, name: &Name, modified: Timestamp, objects: &[Object]) -> Result<Backup, Doubt> {
        let mut before: Option<&Object> = None;
        for object in objects {
            if before.is_some_and(|before| before.key == object.key) {
                return Err(Doubt::Twice(object.key.to_string()));
            }
            if object.key.part == Part::Record && !(1..=LARGEST_RECORD as u64).contains(&object.size) {
                return Err(Doubt::Odd(object.key.to_string(), object.size));
            }
            before = Some(object);
        }
        let data = objects.iter().filter_map(|object| match object.key.part {
            Part::Data { encrypted } => Some((object.size > 0, encrypted, object)),
            _ => None,
        });
        let (has_bytes, encrypted, data) =
            data.max_by_key(|(has_bytes, encrypted, _)| (*has_bytes, *encrypted)).ok_or(Doubt::NoData)?;
        if !has_bytes {
            return Err(Doubt::Odd(data.key.to_string(), data.size));
        }
        let size = data.size;
        let node_files = objects.iter().find(|object| object.key.part == Part::NodeFiles);
        let proofs = objects.iter().filter_map(|object| match object.key.part {
            Part::Proof { level, .. } => Some(level),
            _ => None,
        });
        Ok(Backup {
            cluster: cluster.clone(),
            name: name.clone(),
            size,
            encrypted,
            node_files: node_files.map(|object| object.size),
            has_signature: objects.iter().any(|object| object.key.part == Part::Signature),
            proof: proofs.max(),
            modified,
            objects: objects.to_vec(),
            foreign: Vec::new(),
        })
    }
}

fn misdated(backup: &Backup, now: Timestamp) -> Option<Doubt> {
    let (taken, modified) = (backup.name.taken(), backup.modified);
    let latest = taken.max(modified);
    match () {
        () if latest.duration_since(now) > CLOCK_TOLERANCE => Some(Doubt::Future(latest, now)),
        () if taken.duration_since(modified) > CLOCK_TOLERANCE => Some(Doubt::Ahead(taken, modified)),
        () if modified.duration_since(taken) > COMMIT_WITHIN => Some(Doubt::Backdated(taken, modified)),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const OTHER: &str = "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const NOW: &str = "2026-11-27T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Objects by their paths, all written at one time.
    fn listed(objects: &[(&str, u64, &str)]) -> Listed {
        let object = |(path, size, modified): &(&str, u64, &str)| {
            let key = Key::parse(&format!("v1/{path}")).unwrap();
            Object { key, size: *size, modified: at(modified) }
        };
        Listed { objects: objects.iter().map(object).collect(), foreign: 0 }
    }

    fn doubt(objects: &[(&str, u64, &str)]) -> &'static str {
        let backups = Backups::of(&listed(objects), at(NOW));
        match (backups.committed.len(), backups.suspects.as_slice(), backups.left_overs.len()) {
            (0, [suspect], 0) => suspect.doubt.word(),
            (1, [], 0) => "committed",
            (0, [], 1) => "left over",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backup_is_what_has_a_record_and_one_snapshot() {
        let name = format!("{OURS}/20261127T110000Z-7-scheduled-aaaaaaaa");
        let part = |suffix: &str| format!("{name}{suffix}");
        let (data, clear, record) = (part(".db.zst.age"), part(".db.zst"), part(".json"));
        let (signature, node) = (part(".json.sig"), part(".node.tar.zst.age"));
        let (read, opened) = (part(".read-20261127T113000Z-a.proof"), part(".opened-20261127T113000Z-b.proof"));
        let then = "2026-11-27T11:01:00Z";
        let all = [
            (&*record, 900, then),
            (&*read, 0, NOW),
            (&*opened, 3, NOW),
            (&*signature, 300, then),
            (&*node, 50, then),
            (&*data, 1000, then),
        ];
        let backups = Backups::of(&listed(&all), at(NOW));
        let backup = &backups.committed[0];
        assert_eq!((backup.size, backup.encrypted, backup.node_files), (1000, true, Some(50)));
        assert_eq!((backup.has_signature, backup.proof, backup.modified), (true, Some(Level::Opened), at(then)));
        assert_eq!(backup.age(at(NOW)), SignedDuration::from_hours(1));
        assert_eq!(backup.data().to_string(), format!("v1/{data}"));
        for (objects, expected) in [
            (vec![(&*data, 1, then), (&*record, 1, then)], "committed"),
            (vec![(&*clear, 1, then), (&*record, 1, then)], "committed"),
            (vec![(&*record, 1, then)], "no-data"),
            (vec![(&*node, 1, then), (&*record, 1, then), (&*signature, 1, then)], "no-data"),
            // What was put beside a backup makes it no worse: its record says what belongs to it.
            (vec![(&*clear, 1, then), (&*data, 1, then), (&*record, 1, then)], "committed"),
            (vec![(&*clear, 0, then), (&*data, 1, then), (&*record, 1, then)], "committed"),
            (vec![(&*data, 1, then), (&*record, 1, then), (&*signature, 0, then), (&*node, 0, then)], "committed"),
            (vec![(&*data, 0, then), (&*record, 1, then)], "odd"),
            (vec![(&*data, 1, then), (&*record, 0, then)], "odd"),
            (vec![(&*data, 1, then), (&*record, 1 << 30, then)], "odd"),
            (vec![(&*data, 1, then), (&*record, 1, then), (&*record, 1, then)], "odd"),
            (vec![(&*data, 1, then)], "left over"),
            (vec![(&*signature, 1, then)], "left over"),
            (vec![(&*opened, 1, then)], "left over"),
        ] {
            assert_eq!(doubt(&objects), expected, "{objects:?}");
        }
    }

    #[test]
    fn times_that_do_not_fit_are_suspect() {
        for (name, modified, expected) in [
            ("20261127T110000Z", "2026-11-27T11:01:00Z", "committed"),
            ("20261127T121000Z", "2026-11-27T11:59:00Z", "committed"),
            ("20261127T121000Z", "2026-11-27T12:10:00Z", "committed"),
            ("20261127T121600Z", "2026-11-27T11:59:00Z", "future"),
            ("20991127T110000Z", "2026-11-27T11:01:00Z", "future"),
            ("20261127T110000Z", "2026-11-27T12:16:00Z", "future"),
            ("20261127T110000Z", "2026-11-26T11:00:00Z", "ahead"),
            ("20261120T110000Z", "2026-11-21T11:00:00Z", "committed"),
            ("20261120T110000Z", "2026-11-21T11:00:01Z", "backdated"),
        ] {
            let path = |suffix| format!("{OURS}/{name}-7-manual-aaaaaaaa{suffix}");
            let objects = [(&*path(".db.zst.age"), 5, modified), (&*path(".json"), 5, modified)];
            assert_eq!(doubt(&objects), expected, "{name} {modified}");
        }
    }

    #[test]
    fn the_newest_is_found_by_the_earlier_of_its_two_times() {
        let bundle = |cluster: &str, name: &str, modified| {
            [".db.zst.age", ".json"].map(|suffix| (format!("{cluster}/{name}{suffix}"), modified))
        };
        let objects: Vec<(String, &str)> = [
            // From the future, and long ahead of its store.
            bundle(OURS, "20991127T110000Z-9-scheduled-aaaaaaaa", "2026-11-27T11:01:00Z"),
            bundle(OURS, "20261127T115900Z-9-scheduled-aaaaaaaa", "2026-11-26T11:01:00Z"),
            // A clock that was a little ahead, and one that was right.
            bundle(OURS, "20261127T100900Z-9-scheduled-aaaaaaaa", "2026-11-27T10:00:00Z"),
            bundle(OURS, "20261127T100100Z-9-scheduled-aaaaaaaa", "2026-11-27T10:02:00Z"),
            // A copy.
            bundle(OURS, "20261101T000000Z-9-scheduled-aaaaaaaa", "2026-11-27T11:50:00Z"),
            // Another cluster's.
            bundle(OTHER, "20261127T115000Z-9-scheduled-aaaaaaaa", "2026-11-27T11:50:00Z"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let objects: Vec<_> = objects.iter().map(|(path, modified)| (path.as_str(), 5, *modified)).collect();
        let backups = Backups::of(&listed(&objects), at(NOW));
        let names: Vec<String> =
            backups.newest_first(&OURS.parse().unwrap()).iter().map(|one| one.name.to_string()).collect();
        assert_eq!(
            names,
            [
                "20261127T100100Z-9-scheduled-aaaaaaaa",
                "20261127T100900Z-9-scheduled-aaaaaaaa",
                "20261101T000000Z-9-scheduled-aaaaaaaa",
            ]
        );
        assert_eq!((backups.clusters().len(), backups.suspects.len()), (2, 3));
    }

    #[test]
    fn bytes_that_were_read_prove_no_pages() {
        let name = format!("{OURS}/20261127T110000Z-7-scheduled-aaaaaaaa");
        for (proof, recorded, level) in [
            ("", Level::Digest, Level::Digest),
            ("", Level::Written, Level::Written),
            ("read", Level::Digest, Level::Digest),
            ("read", Level::Written, Level::Read),
            ("opened", Level::Digest, Level::Opened),
            ("written", Level::Digest, Level::Digest),
            ("digest", Level::Written, Level::Written),
        ] {
            let (data, record) = (format!("{name}.db.zst.age"), format!("{name}.json"));
            let proof = format!("{name}.{proof}-20261127T113000Z-a.proof");
            let then = "2026-11-27T11:01:00Z";
            let mut objects = vec![(&*data, 1, then), (&*record, 1, then)];
            objects.extend(Key::parse(&format!("v1/{proof}")).map(|_| (&*proof, 1, then)));
            let backups = Backups::of(&listed(&objects), at(NOW));
            assert_eq!(backups.committed[0].level(recorded), level, "{proof} {recorded}");
        }
    }

    #[test]
    fn ten_thousand_backups_are_sorted_in_one_pass() {
        let (cluster, start): (ClusterUid, _) = (OURS.parse().unwrap(), at("2025-01-01T00:00:00Z"));
        let mut objects = Vec::new();
        for hour in 0..10_000 {
            let taken = start + SignedDuration::from_hours(hour);
            let name = Name::new(taken, hour, Class::Scheduled);
            for part in [Part::Data { encrypted: true }, Part::Record, Part::Signature] {
                objects.push(Object { key: Key::new(&cluster, &name, part), size: 1, modified: taken });
            }
        }
        objects.reverse();
        let backups = Backups::of(&Listed { objects, foreign: 3 }, at(NOW));
        assert_eq!((backups.committed.len(), backups.foreign), (10_000, 3));
        assert_eq!(backups.latest(&cluster).map(|one| one.name.revision()), Some(9_999));
        assert!(backups.committed.is_sorted_by_key(|one| std::cmp::Reverse(one.time())));
    }
}
