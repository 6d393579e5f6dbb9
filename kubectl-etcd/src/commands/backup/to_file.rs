//! A backup into a file: verified before the file gets its name.

use etcd_snapshot::{DigestCheck, Keep, LiveKeys, Options, Pick, Report, VerifyError, live_keys};
use etcd_wire::message::{KubeSystem, SnapshotRequest};
use jiff::Timestamp;

use super::Args;
use super::manifest::{self, Manifest, Taken};
use super::source::{Asked, Meant, Source};
use super::target::{Target, Writing};
use super::transfer::{Attempt, compression, transfer};
use crate::commands::verify;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::etcd_clusters::EtcdClusters;
use crate::interruption::interrupted;
use crate::kube_system;
use crate::output::{Exit, Failed, Format, Outcome, Progress, ResultExt, bytes, print_data, seconds};
use crate::road::Sidecar;
use crate::sidecar::{Operation, Session, Sink, TransferError};
use crate::snapshot_file::{AccessArgs, SnapshotFile};

/// Takes the backup.
///
/// # Errors
/// There is no file; or there is one, and what failed after that is told.
pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, context).await?;
    let begun = Timestamp::now();
    let target = Target::plan(args.file.as_deref(), plane.cluster(), begun, args.force)?;
    if matches!(target, Target::Stdout { .. }) && (args.force || args.output != Format::Table) {
        let message = "--force and --output are for files: with -, stdout is the snapshot";
        return Err(Failed::new(Exit::Usage, message));
    }
    // The file comes first: a folder that is not there or not writable must be known before a pod is made.
    let writing = target.begin()?;
    let meant = Meant {
        node: args.node.as_deref(),
        overrides: &args.overrides,
        sidecar: &args.sidecar,
        operation: Operation::Backup,
    };
    let asked = Asked::ask(&meant, &plane, context).await?;
    let evidence = asked.evidence();
    let prefix = evidence.prefix();
    let clusters = EtcdClusters::of(&asked.surveyed, &evidence);
    let source = Source::choose(&asked, &clusters, args.node.is_some(), plane.cluster(), printer)?;
    let Source { choice, identity, of_cluster } = &source;
    let is_final = matches!(target, Target::Stdout { .. });
    let mut contents = identity.before(choice, is_final, printer)?;
    source.tell(printer);
    let sidecar = match &args.on_node {
        // Only the pod that keeps a copy may write to its node.
        Some(folder) => asked.road.start(choice.member, Operation::Backup, Some(folder)).await?,
        None => choice.sidecar.clone(),
    };
    let spare = asked.surveyed.iter().filter_map(|one| one.sidecar.as_ref());
    let spare: Vec<&Sidecar> = spare.filter(|one| **one != sidecar).collect();
    let keep = args.on_node.as_ref().map(|folder| format!("{folder}/{}", target.file_name()));
    let request = SnapshotRequest {
        etcd: choice.member.access.clone(),
        compression: compression(&args.compress),
        keep: keep.clone(),
    };
    // The sidecars that are not needed go meanwhile.
    let released = futures::future::join_all(spare.iter().map(|one| asked.road.release(one)));
    let mut writing = writing;
    let begin = async || {
        let restartable = writing.restart()?;
        let sink = Stream { writing: writing.share(), progress: Progress::new(printer, "snapshot", 0) };
        Ok(Attempt { sink, restartable })
    };
    let (received, _) = tokio::join!(transfer(&asked.road, &sidecar, &request, printer, begin), released);
    let (mut session, received) = received?;
    let (database_sha256, length) = (received.end.sha256.0, received.end.length);
    let (writing, sha256) = received.sink.finish(received.digest, database_sha256)?;
    let mut in_file = match &choice.status.kube_system {
        Some(KubeSystem::Held { value, .. }) => kube_system::uid(value),
        _ => None,
    };
    let report = match &target {
        Target::File { .. } => {
            let (report, keys) = check_pages(context, &writing, database_sha256, prefix.map(str::to_owned)).await?;
            contents = identity.after(choice, &keys, printer)?;
            in_file = keys.values().find_map(|live| kube_system::uid(live.value.as_deref()?)).or(in_file);
            Some(report)
        }
        Target::Stdout { .. } => None,
    };
    let cluster =
        manifest::Cluster::ask(&plane, choice.status, manifest::Known { served: evidence.served, in_file }).await;
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
    let manifest = Manifest::of(
        cluster,
        choice,
        (&asked.every, &asked.api_servers),
        of_cluster,
        if plane.api().is_some() { &args.sidecar.image } else { "" },
        taken,
    );
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
            let told = match args.within {
                true => Ok(()),
                false => print_data(printer, format, &manifest, || manifest.human(&path, format == Format::Wide)),
            };
            let told = told.map_err(|failed| failed.after_change(format!("the backup is whole: {}", path.display())));
            tell_kept();
            printer.result(manifest.result(&path, &took));
            told
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
pub(super) async fn check_pages(
    context: &Context,
    writing: &Writing,
    sha256: [u8; 32],
    prefix: Option<String>,
) -> Outcome<(Report, LiveKeys)> {
    let path = writing.path().to_owned();
    let source = SnapshotFile::open(&path, &AccessArgs::default(), context).await?;
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
pub(super) struct Stream {
    pub(super) writing: Writing,
    pub(super) progress: Progress,
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
    pub(super) fn finish(self, mut digest: etcd_wire::Digest, trailer: [u8; 32]) -> Outcome<(Writing, [u8; 32])> {
        self.writing.write(&trailer).or_fail(|| "cannot write the snapshot".to_owned())?;
        digest.update(&trailer);
        Ok((self.writing, digest.finish()))
    }
}
