//! The files that prove who we are and tell whom to trust.

use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use etcd_wire::message::{EtcdAccess, KeyPair};
use etcd_wire::{Failure, FailureCode};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::certificate::{self, Facts};

/// Authority and client certificate, read and found to be what they should be.
pub(crate) struct Credentials {
    /// File of the authority.
    pub(crate) ca: String,
    /// Client certificate and key; absent when the request named none.
    pub(crate) pair: Option<KeyPair>,
    own: Option<Facts>,
    authorities: Vec<Facts>,
    ca_pem: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Credentials {
    pub(crate) fn read(access: &EtcdAccess) -> Result<Credentials, Failure> {
        let ca = access.ca.clone().ok_or_else(|| {
            Failure::new(FailureCode::BadRequest, "an https:// endpoint needs the file of its authority")
        })?;
        let ca_pem = read(&ca)?;
        let authorities = parse(&ca, &ca_pem)?;
        let pair =
            access.credentials.iter().find(|pair| Path::new(&pair.cert).exists() && Path::new(&pair.key).exists());
        let Some(pair) = pair else {
            return match missing(access) {
                Some(failure) => Err(failure),
                None => Ok(Credentials { ca, pair: None, own: None, authorities, ca_pem, identity: None }),
            };
        };
        let (cert, key) = (read(&pair.cert)?, read(&pair.key)?);
        let own = parse(&pair.cert, &cert)?.swap_remove(0);
        let identity = Some((cert, key));
        Ok(Credentials { ca, pair: Some(pair.clone()), own: Some(own), authorities, ca_pem, identity })
    }

    pub(crate) fn tls(&self, host: &str) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem)).domain_name(host);
        match &self.identity {
            Some((cert, key)) => tls.identity(Identity::from_pem(cert, key)),
            None => tls,
        }
    }

    /// The failure of a TLS configuration made of these.
    pub(crate) fn unusable(&self, error: &dyn Error) -> Failure {
        let message = match &self.pair {
            Some(pair) => format!("the certificate {} cannot be used with the key {}", pair.cert, pair.key),
            None => format!("the authority {} cannot be used", self.ca),
        };
        Failure::new(FailureCode::Credentials, message).source(error)
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
        if self.authorities.iter().all(|authority| authority.subject != own.issuer) {
            return Some(format!(
                "the certificate {} was issued by {}, which is not in {}",
                pair.cert, own.issuer, self.ca
            ));
        }
        None
    }
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::new(FailureCode::Credentials, format!("cannot read {path} on the node")).source(&error)
    })
}

fn parse(path: &str, pem: &[u8]) -> Result<Vec<Facts>, Failure> {
    certificate::parse(pem).map_err(|reason| {
        Failure::new(FailureCode::Credentials, format!("{path} on the node holds no usable certificate")).cause(reason)
    })
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
