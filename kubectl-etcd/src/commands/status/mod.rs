//! `kubectl etcd status`: how every member is, as seen from its own node.

mod full;
mod report;
mod table;

use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::connection::Connection;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, EtcdPod, Overrides, Unreadable};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::idle::Idle;
use crate::kube_system::Served;
use crate::live_members::{OnNodes, look_on_nodes};
use crate::member_probe::{self, Certificates, Looked, Probed};
use crate::output::{Exit, Failed, Format, Outcome, data_text};
use crate::road::{Road, SshArgs};
use crate::sidecar::{Ask, Operation, SidecarArgs, Surveyed, Via, access, survey};
use report::Report;

const EXAMPLES: &str = "\
Examples:
  # All members
  kubectl etcd status

  # With nodes, quota, raft term and index
  kubectl etcd status -o wide

  # For a monitor: exit code 0 if all is well, 6 if etcd is degraded
  kubectl etcd status --exit-code

  # The member of one node, for a script
  kubectl etcd status --node cp1 -o json

  # The API server is down: over SSH, from the nodes themselves
  kubectl etcd status --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12

  # The same; the record beside a backup tells where the nodes are
  kubectl etcd status --ssh=admin@ --plan etcd-prod-20261121T061640Z.db.json";

/// How long `--watch` waits between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Show the members: health, role, version, size, lag, alarms
///
/// Runs etcdctl in the members' own containers: no pod is made, and nothing is written. A member without a pod in the API is reached
/// through the kubelet of its node. Only where etcdctl cannot be run is a pod started on the node for a few seconds.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, and a sidecar is sent there, run as root, and taken away again.
/// The sidecar finds etcd by the manifests in /etc/kubernetes/manifests, or by the systemd unit etcd.service.
///
/// LAG is the number of raft entries that a member has not applied yet. CERTS is the time until the certificate expires that the
/// member presents to its clients; where a sidecar is used, until the first of its certificates does, the one for its peers among them. Where the members belong to several etcd clusters, CONTENTS says what the API server keeps in each.
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
    /// Look again every two seconds, until interrupted
    #[arg(short, long, conflicts_with = "exit_code")]
    watch: bool,
    /// Exit with 6 if etcd is degraded: a member does not answer or knows no leader, an alarm is raised, or a certificate has expired
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        self.ssh.idle::<SidecarArgs>()
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let seen = look(&args, &context, &plane, None).await?;
    if args.watch {
        return watch(&args, &context, &plane, seen).await;
    }
    let told = seen.tell(&args);
    let printed = told.text.and_then(|text| context.printer.data(&text));
    told.warnings.iter().for_each(|warning| context.printer.warn(warning));
    match told.failed {
        Some(failed) => {
            Err(Failed { exit: exit_in_vain(&seen.surveyed, args.exit_code, failed.exit), ..failed }.also(printed))
        }
        None if told.degraded && args.exit_code => Err(Failed::new(Exit::Degraded, "etcd is degraded").also(printed)),
        None => printed,
    }
}

