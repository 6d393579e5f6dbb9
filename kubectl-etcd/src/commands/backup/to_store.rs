//! A backup into a store: packed, encrypted and uploaded while it comes, and a backup only once its pages were checked.

use std::fs::File;
use std::io::{self, Write};

use etcd_members::role;
use etcd_snapshot::{FileSource, VerifyError};
use etcd_store::layout::Part;
use etcd_store::{
    Class, Cluster, ClusterUid, Committed, Encryption, Intake, Level, Name, Pages, Pending, Program, Record, Sealed,
    Shipped, Snapshot, SourceMember, Spool, StoredObject, Upload, UploadWriter, Uploads, check_pages,
};
use etcd_wire::message::{KubeSystem, Sha256, SnapshotRequest};
use jiff::Timestamp;

use super::recovery::Known;
use super::source::{Asked, Meant, Source};
use super::store_args::Destination;
use super::stored;
use super::transfer::{Attempt, compression, transfer};
use super::{Args, node_files};
use crate::commands::verify;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::Overrides;
use crate::etcd_clusters::{Contents, EtcdClusters};
use crate::interruption::interrupted;
use crate::kube_system;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Format, Outcome, Printer, Progress, ResultExt, print_data, seconds};
use crate::road::Sidecar;
use crate::sidecar::{Operation, Received, Session, SidecarArgs, Sink};

/// What is to be backed up, and where to.
pub(crate) struct Order<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) class: Class,
    /// The node whose member is to be taken, even if another is healthier.
    pub(crate) node: Option<&'a str>,
    pub(crate) compress: &'a str,
    /// Whether the files of the member's node are stored as well.
    pub(crate) node_files: bool,
    pub(crate) overrides: &'a Overrides,
    pub(crate) sidecar: &'a SidecarArgs,
}

/// `kubectl etcd backup --store`.
///
/// # Errors
/// The backup is not in the store.
pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let Some(destination) = args.store.destination()? else {
        return Err(Failed::new(Exit::Usage, "no store is named"));
    };
    let plane = context.interruptible(ControlPlane::open(&args.ssh, context)).await?;
    let begun = Timestamp::now();
    let order = Order {
        destination: &destination,
        class: args.class.unwrap_or(Class::Manual),
        node: args.node.as_deref(),
        compress: &args.compress,
        node_files: args.node_files,
        overrides: &args.overrides,
        sidecar: &args.sidecar,
    };
    let committed = take(&order, &plane, context).await?;
    let took = seconds(Timestamp::now().as_second() - begun.as_second());
    let printer = context.printer;
    let human = || stored::human(&committed, args.output == Format::Wide);
    let told = print_data(printer, args.output, &committed.record, human);
    printer.result(stored::result(&committed, destination.store.url(), plane.cluster(), &took));
    told.map_err(|failed| failed.after_change(format!("the backup is in the store: {}", committed.record.name)))
}

