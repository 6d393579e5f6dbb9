//! What the drill's API server is asked, over the loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::credentials::SERVER;
use crate::{Outcome, Trouble};

/// How long one answer may take: an API server takes a minute for a request itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of the largest answer that is read: a page of objects without what they hold, but with their metadata.
const LARGEST: usize = 256 << 20;
/// Objects of a page.
const PAGE: u32 = 500;
/// How often a request is made again that the API server has no time for yet, and how long after the last.
const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(500);

const JSON: &str = "application/json";
/// Objects without what they hold.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// Characters of an error that are shown.
const SHOWN: usize = 400;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The API server does not answer.
    Lost(String),
    /// It says why not, or what it says is no answer.
    Refused(String),
    /// There is no such path.
    Missing,
}

impl Unanswered {
    /// Why, in a line.
    pub(super) fn why(self) -> String {
        match self {
            Unanswered::Lost(why) | Unanswered::Refused(why) => why,
            Unanswered::Missing => "the API server serves no such path".to_owned(),
        }
    }
}

/// The API server of the drill, on the loopback.
pub(super) struct Api {
    client: reqwest::Client,
    /// Its URL, without a path.
    url: String,
}

/// What is read of a list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    /// `null` where a list is empty.
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMetadata {
    resource_version: String,
}

/// How many objects a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// The revision of etcd that it is of.
    pub(super) revision: i64,
    pub(super) items: u64,
    /// Those that were last written at a revision that was asked about, or before.
    pub(super) unchanged: u64,
}

impl Api {
    /// The API server on a port of the loopback.
    ///
    /// # Errors
    /// There can be no client for it.
    pub(super) fn new(port: u16, tls: ClientConfig) -> Outcome<Api> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .resolve(SERVER, (Ipv4Addr::LOCALHOST, port).into())
            .user_agent("kubectl-etcd drill")
            .timeout(PATIENCE)
            .build();
        let client = client.map_err(|error| Trouble::plain("cannot ask an API server").source(&error))?;
        Ok(Api { client, url: format!("https://{SERVER}:{port}") })
    }

    /// Whether it says that it is ready. Its caches of all objects are never whole where some of them cannot be decrypted: `whole` says whether they have to be.
    ///
    /// # Errors
    /// It is not: why, in a line.
    pub(super) async fn ready(&self, whole: bool) -> Result<(), String> {
        let path = if whole { "/readyz?verbose" } else { "/readyz?verbose&exclude=informer-sync" };
        match self.ask(path, JSON).await {
            Ok((StatusCode::OK, _)) => Ok(()),
            Ok((status, body)) => Err(not_ready(status, &body)),
            Err(why) => Err(why),
        }
    }

    /// A document.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.read(path, JSON).await
    }

    /// All objects of a list, page by page, each as far as it is read.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str, page: u32) -> Result<Vec<T>, Unanswered> {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let read: Page<T> = self.read(&page_path(path, page, &next), JSON).await?;
            all.extend(read.items.unwrap_or_default());
            if read.metadata.next.is_empty() {
                return Ok(all);
            }
            next = read.metadata.next;
        }
    }

    /// Counts the objects of a list, page by page.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(super) async fn count(&self, path: &str, until: i64) -> Result<Counted, Unanswered> {
        let mut counted = Counted { revision: 0, items: 0, unchanged: 0 };
        let mut next = String::new();
        loop {
            let page: Page<Item> = self.read(&page_path(path, PAGE, &next), METADATA).await?;
            let number = |text: &str| {
                let not = || Unanswered::Refused(format!("{:?} is no revision of etcd", shown(text)));
                text.parse::<i64>().map_err(|_| not())
            };
            // All pages are of the same revision.
            counted.revision = number(&page.metadata.resource_version)?;
            for item in page.items.unwrap_or_default() {
                counted.items += 1;
                counted.unchanged += u64::from(number(&item.metadata.resource_version)? <= until);
            }
            if page.metadata.next.is_empty() {
                return Ok(counted);
            }
            next = page.metadata.next;
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T, Unanswered> {
        let mut tries = 1;
        let (status, body) = loop {
            match self.ask(path, accept).await.map_err(Unanswered::Lost)? {
                (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                answer => break answer,
            }
        };
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map_err(|error| Unanswered::Refused(format!("the answer of the API server cannot be read: {error}"))),
            StatusCode::NOT_FOUND => Err(Unanswered::Missing),
            status => Err(Unanswered::Refused(refusal(status, &body))),
        }
    }

    /// One request.
    async fn ask(&self, path: &str, accept: &str) -> Result<(StatusCode, Vec<u8>), String> {
        let lost = |error: &dyn std::error::Error| format!("the API server does not answer: {}", chain(error));
        let request = self.client.get(format!("{}{path}", self.url)).header(ACCEPT, accept);
        let mut answer = request.send().await.map_err(|error| lost(&error.without_url()))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| lost(&error.without_url()))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("the API server answers with more than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), body))
    }
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The path of a page. What stands in `next` is of the API server, and is passed on as it is.
fn page_path(path: &str, limit: u32, next: &str) -> String {
    let mut text = format!("{path}?limit={limit}");
    if !next.is_empty() {
        text.push_str("&continue=");
        for byte in next.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
                byte => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

/// What an answer that is none says: the message of a Status, or the text.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(Status { message }) if !message.is_empty() => shown(&message),
        _ => format!("{status}: {}", shown(String::from_utf8_lossy(body).trim())),
    }
}

/// The checks that fail.
fn not_ready(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let failed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
    match failed.is_empty() {
        true => format!("/readyz answers {}", refusal(status, body)),
        false => format!("/readyz: {}", shown(&failed.join("; "))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_where_the_last_one_ended() {
        assert_eq!(page_path("/api/v1/pods", 500, ""), "/api/v1/pods?limit=500");
        assert_eq!(page_path("/api/v1/pods", 500, "eyJ2-_=&x"), "/api/v1/pods?limit=500&continue=eyJ2-_%3D%26x");
    }

    #[test]
    fn the_words_of_the_api_server_are_told() {
        let status = br#"{"kind":"Status","status":"Failure","message":"unable to transform key \"/registry/secrets/a\"","code":500}"#;
        assert_eq!(
            refusal(StatusCode::INTERNAL_SERVER_ERROR, status),
            "unable to transform key \"/registry/secrets/a\""
        );
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"no\n"), "502 Bad Gateway: no");
        let ready = b"[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\nreadyz check failed\n";
        assert_eq!(not_ready(StatusCode::INTERNAL_SERVER_ERROR, ready), "/readyz: etcd failed: reason withheld");
        assert_eq!(not_ready(StatusCode::UNAUTHORIZED, b""), "/readyz answers 401 Unauthorized: ");
    }
}
