//! One session over stdin and stdout.
//!
//! Three parts run at once. The listener reads frames and notices a client that is silent or gone, even while
//! everything else is stuck; the writer sends what is queued, so that no frame is ever cut by what happens meanwhile;
//! between them the session does one request at a time.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use etcd_wire::{Connection, Failure, FailureCode, Frame, Hello, Receiving, Reply, Request, Sending, WireError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::transaction::{self, Enlisted};
use crate::{copies, drill, hash, kept_keys, keys, node, node_files, order, recover, replay, snapshot, status};

/// Frames that wait for the writer. Few, because each may hold a chunk.
const QUEUE: usize = 2;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves the client until it closes its side. An error when it leaves in the middle of something, falls silent, or
/// breaks the protocol.
pub(crate) async fn run(client_timeout: Duration) -> anyhow::Result<()> {
    let greeting =
        Connection::establish(tokio::io::stdin(), tokio::io::stdout(), Hello::ours().of_build(etcd_build::ID));
    let connection = match timeout(client_timeout, greeting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(unwelcome(error).await),
        Err(_) => bail!("no greeting from the client for {client_timeout:?}"),
    };
    let (incoming, outgoing, client) = connection.split();
    tracing::info!(client = client.version, "session");

    let (heard, frames) = mpsc::channel(1);
    let (out, queue) = mpsc::channel(QUEUE);
    let listener = tokio::spawn(listen(incoming, heard, client_timeout));
    let writer = tokio::spawn(write(outgoing, queue));
    let mut client = Client { frames, out, build: client.build };
    let mut enlisted = None;
    let stop = client.serve(&mut enlisted).await;
    if let Some(enlisted) = enlisted {
        enlisted.close().await;
    }
    // It goes on without the client: in the middle of it the node has no etcd.
    transaction::replaced().await;
    let broken = match stop {
        Stop::Protocol(error) => Some(error),
        Stop::Deaf => {
            writer.await?.context("cannot write to the client")?;
            bail!("the client does not read any more");
        }
        Stop::Closed { busy } => match listener.await? {
            Ok(()) if busy => bail!("the client went away in the middle of a request"),
            Ok(()) => None,
            Err(Lost::Silent) => bail!("nothing heard from the client for {client_timeout:?}"),
            Err(Lost::Wire(error)) => Some(error),
        },
        Stop::Failed(failure) | Stop::GaveUp(failure) => bail!("a failure outside of a request: {failure}"),
        Stop::Told => bail!("a failure outside of a request"),
    };
    let Some(error) = broken else { return Ok(()) };
    // The queue may be full of what a client that does not read any more should have got.
    let farewell = async move {
        if client.out.send(Frame::Failure(complaint(&error))).await.is_ok() {
            drop(client);
            // What the writer reports is of no use any more: the complaint itself is in the log.
            let _ = writer.await;
        }
        error
    };
    match timeout(FAREWELL, farewell).await {
        Ok(error) => Err(anyhow!(error).context("the client broke the protocol")),
        Err(_) => bail!("the client broke the protocol, and does not read why"),
    }
}

/// A conversation that does not begin. Told to the client where it can understand it.
async fn unwelcome(error: WireError) -> anyhow::Error {
    let understands =
        !matches!(error, WireError::NotOurs(_) | WireError::Version { .. } | WireError::Eof { .. } | WireError::Io(_));
    let mut bytes = Vec::new();
    if understands && Frame::Failure(complaint(&error)).encode(&mut bytes).is_ok() {
        let mut stdout = tokio::io::stdout();
        let farewell = async {
            stdout.write_all(&bytes).await?;
            stdout.flush().await
        };
        if let Ok(Err(error)) = timeout(FAREWELL, farewell).await {
            tracing::warn!("cannot tell the client what is wrong: {error}");
        }
    }
    anyhow!(error).context("the conversation does not begin")
}

fn complaint(error: &WireError) -> Failure {
    Failure::new(FailureCode::BadRequest, "the client broke the protocol").source(error)
}

