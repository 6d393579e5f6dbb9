//! The HTTP client of the stores: `reqwest`, with what `object_store` does not do by itself.
//!
//! * Certificates are ours to choose ([`super::roots`]); one that is not trusted is not tried again.
//! * A redirect is an answer, not followed: it means another region.
//! * A server that stops answering ends a request, however large the transfer.
//! * Refusals keep their error document, and listings lose names that would end them ([`super::sieve`]).
//! * A page of a listing that is larger than any honest one is an error: it would have to be in memory as a whole.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use jiff::Timestamp;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::time::{Instant, Sleep};

use crate::backend::answer::{Answer, failure};
use crate::backend::{ClockReading, Failure, sieve};
use crate::trouble::Trouble;

/// How long nothing may come from the server, and how slow an upload may be before it counts as stalled.
const SILENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;
/// An error document is short; the rest of a longer one is not read.
const DOCUMENT: usize = 64 * 1024;
/// Bytes of the largest page of a listing that is read: a page is in memory as a whole. Of 5000 objects (Azure; 1000 of S3 and GCS), each may
/// have more than 6 KiB.
const LARGEST_PAGE: usize = 32 << 20;

/// Makes clients for `object_store`.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    roots: Vec<reqwest::Certificate>,
    clock: Clock,
}

/// The store's clock, as far as its answers tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Option<ClockReading>>>);

impl Clock {
    pub(crate) fn reading(&self) -> Option<ClockReading> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a store has answered, for tests.
    #[cfg(test)]
    pub(crate) fn set(&self, reading: ClockReading) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    fn see(&self, date: Option<&http::HeaderValue>) {
        let Some(theirs) = date.and_then(|date| date.to_str().ok()).and_then(parse_date) else { return };
        let reading = ClockReading { theirs, ours: Timestamp::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp())
}

/// Counts how often one request was sent: put into its extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connector {
    pub(crate) fn new(roots: Vec<reqwest::Certificate>, clock: Clock) -> Connector {
        Connector { roots, clock }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic = |source: Box<dyn Error + Send + Sync>| object_store::Error::Generic { store: "HTTP", source };
        let seconds = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let connect: Duration =
            seconds.and_then(|text| text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()).unwrap_or(CONNECT);
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("kubectl-etcd/", env!("CARGO_PKG_VERSION")))
                .tls_certs_only(self.roots.iter().cloned())
                .https_only(!plain)
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(connect)
                .http1_only()
        };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| generic(Box::new(error)));
        let (client, direct) = (build(builder())?, build(builder().no_proxy())?);
        Ok(HttpClient::new(Service { client, direct, clock: self.clock.clone() }))
    }
}

/// How long a connection may take to be made.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    /// Past every proxy: what a cloud serves to its own machine is not to be had through one, and is nobody else's business.
    direct: reqwest::Client,
    clock: Clock,
}

/// Why there is no answer, or which: the source of every [`HttpError`] of this client.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    /// Who was asked, without what may be secret of the address.
    pub(crate) host: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.detail)
    }
}

impl Error for Fault {}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(attempts) = request.extensions().get::<Attempts>() {
            attempts.0.fetch_add(1, Ordering::Relaxed);
        }
        let host = request.uri().host().unwrap_or_default().to_owned();
        let listing = is_listing(&request);
        let (parts, body) = request.into_parts();
        let url = reqwest::Url::parse(&parts.uri.to_string());
        let url = url.map_err(|error| fault(HttpErrorKind::Unknown, Trouble::Settings, error.to_string(), &host))?;
        let length = u64::try_from(body.content_length()).unwrap_or(u64::MAX);
        let limit = SILENCE + Duration::from_secs(length / SLOWEST_BYTES_PER_SECOND);
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;
        *outgoing.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
        let silent = || {
            fault(HttpErrorKind::Timeout, Trouble::Unreachable, format!("no answer in {} s", limit.as_secs()), &host)
        };
        let client = if is_metadata(&host) { &self.direct } else { &self.client };
        let response = match tokio::time::timeout(limit, client.execute(outgoing)).await {
            Err(_) => return Err(silent()),
            Ok(Err(error)) => return Err(transport(&error, &host)),
            Ok(Ok(response)) => http::Response::<reqwest::Body>::from(response),
        };
        self.clock.see(response.headers().get(http::header::DATE));
        let (parts, body) = response.into_parts();
        let body = HttpResponseBody::new(Patient::new(body, host.clone()));
        if refused(parts.status) {
            let region =
                parts.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok()).map(str::to_owned);
            let body = document(body).await;
            let failure = failure(&Answer { status: parts.status.as_u16(), region, body });
            return Err(HttpError::new(HttpErrorKind::Unknown, Fault { failure, host }));
        }
        if listing && parts.status.is_success() {
            let bytes = page(body.bytes_stream(), &host).await?;
            let sieved = match std::str::from_utf8(&bytes) {
                Ok(text) => sieve::sieve(text).into(),
                Err(_) => HttpResponseBody::from(bytes),
            };
            return Ok(HttpResponse::from_parts(parts, sieved));
        }
        Ok(HttpResponse::from_parts(parts, body))
    }
}

/// A refusal that `object_store` need not know more of. The others it tells apart by status, or tries again.
fn refused(status: http::StatusCode) -> bool {
    use http::StatusCode;
    let theirs =
        [StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED];
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS, StatusCode::RANGE_NOT_SATISFIABLE];
    (status.is_redirection() || status.is_client_error()) && !theirs.contains(&status) && !again.contains(&status)
}

