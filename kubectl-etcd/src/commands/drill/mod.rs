//! `kubectl etcd drill`: a backup is restored to a throw-away folder, a real etcd serves it there, and what that serves is compared with what was
//! recorded.

mod checks;
mod client;
mod credentials;
mod folder;
pub(crate) mod guard;
mod page;
mod plan;
mod program;
mod prove;
mod report;
mod samples;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use etcd_objects::encryption::Keyring;
use etcd_snapshot::restore::{Destination, NewCluster, RestoreError, RestoreOptions, restore};
use etcd_snapshot::{DigestCheck, DigestState, Keep, Report, VerifyError};
use etcd_store::{Level, SigningKey};
use jiff::Timestamp;

use crate::commands::verify::{AttestArgs, Recorded, attest, damaged, explain, rest};
use crate::contents::{Contents, FileArgs};
use crate::context::Context;
use crate::idle::Idle;
use crate::interruption::interrupted;
use crate::kube_system;
use crate::output::{self, API_VERSION, Exit, Failed, Outcome, Progress, ResultExt as _};
use crate::snapshot_file::{SnapshotFile, find, is_stored};
use folder::Folder;
use plan::{Facts, Plan};
use program::Program;
use prove::Proved;
use report::{Backup, By, Drill, Phase, Rpo, Rto, Verdict, rounded};
use samples::Samples;
use server::Server;

const EXAMPLES: &str = "\
Examples:
  # Prove that a real etcd serves a snapshot: that of PATH
  kubectl etcd drill etcd-prod-20261121T061640Z.db

  # The newest backup in a store, with the etcd of the cluster's version; write
  # into the store that it was proved
  kubectl etcd drill s3://backups/prod/latest --identity key.txt \\
    --trust-key sign.pub --etcd ./etcd-3.5.16/etcd --attest

  # Also decrypt what the API server has encrypted
  kubectl etcd drill etcd.db --encryption-config enc.yaml

  # A page for an auditor
  kubectl etcd drill etcd.db -o html > drill.html

  # The figures, for a script
  kubectl etcd drill etcd.db -o json | jq '.verdict, .rto.seconds'";

/// Prove that a backup can be restored: a real etcd serves it
///
/// Opens and verifies the backup, restores it to a new folder that only this user can look into, and starts an etcd there, which listens on no port
/// and which only this command can ask. Compares the revision, HashKV, the number of keys and the UID of namespace kube-system with what was recorded, and reads
/// one object of every resource; with --encryption-config also decrypts one value of every encryption key. Then stops etcd, and removes the folder, however
/// the command ends. No cluster is needed, and nothing of a cluster is changed.
///
/// RPO is the age of the backup, RTO the time until etcd served it. What could not be proved is said. A drill that fails ends with exit
/// code 3, and says why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// The etcd program to start [default: the first etcd on PATH]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    etcd: Option<PathBuf>,
    /// Folder in which the folder of the drill is made [default: the system's for temporary files]
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// Only show what would be done (client)
    #[arg(long, value_name = "client", value_parser = ["client"])]
    dry_run: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    attest: AttestArgs,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Yaml,
    /// One page for a browser or a printer.
    Html,
}

