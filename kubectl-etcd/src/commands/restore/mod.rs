//! `kubectl etcd restore`: a running control plane back to a snapshot; or a member directory out of one, offline.

mod apply;
mod at_rest;
mod begun_args;
mod live;
mod look;
mod lost;
mod members;
mod new_cluster;
mod node_plan;
mod node_role;
mod objections;
mod offline;
mod plan;
mod recovery;
mod restore_status;
mod room;
mod show;
mod unfinished;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use etcd_store::ClusterUid;
pub(crate) use lost::Lost;
pub(crate) use recovery::{Contents, How, contents, recover};

use super::verify::not_by_hand;
use crate::commands::backup::StoreArgs;
use crate::context::Context;
use crate::discovery::{Manifests, Reach};
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;
use crate::snapshot_file::{AccessArgs, is_stored};
use crate::transaction::RestoreFlags;

const EXAMPLES: &str = "\
Examples:
  # Show what a restore of this cluster would change; nothing is changed
  kubectl etcd restore etcd.db --dry-run=client

  # Restore the cluster of the kubeconfig; type its name to confirm
  kubectl etcd restore etcd.db

  # The same in a script
  kubectl etcd restore etcd.db --confirm prod-eu

  # Back up the current state into a store first
  kubectl etcd restore etcd.db --store s3://backups/prod --recipient age1...

  # All machines of a cluster are lost: these new ones take over its state
  kubectl etcd restore etcd.db --new-cluster 5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d

  # Without a node that is gone; nodes that are not named are stopped
  kubectl etcd restore etcd.db --to-nodes cp1,cp2

  # Show the state of the last restore; follow an unfinished one to its end
  kubectl etcd restore --status
  kubectl etcd restore --follow

  # Bring a restore to its end that does not end by itself
  kubectl etcd restore --resume

  # The same without nodes that are gone for good; asks for a confirmation
  kubectl etcd restore --resume --without cp1,cp2

  # All others have ended it: do not wait for a node that is gone
  kubectl etcd restore --forget 20261121-100000-abcde

  # The same over SSH, where no API server answers
  kubectl etcd restore etcd.db --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13
  kubectl etcd restore --status --ssh=root@ --plan etcd.db.json

  # etcd is on machines of its own: name the nodes with API servers as well
  kubectl etcd restore etcd.db --ssh=root@ --nodes etcd1=10.0.0.21,cp1=10.0.0.11,cp2=10.0.0.12

  # Build the data directory of a cluster with one member, as in the CKA
  kubectl etcd restore etcd.db --data-dir /var/lib/etcd-restored

  # Build that of one of several recorded members; run it once for each
  kubectl etcd restore etcd.db --data-dir ./cp1 --name cp1

  # The same for other members; use the same file, token and bump for each
  kubectl etcd restore etcd.db --data-dir ./cp1 --name cp1 \\
    --initial-cluster cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380 \\
    --initial-cluster-token restored-20261121

  # The same by hand: what to type on this cluster, and why; nothing is done
  kubectl etcd restore etcd.db --explain

  # Without raising the revision: only if all clients of the cluster restart
  kubectl etcd restore etcd.db --data-dir ./cp1 --bump-revision 0";

