//! The sidecars: pods of ours on control-plane nodes, made for one operation and gone after it.

pub(crate) mod access;
mod pods;
mod removal;
mod session;
mod spec;
mod stdout;
mod survey;

pub(crate) use pods::{Pods, Started};
pub(crate) use removal::remove;
pub(crate) use session::{Received, Session, Sink, TransferError};
pub(crate) use spec::{DEFAULT_IMAGE, MANAGED_BY, OPERATION, Operation, SESSION, SidecarArgs};
#[cfg(test)]
pub(crate) use survey::Answer;
pub(crate) use survey::{Surveyed, converse, survey};
