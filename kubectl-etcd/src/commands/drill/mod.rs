//! `kubectl etcd drill`: a backup is restored to a throw-away folder, a real etcd serves it there, and what that serves is compared with what was
//! recorded.

mod in_cluster;
mod page;
mod plan;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use etcd_drill::{
    Clock, Drill, Engine, Folder, Kind, NotRestored, Origin, Program, Proved, Subject, Trial, Trouble, Verdict,
};
use etcd_objects::encryption::Keyring;
use etcd_snapshot::restore::RestoreError;
use etcd_snapshot::{Keep, VerifyError};
use etcd_store::{Level, SigningKey};
use jiff::Timestamp;

use crate::commands::verify::{AttestArgs, Recorded, attest, damaged, explain, rest};
use crate::contents::{Contents, FileArgs};
use crate::context::Context;
use crate::idle::Idle;
use crate::interruption::interrupted;
use crate::kube_system;
use crate::output::{self, Exit, Failed, Outcome, Progress, ResultExt as _};
use crate::sidecar::SidecarArgs;
use crate::snapshot_file::{SnapshotFile, find, is_stored};
use plan::{Facts, Place, Plan};

const EXAMPLES: &str = "\
Examples:
  # Prove that a real etcd serves a snapshot: that of PATH
  kubectl etcd drill etcd-prod-20261121T061640Z.db

  # The newest backup in a store, with the etcd of the cluster's version; write
  # into the store that it was proved
  kubectl etcd drill s3://backups/prod/latest --identity key.txt \\
    --trust-key sign.pub --etcd ./etcd-3.5.16/etcd --attest

  # With the etcd of an image, in a container of docker or podman
  kubectl etcd drill etcd.db --etcd-image registry.k8s.io/etcd:3.5.16-0

  # In the cluster, with its own etcd, as from a machine that cannot run etcd
  kubectl etcd drill etcd.db --in-cluster

  # Also start the cluster's own kube-apiserver on it, and list every resource
  kubectl etcd drill etcd.db --in-cluster --api-server

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
/// With --etcd-image, docker or podman runs etcd in a container on this machine, which needs Linux. The container has no network and no capability, sees nothing but
/// the folder of the drill, and goes with the command. The image is pulled if this machine does not have it.
///
/// With --in-cluster or --node this happens in a pod of the cluster of the kubeconfig, of the image of that cluster's etcd. The pod sees nothing of its node,
/// opens no port, and has no token; it goes with the command. The backup is opened and verified on this machine: no age identity and no credential of a store
/// leaves it. The snapshot is sent to the pod in clear, with every Secret in it, and lies on the disk of the node until the pod is deleted. The file of
/// --encryption-config is sent as well, and is only in the memory of the pod.
///
/// With --api-server, the program of the cluster's own kube-apiserver image is started on that etcd, in the same pod, after everything else was compared. It listens on
/// the loopback of the pod and asks nothing of the cluster: no webhook, no other API server, no KMS. Every resource that it serves is listed, and the number of
/// objects is compared with etcd's. What it writes is in the throw-away copy. Where values are encrypted, it needs --encryption-config.
///
/// RPO is the age of the backup, RTO the time until etcd served it, and with --api-server until the API server was ready. What could not be proved is said. A drill that fails ends with exit
/// code 3, and says why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// The etcd program to start [default: the first etcd on PATH]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    etcd: Option<PathBuf>,
    /// Drill with the etcd of this container image, which docker or podman runs without a network
    #[arg(long, value_name = "REF", conflicts_with_all = ["etcd", "in_cluster", "node"], value_parser = reference)]
    etcd_image: Option<String>,
    /// Folder in which the folder of the drill is made [default: the system's for temporary files]
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// Drill in a pod of the cluster, with the etcd of its first control-plane node
    #[arg(long, conflicts_with_all = ["etcd", "data_dir"])]
    in_cluster: bool,
    /// Drill in a pod of the cluster, on this control-plane node and with its etcd
    #[arg(long, value_name = "NODE", conflicts_with_all = ["etcd", "data_dir", "in_cluster"])]
    node: Option<String>,
    /// With --in-cluster or --node: also start the cluster's own kube-apiserver on that etcd, and list every resource
    #[arg(long)]
    api_server: bool,
    /// Only show what would be done (client)
    #[arg(long, value_name = "client", value_parser = ["client"])]
    dry_run: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    attest: AttestArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
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
        if !self.is_in_cluster() {
            const ASKS_NONE: &str = "without --in-cluster or --node, drill asks no cluster";
            idle.push(Idle::connection(ASKS_NONE));
            idle.push(Idle::group::<SidecarArgs>(ASKS_NONE));
            idle.push(Idle::flags(
                &["api_server"],
                "the API server of a cluster is started in a pod: add --in-cluster or --node",
            ));
        }
        idle
    }

    fn is_in_cluster(&self) -> bool {
        self.in_cluster || self.node.is_some()
    }

    fn parent(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// Drills.
///
/// # Errors
/// There is no etcd that can read the file, or not enough room, or the user may not make the pod (exit 4); the backup cannot be opened or is damaged (exit 3), or etcd does not serve what was
/// recorded (exit 3). Nothing is left behind.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.is_in_cluster() {
        return in_cluster::run(args, context).await;
    }
    let (begun, mut clock) = (Timestamp::now(), Clock::new());
    let key = args.attest.key()?;
    let keyring = args.file.keyring()?;
    let etcd = context.interruptible(etcd(&args, &context)).await.map_err(Failed::unchanged)?;
    let program = match etcd {
        Etcd::Found(program) if args.dry_run.is_none() => program,
        etcd => return show_plan(&args, place(&etcd, &args), &context).await,
    };
    clock.skip();
    let file = open(&args, &context).await?;
    clock.lap("open", true);
    let (contents, keys) = context.interruptible(look(file, keyring, &args, &context)).await?;
    let recorded = Recorded::of(contents.file(), &contents.report, context.printer);
    clock.lap("verify", true);
    let unchanged = |trouble| Failed::from(trouble).unchanged();
    let newer = program.fits(contents.report.etcd()).map_err(unchanged)?;

    let recorded = of_drill(&recorded);
    let trial = Trial {
        program: &program,
        subject: Subject {
            name: name(&contents),
            source: contents.file().shared_source(),
            report: &contents.report,
            keys: &keys,
            prefix: &contents.prefix,
            neighbours: &contents.neighbours,
            keyring: contents.keyring(),
        },
        recorded: &recorded,
        api_server: None,
        cancel: context.cancelled(),
    };
    let folder = Arc::new(Folder::new(&args.parent(), contents.report.total_size).map_err(unchanged)?);
    let drilled = go_through(&trial, &folder, &mut clock, &contents, &context).await;
    let removed = Arc::into_inner(folder).map_or(Ok(()), |mut folder| folder.remove().map_err(Failed::from));
    let proved = match (drilled, removed) {
        (Ok(drilled), Ok(())) => drilled,
        (Err(failed), Ok(())) => return Err(failed.effect("nothing was left behind")),
        (Err(failed), Err(left)) => return Err(failed.also(Err(left))),
        (Ok(_), Err(left)) => return Err(left),
    };
    let signer = signer(contents.file());
    let by = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let drill = trial.document(proved, newer.into_iter().collect(), signer, (begun, clock), by);
    tell(&drill, &args, &context)?;
    prove_in_store(&args, contents.file(), &drill, key.as_ref(), &context).await
}