/// Takes a backup.
///
/// # Errors
/// It is not in the store; what is left of it there is told.
pub(crate) async fn take(order: &Order<'_>, plane: &ControlPlane, context: &Context) -> Outcome<Committed> {
    let printer = context.printer;
    let store = &order.destination.store;
    let unchanged = |failed: Failed| match failed.exit {
        Exit::Failed | Exit::Refused | Exit::Damaged => {
            failed.effect("no backup is in the store; nothing was changed on any node")
        }
        _ => failed,
    };
    // The store first: one that cannot be used must be known before a pod is made.
    let ready = async { etcd_store::ready(store).await.map_err(|error| crate::stores::not_ready(&error)) };
    context.interruptible(ready).await.map_err(unchanged)?;
    let meant =
        Meant { node: order.node, overrides: order.overrides, sidecar: order.sidecar, operation: Operation::Store };
    let asked = context.interruptible(Asked::ask(&meant, plane, context)).await.map_err(unchanged)?;
    let evidence = asked.evidence();
    let clusters = EtcdClusters::of(&asked.surveyed, &evidence);
    let source = Source::choose(&asked, &clusters, order.node.is_some(), plane.cluster(), printer);
    let source = source.map_err(unchanged)?;
    let uid = whose(&source, &asked, printer).map_err(unchanged)?;
    source.tell(printer);
    let encryption = &order.destination.encryption;
    let node_files = match order.node_files {
        true => {
            let gathered = node_files::gather(source.choice.member, &asked.road, encryption, plane, context);
            Some(context.interruptible(gathered).await.map_err(unchanged)?)
        }
        false => None,
    };
    let revision = source.choice.status.revision;
    let name = Name::new(Timestamp::now(), revision, order.class);
    let mut work = Work {
        order,
        context,
        asked: &asked,
        source: &source,
        uid: &uid,
        name: &name,
        pending: Pending::new(store, &uid, &name),
        upload: None,
        node_files: None,
    };
    let received = async {
        let received = work.receive().await?;
        if let Some(files) = &node_files {
            work.send(files.sealed.clone()).await?;
        }
        Ok(received)
    };
    let received = context.interruption.or(interrupted, received).await.and_then(|done| done);
    let Work { pending, upload, node_files: node_upload, .. } = work;
    let (received, upload) = match (received, upload) {
        (Ok(received), Some(upload)) => (received, upload),
        (Err(failed), upload) => {
            let both = upload.into_iter().chain(node_upload);
            return Err(stored::give_up(failed, pending, both).await);
        }
        (Ok(_), None) => return Err(Failed::plain("no upload was begun")),
    };
    let Sent { mut session, snapshot, level, length } = received;
    let record = Record {
        api_version: etcd_store::API_VERSION.to_owned(),
        kind: etcd_store::KIND.to_owned(),
        name: name.to_string(),
        class: order.class,
        taken_at: name.taken(),
        program: Program { name: "kubectl-etcd".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        level,
        cluster: cluster(plane, &source, &uid, printer).await,
        source: source_member(&source),
        snapshot,
        recipients: order.destination.encryption.names(),
        objects: Vec::new(),
        recovery_plan: {
            let mut plan = recovery_plan(plane, &asked, &source);
            if let Some(files) = &node_files {
                files.complete(&mut plan);
            }
            plan
        },
    };
    let part = data(&order.destination.encryption);
    let sealed = |part, upload| Sealed { part, upload, recipients: encryption.names() };
    let node_files = node_upload.map(|upload| sealed(Part::NodeFiles, upload));
    let uploads = Uploads { data: sealed(part, upload), node_files };
    let told = || {
        Failed::new(Exit::Changed, "interrupted while the backup was being completed")
            .effect(format!("whether {name} is in the store is not known"))
            .hint(format!("look whether the store lists it\n  kubectl etcd list {}", quoted(&store.url().to_string())))
    };
    let complete = |objects: Vec<StoredObject>| Record { objects, ..record };
    let commit = pending.commit(uploads, complete, order.destination.key.as_ref());
    // A backup that is nearly there is completed: that takes less than giving it up.
    let committed = context.interruption.unless_urged(told, commit).await?;
    let committed = committed.map_err(|error| stored::not_committed(error, store.url()))?;
    if let Some(error) = &committed.not_compared {
        printer.warn(format!("the sizes of the stored objects were not compared: {error}"));
    }
    if let Err(error) = session.acknowledge(length).await {
        tracing::info!("the sidecar's last word was lost: {}", error.into_failed().one_line());
    }
    drop(session);
    asked.road.release(source.choice.sidecar).await;
    Ok(committed)
}

/// The object that holds the snapshot.
fn data(encryption: &Encryption) -> Part {
    Part::Data { encrypted: encryption.is_on() }
}

/// Whose backup it is, by the UID of namespace kube-system.
///
/// # Errors
/// The member is one of another cluster or holds no objects of this one (exit 3); or the UID is not known (exit 4).
fn whose(source: &Source<'_>, asked: &Asked, printer: Printer) -> Outcome<ClusterUid> {
    let member = source.choice.member;
    let refuse = |message: String| Failed::new(Exit::Refused, message);
    match source.identity.before(&source.choice, false, printer)? {
        Contents::Cluster => {}
        contents => {
            return Err(refuse(format!("member {} has no objects of the cluster: {}", member.name, contents.word()))
                .cause("a backup in a store is one of a cluster, under the UID of its namespace kube-system")
                .hint("write to a file instead of a store"));
        }
    }
    let held = match &source.choice.status.kube_system {
        Some(KubeSystem::Held { value, .. }) => kube_system::uid(value),
        _ => None,
    };
    let served = asked.served.as_ref();
    let uid = served.map(|served| served.uid.clone()).ok().or(held).ok_or_else(|| {
        refuse("the UID of namespace kube-system is not known, and a backup in a store is kept under it".to_owned())
            .causes(served.err().cloned())
    })?;
    uid.parse()
        .map_err(|error: etcd_store::UidError| refuse("cannot use the UID of the cluster".to_owned()).source(&error))
}

/// A backup that is on its way.
struct Work<'a> {
    order: &'a Order<'a>,
    context: &'a Context,
    asked: &'a Asked,
    source: &'a Source<'a>,
    uid: &'a ClusterUid,
    name: &'a Name,
    pending: Pending,
    /// Of the attempt that goes on, or of the last one.
    upload: Option<Upload>,
    /// Of the files of the node, once they were handed over.
    node_files: Option<Upload>,
}