impl Format {
    /// As other data is printed; `None` for the page.
    fn data(self) -> Option<output::Format> {
        match self {
            Format::Table => Some(output::Format::Table),
            Format::Json => Some(output::Format::Json),
            Format::Yaml => Some(output::Format::Yaml),
            Format::Html => None,
        }
    }
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.file.idle([]);
        idle.extend(self.attest.idle(is_stored(&self.file.file)));
        idle.push(Idle::connection("drill asks no cluster"));
        idle
    }

    fn parent(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// Drills.
///
/// # Errors
/// There is no etcd that can read the file, or not enough room (exit 4); the backup cannot be opened or is damaged (exit 3), or etcd does not serve what was
/// recorded (exit 3). Nothing is left behind.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let (begun, mut clock) = (Timestamp::now(), Clock::new());
    let key = args.attest.key()?;
    let keyring = args.file.keyring()?;
    let etcd = program::find(args.etcd.as_deref(), std::env::var_os("PATH").as_deref()).map_err(Failed::unchanged)?;
    let program = Program::ask(&etcd, &context).await.map_err(Failed::unchanged)?;
    if args.dry_run.is_some() {
        let Some(format) = args.output.data() else {
            return Err(Failed::new(Exit::Usage, "a plan is no page: -o html and --dry-run exclude each other"));
        };
        let plan = Plan::of(facts(&args, &program, &context).await?);
        return output::print_data(context.printer, format, &plan, || plan.text());
    }
    clock.skip();
    let file = open(&args, &context).await?;
    clock.lap("open", true);
    let (contents, keys) = context.interruptible(look(file, keyring, &args, &context)).await?;
    let recorded = Recorded::of(contents.file(), &contents.report, context.printer);
    clock.lap("verify", true);
    let newer = program.fits(contents.report.etcd()).map_err(Failed::unchanged)?;

    let folder =
        Arc::new(Folder::new(&args.parent(), contents.report.total_size, context.printer).map_err(Failed::unchanged)?);
    let drilled = {
        let samples = Samples::of(&keys, &contents.neighbours);
        let drilling = Drilling { program: &program, contents: &contents, recorded: &recorded, context: &context };
        drilling.run(&folder, &keys, &samples, &mut clock).await
    };
    let removed = Arc::into_inner(folder).map_or(Ok(()), |mut folder| folder.remove());
    let (version, proved) = match (drilled, removed) {
        (Ok(drilled), Ok(())) => drilled,
        (Err(failed), Ok(())) => return Err(failed.effect("nothing was left behind")),
        (Err(failed), Err(left)) => return Err(failed.also(Err(left))),
        (Ok(_), Err(left)) => return Err(left),
    };
    let remark = newer.into_iter().collect();
    let drill = summary(&contents, &recorded, (&program, version), proved, (begun, clock), remark);
    tell(&drill, &args, &context)?;
    prove_in_store(&args, contents.file(), &drill, key.as_ref(), &context).await
}

/// Opens the backup: what a store has is fetched, what is encrypted or compressed is opened.
async fn open(args: &Args, context: &Context) -> Outcome<SnapshotFile> {
    let (path, access) = (&args.file.file, args.file.access());
    let open = async {
        if !is_stored(path) {
            return SnapshotFile::open(path, access, context).await;
        }
        let stored = find(path, access, context).await?;
        args.attest.vouches(&stored)?;
        SnapshotFile::fetch(path, stored, access, context).await
    };
    context.interruptible(open).await
}

/// Verifies the file, its digest too, and gives its keys.
async fn look(
    file: SnapshotFile,
    keyring: Keyring,
    args: &Args,
    context: &Context,
) -> Outcome<(Contents, etcd_snapshot::LiveKeys)> {
    let keep = |key: &[u8]| if kube_system::is_key(key, None) { Keep::Value } else { Keep::Key };
    Contents::of(file, keyring, &args.file, context, keep).await
}

/// What a plan needs: nothing of the backup but its size is read.
async fn facts(args: &Args, program: &Program, context: &Context) -> Outcome<Facts> {
    let path = &args.file.file;
    let (size, at_least) = match is_stored(path) {
        true => (find(path, args.file.access(), context).await?.found.record.snapshot.size, false),
        false => {
            let cannot = || format!("cannot read {}", path.display());
            let size = std::fs::metadata(path).or_fail(cannot)?.len();
            (size, !crate::snapshot_file::is_database(path))
        }
    };
    Ok(Facts {
        file: path.display().to_string(),
        size,
        at_least,
        etcd: program.path.display().to_string(),
        etcd_version: program.version.clone(),
        parent: args.parent().display().to_string(),
        decrypts: args.file.decrypts(),
        attests: args.attest.attest,
    })
}

