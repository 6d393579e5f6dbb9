//! What the seeds reach: nothing counts as tested that never happens.

use crate::simulator::marks::Mark;
use crate::simulator::run_seeds;
use crate::simulator::world::Setting;

#[test]
fn the_seeds_reach_everything() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = 20_000;
    let summary = run_seeds(0..seeds, threads, |seed| Setting::seed(seed, None), |_| ());
    let per_mille = |mark| summary.marks.runs(mark) * 1000 / seeds;
    for (mark, least) in [
        (Mark::Committed, 200),
        (Mark::Aborted, 200),
        (Mark::Smooth, 50),
        (Mark::Takeover, 10),
        (Mark::Resume, 3),
        (Mark::ResumeDecided, 20),
        (Mark::Without, 1),
        (Mark::Forget, 20),
        (Mark::MinorityLost, 20),
        (Mark::MajorityLost, 1),
        (Mark::Intruder, 20),
        (Mark::IntruderWrote, 2),
        (Mark::OneHang, 20),
        (Mark::OnePause, 20),
        (Mark::TurnedBack, 20),
        (Mark::TurnedInVain, 3),
        (Mark::UnreadyForgotten, 20),
    ] {
        assert!(per_mille(mark) >= least, "{mark:?}: {} per mille\n{}", per_mille(mark), summary.marks.table(seeds));
    }
    assert_eq!(summary.marks.missing(20), Vec::<String>::new());
}

#[test]
fn one_node_and_two_nodes_roll_back_by_themselves() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for nodes in [1, 2] {
        let seeds = 3_000;
        let summary = run_seeds(0..seeds, threads, |seed| Setting::seed(seed, Some(nodes)), |_| ());
        let failure = summary.failures.first().map(|report| (report.seed, &report.failure));
        assert!(failure.is_none(), "{nodes} nodes: {failure:?}");
        let per_mille = summary.marks.runs(Mark::TurnedBack) * 1000 / seeds;
        assert!(per_mille >= 20, "{nodes} nodes: {per_mille} per mille\n{}", summary.marks.table(seeds));
    }
}
