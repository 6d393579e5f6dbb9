//! What went wrong, in words that name the file or the endpoint to look at.

use std::error::Error;

use etcd_tls::Refusal;
use etcd_wire::{Failure, FailureCode};
use rustls::CertificateError;
use tonic::{Code, Status};

use super::PATIENCE;
use super::credentials::Credentials;

const RENEW: &str = "renew the node's certificates (kubeadm: `kubeadm certs renew all` on the node, then restart its \
                     control-plane pods)";

/// Nothing came back in time.
pub(super) fn silent(url: &str) -> Failure {
    Failure::new(FailureCode::Unreachable, format!("{url} does not answer within {} seconds", PATIENCE.as_secs()))
        .hint("look at etcd's log on the node: it may be starting, overloaded or stopped")
}

/// No connection.
pub(super) fn unreachable(url: &str, credentials: Option<&Credentials>, error: &(dyn Error + 'static)) -> Failure {
    let failure = |message: String| Failure::new(FailureCode::Unreachable, message).source(error);
    if let Some(refused) = own_certificate(url, credentials, error) {
        return refused;
    }
    let tls = tls(error);
    if let Some(refusal) = tls.and_then(Refusal::of) {
        return refused(url, credentials, refusal);
    }
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => {
            failure(format!("the server at {url} does not have the key of its certificate"))
        }
        Some(rustls::Error::InvalidCertificate(_)) => failure(format!("the server certificate of {url} is not valid")),
        Some(_) => failure(format!("no TLS with {url}")),
        None if io(error) == Some(std::io::ErrorKind::ConnectionRefused) => {
            failure(format!("nothing listens at {url}")).hint("look whether etcd runs on the node, and at its log")
        }
        None => failure(format!("cannot connect to {url}")),
    }
}

/// The server's certificate is not accepted.
fn refused(url: &str, credentials: Option<&Credentials>, refusal: &Refusal) -> Failure {
    let failure = |message: String| Failure::new(FailureCode::Unreachable, message).cause(refusal.to_string());
    match refusal {
        Refusal::Expired { .. } => failure(format!("a certificate of {url} has expired")).hint(RENEW),
        Refusal::NotYetValid { .. } => failure(format!("a certificate of {url} is not valid yet"))
            .hint("compare the node's clock with that of the machine that issued the certificate"),
        Refusal::OtherNames { .. } => failure(format!("the server certificate of {url} is for other names"))
            .hint("use an endpoint that is among the certificate's names and addresses"),
        Refusal::NoNames { .. } => failure(format!("the server certificate of {url} is for no name"))
            .hint("issue it again with the address of the endpoint as a subject alternative name"),
        Refusal::UnknownIssuer { .. } | Refusal::WrongSignature { .. } | Refusal::NoAuthority { .. } => {
            let ca = credentials.map_or("", |credentials| credentials.ca.as_str());
            failure(format!("the server certificate of {url} is not signed by the authority {ca}"))
                .hint("name the authority that signed it: etcd's --trusted-ca-file, or that of its --cert-file")
        }
        _ => failure(format!("the server certificate of {url} is not valid")),
    }
}

/// The first call on a new connection failed: where TLS 1.3 tells that the client's certificate was refused.
pub(super) fn first_call(url: &str, credentials: Option<&Credentials>, error: &etcd_client::Error) -> Failure {
    let etcd_client::Error::GRpcStatus(status) = error else { return refusal(url, "reach", error) };
    // A status with a source was made here, of a broken connection, not by the server.
    if status.source().is_none() {
        return refusal(url, "ask", error);
    }
    own_certificate(url, credentials, status).unwrap_or_else(|| {
        Failure::new(FailureCode::Unreachable, format!("{url} breaks the connection")).source(status)
    })
}

/// The member answers, and refuses or fails. `what` completes "cannot ... (of) URL".
pub(crate) fn refusal(url: &str, what: &str, error: &etcd_client::Error) -> Failure {
    let message = format!("cannot {what} {url}");
    let etcd_client::Error::GRpcStatus(status) = error else {
        return Failure::new(FailureCode::Etcd, message).source(error);
    };
    if is_denied(status) {
        return Failure::new(
            FailureCode::Denied,
            format!("{message}: authentication is on in etcd, and it refuses this certificate"),
        )
        .cause(said(status))
        .hint("use a client certificate whose common name is an etcd user with the role root");
    }
    let failure = Failure::new(FailureCode::Etcd, message).cause(said(status));
    let failure = match status.source() {
        Some(source) => failure.source(source),
        None => failure,
    };
    if status.message().contains("learner") {
        return failure.hint("this member is a learner and its version serves no such request; ask a voting member");
    }
    failure
}

/// Authentication. Only newer servers give it a code of its own; 3.4 and 3.5 answer some calls with `Unknown`
/// and the bare text.
fn is_denied(status: &Status) -> bool {
    let text = status.message();
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || text.starts_with("auth: ")
        || ["permission denied", "user name is empty", "invalid auth token"].iter().any(|known| text.contains(known))
}

fn said(status: &Status) -> String {
    format!("{} ({:?})", status.message(), status.code())
}

/// The failure, when it is the server that refuses our certificate.
fn own_certificate(url: &str, credentials: Option<&Credentials>, error: &(dyn Error + 'static)) -> Option<Failure> {
    let credentials = credentials?;
    // h2 keeps only the text of the error below it.
    let refused = matches!(tls(error), Some(rustls::Error::AlertReceived(_)))
        || chain(error).any(|error| error.to_string().contains("received fatal alert"));
    let fault = credentials.fault();
    // A server that just closes is explained by a certificate that it cannot have liked.
    if !refused && (fault.is_none() || tls(error).is_some() || io(error) == Some(std::io::ErrorKind::ConnectionRefused))
    {
        return None;
    }
    let message = match (fault, &credentials.pair) {
        (Some(fault), _) => fault,
        (None, Some(pair)) => format!("{url} refuses the client certificate {}", pair.cert),
        (None, None) => format!("{url} wants a client certificate, and none was named"),
    };
    Some(Failure::new(FailureCode::Credentials, message).cause(format!("refused by {url}")).source(error).hint(RENEW))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        // An io::Error's source is the source of what it wraps: step into the wrapped error itself.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn io(error: &(dyn Error + 'static)) -> Option<std::io::ErrorKind> {
    chain(error).find_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}
