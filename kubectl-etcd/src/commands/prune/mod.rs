//! `kubectl etcd prune`: deletes the backups of a store that no rule keeps.

mod carry_out;
mod show;

use std::time::Duration;

use etcd_store::check;
use etcd_store::freshness::{Asked, clock_trouble};
use etcd_store::observe;
use etcd_store::retention::{self, Keep, Within};
use etcd_store::{Backups, ClusterUid, Freshness, Level};
use jiff::{SignedDuration, Timestamp};

use crate::connection::parse_age;
use crate::context::Context;
use crate::idle::Idle;
use crate::output::confirm::{confirm, consent};
use crate::output::{Exit, Failed, Format, Outcome, Printer};
use crate::stores::{self, TrustArgs};
use show::Proposal;

const EXAMPLES: &str = "\
Examples:
  # What would be deleted, and why the others stay
  kubectl etcd prune s3://backups/prod --keep-hourly 24 --keep-daily 7 \\
    --dry-run=client

  # Delete it, if backups are signed by this key, without a question
  kubectl etcd prune s3://backups/prod --keep-hourly 24 --keep-daily 7 \\
    --trust-key backup.pub --confirm prod";

/// Delete old backups from a store
///
/// Rules are those of restic: each --keep flag keeps some backups, and what none keeps is deleted. Backups of each class (scheduled, manual,
/// pre-restore) are counted by themselves. Hours, days, weeks (from Monday), months and years are those of UTC.
///
/// Whatever the rules say, these stay: the newest three verified backups; backups younger than a day; all backups while the newest is stale
/// (see --max-age) or no --keep flag is given; everything that is suspect, unreadable, of another cluster, or not signed by a trusted key
/// where keys are given. What is not trusted takes no place of what is.
///
/// Shows a plan and asks for the name of the cluster. The record of a backup is deleted first, and its data last.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Store, or one cluster in it: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX, file:///DIR, each with /UID at its end
    #[arg(value_name = "STORE")]
    store: String,
    /// UID of the cluster (of its namespace kube-system), in a store of several
    #[arg(long, value_name = "UID")]
    cluster_uid: Option<ClusterUid>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Age from which on the newest backup is stale, and nothing is deleted: 36h, 7d
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = parse_age)]
    max_age: Duration,
    /// Delete objects without a record, too, if nothing was written to them for 7 days, and files of killed writers after a day
    #[arg(long)]
    left_overs: bool,
    #[command(flatten)]
    trust: TrustArgs,
    /// Only show the plan (client)
    #[arg(long, value_name = "client", value_parser = ["client"], conflicts_with = "confirm")]
    dry_run: Option<String>,
    /// Delete without a question: the name of the cluster, or its UID if it has no name
    #[arg(long, value_name = "CLUSTER")]
    confirm: Option<String>,
    /// Output format of the plan
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
}

/// The rules.
#[derive(Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Keep the newest of each of the newest N hours that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_hourly: Option<u32>,
    /// The same of days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_daily: Option<u32>,
    /// The same of weeks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_weekly: Option<u32>,
    /// The same of months
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_monthly: Option<u32>,
    /// The same of years
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_yearly: Option<u32>,
    /// Keep what is at most so much older than the newest: years, months, days and hours, as in 1y5m7d2h
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<Within>,
}

impl KeepArgs {
    /// The flags again, as they were typed.
    pub(crate) fn words(&self) -> Vec<String> {
        let counts = [
            ("last", self.keep_last),
            ("hourly", self.keep_hourly),
            ("daily", self.keep_daily),
            ("weekly", self.keep_weekly),
            ("monthly", self.keep_monthly),
            ("yearly", self.keep_yearly),
        ];
        let counts = counts.into_iter().filter_map(|(rule, count)| Some(format!("--keep-{rule}={}", count?)));
        counts.chain(self.keep_within.map(|within| format!("--keep-within={within}"))).collect()
    }

    /// The rules that the flags are.
    pub(crate) fn rules(&self) -> Keep {
        Keep {
            last: self.keep_last.unwrap_or(0),
            hourly: self.keep_hourly.unwrap_or(0),
            daily: self.keep_daily.unwrap_or(0),
            weekly: self.keep_weekly.unwrap_or(0),
            monthly: self.keep_monthly.unwrap_or(0),
            yearly: self.keep_yearly.unwrap_or(0),
            within: self.keep_within,
        }
    }
}

