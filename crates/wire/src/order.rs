//! Orders to one etcd member: what changes something at it or in its cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::message::EtcdAccess;

/// What can be ordered. IDs are those of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Order {
    /// Removes old versions of keys from the history of all members.
    Compact {
        /// Up to this revision.
        revision: i64,
        /// Whether the member that is asked answers only when it has removed them from its database.
        physical: bool,
    },
    /// Gives what is free in the member's own database back to the file system. The member stands still meanwhile.
    Defragment,
    /// Disarms the alarm NOSPACE of every member.
    DisarmNoSpace,
    /// Removes a member from the cluster.
    RemoveMember {
        /// Which one.
        id: u64,
    },
    /// Makes a learner a voter.
    Promote {
        /// Which one.
        id: u64,
    },
    /// Gives the leadership to a member. Only the leader takes this order.
    MoveLeader {
        /// Which one leads next.
        id: u64,
    },
}

/// How long a member may take that has no data to move.
const SHORT: Duration = Duration::from_secs(20);
/// A database has 8 GiB at most, and no disk of a control plane is slower than 10 MB a second.
const LONG: Duration = Duration::from_secs(15 * 60);

impl Order {
    /// How long the member may take.
    pub fn limit(self) -> Duration {
        match self {
            Order::Defragment | Order::Compact { physical: true, .. } => LONG,
            _ => SHORT,
        }
    }
}

/// Body of [`Request::Order`](crate::Request::Order).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRequest {
    /// How to reach the member.
    pub etcd: EtcdAccess,
    /// ID of the cluster that is meant.
    pub cluster_id: u64,
    /// ID of the member that is meant. Another one that answers is given no order.
    pub member_id: u64,
    /// The order.
    pub order: Order,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum OrderOutcome {
    /// It is carried out.
    Done,
    /// Of a compaction: the revision is compacted already.
    AlreadyCompacted,
    /// It was not given, or etcd has refused it. Nothing was changed.
    Refused {
        /// Why.
        failure: Failure,
    },
    /// It may have been carried out, may be carried out still, or in part.
    MaybeDone {
        /// What is known.
        failure: Failure,
    },
    /// Something a later version knows: as [`OrderOutcome::MaybeDone`].
    #[serde(other)]
    Unknown,
}
