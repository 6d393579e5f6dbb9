//! The kubelet's own server: its pods, commands, port forwarding and logs, for the API server only, and the health check
//! on loopback.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::Result;

use crate::pem;
use bytes::Bytes;
use fs_err as fs;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;

use super::{Node, exec, pods, port_forward, run};

pub(super) type Answer = Response<Full<Bytes>>;

/// The only user a kubelet of the lab obeys.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

pub(super) fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(message.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What Go's router answers where a path lacks its last slash.
fn moved(to: &'static str) -> Answer {
    let mut answer = text(StatusCode::MOVED_PERMANENTLY, "");
    answer.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static(to));
    answer
}

/// Serves exec and logs for ever.
pub(super) async fn serve(node: Arc<Node>) -> Result<()> {
    let read = |path: &str| fs::read(node.dir.host(path));
    let mut roots = rustls::RootCertStore::empty();
    for cert in pem::certificates(&read("/etc/kubernetes/pki/ca.crt")?)? {
        roots.add(cert)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = pem::private_key(&read("/var/lib/kubelet/pki/kubelet.key")?)?;
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(pem::certificates(&read("/var/lib/kubelet/pki/kubelet.crt")?)?, key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((node.address, 10250)).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let (node, acceptor) = (Arc::clone(&node), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(node, acceptor, tcp).await {
                tracing::debug!("a connection ended: {error:#}");
            }
        });
    }
}

async fn connection(node: Arc<Node>, acceptor: tokio_rustls::TlsAcceptor, tcp: tokio::net::TcpStream) -> Result<()> {
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let user = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(|cert| {
        let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
        cert.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
    });
    let user = user.unwrap_or_default();
    let service = service_fn(move |request| {
        let (node, user) = (Arc::clone(&node), user.clone());
        async move { Ok::<_, Infallible>(route(node, &user, request).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    Ok(())
}

async fn route(node: Arc<Node>, user: &str, request: Request<Incoming>) -> Answer {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if user != API_SERVER {
        return forbidden(user, &method, parts[0]);
    }
    match (parts.as_slice(), &method) {
        (["healthz"], _) => text(StatusCode::OK, "ok"),
        (["pods"], &Method::GET) => pods::list(&node),
        (["runningpods"], _) if !path.ends_with('/') => moved("/runningpods/"),
        (["runningpods"], &Method::GET) => pods::running(&node),
        (["run", namespace, pod, container], &Method::POST) => {
            run::run(&node, namespace, pod, container, &request).await
        }
        (["exec", namespace, pod, container], &Method::GET | &Method::POST) => {
            exec::exec(&node, namespace, pod, container, request)
        }
        (["portForward", namespace, pod], &Method::GET | &Method::POST) => {
            port_forward::port_forward(&node, namespace, pod, request)
        }
        (["containerLogs", namespace, pod, container], &Method::GET) => {
            logs(&node, namespace, pod, container, request.uri().query())
        }
        (["pods" | "runningpods"] | ["run" | "exec" | "containerLogs", _, _, _] | ["portForward", _, _], _) => {
            text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// A real kubelet asks the API server for the right to `nodes/proxy`, or to a narrower subresource where there is one.
/// The lab's asks nobody and has one user, who in kubeadm's clusters may do everything.
fn forbidden(user: &str, method: &Method, place: &str) -> Answer {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let subresources = match place {
        "healthz" | "pods" => format!("{place} proxy"),
        "runningpods" => "pods proxy".into(),
        _ => "proxy".into(),
    };
    let what = format!("resource=nodes, subresource(s)=[{subresources}]");
    text(StatusCode::FORBIDDEN, format!("Forbidden (user={user}, verb={verb}, {what})\n"))
}

fn logs(node: &Node, namespace: &str, pod: &str, container: &str, query: Option<&str>) -> Answer {
    let handles = node.pods();
    let handle = handles.iter().find(|one| one.namespace() == namespace && one.api_name(&node.name) == pod);
    let Some(handle) = handle else { return text(StatusCode::NOT_FOUND, format!("pod \"{pod}\" does not exist\n")) };
    if !handle.pod.spec.containers.iter().any(|one| one.name == container) {
        return text(StatusCode::NOT_FOUND, format!("container {container} not found in pod {pod}\n"));
    }
    let mut tail = None;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, value.parse::<usize>()) {
            ("tailLines", Ok(lines)) => tail = Some(lines),
            ("container", _) => {}
            _ => return text(StatusCode::BAD_REQUEST, format!("the lab's logs know no {name}={value}\n")),
        }
    }
    match fs::read(handle.dir(node).join(format!("{container}.log"))) {
        Ok(log) => {
            let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
            let from = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            let mut answer = text(StatusCode::OK, "");
            *answer.body_mut() = Full::new(lines[from..].concat().into());
            answer
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            text(StatusCode::BAD_REQUEST, format!("container \"{container}\" in pod \"{pod}\" is waiting to start\n"))
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Answers the health check for ever.
pub(super) async fn healthz() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 10248)).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(match request.uri().path() {
                "/healthz" => text(StatusCode::OK, "ok"),
                _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            })
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
    }
}
