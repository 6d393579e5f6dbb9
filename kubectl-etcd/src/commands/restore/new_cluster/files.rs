//! The files of a node of the lost cluster, out of the backup: in the store, or beside a snapshot that was copied out of one.

use std::fs::File;
use std::path::PathBuf;

use etcd_store::layout::Part;
use etcd_store::node_files::{Kind, Limits, NodeFile, read_node_files};
use etcd_store::{Identities, open_sealed};

use super::side::{Known, PublicFiles};
use crate::context::Context;
use crate::output::Outcome;
use crate::snapshot_file::{AccessArgs, SnapshotFile, not_read, watch};

/// What the name of a copied archive has behind that of its backup.
const ARCHIVE: &str = ".node.tar.zst.age";

/// Reads the files that are compared, and keeps no other.
///
/// # Errors
/// The identities cannot be read, or the user has interrupted. What else keeps the files from being read is only told.
pub(crate) async fn files(file: &SnapshotFile, access: &AccessArgs, context: &Context) -> Outcome<Known<PublicFiles>> {
    let identities = access.read(context).await?.identities.as_ref();
    match file.stored() {
        Some(stored) => {
            let found = &stored.found;
            let Some(object) = found.recorded(&found.backup.key(Part::NodeFiles)) else {
                return Ok(Err("the backup has no node files (kubectl etcd backup --node-files)".to_owned()));
            };
            let Some(identities) = identities.filter(|identities| identities.fit(&object.recipients)) else {
                return Ok(Err("no identity decrypts the node files of the backup".to_owned()));
            };
            let watch = watch(context.printer, "read node files", object.size, context.cancelled());
            let read = async { Ok(found.node_files(object, identities, watch, PublicFiles::default(), take).await) };
            Ok(context.interruptible(read).await?.map_err(|error| not_read(error, &stored.name()).one_line()))
        }
        None => {
            let archives = file.names().into_iter().map(|name| {
                let mut name = name.into_os_string();
                name.push(ARCHIVE);
                PathBuf::from(name)
            });
            let Some(archive) = archives.into_iter().find(|archive| archive.is_file()) else {
                return Ok(Err("no node files lie beside the snapshot".to_owned()));
            };
            let shown = archive.display().to_string();
            let Some(identities) = identities.cloned() else {
                return Ok(Err(format!("no identity is named that decrypts {shown}")));
            };
            let read = tokio::task::spawn_blocking(move || beside(&archive, &identities)).await;
            let read = read.map_err(|error| error.to_string()).and_then(|read| read);
            Ok(read.map_err(|why| format!("cannot read {shown}: {why}")))
        }
    }
}

fn beside(archive: &std::path::Path, identities: &Identities) -> Known<PublicFiles> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    let opened = open_sealed(file, true, identities).map_err(|error| error.to_string())?;
    let mut files = PublicFiles::default();
    let read = read_node_files(opened, Limits::default(), |file| {
        take(&mut files, file);
        Ok(())
    });
    read.map_err(|error| error.to_string()).map(|()| files)
}

fn take(files: &mut PublicFiles, file: NodeFile) {
    if let Kind::File(content) = &file.kind {
        files.take(file.path.as_str(), content);
    }
}
