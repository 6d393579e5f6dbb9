//! A restore that raises the revision: nobody who knows an older one goes on as if nothing had happened.

use differential::restored::{Restored, ours, same_contents, theirs};
use differential::{Case, Etcd, History, Server, Setup, Stop};
use etcd_client::{AlarmType, Error};
use tonic::Code;

const BUMP: u64 = 1_000_000_000;
const FIRST_SEED: u64 = 2_000_000;

#[tokio::test]
async fn raised_revisions_of_3_4_23() {
    raised(Etcd::V3_4_23).await;
}

#[tokio::test]
async fn raised_revisions_of_3_5_1() {
    raised(Etcd::V3_5_1).await;
}

#[tokio::test]
async fn raised_revisions_of_3_5_16() {
    raised(Etcd::V3_5_16).await;
}

async fn raised(etcd: Etcd) {
    for seed in FIRST_SEED..FIRST_SEED + 8 {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&Setup::alone(etcd, folder.path()));
        let mut history = History::begin(seed, &server).await;
        history.live().client.put("/raised", "before", None).await.expect("a put");
        for _ in 0..3 {
            history.advance(&server).await;
        }
        let path = folder.path().join(format!("{etcd:?}-{seed}.db"));
        let case = Case::take(format!("{etcd:?}, seed {seed}"), etcd, history.live(), &path).await;
        server.stop(Stop::Kill);
        for etcd in etcd.and_newer() {
            let folder = folder.path().join(format!("{etcd:?}"));
            std::fs::create_dir(&folder).expect("a folder");
            let setups = Setup::cluster::<2>(etcd, &folder).map(Setup::by_itself);
            serves_raised(&case, setups, history.auth_on()).await;
        }
    }
}

async fn serves_raised(case: &Case, [our_setup, mut their_setup]: [Setup; 2], auth_on: bool) {
    their_setup.checks_itself = false;
    ours(case, &our_setup, BUMP);
    theirs(case, &their_setup, BUMP).unwrap_or_else(|error| case.fail(&error));
    let mut mine = Restored::boot(&our_setup, auth_on).await;
    let mut other = Restored::boot(&their_setup, auth_on).await;
    for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
        mine.disarm(kind).await;
        other.disarm(kind).await;
    }
    let old = case.revision();
    let raised = old + i64::try_from(BUMP).expect("small");
    case.same("raised revision", &mine.live.revision().await, &raised);
    same_contents(case, &mut mine.live, &mut other.live, &[]).await;

    for old in [old, 1, raised - 1] {
        case.same("watch from an old revision", &mine.live.watch_from(old).await, &Err(raised));
        match mine.live.rows(old).await {
            Err(Error::GRpcStatus(status)) if status.code() == Code::OutOfRange => {
                assert!(status.message().contains("compacted"), "{}: {status}", case.name);
            }
            other => case.fail(&format!("a read at revision {old} gives {other:?}")),
        }
    }
    mine.live.client.put("/raised", "after", None).await.expect("a put");
    case.same("watch from now on", &mine.live.watch_from(raised + 1).await, &Ok(vec![raised + 1]));
    other.live.client.put("/raised", "after", None).await.expect("a put");

    mine.go_on().await;
    other.go_on().await;
    same_contents(case, &mut mine.live, &mut other.live, &[]).await;
    let folder = our_setup.data_dir.with_extension("snapshots");
    std::fs::create_dir(&folder).expect("a folder");
    mine.snapshot("raised", &folder.join("raised.db")).await;
    mine.delete_all().await;
    mine.snapshot("raised and emptied", &folder.join("emptied.db")).await;
}
