//! Whether the database, and a restore beside it, has room, and a disk that is fast enough.

use etcd_wire::facts::{WAL_BYTES, staging_bytes};

use crate::check::Check;
use crate::facts::{Facts, Node};
use crate::judgement::{Judgement, size};

/// Part of the quota from which on it is close, in percent.
const CLOSE: u64 = 80;
/// Part of the quota that is as good as all of it, in percent.
const FULL: u64 = 95;

/// Waits that are long, microseconds: etcd's own alerting rule (contrib/mixin, etcdHighFsyncDurations) has 0.5 s for the 99th percentile, and the
/// histogram a bucket that ends at 0.512 s.
const LONG: u64 = 512_000;
/// Fewer long waits than this say nothing: a node that starts has some.
const SOME: u64 = 10;

pub(super) const ALARMS: Check = Check {
    name: "alarms",
    title: "no alarm is raised",
    looks_at: "The alarms of etcd. Every one is an error.",
    why: "With the alarm NOSPACE etcd takes no writes: no pod starts, no Lease is renewed, and no pod can be made for a backup. CORRUPT says that members hold different data.",
    by_hand: "NOSPACE: kubectl etcd compact, kubectl etcd defrag, kubectl etcd alarms disarm; find out what filled the database: kubectl etcd backup full.db,
kubectl etcd inspect full.db.

CORRUPT: do not disarm it. kubectl etcd doctor --explain data says how to replace the member.",
    judge: alarms,
};

fn alarms(facts: &Facts) -> Judgement {
    let mut told: Vec<(u64, &str)> = Vec::new();
    let mut judgement = Judgement::each(&facts.nodes, "no alarm is raised", Node::status, |_, status, _| {
        told.extend(status.alarms.iter().map(|alarm| (alarm.member_id, alarm.kind.as_str())));
    });
    told.sort_unstable();
    told.dedup();
    for (id, kind) in told {
        let of = facts.nodes.iter().find(|node| node.status.as_ref().is_ok_and(|status| status.member_id == id));
        let of = of.map_or_else(|| format!("member {id:x}"), Node::title);
        let mend = match kind {
            "NOSPACE" => "kubectl etcd compact && kubectl etcd defrag && kubectl etcd alarms disarm",
            _ => "kubectl etcd doctor --explain data (which member to replace)",
        };
        judgement.error(format!("{of} has raised the alarm {kind}"), mend);
    }
    judgement
}

pub(super) const DATABASE: Check = Check {
    name: "database-size",
    title: "the database is far from its quota",
    looks_at: "The size of every database file, and how much of it is in use, beside the quota (--quota-backend-bytes; 2 GiB where it is not set). More than 80% is a
warning, more than 95% an error.",
    why: "At the quota etcd raises the alarm NOSPACE and takes no more writes; no pod can be made then, which a backup through the API needs. A file that is large and little
used makes every backup, transfer and restore slower, too.",
    by_hand: "If much less is in use than the file is large: kubectl etcd defrag. If most of it is in use: kubectl etcd compact, then defrag; see what fills it with
kubectl etcd backup and kubectl etcd inspect; raise --quota-backend-bytes in every etcd.yaml, or quota-backend-bytes where the settings of a unit are (etcd suggests at most 8 GiB).",
    judge: database,
};

fn database(facts: &Facts) -> Judgement {
    Judgement::each(&facts.nodes, "every database is far from its quota", Node::status, |node, status, judgement| {
        let bytes = |size: i64| u64::try_from(size).unwrap_or_default();
        let quota = bytes(status.quota.filter(|quota| *quota > 0).unwrap_or(node.quota));
        let (file, used) = (bytes(status.db_size), bytes(status.db_size_in_use));
        let percent = |part: u64| u64::try_from(u128::from(part) * 100 / u128::from(quota.max(1))).unwrap_or(u64::MAX);
        if quota == 0 {
            return judgement.lacks(format!("{}: its quota is not known", node.title()));
        }
        if percent(file) < CLOSE {
            return;
        }
        let evidence =
            format!("{}: {} of {} ({}%), {} in use", node.title(), size(file), size(quota), percent(file), size(used));
        let mend = match percent(used) < CLOSE {
            true => "kubectl etcd defrag",
            false => "kubectl etcd compact && kubectl etcd defrag; raise --quota-backend-bytes",
        };
        if percent(file) < FULL { judgement.warning(evidence, mend) } else { judgement.error(evidence, mend) }
    })
}

pub(super) const ROOM: Check = Check {
    name: "disk-space",
    title: "every node has room for a restore",
    looks_at: "The free bytes where each data directory is, beside what a restore of a snapshot as large as the database needs there: twice its size, and 128 MiB for the log. Less
is an error.",
    why: "A restore makes the new data beside the old, which stays until you remove it. Without room it is refused before anything is stopped, in the night when it is needed.",
    by_hand: "Remove what earlier restores have kept (kubectl etcd cleanup --old-data) and what kubeadm has left (/etc/kubernetes/tmp/kubeadm-backup-etcd-*), prune images
(crictl rmi --prune), or enlarge the disk.",
    judge: room,
};

