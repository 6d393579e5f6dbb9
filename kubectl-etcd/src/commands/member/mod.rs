//! `kubectl etcd member`.

mod change;
mod list;
mod replace;

use std::time::Duration;

use crate::connection::parse_duration;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Reach};
use crate::idle::Idle;
use crate::live_members::Live;
use crate::output::{Exit, Failed, Outcome};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;

const EXAMPLES: &str = "\
Examples:
  # The members, as etcd has them in its list
  kubectl etcd member list

  # Remove a member whose node is gone for good
  kubectl etcd member remove cp3

  # Make a learner a voter, once it has caught up
  kubectl etcd member promote cp3

  # The members without an API server, or where etcd is a systemd unit
  kubectl etcd member list --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12

  # Let another member lead, before the leader's node is rebooted
  kubectl etcd member move-leader

  # The data of one member is corrupt: the plan, then new data from the others
  kubectl etcd member replace cp2 --dry-run=client
  kubectl etcd member replace cp2

  # The same where etcd on the node does not run any more, over SSH
  kubectl etcd member replace cp2 --ssh=root@ \\
    --nodes cp1=10.0.0.11,cp2=10.0.0.12";

/// List, remove, promote and replace members, move the leadership
///
/// Members are reached as by `kubectl etcd status`, without a pod.
///
/// With --ssh no API server is asked, but by replace: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The sidecar finds etcd by the manifests in /etc/kubernetes/manifests, or by the systemd unit etcd.service. Where etcd runs outside of pods and
/// --ssh is not given, pods on the nodes of the API servers that use it take the place of etcd's own: none can be made when etcd is full.
///
/// remove is refused if the others would have no quorum, and for a healthy member while another one is not. It asks for the name of the
/// member. The member cannot come back with its data: it has to be joined anew.
///
/// promote makes a learner a voter. It is refused until the learner has caught up with the leader.
///
/// move-leader gives the leadership to the named member, or to a healthy follower. Only a healthy voter can lead.
///
/// replace gives the member on a node new data from the others: for a member with corrupt or lost data, a new disk, or one that was removed while
/// its node is still there. The others have to be healthy, have a quorum without it, and have equal data. A backup comes first. The node then stops
/// etcd, has the member removed, keeps the old data under another name, joins as a learner without data, and votes once it has everything. Its
/// manifest is as before. Until the member is removed a failure takes everything back; after that, the same command goes on where it was. The API
/// server of the node is away meanwhile. A node that is gone for good takes remove, and kubeadm join on another machine.
///
/// With --ssh, replace sends the sidecar to the node over SSH in place of a pod, and the backup is taken over SSH; the other members are still asked
/// through the API server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    action: Action,
    /// Name of the member, or its ID in hex; of replace, the name of its node
    #[arg(value_name = "MEMBER")]
    member: Option<String>,
    /// Only show what would be done (client)
    #[arg(long, value_name = "client", value_parser = ["client"], conflicts_with = "confirm")]
    dry_run: Option<String>,
    /// Remove or replace without a question: the name of the member, or its ID if it has no name
    #[arg(long, value_name = "MEMBER")]
    confirm: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = list::Output::Table, value_name = "FORMAT")]
    output: list::Output,
    /// Of replace: how long etcd may take to stop, and the new member until it has everything
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    timeout: Duration,
    /// Of replace: take no backup first
    #[arg(long)]
    no_backup: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
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
    /// Give a member new data from the others
    Replace,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let confirm = || Idle::flags(&["confirm"], "only remove and replace ask");
        let mut idle = match self.action {
            Action::List => vec![Idle::flags(&["dry_run", "confirm", "member"], "a list is of all members")],
            Action::Remove => Vec::new(),
            Action::Promote | Action::MoveLeader => vec![confirm()],
            Action::Replace => {
                let unreached = "the node is reached through the API server without --ssh";
                return match self.ssh.ssh {
                    None => vec![Idle::flags(&["ssh_command", "sudo"], unreached)],
                    Some(_) => vec![Idle::group::<SidecarArgs>("with --ssh no pod is made")],
                };
            }
        };
        const WHY: &str = "only replace works on a node";
        idle.extend([Idle::flags(&["timeout", "no_backup"], WHY), Idle::group::<Manifests>(WHY)]);
        idle.extend(self.ssh.idle::<SidecarArgs>());
        idle
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
        Action::Replace => drop(args.named("replace")?),
        Action::List | Action::MoveLeader => {}
    }
    let format = match args.action {
        Action::List => None,
        _ => Some(args.output.of_change()?),
    };
    if let (Action::Replace, Some(format)) = (args.action, format) {
        let connection = context.connection.connect().await?;
        return replace::run(&args, &context, &connection, args.named("replace")?, format).await;
    }
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let live = Live::look(&context, &plane, &args.reach, &args.sidecar).await?;
    live.view()?;
    let changes = change::Changes { args: &args, context: &context, live: &live };
    match (args.action, format) {
        (Action::Remove, Some(format)) => changes.remove(args.named("remove")?, format).await,
        (Action::Promote, Some(format)) => changes.promote(args.named("promote")?, format).await,
        (Action::MoveLeader, Some(format)) => changes.move_leader(format).await,
        (Action::List | Action::Replace, _) | (_, None) => list::print(&live, args.output, context.printer),
    }
}
