//! `kubectl etcd backup`: a snapshot of the healthiest member, streamed here, verified, and only then given its name.

mod choose;
mod identity;
mod manifest;
mod names;
mod room;
mod target;

use std::path::PathBuf;

use etcd_snapshot::{DigestCheck, Keep, LiveKeys, Options, Pick, Report, VerifyError, live_keys};
use etcd_wire::message::{Compression, SnapshotRequest};
use jiff::Timestamp;

use self::identity::Identity;
use self::manifest::{Manifest, Taken};
use self::target::{Target, Writing};
use crate::commands::verify;
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, Overrides};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::explain::{self, Facts};
use crate::idle::Idle;
use crate::interruption::interrupted;
use crate::kube_system;
use crate::output::{Exit, Failed, Format, Outcome, Printer, Progress, ResultExt, bytes, print_data, seconds};
use crate::sidecar::{
    Ask, Operation, Pods, Received, Session, SidecarArgs, Sink, Started, Surveyed, TransferError, access, survey,
};
use crate::snapshot_file::SnapshotFile;

const EXAMPLES: &str = "\
Examples:
  # A verified snapshot in this folder, etcd-<cluster>-<UTC time>.db, and beside
  # the file what it is a snapshot of, in the same name plus .json
  kubectl etcd backup

  # The same in another folder
  kubectl etcd backup /backups/

  # Under a name of your own, from the member on one node
  kubectl etcd backup /backups/before-upgrade.db --node cp2

  # Also keep a copy on the node
  kubectl etcd backup --on-node /var/lib/etcd-backups

  # The same by hand: what to type on this cluster, and why; nothing is done
  kubectl etcd backup --explain

  # Into a pipe; the digest is checked, the pages are not: verify what comes out
  kubectl etcd backup - | age -r RECIPIENT > etcd.db.age

A snapshot holds every Secret of the cluster: the file is readable by you alone.
A run that fails leaves no file and no pod. etcdutl reads the file as it is.";

/// How often a transfer that broke is begun anew.
const ATTEMPTS: u32 = 3;

/// Take a snapshot of etcd, copy it here and verify it
///
/// Asks all members how they are and takes the snapshot from a healthy follower (or the leader, if there is no other):
/// never from a learner, from one with an alarm or from one that lags. The snapshot is streamed, nothing is
/// written on the node. The file gets its name only after its digest and every page have been checked, and after the UID of
/// namespace kube-system in it was compared with that of the API. An etcd that the API server uses for events alone is taken by
/// naming it, with --node or -l.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write, a folder for the default name in it, or - for stdout
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
    /// Print the commands that do the same by hand on this cluster, and do nothing
    #[arg(long)]
    explain: bool,
    /// Output format: json and yaml print what is written beside the file
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "--explain prints commands, and does nothing";
        match self.explain {
            true => {
                vec![Idle::flags(&["on_node", "compress", "force", "output"], WHY), Idle::group::<SidecarArgs>(WHY)]
            }
            false => Vec::new(),
        }
    }
}

fn node_folder(path: &str) -> Result<String, String> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.starts_with('/') && !trimmed.split('/').any(|part| part == "..") {
        Ok(trimmed.to_owned())
    } else {
        Err("this is a folder on the node: it must be absolute, without '..', and not the root".to_owned())
    }
}