impl Args {
    /// The flags that have no effect.
    #[expect(clippy::unused_self, reason = "every command is asked in the same way")]
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("prune works with the store only")]
    }
}

/// Whether signatures are checked, where there are any: whoever may write to a store may put records there that fill the places of others.
///
/// # Errors
/// Backups of the cluster are signed, and no key is trusted.
fn trust_enough(backups: &Backups, cluster: &ClusterUid, trusts: bool, printer: Printer) -> Outcome {
    if trusts {
        return Ok(());
    }
    if backups.newest_first(cluster).iter().any(|backup| backup.has_signature) {
        let failed = Failed::new(Exit::Refused, "backups are signed, and no key is given to check the signatures with");
        let failed =
            failed.cause("without a key, a record that anybody put into the store can count in place of a backup");
        return Err(failed.unchanged().hint("name the public key of whoever signs the backups\n  --trust-key FILE"));
    }
    printer.warn("no signature is checked: whoever can write to the store can make prune delete backups");
    Ok(())
}

/// Runs to its end once it deletes: an interruption stops it between two objects.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let scope = stores::scope_of(&args.store, args.cluster_uid.as_ref())?;
    if args.keep.rules().is_empty() {
        let failed = Failed::new(Exit::Usage, "no rule says what is kept").unchanged();
        return Err(failed.hint("name at least one, such as --keep-last 10 or --keep-daily 7"));
    }
    let trusted = args.trust.read()?;
    let store = stores::open(&scope)?;
    let now = Timestamp::now();
    let max_age = SignedDuration::try_from(args.max_age)
        .map_err(|error| Failed::new(Exit::Usage, "--max-age is too long").source(&error))?;
    let asked = Asked { max_age, level: Level::Written };
    let look = async {
        let told = |error: etcd_store::StoreError| stores::failed(&error).unchanged();
        let listed = store.list(scope.cluster.as_ref()).await.map_err(told)?;
        let backups = Backups::of(&listed, now);
        let clusters: Vec<ClusterUid> = backups.clusters().into_iter().cloned().collect();
        let cluster = stores::one_cluster(&scope, &clusters)?;
        trust_enough(&backups, &cluster, trusted.is_some(), printer)?;
        let clock = clock_trouble(&listed, now).or_else(|| observe::clock_of(&store));
        let newest = match clock {
            Some(why) => Freshness::cannot_tell(why),
            None => observe::newest(&store, &backups, &cluster, trusted.as_ref(), &asked, now).await.map_err(told)?,
        };
        let facts = observe::facts(&store, &backups, &cluster, trusted.as_ref()).await.map_err(told)?;
        let part_files = store.part_files(&cluster).await.map_err(told)?;
        Ok::<_, Failed>((backups, cluster, newest, facts, part_files))
    };
    let (backups, cluster, newest, facts, part_files) = context.interruptible(look).await?;
    let plan = retention::plan(&cluster, &facts, &newest, &args.keep.rules(), now);
    let name = newest.newest.as_ref().and_then(|newest| newest.record.cluster.name.clone());
    let name = name.filter(|name| !name.trim().is_empty());
    let proposal = Proposal::of(&scope, &cluster, name, &backups, plan, args.left_overs, now);
    let proposal = proposal.with_part_files(part_files, now);
    proposal.show(args.output, now, printer)?;
    if let Some(why) = &proposal.plan.held {
        let failed = Failed::new(Exit::Refused, format!("nothing is deleted: {why}")).unchanged();
        return Err(
            failed.hint("take a backup, or see why there is none\n  kubectl etcd freshness STORE --max-age 26h")
        );
    }
    if proposal.is_empty() {
        printer.note("nothing to delete");
        return Ok(());
    }
    if let Some(stays) = context.interruptible(async { Ok(check::settings(&store).await.after_deletion()) }).await? {
        printer.note(stays);
    }
    if args.dry_run.is_some() {
        return Ok(());
    }
    let called = proposal.called();
    let given =
        consent(args.confirm.as_deref(), &called, Printer::interactive(), "look at the plan with --dry-run=client")?;
    context.interruptible(confirm(given, &called, printer)).await?;
    carry_out::carry_out(&store, &proposal, &context).await
}
