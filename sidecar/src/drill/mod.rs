//! `etcd-sidecar drill`: the newest backup of a store is restored to a throw-away folder, and a real etcd serves it there. The same drill as
//! `kubectl etcd drill`, for a pod that asks no API server. `session` is one whose snapshot a client sends.

pub(crate) mod session;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use etcd_drill::{Clock, Drill, Folder, Kind, NotRestored, Program, Proved, Subject, Trial, Trouble, Verdict};
use etcd_objects::Neighbours;
use etcd_objects::encryption::Keyring;
use etcd_objects::key::Prefix;
use etcd_snapshot::restore::RestoreError;
use etcd_snapshot::{FileSource, Keep, LiveKeys, Options, Pick, Report, VerifyError, live_keys};
use etcd_store::fetch::{FindError, Found, TransferError};
use etcd_store::proof::{Proof, ProofError};
use etcd_store::{
    ClusterUid, Environment, Identities, Level, Reference, Scope, SigningKey, Store, TrustedKeys, Wanted,
};
use etcd_wire::message::KUBE_SYSTEM;
use etcd_wire::{Failure, FailureCode};
use jiff::Timestamp;

use crate::backup::Ending;
use crate::store_failure::{failed, usage};
use crate::which_store::named;

pub(crate) const EXAMPLES: &str = "\
Example, in a pod of etcd's own image:

  # prove that this etcd serves the newest backup, and write that into the store
  etcd-sidecar drill --store s3://backups/prod --identity /keys/identity --data-dir /drill --attest

The document of the drill is printed as JSON. The folder of the drill holds every Secret in clear, and goes with this program; it takes twice the
size of the snapshot and 128 MB.

Exit codes: 0 etcd serves what was recorded; 1 the backup is damaged, etcd does not serve what was recorded, or there was no drill; 2 wrong usage;
4 refused: the etcd program is too old, or there is not enough room.";

/// What to drill, and with which etcd.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Store, or one cluster in it (with /UID at its end).
    #[arg(long, value_name = "URL")]
    store: String,
    /// UID of the cluster (of its namespace kube-system), in a store of several.
    #[arg(long, value_name = "UID")]
    cluster_uid: Option<ClusterUid>,
    /// age identity file that decrypts the backup, this flag can be repeated.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Public key whose signatures count (a .pub file of ssh-keygen, or a file of allowed signers), this flag can be repeated.
    #[arg(long = "trust-key", value_name = "FILE")]
    trust_keys: Vec<PathBuf>,
    /// The API server's EncryptionConfiguration, to decrypt one value of every encryption key.
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
    /// The etcd program to start [default: the first etcd on PATH].
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,
    /// Folder in which the folder of the drill is made.
    #[arg(long, value_name = "FOLDER", default_value = "/tmp")]
    data_dir: PathBuf,
    /// Write into the store that a real etcd has served the backup, and the document of the drill.
    #[arg(long)]
    attest: bool,
    /// With --attest: private key of OpenSSH (ssh-ed25519) that signs both.
    #[arg(long, value_name = "FILE", requires = "attest")]
    sign_key: Option<PathBuf>,
}

/// What was asked for, and can be done.
struct Order {
    store: Store,
    scope: Scope,
    identities: Option<Identities>,
    trusted: Option<TrustedKeys>,
    keyring: Keyring,
    etcd: PathBuf,
    data_dir: PathBuf,
    attest: bool,
    key: Option<SigningKey>,
}

