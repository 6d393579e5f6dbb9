//! A store in a folder, and a backup in it, made by the parts of this crate.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesWriter, NodePath};
use etcd_store::*;
use jiff::Timestamp;

pub const CLUSTER: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
pub const OTHER_CLUSTER: &str = "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
pub const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
pub const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

/// A folder with a store, an identity and a signing key.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

/// What a backup is like.
pub struct Made {
    pub cluster: &'static str,
    pub taken: Timestamp,
    pub snapshot: Vec<u8>,
    pub encrypted: bool,
    pub node_files: bool,
    pub signed: bool,
}

impl Default for Made {
    fn default() -> Made {
        Made {
            cluster: CLUSTER,
            taken: Timestamp::now(),
            snapshot: b"a snapshot of etcd\n".repeat(20_000),
            encrypted: true,
            node_files: true,
            signed: true,
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn repository(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

pub fn encryption(encrypted: bool) -> Encryption {
    match encrypted {
        true => Encryption::Recipients(Recipients::parse::<_, &Path>(&[RECIPIENT], &[]).unwrap()),
        false => Encryption::Off,
    }
}

pub fn seal(plain: &[u8], encrypted: bool) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), &encryption(encrypted)).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.finish().unwrap()
}

/// An archive as the writer of a backup makes it.
pub fn node_files() -> Vec<u8> {
    let mut writer = NodeFilesWriter::new(Vec::new(), Limits::default());
    let folder = |path: &str| NodeFile {
        path: NodePath::parse(path).unwrap(),
        mode: 0o755,
        owner: 0,
        group: 0,
        modified: 1_790_000_000,
        kind: Kind::Folder,
    };
    let file = |path: &str, content: &str| NodeFile { mode: 0o600, kind: Kind::File(content.into()), ..folder(path) };
    for entry in [
        folder("etc/kubernetes"),
        folder("etc/kubernetes/pki"),
        file("etc/kubernetes/pki/ca.key", "a key\n"),
        file("etc/kubernetes/manifests/etcd.yaml", "kind: Pod\n"),
        NodeFile { kind: Kind::Link("pki/ca.key".to_owned()), ..folder("etc/kubernetes/ca.key") },
    ] {
        writer.append(&entry).unwrap();
    }
    writer.finish().unwrap()
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        std::fs::write(folder.path().join("identity.txt"), format!("# mine\n{SECRET}\n")).unwrap();
        let store = open_store(&folder.path().join("store"));
        Place { folder, store }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn identities(&self) -> Identities {
        Identities::read(&[self.path("identity.txt")], |_| None).unwrap()
    }

    /// The file of an object.
    pub fn object(&self, key: &Key) -> PathBuf {
        self.path("store").join(key.to_string())
    }

    pub async fn backup(&self, made: &Made) -> (ClusterUid, Name) {
        let cluster: ClusterUid = made.cluster.parse().unwrap();
        let name = Name::new(made.taken, 48211, Class::Manual);
        let key = |part| Key::new(&cluster, &name, part);
        let mut objects = Vec::new();
        let mut put = async |part: Part, bytes: Vec<u8>, recipients: &[&str]| {
            let place = key(part);
            objects.push(StoredObject {
                name: place.file(),
                size: bytes.len() as u64,
                sha256: sha256(&bytes),
                recipients: recipients.iter().map(ToString::to_string).collect(),
            });
            self.store.create(&place, Bytes::from(bytes)).await.unwrap();
        };
        let recipients: &[&str] = if made.encrypted { &[RECIPIENT] } else { &[] };
        put(Part::Data { encrypted: made.encrypted }, seal(&made.snapshot, made.encrypted), recipients).await;
        if made.node_files {
            put(Part::NodeFiles, seal(&node_files(), true), &[RECIPIENT]).await;
        }
        let record = Record {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.to_string(),
            class: Class::Manual,
            taken_at: name.taken(),
            program: Program { name: "kubectl-etcd".to_owned(), version: "0.1.0".to_owned() },
            level: Level::Written,
            cluster: Cluster {
                uid: made.cluster.to_owned(),
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
            snapshot: Snapshot { size: made.snapshot.len() as u64, sha256: sha256(&made.snapshot), checked: None },
            recipients: recipients.iter().map(ToString::to_string).collect(),
            objects,
            recovery_plan: RecoveryPlan::default(),
        };
        self.commit(&key(Part::Record), &record, made.signed).await;
        (cluster, name)
    }

    pub async fn commit(&self, place: &Key, record: &Record, signed: bool) {
        let bytes = record.to_json().unwrap();
        if signed {
            let signature = signing_key().sign(&bytes).unwrap();
            let key = Key { part: Part::Signature, ..place.clone() };
            self.store.create(&key, Bytes::from(signature)).await.unwrap();
        }
        self.store.create(place, Bytes::from(bytes)).await.unwrap();
    }
}

pub fn open_store(folder: &Path) -> Store {
    let url: StoreUrl = format!("file://{}", folder.display()).parse().unwrap();
    Store::open(&url, &Environment::from_map(Default::default())).unwrap()
}

pub fn signing_key() -> SigningKey {
    SigningKey::read(&repository("tests/data/sign.key")).unwrap()
}

pub fn trusted() -> TrustedKeys {
    TrustedKeys::read(&[repository("tests/data/sign.key.pub")]).unwrap()
}
