//! `kubectl etcd status`: how every member is, as seen from its own node.

mod report;
mod table;

use jiff::Timestamp;

use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, ApiServer, EtcdPod, Found, Overrides, Unreadable};
use crate::etcd_clusters::{EtcdClusters, Evidence, lists};
use crate::kube_system::{self, Served};
use crate::member_probe::{Probed, probe};
use crate::output::{Failed, Format, Outcome, print_data};
use crate::sidecar::{Ask, Operation, Pods, SidecarArgs, Surveyed, Via, access, survey};
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

/// Show the members: health, role, version, size, lag, alarms
///
/// Runs etcdctl in the members' own containers: no pod is made, and nothing is written. A member without a pod in the API is reached
/// through the kubelet of its node. Only where etcdctl cannot be run is a pod started on the node for a few seconds.
///
/// LAG is the number of raft entries that a member has not applied yet. CERTS is the time until the certificate expires that the
/// member presents to its clients. Where the members belong to several etcd clusters, CONTENTS says what the API server keeps in each.
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
    let seen = look(&args, &context, &connection, None).await?;
    show(&args, &context, &seen)
}

/// What was found out.
struct Seen {
    surveyed: Vec<Surveyed>,
    unreadable: Vec<Unreadable>,
    api_servers: Vec<ApiServer>,
    /// Namespace kube-system as the API serves it, or why that is not known.
    served: Result<Served, String>,
    /// Whether the user has named the members.
    named: bool,
}

/// Asks everybody. What `before` has of certificates is not asked again: each look at one is a line in etcd's log.
async fn look(args: &Args, context: &Context, connection: &Connection, before: Option<&Seen>) -> Outcome<Seen> {
    let namespace = context.connection.etcd_namespace();
    let (found, served) = tokio::join!(
        discovery::find(connection, namespace, &args.overrides, args.node.as_deref()),
        kube_system::served(connection)
    );
    let Found { members, mut unreadable, api_servers, named } = found?;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let key = kube_system::key(prefix);
    let mut probed = probe(connection, members, &key, before.is_none()).await;
    if !named && lacks_members(&probed.asked) {
        let more = without_mirror(args, context, connection, &probed).await;
        unreadable.extend(more.unreadable);
        let more = probe(connection, more.members, &key, before.is_none()).await;
        probed.asked.extend(more.asked);
        probed.unreached.extend(more.unreached);
    }
    let Probed { asked: mut surveyed, unreached } = probed;
    surveyed.extend(by_sidecars(args, context, connection, unreached, key).await);
    surveyed.sort_by(|a, b| (&a.member.node, &a.member.pod).cmp(&(&b.member.node, &b.member.pod)));
    for one in &mut surveyed {
        let same = |other: &&Surveyed| other.member.node == one.member.node && other.member.pod == one.member.pod;
        let known = before.and_then(|before| before.surveyed.iter().find(same)).and_then(|other| other.served.clone());
        one.served = one.served.take().or(known);
    }
    Ok(Seen { surveyed, unreadable, api_servers, served: served.map_err(|failed| failed.one_line()), named })
}

/// Whether members know of others that were not found.
fn lacks_members(asked: &[Surveyed]) -> bool {
    let mut listed = asked.iter().filter_map(|one| one.etcd().ok()).flat_map(|status| &status.members);
    listed.any(|member| !asked.iter().any(|one| lists(std::slice::from_ref(member), &one.member)))
}

/// The members whose pods only the kubelets know, but for those that were asked.
async fn without_mirror(args: &Args, context: &Context, connection: &Connection, probed: &Probed) -> Found {
    let namespace = context.connection.etcd_namespace();
    let mut found = match discovery::without_mirror(connection, namespace, &args.overrides).await {
        Ok((found, failures)) => {
            failures.iter().for_each(|failed| context.printer.warn(failed.one_line()));
            found
        }
        Err(failed) => {
            context.printer.warn(format!(
                "members are missing, and their pods may be known to the kubelets only: {}",
                failed.one_line()
            ));
            return Found::default();
        }
    };
    let asked = probed.asked.iter().map(|one| &one.member).chain(probed.unreached.iter().map(|(member, _)| member));
    let known: Vec<(String, String)> = asked.map(|member| (member.node.clone(), member.pod.clone())).collect();
    let is_new = |node: &str, pod: &str| !known.iter().any(|(its, name)| its == node && name == pod);
    found.members.retain(|member| is_new(&member.node, &member.pod));
    found.unreadable.retain(|one| is_new(one.node.as_deref().unwrap_or_default(), &one.pod));
    found
}

/// Asks the members that have no `etcdctl` that can be run, by pods on their nodes.
async fn by_sidecars(
    args: &Args,
    context: &Context,
    connection: &Connection,
    unreached: Vec<(EtcdPod, Failed)>,
    key: String,
) -> Vec<Surveyed> {
    let Some((_, why)) = unreached.first() else { return Vec::new() };
    if let Err(failed) = access::preflight(connection, &args.sidecar.pod_namespace).await {
        let silent = |(member, why): (EtcdPod, Failed)| {
            let outcome = Err(Failed { hints: failed.hints.clone(), ..why.cause(failed.one_line()) });
            Surveyed { member, outcome, via: Via::Sidecar, sidecar: None, served: None }.named()
        };
        return unreached.into_iter().map(silent).collect();
    }
    context.printer.note(format!("asking by pods on the nodes: {}", why.one_line()));
    let pods = context.keep_track(Pods::new(connection, &args.sidecar, context.printer));
    let ask = Ask { kube_system: Some(key), quorum_will_do: true };
    let members = unreached.into_iter().map(|(member, _)| member).collect();
    survey(connection, &pods, members, Operation::Status, &ask).await
}

fn show(args: &Args, context: &Context, seen: &Seen) -> Outcome {
    let evidence = Evidence { api_servers: &seen.api_servers, served: seen.served.as_ref().map_err(String::as_str) };
    let clusters = EtcdClusters::of(&seen.surveyed, &evidence);
    let report = Report::of(&clusters, &seen.unreadable, Timestamp::now(), seen.named);
    let told = print_data(context.printer, args.output, &report, || report.table(args.output == Format::Wide));
    for warning in report.warnings(&clusters) {
        context.printer.warn(warning);
    }
    if report.members.iter().all(|member| member.error.is_some()) {
        let failed = seen.surveyed.iter().filter_map(|one| one.etcd().err()).next();
        return Err(failed
            .unwrap_or_else(|| Failed::plain("no member was found"))
            .context("no member could be asked")
            .also(told));
    }
    told
}
