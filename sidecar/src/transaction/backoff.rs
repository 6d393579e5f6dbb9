//! The kubelet lets a container that ends again and again wait before it starts it anew, up to five minutes (CrashLoopBackOff): as etcd and the API server do
//! where the quorum is lost. A pod whose manifest is put back with the same bytes is the same pod, and goes on waiting for as long as the kubelet has
//! containers of it that have ended. It removes those of pods that are gone once a minute, and then their logs (pkg/kubelet/kuberuntime/kuberuntime_gc.go
//! `GarbageCollect`, kuberuntime_manager.go `doBackOff` @ v1.36): when the folder of the logs is gone, the pod starts at once.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::ground::Component;

/// Where the kubelet keeps the logs of pods, as the first process of the node sees it.
const LOGS: &str = "/proc/1/root/var/log/pods";
/// The kubelet waits 10 seconds before a second restart, and each time twice as long. What it waits before this restart is not worth a detour.
const FEW: u32 = 3;
/// It forgets how often a container was restarted that runs for longer.
const FORGIVEN: Duration = Duration::from_secs(600);
/// It never waits longer.
const LONGEST: Duration = Duration::from_secs(300);
/// Most bytes of a first line of a log that are read for its time.
const STAMP: u64 = 64;

/// How long the kubelet may take to forget a pod that is gone: it looks once a minute.
pub(super) const FORGETS: Duration = Duration::from_secs(75);
/// How often it is looked whether it has.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until the kubelet would start a component at once if its manifest were put back, or for as long as the limit says. Tells how long that took.
pub(super) async fn until_forgotten(component: &Component, node: &str, limit: Duration) -> Duration {
    let begun = Instant::now();
    let forgotten = async {
        loop {
            let (component, node) = (component.clone(), node.to_owned());
            // A disk may hang.
            let look = tokio::task::spawn_blocking(move || {
                let pod = Pod::of(&component, &node);
                pod.is_some_and(|pod| would_wait(Path::new(LOGS), pod, SystemTime::now()))
            });
            if !look.await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    // That it is late is no failure: the kubelet starts the component all the same, only later.
    let _late = tokio::time::timeout(limit, forgotten).await;
    begun.elapsed()
}

/// The name of a static pod in the API, as the kubelet makes it.
#[derive(Debug, Clone, Copy)]
struct Pod<'a> {
    /// The manifest's namespace and name: `kube-system/etcd`.
    manifest: &'a str,
    /// The node's name in the API.
    node: &'a str,
}

impl<'a> Pod<'a> {
    /// Of a component; `None` if its journal was begun by a version that did not note it.
    fn of(component: &'a Component, node: &'a str) -> Option<Pod<'a>> {
        Some(Pod { manifest: component.pod.as_deref()?, node })
    }

    /// What the names of its folders of logs begin with, before the UID (pkg/kubelet/kuberuntime/helpers.go `BuildPodLogsDirectory`).
    fn prefix(self) -> String {
        format!("{}-{}_", self.manifest.replace('/', "_"), self.node.to_lowercase())
    }
}

/// Whether the kubelet would let a container of the pod wait for long, if its manifest were put back now. False where nobody can tell: it is only time that
/// is saved.
fn would_wait(logs: &Path, pod: Pod<'_>, now: SystemTime) -> bool {
    let prefix = pod.prefix();
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix));
    let containers = entries(logs).into_iter().filter(named).flat_map(|folder| entries(&folder));
    containers.into_iter().any(|container| waits(&container, now).unwrap_or(false))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// By the logs of a container: `4.log` is that of its fourth restart; a name that goes on after that is one that was full.
fn waits(container: &Path, now: SystemTime) -> Option<bool> {
    let number = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.split_once(".log")?.0.parse().ok() };
    let logs = entries(container);
    let last = logs.iter().filter_map(number).max()?;
    let of_last: Vec<&PathBuf> = logs.iter().filter(|path| number(path) == Some(last)).collect();
    // One that has filled a log has run for long.
    let [log] = of_last[..] else { return Some(false) };
    let ended = std::fs::metadata(log).ok()?.modified().ok()?;
    let since = |moment: SystemTime| now.duration_since(moment).unwrap_or_default();
    let began = first_line(log).unwrap_or(ended);
    Some(last > FEW && since(began) < FORGIVEN && since(ended) < LONGEST)
}

/// When a container wrote its first line: a runtime puts the time before each (CRI, `docs/devel/kubelet-cri-logging.md`).
fn first_line(log: &Path) -> Option<SystemTime> {
    let mut line = Vec::new();
    BufReader::new(std::fs::File::open(log).ok()?.take(STAMP)).read_until(b' ', &mut line).ok()?;
    let stamp: jiff::Timestamp = std::str::from_utf8(&line).ok()?.trim_end().parse().ok()?;
    Some(stamp.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Pod<'_> = Pod { manifest: "kube-system/kube-apiserver", node: "CP1" };
    const FOLDER: &str = "kube-system_kube-apiserver-cp1_8fffe7a9114c079b4444b8eb37cc6ea7/kube-apiserver";

    /// Logs of one container, each with the age of its first line, in seconds; all were written to just now.
    fn would_wait_with(folder: &str, logs: &[(&str, u64)]) -> bool {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join(folder);
        std::fs::create_dir_all(&container).unwrap();
        let now = SystemTime::now();
        for (name, age) in logs {
            let at = jiff::Timestamp::try_from(now - Duration::from_secs(*age)).unwrap();
            std::fs::write(container.join(name), format!("{at} stderr F it ends\n")).unwrap();
        }
        would_wait(root.path(), POD, now)
    }

    #[test]
    fn a_container_that_ends_again_and_again_would_wait() {
        assert!(would_wait_with(FOLDER, &[("4.log", 20)]));
        assert!(would_wait_with(FOLDER, &[("11.log", 590), ("10.log", 900)]));
    }

    #[test]
    fn one_that_was_restarted_seldom_or_long_ago_would_not() {
        for logs in [&[("0.log", 5)][..], &[("3.log", 5), ("2.log", 30)], &[("4.log", 700)], &[]] {
            assert!(!would_wait_with(FOLDER, logs), "{logs:?}");
        }
        assert!(!would_wait_with(FOLDER, &[("9.log", 5), ("9.log.20261128-133333", 9000)]));
    }

    #[test]
    fn what_the_kubelet_has_forgotten_and_other_pods_do_not_count() {
        let other = "kube-system_kube-apiserver-cp10_8fffe7a9114c079b4444b8eb37cc6ea7/kube-apiserver";
        assert!(!would_wait_with(other, &[("7.log", 5)]));
        assert!(!would_wait(Path::new("/nonexistent"), POD, SystemTime::now()));
    }

    #[test]
    fn what_ended_before_the_longest_wait_would_not() {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join(FOLDER);
        std::fs::create_dir_all(&container).unwrap();
        std::fs::write(container.join("6.log"), "no time\n").unwrap();
        assert!(would_wait(root.path(), POD, SystemTime::now()));
        assert!(!would_wait(root.path(), POD, SystemTime::now() + LONGEST));
    }
}
