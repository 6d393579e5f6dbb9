//! Backups in stores, and snapshots of folders and nodes beside them, in one table.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use etcd_store::observe::AT_ONCE;
use etcd_store::{Agreed, Backup, Backups, ClusterUid, Name, Record, Scope, Store, agree, looks_like_store};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use super::show::{Format, Row};
use super::{Args, SEE_FILE, nodes, rows, verdict};
use crate::columns::human_duration;
use crate::context::Context;
use crate::output::{self, API_VERSION, Exit, Failed, Outcome, Printer, Table, bytes, print_data, timestamp, visible};
use crate::stores;

/// The store that an argument names; nothing if it names a folder.
///
/// # Errors
/// It looks like a store, and is none.
pub(super) fn scope(place: &OsStr) -> Outcome<Option<Scope>> {
    match place.to_str().filter(|text| looks_like_store(text)) {
        None => Ok(None),
        Some(text) => stores::scope(text).map(Some),
    }
}

/// A backup in a store, or a file of a folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    /// The store, or the folder.
    place: String,
    name: String,
    /// How the backup is typed for other commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    cluster: Option<String>,
    kube_system_uid: Option<String>,
    taken_at: Option<String>,
    revision: Option<i64>,
    size: u64,
    class: Option<&'static str>,
    level: Option<&'static str>,
    encrypted: Option<bool>,
    /// Whether its record has a signature, whoever's.
    signed: Option<bool>,
    /// `committed`, or why it is suspect, or `unfinished`; `unreadable` or `contradicts` by its record; of a file, as in the list of a folder.
    state: &'static str,
    reason: Option<String>,
    /// How many there are of its cluster, with --all-clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    backups: Option<usize>,
}

impl Item {
    fn named(place: &str, cluster: &ClusterUid, name: &Name) -> Item {
        Item {
            place: place.to_owned(),
            name: name.to_string(),
            reference: None,
            cluster: None,
            kube_system_uid: Some(cluster.to_string()),
            taken_at: Some(timestamp(name.taken())),
            revision: Some(name.revision()),
            size: 0,
            class: Some(name.class().word()),
            level: None,
            encrypted: None,
            signed: None,
            state: "committed",
            reason: None,
            backups: None,
        }
    }

    fn of(scope: &Scope, backup: &Backup, record: Option<&Record>) -> Item {
        let level = record.map(|record| backup.level(record.level)).or(backup.proof);
        let checked = record.and_then(|record| record.snapshot.checked.as_ref());
        Item {
            reference: Some(reference(scope, backup)),
            taken_at: Some(timestamp(backup.time())),
            revision: Some(checked.map_or(backup.name.revision(), |checked| checked.revision)),
            size: backup.size,
            level: level.map(etcd_store::Level::word),
            encrypted: Some(backup.encrypted),
            signed: Some(backup.has_signature),
            ..Item::named(&scope.store.to_string(), &backup.cluster, &backup.name)
        }
    }

    /// The same of a backup whose record was looked at.
    fn of_read(scope: &Scope, backup: &Backup, record: &Result<Record, String>) -> Item {
        let bad = |state, reason: String| Item { state, reason: Some(reason), ..Item::of(scope, backup, None) };
        let record = match record {
            Ok(record) => record,
            Err(why) => return bad("unreadable", why.clone()),
        };
        match agree(backup, record) {
            Err(why) => bad("contradicts", why.to_string()),
            Ok(Agreed { backup, .. }) => {
                let foreign: Vec<String> = backup.foreign.iter().map(|object| object.key.file()).collect();
                let reason = (!foreign.is_empty()).then(|| format!("not part of it: {}", foreign.join(", ")));
                Item { reason, ..Item::of(scope, &backup, Some(record)) }
            }
        }
    }

    fn file(folder: &str, row: Row) -> Item {
        Item {
            place: folder.to_owned(),
            name: row.path,
            reference: None,
            cluster: row.cluster,
            kube_system_uid: row.kube_system_uid,
            taken_at: row.taken_at,
            revision: row.revision,
            size: row.size,
            class: None,
            level: None,
            encrypted: None,
            signed: None,
            state: row.state,
            reason: row.reason,
            backups: None,
        }
    }
}

