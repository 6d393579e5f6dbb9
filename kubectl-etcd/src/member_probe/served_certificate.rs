//! The certificate that a member presents to its clients: read, never trusted. The handshake ends as soon as the certificate is seen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_wire::message::Certificate;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::client::UpgradeConnectionError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::connection::Connection;
use crate::discovery::{EtcdPod, address, is_loopback};
use crate::output::Failed;

/// How long the handshake may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Looks at the certificate through a port that is forwarded to the member's pod. `None` where the member uses no TLS, or does not listen
/// where the kubelet forwards to.
pub(super) async fn look(connection: &Connection, member: &EtcdPod) -> Option<Certificate> {
    let url = member.access.endpoints.first().filter(|url| url.starts_with("https:"))?;
    // The kubelet forwards to the loopback address of the node.
    let (host, port) = address(url).filter(|(host, _)| is_loopback(host))?;
    let seen = tokio::time::timeout(LIMIT, handshake(connection, member, host, port)).await;
    let seen = seen.unwrap_or_else(|_| Err(format!("no answer within {} seconds", LIMIT.as_secs())));
    let path = url.clone();
    Some(match seen.and_then(|der| etcd_tls::Certificate::parse(&der)) {
        Ok(read) => {
            Certificate { path, subject: Some(read.subject), not_after: Some(read.not_after), ..Certificate::default() }
        }
        Err(error) => Certificate { path, error: Some(error), ..Certificate::default() },
    })
}

/// The certificate, in DER.
async fn handshake(connection: &Connection, member: &EtcdPod, host: String, port: u16) -> Result<Vec<u8>, String> {
    let pods: Api<Pod> = Api::namespaced(connection.streams.clone(), &member.own.namespace);
    let mut forwarded = pods.portforward(&member.pod, &[port]).await.map_err(|error| refused(&error))?;
    let stream = forwarded.take_stream(port).ok_or("the port was not forwarded")?;
    let reader = Arc::new(Reader::default());
    let config = ClientConfig::builder_with_provider(etcd_tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(reader.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let ended = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    forwarded.abort();
    let seen = reader.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    seen.ok_or_else(|| ended.err().map_or_else(|| "it presented none".to_owned(), |error| error.to_string()))
}

fn refused(error: &kube::Error) -> String {
    let code = match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => code.as_u16(),
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match code {
        403 => "it is not known: no right to create pods/portforward".to_owned(),
        _ => Failed::plain("it is not known").source(error).one_line(),
    }
}

/// Keeps the certificate and refuses it: no byte of data is exchanged with a server that is not verified.
#[derive(Debug, Default)]
struct Reader {
    seen: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Reader {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Err(Error::General("the certificate was read".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is verified here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nothing is verified here".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        etcd_tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
