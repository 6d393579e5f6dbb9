//! `kubectl etcd verify`: is this file whole, and what is in it? Offline; with `--live`, is it what the cluster holds?

mod check;
mod live;
mod recorded;
mod stored;
mod verdict;

use std::path::PathBuf;

use etcd_snapshot::{Damage, DigestState, Finding, Report};
use etcd_store::Level;
use serde::Serialize;

pub(crate) use check::{Checked, check, damaged, explain};
use live::{Compared, LiveArgs};
pub(crate) use recorded::{Record, Recorded};
pub(crate) use stored::{AttestArgs, attest, rest};
pub(crate) use verdict::{State, Verdict};

use crate::context::Context;
use crate::idle::Idle;
use crate::output::API_VERSION;
use crate::output::{Exit, Failed, Format, Outcome, ResultExt, Table, bytes, print_data};
use crate::snapshot_file::{AccessArgs, Compression, SnapshotFile, find, is_stored};

const EXAMPLES: &str = "\
Examples:
  # Check a snapshot
  kubectl etcd verify etcd-prod-20261121T061640Z.db

  # The figures that etcdutl snapshot status prints, and more, for a script
  kubectl etcd verify etcd-prod-20261121T061640Z.db -o json

  # The newest backup in a store, which this key must have signed
  kubectl etcd verify s3://backups/prod/latest --identity key.txt \\
    --trust-key sign.pub

  # Without an identity: only the stored bytes; write into the store that they
  # are right
  kubectl etcd verify s3://backups/prod/latest --trust-key sign.pub --attest

  # Also compare a backup that was just taken with every member of its cluster
  kubectl etcd verify etcd-prod-20261121T061640Z.db --live

  # The same where the API server is down
  kubectl etcd verify a.db --live --ssh --plan a.db.json";

/// Check that a snapshot file is whole, and show what it holds
///
/// The last line says whether the file is whole, of which cluster and when the snapshot was taken (as recorded in FILE.json).
///
/// Checks the SHA-256 that etcd wrote at the end of the file, both meta pages, every page that can be reached, the order of
/// all keys, and every record. Reads only the file: no cluster is needed, and nothing is changed. A copy of
/// member/snap/db, which has no digest, is accepted with a warning. Whether the values are objects that can be read is not checked: kubectl etcd
/// inspect does that.
///
/// A backup in a store is fetched and decrypted on this machine; its bytes, its signature and the snapshot in it are compared with what was
/// recorded. Without an identity, only the stored bytes are. With --attest a small object beside the backup says what was verified.
///
/// HASHKV is the hash of all keys at the file's revision, as etcdctl endpoint hashkv prints it for a member. With --live a
/// sidecar on each control-plane node asks the member there for its own, and says whether it is equal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Snapshot file, or a backup in a store: STORE/latest, STORE/NAME
    file: PathBuf,
    /// Print the commands that do the same by hand, and do nothing
    #[arg(long, conflicts_with_all = ["live", "attest"])]
    explain: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    attest: AttestArgs,
    #[command(flatten)]
    live: LiveArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.live.idle();
        idle.extend(self.access.idle([self.file.as_path()]));
        idle.extend(self.attest.idle(is_stored(&self.file)));
        if self.explain {
            idle.push(Idle::flags(&["output"], "--explain prints commands, and does nothing"));
        }
        idle
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        if is_stored(&args.file) {
            return Err(not_by_hand());
        }
        return context.printer.data(&crate::explain::verify(&args.file.display().to_string()));
    }
    let key = args.attest.key()?;
    let file = match is_stored(&args.file) {
        false => SnapshotFile::open(&args.file, &args.access, &context).await?,
        true => {
            let stored = find(&args.file, &args.access, &context).await?;
            args.attest.vouches(&stored)?;
            if stored.found.backup.encrypted && args.access.identity.is_empty() && !args.live.live {
                stored::only_bytes(&stored, args.output, &context).await?;
                return match args.attest.attest {
                    true => stored::attest(&stored, Level::Read, key.as_ref(), None, &context).await,
                    false => Ok(()),
                };
            }
            SnapshotFile::fetch(&args.file, stored, &args.access, &context).await?
        }
    };
    let (to_check, printer, cancelled) = (file.clone(), context.printer, context.cancelled());
    let checked = tokio::task::spawn_blocking(move || check(&to_check, &cancelled, printer, "verify")).await;
    let checked = checked.or_fail(|| "cannot verify the file".to_owned())?;
    match checked.map_err(|error| explain(error, &args.file))? {
        Ok(checked) => {
            let (report, verdict) = (&checked.report, Verdict::of(&checked));
            for warning in &report.warnings {
                printer.warn(warning.to_string());
            }
            let live = match args.live.live {
                true => Some(live::compare(&args.live, &context, &file, report).await?),
                false => None,
            };
            let beside = live.as_deref();
            if let Some(compared) = beside {
                live::warnings(compared).into_iter().for_each(|why| printer.warn(why));
            }
            let text = || {
                let members = beside.map(live::table).map(|table| format!("{table}\n")).unwrap_or_default();
                format!("{}\n{members}{}\n", human(report), verdict.line(&args.file.display().to_string()))
            };
            let told = print_data(printer, args.output, &Verification::whole(&file, report, &verdict, beside), text);
            match beside.map_or(Ok(()), |compared| live::judge(compared, &args.file)) {
                Ok(()) => told?,
                Err(failed) => return Err(failed.also(told)),
            }
            if let Some(stored) = file.stored() {
                let access = args.access.read(&context).await?;
                let level = stored::rest(stored, access.identities.as_ref(), &context).await?;
                if args.attest.attest {
                    stored::attest(stored, level, key.as_ref(), None, &context).await?;
                }
            }
            Ok(())
        }
        Err(damage) => {
            // The figures are told all the same, where every page could be read.
            let figures = || damage.report.as_ref().map(human).unwrap_or_default();
            let told = print_data(printer, args.output, &Verification::damaged(&file, &damage), figures);
            Err(damaged(&args.file, &damage).also(told))
        }
    }
}

/// By hand a backup is copied out of its store first.
pub(crate) fn not_by_hand() -> Failed {
    Failed::new(Exit::Usage, "the commands of --explain are for a file, and this is a backup in a store").hint(
        "copy it to a folder, decrypt it as docs/STORE.md says, and name the snapshot\n  kubectl etcd copy STORE/latest FOLDER",
    )
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
    /// What it comes to.
    verdict: Verdict,
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
    fn whole(file: &SnapshotFile, report: &'a Report, verdict: &Verdict, live: Option<&'a [Compared]>) -> Self {
        Verification { report: Some(report), ok: true, verdict: verdict.clone(), live, ..Verification::of(file) }
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
            verdict: Verdict::damaged(),
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
