//! The rules of Go's crypto/x509: whether a chain leads from a server's certificate to an anchor.
//!
//! They differ from webpki's in that a certificate may be a server's and an authority's at once, and that a certificate
//! which is an anchor itself needs no issuer.

use rustls::pki_types::{ServerName, SignatureVerificationAlgorithm};

use crate::anchors::Anchors;
use crate::certificate::Certificate;
use crate::names;
use crate::refusal::Refusal;
use crate::signature::{self, Fault};

/// Go's limit for the signatures that are checked while a chain is looked for.
const MAX_SIGNATURES: usize = 100;

/// Object identifiers of the signatures with SHA-1, and MD5 and MD2 with RSA.
const BROKEN: [(&str, &str); 5] = [
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.2", "MD2"),
];

/// Where a certificate stands in a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Leaf,
    Intermediate,
    Anchor,
}

/// What a chain is looked for with.
pub(crate) struct Rules<'a> {
    pub(crate) anchors: &'a Anchors,
    pub(crate) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Rules<'_> {
    /// Whether the server with the certificate `leaf`, which presents `others` with it, is `host`.
    pub(crate) fn verify(
        &self,
        leaf: &Certificate,
        others: &[Certificate],
        host: &ServerName<'_>,
    ) -> Result<(), Refusal> {
        self.sound(leaf, Place::Leaf, &[])?;
        names::verify(leaf, host)?;
        if self.anchors.certificates().any(|anchor| anchor.der == leaf.der) {
            return serves(&[leaf]);
        }
        self.build(&mut vec![leaf], others, &mut 0)
    }

    /// Looks for a chain that begins with `chain`, depth first. The refusal is the first that says more than that an
    /// issuer is unknown.
    fn build<'c>(
        &'c self,
        chain: &mut Vec<&'c Certificate>,
        others: &'c [Certificate],
        signatures: &mut usize,
    ) -> Result<(), Refusal> {
        let Some(&last) = chain.last() else { return Err(Refusal::TooMany) };
        let anchors = self.anchors.certificates().map(|anchor| (Place::Anchor, anchor));
        let candidates = anchors.chain(others.iter().map(|other| (Place::Intermediate, other)));
        let mut refusal = None;
        for (place, candidate) in candidates.filter(|(_, candidate)| candidate.subject_der == last.issuer_der) {
            if chain.iter().any(|already| same(already, candidate)) {
                continue;
            }
            *signatures += 1;
            if *signatures > MAX_SIGNATURES {
                return Err(Refusal::TooMany);
            }
            let checked = self.issued(candidate, last).and_then(|()| self.sound(candidate, place, chain));
            let found = checked.and_then(|()| {
                chain.push(candidate);
                let found = if place == Place::Anchor { serves(chain) } else { self.build(chain, others, signatures) };
                chain.pop();
                found
            });
            match found {
                Err(Refusal::TooMany) | Ok(()) => return found,
                Err(Refusal::UnknownIssuer { .. }) => {}
                Err(reason) => {
                    refusal.get_or_insert(reason);
                }
            }
        }
        Err(refusal
            .unwrap_or_else(|| Refusal::UnknownIssuer { subject: last.subject.clone(), issuer: last.issuer.clone() }))
    }

    /// Go's `CheckSignatureFrom`.
    fn issued(&self, issuer: &Certificate, child: &Certificate) -> Result<(), Refusal> {
        if !issuer.may_issue() {
            return Err(Refusal::NoAuthority { subject: issuer.subject.clone() });
        }
        if let Some(bits) = issuer.rsa_bits.filter(|&bits| bits < 2048) {
            return Err(Refusal::ShortKey { subject: issuer.subject.clone(), bits });
        }
        let broken = BROKEN.iter().find(|(oid, _)| *oid == child.signature_oid).map(|(_, name)| *name);
        let refuse =
            |algorithm: &str| Refusal::Algorithm { subject: child.subject.clone(), algorithm: algorithm.to_owned() };
        if let Some(name) = broken {
            return Err(refuse(name));
        }
        let of_this_kind = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
            algorithm.signature_alg_id().as_ref() == child.signature_algorithm.as_slice()
        };
        let algorithms = self.algorithms.iter().filter(of_this_kind);
        signature::verify(algorithms, &issuer.key, &child.signed, &child.signature).map_err(|fault| match fault {
            Fault::Unsupported => refuse(&child.signature_oid),
            Fault::Wrong => Refusal::WrongSignature { subject: child.subject.clone(), issuer: child.issuer.clone() },
        })
    }

    /// Go's `isValid`: what must hold of one certificate in its place above those that are `below`.
    pub(crate) fn sound(&self, certificate: &Certificate, place: Place, below: &[&Certificate]) -> Result<(), Refusal> {
        let subject = || certificate.subject.clone();
        if let Some(oid) = &certificate.not_understood {
            return Err(Refusal::CriticalExtension { subject: subject(), oid: oid.clone() });
        }
        if self.now < certificate.not_before {
            let not_before = certificate.not_before;
            return Err(Refusal::NotYetValid { subject: subject(), not_before, now: self.now });
        }
        if self.now > certificate.not_after {
            return Err(Refusal::Expired { subject: subject(), not_after: certificate.not_after, now: self.now });
        }
        let named = below.iter().any(|certificate| certificate.alternative_names.is_some());
        if place != Place::Leaf && certificate.name_constraints && named {
            return Err(Refusal::NameConstraints { subject: subject() });
        }
        if place == Place::Intermediate && !certificate.basic.is_some_and(|basic| basic.ca) {
            return Err(Refusal::NoAuthority { subject: subject() });
        }
        // The server's certificate does not count.
        let between = below.len().saturating_sub(1);
        if !path_allows(certificate, between) {
            return Err(Refusal::PathTooLong { subject: subject() });
        }
        Ok(())
    }
}

/// Whether `between` certificates may stand between this one and a server's.
pub(crate) fn path_allows(certificate: &Certificate, between: usize) -> bool {
    certificate
        .basic
        .and_then(|basic| basic.path)
        .is_none_or(|longest| usize::try_from(longest).map_or(true, |longest| between <= longest))
}

/// Go's `checkChainForKeyUsage`: no certificate of a chain has extended key usages without servers.
fn serves(chain: &[&Certificate]) -> Result<(), Refusal> {
    match chain.iter().rev().find(|certificate| certificate.serves == Some(false)) {
        Some(certificate) => Err(Refusal::NotForServers { subject: certificate.subject.clone() }),
        None => Ok(()),
    }
}

/// Go's `alreadyInChain`: the same owner with the same key and names.
fn same(one: &Certificate, other: &Certificate) -> bool {
    one.subject_der == other.subject_der && one.key == other.key && one.alternative_names == other.alternative_names
}
