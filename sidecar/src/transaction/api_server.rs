//! Asks the node's own API server whether it is ready, and whether it serves what it should.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::restore::Marker;
use etcd_wire::{Failure, FailureCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ground::ApiServer;
use super::tls;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than a namespace has.
const LARGEST: usize = 4 << 20;

/// Whether it is ready, and serves the marker.
///
/// A server that knows its kubelet client but does not let it read namespaces is judged by its readiness alone.
///
/// # Errors
/// What it is not, or what it serves instead.
pub(super) async fn prove(api: &ApiServer, marker: Option<&Marker>) -> Result<(), Failure> {
    let not = |what: String| Failure::new(FailureCode::Refused, what);
    let (status, body) = get(api, "/readyz").await?;
    match status {
        StatusCode::OK => {}
        // It does not tell strangers; that it answers is all there is to know.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(()),
        _ => {
            let said = String::from_utf8_lossy(&body);
            let failed = said.lines().filter(|line| line.starts_with("[-]"));
            let failed: Vec<&str> = failed.collect();
            return Err(not(format!("the API server is not ready: {status} {}", failed.join(" "))));
        }
    }
    let Some(marker) = marker else { return Ok(()) };
    let (status, body) = get(api, "/api/v1/namespaces/kube-system").await?;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(());
    }
    let object: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let (uid, version) = (&object["metadata"]["uid"], &object["metadata"]["resourceVersion"]);
    if status != StatusCode::OK || *uid != *marker.uid {
        return Err(not(format!(
            "the API server does not serve the namespace kube-system of the snapshot: {status}, UID {uid}"
        )));
    }
    // It may have been written since; it cannot be older.
    let version = version.as_str().and_then(|version| version.parse::<i64>().ok()).unwrap_or(0);
    if version < marker.resource_version {
        return Err(not(format!(
            "the API server serves namespace kube-system as of revision {version}, and the snapshot has it as of {}",
            marker.resource_version
        )));
    }
    Ok(())
}

async fn get(api: &ApiServer, path: &str) -> Result<(StatusCode, Bytes), Failure> {
    let failed = |what: &str, error: &dyn std::error::Error| {
        Failure::new(FailureCode::Unreachable, format!("the API server {what}")).source(error)
    };
    let asked = async {
        let connector = TlsConnector::from(Arc::new(config(api)?));
        let stream = TcpStream::connect((api.host.as_str(), api.port))
            .await
            .map_err(|error| failed("does not listen", &error))?;
        let name = ServerName::try_from("kubernetes").expect("a DNS name");
        let stream = connector.connect(name, stream).await.map_err(|error| failed("does not speak TLS", &error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed("does not speak HTTP", &error))?;
        let driver = tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "kubernetes")
            .header("accept", "application/json")
            .header("user-agent", "etcd-sidecar")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed("cannot be asked", &error))?;
        let answer = sender.send_request(request).await.map_err(|error| failed("does not answer", &error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        driver.abort();
        let body = body.map_err(|error| failed("stopped in the middle of its answer", &*error))?;
        Ok((status, body.to_bytes()))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(Failure::new(FailureCode::Unreachable, format!("the API server is silent for {}s", PATIENCE.as_secs())))
        }
    }
}

/// Waits until a server has greeted in TLS, whoever it is.
pub(super) async fn greeted(stream: TcpStream) -> std::io::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate: None, provider }))
        .with_no_client_auth();
    let name = ServerName::try_from("etcd").expect("a DNS name");
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(_) => Ok(()),
        // That it does not take us is an answer, too.
        Err(error)
            if error
                .get_ref()
                .is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::AlertReceived(_)))) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn config(api: &ApiServer) -> Result<ClientConfig, Failure> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            Failure::new(FailureCode::Credentials, format!("cannot read {}", path.display())).source(&error)
        })
    };
    let pinned = match &api.certificate {
        Some(path) => Some(tls::certificates(&read(path)?)?.swap_remove(0)),
        None => None,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong =
        |error: rustls::Error| Failure::new(FailureCode::Credentials, "the certificates cannot be used").source(&error);
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate: pinned, provider }));
    match &api.client {
        Some(pair) => {
            let certificates = tls::certificates(&read(pair.cert.as_ref())?)?;
            config.with_client_auth_cert(certificates, tls::key(&read(pair.key.as_ref())?)?).map_err(wrong)
        }
        None => Ok(config.with_no_client_auth()),
    }
}

/// Takes the one certificate that lies in the server's own file. No authority is asked: it is the same node, by the loopback, and the
/// names in the certificate need not have the loopback's. A server that makes its own certificate is taken as it is.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.certificate {
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
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
