//! A real etcd with mutual TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use etcd_wire::message::EtcdAccess;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::pki::Pki;

pub(crate) struct Member {
    pub(crate) folder: TempDir,
    pub(crate) pki: Pki,
    pub(crate) url: String,
    pub(crate) peer: String,
    process: Child,
}

/// The servers to test with: Debian's, which must be there, and a newer one where the lab has it.
pub(crate) fn servers() -> Vec<PathBuf> {
    let required = PathBuf::from("/usr/bin/etcd");
    assert!(required.exists(), "these tests need etcd: apt-get install etcd-server etcd-client");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let newer =
        std::env::var_os("LAB_ETCD_3_5").map_or_else(|| workspace.join("target/tools/etcd-3.5.1/etcd"), PathBuf::from);
    [Some(required), Some(newer).filter(|path| path.exists())].into_iter().flatten().collect()
}

impl Member {
    pub(crate) fn start() -> Member {
        Member::with(&servers()[0], &[])
    }

    pub(crate) fn with(server: &Path, flags: &[&str]) -> Member {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(&folder.path().join("pki"));
        Member::joining(server, flags, folder, pki, |peer| vec![format!("--initial-cluster=m0={peer}")])
    }

    /// One that serves with a certificate of another making, and takes clients of its usual authority or of `clients`.
    pub(crate) fn serving(server: &Path, certificate: &str, key: &str, clients: &str) -> Member {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(&folder.path().join("pki"));
        std::fs::write(pki.path("server.crt"), certificate).unwrap();
        std::fs::write(pki.path("server.key"), key).unwrap();
        let authorities = std::fs::read_to_string(pki.path("ca.crt")).unwrap() + clients;
        std::fs::write(pki.path("ca.crt"), authorities).unwrap();
        Member::joining(server, &[], folder, pki, |peer| vec![format!("--initial-cluster=m0={peer}")])
    }

    /// `cluster` gives the flags that depend on the member's own peer URL.
    pub(crate) fn joining(
        server: &Path,
        flags: &[&str],
        folder: TempDir,
        pki: Pki,
        cluster: impl Fn(&str) -> Vec<String>,
    ) -> Member {
        // Another process may take a port between our look and etcd's: then etcd ends, and the next try has others.
        for _ in 0..5 {
            let (url, peer) = (format!("https://{}", free_address()), format!("http://{}", free_address()));
            let mut process = Command::new(server)
                .args(["--name=m0", "--logger=zap", "--log-outputs=stderr", "--client-cert-auth"])
                .arg("--data-dir")
                .arg(folder.path().join("data"))
                .arg(format!("--cert-file={}", pki.path("server.crt")))
                .arg(format!("--key-file={}", pki.path("server.key")))
                .arg(format!("--trusted-ca-file={}", pki.path("ca.crt")))
                .arg(format!("--listen-client-urls={url}"))
                .arg(format!("--advertise-client-urls={url}"))
                .arg(format!("--listen-peer-urls={peer}"))
                .arg(format!("--initial-advertise-peer-urls={peer}"))
                .args(cluster(&peer))
                .args(flags)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
            if log.by_ref().any(|line| line.contains("serving client traffic")) {
                std::thread::spawn(move || log.count());
                return Member { folder, pki, url, peer, process };
            }
            process.wait().unwrap();
            let _ = std::fs::remove_dir_all(folder.path().join("data"));
        }
        panic!("{} does not start", server.display());
    }

    /// As the member's own client.
    pub(crate) fn access(&self) -> EtcdAccess {
        EtcdAccess {
            endpoints: vec![self.url.clone()],
            ca: Some(self.pki.path("ca.crt")),
            credentials: vec![self.pki.client()],
        }
    }

    /// Three members of one cluster with one authority, whose leader is the last.
    pub(crate) fn three() -> [Member; 3] {
        // Members are added one after the other, without a look at how long the others have been connected.
        let first = Member::with(&servers()[0], &["--strict-reconfig-check=false"]);
        let second = first.voter("m1", &format!("m0={}", first.peer));
        let third = first.voter("m2", &format!("m0={},m1={}", first.peer, second.peer));
        let list = first.ctl(&["member", "list"]);
        let last = list.lines().find(|line| line.contains(", m2, ")).and_then(|line| line.split(',').next()).unwrap();
        first.ctl(&["move-leader", last]);
        [first, second, third]
    }

    /// Starts a member of this one's cluster that votes, with the same authority.
    fn voter(&self, name: &str, others: &str) -> Member {
        let (folder, pki) = (tempfile::tempdir().unwrap(), self.pki.clone());
        Member::joining(&servers()[0], &["--initial-cluster-state=existing"], folder, pki, |peer| {
            self.ctl(&["member", "add", name, &format!("--peer-urls={peer}")]);
            vec![format!("--name={name}"), format!("--initial-cluster={others},{name}={peer}")]
        })
    }

    /// Starts a learner of this member's cluster.
    pub(crate) fn learner(&self) -> Member {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(&folder.path().join("pki"));
        Member::joining(&servers()[0], &["--initial-cluster-state=existing"], folder, pki, |peer| {
            self.ctl(&["member", "add", "learner", "--learner", &format!("--peer-urls={peer}")]);
            vec!["--name=learner".to_owned(), format!("--initial-cluster=m0={},learner={peer}", self.peer)]
        })
    }

    /// Runs etcdctl and gives its output; it must succeed.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let client = self.pki.client();
        let output = etcdctl(&self.pki, &self.url, &client.cert, &client.key, arguments);
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts keys with a short value, a hundred in each revision.
    pub(crate) fn put_all(&self, keys: &[String]) {
        let client = self.pki.client();
        for some in keys.chunks(100) {
            let mut command = command(&self.pki, &self.url, &client.cert, &client.key);
            command.args(["txn", "--write-out=json"]).stdin(Stdio::piped()).stdout(Stdio::null());
            let mut process = command.spawn().unwrap();
            let puts: String = some.iter().map(|key| format!("put {key} v\n")).collect();
            // Nothing is compared, and nothing done otherwise.
            write!(process.stdin.take().unwrap(), "\n{puts}\n\n").unwrap();
            assert!(process.wait().unwrap().success());
        }
    }

    /// Puts `count` values of `length` bytes that do not compress.
    pub(crate) fn fill(&self, count: usize, length: usize) {
        for number in 0..count {
            let mut state = number as u64 + 1;
            let value: String = (0..length)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    char::from(b'!' + (state % 90) as u8)
                })
                .collect();
            self.ctl(&["put", "--", &format!("/registry/things/{number}"), &value]);
        }
    }

    /// Ends it at once, without letting it write anything.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn etcdctl(pki: &Pki, url: &str, cert: &str, key: &str, arguments: &[&str]) -> std::process::Output {
    command(pki, url, cert, key).args(arguments).output().unwrap()
}

fn command(pki: &Pki, url: &str, cert: &str, key: &str) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", url, "--cacert", &pki.path("ca.crt"), "--cert", cert]);
    command.args(["--key", key]);
    command
}

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