/// Restore a control plane, or build the data directory of a member
///
/// Restores the cluster of the kubeconfig, on all its control-plane nodes at once. The plan is shown, and the name of the cluster has
/// to be typed. Every node gets the file, verifies it, and builds its new data beside the current data while everything runs. Then API
/// server and etcd stop on all nodes, the data directories are swapped, and etcd starts. When all members serve the new data, the nodes
/// decide that it stays, and the API servers start: all within a minute. The nodes do this without the API server; if anything
/// fails before the decision, all nodes roll back. The old data is kept on the nodes: `kubectl etcd rollback` puts it back. --dry-run=client only shows the plan: whether the file is of this cluster, which objects would be deleted, come back or
/// change back, the new revision, and whether every node has the room, the static pods and the encryption keys. --dry-run=server
/// also asks the API server whether it would admit the sidecars. With --store a backup of the current state, of class pre-restore, is
/// taken after the confirmation; if it fails, nothing is restored. At the end the report names what is left over, such as pods that run and that no API
/// server has, and what mends it; nothing of it is deleted.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again. The
/// members tell whose cluster it is, and etcd has to have its quorum. Without a quorum, see `kubectl etcd recover`. With --ssh, etcd may also be a systemd
/// unit, etcd.service, and etcd may be on machines of its own: name these and the nodes with API servers.
///
/// A file of another cluster is refused. If all machines of that cluster are lost, and new ones are to take over its state, --new-cluster names it; so it does,
/// with --ssh, where etcd has lost its data and serves without any. The plan
/// compares both clusters and says what will not work, and what mends it (docs/RESTORE.md).
///
/// --data-dir builds a data directory offline, on any machine, as `etcdutl snapshot restore` does and with its flags. Names and peer
/// URLs of the members are those of --initial-cluster, or else those that FILE.json or the file itself records. The file is
/// verified while it is read, and the new database is read back and compared with it. It runs on etcd 3.4 to 3.7. A run that fails
/// leaves nothing, and nothing that exists is changed. The last lines say how to let etcd use the directory.
///
/// The revision is raised and all revisions before it are compacted, so that clients do not take what they cached after the
/// snapshot for the current state.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Snapshot file, or a backup in a store: STORE/latest, STORE/NAME
    #[arg(required_unless_present_any = ["status", "follow", "resume", "forget"])]
    file: Option<PathBuf>,
    /// How much to raise the revision: a number, or auto: 1,000,000,000 offline; on a running cluster 100,000 above the highest
    /// member. 0 neither raises nor compacts
    #[arg(long, value_name = "auto|N|0", default_value = "auto", allow_negative_numbers = true)]
    bump_revision: Bump,
    /// Accept a file without the digest at its end, or with a wrong one (a copy of member/snap/db)
    #[arg(long)]
    skip_hash_check: bool,
    /// Print the commands that do the same by hand on this cluster, or for this directory, and do nothing
    #[arg(long, requires = "file", conflicts_with_all = ["dry_run", "confirm", "status", "follow", "resume", "forget"])]
    explain: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    live: apply::LiveArgs,
    #[command(flatten)]
    offline: offline::OfflineArgs,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The file, which is always there where one is needed.
    fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(""))
    }

    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "--data-dir builds a directory from the file, and asks no cluster";
        const EXPLAINED: &str = "--explain prints commands, and does nothing";
        let explained = self.explain.then(|| {
            let flags = [
                "output",
                "peer_port",
                "start_timeout",
                "no_rollback",
                "new_cluster",
                "allow_lower_revisions",
                "allow_older_etcd",
            ];
            Idle::flags(&flags, EXPLAINED)
        });
        // By hand, the nodes that are left out would have to be stopped as well, and to stay so.
        let all_nodes = self.explain.then(|| Idle::flags(&["to_nodes"], "--explain shows a restore of all nodes"));
        let access = self.access.idle(self.file.as_deref());
        let explained = explained.into_iter().chain(all_nodes).chain(access);
        if self.offline.data_dir.is_none() {
            let pods = [Idle::group::<SidecarArgs>(EXPLAINED), Idle::group::<StoreArgs>(EXPLAINED)];
            let pods = pods.into_iter().filter(|_| self.explain);
            let over_ssh = self.ssh.idle::<SidecarArgs>();
            return explained.chain(pods).chain(self.live.begun.idle(self.ssh.ssh.is_some())).chain(over_ssh).collect();
        }
        let live = Idle::group::<apply::LiveArgs>(WHY);
        let offline = [
            Idle::connection(WHY),
            live,
            Idle::group::<SidecarArgs>(WHY),
            Idle::group::<SshArgs>(WHY),
            Idle::group::<Reach>(WHY),
        ];
        offline.into_iter().chain(explained).collect()
    }
}

pub(crate) async fn run(mut args: Args, context: Context) -> Outcome {
    if args.explain && is_stored(args.file()) {
        return Err(not_by_hand());
    }
    match args.offline.data_dir.take() {
        Some(data_dir) if args.explain => offline::explained(args, data_dir, context).await,
        Some(data_dir) => offline::run(args, data_dir, context).await,
        None if args.live.begun.looks_back() => unfinished::run(args, context).await,
        None if args.explain => {
            let whole = context.clone();
            whole.interruptible(apply::explained(args, context)).await
        }
        None => apply::run(args, context).await,
    }
}

/// A file whose bytes nothing proves is taken only when that was asked for.
fn without_digest(file: &Path) -> Failed {
    Failed::new(Exit::Damaged, format!("{} has no digest at its end", file.display()))
        .cause("it is a copy of a database file, whose bytes nothing proves")
        .hint("if etcd was stopped when it was copied, pass\n  --skip-hash-check")
}

/// What is to be restored, and how.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    file: &'a Path,
    bump: Bump,
    skip_hash_check: bool,
    allow_lower_revisions: bool,
    /// The nodes that get the snapshot; empty if all do.
    to_nodes: &'a [String],
    reach: &'a Reach,
    manifests: &'a Manifests,
    sidecar: &'a SidecarArgs,
    flags: &'a RestoreFlags,
    /// Wait for API servers no longer than `--start-timeout`.
    keep_unready: bool,
    /// What is known of a cluster that has lost its quorum, if this one has.
    lost: Option<&'a Lost>,
    /// The lost cluster that the file is of, by the user's word.
    new_cluster: Option<&'a ClusterUid>,
}

/// By how much the revision is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bump {
    Auto,
    By(u64),
}

impl FromStr for Bump {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Bump::Auto),
            // Revisions are signed.
            _ => match text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => Ok(Bump::By(n)),
                None => Err("neither auto nor a number from 0 on".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    /// Without a bump of one's own there is nothing that it allows.
    #[test]
    fn lower_revisions_are_allowed_only_with_a_bump() {
        let parsed = |flags: &[&str]| {
            let command = Args::augment_args(clap::Command::new("restore"));
            command.try_get_matches_from([&["restore", "a.db", "--allow-lower-revisions"], flags].concat()).is_ok()
        };
        assert!(parsed(&["--bump-revision", "0"]) && !parsed(&[]));
    }

    #[test]
    fn bumps() {
        assert_eq!("auto".parse(), Ok(Bump::Auto));
        assert_eq!("0".parse(), Ok(Bump::By(0)));
        assert_eq!("7".parse(), Ok(Bump::By(7)));
        for wrong in ["", "-1", "Auto", "9223372036854775808"] {
            assert!(wrong.parse::<Bump>().is_err(), "{wrong}");
        }
    }
}
