//! Files of servers in a state that random histories seldom or never have.

use differential::{Case, Etcd, scene};
use etcd_snapshot::DigestState;

#[tokio::test]
async fn a_member_without_space() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        scene::full(etcd, folder.path()).await.verified();
    }
}

#[tokio::test]
async fn a_member_in_the_middle_of_a_compaction() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        scene::compacting(etcd, folder.path()).await.verified();
    }
}

#[tokio::test]
async fn a_follower_of_three() {
    for etcd in Etcd::ALL {
        for seed in 0..4 {
            let folder = tempfile::tempdir().expect("a folder");
            let report = scene::follower(etcd, folder.path(), seed).await.verified();
            assert_eq!(report.members.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_learner() {
    for etcd in [Etcd::V3_5_1, Etcd::V3_5_16] {
        let folder = tempfile::tempdir().expect("a folder");
        let report = scene::learner(etcd, folder.path()).await.verified();
        assert_eq!(report.members.iter().filter(|member| member.is_learner).count(), 1);
    }
}

#[tokio::test]
async fn the_database_of_a_member_that_was_killed() {
    for etcd in Etcd::ALL {
        for seed in 0..8 {
            let folder = tempfile::tempdir().expect("a folder");
            let case: Case = scene::killed(etcd, folder.path(), seed).await;
            let report = case.verified();
            assert_eq!(report.digest, DigestState::Absent, "{}", case.name);
        }
    }
}
