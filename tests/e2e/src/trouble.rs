//! What the tests of bad luck share: a database of some size, processes of a node, and roads that break.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::Lab;
use serde_json::json;

use crate::{Running, Scene, etcd_3_5, run, until};

/// What every failed backup says.
pub const UNCHANGED: &str = "no file was written; nothing was changed on any node";

/// `etcdctl` of etcd 3.5 at one node's member, with its health check pair.
pub fn etcdctl(lab: &Lab, node: &str, args: &[&str]) -> Command {
    let pki = lab.node_root(node).join("etc/kubernetes/pki/etcd");
    let mut command = Command::new(etcd_3_5().join("etcdctl"));
    command
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", format!("https://{}:2379", lab.node_ip(node)))
        .env("ETCDCTL_CACERT", pki.join("ca.crt"))
        .env("ETCDCTL_CERT", pki.join("healthcheck-client.crt"))
        .env("ETCDCTL_KEY", pki.join("healthcheck-client.key"))
        .args(args);
    command
}

/// Puts that many megabytes that do not compress into etcd, a key each.
pub fn fill(lab: &Lab, megabytes: usize) {
    let mut random = std::fs::File::open("/dev/urandom").expect("random bytes");
    for number in 0..megabytes {
        let mut value = vec![0; 1_000_000];
        std::io::Read::read_exact(&mut random, &mut value).expect("random bytes");
        let mut put = etcdctl(lab, "cp1", &["put", &format!("/fill/{number}")]);
        let mut child = put.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("etcdctl runs");
        child.stdin.take().expect("a pipe").write_all(&value).expect("etcdctl reads");
        assert!(child.wait().expect("a child of ours").success());
    }
}

/// Lets every exec stream break after so many bytes: `clean`, `reset` or `stall`.
pub fn cut(scene: &Scene, after: u64, mode: &str) {
    scene.lab.set_faults(&json!({"exec": {"cutAfter": after, "mode": mode}})).expect("faults are set");
}

/// Ends all faults.
pub fn mend(scene: &Scene) {
    scene.lab.set_faults(&json!({})).expect("faults are set");
}

/// The processes of a node whose command line begins with these words, by their ids on this machine.
pub fn processes(lab: &Lab, node: &str, words: &[&str]) -> Vec<u32> {
    let network = |pid: u32| std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|meta| meta.ino()).ok();
    let ours = network(lab.init(node).expect("the node runs"));
    let start: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let begins = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(&start));
    pids.filter(begins).filter(|pid| network(*pid) == ours).collect()
}

/// Sends a signal, by name.
pub fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", name, &pid.to_string()]);
    run(kill).expect_code(0);
}

/// Starts a backup to `file` that comes to stand in the middle of its transfer, where `after` bytes have come.
pub fn stalled(scene: &Scene, after: u64, file: &str) -> (Running, PathBuf) {
    cut(scene, after, "stall");
    let running = Running::start(scene.plugin(&["backup", file, "--compress", "none"]));
    let part = scene.path(&format!("{file}.part"));
    until("the first bytes are in the file", || size(&part) > 0);
    (running, part)
}

/// The size of a file; that of one that is not there is 0.
pub fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}
