//! Connections to the nodes' kubelets.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, header};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::{
    DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Args, auth, resource, respond::Failure, server::Cx};

/// The first private key of a PEM file.
pub(super) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let pem = fs_err::read(path)?;
    crate::pem::private_key(&pem).with_context(|| format!("read {}", path.display()))
}

/// TLS towards kubelets.
pub(super) fn config(args: &Args) -> anyhow::Result<Arc<rustls::ClientConfig>> {
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

/// Where the kubelet of a node listens.
pub(super) struct Kubelet {
    /// `HOST:PORT`.
    pub(super) authority: String,
    pub(super) port: u64,
    host: ServerName<'static>,
}

impl Kubelet {
    /// The kubelet of the node of this name, as the node's object tells.
    pub(super) async fn of_node(cx: &Cx, node: &str) -> Result<Self, Failure> {
        let res = resource::find("", "v1", "nodes").ok_or_else(|| Failure::internal("nodes are not served"))?;
        let key = cx.server.store.key(res, None, node);
        let node = cx.server.store.get(&key).await?.ok_or_else(|| Failure::not_found(res, node))?.object;
        let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let host = addresses.iter().find(|address| address["type"] == "InternalIP").and_then(|a| a["address"].as_str());
        let host = host.ok_or_else(|| Failure::internal("no preferred addresses found; known addresses: []"))?;
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10250);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { authority, port, host: ServerName::try_from(host.to_owned()).map_err(Failure::internal)? })
    }

    /// Sends one request over a connection of its own.
    pub(super) async fn send<B>(&self, cx: &Cx, mut request: Request<B>) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_str(&self.authority)?);
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(&cx.server.kubelet)).connect(self.host.clone(), stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a kubelet ended badly");
            }
        });
        Ok(sender.send_request(request).await?)
    }

    /// As [`Self::send`]; a kubelet that does not answer is refused as the real server does for streams.
    pub(super) async fn stream<B>(&self, cx: &Cx, request: Request<B>) -> Result<Response<Incoming>, Failure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let failed =
            |error| Failure::internal(format!("error dialing backend: dial tcp {}: {error:#}", self.authority));
        self.send(cx, request).await.map_err(failed)
    }
}
