//! Objects in etcd: JSON under Kubernetes' own keys, `resourceVersion` = the row's mod revision. Nothing is cached.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, GetResponse, Identity, KvClient,
    TlsOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use serde_json::{Value, json};
use tonic::Code;

use super::{Args, pieces::Pieces, resource::Resource, respond::Failure};

/// Longer than an election, shorter than a client's patience.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a read that etcd does not answer is tried, and how long after the last: as etcd's own client in the real
/// server. An etcd without a leader takes seven seconds to say so, one that is not there none.
const READS: usize = 100;
const AGAIN: Duration = Duration::from_millis(25);
/// How many bytes an answer of etcd may have. It takes no request of more than 1.5 MiB, so it has no larger object.
const ANSWER: usize = 32 << 20;
/// How long what requests are judged by may take to be read, and how long after a failure it is taken as it was.
const JUDGE: Duration = Duration::from_secs(2);
const REMEMBER: Duration = Duration::from_secs(1);

/// The etcd underneath.
#[derive(Clone)]
pub(super) struct Store {
    /// Requests that are refused at once while there is no leader: those of the server itself.
    kv: KvClient,
    /// Requests that take what etcd takes, for as long as their sender waits.
    patient: KvClient,
    client: Client,
    prefix: String,
    remembered: Arc<Mutex<Remembered>>,
}

/// What requests are judged by, as it was last read.
#[derive(Debug, Default)]
struct Remembered {
    ranges: HashMap<String, Vec<Stored>>,
    failed: Option<Instant>,
}

/// An object as read: its `metadata.resourceVersion` is filled in.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: String,
    pub(super) revision: i64,
    pub(super) object: Value,
}

impl Store {
    /// Makes a client; whether etcd answers shows at the first request.
    ///
    /// # Errors
    /// When a file cannot be read or etcd's URLs are unusable.
    pub(super) async fn open(args: &Args) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new().with_connect_timeout(TIMEOUT).with_keep_alive(TIMEOUT, TIMEOUT);
        if args.etcd_servers.iter().any(|url| url.starts_with("https://")) {
            let mut tls = TlsOptions::new();
            if let Some(path) = &args.etcd_cafile {
                tls = tls.ca_certificate(Certificate::from_pem(fs_err::read(path)?));
            }
            if let (Some(certificate), Some(key)) = (&args.etcd_certfile, &args.etcd_keyfile) {
                tls = tls.identity(Identity::from_pem(fs_err::read(certificate)?, fs_err::read(key)?));
            }
            options = options.with_tls(tls);
        }
        let patient = Client::connect(&args.etcd_servers, Some(options.clone())).await?;
        let options = options.with_timeout(TIMEOUT).with_require_leader(true);
        let client = Client::connect(&args.etcd_servers, Some(options)).await?;
        Ok(Self {
            kv: client.kv_client().max_decoding_message_size(ANSWER),
            patient: patient.kv_client().max_decoding_message_size(ANSWER),
            client,
            prefix: args.etcd_prefix.trim_end_matches('/').to_owned(),
            remembered: Arc::default(),
        })
    }

    /// Key all objects of a resource begin with, ending in `/`.
    pub(super) fn prefix(&self, res: &Resource, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if res.namespaced => format!("{}/{}/{namespace}/", self.prefix, res.path),
            _ => format!("{}/{}/", self.prefix, res.path),
        }
    }

    pub(super) fn key(&self, res: &Resource, namespace: Option<&str>, name: &str) -> String {
        self.prefix(res, namespace) + name
    }

    /// Whether etcd answers at all, be it that it has no leader.
    pub(super) async fn answers(&self) -> bool {
        match self.kv.clone().get(format!("{}/health", self.prefix), None).await {
            Err(Error::GRpcStatus(status)) => status.message().starts_with("etcdserver:"),
            other => other.is_ok(),
        }
    }

    /// Asks a quorum for the current revision.
    pub(super) async fn revision(&self) -> Result<i64, Failure> {
        let options = GetOptions::new().with_count_only();
        let answer = self.kv.clone().get(format!("{}/health", self.prefix), Some(options)).await.map_err(failure)?;
        Ok(answer.header().map_or(0, |h| h.revision()))
    }

    /// Reads, again and again while etcd has no leader or is away.
    async fn read(&self, key: &[u8], options: Option<GetOptions>) -> Result<GetResponse, Error> {
        let mut tries = 1;
        loop {
            match self.patient.clone().get(key, options.clone()).await {
                Err(error) if tries < READS && passes(&error) => tokio::time::sleep(AGAIN).await,
                answer => return answer,
            }
            tries += 1;
        }
    }

    /// As [`Store::read`]; nothing when the answer has more than [`ANSWER`] bytes, none of which were kept.
    pub(super) async fn read_within(&self, key: Vec<u8>, options: GetOptions) -> Result<Option<GetResponse>, Failure> {
        match self.read(&key, Some(options)).await {
            Err(Error::GRpcStatus(status)) if too_large(&status) => Ok(None),
            answer => answer.map(Some).map_err(failure),
        }
    }

    /// The objects that the server judges requests by. While etcd answers nothing they are what they were, as in the real
    /// server's caches.
    pub(super) async fn cached(&self, res: &Resource, namespace: Option<&str>) -> Result<Vec<Stored>, Failure> {
        let prefix = self.prefix(res, None);
        let own = self.prefix(res, namespace);
        let items = self.last_known(&prefix).await?;
        Ok(items.into_iter().filter(|item| item.key.starts_with(&own)).collect())
    }

    async fn last_known(&self, prefix: &str) -> Result<Vec<Stored>, Failure> {
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let before = {
            let remembered = remembered();
            let lately = remembered.failed.is_some_and(|at| at.elapsed() < REMEMBER);
            let before = remembered.ranges.get(prefix).cloned();
            if lately && let Some(before) = before {
                return Ok(before);
            }
            before
        };
        let options = GetOptions::new().with_prefix();
        let read = async { self.kv.clone().get(prefix, Some(options)).await.map_err(failure) };
        let read = tokio::time::timeout(JUDGE, read).await.unwrap_or_else(|_| Err(Failure::of_etcd(DEADLINE)));
        match (read, before) {
            (Ok(answer), _) => {
                let items = answer.kvs().iter().map(decode).collect::<Result<Vec<_>, _>>()?;
                let mut remembered = remembered();
                remembered.ranges.insert(prefix.to_owned(), items.clone());
                remembered.failed = None;
                Ok(items)
            }
            (Err(_), Some(before)) => {
                remembered().failed = Some(Instant::now());
                Ok(before)
            }
            (Err(failure), None) => Err(failure),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Stored>, Failure> {
        let answer = self.read(key.as_bytes(), None).await.map_err(failure)?;
        answer.kvs().first().map(decode).transpose()
    }

    /// All objects of a resource, to be read piece by piece.
    pub(super) fn all(&self, res: &Resource, namespace: Option<&str>) -> Pieces {
        let prefix = self.prefix(res, namespace);
        Pieces::new(self.clone(), &prefix, &prefix, 0)
    }

    /// Stores a new object; `None` when the key is taken.
    pub(super) async fn create(&self, key: &str, object: &Value) -> Result<Option<i64>, Failure> {
        let absent = Compare::create_revision(key, CompareOp::Equal, 0);
        self.transact(absent, TxnOp::put(key, encode(object), None)).await
    }

    /// Replaces the object as read at `revision`; `None` when it has changed since.
    pub(super) async fn update(&self, key: &str, revision: i64, object: &Value) -> Result<Option<i64>, Failure> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
        self.transact(unchanged, TxnOp::put(key, encode(object), None)).await
    }

    /// Deletes the object as read at `revision`; `None` when it has changed since.
    pub(super) async fn delete(&self, key: &str, revision: i64) -> Result<Option<i64>, Failure> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
        self.transact(unchanged, TxnOp::delete(key, None)).await
    }

    async fn transact(&self, when: Compare, then: TxnOp) -> Result<Option<i64>, Failure> {
        let answer = self.patient.clone().txn(Txn::new().when([when]).and_then([then])).await.map_err(failure)?;
        Ok(answer.succeeded().then(|| answer.header().map_or(0, |h| h.revision())))
    }

    /// Watches a prefix from `revision` on, with what each row was before. What has happened since then comes in messages
    /// of two megabytes, or one event: without fragments etcd sends a thousand revisions in one.
    pub(super) async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, Failure> {
        let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(revision).with_fragment();
        self.client.watch_client().max_decoding_message_size(ANSWER).watch(prefix, Some(options)).await.map_err(failure)
    }
}

