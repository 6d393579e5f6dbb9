//! `kubectl etcd inspect`: what is in a file, by resource and by namespace.

mod page;
mod space;
mod treemap;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use etcd_objects::Neighbours;
use etcd_objects::key::{Internal, Key, Prefix};
use etcd_snapshot::{EncryptionKey, Keep, LiveKey, LiveKeys};
use serde::Serialize;

use crate::contents::{Checking, Contents, Entry, FileArgs, PassedOver, Undecodable, Unreadable, resource_name};
use crate::context::Context;
use crate::idle::{self, Idle};
use crate::output::{self, API_VERSION, Failed, Outcome, ResultExt, Table, bytes, print_data};
use space::Part;

/// Objects that are named because they are the largest, or have the longest history.
const NAMED: usize = 10;

/// What keys are of that are neither objects nor the API server's own.
const OF_OTHERS: &str = "of others than this API server";

const EXAMPLES: &str = "\
Examples:
  # How many objects of which resources there are, and the largest of them
  kubectl etcd inspect etcd.db

  # What fills a database: resources by bytes
  kubectl etcd inspect etcd.db -o json | jq '.resources | sort_by(-.bytes)'

  # Where the space goes, as a page with a map for a browser
  kubectl etcd inspect etcd.db -o html > etcd.html

  # One namespace
  kubectl etcd inspect etcd.db -n shop

  # By which keys values are encrypted, and how many of them can be decrypted
  kubectl etcd inspect etcd.db --encryption-config enc.yaml -o json |
    jq .encryption";

/// Show what is in a snapshot, by resource and namespace
///
/// Reads the value of every object, and names those that cannot be read; of what is encrypted only what --encryption-config decrypts. Counts keys, objects and bytes by resource and by namespace, names the largest objects and those that changed most often as far back as
/// the file's history goes, and by which keys of the API server values are encrypted; with --encryption-config also how many of those
/// values can be decrypted. -o html is a page for a browser, with the same figures and a map of what takes the space; it has names and sizes, and no values. With -n only the objects of that namespace count, and itself. Reads only the file: no cluster is needed, and
/// nothing is changed. Its pages and records are checked while it is read, its digest is not: kubectl etcd verify does that.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For people with wide terminals.
    Wide,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// One page for a browser or a printer, with a map of what takes the space.
    Html,
}

impl Format {
    /// As other data is printed; `None` for the page.
    fn data(self) -> Option<output::Format> {
        match self {
            Format::Table => Some(output::Format::Table),
            Format::Wide => Some(output::Format::Wide),
            Format::Json => Some(output::Format::Json),
            Format::Yaml => Some(output::Format::Yaml),
            Format::Html => None,
        }
    }
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.file.idle([]);
        idle.push(Idle::connection("inspect reads only the file").but(&[idle::NAMESPACE]));
        idle
    }
}

/// Looks at the whole file.
///
/// # Errors
/// The file is damaged (exit 3), cannot be read, or does not have the namespace that is named.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let checking = Arc::new(Checking::start());
    let look = Arc::clone(&checking);
    let look = Arc::new(move |key: &[u8], revision, value| look.take(key, revision, value));
    let (contents, mut keys) = Contents::open_looking(&args.file, &context, |_| Keep::Look, look).await?;
    let checking = Arc::into_inner(checking).ok_or_else(|| Failed::plain("cannot check the values"))?;
    let unreadable = tokio::task::spawn_blocking(move || checking.finish()).await;
    let unreadable = unreadable.or_fail(|| "cannot check the values".to_owned())?.map_err(Failed::plain)?;
    let namespace = context.connection.named_namespace();
    if let Some(namespace) = namespace {
        keys = of_namespace(keys, namespace, &contents)?;
    }
    let mut inspection = Inspection::of(&contents, &keys, &unreadable);
    inspection.namespace = namespace.map(str::to_owned);
    if args.file.decrypts() {
        for why in inspection.decrypt(&contents, &keys, &context).await? {
            context.printer.warn(why);
        }
    }
    inspection.name_unreadable(&contents, &context).await?;
    contents.tell(&inspection.passed_over, &context);
    match args.output.data() {
        Some(format) => {
            print_data(context.printer, format, &inspection, || inspection.text(args.output == Format::Wide))
        }
        None => {
            let document = serde_json::to_value(&inspection).or_fail(|| "cannot write the page".to_owned())?;
            let space = Part::of(&contents.neighbours, &keys);
            context.printer.data(&page::page(&document, &space))
        }
    }
}

