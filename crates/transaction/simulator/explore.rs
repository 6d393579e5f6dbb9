//! All runs with at most so many special choices.

use std::collections::BTreeMap;

use super::choices::{Key, Kind};
use super::planted::Planted;
use super::world::Setting;
use super::{Report, Summary, run};

fn of(nodes: usize, seed: u64, script: BTreeMap<Key, u32>, planted: Option<Planted>) -> Report {
    run(&Setting { script: Some(script), asks: true, planted, ..Setting::seed(seed, Some(nodes)) })
}

/// Every run of some nodes with at most `most` special choices. Each choice is made at each place, and then each later one.
pub fn explore(nodes: usize, seed: u64, most: usize, planted: Option<Planted>) -> Summary {
    let mut summary = Summary::default();
    deviate(nodes, seed, most, planted, &BTreeMap::new(), 0, &mut summary);
    summary
}

fn deviate(
    nodes: usize,
    seed: u64,
    most: usize,
    planted: Option<Planted>,
    script: &BTreeMap<Key, u32>,
    from: usize,
    summary: &mut Summary,
) {
    let report = of(nodes, seed, script.clone(), planted);
    let asked = report.asked.clone();
    let failed = report.failure.is_some();
    summary.add(Report { asked: Vec::new(), ..report });
    if most == 0 || failed {
        return;
    }
    // Up to a choice that is made otherwise, two runs are the same: so later ones have later places.
    for (place, &(key, values)) in asked.iter().enumerate().skip(from) {
        for value in 1..=values {
            let mut script = script.clone();
            script.insert(key, value);
            deviate(nodes, seed, most - 1, planted, &script, place + 1, summary);
        }
    }
}

/// Every run of some nodes with one special choice of a kind.
pub fn explore_kind(nodes: usize, seed: u64, kind: Kind, planted: Option<Planted>) -> Summary {
    let mut summary = Summary::default();
    let report = of(nodes, seed, BTreeMap::new(), planted);
    let asked = report.asked.clone();
    summary.add(report);
    for (key, values) in asked.into_iter().filter(|(key, _)| key.kind == kind) {
        for value in 1..=values {
            summary.add(of(nodes, seed, BTreeMap::from([(key, value)]), planted));
        }
    }
    summary
}
