//! What a control-plane node has on its disk: its static pods, its room, the names of its keys.

mod disk;
mod document;
mod encryption;
mod facts;
mod manifest;
mod manifests;

pub(crate) use facts::run as facts;
pub(crate) use manifest::Manifest;
pub(crate) use manifests::Manifests;
