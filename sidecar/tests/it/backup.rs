//! `backup` and `prune` as the pod of a schedule runs them, with a real etcd and a store in a folder.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use etcd_store::{Backups, Environment, LARGEST_RECORD, Level, Part, Record, Store};
use jiff::Timestamp;
use rustix::process::{Pid, Signal};
use stores::Seaweed;
use tempfile::TempDir;

use crate::member::Member;

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
pub(crate) const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const SECRET: &str = "a-secret-of-the-node";

/// A node that a pod sees, and a store.
pub(crate) struct Node {
    pub(crate) member: Member,
    folder: TempDir,
    /// The store, if it is not a folder, and the variables of its credential.
    store: Option<(String, BTreeMap<String, String>)>,
}

impl Node {
    fn new() -> Node {
        Node::with(None)
    }

    /// A node with a store that is no folder.
    pub(crate) fn with(store: Option<(String, BTreeMap<String, String>)>) -> Node {
        let node = Node { store, ..Node::of(Member::start()) };
        node.fill();
        node
    }

    /// The node of a member, whose cluster has objects or not.
    pub(crate) fn of(member: Member) -> Node {
        let node = Node { member, folder: tempfile::tempdir().unwrap(), store: None };
        for folder in ["kubernetes/manifests", "kubernetes/pki", "store", "spool"] {
            std::fs::create_dir_all(node.path(folder)).unwrap();
        }
        node.manifests(&node.member.url);
        std::fs::write(node.path("kubernetes/pki/ca.key"), SECRET).unwrap();
        node
    }

