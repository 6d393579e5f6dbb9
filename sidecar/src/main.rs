//! Runs beside etcd on a control-plane node and speaks to `kubectl etcd` over stdin and stdout: reads the member's
//! status, streams its snapshot, builds a directory out of one.

mod certificate;
mod cli;
mod etcd;
mod hash;
mod keep;
mod keys;
#[allow(dead_code, unused_imports, reason = "a plan and a restore read it; neither is here yet")]
mod node;
mod restore;
mod serve;
mod snapshot;
mod status;
mod wait;

fn main() -> std::process::ExitCode {
    cli::main()
}
