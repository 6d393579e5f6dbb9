//! The nodes' conversations with each other: one order and its answer over mutual TLS.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::restore::{Order, Standing, peer_name};
use etcd_wire::{Connection, Failure, FailureCode, Frame, Hello, Reply, Request, WireError};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::layout::Layout;
use super::tls::Tls;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(3);
/// Connections at one time, so that strangers cannot fill the memory.
const CONNECTIONS: usize = 64;
/// How long a connection may stay without an order.
const IDLE: Duration = Duration::from_secs(30);

/// Whoever carries out orders.
pub(super) trait Obey: Send + Sync + 'static {
    /// By what it proves who it is, and knows who asks. Without it, it speaks to nobody.
    fn tls(&self) -> Option<Tls>;

    /// Carries out an order, and answers when it is done.
    fn obey(self: Arc<Self>, order: Order) -> impl Future<Output = Result<Standing, Failure>> + Send;
}

/// Gives a node of the plan an order, and waits for the answer.
///
/// # Errors
/// [`FailureCode::Unreachable`] when nobody knows whether it was carried out; any other is the node's own.
pub(super) async fn give(
    layout: &Layout,
    tls: &Tls,
    index: usize,
    order: Order,
    patience: Duration,
) -> Result<Standing, Failure> {
    let node = &layout.plan().nodes[index];
    let lost = |what: &str| Failure::new(FailureCode::Unreachable, format!("node {} {what}", node.node));
    let address = (node.address.trim_matches(['[', ']']), layout.plan().peer_port);
    let greeted = async {
        let stream = TcpStream::connect(address).await.map_err(|error| lost("cannot be reached").source(&error))?;
        stream.set_nodelay(true).map_err(|error| lost("cannot be reached").source(&error))?;
        let name = ServerName::try_from(peer_name(index)).map_err(|error| lost("has no name").source(&error))?;
        let stream = TlsConnector::from(Arc::clone(&tls.client)).connect(name, stream).await;
        let (reader, writer) =
            tokio::io::split(stream.map_err(|error| lost("failed the TLS handshake").source(&error))?);
        Connection::establish(reader, writer, Hello::ours().of_build(etcd_build::ID))
            .await
            .map_err(|error| lost("does not complete the greeting").source(&error))
    };
    let Ok(greeted) = tokio::time::timeout(CONNECT, greeted).await else { return Err(lost("does not answer")) };
    let mut connection = greeted?;
    let asked = async {
        connection.outgoing.send(&Frame::Request(Request::Order(order))).await?;
        connection.incoming.next("the answer to an order").await
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(Frame::Reply(Reply::Standing(standing)))) => Ok(standing),
        Ok(Ok(Frame::Failure(failure))) => Err(failure),
        Ok(Ok(other)) => Err(lost(&format!("answers with a {} frame", other.name()))),
        Ok(Err(error)) => Err(lost("went away").source(&error)),
        Err(_) => Err(lost(&format!("has not answered for {}s", patience.as_secs()))),
    }
}

/// Takes the port on which the nodes speak to each other.
pub(super) async fn bind(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(("::", port)).await {
        Ok(listener) => Ok(listener),
        // A node without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}

/// Listens for the orders of the other nodes, for ever.
pub(super) async fn listen<O: Obey>(listener: TcpListener, work: Arc<O>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (Some(tls), Ok(place)) = (work.tls(), Arc::clone(&room).try_acquire_owned()) else { continue };
        let work = Arc::clone(&work);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &tls, work).await {
                tracing::debug!("a node's connection: {error}");
            }
        });
    }
}

async fn converse<O: Obey>(stream: TcpStream, tls: &Tls, work: Arc<O>) -> Result<(), WireError> {
    let silent = || WireError::Io(std::io::ErrorKind::TimedOut.into());
    let greeted = async {
        let stream = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream).await?;
        let (reader, writer) = tokio::io::split(stream);
        Connection::establish(reader, writer, Hello::ours().of_build(etcd_build::ID)).await
    };
    let mut connection = tokio::time::timeout(CONNECT, greeted).await.map_err(|_| silent())??;
    while let Some(frame) =
        tokio::time::timeout(IDLE, connection.incoming.maybe_next()).await.map_err(|_| silent())??
    {
        let answer = match frame {
            Frame::Request(Request::Order(order)) => {
                // It is carried out even if whoever gave it goes away meanwhile.
                match tokio::spawn(Arc::clone(&work).obey(order)).await {
                    Ok(Ok(standing)) => Frame::Reply(Reply::Standing(standing)),
                    Ok(Err(failure)) => Frame::Failure(failure),
                    Err(error) => Frame::Failure(Failure::new(FailureCode::Other, "the order was lost").source(&error)),
                }
            }
            Frame::Request(_) => {
                Frame::Failure(Failure::new(FailureCode::Unsupported, "nodes accept only orders from each other"))
            }
            other => return Err(WireError::Unexpected { got: other.name(), expected: "request" }),
        };
        connection.outgoing.send(&answer).await?;
    }
    Ok(())
}
