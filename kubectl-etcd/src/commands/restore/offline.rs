//! `kubectl etcd restore --data-dir`: a member directory out of a snapshot, offline.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use etcd_snapshot::restore::{
    Destination, Membership, RestoreError, RestoreOptions, RestoreProgress, Restored, restore,
};
use etcd_snapshot::{DigestCheck, Options, VerifyError, Warning};
use serde::Serialize;

use super::members::{Known, Recorded, choose, is_open};
use super::{Args, Bump, without_digest};
use crate::commands::verify::{self, damaged, explain};
use crate::context::Context;
use crate::explain;
use crate::interruption::interrupted;
use crate::output::API_VERSION;
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt, Table, bytes, print_data};
use crate::snapshot_file::SnapshotFile;

/// What `auto` adds where no live member can be asked how far the revision has come: more than a cluster writes in years.
const UNSEEN: u64 = 1_000_000_000;

/// What only a directory needs.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Build a directory, offline")]
pub(super) struct OfflineArgs {
    /// Directory to build; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Directory for the WAL, if it is not in the data directory; must not exist, or be empty
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    wal_dir: Option<PathBuf>,
    /// Name of this member [default: the only member that is recorded, or default]
    #[arg(long, value_name = "NAME", requires = "data_dir")]
    pub(super) name: Option<String>,
    /// All members of the new cluster, NAME=URL,NAME=URL [default: those that are recorded, or NAME=http://localhost:2380]
    #[arg(long, value_name = "MEMBERS", requires = "data_dir")]
    pub(super) initial_cluster: Option<String>,
    /// Token of the new cluster
    #[arg(long, value_name = "TOKEN", default_value = "etcd-cluster", requires = "data_dir")]
    pub(super) initial_cluster_token: String,
    /// Peer URLs of this member [default: those that --initial-cluster gives it]
    #[arg(long, value_name = "URLS", requires = "data_dir")]
    pub(super) initial_advertise_peer_urls: Option<String>,
    /// Version of the etcd that will use the directory; a snapshot of a newer one is refused
    #[arg(long, value_name = "VERSION", requires = "data_dir")]
    etcd_version: Option<Version>,
    /// Accept a snapshot of a newer etcd than --etcd-version
    #[arg(long, requires = "etcd_version")]
    allow_older_etcd: bool,
}

impl Bump {
    pub(super) fn amount(self) -> u64 {
        match self {
            Bump::Auto => UNSEEN,
            Bump::By(amount) => amount,
        }
    }
}

/// Major and minor version of etcd; a patch version is allowed and does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version(u32, u32);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a version such as 3.6 or 3.5.16".to_owned();
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse().map_err(|_| wrong()));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(major), Some(minor), patch, None) => {
                patch.transpose()?;
                Ok(Version(major?, minor?))
            }
            _ => Err(wrong()),
        }
    }
}

/// Builds the directory.
///
/// # Errors
/// The members are not in order, the file is damaged or newer than it may be, or the directory cannot be made. Nothing is left.
pub(super) async fn run(args: Args, data_dir: PathBuf, context: Context) -> Outcome {
    let built = write(args, data_dir, context).await;
    built.map_err(|failed| match failed.exit {
        Exit::Interrupted => interrupted().effect("nothing was left behind"),
        _ => failed,
    })
}

/// As [`run`]. An interruption is heard by the work itself, which takes away what it has made.
async fn write(args: Args, data_dir: PathBuf, context: Context) -> Outcome {
    let (printer, format, file) = (context.printer, args.output, args.file().to_owned());
    let snapshot = SnapshotFile::open(args.file(), &args.access, &context).await?;
    let worked = tokio::task::spawn_blocking(move || {
        let chosen = choose(&args.offline, &recorded(&snapshot, &args, &context)?, args.file(), &data_dir)?;
        let membership = chosen.cluster.validate().map_err(|error| {
            Failed::new(Exit::Usage, "the members of the new cluster are not valid")
                .source(&error)
                .cause(format!("they are from {}", chosen.from))
        })?;
        let restored = build(&snapshot, &args, &data_dir, &membership, &context)
            .map_err(|error| refused(error, &args, &data_dir))?;
        Ok::<_, Failed>((restored, args, data_dir, membership, chosen.from))
    });
    let (restored, args, data_dir, membership, from) =
        worked.await.or_fail(|| format!("cannot restore {}", file.display()))??;
    for warning in told(&restored) {
        printer.warn(warning);
    }
    let local = membership.local();
    printer.note(format!("member {} has peer URL {}, by {from}", local.name, local.peer_urls.join(",")));
    let done = Done::of(&args, data_dir, &membership, from, &restored);
    let told = print_data(printer, format, &done, || done.table());
    let ready = format!("{} is ready for etcd; nothing else was changed", done.data_dir.display());
    told.map_err(|failed| failed.after_change(&ready))?;
    printer.note(ready);
    printer.note(next_step(&done.data_dir, done.wal_dir.as_deref(), membership.members().len()));
    Ok(())
}

