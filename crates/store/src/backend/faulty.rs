//! A store for tests, in memory, that fails or lies at the request with a number, or from that one on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::Failure;
use super::http::Fault;
use crate::trouble::Trouble;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// The request is refused, and has no effect.
    Refused,
    /// The connection breaks before the request has an effect.
    Before,
    /// The request has its effect, and the answer gets lost.
    After,
    /// The request has no effect, and is answered as if it had one.
    Lies,
}

/// When that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At this request only.
    Once(usize),
    /// At this request and all later ones.
    From(usize),
}

#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<InMemory>,
    plan: Arc<Plan>,
    is_write_only: bool,
}

#[derive(Debug)]
struct Plan {
    fails: Fails,
    when: When,
    may_delete: bool,
    requests: AtomicUsize,
}

/// What becomes of a request.
enum Fate {
    Good,
    Bad(Fails),
}

impl Plan {
    /// Counts a request, from 1 on.
    fn next(&self) -> Fate {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let bad = match self.when {
            When::Once(at) => number == at,
            When::From(at) => number >= at,
        };
        if bad { Fate::Bad(self.fails) } else { Fate::Good }
    }
}

impl Faulty {
    pub(crate) fn new(fails: Fails, when: When, may_delete: bool) -> Faulty {
        let plan = Plan { fails, when, may_delete, requests: AtomicUsize::new(0) };
        Faulty { inner: Arc::default(), plan: Arc::new(plan), is_write_only: false }
    }

    /// Another handle to the same store.
    pub(crate) fn share(&self) -> Faulty {
        Faulty { inner: Arc::clone(&self.inner), plan: Arc::clone(&self.plan), is_write_only: self.is_write_only }
    }

    /// The same with a credential that may not read objects.
    pub(crate) fn refusing_reads(self) -> Faulty {
        Faulty { is_write_only: true, ..self }
    }

    /// Whether the request that was to go wrong was made.
    pub(crate) fn has_failed(&self) -> bool {
        let (When::Once(at) | When::From(at)) = self.plan.when;
        self.plan.requests.load(Ordering::SeqCst) >= at
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a faulty store")
    }
}

fn refused() -> Error {
    Error::PermissionDenied { path: String::new(), source: "refused".into() }
}

fn broken() -> Error {
    let failure = Failure::new(Trouble::Interrupted, "the connection broke");
    Error::Generic { store: "faulty", source: Box::new(Fault { failure, host: "faulty".to_owned() }) }
}

/// Does a request, or what becomes of it. `lie` is the answer of a request that was not done.
async fn fated<T>(plan: &Plan, work: impl Future<Output = Result<T>>, lie: impl FnOnce() -> Result<T>) -> Result<T> {
    match plan.next() {
        Fate::Good => work.await,
        Fate::Bad(Fails::Refused) => Err(refused()),
        Fate::Bad(Fails::Before) => Err(broken()),
        Fate::Bad(Fails::After) => work.await.and_then(|_| Err(broken())),
        Fate::Bad(Fails::Lies) => lie(),
    }
}

fn written() -> Result<PutResult> {
    Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        fated(&self.plan, self.inner.put_opts(location, payload, options), written).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // A store that lies about this has no upload to go on with.
        let inner = fated(&self.plan, self.inner.put_multipart_opts(at, options), || Err(broken())).await?;
        Ok(Box::new(Parts { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.is_write_only {
            return Err(refused());
        }
        let gone = || Err(Error::NotFound { path: location.to_string(), source: "gone".into() });
        fated(&self.plan, self.inner.get_opts(location, options), gone).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, plan) = (Arc::clone(&self.inner), Arc::clone(&self.plan));
        let deleted = locations.then(move |location| {
            let (inner, plan) = (Arc::clone(&inner), Arc::clone(&plan));
            async move {
                let location = location?;
                if !plan.may_delete {
                    return Err(refused());
                }
                let one = stream::iter([Ok(location.clone())]).boxed();
                let delete = async { inner.delete_stream(one).next().await.unwrap_or_else(|| Err(broken())) };
                fated(&plan, delete, || Ok(location.clone())).await
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.plan.next() {
            Fate::Good => self.inner.list(prefix),
            Fate::Bad(Fails::Refused) => stream::iter([Err(refused())]).boxed(),
            Fate::Bad(Fails::Lies) => stream::empty().boxed(),
            Fate::Bad(_) => stream::iter([Err(broken())]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        fated(&self.plan, self.inner.list_with_delimiter(prefix), || Err(broken())).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        fated(&self.plan, self.inner.copy_opts(from, to, options), || Ok(())).await
    }
}

/// An upload in parts.
#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    plan: Arc<Plan>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, plan) = (self.inner.put_part(data), Arc::clone(&self.plan));
        Box::pin(async move { fated(&plan, part, || Ok(())).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        fated(&self.plan, self.inner.complete(), written).await
    }

    async fn abort(&mut self) -> Result<()> {
        fated(&self.plan, self.inner.abort(), || Ok(())).await
    }
}
