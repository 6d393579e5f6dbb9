//! Snapshots of servers in a state that a random history seldom or never has.

use std::path::{Path, PathBuf};

use etcd_client::{AlarmType, CompactionOptions, Error, LeaseGrantOptions, MemberAddOptions, PutOptions};
use etcd_client::{Txn, TxnOp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tonic::Code;

use crate::{Case, Etcd, History, Server, Setup, Shape, Stop};

/// A member that was written to until it had no space left, by its own quota.
pub async fn full(etcd: Etcd, folder: &Path) -> Case {
    let server = Server::start(&Setup::alone(etcd, folder).with(&["--quota-backend-bytes", "1000000"]));
    let mut live = server.client().await;
    let refused = loop {
        if let Err(error) = live.client.put("filling", vec![b'f'; 90_000], None).await {
            break error;
        }
    };
    let Error::GRpcStatus(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(live.alarms().await.first().map(|alarm| alarm.1), Some(AlarmType::Nospace));
    Case::take(format!("{etcd:?}, full"), etcd, &mut live, &folder.join(format!("{etcd:?}-full.db"))).await
}

/// A member in the middle of a compaction: etcd does it in pieces, with pauses between them.
pub async fn compacting(etcd: Etcd, folder: &Path) -> Case {
    let mut setup = Setup::alone(etcd, folder);
    if etcd >= Etcd::V3_5_1 {
        setup = setup.with(&["--experimental-compaction-batch-limit", "100"]);
    }
    let server = Server::start(&setup);
    let mut live = server.client().await;
    for round in 0..60 {
        let puts = (0..128).map(|number| TxnOp::put(format!("{number}"), format!("{round}"), None));
        live.client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.expect("a transaction");
    }
    live.client.delete("7", None).await.expect("a deletion");
    let at = live.revision().await;
    live.client.compact(at, None).await.expect("a compaction");
    live.client.put("after", "it", None).await.expect("a put");
    let path = folder.join(format!("{etcd:?}-compacting.db"));
    Case::take(format!("{etcd:?}, compacting"), etcd, &mut live, &path).await
}

/// A follower of three members, one of which was restarted.
pub async fn follower(etcd: Etcd, folder: &Path, seed: u64) -> Case {
    let mut servers = Server::start_all(&Setup::cluster::<3>(etcd, folder));
    let mut rng = StdRng::seed_from_u64(seed);
    let shape = Shape { auth: false, ..Shape::random(&mut rng) };
    let mut history = History::begin_with(rng, shape, &servers[0]).await;
    for _ in 0..3 {
        history.advance(&servers[0]).await;
    }
    servers[2].restart(Stop::Kill);
    history.advance(&servers[0]).await;
    let mut leader = 0;
    for (index, server) in servers.iter().enumerate() {
        let status = server.client().await.client.status().await.expect("a status");
        if status.header().expect("a header").member_id() == status.leader() {
            leader = index;
        }
    }
    let mut live = servers[(leader + 1) % servers.len()].client().await;
    // All that the cluster has agreed on is here.
    if history.alarm() != Some(AlarmType::Corrupt) {
        live.revision().await;
    }
    let path = folder.join(format!("{etcd:?}-follower-{seed}.db"));
    Case::take(format!("{etcd:?}, follower, seed {seed}"), etcd, &mut live, &path).await
}

/// A learner, which answers no HashKV: its leader's are taken. 3.4.23 gives no snapshot of one. And a snapshot of its leader once it was promoted.
pub async fn learner(etcd: Etcd, folder: &Path) -> (Case, PathBuf) {
    assert!(etcd >= Etcd::V3_5_1, "{etcd:?} gives no snapshot of a learner");
    let [leading, mut learning] = Setup::cluster::<2>(etcd, folder);
    let leader = Server::start(&leading.by_itself());
    let mut live = leader.client().await;
    let lease = live.client.lease_grant(100_000, Some(LeaseGrantOptions::new().with_id(77))).await.expect("a lease");
    for number in 0..300 {
        let options = PutOptions::new().with_lease(if number % 3 == 0 { lease.id() } else { 0 });
        live.client.put(format!("key-{}", number % 40), vec![b'v'; number], Some(options)).await.expect("a put");
    }
    live.client.compact(200, Some(CompactionOptions::new().with_physical())).await.expect("a compaction");
    let learn = MemberAddOptions::new().with_is_learner();
    let added = live.client.member_add([learning.peer_url()], Some(learn)).await.expect("a learner");
    let id = added.member().expect("the learner").id();
    learning = learning.with(&["--initial-cluster-state", "existing"]);
    let server = Server::start(&learning);

    let mut reader = server.client().await;
    let revision = live.revision().await;
    // It learns from its leader, and tells nobody when it is done.
    while reader.client.status().await.expect("a status").header().expect("a header").revision() != revision {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let path = folder.join(format!("{etcd:?}-learner.db"));
    reader.snapshot(&path).await;
    let case = Case { name: format!("{etcd:?}, learner"), path, etcd, hashes: live.hashes().await };
    live.client.member_promote(id).await.expect("it has everything");
    let promoted = folder.join(format!("{etcd:?}-promoted.db"));
    live.snapshot(&promoted).await;
    (case, promoted)
}

/// The database file of a member that was killed, as it lies on its disk.
pub async fn killed(etcd: Etcd, folder: &Path, seed: u64) -> Case {
    let server = Server::start(&Setup::alone(etcd, folder));
    let mut rng = StdRng::seed_from_u64(seed);
    let shape = Shape { auth: false, ..Shape::random(&mut rng) };
    let mut history = History::begin_with(rng, shape, &server).await;
    for _ in 0..6 {
        history.advance(&server).await;
    }
    // A snapshot makes the member write out what it holds back.
    let path = folder.join(format!("{etcd:?}-killed-{seed}.db"));
    let mut case = Case::take(format!("{etcd:?}, killed, seed {seed}"), etcd, history.live(), &path).await;
    let database = server.setup.database();
    server.stop(Stop::Kill);
    case.path = folder.join(format!("{etcd:?}-copy-{seed}.db"));
    std::fs::copy(database, &case.path).expect("room on the disk");
    case
}