/// Prints how it is done by hand.
///
/// # Errors
/// No member is found, or there would be no file.
async fn explained(args: &Args, context: &Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let target = Target::plan(args.file.as_deref(), &connection.cluster, Timestamp::now(), true)?;
    let Target::File { path, .. } = target else {
        return Err(Failed::new(Exit::Usage, "--explain needs a file: by hand, etcdctl writes to no pipe"));
    };
    let namespace = context.connection.etcd_namespace();
    let found = discovery::find(&connection, namespace, &args.overrides, args.node.as_deref()).await?;
    let facts = Facts::of(&connection.cluster, &found.readable(context.printer), "");
    context.printer.data(&explain::backup(&facts, &path.display().to_string()))
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        return explained(&args, &context).await;
    }
    let outcome = backup(args, &context).await;
    outcome.map_err(|failed| match failed.exit {
        Exit::Failed | Exit::Refused | Exit::Damaged => {
            failed.effect("no file was written; nothing was changed on any node")
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
    let found = discovery::find(&connection, namespace, &args.overrides, args.node.as_deref()).await?;
    let every = match args.node {
        None => None,
        Some(_) => discovery::find(&connection, namespace, &args.overrides, None).await.ok(),
    };
    let every = every.map_or_else(|| found.members.clone(), |every| every.members);
    let (named, api_servers) = (found.named, found.api_servers.clone());
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
    let members = found.readable(printer);
    let (surveyed, served) =
        tokio::join!(survey(&connection, &pods, members, Operation::Backup, &ask), kube_system::served(&connection));
    let served = served.map_err(|failed| failed.one_line());
    let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(String::as_str) };
    let clusters = EtcdClusters::of(&surveyed, &evidence);
    let cluster = clusters.choose("backup")?;
    if let Some(line) = cluster.and_then(|cluster| cluster.quorum().line()) {
        printer.warn(line);
    }
    for one in cluster.map(|_| &clusters.unplaced).into_iter().flatten() {
        let why = one.etcd().err().map(|failed| failed.one_line()).unwrap_or_default();
        printer.warn(format!(
            "member {} on node {} is not in the member list of those that answer, and may be one of another etcd cluster: {why}",
            one.member.name, one.member.node
        ));
    }
    let of_cluster = cluster.map(|cluster| cluster.members.as_slice()).unwrap_or_default();
    let candidates: Vec<&Surveyed> = of_cluster.iter().chain(&clusters.unplaced).copied().collect();
    let choice = choose::choose(&candidates, args.node.is_some())?;
    let identity = Identity { clusters: &clusters, cluster, evidence, named, name: &connection.cluster };
    let mut contents = identity.before(&choice, &target, printer)?;
    printer.note(format!(
        "taking the snapshot from {} on node {}: {}",
        choice.member.name, choice.member.node, choice.reason
    ));
    for warning in &choice.warnings {
        printer.warn(warning);
    }
    let spare = surveyed.iter().filter_map(|one| Some(one.sidecar.as_ref()?.pod.clone()));
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
        Target::File { .. } => {
            let (report, keys) = check_pages(context, &writing, database_sha256, prefix.map(str::to_owned)).await?;
            contents = identity.after(&choice, &keys, printer)?;
            Some(report)
        }
        Target::Stdout { .. } => None,
    };
    let cluster = manifest::Cluster::ask(&connection, choice.status, evidence.served).await;
    for warning in cluster.warnings() {
        printer.warn(warning);
    }
    writing.sync()?;
    let node = &choice.member.node;
    let told = || {
        let left = |path| format!("node {node} may have kept {path}; if that file exists, it is complete");
        interrupted().causes(keep.as_deref().map(left))
    };
    let acknowledged = acknowledge(&mut session, length, keep.as_deref(), node);
    let kept = context.interruption.or(told, acknowledged).await??;
    let taken = Taken {
        at: begun,
        file: target.file_name(),
        sha256,
        length,
        report: report.as_ref(),
        kept: kept.clone(),
        contents: contents.word(),
    };
    let manifest = Manifest::of(cluster, &choice, &every, of_cluster, &args.sidecar.image, taken);
    let finished = writing.publish(&manifest, printer).map_err(|failed| match &kept {
        Some(path) => {
            let left = format!("a copy is on node {}: {path}", choice.member.node);
            Failed { exit: Exit::Changed, ..failed }.cause(left)
        }
        None => failed,
    })?;
    let took = seconds(Timestamp::now().as_second() - begun.as_second());
    let tell_kept = || {
        if let Some(path) = &kept {
            printer.note(format!("kept on node {}: {path}", choice.member.node));
        }
    };
    match (finished, args.output) {
        (None, _) => {
            tell_kept();
            printer.result(format!("{} written to stdout, sha256 {}, in {took}", bytes(length), manifest.sha256()));
            Ok(())
        }
        (Some(path), format) => {
            let told = print_data(printer, format, &manifest, || manifest.human(&path, format == Format::Wide));
            let told = told.map_err(|failed| failed.after_change(format!("the backup is whole: {}", path.display())));
            tell_kept();
            printer.result(manifest.result(&path, &took));
            told
        }
    }
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
                printer.warn(format!("{}; starting over (retry {attempt} of {})", failed.one_line(), ATTEMPTS - 1));
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
            .effect(format!("no file was written here, but node {node} may have kept {path}"))
            .hint("look on the node: if that file exists, it is complete")),
        (Err(error), _) => Err(error.into_failed()),
    }
}

/// Walks the pages of the file that was written; its bytes were hashed as they came. Gives what it has as namespace kube-system as well.
async fn check_pages(
    context: &Context,
    writing: &Writing,
    sha256: [u8; 32],
    prefix: Option<String>,
) -> Outcome<(Report, LiveKeys)> {
    let path = writing.path().to_owned();
    let source = SnapshotFile::open(&path, context).await?;
    let (shown, printer, cancelled) = (path, context.printer, context.cancelled());
    let checked = tokio::task::spawn_blocking(move || {
        let bar = Progress::new(printer, "verify", 0);
        let options = Options { digest: DigestCheck::Known(sha256), cancel: Some(&cancelled), ..Options::default() };
        let keep = |key: &[u8]| match kube_system::is_key(key, prefix.as_deref()) {
            true => Keep::Value,
            false => Keep::Nothing,
        };
        live_keys(source.source(), &options, &Pick::new(&keep), &|at: etcd_snapshot::Progress| {
            bar.update(at.walked, at.total)
        })
    });
    checked.await.or_fail(|| "cannot verify the snapshot".to_owned())?.map_err(|error| match error {
        VerifyError::Damaged(damage) => verify::damaged(&shown, &damage)
            .context("the snapshot was received completely, but the member's database is damaged")
            .hint("back up another member\n  kubectl etcd status\n  kubectl etcd backup --node NODE"),
        error => verify::explain(error, &shown),
    })
}

/// The stream's way to the file, with progress.
struct Stream {
    writing: Writing,
    progress: Progress,
}

impl Sink for Stream {
    fn expect(&mut self, bytes: u64) -> std::io::Result<()> {
        self.writing.expect_room(bytes)
    }

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
        self.writing.write(&trailer).or_fail(|| "cannot write the snapshot".to_owned())?;
        digest.update(&trailer);
        Ok((self.writing, digest.finish()))
    }
}

/// A choice needs members to choose from; tests make them without a cluster.
#[cfg(test)]
fn member(node: &str) -> discovery::EtcdPod {
    discovery::EtcdPod { node: node.to_owned(), name: node.to_owned(), ..Default::default() }
}
