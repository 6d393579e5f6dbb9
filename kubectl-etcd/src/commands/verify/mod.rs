//! `kubectl etcd verify`: is this file whole, and what is in it? Offline; with `--live`, is it what the cluster holds?

mod live;
mod recorded;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use etcd_snapshot::{Damage, DigestCheck, DigestState, Finding, Options, Report, VerifyError, verify};
use serde::Serialize;

use live::{Compared, LiveArgs};
pub(crate) use recorded::Recorded;

use crate::commands::API_VERSION;
use crate::context::Context;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome, Printer, Progress, ResultExt, Table, bytes, print_data};
use crate::snapshot_file::{Compression, SnapshotFile};

const EXAMPLES: &str = "\
Examples:
  # Check a snapshot
  kubectl etcd verify etcd-prod-20261121T061640Z.db

  # The figures that etcdutl snapshot status prints, and more, for a script
  kubectl etcd verify etcd-prod-20261121T061640Z.db -o json

  # Also compare a backup that was just taken with every member of its cluster
  kubectl etcd verify etcd-prod-20261121T061640Z.db --live";

/// Check that a snapshot file is whole, and show what it holds
///
/// Checks the SHA-256 that etcd wrote at the end of the file, both meta pages, every page that can be reached, the order of
/// all keys, and every record. Reads only the file: no cluster is needed, and nothing is changed. A copy of
/// member/snap/db, which has no digest, is accepted with a warning. Whether the values are objects that can be read is not checked: kubectl etcd
/// inspect does that.
///
/// HASHKV is the hash of all keys at the file's revision, as etcdctl endpoint hashkv prints it for a member. With --live a
/// sidecar on each control-plane node asks the member there for its own, and says whether it is equal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Snapshot file
    file: PathBuf,
    /// Print the commands that do the same by hand, and do nothing
    #[arg(long, conflicts_with = "live")]
    explain: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    live: LiveArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.live.idle();
        if self.explain {
            idle.push(Idle::flags(&["output"], "--explain prints commands, and does nothing"));
        }
        idle
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        return context.printer.data(&crate::explain::verify(&args.file.display().to_string()));
    }
    let file = SnapshotFile::open(&args.file, &context).await?;
    let (to_check, printer, cancelled) = (file.clone(), context.printer, context.cancelled());
    let checked = tokio::task::spawn_blocking(move || check(&to_check, None, &cancelled, printer, "verify")).await;
    let checked = checked.or_fail(|| "verify the file".to_owned())?;
    match checked.map_err(|error| explain(error, &args.file))? {
        Ok(report) => {
            for warning in &report.warnings {
                printer.warn(warning.to_string());
            }
            let live = match args.live.live {
                true => Some(live::compare(&args.live, &context, &file, &report).await?),
                false => None,
            };
            let beside = live.as_deref();
            let tables = || format!("{}{}", human(&report), beside.map(live::table).unwrap_or_default());
            let told = print_data(printer, args.output, &Verification::whole(&file, &report, beside), tables);
            match beside.map_or(Ok(()), |compared| live::judge(compared, &args.file)) {
                Ok(()) => told,
                Err(failed) => Err(failed.also(told)),
            }
        }
        Err(damage) => {
            // The figures are told all the same, where every page could be read.
            let figures = || damage.report.as_ref().map(human).unwrap_or_default();
            let told = print_data(printer, args.output, &Verification::damaged(&file, &damage), figures);
            Err(damaged(&args.file, &damage).also(told))
        }
    }
}

