//! Upgraded streams, handed through to a kubelet byte for byte.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use super::{
    faults::{Cut, ExecFault},
    kubelet::Kubelet,
    respond::{Failure, Reply, text_reply},
    server::Cx,
};

/// Bytes moved at a time: a few TLS records, so that a gigabyte is not a million wake-ups.
const BUFFER: usize = 256 << 10;

/// What a client's handshake says and the kubelet has to hear.
const HANDSHAKE: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
];

/// Whether a list in a header has this token.
pub(super) fn asks_for(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Refuses what is no WebSocket handshake; `what` is the name of the stream.
pub(super) fn check_upgrade(headers: &HeaderMap, what: &str) -> Result<(), Failure> {
    if !asks_for(headers, header::CONNECTION, "upgrade") {
        return Err(Failure::bad_request("Upgrade request required"));
    }
    if !asks_for(headers, header::UPGRADE, "websocket") {
        return Err(Failure::bad_request(format!("the lab's {what} speaks WebSocket only")));
    }
    Ok(())
}

/// The refusal of a handshake that offers none of the protocols.
pub(super) fn no_protocol(headers: &HeaderMap, protocols: &[&str]) -> Option<Reply> {
    if protocols.iter().any(|protocol| asks_for(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)) {
        return None;
    }
    let mut reply = text_reply(StatusCode::FORBIDDEN, "");
    reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    Some(reply)
}

/// Hands a handshake to a kubelet and, when it agrees, everything after it. What it says instead is the answer.
pub(super) async fn open(
    cx: &Cx,
    kubelet: &Kubelet,
    path: String,
    mut request: Request<Incoming>,
    fault: Option<ExecFault>,
) -> Result<Reply, Failure> {
    let mut onward = Request::get(path);
    for name in HANDSHAKE {
        for value in request.headers().get_all(&name) {
            onward = onward.header(&name, value);
        }
    }
    let onward = onward.body(Empty::<Bytes>::new()).map_err(Failure::internal)?;
    let mut answer = kubelet.stream(cx, onward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let mut reply = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = answer.headers().clone();
    let upgrades = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
    let stopped = cx.server.stopped.clone();
    tokio::spawn(async move {
        let joined = async {
            let (down, up) = tokio::try_join!(upgrades.0, upgrades.1)?;
            join(down, up, fault).await
        };
        tokio::select! {
            result = joined => if let Err(error) = result {
                tracing::debug!(%error, "a stream to a kubelet ended badly");
            },
            () = stopped.cancelled() => {}
        }
    });
    Ok(reply)
}

/// Pipes until both directions have ended, or the fault strikes.
async fn join(down: Upgraded, up: Upgraded, fault: Option<ExecFault>) -> anyhow::Result<()> {
    let lost = |_| anyhow::anyhow!("the upgraded stream is not the one that was accepted");
    let down = down.downcast::<TokioIo<server::TlsStream<TcpStream>>>().map_err(lost)?;
    let up = up.downcast::<TokioIo<client::TlsStream<TcpStream>>>().map_err(lost)?;
    let (mut client, mut kubelet) = (down.io.into_inner(), up.io.into_inner());
    kubelet.write_all(&down.read_buf).await?;
    match fault {
        None => {
            client.write_all(&up.read_buf).await?;
            let (from_client, mut to_client) = tokio::io::split(client);
            let (from_kubelet, mut to_kubelet) = tokio::io::split(kubelet);
            let upward = copy(from_client, &mut to_kubelet);
            let downward = copy(from_kubelet, &mut to_client);
            // A kubelet that has ended takes nothing more from the client, while its last bytes are still on their way.
            let (up, down) = tokio::join!(upward, downward);
            up.and(down)
        }
        Some(fault) => {
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let (mut from_kubelet, mut to_kubelet) = tokio::io::split(kubelet);
            let early = up.read_buf;
            let cut = async {
                let mut source = early.as_ref().chain(&mut from_kubelet);
                let whole = copy_exactly(&mut source, &mut to_client, fault.cut_after).await?;
                to_client.flush().await?;
                if whole && fault.mode == Cut::Stall {
                    // Nothing more comes; the connection lasts as long as the client wants.
                    std::future::pending::<()>().await;
                }
                anyhow::Ok(whole)
            };
            let upward = async {
                tokio::io::copy(&mut from_client, &mut to_kubelet).await?;
                to_kubelet.shutdown().await?;
                // The client has ended its half; what the kubelet has to say still counts.
                if fault.mode == Cut::Stall { anyhow::Ok(()) } else { std::future::pending().await }
            };
            let whole = tokio::select! {
                result = cut => result?,
                result = upward => { result?; false }
            };
            let mut client = from_client.unsplit(to_client);
            if whole && fault.mode == Cut::Reset {
                client.get_ref().0.set_zero_linger()?;
                return Ok(());
            }
            client.shutdown().await?;
            Ok(())
        }
    }
}

/// Copies all bytes as they come, and ends the target's half of its connection whether or not that fails.
async fn copy(mut source: impl AsyncRead + Unpin, target: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    let copying = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = source.read(&mut buffer).await?;
            if count == 0 {
                return anyhow::Ok(());
            }
            target.write_all(&buffer[..count]).await?;
            target.flush().await?;
        }
    };
    let copied = copying.await;
    let ended = target.shutdown().await;
    copied?;
    Ok(ended?)
}

/// Copies `count` bytes, or fewer when the source ends; says whether it was all.
async fn copy_exactly(
    source: &mut (impl AsyncRead + Unpin),
    target: &mut (impl AsyncWrite + Unpin),
    count: u64,
) -> std::io::Result<bool> {
    let mut source = tokio::io::BufReader::with_capacity(BUFFER, source.take(count));
    Ok(tokio::io::copy_buf(&mut source, target).await? == count)
}
