//! Runs beside etcd on a control-plane node and speaks to `kubectl etcd` over stdin and stdout: reads the member's
//! status, streams its snapshot.

mod certificate;
mod cli;
mod etcd;
mod hash;
mod keep;
mod serve;
mod snapshot;
mod status;
mod wait;

fn main() -> std::process::ExitCode {
    cli::main()
}
