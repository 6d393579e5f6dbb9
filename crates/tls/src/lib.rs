//! TLS with the certificates that etcdctl and kubectl accept.
//!
//! Both are written in Go, and people make certificates until those two are content: a self-signed certificate, one with
//! CA:TRUE that is a server's all the same, a server's own certificate given as the authority, keys on the curve P-521.
//! rustls with webpki and ring refuses them all. This crate accepts what Go's crypto/x509 accepts, and no more.
//!
//! # What is always checked
//!
//! There is no way to switch a check off here. A server is accepted only if
//! * it proves that it has the private key of the certificate that it presents (the signature in the handshake);
//! * the certificate is one of the [`Anchors`] itself, byte for byte, or signatures lead from it over the certificates
//!   that the server presents to one of them, each by a certificate that may issue (basic constraints, path length, key usage);
//! * each certificate on that way, the anchor too, is within its period of validity;
//! * the host name or address is among the certificate's subject alternative names: its common name never counts;
//! * extended key usages, where there are any, allow a server, in each certificate on that way;
//! * no certificate on that way has a critical extension that is not understood.
//!
//! webpki is asked first, with only those anchors that may issue certificates by Go's rules, so that a server's
//! certificate among the anchors vouches for itself and for nothing else. Where webpki refuses, `rules` decides.
//! Name constraints are checked by webpki; `rules` refuses a chain in which there are any that concern it.
//!
//! Go accepts a few that are refused here: RSA keys below 2048 bits, and curves other than P-256, P-384 and P-521.
//! SHA-1 signatures are refused as Go does.

mod anchors;
mod certificate;
mod ecdsa;
mod identity;
mod names;
mod pem;
mod provider;
mod refusal;
mod rules;
mod signature;
mod verifier;

pub use anchors::{Anchors, AnchorsError, roots_from_pem};
pub use certificate::Certificate;
pub use identity::{Identity, IdentityError, certificates};
pub use provider::provider;
pub use refusal::Refusal;
pub use verifier::{Verifier, client_config, verify_tls12_signature, verify_tls13_signature};
