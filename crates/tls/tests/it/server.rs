//! A TLS server in memory that presents a given certificate chain.

use std::sync::Arc;

use etcd_tls::{Anchors, Certificate, Identity, client_config, provider};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
};

/// Both, newest first.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

pub(crate) fn pkcs8(der: &[u8]) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(der.to_vec()).into()
}

/// Shakes hands in both versions of TLS with a server at `host`, and gives the client's error.
pub(crate) fn shake(
    chain: &[&CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    anchors: &[&CertificateDer<'static>],
    host: &str,
) -> Result<(), Error> {
    let anchors = Anchors::from_der(anchors.iter().map(|der| &***der)).unwrap();
    VERSIONS.into_iter().try_for_each(|version| once(chain, key.clone_key(), anchors.clone(), host, None, version))
}

/// The server asks for the client's certificate, and takes it if the signature is right.
pub(crate) fn once(
    chain: &[&CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    anchors: Anchors,
    host: &str,
    identity: Option<&Identity>,
    version: &'static SupportedProtocolVersion,
) -> Result<(), Error> {
    let key = provider().key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(chain.iter().map(|der| (*der).clone()).collect(), key);
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let builder = match identity {
        Some(_) => builder.with_client_cert_verifier(Arc::new(AnyClient)),
        None => builder.with_no_client_auth(),
    };
    let server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let client = client_config(anchors, identity)?;
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), host)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    let presented = server.peer_certificates().map(|all| all[0].clone());
    assert_eq!(presented.is_some(), identity.is_some());
    Ok(())
}

/// Anybody who has the key of the certificate that they present.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Certificate::parse(end_entity).map_err(Error::General)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        etcd_tls::verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        etcd_tls::verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
