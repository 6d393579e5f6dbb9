//! The snapshot for a client: made as for the command line, and sent instead of kept. The copy lies in the data directory, where a restore needs as much
//! room as well, and goes when the request ends.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use etcd_snapshot::wal::Position;
use etcd_snapshot::{FileSource, StreamHead};
use etcd_wire::replay::{ReplayDone, ReplayRequest};
use etcd_wire::survey::RaftPosition;
use etcd_wire::{Begin, CHUNK, Compression, Digest, End, Failure, FailureCode, Frame, Outgoing, Sha256};
use tokio::sync::mpsc;

use super::copy::cannot;
use super::{Applied, Order, apply, stopped};
use crate::serve::{Client, Stop};
use crate::streaming::on_a_thread;

/// Applies the log to a copy, and sends the database.
///
/// # Errors
/// [`FailureCode::Refused`]: etcd has a quorum, as far as can be seen, or there is no program that applies the log. The log or the database is damaged,
/// there is no room, or the client does not want it any more. Nothing is left behind.
pub(crate) async fn send(request: ReplayRequest, client: &mut Client) -> Result<ReplayDone, Stop> {
    for path in [Some(&request.data_dir), request.wal_dir.as_ref(), request.etcd.as_ref()].into_iter().flatten() {
        if !Path::new(path).is_absolute() {
            return Err(Failure::new(FailureCode::BadRequest, format!("{path:?} is not an absolute path")).into());
        }
    }
    let compression = request.compression;
    let applied = on_a_thread(client, move |cancel| {
        let (data_dir, wal_dir) = (PathBuf::from(&request.data_dir), request.wal_dir.as_ref().map(PathBuf::from));
        let etcd = request.etcd.as_ref().map(PathBuf::from);
        let beside = data_dir.join("recovered.db");
        let order = Order {
            data_dir: &data_dir,
            wal_dir: wal_dir.as_deref(),
            etcd: etcd.as_deref(),
            beside: &beside,
            may_run: request.may_run,
            last: Some(Position { term: request.last.term, index: request.last.index }),
        };
        apply(&order, &beside, &cancel, &super::tell)
    })
    .await?;
    let head = head(&applied)?;
    let total = head.bytes;
    client.send(Frame::Begin(Begin { total: Some(total) })).await?;
    let queue = client.queue();
    let (end, applied) = on_a_thread(client, move |cancel| {
        let end = pages(&applied.database(), &head, compression, &queue, &cancel)?;
        Ok((end, applied))
    })
    .await?;
    let length = end.length;
    client.send(Frame::End(end)).await?;
    client.acknowledged(length).await?;
    let Applied { work, log, before, report, swept } = applied;
    work.remove()?;
    let last = RaftPosition { term: log.last.term, index: log.last.index };
    Ok(ReplayDone { last, revision: report.hash_kv.revision, database_revision: before, removed: swept })
}

fn head(applied: &Applied) -> Result<StreamHead, Failure> {
    let database = applied.database();
    let source = File::open(&database).and_then(FileSource::new);
    let source = source.map_err(|error| cannot("open", &database, &error))?;
    let damaged = |error| Failure::new(FailureCode::Incomplete, "the database is damaged").source(&error);
    StreamHead::read(&source).map_err(damaged)
}

/// Queues the pages as etcd sends them. Ends early when the client does not read any more.
fn pages(
    database: &Path,
    head: &StreamHead,
    compression: Compression,
    queue: &mpsc::Sender<Frame>,
    cancel: &Arc<AtomicBool>,
) -> Result<End, Failure> {
    let unread = |error: &std::io::Error| cannot("read", database, error);
    let mut file = File::open(database).map_err(|error| unread(&error))?;
    let begun = head.pages.len() as u64;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(begun)).map_err(|error| unread(&error))?;
    let mut whole = head.pages.as_slice().chain(file.take(head.bytes.saturating_sub(begun)));
    let (mut outgoing, mut digest) = (Outgoing::new(compression), Digest::new());
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let mut piece = Vec::with_capacity(CHUNK);
        let read = (&mut whole).take(CHUNK as u64).read_to_end(&mut piece).map_err(|error| unread(&error))?;
        if read == 0 {
            break;
        }
        digest.update(&piece);
        let sent = queue.blocking_send(Frame::Data(outgoing.chunk(Bytes::from(piece))));
        sent.map_err(|_| Failure::new(FailureCode::Other, "the client does not read any more"))?;
    }
    if outgoing.offset() != head.bytes {
        let message = format!("the database has {} bytes instead of {}", outgoing.offset(), head.bytes);
        return Err(Failure::new(FailureCode::Incomplete, message));
    }
    Ok(End { length: head.bytes, sha256: Sha256(digest.finish()) })
}
