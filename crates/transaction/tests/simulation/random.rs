//! Seeds: always the same, and others for every change of the program.

use crate::simulator::world::Setting;
use crate::simulator::{Summary, run_seeds};

fn run(seeds: std::ops::Range<u64>) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    run_seeds(seeds, threads, |seed| Setting::seed(seed, None), |_| ())
}

fn assert_fine(summary: &Summary) {
    if let Some(report) = summary.failures.first() {
        panic!(
            "{} of {} seeds fail, first seed {}: {:?}\n\
             cargo run --release -p etcd-transaction --example simulate -- --seed {} --trace",
            summary.failures.len(),
            summary.runs,
            report.seed,
            report.failure,
            report.seed
        );
    }
}

#[test]
fn no_rule_is_broken() {
    assert_fine(&run(0..20_000));
}

#[test]
fn no_rule_is_broken_with_other_seeds() {
    // Other ones for each build, so that the seeds are never used up. A failure says which they were.
    let build = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let hash = build
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let first = hash >> 20;
    assert_fine(&run(first..first + 20_000));
}