/// A listing of S3 and GCS (`list-type=2`) or of Azure (`comp=list`).
fn is_listing(request: &HttpRequest) -> bool {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    request.method() == http::Method::GET && pairs.any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// The beginning of an error document. One that cannot be read is none: the status tells enough.
pub(super) async fn document(body: HttpResponseBody) -> String {
    use futures::StreamExt;
    let mut stream = body.bytes_stream();
    let mut read = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        read.extend_from_slice(&chunk);
        if read.len() >= DOCUMENT {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A page of a listing, whole.
async fn page(
    mut stream: impl futures::Stream<Item = Result<Bytes, HttpError>> + Unpin,
    host: &str,
) -> Result<Bytes, HttpError> {
    use futures::StreamExt;
    let mut read = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if read.len() + chunk.len() > LARGEST_PAGE {
            let detail = format!("{host}: a page of the listing has more than {LARGEST_PAGE} bytes");
            return Err(fault(HttpErrorKind::Unknown, Trouble::Other, detail, host));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

fn fault(kind: HttpErrorKind, trouble: Trouble, detail: String, host: &str) -> HttpError {
    HttpError::new(kind, Fault { failure: Failure::new(trouble, detail), host: host.to_owned() })
}

/// What became of a request that got no answer. The address is left out: it may be signed.
fn transport(error: &reqwest::Error, host: &str) -> HttpError {
    let mut innermost: &(dyn Error + 'static) = error;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(tls) = tls_error(inner) {
            let kind = HttpErrorKind::Unknown;
            return match tls {
                rustls::Error::InvalidCertificate(why) => {
                    fault(kind, Trouble::Certificate, format!("{host}: {why}"), host)
                }
                other => fault(kind, Trouble::Unreachable, format!("{host}: TLS: {other}"), host),
            };
        }
        innermost = inner;
        source = inner.source();
    }
    let why = if std::ptr::addr_eq(innermost, error) { "the request failed".to_owned() } else { innermost.to_string() };
    let detail = format!("{host}: {why}");
    // A metadata service that is not there is no reason to wait.
    let here = !is_metadata(host);
    if error.is_connect() {
        let kind = if here { HttpErrorKind::Connect } else { HttpErrorKind::Unknown };
        let detail = if error.is_timeout() { format!("{host}: no connection within the time limit") } else { detail };
        return fault(kind, Trouble::Unreachable, detail, host);
    }
    let kind = if error.is_timeout() { HttpErrorKind::Timeout } else { HttpErrorKind::Interrupted };
    fault(kind, Trouble::Interrupted, detail, host)
}

/// The TLS error in an error, which input and output wrap in their own, more than once.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    loop {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        error = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

/// Whether a host is where clouds serve the credentials of their machines.
pub(crate) fn is_metadata(host: &str) -> bool {
    matches!(
        host,
        "169.254.169.254"
            | "[fd00:ec2::254]"
            | "169.254.170.2"
            | "169.254.170.23"
            | "metadata.google.internal"
            | "metadata"
    )
}

/// A body whose sender must not be silent for long.
struct Patient {
    body: reqwest::Body,
    timer: Pin<Box<Sleep>>,
    host: String,
}

impl Patient {
    fn new(body: reqwest::Body, host: String) -> Patient {
        Patient { body, timer: Box::pin(tokio::time::sleep(SILENCE)), host }
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer.as_mut().reset(Instant::now() + SILENCE);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(transport(&error, &self.host)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.timer.as_mut().poll(context) {
                Poll::Ready(()) => {
                    let detail = format!("{}: nothing came for {} s", self.host, SILENCE.as_secs());
                    Poll::Ready(Some(Err(fault(HttpErrorKind::Timeout, Trouble::Interrupted, detail, &self.host))))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let clock = Clock::default();
        clock.see(Some(&http::HeaderValue::from_static("nonsense")));
        assert_eq!(clock.reading(), None);
        clock.see(Some(&http::HeaderValue::from_static("Fri, 27 Nov 2026 03:15:00 GMT")));
        assert_eq!(clock.reading().unwrap().theirs.to_string(), "2026-11-27T03:15:00Z");
    }

    #[tokio::test]
    async fn a_page_of_a_listing_without_end_is_refused() {
        let pages = |count: usize| {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            futures::stream::iter(std::iter::repeat_with(move || Ok(chunk.clone())).take(count))
        };
        assert_eq!(page(pages(32), "s").await.unwrap().len(), LARGEST_PAGE);
        // What is behind the limit is not asked for.
        let refused = page(pages(usize::MAX), "s").await.unwrap_err();
        assert!(refused.source().unwrap().to_string().contains("s: a page of the listing has more than"));
    }

    #[test]
    fn a_tls_error_is_found_however_it_is_wrapped() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, tls.clone());
        assert_eq!(tls_error(&std::io::Error::other(inner)), Some(&tls));
        assert_eq!(tls_error(&std::io::Error::other("else")), None);
    }

    #[test]
    fn answers_that_the_library_tells_apart_stay_answers() {
        let kept = [200, 206, 304, 404, 408, 409, 412, 416, 429, 500, 503];
        let refusals = [301, 307, 400, 401, 403, 405, 411, 418];
        let is = |status: u16| refused(http::StatusCode::from_u16(status).unwrap());
        assert!(kept.into_iter().all(|status| !is(status)) && refusals.into_iter().all(is));
    }
}
