//! The same seed gives the same run.

use crate::simulator::run;
use crate::simulator::world::Setting;

#[test]
fn a_seed_always_gives_the_same() {
    let digest = |seed| run(&Setting::seed(seed, None)).digest;
    for seed in 0..200 {
        let (a, b) = (digest(seed), digest(seed + 1));
        assert_ne!(a, b, "{seed}");
        assert_eq!(a, digest(seed), "{seed}");
    }
}

#[test]
fn a_trace_changes_nothing() {
    for seed in 0..50 {
        let traced = run(&Setting { trace: true, ..Setting::seed(seed, None) });
        assert_eq!(traced.digest, run(&Setting::seed(seed, None)).digest);
        assert!(traced.lines.len() > 10);
    }
}

#[test]
fn the_special_choices_of_a_seed_are_all_of_it() {
    for seed in 0..200 {
        let report = run(&Setting::seed(seed, None));
        let script = report.taken.iter().copied().collect();
        let again = run(&Setting { script: Some(script), ..Setting::seed(seed, None) });
        assert_eq!(report.digest, again.digest, "{seed}");
    }
}
