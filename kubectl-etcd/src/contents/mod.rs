//! What is in a snapshot, or in a member's database, as Kubernetes objects. Reads the file and nothing else.

mod changes;
mod entry;
mod hidden;
mod missing;
mod plain;
mod selector;
mod wanted;

use std::path::PathBuf;
use std::sync::Arc;

use etcd_objects::catalog::Catalog;
use etcd_objects::encryption::Keyring;
use etcd_objects::key::Prefix;
use etcd_snapshot::{
    DigestCheck, FileSource, Fingerprints, Keep, LiveKey, LiveKeys, Options, Pick, Report, VerifyError, live_keys,
};

pub(crate) use changes::unified;
#[cfg(test)]
pub(crate) use entry::entry_of;
pub(crate) use entry::{Entry, Undecodable, resource_name};
pub(crate) use hidden::{hide, keeps_copies, without_values};
pub(crate) use missing::{missing, not_there};
pub(crate) use plain::{differing, plain};
pub(crate) use selector::{parse_selector, selects};
pub(crate) use wanted::{Request, Wanted};

use crate::cli::Context;
use crate::commands::verify::{damaged, explain};
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt};
use crate::snapshot_file::SnapshotFile;

/// Which file, and how to read it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FileArgs {
    /// Snapshot file, or a copy of a member's database (member/snap/db)
    pub(crate) file: PathBuf,
    /// The API server's EncryptionConfiguration, to read what it has encrypted (aescbc, aesgcm, secretbox)
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
}

impl FileArgs {
    /// Another file, read in the same way.
    pub(crate) fn beside(&self, file: PathBuf) -> FileArgs {
        FileArgs { file, ..self.clone() }
    }

    /// Whether there is a configuration to decrypt values with.
    pub(crate) fn decrypts(&self) -> bool {
        self.encryption_config.is_some()
    }
}

/// A file that has been looked at: whose it is, and which types of objects it knows.
pub(crate) struct Contents {
    file: SnapshotFile,
    pub(crate) report: Report,
    pub(crate) prefix: Prefix,
    /// The built-in types, and those that the file's own definitions make.
    pub(crate) catalog: Catalog,
    keyring: Keyring,
}

/// Where the definitions of custom resources are, below the prefix: kubernetes apiextensions-apiserver pkg/apiserver/apiserver.go @ v1.36.0.
const DEFINITIONS: &str = "/apiextensions.k8s.io/customresourcedefinitions/";

impl Contents {
    /// Looks at a file: checks its pages and records, though not its digest, finds the API server's prefix and reads the definitions of
    /// custom resources.
    ///
    /// # Errors
    /// The file is damaged (exit 3), or it or the encryption configuration cannot be read.
    pub(crate) async fn open(args: &FileArgs, context: &Context) -> Outcome<Contents> {
        Ok(Contents::open_with(args, context, |_| Keep::Nothing).await?.0)
    }

    /// As [`Contents::open`], and gives what is picked on the way.
    ///
    /// # Errors
    /// As [`Contents::open`].
    pub(crate) async fn open_with(
        args: &FileArgs,
        context: &Context,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
    ) -> Outcome<(Contents, LiveKeys)> {
        Contents::open_checked(args, context, DigestCheck::Skip, also).await
    }

