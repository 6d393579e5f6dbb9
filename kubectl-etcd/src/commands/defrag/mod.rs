//! `kubectl etcd defrag`.

mod carry_out;
mod report;

use std::time::Duration;

use etcd_members::View;
use etcd_members::defrag::{self, Step};
use etcd_members::space::{self, Alarm};

use super::alarms;
use crate::connection::parse_duration;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::Reach;
use crate::idle::Idle;
use crate::live_members::Live;
use crate::output::confirm::Question;
use crate::output::{Exit, Format, Outcome, bytes};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;
use carry_out::{Done, carry_out};
use report::Report;

const EXAMPLES: &str = "\
Examples:
  # What would be done
  kubectl etcd defrag --dry-run=client

  # Give back what is free, where that is a fifth of a database or more
  kubectl etcd defrag

  # All members, however little they have to give back
  kubectl etcd defrag --threshold 0%

  # Without an API server, or where etcd is a systemd unit
  kubectl etcd defrag --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13";

/// Give free room of etcd's databases back to the file system
///
/// Compactions and deletions free room within a member's database; its file becomes smaller only by a defragmentation. A member stands
/// still while it is defragmented: seconds for a database of a gigabyte.
///
/// One member at a time: followers first, then the leader, which gives its leadership away before. Each has to be healthy and to have caught
/// up before the next one begins. A member that is needed for the quorum, because another one is down, is not touched. A cluster of one or
/// two members takes no writes meanwhile, and you are asked.
///
/// At the end the alarm NOSPACE is disarmed if there is room again. Works when etcd is full: no pod is made.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The sidecar finds etcd by the manifests in /etc/kubernetes/manifests, or by the systemd unit etcd.service. Where etcd runs outside of pods and
/// --ssh is not given, pods on the nodes of the API servers that use it take the place of etcd's own: none can be made when etcd is full.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Leave members that have less than this to give back, in percent of the size of their database [default: 20%, or 0% when etcd is full]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    threshold: Option<u64>,
    /// How long to wait after each step until the member is healthy
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// Do not ask, though the cluster takes no writes meanwhile
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show the plan (client)
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

/// For a defragmentation to be worth it.
const THRESHOLD: u64 = 20;

/// `20%` or `20`.
fn percent(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|percent| *percent <= 100);
    number.ok_or_else(|| "this is a percentage, from 0% to 100%".to_owned())
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let live = Live::look(&context, &plane, &args.reach, &args.sidecar).await?;
    let view = live.view()?;
    let alarm = space::alarm(view)?;
    // A member counts what is free when it writes; one that is full may not have counted what a compaction has freed.
    let usual = if alarm == Alarm::Silent { THRESHOLD } else { 0 };
    let threshold = args.threshold.unwrap_or(usual);
    let wanted = defrag::wanted(view, threshold);
    let steps = defrag::steps(view, &wanted)?;
    let report = Report::planned(&live, &steps, threshold, &alarm);
    if args.dry_run.is_some() {
        report.print(printer, args.output)?;
        return match alarm {
            Alarm::Full(why) if steps.is_empty() => Err(alarms::full(why).unchanged()),
            _ => Ok(()),
        };
    }
    if steps.is_empty() {
        printer.note(format!("no member has {threshold}% to give back"));
        printer.note(COMPACT_FIRST);
    } else {
        printer.show(&report.text());
        ask(&args, &context, view, &steps).await?;
    }
    let done = carry_out(&context, &live, wanted, args.timeout).await?;
    end(&args, &context, done, report).await
}

/// What to do where little is free.
const COMPACT_FIRST: &str =
    "old revisions may fill the databases; a compaction frees their room\n  kubectl etcd compact --physical";

/// Asks where the cluster takes no writes meanwhile.
async fn ask(args: &Args, context: &Context, view: &View, steps: &[Step]) -> Outcome {
    let stands_still = |step: &Step| match step {
        Step::Defragment(id) => defrag::takes_writes_without(view, *id).is_ok_and(|takes| !takes),
        Step::MoveLeader { .. } => false,
    };
    if !steps.iter().any(stands_still) {
        return Ok(());
    }
    let voters = view.voters().count();
    let text =
        format!("The cluster takes no writes while a member is defragmented: it has {voters} voter(s). Continue?");
    let hint = "continue without a question\n  kubectl etcd defrag --yes";
    let question = Question { text, otherwise: "nothing was changed", hint };
    context.interruptible(question.ask(args.yes, context.printer)).await
}

/// Disarms the alarm if there is room again, and tells what was done.
async fn end(args: &Args, context: &Context, done: Done<'_>, report: Report) -> Outcome {
    let printer = context.printer;
    let count = done.freed.len();
    let told = done.told();
    let judged = done.live.view().and_then(|view| Ok(space::alarm(view)?)).map_err(|failed| done.after(failed))?;
    let mut disarmed = false;
    let stays = match judged {
        Alarm::Silent => None,
        Alarm::Room(at) => {
            alarms::disarm(&done.live, context, at).await.map_err(|failed| done.after(failed))?;
            disarmed = true;
            None
        }
        Alarm::Full(why) => Some(alarms::full(why)),
    };
    let report = report.done(&done, disarmed);
    if count > 0 || !matches!(args.output, Format::Table | Format::Wide) {
        report.print(printer, args.output).map_err(|failed| done.after(failed))?;
    }
    if count > 0 {
        printer.result(format!("{count} member(s) defragmented, {} freed", bytes(report.freed())));
    }
    if disarmed {
        printer.result("the alarm NOSPACE is disarmed: etcd takes writes again");
    }
    match stays {
        Some(failed) if count > 0 => Err(crate::output::Failed { exit: Exit::Changed, ..failed }.effect(told)),
        Some(failed) => Err(failed.unchanged()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_percentage() {
        assert_eq!((percent("20%"), percent("0"), percent("100%")), (Ok(20), Ok(0), Ok(100)));
        for wrong in ["", "%", "101%", "-1", "x", "20%%", "1.5%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
