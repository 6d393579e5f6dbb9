//! `kubectl etcd completion`: scripts for the shells, for `kubectl-etcd` called by its own name.

use clap_complete::Shell;

use crate::context::Context;
use crate::idle::Idle;
use crate::output::Outcome;

const EXAMPLES: &str = "\
Examples:
  # kubectl-etcd <TAB> in this bash
  source <(kubectl-etcd completion bash)

  # kubectl etcd <TAB>: kubectl (1.26 and later) runs kubectl_complete-etcd from
  # the PATH; a link to the plugin is enough
  ln -s \"$(command -v kubectl-etcd)\" \"$(dirname \"$(command -v kubectl-etcd)\")/kubectl_complete-etcd\"

  # The same as a script
  printf '#!/bin/sh\\nexec kubectl etcd __complete \"$@\"\\n' > ~/.local/bin/kubectl_complete-etcd
  chmod +x ~/.local/bin/kubectl_complete-etcd";

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Shell
    #[arg(value_parser = ["bash", "zsh", "fish", "powershell"])]
    shell: String,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("a completion script is the same for every cluster")]
    }
}

/// Prints the script that completes lines of the program whose arguments `root` describes.
pub(crate) fn run(args: Args, root: clap::Command, context: Context) -> Outcome {
    let shell = match args.shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root.bin_name("kubectl-etcd"), "kubectl-etcd", &mut script);
    context.printer.data(&String::from_utf8_lossy(&script))
}