impl Args {
    /// Reads the files that the flags name and opens the store; no request is made.
    fn order(&self) -> Result<Order, Failure> {
        let scope = named(&self.store, self.cluster_uid.as_ref())?;
        // Nobody is there to ask for a passphrase.
        let identities = match self.identity.is_empty() {
            true => None,
            false => Some(
                Identities::read(&self.identity, |_| None).map_err(|error| usage("cannot decrypt backups", &error))?,
            ),
        };
        let trusted = match self.trust_keys.is_empty() {
            true => None,
            false => {
                Some(TrustedKeys::read(&self.trust_keys).map_err(|error| usage("cannot read the trust keys", &error))?)
            }
        };
        let keyring = self.encryption_config.as_deref().map(keyring).transpose()?.unwrap_or_default();
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose();
        let key = key.map_err(|error| usage("cannot sign what is proved", &error))?;
        let etcd = etcd_drill::find(self.etcd.as_deref(), std::env::var_os("PATH").as_deref()).map_err(of_drill)?;
        let store = Store::open(&scope.store, &Environment::of_process()).map_err(|error| failed(&error))?;
        let (data_dir, attest) = (self.data_dir.clone(), self.attest);
        Ok(Order { store, scope, identities, trusted, keyring, etcd, data_dir, attest, key })
    }
}

fn keyring(path: &Path) -> Result<Keyring, Failure> {
    let cannot = format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| usage(&cannot, &error))?;
    Keyring::parse(&text).map_err(|error| usage(&cannot, &error))
}

/// A failure of a drill, as this program tells failures.
fn of_drill(trouble: Trouble) -> Failure {
    let Trouble { kind, message, causes, effect, hint } = trouble;
    let code = match kind {
        Kind::Refused => FailureCode::Refused,
        Kind::Damaged => FailureCode::Damaged,
        Kind::Failed | Kind::Left => FailureCode::Other,
    };
    let failure = causes.into_iter().chain(effect).fold(Failure::new(code, message), Failure::cause);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn other(message: impl Into<String>) -> Failure {
    Failure::new(FailureCode::Other, message)
}

/// Drills, and gives the document.
///
/// # Errors
/// The backup cannot be relied on, or there was no drill. Nothing is left in the folder.
pub(crate) async fn run(args: &Args) -> Result<Done, Failure> {
    let order = args.order()?;
    let mut session = Session { ending: Ending::listen()?, cancel: Arc::default() };
    session.drill(&order).await
}

/// A drill that has ended, whatever it came to.
pub(crate) struct Done(Drill);

impl Done {
    /// Prints the document.
    ///
    /// # Errors
    /// It cannot be written, or the drill has failed: why.
    pub(crate) fn tell(self, print: fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Done(drill) = self;
        drill.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
        print(String::from_utf8(drill.bytes()?)?.trim_end())?;
        match drill.verdict {
            Verdict::Passed => Ok(()),
            Verdict::Failed => {
                anyhow::bail!("the drill of {} has failed: {}", drill.backup.file, drill.reasons.join("; "))
            }
        }
    }
}

/// What a drill needs to end early.
struct Session {
    ending: Ending,
    /// Set once the drill is to end: threads look at it.
    cancel: Arc<AtomicBool>,
}

impl Session {
    /// Work that ends where it is, once the pod is to end.
    async fn or_end<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            failure = self.ending.heard() => {
                self.cancel.store(true, Ordering::Relaxed);
                Err(failure)
            }
            done = work => done,
        }
    }

    /// Work on a thread: waits until that has ended, too.
    async fn or_wait<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            failure = self.ending.heard() => {
                self.cancel.store(true, Ordering::Relaxed);
                // What comes of it is of no matter any more.
                let _ended = work.await;
                Err(failure)
            }
            done = &mut work => done,
        }
    }

    async fn drill(&mut self, order: &Order) -> Result<Done, Failure> {
        let (begun, mut clock) = (Timestamp::now(), Clock::new());
        let program = self.or_end(async { Program::ask(&order.etcd).await.map_err(of_drill) }).await?;
        clock.skip();
        let found = self.or_end(find(order)).await?;
        for newer in &found.passed_over {
            tracing::warn!("{newer}");
        }
        vouches(order, &found)?;
        let cancel = Arc::clone(&self.cancel);
        let file = self.or_end(open(order, &found, cancel)).await?;
        clock.lap("open", true);
        let source = Arc::new(FileSource::new(file).map_err(|error| other("cannot read the snapshot").source(&error))?);
        let cancel = Arc::clone(&self.cancel);
        let (report, keys) = self.or_wait(verify(Arc::clone(&source), cancel, &found)).await?;
        let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
        let prefix = all.first().cloned().unwrap_or_default();
        let neighbours = Neighbours::new(prefix.clone(), all);
        clock.lap("verify", true);
        let newer = program.fits(report.etcd()).map_err(of_drill)?;
        let recorded = recorded(&found);
        let trial = Trial {
            program: &program,
            subject: Subject {
                name: name(order, &found),
                source,
                report: &report,
                keys: &keys,
                prefix: &prefix,
                neighbours: &neighbours,
                keyring: &order.keyring,
            },
            recorded: &recorded,
            api_server: None,
            cancel: Arc::clone(&self.cancel),
        };
        let folder = Arc::new(Folder::new(&order.data_dir, report.total_size).map_err(of_drill)?);
        let drilled = self.go_through(&trial, &folder, &mut clock).await;
        let removed = Arc::into_inner(folder).map_or(Ok(()), |mut folder| folder.remove().map_err(of_drill));
        let proved = match (drilled, removed) {
            (Err(failure), Err(left)) => return Err(left.causes.iter().fold(failure.cause(&left), Failure::cause)),
            (Err(failure), Ok(())) | (Ok(_), Err(failure)) => return Err(failure),
            (Ok(proved), Ok(())) => proved,
        };
        let signer = found.signer.as_ref().map(ToString::to_string);
        let by = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let drill = trial.document(proved, newer.into_iter().collect(), signer, (begun, clock), by);
        if order.attest && drill.verdict == Verdict::Passed {
            let cancel = Arc::clone(&self.cancel);
            self.or_end(attest(order, &found, &drill, cancel)).await?;
        }
        Ok(Done(drill))
    }

    /// Restores, boots, asks. etcd has ended when this returns.
    async fn go_through(
        &mut self,
        trial: &Trial<'_>,
        folder: &Arc<Folder>,
        clock: &mut Clock,
    ) -> Result<Proved, Failure> {
        let restore = async {
            let restored = trial.restore(folder, |_| {}).await;
            restored.map_err(not_restored)
        };
        self.or_wait(restore).await?;
        clock.lap("restore", true);
        self.or_end(async { trial.serve(folder, clock).await.map_err(of_drill) }).await
    }
}