fn room(facts: &Facts) -> Judgement {
    Judgement::each(&facts.nodes, "every node has room for a restore", Node::disk, |node, told, judgement| {
        const MEND: &str = "kubectl etcd cleanup --old-data; crictl rmi --prune (on the node)";
        let Some(disk) = &told.disk else {
            let why = told.failures.first().map_or("the size of the database is not known", |failure| &failure.message);
            return judgement.lacks(format!("{}: {why}", node.node));
        };
        let needed = staging_bytes(disk.database_bytes);
        if disk.free_bytes < needed {
            let evidence = format!("{}: {} free, a restore needs {}", node.node, size(disk.free_bytes), size(needed));
            judgement.error(evidence, MEND);
        }
        if let Some(free) = disk.wal_free_bytes.filter(|free| *free < WAL_BYTES) {
            let evidence =
                format!("{}: {} free for the log, a restore needs {}", node.node, size(free), size(WAL_BYTES));
            judgement.error(evidence, MEND);
        }
    })
}

pub(super) const FSYNC: Check = Check {
    name: "wal-fsync",
    title: "the disk of the log is fast enough",
    looks_at: "How long etcd has waited for the disk of its log since it started (etcd_disk_wal_fsync_duration_seconds). It is a warning if more than 1% of at least ten waits
took longer than half a second, which is where etcd's own alerting rule draws the line.",
    why: "Every write waits for this. A leader that waits for long loses its leadership, writes fail, and members fall behind; a restore on such a disk may not come up in
time.",
    by_hand: "Look for what else uses the disk (iostat -x 1, on the node), move etcd's data directory to an SSD of its own, and check with fio that the 99th percentile of fdatasync
is below 10 ms.",
    judge: fsync,
};

fn fsync(facts: &Facts) -> Judgement {
    let waits = |node| Node::health(node)?.wal_fsync.as_ref().map_err(Clone::clone);
    Judgement::each(&facts.nodes, "the log rarely waits for its disk", waits, |node, waits, judgement| {
        let long = waits.longer_than(LONG);
        if long >= SOME && long.saturating_mul(100) > waits.count {
            judgement.warning(
                format!("{}: {long} of {} writes of the log waited longer than half a second", node.node, waits.count),
                "move etcd's data directory to a faster disk, or what else uses it away",
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::{Waits, Within};
    use etcd_wire::message::Alarm;

    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, health, healthy, made};

    #[test]
    fn alarms_are_told_once_whoever_tells_them() {
        assert_passes("alarms");
        let mut facts = healthy(3);
        for node in &mut facts.nodes {
            let alarm = |member_id, kind: &str| Alarm { member_id, kind: kind.to_owned() };
            node.status.as_mut().unwrap().alarms = vec![alarm(2, "NOSPACE"), alarm(99, "CORRUPT")];
        }
        let finding = made("alarms", &facts);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.evidence, ["cp2 has raised the alarm NOSPACE", "member 63 has raised the alarm CORRUPT"]);
        assert!(finding.mend[0].contains("alarms disarm") && !finding.mend[1].contains("disarm"));
    }

    #[test]
    fn a_database_close_to_its_quota_is_told_with_what_helps() {
        assert_passes("database-size");
        let sized = |size: i64, used: i64| {
            let mut facts = healthy(3);
            let status = facts.nodes[0].status.as_mut().unwrap();
            (status.db_size, status.db_size_in_use, status.quota) = (size << 20, used << 20, None);
            facts.nodes[0].quota = 100 << 20;
            facts
        };
        assert_finds("database-size", &sized(79, 70), Severity::Ok, "far from its quota");
        assert_finds("database-size", &sized(85, 10), Severity::Warning, "85%");
        assert_eq!(made("database-size", &sized(85, 10)).mend, ["kubectl etcd defrag"]);
        assert!(made("database-size", &sized(90, 85)).mend[0].contains("compact"));
        assert_finds("database-size", &sized(99, 99), Severity::Error, "99%");
    }

    #[test]
    fn room_for_the_new_data_beside_the_old_is_needed() {
        assert_passes("disk-space");
        let mut facts = healthy(3);
        let disk = facts.nodes[1].disk.as_mut().unwrap();
        let told = disk.disk.as_mut().unwrap();
        (told.database_bytes, told.free_bytes) = (100 << 20, 327 << 20);
        assert_finds("disk-space", &facts, Severity::Error, "cp2: 342.8 MB free, a restore needs 343.9 MB");
        let told = facts.nodes[1].disk.as_mut().unwrap().disk.as_mut().unwrap();
        (told.free_bytes, told.wal_free_bytes) = (328 << 20, Some(1));
        assert_finds("disk-space", &facts, Severity::Error, "cp2: 1 B free for the log");
        facts.nodes[1].disk.as_mut().unwrap().disk = None;
        assert_finds("disk-space", &facts, Severity::Unknown, "cp2: the size of the database is not known");
    }

    #[test]
    fn a_slow_disk_is_told_and_a_hiccup_is_not() {
        assert_passes("wal-fsync");
        let waited = |count: u64, short: u64| {
            let mut facts = healthy(3);
            health(&mut facts, 0).wal_fsync =
                Ok(Waits { count, within: vec![Within { micros: 512_000, count: short }] });
            facts
        };
        assert_finds("wal-fsync", &waited(100, 91), Severity::Ok, "rarely");
        assert_finds("wal-fsync", &waited(100, 90), Severity::Warning, "cp1: 10 of 100 writes");
        assert_finds("wal-fsync", &waited(100_000, 99_900), Severity::Ok, "rarely");
        let mut facts = healthy(3);
        health(&mut facts, 2).wal_fsync = Err("it does not tell".to_owned());
        assert_finds("wal-fsync", &facts, Severity::Unknown, "cp3: it does not tell");
    }
}
