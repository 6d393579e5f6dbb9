//! The sidecars: pods of ours on control-plane nodes, made for one operation and gone after it.

pub(crate) mod access;
pub(crate) mod build;
mod copies;
mod drill_pod;
mod pods;
mod removal;
mod replay;
mod restoring;
mod session;
mod spec;
mod survey;
mod upload;
mod voice;

pub(crate) use pods::{Pods, lacks_folder, random_name, started_by};
pub(crate) use removal::remove;
pub(crate) use restoring::Committed;
pub(crate) use session::{Received, Session, Sink, TransferError};
pub(crate) use spec::{
    CONTAINER, DEFAULT_IMAGE, KUBERNETES, MANAGED_BY, OPERATION, Operation, POD_NAMES, SESSION, SidecarArgs,
};
pub(crate) use survey::{Ask, Surveyed, Via, converse, survey};
pub(crate) use upload::{Stage, Upload};
