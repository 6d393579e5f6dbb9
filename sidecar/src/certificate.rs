//! Reads certificates from PEM files. The only place of the sidecar that knows `rustls-pemfile`, which is no longer kept.

use etcd_wire::message::Certificate;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is used of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Distinguished name of its owner.
    pub(crate) subject: String,
    /// Distinguished name of the authority that signed it.
    pub(crate) issuer: String,
    /// Start of validity, seconds since 1970.
    pub(crate) not_before: i64,
    /// End of validity, seconds since 1970.
    pub(crate) not_after: i64,
}

/// All certificates in a PEM file's contents, unread; at least one.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &*pem).collect();
    let all = all.map_err(|error| format!("not PEM: {error}"))?;
    if all.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(all) }
}

/// The first key in a PEM file's contents.
pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let key = rustls_pemfile::private_key(&mut &*pem).map_err(|error| format!("not PEM: {error}"))?;
    key.ok_or_else(|| "there is no key in it".to_owned())
}

/// All certificates in a PEM file's contents.
pub(crate) fn parse(pem: &[u8]) -> Result<Vec<Facts>, String> {
    let mut all = Vec::new();
    for der in rustls_pemfile::certs(&mut &*pem) {
        let der = der.map_err(|error| format!("not PEM: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| format!("not a certificate: {error}"))?;
        all.push(Facts {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        });
    }
    if all.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(all) }
}

/// What to tell about the certificate file at `path`. Only the first certificate counts: the others in a bundle are
/// the authorities above it.
pub(crate) fn describe(path: &str) -> Certificate {
    let facts = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| parse(&pem));
    let path = path.to_owned();
    match facts {
        Ok(facts) => Certificate {
            path,
            subject: Some(facts[0].subject.clone()),
            not_after: Some(facts[0].not_after),
            error: None,
        },
        Err(error) => Certificate { path, error: Some(error), ..Certificate::default() },
    }
}

/// A time for people.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
