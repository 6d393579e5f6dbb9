//! What a control-plane node has on its disk: its static pods, its room, the names of its keys.

pub(crate) mod dir;
mod disk;
mod document;
mod encryption;
pub(crate) mod etcds;
mod facts;
pub(crate) mod files;
mod health;
pub(crate) mod left_over;
mod manifest;
pub(crate) mod manifests;
#[cfg(test)]
pub(crate) mod probe;
pub(crate) mod settings;
mod unit;

pub(crate) use dir::Place;
pub(crate) use facts::run as facts;
pub(crate) use manifest::Manifest;
pub(crate) use manifests::{ControlPlane, Manifests};