/// What is stored has no resourceVersion: it would be a lie the moment it is written.
fn encode(object: &Value) -> Vec<u8> {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object.to_string().into_bytes()
}

/// Reads a row.
pub(super) fn decode(row: &etcd_client::KeyValue) -> Result<Stored, Failure> {
    decode_as_of(row, row.mod_revision())
}

/// Reads a row, giving the object another revision than its own: a deleted object carries that of its deletion.
pub(super) fn decode_as_of(row: &etcd_client::KeyValue, revision: i64) -> Result<Stored, Failure> {
    let key = String::from_utf8_lossy(row.key()).into_owned();
    let mut object: Value = serde_json::from_slice(row.value())
        .map_err(|error| Failure::internal(format!("the lab reads only JSON, and {key} is not: {error}")))?;
    object["metadata"]["resourceVersion"] = json!(revision.to_string());
    Ok(Stored { key, revision, object })
}

/// What Go calls a time that has passed.
const DEADLINE: &str = "context deadline exceeded";

/// Whether an error says that etcd cannot answer now, and not what it answers.
fn passes(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => {
            matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) || broke(status)
        }
        Error::TransportError(_) => true,
        _ => false,
    }
}

/// Whether etcd's answer was longer than it may be here. etcd's own errors of this code are of revisions.
fn too_large(status: &tonic::Status) -> bool {
    status.code() == Code::OutOfRange && !status.message().starts_with("etcdserver:")
}

/// Whether it was the connection, which Go's client calls unavailable. What etcd itself does not know the code of is that
/// its time is over: its answer to a write while there is no leader.
fn broke(status: &tonic::Status) -> bool {
    status.code() == Code::Unknown && status.message() != DEADLINE && !status.message().starts_with("etcdserver:")
}

/// What the real server answers when etcd refuses or is away: etcd's own words, and no reason.
pub(super) fn failure(error: Error) -> Failure {
    match error {
        Error::GRpcStatus(status) if status.message().contains("required revision has been compacted") => {
            Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new \
                 list without the continue parameter.",
            )
        }
        Error::GRpcStatus(status) if status.message().starts_with("etcdserver:") => Failure::of_etcd(status.message()),
        Error::GRpcStatus(status) => {
            let code = if broke(&status) { Code::Unavailable } else { status.code() };
            Failure::of_etcd(format!("rpc error: code = {code:?} desc = {}", status.message()))
        }
        other => Failure::of_etcd(format!("rpc error: code = Unavailable desc = {other}")),
    }
}