/// Verifies a file; with `known`, the SHA-256 of its data is not computed again.
///
/// The outer error is about reading the file or about a file that is no snapshot at all, the inner about damage.
pub(crate) fn check(
    file: &SnapshotFile,
    known: Option<[u8; 32]>,
    cancelled: &AtomicBool,
    printer: Printer,
    what: &str,
) -> Result<Result<Report, Box<Damage>>, VerifyError> {
    let bar = Progress::new(printer, what, 0);
    let digest = known.map_or(DigestCheck::Compute, DigestCheck::Known);
    let options = Options { digest, cancel: Some(cancelled), ..Options::default() };
    let progress = |at: etcd_snapshot::Progress| {
        let done = if known.is_some() { at.walked } else { at.hashed.min(at.walked) };
        bar.update(done, at.total);
    };
    let verified = verify(file.source(), &options, &progress);
    drop(bar);
    match verified {
        Ok(mut report) => {
            // Nothing is recorded yet of a file that is being made.
            if known.is_none() {
                Recorded::of(file, &report, printer).etcd_version.iter().for_each(|version| report.taken_from(version));
            }
            Ok(Ok(report))
        }
        Err(VerifyError::Damaged(damage)) => Ok(Err(damage)),
        Err(error) => Err(error),
    }
}

/// A file that could not be read, or is no snapshot.
pub(crate) fn explain(error: VerifyError, path: &Path) -> Failed {
    let name = path.display();
    match error {
        VerifyError::Io(error) => Failed::plain(format!("read {name}")).source(&error),
        VerifyError::Cancelled => Failed::new(Exit::Interrupted, format!("stopped verifying {name}")),
        error => Failed::new(Exit::Damaged, format!("{name} is damaged or no etcd snapshot")).source(&error),
    }
}

/// What is wrong with a damaged file, and where.
pub(crate) fn damaged(path: &Path, damage: &Damage) -> Failed {
    const SHOWN: usize = 10;
    let mut failed = Failed::new(Exit::Damaged, format!("{} is damaged", path.display()))
        .causes(damage.findings.iter().take(SHOWN).map(ToString::to_string));
    let more = damage.findings.len().saturating_sub(SHOWN) as u64 + damage.omitted;
    if more > 0 {
        failed = failed.cause(format!("and {more} more; -o json shows them"));
    }
    failed.hint("do not restore this file; take another backup with\n  kubectl etcd backup")
}

/// The result as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification<'a> {
    api_version: &'static str,
    kind: &'static str,
    file: String,
    /// With what the file is compressed: all that follows is about the snapshot in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<Compression>,
    ok: bool,
    #[serde(flatten)]
    report: Option<&'a Report>,
    /// What is wrong; empty for a file that is whole.
    findings: &'a [Finding],
    /// How many more findings there were.
    findings_omitted: u64,
    /// The members beside the file, if they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a [Compared]>,
}

impl<'a> Verification<'a> {
    fn whole(file: &SnapshotFile, report: &'a Report, live: Option<&'a [Compared]>) -> Self {
        Verification { report: Some(report), ok: true, live, ..Verification::of(file) }
    }

    fn damaged(file: &SnapshotFile, damage: &'a Damage) -> Self {
        let (findings, findings_omitted) = (damage.findings.as_slice(), damage.omitted);
        Verification { report: damage.report.as_ref(), findings, findings_omitted, ..Verification::of(file) }
    }

    fn of(of: &SnapshotFile) -> Self {
        let file = of.path().display().to_string();
        let (report, findings, findings_omitted, live) = Default::default();
        Verification {
            api_version: API_VERSION,
            kind: "Verification",
            file,
            compression: of.compression(),
            ok: false,
            report,
            findings,
            findings_omitted,
            live,
        }
    }
}

fn human(report: &Report) -> String {
    let version = if report.version.is_empty() { format!("{}.x", report.writer) } else { report.version.clone() };
    let mut table = Table::new(&["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION", "DIGEST", "HASHKV"]);
    let digest = match report.digest {
        DigestState::Matches => "ok",
        DigestState::Absent => "none",
        DigestState::Mismatch => "wrong",
        DigestState::Unchecked => "not checked",
    };
    table.row(vec![
        format!("{:x}", report.hash),
        report.revision.to_string(),
        report.total_key.to_string(),
        bytes(report.total_size),
        version,
        digest.to_owned(),
        report.hash_kv.hash.to_string(),
    ]);
    table.to_string()
}
