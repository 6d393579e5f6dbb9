//! Certificates as each test needs them.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;

/// A certificate with its key.
pub(crate) struct Pair {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: KeyPair,
    params: CertificateParams,
}

impl Pair {
    pub(crate) fn own(params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Pair { der, key, params }
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().clone();
        Pair { der, key, params }
    }

    /// The key as PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// A server's at localhost and 127.0.0.1.
pub(crate) fn server() -> CertificateParams {
    let mut params = named("server");
    params.subject_alt_names =
        vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// An authority's.
pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

/// The same certificate with one bit of its signature changed.
pub(crate) fn tampered(der: &CertificateDer<'_>) -> CertificateDer<'static> {
    let mut bytes = der.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.into()
}