/// Prints how the directory is built by hand.
///
/// # Errors
/// The members are not in order, or the file cannot be read or is damaged.
pub(super) async fn explained(args: Args, data_dir: PathBuf, context: Context) -> Outcome {
    let printer = context.printer;
    let snapshot = SnapshotFile::open(args.file(), &args.access, &context).await?;
    let worked = tokio::task::spawn_blocking(move || {
        let recorded = recorded(&snapshot, &args, &context)?;
        let chosen = choose(&args.offline, &recorded, args.file(), &data_dir)?;
        let membership = chosen.cluster.validate().map_err(|error| {
            Failed::new(Exit::Usage, "the members of the new cluster are not in order").source(&error)
        })?;
        let version = match args.offline.etcd_version {
            Some(Version(major, minor)) => format!("{major}.{minor}"),
            None => recorded.etcd_version,
        };
        Ok::<_, Failed>(explain::directory(&explain::Directory {
            file: args.file().display().to_string(),
            data_dir: data_dir.display().to_string(),
            wal_dir: args.offline.wal_dir.as_ref().map(|dir| dir.display().to_string()),
            name: chosen.cluster.name.clone(),
            initial_cluster: chosen.cluster.initial_cluster.clone(),
            token: chosen.cluster.initial_cluster_token.clone(),
            peer_urls: membership.local().peer_urls.join(","),
            bump: args.bump_revision.amount(),
            skip_hash_check: args.skip_hash_check,
            version: explain::Version::parse(&version),
        }))
    });
    printer.data(&worked.await.or_fail(|| "cannot read the file".to_owned())??)
}

/// The members that the file records, if the command line leaves them open.
///
/// # Errors
/// The file is damaged, or cannot be read.
fn recorded(snapshot: &SnapshotFile, args: &Args, context: &Context) -> Outcome<Recorded> {
    if !is_open(&args.offline) {
        return Ok(Recorded::default());
    }
    let file = args.file();
    let digest = if args.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute };
    let options = Options { digest, cancel: Some(&context.cancelled()), ..Options::default() };
    let bar = Progress::new(context.printer, "read", 0);
    let report =
        etcd_snapshot::verify(snapshot.source(), &options, &|at| bar.update(at.walked, at.total)).map_err(|error| {
            match error {
                VerifyError::Damaged(damage) => damaged(file, &damage),
                error => explain(error, file),
            }
        })?;
    drop(bar);
    // What the manifests said when the backup was taken is nearer to what is wanted than what the members had agreed on.
    let beside = verify::Recorded::of(snapshot, &report, context.printer);
    let etcd_version = beside.etcd_version.clone().unwrap_or(report.version);
    if let Some(path) = beside.path.filter(|_| !beside.members.is_empty()) {
        let known = beside.members.into_iter().map(|one| Known { name: one.name, peer_urls: one.peer_urls });
        return Ok(Recorded { members: known.collect(), place: path.display().to_string(), etcd_version });
    }
    let known = report.members.into_iter().map(|one| Known { name: one.name, peer_urls: one.peer_urls });
    Ok(Recorded { members: known.collect(), place: format!("the list of members in {}", file.display()), etcd_version })
}

fn build(
    snapshot: &SnapshotFile,
    args: &Args,
    data_dir: &Path,
    membership: &Membership,
    context: &Context,
) -> Result<Restored, RestoreError> {
    let destination = Destination { data_dir: data_dir.to_owned(), wal_dir: args.offline.wal_dir.clone() };
    let options = RestoreOptions {
        bump: args.bump_revision.amount(),
        digest: if args.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute },
        etcd_version: args.offline.etcd_version.map(|Version(major, minor)| (major, minor)),
        allow_older_etcd: args.offline.allow_older_etcd,
        cancel: Some(&context.cancelled()),
    };
    let bar = Progress::new(context.printer, "restore", 0);
    let progress = |at: RestoreProgress| bar.update(at.done, at.total);
    restore(snapshot.source(), membership, &destination, &options, &progress)
}

/// What is worth knowing: of the snapshot, of the new cluster, and of what was left out.
fn told(restored: &Restored) -> Vec<String> {
    let dropped = |member: &str, kind| {
        restored.dropped_alarms.iter().any(|alarm| alarm.member_id == member && alarm.kind == kind)
    };
    // That an alarm was there is said with what became of it.
    let of_snapshot = restored.report.warnings.iter().filter(|warning| match warning {
        Warning::Alarm { member_id, kind } => !dropped(member_id, *kind),
        _ => true,
    });
    let of_alarms = restored.dropped_alarms.iter().map(|alarm| {
        format!("alarm {} of member {} was not restored: the new database is compact", alarm.kind, alarm.member_id)
    });
    of_snapshot
        .map(ToString::to_string)
        .chain(restored.warnings.iter().map(ToString::to_string))
        .chain(of_alarms)
        .collect()
}