/// `S/UID/NAME`, as other commands take it.
fn reference(scope: &Scope, backup: &Backup) -> String {
    let wanted = etcd_store::Wanted::Backup(backup.name.clone());
    etcd_store::Reference { store: scope.store.clone(), cluster: Some(backup.cluster.clone()), wanted }.to_string()
}

pub(super) async fn run(args: &Args, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let (mut items, mut judged) = (Vec::new(), Vec::new());
    for place in &args.places {
        match scope(place)? {
            Some(scope) => {
                let store = stores::open(&scope)?;
                match args.all_clusters {
                    true => items.extend(clusters(&store, &scope, now).await?),
                    false => items.extend(backups(&store, &scope, args, now, context.printer).await?),
                }
            }
            None if args.all_clusters => {
                let message = format!("--all-clusters has no effect: {} is not a store", place.to_string_lossy());
                return Err(
                    Failed::new(Exit::Usage, message).hint("name a folder with the layout of a store as file:///DIR")
                );
            }
            None => {
                let folder = PathBuf::from(place);
                let found = rows(&folder, args.no_verify, context).await?;
                // The verdict is on the rows as they are shown.
                judged.push(verdict(&found, SEE_FILE, Ok(())));
                items.extend(found.into_iter().map(|row| Item::file(&folder.display().to_string(), row)));
            }
        }
    }
    if let Some(folder) = &args.nodes.on_node {
        const TAKE_ANOTHER: &str =
            "do not restore a damaged copy; take another with\n  kubectl etcd backup --on-node DIR";
        let (found, nodes) = nodes::look(&args.nodes, folder, args.no_verify, context).await?;
        judged.push(verdict(found.rows.iter().map(|(_, row)| row), TAKE_ANOTHER, Ok(())));
        judged.push(found.verdict(nodes, folder, context.printer));
        items.extend(found.rows.into_iter().map(|(place, row)| Item::file(&place, row)));
    }
    let told = show(args, &items, now, context.printer);
    judged.into_iter().rfold(told, |told, one| match one {
        Ok(()) => told,
        Err(failed) => Err(failed.also(told)),
    })
}

/// All backups of a store, the newest first, then what is suspect or unfinished.
async fn backups(store: &Store, scope: &Scope, args: &Args, now: Timestamp, printer: Printer) -> Outcome<Vec<Item>> {
    let listed = store.list(scope.cluster.as_ref()).await.map_err(|error| stores::failed(&error))?;
    let backups = Backups::of(&listed, now);
    let late = backups.suspects.iter().filter_map(|suspect| suspect.backup.as_ref());
    // The newest of each cluster for its name, and all where there is more to show of each.
    let newest: Vec<&Backup> = backups.clusters().into_iter().filter_map(|uid| backups.latest(uid)).collect();
    let is_read = |backup: &&Backup| {
        args.output == Format::Wide
            || backup.is_ambiguous()
            || newest.iter().any(|one| (&one.cluster, &one.name) == (&backup.cluster, &backup.name))
    };
    let read: Vec<&Backup> = backups.committed.iter().chain(late).filter(is_read).collect();
    let read = stores::records(store, read).await.into_iter();
    let records: BTreeMap<(&ClusterUid, &Name), _> =
        read.map(|(backup, record)| ((&backup.cluster, &backup.name), record)).collect();
    let of = |backup: &Backup| match records.get(&(&backup.cluster, &backup.name)) {
        None => Item::of(scope, backup, None),
        Some(record) => Item::of_read(scope, backup, record),
    };
    let mut items: Vec<Item> = backups.committed.iter().map(of).collect();
    items.extend(backups.suspects.iter().map(|suspect| {
        let (state, reason) = (suspect.doubt.word(), Some(suspect.doubt.to_string()));
        match &suspect.backup {
            Some(backup) => Item { state, reason, ..of(backup) },
            None => {
                let size = suspect.objects.iter().fold(0_u64, |sum, object| sum.saturating_add(object.size));
                Item { state, reason, size, ..Item::named(&scope.store.to_string(), &suspect.cluster, &suspect.name) }
            }
        }
    }));
    items.extend(backups.left_overs.iter().map(|left| Item {
        state: "unfinished",
        reason: Some("it has no record: it is being written, or was never finished".to_owned()),
        size: left.size(),
        ..Item::named(&scope.store.to_string(), &left.cluster, &left.name)
    }));
    for item in &mut items {
        let of_cluster = newest.iter().find(|one| Some(one.cluster.as_str()) == item.kube_system_uid.as_deref());
        let record = of_cluster.and_then(|one| records.get(&(&one.cluster, &one.name)));
        item.cluster = record.and_then(|record| record.as_ref().ok()?.cluster.name.clone());
    }
    if listed.foreign > 0 {
        printer.note(format!("{} other objects in {} are passed over", listed.foreign, scope.store));
    }
    Ok(items)
}

