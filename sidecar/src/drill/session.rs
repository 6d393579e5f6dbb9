//! A drill in a session: the client sends the snapshot, and the etcd program beside this one serves it. For a pod of etcd's own image that nothing of a node
//! is mounted in.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_drill::{ApiServer, ApiServerOrder, Clock, Folder, Program, Subject, Trial};
use etcd_objects::Neighbours;
use etcd_objects::encryption::{Keyring, without_kms};
use etcd_objects::key::Prefix;
use etcd_snapshot::FileSource;
use etcd_wire::drill::{DrillApiServer, DrillDone, DrillRequest};
use etcd_wire::{Failure, FailureCode};
use jiff::Timestamp;

use super::{not_restored, of_drill, other, verified};
use crate::serve::{Client, Stop};
use crate::streaming;

/// Where the pod has room for the drill.
const FOLDER: &str = "/drill";
/// Where the pod has memory that is no disk, if an API server is to be started.
const MEMORY: &str = "/memory";
/// Where an init container has put the program of the API server.
const API_SERVER: &str = "/program/kube-apiserver";
/// Where images of etcd have their programs. An exec need not have the PATH of the image.
const PROGRAMS: &str = "/usr/local/bin:/usr/bin:/bin";

/// Drills, and gives the document.
///
/// # Errors
/// There is no etcd, it is too old, the snapshot is damaged or cannot be served, or the client does not want it any more. Nothing is left.
pub(crate) async fn run(request: DrillRequest, client: &mut Client) -> Result<DrillDone, Stop> {
    let (begun, mut clock) = (Timestamp::now(), Clock::new());
    let Prepared { keyring, program, api_server } = match prepared(&request).await {
        Ok(prepared) => prepared,
        // The snapshot is on its way already.
        Err(failure) => return Err(streaming::refuse(client, failure).await),
    };
    clock.skip();
    let not_written = |error: std::io::Error| {
        Failure::new(FailureCode::Storage, format!("cannot write the snapshot to {FOLDER} of the pod")).source(&error)
    };
    let file = streaming::receive(client, request.bytes, not_written, || tempfile::tempfile_in(FOLDER)).await?;
    clock.lap("send", true);
    let source = Arc::new(FileSource::new(file).map_err(not_written)?);
    let (name, read) = (request.name.clone(), Arc::clone(&source));
    let (report, keys) = streaming::on_a_thread(client, move |cancel| verified(&read, &cancel, &name)).await?;
    let newer = program.fits(report.etcd()).map_err(of_drill)?;
    let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
    let prefix = request.prefix.as_deref().map(Prefix::new).or_else(|| all.first().cloned()).unwrap_or_default();
    let neighbours = Neighbours::new(prefix.clone(), all);
    let recorded = recorded(&request);
    let trial = Trial {
        program: &program,
        subject: Subject {
            name: request.name.clone(),
            source,
            report: &report,
            keys: &keys,
            prefix: &prefix,
            neighbours: &neighbours,
            keyring: &keyring,
        },
        recorded: &recorded,
        api_server: api_server.as_ref(),
        cancel: Arc::new(AtomicBool::new(false)),
    };
    let folder = Arc::new(Folder::new(Path::new(FOLDER), report.total_size).map_err(of_drill)?);
    let drilled = go_through(&trial, &folder, &mut clock, client).await;
    let removed = Arc::into_inner(folder).map_or(Ok(()), |mut folder| folder.remove().map_err(of_drill));
    let proved = match (drilled, removed) {
        // The volume goes with the pod, and this is what the client waits for.
        (Err(stop), _) => return Err(stop),
        (Ok(_), Err(left)) => return Err(left.into()),
        (Ok(proved), Ok(())) => proved,
    };
    let by = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let drill = trial.document(proved, newer.into_iter().collect(), request.signer, (begun, clock), by);
    let document = serde_json::to_value(&drill);
    Ok(DrillDone { document: document.map_err(|error| other("cannot write the document as JSON").source(&error))? })
}

/// What the snapshot is served with.
struct Prepared {
    keyring: Keyring,
    program: Program,
    api_server: Option<ApiServer>,
}

/// What can be refused before the snapshot is here.
async fn prepared(request: &DrillRequest) -> Result<Prepared, Failure> {
    let keyring = match &request.encryption_config {
        Some(config) => Keyring::parse(&config.0).map_err(|error| {
            Failure::new(FailureCode::BadRequest, "cannot read the encryption configuration").source(&error)
        })?,
        None => Keyring::default(),
    };
    let etcd = etcd_drill::find(None, Some(OsStr::new(PROGRAMS))).map_err(of_drill)?;
    let program = Program::ask(&etcd).await.map_err(of_drill)?;
    let api_server = match &request.api_server {
        Some(wanted) => Some(api_server(wanted, request).await?),
        None => None,
    };
    Ok(Prepared { keyring, program, api_server })
}

/// The API server that is to be started. What a KMS has encrypted nothing in the pod decrypts: no KMS is asked.
async fn api_server(wanted: &DrillApiServer, request: &DrillRequest) -> Result<ApiServer, Failure> {
    let unreadable = |error: &dyn std::error::Error| {
        Failure::new(FailureCode::BadRequest, "cannot read the encryption configuration").source(error)
    };
    let config = request.encryption_config.as_ref().map(|config| without_kms(&config.0)).transpose();
    let encryption_config = config.map_err(|error| unreadable(&error))?.flatten();
    let order = ApiServerOrder {
        path: Path::new(API_SERVER),
        image: wanted.image.clone(),
        flags: wanted.flags.clone(),
        encryption_config,
        memory: MEMORY.into(),
    };
    ApiServer::ask(order).await.map_err(of_drill)
}

/// Restores, boots, asks. etcd has ended when this returns, and so has the thread that restores.
async fn go_through(
    trial: &Trial<'_>,
    folder: &Arc<Folder>,
    clock: &mut Clock,
    client: &mut Client,
) -> Result<etcd_drill::Proved, Stop> {
    let restoring = trial.restore(folder, |_| {});
    tokio::pin!(restoring);
    match client.during(&mut restoring).await {
        Ok(restored) => restored.map_err(not_restored)?,
        Err(stop) => {
            trial.cancel.store(true, Ordering::Relaxed);
            // Nobody waits for what comes of it.
            let _ended = restoring.await;
            return Err(stop);
        }
    }
    clock.lap("restore", true);
    Ok(client.during(trial.serve(folder, clock)).await?.map_err(of_drill)?)
}

/// What was recorded, as a drill takes it.
fn recorded(request: &DrillRequest) -> etcd_drill::Recorded {
    etcd_drill::Recorded {
        cluster: request.cluster.clone(),
        kube_system_uid: request.kube_system_uid.clone(),
        taken_at: request.taken_at.clone(),
        etcd_version: request.etcd_version.clone(),
        revision: request.revision,
        hash_kv: request.hash_kv,
    }
}
