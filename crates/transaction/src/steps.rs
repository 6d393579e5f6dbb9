//! The steps of a restore, as data: who does them, when, and for how long.

use serde::{Deserialize, Serialize};

use crate::input::Millis;

/// What a node does, in order. Each is in the node's journal before it begins, and again when it is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Everything that the steps need is there, and every other node can be reached. Changes nothing.
    Preflight,
    /// Controller manager, scheduler and API server are stopped.
    StopApi,
    /// etcd is stopped. On a node without etcd: controller manager and scheduler have ended.
    StopEtcd,
    /// The old data is set aside, the new data is in its place.
    Swap,
    /// etcd runs on the new data, and is through with its own check of it, if it makes one.
    LaunchEtcd,
    /// etcd serves the new data, with all members. Its proof is the vote yes.
    StartEtcd,
    /// After commit: the API server serves the new state.
    StartApi,
    /// After commit: controller manager and scheduler run again. On a node that is left out: everything is stopped, and stays so.
    Finish,
    /// After commit: etcd runs with the manifest that it had, and so with its check of the data. One node after the other.
    Recheck,
    /// After commit, where no API server becomes ready: what the way back needs is built of the old data, beside the current.
    Restage,
    /// After commit, where no API server becomes ready: the API server is stopped, and the node is armed for the way back, which is a
    /// transaction of its own.
    HandOver,
    /// After abort: whatever runs on the new data is stopped.
    UndoStop,
    /// After abort: the old data is in its place again.
    UndoSwap,
    /// After abort: everything that was stopped runs again.
    UndoStart,
}

impl Step {
    /// The steps before the vote, in order.
    pub const FORTH: [Step; 6] =
        [Step::Preflight, Step::StopApi, Step::StopEtcd, Step::Swap, Step::LaunchEtcd, Step::StartEtcd];
    /// The steps after commit, in order.
    pub const ON: [Step; 3] = [Step::StartApi, Step::Finish, Step::Recheck];
    /// The steps after commit to the way back, in order. The coordinator orders them.
    pub const TURN: [Step; 2] = [Step::Restage, Step::HandOver];
    /// The steps after abort, in order.
    pub const BACK: [Step; 3] = [Step::UndoStop, Step::UndoSwap, Step::UndoStart];

    /// Whether it is a step before the vote.
    pub fn is_forth(self) -> bool {
        self <= Step::StartEtcd
    }

    /// Whether it undoes steps.
    pub fn is_back(self) -> bool {
        self >= Step::UndoStop
    }

    /// Whether it leads to the way back.
    pub fn is_turn(self) -> bool {
        matches!(self, Step::Restage | Step::HandOver)
    }

    /// Whether a node that is left out of the new cluster does it, too. For its vote it does nothing.
    pub fn concerns_left_out(self) -> bool {
        !matches!(self, Step::Swap | Step::LaunchEtcd | Step::StartApi | Step::Recheck | Step::Restage | Step::HandOver)
    }

    /// Whether a node does it whose API server uses the etcd of other nodes. For its vote it does nothing.
    pub fn concerns_without_etcd(self) -> bool {
        use Step::{HandOver, LaunchEtcd, Recheck, Restage, Swap, UndoStop, UndoSwap};
        !matches!(self, Swap | LaunchEtcd | Recheck | Restage | HandOver | UndoStop | UndoSwap)
    }
}

/// A set of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepSet(u16);

impl StepSet {
    /// Whether a step is in the set.
    pub fn contains(self, step: Step) -> bool {
        self.0 >> step as u8 & 1 == 1
    }

    /// Adds a step.
    pub fn insert(&mut self, step: Step) {
        self.0 |= 1 << step as u8;
    }

    /// The steps of either set.
    #[must_use]
    pub fn union(self, other: StepSet) -> StepSet {
        StepSet(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How long steps may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long etcd, and then the API server, may take until it is well on the new data.
    pub start: Millis,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { start: Millis(180_000) }
    }
}

impl Limits {
    /// How long one try of a step may take.
    pub fn of(&self, step: Step) -> Millis {
        match step {
            Step::Preflight | Step::Swap | Step::UndoSwap | Step::Finish => Millis(30_000),
            // A kubelet gives etcd 30 seconds to end.
            Step::StopApi | Step::StopEtcd | Step::UndoStop => Millis(90_000),
            Step::LaunchEtcd | Step::StartEtcd | Step::StartApi => self.start,
            // A member has to be healthy before it is restarted, and again afterwards.
            Step::Recheck => Millis(self.start.0.saturating_mul(2)),
            // It reads and writes all data once, while nobody waits for it.
            Step::Restage => Millis(900_000),
            Step::HandOver => Millis(30_000),
            // Two starts of 60 seconds, two minutes to raise the revision, and what lies between.
            Step::UndoStart => Millis(270_000),
        }
    }
}
