//! Whether the API server is there: while nodes restore, it is away.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use crate::connection::Connection;
use crate::output::{Failed, Outcome, Printer};
use crate::request_limit::NoAnswer;

/// How long the API server may take to answer a question that only shows whether it is there.
const ANSWER: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// How often somebody who does not watch a terminal hears that it is still away.
const EVERY: Duration = Duration::from_secs(30);

/// What became of a question.
enum Asked {
    Answers,
    /// It is not there, or not ready.
    Away(Failed),
    /// Waiting does not help.
    Fails(Failed),
}

async fn ask(connection: &Connection) -> Asked {
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let failed = || Failed::plain("cannot reach the API server");
    match tokio::time::timeout(ANSWER, namespaces.get_opt("kube-system")).await {
        Ok(Ok(_)) => Asked::Answers,
        // Whoever may not see it has been answered all the same.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => Asked::Answers,
        Ok(Err(error)) if is_away(&error) => Asked::Away(failed().source(&error)),
        Ok(Err(error)) => Asked::Fails(failed().source(&error)),
        Err(_) => Asked::Away(failed().cause("no answer within 5 seconds")),
    }
}

/// Whether an error is that of a server that is stopped or not ready, rather than of a wrong address or certificate.
fn is_away(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Api(_)) {
        return true;
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<NoAnswer>() {
            return true;
        }
        if error.downcast_ref::<std::io::Error>().is_some_and(is_of_a_stopped_server) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_of_a_stopped_server(error: &std::io::Error) -> bool {
    let of_network = matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
            | ErrorKind::UnexpectedEof
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    );
    // What an error wraps is not among its sources.
    let wrapped = error.get_ref().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    of_network || wrapped.is_some_and(is_of_a_stopped_server)
}

/// Whether the API server answers.
///
/// # Errors
/// It does not.
pub(super) async fn reachable(connection: &Connection) -> Outcome {
    match ask(connection).await {
        Asked::Answers => Ok(()),
        Asked::Away(failed) | Asked::Fails(failed) => Err(failed),
    }
}

/// Waits until an API server that is away is back; false if it is not away.
///
/// # Errors
/// It is still away at the deadline, or fails in a way that no waiting helps against.
pub(crate) async fn until_back(
    connection: &Connection,
    begun: Instant,
    limit: Duration,
    printer: Printer,
) -> Outcome<bool> {
    let mut told: Option<Instant> = None;
    loop {
        let failed = match ask(connection).await {
            Asked::Answers => return Ok(told.is_some()),
            Asked::Fails(failed) => return Err(failed),
            Asked::Away(failed) => failed,
        };
        let (waited, limit_seconds) = (begun.elapsed(), limit.as_secs());
        if waited >= limit {
            let why = format!("the API server is away, and was not back within {limit_seconds}s");
            return Err(failed.context(why).hint("this is normal during a restore; wait longer with\n  --timeout 15m"));
        }
        let away = "the API server is away, which is normal during a restore";
        match told {
            None => printer.note(format!("{away}; waiting up to {limit_seconds}s")),
            Some(last) if last.elapsed() < EVERY => {
                printer.detail(format!("{away}; waited {}s", waited.as_secs()));
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Some(_) => printer.note(format!("{away}; waited {}s", waited.as_secs())),
        }
        told = Some(Instant::now());
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_stopped_is_away_and_one_with_a_wrong_certificate_is_not() {
        let io = |kind: ErrorKind| kube::Error::Service(Box::new(std::io::Error::from(kind)));
        let api = |code| kube::Error::Api(Box::new(kube::core::Status { code, ..Default::default() }));
        let wrapped = || std::io::Error::other(std::io::Error::from(ErrorKind::ConnectionReset));
        let wrapped = [wrapped(), std::io::Error::other(wrapped())].map(|error| kube::Error::Service(Box::new(error)));
        for error in
            wrapped.into_iter().chain([io(ErrorKind::ConnectionRefused), io(ErrorKind::UnexpectedEof), api(503)])
        {
            assert!(is_away(&error), "{error:?}");
        }
        assert!(!is_away(&io(ErrorKind::InvalidData)));
    }
}
