//! The files that prove who we are and tell whom to trust.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use etcd_tls::{Anchors, Certificate, Identity, IdentityError};
use etcd_wire::message::{EtcdAccess, KeyPair};
use etcd_wire::{Failure, FailureCode};
use rustls::pki_types::ServerName;

use super::channel::{H2, Tls};
use crate::certificate;

/// Authority and client certificate, read and found to be what they should be.
pub(crate) struct Credentials {
    /// File of the authority.
    pub(crate) ca: String,
    /// Client certificate and key; absent when the request named none.
    pub(crate) pair: Option<KeyPair>,
    own: Option<Certificate>,
    anchors: Anchors,
    identity: Option<Identity>,
}

impl Credentials {
    pub(crate) fn read(access: &EtcdAccess) -> Result<Credentials, Failure> {
        let ca = access.ca.clone().ok_or_else(|| {
            Failure::new(FailureCode::BadRequest, "an https:// endpoint needs the file of its authority")
        })?;
        let anchors =
            Anchors::from_pem(&read(&ca)?).map_err(|error| unusable(&ca, "certificate").cause(error.to_string()))?;
        let mut found = None;
        for pair in &access.credentials {
            if is_found(&pair.cert)? && is_found(&pair.key)? {
                found = Some(pair);
                break;
            }
        }
        let Some(pair) = found else {
            return match missing(access) {
                Some(failure) => Err(failure),
                None => Ok(Credentials { ca, pair: None, own: None, anchors, identity: None }),
            };
        };
        let cert = read(&pair.cert)?;
        let identity = Identity::from_pem(&cert, &read(&pair.key)?).map_err(|error| useless(pair, &error))?;
        let own = certificate::parse(&cert).ok().map(|mut all| all.swap_remove(0));
        Ok(Credentials { ca, pair: Some(pair.clone()), own, anchors, identity: Some(identity) })
    }

    /// TLS with the member at `host`.
    pub(crate) fn tls(&self, host: &str) -> Result<Tls, Failure> {
        let wrong = |error: &dyn std::error::Error| {
            Failure::new(FailureCode::BadRequest, format!("{host:?} is no name of a server")).source(error)
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
        let mut config = etcd_tls::client_config(self.anchors.clone(), self.identity.as_ref()).map_err(|error| {
            Failure::new(FailureCode::Credentials, "the certificates cannot be used").source(&error)
        })?;
        config.alpn_protocols.push(H2.to_vec());
        Ok(Tls { config: Arc::new(config), name })
    }

    /// What is wrong with the client certificate, as far as it can be told without the server.
    pub(crate) fn fault(&self) -> Option<String> {
        let (pair, own) = (self.pair.as_ref()?, self.own.as_ref()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        if own.not_after < now {
            return Some(format!("the certificate {} expired on {}", pair.cert, certificate::date(own.not_after)));
        }
        if own.not_before > now {
            let date = certificate::date(own.not_before);
            return Some(format!("the certificate {} is not valid before {date}", pair.cert));
        }
        // Where the server's own certificate is named in place of its authority, there is nothing to compare with.
        let mut authorities = self.anchors.certificates().filter(|anchor| anchor.may_issue()).peekable();
        if authorities.peek().is_some() && authorities.all(|authority| authority.subject != own.issuer) {
            return Some(format!(
                "the certificate {} was issued by {}, which is not in {}",
                pair.cert, own.issuer, self.ca
            ));
        }
        None
    }
}

/// Whether a file can be found on the node. One in a folder that this process may not enter is none of those that are meant for it; if no
/// other is found, [`missing`] says so.
fn is_found(path: &str) -> Result<bool, Failure> {
    match Path::new(path).try_exists() {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotADirectory) => Ok(false),
        looked => looked.map_err(|error| {
            Failure::new(FailureCode::Credentials, format!("cannot look for {path} on the node")).source(&error)
        }),
    }
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::new(FailureCode::Credentials, format!("cannot read {path} on the node")).source(&error)
    })
}

fn unusable(path: &str, what: &str) -> Failure {
    Failure::new(FailureCode::Credentials, format!("{path} on the node holds no usable {what}"))
}

/// Names the file at fault.
fn useless(pair: &KeyPair, error: &IdentityError) -> Failure {
    let failure = match error {
        IdentityError::NoCertificate | IdentityError::Certificate(_) => unusable(&pair.cert, "certificate"),
        IdentityError::NoKey | IdentityError::Key | IdentityError::Encrypted => unusable(&pair.key, "private key"),
        IdentityError::Mismatch => {
            let message = format!("the certificate {} cannot be used with the key {}", pair.cert, pair.key);
            Failure::new(FailureCode::Credentials, message)
        }
    };
    failure.cause(error.to_string())
}

/// Why no pair of those asked for is there. `None` when none was asked for.
fn missing(access: &EtcdAccess) -> Option<Failure> {
    let first = access.credentials.first()?;
    let message = format!("no client certificate for etcd on the node: {} with {}", first.cert, first.key);
    let files = access.credentials.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    let failure =
        files.fold(Failure::new(FailureCode::Credentials, message), |failure, file| match std::fs::metadata(file) {
            Ok(_) => failure,
            Err(error) => failure.cause(format!("{file}: {error}")),
        });
    Some(failure.hint("name the certificate and key that etcd's clients use on this node"))
}
