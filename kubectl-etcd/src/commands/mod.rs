//! One file a command: its flags, and what it does.

pub(crate) mod alarms;
pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod cleanup;
pub(crate) mod compact;
pub(crate) mod complete;
pub(crate) mod completion;
pub(crate) mod copy;
pub(crate) mod defrag;
pub(crate) mod diff;
pub(crate) mod doctor;
#[cfg(unix)]
pub(crate) mod drill;
pub(crate) mod freshness;
pub(crate) mod get;
pub(crate) mod help;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod member;
pub(crate) mod options;
mod origin;
mod proposal;
pub(crate) mod prune;
pub(crate) mod recover;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod schedule;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod verify;
pub(crate) mod version;