/// A snapshot that has come whole, and was sent to the store as it came.
struct Sent {
    session: Session,
    snapshot: Snapshot,
    level: Level,
    /// Bytes of the database, without the digest.
    length: u64,
}

impl Work<'_> {
    /// Receives the snapshot, sends it and checks it. Dropped, or once it has failed, the upload is still to be given up.
    async fn receive(&mut self) -> Outcome<Sent> {
        let printer = self.context.printer;
        let choice = &self.source.choice;
        let request = SnapshotRequest {
            etcd: choice.member.access.clone(),
            compression: compression(self.order.compress),
            keep: None,
        };
        let spare = self.asked.surveyed.iter().filter_map(|one| one.sidecar.as_ref());
        let spare: Vec<&Sidecar> = spare.filter(|one| *one != choice.sidecar).collect();
        let released = futures::future::join_all(spare.iter().map(|one| self.asked.road.release(one)));
        let (pending, upload, encryption) = (&mut self.pending, &mut self.upload, &self.order.destination.encryption);
        let begin = async || {
            if let Some(earlier) = upload.take()
                && let Some(parts) = earlier.abort().await
            {
                printer.warn(parts.to_string());
            }
            let (writer, sent) = pending.upload(data(encryption));
            *upload = Some(sent);
            let spool = Spool::in_folders(&[std::env::temp_dir()]);
            let intake = Intake::new(writer, encryption, spool).or_fail(|| "cannot begin the backup".to_owned())?;
            let sink = Packing { intake, progress: Progress::new(printer, "backup", 0) };
            Ok(Attempt { sink, restartable: true })
        };
        let (received, _) =
            tokio::join!(transfer(&self.asked.road, choice.sidecar, &request, printer, begin), released);
        let (session, received) = match received {
            Ok(received) => received,
            Err(failed) => return Err(self.because(failed).await),
        };
        let Received { sink, end, .. } = received;
        let (length, database) = (end.length, end.sha256.0);
        let finished = tokio::task::spawn_blocking(move || sink.intake.ship(database)).await;
        let finished = finished.or_fail(|| "cannot finish the backup".to_owned())?;
        let Shipped { size, sha256, spool } = match finished {
            Ok(finished) => finished,
            Err(error) => {
                let failed = Failed::plain("cannot send the backup").source(&error);
                return Err(self.because(failed).await);
            }
        };
        let (level, checked) = match spool {
            Ok(file) => (Level::Written, Some(self.check(file, database).await?.checked)),
            Err(error) => {
                // The snapshot itself cannot be looked at: what the member said of itself has to do.
                self.source.identity.before(choice, true, printer)?;
                printer.warn(format!(
                    "the pages of the snapshot were not checked, because it could not be kept in {} meanwhile: {error}\n  \
                     the backup is of level digest, which kubectl etcd freshness does not count; TMPDIR names another folder",
                    std::env::temp_dir().display()
                ));
                (Level::Digest, None)
            }
        };
        let snapshot = Snapshot { size, sha256: Sha256(sha256).to_string(), checked };
        Ok(Sent { session, snapshot, level, length })
    }

    /// Hands over the files of the node, which are encrypted.
    async fn send(&mut self, sealed: Vec<u8>) -> Outcome {
        let (mut writer, upload) = self.pending.upload(Part::NodeFiles);
        let written = tokio::task::spawn_blocking(move || {
            writer.write_all(&sealed)?;
            writer.end()
        });
        match written.await.or_fail(|| "cannot send the files of the node".to_owned())? {
            Ok(()) => {
                self.node_files = Some(upload);
                Ok(())
            }
            Err(error) => {
                let failed = Failed::plain("cannot send the files of the node").source(&error);
                Err(refused(failed, upload).await)
            }
        }
    }

    /// Why the store did not take what was sent, where that is why the transfer failed.
    async fn because(&mut self, failed: Failed) -> Failed {
        match self.upload.take() {
            Some(upload) => refused(failed, upload).await,
            None => failed,
        }
    }

    /// Checks the pages, and compares whose snapshot it is.
    async fn check(&self, file: File, database: [u8; 32]) -> Outcome<Pages> {
        let printer = self.context.printer;
        let source = FileSource::new(file).or_fail(|| "cannot read the snapshot again".to_owned())?;
        let prefix = self.asked.evidence().prefix().map(str::to_owned);
        let cancelled = self.context.cancelled();
        let checked = tokio::task::spawn_blocking(move || {
            let bar = Progress::new(printer, "verify", 0);
            let progress = |at: etcd_snapshot::Progress| bar.update(at.walked, at.total);
            check_pages(&source, database, prefix.as_deref(), &cancelled, &progress)
        });
        let checked = checked.await.or_fail(|| "cannot verify the snapshot".to_owned())?;
        let shown = std::path::Path::new("the snapshot");
        let pages = checked.map_err(|error| match error {
            VerifyError::Damaged(damage) => verify::damaged(shown, &damage)
                .context("the snapshot was received completely, but the member's database is damaged")
                .hint("back up another member\n  kubectl etcd status\n  kubectl etcd backup --node NODE"),
            error => verify::explain(error, shown),
        })?;
        self.source.identity.after(&self.source.choice, &pages.kube_system, printer)?;
        // Where the API does not say whose it is, the place in the store was taken from the member's word.
        let read = pages.uids();
        if !read.is_empty() && !read.contains(self.uid.as_str()) {
            let failed = Failed::new(Exit::Damaged, format!("the snapshot is not one of cluster {}", self.uid));
            return Err(
                failed.cause(format!("its namespace kube-system has the UID {}", Vec::from_iter(read).join(", ")))
            );
        }
        tracing::info!("{} was checked", self.name);
        Ok(pages)
    }
}

