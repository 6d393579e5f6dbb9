//! The HTTPS server: connections, the order in which a request is judged, and shutting down.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use http::{Method, Request, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Args,
    args::go_duration,
    auth::{self, Authenticator, User},
    discovery, exec,
    faults::{FaultFile, Faults},
    kubelet, list, node_proxy, rbac,
    request::{Info, Query, Render, render},
    resource,
    respond::{Failure, Reply, text_reply, timed_out},
    rest, reviews,
    store::Store,
    watch,
};

/// How long answers under way may take once the port is closed.
const GRACE: Duration = Duration::from_secs(1);
/// How long etcd may take to give its first answer: the real server's limit, after which it ends and leaves the next try
/// to its kubelet.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How often etcd is asked for its first answer.
const RETRY: Duration = Duration::from_millis(200);
/// How long etcd may take to say that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a server does once its port is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It ends all streams and returns.
    Returns,
    /// It serves the connections it has, until it is killed.
    Killed,
}

/// What every request works with.
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) faults: FaultFile,
    pub(super) kubelet: Arc<rustls::ClientConfig>,
    /// The port is closed: streams are to end.
    pub(super) stopped: CancellationToken,
    authenticator: Authenticator,
    request_timeout: Duration,
    /// Nobody who is known is asked for rights.
    allows_all: bool,
    /// SIGTERM was received: not ready any more, still serving.
    stopping: CancellationToken,
    bootstrapped: AtomicBool,
}

/// One authorised request.
pub(super) struct Cx {
    pub(super) server: Arc<Server>,
    pub(super) user: User,
    pub(super) info: Info,
    pub(super) query: Query,
    pub(super) render: Render,
    pub(super) faults: Faults,
}

pub(super) async fn serve(args: Args, listener: TcpListener, stop: CancellationToken, end: End) -> anyhow::Result<()> {
    let authenticator = Authenticator::new(&args)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(authenticator.handshake_verifier())
        .with_single_cert(auth::certificates(&args.tls_cert_file)?, kubelet::private_key(&args.tls_private_key_file)?)
        .context("the serving certificate and its key")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let server = Arc::new(Server {
        store: Store::open(&args).await?,
        faults: FaultFile::new(args.lab_dir.clone()),
        kubelet: kubelet::config(&args)?,
        stopped: CancellationToken::new(),
        authenticator,
        request_timeout: args.request_timeout,
        allows_all: args.authorization_mode.as_deref() == Some("AlwaysAllow"),
        stopping: stop.clone(),
        bootstrapped: AtomicBool::new(false),
    });
    // The port is open and nobody answers at it, nor is a signal heeded, as with the real server.
    tokio::select! {
        result = first_answer(&server.store) => result?,
        () = stop.cancelled(), if end == End::Returns => return Ok(()),
    }
    let bootstrap = tokio::spawn(bootstrap(Arc::clone(&server)));
    let connections = TaskTracker::new();
    let closed = async {
        stop.cancelled().await;
        tokio::time::sleep(args.shutdown_delay_duration).await;
    };
    tokio::pin!(closed);
    loop {
        tokio::select! {
            () = &mut closed => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&server), acceptor.clone(), stream));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            },
        }
    }
    drop(listener);
    bootstrap.abort();
    if end == End::Killed {
        std::future::pending::<()>().await;
    }
    server.stopped.cancel();
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("connections were still open when the grace time had passed");
    }
    Ok(())
}

/// Waits until etcd serves at all.
async fn first_answer(store: &Store) -> anyhow::Result<()> {
    let answer = async {
        while !store.answers().await {
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::time::timeout(FIRST_ANSWER, answer).await.context("unable to create storage backend")
}

/// Makes what a new cluster needs, as soon as etcd answers.
async fn bootstrap(server: Arc<Server>) {
    while let Err(failure) = rest::bootstrap(&server.store).await {
        tracing::warn!(status = %failure.status(), "etcd does not take the first objects yet");
        tokio::time::sleep(RETRY).await;
    }
    server.bootstrapped.store(true, Ordering::Release);
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream) {
    let done = server.stopped.clone();
    let served = async {
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await?;
        speak(server, stream).await
    };
    // A graceful end is asked for inside; an unfinished handshake is not worth waiting for.
    let limit = async {
        done.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = served => if let Err(error) = result {
            tracing::debug!(%error, "a connection ended badly");
        },
        () = limit => {}
    }
}

async fn speak(server: Arc<Server>, stream: TlsStream<TcpStream>) -> anyhow::Result<()> {
    let session = stream.get_ref().1;
    let h2 = session.alpn_protocol() == Some(b"h2".as_slice());
    let peer: Arc<[CertificateDer<'static>]> =
        session.peer_certificates().unwrap_or_default().iter().cloned().map(CertificateDer::into_owned).collect();
    let done = server.stopped.clone();
    let service = service_fn(move |request| {
        let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(answer(server, &peer, request).await) }
    });
    let io = TokioIo::new(stream);
    if h2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(io, service);
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => return Ok(result?),
            () = done.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        Ok(serving.await?)
    } else {
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .with_upgrades();
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => return Ok(result?),
            () = done.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        Ok(serving.await?)
    }
}

async fn answer(server: Arc<Server>, peer: &[CertificateDer<'static>], request: Request<Incoming>) -> Reply {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let reply = match judge(server, peer, request).await {
        Ok(reply) => reply,
        Err(failure) => failure.reply(),
    };
    tracing::debug!(%method, %uri, status = reply.status().as_u16(), "answered");
    reply
}

/// Faults, who asks, for whom, may they, and only then: what do they ask.
async fn judge(
    server: Arc<Server>,
    peer: &[CertificateDer<'static>],
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let faults = server.faults.load().map_err(|error| Failure::internal(format!("faults.json: {error}")))?;
    if faults.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(faults.delay_ms)).await;
    }
    if let Some((_, code)) = faults.status.iter().find(|(prefix, _)| path.starts_with(prefix.as_str())) {
        let code = StatusCode::from_u16(*code).map_err(Failure::internal)?;
        return Err(Failure::new(code, "ServiceUnavailable", "the lab was asked to refuse this path"));
    }
    let real = server.authenticator.authenticate(peer, request.headers())?;
    let info = Info::read(request.method(), &path, &query);
    let limit = if info.is_long_running() { None } else { Some(limit(&query, server.request_timeout)?) };
    let work = async {
        let user = impersonated(&server.store, real, &request).await?;
        if !server.allows_all {
            rbac::authorize(&server.store, &user, &info, &faults.deny).await?;
        }
        let server = Arc::clone(&server);
        dispatch(Cx { server, user, info, query, render: Render::Json, faults }, request).await
    };
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Ok(timed_out())),
    }
}

