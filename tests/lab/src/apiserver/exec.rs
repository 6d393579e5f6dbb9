//! `pods/exec` over WebSocket and `pods/log`: handed through to the node's kubelet, byte for byte.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rustls::{
    DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client, server};

use super::{
    Args, auth,
    faults::{Cut, ExecFault},
    rbac,
    request::Info,
    resource,
    respond::{Failure, Reply, json_reply, text_reply},
    rest,
    server::Cx,
};

/// Bytes moved at a time: a few TLS records, so that a gigabyte is not a million wake-ups.
const BUFFER: usize = 256 << 10;
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The first private key of a PEM file.
pub(super) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let pem = fs_err::read(path)?;
    crate::pem::private_key(&pem).with_context(|| format!("read {}", path.display()))
}

/// TLS towards kubelets.
pub(super) fn kubelet_config(args: &Args) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKubelet(provider)));
    let config = match (&args.kubelet_client_certificate, &args.kubelet_client_key) {
        (Some(certificate), Some(key)) => {
            builder.with_client_auth_cert(auth::certificates(certificate)?, private_key(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Without `--kubelet-certificate-authority`, which kubeadm does not set, the real server checks no kubelet's
/// certificate either.
#[derive(Debug)]
struct AnyKubelet(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyKubelet {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(super) async fn answer(cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    match (cx.info.subresource.as_str(), cx.info.verb) {
        ("log", "get") => log(&cx).await,
        ("exec", "get" | "create") => exec(cx, request).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn log(cx: &Cx) -> Result<Reply, Failure> {
    let (pod, container) = target(cx).await?;
    let query = encoded(cx.query.pairs().filter(|(name, _)| *name != "container"));
    let path = format!("/containerLogs/{}/{container}?{query}", place(&cx.info));
    let request = Request::get(path).body(Empty::<Bytes>::new()).map_err(Failure::internal)?;
    let answer = ask(cx, &pod, request).await?;
    Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
}

fn place(info: &Info) -> String {
    format!("{}/{}", info.namespace.as_deref().unwrap_or_default(), info.name.as_deref().unwrap_or_default())
}

fn encoded<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The pod, and the container asked for or its only one.
async fn target(cx: &Cx) -> Result<(Value, String), Failure> {
    let pod = rest::read(cx, resource::pods()).await?.object;
    let name = cx.info.name.as_deref().unwrap_or_default();
    let names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    let container = match (cx.query.get("container"), names.as_slice()) {
        (Some(asked), names) if names.contains(&asked) => asked.to_owned(),
        (Some(asked), _) => {
            return Err(Failure::bad_request(format!("container {asked} is not valid for pod {name}")));
        }
        (None, [only]) => (*only).to_owned(),
        (None, names) => {
            let choices = names.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{choices}]");
            return Err(Failure::bad_request(message));
        }
    };
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(Failure::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok((pod, container))
}

/// Sends one request to the kubelet of the pod's node over a connection of its own.
async fn ask(cx: &Cx, pod: &Value, mut request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Failure> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let res = resource::find("", "v1", "nodes").ok_or_else(|| Failure::internal("nodes are not served"))?;
    let key = cx.server.store.key(res, None, node);
    let node = cx.server.store.get(&key).await?.ok_or_else(|| Failure::not_found(res, node))?.object;
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let host = addresses.iter().find(|address| address["type"] == "InternalIP").and_then(|a| a["address"].as_str());
    let host = host.ok_or_else(|| Failure::internal("no preferred addresses found; known addresses: []"))?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10250);
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let host = ServerName::try_from(host.to_owned()).map_err(Failure::internal)?;
    let value = header::HeaderValue::from_str(&authority).map_err(Failure::internal)?;
    request.headers_mut().insert(header::HOST, value);
    dial(cx, &authority, host, request)
        .await
        .map_err(|error| Failure::internal(format!("error dialing backend: dial tcp {authority}: {error:#}")))
}

async fn dial(
    cx: &Cx,
    authority: &str,
    host: ServerName<'static>,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<Response<Incoming>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::clone(&cx.server.kubelet)).connect(host, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a kubelet ended badly");
        }
    });
    Ok(sender.send_request(request).await?)
}

fn asks_for(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

async fn exec(cx: Cx, mut request: Request<Incoming>) -> Result<Reply, Failure> {
    let headers = request.headers();
    // A WebSocket is a GET, and running a command is more than reading: newer servers ask for create as well.
    if cx.info.verb == "get" {
        let create = Info { verb: "create", ..cx.info.clone() };
        rbac::authorize(&cx.server.store, &cx.user, &create, &cx.faults.deny).await?;
    }
    let (pod, container) = target(&cx).await?;
    if !asks_for(headers, header::CONNECTION, "upgrade") {
        return Err(Failure::bad_request("Upgrade request required"));
    }
    if !asks_for(headers, header::UPGRADE, "websocket") {
        return Err(Failure::bad_request("the lab's exec speaks WebSocket only"));
    }
    let streams: Vec<(&str, &str)> = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
        .into_iter()
        .filter(|(ours, _)| cx.query.flag(ours))
        .collect();
    if streams.iter().all(|(ours, _)| *ours == "tty") {
        return Ok(text_reply(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    if !PROTOCOLS.iter().any(|protocol| asks_for(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)) {
        let mut reply = text_reply(StatusCode::FORBIDDEN, "");
        reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        return Ok(reply);
    }
    let words = cx.query.all("command").map(|word| ("command", word));
    let query = encoded(words.chain(streams.iter().map(|(_, theirs)| (*theirs, "1"))));
    let path = format!("/exec/{}/{container}?{query}", place(&cx.info));
    let mut onward = Request::get(path);
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
    ] {
        for value in headers.get_all(&name) {
            onward = onward.header(&name, value);
        }
    }
    let onward = onward.body(Empty::new()).map_err(Failure::internal)?;
    let fault = cx.server.faults.strike().map_err(|error| Failure::internal(format!("faults.json: {error}")))?;
    let mut answer = ask(&cx, &pod, onward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let mut reply = json_reply(StatusCode::SWITCHING_PROTOCOLS, &Value::Null)
        .map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync());
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
                tracing::debug!(%error, "an exec stream ended badly");
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
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut kubelet, BUFFER, BUFFER).await?;
            Ok(())
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

/// Copies `count` bytes, or fewer when the source ends; says whether it was all.
async fn copy_exactly(
    source: &mut (impl AsyncRead + Unpin),
    target: &mut (impl AsyncWrite + Unpin),
    count: u64,
) -> std::io::Result<bool> {
    let mut source = tokio::io::BufReader::with_capacity(BUFFER, source.take(count));
    Ok(tokio::io::copy_buf(&mut source, target).await? == count)
}
