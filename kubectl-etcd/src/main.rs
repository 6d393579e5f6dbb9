//! `kubectl etcd`: takes, verifies and copies out snapshots of the etcd of a self-managed control plane.
//!
//! Start reading in `cli.rs` (what can be typed) and `commands/` (one file a command).

mod api;
mod api_client;
mod api_trouble;
mod bounded;
mod cli;
mod client_config;
mod cluster_name;
mod columns;
mod commands;
mod connection;
mod contents;
mod context;
mod control_plane;
mod denial;
mod discovery;
mod etcd_clusters;
mod explain;
mod help;
mod idle;
mod interruption;
mod json_path;
mod kube_system;
mod kubeconfig;
mod left_overs;
mod live_members;
mod login;
mod member_probe;
mod output;
mod proxy;
mod request_limit;
mod road;
mod sidecar;
mod snapshot_file;
mod stores;
mod transaction;
mod typed;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
