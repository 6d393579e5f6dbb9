//! The backup itself: the member's snapshot on its way into the store, in one pass, and its commit once it was checked.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use etcd_members::role;
use etcd_snapshot::{FileSource, VerifyError};
use etcd_store::layout::Part;
use etcd_store::{
    API_VERSION, Class, Cluster, ClusterUid, Committed, Encryption, Intake, KIND, Level, Name, Pages, Pending, Program,
    Record, Sealed, Sealer, Shipped, Snapshot, SourceMember, Spool, Trouble, Upload, UploadWriter, Uploads,
    check_pages,
};
use etcd_wire::message::Sha256;
use etcd_wire::{End, Failure, FailureCode};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::members::{self, Asked};
use super::node::Node;
use super::{Ending, Order, node_files, recovery};
use crate::node::etcds;
use crate::snapshot::Source;
use crate::store_failure::{failed, left_behind, not_committed};

/// One tick that has a backup to take.
pub(super) struct Tick<'a> {
    pub(super) order: &'a Order,
    pub(super) node: &'a Node,
    pub(super) asked: &'a Asked,
    pub(super) cluster: &'a ClusterUid,
}

/// What is being written, and is still to be given up if anything fails.
struct Writing {
    pending: Pending,
    data: Option<Upload>,
    node_files: Option<Upload>,
}

impl Writing {
    async fn give_up(self, failure: Failure) -> Failure {
        let mut parts = Vec::new();
        for upload in [self.data, self.node_files].into_iter().flatten() {
            parts.extend(upload.abort().await);
        }
        let failure = left_behind(failure, &self.pending.abandon().await, false);
        parts.into_iter().fold(failure, Failure::cause)
    }
}

