//! What is in a snapshot, or in a member's database, as Kubernetes objects. Reads the file and nothing else.

mod checking;
mod entry;
mod hidden;
mod missing;
mod neighbours;
mod plain;
mod selector;
mod unified_diff;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use etcd_objects::Neighbours;
use etcd_objects::catalog::Catalog;
use etcd_objects::encryption::Keyring;
use etcd_objects::key::{Key, Prefix};
use etcd_snapshot::{
    DigestCheck, FileSource, Fingerprints, Keep, LiveKey, LiveKeys, Options, Pick, Report, VerifyError, live_keys,
};

use serde_json::Value;

pub(crate) use checking::{Checking, Unreadable};
#[cfg(test)]
pub(crate) use entry::entry_of;
pub(crate) use entry::{Entry, resource_name};
pub(crate) use etcd_objects::Undecodable;
pub(crate) use hidden::{hide, keeps_copies, without_values};
pub(crate) use missing::{missing, not_there};
pub(crate) use neighbours::PassedOver;
pub(crate) use plain::{differing, plain};
pub(crate) use selector::{parse_selector, selects};
pub(crate) use unified_diff::unified;
pub(crate) use wanted::{Request, Wanted};

use crate::columns::PrinterColumns;
use crate::commands::verify::{damaged, explain};
use crate::context::Context;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt};
use crate::snapshot_file::{AccessArgs, SnapshotFile};

/// Which file, and how to read it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FileArgs {
    /// Snapshot file, or a copy of a member's database (member/snap/db), or a backup in a store: STORE/latest, STORE/NAME
    pub(crate) file: PathBuf,
    /// The API server's EncryptionConfiguration, to read what it has encrypted (aescbc, aesgcm, secretbox)
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
    /// The prefix of the API server whose objects are meant, as its --etcd-prefix has it, where several keep theirs in one etcd [default: the
    /// first that has namespaces]
    #[arg(long, value_name = "PREFIX", value_parser = |text: &str| Ok::<Prefix, String>(Prefix::new(text)))]
    prefix: Option<Prefix>,
    #[command(flatten)]
    access: AccessArgs,
}

impl FileArgs {
    /// A file as it is, of which nothing is decrypted.
    pub(crate) fn of(file: &Path) -> FileArgs {
        FileArgs { file: file.to_owned(), encryption_config: None, prefix: None, access: AccessArgs::default() }
    }

    /// Another file, read in the same way.
    pub(crate) fn beside(&self, file: PathBuf) -> FileArgs {
        FileArgs { file, ..self.clone() }
    }

