//! Files of the node that a snapshot is taken from: checked, and encrypted before they go anywhere.

use std::io::{self, Write};

use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesError, read_node_files};
use etcd_store::{Encryption, ManifestDigest, RecoveryPlan, Sealer, sha256_of};
use etcd_wire::Compression;
use etcd_wire::message::{NodeFilesDone, NodeFilesRequest};

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::EtcdPod;
use crate::output::{Exit, Failed, Outcome, Printer, ResultExt};
use crate::road::Road;
use crate::sidecar::{KUBERNETES, Operation, Sink, converse};

/// Where kubeadm has the manifests of a control plane.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// The files, encrypted, and what may be told of them.
#[derive(Debug)]
pub(super) struct NodeFiles {
    /// The archive, compressed and encrypted.
    pub(super) sealed: Vec<u8>,
    node: String,
    manifests: Vec<ManifestDigest>,
}

impl NodeFiles {
    /// Adds to a plan what the files tell of their node.
    pub(super) fn complete(&self, plan: &mut RecoveryPlan) {
        let node = plan.nodes.iter_mut().find(|node| node.name == self.node);
        if let Some(node) = node.filter(|_| !self.manifests.is_empty()) {
            node.manifests_folder = Some(MANIFESTS.to_owned());
            node.manifests.clone_from(&self.manifests);
        }
    }
}

/// Reads the files of a member's node with a sidecar of its own, which sees nothing else.
///
/// # Errors
/// They cannot be read, or what came is no archive of them.
pub(super) async fn gather(
    member: &EtcdPod,
    road: &Road,
    encryption: &Encryption,
    plane: &ControlPlane,
    context: &Context,
) -> Outcome<NodeFiles> {
    if !encryption.is_on() {
        return Err(Failed::new(Exit::Usage, "files of a node are stored encrypted only: they hold private keys"));
    }
    let mut members = [member.clone()];
    plane.add_encryption_configs(context, &mut members).await?;
    let [member] = members;
    let (sidecar, mut session) = converse(road, &member, Operation::NodeFiles, "nodeFiles").await?;
    let paths = std::iter::once(KUBERNETES.to_owned()).chain(member.encryption_config.clone()).collect();
    // A pod sees no more than the folder.
    let etcd_unit = plane.api().is_none() && member.unit().is_some();
    let request = NodeFilesRequest { paths, etcd_unit, compression: Compression::Zstd };
    let (Archive(archive), done) = session.node_files(request, Archive(Vec::new())).await?;
    match sidecar.is_only_one_of_its_node() {
        // The snapshot comes over it as well.
        true => road.rest(&sidecar, session),
        false => {
            drop(session);
            road.release(&sidecar).await;
        }
    }
    tell(&done, &member.node, context.printer);
    let manifests = check(&archive).or_fail(|| format!("cannot use the files of node {}", member.node))?;
    let sealed = seal(&archive, encryption).or_fail(|| format!("cannot encrypt the files of node {}", member.node))?;
    Ok(NodeFiles { sealed, node: member.node, manifests })
}

/// Says what is not among the files.
fn tell(done: &NodeFilesDone, node: &str, printer: Printer) {
    let told: Vec<String> = done.left_out.iter().map(|one| format!("{} {}", one.path, one.why)).collect();
    let more = done.left_out_count.saturating_sub(told.len() as u64);
    if !told.is_empty() || more > 0 {
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        printer.warn(format!("not among the files of node {node}: {}{more}", told.join(", ")));
    }
    printer.note(format!("read {} files of node {node}", done.files));
}

/// Reads the archive as whoever restores it does. Gives the digests of the manifests in it.
fn check(archive: &[u8]) -> Result<Vec<ManifestDigest>, NodeFilesError> {
    let mut manifests = Vec::new();
    read_node_files(archive, Limits::default(), |file| {
        manifests.extend(manifest(&file)?);
        Ok(())
    })?;
    Ok(manifests)
}

fn manifest(file: &NodeFile) -> io::Result<Option<ManifestDigest>> {
    let name = file.path.as_str().strip_prefix(MANIFESTS.trim_start_matches('/'));
    let name = name.and_then(|rest| rest.strip_prefix('/')).filter(|name| !name.contains('/'));
    match (name, &file.kind) {
        (Some(name), Kind::File(content)) => {
            Ok(Some(ManifestDigest { file: name.to_owned(), sha256: sha256_of(&mut content.as_slice())? }))
        }
        _ => Ok(None),
    }
}

fn seal(archive: &[u8], encryption: &Encryption) -> io::Result<Vec<u8>> {
    let mut sealer = Sealer::new(Vec::new(), encryption)?;
    sealer.write_all(archive)?;
    sealer.finish()
}

/// The archive in memory: it is in clear, and must be nowhere else.
struct Archive(Vec<u8>);

impl Sink for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _total: u64) {}
}

#[cfg(test)]
mod tests {
    use etcd_store::Node;
    use etcd_store::node_files::{NodeFilesWriter, NodePath};

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = NodeFilesWriter::new(Vec::new(), Limits::default());
        for (path, content) in files {
            let (path, kind) = (NodePath::parse(path).unwrap(), Kind::File(content.as_bytes().to_vec()));
            writer.append(&NodeFile { path, mode: 0o600, owner: 0, group: 0, modified: 0, kind }).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn the_manifests_of_the_node_are_recorded_by_their_digests() {
        let bytes = archive(&[
            ("/etc/kubernetes/manifests/etcd.yaml", "hello"),
            ("/etc/kubernetes/manifests/old/etcd.yaml", "older"),
            ("/etc/kubernetes/manifests-old/etcd.yaml", "other"),
            ("/etc/kubernetes/pki/ca.key", "key"),
        ]);
        let manifests = check(&bytes).unwrap();
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned();
        assert_eq!(manifests, [ManifestDigest { file: "etcd.yaml".to_owned(), sha256 }]);
        let node = |name: &str| Node { name: name.to_owned(), ..Node::default() };
        let mut plan = RecoveryPlan { nodes: vec![node("cp1"), node("cp2")], api: None };
        let files = NodeFiles { sealed: Vec::new(), node: "cp2".to_owned(), manifests: manifests.clone() };
        files.complete(&mut plan);
        assert_eq!((&plan.nodes[0].manifests_folder, plan.nodes[0].manifests.len()), (&None, 0));
        assert_eq!(plan.nodes[1].manifests_folder.as_deref(), Some(MANIFESTS));
        assert_eq!(plan.nodes[1].manifests, manifests);
    }

    #[test]
    fn what_is_no_archive_is_not_stored() {
        let bytes = archive(&[("/etc/kubernetes/pki/ca.key", "key")]);
        assert!(check(&bytes[..700]).is_err());
        assert!(check(b"no archive").is_err());
        assert!(check(&[bytes.as_slice(), b"more"].concat()).is_err());
    }
}
