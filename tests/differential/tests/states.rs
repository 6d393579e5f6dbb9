//! Files of servers in a state that random histories seldom or never have.

use std::fs::File;
use std::path::Path;

use differential::{Etcd, scene};
use etcd_snapshot::{AlarmKind, FileSource};

#[tokio::test]
async fn a_member_without_space() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let case = scene::full(etcd, folder.path()).await;
        let report = case.verified();
        case.warns(&report, &["alarm"]);
        assert_eq!(report.alarms.len(), 1);
        assert_eq!(report.alarms[0].kind, AlarmKind::NoSpace);
        assert_eq!(report.alarms[0].member_id, report.members[0].id);
    }
}

#[tokio::test]
async fn a_member_in_the_middle_of_a_compaction() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let case = scene::compacting(etcd, folder.path()).await;
        let report = case.verified();
        case.warns(&report, &[]);
        assert!(report.compaction.scheduled > report.compaction.finished, "{}: {:?}", case.name, report.compaction);
    }
}

#[tokio::test]
async fn a_follower_of_three() {
    for etcd in Etcd::ALL {
        for seed in 0..4 {
            let folder = tempfile::tempdir().expect("a folder");
            let case = scene::follower(etcd, folder.path(), seed).await;
            let report = case.verified();
            case.warns(&report, if report.alarms.is_empty() { &[] } else { &["alarm"] });
            assert_eq!(report.members.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_learner() {
    for etcd in [Etcd::V3_5_1, Etcd::V3_5_16] {
        let folder = tempfile::tempdir().expect("a folder");
        let (case, promoted) = scene::learner(etcd, folder.path()).await;
        let report = case.verified();
        case.warns(&report, &["learner"]);
        let learners: Vec<&str> =
            report.members.iter().filter(|member| member.is_learner).map(|member| &*member.id).collect();
        assert_eq!(learners.len(), 1);
        // Both versions do not record that it was promoted.
        let glance = |path: &Path| {
            let source = FileSource::new(File::open(path).expect("a file")).expect("a source");
            etcd_snapshot::glance(&source).expect("a database")
        };
        assert!(glance(&case.path).unrecorded_promotions.is_empty(), "{}", case.name);
        let promoted = glance(&promoted);
        assert!(promoted.members.iter().all(|member| !member.is_learner), "{}: {:?}", case.name, promoted.members);
        assert_eq!(promoted.unrecorded_promotions, learners, "{}", case.name);
    }
}

#[tokio::test]
async fn the_database_of_a_member_that_was_killed() {
    for etcd in Etcd::ALL {
        for seed in 0..8 {
            let folder = tempfile::tempdir().expect("a folder");
            let case = scene::killed(etcd, folder.path(), seed).await;
            let report = case.verified();
            case.warns(&report, if report.alarms.is_empty() { &["noDigest"] } else { &["noDigest", "alarm"] });
        }
    }
}
