//! Three members restored from one file: one cluster, with the same contents in each.

use differential::restored::{Restored, ours, same_contents, theirs};
use differential::{Case, Etcd, Server, Setup, Stop, scene};
use etcd_client::{AlarmType, MemberAddOptions};

#[tokio::test]
async fn three_members_of_3_4_23() {
    three_members(Etcd::V3_4_23, 0).await;
}

#[tokio::test]
async fn three_members_of_3_5_1() {
    three_members(Etcd::V3_5_1, 1).await;
}

#[tokio::test]
async fn three_members_of_3_5_16() {
    three_members(Etcd::V3_5_16, 2).await;
}

async fn three_members(etcd: Etcd, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let case = scene::follower(etcd, folder.path(), 100 + seed).await;
    for etcd in etcd.and_newer() {
        let folder = folder.path().join(format!("{etcd:?}"));
        std::fs::create_dir(&folder).expect("a folder");
        // etcd wants a cluster to have been whole for seconds before it grows.
        let at_once = |setup: Setup| setup.with_wal_dir().with(&["--strict-reconfig-check=false"]);
        let setups = Setup::cluster::<3>(etcd, &folder).map(at_once);
        for setup in &setups {
            ours(&case, setup, 0);
        }
        let mut other = alone(&case, etcd, &folder).await;

        let servers = Server::start_all(&setups);
        let mut members = Vec::new();
        for server in servers {
            members.push(Restored::of(server, false).await);
        }
        for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
            members[0].disarm(kind).await;
            other.disarm(kind).await;
        }
        for member in &mut members {
            same_contents(&case, &mut member.live, &mut other.live, &[]).await;
            let (revision, hash) = *case.hashes.last().expect("the current one");
            case.same("HashKV", &member.live.hash_kv(revision).await.expect("HashKV"), &hash);
        }

        members[1].go_on().await;
        other.go_on().await;
        let joined = join(&members, &folder).await;
        members.push(joined);
        for member in &mut members {
            same_contents(&case, &mut member.live, &mut other.live, &[]).await;
            let hash = member.live.hash_kv(0).await.expect("HashKV");
            case.same("HashKV", &hash, &other.live.hash_kv(0).await.expect("HashKV"));
        }
        for (number, member) in members.iter_mut().enumerate() {
            member.restart(Stop::Orderly).await;
            member.snapshot("a member of three", &folder.join(format!("{number}.db"))).await;
        }
    }
}

/// What the vendor restores from the file, alone.
async fn alone(case: &Case, etcd: Etcd, folder: &std::path::Path) -> Restored {
    let folder = folder.join("theirs");
    std::fs::create_dir(&folder).expect("a folder");
    let setup = Setup { checks_itself: false, ..Setup::alone(etcd, &folder) };
    theirs(case, &setup, 0).unwrap_or_else(|error| case.fail(&error));
    Restored::boot(&setup, false).await
}

/// A fourth member, which has nothing but what the others give it.
async fn join(members: &[Restored], folder: &std::path::Path) -> Restored {
    let setup = Setup::joining(&members[0].server.setup, folder);
    let mut client = members[0].live.client.clone();
    client.member_add([setup.peer_url()], None::<MemberAddOptions>).await.expect("a member more");
    Restored::boot(&setup, false).await
}