/// The newest backup.
async fn find(order: &Order) -> Result<Found, Failure> {
    let (cluster, trusted) = (order.scope.cluster.as_ref(), order.trusted.as_ref());
    let found = Found::find(&order.store, cluster, &Wanted::Latest, trusted, Timestamp::now()).await;
    found.map_err(|error| match error {
        FindError::Store(error) => failed(&error),
        error @ (FindError::Unsigned(_) | FindError::Signature { .. }) => {
            Failure::new(FailureCode::Refused, "the newest backup is not drilled").source(&error)
        }
        error => other("there is no backup to drill").source(&error),
    })
}

/// As it is named on a command line.
fn name(order: &Order, found: &Found) -> String {
    let wanted = Wanted::Backup(found.backup.name.clone());
    let cluster = Some(found.backup.cluster.clone());
    Reference { store: order.scope.store.clone(), cluster, wanted }.to_string()
}

/// Refuses to sign what is proved of a backup whose record may be anybody's: a signed proof is believed.
fn vouches(order: &Order, found: &Found) -> Result<(), Failure> {
    if order.key.is_none() || found.signer.is_some() || !found.backup.has_signature {
        return Ok(());
    }
    let message = "the signature of the backup is not checked, so what is proved is not signed";
    let failure = Failure::new(FailureCode::BadRequest, message);
    Err(failure.hint("name the public key of whoever has signed the backup\n  --trust-key FILE"))
}

/// Shows nobody how far a transfer is, and ends it once the pod is to end.
fn watch(cancel: Arc<AtomicBool>) -> impl FnMut(u64) -> ControlFlow<()> + Send + 'static {
    move |_| if cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn not_read(error: TransferError) -> Failure {
    match error {
        TransferError::Store(error) => failed(&error),
        error @ TransferError::NoIdentityFits { .. } => usage("cannot decrypt the backup", &error)
            .hint("name an identity that it is encrypted for\n  --identity FILE"),
        error => other("cannot read the backup").source(&error),
    }
}

