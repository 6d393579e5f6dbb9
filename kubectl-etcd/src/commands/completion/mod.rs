//! `kubectl etcd completion`: scripts for the shells, for `kubectl-etcd` called by its own name. They ask `kubectl-etcd __complete`, as
//! kubectl does.

use crate::context::Context;
use crate::idle::Idle;
use crate::output::Outcome;

const EXAMPLES: &str = "\
Examples:
  # kubectl-etcd <TAB> in this bash, and in zsh and fish
  source <(kubectl-etcd completion bash)
  source <(kubectl-etcd completion zsh)
  kubectl-etcd completion fish | source

  # kubectl etcd <TAB>: kubectl (1.26 and later) runs kubectl_complete-etcd from
  # the PATH; a link to the plugin is enough
  plugin=$(command -v kubectl-etcd)
  ln -s \"$plugin\" \"$(dirname \"$plugin\")/kubectl_complete-etcd\"";

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

/// Prints the script of a shell.
pub(crate) fn run(args: Args, context: Context) -> Outcome {
    context.printer.data(match args.shell.as_str() {
        "bash" => include_str!("kubectl-etcd.bash"),
        "zsh" => include_str!("kubectl-etcd.zsh"),
        "fish" => include_str!("kubectl-etcd.fish"),
        _ => include_str!("kubectl-etcd.ps1"),
    })
}
