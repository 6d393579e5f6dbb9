//! The build ID: which sources a program was built from, of those that decide what happens on a node.
//!
//! Versions do not tell builds apart: two builds of one version may disagree about a step of a restore. The ID is the same for the plugin
//! and the sidecar, on every platform and in every profile, as long as the sources are the same; it authenticates nothing.

#[cfg(test)]
mod digest;

/// Sixteen hexadecimal digits.
pub const ID: &str = env!("ETCD_BUILD_ID");