    /// The objects that every cluster has.
    fn fill(&self) {
        let namespace =
            format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"kube-system","uid":"{UID}"}}}}"#);
        self.member.ctl(&["put", "--", "/registry/namespaces/kube-system", &namespace]);
        self.member.ctl(&["put", "--", "/registry/configmaps/default/a", "{}"]);
    }

    /// Nodes of one cluster, a member each. The last one leads.
    pub(crate) fn three() -> [Node; 3] {
        let nodes = Member::three().map(Node::of);
        nodes[0].fill();
        nodes
    }

    /// From now on the store is this one.
    pub(crate) fn store_in(&mut self, url: String, variables: BTreeMap<String, String>) {
        self.store = Some((url, variables));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Manifests by which etcd is reached at this URL.
    pub(crate) fn manifests(&self, url: &str) {
        let pki = Path::new(&self.member.pki.path("ca.crt")).parent().unwrap().display().to_string();
        let pod = |name: &str, command: &str| {
            format!(
                "kind: Pod\nmetadata: {{name: {name}, namespace: kube-system}}\nspec:\n  containers:\n  - name: {name}\n    image: {name}:1\n    \
                 command: [{command}]\n    volumeMounts: [{{name: pki, mountPath: {pki}}}]\n  volumes: [{{name: pki, hostPath: {{path: {pki}}}}}]\n"
            )
        };
        let etcd = format!(
            "etcd, --name=m0, --listen-client-urls={url}, --trusted-ca-file={pki}/ca.crt, --cert-file={pki}/server.crt, --key-file={pki}/server.key"
        );
        let manifest = |name: &str| self.path("kubernetes/manifests").join(name);
        std::fs::write(manifest("etcd.yaml"), pod("etcd", &etcd)).unwrap();
        std::fs::write(manifest("kube-apiserver.yaml"), pod("kube-apiserver", "kube-apiserver, --secure-port=6443"))
            .unwrap();
    }

    fn store(&self) -> (String, BTreeMap<String, String>) {
        let folder = || (format!("file://{}", self.path("store").display()), BTreeMap::new());
        self.store.clone().unwrap_or_else(folder)
    }

    pub(crate) fn start(&self, command: &str, flags: &[&str]) -> Child {
        let mut sidecar = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"));
        let (url, variables) = self.store();
        sidecar.args([command, "--store", &url]).args(flags).envs(variables);
        if command == "backup" {
            sidecar.arg("--kubernetes").arg(self.path("kubernetes"));
        }
        sidecar.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs to its end, and gives the exit code and the log.
    fn run(&self, command: &str, flags: &[&str]) -> (Option<i32>, String) {
        let output = self.start(command, flags).wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(!log.contains(SECRET) && !log.contains("BEGIN"), "{log}");
        (output.status.code(), log)
    }

    pub(crate) fn backup(&self, flags: &[&str]) -> (Option<i32>, String) {
        let spool = self.path("spool").display().to_string();
        self.run("backup", &[&["--recipient", RECIPIENT, "--spool", &spool], flags].concat())
    }

    /// The records in the store, the newest first, and how many objects there are.
    pub(crate) async fn stored(&self) -> (Vec<Record>, usize) {
        let (url, variables) = self.store();
        let store = Store::open(&url.parse().unwrap(), &Environment::from_map(variables)).unwrap();
        let listed = store.list(None).await.unwrap();
        let backups = Backups::of(&listed, Timestamp::now());
        assert!(backups.suspects.is_empty(), "{:?}", backups.suspects);
        let mut records = Vec::new();
        for backup in backups.newest_first(&UID.parse().unwrap()) {
            let bytes = store.small(&backup.key(Part::Record), LARGEST_RECORD).await.unwrap();
            records.push(Record::read(&bytes, &backup.cluster, &backup.name).unwrap());
        }
        (records, listed.objects.len())
    }

    /// Nothing of a snapshot or of a key lies in clear in a store that is a server.
    pub(crate) fn nothing_in_clear_at(&self, server: &Seaweed) {
        self.nothing_in_clear();
        let contents = server.contents().unwrap();
        let has = |text: &[u8]| contents.values().any(|bytes| bytes.windows(text.len()).any(|some| some == text));
        assert!(has(b"age-encryption.org/v1"), "{:?}", contents.keys());
        assert!(!has(SECRET.as_bytes()) && !has(b"/registry/"), "{:?}", contents.keys());
    }

    /// Nothing of a snapshot or of a key lies anywhere in clear.
    pub(crate) fn nothing_in_clear(&self) {
        assert_eq!(std::fs::read_dir(self.path("spool")).unwrap().count(), 0);
        let mut folders = vec![self.path("store")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let bytes = std::fs::read(entry.path()).unwrap();
                for clear in [SECRET.as_bytes(), b"/registry/"] {
                    assert!(!bytes.windows(clear.len()).any(|some| some == clear), "{:?}", entry.path());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_tick_backs_up_once_and_a_late_one_finds_that() {
    let node = Node::new();
    let (code, log) = node.backup(&["--every", "1h", "--node-files"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("it is the only member") && log.contains("100 % of") && log.contains("is in the store"),
        "{log}"
    );
    let (records, objects) = node.stored().await;
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.level, objects), (Level::Written, 3));
    assert_eq!((record.cluster.uid.as_str(), record.source.name.as_str()), (UID, "m0"));
    let checked = record.snapshot.checked.as_ref().unwrap();
    let counts: Vec<_> = checked.resources.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counts, [("configmaps", 1), ("namespaces", 1)]);
    assert_eq!(record.objects.iter().map(|one| one.recipients.len()).collect::<Vec<_>>(), [1, 1]);
    let member = record.recovery_plan.nodes[0].member.as_ref().unwrap();
    assert_eq!((member.name.as_str(), member.certificates[0].purpose.as_str()), ("m0", "ca"));
    node.nothing_in_clear();

    let (code, log) = node.backup(&["--every", "1h"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("nothing to do") && log.contains(&record.name), "{log}");
    assert_eq!(node.stored().await.1, 3);

    // A record whose data has gone is no backup of this tick.
    let data = node.path("store/v1").join(UID).join(&record.objects[0].name);
    std::fs::write(&data, "cut").unwrap();
    let (code, log) = node.backup(&["--every", "1h"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("does not count"), "{log}");
    assert_eq!(node.stored().await.1, 5);

    let (code, log) = node.run("prune", &["--keep-last", "1"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("nothing to delete"), "{log}");
    assert_eq!(node.stored().await.1, 5);

    // Who signs believes what the key has signed: anybody may have put the others there.
    let key = node.path("sign.key").display().to_string();
    let mut keygen = Command::new("ssh-keygen");
    assert!(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &key]).status().unwrap().success());
    for expected in ["does not count: its record is not signed", "nothing to do"] {
        let (code, log) = node.backup(&["--every", "1h", "--sign-key", &key]);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(expected), "{log}");
        assert_eq!(node.stored().await.1, 8);
    }
}

#[tokio::test]
async fn without_room_for_the_check_the_backup_says_so() {
    let node = Node::new();
    let (code, log) = node.run("backup", &["--recipient", RECIPIENT, "--spool", "/nowhere/at/all"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("level digest") && log.contains("/nowhere/at/all"), "{log}");
    let (records, objects) = node.stored().await;
    assert_eq!((records[0].level, records[0].snapshot.checked.is_none(), objects), (Level::Digest, true, 2));
    // Nothing is deleted where the newest backup that counts is none.
    let (code, log) = node.run("prune", &["--keep-last", "1"]);
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("nothing is deleted"), "{log}");
}

/// Passes connections on to a server, and nothing of its answers after so many bytes.
pub(crate) fn stalling(server: &str, bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = server.trim_start_matches("https://").to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let (mut client, mut buffer, mut passed) = (client, [0; 4096], 0);
                let mut upstream = upstream;
                while passed < bytes {
                    let Ok(read @ 1..) = upstream.read(&mut buffer) else { return };
                    passed += read;
                    if client.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
                // The connection stays open until the client has gone.
                let _ = client.read(&mut buffer);
                std::thread::park();
            });
        }
    });
    url
}

#[tokio::test]
async fn a_tick_that_is_told_to_end_leaves_nothing() {
    let node = Node::new();
    node.member.fill(80, 120_000);
    node.manifests(&stalling(&node.member.url, 4 << 20));
    let spool = node.path("spool").display().to_string();
    let mut sidecar = node.start("backup", &["--recipient", RECIPIENT, "--spool", &spool]);
    let mut log = BufReader::new(sidecar.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("10 % of")), "it has begun");
    rustix::process::kill_process(Pid::from_child(&sidecar), Signal::TERM).unwrap();
    let rest: Vec<String> = log.collect();
    assert_eq!(sidecar.wait().unwrap().code(), Some(1), "{rest:?}");
    let told = rest.join("\n");
    assert!(told.contains("ended by SIGTERM") && told.contains("no backup was added to the store"), "{told}");
    assert_eq!(node.stored().await.1, 0);
    node.nothing_in_clear();
}

#[tokio::test]
async fn what_is_not_a_cluster_is_not_backed_up() {
    let node = Node::new();
    node.member.ctl(&["del", "--", "/registry/namespaces/kube-system"]);
    let (code, log) = node.backup(&[]);
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("the UID of namespace kube-system is not known"), "{log}");
    node.member.signal(Signal::KILL);
    let (code, log) = node.backup(&[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("no member can be snapshotted"), "{log}");
    assert_eq!(node.stored().await.1, 0);
}
