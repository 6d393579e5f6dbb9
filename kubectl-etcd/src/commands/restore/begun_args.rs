//! The flags about a restore that has begun, and what they exclude.

use std::time::Duration;

use crate::connection::parse_duration;
use crate::idle::Idle;

/// What says how a restore is to be done, and nothing to one that has begun.
const ONLY_A_NEW_ONE: [&str; 13] = [
    "file",
    "dry_run",
    "peer_port",
    "start_timeout",
    "to_nodes",
    "new_cluster",
    "no_rollback",
    "bump_revision",
    "allow_lower_revisions",
    "skip_hash_check",
    "store",
    "identity",
    "trust_key",
];

/// The flags of which one is given at most.
const ONE_OF: &str = "begun";

/// What is to be done about a restore that has begun.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A restore that has begun")]
#[group(skip)]
#[command(group = clap::ArgGroup::new(ONE_OF).multiple(false))]
pub(super) struct BegunArgs {
    /// Show the state of the last restore on every node, and what to do if it does not end; needs no file. While the API server is away,
    /// wait for it
    #[arg(long, group = ONE_OF, conflicts_with_all = ONLY_A_NEW_ONE)]
    pub(super) status: bool,
    /// Follow an unfinished restore to its end; needs no file
    #[arg(long, group = ONE_OF, conflicts_with_all = ONLY_A_NEW_ONE)]
    pub(super) follow: bool,
    /// Bring an unfinished restore to its end: if a node knows the decision, tell the others; else give all nodes new certificates, so
    /// that they can decide. Needs no file
    #[arg(long, group = ONE_OF, conflicts_with_all = ONLY_A_NEW_ONE)]
    pub(super) resume: bool,
    /// With --resume: decide without these nodes, which are gone for good. Asks for the name of the cluster: if such a node runs again,
    /// two clusters may serve
    #[arg(long, value_name = "NODE", value_delimiter = ',', requires = "resume", conflicts_with_all = ["status", "follow", "forget"])]
    pub(super) without: Vec<String>,
    /// Do not wait any more for nodes that have not confirmed the end of this restore, nor for API servers that have not become ready in
    /// time; refused while a node has other work left
    #[arg(long, value_name = "ID", group = ONE_OF, conflicts_with_all = ONLY_A_NEW_ONE)]
    pub(super) forget: Option<String>,
    /// How long to wait for an API server that is away; 0 does not wait
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

impl BegunArgs {
    /// Whether it is about a restore that has begun.
    pub(super) fn looks_back(&self) -> bool {
        self.status || self.follow || self.resume || self.forget.is_some()
    }

    /// The flags that have no effect, through the API server or over SSH.
    pub(super) fn idle(&self, over_ssh: bool) -> Vec<Idle> {
        if over_ssh && self.looks_back() {
            let mut idle = self.idle(false);
            idle.push(Idle::flags(&["timeout"], "with --ssh no API server is waited for"));
            return idle;
        }
        if !self.looks_back() {
            let why = "only --status, --follow, --resume and --forget wait for an API server that is away";
            return vec![Idle::flags(&["timeout"], why)];
        }
        let output = self.forget.as_ref().map(|_| Idle::flags(&["output"], "--forget prints no data"));
        let why = "of a restore that has begun, only --resume --without has to be confirmed";
        let confirm = self.without.is_empty().then(|| Idle::flags(&["confirm"], why));
        output.into_iter().chain(confirm).collect()
    }
}
