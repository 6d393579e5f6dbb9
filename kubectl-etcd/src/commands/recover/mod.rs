//! `kubectl etcd recover`: what is left of an etcd that has lost its quorum, and which member has the most. With `--from`, the quorum is rebuilt.

mod interlocks;
mod judge;
mod rebuild;
mod show;

use std::path::Path;

use etcd_wire::survey::{NodeSurvey, SurveyRequest};
use futures::future::join_all;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Reach};
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome, print_data};
use crate::road::{Host, Road, Sidecar, SshArgs};
use crate::sidecar::{SidecarArgs, TransferError};
use crate::snapshot_file::{AccessArgs, is_stored};
use crate::transaction::RestoreFlags;

const EXAMPLES: &str = "\
Examples:
  # What is left on three nodes, and which of them has the most
  kubectl etcd recover --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13

  # The record beside a backup tells where the nodes are
  kubectl etcd recover --ssh=admin@ --plan etcd-prod-20261121T061640Z.db.json

  # So does that of the newest backup in a store; no identity is needed
  kubectl etcd recover --ssh=admin@ --plan s3://backups/prod/latest

  # Show the plan of a new quorum from the member that has the most
  kubectl etcd recover --ssh=root@ --nodes cp1=10.0.0.11 --from best \\
    --gone cp2,cp3 --dry-run=client

  # The same, carried out; asks for the name of the cluster
  kubectl etcd recover --ssh=root@ --nodes cp1=10.0.0.11 --from best \\
    --gone cp2,cp3

  # From a backup in a store
  kubectl etcd recover --ssh=root@ --nodes cp1=10.0.0.11 --gone cp2,cp3 \\
    --from s3://backups/prod/latest --identity backup.key --confirm cp1

  # On the only control-plane node itself, without SSH
  kubectl etcd recover --ssh --nodes cp1=local --from best

  # For a script
  kubectl etcd recover --ssh --nodes cp1=10.0.0.11 -o json";

/// Show what is left of an etcd without quorum
///
/// Reads the log and the database of etcd on every node, whether or not etcd runs, tells which member has the most, and changes nothing. No API server is needed: this machine's ssh
/// logs in to the nodes, and a sidecar is sent there, run as root, and taken away again. Etcd is found by static pod manifests and systemd units.
///
/// The member with the highest TERM has the most; among those of the same TERM, the member with the highest INDEX. A revision does not tell
/// that. ONLY IN LOG is the number of entries that the database of a member lacks and its log has: writes that clients were told of can be among them.
///
/// With --from the quorum is rebuilt on the nodes that are left. It is refused while the cluster has its quorum, or may have it on nodes that were not seen:
/// --gone names those that are gone for good. First the member that has the most makes a snapshot with every entry of its log, on a copy, and the
/// snapshot is kept here, in the current folder. Then the plan is shown, with the objects that would be lost, and the name of the cluster has to be
/// typed. Every node gets the snapshot, or the backup that --from names, as in `kubectl etcd restore`: all nodes roll back if anything fails, and the old
/// data is kept. Nodes that are gone join again afterwards, with kubeadm. docs/RECOVER.md has the way by hand.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Data directory of etcd on the nodes, where it is not found
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Directory of the write-ahead log, if it is not in the data directory
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    wal_dir: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    /// Rebuild the quorum from this: best is the member that has the most; else the name of a node, a snapshot file, or a backup in a store
    #[arg(long, value_name = "best|NODE|FILE|STORE/NAME", help_heading = "Rebuild the quorum")]
    from: Option<String>,
    /// Members or nodes that are gone for good, and can never start again with their data
    #[arg(long, value_name = "NODE", value_delimiter = ',', requires = "from", help_heading = "Rebuild the quorum")]
    gone: Vec<String>,
    /// Program on the node that applies the log: etcd of the version that ran there. By default it is found
    #[arg(long, value_name = "PATH", requires = "from", help_heading = "Rebuild the quorum")]
    etcd: Option<String>,
    #[command(flatten)]
    flags: RestoreFlags,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    ssh: SshArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        match self.ssh.ssh {
            // Refused as a whole.
            None => Vec::new(),
            Some(_) => {
                const SURVEY: &str = "without --from the nodes are only looked at";
                let mut idle = vec![Idle::connection("with --ssh no API server is asked")];
                match &self.from {
                    Some(from) => idle.extend(self.access.idle([Path::new(from)])),
                    None => idle.extend([
                        Idle::group::<RestoreFlags>(SURVEY),
                        Idle::group::<AccessArgs>(SURVEY),
                        Idle::group::<Reach>(SURVEY),
                        Idle::group::<Manifests>(SURVEY),
                    ]),
                }
                // The record that tells where the nodes are may have to be signed.
                match self.ssh.plan.as_deref().is_some_and(is_stored) {
                    true => idle.into_iter().map(|idle| idle.but(&["trust_key"])).collect(),
                    false => idle,
                }
            }
        }
    }
}

/// A node, and what was found there.
#[derive(Debug)]
pub(crate) struct Looked {
    host: Host,
    found: Result<NodeSurvey, Failed>,
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.ssh.ssh.is_none() {
        return Err(Failed::new(Exit::Usage, "recover reaches the nodes over SSH")
            .hint("say who logs in, and where the nodes are\n  kubectl etcd recover --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12")
            .hint("while the API server answers, see how the members are\n  kubectl etcd status"));
    }
    if args.from.is_some() {
        args.flags.without_api()?;
    }
    let plane = context.interruptible(ControlPlane::open_with(&args.ssh, &args.access, &context)).await?;
    let road = plane.road(&SidecarArgs::default(), &context).await?;
    let request = SurveyRequest { data_dir: args.data_dir.clone(), wal_dir: args.wal_dir.clone(), manifests_dir: None };
    let hosts = plane.hosts().unwrap_or_default().to_vec();
    let looking = async { Ok(join_all(hosts.into_iter().map(|host| look(&road, host, request.clone()))).await) };
    let looked = context.interruptible(looking).await?;
    if let Some(word) = &args.from {
        return rebuild::run(&args, word, &looked, &plane, &road, &context).await;
    }
    let report = judge::judge(plane.cluster(), &looked);
    let printed = print_data(context.printer, args.output, &report, || show::table(&report));
    report.warnings.iter().for_each(|warning| context.printer.warn(warning));
    match report.members.is_empty() {
        false => printed,
        true => {
            let why = report.nodes.iter().filter_map(|node| Some(format!("{}: {}", node.node, node.error.as_ref()?)));
            Err(Failed::plain("etcd was found on no node; nothing was changed").causes(why).also(printed))
        }
    }
}

async fn look(road: &Road, host: Host, request: SurveyRequest) -> Looked {
    let sidecar = Sidecar::Process { node: host.node.clone() };
    let asked = async {
        let mut session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
        let survey = session.survey(request).await?;
        road.rest(&sidecar, session);
        Ok(survey)
    };
    let found = asked.await;
    Looked { host, found }
}