    /// The flags that have no effect, with `other` files that are read in the same way.
    pub(crate) fn idle<'a>(&'a self, other: impl IntoIterator<Item = &'a Path>) -> Vec<Idle> {
        self.access.idle(std::iter::once(self.file.as_path()).chain(other))
    }

    /// The keys of the API server that are given.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub(crate) fn keyring(&self) -> Outcome<Keyring> {
        let Some(path) = &self.encryption_config else { return Ok(Keyring::default()) };
        let text = std::fs::read_to_string(path).or_fail(|| format!("cannot read {}", path.display()))?;
        Keyring::parse(&text).or_fail(|| format!("cannot read {}", path.display()))
    }

    /// What it takes to read a file that is in a store, or encrypted.
    pub(crate) fn access(&self) -> &AccessArgs {
        &self.access
    }

    /// The file that values are decrypted with.
    pub(crate) fn encryption_config(&self) -> Option<&Path> {
        self.encryption_config.as_deref()
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
    /// That of the API server which is looked at.
    pub(crate) prefix: Prefix,
    pub(crate) neighbours: Arc<Neighbours>,
    /// The built-in types, those that the file's own definitions make, and after [`Contents::learn`] those without a definition.
    pub(crate) catalog: Catalog,
    /// What definitions say of how their objects are shown, by group and plural.
    pub(crate) printer_columns: BTreeMap<(String, String), PrinterColumns>,
    keyring: Keyring,
    /// Whether the prefix was typed: whoever does that knows of the others.
    named_prefix: bool,
    /// Whether it was told what is not looked at.
    told: AtomicBool,
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
        Contents::open_as(args, context, DigestCheck::Skip, also, Arc::new(|_, _, _| {})).await
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
        Contents::open_as(args, context, digest, also, Arc::new(|_, _, _| {})).await
    }

    /// As [`Contents::open_with`], and shows the values that are to be looked at, those of definitions excepted: they are kept.
    ///
    /// # Errors
    /// As [`Contents::open`].
    pub(crate) async fn open_looking(
        args: &FileArgs,
        context: &Context,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
        look: Arc<Look>,
    ) -> Outcome<(Contents, LiveKeys)> {
        Contents::open_as(args, context, DigestCheck::Skip, also, look).await
    }

    async fn open_as(
        args: &FileArgs,
        context: &Context,
        digest: DigestCheck,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
        look: Arc<Look>,
    ) -> Outcome<(Contents, LiveKeys)> {
        let keyring = args.keyring()?;
        let file = SnapshotFile::open(&args.file, &args.access, context).await?;
        Contents::of_open(file, keyring, args, context, digest, also, look).await
    }

    /// As [`Contents::open_checked`], of a file that is open.
    ///
    /// # Errors
    /// As [`Contents::open_checked`].
    pub(crate) async fn of(
        file: SnapshotFile,
        keyring: Keyring,
        args: &FileArgs,
        context: &Context,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
    ) -> Outcome<(Contents, LiveKeys)> {
        let look = Arc::new(|_: &[u8], _: i64, _: Vec<u8>| {});
        Contents::of_open(file, keyring, args, context, DigestCheck::Compute, also, look).await
    }

    async fn of_open(
        file: SnapshotFile,
        keyring: Keyring,
        args: &FileArgs,
        context: &Context,
        digest: DigestCheck,
        also: impl Fn(&[u8]) -> Keep + Send + Sync + 'static,
        look: Arc<Look>,
    ) -> Outcome<(Contents, LiveKeys)> {
        let is_namespace = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|key| key.contains("/namespaces/"));
        let is_there = Arc::new(AtomicBool::new(false));
        let (named, found) = (args.prefix.clone(), Arc::clone(&is_there));
        let keep = move |key: &[u8]| {
            if named.as_ref().is_some_and(|named| named.covers(key)) {
                found.store(true, Relaxed);
            }
            match also(key) {
                _ if is_definition(key) => Keep::Value,
                Keep::Nothing if is_namespace(key) => Keep::Key,
                other => other,
            }
        };
        let (report, keys) = read(&file, context, digest, Arc::new(keep), look, None).await?;
        let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
        let prefix = match &args.prefix {
            Some(prefix) if is_there.load(Relaxed) => prefix.clone(),
            Some(prefix) => return Err(no_prefix(prefix, &all, &file)),
            None => all.first().cloned().unwrap_or_default(),
        };
        let neighbours = Arc::new(Neighbours::new(prefix.clone(), all));
        let (catalog, named_prefix, told) = (Catalog::builtin(), args.prefix.is_some(), AtomicBool::new(false));
        let printer_columns = BTreeMap::new();
        let mut contents =
            Contents { file, report, prefix, neighbours, catalog, printer_columns, keyring, named_prefix, told };
        let definitions = keys.iter().filter(|(key, _)| is_definition(key));
        contents.define(definitions.map(|(key, live)| (key.clone(), live.clone())).collect(), context);
        Ok((contents, keys))
    }

    /// Adds the types that definitions make.
    fn define(&mut self, definitions: LiveKeys, context: &Context) {
        for entry in self.entries(definitions) {
            let added = match &entry.object {
                Ok(object) => {
                    let of = |pointer: &str| object.json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
                    if let (Some(group), Some(plural), Some(columns)) =
                        (of("/spec/group"), of("/spec/names/plural"), PrinterColumns::of(&object.json))
                    {
                        self.printer_columns.insert((group, plural), columns);
                    }
                    self.catalog.add_crd(&object.json).map_err(|error| error.to_string())
                }
                Err(why) => Err(why.to_string()),
            };
            if let Err(why) = added {
                context.printer.warn(format!("{}: {why}: its objects are only known by their keys", entry.title()));
            }
        }
    }

    /// Adds the types that the words of a command line name and no definition makes: they were defined at an earlier revision, or only
    /// their objects tell of them. Goes through the file once more, if there is such a word.
    ///
    /// # Errors
    /// As [`Contents::keys`].
    pub(crate) async fn learn(&mut self, words: &[String], at: Option<i64>, context: &Context) -> Outcome {
        if Wanted::types(words).all(|text| self.catalog.knows(text)) {
            return Ok(());
        }
        let types: Arc<Mutex<Types>> = Arc::default();
        let (neighbours, seen) = (Arc::clone(&self.neighbours), Arc::clone(&types));
        let keep = move |key: &[u8]| {
            if let Key::Object(place) = neighbours.parse(key) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen.entry((place.group, place.resource)).or_default() |= place.namespace.is_some();
            }
            // Those of now are known.
            if at.is_some() && is_definition(key) { Keep::Value } else { Keep::Nothing }
        };
        let definitions = self.keys(context, Arc::new(keep), at).await?;
        self.define(definitions, context);
        let types = types.lock().unwrap_or_else(PoisonError::into_inner);
        for ((group, plural), namespaced) in types.iter() {
            self.catalog.add_undefined(group.as_deref(), plural, *namespaced);
        }
        Ok(())
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
        let neighbours = Arc::clone(&self.neighbours);
        // Those of others are counted.
        let with_others = move |key: &[u8]| if neighbours.of_key(key).is_some() { Keep::Key } else { keep(key) };
        let mut keys =
            read(&self.file, context, DigestCheck::Skip, Arc::new(with_others), Arc::new(|_, _, _| {}), at).await?.1;
        let mut passed = PassedOver::default();
        keys.retain(|key, _| match self.neighbours.of_key(key) {
            Some(prefix) => {
                passed.add(&prefix);
                false
            }
            None => true,
        });
        self.tell(&passed, context);
        Ok(keys)
    }

    /// Tells what is not looked at, once.
    pub(crate) fn tell(&self, passed: &PassedOver, context: &Context) {
        let Some(line) = passed.line() else { return };
        if self.told.swap(true, Relaxed) {
            return;
        }
        let line = format!("{}: {line}", self.name());
        if self.named_prefix { context.printer.note(line) } else { context.printer.warn(line) }
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
        match self.neighbours.of_key(&key) {
            Some(_) => None,
            None => Entry::of(key, live, &self.prefix, &self.keyring),
        }
    }

    /// The keys of the API server that were given.
    #[cfg(unix)]
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// The file's name, for people.
    pub(crate) fn name(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// Groups, as far as keys say them, and names of types, and whether their objects are in namespaces.
type Types = BTreeMap<(Option<String>, String), bool>;

/// Whether a key is that of a definition, of whichever API server.
fn is_definition(key: &[u8]) -> bool {
    std::str::from_utf8(key).is_ok_and(|key| key.contains(DEFINITIONS))
}

/// That nothing begins with what was typed.
fn no_prefix(prefix: &Prefix, all: &[Prefix], file: &SnapshotFile) -> Failed {
    let shown = |prefix: &Prefix| if prefix.as_str().is_empty() { "/".to_owned() } else { prefix.as_str().to_owned() };
    let name = file.path().display();
    let failed = Failed::new(Exit::Usage, format!("{name} has no keys under the prefix {}", shown(prefix)));
    match all {
        [] => failed.cause("it has no namespaces under any prefix"),
        all => {
            failed.cause(format!("it has namespaces under {}", all.iter().map(shown).collect::<Vec<_>>().join(", ")))
        }
    }
}

/// What is kept of a key.
pub(crate) type KeepFn = dyn Fn(&[u8]) -> Keep + Send + Sync;

/// What sees values: of a key, at a revision.
pub(crate) type Look = dyn Fn(&[u8], i64, Vec<u8>) + Send + Sync;

async fn read(
    file: &SnapshotFile,
    context: &Context,
    digest: DigestCheck,
    keep: Arc<impl Fn(&[u8]) -> Keep + Send + Sync + ?Sized + 'static>,
    look: Arc<Look>,
    at: Option<i64>,
) -> Outcome<(Report, LiveKeys)> {
    walk(file, context, digest, move |source, options, progress| {
        let keep = |key: &[u8]| keep(key);
        let look = |key: &[u8], revision, value| look(key, revision, value);
        live_keys(source, options, &Pick { at, look: Some(&look), ..Pick::new(&keep) }, progress)
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
    let (to_read, printer, cancelled) = (file.clone(), context.printer, context.cancelled());
    let walk = move || -> Result<T, VerifyError> {
        let bar = Progress::new(printer, "read", 0);
        let options = Options { digest, cancel: Some(&cancelled), ..Options::default() };
        take(to_read.source(), &options, &|at: etcd_snapshot::Progress| bar.update(at.walked, at.total))
    };
    let read = tokio::task::spawn_blocking(walk).await.or_fail(|| "cannot read the file".to_owned())?;
    read.map_err(|error| match error {
        VerifyError::Damaged(damage) => damaged(file.path(), &damage),
        error => explain(error, file.path()),
    })
}
