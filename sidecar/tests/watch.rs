//! `etcd-sidecar watch` on a folder store that is taken away and given back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use etcd_store::{
    API_VERSION, Class, Cluster, ClusterUid, KIND, Key, Level, Name, Part, Program, Record, RecoveryPlan, Snapshot,
    SourceMember, StoredObject,
};
use jiff::{SignedDuration, Timestamp};

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

/// Puts a backup into a folder store that began ten minutes ago.
fn backup(store: &Path) {
    let cluster: ClusterUid = UID.parse().unwrap();
    let name = Name::new(Timestamp::now() - SignedDuration::from_mins(10), 7, Class::Scheduled);
    let data = Key::new(&cluster, &name, Part::Data { encrypted: false });
    let record = Record {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: name.to_string(),
        class: Class::Scheduled,
        taken_at: name.taken(),
        program: Program { name: "etcd-sidecar".to_owned(), version: "0.1.0".to_owned() },
        level: Level::Written,
        cluster: Cluster {
            uid: UID.to_owned(),
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
        snapshot: Snapshot { size: 9, sha256: "0".repeat(64), checked: None },
        recipients: Vec::new(),
        objects: vec![StoredObject { name: data.file(), size: 4, sha256: "0".repeat(64), recipients: Vec::new() }],
        recovery_plan: RecoveryPlan::default(),
    };
    let put = |key: Key, bytes: &[u8]| {
        let path = store.join(key.to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put(data, b"data");
    put(Key::new(&cluster, &name, Part::Record), &record.to_json().unwrap());
}

struct Watch {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Watch {
    fn start(store: &Path) -> Watch {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"));
        command.args(["watch", "--max-age=1h", "--every=100ms", "--listen=127.0.0.1:0"]);
        command.arg(format!("--store=file://{}", store.display())).env_remove("RUST_LOG");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut watch = Watch { child, log, address: String::new() };
        let line = watch.wait_for("listening on ");
        watch.address = line.rsplit(' ').next().unwrap().trim().to_owned();
        watch
    }

    /// Waits for a line of the log.
    fn wait_for(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "{text:?} was not said: {all}");
            if line.contains(text) {
                return line;
            }
            all.push_str(&line);
        }
    }

    fn request(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks until a metric has a value; each answer is a new one.
    fn until(&self, metric: &str) -> String {
        for _ in 0..100_000 {
            let answer = self.request("GET /metrics");
            if answer.lines().any(|line| line == metric) {
                return answer;
            }
        }
        panic!("{metric} is never served: {}", self.request("GET /metrics"));
    }
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    let series = format!("{name}{{cluster_uid=\"{UID}\",cluster=\"prod-eu\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap())
}

#[test]
fn a_store_that_is_away_makes_no_backup_younger() {
    let folder = tempfile::tempdir().unwrap();
    let (store, away) = (folder.path().join("store"), folder.path().join("away"));
    backup(&store);
    let mut watch = Watch::start(&store);
    let before = watch.until("kubectl_etcd_watch_success 1");
    assert!(before.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{before}");
    assert_eq!(value(&before, "kubectl_etcd_backup_fresh"), Some(1.0), "{before}");
    assert_eq!(value(&before, "kubectl_etcd_backup_check_success"), Some(1.0));
    let age = value(&before, "kubectl_etcd_backup_age_seconds").unwrap();
    assert!((600.0..3600.0).contains(&age), "{age}");

    std::fs::rename(&store, &away).unwrap();
    let said = watch.wait_for("cannot tell how old backups are");
    assert!(said.contains("the folder does not exist"), "{said}");
    let blind = watch.until("kubectl_etcd_watch_success 0");
    assert_eq!(value(&blind, "kubectl_etcd_backup_check_success"), Some(0.0), "{blind}");
    assert_eq!(value(&blind, "kubectl_etcd_backup_fresh"), None);
    let older = value(&blind, "kubectl_etcd_backup_age_seconds").unwrap();
    assert!(older > age, "{older} after {age}");
    assert!(watch.request("GET /healthz").starts_with("HTTP/1.1 200 "));

    std::fs::rename(&away, &store).unwrap();
    watch.wait_for("the store can be asked again");
    let after = watch.until("kubectl_etcd_watch_success 1");
    assert_eq!(value(&after, "kubectl_etcd_backup_fresh"), Some(1.0), "{after}");
    assert!(value(&after, "kubectl_etcd_backup_age_seconds").unwrap() > older);

    assert!(watch.request("GET /").starts_with("HTTP/1.1 404 "));
    assert!(watch.request("POST /metrics").starts_with("HTTP/1.1 405 "));
    let pid = watch.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(watch.child.wait().unwrap().success());
}

#[test]
fn a_store_that_was_never_seen_is_told_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(&folder.path().join("nothing"));
    let blind = watch.until("kubectl_etcd_watch_success 0");
    assert!(!blind.contains(UID) && !blind.contains("\nkubectl_etcd_watch_clusters "), "{blind}");
    // Nothing is made where no store is.
    assert!(!folder.path().join("nothing").exists());
    watch.child.kill().unwrap();
    watch.child.wait().unwrap();
}

#[test]
fn what_cannot_be_watched_is_refused() {
    for (args, said) in [
        (&["--store=s3://a:hunter2@b", "--max-age=1h"][..], "must not contain a user or a password"),
        (&["--store=file:///x", "--max-age=1h", "--trust-key=/nowhere/at/all"], "cannot read the trust keys"),
        (
            &["--store=file:///x/5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d", "--max-age=1h", "--all-clusters"],
            "--all-clusters",
        ),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar")).arg("watch").args(args).output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(1) && stderr.contains(said) && !stderr.contains("hunter2"), "{stderr}");
    }
}
