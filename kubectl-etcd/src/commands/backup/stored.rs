//! A backup in a store, for people.

use etcd_store::{Committed, Level, NotCommitted, Pending, Record, Reference, StoreUrl, Upload, Wanted, Why};

use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Table, bytes};

/// The figures that matter.
pub(super) fn human(committed: &Committed, wide: bool) -> String {
    let Record { name, snapshot, level, source, .. } = &committed.record;
    let checked = snapshot.checked.as_ref();
    let mut headers = vec!["NAME", "SIZE", "STORED", "REVISION", "KEYS", "LEVEL"];
    let mut row = vec![
        name.clone(),
        bytes(snapshot.size),
        bytes(committed.stored_bytes),
        checked.map(|checked| checked.revision.to_string()).unwrap_or_default(),
        checked.map(|checked| checked.total_key.to_string()).unwrap_or_default(),
        level.to_string(),
    ];
    if wide {
        headers.extend(["HASH", "MEMBER", "ETCD"]);
        row.push(checked.map(|checked| format!("{:x}", checked.hash)).unwrap_or_default());
        row.extend([source.name.clone(), source.etcd_version.clone()]);
    }
    let mut table = Table::new(&headers);
    table.row(row);
    table.to_string()
}

/// How the backup has ended, in a line, and what is to be done next in another.
pub(super) fn result(committed: &Committed, url: &StoreUrl, cluster: &str, took: &str) -> String {
    let Record { name, snapshot, level, recipients, .. } = &committed.record;
    let revision = snapshot.checked.as_ref().map(|checked| format!(", revision {}", checked.revision));
    let checked = match level {
        Level::Digest => "not verified: only its digest was checked",
        _ => "verified",
    };
    let identity = if recipients.is_empty() { "" } else { " --identity FILE" };
    let reference = reference(url, &committed.record);
    format!(
        "backed up cluster {cluster} in {took}: {}{}, {checked}, {} stored as {name}\n  next, check that it can be opened\n  \
         kubectl etcd verify {reference}{identity}",
        bytes(snapshot.size),
        revision.unwrap_or_default(),
        bytes(committed.stored_bytes),
    )
}

/// The backup, as a person types it for a shell.
fn reference(url: &StoreUrl, record: &Record) -> String {
    // Both were made from values of these types.
    let (cluster, name) = (record.cluster.uid.parse().ok(), record.name.parse());
    match name {
        Ok(name) => {
            quoted(&Reference { store: url.clone(), cluster, wanted: Wanted::Backup(name) }.to_string()).to_string()
        }
        Err(_) => quoted(&url.to_string()).to_string(),
    }
}

/// A backup that is not in the store.
pub(super) fn not_committed(error: NotCommitted, url: &StoreUrl) -> Failed {
    let NotCommitted { why, left } = error;
    let failed = match &why {
        Why::Store(error) => crate::stores::failed(error),
        Why::Unknown(error) => crate::stores::failed(error)
            .context("whether the backup is in the store is not known")
            .hint(format!("look whether the store lists it\n  kubectl etcd list {}", quoted(&url.to_string()))),
        why => Failed::plain("cannot write the backup to the store").source(why),
    };
    let unknown = matches!(why, Why::Unknown(_));
    let failed = if unknown { Failed { exit: Exit::Changed, ..failed } } else { failed };
    with_leftovers(failed, &left, unknown)
}

/// Gives up what was begun, and tells what is left of it.
pub(super) async fn give_up(failed: Failed, pending: Pending, uploads: impl IntoIterator<Item = Upload>) -> Failed {
    let mut parts = Vec::new();
    for upload in uploads {
        parts.extend(upload.abort().await);
    }
    let failed = with_leftovers(failed, &pending.abandon().await, false);
    parts.into_iter().fold(failed, Failed::effect)
}

fn with_leftovers(failed: Failed, left: &etcd_store::Leftovers, may_be_there: bool) -> Failed {
    let failed = match (left.has_record(), may_be_there) {
        (false, false) => failed.effect("no backup is in the store; nothing was changed on any node"),
        (true, false) => failed.effect("the backup in the store is not complete: do not use it"),
        (_, true) => failed.effect("nothing was changed on any node"),
    };
    // An interruption stays one; what is left is told beside that.
    let exit = if left.stay.is_empty() || failed.exit == Exit::Interrupted { failed.exit } else { Exit::Changed };
    left.stay.iter().fold(Failed { exit, ..failed }, |failed, one| failed.effect(one))
}
