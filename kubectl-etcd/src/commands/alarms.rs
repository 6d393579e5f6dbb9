//! `kubectl etcd alarms`.

use std::time::Duration;

use etcd_members::space::{self, Alarm};
use etcd_wire::order::Order;
use serde::Serialize;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::Reach;
use crate::idle::Idle;
use crate::live_members::Live;
use crate::output::{API_VERSION, Exit, Failed, Format, Outcome, Table, print_data};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;

const EXAMPLES: &str = "\
Examples:
  # The alarms that members have raised
  kubectl etcd alarms

  # Take writes again, once there is room
  kubectl etcd alarms disarm

  # Without an API server, or where etcd is a systemd unit
  kubectl etcd alarms disarm --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12";

/// How long it may take until the members show that an alarm is gone.
const SHOWN: Duration = Duration::from_secs(30);

/// Show the alarms of etcd, and disarm NOSPACE
///
/// Members are reached as by `kubectl etcd status`, without a pod: also when etcd is full.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The sidecar finds etcd by the manifests in /etc/kubernetes/manifests, or by the systemd unit etcd.service. Where etcd runs outside of pods and
/// --ssh is not given, pods on the nodes of the API servers that use it take the place of etcd's own: none can be made when etcd is full.
///
/// The alarm NOSPACE stays until it is disarmed, and the cluster takes no writes as long as it stays. It is disarmed only when the database
/// of every member is smaller than its quota: run `kubectl etcd compact` and `kubectl etcd defrag` first, which disarms it as well.
/// The alarm CORRUPT is never disarmed: while it is raised, NOSPACE is not disarmed either.
///
/// What fills etcd is shown by `kubectl etcd inspect FILE` of a backup: one over SSH (`kubectl etcd backup FILE --ssh`) is taken from a full etcd, too.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "ACTION", default_value_t = Action::List)]
    action: Action,
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

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Action {
    /// Show the alarms
    List,
    /// Disarm NOSPACE
    Disarm,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.ssh.idle::<SidecarArgs>();
        if self.action == Action::List {
            idle.push(Idle::flags(&["dry_run"], "a list changes nothing"));
        }
        idle
    }
}

/// An alarm that a member has raised.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    member: String,
    member_id: String,
    alarm: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// ID of the cluster, in hex.
    cluster_id: String,
    dry_run: bool,
    /// Those that are raised.
    alarms: Vec<Row>,
    /// Those that were disarmed or, in a dry run, would be.
    disarmed: Vec<Row>,
}

/// The alarms that are raised, each once.
pub(super) fn raised(live: &Live<'_>) -> Vec<Row> {
    let mut all: Vec<(u64, String)> = live
        .statuses()
        .iter()
        .flat_map(|status| &status.alarms)
        .map(|alarm| (alarm.member_id, alarm.kind.clone()))
        .collect();
    all.sort();
    all.dedup();
    let row = |(id, alarm)| Row { member: live.title(id), member_id: format!("{id:x}"), alarm };
    all.into_iter().map(row).collect()
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let live = Live::look(&context, &plane, &args.reach, &args.sidecar).await?;
    let before = raised(&live);
    if args.action == Action::List {
        return show(&args, &context, live.id, before, Vec::new());
    }
    match space::alarm(live.view()?)? {
        Alarm::Silent => show(&args, &context, live.id, Vec::new(), Vec::new()),
        Alarm::Full(why) => Err(full(why).unchanged()),
        Alarm::Room(_) if args.dry_run.is_some() => {
            printer.note("would disarm the alarm NOSPACE");
            show(&args, &context, live.id, before.clone(), before)
        }
        Alarm::Room(at) => {
            let live = disarm(&live, &context, at).await?;
            printer.result("the alarm NOSPACE is disarmed: etcd takes writes again");
            show(&args, &context, live.id, raised(&live), before)
        }
    }
}

/// Why the alarm stays.
pub(super) fn full(why: Vec<String>) -> Failed {
    let failed = Failed::new(Exit::Refused, "the alarm NOSPACE stays: there is no room yet").causes(why);
    failed.hint(
        "make room. If old revisions are not what fills etcd, delete objects or raise --quota-backend-bytes\n  \
         kubectl etcd compact --physical\n  kubectl etcd defrag",
    )
}

/// Disarms the alarm, and looks until no member shows it.
pub(super) async fn disarm<'a>(live: &Live<'a>, context: &Context, at: u64) -> Outcome<Live<'a>> {
    let ordered = live.order(context, at, Order::DisarmNoSpace).await?;
    ordered.map_err(|failed| failed.failed("disarm the alarm NOSPACE"))?;
    for one in live.listed() {
        if one.seen.quota == 0 && one.seen.status.is_some() {
            let title = one.seen.title();
            context.printer.warn(format!(
                "the quota of member {title} is not known: if its database has no room, the alarm comes back at the next write"
            ));
        }
        let size = one.seen.status.as_ref().map_or(0, |status| status.db_size);
        if one.seen.quota > 0 && size > one.seen.quota / 10 * 9 {
            context.printer.warn(format!(
                "member {} uses more than 90% of its quota: the alarm comes back soon",
                one.seen.title()
            ));
        }
    }
    let missing = |live: &Live<'_>| (!raised(live).is_empty()).then(|| "an alarm is raised".to_owned());
    let gone = live.until(context, SHOWN, missing).await;
    gone.map_err(|failed| match failed.exit {
        Exit::Interrupted => failed.effect("the alarm NOSPACE was disarmed"),
        _ => failed.context("the alarm was raised again").after_change("the alarm NOSPACE was disarmed"),
    })
}

fn show(args: &Args, context: &Context, id: u64, alarms: Vec<Row>, disarmed: Vec<Row>) -> Outcome {
    let is_text = matches!(args.output, Format::Table | Format::Wide);
    if alarms.is_empty() && is_text {
        if disarmed.is_empty() {
            context.printer.note("no alarm is raised");
        }
        return Ok(());
    }
    let report = Report {
        api_version: API_VERSION,
        kind: "Alarms",
        cluster_id: format!("{id:x}"),
        dry_run: args.dry_run.is_some(),
        alarms,
        disarmed,
    };
    print_data(context.printer, args.output, &report, || {
        let mut table = Table::new(&["MEMBER", "ID", "ALARM"]);
        for row in &report.alarms {
            table.row(vec![row.member.clone(), row.member_id.clone(), row.alarm.clone()]);
        }
        table.to_string()
    })
}
