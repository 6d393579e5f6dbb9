//! Journals of version 0.1, which are read and never continued.

use etcd_wire::restore::{Decision, Ending, RestorePlan, Staged, Step};
use serde::Deserialize;

use super::ground::Ground;

/// An entry of version 0.1.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "entry", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Entry {
    /// The first one, by which the format is known.
    Begun {
        plan: Box<RestorePlan>,
        node: String,
        ground: Box<Ground>,
    },
    Staged {
        staged: Staged,
    },
    Armed,
    Served {
        revision: i64,
    },
    Step {
        step: Step,
        done: bool,
    },
    /// On the coordinator: all nodes had done a step.
    Everywhere {},
    Decided {
        decision: Decision,
        why: String,
    },
    Ended {
        ending: Ending,
    },
    Note {
        text: String,
    },
}

/// An entry and when it was made, milliseconds since 1970.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) at: i64,
    #[serde(flatten)]
    pub(super) entry: Entry,
}
