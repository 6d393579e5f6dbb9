//! What an operator can type on a node about a restore that has begun.

use std::path::PathBuf;

/// The group of flags about a restore that has begun: with one of them, nothing is built.
pub(crate) const BEGUN: &str = "begun";
/// What excludes flags of --resume: clap does not ask for a flag that another one excludes.
const NOT_RESUME: [&str; 2] = ["status", "forget"];

/// With one of these, nothing is built from a snapshot file.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "A restore of the control plane that has begun")]
#[group(skip)]
#[command(group = clap::ArgGroup::new(BEGUN).multiple(false))]
pub(crate) struct Args {
    /// Show how the last restore is, by this node's journal and by what the other nodes answer, and what to do. Changes nothing
    #[arg(long, group = BEGUN)]
    pub(crate) status: bool,
    /// Bring this node what it needs to end a restore: the decision, if it is known; else new certificates
    #[arg(long, group = BEGUN, value_name = "ID", num_args = 0..=1)]
    pub(crate) resume: Option<Option<String>>,
    /// Do not wait any more for nodes that have not confirmed the end of this restore; refused while this node has other work left
    #[arg(long, group = BEGUN, value_name = "ID")]
    pub(crate) forget: Option<String>,
    /// Take into account this copy of another node's journal (/var/lib/kubectl-etcd/ID/journal there); can be repeated
    #[arg(long, value_name = "FILE", requires = BEGUN)]
    pub(crate) journal: Vec<PathBuf>,
    /// With --resume: decide without these nodes, which are gone for good. If one of them runs again, two clusters may serve
    #[arg(long, value_name = "NODE", value_delimiter = ',', requires = "resume", conflicts_with_all = NOT_RESUME)]
    pub(crate) without: Vec<String>,
    /// With --without: the name of the cluster, as consent to that risk
    #[arg(long, value_name = "CLUSTER", requires = "without")]
    pub(crate) confirm: Option<String>,
    /// With --resume: write new certificates, a file for each node, into this directory (made if missing). Each file holds a key: carry it
    /// to its node, and delete it when that node has taken it
    #[arg(long, value_name = "DIR", requires = "resume", conflicts_with_all = NOT_RESUME)]
    pub(crate) write_identities: Option<PathBuf>,
    /// With --resume: take this node's new certificate from its file
    #[arg(long, value_name = "FILE", requires = "resume", conflicts_with_all = ["status", "forget", "without", "write_identities"])]
    pub(crate) identity: Option<PathBuf>,
    /// How --status is printed
    #[arg(short, long, value_name = "FORMAT", requires = "status", conflicts_with_all = ["resume", "forget"], default_value = "table")]
    pub(crate) output: Format,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

impl Args {
    /// Whether it is about a restore that has begun.
    pub(crate) fn looks_back(&self) -> bool {
        self.status || self.resume.is_some() || self.forget.is_some()
    }
}
