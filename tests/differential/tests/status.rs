//! What a file is said to hold, against the vendor's tool and the live member.

use differential::{Case, Etcd, History, Server, Setup, Stop, setting};
use etcd_client::AlarmType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Snapshots of each version; histories of so many have everything in them.
const ENOUGH: u64 = 240;
/// Snapshots along one history.
const CASES_PER_HISTORY: u64 = 4;

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
    let first = setting("DIFFERENTIAL_SEED", 0);
    let cases = setting("DIFFERENTIAL_CASES", ENOUGH);
    let mut seen = Seen::default();
    for seed in first..first + cases.div_ceil(CASES_PER_HISTORY) {
        history(etcd, seed, &mut seen).await;
    }
    if cases >= ENOUGH {
        seen.assert_all();
    }
}

/// How many snapshots had what: a generator that does not do what it is for proves nothing.
#[derive(Debug, Default)]
struct Seen {
    empty: u32,
    compacted: u32,
    auth: u32,
    nospace: u32,
    corrupt: u32,
    leases: u32,
    free_pages: u32,
    over_a_megabyte: u32,
    over_thousand_items: u32,
    killed: u32,
}

impl Seen {
    fn assert_all(&self) {
        let all = [self.empty, self.compacted, self.auth, self.nospace, self.corrupt, self.leases, self.free_pages]
            .into_iter()
            .chain([self.over_a_megabyte, self.over_thousand_items, self.killed]);
        assert!(all.min() > Some(0), "the histories lack something: {self:?}");
    }
}

async fn history(etcd: Etcd, seed: u64, seen: &mut Seen) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&Setup::alone(etcd, folder.path()));
    let mut history = History::begin(seed, &server).await;
    // Of its own, so that a history is the same whatever is done with it.
    let mut rng = StdRng::seed_from_u64(!seed);
    for number in 0..CASES_PER_HISTORY {
        if number > 0 || rng.random_ratio(7, 8) {
            history.advance(&server).await;
        }
        if rng.random_ratio(1, 6) {
            let how = if rng.random_ratio(1, 2) { Stop::Kill } else { Stop::Orderly };
            server.restart(how);
            history.reconnect(&server).await;
            seen.killed += u32::from(how == Stop::Kill);
        }
        let path = folder.path().join(format!("{etcd:?}-{seed}-{number}.db"));
        let name = format!("{etcd:?}, DIFFERENTIAL_SEED={seed}, snapshot {number}");
        let case = Case::take(name, etcd, history.live(), &path).await;
        let report = case.verified();
        let mut warnings = Vec::new();
        warnings.extend(history.auth_on().then_some("authEnabled"));
        warnings.extend(history.alarm().map(|_| "alarm"));
        case.warns(&report, &warnings);
        case.same("leases", &report.leases, &(history.leases() as u64));
        case.same("auth", &report.auth.enabled, &history.auth_on());
        case.same("compacted up to", &report.hash_kv.compact_revision.max(0), &history.compacted());
        let (major, minor) = etcd.version();
        case.same("writer", &report.writer, &format!("{major}.{minor}"));

        seen.empty += u32::from(report.revision == 0);
        seen.compacted += u32::from(history.compacted() > 0);
        seen.auth += u32::from(history.auth_on());
        seen.nospace += u32::from(history.alarm() == Some(AlarmType::Nospace));
        seen.corrupt += u32::from(history.alarm() == Some(AlarmType::Corrupt));
        seen.leases += u32::from(history.leases() > 0);
        seen.free_pages += u32::from(report.free_pages > 0);
        seen.over_a_megabyte += u32::from(report.total_size > 1_000_000);
        seen.over_thousand_items += u32::from(report.items > 1000);
    }
    server.stop(Stop::Kill);
}
