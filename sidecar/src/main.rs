//! Runs beside etcd on a control-plane node and speaks to `kubectl etcd` over stdin and stdout: reads the member's
//! status, streams its snapshot, builds a directory out of one.

mod certificate;
mod cli;
mod etcd;
mod hash;
mod keep;
mod keys;
mod restore;
mod serve;
mod snapshot;
mod status;
mod wait;

fn main() -> std::process::ExitCode {
    cli::main()
}
