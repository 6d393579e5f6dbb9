//! What this node says to one other node.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use etcd_transaction::{Answer, Message, Node};
use etcd_wire::restore::peer_name;
use etcd_wire::{Connection, Frame, Hello, Reply, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::addresses::Addresses;
use super::credentials::Credentials;
use super::heard::Heard;
use super::queue::Queue;
use super::troubles::Troubles;

/// How long a TCP connection, and then the handshake, may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a node may take to say that it has heard a message, or to answer a query.
const ANSWER: Duration = Duration::from_secs(5);
/// How long nothing is tried after a failure.
const PAUSE: Duration = Duration::from_millis(300);

type Greeted = Connection<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>;

/// The way to one node.
pub(super) struct Link {
    pub(super) to: Node,
    /// ID of the restore that everything said is of.
    pub(super) restore: String,
    /// From where to where, for people.
    pub(super) way: String,
    pub(super) port: u16,
    pub(super) addresses: Arc<Addresses>,
    pub(super) credentials: watch::Receiver<Arc<Credentials>>,
    pub(super) troubles: Arc<Troubles>,
}

impl Link {
    /// Sends what is in the queue, for ever.
    pub(super) async fn speak(&self, queue: &Queue) {
        let mut failures = 0;
        loop {
            queue.filled().await;
            // One that knows only an older authority refuses a newer identity.
            let speakers = self.credentials.borrow().speakers.clone();
            let Some(speaker) = speakers.get(failures % speakers.len().max(1)) else {
                let _dropped = queue.next().await;
                self.failed("this node has no certificate");
                continue;
            };
            let failure = match self.dial(Arc::clone(speaker)).await {
                Ok(connection) => self.converse(connection, queue).await,
                Err(failure) => Err(failure),
            };
            match failure {
                Ok(()) => failures = 0,
                Err(failure) => {
                    failures += 1;
                    self.failed(&failure);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends messages until the connection ends. That is a failure if one was not heard.
    async fn converse(&self, mut connection: Greeted, queue: &Queue) -> Result<(), String> {
        loop {
            let message = tokio::select! {
                biased;
                ended = connection.incoming.maybe_next() => match ended {
                    // The other node ended, or has not heard this one for long.
                    Ok(None) => return Ok(()),
                    Ok(Some(frame)) => return Err(format!("the node said {}, and was not asked", frame.name())),
                    Err(error) => return Err(because("the connection ended", &error)),
                },
                message = queue.next() => message,
            };
            match self.deliver(&mut connection, &message).await {
                Ok(()) => self.troubles.clear(self.to),
                Err(Undelivered { why, again }) => {
                    if again {
                        queue.put_back(message);
                    }
                    return Err(why);
                }
            }
        }
    }

    async fn deliver(&self, connection: &mut Greeted, message: &Message) -> Result<(), Undelivered> {
        let request = Request::Message { of: self.restore.clone(), message: Box::new(message.clone()) };
        match tokio::time::timeout(ANSWER, ask(connection, request)).await {
            Ok(Ok(Frame::Reply(Reply::Heard))) => Ok(()),
            Ok(other) => Err(Undelivered { again: other.is_err(), why: unexpected(other) }),
            Err(_) => Err(Undelivered { again: true, why: format!("no answer for {}s", ANSWER.as_secs()) }),
        }
    }

    /// Asks what was decided whenever that is wanted, for ever.
    pub(super) async fn inquire(&self, wanted: &Notify, heard: &mpsc::Sender<Heard>) {
        loop {
            wanted.notified().await;
            match self.query().await {
                Ok(answer) => {
                    self.troubles.clear(self.to);
                    if heard.send(Heard::Answered { from: self.to, answer }).await.is_err() {
                        return;
                    }
                }
                Err(failure) => {
                    self.failed(&failure);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn query(&self) -> Result<Answer, String> {
        let asker = self.credentials.borrow().asker.clone();
        let asker = asker.ok_or("this node knows no authority of the restore")?;
        let mut connection = self.dial(asker).await?;
        let query = Request::Query { of: self.restore.clone() };
        match tokio::time::timeout(ANSWER, ask(&mut connection, query)).await {
            Ok(Ok(Frame::Reply(Reply::Answer { of, answer }))) if of == self.restore => Ok(answer),
            Ok(other) => Err(unexpected(other)),
            Err(_) => Err(format!("no answer for {}s", ANSWER.as_secs())),
        }
    }

    /// Asks once what was decided. If there is no answer, says what is there.
    pub(super) async fn find_out(&self) -> FoundOut {
        let why = match self.query().await {
            Ok(answer) => return FoundOut::Answers(answer),
            Err(why) => why,
        };
        let mut there = There::Nothing;
        for address in self.addresses.of(self.to).await.unwrap_or_default() {
            match tokio::time::timeout(CONNECT, self.connect_to(address)).await {
                Ok(Ok(_)) => return FoundOut::Silent { why, there: There::Listens },
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => there = There::Refuses,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        FoundOut::Silent { why, there }
    }

    async fn dial(&self, config: Arc<ClientConfig>) -> Result<Greeted, String> {
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        let stream = connected.map_err(|_| format!("no TCP connection within {}s", CONNECT.as_secs()))??;
        // The other node drops connections from addresses that are not the plan's.
        let from = stream.local_addr().map_err(|error| because("no TCP connection", &error))?.ip();
        let greeted = async {
            let name = ServerName::try_from(peer_name(self.to.index())).map_err(|error| because("no name", &error))?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            let (reader, writer) = tokio::io::split(
                stream.map_err(|error| because(&format!("TLS handshake from {from} failed"), &error))?,
            );
            let ours = Hello::ours().of_build(etcd_build::ID);
            Connection::establish(reader, writer, ours).await.map_err(|error| because("no greeting", &error))
        };
        tokio::time::timeout(CONNECT, greeted)
            .await
            .map_err(|_| format!("no TLS handshake within {}s", CONNECT.as_secs()))?
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let all =
            self.addresses.of(self.to).await.map_err(|error| because("its address cannot be resolved", &error))?;
        let mut failure = "it has no address".to_owned();
        for address in all {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = because(&address.to_string(), &error),
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, to: IpAddr) -> std::io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Its port is not kept from whoever wants to listen there when the connection has ended.
        socket.set_reuseaddr(true)?;
        if let Some(from) = self.addresses.from(to)
            && let Err(error) = socket.bind(SocketAddr::new(from, 0))
        {
            // Behind a translation of addresses the plan's address is no address of this node.
            tracing::debug!("cannot connect from {from}, any other address is used: {error}");
        }
        let stream = socket.connect(SocketAddr::new(to, self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn failed(&self, why: &str) {
        tracing::debug!("{}: {why}", self.way);
        self.troubles.note(self.to, format!("{}: {why}", self.way));
    }
}

/// What came of asking a node once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum FoundOut {
    /// It has proved who it is, and answers.
    Answers(Answer),
    /// It does not.
    Silent {
        /// Why, for people.
        why: String,
        /// What is at its address.
        there: There,
    },
}

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum There {
    /// Something accepts connections on the port.
    Listens,
    /// A machine answers, and nothing listens on the port.
    Refuses,
    /// Nothing is heard.
    Nothing,
}

struct Undelivered {
    why: String,
    /// Whether it may fare better over another connection.
    again: bool,
}

async fn ask(connection: &mut Greeted, request: Request) -> Result<Frame, etcd_wire::WireError> {
    connection.outgoing.send(&Frame::Request(request)).await?;
    connection.incoming.next("the answer of a node").await
}

fn unexpected(answer: Result<Frame, etcd_wire::WireError>) -> String {
    match answer {
        Ok(Frame::Failure(failure)) => format!("refused: {failure}"),
        Ok(other) => format!("answered with a {} frame", other.name()),
        Err(error) => because("the connection ended", &error),
    }
}

/// What failed, and why, in one line.
fn because(what: &str, error: &dyn Error) -> String {
    let mut parts = vec![what.to_owned()];
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}
