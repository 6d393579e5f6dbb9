//! A question to a server on the same node, over HTTP, with or without TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_tls::Identity;
use etcd_wire::message::KeyPair;
use etcd_wire::{Failure, FailureCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http::response::Parts;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any answer has that is read.
const LARGEST: usize = 4 << 20;

/// A server on this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` for a server without TLS.
    pub(crate) tls: Option<ServerTls>,
}

/// How a server on this node is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerTls {
    /// The certificate that it serves with, where its manifest names one.
    pub(super) certificate: Option<PathBuf>,
    /// A pair that it accepts as a client's.
    pub(super) client: Option<KeyPair>,
}

impl Server {
    /// Asks for a path.
    ///
    /// # Errors
    /// Nobody answers, or certificates cannot be read. What is answered, whatever it is, is no error.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        self.answer(path).await.map(|(head, body)| (head.status, body))
    }

    /// As [`Server::get`], with the answer's headers.
    pub(super) async fn answer(&self, path: &str) -> Result<(Parts, Bytes), Failure> {
        let asked = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|error| self.failed("does not listen", &error))?;
            let Some(tls) = &self.tls else { return self.ask(stream, path).await };
            let connector = TlsConnector::from(Arc::new(tls.config()?));
            let name = ServerName::try_from("kubernetes").expect("a DNS name");
            let stream = connector.connect(name, stream).await;
            self.ask(stream.map_err(|error| self.failed("does not speak TLS", &error))?, path).await
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let silent = format!("port {} is silent for {}s", self.port, PATIENCE.as_secs());
                Err(Failure::new(FailureCode::Unreachable, silent))
            }
        }
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        path: &str,
    ) -> Result<(Parts, Bytes), Failure> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed("does not speak HTTP", &error))?;
        let driver = tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "kubernetes")
            .header("accept", "application/json")
            .header("user-agent", "etcd-sidecar")
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.failed("cannot be asked", &error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.failed("does not answer", &error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        driver.abort();
        let body = body.map_err(|error| self.failed("stopped in the middle of its answer", &*error))?;
        Ok((head, body.to_bytes()))
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) -> Failure {
        Failure::new(FailureCode::Unreachable, format!("port {} {what}", self.port)).source(error)
    }
}

impl ServerTls {
    fn config(&self) -> Result<ClientConfig, Failure> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                Failure::new(FailureCode::Credentials, format!("cannot read {}", path.display())).source(&error)
            })
        };
        let wrong = |error: &dyn std::error::Error| {
            Failure::new(FailureCode::Credentials, "the certificates cannot be used").source(error)
        };
        let pinned = match &self.certificate {
            Some(path) => Some(first(path, &read(path)?)?),
            None => None,
        };
        let config = ClientConfig::builder_with_provider(etcd_tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(pinned)));
        Ok(match &self.client {
            Some(pair) => {
                let (cert, key) = (read(pair.cert.as_ref())?, read(pair.key.as_ref())?);
                let identity = Identity::from_pem(&cert, &key).map_err(|error| wrong(&error))?;
                config.with_client_cert_resolver(identity.client())
            }
            None => config.with_no_client_auth(),
        })
    }
}

/// The server's own certificate: the first in its file.
fn first(path: &Path, pem: &[u8]) -> Result<CertificateDer<'static>, Failure> {
    etcd_tls::certificates(pem)
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(FailureCode::Credentials, format!("there is no certificate in {}", path.display())))
}

/// Takes the one certificate that lies in the server's own file. No authority is asked: it is the same node, by the loopback, and the
/// names in the certificate need not have the loopback's. A server that makes its own certificate is taken as it is.
#[derive(Debug)]
struct Pinned(Option<CertificateDer<'static>>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.0 {
            Some(pinned) if pinned != end_entity => {
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        etcd_tls::verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        etcd_tls::verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        etcd_tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
