//! `kubectl etcd list`: the snapshots of a folder or of nodes, and whether they are whole; the backups of a store.

mod find;
mod nodes;
mod show;
mod stored;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::commands::backup::node_folder;
use crate::commands::verify::{self, State};
use crate::context::Context;
use crate::discovery::Selector;
use crate::idle::{Idle, NAMESPACE};
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, ResultExt};
use crate::sidecar::SidecarArgs;
use crate::snapshot_file::{AccessArgs, SnapshotFile};
use find::Candidate;
use show::{Format, Row, Whole};

const EXAMPLES: &str = "\
Examples:
  # The snapshots in this folder, each checked
  kubectl etcd list

  # Those of another folder, by what was recorded beside them
  kubectl etcd list /backups --no-verify

  # The backups in a store, and which cluster each is of
  kubectl etcd list s3://backups/prod

  # The clusters of a store, a line each
  kubectl etcd list s3://backups --all-clusters

  # The copies that backup --on-node has kept, on all nodes that run etcd
  kubectl etcd list --on-node /var/lib/etcd-backups

  # The newest snapshot that is whole, for a script
  kubectl etcd list /backups -o json |
    jq -r '[.items[] | select(.whole)] | max_by(.takenAt).path'";

/// List snapshots in folders and on nodes, and backups in stores
///
/// Of a folder:
/// checks each file as kubectl etcd verify does. Cluster and time are those that were recorded beside the file (FILE.json), if the
/// record is of this very file. Files that are no snapshots are passed over. Reads only the folder: no cluster is needed, and
/// nothing is changed.
///
/// WHOLE is yes, no, unproven (a copy of a database, which has no digest), unchecked or unknown (the file cannot be read). With
/// --no-verify only sizes are compared with what was recorded: fast, and no proof.
///
/// Of a store: one listing, and the record of the newest backup of each cluster. LEVEL is how much of a backup is proved: written (checked when
/// it was written), read, opened, booted; digest is less than all. It is unknown where it is only in a record that was not read: -o wide reads
/// all records. Suspect and unfinished backups are shown with a REASON. Stores and folders may be named together.
///
/// Of nodes, with --on-node: the snapshots in that folder, checked on the node by a pod that can only read the folder. AGE is by the
/// name of the file, where backup has made the name. A node without the folder has none.
///
/// Ends with exit code 3 if a file is damaged, and 1 if a file cannot be read or a node cannot be asked; all others are shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of snapshots, or store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX, file:///DIR, each with /UID at its end for one cluster
    /// [default: this folder, unless --on-node is given]
    #[arg(value_name = "STORE|DIR", value_hint = clap::ValueHint::DirPath, verbatim_doc_comment)]
    places: Vec<OsString>,
    /// A line for each cluster of a store, with its newest backup
    #[arg(long, conflicts_with = "no_verify")]
    all_clusters: bool,
    /// Do not check the files
    #[arg(long)]
    no_verify: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// The snapshots that backups have kept on nodes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Copies on nodes")]
struct NodeArgs {
    /// Also list the snapshots in this folder of the nodes: that of backup --on-node
    #[arg(long, value_name = "DIR", value_parser = node_folder, conflicts_with = "all_clusters")]
    on_node: Option<String>,
    /// Only ask these nodes [default: all that run etcd]
    #[arg(long, value_name = "NODE", value_delimiter = ',', requires = "on_node")]
    nodes: Vec<String>,
    #[command(flatten)]
    pods: Selector,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const OFFLINE: &str = "without --on-node, list reads only folders and stores";
        match &self.nodes {
            NodeArgs { on_node: None, .. } => {
                vec![Idle::connection(OFFLINE), Idle::group::<SidecarArgs>(OFFLINE), Idle::group::<Selector>(OFFLINE)]
            }
            NodeArgs { nodes, .. } if nodes.is_empty() => Vec::new(),
            _ => vec![
                Idle::group::<Selector>("--nodes names the nodes"),
                Idle::flags(&[NAMESPACE], "--nodes names the nodes"),
            ],
        }
    }
}

fn no_folder(file: &Path) -> Failed {
    let file = file.display().to_string();
    Failed::new(Exit::Usage, format!("{file} is no folder"))
        .hint(format!("check one file with\n  kubectl etcd verify {}", quoted(&file)))
}

/// Where a file is damaged.
const SEE_FILE: &str = "see where a file is damaged with\n  kubectl etcd verify FILE";