/// How long a request may take: what its client allows, but not longer than the server does.
fn limit(query: &Query, most: Duration) -> Result<Duration, Failure> {
    let Some(asked) = query.get("timeout") else { return Ok(most) };
    let wrong = |error| Failure::bad_request(format!("invalid timeout specified in the request URL - {error}"));
    let asked = go_duration(asked).map_err(wrong)?;
    Ok(if asked.is_zero() { most } else { asked.min(most) })
}

async fn impersonated(store: &Store, real: User, request: &Request<Incoming>) -> Result<User, Failure> {
    let Some((user, wanted)) = auth::impersonation(request.headers())? else { return Ok(real) };
    for thing in wanted {
        let info = Info {
            verb: "impersonate",
            resource_request: true,
            group: thing.group.to_owned(),
            version: "v1".to_owned(),
            resource: thing.resource.to_owned(),
            subresource: thing.subresource,
            namespace: thing.namespace,
            name: Some(thing.name),
            ..Info::default()
        };
        rbac::authorize(store, &real, &info, &[]).await?;
    }
    Ok(user)
}

async fn dispatch(mut cx: Cx, request: Request<Incoming>) -> Result<Reply, Failure> {
    if !cx.info.resource_request {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Failure::method_not_allowed());
        }
        return match cx.info.path.trim_end_matches('/') {
            "/healthz" | "/livez" => Ok(health(&cx.server, false).await),
            "/readyz" => Ok(health(&cx.server, true).await),
            path => Ok(discovery::answer(path, request.headers())),
        };
    }
    let Some(res) = resource::find(&cx.info.group, &cx.info.version, &cx.info.resource) else {
        return Ok(text_reply(StatusCode::NOT_FOUND, "404 page not found\n"));
    };
    if res.kind == "Node" && cx.info.subresource == "proxy" {
        return node_proxy::answer(cx, request).await;
    }
    if !cx.info.rest.is_empty() {
        return Ok(text_reply(StatusCode::NOT_FOUND, "404 page not found\n"));
    }
    if res.is_pods() && matches!(cx.info.subresource.as_str(), "exec" | "log" | "portforward") {
        return exec::answer(cx, request).await;
    }
    let known = cx.info.subresource.is_empty()
        || (cx.info.subresource == "status" && res.status)
        || res.subresources().contains(&cx.info.subresource.as_str());
    if !known || (res.namespaced && cx.info.namespace.is_none() && !matches!(cx.info.verb, "list" | "watch")) {
        return Ok(text_reply(StatusCode::NOT_FOUND, "404 page not found\n"));
    }
    if !res.namespaced && cx.info.namespace.is_some() && res.kind != "Namespace" {
        return Ok(text_reply(StatusCode::NOT_FOUND, "404 page not found\n"));
    }
    cx.render = render(request.headers())?;
    if res.is_review() {
        if cx.info.verb != "create" {
            return Err(Failure::method_not_allowed());
        }
        return reviews::answer(cx, res, request).await;
    }
    match cx.info.verb {
        "list" => list::list(&cx, res).await,
        "watch" => watch::watch(cx, res).await,
        "get" => rest::get(&cx, res).await,
        "create" => rest::create(&cx, res, rest::body(request).await?).await,
        "update" => rest::update(&cx, res, rest::body(request).await?).await,
        "patch" => {
            let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
            let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
            rest::patch(&cx, res, &media_type, &rest::bytes(request).await?).await
        }
        "delete" => rest::delete(&cx, res, &rest::options(request).await?).await,
        "deletecollection" => rest::delete_collection(&cx, res, &rest::options(request).await?).await,
        _ => Err(Failure::method_not_allowed()),
    }
}

/// Well means that a quorum of etcd answers; ready also that the first objects are there and nobody wants it gone.
async fn health(server: &Server, ready: bool) -> Reply {
    let check = if ready { "readyz" } else { "livez" };
    let bad = |what: &str| {
        let text = format!("[+]ping ok\n[-]{what} failed: reason withheld\n{check} check failed\n");
        text_reply(StatusCode::INTERNAL_SERVER_ERROR, text)
    };
    if ready && server.stopping.is_cancelled() {
        return bad("shutdown");
    }
    if ready && !server.bootstrapped.load(Ordering::Acquire) {
        return bad("poststarthook/rbac/bootstrap-roles");
    }
    match tokio::time::timeout(HEALTH_TIMEOUT, server.store.revision()).await {
        Ok(Ok(_)) => text_reply(StatusCode::OK, "ok"),
        Ok(Err(_)) | Err(_) => bad("etcd"),
    }
}
