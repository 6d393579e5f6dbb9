//! The keys that the cluster holds now, as a member lists them, and those of the data that a restore has kept on a node.

use etcd_wire::message::{KeptKeysRequest, KeysRequest};
use etcd_wire::{Compression, KeyRecord, KeyRecords};

use super::Keys;
use crate::output::{Failed, Outcome, Printer, Progress, ResultExt};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Sink, Surveyed, TransferError};

/// The keys of the member that has the newest revision.
///
/// # Errors
/// No member answers, or the one that was asked does not list its keys.
pub(crate) async fn live_keys(road: &Road, surveyed: &[Surveyed], printer: Printer) -> Outcome<Keys> {
    let answers = surveyed.iter().filter_map(|one| Some((one, one.sidecar.as_ref()?, one.etcd().ok()?)));
    let votes = answers.filter(|(.., status)| !status.learner);
    let newest = votes.max_by_key(|(.., status)| status.revision);
    let (one, sidecar, status) = newest.ok_or_else(|| Failed::plain("no etcd member answers"))?;
    let doing = || format!("cannot list the keys of member {}", one.member.name);
    let mut session = road.session(sidecar).await.map_err(TransferError::into_failed)?;
    session.require("keys")?;
    let compression = if session.peer().can("zstd") { Compression::Zstd } else { Compression::None };
    let request = KeysRequest { etcd: one.member.access.clone(), compression };
    let gather = Gather { records: KeyRecords::new(), keys: Keys::new(), progress: Progress::new(printer, "keys", 0) };
    let (gathered, done) = session.keys(request, u64::try_from(status.db_size).unwrap_or(0), gather).await?;
    road.rest(sidecar, session);
    gathered.records.finish().or_fail(doing)?;
    if gathered.keys.len() as u64 != done.count {
        return Err(Failed::plain(doing()).cause(format!("received {} of {} keys", gathered.keys.len(), done.count)));
    }
    Ok(gathered.keys)
}

/// The keys of the data that a restore has kept in a data directory, by the node's sidecar.
///
/// # Errors
/// The data is not there, or damaged, or the sidecar cannot be asked.
pub(crate) async fn kept_keys(
    road: &Road,
    sidecar: &Sidecar,
    data_dir: &str,
    id: &str,
    printer: Printer,
) -> Outcome<Keys> {
    const DOING: &str = "cannot list the keys of the old data";
    let mut session = road.session(sidecar).await.map_err(TransferError::into_failed)?;
    session.require("keptKeys")?;
    let compression = if session.peer().can("zstd") { Compression::Zstd } else { Compression::None };
    let request = KeptKeysRequest { data_dir: data_dir.to_owned(), id: id.to_owned(), compression };
    let (records, progress) = (KeyRecords::of_changes(), Progress::new(printer, "old keys", 0));
    let gather = GatherChanges { records, keys: Keys::new(), count: 0, progress };
    let (gathered, done) = session.kept_keys(request, gather).await?;
    road.rest(sidecar, session);
    gathered.records.finish().or_fail(|| DOING.to_owned())?;
    if gathered.count != done.count {
        return Err(Failed::plain(DOING).cause(format!("received {} of {} changes", gathered.count, done.count)));
    }
    Ok(gathered.keys)
}

struct Gather {
    records: KeyRecords,
    keys: Keys,
    progress: Progress,
}

impl Sink for Gather {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let keys = &mut self.keys;
        let take = |record: KeyRecord<'_>| {
            keys.insert(record.key.to_vec(), record.mod_revision);
        };
        self.records.push(bytes, take).map_err(std::io::Error::other)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.update(done, total);
    }
}

/// Applies changes of keys in their order.
struct GatherChanges {
    records: KeyRecords,
    keys: Keys,
    count: u64,
    progress: Progress,
}

impl Sink for GatherChanges {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let (keys, count) = (&mut self.keys, &mut self.count);
        let take = |record: KeyRecord<'_>| {
            *count += 1;
            match record.mod_revision {
                0 => drop(keys.remove(record.key)),
                revision => drop(keys.insert(record.key.to_vec(), revision)),
            }
        };
        self.records.push(bytes, take).map_err(std::io::Error::other)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.update(done, total);
    }
}