/// The keys of a namespace's objects, and of itself.
///
/// # Errors
/// There are none.
fn of_namespace(keys: LiveKeys, namespace: &str, contents: &Contents) -> Outcome<LiveKeys> {
    let mut others = BTreeSet::new();
    let (mut inside, mut named) = (LiveKeys::new(), false);
    for (key, live) in keys {
        let Key::Object(place) = contents.neighbours.parse(&key) else { continue };
        let own = if resource_name(&place) == "namespaces" { Some(place.name) } else { place.namespace };
        match own {
            Some(own) if own == namespace => {
                named = true;
                inside.insert(key, live);
            }
            Some(own) => drop(others.insert(own)),
            None => {}
        }
    }
    if named {
        return Ok(inside);
    }
    let others: Vec<String> = others.into_iter().collect();
    let failed = Failed::plain(format!("{} has no namespace {namespace}", contents.name()));
    Err(failed.cause(format!("its namespaces are {}", others.join(", "))))
}

/// What is in a file.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    api_version: &'static str,
    kind: &'static str,
    file: String,
    /// What the API server puts before its keys.
    prefix: String,
    /// Those of other API servers that keep their objects in this etcd: --prefix shows them.
    other_prefixes: Vec<String>,
    /// The only namespace that counts, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// The revision that the file is at, and the oldest that it still has.
    revision: i64,
    oldest_revision: i64,
    keys: u64,
    /// Bytes of the database, and of the keys' values.
    total_size: u64,
    bytes: u64,
    resources: Vec<Resource>,
    namespaces: Vec<Namespace>,
    /// Keys that are no objects: what the API server keeps for itself, and what others keep in this etcd.
    other_keys: Vec<Resource>,
    largest: Vec<Object>,
    /// Objects with more than one revision, those with most first.
    most_revisions: Vec<Object>,
    encryption: Vec<Encryption>,
    /// How many objects have a value that cannot be read, and is not encrypted; and the first of them.
    unreadable: u64,
    unreadable_objects: Vec<Broken>,
    /// Keys of others.
    #[serde(skip)]
    passed_over: PassedOver,
    /// The keys of the first objects that cannot be read.
    #[serde(skip)]
    unreadable_keys: BTreeSet<Vec<u8>>,
}

