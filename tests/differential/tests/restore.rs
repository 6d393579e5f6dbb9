//! Members that the engine restored, against members that the vendor restored from the same file.

use std::path::Path;

use differential::live::Row;
use differential::restored::{Restored, ours, same_contents, theirs};
use differential::{Case, Etcd, History, Server, Setup, Stop, setting};
use etcd_client::AlarmType;
use etcd_snapshot::{DigestCheck, Keep, Options, Pick, live_keys};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Histories of each version.
const HISTORIES: u64 = 14;
/// Apart from those of other tests.
const FIRST_SEED: u64 = 1_000_000;

#[tokio::test]
async fn histories_of_3_4_23() {
    histories(Etcd::V3_4_23).await;
}

#[tokio::test]
async fn histories_of_3_5_1() {
    histories(Etcd::V3_5_1).await;
}

#[tokio::test]
async fn histories_of_3_5_16() {
    histories(Etcd::V3_5_16).await;
}

async fn histories(etcd: Etcd) {
    let first = FIRST_SEED + setting("DIFFERENTIAL_SEED", 0);
    for seed in first..first + setting("DIFFERENTIAL_CASES", HISTORIES) {
        history(etcd, seed).await;
    }
}

/// A history's snapshot, restored and served by each version that can.
async fn history(etcd: Etcd, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = StdRng::seed_from_u64(!seed);
    let server = Server::start(&Setup::alone(etcd, folder.path()));
    let mut history = History::begin(seed, &server).await;
    for _ in 0..rng.random_range(1..5) {
        history.advance(&server).await;
    }
    let path = folder.path().join(format!("{etcd:?}-{seed}.db"));
    let case = Case::take(format!("{etcd:?}, seed {seed}"), etcd, history.live(), &path).await;
    server.stop(Stop::Kill);
    let state = State { auth_on: history.auth_on(), alarm: history.alarm() };
    for etcd in etcd.and_newer() {
        let folder = folder.path().join(format!("{etcd:?}"));
        std::fs::create_dir(&folder).expect("a folder");
        serves_the_same(&case, etcd, &folder, &state, &mut rng).await;
    }
}

/// What a restored member must have besides keys.
struct State {
    auth_on: bool,
    alarm: Option<AlarmType>,
}

async fn serves_the_same(case: &Case, etcd: Etcd, folder: &Path, state: &State, rng: &mut StdRng) {
    let [our_setup, mut their_setup] = Setup::cluster::<2>(etcd, folder).map(Setup::by_itself);
    // What the vendor restores does not always pass the vendor's own check.
    their_setup.checks_itself = false;
    let restored = ours(case, &our_setup, 0);
    case.same("warnings", &restored.warnings, &vec![]);
    case.same("revision", &restored.revision, &case.revision());
    let of_database = Etcd::V3_5_16.status(&our_setup.database()).unwrap_or_else(|error| case.fail(&error));
    case.same("bytes of the database", &restored.database_bytes, &of_database.total_size);
    if restored.database_bytes > restored.report.total_size {
        case.fail(&format!("restored {} bytes of {}", restored.database_bytes, restored.report.total_size));
    }
    theirs(case, &their_setup, 0).unwrap_or_else(|error| case.fail(&error));
    let mut mine = Restored::boot(&our_setup, state.auth_on).await;
    let mut other = Restored::boot(&their_setup, state.auth_on).await;

    case.same("NOSPACE alarms", &mine.disarm(AlarmType::Nospace).await, &0);
    other.disarm(AlarmType::Nospace).await;
    let corrupt = usize::from(state.alarm == Some(AlarmType::Corrupt));
    case.same("CORRUPT alarms", &mine.disarm(AlarmType::Corrupt).await, &corrupt);
    other.disarm(AlarmType::Corrupt).await;

    let (current, taken) = *case.hashes.last().expect("the current one");
    for &(revision, hash) in &case.hashes {
        case.same(&format!("HashKV at {revision}"), &mine.live.hash_kv(revision).await.expect("HashKV"), &hash);
    }
    let first = taken.compact_revision.max(1);
    let revisions: Vec<i64> = (0..2).map(|_| rng.random_range(first..=current)).collect();
    let contents = same_contents(case, &mut mine.live, &mut other.live, &revisions).await;
    assert_live_keys(case, &contents.rows);
    if state.auth_on {
        mine.assert_auth().await;
    }

    mine.go_on().await;
    other.go_on().await;
    same_contents(case, &mut mine.live, &mut other.live, &[]).await;
    let (ours, theirs) = (mine.live.hash_kv(0).await.expect("HashKV"), other.live.hash_kv(0).await.expect("HashKV"));
    case.same("HashKV of both when they went on", &ours, &theirs);
    mine.snapshot("restored", &folder.join("restored.db")).await;
    mine.delete_all().await;
    mine.snapshot("emptied", &folder.join("emptied.db")).await;
}

/// The keys that the file is said to have are those that a member serves.
fn assert_live_keys(case: &Case, rows: &[Row]) {
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    let wanted = |key: &[u8]| key.len().is_multiple_of(2);
    let keep = |key: &[u8]| if wanted(key) { Keep::Value } else { Keep::Key };
    let (_, keys) = live_keys(&case.source(), &options, &Pick::new(&keep), &|_| {})
        .unwrap_or_else(|error| case.fail(&error.to_string()));
    case.same("number of live keys", &keys.len(), &rows.len());
    for ((key, live), row) in keys.iter().zip(rows) {
        let expected = (&row.key, row.mod_revision, row.value.len() as u64, wanted(key).then_some(&row.value));
        if (key, live.mod_revision, live.value_bytes, live.value.as_ref()) != expected {
            case.fail(&format!("the live key {key:?} is {live:?}"));
        }
    }
}
