//! The restore of a running control plane, as a pure state machine: no tasks, files, clock, network or randomness. A [`Participant`] is one
//! node's part. A driver tells it what happened ([`Input`]) and does what it wants ([`Effect`]).
//!
//! # The protocol
//!
//! All nodes of a [`Plan`] replace the data of their etcd members, or none does. This is an atomic commit. The decision is taken as in Gray
//! and Lamport, "Consensus on Transaction Commit", with one instance of Paxos instead of one for each participant.
//!
//! 1. Every node votes exactly once, in its own journal. **The vote yes is the proof of [`Step::StartEtcd`]**: the node's own member serves
//!    the new data. A node that is left out of the new cluster votes yes when its components are stopped. From [`Step::StopApi`] until the
//!    decision, no API server of the plan's nodes runs.
//! 2. **One vote no is a decision to abort**, at once and without a quorum: commit needs the votes of all. A node that has not voted may vote
//!    no at any time, and goes back alone.
//! 3. A node that voted yes is **in doubt**. It undoes nothing and starts no API server before it knows the decision.
//! 4. The decision is one value, commit or abort. A quorum of the nodes accepts it in one [`Ballot`]. Ballot 0 is the coordinator's and needs
//!    no promises. Any node in doubt may take over with a higher ballot. So the loss of any minority, the coordinator included, blocks nobody,
//!    and nobody can abort what a quorum may have committed.
//! 5. **API servers start after the decision**, and only after commit. So an abort never meets a write of a client of the API, and a decision
//!    is never reversed.
//! 6. After abort each node goes back alone: members of two clusters do not speak to each other, because their cluster IDs differ.
//! 7. A takeover only settles the decision. Orders to do steps come from the coordinator alone.
//! 8. New data on which etcd ran is never deleted by an abort.
//!
//! ## Quorum
//! A node weighs 2. With an even number of nodes, the coordinator weighs 3. A quorum is more than half of the weight, so that of any two
//! halves exactly one is a quorum. One node decides alone. Of two nodes, the coordinator decides alone, and the loss of the coordinator
//! blocks the other node: no protocol for two nodes can do better.
//!
//! ## The way back
//! Of a plan that [returns](Plan::returns), no API server may become ready on the new data. The decision stands all the same. The nodes then go back
//! by a second transaction, which is a plan of its own: same nodes, own journals, votes and decision. It brings the old data, built anew, and sets
//! the current data aside. Between the two are [`Step::Restage`] and [`Step::HandOver`], which the coordinator orders as long as it hears that all
//! nodes are committed, and that none has an API server that was ready:
//!
//! 1. [`Step::Restage`] builds the data, while API servers are still tried. Nodes whose old data differs are not armed.
//! 2. [`Step::HandOver`] stops the node's API server and arms the node: it writes a journal of the second transaction, in which [`Step::StopApi`]
//!    is begun. It arms nothing if the API server was ready, or was not looked at for as long as [`timers::SURE`] since it was first started. So
//!    **that entry is the durable fact that this node had no API server that was ready**, and that it has none until the second transaction is decided.
//! 3. The participant leaves to that of the second transaction, which goes on as one that was restarted at [`Step::StopApi`]. All its rules hold.
//!    **All nodes pass its preflight before any of them stops etcd**: so a node that was not armed, for whatever reason, keeps all others from
//!    changing anything. They vote no after [`timers::LOST`] or [`timers::SELF`], and start their API servers again on the data that they have.
//!
//! A node that could not be armed writes [`Entry::Stays`], starts its API server again, and is never armed later. A node whose participant was
//! restarted since its API server was first started takes no part: nobody knows what that was in the meantime. Then there is no way back but
//! that of an operator.
//!
//! ## Nodes without etcd
//! Where etcd is on machines of its own, API servers are on other nodes, which take part as well: [`Plan::with_nodes_without_etcd`]. Such a node stops
//! its API server with all others, votes yes when its components are stopped, as one that is left out does, and starts its API server after commit. It never
//! coordinates. After abort its API server could go to the member of any node. So [`Step::UndoStart`] waits there until every member's node has gone back:
//! none serves the new data any more, and the revision of the old data is above what clients have seen. A node that is lost is not waited for where the
//! rest of the new cluster has no quorum. Where it may have one, a person has to say that it does not serve ([`Operator::Forget`]). A node with etcd that has
//! gone back stays until such nodes have heard so. These plans have no way back of the nodes' own: an API server may be ready by the data of any node.
//!
//! ## Phases
//! What a node is at is a function of its journal ([`Recorded::phase`]):
//!
//! | entries | phase |
//! |---|---|
//! | `Armed`, nothing begun | [`Phase::Armed`] |
//! | a step begun, no vote, no decision | [`Phase::Working`] |
//! | `Vote` yes, no decision | [`Phase::InDoubt`] |
//! | `Vote` no, or `Decided` abort | [`Phase::Aborting`] |
//! | `Decided` commit | [`Phase::Committed`] |
//! | `Ended` | [`Phase::Ended`] |
//! | `Decided` commit without `Vote` yes, or two decisions | [`Phase::Contradiction`]: nothing is done |
//!
//! ## Messages
//! Every message may be lost, doubled, late or overtaken by others. The sender is who the certificate says.
//!
//! | message | from, to | meaning |
//! |---|---|---|
//! | [`Message::State`] | each to all, every 2 s and at every change | votes, steps, accepted value, decision, end, whom the node does not hear |
//! | [`Message::Order`] | coordinator to all | do this step |
//! | [`Message::Prepare`], [`Message::Promise`] | owner of a ballot, and back | phase 1 |
//! | [`Message::Accept`]; the answer is in `State` | owner of a ballot to all | phase 2; every node learns |
//! | [`Message::Decided`] | to a node that does not know the decision | the decision |
//! | query and [`Answer`] | from a node without an identity | the decision; the asker proves nothing, the answerer does |
//! | [`Message::AllEnded`] | to a node that does not know | all nodes have ended |
//!
//! ## Invariants
//! * No two nodes know different decisions, and a decision never changes.
//! * Commit is decided only if all nodes have voted yes.
//! * An undo begins only after abort, and only once every try of a step has returned. API servers start only after commit.
//! * No two clusters serve at the same time. No API server of a node without etcd runs beside new data that is decided against and has a quorum.
//! * Nodes go back by themselves only if no API server was ready on the new data for longer than [`timers::SURE`]; what clients that need no API
//!   server to be ready have written is in data that is kept.
//! * Nothing is said or done that depends on an entry which is not on the disk: messages and runs are made of [`Recorded`] alone.
//!
//! A disk that loses entries which it had confirmed is outside of this. Then a node does again what its journal lacks and the others know to be done, and
//! votes again: a restore that all others go on with does not wait for it for ever.
//!
//! ## What an operator may do
//! * [`Operator::Decided`]: bring a decision that a journal has. No consensus is needed for that.
//! * [`Input::Certificate`]: give a node a new identity.
//! * [`Operator::Exclude`]: say that nodes are gone for good. The rest decides in a higher epoch, whose quorum is every node of the rest. This
//!   is unsafe if the nodes are not gone, and they had a quorum.
//! * [`Operator::Forget`]: end the waiting of a node that has ended; or, on a node without etcd that goes back, say that no etcd runs on the new data
//!   any more. The latter is unsafe if one does.
//!
//! # What a driver has to keep to
//! * Effects are done in order. [`Effect::Persist`] is written and synced in order; a write that fails ends the process.
//! * The entries given to [`Participant::new`] are on the disk: synced, not only read.
//! * Only one process writes a journal. One that hangs in the kernel keeps its successor out.
//! * Every [`Effect::Run`] is answered by [`Input::Returned`] exactly once, and not before nothing of it can still take effect.
//! * [`Fact::ServedAbove`] comes before the return of [`Step::UndoStop`], and again from every new try. [`Fact::Leader`] comes before the
//!   return of [`Step::StopApi`].
//! * What has arrived is given before a [`Input::Deadline`] that is due at the same time: a process that was paused has not heard silence.
//! * A message, a query and an answer are of one transaction, and are given to a participant of that one alone.
//! * From the first [`Step::StartApi`] of a process on, the API server is looked at until it was ready or the node has ended.
//! * [`Fact::Restaged`] comes before the return of [`Step::Restage`].
//! * [`Step::HandOver`] is proved if and only if the node is armed, also if it was cancelled. If it returns otherwise, nothing of the second
//!   transaction is left. Where nobody can tell, the process ends. A [resumed](Run::is_resumed) one looks whether the node is armed, and arms nothing.
//! * After [`Effect::Leave`] of a node that has [handed over](Recorded::handed_over), the participant of the second transaction is started.
//! * [`Step::Finish`] removes what was built for a way back that is not taken.
//! * `from` of a message is the node that the certificate names, and only that.
//! * The times are in [`timers`]. No safety depends on them.

#![no_std]

extern crate alloc;

mod consensus;
mod coordinator;
mod effect;
mod entry;
mod input;
mod journal;
mod message;
mod participant;
mod plan;
#[cfg(feature = "planted")]
pub mod planted;
mod refusal;
mod runner;
mod status;
mod steps;
pub mod timers;
mod turn;
mod undecided;

pub use effect::{Effect, Notice, Run};
pub use entry::{Ballot, Decision, Ending, Entry, How, Why};
pub use input::{Component, Fact, Input, Millis, Now, Operator, Outcome, RunId, Seq};
pub use journal::{Phase, Recorded};
pub use message::{Answer, Message, Outgoing, State, Votes};
pub use participant::Participant;
pub use plan::{MOST, Node, NodeSet, Plan, PlanError, PlanOptions};
pub use refusal::Refusal;
pub use status::View;
pub use steps::{Limits, Step, StepSet};
