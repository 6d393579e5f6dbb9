//! `kubectl etcd status`: how every member is, as seen from its own node.

mod report;
mod table;

use jiff::Timestamp;

use crate::context::Context;
use crate::discovery::{self, Found, Overrides};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::kube_system;
use crate::output::{Failed, Format, Outcome, print_data};
use crate::sidecar::{Ask, Operation, Pods, SidecarArgs, access, survey};
use report::Report;
pub(crate) use report::{alarms, role};

const EXAMPLES: &str = "\
Examples:
  # All members
  kubectl etcd status

  # With nodes, quota, raft term and index
  kubectl etcd status -o wide

  # The member of one node, for a script
  kubectl etcd status --node cp1 -o json";

/// Show the members: role, version, size, revision, lag, alarms
///
/// Runs a sidecar on each control-plane node for a few seconds and asks the member there. LAG is the number of raft
/// entries that a member has not applied yet; CERTS is the time until its first certificate expires. Members that do not answer
/// are waited for a few seconds once a quorum has answered. Where the members belong to several etcd clusters, CLUSTER tells them
/// apart, and CONTENTS says what the API server keeps in each.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the member on this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let found =
        discovery::find(&connection, context.connection.etcd_namespace(), &args.overrides, args.node.as_deref())
            .await?;
    access::preflight(&connection, &args.sidecar.pod_namespace).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, context.printer));
    let Found { members, unreadable, api_servers, .. } = found;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
    let (surveyed, served) =
        tokio::join!(survey(&connection, &pods, members, Operation::Status, &ask), kube_system::served(&connection));
    let served = served.map_err(|failed| failed.one_line());
    let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(String::as_str) };
    let clusters = EtcdClusters::of(&surveyed, &evidence);
    let report = Report::of(&clusters, &unreadable, Timestamp::now());
    let told = print_data(context.printer, args.output, &report, || report.table(args.output == Format::Wide));
    for warning in report.warnings(&clusters) {
        context.printer.warn(warning);
    }
    if report.members.iter().all(|member| member.error.is_some()) {
        let failed = surveyed.iter().filter_map(|one| one.etcd().err()).next();
        return Err(failed
            .unwrap_or_else(|| Failed::plain("no member was found"))
            .context("no member could be asked")
            .also(told));
    }
    told
}
