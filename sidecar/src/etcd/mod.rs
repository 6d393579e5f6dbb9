//! The member on this node: reaching it, and saying well why it cannot be reached.

mod channel;
mod classify;
mod credentials;

use std::time::Duration;

use etcd_client::{Channel, Client, StatusResponse};
use etcd_wire::message::EtcdAccess;
use etcd_wire::{Failure, FailureCode};
use http::Uri;
use tokio::time::timeout;

pub(crate) use classify::refusal;
use credentials::Credentials;

/// How long the member may take to let us in, and to answer one call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A member that has answered.
pub(crate) struct Member {
    /// The URL that it answered under.
    pub(crate) endpoint: String,
    /// Calls go by this.
    pub(crate) client: Client,
    /// Its first answer.
    pub(crate) status: StatusResponse,
}

impl Member {
    /// The revision that its first answer tells.
    ///
    /// # Errors
    /// It tells none.
    pub(crate) fn revision(&self) -> Result<i64, Failure> {
        let header = self.status.header().ok_or_else(|| headless(&self.endpoint))?;
        Ok(header.revision())
    }
}

/// An answer that does not tell of which cluster and revision it is.
pub(crate) fn headless(endpoint: &str) -> Failure {
    Failure::new(FailureCode::Etcd, format!("the answer of etcd at {endpoint} has no header"))
}

/// Finds the first endpoint that answers.
///
/// When none does, the failure is that of the first, with what the others said among the causes.
pub(crate) async fn connect(access: &EtcdAccess) -> Result<Member, Failure> {
    let mut failures: Vec<(&str, Failure)> = Vec::new();
    for endpoint in &access.endpoints {
        match reach(access, endpoint).await {
            Ok(member) => return Ok(member),
            Err(failure) => failures.push((endpoint, failure)),
        }
    }
    let mut failures = failures.into_iter();
    let Some((_, first)) = failures.next() else {
        return Err(Failure::new(FailureCode::BadRequest, "no endpoint of etcd was given"));
    };
    // A file that is missing fails them all alike, and is told once.
    Err(failures
        .filter(|(_, other)| other.message != first.message)
        .fold(first.clone(), |all, (endpoint, other)| all.cause(format!("{endpoint}: {}", other.message))))
}

async fn reach(access: &EtcdAccess, url: &str) -> Result<Member, Failure> {
    let wrong = |what: &str| Failure::new(FailureCode::BadRequest, format!("the endpoint {url:?} {what}"));
    let uri: Uri = url.parse().map_err(|error| wrong("is not a URL").source(&error))?;
    let host = uri.host().ok_or_else(|| wrong("has no host"))?.trim_matches(['[', ']']).to_owned();
    let credentials = match uri.scheme_str() {
        Some("http") => None,
        Some("https") => Some(Credentials::read(access)?),
        _ => return Err(wrong("begins with neither https:// nor http://")),
    };
    let tls = credentials.as_ref().map(|credentials| credentials.tls(&host)).transpose()?;
    let channel = match timeout(PATIENCE, channel::connect(&uri, tls)).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return Err(classify::unreachable(url, credentials.as_ref(), &error)),
        Err(_) => return Err(classify::silent(url)),
    };
    let client = Client::from_channel(Channel::Tonic(channel), None)
        .await
        .map_err(|error| classify::refusal(url, "use the connection", &error))?;
    // In TLS 1.3 a server judges the client's certificate after the handshake: only an answer proves anything.
    match timeout(PATIENCE, client.maintenance_client().status()).await {
        Ok(Ok(status)) => Ok(Member { endpoint: url.to_owned(), client, status }),
        Ok(Err(error)) => Err(classify::first_call(url, credentials.as_ref(), &error)),
        Err(_) => Err(classify::silent(url)),
    }
}