/// Lists what is named.
///
/// # Errors
/// A folder, a store or a node cannot be read; or a file is damaged (exit 3) or cannot be read, after all of them are shown.
pub(crate) async fn run(mut args: Args, context: Context) -> Outcome {
    if args.places.is_empty() && args.nodes.on_node.is_none() {
        args.places.push(".".into());
    }
    match args.places.as_slice() {
        [place] if stored::scope(place)?.is_none() && !args.all_clusters && args.nodes.on_node.is_none() => {
            let folder = PathBuf::from(place);
            let rows = rows(&folder, args.no_verify, &context).await?;
            let told = show::show(&args, &folder, &rows, Timestamp::now(), context.printer);
            verdict(&rows, SEE_FILE, told)
        }
        _ => stored::run(&args, &context).await,
    }
}

/// The snapshots of a folder.
///
/// # Errors
/// The folder cannot be read, or the user has interrupted.
async fn rows(folder: &Path, no_verify: bool, context: &Context) -> Outcome<Vec<Row>> {
    if folder.is_file() {
        return Err(no_folder(folder));
    }
    let folder = folder.to_owned();
    let found = tokio::task::spawn_blocking(move || find::find(&folder)).await;
    let found = found.or_fail(|| "cannot read the folder".to_owned())??;
    let mut rows = Vec::new();
    for candidate in found {
        let row = match no_verify {
            true => Row::recorded(&candidate),
            false => checked(&candidate, context).await?,
        };
        rows.push(row);
    }
    Ok(rows)
}

/// What is told of files that are not whole, once all are shown, and what to do about a damaged one.
fn verdict<'a>(rows: impl IntoIterator<Item = &'a Row>, damaged_hint: &str, told: Outcome) -> Outcome {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let reasons = |whole: Whole| {
        let of = rows.iter().filter(move |row| row.whole == whole);
        of.map(|row| (row.file.clone(), row.reason.clone().unwrap_or_default()))
    };
    let (damaged, unread) = (reasons(Whole::No).count(), reasons(Whole::Unknown).count());
    let message = |count: usize, what: &str| {
        format!("{count} of {} snapshots {} {what}", rows.len(), if count == 1 { "is" } else { "are" })
    };
    let failed = match (damaged, unread) {
        (0, 0) => return told,
        (0, unread) => Failed::plain(message(unread, "not readable")),
        (damaged, _) => Failed::new(Exit::Damaged, message(damaged, "damaged")).hint(damaged_hint),
    };
    Err(failed.each("files", reasons(Whole::No)).each("files", reasons(Whole::Unknown)).also(told))
}

/// Checks a file. What is wrong with it is told in its row.
///
/// # Errors
/// The user has interrupted.
async fn checked(candidate: &Candidate, context: &Context) -> Outcome<Row> {
    let file = match SnapshotFile::open(&candidate.path, &AccessArgs::default(), context).await {
        Ok(file) => file,
        Err(failed) if failed.exit == Exit::Interrupted => return Err(failed),
        Err(failed) => return Ok(Row::failed(candidate, &failed)),
    };
    let (printer, cancelled) = (context.printer, context.cancelled());
    let what = format!("verify {}", candidate.name);
    let to_check = file.clone();
    let done = tokio::task::spawn_blocking(move || verify::check(&to_check, &cancelled, printer, &what)).await;
    match done.or_fail(|| format!("cannot check {}", candidate.path.display()))? {
        Ok(Ok(checked)) => Ok(Row::checked(candidate, &file, &checked)),
        Ok(Err(damage)) => {
            let reason = damage.findings.first().map(ToString::to_string).unwrap_or_default();
            Ok(Row::wrong(candidate, Whole::No, reason))
        }
        Err(error) => match verify::explain(error, &candidate.path) {
            failed if failed.exit == Exit::Interrupted => Err(failed),
            failed => Ok(Row::failed(candidate, &failed)),
        },
    }
}

impl From<State> for Whole {
    fn from(state: State) -> Whole {
        match state {
            State::Whole => Whole::Yes,
            State::Unproven => Whole::Unproven,
            State::Damaged => Whole::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_a_file_can_be_pasted() {
        assert!(no_folder(Path::new("/b/a;id.db")).hints[0].ends_with("\n  kubectl etcd verify '/b/a;id.db'"));
    }
}
