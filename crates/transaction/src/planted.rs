//! Faults on purpose, each the opposite of a rule. The simulator's tests show that each is found.

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say which rule is broken")]
pub enum Planted {
    HalfIsAQuorum,
    LowerBallotAccepted,
    PromiseForgotten,
    AcceptedValueIgnored,
    CommitWithoutOneVote,
    CommitByAQuorumOfVotes,
    VoteBeforeProof,
    VoteAtLaunch,
    AbortsAfterVoteByItself,
    UndoBeforeReturn,
    StepRecordedAfterAbort,
    FormerRunBelieved,
    SilenceCountedOverPause,
    AnyNodeMayOrder,
    ToldBeforeWritten,
    NoPhaseOne,
    OtherValueInSameBallot,
    DecidedNodePromises,
    LeavesBeforeAllEnded,
    ApiBeforeDecision,
    HungNodeIsAlive,
    NeverRetries,
    NoTakeover,
    IdentityLostIgnored,
    BarrierSkipped,
    NewDataNotKept,
    ReadyApiServerIgnored,
    OldDataThatDiffersIgnored,
    GoesOnAfterHandOver,
    HandOverBegunAnew,
}

/// All of them.
pub const ALL: [Planted; 30] = {
    use Planted::*;
    [
        HalfIsAQuorum,
        LowerBallotAccepted,
        PromiseForgotten,
        AcceptedValueIgnored,
        CommitWithoutOneVote,
        CommitByAQuorumOfVotes,
        VoteBeforeProof,
        VoteAtLaunch,
        AbortsAfterVoteByItself,
        UndoBeforeReturn,
        StepRecordedAfterAbort,
        FormerRunBelieved,
        SilenceCountedOverPause,
        AnyNodeMayOrder,
        ToldBeforeWritten,
        NoPhaseOne,
        OtherValueInSameBallot,
        DecidedNodePromises,
        LeavesBeforeAllEnded,
        ApiBeforeDecision,
        HungNodeIsAlive,
        NeverRetries,
        NoTakeover,
        IdentityLostIgnored,
        BarrierSkipped,
        NewDataNotKept,
        ReadyApiServerIgnored,
        OldDataThatDiffersIgnored,
        GoesOnAfterHandOver,
        HandOverBegunAnew,
    ]
};
