//! `kubectl etcd help`: what `--help` shows, and texts on what concerns all commands.

use clap::Command;

use crate::context::Context;
use crate::help;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Outcome};

const EXAMPLES: &str = "\
Examples:
  # The commands
  kubectl etcd help

  # One command, as with --help
  kubectl etcd help restore

  # What the exit codes mean; which environment variables are read
  kubectl etcd help exit-codes
  kubectl etcd help environment";

/// Show the help of a command, or of a topic
///
/// Topics: environment, exit-codes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Command, or topic
    #[arg(value_name = "COMMAND|TOPIC")]
    topic: Option<String>,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("help is the same for every cluster")]
    }
}

/// Prints help on the program whose arguments `root` describes.
pub(crate) fn run(args: Args, root: Command, context: Context) -> Outcome {
    match help::page(root, args.topic.as_deref()) {
        Some(page) => context.printer.data(&page),
        None => {
            let topic = args.topic.unwrap_or_default();
            let topics: Vec<&str> = help::topics().collect();
            Err(Failed::new(Exit::Usage, format!("no command and no help topic is called \"{topic}\""))
                .hint(format!("topics: {}; the commands are listed by\n  kubectl etcd help", topics.join(", "))))
        }
    }
}
