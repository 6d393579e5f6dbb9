//! `kubectl etcd backup`: a snapshot of the healthiest member, streamed here, verified, and only then given its name.

mod choose;
mod identity;
mod manifest;
mod names;
mod node_files;
mod recovered;
mod recovery;
mod room;
mod source;
mod store_args;
mod stored;
mod target;
mod to_file;
mod to_store;
mod transfer;

use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use etcd_store::Class;

use jiff::Timestamp;

pub(crate) use self::recovered::{Brought, bring};
pub(crate) use self::store_args::{Destination, StoreArgs};
use self::target::Target;
pub(crate) use self::target::taken_by_name;
pub(crate) use self::to_store::{Order, take};
use crate::context::Context;
use crate::discovery::{self, Overrides, Reach};
use crate::explain::{self, Facts};
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;

const EXAMPLES: &str = "\
Examples:
  # A verified snapshot in this folder, etcd-<cluster>-<UTC time>.db, and beside
  # the file what it is a snapshot of, in the same name plus .json
  kubectl etcd backup

  # The same in another folder
  kubectl etcd backup /backups/

  # Under a name of your own, from the member on one node
  kubectl etcd backup /backups/before-upgrade.db --node cp2

  # Also keep a copy on the node
  kubectl etcd backup --on-node /var/lib/etcd-backups

  # Into an object store, encrypted for two recipients, the record signed
  kubectl etcd backup --store s3://backups/prod --recipient age1... \\
    -R team.txt --sign-key backup.key

  # With what a new control plane needs beside the snapshot
  kubectl etcd backup --store s3://backups/prod -R team.txt --node-files

  # Into a folder with the same layout
  kubectl etcd backup --store file:///mnt/backups --recipient age1...

  # The same by hand: what to type on this cluster, and why; nothing is done
  kubectl etcd backup --explain

  # The API server is down: over SSH, from the nodes themselves
  kubectl etcd backup --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12

  # Into a pipe; the digest is checked, the pages are not: verify what comes out
  kubectl etcd backup - | age -r RECIPIENT > etcd.db.age

A snapshot holds every Secret of the cluster: the file is readable by you alone.
A run that fails leaves no file and no pod. etcdutl reads the file as it is.";

/// Take a snapshot of etcd, copy it here and verify it
///
/// Asks all members how they are and takes the snapshot from a healthy follower (or the leader, if there is no other):
/// never from a learner, from one with an alarm or from one that lags. The snapshot is streamed, nothing is
/// written on the node. The file gets its name only after its digest and every page have been checked, and after the UID of
/// namespace kube-system in it was compared with that of the API. An etcd that the API server uses for events alone is taken by
/// naming it, with --node or -l.
///
/// With --store the snapshot is compressed, encrypted and uploaded as it comes, and kept in a file without a name in TMPDIR for the
/// check of its pages. --node-files adds /etc/kubernetes of the node, and the API server's encryption configuration, as an object of its own,
/// which is never stored in clear; links that lead elsewhere and files beyond 16 MiB are left out, and told. The record of the backup is
/// written last: without it there is no backup. --store excludes FILE, --force, --on-node
/// and --explain.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The snapshot's UID of namespace kube-system is recorded, and cannot be compared with that of the API. Where systemd starts etcd, --node-files
/// adds the unit, its settings, its certificates and keys.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write, a folder for the default name in it, or - for stdout
    #[arg(conflicts_with = "store")]
    file: Option<PathBuf>,
    /// Take the member on this node, even if another is healthier
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Also keep the snapshot in this folder of the node, which must exist
    #[arg(long, value_name = "DIR", value_parser = node_folder, conflicts_with = "store")]
    on_node: Option<String>,
    /// Compression on the way here; the file is never compressed
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = ["zstd", "none"])]
    compress: String,
    /// Overwrite FILE
    #[arg(long, conflicts_with = "store")]
    force: bool,
    /// Print the commands that do the same by hand on this cluster, and do nothing
    #[arg(long, conflicts_with = "store")]
    explain: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Why the backup is taken, as its name in the store says: retention counts the classes apart [default: manual]
    #[arg(long, value_name = "CLASS", requires = "store", help_heading = "Backup in a store",
          value_parser = clap::builder::PossibleValuesParser::new(["manual", "pre-restore"]).try_map(|word| word.parse::<Class>()))]
    class: Option<Class>,
    /// Also store /etc/kubernetes of the member's node, encrypted: authorities, keys and manifests for a new control plane
    #[arg(long, requires = "store", conflicts_with = "no_encryption", help_heading = "Backup in a store")]
    node_files: bool,
    /// Output format: json and yaml print what is recorded with the backup
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
    /// Part of another command, which prints data of its own.
    #[arg(skip)]
    within: bool,
}

