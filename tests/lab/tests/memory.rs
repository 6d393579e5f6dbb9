//! How much of a large database an API server holds. Needs root, crun, kubectl and Debian's etcd.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Lab, Options};

/// Bytes of objects. As values in memory they are twenty times that.
const FILLED: u64 = 25_000_000;
/// The most memory that an API server may have, in kilobytes: its program and some pieces, however much is stored.
const MOST: u64 = 120_000;

/// Waits for what another process will bring about; the time is only how long a failure takes.
fn wait(what: &str, check: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kubectl(lab: &Lab, args: &[&str]) -> Command {
    let mut kubectl = Command::new("kubectl");
    kubectl.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.kubeconfig().parent().expect("a folder"));
    kubectl.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    kubectl
}

/// The API server of cp1, by its process ID on this machine.
fn api_server(lab: &Lab) -> Option<u32> {
    let network = |pid: u32| std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|meta| meta.ino()).ok();
    let ours = network(lab.init("cp1").expect("the node runs"));
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"kube-apiserver\0"))
    };
    pids.find(|pid| is(*pid) && network(*pid) == ours)
}

/// The most memory that a process has had, in kilobytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The pods in a list, by what each has once. The text is not kept.
fn count(mut list: ChildStdout) -> usize {
    const ONCE: &[u8] = b"\"nodeName\":\"worker-";
    let (mut count, mut text, mut piece) = (0, Vec::new(), vec![0; 1 << 16]);
    loop {
        let read = list.read(&mut piece).expect("kubectl writes");
        if read == 0 {
            return count;
        }
        text.extend_from_slice(&piece[..read]);
        count += memchr::memmem::find_iter(&text, ONCE).count();
        text.drain(..text.len().saturating_sub(ONCE.len() - 1));
    }
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_holds_little_of_what_is_stored() {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
    let lab = Lab::start(Options { program, ..Options::default() }).expect("a lab starts");
    let objects = lab.fill(FILLED).await.expect("it is filled");
    let pods = usize::try_from(objects - objects.div_ceil(8)).expect("a number");
    let first = api_server(&lab).expect("an API server runs");
    // One that starts when all of it is there: its kubelet asks for the node's pods.
    lab.kill_container("cp1", "kube-apiserver").expect("it is killed");
    wait("another", || api_server(&lab).is_some_and(|pid| pid != first));
    let ready = || kubectl(&lab, &["get", "--raw", "/readyz"]).status().expect("kubectl runs").success();
    wait("its readiness", ready);
    let pid = api_server(&lab).expect("an API server runs");

    // A list without pages.
    let mut list =
        Ends(kubectl(&lab, &["get", "--raw", "/api/v1/namespaces/filled/pods"]).spawn().expect("kubectl runs"));
    assert_eq!(count(list.0.stdout.take().expect("a pipe")), pods);
    assert!(list.0.wait().expect("kubectl ends").success());

    // A watch from the beginning, whose client reads nothing until every object has changed.
    let path = "/api/v1/namespaces/filled/pods?watch=1&resourceVersion=0";
    let mut watch = Ends(kubectl(&lab, &["get", "--raw", path]).spawn().expect("kubectl runs"));
    let mut events = BufReader::new(watch.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    events.read_line(&mut line).expect("kubectl writes");
    lab.fill(FILLED).await.expect("it is filled again");
    let mut kinds = [0, 0];
    loop {
        kinds[0] += usize::from(line.contains(r#""type":"ADDED""#));
        kinds[1] += usize::from(line.contains(r#""type":"MODIFIED""#));
        if kinds[1] >= pods {
            break;
        }
        line.clear();
        assert!(events.read_line(&mut line).expect("kubectl writes") > 0, "the watch ended after {kinds:?}");
    }
    assert_eq!(kinds, [pods, pods]);

    assert_eq!(api_server(&lab), Some(pid), "it is the same");
    let peak = peak(pid);
    assert!(peak < MOST, "the API server has held {peak} kB of {FILLED} bytes of objects");
    lab.stop().expect("the lab goes away");
}
