//! A drill: a backup is restored to a throw-away folder, a real etcd serves it there, and what that serves is compared with what was recorded.
//!
//! [`Program`] is an etcd, a file or of an image, [`Folder`] the place, [`Trial`] the drill in it, [`Drill`] the document that says what it came to (docs/DRILL.md). Who
//! asks opens and verifies the backup before, and tells what came of it: `kubectl etcd drill`, and `etcd-sidecar drill` in a cluster.
//!
//! A program that drills calls [`guard::run`] first of all: it is also the process that ends etcd when the program ends, however that is.

pub mod api_server;
pub mod checks;
mod client;
mod clock;
mod container;
mod credentials;
mod folder;
pub mod guard;
mod program;
mod prove;
pub mod report;
mod samples;
mod server;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use etcd_objects::Neighbours;
use etcd_objects::encryption::Keyring;
use etcd_objects::key::Prefix;
use etcd_snapshot::restore::{Destination, NewCluster, RestoreError, RestoreOptions, RestoreProgress, restore};
use etcd_snapshot::{DigestCheck, DigestState, FileSource, LiveKeys, Report};
use jiff::Timestamp;

pub use api_server::{ApiServer, ApiServerOrder};
pub use clock::Clock;
pub use container::{Engine, Image};
pub use folder::{Folder, needs};
pub use program::{Origin, Program, find};
pub use prove::Proved;
pub use report::{Drill, Verdict};
pub use trouble::{Kind, Outcome, Trouble};

use api_server::{Ground, Ports};
use report::{Backup, By, Etcd, Rpo, Rto};
use samples::Samples;
use server::Server;

/// A snapshot that was verified, and what there is to read in it.
pub struct Subject<'a> {
    /// Its name, for people.
    pub name: String,
    /// Its bytes.
    pub source: Arc<FileSource>,
    /// What the check has found.
    pub report: &'a Report,
    /// All its keys, those of namespaces kube-system with their values.
    pub keys: &'a LiveKeys,
    /// The prefix of the API server whose objects are read.
    pub prefix: &'a Prefix,
    /// That API server, and others.
    pub neighbours: &'a Neighbours,
    /// What values are decrypted with.
    pub keyring: &'a Keyring,
}

/// What was recorded of the backup: what is not known was not recorded.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// What the cluster is called.
    pub cluster: Option<String>,
    /// UID of its namespace kube-system.
    pub kube_system_uid: Option<String>,
    /// When the backup began.
    pub taken_at: Option<String>,
    /// Version of the member that it was taken from.
    pub etcd_version: Option<String>,
    /// The revision of the last change.
    pub revision: Option<i64>,
    /// The hash of all keys at that revision.
    pub hash_kv: Option<u32>,
}

/// The snapshot cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// What the engine says.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Its thread has ended early.
    #[error("the thread has ended early: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// The cluster of the drill is none.
    #[error("cannot make a cluster for the drill: {0}")]
    Cluster(String),
}

/// One drill.
pub struct Trial<'a> {
    /// The etcd that is to serve it.
    pub program: &'a Program,
    /// What is drilled.
    pub subject: Subject<'a>,
    /// What was recorded of it.
    pub recorded: &'a Recorded,
    /// The API server that is started on it, and lists through it.
    pub api_server: Option<&'a ApiServer>,
    /// Set once the drill is to end: threads look at it.
    pub cancel: Arc<AtomicBool>,
}

