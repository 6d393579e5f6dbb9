//! The keys of the data that a restore has kept on this node, without their values: what a rollback compares the cluster with.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use etcd_snapshot::{DigestCheck, FileSource, Options, key_changes};
use etcd_wire::message::{KeptKeysDone, KeptKeysRequest};
use etcd_wire::{CHUNK, Compression, Digest, End, Failure, FailureCode, Frame, KeyRecord, Outgoing, Sha256};
use tokio::sync::mpsc;

use crate::serve::{Client, Stop};
use crate::streaming::stream;
use crate::transaction::kept_database;

pub(crate) async fn run(request: KeptKeysRequest, client: &mut Client) -> Result<KeptKeysDone, Stop> {
    let place = kept_database(&request.data_dir, &request.id)?;
    let unread = |error: std::io::Error| {
        let message = format!("cannot read the old data in {}", place.display());
        Failure::new(FailureCode::Storage, message).source(&error)
    };
    let file = place.open_file().map_err(unread)?;
    stream(client, move |queue, cancel| read(file, request.compression, queue, &cancel)).await
}

/// Reads a database of etcd's own, which has no digest, and queues its changes in chunks.
fn read(
    file: File,
    compression: Compression,
    queue: mpsc::Sender<Frame>,
    cancel: &AtomicBool,
) -> Result<(End, KeptKeysDone), Failure> {
    let failed =
        |error: &dyn std::error::Error| Failure::new(FailureCode::Refused, "cannot read the old data").source(error);
    let source = FileSource::new(file).map_err(|error| failed(&error))?;
    let mut stream =
        Stream { outgoing: Outgoing::new(compression), digest: Digest::new(), gathered: Vec::new(), queue };
    let (mut count, mut unfit) = (0, None);
    let mut each = |key: &[u8], revision: Option<i64>| {
        if unfit.is_some() {
            return;
        }
        count += 1;
        unfit = KeyRecord { mod_revision: revision.unwrap_or(0), key }.encode(&mut stream.gathered).err();
        let sent = stream.gathered.len() < CHUNK || stream.send(CHUNK);
        if !sent || unfit.is_some() {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let options = Options { digest: DigestCheck::Skip, cancel: Some(cancel), ..Options::default() };
    let report = key_changes(&source, &options, &mut each, &|_| {});
    if let Some(error) = unfit {
        return Err(failed(&error));
    }
    let report = report.map_err(|error| failed(&error))?;
    stream.send(1);
    let end = End { length: stream.outgoing.offset(), sha256: Sha256(stream.digest.finish()) };
    Ok((end, KeptKeysDone { revision: report.current_revision, count }))
}

/// What was gathered of the stream, and the way to the client.
struct Stream {
    outgoing: Outgoing,
    digest: Digest,
    gathered: Vec<u8>,
    queue: mpsc::Sender<Frame>,
}

impl Stream {
    /// Sends pieces until fewer bytes than this are left; false if the client is gone.
    fn send(&mut self, least: usize) -> bool {
        let mut from = 0;
        let mut sent = true;
        while sent && self.gathered.len() - from >= least {
            let piece = &self.gathered[from..self.gathered.len().min(from + CHUNK)];
            self.digest.update(piece);
            from += piece.len();
            let frame = Frame::Data(self.outgoing.chunk(Bytes::copy_from_slice(piece)));
            sent = self.queue.blocking_send(frame).is_ok();
        }
        self.gathered.drain(..from);
        sent
    }
}