fn refused(error: RestoreError, args: &Args, data_dir: &Path) -> Failed {
    let (file, data_dir) = (args.file().display(), data_dir.display());
    let refuse = |message: String| Failed::new(Exit::Refused, message);
    match error {
        RestoreError::Verify(VerifyError::Damaged(damage)) => damaged(args.file(), &damage),
        RestoreError::Verify(error) => explain(error, args.file()),
        RestoreError::NoDigest => without_digest(args.file()),
        error @ RestoreError::NewerEtcd { .. } => Failed::new(Exit::Refused, format!("cannot restore {file}"))
            .source(&error)
            .hint("etcd does not support downgrades; to try it anyway\n  --allow-older-etcd"),
        error @ RestoreError::DataDirInUse(_) => refuse(format!("{data_dir} is in use"))
            .source(&error)
            .hint("build another directory, stop etcd, and then let etcd use the new one"),
        error @ RestoreError::DataDirNotEmpty(_) => refuse(format!("{data_dir} is not empty"))
            .source(&error)
            .hint("name a directory that does not exist; nothing is overwritten"),
        error @ RestoreError::WalDirNotEmpty(_) => refuse("the directory for the WAL is not empty".to_owned())
            .source(&error)
            .hint("name a directory that does not exist; nothing is overwritten"),
        error => Failed::plain(format!("cannot restore {file} to {data_dir}"))
            .source(&error)
            .effect("nothing was left behind"),
    }
}

/// How to let etcd use the directory that was built.
fn next_step(data_dir: &Path, wal_dir: Option<&Path>, members: usize) -> String {
    let absolute = |dir: &Path| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string();
    let dir = absolute(data_dir);
    let wal = wal_dir.map(|wal| format!("  and --wal-dir={}\n", absolute(wal))).unwrap_or_default();
    if members == 1 {
        return format!(
            "next, let etcd use it: on the control-plane node, in\n  \
             /etc/kubernetes/manifests/etcd.yaml\n  \
             set the hostPath of volume etcd-data (without kubeadm: --data-dir) to\n    {dir}\n{wal}  \
             The kubelet restarts etcd; wait until the API server answers:\n    kubectl get pods -n kube-system"
        );
    }
    format!(
        "next, when each of the {members} members has a directory, built from the same file:\n  \
         1. On all nodes, stop etcd and the API server; wait until both have ended:\n     \
         mv /etc/kubernetes/manifests/{{etcd,kube-apiserver}}.yaml /root/\n  \
         2. On the node of this member, set the hostPath of volume etcd-data in\n     \
         /root/etcd.yaml (without kubeadm: --data-dir) to the copy of\n     {dir}\n{wal}  \
         3. On all nodes, start them again:\n     \
         mv /root/{{etcd,kube-apiserver}}.yaml /etc/kubernetes/manifests/"
    )
}

/// The result as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    api_version: &'static str,
    kind: &'static str,
    file: String,
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
    name: String,
    peer_urls: Vec<String>,
    /// Where names and peer URLs are from, for people.
    members_from: String,
    member_id: String,
    cluster_id: String,
    /// Revision of the snapshot, and what it was raised to.
    snapshot_revision: i64,
    revision: i64,
    hash_kv: u32,
    keys: u64,
    /// Bytes of the new database.
    total_size: u64,
}

impl Done {
    fn of(args: &Args, data_dir: PathBuf, membership: &Membership, from: String, restored: &Restored) -> Done {
        Done {
            api_version: API_VERSION,
            kind: "Restored",
            file: args.file().display().to_string(),
            data_dir,
            wal_dir: args.offline.wal_dir.clone(),
            name: membership.local().name.clone(),
            peer_urls: membership.local().peer_urls.clone(),
            members_from: from,
            member_id: format!("{:x}", restored.member_id),
            cluster_id: format!("{:x}", restored.cluster_id),
            snapshot_revision: restored.report.hash_kv.revision,
            revision: restored.revision,
            hash_kv: restored.hash_kv.hash,
            keys: restored.report.live_keys,
            total_size: restored.database_bytes,
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["MEMBER", "ID", "CLUSTER ID", "REVISION", "KEYS", "SIZE", "HASHKV", "DATA DIR"]);
        table.row(vec![
            self.name.clone(),
            self.member_id.clone(),
            self.cluster_id.clone(),
            self.revision.to_string(),
            self.keys.to_string(),
            bytes(self.total_size),
            self.hash_kv.to_string(),
            self.data_dir.display().to_string(),
        ]);
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!("3.6".parse(), Ok(Version(3, 6)));
        assert_eq!("v3.5.16".parse(), Ok(Version(3, 5)));
        for wrong in ["", "3", "3.x", "3.5.16.1", "3.5-rc1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_step_names_the_directory_that_was_built() {
        let one = next_step(Path::new("/var/lib/etcd-restored"), None, 1);
        assert!(one.contains("\n    /var/lib/etcd-restored\n") && one.contains("etcd.yaml"), "{one}");
        let several = next_step(Path::new("/tmp/cp1"), Some(Path::new("/tmp/wal")), 3);
        assert!(several.contains("3 members") && several.contains("\n     /tmp/cp1\n"), "{several}");
        assert!(several.contains("--wal-dir=/tmp/wal"), "{several}");
        for text in [one, several] {
            assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        }
    }
}
