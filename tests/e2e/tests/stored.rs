//! Backups in a store through the binary, offline: every command that reads a snapshot file reads them, and only what is as it was written.
//! And docs/STORE.md, block by block.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Ran, etcd_3_5, names, plugin, run, unpacked, workspace};
use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesWriter, NodePath};
use etcd_store::{
    API_VERSION, Class, Cluster, ClusterUid, Encryption, KIND, Key, Level, Member, Name, Node, Part, Program,
    Recipients, Record, RecoveryPlan, Sealer, SigningKey, Snapshot, SourceMember, StoredObject, sha256_of,
};
use jiff::Timestamp;
use serde_json::Value;

/// A store with backups, an identity and a signing key, and no cluster anywhere.
struct Offline {
    folder: tempfile::TempDir,
    cluster: ClusterUid,
    recipient: String,
}

impl Offline {
    fn new() -> Offline {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path());
        run(command).expect_code(0)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(plugin());
        command.args(args).current_dir(self.folder.path()).env("TMPDIR", self.path("tmp"));
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        let ran = run(command);
        assert_eq!(names(&self.path("tmp")), [""; 0], "{args:?}");
        ran
    }

    /// With the identity and the trust key.
    fn trusted(&self, args: &[&str]) -> Ran {
        self.run(&[args, &["--identity", "identity.txt", "--trust-key", "sign.pub"]].concat())
    }

    fn url(&self, last: &str) -> String {
        format!("file://{}/{last}", self.path("store").display())
    }

    fn latest(&self) -> String {
        self.url("latest")
    }

    fn object(&self, name: &Name, part: Part) -> PathBuf {
        self.path("store").join(Key::new(&self.cluster, name, part).to_string())
    }

    fn data(&self, name: &Name) -> PathBuf {
        self.object(name, Part::Data { encrypted: true })
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let recipients = Recipients::parse::<_, &Path>(&[&self.recipient], &[]).unwrap();
        let mut sealer = Sealer::new(Vec::new(), &Encryption::Recipients(recipients)).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    /// Puts a backup into the store, as a writer does.
    fn backup(&self) -> Name {
        let name = Name::new(Timestamp::now(), 7, Class::Manual);
        let snapshot = unpacked("snapshots/kubeadm-ha.db.zst");
        let mut objects = Vec::new();
        let mut put = |part: Part, bytes: &[u8]| {
            let path = self.object(&name, part.clone());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            objects.push(StoredObject {
                name: Key::new(&self.cluster, &name, part).file(),
                size: bytes.len() as u64,
                sha256: sha256(bytes),
                recipients: vec![self.recipient.clone()],
            });
        };
        put(Part::Data { encrypted: true }, &self.seal(&snapshot));
        put(Part::NodeFiles, &self.seal(&node_files()));
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
            snapshot: Snapshot { size: snapshot.len() as u64, sha256: sha256(&snapshot), checked: None },
            recipients: vec![self.recipient.clone()],
            objects,
            recovery_plan: RecoveryPlan { nodes: vec![node("cp1", "10.0.0.1"), node("cp2", "10.0.0.2")], api: None },
        };
        let bytes = record.to_json().unwrap();
        let key = SigningKey::read(&self.path("sign")).unwrap();
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

fn sha256(mut bytes: &[u8]) -> String {
    sha256_of(&mut bytes).unwrap()
}

fn node_files() -> Vec<u8> {
    let mut writer = NodeFilesWriter::new(Vec::new(), Limits::default());
    let path = NodePath::parse("/etc/kubernetes/pki/ca.key").unwrap();
    let kind = Kind::File(b"a key\n".to_vec());
    writer.append(&NodeFile { path, mode: 0o600, owner: 0, group: 0, modified: 1_790_000_000, kind }).unwrap();
    writer.finish().unwrap()
}

#[test]
fn every_command_reads_a_store() {
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let told = offline.trusted(&["verify", &latest]).expect_code(0);
    assert!(told.stdout.contains("is whole:") && told.stdout.contains("cluster prod-eu"), "{}", told.stdout);
    assert!(told.stderr.contains("signed by ci (SHA256:") && !told.stderr.contains("--trust-key"), "{}", told.stderr);
    for reference in [offline.url(&name.to_string()), offline.url(&format!("{}/{name}", offline.cluster))] {
        offline.trusted(&["verify", &reference]).expect_code(0);
    }
    // Without a trust key it is said, once, and also where two backups are read.
    let told = offline.run(&["diff", &latest, &latest, "--identity", "identity.txt"]).expect_code(0);
    assert_eq!(told.stderr.matches("--trust-key FILE").count(), 1, "{}", told.stderr);
    let whole: Value = offline.trusted(&["inspect", &latest, "-o", "json"]).expect_code(0).json();
    assert!(whole["resources"].as_array().is_some_and(|all| all.len() > 10));
    let web = offline.trusted(&["get", &latest, "deploy/web", "-n", "shop", "-o", "name"]).expect_code(0);
    assert_eq!(web.stdout.trim(), "deployment.apps/web");
    std::fs::write(offline.path("a.db"), unpacked("snapshots/kubeadm-ha.db.zst")).unwrap();
    offline.trusted(&["diff", "a.db", &latest]).expect_code(0);
    // The members are those of the record.
    let built = offline.trusted(&["restore", &latest, "--data-dir", "cp2", "--name", "cp2"]).expect_code(0);
    assert!(
        built.stderr.contains("https://10.0.0.2:2380") && built.stderr.contains(&name.to_string()),
        "{}",
        built.stderr
    );
    assert!(offline.path("cp2/member/snap/db").is_file());
    offline.run(&["verify", &latest, "--explain"]).expect_code(2).expect_error(&["kubectl etcd copy"]);
}

#[test]
fn what_is_not_as_it_was_written_is_refused() {
    let offline = Offline::new();
    let latest = offline.latest();
    offline.trusted(&["verify", &latest]).expect_code(1).expect_error(&["there is no backup"]);
    offline.trusted(&["verify", &offline.url("")]).expect_code(2);
    for args in [
        &["verify", "s3://me:hidden@b/latest"][..],
        &["copy", "s3://me:hidden@b/latest", "x"],
        &["copy", &latest, "s3://me:hidden@b"],
    ] {
        let told = offline.run(args).expect_code(2);
        assert!(!format!("{}{}", told.stdout, told.stderr).contains("hidden"), "{}", told.stderr);
    }
    let name = offline.backup();
    let restore = |args: &[&str]| {
        let ran = offline.run(&[&["restore", &latest, "--data-dir", "out", "--name", "cp1"], args].concat());
        assert!(!offline.path("out").exists());
        ran
    };
    let identity = ["--identity", "identity.txt"];
    restore(&[]).expect_code(2).expect_error(&["no identity is given", &offline.recipient, "--identity FILE"]);
    restore(&["--identity", "other.txt"]).expect_code(2).expect_error(&["encrypted for", &offline.recipient]);
    restore(&["--identity", "sign.pub"]).expect_code(2).expect_error(&["not an age identity"]);
    let stranger = [&identity[..], &["--trust-key", "stranger.pub"]].concat();
    restore(&stranger).expect_code(4).expect_error(&["which is not trusted", "nothing was changed"]);
    let trusted = [&identity[..], &["--trust-key", "sign.pub"]].concat();
    let signature = offline.object(&name, Part::Signature);
    let good = std::fs::read(&signature).unwrap();
    std::fs::remove_file(&signature).unwrap();
    restore(&trusted).expect_code(4).expect_error(&["is not signed"]);
    let record = offline.object(&name, Part::Record);
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&signature, &good).unwrap();
    std::fs::write(&record, text.replace("prod-eu", "prod-us")).unwrap();
    restore(&trusted).expect_code(4).expect_error(&["a signature of other bytes"]);
    std::fs::write(&record, &text).unwrap();
    let data = std::fs::read(offline.data(&name)).unwrap();
    let mut changed = data.clone();
    changed[data.len() / 2] ^= 1;
    std::fs::write(offline.data(&name), &changed).unwrap();
    restore(&trusted).expect_code(3).expect_error(&["is damaged or was replaced"]);
    offline.run(&["verify", &latest]).expect_code(3).expect_error(&["is damaged or was replaced"]);
    std::fs::write(offline.data(&name), &data[1..]).unwrap();
    restore(&trusted).expect_code(3).expect_error(&["contradicts the store"]);
    std::fs::write(offline.data(&name), &data).unwrap();
    std::fs::remove_file(&record).unwrap();
    restore(&trusted).expect_code(1).expect_error(&["no backup of cluster", "kubectl etcd list"]);
}

