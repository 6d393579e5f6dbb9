//! What a control-plane node has on its disk: its static pods, its data, the names of its keys.

mod manifest;
mod manifests;

pub(crate) use manifest::Manifest;
pub(crate) use manifests::Manifests;
