//! `kubectl etcd recover`: what is left of an etcd that has lost its quorum, and which member has the most. It changes nothing.

mod judge;
mod show;

use etcd_wire::survey::{NodeSurvey, SurveyRequest};
use futures::future::join_all;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome, print_data};
use crate::road::{Host, Road, Sidecar, SshArgs};
use crate::sidecar::{SidecarArgs, TransferError};

const EXAMPLES: &str = "\
Examples:
  # What is left on three nodes, and which of them has the most
  kubectl etcd recover --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13

  # The record beside a backup tells where the nodes are
  kubectl etcd recover --ssh=admin@ --plan etcd-prod-20261121T061640Z.db.json

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
/// What to do then is in docs/RECOVER.md: `etcd-sidecar recover --snapshot` on the best node makes a snapshot with every entry of the log.
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
    #[command(flatten)]
    ssh: SshArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        match self.ssh.ssh {
            // Refused as a whole.
            None => Vec::new(),
            Some(_) => vec![Idle::connection("with --ssh no API server is asked")],
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
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let road = plane.road(&SidecarArgs::default(), &context).await?;
    let request = SurveyRequest { data_dir: args.data_dir.clone(), wal_dir: args.wal_dir.clone(), manifests_dir: None };
    let hosts = args.ssh.hosts()?;
    let looked = join_all(hosts.into_iter().map(|host| look(&road, host, request.clone()))).await;
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
