//! `etcd-sidecar recover`: what is left of etcd on this node, whether or not it runs, and whether or not an API server does. Nothing is changed.

mod locks;
mod show;
mod survey;

use std::path::PathBuf;

use clap::ValueEnum;
use etcd_wire::survey::{NodeSurvey, SurveyRequest};
use etcd_wire::{Failure, FailureCode};

use crate::node::etcds;
use crate::replay;

pub(crate) use survey::{in_use, log_end, run as survey};

pub(crate) const EXAMPLES: &str = "\
Examples, as root on a node of a cluster that has lost its quorum:

  # find etcd on this node, and show how far its log and its database are
  etcd-sidecar recover

  # the same of a directory that was set aside
  etcd-sidecar recover --data-dir /var/lib/etcd.bak -o json

  # a snapshot with everything that this member has, its log included
  etcd-sidecar recover --data-dir /var/lib/etcd --snapshot /var/lib/recovered.db

  # with an etcd program that this node does not have
  etcd-sidecar recover --data-dir /var/lib/etcd --etcd /root/etcd-3.5.16 --snapshot /var/lib/recovered.db

Of several nodes, the one with the highest term has the most, and of those with the same term the one with the highest index.
For a snapshot the member's files are copied to the folder of the snapshot, and etcd applies the log to the copy, in a network of its own. The copy is
removed afterwards. Nothing of the member is changed.

Exit codes: 0 done; 1 failed, or etcd was not found, or its log or database cannot be read; 2 wrong usage; 4 refused: etcd runs.";

/// What to look at, or what to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Data directory of etcd. By default it is looked for: in static pod manifests, systemd units, their files, and usual places.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Directory of the write-ahead log, if it is not in the data directory.
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    wal_dir: Option<PathBuf>,
    /// The kubelet's folder of static pod manifests.
    #[arg(long, value_name = "DIR", default_value = etcds::MANIFESTS, conflicts_with = "data_dir")]
    manifests_dir: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, conflicts_with = "snapshot")]
    output: Format,
    /// Snapshot file to make.
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    snapshot: Option<PathBuf>,
    /// Program of the etcd that has written the data. Without this, the one of the same minor version that the node's container runtime has, or the node.
    #[arg(long, value_name = "PATH", requires = "snapshot")]
    etcd: Option<PathBuf>,
}

impl Args {
    /// What a snapshot is made by, if one is asked for.
    pub(crate) fn replay(&self) -> Option<replay::Args> {
        let (data_dir, snapshot) = (self.data_dir.clone()?, self.snapshot.clone()?);
        Some(replay::Args { data_dir, wal_dir: self.wal_dir.clone(), etcd: self.etcd.clone(), snapshot })
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the survey as it is in the protocol.
    Json,
}

/// What was found, to be printed, and whether it is all that was looked for.
pub(crate) struct Surveyed {
    text: String,
    whole: bool,
}

impl Surveyed {
    /// The text for stdout; an error if something could not be read. The text has why.
    pub(crate) fn tell(self, print: impl FnOnce(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        print(&self.text)?;
        if self.whole { Ok(()) } else { anyhow::bail!("the survey is not complete; nothing was changed") }
    }
}

/// Surveys this node.
///
/// # Errors
/// A path is not absolute, or etcd was not found.
pub(crate) async fn run(args: &Args) -> Result<Surveyed, Failure> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map(|path| path.display().to_string()).map_err(|error| {
            Failure::new(FailureCode::BadRequest, format!("{} is no path", path.display())).source(&error)
        })
    };
    let request = SurveyRequest {
        data_dir: args.data_dir.as_ref().map(absolute).transpose()?,
        wal_dir: args.wal_dir.as_ref().map(absolute).transpose()?,
        manifests_dir: Some(absolute(&args.manifests_dir)?),
    };
    let survey = survey::run(request).await?;
    if survey.etcd.is_empty() {
        let failure = Failure::new(FailureCode::Storage, "etcd was not found on this node; nothing was changed");
        let causes = survey.failures.iter().flat_map(|one| std::iter::once(&one.message).chain(&one.causes));
        return Err(causes.fold(failure, |failure, cause| failure.cause(cause)).hint(etcds::WHERE));
    }
    let text = match args.output {
        Format::Table => show::table(&survey),
        Format::Json => serde_json::to_string_pretty(&survey)
            .map_err(|error| Failure::new(FailureCode::Other, "cannot write JSON").source(&error))?,
    };
    Ok(Surveyed { text, whole: is_whole(&survey) })
}

fn is_whole(survey: &NodeSurvey) -> bool {
    survey.etcd.iter().all(|etcd| etcd.log.is_some() && etcd.database.is_some() && etcd.failures.is_empty())
}
