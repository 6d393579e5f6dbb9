//! The new data, put beside the old on the same file system.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_snapshot::restore::{Destination, NewCluster, RestoreOptions, Restored, restore};
use etcd_snapshot::{DigestCheck, FileSource, Options, Warning, verify};
use etcd_wire::restore::{Decision, Ending, RestoreKind, Staged};
use etcd_wire::{Failure, FailureCode};

use super::journal::storage;
use super::layout::Layout;
use super::owner::adopt;
use super::records;
use crate::node::{Place, dir};
use crate::serve::{Client, Stop};
use crate::streaming;

/// How a snapshot is made into data.
pub(super) struct How {
    pub(super) bump: u64,
    pub(super) token: String,
    pub(super) skip_hash_check: bool,
}

/// Takes the snapshot from the client, and builds the member's new directory from it.
pub(super) async fn snapshot(layout: &Layout, how: How, announced: u64, client: &mut Client) -> Result<Staged, Stop> {
    for folder in layout.folders() {
        folder.create_folders().map_err(|error| storage("create a folder beside the data", &error))?;
    }
    let written = |error: std::io::Error| storage("write the snapshot on the node", &error);
    let file = streaming::receive(client, announced, written, || layout.upload().create()).await?;
    let layout = layout.clone();
    built(move |cancel| build(&layout, &how, file, cancel), client).await
}

/// Builds on a thread of its own, as long as the client wants it.
async fn built(
    build: impl FnOnce(&AtomicBool) -> Result<Staged, Failure> + Send + 'static,
    client: &mut Client,
) -> Result<Staged, Stop> {
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&cancel);
    let mut building = tokio::task::spawn_blocking(move || build(&stop));
    let outcome = match client.during(&mut building).await {
        Ok(outcome) => outcome,
        Err(stop) => {
            cancel.store(true, Ordering::Relaxed);
            // It takes away what it has made; whatever it says of it now is of no interest.
            let _ = building.await;
            return Err(stop);
        }
    };
    let lost = |error| Err(Failure::new(FailureCode::Other, "building was cut off").source(&error));
    Ok(outcome.unwrap_or_else(lost)?)
}

/// Builds the member's new directory from what an earlier restore has set aside, which stays as it is.
pub(super) async fn raised(
    layout: &Layout,
    of: &str,
    token: String,
    raise_to: i64,
    client: &mut Client,
) -> Result<Staged, Stop> {
    let (layout, of) = (layout.clone(), of.to_owned());
    built(move |cancel| raise(&layout, &of, token, raise_to, cancel), client).await
}

/// As [`raised`], on this thread.
pub(super) fn raise(
    layout: &Layout,
    of: &str,
    token: String,
    raise_to: i64,
    cancel: &AtomicBool,
) -> Result<Staged, Failure> {
    aside(layout, of)?;
    let read = |error: std::io::Error| storage("read the old data", &error);
    let file = layout.set_aside(of).open_file().map_err(read)?;
    let source = FileSource::new(file.try_clone().map_err(read)?).map_err(read)?;
    // etcd has closed it in order, but a database of etcd's own has no digest.
    let options = Options { digest: DigestCheck::Skip, ..Options::default() };
    let report = verify(&source, &options, &|_| {})
        .map_err(|error| Failure::new(FailureCode::Refused, "the old data is damaged").source(&error))?;
    let revision = report.current_revision;
    let Some(bump) = raise_to.checked_sub(revision).and_then(|bump| u64::try_from(bump).ok()) else {
        let message = format!("the old data is at revision {revision}, above {raise_to}");
        return Err(Failure::new(FailureCode::BadRequest, message));
    };
    build(layout, &How { bump, token, skip_hash_check: true }, file, cancel)
}