/// The etcd of the drill.
enum Etcd {
    /// It has told its version.
    Found(Program),
    /// An image that would be pulled, which a plan does not do.
    NotPulled(Engine, String),
}

/// Finds the etcd, and asks it for its version. An image is pulled, unless only a plan is asked for.
async fn etcd(args: &Args, context: &Context) -> Outcome<Etcd> {
    let search = std::env::var_os("PATH");
    let Some(reference) = &args.etcd_image else {
        let path = etcd_drill::find(args.etcd.as_deref(), search.as_deref())?;
        return Ok(Etcd::Found(Program::ask(&path).await?));
    };
    let engine = Engine::find(search.as_deref()).await?;
    let image = match engine.image(reference).await? {
        Some(image) => image,
        None if args.dry_run.is_some() => return Ok(Etcd::NotPulled(engine, reference.clone())),
        None => {
            context.printer.note(format!("pulling image {reference} with {}", engine.name()));
            engine.pull(reference).await?
        }
    };
    Ok(Etcd::Found(image.ask().await?))
}

/// Where a plan drills.
fn place(etcd: &Etcd, args: &Args) -> Place {
    let parent = args.parent().display().to_string();
    let (engine, image, etcd_version) = match etcd {
        Etcd::Found(program) => match &program.origin {
            Origin::File(_) => {
                return Place::Here { etcd: program.path(), etcd_version: program.version.clone(), parent };
            }
            Origin::Image(image) => (&image.engine, &image.reference, Some(program.version.clone())),
        },
        Etcd::NotPulled(engine, reference) => (engine, reference, None),
    };
    Place::Container { engine: engine.name(), image: image.clone(), etcd_version, parent }
}

