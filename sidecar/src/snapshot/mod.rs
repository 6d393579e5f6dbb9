//! Streams the member's snapshot to the client.
//!
//! Three stages overlap, with at most a few chunks between them: receiving from etcd, compressing (and keeping a copy)
//! in a thread of its own, and writing to the client.

mod assembly;

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client as EtcdClient, SnapshotStreaming};
use etcd_wire::message::{EtcdAccess, SnapshotDone, SnapshotRequest};
use etcd_wire::{Begin, Compression, End, Failure, FailureCode, Frame, Outgoing};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::etcd;
use crate::keep::Unnamed;
use crate::serve::{Client, Stop};
use assembly::Assembly;

/// How long the member may be silent in the middle of its snapshot.
const PATIENCE: Duration = Duration::from_secs(30);
/// Digest that etcd puts after the database.
const DIGEST: u64 = 32;

pub(crate) async fn run(request: SnapshotRequest, client: &mut Client) -> Result<SnapshotDone, Stop> {
    let copy = request.keep.as_deref().map(Unnamed::create).transpose()?;
    let source = client.during(Source::open(&request.etcd)).await??;
    let total = source.total();
    if let Some(copy) = &copy {
        copy.expect_room(total.saturating_add(DIGEST))?;
    }
    client.send(Frame::Begin(Begin { total: Some(total) })).await?;

    let (chunks, cut) = mpsc::channel(1);
    let queue = client.queue();
    let packer = tokio::task::spawn_blocking(move || pack(cut, &queue, request.compression, copy));
    let received = client.during(source.receive(chunks)).await;
    // Also after a failure: what the packer still sends must come before the answer.
    let copy = client.during(packer).await?.map_err(|error| {
        Failure::new(FailureCode::Other, "the sidecar failed to compress the snapshot").source(&error)
    })??;
    let end = received??;
    client.send(Frame::End(end.clone())).await?;

    let copy = match copy {
        Some(mut copy) => {
            copy.write(&end.sha256.0)?;
            Some(copy)
        }
        None => None,
    };
    client.acknowledged(end.length).await?;
    let Some(copy) = copy else { return Ok(SnapshotDone { kept: None }) };
    let kept = client
        .during(tokio::task::spawn_blocking(|| copy.publish()))
        .await?
        .map_err(|error| Failure::new(FailureCode::Other, "the sidecar failed to keep the copy").source(&error))??;
    Ok(SnapshotDone { kept: Some(kept) })
}

/// Makes frames of what was received, and the copy on the node. Ends early when the client does not read any more.
fn pack(
    mut cut: mpsc::Receiver<Bytes>,
    queue: &mpsc::Sender<Frame>,
    compression: Compression,
    mut copy: Option<Unnamed>,
) -> Result<Option<Unnamed>, Stop> {
    let mut outgoing = Outgoing::new(compression);
    while let Some(bytes) = cut.blocking_recv() {
        if let Some(copy) = &mut copy {
            copy.write(&bytes)?;
        }
        queue.blocking_send(Frame::Data(outgoing.chunk(bytes))).map_err(|_| Stop::Deaf)?;
    }
    Ok(copy)
}

/// A snapshot stream that has begun.
pub(crate) struct Source {
    endpoint: String,
    stream: SnapshotStreaming,
    assembly: Assembly,
    first: Vec<u8>,
    first_remaining: u64,
    /// The stream lives as long as its connection.
    _connection: EtcdClient,
}

impl Source {
    pub(crate) async fn open(access: &EtcdAccess) -> Result<Source, Failure> {
        let member = etcd::connect(access).await?;
        let refused = |error| etcd::refusal(&member.endpoint, "take a snapshot of", &error);
        let stream = timeout(PATIENCE, member.client.maintenance_client().snapshot()).await;
        let mut stream = stream.map_err(|_| stalled(&member.endpoint))?.map_err(refused)?;
        let first = timeout(PATIENCE, stream.message()).await.map_err(|_| stalled(&member.endpoint))?;
        let Some(first) = first.map_err(refused)? else {
            return Err(Failure::new(FailureCode::Incomplete, format!("the snapshot of {} is empty", member.endpoint)));
        };
        let (first, remaining) = (first.0.blob, first.0.remaining_bytes);
        let assembly = Assembly::new(&first, remaining);
        Ok(Source {
            endpoint: member.endpoint,
            stream,
            assembly,
            first,
            first_remaining: remaining,
            _connection: member.client,
        })
    }

    /// Bytes of the database.
    pub(crate) fn total(&self) -> u64 {
        self.assembly.total()
    }

    /// Receives it all, and hands it on in chunks.
    pub(crate) async fn receive(mut self, chunks: mpsc::Sender<Bytes>) -> Result<End, Failure> {
        let incomplete = |reason: assembly::Wrong| {
            Failure::new(FailureCode::Incomplete, format!("the snapshot of {} is not whole", self.endpoint))
                .source(&reason)
                .hint("try again; when it happens again, look at etcd's log on the node")
        };
        let mut message = (self.first, self.first_remaining);
        loop {
            let (blob, remaining) = message;
            for chunk in self.assembly.push(&blob, remaining).map_err(incomplete)? {
                if chunks.send(chunk).await.is_err() {
                    // The packer has stopped, and its own result says why.
                    return Err(Failure::new(FailureCode::Other, "the snapshot was given up"));
                }
            }
            message = match timeout(PATIENCE, self.stream.message()).await {
                Ok(Ok(Some(next))) => (next.0.blob, next.0.remaining_bytes),
                Ok(Ok(None)) => return self.assembly.finish().map_err(incomplete),
                Ok(Err(error)) => return Err(etcd::refusal(&self.endpoint, "go on with the snapshot of", &error)),
                Err(_) => return Err(stalled(&self.endpoint)),
            };
        }
    }
}

fn stalled(endpoint: &str) -> Failure {
    let message = format!("{endpoint} sent nothing of its snapshot for {} seconds", PATIENCE.as_secs());
    Failure::new(FailureCode::Etcd, message).hint("look at etcd's log on the node")
}
