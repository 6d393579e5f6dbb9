//! A conversation with a sidecar over an open road.

use std::any::Any;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use etcd_wire::facts::{FactsRequest, NodeFacts};
use etcd_wire::message::{
    HashKvRequest, KeptKeysDone, KeptKeysRequest, KeysDone, KeysRequest, MAX_NODE_FILES, MemberHash, NodeFilesDone,
    NodeFilesRequest, NodeStatus, Reply, Request, SnapshotDone, SnapshotRequest, StatusRequest,
};
use etcd_wire::order::{OrderOutcome, OrderRequest};
use etcd_wire::services::NodeServices;
use etcd_wire::survey::{NodeSurvey, SurveyRequest};
use etcd_wire::{
    Ack, Begin, Connection as Wire, Digest, End, Frame, Hello, Incoming, MAX_KEYS_BYTES, Preface, Receiving, WireError,
    keys_bound,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::voice::Voice;
use crate::output::{Exit, Failed, Outcome};
use crate::road::{Channel, Reader};

/// Chunks that wait for the thread that checks and writes them.
pub(super) const CHUNKS_AHEAD: usize = 4;
/// The sidecar gives up a silent etcd after 30 seconds and says so; a sidecar silent for longer is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
const GREETING: Duration = Duration::from_secs(30);
/// How long a node may read log and database.
const SURVEY: Duration = Duration::from_secs(600);
/// How long to wait for the last of what a process that has ended was saying.
const LAST_WORDS: Duration = Duration::from_secs(2);
const STDERR_KEPT: usize = 4096;

/// Where a received stream goes, byte by byte in order. Called on a thread that may block.
pub(crate) trait Sink: Send + 'static {
    /// So many bytes will come, at most. Before the first of them.
    fn expect(&mut self, _bytes: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// `done` of `total` bytes (0: unknown) have been written.
    fn progress(&mut self, done: u64, total: u64);
}

/// A stream that came whole: its length and SHA-256 are what its sender said.
pub(crate) struct Received<S> {
    pub(crate) sink: S,
    pub(crate) end: End,
    /// SHA-256 so far, to be continued over what is appended.
    pub(crate) digest: Digest,
}

/// How a transfer failed.
pub(crate) enum TransferError {
    /// The road broke: a new conversation may fare better.
    Transport(Failed),
    /// It would fail again.
    Final(Failed),
}

impl TransferError {
    pub(crate) fn into_failed(self) -> Failed {
        match self {
            TransferError::Transport(failed) | TransferError::Final(failed) => failed,
        }
    }
}

/// An open conversation. Dropped, it is cut; the sidecar sees the end of its input.
pub(crate) struct Session {
    pub(super) incoming: Receiving<Reader>,
    pub(super) voice: Voice,
    stderr: Arc<std::sync::Mutex<String>>,
    held: Box<dyn Any + Send + Sync>,
    peer: Hello,
    pub(super) place: String,
}

impl Session {
    /// Starts a conversation over an open road.
    ///
    /// # Errors
    /// What answers is not a sidecar of this protocol version (exit 4), or the road breaks.
    pub(crate) async fn establish(channel: Channel) -> Result<Session, TransferError> {
        let Channel { stdin, stdout, stderr, ended, place, another, held } = channel;
        let (stderr, heard) = keep_tail(stderr);
        let greeting = Wire::establish(stdout, stdin, Hello::ours().of_build(etcd_build::ID));
        let wire = match tokio::time::timeout(GREETING, greeting).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => {
                let said = tokio::time::timeout(LAST_WORDS, ended.clone()).await.ok().flatten();
                let said = said.filter(|message| !message.is_empty()).map(|mut message| {
                    keep_last(&mut message, STDERR_KEPT);
                    message
                });
                // The reason may arrive on stderr after the exit code.
                let _all_or_late = tokio::time::timeout(LAST_WORDS, heard).await;
                let transport = error.is_transport();
                let failed = not_greeted(error, &place, &another, said, &stderr);
                return Err(if transport { TransferError::Transport(failed) } else { TransferError::Final(failed) });
            }
            Err(_) => {
                let failed = Failed::plain(format!("cannot talk to the sidecar in {place}"));
                let silent = format!("no answer for {}s", GREETING.as_secs());
                return Err(TransferError::Transport(failed.cause(silent)));
            }
        };
        let (incoming, outgoing, peer) = wire.split();
        let voice = Voice::new(outgoing, ended);
        Ok(Session { incoming, voice, stderr, held, peer, place })
    }

    /// Whether the road that it goes over still stands, as far as is known here.
    pub(crate) fn stands(&self) -> bool {
        self.voice.stands()
    }

    /// How the sidecar introduced itself.
    pub(crate) fn peer(&self) -> &Hello {
        &self.peer
    }

    /// Refuses to go on with a sidecar that lacks a capability (exit 4).
    pub(crate) fn require(&self, capability: &str) -> Outcome {
        if self.peer.can(capability) {
            return Ok(());
        }
        let version = &self.peer.version;
        Err(Failed::new(Exit::Refused, format!("the sidecar of version {version} cannot do this: {capability}")))
    }

    /// Asks how the member on the sidecar's node is.
    pub(crate) async fn status(&mut self, request: StatusRequest) -> Outcome<NodeStatus> {
        match self
            .ask(Request::Status(request), "ask for the status", SILENCE)
            .await
            .map_err(TransferError::into_failed)?
        {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Asks what the keys of the member on the sidecar's node hash to.
    pub(crate) async fn hash_kv(&mut self, request: HashKvRequest) -> Outcome<MemberHash> {
        match self
            .ask(Request::HashKv(request), "ask for the hash of the keys", SILENCE)
            .await
            .map_err(TransferError::into_failed)?
        {
            Reply::HashKv(hash) => Ok(hash),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Gives the member an order, and waits for its end. It is sent once.
    ///
    /// # Errors
    /// Nobody knows what became of it.
    pub(crate) async fn order(&mut self, request: OrderRequest) -> Outcome<OrderOutcome> {
        let patience = request.order.limit() + SILENCE;
        let asked = self.ask(Request::Order(request), "give an order to etcd", patience).await;
        match asked.map_err(TransferError::into_failed)? {
            Reply::Ordered { outcome } => Ok(outcome),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Sends a request that is answered by one reply, and waits for that as long as `patience`.
    pub(super) async fn ask(
        &mut self,
        request: Request,
        doing: &str,
        patience: Duration,
    ) -> Result<Reply, TransferError> {
        if let Err(error) = self.send(Frame::Request(request)).await {
            return Err(self.broken(error, doing));
        }
        match next(&mut self.incoming, "the reply", patience).await {
            Ok(Frame::Reply(reply)) => Ok(reply),
            Ok(other) => Err(self.unexpected(other)),
            Err(error) => Err(self.broken(error, doing)),
        }
    }

    /// Ends the conversation in order: the sidecar hears that nothing more comes, and gets as long as `patience` to take back what
    /// it has begun.
    pub(crate) async fn close(self, patience: Duration) {
        let Session { voice, held, .. } = self;
        voice.close(patience).await;
        drop(held);
    }

    /// Asks what the disk of the sidecar's node tells about a restore.
    pub(crate) async fn facts(&mut self, request: FactsRequest) -> Outcome<NodeFacts> {
        let asked = async {
            self.send(Frame::Request(Request::Facts(request))).await?;
            self.next("the facts").await
        };
        match asked.await.map_err(|error| self.broken(error, "ask about the node's disk").into_failed())? {
            Frame::Reply(Reply::Facts(facts)) => Ok(*facts),
            other => Err(self.unexpected(other).into_failed()),
        }
    }

    /// Asks what is left of etcd on the sidecar's node.
    pub(crate) async fn survey(&mut self, request: SurveyRequest) -> Outcome<NodeSurvey> {
        self.require("survey")?;
        let asked = self.ask(Request::Survey(request), "read what is left of etcd", SURVEY).await;
        match asked.map_err(TransferError::into_failed)? {
            Reply::Survey(survey) => Ok(*survey),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Asks which etcd the sidecar's node starts outside of static pods.
    pub(crate) async fn services(&mut self) -> Outcome<NodeServices> {
        self.require("services")?;
        let asked = self.ask(Request::Services, "ask how etcd is started", SILENCE).await;
        match asked.map_err(TransferError::into_failed)? {
            Reply::Services(services) => Ok(*services),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Receives a snapshot into `sink`, checked chunk by chunk and as a whole. The sidecar then waits for
    /// [`Session::acknowledge`].
    pub(crate) async fn snapshot<S: Sink>(
        &mut self,
        request: SnapshotRequest,
        sink: S,
    ) -> Result<Received<S>, TransferError> {
        self.receive(Request::Snapshot(request), "receive the snapshot", None, SILENCE, sink).await
    }

    /// Receives the keys of the member on the sidecar's node, record by record as [`etcd_wire::KeyRecords`] takes them apart: no more than
    /// a database of this size can have.
    pub(crate) async fn keys<S: Sink>(
        &mut self,
        request: KeysRequest,
        database_bytes: u64,
        sink: S,
    ) -> Outcome<(S, KeysDone)> {
        let bound = Some(keys_bound(database_bytes));
        let received = self.receive(Request::Keys(request), "receive the keys", bound, SILENCE, sink).await;
        let Received { sink, end, .. } = received.map_err(TransferError::into_failed)?;
        match self.last_word(end.length).await.map_err(TransferError::into_failed)? {
            Reply::Keys(done) => Ok((sink, done)),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Receives the changes of keys in the data that a restore has kept on the sidecar's node: as [`etcd_wire::KeyRecords::of_changes`]
    /// takes them apart.
    pub(crate) async fn kept_keys<S: Sink>(&mut self, request: KeptKeysRequest, sink: S) -> Outcome<(S, KeptKeysDone)> {
        let doing = "list the keys of the old data";
        let received = self.receive(Request::KeptKeys(request), doing, Some(MAX_KEYS_BYTES), SILENCE, sink);
        let Received { sink, end, .. } = received.await.map_err(TransferError::into_failed)?;
        match self.last_word(end.length).await.map_err(TransferError::into_failed)? {
            Reply::KeptKeys(done) => Ok((sink, done)),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Receives an archive of files of the sidecar's node. It is in clear, and was not looked at.
    pub(crate) async fn node_files<S: Sink>(
        &mut self,
        request: NodeFilesRequest,
        sink: S,
    ) -> Outcome<(S, NodeFilesDone)> {
        let doing = "read the files of the node";
        let received = self.receive(Request::NodeFiles(request), doing, Some(MAX_NODE_FILES), SILENCE, sink);
        let Received { sink, end, .. } = received.await.map_err(TransferError::into_failed)?;
        match self.last_word(end.length).await.map_err(TransferError::into_failed)? {
            Reply::NodeFiles(done) => Ok((sink, done)),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// `patience` is how long the stream may take to begin.
    pub(super) async fn receive<S: Sink>(
        &mut self,
        request: Request,
        doing: &'static str,
        unannounced: Option<u64>,
        patience: Duration,
        sink: S,
    ) -> Result<Received<S>, TransferError> {
        if let Err(error) = self.send(Frame::Request(request)).await {
            return Err(self.broken(error, doing));
        }
        receive(&mut self.incoming, unannounced, patience, sink).await.map_err(|broken| match broken {
            Broken::Wire(error) => self.broken(error, doing),
            Broken::Other(frame) => self.unexpected(*frame),
            Broken::Disk(error) => TransferError::Final(Failed::plain("cannot write what was received").source(&error)),
            Broken::Writer(why) => TransferError::Final(Failed::plain(format!("cannot {doing}")).cause(why)),
        })
    }

    /// Tells the sidecar that the whole stream is here and verified, and waits for its last word.
    ///
    /// # Errors
    /// After [`TransferError::Transport`] nobody knows whether the node has kept its copy.
    pub(crate) async fn acknowledge(&mut self, length: u64) -> Result<SnapshotDone, TransferError> {
        match self.last_word(length).await? {
            Reply::Snapshot(done) => Ok(done),
            other => Err(self.unexpected(Frame::Reply(other))),
        }
    }

    pub(super) async fn last_word(&mut self, length: u64) -> Result<Reply, TransferError> {
        let acknowledged = async {
            self.send(Frame::Ack(Ack { length })).await?;
            self.next("the sidecar's last word").await
        };
        match acknowledged.await.map_err(|error| self.broken(error, "finish with the sidecar"))? {
            Frame::Reply(reply) => Ok(reply),
            other => Err(self.unexpected(other)),
        }
    }

    async fn send(&self, frame: Frame) -> Result<(), WireError> {
        self.voice.send(&frame).await
    }

    async fn next(&mut self, expected: &'static str) -> Result<Frame, WireError> {
        next(&mut self.incoming, expected, SILENCE).await
    }

    pub(super) fn broken(&self, error: WireError, doing: &str) -> TransferError {
        let failed =
            Failed::plain(format!("cannot {doing} from {}", self.place)).source(&error).causes(said(&self.stderr));
        if error.is_transport() { TransferError::Transport(failed) } else { TransferError::Final(failed) }
    }

    pub(super) fn unexpected(&self, frame: Frame) -> TransferError {
        TransferError::Final(match frame {
            Frame::Failure(failure) => failure.into(),
            other => Failed::plain(format!("cannot talk to the sidecar in {}", self.place))
                .cause(format!("it sent a {} frame, which has no place here", other.name())),
        })
    }
}

/// Why a stream did not come whole.
#[derive(Debug)]
enum Broken {
    Wire(WireError),
    /// A frame that has no place in a stream; a failure among them.
    Other(Box<Frame>),
    Disk(std::io::Error),
    Writer(String),
}

/// Receives a stream into `sink`, no longer than was announced. `unannounced` is how long one may be whose length is not told; without it,
/// the length must be. It begins within `patience`.
async fn receive<R: AsyncRead + Unpin, S: Sink>(
    incoming: &mut Receiving<R>,
    unannounced: Option<u64>,
    patience: Duration,
    mut sink: S,
) -> Result<Received<S>, Broken> {
    let announced = match next(incoming, "the stream", patience).await.map_err(Broken::Wire)? {
        Frame::Begin(begin) => begin.total,
        other => return Err(Broken::Other(Box::new(other))),
    };
    let limit = match (announced, unannounced) {
        (Some(announced), Some(most)) => announced.min(most),
        (Some(limit), None) | (None, Some(limit)) => limit,
        (None, None) => return Err(Broken::Other(Box::new(Frame::Begin(Begin { total: None })))),
    };
    sink.expect(limit).map_err(Broken::Disk)?;
    let (chunks, mut waiting) = mpsc::channel(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        let mut incoming = Incoming::new(limit);
        while let Some(chunk) = waiting.blocking_recv() {
            let bytes = incoming.accept(&chunk).map_err(Broken::Wire)?;
            sink.write(&bytes).map_err(Broken::Disk)?;
            sink.progress(incoming.offset(), announced.unwrap_or(0));
        }
        Ok((sink, incoming))
    });
    let end = loop {
        match next(incoming, "the end of the stream", SILENCE).await {
            Ok(Frame::Data(chunk)) => {
                if chunks.send(chunk).await.is_err() {
                    break None; // The writer has failed; it says why below.
                }
            }
            Ok(Frame::End(end)) => break Some(Ok(end)),
            Ok(other) => break Some(Err(Broken::Other(Box::new(other)))),
            Err(error) => break Some(Err(Broken::Wire(error))),
        }
    };
    drop(chunks);
    // However the stream ended: a writer that went on would write into the next attempt's file.
    let (sink, incoming) = writer.await.map_err(|error| Broken::Writer(error.to_string()))??;
    let end = end.ok_or_else(|| Broken::Writer("the writer ended early".to_owned()))??;
    let digest = incoming.finish(&end).map_err(Broken::Wire)?;
    Ok(Received { sink, end, digest })
}

/// The next frame, which must come within `patience`.
pub(super) async fn next<R: AsyncRead + Unpin>(
    incoming: &mut Receiving<R>,
    expected: &'static str,
    patience: Duration,
) -> Result<Frame, WireError> {
    match tokio::time::timeout(patience, incoming.next(expected)).await {
        Ok(frame) => frame,
        Err(_) => Err(WireError::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("nothing came for {}s", patience.as_secs()),
        ))),
    }
}

/// Reads stderr to its end in the background and keeps the last of it.
/// Keeps the last of what a process says to people. The task ends with the stream.
fn keep_tail(mut stderr: Reader) -> (Arc<std::sync::Mutex<String>>, JoinHandle<()>) {
    let kept = Arc::new(std::sync::Mutex::new(String::new()));
    let tail = Arc::clone(&kept);
    let heard = tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.push_str(&String::from_utf8_lossy(&buffer[..read]));
            keep_last(&mut tail, STDERR_KEPT);
        }
    });
    (kept, heard)
}

/// Takes away what is too much from the beginning.
fn keep_last(text: &mut String, bytes: usize) {
    let mut begin = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    text.drain(..begin);
}

fn said(stderr: &std::sync::Mutex<String>) -> Option<String> {
    let text = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    // Its log of an ordinary course explains nothing.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" INFO ")).collect();
    (!lines.is_empty()).then(|| format!("the sidecar said: {}", lines.join("; ")))
}

fn not_greeted(
    error: WireError,
    place: &str,
    another: &str,
    status: Option<String>,
    stderr: &std::sync::Mutex<String>,
) -> Failed {
    if let WireError::Version { theirs } = error {
        return Failed::new(Exit::Refused, format!("the sidecar in {place} speaks another protocol version"))
            .cause(format!("it speaks {theirs}, this plugin {}", Preface::OURS))
            .hint(format!("take the one that belongs to this plugin: {another}"));
    }
    let failed = Failed::plain(format!("cannot talk to the sidecar in {place}"));
    let failed = failed.source(&error).causes(status).causes(said(stderr));
    match error {
        WireError::NotOurs(_) => {
            failed.hint(format!("this may not be a sidecar; take the one that belongs to this plugin: {another}"))
        }
        _ => failed,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
