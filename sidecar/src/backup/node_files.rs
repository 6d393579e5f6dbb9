//! The files of this node that a new control plane needs, as an archive: what is below its folder `/etc/kubernetes`, and where a unit starts etcd, the
//! files of that unit.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use etcd_store::node_files::{Limits, NodeFile, NodeFilesWriter, NodePath};

use super::node::KUBERNETES;
use crate::node::files::{GatherError, gather};

/// What kubeadm puts aside in an upgrade, whole databases among it: nothing that runs.
const PASSED_OVER: &str = "tmp";

/// Writes the archive, under the paths that files have on the node: those in the folder, and `others`, which have their own. What is left out is told in
/// the log.
///
/// # Errors
/// Something cannot be read or written, or there is too much.
pub(super) fn write<W: Write>(folder: &Path, others: &[PathBuf], output: W) -> Result<W, GatherError> {
    let mut writer = NodeFilesWriter::new(output, Limits::default());
    // A machine of etcd alone has no such folder.
    let is_absent = folder.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let folders = [folder.to_owned()].into_iter().filter(|_| others.is_empty() || !is_absent);
    let paths: Vec<PathBuf> = folders.chain(others.iter().cloned()).collect();
    let gathered = gather(&paths, Limits::default(), |file| {
        let here = Path::new("/").join(file.path.as_str().trim_start_matches('/'));
        let Ok(below) = here.strip_prefix(folder) else { return writer.append(file) };
        if below.starts_with(PASSED_OVER) {
            return Ok(());
        }
        let host = Path::new(KUBERNETES).join(below);
        let path = NodePath::parse(&host.display().to_string()).map_err(io::Error::other)?;
        writer.append(&NodeFile { path, ..file.clone() })
    })?;
    for (path, why) in &gathered.left_out {
        tracing::warn!("{path} is not backed up: it {why}");
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use etcd_store::node_files::{Kind, read_node_files};

    use super::*;

    #[test]
    fn everything_below_the_folder_is_there_under_its_path_on_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("pki/etcd")).unwrap();
        std::fs::create_dir_all(at("tmp/kubeadm-backup-etcd")).unwrap();
        std::fs::write(at("tmp/kubeadm-backup-etcd/db"), "x").unwrap();
        std::fs::write(at("pki/etcd/ca.key"), "key").unwrap();
        std::fs::write(at("kubelet.conf"), "conf").unwrap();
        symlink("kubelet.conf", at("link")).unwrap();
        symlink("/etc/shadow", at("out")).unwrap();
        let archive = write(folder.path(), &[], Vec::new()).unwrap();
        let mut found = Vec::new();
        let visit = |file: NodeFile| {
            found.push((file.path.to_string(), file.kind));
            Ok(())
        };
        read_node_files(archive.as_slice(), Limits::default(), visit).unwrap();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.trim_start_matches('/')).collect();
        assert_eq!(
            names,
            [
                "etc/kubernetes",
                "etc/kubernetes/kubelet.conf",
                "etc/kubernetes/link",
                "etc/kubernetes/pki",
                "etc/kubernetes/pki/etcd",
                "etc/kubernetes/pki/etcd/ca.key"
            ]
        );
        assert_eq!(found[5].1, Kind::File(b"key".to_vec()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        assert!(write(&nowhere, &[], Vec::new()).is_err());
        // A machine of etcd alone has files of its unit.
        let unit = folder.path().join("etcd.service");
        std::fs::write(&unit, "unit").unwrap();
        let archive = write(&nowhere, std::slice::from_ref(&unit), Vec::new()).unwrap();
        let mut found = Vec::new();
        let visit = |file: NodeFile| {
            found.push(file.path.to_string());
            Ok(())
        };
        read_node_files(archive.as_slice(), Limits::default(), visit).unwrap();
        assert_eq!(found, [unit.display().to_string().trim_start_matches('/')]);
    }
}