impl Tick<'_> {
    /// Takes the backup.
    ///
    /// # Errors
    /// It is not in the store; what is left of it there is told.
    pub(super) async fn take(&self, ending: &mut Ending) -> Result<(), Failure> {
        let status = self.asked.chosen();
        let name = Name::new(Timestamp::now(), status.revision, Class::Scheduled);
        let shown = members::name(status);
        tracing::info!("backing up cluster {} as {name}, from member {shown}: {}", self.cluster, self.asked.reason());
        let pending = Pending::new(&self.order.store, self.cluster, &name);
        let mut writing = Writing { pending, data: None, node_files: None };
        let cancel = Arc::new(AtomicBool::new(false));
        let sent = tokio::select! {
            sent = self.send(&mut writing, &cancel) => sent,
            failure = ending.heard() => {
                cancel.store(true, Ordering::Relaxed);
                Err(failure)
            }
        };
        let (snapshot, level) = match sent {
            Ok(sent) => sent,
            Err(failure) => return Err(writing.give_up(failure).await),
        };
        let Writing { pending, data: Some(data), node_files } = writing else {
            return Err(Failure::new(FailureCode::Other, "no upload was begun"));
        };
        let recipients = self.order.encryption.names();
        let sealed = |part, upload| Sealed { part, upload, recipients: recipients.clone() };
        let uploads = Uploads {
            data: sealed(self.part(), data),
            node_files: node_files.map(|upload| sealed(Part::NodeFiles, upload)),
        };
        let record = self.record(&name, level, snapshot);
        // A backup that is nearly there is completed: that takes less than giving it up.
        let committed = pending.commit(uploads, |objects| Record { objects, ..record }, self.order.key.as_ref()).await;
        tell(&committed.map_err(not_committed)?);
        Ok(())
    }

    fn part(&self) -> Part {
        Part::Data { encrypted: self.order.encryption.is_on() }
    }

    /// Sends everything but the record, and checks it.
    async fn send(&self, writing: &mut Writing, cancel: &Arc<AtomicBool>) -> Result<(Snapshot, Level), Failure> {
        let sent = self.receive(writing).await;
        let (end, Shipped { size, sha256, spool }) = match sent {
            Ok(sent) => sent,
            Err(failure) => return Err(because(&mut writing.data, failure).await),
        };
        let (level, checked) = match spool {
            Ok(file) => (Level::Written, Some(self.check(file, end.sha256.0, cancel).await?.checked)),
            Err(error) => {
                tracing::warn!(
                    "the pages of the snapshot were not checked, because it could not be kept in {} meanwhile: {error}; the backup is of level \
                     digest, which kubectl etcd freshness does not count; --spool names another folder",
                    self.order.spool.display()
                );
                (Level::Digest, None)
            }
        };
        if self.order.node_files {
            self.send_node_files(writing).await?;
        }
        Ok((Snapshot { size, sha256: Sha256(sha256).to_string(), checked }, level))
    }

    /// Receives the snapshot, and hands it on to the upload and to the spool.
    async fn receive(&self, writing: &mut Writing) -> Result<(End, Shipped), Failure> {
        let endpoint = self.asked.chosen().endpoint.clone();
        let source = Source::open(&self.node.access(vec![endpoint])).await?;
        let total = source.total();
        let (writer, upload) = writing.pending.upload(self.part());
        writing.data = Some(upload);
        let spool = Spool::in_folders(std::slice::from_ref(&self.order.spool));
        let mut intake = Intake::new(writer, &self.order.encryption, spool).map_err(|error| not_sent(&error))?;
        intake.expect(total);
        let (chunks, cut) = mpsc::channel(1);
        let packer = tokio::task::spawn_blocking(move || pack(cut, intake, total));
        let (received, packed) = tokio::join!(source.receive(chunks), packer);
        // Where the writer has failed, the receiver only knows that nobody listens.
        let intake = packed.map_err(|error| not_sent(&error))?.map_err(|error| not_sent(&error))?;
        let end = received?;
        let digest = end.sha256.0;
        let shipped = tokio::task::spawn_blocking(move || intake.ship(digest)).await;
        let shipped = shipped.map_err(|error| not_sent(&error))?.map_err(|error| not_sent(&error))?;
        Ok((end, shipped))
    }

    /// Checks the pages, and compares whose snapshot it is.
    async fn check(&self, file: File, database: [u8; 32], cancel: &Arc<AtomicBool>) -> Result<Pages, Failure> {
        let source = FileSource::new(file)
            .map_err(|error| Failure::new(FailureCode::Storage, "cannot read the snapshot again").source(&error))?;
        tracing::info!("checking the pages of the snapshot");
        let (prefix, cancel) = (self.node.prefix().to_owned(), Arc::clone(cancel));
        let checked =
            tokio::task::spawn_blocking(move || check_pages(&source, database, Some(&prefix), &cancel, &|_| {}));
        let cannot = |error: &dyn std::error::Error| {
            Failure::new(FailureCode::Other, "cannot check the pages of the snapshot").source(error)
        };
        let pages = checked.await.map_err(|error| cannot(&error))?.map_err(|error| match &error {
            VerifyError::Damaged(damage) => {
                let member = members::name(self.asked.chosen());
                let failure = Failure::new(FailureCode::Incomplete, format!("the database of member {member} is damaged"));
                let failure = damage.findings.iter().take(5).fold(failure, Failure::cause);
                failure.hint("look at the members, and back up another one\n  kubectl etcd status\n  kubectl etcd backup --node NODE")
            }
            error => cannot(error),
        })?;
        let uids = pages.uids();
        if !uids.contains(self.cluster.as_str()) {
            let failure =
                Failure::new(FailureCode::Refused, format!("the snapshot is not one of cluster {}", self.cluster));
            return Err(match uids.is_empty() {
                true => failure.cause("it has no namespace kube-system that can be read"),
                false => {
                    failure.cause(format!("its namespace kube-system has the UID {}", Vec::from_iter(uids).join(", ")))
                }
            });
        }
        Ok(pages)
    }

    async fn send_node_files(&self, writing: &mut Writing) -> Result<(), Failure> {
        let (writer, upload) = writing.pending.upload(Part::NodeFiles);
        writing.node_files = Some(upload);
        let cannot = |error: &dyn std::error::Error| {
            Failure::new(FailureCode::Other, "cannot back up the files of the node").source(error)
        };
        let Encryption::Recipients(recipients) = &self.order.encryption else {
            return Err(Failure::new(FailureCode::BadRequest, "files of a node are never backed up in clear"));
        };
        let encryption = Encryption::Recipients(recipients.clone());
        let (folder, others) = (self.node.folder.clone(), self.node.unit_files.files.clone());
        for path in &self.node.unit_files.missing {
            tracing::warn!("{} is not backed up: it {}", path.display(), etcds::NAMED);
        }
        let sent = tokio::task::spawn_blocking(move || {
            let sealer = Sealer::new(writer, &encryption)?;
            let sealer = node_files::write(&folder, &others, sealer)?;
            sealer.finish()?.end()?;
            Ok::<_, crate::node::files::GatherError>(())
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(because(&mut writing.node_files, cannot(&error)).await),
            Err(error) => Err(cannot(&error)),
        }
    }

    fn record(&self, name: &Name, level: Level, snapshot: Snapshot) -> Record {
        let status = self.asked.chosen();
        let member = members::name(status);
        Record {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.to_string(),
            class: Class::Scheduled,
            taken_at: name.taken(),
            program: Program { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            level,
            cluster: Cluster {
                uid: self.cluster.to_string(),
                name: None,
                kubernetes_version: None,
                etcd_cluster_id: format!("{:x}", status.cluster_id),
            },
            source: SourceMember {
                node: member.clone(),
                name: member,
                member_id: format!("{:x}", status.member_id),
                role: role(status).to_owned(),
                etcd_version: status.version.clone(),
            },
            snapshot,
            recipients: self.order.encryption.names(),
            objects: Vec::new(),
            recovery_plan: recovery::plan(self.node, status, self.asked.local),
        }
    }
}

fn not_sent(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureCode::Other, "cannot send the backup").source(error)
}

