//! `kubectl etcd options`: the flags that every command takes.

use clap::Command;

use crate::context::Context;
use crate::help;
use crate::idle::Idle;
use crate::output::Outcome;

const EXAMPLES: &str = "\
Examples:
  # The flags that every command takes
  kubectl etcd options

  # They stand anywhere after the plugin's name
  kubectl etcd status --context prod-eu";

/// List the flags that every command takes, most of them kubectl's
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("the list is the same for every cluster")]
    }
}

/// Prints the global flags of the program whose arguments `root` describes.
pub(crate) fn run(_: Args, root: Command, context: Context) -> Outcome {
    context.printer.data(&help::options(root))
}
