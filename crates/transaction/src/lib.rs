//! The restore of a running control plane, as a pure state machine: no tasks, files, clock, network or randomness.
//!
//! (the protocol as a page of text follows)

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
mod runner;
mod status;
mod steps;
pub mod timers;
mod undecided;

pub use effect::{Effect, Notice, Run};
pub use entry::{Ballot, Decision, Ending, Entry, How, Why};
pub use input::{Component, Fact, Input, Millis, Now, Operator, Outcome, RunId, Seq};
pub use journal::{Phase, Recorded};
pub use message::{Answer, Message, Outgoing, State, Votes};
pub use participant::Participant;
pub use plan::{MOST, Node, NodeSet, Plan, PlanError, PlanOptions};
pub use status::View;
pub use steps::{Limits, Step, StepSet};