/// An object whose value cannot be read.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Broken {
    resource: String,
    namespace: Option<String>,
    name: String,
    /// Why, and where in the value.
    reason: String,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    objects: u64,
    /// Of their values as they are now.
    bytes: u64,
    /// Revisions that the file has of them.
    revisions: u64,
    encrypted: u64,
    /// Objects whose value cannot be read.
    unreadable: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Namespace {
    namespace: String,
    objects: u64,
    bytes: u64,
    /// Whether there is an object for it: a namespace without one was deleted, and something is left.
    exists: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    resource: String,
    namespace: Option<String>,
    name: String,
    bytes: u64,
    revisions: u32,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Encryption {
    provider: String,
    version: String,
    key: String,
    objects: u64,
    /// How many of them the configuration that was given decrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    decrypted: Option<u64>,
}

impl Inspection {
    fn of(contents: &Contents, keys: &LiveKeys, unreadable: &Unreadable) -> Inspection {
        let report = &contents.report;
        let mut inspection = Inspection {
            api_version: API_VERSION,
            kind: "Inspection",
            file: contents.name(),
            prefix: contents.prefix.as_str().to_owned(),
            other_prefixes: contents.neighbours.others().iter().map(|other| other.as_str().to_owned()).collect(),
            revision: report.current_revision,
            oldest_revision: contents.oldest_revision(),
            keys: keys.len() as u64,
            total_size: report.total_size,
            bytes: keys.values().map(|live| live.value_bytes).sum(),
            ..Inspection::default()
        };
        inspection.count(&contents.neighbours, keys, |key, live| match &live.value {
            // The definitions: they were kept, and not looked at.
            Some(_) => {
                let entry = contents.entry(key.to_vec(), live.clone());
                entry.is_some_and(|entry| matches!(entry.object, Err(Undecodable::Decode(_) | Undecodable::Partly(..))))
            }
            None => unreadable.get(key) == Some(&live.mod_revision),
        });
        inspection
    }

    fn count(&mut self, neighbours: &Neighbours, keys: &LiveKeys, is_unreadable: impl Fn(&[u8], &LiveKey) -> bool) {
        let mut resources: BTreeMap<String, Resource> = BTreeMap::new();
        let mut others: BTreeMap<&'static str, Resource> = BTreeMap::new();
        let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
        let mut encryption = BTreeMap::new();
        let (mut largest, mut longest) = (Top::default(), Top::default());
        for (key, live) in keys {
            if let Some(prefix) = neighbours.of_key(key) {
                self.passed_over.add(&prefix);
            }
            let entry = match neighbours.parse(key) {
                Key::Object(place) => {
                    let resource = resource_name(&place);
                    let object = || Object {
                        resource: resource.clone(),
                        namespace: place.namespace.clone(),
                        name: place.name.clone(),
                        bytes: live.value_bytes,
                        revisions: live.versions,
                    };
                    largest.offer(live.value_bytes, object);
                    if live.versions > 1 {
                        longest.offer(live.versions.into(), object);
                    }
                    if resource == "namespaces" {
                        namespaces.entry(place.name.clone()).or_default().exists = true;
                    }
                    if let Some(namespace) = place.namespace.clone() {
                        let namespace = namespaces.entry(namespace).or_default();
                        namespace.objects += 1;
                        namespace.bytes += live.value_bytes;
                    }
                    let counted = resources.entry(resource).or_default();
                    if is_unreadable(key, live) {
                        counted.unreadable += 1;
                        self.note_unreadable(key);
                    }
                    counted
                }
                Key::Internal(internal) => others.entry(kept_for(&internal)).or_default(),
                _ => others.entry(OF_OTHERS).or_default(),
            };
            entry.objects += 1;
            entry.bytes += live.value_bytes;
            entry.revisions += u64::from(live.versions);
            if let Some(by) = &live.encrypted_by {
                entry.encrypted += 1;
                *encryption.entry(by.clone()).or_insert(0) += 1;
            }
        }
        self.resources = resources.into_iter().map(|(resource, one)| Resource { resource, ..one }).collect();
        self.other_keys = others.into_iter().map(|(what, one)| Resource { resource: what.to_owned(), ..one }).collect();
        self.namespaces = namespaces.into_iter().map(|(namespace, one)| Namespace { namespace, ..one }).collect();
        (self.largest, self.most_revisions) = (largest.into_vec(), longest.into_vec());
        let encryption = encryption.into_iter().map(|(by, objects)| Encryption {
            provider: by.provider.clone(),
            version: by.version.clone(),
            key: by.name.clone(),
            objects,
            decrypted: None,
        });
        self.encryption = encryption.collect();
    }

    fn note_unreadable(&mut self, key: &[u8]) {
        self.unreadable += 1;
        if self.unreadable_keys.len() < NAMED {
            self.unreadable_keys.insert(key.to_vec());
        }
    }

    /// Reads again what cannot be read, for the reasons.
    async fn name_unreadable(&mut self, contents: &Contents, context: &Context) -> Outcome {
        if self.unreadable_keys.is_empty() {
            return Ok(());
        }
        let named = std::mem::take(&mut self.unreadable_keys);
        let keep = move |key: &[u8]| if named.contains(key) { Keep::Value } else { Keep::Nothing };
        let entries = contents.entries(contents.keys(context, Arc::new(keep), None).await?);
        let broken = entries.into_iter().filter_map(|entry| {
            let reason = entry.object.as_ref().err()?.to_string();
            let resource = entry.resource();
            Some(Broken { resource, namespace: entry.place.namespace, name: entry.place.name, reason })
        });
        self.unreadable_objects = broken.collect();
        Ok(())
    }

    /// Counts the values that can be decrypted. Gives why others cannot.
    async fn decrypt(&mut self, contents: &Contents, keys: &LiveKeys, context: &Context) -> Outcome<Vec<String>> {
        let encrypted = keys.iter().filter(|(_, live)| live.encrypted_by.is_some()).map(|(key, _)| key.clone());
        let encrypted: BTreeSet<Vec<u8>> = encrypted.collect();
        let keep = move |key: &[u8]| if encrypted.contains(key) { Keep::Value } else { Keep::Nothing };
        let values = contents.keys(context, Arc::new(keep), None).await?;
        let entry = |(key, live): (Vec<u8>, LiveKey)| Some((live.encrypted_by.clone()?, contents.entry(key, live)?));
        Ok(self.count_decrypted(values.into_iter().filter_map(entry)))
    }

    fn count_decrypted(&mut self, entries: impl Iterator<Item = (Arc<EncryptionKey>, Entry)>) -> Vec<String> {
        let mut found: BTreeMap<_, (u64, Option<String>)> = BTreeMap::new();
        let mut broken = Vec::new();
        for (by, entry) in entries {
            let one = found.entry((by.provider.clone(), by.version.clone(), by.name.clone())).or_default();
            match &entry.object {
                Err(why @ (Undecodable::Encrypted(_) | Undecodable::Decrypt(_))) => {
                    one.1.get_or_insert_with(|| format!("{}: {why}", entry.title()));
                }
                Err(Undecodable::Decode(_) | Undecodable::Partly(..)) => {
                    one.0 += 1;
                    broken.push(entry.place);
                }
                Ok(_) => one.0 += 1,
            }
        }
        for place in broken {
            let resource = resource_name(&place);
            self.resources.iter_mut().filter(|one| one.resource == resource).for_each(|one| one.unreadable += 1);
            self.note_unreadable(&Prefix::new(&self.prefix).key(&place));
        }
        let mut failures = Vec::new();
        for one in &mut self.encryption {
            let by = (one.provider.clone(), one.version.clone(), one.key.clone());
            let (decrypted, why) = found.remove(&by).unwrap_or_default();
            one.decrypted = Some(decrypted);
            if let Some(why) = why {
                let (left, (provider, version, key)) = (one.objects.saturating_sub(decrypted), by);
                failures.push(format!("{left} objects encrypted by {provider}:{version}:{key} cannot be read: {why}"));
            }
        }
        failures
    }

    /// For people; in a wide text nothing is cut.
    fn text(&self, wide: bool) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!(", namespace {namespace}")).unwrap_or_default();
        let mut text = format!(
            "{}{namespace}: {} keys, {} of values\nrevisions {} to {}, prefix {}\n\n",
            self.file,
            self.keys,
            bytes(self.bytes),
            self.oldest_revision,
            self.revision,
            self.prefix
        );
        let mut headers = vec!["RESOURCE", "OBJECTS", "BYTES", "REVISIONS"];
        headers.extend((!self.encryption.is_empty()).then_some("ENCRYPTED"));
        headers.extend((self.unreadable > 0).then_some("UNREADABLE"));
        let mut table = Table::new(&headers).fitted(wide);
        let some = |count: u64| if count > 0 { count.to_string() } else { String::new() };
        for one in self.resources.iter().chain(&self.other_keys) {
            let name = match self.other_keys.contains(one) {
                // What they are for is told where there is room.
                true if !wide => format!("({})", one.resource.split(':').next().unwrap_or_default()),
                true => format!("({})", one.resource),
                false => one.resource.clone(),
            };
            let mut row = vec![name, one.objects.to_string(), bytes(one.bytes), one.revisions.to_string()];
            row.extend((!self.encryption.is_empty()).then(|| some(one.encrypted)));
            row.extend((self.unreadable > 0).then(|| some(one.unreadable)));
            table.row(row);
        }
        let _infallible = write!(text, "{table}");
        let mut table = Table::new(&["NAMESPACE", "OBJECTS", "BYTES"]).fitted(wide);
        for one in &self.namespaces {
            let name = if one.exists { one.namespace.clone() } else { format!("{} (deleted)", one.namespace) };
            table.row(vec![name, one.objects.to_string(), bytes(one.bytes)]);
        }
        let _infallible = write!(text, "\n{table}");
        for (title, objects) in [("LARGEST", &self.largest), ("MOST REVISIONS", &self.most_revisions)] {
            if objects.is_empty() {
                continue;
            }
            let mut table = Table::new(&[title, "NAMESPACE", "BYTES", "REVISIONS"]).fitted(wide);
            for one in objects {
                let name = format!("{}/{}", one.resource, one.name);
                let namespace = one.namespace.clone().unwrap_or_default();
                table.row(vec![name, namespace, bytes(one.bytes), one.revisions.to_string()]);
            }
            let _infallible = write!(text, "\n{table}");
        }
        if self.unreadable > 0 {
            let title = format!("CANNOT BE READ ({})", self.unreadable);
            let mut table = Table::new(&[&title, "NAMESPACE", "REASON"]).fitted(wide);
            for one in &self.unreadable_objects {
                let namespace = one.namespace.clone().unwrap_or_default();
                table.row(vec![format!("{}/{}", one.resource, one.name), namespace, one.reason.clone()]);
            }
            let _infallible = write!(text, "\n{table}");
        }
        if !self.encryption.is_empty() {
            let decrypted = self.encryption.iter().any(|one| one.decrypted.is_some());
            let headers = ["ENCRYPTED BY", "KEY", "OBJECTS", "DECRYPTED"];
            let mut table = Table::new(&headers[..if decrypted { 4 } else { 3 }]).fitted(wide);
            for one in &self.encryption {
                let mut row =
                    vec![format!("{} {}", one.provider, one.version), one.key.clone(), one.objects.to_string()];
                row.extend(one.decrypted.map(|count| count.to_string()));
                table.row(row);
            }
            let _infallible = write!(text, "\n{table}");
        }
        text
    }
}

