//! One special choice at every place where there is one, and two in small restores.

use crate::simulator::explore::explore;
use crate::simulator::planted::Planted;

fn assert_fine(nodes: usize, most: usize, at_least: u64) {
    let summary = explore(nodes, 0, most, None);
    let failure = summary.failures.first().map(|report| (&report.failure, &report.taken));
    assert!(failure.is_none(), "{} of {}: {failure:?}", summary.failures.len(), summary.runs);
    assert!(summary.runs >= at_least, "{nodes} nodes, {most} choices: only {} runs", summary.runs);
}

#[test]
fn one_choice_for_one_node() {
    assert_fine(1, 1, 200);
}

#[test]
fn one_choice_for_two_nodes() {
    assert_fine(2, 1, 1_000);
}

#[test]
fn one_choice_for_three_nodes() {
    assert_fine(3, 1, 2_000);
}

#[test]
fn one_choice_for_five_nodes() {
    assert_fine(5, 1, 4_000);
}

#[test]
fn two_choices_for_one_node() {
    assert_fine(1, 2, 50_000);
}

#[test]
fn a_rule_that_is_broken_is_found_by_one_choice() {
    assert!(!explore(1, 0, 1, Some(Planted::JournalReadWithoutSync)).failures.is_empty());
}
