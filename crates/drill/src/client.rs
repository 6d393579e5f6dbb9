//! What etcd is asked, over a socket in the folder of the drill.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Channel, Client, GetOptions};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Endpoint, Uri};

use crate::credentials::SERVER;
use crate::{Outcome, Trouble};

/// How long etcd may take to answer one request: HashKV reads the whole database.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a first connection may take.
const FIRST: Duration = Duration::from_secs(5);
/// Bytes of the largest answer that is read: etcd's own limit of a request is 1.5 MB, and can be raised.
const LARGEST: usize = 256 << 20;

/// An etcd that serves.
pub(crate) struct Etcd {
    client: Client,
    /// What its first answer says.
    pub(crate) version: String,
    pub(crate) revision: i64,
}

/// HashKV as etcd answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) hash: u32,
    pub(crate) compact_revision: i64,
}

/// A key as etcd serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) value: Vec<u8>,
    pub(crate) mod_revision: i64,
}

impl Etcd {
    /// Connects, and asks for the status.
    ///
    /// # Errors
    /// It does not serve, or not yet: why, in a line.
    pub(crate) async fn connect(socket: &Path, tls: Arc<ClientConfig>) -> Result<Etcd, String> {
        match timeout(FIRST, Etcd::reach(socket, tls)).await {
            Ok(reached) => reached,
            Err(_) => Err(format!("etcd has not answered within {} seconds", FIRST.as_secs())),
        }
    }

    async fn reach(socket: &Path, tls: Arc<ClientConfig>) -> Result<Etcd, String> {
        let channel = channel(socket.to_owned(), tls).await.map_err(|error| chain(&error))?;
        let client = Client::from_channel(Channel::Tonic(channel), None).await.map_err(|error| chain(&error))?;
        let status = client.maintenance_client().status().await.map_err(|error| chain(&error))?;
        let revision = status.header().ok_or("the answer of etcd has no header")?.revision();
        Ok(Etcd { version: status.version().to_owned(), client, revision })
    }

    /// The hash of all keys at a revision.
    ///
    /// # Errors
    /// etcd refuses, or does not answer.
    pub(crate) async fn hash_kv(&self, revision: i64) -> Outcome<Hashed> {
        let answer = timeout(PATIENCE, self.client.maintenance_client().hash_kv(revision)).await;
        let answer = answered(answer, "hash its keys")?;
        Ok(Hashed { hash: answer.hash(), compact_revision: answer.compact_version() })
    }

    /// How many keys there are at a revision.
    ///
    /// # Errors
    /// As [`Etcd::hash_kv`].
    pub(crate) async fn count(&self, revision: i64) -> Outcome<u64> {
        self.counted(Vec::new(), GetOptions::new().with_all_keys(), revision).await
    }

    /// How many keys begin with these bytes at a revision.
    ///
    /// # Errors
    /// As [`Etcd::hash_kv`].
    pub(crate) async fn count_under(&self, prefix: &[u8], revision: i64) -> Outcome<u64> {
        self.counted(prefix.to_owned(), GetOptions::new().with_prefix(), revision).await
    }

    async fn counted(&self, key: Vec<u8>, range: GetOptions, revision: i64) -> Outcome<u64> {
        let options = range.with_count_only().with_revision(revision);
        let answer = timeout(PATIENCE, self.client.kv_client().get(key, Some(options))).await;
        Ok(u64::try_from(answered(answer, "count its keys")?.count()).unwrap_or_default())
    }

    /// A key at a revision; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Etcd::hash_kv`].
    pub(crate) async fn get(&self, key: &[u8], revision: i64) -> Outcome<Option<Served>> {
        let mut kv = self.client.kv_client().max_decoding_message_size(LARGEST);
        let options = GetOptions::new().with_revision(revision);
        let answer = timeout(PATIENCE, kv.get(key, Some(options))).await;
        let mut answer = answered(answer, "read a key")?;
        Ok(answer.take_kvs().into_iter().next().map(|pair| {
            let mod_revision = pair.mod_revision();
            Served { value: pair.into_key_value().1, mod_revision }
        }))
    }
}

fn answered<T>(answer: Result<Result<T, etcd_client::Error>, tokio::time::error::Elapsed>, what: &str) -> Outcome<T> {
    let cannot = || Trouble::plain(format!("etcd serves the snapshot, and cannot {what}"));
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(cannot().source(&error)),
        Err(_) => Err(cannot().cause(format!("it has not answered within {} seconds", PATIENCE.as_secs()))),
    }
}

async fn channel(
    socket: PathBuf,
    tls: Arc<ClientConfig>,
) -> Result<tonic::transport::Channel, tonic::transport::Error> {
    let connector = TlsConnector::from(tls);
    let connect = tower::service_fn(move |_: Uri| {
        let (connector, socket) = (connector.clone(), socket.clone());
        async move {
            let name = ServerName::try_from(SERVER).map_err(io::Error::other)?;
            let stream = connector.connect(name, UnixStream::connect(&socket).await?).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The connector makes the connection, encrypted: tonic is told of plain HTTP, and requests say https.
    let endpoint = Endpoint::from_static("http://localhost").origin(Uri::from_static("https://localhost"));
    endpoint.connect_with_connector(connect).await
}

/// An error and what lies below it, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    text
}