/// What is done in the folder.
struct Drilling<'a> {
    program: &'a Program,
    contents: &'a Contents,
    recorded: &'a Recorded,
    context: &'a Context,
}

impl Drilling<'_> {
    /// Restores, boots, asks. etcd has ended when this returns, or is dropped.
    async fn run(
        &self,
        folder: &Arc<Folder>,
        keys: &etcd_snapshot::LiveKeys,
        samples: &Samples,
        clock: &mut Clock,
    ) -> Outcome<(String, Proved)> {
        self.restore(folder).await?;
        clock.lap("restore", true);
        let tls = credentials::make(folder.path())?;
        let mut server = Server::start(self.program, Arc::clone(folder))?;
        let etcd = self.context.interruptible(server.serve(&tls)).await?;
        clock.lap("boot", true);
        let Drilling { contents, recorded, context, .. } = self;
        let asked = context.interruptible(async {
            let checks = prove::figures(&etcd, contents, keys, recorded, context).await?;
            clock.lap("compare", false);
            let (resources, encryption) = prove::objects(&etcd, contents, samples).await?;
            clock.lap("read", false);
            Ok(Proved { checks, resources, encryption })
        });
        Ok((etcd.version.clone(), asked.await?))
    }

    /// Builds the data directory, on a thread that hears of an interruption itself.
    async fn restore(&self, folder: &Arc<Folder>) -> Outcome {
        let new = NewCluster {
            name: server::NAME.to_owned(),
            initial_cluster: format!("{}={}", server::NAME, server::PEER_URL),
            initial_cluster_token: "drill".to_owned(),
            initial_advertise_peer_urls: None,
        };
        let membership = new.validate().or_fail(|| "cannot make a cluster for the drill".to_owned())?;
        let (file, folder, context) = (self.contents.file().clone(), Arc::clone(folder), self.context.clone());
        // A copy of a database has no digest, as was told.
        let digest = digest_check(&self.contents.report);
        let restored = tokio::task::spawn_blocking(move || {
            let destination = Destination { data_dir: folder.path().join(server::DATA), wal_dir: None };
            let cancelled = context.cancelled();
            let options = RestoreOptions {
                bump: 0,
                digest,
                etcd_version: None,
                allow_older_etcd: false,
                cancel: Some(&cancelled),
            };
            let bar = Progress::new(context.printer, "restore", 0);
            restore(file.source(), &membership, &destination, &options, &|at| bar.update(at.done, at.total))
        });
        let path = self.contents.file().path();
        let restored = restored.await.or_fail(|| format!("cannot restore {}", path.display()))?;
        restored.map(drop).map_err(|error| match error {
            RestoreError::Verify(VerifyError::Cancelled) => interrupted(),
            RestoreError::Verify(VerifyError::Damaged(damage)) => damaged(path, &damage),
            RestoreError::Verify(error) => explain(error, path),
            error => Failed::plain(format!("cannot restore {}", path.display())).source(&error),
        })
    }
}

fn digest_check(report: &Report) -> DigestCheck {
    match report.digest {
        DigestState::Absent => DigestCheck::Skip,
        _ => DigestCheck::Compute,
    }
}