/// Why an upload ended, where that is why something failed.
async fn refused(failed: Failed, upload: Upload) -> Failed {
    // The writer has gone: an upload that is whole is not among those that end here.
    match upload.finish().await {
        Err(error) if *error.trouble() != etcd_store::Trouble::Abandoned => crate::stores::failed(&error),
        _ => failed,
    }
}

/// The stream's way into the store, with progress.
struct Packing {
    intake: Intake<UploadWriter>,
    progress: Progress,
}

impl Sink for Packing {
    fn expect(&mut self, bytes: u64) -> io::Result<()> {
        self.intake.expect(bytes);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.intake.write_all(bytes)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.update(done, total);
    }
}

/// Whose the backup is, as it is recorded.
async fn cluster(plane: &ControlPlane, source: &Source<'_>, uid: &ClusterUid, printer: Printer) -> Cluster {
    let version = plane.kubernetes_version().await;
    let version = version.map_err(|error| {
        printer.warn(Failed::plain("the Kubernetes version is not recorded").source(&error).one_line());
    });
    Cluster {
        uid: uid.to_string(),
        name: Some(plane.cluster().to_owned()),
        kubernetes_version: version.ok().flatten(),
        etcd_cluster_id: format!("{:x}", source.choice.status.cluster_id),
    }
}

fn source_member(source: &Source<'_>) -> SourceMember {
    let status = source.choice.status;
    SourceMember {
        node: source.choice.member.node.clone(),
        name: source.choice.member.name.clone(),
        member_id: format!("{:x}", status.member_id),
        role: role(status).to_owned(),
        etcd_version: status.version.clone(),
    }
}

fn recovery_plan(plane: &ControlPlane, asked: &Asked, source: &Source<'_>) -> etcd_store::RecoveryPlan {
    let known = Known {
        server: plane.server(),
        api_servers: &asked.api_servers,
        every: &asked.every,
        asked: source.of_cluster,
        status: source.choice.status,
    };
    known.plan()
}
