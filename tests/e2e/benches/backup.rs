//! How fast a backup is, against a bare exec stream of the same bytes, and how much memory plugin and sidecar take.
//!
//! `LAB_BIN=target/release/lab KUBECTL_ETCD_BIN=target/release/kubectl-etcd cargo bench -p e2e --bench backup [-- MEGABYTES]`
//! with release builds of both, as root; `.ci/image` makes the sidecar's image.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/image.rs"]
mod image;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Scene, run};
use lab::Etcd;

const RUNS: usize = 3;

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1100_u64);
    let scene = Scene::new(1, Etcd::V3_5);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let objects = runtime.block_on(scene.lab.fill(megabytes * 1_000_000)).expect("the lab is filled");
    let first = measure(&scene, scene.plugin(&["-q", "backup", "all.db", "--compress", "none"]));
    let size = scene.path("all.db").metadata().expect("a backup").len();
    println!("{objects} objects, a snapshot of {size} bytes; best of {RUNS}");

    let vendor = vendor(&scene);
    let bare = bare(&scene);
    let raw = best(&scene, "none", first);
    let warm = measure(&scene, scene.plugin(&["-q", "backup", "all.db", "--force", "--compress", "zstd"]));
    let zstd = best(&scene, "zstd", warm);
    let rate = |took: Duration| size as f64 / took.as_secs_f64() / 1e6;
    println!("bare exec stream (kubectl exec cat)  {:6.2} s  {:4.0} MB/s", bare.as_secs_f64(), rate(bare));
    println!("etcdctl snapshot save                {:6.2} s  {:4.0} MB/s", vendor.as_secs_f64(), rate(vendor));
    for (name, figures) in [("none", &raw), ("zstd", &zstd)] {
        println!(
            "backup --compress {name}               {:6.2} s  {:4.0} MB/s  to bare {:.2}, to etcdctl {:.2}  plugin {} KiB  sidecar {} KiB  written on the node by it {} bytes",
            figures.took.as_secs_f64(),
            rate(figures.took),
            figures.took.as_secs_f64() / bare.as_secs_f64(),
            figures.took.as_secs_f64() / vendor.as_secs_f64(),
            figures.plugin,
            figures.sidecar,
            figures.written,
        );
    }
    verify(&scene);
}

struct Figures {
    took: Duration,
    /// Most resident memory, KiB.
    plugin: u64,
    sidecar: u64,
    /// Bytes that sidecars caused to be written to storage.
    written: u64,
}

fn best(scene: &Scene, compress: &str, mut best: Figures) -> Figures {
    for _ in 1..RUNS {
        let again = measure(scene, scene.plugin(&["-q", "backup", "all.db", "--force", "--compress", compress]));
        best = Figures {
            took: best.took.min(again.took),
            plugin: best.plugin.max(again.plugin),
            sidecar: best.sidecar.max(again.sidecar),
            written: best.written.max(again.written),
        };
    }
    best
}

/// Runs the plugin and watches it and the sidecars while it runs.
fn measure(_scene: &Scene, mut command: Command) -> Figures {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the plugin starts");
    let (mut plugin, mut sidecars, mut written) = (0, 0, BTreeMap::new());
    while running(&mut child) {
        plugin = plugin.max(peak(child.id()));
        for pid in pids_of("etcd-sidecar") {
            sidecars = sidecars.max(peak(pid));
            let before: &mut u64 = written.entry(pid).or_default();
            *before = (*before).max(number(&format!("/proc/{pid}/io"), "write_bytes:"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    Figures { took, plugin, sidecar: sidecars, written: written.values().sum() }
}

fn running(child: &mut Child) -> bool {
    match child.try_wait().expect("a child of ours") {
        None => true,
        Some(status) => {
            assert!(status.success(), "the backup ends well");
            false
        }
    }
}

fn peak(pid: u32) -> u64 {
    number(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// The number behind a name in one of the kernel's files; 0 when the process has ended.
fn number(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn pids_of(name: &str) -> Vec<u32> {
    let pids =
        std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
        .collect()
}

/// The same snapshot by etcd's own client, which checks no page, straight from the member: what etcd itself takes.
fn vendor(scene: &Scene) -> Duration {
    let file = scene.path("vendor.db");
    let save = || {
        let begun = Instant::now();
        let saved = scene.lab.etcdctl("cp1", &["snapshot", "save", file.to_str().expect("text")]);
        assert!(saved.expect("etcdctl runs").status.success());
        begun.elapsed()
    };
    let best = (0..RUNS).map(|_| save()).min().expect("there are runs");
    std::fs::remove_file(file).expect("a file of ours");
    best
}

/// The same bytes through `kubectl exec`, from a file on the node that is in the page cache, to nowhere.
fn bare(scene: &Scene) -> Duration {
    let folder = scene.lab.node_root("cp1").join("srv");
    std::fs::create_dir_all(&folder).expect("a folder on the node");
    std::fs::copy(scene.path("all.db"), folder.join("all.db")).expect("a copy on the node");
    image::impostor(&scene.lab, "example.test/busybox:1", "");
    scene.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bare, namespace: default}\nspec:\n  nodeName: cp1\n  hostNetwork: true\n  \
         containers:\n  - {name: c, image: 'example.test/busybox:1', imagePullPolicy: Never, command: [/busybox, sleep, '100000'], \
         volumeMounts: [{name: srv, mountPath: /srv, readOnly: true}]}\n  volumes:\n  - {name: srv, hostPath: {path: /srv}}\n",
    );
    e2e::until("the pod runs", || {
        run(scene.kubectl(&["get", "pod", "bare", "-o", "jsonpath={.status.phase}"])).stdout == "Running"
    });
    let stream = || {
        let begun = Instant::now();
        let mut exec = scene.kubectl(&["exec", "bare", "--", "/busybox", "cat", "/srv/all.db"]);
        assert!(exec.stdout(Stdio::null()).status().expect("kubectl runs").success());
        begun.elapsed()
    };
    (0..RUNS).map(|_| stream()).min().expect("there are runs")
}

fn verify(scene: &Scene) {
    let time = |mut command: Command| {
        let begun = Instant::now();
        assert!(command.stdout(Stdio::null()).status().expect("it runs").success());
        begun.elapsed().as_secs_f64()
    };
    let ours = (0..RUNS).map(|_| time(scene.plugin(&["-q", "verify", "all.db"]))).fold(f64::MAX, f64::min);
    let hash = (0..RUNS).map(|_| {
        let mut command = Command::new("sha256sum");
        command.arg(scene.path("all.db"));
        time(command)
    });
    let hash = hash.fold(f64::MAX, f64::min);
    println!("verify {ours:.2} s, sha256sum {hash:.2} s, ratio {:.2}", ours / hash);
}