/// Everything, as a document.
fn summary(
    contents: &Contents,
    recorded: &Recorded,
    (program, version): (&Program, String),
    proved: Proved,
    (begun, clock): (Timestamp, Clock),
    mut remarks: Vec<String>,
) -> Drill {
    let Proved { checks, resources, encryption } = proved;
    let (verdict, reasons, not_proved) = report::judge(&checks, &resources, &encryption);
    remarks.extend(contents.report.warnings.iter().map(ToString::to_string));
    remarks.extend(not_proved);
    let (file, of) = (contents.file(), &contents.report);
    let taken = recorded.taken_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let uid = checks.iter().find(|check| check.name == "kubeSystemUid").and_then(|check| check.served.clone());
    Drill {
        api_version: API_VERSION,
        kind: "Drill",
        verdict,
        reasons,
        remarks,
        backup: Backup {
            file: file.stored().map_or_else(|| contents.name(), |stored| stored.name()),
            sha256: of.file_sha256.clone(),
            size: of.file_size,
            digest: of.digest == DigestState::Matches,
            cluster: recorded.cluster.clone(),
            kube_system_uid: uid,
            taken_at: recorded.taken_at.clone(),
            etcd_version: recorded.etcd_version.clone(),
            etcd_minor: of.etcd().map(|(major, minor)| format!("{major}.{minor}")),
            revision: of.current_revision,
            leases: of.leases,
            auth: of.auth.enabled,
            signer: file.stored().and_then(|stored| stored.found.signer.as_ref()).map(ToString::to_string),
        },
        etcd: report::Etcd { path: program.path.display().to_string(), version },
        by: By {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            user: ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()),
            host: host(),
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        },
        started_at: output::timestamp(begun),
        ended_at: output::timestamp(Timestamp::now()),
        rpo: Rpo { seconds: taken.map(|taken| begun.as_second() - taken.as_second()) },
        rto: clock.rto(),
        checks,
        resources,
        encryption,
    }
}

/// The name of this machine.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    name.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned())
}

/// Prints the document.
///
/// # Errors
/// The drill has failed (exit 3), or stdout cannot be written.
fn tell(drill: &Drill, args: &Args, context: &Context) -> Outcome {
    drill.remarks.iter().for_each(|remark| context.printer.warn(remark));
    let told = match args.output.data() {
        Some(format) => output::print_data(context.printer, format, drill, || drill.text()),
        None => serde_json::to_value(drill)
            .or_fail(|| "cannot write the page".to_owned())
            .and_then(|document| context.printer.data(&page::page(&document))),
    };
    if drill.verdict == Verdict::Passed {
        return told;
    }
    let failed = Failed::new(Exit::Damaged, format!("the drill of {} has failed", drill.backup.file));
    Err(failed
        .causes(drill.reasons.iter().cloned())
        .effect("nothing was left behind")
        .hint("do not rely on this backup; take another with\n  kubectl etcd backup")
        .also(told))
}

/// Writes into the store what was proved, and the document beside it, if that is asked for.
///
/// # Errors
/// The other objects of the backup cannot be read, or the proof cannot be written.
async fn prove_in_store(
    args: &Args,
    file: &SnapshotFile,
    drill: &Drill,
    key: Option<&SigningKey>,
    context: &Context,
) -> Outcome {
    let Some(stored) = file.stored().filter(|_| args.attest.attest) else { return Ok(()) };
    let report = drill.bytes().or_fail(|| "cannot write the report of the drill as JSON".to_owned())?;
    let access = args.file.access().read(context).await?;
    context
        .interruptible(async {
            // A proof includes all levels below: the files of a node have to be read, too.
            let level = match rest(stored, access.identities.as_ref(), context).await? {
                Level::Opened => Level::Booted,
                lower => lower,
            };
            attest(stored, level, key, Some(report.into()), context).await
        })
        .await
}

/// How long the phases take.
struct Clock {
    last: Instant,
    phases: Vec<Phase>,
}

impl Clock {
    fn new() -> Clock {
        Clock { last: Instant::now(), phases: Vec::new() }
    }

    /// What was done so far is of no phase.
    fn skip(&mut self) {
        self.last = Instant::now();
    }

    fn lap(&mut self, name: &'static str, counts: bool) {
        let now = Instant::now();
        self.phases.push(Phase { name, seconds: rounded(now - self.last), counts });
        self.last = now;
    }

    fn rto(self) -> Rto {
        let millis: f64 = self.phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds * 1000.0).sum();
        Rto { seconds: millis.round() / 1000.0, phases: self.phases }
    }
}
