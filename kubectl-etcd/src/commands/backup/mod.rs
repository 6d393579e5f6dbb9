//! `kubectl etcd backup`: a snapshot of the healthiest member, streamed here, verified, and only then given its name.

mod choose;
mod manifest;
mod names;
mod target;

use std::path::PathBuf;
use std::sync::Arc;

use etcd_snapshot::Report;
use etcd_wire::message::{Compression, SnapshotRequest};
use jiff::Timestamp;

use self::manifest::{Manifest, Taken};
use self::target::{Target, Writing};
use crate::cli::Context;
use crate::commands::verify;
use crate::connection::Connection;
use crate::discovery::{self, Overrides};
use crate::output::{Exit, Failed, Format, Outcome, Printer, Progress, ResultExt, bytes, print_data, seconds};
use crate::sidecar::{Operation, Pods, Received, Session, SidecarArgs, Sink, Started, TransferError, access, survey};
use crate::snapshot_file::SnapshotFile;

const EXAMPLES: &str = "\
Examples:
  # A verified snapshot in this folder, etcd-<cluster>-<UTC time>.db, and beside it
  # what it is a snapshot of, in the same name plus .json
  kubectl etcd backup

  # Under a name of your own, from the member on one node
  kubectl etcd backup /backups/before-upgrade.db --node cp2

  # Also keep a copy on the node
  kubectl etcd backup --on-node /var/lib/etcd-backups

  # Into a pipe; its digest is checked, its pages are not: run verify on what comes out
  kubectl etcd backup - | age -r RECIPIENT > etcd.db.age

A snapshot holds every Secret of the cluster: the file is readable by you alone.
A run that fails leaves no file and no pod. etcdutl reads the file as it is.";

/// How often a transfer that broke is begun anew.
const ATTEMPTS: u32 = 3;

/// Take a snapshot of etcd, copy it here and verify it
///
/// Asks all members how they are and takes the snapshot from a healthy follower (or the leader, if there is no other):
/// never from a learner, from one with an alarm or from one that lags. The snapshot is streamed, nothing is
/// written on the node. The file gets its name only after its digest and every page have been checked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write, or - for stdout
    file: Option<PathBuf>,
    /// Take the member on this node, even if another is healthier
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Also keep the snapshot in this folder of the node, which must exist
    #[arg(long, value_name = "DIR", value_parser = node_folder)]
    on_node: Option<String>,
    /// Compression on the way here; the file is never compressed
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = ["zstd", "none"])]
    compress: String,
    /// Overwrite FILE
    #[arg(long)]
    force: bool,
    /// Output format: json and yaml print what is written beside the file
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

fn node_folder(path: &str) -> Result<String, String> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.starts_with('/') && !trimmed.split('/').any(|part| part == "..") {
        Ok(trimmed.to_owned())
    } else {
        Err("this is a folder on the node: it must be absolute, without '..', and not the root".to_owned())
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let outcome = backup(args, &context).await;
    outcome.map_err(|failed| match failed.exit {
        Exit::Failed | Exit::Refused | Exit::Damaged => {
            failed.cause("no file was written and nothing was changed on any node")
        }
        _ => failed,
    })
}

