//! What was found in version 0.1, each as the one special choice that shows it: with the old rule it breaks, and with the new one it does not.

use crate::simulator::choices::Kind;
use crate::simulator::explore::explore_kind;
use crate::simulator::planted::Planted;

fn assert_mended(nodes: usize, kind: Kind, old: Planted) {
    let seeds = || 0..40;
    let broken = seeds().any(|seed| !explore_kind(nodes, seed, kind, Some(old)).failures.is_empty());
    assert!(broken, "{} is not found by {kind:?}", old.name());
    for seed in seeds() {
        let summary = explore_kind(nodes, seed, kind, None);
        let failure = summary.failures.first().map(|report| (&report.failure, &report.taken));
        assert!(failure.is_none(), "{kind:?}, seed {seed}: {failure:?}");
    }
}

#[test]
fn finding_10_a_line_that_was_never_synced_is_not_believed() {
    assert_mended(3, Kind::Write, Planted::JournalReadWithoutSync);
}

#[test]
fn finding_7_only_what_is_not_found_is_absent() {
    assert_mended(3, Kind::Operation, Planted::ErrorTakenForAbsent);
}

#[cfg(feature = "planted")]
mod of_the_participant {
    use etcd_transaction::planted::Planted as P;

    use super::*;

    #[test]
    fn finding_1_no_api_server_starts_before_the_decision() {
        assert_mended(3, Kind::Vote, Planted::Core(P::ApiBeforeDecision));
    }

    #[test]
    fn finding_2_new_data_that_an_intruder_ran_on_is_kept() {
        assert_mended(3, Kind::Operation, Planted::Core(P::NewDataNotKept));
    }

    #[test]
    fn finding_4_a_coordinator_lost_after_the_votes_blocks_nobody() {
        assert_mended(3, Kind::Vote, Planted::Core(P::NoTakeover));
    }

    #[test]
    fn finding_6_only_the_coordinator_gives_orders() {
        assert_mended(3, Kind::Stranger, Planted::Core(P::AnyNodeMayOrder));
    }
}
