//! Why a server's certificate is not accepted.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};

/// Why a server's certificate is not accepted, in words for people.
///
/// Distinguished names are as in the certificates: whoever shows them makes control characters visible.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an X.509 certificate.
    #[error("the server's certificate cannot be read: {0}")]
    Unreadable(String),
    /// Its time is over. Times are seconds since 1970.
    #[error("the certificate of {subject} expired on {} (it is {} now)", date(*.not_after), date(*.now))]
    Expired {
        /// Distinguished name of its owner.
        subject: String,
        /// The last second of its validity.
        not_after: i64,
        /// The time of the check.
        now: i64,
    },
    /// Its time has not come. Times are seconds since 1970.
    #[error("the certificate of {subject} is not valid before {} (it is {} now)", date(*.not_before), date(*.now))]
    NotYetValid {
        /// Distinguished name of its owner.
        subject: String,
        /// The first second of its validity.
        not_before: i64,
        /// The time of the check.
        now: i64,
    },
    /// It is another host's.
    #[error("the server's certificate is for {}, not for {wanted}", .names.join(", "))]
    OtherNames {
        /// The host name or address of the connection.
        wanted: String,
        /// The names and addresses in the certificate.
        names: Vec<String>,
    },
    /// It has no names that count.
    #[error(
        "the server's certificate ({subject}) has no subject alternative name, so it is not for {wanted}: a common name \
         does not count"
    )]
    NoNames {
        /// The host name or address of the connection.
        wanted: String,
        /// Distinguished name of its owner.
        subject: String,
    },
    /// No way leads to an anchor.
    #[error("the certificate of {subject} was issued by {issuer}, which is not a known authority")]
    UnknownIssuer {
        /// Distinguished name of the certificate's owner.
        subject: String,
        /// Distinguished name of its issuer.
        issuer: String,
    },
    /// An issuer has the right name and another key.
    #[error("the certificate of {subject} was not signed by the key of {issuer}, which it names as its issuer")]
    WrongSignature {
        /// Distinguished name of the certificate's owner.
        subject: String,
        /// Distinguished name of the issuer.
        issuer: String,
    },
    /// It has signed another certificate and is no authority.
    #[error("the certificate of {subject} may not issue certificates, and has issued one")]
    NoAuthority {
        /// Distinguished name of its owner.
        subject: String,
    },
    /// More certificates are below it than it allows.
    #[error("the certificate of {subject} allows fewer certificates between itself and a server's")]
    PathTooLong {
        /// Distinguished name of its owner.
        subject: String,
    },
    /// It may do other things.
    #[error("the certificate of {subject} is not for servers: its extended key usages lack server authentication")]
    NotForServers {
        /// Distinguished name of its owner.
        subject: String,
    },
    /// It allows only some names.
    #[error("the certificate of {subject} has name constraints, which cannot be checked in this chain")]
    NameConstraints {
        /// Distinguished name of its owner.
        subject: String,
    },
    /// It demands something unknown.
    #[error("the certificate of {subject} has the critical extension {oid}, which is not known")]
    CriticalExtension {
        /// Distinguished name of its owner.
        subject: String,
        /// Object identifier of the extension.
        oid: String,
    },
    /// SHA-1, or something unknown.
    #[error("the certificate of {subject} is signed with {algorithm}, which is not accepted")]
    Algorithm {
        /// Distinguished name of its owner.
        subject: String,
        /// Name or object identifier.
        algorithm: String,
    },
    /// An RSA key that is too short.
    #[error("the RSA key of {subject} has {bits} bits; at least 2048 are needed")]
    ShortKey {
        /// Distinguished name of its owner.
        subject: String,
        /// Length of the modulus.
        bits: usize,
    },
    /// There are more ways to try than anyone needs.
    #[error("the server presents too many certificates with the same names")]
    TooMany,
}

/// As the text: rustls shows errors that it does not know in this way.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Refusal {
    /// The refusal that a connection failed with, if it was one.
    #[must_use]
    pub fn of(error: &rustls::Error) -> Option<&Refusal> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

/// A time for people.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
