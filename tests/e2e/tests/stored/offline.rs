//! A store in a folder with backups as a writer makes them, and what it takes to read them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Ran, names, plugin, run, unpacked};
use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesWriter, NodePath};
use etcd_store::{
    API_VERSION, Class, Cluster, ClusterUid, Encryption, KIND, Key, Level, Member, Name, Node, Part, Program,
    Recipients, Record, RecoveryPlan, Sealer, SigningKey, Snapshot, SourceMember, StoredObject, sha256_of,
};
use jiff::Timestamp;

/// A store with backups, an identity and a signing key, and no cluster anywhere.
pub(crate) struct Offline {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) cluster: ClusterUid,
    pub(crate) recipient: String,
}

/// Whom a backup is encrypted for, and the file of the key that signs it.
pub(crate) struct Keys {
    pub(crate) recipients: Vec<String>,
    pub(crate) sign: &'static str,
}

impl Offline {
    pub(crate) fn new() -> Offline {
        let folder = tempfile::tempdir().unwrap();
        for name in ["store", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let offline = Offline { folder, cluster: uid(), recipient: String::new() };
        offline.tool("age-keygen", &["-o", "identity.txt"]);
        offline.tool("age-keygen", &["-o", "other.txt"]);
        offline.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "ci", "-f", "sign"]);
        offline.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "stranger"]);
        let recipient = offline.tool("age-keygen", &["-y", "identity.txt"]).stdout.trim().to_owned();
        Offline { recipient, ..offline }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path());
        run(command).expect_code(0)
    }

    /// The plugin with nothing of the user's, but what is here.
    pub(crate) fn plugin(&self, args: &[&str]) -> Command {
        let mut command = Command::new(plugin());
        command.args(args).current_dir(self.folder.path()).env("TMPDIR", self.path("tmp"));
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let ran = run(self.plugin(args));
        assert_eq!(names(&self.path("tmp")), [""; 0], "{args:?}");
        ran
    }

    /// With the identity and the trust key.
    pub(crate) fn trusted(&self, args: &[&str]) -> Ran {
        self.run(&[args, &["--identity", "identity.txt", "--trust-key", "sign.pub"]].concat())
    }

    pub(crate) fn url(&self, last: &str) -> String {
        format!("file://{}/{last}", self.path("store").display())
    }

    pub(crate) fn latest(&self) -> String {
        self.url("latest")
    }

    pub(crate) fn object(&self, name: &Name, part: Part) -> PathBuf {
        self.path("store").join(Key::new(&self.cluster, name, part).to_string())
    }

    pub(crate) fn data(&self, name: &Name) -> PathBuf {
        self.object(name, Part::Data { encrypted: true })
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.seal_for(std::slice::from_ref(&self.recipient), plain)
    }

    fn seal_for(&self, recipients: &[String], plain: &[u8]) -> Vec<u8> {
        let recipients = Recipients::parse::<_, &Path>(recipients, &[]).unwrap();
        let mut sealer = Sealer::new(Vec::new(), &Encryption::Recipients(recipients)).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    /// Puts a backup into the store, as a writer does.
    pub(crate) fn backup(&self) -> Name {
        let snapshot = unpacked("snapshots/kubeadm-ha.db.zst");
        self.backup_of(&snapshot, &self.seal(&snapshot), Timestamp::now())
    }

    /// The same of other bytes, and begun at another time.
    pub(crate) fn backup_of(&self, snapshot: &[u8], data: &[u8], taken: Timestamp) -> Name {
        self.store(snapshot, data, taken, &Keys { recipients: vec![self.recipient.clone()], sign: "sign" })
    }

    /// The same with these keys; every object is as old as the backup.
    pub(crate) fn backup_with(&self, snapshot: &[u8], taken: Timestamp, keys: &Keys) -> Name {
        let name = self.store(snapshot, &self.seal_for(&keys.recipients, snapshot), taken, keys);
        let folder = self.path("store/v1").join(self.cluster.as_str());
        for file in names(&folder).iter().filter(|file| file.starts_with(&name.to_string())) {
            let file = std::fs::File::options().write(true).open(folder.join(file)).unwrap();
            file.set_modified(taken.into()).unwrap();
        }
        name
    }

    fn store(&self, snapshot: &[u8], data: &[u8], taken: Timestamp, keys: &Keys) -> Name {
        let name = Name::new(taken, 7, Class::Manual);
        let mut objects = Vec::new();
        let mut put = |part: Part, bytes: &[u8]| {
            let path = self.object(&name, part.clone());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            objects.push(StoredObject {
                name: Key::new(&self.cluster, &name, part).file(),
                size: bytes.len() as u64,
                sha256: sha256(bytes),
                recipients: keys.recipients.clone(),
            });
        };
        put(Part::Data { encrypted: true }, data);
        put(Part::NodeFiles, &self.seal_for(&keys.recipients, &node_files()));
        let node = |name: &str, address: &str| Node {
            name: name.to_owned(),
            member: Some(Member {
                name: name.to_owned(),
                peer_urls: vec![format!("https://{address}:2380")],
                ..Member::default()
            }),
            ..Node::default()
        };
        let record = Record {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.to_string(),
            class: Class::Manual,
            taken_at: name.taken(),
            program: Program { name: "kubectl-etcd".to_owned(), version: "0.1.0".to_owned() },
            level: Level::Written,
            cluster: Cluster {
                uid: self.cluster.to_string(),
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
            snapshot: Snapshot { size: snapshot.len() as u64, sha256: sha256(snapshot), checked: None },
            recipients: keys.recipients.clone(),
            objects,
            recovery_plan: RecoveryPlan { nodes: vec![node("cp1", "10.0.0.1"), node("cp2", "10.0.0.2")], api: None },
        };
        let bytes = record.to_json().unwrap();
        let key = SigningKey::read(&self.path(keys.sign)).unwrap();
        std::fs::write(self.object(&name, Part::Signature), key.sign(&bytes).unwrap()).unwrap();
        std::fs::write(self.object(&name, Part::Record), &bytes).unwrap();
        name
    }
}

/// UID of namespace kube-system in the snapshot.
fn uid() -> ClusterUid {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    std::fs::write(&path, unpacked("snapshots/kubeadm-ha.db.zst")).unwrap();
    let mut command = Command::new(plugin());
    command.args(["verify", "-o", "json"]).arg(&path).env("KUBECONFIG", "/nonexistent");
    let json = run(command).expect_code(0).json();
    json["verdict"]["kubeSystemUid"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn sha256(mut bytes: &[u8]) -> String {
    sha256_of(&mut bytes).unwrap()
}

fn node_files() -> Vec<u8> {
    let mut writer = NodeFilesWriter::new(Vec::new(), Limits::default());
    let path = NodePath::parse("/etc/kubernetes/pki/ca.key").unwrap();
    let kind = Kind::File(b"a key\n".to_vec());
    writer.append(&NodeFile { path, mode: 0o600, owner: 0, group: 0, modified: 1_790_000_000, kind }).unwrap();
    writer.finish().unwrap()
}
