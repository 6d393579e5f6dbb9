//! A practice control plane on one machine: real etcd with real mutual TLS, real containers, and strict stand-ins for
//! the API server and the kubelet. It is for tests, and for trying `kubectl etcd` without a cluster to lose.
//!
//! ```no_run
//! let lab = lab::Lab::start(lab::Options { nodes: 3, ..lab::Options::default() })?;
//! println!("export KUBECONFIG={}", lab.kubeconfig().display());
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! It needs root, `ip`, `nsenter`, `unshare`, `crun` and an etcd, and for disks `mkfs.ext4`, `mount`, `losetup` and
//! `fsfreeze`, and for SSH OpenSSH's server and `sudo`. Each node has its own network, mount and process namespace and its own file tree, with a `/run` in memory.
//! Nodes can lose each other ([`Lab::cut`]), their power ([`Lab::power_off`]) and the room on their disks
//! ([`Lab::fill_disk`]), and their disks can hang ([`Lab::freeze_disk`]) and fail ([`Lab::fail_disk`]); they have this
//! machine's clock. A lab is on record in `/run/lab`, so that `lab down` can take it away also when
//! whoever started it was killed.

pub mod apiserver;
pub mod cli;

mod balancer;
mod bootstrap;
mod client;
mod defaults;
mod disk;
mod files;
mod fill;
mod image;
mod kubelet;
mod lab;
mod manifests;
mod network;
mod own_view;
mod paths;
mod pem;
mod pki;
mod pod;
mod record;
mod ssh;
mod start;
mod systemd;
mod trouble;

pub use client::Client;
pub use image::docker_archive;
pub use lab::{Etcd, Lab, Options};
pub use pki::Issue;
pub use ssh::{ADMIN, OPERATOR, PASSWORD, SshAccess};
