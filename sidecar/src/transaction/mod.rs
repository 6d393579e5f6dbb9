//! The restore of a running control plane, as one node does its part: `docs/RESTORE.md` describes the whole.
//!
//! * In a session with the plugin, [`enlist`] prepares the node, stages the new data beside the old, and arms the node: it places a
//!   [static pod](arm), which runs [`participant`] and needs no API server.
//! * The participants carry out [`steps`] in the order that the [`coordinator`], one of them, gives over [`peer`].
//! * The [`journal`] has every step before it is done. What it adds up to is the [`state`], from which a participant that was killed goes
//!   on, or back.

mod api_server;
mod arm;
#[cfg_attr(not(test), expect(dead_code, reason = "the participant does not use it yet"))]
mod control;
mod coordinator;
mod disks;
mod enlist;
mod exchange;
mod ground;
mod guard;
mod hold;
mod http;
#[cfg_attr(not(test), expect(dead_code, reason = "the participant does not use it yet"))]
mod identity;
mod journal;
mod launch;
mod launch_manifest;
mod layout;
mod member;
#[cfg_attr(not(test), expect(dead_code, reason = "the participant does not use it yet"))]
mod network;
mod owner;
mod participant;
mod peer;
mod preflight;
mod process;
mod raise;
mod records;
mod same;
mod sockets;
mod stage;
mod state;
mod steps;
mod tls;
mod work;

pub(crate) use arm::rearm;
pub(crate) use enlist::Enlisted;
pub(crate) use layout::kept_database;
pub(crate) use participant::run as participate;
pub(crate) use records::{all, remove};
