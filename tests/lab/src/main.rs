//! `lab`: the practice control plane by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::cli::main()
}
