//! The certificates that are trusted.

use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::Certificate;
use crate::pem;

/// Why there is nothing to trust in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    /// No block `CERTIFICATE`.
    #[error("it holds no PEM block of a certificate")]
    None,
    /// Only blocks of OpenSSL's own kind, which Go does not read either.
    #[error("its certificates are in OpenSSL's own form, TRUSTED CERTIFICATE: convert each with `openssl x509`")]
    Trusted,
    /// No certificate that can be parsed.
    #[error("no certificate in it can be parsed: {0}")]
    Unreadable(String),
}

/// The certificates that are trusted: authorities, and servers' own.
#[derive(Debug, Clone)]
pub struct Anchors(Vec<Anchor>);

#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(crate) certificate: Certificate,
    /// For webpki, where it can read it.
    pub(crate) webpki: Option<TrustAnchor<'static>>,
}

impl Anchors {
    /// All certificates of a PEM file. As in Go, those that cannot be read are skipped, and so is all else.
    ///
    /// # Errors
    /// There is none.
    pub fn from_pem(text: &[u8]) -> Result<Anchors, AnchorsError> {
        Anchors::from_der(roots_from_pem(text)?.iter().map(|der| &**der))
    }

    /// Certificates. Those that cannot be read are skipped.
    ///
    /// # Errors
    /// There is none.
    pub fn from_der<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Result<Anchors, AnchorsError> {
        let mut anchors = Vec::new();
        let mut fault = AnchorsError::None;
        for der in all {
            match Certificate::parse(der) {
                Ok(certificate) => anchors.push(Anchor::new(certificate)),
                Err(reason) => fault = AnchorsError::Unreadable(reason),
            }
        }
        if anchors.is_empty() { Err(fault) } else { Ok(Anchors(anchors)) }
    }

    /// The certificates, in their order.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.0.iter().map(|anchor| &anchor.certificate)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.0.iter()
    }
}

impl Anchor {
    fn new(certificate: Certificate) -> Anchor {
        let webpki = webpki::anchor_from_trusted_cert(&certificate.der).map(|anchor| anchor.to_owned()).ok();
        Anchor { certificate, webpki }
    }
}

/// The certificates of a PEM file that can be read, as Go's `AppendCertsFromPEM` takes them; at least one.
///
/// # Errors
/// There is none.
pub fn roots_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, AnchorsError> {
    let mut roots = Vec::new();
    let mut fault = AnchorsError::None;
    for block in pem::blocks(text) {
        match block.label.as_str() {
            "CERTIFICATE" if !block.headers => match Certificate::parse(&block.der) {
                Ok(_) => roots.push(CertificateDer::from(block.der)),
                Err(reason) => fault = AnchorsError::Unreadable(reason),
            },
            "TRUSTED CERTIFICATE" if fault == AnchorsError::None => fault = AnchorsError::Trusted,
            _ => {}
        }
    }
    if roots.is_empty() { Err(fault) } else { Ok(roots) }
}
