//! An object store of a cloud, by `object_store`.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, RetryConfig,
};

use crate::backend::answer::{Answer, failure};
use crate::backend::bucket::Bucket;
use crate::backend::http::{Attempts, CONNECT, Clock, Connector, Fault, is_metadata};
use crate::backend::{ClockReading, Entry, Failure, azure, gcs, roots, s3};
use crate::trouble::Trouble;
use crate::url::{Place, StoreUrl};
use crate::{Environment, Patience};

/// A bucket or a container, and the prefix in it.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    store: Arc<dyn ObjectStore>,
    /// The bucket itself, of S3.
    bucket: Option<Bucket>,
    prefix: String,
    clock: Clock,
    patience: Patience,
}

/// What every kind of store is opened with.
pub(super) struct Common {
    pub(super) connector: Connector,
    patience: Patience,
}

impl Common {
    pub(super) fn options(&self, endpoint: Option<&str>) -> ClientOptions {
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT).with_timeout_disabled()
    }

    pub(super) fn retry(&self) -> RetryConfig {
        let Patience { retries, first_wait, longest_wait } = self.patience;
        let backoff = BackoffConfig { init_backoff: first_wait, max_backoff: longest_wait, base: 2.0 };
        RetryConfig { backoff, max_retries: retries, retry_timeout: Duration::from_secs(120) }
    }
}

/// A secret that travels in the clear is none: only to this machine itself.
pub(super) fn refuse_plain(endpoint: Option<&str>, what: &str) -> Result<(), Failure> {
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.starts_with("http://")) else { return Ok(()) };
    let local = match url::Url::parse(endpoint).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if local {
        return Ok(());
    }
    let detail = format!("the endpoint is {endpoint}: {what} would be sent unencrypted: use https://");
    Err(Failure::new(Trouble::Settings, detail))
}

impl Cloud {
    pub(crate) fn open(url: &StoreUrl, environment: &Environment, patience: Patience) -> Result<Cloud, Failure> {
        // Without a provider of the process no client can be made. One that is there stays.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been quicker, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let bundle = environment.get("AWS_CA_BUNDLE").filter(|_| matches!(url.place, Place::S3 { .. }));
        let ca = url.options.ca.as_deref().or(bundle.map(std::path::Path::new));
        let clock = Clock::default();
        let common = Common { connector: Connector::new(roots::roots(ca)?, clock.clone()), patience };
        let (store, bucket) = match &url.place {
            Place::S3 { bucket } => {
                let (store, bucket) = s3::open(bucket, &url.options, environment, common)?;
                (store, Some(bucket))
            }
            Place::Gcs { bucket } => (gcs::open(bucket, &url.options, environment, common)?, None),
            Place::Azure { account, container } => {
                (azure::open(account, container, &url.options, environment, common)?, None)
            }
            Place::Folder(folder) => {
                return Err(Failure::new(Trouble::Settings, format!("{} is a folder", folder.display())));
            }
        };
        Ok(Cloud { store, bucket, prefix: url.prefix.clone(), clock, patience })
    }

