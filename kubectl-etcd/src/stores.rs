//! Stores as commands use them: how they are named on the command line, and how they fail.

use std::path::PathBuf;

use etcd_store::layout::Part;
use etcd_store::observe::AT_ONCE;
use etcd_store::{
    Backup, ClusterUid, Environment, LARGEST_RECORD, NotReady, Record, Scope, Store, StoreError, TrustedKeys, UrlError,
};
use futures::{StreamExt, stream};

use crate::output::{Exit, Failed, Outcome, Printer};

/// Which signatures count.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TrustArgs {
    /// Public key (a .pub file of ssh-keygen, or lines of allowed_signers) that must have signed a backup for it to count, this flag can be repeated
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) trust_key: Vec<PathBuf>,
}

impl TrustArgs {
    /// The keys, if any are given.
    ///
    /// # Errors
    /// A file cannot be read, or holds no public key.
    pub(crate) fn read(&self) -> Outcome<Option<TrustedKeys>> {
        if self.trust_key.is_empty() {
            return Ok(None);
        }
        let read = TrustedKeys::read(&self.trust_key);
        read.map(Some).map_err(|error| Failed::new(Exit::Usage, "cannot read the trust keys").source(&error))
    }
}

/// The store that an argument names. The parser of the command line is not asked: it shows what it refuses, and that may hold a password.
///
/// # Errors
/// It is not the URL of a store.
pub(crate) fn scope(text: &str) -> Outcome<Scope> {
    text.parse().map_err(|error: UrlError| Failed::new(Exit::Usage, error.to_string()))
}

/// The same, with a cluster that may be named by a flag, too.
///
/// # Errors
/// It is no URL of a store; the URL and the flag name different clusters.
pub(crate) fn scope_of(text: &str, cluster: Option<&ClusterUid>) -> Outcome<Scope> {
    let mut scope = scope(text)?;
    match (&scope.cluster, cluster) {
        (Some(here), Some(there)) if here != there => {
            let message = format!("the store names cluster {here}, and --cluster-uid names {there}");
            return Err(Failed::new(Exit::Usage, message).unchanged());
        }
        (None, Some(cluster)) => scope.cluster = Some(cluster.clone()),
        _ => {}
    }
    Ok(scope)
}

/// Opens a store. Sends no request.
///
/// # Errors
/// A credential is missing, or something else of the environment is wrong.
pub(crate) fn open(scope: &Scope) -> Outcome<Store> {
    Store::open(&scope.store, &Environment::of_process()).map_err(|error| failed(&error))
}

/// What went wrong with a store.
pub(crate) fn failed(error: &StoreError) -> Failed {
    let failed = Failed::plain(error.to_string());
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Records of backups, each or why it cannot be read.
pub(crate) async fn records<'a>(store: &Store, backups: Vec<&'a Backup>) -> Vec<(&'a Backup, Result<Record, String>)> {
    let reads = stream::iter(backups).map(|backup| async move {
        let bytes = store.small(&backup.key(Part::Record), LARGEST_RECORD).await.map_err(|error| error.to_string());
        let read = |bytes: bytes::Bytes| {
            Record::read(&bytes, &backup.cluster, &backup.name).map_err(|error| error.to_string())
        };
        (backup, bytes.and_then(read))
    });
    reads.buffered(AT_ONCE).collect().await
}

/// A backup cannot be written to a store.
pub(crate) fn not_ready(error: &NotReady) -> Failed {
    match error {
        NotReady::Store(error) => failed(error),
        NotReady::Clock(why) => {
            Failed::new(Exit::Refused, "the clock of this machine differs too much from the clock of the store")
                .cause(why)
                .cause(
                    "the name of a backup has the time of this machine, and one from the future is never restored from",
                )
                .hint("set the clock of this machine")
        }
    }
}

/// Tells which objects under the name of a backup are none of it.
pub(crate) fn tell_foreign(backup: &Backup, printer: Printer) {
    for object in &backup.foreign {
        printer.warn(format!("{} is not part of backup {}, whose record does not name it", object.key, backup.name));
    }
}

/// The one cluster that is meant.
///
/// # Errors
/// There is none, or there are several and none is named.
pub(crate) fn one_cluster(scope: &Scope, clusters: &[ClusterUid]) -> Outcome<ClusterUid> {
    match (&scope.cluster, clusters) {
        (Some(cluster), _) | (None, [cluster]) => Ok(cluster.clone()),
        (None, []) => Err(Failed::plain(format!("no backup found in {}", scope.store)).unchanged()),
        (None, several) => {
            let message = format!("store {} has backups of {} clusters", scope.store, several.len());
            let named: Vec<String> = several.iter().take(5).map(|uid| format!("\n  --cluster-uid {uid}")).collect();
            Err(Failed::new(Exit::Usage, message)
                .unchanged()
                .hint(format!("say which cluster is meant{}", named.concat())))
        }
    }
}
