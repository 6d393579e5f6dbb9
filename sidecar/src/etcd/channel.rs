//! A channel to a member, with our own TLS below it: tonic's knows neither our provider nor our verifier.

use std::io;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;

/// Flow control of HTTP/2: what may be on its way without being asked for. Snapshots come in messages of 32 KiB, and
/// the default of 64 KiB makes every other one wait.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// HTTP/2 in the handshake's list of protocols.
pub(super) const H2: &[u8] = b"h2";

/// TLS with the server of that name or address.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// Connects; the time is the caller's to limit.
pub(super) async fn connect(uri: &Uri, tls: Option<Tls>) -> Result<Channel, Error> {
    let Some(Tls { config, name }) = tls else { return endpoint(uri.clone()).connect().await };
    let connector = TlsConnector::from(config);
    let connect = tower::service_fn(move |uri: Uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let mut tcp = HttpConnector::new();
            tcp.set_nodelay(true);
            let stream = tcp.oneshot(uri).await?.into_inner();
            let stream = connector.connect(name, stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(H2) {
                return Err(io::Error::other("the server does not speak HTTP/2").into());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(TokioIo::new(stream))
        }
    });
    // What tonic takes for plain HTTP it leaves to the connector; the requests say https.
    endpoint(plain(uri)).origin(uri.clone()).connect_with_connector(connect).await
}

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
}

/// The same with the scheme http, and with a port: the default is another.
fn plain(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    if uri.port().is_none()
        && let Some(host) = uri.host()
    {
        parts.authority = format!("{host}:443").parse().ok().or(parts.authority);
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheme_is_another() {
        for (url, same) in [
            ("https://10.0.0.1:2379", "http://10.0.0.1:2379/"),
            ("https://etcd", "http://etcd:443/"),
            ("https://[::1]", "http://[::1]:443/"),
            ("https://[::1]:2379", "http://[::1]:2379/"),
        ] {
            assert_eq!(plain(&url.parse().unwrap()).to_string(), same);
        }
    }
}