impl Trial<'_> {
    /// Builds a data directory in the folder, on a thread, which ends soon after the drill is to end.
    ///
    /// # Errors
    /// See [`NotRestored`].
    pub async fn restore(
        &self,
        folder: &Arc<Folder>,
        progress: impl Fn(RestoreProgress) + Send + Sync + 'static,
    ) -> Result<(), NotRestored> {
        let new = NewCluster {
            name: server::NAME.to_owned(),
            initial_cluster: format!("{}={}", server::NAME, server::PEER_URL),
            initial_cluster_token: "drill".to_owned(),
            initial_advertise_peer_urls: None,
        };
        let membership = new.validate().map_err(|error| NotRestored::Cluster(error.to_string()))?;
        let (source, folder, cancel) = (Arc::clone(&self.subject.source), Arc::clone(folder), Arc::clone(&self.cancel));
        // A copy of a database has no digest, as was told.
        let digest = match self.subject.report.digest {
            DigestState::Absent => DigestCheck::Skip,
            _ => DigestCheck::Compute,
        };
        let restored = tokio::task::spawn_blocking(move || {
            let destination = Destination { data_dir: folder.path().join(server::DATA), wal_dir: None };
            let options =
                RestoreOptions { bump: 0, digest, etcd_version: None, allow_older_etcd: false, cancel: Some(&cancel) };
            restore(&*source, &membership, &destination, &options, &progress).map(drop)
        });
        Ok(restored.await??)
    }

    /// Boots etcd on what was restored, and asks it; then an API server on that etcd, where one is wanted. Both have ended when this returns, or is dropped.
    ///
    /// # Errors
    /// etcd does not serve, or does not answer. That it serves something else is no error.
    pub async fn serve(&self, folder: &Arc<Folder>, clock: &mut Clock) -> Outcome<Proved> {
        let samples = Samples::of(self.subject.keys, self.subject.neighbours);
        let credentials = credentials::make(folder.path())?;
        let ports = self.api_server.map(|_| Ports::free()).transpose()?;
        let mut server = Server::start(self.program, Arc::clone(folder), ports.map(|ports| ports.etcd))?;
        let etcd = server.serve(&credentials.client).await?;
        clock.lap("boot", true);
        let checks = prove::figures(&etcd, &self.subject, self.recorded, &self.cancel).await?;
        clock.lap("compare", false);
        let (resources, encryption) = prove::objects(&etcd, &self.subject, &samples).await?;
        clock.lap("read", false);
        let api_server = match (self.api_server, ports) {
            (Some(program), Some(ports)) => {
                let (encryption, credentials) = (&encryption[..], &credentials);
                let ground = Ground { ports, etcd: &etcd, subject: &self.subject, encryption, credentials, folder };
                Some(api_server::prove(program, &ground, clock).await?)
            }
            _ => None,
        };
        Ok(Proved { version: etcd.version.clone(), checks, resources, encryption, api_server })
    }

    /// Everything, as a document. `remarks` are what is known besides, `begun` when the drill began, `by` the program that has drilled, and its
    /// version.
    pub fn document(
        &self,
        proved: Proved,
        remarks: Vec<String>,
        signer: Option<String>,
        (begun, clock): (Timestamp, Clock),
        by: (&'static str, &'static str),
    ) -> Drill {
        let Proved { version, checks, resources, encryption, api_server } = proved;
        let (verdict, reasons, not_proved) = report::judge(&checks, &resources, &encryption, api_server.as_ref());
        let (of, recorded) = (self.subject.report, self.recorded);
        let image = match &self.program.origin {
            Origin::File(_) => None,
            Origin::Image(image) => Some(image),
        };
        let warnings = of.warnings.iter().map(ToString::to_string);
        let remarks = remarks.into_iter().chain(warnings).chain(not_proved).collect();
        let uid = checks.iter().find(|check| check.name == "kubeSystemUid").and_then(|check| check.served.clone());
        Drill {
            api_version: report::API_VERSION.into(),
            kind: "Drill".into(),
            verdict,
            reasons,
            remarks,
            backup: Backup {
                file: self.subject.name.clone(),
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
                signer,
            },
            etcd: Etcd {
                path: self.program.path(),
                version,
                image: image.map(|image| image.reference.clone()),
                image_id: image.map(|image| image.id.clone()),
                engine: image.map(|image| image.engine.name().to_owned()),
                node: None,
            },
            by: By::here(by.0, by.1),
            started_at: moment(begun),
            ended_at: moment(Timestamp::now()),
            rpo: Rpo::of(recorded.taken_at.as_deref(), begun),
            rto: Rto::of(clock.phases()),
            checks,
            resources,
            encryption,
            api_server,
        }
    }
}

/// As in Kubernetes objects: whole seconds.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
