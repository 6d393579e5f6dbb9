//! The logs of members that were killed under load: whatever a client was told of is in the one that ranks first, up to its last valid entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use differential::{Etcd, Live, Server, Setup, Stop, setting};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use etcd_snapshot::wal::{Candidate, Folder, Limits, Log, OnlyInLog, Position, SnapshotFiles, Standing, rank};
use etcd_snapshot::{DigestCheck, FileSource, Keep, Options, Pick, live_keys};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missing() {
    for (seed, etcd) in (0..).zip(Etcd::ALL) {
        kill::<3>(etcd, setting("DIFFERENTIAL_SEED", 0) + seed).await;
    }
    // A member alone, whose database is far behind.
    kill::<1>(Etcd::V3_5_16, setting("DIFFERENTIAL_SEED", 0) + 100).await;
}

/// `cargo test -p differential --test servers -- --ignored killed --nocapture`; `DIFFERENTIAL_CASES` is how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
#[allow(clippy::print_stdout, reason = "its figures are for whoever runs it by hand")]
async fn nothing_acknowledged_is_missing_in_many_runs() {
    let mut all = Tally::default();
    for seed in 0..setting("DIFFERENTIAL_CASES", 100) {
        let etcd = Etcd::ALL[usize::try_from(seed % 3).expect("below 3")];
        let run = kill::<3>(etcd, 1000 + seed).await;
        all.add(&run);
        println!("{etcd:?}, seed {}: {run:?}", 1000 + seed);
    }
    println!("in all: {all:?}");
}

/// What the members of a run had.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    /// In the log of the member that ranks first, or in its database.
    missing: usize,
    /// In the database of that member alone, and in its log up to its commit index.
    missing_in_database: usize,
    /// Recorded as applied, and not there.
    not_applied: usize,
    missing_in_commit: usize,
    torn: usize,
    /// Runs in which a database with a higher revision is beside a log that ranks lower.
    misleading_revisions: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.acknowledged += other.acknowledged;
        self.missing += other.missing;
        self.not_applied += other.not_applied;
        self.missing_in_database += other.missing_in_database;
        self.missing_in_commit += other.missing_in_commit;
        self.torn += other.torn;
        self.misleading_revisions += other.misleading_revisions;
    }
}

/// A member's directory as the engine reads it.
struct Dead {
    log: Log,
    files: Folder,
    revision: i64,
    applied: u64,
    keys: BTreeSet<Vec<u8>>,
}

async fn kill<const N: usize>(etcd: Etcd, seed: u64) -> Tally {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = StdRng::seed_from_u64(seed);
    // Raft takes a snapshot now and then.
    let all = Setup::cluster::<N>(etcd, folder.path()).map(|setup| setup.with(&["--snapshot-count", "150"]));
    let servers = Server::start_all(&all);
    let wanted = rng.random_range(150..400);
    let acknowledged = load(&servers, wanted).await;
    // One after the other within microseconds, as when the power fails.
    servers.into_iter().for_each(|server| server.stop(Stop::Kill));
    let acknowledged = acknowledged.await;
    assert!(acknowledged.len() >= wanted, "{etcd:?}, seed {seed}: {} acknowledged", acknowledged.len());

    let dead: BTreeMap<String, Dead> = all.iter().map(|setup| (setup.name.clone(), read(setup))).collect();
    let candidates: Vec<Candidate> = dead
        .iter()
        .map(|(name, dead)| Candidate { name: name.clone(), cluster_id: dead.log.owner.cluster, last: dead.log.last })
        .collect();
    let ranking = rank(&candidates);
    let best = ranking.best().unwrap_or_else(|| panic!("one cluster: {ranking:?}"));
    let first = &dead[best[0]];
    let everything = Limits { keys: usize::MAX, bytes: usize::MAX };
    let listed = |from| OnlyInLog::gather(&first.files, &first.log, from, everything, None).expect("a listing");
    let only = listed(first.applied);
    // etcd 3.5.0 to 3.5.2 may record an entry as applied that is not (etcd-io/etcd#13766): the log has it, and etcd does not apply it any more.
    let mut unapplied = if etcd == Etcd::V3_5_1 { listed(first.applied - 1).keys.keys } else { BTreeMap::new() };
    unapplied.retain(|key, _| !only.keys.keys.contains_key(key));
    assert!(unapplied.len() <= 1);
    assert_eq!((only.missing_from, only.database_is_ahead, only.unread), (None, false, 0), "{etcd:?}, seed {seed}");
    assert_eq!(only.entries, first.log.last.index - first.applied);
    let committed = committed_keys(first);
    let missing = |has: &dyn Fn(&Vec<u8>) -> bool| acknowledged.iter().filter(|key| !has(key)).count();
    let tally = Tally {
        acknowledged: acknowledged.len(),
        missing: missing(&|key| {
            first.keys.contains(key) || only.keys.keys.contains_key(key) || unapplied.contains_key(key)
        }),
        not_applied: missing(&|key| first.keys.contains(key) || only.keys.keys.contains_key(key)),
        missing_in_database: missing(&|key| first.keys.contains(key)),
        missing_in_commit: missing(&|key| first.keys.contains(key) || committed.contains(key)),
        torn: dead.values().filter(|dead| dead.log.torn.is_some()).count(),
        misleading_revisions: usize::from(
            ranking
                .clusters
                .values()
                .flatten()
                .any(|place| place.standing != Standing::First && dead[&place.name].revision > first.revision),
        ),
    };
    assert_eq!(tally.missing, 0, "{etcd:?}, seed {seed}: {tally:?}, {ranking:?}");
    let recovered = recover(etcd, all.iter().find(|setup| setup.name == best[0]).expect("a member"), folder.path());
    let missing: Vec<_> =
        acknowledged.iter().filter(|key| !recovered.contains(*key) && !unapplied.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{etcd:?}, seed {seed}: {missing:?} {ranking:?}");
    tally
}

/// The keys of the snapshot that `etcd-sidecar recover` makes of a killed member with its own etcd. Root, because it makes a network.
fn recover(etcd: Etcd, setup: &Setup, folder: &Path) -> BTreeSet<Vec<u8>> {
    // Built with the workspace, beside the folder of test programs.
    let program = std::env::current_exe()
        .expect("a path")
        .parent()
        .and_then(Path::parent)
        .expect("a folder")
        .join("etcd-sidecar");
    let snapshot = folder.join("recovered.db");
    let mut command = Command::new(&program);
    command
        .arg("recover")
        .arg("--data-dir")
        .arg(&setup.data_dir)
        .arg("--etcd")
        .arg(etcd.server())
        .arg("--snapshot")
        .arg(&snapshot);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; cargo build --workspace --bins", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The vendor's tool takes the file, too.
    let status = etcd.status(&snapshot).expect("a snapshot");
    let source = FileSource::new(std::fs::File::open(&snapshot).expect("a snapshot")).expect("a file");
    let (report, keys) =
        live_keys(&source, &Options::default(), &Pick::new(&|_| Keep::Key), &|_| {}).expect("a snapshot");
    assert_eq!(report.revision, status.revision);
    keys.into_keys().collect()
}

/// Writes to all members at once, until they are gone. Returns when so many writes were acknowledged; what is returned gives all keys that were.
async fn load(servers: &[Server], wanted: usize) -> impl Future<Output = BTreeSet<Vec<u8>>> + use<> {
    const WRITERS: usize = 12;
    let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let enough = Arc::new(Notify::new());
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = servers[writer % servers.len()].client().await;
        writers.push(tokio::spawn(write(client, writer, acknowledged.clone(), enough.clone(), wanted, stop.clone())));
    }
    enough.notified().await;
    async move {
        stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for writer in writers {
            all.extend(writer.await.expect("a writer"));
        }
        all
    }
}