#[test]
fn what_was_verified_is_written_beside_the_backup() {
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let read = offline.run(&["verify", &latest, "--attest", "--trust-key", "sign.pub", "-o", "json"]).expect_code(0);
    assert_eq!((&read.json()["level"], &read.json()["ok"]), (&"read".into(), &true.into()));
    // Who has signed the backup is not known.
    let signed = ["verify", &latest, "--identity", "identity.txt", "--attest", "--sign-key", "sign"];
    offline.run(&signed).expect_code(2).expect_error(&["the signature of the backup is not checked", "--trust-key"]);
    offline.trusted(&["verify", &latest, "--attest", "--sign-key", "sign"]).expect_code(0);
    let folder = offline.path("store/v1").join(offline.cluster.as_str());
    let all = names(&folder);
    let proofs: Vec<&String> = all.iter().filter(|one| one.contains(".proof")).collect();
    assert_eq!(proofs.len(), 3, "{all:?}");
    let opened = proofs.iter().find(|one| one.contains(".opened-") && one.ends_with(".proof")).unwrap();
    let proof: Value = serde_json::from_slice(&std::fs::read(folder.join(opened)).unwrap()).unwrap();
    let record = std::fs::read(offline.object(&name, Part::Record)).unwrap();
    assert_eq!((&proof["kind"], &proof["recordSha256"]), (&"BackupProof".into(), &sha256(&record).into()));
    std::fs::write(
        offline.path("signers"),
        format!("ci {}", std::fs::read_to_string(offline.path("sign.pub")).unwrap()),
    )
    .unwrap();
    let check = format!(
        "ssh-keygen -Y verify -f signers -I ci -n kubectl-etcd -s '{0}.sig' < '{0}'",
        folder.join(opened).display()
    );
    offline.tool("sh", &["-c", &check]);
    // A damaged backup gets none.
    std::fs::write(offline.data(&name), b"x").unwrap();
    offline.run(&["verify", &latest, "--attest"]).expect_code(3);
    assert_eq!(names(&folder), all);
}