/// The newest backup of each cluster: one request for the names of the clusters, and two for each.
async fn clusters(store: &Store, scope: &Scope, now: Timestamp) -> Outcome<Vec<Item>> {
    let all = match &scope.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => store.clusters().await.map_err(|error| stores::failed(&error))?,
    };
    let looks = stream::iter(all).map(|cluster| async move {
        let listed = store.list(Some(&cluster)).await.map_err(|error| stores::failed(&error))?;
        let backups = Backups::of(&listed, now);
        let Some(newest) = backups.latest(&cluster) else { return Ok(None) };
        let read = stores::records(store, vec![newest]).await.into_iter().next();
        let item = match &read {
            Some((backup, record)) => Item::of_read(scope, backup, record),
            None => Item::of(scope, newest, None),
        };
        let cluster = read.and_then(|(_, record)| record.ok()?.cluster.name);
        let count = backups.newest_first(&newest.cluster).len();
        Ok::<_, Failed>(Some(Item { cluster, backups: Some(count), ..item }))
    });
    let found: Vec<Option<Item>> = looks.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [Item],
}

fn show(args: &Args, items: &[Item], now: Timestamp, printer: Printer) -> Outcome {
    let format = match args.output {
        Format::Name => {
            let names = items.iter().map(|item| item.reference.as_ref().unwrap_or(&item.name));
            return printer.data(&names.map(|name| visible::name(name).into_owned() + "\n").collect::<String>());
        }
        Format::Table | Format::Wide if items.is_empty() => {
            printer.note("no backups found");
            return Ok(());
        }
        Format::Table => output::Format::Table,
        Format::Wide => output::Format::Wide,
        Format::Json => output::Format::Json,
        Format::Yaml => output::Format::Yaml,
    };
    let list = List { api_version: API_VERSION, kind: "BackupList", items };
    print_data(printer, format, &list, || table(items, args.output == Format::Wide, args.all_clusters, now))
}

fn table(items: &[Item], wide: bool, all_clusters: bool, now: Timestamp) -> String {
    let mut headers = vec!["NAME", "AGE", "REVISION", "SIZE", "CLASS", "LEVEL", "CLUSTER", "STATE"];
    if all_clusters {
        headers.push("BACKUPS");
    }
    if wide {
        headers.extend(["KUBE-SYSTEM UID", "SIGNED", "ENCRYPTED", "PLACE", "REASON"]);
    }
    let mut table = Table::new(&headers);
    let unknown = |text: Option<String>| text.unwrap_or_else(|| "<unknown>".to_owned());
    let said = |flag: Option<bool>| unknown(flag.map(|flag| if flag { "yes" } else { "no" }.to_owned()));
    for item in items {
        let taken: Option<Timestamp> = item.taken_at.as_deref().and_then(|taken| taken.parse().ok());
        let mut cells = vec![
            item.name.clone(),
            unknown(taken.map(|taken| human_duration(now.as_second() - taken.as_second()))),
            unknown(item.revision.map(|revision| revision.to_string())),
            bytes(item.size),
            item.class.unwrap_or_default().to_owned(),
            unknown(item.level.map(str::to_owned)),
            unknown(item.cluster.clone().or_else(|| item.kube_system_uid.clone())),
            item.state.to_owned(),
        ];
        if all_clusters {
            cells.push(item.backups.map(|count| count.to_string()).unwrap_or_default());
        }
        if wide {
            cells.extend([
                unknown(item.kube_system_uid.clone()),
                said(item.signed),
                said(item.encrypted),
                item.place.clone(),
                item.reason.clone().unwrap_or_default(),
            ]);
        }
        table.row(cells);
    }
    table.to_string()
}