fn kept_for(internal: &Internal) -> &'static str {
    match internal {
        Internal::MasterLease(_) => "masterleases: API servers that run",
        Internal::PeerServerLease(_) => "peerserverleases: how API servers reach each other",
        Internal::Range(_) => "ranges: addresses and ports that are given out",
        Internal::CompactRevision => "compact_rev_key: what was compacted last",
        Internal::Health => "health: what health checks read",
        _ => "kept by the API server for itself",
    }
}

/// The few with the highest figures; of equal ones the first.
#[derive(Default)]
struct Top {
    objects: BTreeMap<(Reverse<u64>, u64), Object>,
    offered: u64,
}

impl Top {
    fn offer(&mut self, figure: u64, object: impl FnOnce() -> Object) {
        self.offered += 1;
        let place = (Reverse(figure), self.offered);
        if self.objects.len() == NAMED {
            if self.objects.last_key_value().is_some_and(|(last, _)| *last <= place) {
                return;
            }
            self.objects.pop_last();
        }
        self.objects.insert(place, object());
    }

    fn into_vec(self) -> Vec<Object> {
        self.objects.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::entry_of;

    fn live(value_bytes: u64, versions: u32) -> LiveKey {
        LiveKey { mod_revision: 5, versions, value_bytes, encrypted_by: None, value: None }
    }

    #[test]
    fn every_key_counts_once() {
        let mut keys = LiveKeys::new();
        for (key, bytes, versions) in [
            ("/registry/pods/shop/a", 10, 1),
            ("/registry/pods/gone/b", 30, 3),
            ("/registry/namespaces/shop", 5, 1),
            ("/registry/masterleases/10.0.0.1", 2, 1),
            ("compact_rev_key", 1, 7),
            ("/other/thing", 4, 1),
        ] {
            keys.insert(key.into(), live(bytes, versions));
        }
        let mut inspection = Inspection {
            file: "a.db".into(),
            prefix: "/registry".into(),
            revision: 9,
            oldest_revision: 1,
            keys: 6,
            total_size: 100,
            bytes: 52,
            ..Inspection::default()
        };
        inspection.count(&Neighbours::default(), &keys, |key, _| key.ends_with(b"/b"));
        let counted: Vec<_> =
            inspection.resources.iter().map(|one| (one.resource.as_str(), one.objects, one.revisions)).collect();
        assert_eq!(counted, [("namespaces", 1, 1), ("pods", 2, 4)]);
        let unreadable: Vec<_> = inspection.resources.iter().map(|one| one.unreadable).collect();
        assert_eq!(
            (unreadable.as_slice(), inspection.unreadable, inspection.unreadable_keys.len()),
            (&[0, 1][..], 1, 1)
        );
        assert_eq!(inspection.passed_over.counts().collect::<Vec<_>>(), [("/other", 1)]);
        assert_eq!(inspection.other_keys.iter().map(|one| one.objects).sum::<u64>(), 3);
        let namespaces: Vec<_> =
            inspection.namespaces.iter().map(|one| (one.namespace.as_str(), one.bytes, one.exists)).collect();
        assert_eq!(namespaces, [("gone", 30, false), ("shop", 10, true)]);
        assert_eq!((inspection.largest[0].name.as_str(), inspection.most_revisions.len()), ("b", 1));
        assert!(inspection.text(true).contains("(compact_rev_key: what was compacted last)"));
        let text = inspection.text(false);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        for part in
            ["UNREADABLE", "CANNOT BE READ (1)", "gone (deleted)", "pods/b", "(compact_rev_key)", "revisions 1 to 9"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn what_a_configuration_decrypts_is_counted() {
        let by = |name: &str| EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: name.into() };
        let encryption = |name: &str, objects: u64| Encryption {
            provider: "aescbc".into(),
            version: "v1".into(),
            key: name.into(),
            objects,
            decrypted: None,
        };
        let read = entry_of("/registry/secrets/shop/read", &serde_json::json!({"apiVersion": "v1", "kind": "Secret"}));
        let shut = entry_of("/registry/secrets/shop/shut", &serde_json::json!({}));
        let why = Undecodable::Encrypted(etcd_objects::value::EncryptionKey {
            provider: "kms".into(),
            version: "v2".into(),
            name: "vault".into(),
        });
        let shut = Entry { object: Err(why), ..shut };
        let mut inspection =
            Inspection { encryption: vec![encryption("one", 2), encryption("other", 3)], ..Inspection::default() };
        let entries = [(Arc::new(by("one")), read), (Arc::new(by("one")), shut)];
        let failures = inspection.count_decrypted(entries.into_iter());
        assert_eq!(inspection.encryption.iter().map(|one| one.decrypted).collect::<Vec<_>>(), [Some(1), Some(0)]);
        let said =
            "1 objects encrypted by aescbc:v1:one cannot be read: secrets/shut in namespace shop: encrypted by kms";
        assert!(failures.len() == 1 && failures[0].starts_with(said), "{failures:?}");
    }

    #[test]
    fn the_highest_few_stay() {
        let mut top = Top::default();
        for bytes in 0..100 {
            let object = Object { resource: String::new(), namespace: None, name: String::new(), bytes, revisions: 1 };
            top.offer(bytes, || object);
        }
        assert_eq!(top.into_vec().iter().map(|one| one.bytes).collect::<Vec<_>>(), (90..100).rev().collect::<Vec<_>>());
    }
}