fn build(layout: &Layout, how: &How, file: File, cancel: &AtomicBool) -> Result<Staged, Failure> {
    let plan = layout.plan();
    let list = plan.serving().flat_map(|node| node.peer_urls.iter().map(|url| format!("{}={url}", node.member)));
    let cluster = NewCluster {
        name: layout.node().member.clone(),
        initial_cluster: list.collect::<Vec<_>>().join(","),
        initial_cluster_token: how.token.clone(),
        initial_advertise_peer_urls: None,
    };
    let refused = |what: &str, error: &dyn std::error::Error| Failure::new(FailureCode::Refused, what).source(error);
    let membership =
        cluster.validate().map_err(|error| refused("the members of the new cluster are not valid", &error))?;
    let source = FileSource::new(file).map_err(|error| storage("read the snapshot on the node", &error))?;
    let (data_dir, wal_dir) = layout.built();
    // By the descriptors of our own folders: whoever owns what is around them may exchange their names.
    let folders = layout.folders().iter().map(Place::open).collect::<std::io::Result<Vec<File>>>();
    let folders = folders.map_err(|error| storage("open the folder beside the data", &error))?;
    let built = |place: &Place, folder: &File| dir::descriptor(folder).join(place.name());
    let destination = Destination {
        data_dir: built(&data_dir, &folders[0]),
        wal_dir: wal_dir.as_ref().zip(folders.get(1)).map(|(wal, folder)| built(wal, folder)),
    };
    let options = RestoreOptions {
        bump: how.bump,
        digest: if how.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute },
        etcd_version: None,
        allow_older_etcd: false,
        cancel: Some(cancel),
    };
    let restored: Restored = restore(&source, &membership, &destination, &options, &|_| {})
        .map_err(|error| named(refused("the snapshot cannot be restored", &error), layout, &folders))?;
    let finished = || -> std::io::Result<()> {
        // What was set aside is no upload.
        layout.upload().remove_file()?;
        adopt(&layout.data_dir().join("member"), &data_dir.join("member"))?;
        if let (Some(old), Some(new)) = (layout.wal_dir(), &wal_dir) {
            adopt(&old, new)?;
            rustix::fs::syncfs(new.open()?)?;
        }
        rustix::fs::syncfs(data_dir.open()?)?;
        Ok(())
    };
    finished().map_err(|error| storage("finish the new directory", &error))?;
    // A database that a restore has set aside has none, and was verified before.
    let of_own = matches!(layout.plan().kind, RestoreKind::Aside { .. });
    let warnings = restored.report.warnings.iter().filter(|warning| !of_own || **warning != Warning::NoDigest);
    let warnings = warnings.map(ToString::to_string);
    let warnings = warnings.chain(restored.warnings.iter().map(ToString::to_string)).collect();
    Ok(Staged {
        cluster_id: restored.cluster_id,
        member_id: restored.member_id,
        revision: restored.revision,
        hash_kv: Some(restored.hash_kv.hash),
        database_bytes: restored.database_bytes,
        warnings,
    })
}

/// What an earlier restore has set aside is there already; that it can come back is all there is to see to.
pub(super) fn aside(layout: &Layout, of: &str) -> Result<Staged, Failure> {
    let refused = |what: String| Failure::new(FailureCode::Refused, what);
    let earlier = records::of(layout.state(), of)?;
    let (_, state) = earlier.ok_or_else(|| refused(format!("this node has no journal of restore {of}")))?;
    // One that has not ended is prepared for by its own participant alone.
    let is_in_place = match state.ended() {
        Some(ending) => ending == Ending::Restored,
        None => state.decision() == Some(Decision::Commit),
    };
    if !is_in_place {
        return Err(refused(format!("restore {of} has put no new data in place on this node")));
    }
    if state.plan.quorum_lost.is_some() {
        let old = layout.data_dir().join(dir::OURS).join(of).join("old");
        return Err(refused(format!("the old data of restore {of} is that of a cluster without a quorum"))
            .cause("as it is, it serves nobody; and its database lacks what only its log has")
            .hint(format!(
                "make a snapshot of it on the node, and restore that:\n  etcd-sidecar recover --data-dir {} --snapshot FILE",
                old.display()
            )));
    }
    let database = layout.set_aside(of).open_file().and_then(|file| file.metadata());
    let bytes = database.map_err(|error| storage("find the old data", &error))?.len();
    for folder in layout.folders() {
        folder.create_folders().map_err(|error| storage("create a folder beside the data", &error))?;
    }
    Ok(Staged {
        cluster_id: state.ground.before.cluster_id,
        member_id: 0,
        revision: state.ground.before.revision,
        hash_kv: None,
        database_bytes: bytes,
        warnings: Vec::new(),
    })
}

/// An error of the engine, with the names of the folders that it knows by their descriptors.
fn named(failure: Failure, layout: &Layout, folders: &[File]) -> Failure {
    let name = |text: String| {
        let known = layout.folders().into_iter().zip(folders);
        // Descriptor 1 must not be found in that of 12.
        known.fold(text, |text, (place, folder)| {
            text.replace(&format!("{}/", dir::descriptor(folder).display()), &format!("{}/", place.display()))
        })
    };
    Failure { message: name(failure.message), causes: failure.causes.into_iter().map(name).collect(), ..failure }
}