    /// Any other store, for tests.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn ObjectStore>, patience: Patience) -> Cloud {
        Cloud { store, bucket: None, prefix: String::new(), clock: Clock::default(), patience }
    }

    /// Sets what a store has answered, for tests.
    #[cfg(test)]
    pub(crate) fn set_clock(&self, reading: ClockReading) {
        self.clock.set(reading);
    }

    /// The bucket, where its settings can be asked for.
    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    pub(crate) fn clock(&self) -> Option<ClockReading> {
        self.clock.reading()
    }

    fn path(&self, below: &str) -> Result<Path, Failure> {
        let whole = if self.prefix.is_empty() { below.to_owned() } else { format!("{}/{below}", self.prefix) };
        Path::parse(&whole).map_err(|error| Failure::new(Trouble::Settings, error.to_string()))
    }

    /// The path below the prefix.
    fn below(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(self.prefix.as_str())?;
        Some(if self.prefix.is_empty() { rest } else { rest.strip_prefix('/')? }.to_owned())
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<(Vec<Entry>, u64), Failure> {
        let prefix = self.path(folder)?;
        let mut stream = self.store.list(Some(&prefix));
        let (mut entries, mut strange) = (Vec::new(), 0);
        while let Some(meta) = stream.try_next().await.map_err(|error| failure_of(&error))? {
            match self.below(&meta.location) {
                Some(path) => entries.push(Entry {
                    path,
                    size: meta.size,
                    modified: time(meta.last_modified.timestamp(), meta.last_modified.timestamp_subsec_nanos()),
                }),
                None => strange += 1,
            }
        }
        Ok((entries, strange))
    }

    /// The names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let prefix = self.path(folder)?;
        let listed = self.store.list_with_delimiter(Some(&prefix)).await.map_err(|error| failure_of(&error))?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// The size of an object and its bytes; a part of it where a range is given.
    pub(crate) async fn get(
        &self,
        path: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, Failure>>), Failure> {
        let path = self.path(path)?;
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let got = self.store.get_opts(&path, options).await.map_err(|error| failure_of(&error))?;
        let size = got.meta.size;
        Ok((size, Box::pin(got.into_stream().map_err(|error| failure_of(&error)))))
    }

    pub(crate) async fn size(&self, path: &str) -> Result<u64, Failure> {
        let path = self.path(path)?;
        Ok(self.store.head(&path).await.map_err(|error| failure_of(&error))?.size)
    }

    /// Creates an object that is not there.
    ///
    /// An answer that gets lost leaves it open whether the object was written. It is asked for again then, and is ours if it has our bytes:
    /// only so does a lost answer not turn a success into a failure.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<(), Failure> {
        let whole = self.path(path)?;
        let attempts = Attempts::default();
        let mut wait = self.patience.first_wait;
        let mut tries = 0;
        loop {
            let mut options = PutOptions::from(PutMode::Create);
            options.extensions.insert(attempts.clone());
            let Err(error) = self.store.put_opts(&whole, bytes.clone().into(), options).await else { return Ok(()) };
            let failure = failure_of(&error);
            match failure.trouble {
                Trouble::Exists if (attempts.count() > 1 || tries > 0) && self.has(path, &bytes).await? => {
                    return Ok(());
                }
                Trouble::Interrupted | Trouble::Unreachable if failure.unknown && tries < self.patience.retries => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.patience.longest_wait);
                    tries += 1;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn has(&self, path: &str, bytes: &Bytes) -> Result<bool, Failure> {
        let (size, mut stream) = self.get(path, None).await?;
        if usize::try_from(size) != Ok(bytes.len()) {
            return Ok(false);
        }
        let mut rest = &bytes[..];
        while let Some(chunk) = stream.try_next().await? {
            match rest.strip_prefix(&chunk[..]) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }

    pub(crate) async fn multipart(&self, path: &str) -> Result<Box<dyn MultipartUpload>, Failure> {
        let path = self.path(path)?;
        self.store.put_multipart(&path).await.map_err(|error| failure_of(&error))
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let path = self.path(path)?;
        self.store.delete(&path).await.map_err(|error| failure_of(&error))
    }
}

fn time(seconds: i64, nanoseconds: u32) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    Timestamp::new(seconds, nanoseconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Why `object_store` failed. Its own text has whole addresses in it and is not used.
pub(crate) fn failure_of(error: &Error) -> Failure {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(fault) = inner.downcast_ref::<Fault>() {
            return of_fault(fault);
        }
        if let Some(answer) = answer(&inner.to_string()) {
            return failure(&answer);
        }
        source = inner.source();
    }
    let plain = |trouble| Failure::new(trouble, "");
    match error {
        Error::NotFound { .. } => plain(Trouble::NotFound),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => plain(Trouble::Exists),
        Error::PermissionDenied { .. } => plain(Trouble::AccessDenied),
        Error::Unauthenticated { .. } => plain(Trouble::WrongCredential),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => plain(Trouble::Unsupported),
        other => Failure::new(Trouble::Other, innermost(other)),
    }
}

pub(crate) fn of_fault(fault: &Fault) -> Failure {
    let mut failure = fault.failure.clone();
    failure.unknown = matches!(failure.trouble, Trouble::Interrupted)
        || (failure.trouble == Trouble::Unreachable && failure.detail.starts_with("no answer"));
    if is_metadata(&fault.host) {
        failure.trouble = Trouble::NoCredential;
        failure.detail =
            format!("no variable of a credential is set, and this machine has none of its own: {}", failure.detail);
        failure.unknown = false;
    }
    failure
}

/// The innermost reason: the texts above it repeat it, with addresses.
fn innermost(error: &Error) -> String {
    let mut text = String::from("the library gives no reason");
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// An answer that `object_store` has put into words.
fn answer(text: &str) -> Option<Answer> {
    let rest = text.strip_prefix("Server returned non-2xx status code: ");
    if let Some(rest) = rest {
        let (status, body) = rest.split_once(": ").unwrap_or((rest, ""));
        let status = status.split(' ').next()?.parse().ok()?;
        return Some(Answer { status, region: None, body: body.to_owned() });
    }
    let body = text.strip_prefix("Server returned error response: ")?;
    Some(Answer { status: 500, region: None, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_library_are_read() {
        let text = "Server returned non-2xx status code: 503 Service Unavailable: <Error><Code>SlowDown</Code></Error>";
        assert_eq!(failure(&answer(text).unwrap()), Failure::new(Trouble::Throttled, "SlowDown"));
        assert_eq!(answer("Server returned non-2xx status code: 404 Not Found: ").unwrap().status, 404);
        assert_eq!(answer("anything else"), None);
    }

    #[test]
    fn a_secret_goes_unencrypted_only_to_this_machine() {
        for good in
            [None, Some("https://x"), Some("http://127.0.0.1:1"), Some("http://localhost:1"), Some("http://[::1]:1")]
        {
            refuse_plain(good, "a token").unwrap();
        }
        assert!(refuse_plain(Some("http://minio.example"), "a token").is_err());
        assert!(refuse_plain(Some("http://127.0.0.1.example"), "a token").is_err());
    }
}