#[test]
fn backups_are_copied_as_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let source = offline.path("store/v1").join(offline.cluster.as_str());
    let same = |folder: &Path| {
        assert_eq!(names(folder), names(&source));
        for one in names(&source) {
            assert!(std::fs::read(folder.join(&one)).unwrap() == std::fs::read(source.join(&one)).unwrap(), "{one}");
        }
    };
    std::fs::create_dir(offline.path("safe")).unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(0);
    same(&offline.path("safe"));
    for one in names(&offline.path("safe")) {
        assert_eq!(offline.path("safe").join(&one).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{one}");
    }
    // A copy that was cut off goes on; what is in the way stays.
    std::fs::remove_file(offline.path("safe").join(format!("{name}.json"))).unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(0).expect_error(&["were there already"]);
    same(&offline.path("safe"));
    std::fs::write(offline.path("safe").join(format!("{name}.json.sig")), "mine").unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(4).expect_error(&["nothing is overwritten"]);
    assert_eq!(std::fs::read(offline.path("safe").join(format!("{name}.json.sig"))).unwrap(), b"mine");
    // The snapshot alone is read as a file is, with the record beside it or without.
    offline.run(&["copy", &latest, "etcd.db.zst.age"]).expect_code(0);
    offline.run(&["copy", &latest, "etcd.db.zst.age"]).expect_code(4).expect_error(&["nothing is overwritten"]);
    offline.run(&["verify", "etcd.db.zst.age", "--identity", "identity.txt"]).expect_code(0);
    offline.run(&["verify", "etcd.db.zst.age"]).expect_code(2).expect_error(&["encrypted with age", "--identity"]);
    offline
        .run(&["verify", "etcd.db.zst.age", "--identity", "other.txt"])
        .expect_code(2)
        .expect_error(&["no identity fits"]);
    let beside = format!("safe/{name}.db.zst.age");
    let told = offline.run(&["verify", &beside, "--identity", "identity.txt"]).expect_code(0);
    assert!(told.stdout.contains("cluster prod-eu"), "{}", told.stdout);
    let mut cut = std::fs::read(offline.path("etcd.db.zst.age")).unwrap();
    cut.pop();
    std::fs::write(offline.path("cut.db.zst.age"), cut).unwrap();
    offline.run(&["verify", "cut.db.zst.age", "--identity", "identity.txt"]).expect_code(3);
    // Into a store whose folder is not there: it may be one that is not mounted.
    let missing = format!("file://{}", offline.path("missing").display());
    offline.run(&["copy", &latest, &missing]).expect_code(1).expect_error(&["the folder does not exist"]);
    assert!(!offline.path("missing").exists());
    // Into another store, twice.
    std::fs::create_dir(offline.path("vault")).unwrap();
    let vault = format!("file://{}", offline.path("vault").display());
    for _ in 0..2 {
        offline.run(&["copy", &latest, &vault, "--trust-key", "sign.pub"]).expect_code(0);
        same(&offline.path("vault/v1").join(offline.cluster.as_str()));
    }
    offline.trusted(&["verify", &format!("{vault}/latest")]).expect_code(0);
    // What is damaged is not copied, and no half is left.
    let mut bytes = std::fs::read(offline.data(&name)).unwrap();
    bytes[200] ^= 1;
    std::fs::write(offline.data(&name), bytes).unwrap();
    std::fs::create_dir(offline.path("empty")).unwrap();
    offline.run(&["copy", &latest, "empty"]).expect_code(3);
    offline.run(&["copy", &latest, "half.age"]).expect_code(3);
    assert!(!offline.path("half.age").exists() && names(&offline.path("empty")).is_empty());
    offline.run(&["copy", "a.db", "b.db"]).expect_code(2);
    offline.run(&["copy", &latest, "nowhere/"]).expect_code(2);
}