/// Brings the snapshot to a file without a name.
async fn open(order: &Order, found: &Found, cancel: Arc<AtomicBool>) -> Result<File, Failure> {
    let target = tempfile::tempfile_in(&order.data_dir).map_err(|error| {
        let message = format!("cannot make a file in {}", order.data_dir.display());
        other(message).source(&error).hint("name a folder that can be written to\n  --data-dir FOLDER")
    })?;
    found.open(order.identities.as_ref(), target, watch(cancel)).await.map_err(not_read)
}

/// Checks all pages and records, and gives the keys.
async fn verify(
    source: Arc<FileSource>,
    cancel: Arc<AtomicBool>,
    found: &Found,
) -> Result<(Report, LiveKeys), Failure> {
    let name = format!("backup {}", found.backup.name);
    let read = tokio::task::spawn_blocking(move || verified(&source, &cancel, &name));
    read.await.map_err(|error| other("reading the backup was cut off").source(&error))?
}

/// As [`verify`], on this thread.
fn verified(source: &FileSource, cancel: &AtomicBool, name: &str) -> Result<(Report, LiveKeys), Failure> {
    let keep = |key: &[u8]| if key.ends_with(KUBE_SYSTEM.as_bytes()) { Keep::Value } else { Keep::Key };
    let options = Options { cancel: Some(cancel), ..Options::default() };
    live_keys(source, &options, &Pick::new(&keep), &|_| {}).map_err(|error| {
        let code = match error {
            VerifyError::Damaged(_) => FailureCode::Damaged,
            _ => FailureCode::Other,
        };
        Failure::new(code, format!("{name} is damaged, or cannot be read")).source(&error)
    })
}

fn not_restored(error: NotRestored) -> Failure {
    let code = match error {
        NotRestored::Restore(RestoreError::Verify(VerifyError::Damaged(_))) => FailureCode::Damaged,
        _ => FailureCode::Other,
    };
    Failure::new(code, "cannot restore the snapshot").source(&error)
}

/// What its record says. Its bytes were compared with the record as they came.
fn recorded(found: &Found) -> etcd_drill::Recorded {
    let record = &found.record;
    let checked = record.snapshot.checked.as_ref();
    etcd_drill::Recorded {
        cluster: record.cluster.name.clone().filter(|name| !name.is_empty()),
        kube_system_uid: Some(record.cluster.uid.clone()),
        taken_at: Some(record.taken_at.to_string()),
        etcd_version: Some(record.source.etcd_version.clone()).filter(|version| !version.is_empty()),
        revision: checked.map(|checked| checked.revision),
        hash_kv: checked.map(|checked| checked.hash_kv),
    }
}

/// Writes into the store what was proved. A proof includes all levels below: the files of a node have to be read, too.
async fn attest(order: &Order, found: &Found, drill: &Drill, cancel: Arc<AtomicBool>) -> Result<(), Failure> {
    let level = match found.read_rest(order.identities.as_ref(), watch(cancel)).await.map_err(not_read)? {
        Level::Opened => Level::Booted,
        lower => {
            tracing::warn!("no identity decrypts the files of the node: the proof is of level {lower}");
            lower
        }
    };
    let report = drill.bytes().map_err(|error| other("cannot write the document as JSON").source(&error))?;
    let by =
        etcd_store::Program { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let report = Some(Bytes::from(report));
    let written = Proof::write(found, level, by, Timestamp::now(), order.key.as_ref(), report).await;
    let place = written.map_err(|error| {
        let failure = match error {
            ProofError::Store(error) => failed(&error),
            error => other("it cannot be written").source(&error),
        };
        failure.cause("etcd has served the backup, and that could not be written into the store")
    })?;
    tracing::info!("wrote {place}");
    Ok(())
}
