//! The HTTP client below kube's: the layers of kube's own, on TLS that takes the servers that kubectl takes.
//!
//! kube makes its TLS of webpki and ring alone, which refuse certificates that Go accepts. What stands here otherwise is what
//! kube does: the proxies, the times, compression, and the headers of every request.

use std::error::Error;
use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_tls::{Anchors, Identity, Refusal};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::{Body, ConfigExt, DynBody};
use kube::config::AuthInfo;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};
use tower_http::ServiceExt as _;
use tower_http::decompression::DecompressionLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

/// Sends requests to an API server.
pub(crate) type HttpService = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// A service that sends requests as `config` says, with the certificate `identity`. What `config` has of tokens and client
/// certificates is not looked at, but for what has to be renewed.
///
/// # Errors
/// Authorities, names and headers that cannot be used.
pub(crate) fn service(config: &Config, identity: Option<&Identity>) -> Result<HttpService, BoxError> {
    let tls = tls(config, identity)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let Some(proxy) = &config.proxy_url else { return layered(config, https(config, &tls, tcp)?) };
    match proxy.scheme_str() {
        Some("socks5") => {
            let socks = SocksV5::new(proxy.clone(), tcp);
            let socks = match credentials(proxy) {
                Some((user, password)) => socks.with_auth(user, password),
                None => socks,
            };
            layered(config, https(config, &tls, socks)?)
        }
        Some("https") => {
            let tunnel = tunnel(proxy, https(config, &tls, tcp)?)?;
            layered(config, https(config, &tls, tunnel)?)
        }
        _ => layered(config, https(config, &tls, tunnel(proxy, tcp)?)?),
    }
}

/// Who vouches for the server, and with which certificate it is asked.
fn tls(config: &Config, identity: Option<&Identity>) -> Result<ClientConfig, BoxError> {
    if let Some(roots) = &config.root_cert
        && !config.accept_invalid_certs
    {
        let anchors = Anchors::from_der(roots.iter().map(Vec::as_slice))?;
        return Ok(etcd_tls::client_config(anchors, identity)?);
    }
    // The machine's own authorities, or no check at all, as a flag or the kubeconfig demands: kube knows how.
    let _ = rustls::crypto::CryptoProvider::clone(&etcd_tls::provider()).install_default();
    let mut bare = config.clone();
    bare.auth_info = AuthInfo::default();
    bare.root_cert = config.accept_invalid_certs.then(Vec::new);
    let mut tls = bare.rustls_client_config()?;
    if let Some(identity) = identity {
        tls.client_auth_cert_resolver = identity.client();
    }
    Ok(tls)
}

fn https<C>(config: &Config, tls: &ClientConfig, connector: C) -> Result<HttpsConnector<C>, BoxError> {
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone()).map_err(|error| format!("tls-server-name {name:?}: {error}"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(connector))
}

fn tunnel<C>(proxy: &Uri, connector: C) -> Result<Tunnel<C>, BoxError> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let Some((user, password)) = credentials(proxy) else { return Ok(tunnel) };
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))?;
    header.set_sensitive(true);
    Ok(tunnel.with_auth(header))
}

/// User and password of a proxy's URL.
fn credentials(proxy: &Uri) -> Option<(String, String)> {
    let (credentials, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decoded(user), decoded(password)))
}

/// Everything above the connection.
fn layered<C>(config: &Config, connector: C) -> Result<HttpService, BoxError>
where
    C: Service<Uri, Error = BoxError> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
{
    let mut connector = TimeoutConnector::new(connector.map_err(plain as fn(BoxError) -> BoxError));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client = hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().gzip(!config.disable_compression))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request<Body>| {
                    tracing::debug_span!(target: "kube", "HTTP", method = %request.method(), url = %request.uri())
                })
                .on_request(|_: &Request<Body>, _: &Span| tracing::debug!(target: "kube", "requesting"))
                .on_response(|response: &Response<Incoming>, latency: Duration, _: &Span| {
                    tracing::debug!(target: "kube", status = response.status().as_u16(), ?latency, "answered");
                })
                .on_body_chunk(())
                .on_eos(())
                .on_failure(()),
        )
        .map_err(BoxError::from)
        .service(client);
    let boxed = |body| Box::new(http_body_util::BodyExt::map_err(body, BoxError::from)) as Box<DynBody>;
    Ok(service.map_response_body(boxed).boxed())
}

/// The reason alone where a certificate is refused: rustls wraps it in words of its own.
fn plain(error: BoxError) -> BoxError {
    let mut next: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(current) = next {
        if let Some(refusal) = current.downcast_ref().and_then(Refusal::of) {
            return Box::new(refusal.clone());
        }
        // An io::Error's source is the source of what it wraps: step into the wrapped error itself.
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_user_and_password_are_decoded() {
        let of = |url: &str| credentials(&url.parse().expect(url));
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("http://proxy:3128"), None);
        assert_eq!(of("http://user:p%40ss%3Aword@proxy:3128"), pair("user", "p@ss:word"));
        assert_eq!(of("socks5://user@proxy:1080"), pair("user", ""));
    }
}