    /// As [`Contents::open_with`], with or without the file's digest.
    ///
    /// # Errors
    /// As [`Contents::open`]; a wrong digest is damage.
    pub(crate) async fn open_checked(
        args: &FileArgs,
        context: &Context,
        digest: DigestCheck,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
    ) -> Outcome<(Contents, LiveKeys)> {
        let keyring = match &args.encryption_config {
            None => Keyring::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).or_fail(|| format!("read {}", path.display()))?;
                Keyring::parse(&text).or_fail(|| format!("read {}", path.display()))?
            }
        };
        let file = SnapshotFile::open(&args.file, context).await?;
        let is_definition = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|key| key.contains(DEFINITIONS));
        let is_namespace = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|key| key.contains("/namespaces/"));
        let keep = move |key: &[u8]| match also(key) {
            _ if is_definition(key) => Keep::Value,
            Keep::Nothing if is_namespace(key) => Keep::Key,
            other => other,
        };
        let (report, keys) = read(&file, context, digest, Arc::new(keep), None).await?;
        let prefix = Prefix::detect(keys.keys().map(Vec::as_slice)).unwrap_or_default();
        let mut contents = Contents { file, report, prefix, catalog: Catalog::builtin(), keyring };
        let definitions = keys.iter().filter(|(key, _)| is_definition(key));
        for entry in contents.entries(definitions.map(|(key, live)| (key.clone(), live.clone())).collect()) {
            let added = match &entry.object {
                Ok(object) => contents.catalog.add_crd(&object.json).map_err(|error| error.to_string()),
                Err(why) => Err(why.to_string()),
            };
            if let Err(why) = added {
                context.printer.warn(format!("{}: {why}: its objects are only known by their keys", entry.title()));
            }
        }
        Ok((contents, keys))
    }

    /// The oldest revision that the file still has whole.
    pub(crate) fn oldest_revision(&self) -> i64 {
        // What a compaction has begun to take is not whole any more: etcd serves none of it either, finished or not.
        let compaction = &self.report.compaction;
        compaction.scheduled.max(compaction.finished).unwrap_or(1).max(1)
    }

    /// The keys that are picked, as of the file's revision or of an earlier one.
    ///
    /// # Errors
    /// The file does not have that revision any more, or not yet; or as [`Contents::open`].
    pub(crate) async fn keys(&self, context: &Context, keep: Arc<KeepFn>, at: Option<i64>) -> Outcome<LiveKeys> {
        if let Some(at) = at {
            let (oldest, newest) = (self.oldest_revision(), self.report.current_revision);
            if at < oldest || at > newest {
                return Err(Failed::new(Exit::Usage, format!("{} has no revision {at}", self.name()))
                    .cause(format!("it has those from {oldest} to {newest}; older ones were compacted away")));
            }
        }
        Ok(read(&self.file, context, DigestCheck::Skip, keep, at).await?.1)
    }

    /// What all keys and their values hash to, to be compared with another file.
    ///
    /// # Errors
    /// As [`Contents::open`].
    pub(crate) async fn fingerprints(&self, context: &Context) -> Outcome<Fingerprints> {
        let prefix = self.prefix.as_str().as_bytes().to_vec();
        let read = walk(&self.file, context, DigestCheck::Skip, move |source, options, progress| {
            Fingerprints::read(source, options, &prefix, progress)
        });
        Ok(read.await?.1)
    }

    /// What keys are, in their order: those of objects.
    pub(crate) fn entries(&self, keys: LiveKeys) -> Vec<Entry> {
        keys.into_iter().filter_map(|(key, live)| self.entry(key, live)).collect()
    }

    /// What a key is; `None` if it is not that of an object.
    pub(crate) fn entry(&self, key: Vec<u8>, live: LiveKey) -> Option<Entry> {
        Entry::of(key, live, &self.prefix, &self.keyring)
    }

    /// The file's name, for people.
    pub(crate) fn name(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// What is kept of a key.
pub(crate) type KeepFn = dyn Fn(&[u8]) -> Keep + Send + Sync;

async fn read(
    file: &SnapshotFile,
    context: &Context,
    digest: DigestCheck,
    keep: Arc<impl Fn(&[u8]) -> Keep + Send + Sync + ?Sized + 'static>,
    at: Option<i64>,
) -> Outcome<(Report, LiveKeys)> {
    walk(file, context, digest, move |source, options, progress| {
        let keep = |key: &[u8]| keep(key);
        live_keys(source, options, &Pick { at, ..Pick::new(&keep) }, progress)
    })
    .await
}

/// Goes through a file on a thread of its own, with a bar that shows how far it is.
async fn walk<T: Send + 'static>(
    file: &SnapshotFile,
    context: &Context,
    digest: DigestCheck,
    take: impl FnOnce(&FileSource, &Options<'_>, &(dyn Fn(etcd_snapshot::Progress) + Sync)) -> Result<T, VerifyError>
    + Send
    + 'static,
) -> Outcome<T> {
    let (to_read, printer, cancelled) = (file.clone(), context.printer, context.cancelled.clone());
    let walk = move || -> Result<T, VerifyError> {
        let bar = Progress::new(printer, "read", 0);
        let options = Options { digest, cancel: Some(&cancelled), ..Options::default() };
        take(to_read.source(), &options, &|at: etcd_snapshot::Progress| bar.update(at.walked, at.total))
    };
    let read = tokio::task::spawn_blocking(walk).await.or_fail(|| "read the file".to_owned())?;
    read.map_err(|error| match error {
        VerifyError::Damaged(damage) => damaged(file.path(), &damage),
        error => explain(error, file.path()),
    })
}
