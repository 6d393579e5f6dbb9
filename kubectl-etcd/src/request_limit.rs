//! No request waits for ever: how long the API server may take to begin its answer.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

/// For a request that reads. A list of a large cluster begins within seconds.
const READ: Duration = Duration::from_secs(30);
/// For a request that changes something, and to open a stream. The API server itself gives up after 60 s, and says what became of the change.
const CHANGE: Duration = Duration::from_secs(65);

/// So much later than a request is a silent connection given up.
const LATER: Duration = Duration::from_secs(5);

/// How long the API server may take. `None`: as long as it likes.
#[derive(Clone)]
pub(crate) struct RequestLimit {
    read: Option<Duration>,
    change: Option<Duration>,
    server: Arc<str>,
}

impl RequestLimit {
    /// For single requests: what `--request-timeout` says, of which 0 means no limit.
    pub(crate) fn new(server: &str, wanted: Option<Duration>) -> RequestLimit {
        let limit = |default| match wanted {
            None => Some(default),
            Some(wanted) => (!wanted.is_zero()).then_some(wanted),
        };
        RequestLimit { read: limit(READ), change: limit(CHANGE), server: server.into() }
    }

    /// For streams: they begin with an answer, and may be silent from then on.
    pub(crate) fn of_streams(server: &str) -> RequestLimit {
        RequestLimit { read: Some(CHANGE), change: Some(CHANGE), server: server.into() }
    }

    /// For requests that are answered when something is done that may take long.
    pub(crate) fn none(server: &str) -> RequestLimit {
        RequestLimit { read: None, change: None, server: server.into() }
    }

    /// The longest that a server may be silent in the middle of an answer. Before the answer the limit of the request ends first: that says what was
    /// waited for.
    pub(crate) fn silence(&self) -> Option<Duration> {
        Some(self.change?.saturating_add(LATER))
    }

    fn of(&self, method: &Method) -> Option<Duration> {
        if method.is_safe() { self.read } else { self.change }
    }
}

impl<S> Layer<S> for RequestLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limit: self.clone() }
    }
}

/// A service whose answers begin in time.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    inner: S,
    limit: RequestLimit,
}

impl<S, Answer> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Answer>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.limit.of(request.method());
        let server = Arc::clone(&self.limit.server);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Some(limit) = limit else { return answer.await };
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(NoAnswer { server, limit }.into()),
            }
        })
    }
}

/// The API server was asked, and has not begun to answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    server: Arc<str>,
    limit: Duration,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server {} did not answer within {:?}", self.server, self.limit)
    }
}

impl std::error::Error for NoAnswer {}