/// Why the store did not take what was sent, where that is why the sending failed.
async fn because(upload: &mut Option<Upload>, failure: Failure) -> Failure {
    let Some(upload) = upload.take() else { return failure };
    // The writer has gone: an upload that is whole is not among those that end here.
    match upload.finish().await {
        Err(error) if *error.trouble() != Trouble::Abandoned => failed(&error),
        _ => failure,
    }
}

/// Hands on what comes, and tells in the log how far that is. Ends with the chunks, whether or not they were all.
fn pack(
    mut chunks: mpsc::Receiver<Bytes>,
    mut intake: Intake<UploadWriter>,
    total: u64,
) -> std::io::Result<Intake<UploadWriter>> {
    let (mut done, mut told) = (0_u64, 0);
    while let Some(bytes) = chunks.blocking_recv() {
        intake.write_all(&bytes)?;
        done = done.saturating_add(bytes.len() as u64);
        let tenths = tenths(done, total);
        if tenths > told {
            told = tenths;
            tracing::info!("{}0 % of {} MiB received", tenths, total >> 20);
        }
    }
    Ok(intake)
}

fn tenths(done: u64, total: u64) -> u64 {
    done.saturating_mul(10).checked_div(total).unwrap_or(10)
}

fn tell(committed: &Committed) {
    if let Some(error) = &committed.not_compared {
        tracing::warn!("the sizes of the stored objects were not compared: {error}");
    }
    let Record { name, level, snapshot, .. } = &committed.record;
    let revision = snapshot.checked.as_ref().map(|checked| format!(", revision {}", checked.revision));
    tracing::info!(
        "{name} is in the store: {} bytes{}, {} bytes stored, level {level}",
        snapshot.size,
        revision.unwrap_or_default(),
        committed.stored_bytes
    );
}

#[cfg(test)]
mod tests {
    use super::tenths;

    #[test]
    fn progress_is_told_in_ten_steps() {
        assert_eq!([0, 9, 10, 55, 100].map(|done| tenths(done, 100)), [0, 0, 1, 5, 10]);
        assert_eq!((tenths(0, 0), tenths(u64::MAX, u64::MAX)), (10, 1));
    }
}
