//! Which etcd program applies the log: the one of the version that has written it. A control-plane node has it, unpacked by its container runtime, so
//! nothing is pulled from a registry.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcd_wire::{Failure, FailureCode};

use super::copy::cannot;

/// Folders with one folder a layer of an image, and where the files of a layer are in it: those of containerd, CRI-O and Docker.
const LAYERS: [(&str, &str); 3] = [
    ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots", "fs"),
    ("/var/lib/containers/storage/overlay", "diff"),
    ("/var/lib/docker/overlay2", "diff"),
];
/// Where an image of etcd, or a node, has the program.
const PROGRAMS: [&str; 3] = ["usr/local/bin/etcd", "usr/bin/etcd", "opt/bin/etcd"];

/// A version: major, minor, patch.
pub(super) type Version = (u32, u32, u32);

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) version: Version,
}

/// All etcd programs of a node, whose files are below `root`, with their versions.
///
/// # Errors
/// A folder of a container runtime is there and cannot be read.
pub(super) fn find(root: &Path) -> Result<Vec<Found>, Failure> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let mut folders = vec![root.to_owned()];
    for (layers, files) in LAYERS {
        let layers = below(layers);
        let entries = match std::fs::read_dir(&layers) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot("read", &layers, &error)),
        };
        for entry in entries {
            folders.push(entry.map_err(|error| cannot("read", &layers, &error))?.path().join(files));
        }
    }
    folders.sort();
    let paths = folders.iter().flat_map(|folder| PROGRAMS.map(|program| folder.join(program)));
    Ok(paths.filter(|path| is_roots(path)).filter_map(|path| Some(Found { version: version(&path)?, path })).collect())
}

/// Whether it is a file of root that only root can change: this runs it as root.
fn is_roots(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

/// What it says of itself.
fn version(path: &Path) -> Option<Version> {
    let output = Command::new(path)
        .arg("--version")
        .env_clear()
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
        .stdin(Stdio::null())
        .output();
    parse(String::from_utf8_lossy(&output.ok()?.stdout).lines().find_map(|line| line.strip_prefix("etcd Version: "))?)
}

/// `3.5.16`, or with something behind a dash or a plus.
pub(super) fn parse(text: &str) -> Option<Version> {
    let plain = text.trim().split(['-', '+']).next()?;
    let mut numbers = plain.split('.').map(|number| number.parse().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

/// Of what was found, the newest program of the cluster's minor version.
///
/// # Errors
/// None is, or nobody knows the cluster's version.
pub(super) fn choose(found: &[Found], cluster: Option<&str>) -> Result<Found, Failure> {
    let named = "name the program of the etcd version that ran on this node\n  --etcd PATH";
    let Some(cluster) = cluster else {
        return Err(Failure::new(FailureCode::Refused, "the database does not say which etcd version has written it")
            .hint(named));
    };
    let wanted = parse(cluster).map(|(major, minor, _)| (major, minor));
    let fits = |found: &&Found| wanted == Some((found.version.0, found.version.1));
    if let Some(best) = found.iter().filter(fits).max_by_key(|found| found.version) {
        return Ok(best.clone());
    }
    let failure = Failure::new(
        FailureCode::Refused,
        format!("no etcd program of cluster version {cluster} was found on this node"),
    );
    let failure = found.iter().fold(failure, |failure, Found { path, version: (major, minor, patch) }| {
        failure.cause(format!("{} is version {major}.{minor}.{patch}", path.display()))
    });
    Err(failure.hint(named))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn found(path: &str, version: Version) -> Found {
        Found { path: path.into(), version }
    }

    #[test]
    fn the_newest_program_of_the_clusters_minor_version_is_chosen() {
        let all = [found("/a", (3, 5, 9)), found("/b", (3, 5, 16)), found("/c", (3, 6, 1)), found("/d", (4, 5, 99))];
        assert_eq!(choose(&all, Some("3.5.0")).unwrap().path, Path::new("/b"));
        assert_eq!(choose(&all, Some("3.6.0")).unwrap().path, Path::new("/c"));
        let none = choose(&all, Some("3.4.0")).unwrap_err();
        assert_eq!((none.code, none.causes.len()), (FailureCode::Refused, 4));
        assert!(none.causes[1].contains("/b is version 3.5.16"), "{none:?}");
        assert!(none.hint.unwrap().contains("--etcd"));
        for unknown in [None, Some(""), Some("3.5"), Some("x.y.z")] {
            assert_eq!(choose(&all, unknown).unwrap_err().code, FailureCode::Refused, "{unknown:?}");
        }
    }

    #[test]
    fn versions_are_read_as_etcd_prints_them() {
        assert_eq!(parse("3.5.16"), Some((3, 5, 16)));
        assert_eq!(parse("3.6.0-rc.1"), Some((3, 6, 0)));
        assert_eq!(parse("3.4.23+dfsg"), Some((3, 4, 23)));
        for wrong in ["", "3.5", "3.5.16.1", "a.b.c", "3..1", "-"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn programs_are_found_where_container_runtimes_unpack_them_and_only_those_of_root() {
        let root = tempfile::tempdir().unwrap();
        let program = |path: &str, version: &str, mode: u32| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("#!/bin/sh\necho 'etcd Version: {version}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let containerd = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        program(&format!("{containerd}/12/fs/usr/local/bin/etcd"), "3.5.16", 0o755);
        program(&format!("{containerd}/13/fs/usr/local/bin/etcd"), "3.6.4", 0o777);
        program(&format!("{containerd}/14/fs/usr/local/bin/etcdctl"), "3.6.4", 0o755);
        program("var/lib/containers/storage/overlay/abc/diff/usr/local/bin/etcd", "3.6.1", 0o755);
        program("usr/bin/etcd", "3.4.23", 0o755);
        let versions: Vec<Version> = find(root.path()).unwrap().into_iter().map(|found| found.version).collect();
        let mut sorted = versions.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [(3, 4, 23), (3, 5, 16), (3, 6, 1)], "{versions:?}");
        assert_eq!(find(&root.path().join("nowhere")).unwrap(), []);
    }
}
