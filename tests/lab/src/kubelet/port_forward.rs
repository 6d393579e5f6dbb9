//! Port forwarding over WebSocket: two channels a port, one for the bytes and one for an error, each begun by the port
//! in two bytes. As with a real kubelet and containerd all ends when the port's end does, a second later unless the
//! client is faster, and nothing but the end of the socket says that the client has no more to send.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Node;
use super::server::{Answer, text};
use super::websocket::{self, Handshake, Socket};
use crate::image::hex;

/// What is read from a connection at once.
const CHUNK: usize = 32 * 1024;
/// How long one direction of a connection outlives the other.
const GRACE: Duration = Duration::from_secs(1);

/// Answers a request and, if it is in order, forwards its ports. Every pod of the lab has the node's network.
pub(super) fn port_forward(node: &Arc<Node>, namespace: &str, pod: &str, mut request: Request<Incoming>) -> Answer {
    let is_websocket = request.headers().get(header::UPGRADE).is_some_and(|name| *name == *"websocket");
    let ports = match ports(request.uri().query().unwrap_or_default()) {
        Ok(ports) => ports,
        Err(message) if is_websocket => return text(StatusCode::BAD_REQUEST, message),
        Err(_) => Vec::new(),
    };
    let Some(handle) = node.pod(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    if !handle.is_active() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found (\"{pod}_{namespace}\")"));
    }
    let handshake = match Handshake::read(&request, &["v4.channel.k8s.io"], "port-forward") {
        Ok(handshake) => handshake,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let sandbox = sandbox(&handle.pod.metadata.uid);
    tokio::spawn(async move {
        let result = async { forward(websocket::accepted(upgrade).await?, &sandbox, &ports).await };
        if let Err(error) = result.await {
            tracing::info!("port-forward: {error:#}");
        }
    });
    handshake.answer()
}

/// The ports of the query, in the words of the real refusals.
fn ports(query: &str) -> std::result::Result<Vec<u16>, String> {
    let lists: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "port")
        .map(|(_, list)| list)
        .collect();
    if lists.is_empty() {
        return Err("query parameter \"port\" is required".into());
    }
    let mut ports = Vec::new();
    for list in lists {
        if list.is_empty() {
            return Err("query parameter \"port\" cannot be empty".into());
        }
        for port in list.split(',') {
            match port.parse::<u16>() {
                Ok(0) => return Err(format!("port {list:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(_) => {
                    let why = format!("strconv.ParseUint: parsing {port:?}: invalid syntax");
                    return Err(format!("unable to parse {list:?} as a port: {why}"));
                }
            }
        }
    }
    Ok(ports)
}

/// The id of the sandbox that a real runtime would have made for the pod.
fn sandbox(uid: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, format!("sandbox/{uid}").as_bytes()).as_ref())
}

/// Serves one socket until every port has ended, or the client has.
async fn forward(socket: Socket, sandbox: &str, ports: &[u16]) -> Result<()> {
    let (mut sink, mut source) = socket.split();
    let (frames, mut outbox) = mpsc::channel::<Message>(4);
    let writer = tokio::spawn(async move {
        while let Some(frame) = outbox.recv().await {
            // A client that is away takes nothing; the end of what it sent ends the ports.
            if sink.send(frame).await.is_err() {
                return;
            }
        }
    });
    let (mut senders, mut pipes) = (Vec::new(), Vec::new());
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        let [low, high] = port.to_le_bytes();
        for channel in [channel, channel + 1] {
            frames.send(Message::Binary(vec![channel, low, high].into())).await?;
        }
        let (sender, inbox) = mpsc::channel::<Bytes>(1);
        senders.push(sender);
        pipes.push(serve(channel, *port, sandbox, inbox, frames.clone()));
    }
    let reader = async {
        while let Some(Ok(message)) = source.next().await {
            let mut data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                _ => continue,
            };
            if data.is_empty() {
                continue;
            }
            // Error channels are written only, and channels that nobody knows are nobody's.
            let channel = usize::from(data.split_to(1)[0]);
            if let Some(sender) = senders.get(channel / 2).filter(|_| channel.is_multiple_of(2)) {
                // A port that has ended takes no more.
                let _ = sender.send(data).await;
            }
        }
        // Ports hear of the end by this.
        senders.clear();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = futures::future::join_all(pipes) => {}
        () = reader => {}
    }
    let _ = frames.send(websocket::end()).await;
    drop(frames);
    Ok(writer.await?)
}

