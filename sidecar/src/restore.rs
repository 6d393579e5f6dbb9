//! A member's directory out of a snapshot file on the node: the same function as `kubectl etcd restore --data-dir`.

use std::path::PathBuf;

use crate::transaction::{BEGUN, BegunArgs};
use anyhow::Context;
use etcd_snapshot::restore::{Destination, NewCluster, RestoreOptions, restore};
use etcd_snapshot::{DigestCheck, FileSource};

/// See `kubectl etcd restore --help`, which explains them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Snapshot file.
    #[arg(required_unless_present = BEGUN, conflicts_with = BEGUN)]
    file: Option<PathBuf>,
    /// Directory to build; must not exist, or be empty.
    #[arg(long, required_unless_present = BEGUN, conflicts_with = BEGUN)]
    data_dir: Option<PathBuf>,
    /// Directory for the write-ahead log, if it is not to be in the data directory.
    #[arg(long, conflicts_with = BEGUN)]
    wal_dir: Option<PathBuf>,
    /// Name of this member.
    #[arg(long, required_unless_present = BEGUN, conflicts_with = BEGUN)]
    name: Option<String>,
    /// All members of the new cluster, NAME=URL,NAME=URL.
    #[arg(long, required_unless_present = BEGUN, conflicts_with = BEGUN)]
    initial_cluster: Option<String>,
    /// Token of the new cluster.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Peer URLs of this member, if they are to be compared with those in --initial-cluster.
    #[arg(long, conflicts_with = BEGUN)]
    initial_advertise_peer_urls: Option<String>,
    /// By how much to raise the revision; 0 for neither raising nor compacting.
    #[arg(
        long,
        required_unless_present = BEGUN,
        conflicts_with = BEGUN,
        value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64)
    )]
    bump_revision: Option<u64>,
    /// Accept a file without the digest at its end, or with a wrong one.
    #[arg(long, conflicts_with = BEGUN)]
    skip_hash_check: bool,
    #[command(flatten)]
    pub(crate) begun: BegunArgs,
}

/// Builds the directory, and tells what it holds as one line of JSON.
pub(crate) fn run(args: Args) -> anyhow::Result<String> {
    let (Some(file), Some(data_dir), Some(name), Some(initial_cluster), Some(bump)) =
        (args.file, args.data_dir, args.name, args.initial_cluster, args.bump_revision)
    else {
        anyhow::bail!("a snapshot file, and what is to be built of it, are needed");
    };
    let cluster = NewCluster {
        name,
        initial_cluster,
        initial_cluster_token: args.initial_cluster_token,
        initial_advertise_peer_urls: args.initial_advertise_peer_urls,
    };
    let membership = cluster.validate().context("the members of the new cluster are not valid")?;
    let open = std::fs::File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
    let source = FileSource::new(open).with_context(|| format!("cannot read {}", file.display()))?;
    let destination = Destination { data_dir, wal_dir: args.wal_dir };
    let options = RestoreOptions {
        bump,
        digest: if args.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute },
        etcd_version: None,
        allow_older_etcd: false,
        cancel: None,
    };
    let restored = restore(&source, &membership, &destination, &options, &|_| {})
        .with_context(|| format!("cannot restore {}", file.display()))?;
    restored.report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    restored.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let told = serde_json::json!({
        "dataDir": destination.data_dir,
        "memberId": format!("{:x}", restored.member_id),
        "clusterId": format!("{:x}", restored.cluster_id),
        "snapshotRevision": restored.report.hash_kv.revision,
        "revision": restored.revision,
        "hashKv": restored.hash_kv.hash,
        "totalSize": restored.database_bytes,
    });
    Ok(told.to_string())
}
