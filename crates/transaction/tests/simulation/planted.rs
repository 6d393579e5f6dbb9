//! Rules that are broken on purpose: each is found, and by the invariant that it breaks.

use crate::simulator::checker::Invariant;
use crate::simulator::planted::Planted;
use crate::simulator::world::Setting;
use crate::simulator::{Report, run};

/// The first seed that finds a planted fault.
fn find(planted: Planted, seeds: u64) -> Option<Report> {
    let setting = |seed| Setting { planted: Some(planted), ..Setting::seed(seed, None) };
    (0..seeds).map(|seed| run(&setting(seed))).find(|report| report.failure.is_some())
}

fn assert_found(planted: Planted, by: &[Invariant]) {
    let report = find(planted, 20_000).unwrap_or_else(|| panic!("{} is not found", planted.name()));
    let failure = report.failure.unwrap();
    assert!(by.contains(&failure.invariant), "{}: {failure:?}", planted.name());
    // A fault is needed to see a rule broken; without the rule broken, the same seed is fine.
    assert_eq!(run(&Setting::seed(report.seed, None)).failure, None, "{}", planted.name());
    let seeds = report.seed + 1;
    let _ = std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("{:<24} {seeds:>6} seeds, {:?}\n", planted.name(), failure.invariant),
    );
}

#[test]
fn what_carries_out_effects() {
    // A manifest whose move was not kept leaves its component stopped.
    assert_found(Planted::DoneWithoutSync, &[Invariant::WrittenBefore, Invariant::NeverMixed]);
    // Orders of the other transaction among it.
    let other = [
        Invariant::StepsInOrder,
        Invariant::WrittenBefore,
        Invariant::AllVotedYes,
        Invariant::DecidedOnce,
        Invariant::AgreesWithItself,
    ];
    assert_found(Planted::OtherTransactionHeard, &other);
    for (planted, by) in [
        (Planted::PersistedBeforeSync, Invariant::WrittenBefore),
        (Planted::JournalReadWithoutSync, Invariant::WrittenBefore),
        (Planted::FormerWriteBelieved, Invariant::WrittenBefore),
        (Planted::ErrorTakenForAbsent, Invariant::NothingLost),
        (Planted::ManifestMovedOver, Invariant::NothingLost),
        (Planted::HangNotTold, Invariant::BoundedDelay),
        (Planted::ReadinessNotLookedAt, Invariant::NeverReady),
        (Planted::OldLookBelieved, Invariant::NeverReady),
        (Planted::ArmedWithoutSync, Invariant::WrittenBefore),
    ] {
        assert_found(planted, &[by]);
    }
}

#[cfg(feature = "planted")]
#[test]
fn the_participant() {
    use etcd_transaction::planted::{ALL, Planted as P};
    for planted in ALL {
        let by: &[Invariant] = match planted {
            P::HalfIsAQuorum | P::NoPhaseOne => &[Invariant::Ballots, Invariant::DecidedOnce],
            P::LowerBallotAccepted | P::PromiseForgotten => &[Invariant::Ballots],
            P::AcceptedValueIgnored => &[Invariant::DecidedOnce],
            P::CommitWithoutOneVote | P::CommitByAQuorumOfVotes => &[Invariant::AllVotedYes],
            P::VoteBeforeProof | P::VoteAtLaunch => &[Invariant::VoteIsProof],
            P::AbortsAfterVoteByItself => &[Invariant::DecidedOnce],
            P::UndoBeforeReturn => &[Invariant::OneStepAtATime],
            P::StepRecordedAfterAbort => &[Invariant::StepsInOrder, Invariant::DecidedOnce],
            P::FormerRunBelieved => &[Invariant::OneStepAtATime, Invariant::VoteIsProof, Invariant::StepsInOrder],
            P::SilenceCountedOverPause => &[Invariant::Patience],
            // An order that is too early also takes the place of the one that is due.
            P::AnyNodeMayOrder => &[Invariant::StepsInOrder, Invariant::VoteIsProof, Invariant::ItEnds],
            P::BarrierSkipped => &[Invariant::StepsInOrder, Invariant::VoteIsProof],
            P::ToldBeforeWritten => &[Invariant::AgreesWithItself, Invariant::WrittenBefore],
            P::OtherValueInSameBallot => &[Invariant::Ballots, Invariant::DecidedOnce],
            P::LeavesBeforeAllEnded => &[Invariant::StaysWhileNeeded],
            P::ApiBeforeDecision => &[Invariant::StepsInOrder],
            P::HungNodeIsAlive => &[Invariant::BoundedDelay],
            P::NeverRetries | P::NoTakeover => &[Invariant::ItEnds],
            P::ReadyApiServerIgnored => &[Invariant::NeverReady, Invariant::AgreesWithItself],
            P::OldDataThatDiffersIgnored => &[Invariant::NeverMixed],
            P::GoesOnAfterHandOver => &[Invariant::StepsInOrder, Invariant::NeverReady],
            P::HandOverBegunAnew => &[Invariant::NeverReady],
            P::ApiServerBesideNewData => &[Invariant::OneClusterServes],
            P::NewDataNotKept => &[Invariant::NothingLost, Invariant::AcknowledgedWrites],
            // These are kept by another rule as well: a promise is made only of a journal without a decision, and who has no identity
            // hears no order, and votes no for silence.
            P::DecidedNodePromises | P::IdentityLostIgnored => continue,
        };
        assert_found(Planted::Core(planted), by);
    }
}