/// One port, from its connection to its end; an error goes to its error channel.
async fn serve(channel: u8, port: u16, sandbox: &str, inbox: mpsc::Receiver<Bytes>, frames: mpsc::Sender<Message>) {
    let Err(why) = connect_and_copy(channel, port, sandbox, inbox, &frames).await else { return };
    let message = format!("error forwarding port {port} to pod {sandbox}, uid : {why}");
    // A client that is gone receives nothing.
    let _ = frames.send(Message::Binary([&[channel + 1], message.as_bytes()].concat().into())).await;
}

async fn connect_and_copy(
    channel: u8,
    port: u16,
    sandbox: &str,
    inbox: mpsc::Receiver<Bytes>,
    frames: &mpsc::Sender<Message>,
) -> std::result::Result<(), String> {
    let tcp = dial(port).await.map_err(|why| {
        format!(
            "failed to execute portforward in network namespace \"host\": failed to connect to localhost:{port} inside \
             namespace {sandbox:?}, {why}"
        )
    })?;
    let (from, to) = tcp.into_split();
    let down = download(channel, from, frames);
    let up = upload(inbox, to);
    tokio::pin!(down, up);
    // The first direction to end is the one that counts; the other has a moment more.
    let ended = tokio::select! {
        ended = &mut down => ended.and(tokio::time::timeout(GRACE, up).await.unwrap_or(Ok(()))),
        ended = &mut up => ended.and(tokio::time::timeout(GRACE, down).await.unwrap_or(Ok(()))),
    };
    ended.map_err(|error| format!("failed to execute portforward for {sandbox:?} port {port}: {}", reason(&error)))
}

/// IPv4 first, then IPv6, as containerd does.
async fn dial(port: u16) -> std::result::Result<TcpStream, String> {
    let v4 = match TcpStream::connect((IpAddr::from(Ipv4Addr::LOCALHOST), port)).await {
        Ok(tcp) => return Ok(tcp),
        Err(error) => reason(&error),
    };
    match TcpStream::connect((IpAddr::from(Ipv6Addr::LOCALHOST), port)).await {
        Ok(tcp) => Ok(tcp),
        Err(error) => Err(format!(
            "IPv4: dial tcp4 127.0.0.1:{port}: connect: {v4} IPv6 dial tcp6 [::1]:{port}: connect: {}",
            reason(&error)
        )),
    }
}

/// An error of the system in Go's words.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset => "connection reset by peer".into(),
        ErrorKind::BrokenPipe => "broken pipe".into(),
        ErrorKind::AddrNotAvailable => "cannot assign requested address".into(),
        _ => error.to_string(),
    }
}

async fn download(
    channel: u8,
    mut from: tokio::net::tcp::OwnedReadHalf,
    frames: &mpsc::Sender<Message>,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK + 1);
        buffer.put_u8(channel);
        if from.read_buf(&mut (&mut buffer).limit(CHUNK)).await? == 0 {
            return Ok(());
        }
        if frames.send(Message::Binary(buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

/// Ends when the client has gone. Its end is not told to the other side but by the end of all.
async fn upload(mut inbox: mpsc::Receiver<Bytes>, mut to: tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()> {
    let result = async {
        while let Some(data) = inbox.recv().await {
            to.write_all(&data).await?;
        }
        Ok(())
    }
    .await;
    // A half that is dropped would be shut down, and containerd shuts nothing down.
    to.forget();
    result
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn ports_are_read_as_a_real_kubelet_reads_them() {
        assert_eq!(ports("port=2381"), Ok(vec![2381]));
        assert_eq!(ports("port=1,2&port=3"), Ok(vec![1, 2, 3]));
        for (query, refusal) in [
            ("", "query parameter \"port\" is required"),
            ("port=", "query parameter \"port\" cannot be empty"),
            ("port=0", "port \"0\" must be > 0"),
            ("port=1,x", "unable to parse \"1,x\" as a port: strconv.ParseUint: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(ports(query), Err(refusal.to_owned()));
        }
    }
}
