//! A lab starts, keeps its static pods, runs pods, and leaves nothing. Needs root, crun and Debian's etcd.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Lab, Options};

fn start() -> Result<Lab> {
    Lab::start(Options { program: Some(PathBuf::from(env!("CARGO_BIN_EXE_lab"))), ..Options::default() })
}

/// Waits for what another process will bring about; the time is only how long a failure takes.
fn wait(what: &str, check: impl Fn() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    while !check()? {
        ensure!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn healthy(lab: &Lab) -> Result<bool> {
    Ok(lab.etcdctl("cp1", &["endpoint", "health"])?.status.success())
}

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let lab = start()?;
    assert!(healthy(&lab)?);
    let (namespaces, init, root) = (lab.namespaces(), lab.init("cp1")?, lab.node_root("cp1"));
    assert!(root.join("etc/kubernetes/manifests/etcd.yaml").exists());
    let record = Path::new("/run/lab").join(format!("{}.json", lab.name()));
    assert!(record.exists());
    lab.stop()?;
    assert!(!record.exists());
    assert!(!root.exists());
    // Ended, though the machine's first process may not have buried it yet.
    let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_else(|_| ") Z".into());
    assert!(stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')), "{stat}");
    for namespace in namespaces {
        assert!(!Path::new("/run/netns").join(namespace).exists());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&*root.to_string_lossy()));
    Ok(())
}

#[test]
fn a_static_pod_goes_and_comes_with_its_manifest() -> Result<()> {
    let lab = start()?;
    let manifests = lab.node_root("cp1").join("etc/kubernetes/manifests");
    let (place, aside) = (manifests.join("etcd.yaml"), manifests.join("../etcd.yaml"));
    std::fs::rename(&place, &aside)?;
    wait("the end of etcd", || Ok(!healthy(&lab)?))?;
    std::fs::rename(&aside, &place)?;
    wait("etcd's return", || healthy(&lab))?;
    lab.kill_container("cp1", "etcd-cp1")?;
    wait("the restart of a killed etcd", || healthy(&lab))?;
    lab.stop()
}
