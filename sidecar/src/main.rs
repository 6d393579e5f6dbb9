//! Runs beside etcd on a control-plane node and speaks to `kubectl etcd` over stdin and stdout: reads the member's
//! status, streams its snapshot, builds a directory out of one, takes part in the restore of the whole control plane.

mod backup;
mod certificate;
mod cli;
mod copies;
mod drill;
mod etcd;
mod hash;
mod install;
mod keep;
mod kept_keys;
mod keys;
mod node;
mod node_files;
mod on_node;
mod order;
mod prune;
mod recover;
mod replay;
mod restore;
mod serve;
mod snapshot;
mod status;
mod store_failure;
mod streaming;
mod table;
mod transaction;
mod wait;
mod watch;
mod which_store;

fn main() -> std::process::ExitCode {
    cli::main()
}
