//! `kubectl etcd compact`.

use etcd_members::defrag::reclaimable;
use etcd_members::space::{self, Compaction};
use etcd_members::{Refusal, Seen};
use etcd_wire::order::Order;
use serde::Serialize;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::Reach;
use crate::idle::Idle;
use crate::live_members::Live;
use crate::member_probe::NotDone;
use crate::output::{API_VERSION, Failed, Format, Outcome, Table, bytes, print_data};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;

const EXAMPLES: &str = "\
Examples:
  # Forget all revisions but the newest one
  kubectl etcd compact

  # The same, and wait until the database has the room
  kubectl etcd compact --physical

  # What would be done
  kubectl etcd compact --revision 120000 --dry-run=client

  # Without an API server, or where etcd is a systemd unit
  kubectl etcd compact --physical --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12";

/// Remove old revisions from etcd's history
///
/// etcd keeps what a key was before, so that clients can watch from an earlier revision. A compaction removes the versions that newer ones
/// have replaced, up to a revision. No object is lost. The API server compacts every five minutes by itself.
///
/// A watch or a list that goes on from an older revision ends with "410 Gone" or "etcdserver: mvcc: required revision has been compacted",
/// and its client begins anew: for a moment the API server has more to do. Removed revisions cannot be read again.
///
/// The room is free within the database then; its file becomes smaller only by `kubectl etcd defrag`. Works when etcd is full: IN-USE is
/// then as it was before, because a member counts at its next write.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The sidecar finds etcd by the manifests in /etc/kubernetes/manifests, or by the systemd unit etcd.service. Where etcd runs outside of pods and
/// --ssh is not given, pods on the nodes of the API servers that use it take the place of etcd's own: none can be made when etcd is full.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Remove what newer versions up to this revision have replaced [default: the newest revision]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
    /// Wait until the member that is asked has removed them from its database
    #[arg(long)]
    physical: bool,
    /// Only show what would be done (client)
    #[arg(long, value_name = "client", value_parser = ["client"])]
    dry_run: Option<String>,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        self.ssh.idle::<SidecarArgs>()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster_id: String,
    dry_run: bool,
    revision: i64,
    current_revision: i64,
    physical: bool,
    /// The member that is asked.
    asked: String,
    /// `planned`, `compacted`, or `already-compacted`.
    state: &'static str,
    members: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    db_size: Option<i64>,
    db_size_in_use: Option<i64>,
    reclaimable: Option<u64>,
}

impl Row {
    fn of(member: &Seen) -> Row {
        let status = member.status.as_ref();
        Row {
            name: member.title(),
            db_size: status.map(|status| status.db_size),
            db_size_in_use: status.map(|status| status.db_size_in_use),
            reclaimable: reclaimable(member),
        }
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let live = Live::look(&context, &plane, &args.reach, &args.sidecar).await?;
    let plan = space::compaction(live.view()?, args.revision)?;
    if args.dry_run.is_some() {
        printer.note(format!("would compact at revision {} ({})", plan.revision, past(plan)));
        return show(&args, &context, &live, plan, "planned");
    }
    printer.detail(format!("member {} compacts at revision {}", live.title(plan.at), plan.revision));
    let order = Order::Compact { revision: plan.revision, physical: args.physical };
    let state = match live.order(&context, plan.at, order).await? {
        Ok(()) => "compacted",
        Err(NotDone::AlreadyCompacted) if args.revision.is_none() => "already-compacted",
        Err(NotDone::AlreadyCompacted) => return Err(already(plan)),
        Err(failed) => return Err(failed.failed(&format!("compact at revision {}", plan.revision))),
    };
    let live = live.again().await;
    match state {
        "compacted" => {
            printer.note(format!("older revisions than {} are gone ({})", plan.revision, past(plan)));
            if !args.physical {
                printer.note("members remove them from their databases within seconds; --physical waits for that");
            }
        }
        _ => printer.note(format!("nothing to remove: revision {} is compacted already", plan.revision)),
    }
    show(&args, &context, &live, plan, state).map_err(|failed| match state {
        "compacted" => failed.after_change(format!("etcd was compacted at revision {}", plan.revision)),
        _ => failed,
    })?;
    printer.note("give the room back to the file system with\n  kubectl etcd defrag");
    Ok(())
}

/// How far back the revision is.
fn past(plan: Compaction) -> String {
    match plan.current.saturating_sub(plan.revision) {
        0 => "the newest one".to_owned(),
        behind => format!("{behind} before the newest one"),
    }
}

fn already(plan: Compaction) -> Failed {
    Refusal::new(format!("revision {} is compacted already", plan.revision))
        .cause(format!("the newest revision is {}, and etcd was compacted at {} or later", plan.current, plan.revision))
        .into()
}

fn show(args: &Args, context: &Context, live: &Live<'_>, plan: Compaction, state: &'static str) -> Outcome {
    let members = live.listed().iter().map(|one| Row::of(&one.seen)).collect();
    let report = Report {
        api_version: API_VERSION,
        kind: "Compaction",
        cluster_id: format!("{:x}", live.id),
        dry_run: args.dry_run.is_some(),
        revision: plan.revision,
        current_revision: plan.current,
        physical: args.physical,
        asked: live.title(plan.at),
        state,
        members,
    };
    print_data(context.printer, args.output, &report, || {
        let mut table = Table::new(&["MEMBER", "SIZE", "IN-USE", "RECLAIMABLE"]);
        let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok()).map_or("-".to_owned(), bytes);
        for row in &report.members {
            let reclaimable = row.reclaimable.map_or("-".to_owned(), bytes);
            table.row(vec![row.name.clone(), size(row.db_size), size(row.db_size_in_use), reclaimable]);
        }
        table.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_back_is_said() {
        let plan = |revision| Compaction { revision, current: 50, at: 1 };
        assert_eq!((past(plan(50)).as_str(), past(plan(48)).as_str()), ("the newest one", "2 before the newest one"));
        let failed = already(plan(7));
        assert_eq!((failed.exit.code(), failed.message.as_str()), (4, "revision 7 is compacted already"));
    }
}