/// Why a request, or the whole session, does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The request failed; the session goes on.
    Failed(Failure),
    /// The client does not want it any more; the session goes on.
    GaveUp(Failure),
    /// The client closed its side, or was given up.
    Closed {
        /// In the middle of a request.
        busy: bool,
    },
    /// The request failed, and the client has been told so; the session goes on.
    Told,
    /// The client cannot be written to.
    Deaf,
    /// The client sent what it must not.
    Protocol(WireError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// The client, as a request's work sees it.
#[derive(Debug)]
pub(crate) struct Client {
    frames: mpsc::Receiver<Frame>,
    out: mpsc::Sender<Frame>,
    /// Which build it says it is.
    build: Option<String>,
}

impl Client {
    /// Does work, and stops it when the client gives up or goes away meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            frame = self.frames.recv() => Err(match frame {
                None => Stop::Closed { busy: true },
                Some(Frame::Failure(failure)) => Stop::GaveUp(failure),
                Some(other) => Stop::Protocol(WireError::Unexpected { got: other.name(), expected: "ping" }),
            }),
            done = work => Ok(done),
        }
    }

    /// The client's next frame, in the middle of a request.
    pub(crate) async fn next(&mut self) -> Result<Frame, Stop> {
        match self.frames.recv().await {
            None => Err(Stop::Closed { busy: true }),
            Some(Frame::Failure(failure)) => Err(Stop::GaveUp(failure)),
            Some(frame) => Ok(frame),
        }
    }

    /// Queues a frame.
    pub(crate) async fn send(&mut self, frame: Frame) -> Result<(), Stop> {
        let out = self.out.clone();
        self.during(out.send(frame)).await?.map_err(|_| Stop::Deaf)
    }

    /// The writer's queue, for a thread that makes frames by itself.
    pub(crate) fn queue(&self) -> mpsc::Sender<Frame> {
        self.out.clone()
    }

    /// Waits until the client says that it has `length` bytes.
    pub(crate) async fn acknowledged(&mut self, length: u64) -> Result<(), Stop> {
        match self.frames.recv().await {
            None => Err(Stop::Closed { busy: true }),
            Some(Frame::Ack(ack)) if ack.length == length => Ok(()),
            Some(Frame::Ack(ack)) => Err(Stop::Protocol(WireError::Length { expected: length, got: ack.length })),
            Some(Frame::Failure(failure)) => Err(Stop::GaveUp(failure)),
            Some(other) => Err(Stop::Protocol(WireError::Unexpected { got: other.name(), expected: "ack" })),
        }
    }

    /// Does requests until there are no more.
    async fn serve(&mut self, enlisted: &mut Option<Enlisted>) -> Stop {
        loop {
            let request = match self.frames.recv().await {
                Some(Frame::Request(request)) => request,
                // It gave up what had just been answered.
                Some(Frame::Failure(failure)) => {
                    tracing::info!("the client: {failure}");
                    continue;
                }
                Some(other) => {
                    return Stop::Protocol(WireError::Unexpected { got: other.name(), expected: "request" });
                }
                None => return Stop::Closed { busy: false },
            };
            let answer = match self.answer(request, enlisted).await {
                Err(Stop::Told) => continue,
                Ok(reply) => Frame::Reply(reply),
                Err(Stop::Failed(failure)) => {
                    tracing::warn!(causes = ?failure.causes, "{failure}");
                    Frame::Failure(failure)
                }
                Err(Stop::GaveUp(failure)) => {
                    tracing::info!("the client gave up: {failure}");
                    Frame::Failure(Failure::new(FailureCode::Other, "the client gave up").cause(failure))
                }
                Err(stop) => return stop,
            };
            if let Err(stop) = self.send(answer).await {
                return stop;
            }
        }
    }

    /// Refuses what removes something for a client of another build.
    fn require_own_build(&self) -> Result<(), Failure> {
        if self.build.as_deref() == Some(etcd_build::ID) {
            return Ok(());
        }
        let message = format!("the client is another build than the sidecar, which is {}", etcd_build::ID);
        Err(Failure::new(FailureCode::Refused, message))
    }

    async fn answer(&mut self, request: Request, enlisted: &mut Option<Enlisted>) -> Result<Reply, Stop> {
        let prepared = || Failure::new(FailureCode::BadRequest, "the node has not been prepared");
        match request {
            Request::Status(request) => Ok(Reply::Status(Box::new(self.during(status::run(request)).await?))),
            Request::Snapshot(request) => Ok(Reply::Snapshot(snapshot::run(request, self).await?)),
            Request::HashKv(request) => Ok(Reply::HashKv(self.during(hash::run(request)).await??)),
            Request::Keys(request) => Ok(Reply::Keys(keys::run(request, self).await?)),
            Request::KeptKeys(request) => Ok(Reply::KeptKeys(kept_keys::run(request, self).await?)),
            Request::NodeFiles(request) => Ok(Reply::NodeFiles(node_files::run(request, self).await?)),
            Request::Copies(request) => Ok(Reply::Copies(copies::find(request, self).await?)),
            Request::CheckCopy(request) => Ok(Reply::CheckedCopy(copies::check(request, self).await?)),
            Request::Facts(request) => Ok(Reply::Facts(Box::new(self.during(node::facts(request)).await??))),
            Request::Survey(request) => Ok(Reply::Survey(Box::new(self.during(recover::survey(request)).await??))),
            Request::Services => Ok(Reply::Services(Box::new(tokio::task::block_in_place(node::etcds::started)))),
            Request::Replay(request) => Ok(Reply::Replay(replay::send(*request, self).await?)),
            Request::Drill(request) => Ok(Reply::Drill(drill::session::run(*request, self).await?)),
            Request::Prepare(request) => {
                if enlisted.is_some() {
                    return Err(Failure::new(FailureCode::BadRequest, "a session prepares one restore").into());
                }
                let (node, prepared) = self.during(Enlisted::prepare(*request)).await??;
                *enlisted = Some(node);
                Ok(Reply::Prepared(prepared))
            }
            Request::Stage(request) => {
                let staged = enlisted.as_mut().ok_or_else(prepared)?.stage(request, self).await;
                staged.map(Reply::Staged)
            }
            Request::Arm(request) => {
                self.during(enlisted.as_mut().ok_or_else(prepared)?.arm(*request)).await??;
                Ok(Reply::Armed)
            }
            Request::Commit => {
                self.during(enlisted.as_mut().ok_or_else(prepared)?.commit()).await??;
                Ok(Reply::Committing)
            }
            Request::Restores => Ok(Reply::Restores { restores: self.during(transaction::all()).await?? }),
            Request::RemoveAside(request) => {
                self.require_own_build()?;
                Ok(Reply::Restores { restores: transaction::remove(&request.ids)? })
            }
            Request::Direct(request) => {
                self.during(transaction::direct(*request)).await??;
                Ok(Reply::Armed)
            }
            Request::Replace(plan) => {
                let begun = self.during(transaction::replace(*plan)).await??;
                Ok(Reply::Replacement(Box::new(begun)))
            }
            Request::Replacement { id } => {
                let known = tokio::task::block_in_place(|| transaction::replacement(&id))?;
                Ok(Reply::Replacement(Box::new(known)))
            }
            Request::UnfinishedReplacement => {
                let plan = tokio::task::block_in_place(transaction::unfinished_replacement)?;
                Ok(Reply::UnfinishedReplacement { plan: plan.map(Box::new) })
            }
            Request::ReplacedData(request) => {
                let replacements = tokio::task::block_in_place(|| transaction::replaced_data(&request))?;
                Ok(Reply::ReplacedData { replacements })
            }
            Request::RemoveReplacedData(request) => {
                self.require_own_build()?;
                let removed = tokio::task::block_in_place(|| transaction::remove_replaced_data(&request.ids))?;
                Ok(Reply::ReplacedData { replacements: removed })
            }
            Request::Order(request) => Ok(Reply::Ordered { outcome: self.during(order::carry_out(request)).await? }),
            Request::Message { .. } | Request::Query { .. } | Request::Control(_) => {
                Err(Failure::new(FailureCode::BadRequest, "orders are for the nodes of a restore among themselves")
                    .into())
            }
            Request::Unknown => {
                let message =
                    format!("version {} of the sidecar does not know this request", env!("CARGO_PKG_VERSION"));
                Err(Failure::new(FailureCode::Unsupported, message).into())
            }
        }
    }
}

/// Why nothing more is heard.
#[derive(Debug)]
enum Lost {
    /// No frame for the client timeout.
    Silent,
    /// The bytes are no frames.
    Wire(WireError),
}

/// Passes on what the client says, but for pings. Ends with the input; dropping `heard` is how the session notices.
async fn listen<R: AsyncRead + Unpin>(
    mut incoming: Receiving<R>,
    heard: mpsc::Sender<Frame>,
    client_timeout: Duration,
) -> Result<(), Lost> {
    loop {
        let frame = match timeout(client_timeout, incoming.maybe_next()).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(Lost::Wire(error)),
            Err(_) => return Err(Lost::Silent),
        };
        if frame != Frame::Ping && heard.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut outgoing: Sending<W>,
    mut queue: mpsc::Receiver<Frame>,
) -> Result<(), WireError> {
    while let Some(frame) = queue.recv().await {
        outgoing.send(&frame).await?;
    }
    Ok(())
}
