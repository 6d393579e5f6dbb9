//! The restore of a running control plane, as one node does its part: `docs/RESTORE.md` describes the whole.
//!
//! * In a session with the plugin, [`enlist`] prepares the node, stages the new data beside the old, and arms the node: it places a
//!   [static pod](arm), which runs the [`driver`] and needs no API server.
//! * What the nodes do, and what they tell each other, is decided by `etcd-transaction`, which is pure. The [`driver`] carries it out: the
//!   [`steps`], the messages to other nodes over the [`network`], the orders of sessions on this node over [`control`].
//! * Without an API server, an [`operator`] works on the node itself.
//! * [`replace`](mod@replace) does without the others: it gives one member new data from the rest of its cluster.
//! * The [`journal`] has everything before it is done. What it adds up to is the [`state`], from which a participant that was killed goes on,
//!   or back.

mod api_server;
mod api_watch;
mod arm;
mod backoff;
mod bare;
mod control;
mod disks;
mod driver;
mod enlist;
mod exchange;
mod former;
mod ground;
mod guard;
mod hold;
mod http;
pub(crate) use http::Server;
mod identity;
mod journal;
mod launch;
mod launch_manifest;
mod layout;
mod member;
mod network;
mod operator;
mod own_binary;
mod owner;
mod participant_unit;
mod preflight;
mod process;
mod quorum_lost;
mod raise;
mod records;
mod replace;
mod same;
mod sockets;
mod stage;
mod state;
mod steps;
mod units;
mod way_back;
mod words;
mod work;

pub(crate) use arm::direct;
pub(crate) use driver::run as participate;
pub(crate) use enlist::Enlisted;
pub(crate) use layout::kept_database;
pub(crate) use operator::{Args as BegunArgs, BEGUN, operate, shown as shown_failure};
pub(crate) use records::{all, remove};
pub(crate) use replace::{
    begin as replace, finish as replaced, look as replacement, remove_kept as remove_replaced_data,
    tell_kept as replaced_data, unfinished_plan as unfinished_replacement,
};