#[test]
fn docs_store_md_restores_with_stock_tools() {
    let document = std::fs::read_to_string(workspace().join("docs/STORE.md")).unwrap();
    let blocks: Vec<&str> =
        document.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```\n").next().unwrap()).collect();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    let offline = Offline::new();
    let name = offline.backup();
    std::fs::create_dir(offline.path("here")).unwrap();
    for key in ["identity.txt", "sign.pub"] {
        std::fs::copy(offline.path(key), offline.path("here").join(key)).unwrap();
    }
    let path = format!("{}:{}", etcd_3_5().display(), std::env::var("PATH").unwrap());
    let shell = |lines: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &lines.join("\n")]).current_dir(offline.path("here"));
        command.env("STORE", offline.path("store")).env("CLUSTER", offline.cluster.as_str()).env("PATH", &path);
        run(command)
    };
    // All blocks in their order, and what each has to show.
    let told = shell(&blocks).expect_code(0);
    let sums = [format!("{name}.db.zst.age: OK"), format!("{name}.node.tar.zst.age: OK"), "etcd.db: OK".to_owned()];
    let shown = ["Good \"kubectl-etcd\" signature", "cp2=https://10.0.0.2:2380", "node/etc/kubernetes/pki/ca.key"];
    for text in sums.iter().map(String::as_str).chain(shown).chain([name.to_string().as_str()]) {
        assert!(told.stdout.contains(text), "{text}: {}{}", told.stdout, told.stderr);
    }
    // Nothing is left in clear.
    assert!(names(&offline.path("here")).iter().all(|one| !["etcd.db", "restored", "node"].contains(&one.as_str())));
    // Each check ends it where something is wrong.
    let ends = |text: &str| {
        for entry in names(&offline.path("here")).iter().filter(|one| one.starts_with(&name.to_string())) {
            std::fs::remove_file(offline.path("here").join(entry)).unwrap();
        }
        let told = shell(&blocks);
        assert!(
            !told.status.success() && format!("{}{}", told.stdout, told.stderr).contains(text),
            "{text}: {}{}",
            told.stdout,
            told.stderr
        );
        assert!(!names(&offline.path("here")).iter().any(|one| one == "restored"));
    };
    let data = std::fs::read(offline.data(&name)).unwrap();
    let mut changed = data.clone();
    changed[300] ^= 1;
    std::fs::write(offline.data(&name), changed).unwrap();
    ends("FAILED");
    std::fs::write(offline.data(&name), data).unwrap();
    let record = offline.object(&name, Part::Record);
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("prod-eu", "prod-us")).unwrap();
    ends("incorrect signature");
}