/// Puts and transactions with keys of their own each.
async fn write(
    live: Live,
    writer: usize,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<Notify>,
    wanted: usize,
    stop: Arc<AtomicBool>,
) -> Vec<Vec<u8>> {
    let mut client = live.client;
    let (mut keys, value) = (Vec::new(), "v".repeat(300 + 100 * (writer % 8)));
    let Ok(lease) = client.lease_grant(3600, None).await else { return keys };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("/registry/w{writer}/{number}");
        let options = (number % 4 == 0).then(|| PutOptions::new().with_lease(lease.id()));
        let done = if writer.is_multiple_of(2) {
            client.put(key.clone(), value.clone(), options).await.is_ok()
        } else {
            let absent = Compare::mod_revision(key.clone(), CompareOp::Equal, 0);
            let put = TxnOp::put(key.clone(), value.clone(), options);
            let txn = Txn::new().when([absent]).and_then([put]).or_else([TxnOp::get(key.clone(), None)]);
            client.txn(txn).await.is_ok_and(|answer| answer.succeeded())
        };
        if !done {
            break;
        }
        keys.push(key.into_bytes());
        if acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
            enough.notify_one();
        }
    }
    keys
}

fn read(setup: &Setup) -> Dead {
    let files = Folder::new(setup.data_dir.join("member/wal"));
    let log = Log::read(&files, None).unwrap_or_else(|error| panic!("{}: {error}", setup.name));
    let source = FileSource::new(std::fs::File::open(setup.database()).expect("a database")).expect("a file");
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    let (report, keys) = live_keys(&source, &options, &Pick::new(&|_| Keep::Key), &|_| {})
        .expect("the database of a killed member is whole");
    let applied = report.consistent_index.unwrap_or_default();
    assert!(log.hard_state.commit <= log.last.index && log.hard_state.term >= log.last.term, "{log:?}");
    assert!(log.last >= Position { term: report.term.unwrap_or_default(), index: applied }, "{log:?}");
    assert!(log.changes.len() <= 3, "{log:?}");
    let snapshots = SnapshotFiles::read(&Folder::new(setup.data_dir.join("member/snap"))).expect("snapshots");
    // etcd writes and syncs a file before it records it in the log: one that is not recorded yet may be half written, and does not count.
    for file in snapshots.files.iter().filter(|file| log.snapshots.contains(&file.at)) {
        assert!(file.damage.is_none(), "{snapshots:?} {log:?}");
    }
    assert!(snapshots.files.iter().all(|file| file.at.index <= log.last.index), "{snapshots:?} {log:?}");
    Dead { log, files, revision: report.revision, applied, keys: keys.into_keys().collect() }
}

/// What the log has up to its own commit index.
fn committed_keys(dead: &Dead) -> BTreeSet<Vec<u8>> {
    let (mut keys, commit) = (BTreeSet::new(), dead.log.hard_state.commit);
    let visited = dead.log.visit(&dead.files, dead.applied, 1 << 20, None, &mut |entry| {
        if entry.at.index > commit {
            return ControlFlow::Break(());
        }
        let told = etcd_snapshot::wal::effects(entry.data.unwrap_or_default(), &mut |effect| {
            if let etcd_snapshot::wal::Effect::Put { key, .. } = effect {
                keys.insert(key.to_vec());
            }
        });
        told.expect("a request");
        ControlFlow::Continue(())
    });
    visited.expect("the log is as it was");
    keys
}
