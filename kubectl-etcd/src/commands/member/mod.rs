//! `kubectl etcd member`.

mod change;
mod list;

use crate::context::Context;
use crate::discovery::Reach;
use crate::idle::Idle;
use crate::live_members::Live;
use crate::output::{Exit, Failed, Outcome};

const EXAMPLES: &str = "\
Examples:
  # The members, as etcd has them in its list
  kubectl etcd member list

  # Remove a member whose node is gone for good
  kubectl etcd member remove cp3

  # Make a learner a voter, once it has caught up
  kubectl etcd member promote cp3

  # Let another member lead, before the leader's node is rebooted
  kubectl etcd member move-leader";

/// List the members, remove and promote one, move the leadership
///
/// Members are reached as by `kubectl etcd status`, without a pod.
///
/// remove is refused if the others would have no quorum, and for a healthy member while another one is not. It asks for the name of the
/// member. The member cannot come back with its data: it has to be joined anew.
///
/// promote makes a learner a voter. It is refused until the learner has caught up with the leader.
///
/// move-leader gives the leadership to the named member, or to a healthy follower. Only a healthy voter can lead.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    action: Action,
    /// Name of the member, or its ID in hex
    #[arg(value_name = "MEMBER")]
    member: Option<String>,
    /// Only show what would be done (client)
    #[arg(long, value_name = "client", value_parser = ["client"], conflicts_with = "confirm")]
    dry_run: Option<String>,
    /// Remove without a question: the name of the member, or its ID if it has no name
    #[arg(long, value_name = "MEMBER")]
    confirm: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = list::Output::Table, value_name = "FORMAT")]
    output: list::Output,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Action {
    /// Show the members
    List,
    /// Remove a member
    Remove,
    /// Make a learner a voter
    Promote,
    /// Let another member lead
    MoveLeader,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let confirm = || Idle::flags(&["confirm"], "only remove asks");
        match self.action {
            Action::List => vec![Idle::flags(&["dry_run", "confirm", "member"], "a list is of all members")],
            Action::Remove => Vec::new(),
            Action::Promote | Action::MoveLeader => vec![confirm()],
        }
    }

    /// The member that is named.
    ///
    /// # Errors
    /// Usage: none is.
    fn named(&self, action: &str) -> Outcome<&str> {
        self.member.as_deref().ok_or_else(|| {
            let failed = Failed::new(Exit::Usage, format!("name the member: kubectl etcd member {action} MEMBER"));
            failed.unchanged().hint("the members\n  kubectl etcd member list")
        })
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    match args.action {
        Action::Remove => drop(args.named("remove")?),
        Action::Promote => drop(args.named("promote")?),
        Action::List | Action::MoveLeader => {}
    }
    let format = match args.action {
        Action::List => None,
        _ => Some(args.output.of_change()?),
    };
    let connection = context.connection.connect().await?;
    let live = Live::look(&context, &connection, &args.reach).await?;
    live.view()?;
    let changes = change::Changes { args: &args, context: &context, live: &live };
    match (args.action, format) {
        (Action::Remove, Some(format)) => changes.remove(args.named("remove")?, format).await,
        (Action::Promote, Some(format)) => changes.promote(args.named("promote")?, format).await,
        (Action::MoveLeader, Some(format)) => changes.move_leader(format).await,
        (Action::List, _) | (_, None) => list::print(&live, args.output, context.printer),
    }
}