async fn backup(args: Args, context: &Context) -> Outcome {
    let printer = context.printer;
    let connection = context.connection.connect().await?;
    let begun = Timestamp::now();
    let target = Target::plan(args.file.as_deref(), &connection.cluster, begun, args.force)?;
    if matches!(target, Target::Stdout { .. }) && (args.force || args.output != Format::Table) {
        let message = "--force and --output are for files: with -, stdout is the snapshot";
        return Err(Failed::new(Exit::Usage, message));
    }
    // The file comes first: a folder that is not there or not writable must be known before a pod is made.
    let writing = target.begin()?;
    let namespace = context.connection.etcd_namespace();
    // All members are recorded; those on `--node` are asked. A named node may run none of the pods (external etcd).
    let asked = discovery::find(&connection, namespace, &args.overrides, args.node.as_deref()).await?;
    let every = match args.node {
        None => asked.clone(),
        Some(_) => {
            discovery::find(&connection, namespace, &args.overrides, None).await.unwrap_or_else(|_| asked.clone())
        }
    };
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let surveyed = survey(&connection, &pods, asked, Operation::Backup).await;
    let choice = choose::choose(&surveyed, args.node.is_some())?;
    printer.note(format!(
        "taking the snapshot from {} on node {}: {}",
        choice.member.name, choice.member.node, choice.reason
    ));
    for warning in &choice.warnings {
        printer.warn(warning);
    }
    let spare = surveyed.iter().filter_map(|one| one.outcome.as_ref().ok()).map(|answer| answer.sidecar.pod.clone());
    let spare: Vec<String> = spare.filter(|pod| args.on_node.is_some() || *pod != choice.sidecar.pod).collect();
    let sidecar = match &args.on_node {
        // Only the pod that keeps a copy may write to its node.
        Some(folder) => pods.start(choice.member, Operation::Backup, Some(folder)).await?,
        None => choice.sidecar.clone(),
    };
    let keep = args.on_node.as_ref().map(|folder| format!("{folder}/{}", target.file_name()));
    let request = SnapshotRequest {
        etcd: choice.member.access.clone(),
        compression: if args.compress == "zstd" { Compression::Zstd } else { Compression::None },
        keep: keep.clone(),
    };
    // The pods that are not needed go meanwhile.
    let released = futures::future::join_all(spare.iter().map(|pod| pods.delete_early(pod)));
    let (received, _) = tokio::join!(transfer(&connection, &sidecar, &request, writing, printer), released);
    let (mut session, received) = received?;
    let (database_sha256, length) = (received.end.sha256.0, received.end.length);
    let (writing, sha256) = received.sink.finish(received.digest, database_sha256)?;
    let report = match &target {
        Target::File { .. } => Some(check_pages(context, &writing, database_sha256).await?),
        Target::Stdout { .. } => None,
    };
    let cluster = manifest::Cluster::ask(&connection, choice.status).await;
    for warning in cluster.warnings() {
        printer.warn(warning);
    }
    writing.sync()?;
    if let Some(path) = &keep {
        context.note_left(format!(
            "node {} may have kept {path}: what is there under this name is whole",
            choice.member.node
        ));
    }
    let kept = acknowledge(&mut session, length, keep.as_deref(), &choice.member.node).await?;
    let taken =
        Taken { at: begun, file: target.file_name(), sha256, length, report: report.as_ref(), kept: kept.clone() };
    let manifest = Manifest::of(cluster, &choice, &every, &surveyed, &args.sidecar.image, taken);
    let finished = writing.publish(&manifest, printer).map_err(|failed| match &kept {
        Some(path) => {
            let left = format!("a copy is on node {}: {path}", choice.member.node);
            Failed { exit: Exit::Changed, ..failed }.cause(left)
        }
        None => failed,
    })?;
    let took = seconds(Timestamp::now().as_second() - begun.as_second());
    let told = match (finished, args.output) {
        (None, _) => {
            printer.note(format!("{} written to stdout, sha256 {}, in {took}", bytes(length), manifest.sha256()));
            Ok(())
        }
        (Some(path), format) => {
            printer.note(format!(
                "verified, in {took}; next, copy it off this machine, or look again:\n  kubectl etcd verify {}",
                path.display()
            ));
            print_data(printer, format, &manifest, || manifest.human(&path))
                .map_err(|failed| failed.after_change(format!("the backup is whole: {}", path.display())))
        }
    };
    if let Some(path) = kept {
        printer.note(format!("kept on node {}: {path}", choice.member.node));
    }
    told
}