/// Takes a backup of the member on a node into the current folder, for a command that is about to change something.
///
/// # Errors
/// There is none, and nothing was changed.
pub(crate) async fn before(
    node: &str,
    reach: &Reach,
    ssh: &SshArgs,
    sidecar: &SidecarArgs,
    context: &Context,
) -> Outcome {
    let args = Args {
        file: None,
        node: Some(node.to_owned()),
        on_node: None,
        compress: "zstd".to_owned(),
        force: false,
        explain: false,
        store: StoreArgs::default(),
        class: None,
        node_files: false,
        output: Format::Table,
        overrides: Overrides { reach: reach.clone(), data_dir: None },
        ssh: ssh.clone(),
        sidecar: sidecar.clone(),
        within: true,
    };
    let taken = context.interruptible(to_file::run(args, context)).await;
    taken.map_err(|failed| failed.context("cannot take the backup that comes first").unchanged())
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "--explain prints commands, and does nothing";
        match self.explain {
            true => {
                vec![
                    Idle::flags(&["on_node", "compress", "force", "output"], WHY),
                    Idle::group::<SidecarArgs>(WHY),
                    Idle::group::<SshArgs>(WHY),
                ]
            }
            false => self.ssh.idle::<SidecarArgs>(),
        }
    }
}

/// A folder of a node, as `--on-node` names it.
pub(crate) fn node_folder(path: &str) -> Result<String, String> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.starts_with('/') && !trimmed.split('/').any(|part| part == "..") {
        Ok(trimmed.to_owned())
    } else {
        Err("this is a folder on the node: it must be absolute, without '..', and not the root".to_owned())
    }
}

/// Prints how it is done by hand.
///
/// # Errors
/// No member is found, or there would be no file.
async fn explained(args: &Args, context: &Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let target = Target::plan(args.file.as_deref(), &connection.cluster, Timestamp::now(), true)?;
    let Target::File { path, .. } = target else {
        return Err(Failed::new(Exit::Usage, "--explain needs a file: by hand, etcdctl writes to no pipe"));
    };
    let namespace = context.connection.etcd_namespace();
    let found = discovery::find(&connection, namespace, &args.overrides, args.node.as_deref()).await?;
    found.outside.iter().for_each(|line| context.printer.note(line));
    let facts = Facts::of(&connection.cluster, &found.readable(context.printer), "");
    context.printer.data(&explain::backup(&facts, &path.display().to_string()))
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        return context.interruptible(explained(&args, &context)).await;
    }
    if args.store.store.is_some() {
        return to_store::run(args, &context).await;
    }
    let outcome = context.interruptible(to_file::run(args, &context)).await;
    outcome.map_err(|failed| match failed.exit {
        Exit::Failed | Exit::Refused | Exit::Damaged => {
            failed.effect("no file was written; nothing was changed on any node")
        }
        _ => failed,
    })
}

/// A choice needs members to choose from; tests make them without a cluster.
#[cfg(test)]
fn member(node: &str) -> discovery::EtcdPod {
    discovery::EtcdPod { node: node.to_owned(), name: node.to_owned(), ..Default::default() }
}
