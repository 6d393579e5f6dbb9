//! The keys that the cluster holds now, as a member lists them.

use etcd_wire::message::KeysRequest;
use etcd_wire::{Compression, KeyRecord, KeyRecords};

use super::Keys;
use crate::connection::Connection;
use crate::output::{Failed, Outcome, Printer, Progress, ResultExt};
use crate::sidecar::{Session, Sink, Surveyed, TransferError};

/// The keys of the member that has the newest revision.
///
/// # Errors
/// No member answers, or the one that was asked does not list its keys.
pub(crate) async fn live_keys(connection: &Connection, surveyed: &[Surveyed], printer: Printer) -> Outcome<Keys> {
    let answers = surveyed.iter().filter_map(|one| Some((one, one.outcome.as_ref().ok()?, one.etcd().ok()?)));
    let votes = answers.filter(|(.., status)| !status.learner);
    let newest = votes.max_by_key(|(.., status)| status.revision);
    let (one, answer, status) = newest.ok_or_else(|| Failed::plain("no etcd member answers"))?;
    let doing = || format!("cannot list the keys of member {}", one.member.name);
    let mut session = Session::open(connection, &answer.sidecar).await.map_err(TransferError::into_failed)?;
    session.require("keys")?;
    let compression = if session.peer().can("zstd") { Compression::Zstd } else { Compression::None };
    let request = KeysRequest { etcd: one.member.access.clone(), compression };
    let gather = Gather { records: KeyRecords::new(), keys: Keys::new(), progress: Progress::new(printer, "keys", 0) };
    let (gathered, done) = session.keys(request, u64::try_from(status.db_size).unwrap_or(0), gather).await?;
    gathered.records.finish().or_fail(doing)?;
    if gathered.keys.len() as u64 != done.count {
        return Err(Failed::plain(doing()).cause(format!("received {} of {} keys", gathered.keys.len(), done.count)));
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