/// The name of an image, which docker and podman take for no flag.
fn reference(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(text.to_owned()) } else { Err("that is no name of an image".to_owned()) }
}

/// What a backup is called in the document.
fn name(contents: &Contents) -> String {
    contents.file().stored().map_or_else(|| contents.name(), |stored| stored.name())
}

/// Who has signed its record, if a trusted key has.
fn signer(file: &SnapshotFile) -> Option<String> {
    file.stored().and_then(|stored| stored.found.signer.as_ref()).map(ToString::to_string)
}

/// What was recorded, as a drill takes it.
fn of_drill(recorded: &Recorded) -> etcd_drill::Recorded {
    etcd_drill::Recorded {
        cluster: recorded.cluster.clone(),
        kube_system_uid: recorded.kube_system_uid.clone(),
        taken_at: recorded.taken_at.clone(),
        etcd_version: recorded.etcd_version.clone(),
        revision: recorded.revision,
        hash_kv: recorded.hash_kv,
    }
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Failed {
        let Trouble { kind, message, causes, effect, hint } = trouble;
        let exit = match kind {
            Kind::Failed => Exit::Failed,
            Kind::Refused => Exit::Refused,
            Kind::Damaged => Exit::Damaged,
            Kind::Left => Exit::Changed,
        };
        let failed = Failed::new(exit, message).causes(causes);
        let failed = effect.into_iter().fold(failed, Failed::effect);
        hint.into_iter().fold(failed, Failed::hint)
    }
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

/// Shows what would be done, and does nothing.
async fn show_plan(args: &Args, place: Place, context: &Context) -> Outcome {
    let Some(format) = args.output.data() else {
        return Err(Failed::new(Exit::Usage, "a plan is no page: -o html and --dry-run exclude each other"));
    };
    let plan = Plan::of(facts(args, place, context).await?);
    output::print_data(context.printer, format, &plan, || plan.text())
}

/// What a plan needs: nothing of the backup but its size is read.
async fn facts(args: &Args, place: Place, context: &Context) -> Outcome<Facts> {
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
        place,
        decrypts: args.file.decrypts(),
        attests: args.attest.attest,
    })
}

/// Restores, boots, asks. etcd has ended when this returns.
async fn go_through(
    trial: &Trial<'_>,
    folder: &Arc<Folder>,
    clock: &mut Clock,
    contents: &Contents,
    context: &Context,
) -> Outcome<Proved> {
    let bar = Progress::new(context.printer, "restore", 0);
    let restored = trial.restore(folder, move |at| bar.update(at.done, at.total)).await;
    restored.map_err(|error| not_restored(error, contents.file()))?;
    clock.lap("restore", true);
    context.interruptible(async { trial.serve(folder, clock).await.map_err(Failed::from) }).await
}

fn not_restored(error: NotRestored, file: &SnapshotFile) -> Failed {
    let path = file.path();
    match error {
        NotRestored::Restore(RestoreError::Verify(VerifyError::Cancelled)) => interrupted(),
        NotRestored::Restore(RestoreError::Verify(VerifyError::Damaged(damage))) => damaged(path, &damage),
        NotRestored::Restore(RestoreError::Verify(error)) => explain(error, path),
        error => Failed::plain(format!("cannot restore {}", path.display())).source(&error),
    }
}

/// Prints the document.
///
/// # Errors
/// The drill has failed (exit 3), or stdout cannot be written.
fn tell(drill: &Drill, args: &Args, context: &Context) -> Outcome {
    drill.remarks.iter().for_each(|remark| context.printer.warn(remark));
    let told = match args.output.data() {
        Some(format) => output::print_data(context.printer, format, drill, || table::text(drill)),
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
