//! What is used of one certificate.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{X509Certificate, X509Extension, X509Version};
use x509_parser::public_key::PublicKey as Parsed;

use crate::signature::PublicKey;

/// What is used of one X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Distinguished name of its owner.
    pub subject: String,
    /// Distinguished name of the authority that signed it.
    pub issuer: String,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    /// Version 3, which may issue only by basic constraints.
    pub(crate) has_extensions: bool,
    pub(crate) basic: Option<BasicConstraints>,
    /// Key usage keyCertSign; absent when there is no key usage.
    pub(crate) signs_certificates: Option<bool>,
    /// Extended key usage allows servers; absent when there is none.
    pub(crate) serves: Option<bool>,
    /// Contents of the subject alternative name.
    pub(crate) alternative_names: Option<Vec<u8>>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) name_constraints: bool,
    /// Object identifier of a critical extension that is not understood.
    pub(crate) not_understood: Option<String>,
    pub(crate) key: PublicKey,
    /// Length of an RSA key's modulus.
    pub(crate) rsa_bits: Option<usize>,
    pub(crate) signed: Vec<u8>,
    /// What is inside the SEQUENCE of the signature's AlgorithmIdentifier.
    pub(crate) signature_algorithm: Vec<u8>,
    pub(crate) signature_oid: String,
    pub(crate) signature: Vec<u8>,
}

/// Extensions that decisions depend on: key usage, alternative names, basic constraints, name constraints, extended key
/// usage.
const NEEDED: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37"];

/// Extension basicConstraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub(crate) ca: bool,
    /// Number of intermediate certificates that may follow.
    pub(crate) path: Option<u32>,
}

impl Certificate {
    /// The certificate itself, as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Reads one certificate.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(der: &[u8]) -> Result<Certificate, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("not a certificate: {error}");
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| wrong(&error))?;
        if !rest.is_empty() {
            return Err("not a certificate: there is something behind it".to_owned());
        }
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err("not a certificate: two signature algorithms".to_owned());
        }
        let key = parsed.public_key();
        let key_algorithm = first_inside(key.raw).ok_or_else(|| wrong(&"no key"))?;
        let signature_algorithm = second_inside(der).ok_or_else(|| wrong(&"no signature"))?;
        let mut certificate = Certificate {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            der: CertificateDer::from(der.to_vec()),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            has_extensions: parsed.version() == X509Version::V3,
            basic: None,
            signs_certificates: None,
            serves: None,
            alternative_names: None,
            dns_names: Vec::new(),
            addresses: Vec::new(),
            name_constraints: false,
            not_understood: None,
            key: PublicKey {
                info: key.raw.to_vec().into(),
                algorithm: key_algorithm,
                bits: key.subject_public_key.data.to_vec(),
            },
            rsa_bits: match key.parsed() {
                Ok(Parsed::RSA(rsa)) => Some(rsa.key_size()),
                _ => None,
            },
            signed: parsed.tbs_certificate.as_ref().to_vec(),
            signature_algorithm,
            signature_oid: parsed.signature_algorithm.algorithm.to_id_string(),
            signature: parsed.signature_value.data.to_vec(),
        };
        parsed.extensions_map().map_err(|error| wrong(&error))?;
        for extension in parsed.extensions() {
            certificate.extend(extension)?;
        }
        Ok(certificate)
    }

    /// Whether it may issue others, as Go's `CheckSignatureFrom` decides. One of version 1 cannot tell.
    #[must_use]
    pub fn may_issue(&self) -> bool {
        self.basic.map_or(!self.has_extensions, |basic| basic.ca) && self.signs_certificates.unwrap_or(true)
    }

    fn extend(&mut self, extension: &X509Extension<'_>) -> Result<(), String> {
        let mut understood = true;
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => {
                self.basic = Some(BasicConstraints { ca: basic.ca, path: basic.path_len_constraint });
            }
            ParsedExtension::KeyUsage(usage) => self.signs_certificates = Some(usage.key_cert_sign()),
            ParsedExtension::ExtendedKeyUsage(usage) => self.serves = Some(usage.any || usage.server_auth),
            ParsedExtension::SubjectAlternativeName(names) => {
                self.alternative_names = Some(extension.value.to_vec());
                understood = self.name(&names.general_names)?;
            }
            ParsedExtension::NameConstraints(_) => self.name_constraints = true,
            // Those that Go knows; nothing here depends on them.
            ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::AuthorityInfoAccess(_) => {}
            ParsedExtension::ParseError { error } if NEEDED.contains(&extension.oid.to_id_string().as_str()) => {
                return Err(format!("not a certificate: extension {}: {error}", extension.oid.to_id_string()));
            }
            _ => understood = false,
        }
        if extension.critical && !understood {
            self.not_understood.get_or_insert_with(|| extension.oid.to_id_string());
        }
        Ok(())
    }

    /// Takes the names that count. Whether there was one of a known kind.
    fn name(&mut self, names: &[GeneralName<'_>]) -> Result<bool, String> {
        let mut known = false;
        for name in names {
            match name {
                GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => self.addresses.push(address(bytes)?),
                GeneralName::RFC822Name(_) | GeneralName::URI(_) => {}
                GeneralName::Invalid(..) => return Err("not a certificate: a name in it is not text".to_owned()),
                _ => continue,
            }
            known = true;
        }
        Ok(known)
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    let sixteen = <[u8; 16]>::try_from(bytes);
    sixteen.map(IpAddr::from).map_err(|_| format!("not a certificate: an address in it has {} bytes", bytes.len()))
}

/// Contents of the first element of a SEQUENCE.
fn first_inside(sequence: &[u8]) -> Option<Vec<u8>> {
    let (_, outer) = Any::from_der(sequence).ok()?;
    let (_, first) = Any::from_der(outer.data).ok()?;
    Some(first.data.to_vec())
}

/// Contents of the second element of a SEQUENCE.
fn second_inside(sequence: &[u8]) -> Option<Vec<u8>> {
    let (_, outer) = Any::from_der(sequence).ok()?;
    let (rest, _) = Any::from_der(outer.data).ok()?;
    let (_, second) = Any::from_der(rest).ok()?;
    Some(second.data.to_vec())
}