/// Receives the snapshot; a transfer that breaks on the road begins anew.
async fn transfer(
    connection: &Connection,
    sidecar: &Started,
    request: &SnapshotRequest,
    mut writing: Writing,
    printer: Printer,
) -> Outcome<(Session, Received<Stream>)> {
    let mut attempt = 1;
    loop {
        let restartable = writing.restart()?;
        let begun = Session::open(connection, sidecar).await;
        let outcome = match begun {
            Ok(mut session) => {
                let needs: &[&str] = if request.keep.is_some() { &["snapshot", "keep"] } else { &["snapshot"] };
                needs.iter().try_for_each(|need| session.require(need))?;
                let mut request = request.clone();
                if !session.peer().can("zstd") {
                    request.compression = Compression::None;
                }
                let stream = Stream { writing: writing.share(), progress: Progress::new(printer, "snapshot", 0) };
                session.snapshot(request, stream).await.map(|received| (session, received))
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(received) => return Ok(received),
            Err(TransferError::Transport(failed)) if attempt < ATTEMPTS && restartable => {
                printer.warn(format!("{}; beginning anew ({attempt} of {} retries)", failed.one_line(), ATTEMPTS - 1));
                attempt += 1;
            }
            Err(error) => return Err(error.into_failed()),
        }
    }
}

/// Tells the sidecar that all is here; gives the place of the copy that it has kept.
async fn acknowledge(session: &mut Session, length: u64, keep: Option<&str>, node: &str) -> Outcome<Option<String>> {
    match (session.acknowledge(length).await, keep) {
        (Ok(done), _) => Ok(done.kept),
        // The snapshot is here and verified: a road that breaks now takes nothing away.
        (Err(TransferError::Transport(failed)), None) => {
            tracing::info!("the sidecar's last word was lost: {}", failed.one_line());
            Ok(None)
        }
        // The sidecar may have given its copy a name before the road broke.
        (Err(TransferError::Transport(failed)), Some(path)) => Err(Failed { exit: Exit::Changed, ..failed }
            .cause(format!("no file was written here, but node {node} may have kept {path}"))
            .hint("look on the node: what is there under this name is whole")),
        (Err(error), _) => Err(error.into_failed()),
    }
}

/// Walks the pages of the file that was written; its bytes were hashed as they came.
async fn check_pages(context: &Context, writing: &Writing, sha256: [u8; 32]) -> Outcome<Report> {
    let path = writing.path().to_owned();
    let file = SnapshotFile::open(&path, context).await?;
    let (shown, printer, cancelled) = (path, context.printer, Arc::clone(&context.cancelled));
    let checked =
        tokio::task::spawn_blocking(move || verify::check(&file, Some(sha256), &cancelled, printer, "verify")).await;
    let checked = checked.or_fail(|| "verify the snapshot".to_owned())?;
    let report = checked.map_err(|error| verify::explain(error, &shown))?;
    report.map_err(|damage| {
        verify::damaged(&shown, &damage)
            .context("the member's snapshot came whole, but its database is damaged")
            .hint("kubectl etcd status, and take another member with --node")
    })
}

/// The stream's way to the file, with progress.
struct Stream {
    writing: Writing,
    progress: Progress,
}

impl Sink for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writing.write(bytes)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.update(done, total);
    }
}

impl Stream {
    /// Appends the digest, as etcd's snapshots end, and gives the SHA-256 of the whole file.
    fn finish(self, mut digest: etcd_wire::Digest, trailer: [u8; 32]) -> Outcome<(Writing, [u8; 32])> {
        self.writing.write(&trailer).or_fail(|| "write the snapshot".to_owned())?;
        digest.update(&trailer);
        Ok((self.writing, digest.finish()))
    }
}

/// A choice needs members to choose from; tests make them without a cluster.
#[cfg(test)]
fn member(node: &str) -> discovery::EtcdPod {
    discovery::EtcdPod { node: node.to_owned(), name: node.to_owned(), ..Default::default() }
}
