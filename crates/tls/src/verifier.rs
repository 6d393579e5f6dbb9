//! Server certificates in a TLS handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::anchors::Anchors;
use crate::certificate::Certificate;
use crate::identity::Identity;
use crate::provider::provider;
use crate::refusal::Refusal;
use crate::rules::{self, Place, Rules};
use crate::signature;

/// Accepts the servers that Go's crypto/x509 accepts; see the documentation of the crate.
#[derive(Debug)]
pub struct Verifier {
    anchors: Anchors,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// One that trusts `anchors`.
    #[must_use]
    pub fn new(anchors: Anchors) -> Verifier {
        Verifier { anchors, algorithms: provider().signature_verification_algorithms }
    }

    /// As webpki decides, with the anchors and intermediate certificates that may issue others by Go's rules. webpki
    /// knows no key usage, and asks nothing of an anchor.
    fn by_webpki(
        &self,
        rules: &Rules<'_>,
        leaf: &CertificateDer<'_>,
        others: &[Certificate],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let issuers: Vec<_> = self
            .anchors
            .iter()
            .filter_map(|anchor| Some((&anchor.certificate, anchor.webpki.as_ref()?)))
            .filter(|(certificate, _)| {
                certificate.may_issue()
                    && certificate.serves != Some(false)
                    && rules.sound(certificate, Place::Anchor, &[]).is_ok()
            })
            .collect();
        let others: Vec<_> = others.iter().filter(|other| other.may_issue()).map(|other| other.der.clone()).collect();
        let anchors: Vec<TrustAnchor<'_>> = issuers.iter().map(|(_, anchor)| (*anchor).clone()).collect();
        // Nor its path length.
        let path_allowed = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            let anchor = path.anchor();
            let allowed = issuers
                .iter()
                .any(|(certificate, webpki)| *webpki == anchor && rules::path_allows(certificate, between));
            if allowed { Ok(()) } else { Err(webpki::Error::PathLenConstraintViolated) }
        };
        let leaf = EndEntityCert::try_from(leaf)?;
        leaf.verify_for_usage(
            self.algorithms.all,
            &anchors,
            &others,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&path_allowed),
        )?;
        leaf.verify_is_valid_for_subject_name(host)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = Certificate::parse(end_entity).map_err(Refusal::Unreadable)?;
        if let Some(bits) = leaf.rsa_bits.filter(|&bits| bits < 2048) {
            return Err(Refusal::ShortKey { subject: leaf.subject, bits }.into());
        }
        let seconds = i64::try_from(now.as_secs()).map_err(|_| CertificateError::Expired)?;
        let rules = Rules { anchors: &self.anchors, algorithms: self.algorithms.all, now: seconds };
        // As in Go, what cannot be read cannot be part of a chain.
        let others: Vec<_> = intermediates.iter().filter_map(|other| Certificate::parse(other).ok()).collect();
        if self.by_webpki(&rules, end_entity, &others, server_name, now).is_err() {
            rules.verify(&leaf, &others, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The signature of a handshake in TLS 1.2, by the key of a certificate that need not be one that webpki reads.
///
/// # Errors
/// The key did not make the signature.
pub fn verify_tls12_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = Certificate::parse(cert).map_err(Refusal::Unreadable)?.key;
    let mapping = provider().signature_verification_algorithms.mapping;
    let mapped = mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
    let (_, algorithms) = mapped.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    signature::verify(*algorithms, &key, message, dss.signature())
        .map(|()| HandshakeSignatureValid::assertion())
        .map_err(|_| CertificateError::BadSignature.into())
}

/// The signature of a handshake in TLS 1.3, by the key of a certificate that need not be one that webpki reads.
///
/// # Errors
/// The key did not make the signature.
pub fn verify_tls13_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = Certificate::parse(cert).map_err(Refusal::Unreadable)?.key;
    verify_tls13_signature_with_raw_key(message, &key.info, dss, &provider().signature_verification_algorithms)
}

/// TLS as a client of a server that `anchors` vouch for, with a certificate of one's own if there is one.
///
/// # Errors
/// The provider lacks what TLS needs.
pub fn client_config(anchors: Anchors, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(anchors)));
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.client()),
        None => builder.with_no_client_auth(),
    })
}
