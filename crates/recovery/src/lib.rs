//! How a restore that has begun stands, out of what the journals of its nodes say, and what an operator may order then. The plugin uses
//! this when it reaches the nodes, and the sidecar on a node without an API server.
//!
//! * [`Standing`] says what is decided, who is in doubt, what the restore waits for and what to do about it.
//! * [`settle`] says what may be ordered: [`settle::resume`], [`settle::without`], [`settle::forget`].
//! * [`identities`] makes new certificates for nodes. Everything else here is pure.

mod commands;
mod identity;
mod refusal;
pub mod settle;
mod standing;
pub mod step_labels;
mod words;

pub use commands::Commands;
pub use identity::identities;
pub use refusal::Refusal;
pub use standing::{Evidence, Known, Phase, Standing, Told, is_unready, moves_on_there};
pub use words::{by_hand, decision, names, quoted, span};
