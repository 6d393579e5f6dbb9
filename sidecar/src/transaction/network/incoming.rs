//! What other nodes say: only the plan's addresses are accepted, with a place each.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_transaction::{Node, NodeSet};
use etcd_wire::{Connection, Failure, FailureCode, Frame, Hello, Reply, Request, WireError};
use rustls::ServerConfig;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::addresses::Addresses;
use super::credentials::{Credentials, owner};
use super::heard::Heard;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Handshakes at one time from one address. Of more the oldest ends.
const HANDSHAKES: usize = 4;
/// How long a connection may stay without a request.
const IDLE: Duration = Duration::from_secs(30);
/// How long this node may take to answer a query.
const ANSWER: Duration = Duration::from_secs(5);

type Greeted = Connection<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>;

/// Whose connection one is. Each has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    /// A node that proves who it is.
    Node(Node),
    /// Somebody at an address of the plan who proves nothing.
    Asker(IpAddr),
}

/// Ends the connection that has the receiver when it is dropped.
type Place = oneshot::Sender<()>;

/// Who may come in, and where what they say goes.
pub(super) struct Door {
    pub(super) addresses: Arc<Addresses>,
    /// ID of the restore. Another one may have nodes with the same identities.
    pub(super) restore: String,
    /// How many nodes the plan has.
    pub(super) nodes: u8,
    pub(super) credentials: watch::Receiver<Arc<Credentials>>,
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) places: Places,
}

#[derive(Default)]
pub(super) struct Places(Mutex<BTreeMap<Peer, Place>>);

impl Places {
    /// Takes a peer's place. Whoever had it until now loses it: a connection that is half open must not keep out the next one.
    fn take(&self, peer: Peer) -> oneshot::Receiver<()> {
        let (place, lost) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, place);
        lost
    }
}

/// Accepts connections, for ever.
pub(super) async fn listen(listener: TcpListener, door: Arc<Door>) {
    let mut conversations = JoinSet::new();
    let mut handshakes: BTreeMap<IpAddr, VecDeque<Place>> = BTreeMap::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = conversations.join_next() => continue,
        };
        let (stream, remote) = match accepted {
            Ok((stream, remote)) => (stream, remote.ip().to_canonical()),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let nodes = door.addresses.others_at(remote);
        if nodes.is_empty() {
            tracing::debug!("connection from {remote} closed: it is the address of no other node of the plan");
            continue;
        }
        let Some(server) = door.credentials.borrow().server.clone() else {
            tracing::debug!("connection from {remote} closed: this node has no certificate");
            continue;
        };
        let under_way = handshakes.entry(remote).or_default();
        under_way.retain(|place| !place.is_closed());
        let excess = (under_way.len() + 1).saturating_sub(HANDSHAKES);
        under_way.drain(..excess);
        let (place, evicted) = oneshot::channel();
        under_way.push_back(place);
        let door = Arc::clone(&door);
        conversations.spawn(async move {
            if let Err(error) = door.receive(stream, server, remote, nodes, evicted).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "connection from {remote} ended");
            }
        });
    }
}

impl Door {
    async fn receive(
        &self,
        stream: TcpStream,
        server: Arc<ServerConfig>,
        remote: IpAddr,
        nodes: NodeSet,
        evicted: oneshot::Receiver<()>,
    ) -> Result<(), WireError> {
        let (connection, from) = tokio::select! {
            greeted = tokio::time::timeout(HANDSHAKE, self.greet(stream, server, nodes)) => greeted.map_err(|_| silent())??,
            _ = evicted => return Err(refused("newer connections from this address took its place")),
        };
        let lost = self.places.take(from.map_or(Peer::Asker(remote), Peer::Node));
        tokio::select! {
            ended = self.converse(connection, from) => ended,
            _ = lost => Err(refused("a newer connection of the same node took its place")),
        }
    }

    async fn greet(
        &self,
        stream: TcpStream,
        server: Arc<ServerConfig>,
        nodes: NodeSet,
    ) -> Result<(Greeted, Option<Node>), WireError> {
        stream.set_nodelay(true)?;
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let from = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => {
                let of = owner(certificate, self.nodes);
                let of = of.ok_or_else(|| refused("the certificate is for no node of the plan"))?;
                Some(of)
                    .filter(|&of| nodes.contains(of))
                    .ok_or_else(|| refused("the certificate is another node's"))
                    .map(Some)?
            }
            None => None,
        };
        let (reader, writer) = tokio::io::split(stream);
        let connection = Connection::establish(reader, writer, Hello::ours().of_build(etcd_build::ID)).await?;
        Ok((connection, from))
    }

    async fn converse(&self, mut connection: Greeted, from: Option<Node>) -> Result<(), WireError> {
        let gone = || refused("this node does not listen any more");
        loop {
            let request =
                tokio::time::timeout(IDLE, connection.incoming.maybe_next()).await.map_err(|_| silent())??;
            let reply = match (request, from) {
                (None, _) => return Ok(()),
                (Some(Frame::Request(Request::Message { of, .. } | Request::Query { of })), _)
                    if of != self.restore =>
                {
                    let what = format!("this node takes part in restore {}, not in {of}", self.restore);
                    connection.outgoing.send(&Frame::Failure(Failure::new(FailureCode::Refused, &what))).await?;
                    return Err(refused(&what));
                }
                (Some(Frame::Request(Request::Message { message, .. })), Some(from)) => {
                    self.heard.send(Heard::Message { from, message: *message }).await.map_err(|_| gone())?;
                    Reply::Heard
                }
                (Some(Frame::Request(Request::Query { of })), _) => {
                    let (answer, answered) = oneshot::channel();
                    self.heard.send(Heard::Queried { answer }).await.map_err(|_| gone())?;
                    let answered = tokio::time::timeout(ANSWER, answered).await.map_err(|_| silent())?;
                    Reply::Answer { of, answer: answered.map_err(|_| gone())? }
                }
                (Some(Frame::Request(_)), from) => {
                    let what = match from {
                        Some(_) => "nodes accept only messages and queries from each other",
                        None => "only queries are accepted without a certificate",
                    };
                    connection.outgoing.send(&Frame::Failure(Failure::new(FailureCode::Denied, what))).await?;
                    return Err(refused(what));
                }
                (Some(other), _) => return Err(WireError::Unexpected { got: other.name(), expected: "request" }),
            };
            connection.outgoing.send(&Frame::Reply(reply)).await?;
        }
    }
}

fn silent() -> WireError {
    WireError::Io(std::io::ErrorKind::TimedOut.into())
}

fn refused(why: &str) -> WireError {
    WireError::Io(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why))
}
