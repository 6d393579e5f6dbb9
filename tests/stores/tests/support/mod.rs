//! Backups in a store as a writer leaves them, of any bytes: copies, listings and deletions never look into a snapshot.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use etcd_store::layout::{Key, Part};
use etcd_store::{
    API_VERSION, Class, Cluster, ClusterUid, Environment, KIND, Level, Name, Patience, Program, Record, RecoveryPlan,
    SigningKey, Snapshot, SourceMember, Store, StoreUrl, StoredObject,
};
use futures::TryStreamExt;
use jiff::Timestamp;
use stores::Variables;

pub const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
pub const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

pub fn uid() -> ClusterUid {
    UID.parse().unwrap()
}

/// A store that is tried again quickly.
pub fn open(url: &str, variables: Variables) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    let quick = Patience { retries: 2, first_wait: Duration::from_millis(1), longest_wait: Duration::from_millis(2) };
    Store::open_with(&url, &Environment::from_map(variables), quick).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of which no two blocks are the same.
pub fn bytes(size: usize) -> Bytes {
    (0..size.div_ceil(8) as u64)
        .flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
        .take(size)
        .collect()
}

pub async fn read(store: &Store, key: &Key) -> Bytes {
    let chunks: Vec<Bytes> = store.download(key).await.unwrap().stream.try_collect().await.unwrap();
    Bytes::from(chunks.concat())
}

/// A file of the tests of the crate of stores.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/store/tests/data").join(name)
}

/// The public key of whoever signs what is [`planted`](Planted).
pub fn trust_key() -> PathBuf {
    data("sign.key.pub")
}

/// The built plugin, with nothing of the user's.
pub fn plugin(args: &[&str], variables: Variables) -> Command {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/kubectl-etcd");
    let plugin = std::env::var_os("KUBECTL_ETCD_BIN").map_or_else(built, PathBuf::from);
    let mut command = Command::new(plugin);
    command.args(args).envs(variables).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command
}

/// What a run of the plugin came to.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// Runs it to its end.
#[track_caller]
pub fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The key of whoever signs what is [`planted`](Planted).
pub fn sign_key() -> SigningKey {
    SigningKey::read(&data("sign.key")).unwrap()
}

/// What is recorded of a backup with these objects.
pub fn record(cluster: &ClusterUid, name: &Name, objects: Vec<StoredObject>) -> Record {
    Record {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: name.to_string(),
        class: name.class(),
        taken_at: name.taken(),
        program: Program { name: "kubectl-etcd".to_owned(), version: "0.1.0".to_owned() },
        level: Level::Written,
        cluster: Cluster {
            uid: cluster.to_string(),
            name: Some("prod-eu".to_owned()),
            kubernetes_version: None,
            etcd_cluster_id: "c1".to_owned(),
        },
        source: SourceMember {
            node: "cp1".to_owned(),
            name: "cp1".to_owned(),
            member_id: "a1".to_owned(),
            role: "leader".to_owned(),
            etcd_version: "3.6.5".to_owned(),
        },
        snapshot: Snapshot { size: 1, sha256: sha256(b"x"), checked: None },
        recipients: vec![RECIPIENT.to_owned()],
        objects,
        recovery_plan: RecoveryPlan::default(),
    }
}

/// All objects of a backup in the order in which they are written: its record last.
#[derive(Clone)]
pub struct Planted {
    pub name: Name,
    pub objects: Vec<(Key, Bytes)>,
}

impl Planted {
    /// A signed backup of a cluster with these bytes in place of a sealed snapshot.
    pub fn new(cluster: &ClusterUid, taken: Timestamp, data: Bytes, node_files: Option<Bytes>) -> Planted {
        Planted::changed(cluster, taken, data, node_files, |_| {})
    }

    /// The same with another record, which is signed all the same.
    pub fn changed(
        cluster: &ClusterUid,
        taken: Timestamp,
        data: Bytes,
        node_files: Option<Bytes>,
        change: impl FnOnce(&mut Record),
    ) -> Planted {
        let name = Name::new(taken, 48211, Class::Manual);
        let key = |part| Key::new(cluster, &name, part);
        let mut objects = vec![(key(Part::Data { encrypted: true }), data)];
        objects.extend(node_files.map(|bytes| (key(Part::NodeFiles), bytes)));
        let stored = objects.iter().map(|(key, bytes)| StoredObject {
            name: key.file(),
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            recipients: vec![RECIPIENT.to_owned()],
        });
        let mut record = record(cluster, &name, stored.collect());
        change(&mut record);
        let record = Bytes::from(record.to_json().unwrap());
        let signature = sign_key().sign(&record).unwrap();
        objects.push((key(Part::Signature), Bytes::from(signature)));
        objects.push((key(Part::Record), record));
        Planted { name, objects }
    }

    pub async fn put(&self, store: &Store) {
        for (key, bytes) in &self.objects {
            store.create(key, bytes.clone()).await.unwrap();
        }
    }

    pub fn bytes_of(&self, key: &Key) -> &Bytes {
        &self.objects.iter().find(|(one, _)| one == key).unwrap().1
    }

    pub fn has_record_in(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| key.part == Part::Record && key.name == self.name)
    }
}

/// The names of all objects in a store.
pub async fn keys(store: &Store) -> Vec<Key> {
    store.list(None).await.unwrap().objects.into_iter().map(|object| object.key).collect()
}
