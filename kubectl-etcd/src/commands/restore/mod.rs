//! `kubectl etcd restore`: a running control plane back to a snapshot; or a member directory out of one, offline.

mod apply;
mod at_rest;
mod live;
mod members;
mod node_plan;
mod node_role;
mod objections;
mod offline;
mod plan;
mod restore_status;
mod room;
mod show;

use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) use apply::{prove, tell};

use crate::context::Context;
use crate::discovery::Reach;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome};
use crate::sidecar::SidecarArgs;

const EXAMPLES: &str = "\
Examples:
  # What a restore of this cluster would change; nothing is touched
  kubectl etcd restore etcd.db --dry-run=client

  # Restore the cluster that the kubeconfig leads to; its name has to be typed
  kubectl etcd restore etcd.db

  # The same from a script
  kubectl etcd restore etcd.db --confirm prod-eu

  # Without a node that is gone; what is not named is left out, and stopped
  # where it can be reached
  kubectl etcd restore etcd.db --to-nodes cp1,cp2

  # How the last restore is on every node; wait for the end of one that goes on
  kubectl etcd restore --status
  kubectl etcd restore --resume

  # The directory of a cluster of one, as for the CKA
  kubectl etcd restore etcd.db --data-dir /var/lib/etcd-restored

  # The directory of one of several members that the file records; run it once
  # for each
  kubectl etcd restore etcd.db --data-dir ./cp1 --name cp1

  # The same for other members than the recorded ones, with the same file, token
  # and bump for each
  kubectl etcd restore etcd.db --data-dir ./cp1 --name cp1 \\
    --initial-cluster cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380 \\
    --initial-cluster-token restored-20261121

  # The same by hand: what to type on this cluster, and why; nothing is done
  kubectl etcd restore etcd.db --explain

  # Without raising the revision: only where all clients start anew
  kubectl etcd restore etcd.db --data-dir ./cp1 --bump-revision 0";

/// Restore a control plane, or build the data directory of a member
///
/// Restores the cluster that the kubeconfig leads to, on all its control-plane nodes at once. The plan is shown and the cluster's
/// name has to be typed. Every node gets the file, verifies it and builds its new data beside the old while everything runs; then API
/// server and etcd are stopped everywhere, the data is exchanged, and all is started again, which takes a minute or less. The
/// nodes do that by themselves, and go back by themselves if anything fails. The old data is kept on the nodes: `kubectl etcd
/// rollback` puts it back. With --dry-run=client only the plan is shown: whether the file is this cluster's, which objects would
/// vanish, come back or change, to what the revision would be raised, and whether every node has the room, the static pods and the
/// encryption keys that it takes; with --dry-run=server the API server is asked too whether it would let the sidecars in.
///
/// With --data-dir, as `etcdutl snapshot restore` does, with its flags: offline, on any machine. Names and peer URLs of the members are
/// those that FILE.json or the file itself records, where --initial-cluster gives no others. The file is verified while it
/// is read; the new database is compact, is read back and compared with the snapshot before the directory gets its name, and
/// boots on etcd 3.4 to 3.7. A run that fails leaves nothing. Nothing that exists is changed: stop etcd, put the directory where
/// its manifest says, and start it.
///
/// The revision is raised and everything before it marked as compacted, so that no client takes what it remembers of the
/// time after the snapshot for what is there now.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Snapshot file
    #[arg(required_unless_present_any = ["status", "resume"])]
    file: Option<PathBuf>,
    /// By how much to raise the revision: a number, auto, or 0 for neither raising nor compacting. auto is a thousand million,
    /// or what puts a running cluster's members a hundred thousand behind
    #[arg(long, value_name = "auto|N|0", default_value = "auto", allow_negative_numbers = true)]
    bump_revision: Bump,
    /// Accept a file without the digest at its end, or with a wrong one (a copy of member/snap/db)
    #[arg(long)]
    skip_hash_check: bool,
    /// Print the commands that do the same by hand on this cluster, or for this directory, and do nothing
    #[arg(long, requires = "file", conflicts_with_all = ["dry_run", "confirm", "status", "resume"])]
    explain: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    live: apply::LiveArgs,
    #[command(flatten)]
    offline: offline::OfflineArgs,
    #[command(flatten)]
    reach: Reach,
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
            let flags =
                ["output", "peer_port", "start_timeout", "no_rollback", "allow_lower_revisions", "allow_older_etcd"];
            Idle::flags(&flags, EXPLAINED)
        });
        if self.offline.data_dir.is_none() {
            let pods = self.explain.then(|| Idle::group::<SidecarArgs>(EXPLAINED));
            return explained.into_iter().chain(pods).collect();
        }
        let live = Idle::group::<apply::LiveArgs>(WHY);
        let offline = [Idle::connection(WHY), live, Idle::group::<SidecarArgs>(WHY), Idle::group::<Reach>(WHY)];
        offline.into_iter().chain(explained).collect()
    }
}

pub(crate) async fn run(mut args: Args, context: Context) -> Outcome {
    match args.offline.data_dir.take() {
        Some(data_dir) if args.explain => offline::explained(args, data_dir, context).await,
        Some(data_dir) => offline::run(args, data_dir, context).await,
        None if args.live.status || args.live.resume => restore_status::run(args, context).await,
        None if args.explain => apply::explained(args, context).await,
        None => apply::run(args, context).await,
    }
}

/// A file whose bytes nothing proves is taken only when that was asked for.
fn without_digest(file: &Path) -> Failed {
    Failed::new(Exit::Damaged, format!("{} has no digest at its end", file.display()))
        .cause("it is a copy of a database file: nothing proves its bytes")
        .hint("if etcd was stopped when it was copied, restore it with\n  --skip-hash-check")
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
