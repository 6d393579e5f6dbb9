//! PEM files, read with `rustls-pemfile`: the only place of the lab that knows the crate, which is no longer kept.

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates, of which there must be one.
pub(crate) fn certificates(mut pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_pemfile::certs(&mut pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!found.is_empty(), "there is no certificate in it");
    Ok(found)
}

/// The first private key.
pub(crate) fn private_key(mut pem: &[u8]) -> Result<PrivateKeyDer<'static>> {
    rustls_pemfile::private_key(&mut pem)?.context("there is no private key in it")
}