/// Shows what is seen again and again, until the user interrupts or the reader of the output has gone. A look that fails is told, and
/// another is taken: the API may come back.
async fn watch(args: &Args, context: &Context, plane: &ControlPlane, mut seen: Seen) -> Outcome {
    let mut said = Vec::new();
    loop {
        let told = seen.tell(args);
        if !context.printer.again(&told.text?)? {
            return Ok(());
        }
        // On a terminal they were cleared away with the rest.
        if told.warnings != said || std::io::stdout().is_terminal() {
            told.warnings.iter().for_each(|warning| context.printer.warn(warning));
        }
        said = told.warnings;
        seen = loop {
            tokio::time::sleep(INTERVAL).await;
            match look(args, context, plane, Some(&seen)).await {
                Ok(seen) => break seen,
                Err(failed) => context.printer.warn(failed.one_line()),
            }
        };
    }
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

/// Asks everybody. A certificate that was seen `before` is not looked at again; those of members that have appeared since are.
async fn look(args: &Args, context: &Context, plane: &ControlPlane, before: Option<&Seen>) -> Outcome<Seen> {
    match plane.api() {
        Some(connection) => look_by_api(args, context, connection, before).await,
        None => over_ssh(args, context, plane).await,
    }
}

/// Asks every node by a sidecar. One that was not reached is a member that does not answer.
async fn over_ssh(args: &Args, context: &Context, plane: &ControlPlane) -> Outcome<Seen> {
    let road = plane.road(&args.sidecar, context).await?;
    let looked = look_on_nodes(context, plane, &road, &args.overrides, args.node.as_deref());
    let OnNodes { surveyed, api_servers, named } = looked.await?;
    let served = plane.served().await.map_err(|failed| failed.one_line());
    Ok(Seen { surveyed, unreadable: Vec::new(), api_servers, served, named })
}

/// As the API knows the members.
async fn look_by_api(args: &Args, context: &Context, connection: &Connection, before: Option<&Seen>) -> Outcome<Seen> {
    let namespace = context.connection.etcd_namespace();
    let node = args.node.as_deref();
    let seen = Certificates::Unseen(before.map_or(&[], |before| &before.surveyed));
    let looked = member_probe::look(connection, context.printer, namespace, &args.overrides, node, seen);
    let Looked { probed, unreadable, api_servers, served, named, outside, key } = looked.await?;
    outside.iter().filter(|_| before.is_none()).for_each(|line| context.printer.note(line));
    let Probed { asked: mut surveyed, unreached } = probed;
    surveyed.extend(by_sidecars(args, context, connection, unreached, &key).await);
    surveyed.sort_by(|a, b| (&a.member.node, &a.member.pod).cmp(&(&b.member.node, &b.member.pod)));
    for one in &mut surveyed {
        let same = |other: &&Surveyed| other.member.node == one.member.node && other.member.pod == one.member.pod;
        let known = before.and_then(|before| before.surveyed.iter().find(same)).and_then(|other| other.served.clone());
        one.served = one.served.take().or(known);
    }
    Ok(Seen { surveyed, unreadable, api_servers, served: served.map_err(|failed| failed.one_line()), named })
}

/// Asks the members that have no `etcdctl` that can be run, by pods on their nodes.
async fn by_sidecars(
    args: &Args,
    context: &Context,
    connection: &Connection,
    unreached: Vec<(EtcdPod, Failed)>,
    key: &str,
) -> Vec<Surveyed> {
    let Some((_, why)) = unreached.first() else { return Vec::new() };
    if let Err(failed) = access::preflight(connection, &args.sidecar.pod_namespace).await {
        let silent = |(member, why): (EtcdPod, Failed)| {
            let cause = why.cause(failed.one_line());
            let outcome = Err(Failed { hints: failed.hints.clone(), exit: failed.exit, ..cause });
            Surveyed { member, outcome, via: Via::Sidecar, sidecar: None, served: None }.named()
        };
        return unreached.into_iter().map(silent).collect();
    }
    if args.watch {
        let silent = |(member, why): (EtcdPod, Failed)| {
            let outcome = Err(why.cause("--watch does not create pods"));
            Surveyed { member, outcome, via: Via::Sidecar, sidecar: None, served: None }.named()
        };
        return unreached.into_iter().map(silent).collect();
    }
    context.printer.note(format!("asking by pods on the nodes: {}", why.one_line()));
    let road = context.keep_track(Road::exec(connection, &args.sidecar, context.printer));
    let ask = Ask { kube_system: Some(key.to_owned()), quorum_will_do: true };
    let members = unreached.into_iter().map(|(member, _)| member).collect();
    survey(&road, members, Operation::Status, &ask).await
}

/// The exit code where nobody answers: etcd is degraded, unless this user may not ask any member.
fn exit_in_vain(surveyed: &[Surveyed], wanted: bool, first: Exit) -> Exit {
    let mut errors = surveyed.iter().filter_map(|one| one.etcd().err());
    match first {
        _ if wanted && errors.any(|failed| failed.exit != Exit::Refused) => Exit::Degraded,
        Exit::Refused => Exit::Failed,
        first => first,
    }
}

/// What is told of it.
struct Told {
    /// For stdout.
    text: Outcome<String>,
    warnings: Vec<String>,
    degraded: bool,
    /// Why there is nothing to tell.
    failed: Option<Failed>,
}

impl Seen {
    fn tell(&self, args: &Args) -> Told {
        let evidence =
            Evidence { api_servers: &self.api_servers, served: self.served.as_ref().map_err(String::as_str) };
        let clusters = EtcdClusters::of(&self.surveyed, &evidence);
        let report = Report::of(&clusters, &self.unreadable, Timestamp::now(), self.named);
        let in_vain = report.members.iter().all(|member| member.error.is_some());
        let failed = in_vain.then(|| {
            let failed = self.surveyed.iter().filter_map(|one| one.etcd().err()).next();
            failed.unwrap_or_else(|| Failed::plain("no member was found")).context("no member could be asked")
        });
        Told {
            text: data_text(args.output, &report, || report.table(args.output == Format::Wide)),
            warnings: report.warnings(&clusters),
            degraded: report.degraded,
            failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd_clusters::samples::silent;

    #[test]
    fn etcd_is_degraded_where_no_member_answers() {
        let asked = [silent("cp1", 2379), silent("cp2", 2379)];
        assert_eq!(exit_in_vain(&asked, true, Exit::Failed), Exit::Degraded);
        assert_eq!(exit_in_vain(&asked, false, Exit::Failed), Exit::Failed);
        let mut forbidden = silent("cp1", 2379);
        forbidden.outcome = Err(Failed::new(Exit::Refused, "no right"));
        assert_eq!(exit_in_vain(&[forbidden], true, Exit::Refused), Exit::Failed);
        assert_eq!(exit_in_vain(&[], true, Exit::Refused), Exit::Failed);
    }
}
