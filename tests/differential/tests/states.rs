//! Files of servers in a state that random histories seldom or never have.

use differential::{Etcd, scene};
use etcd_snapshot::AlarmKind;

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
        let case = scene::learner(etcd, folder.path()).await;
        let report = case.verified();
        case.warns(&report, &["learner"]);
        assert_eq!(report.members.iter().filter(|member| member.is_learner).count(), 1);
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
