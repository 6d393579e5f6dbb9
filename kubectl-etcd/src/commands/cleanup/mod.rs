//! `kubectl etcd cleanup`: what a crash left behind, and what restores and replacements of members have kept.

mod old_data;
mod participants;

use participants::{Participant, Participants, is_participant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use crate::connection::Connection;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Reach};
use crate::idle::Idle;
use crate::output::API_VERSION;
use crate::output::confirm::Question;
use crate::output::{Exit, Failed, Format, Outcome, Printer, Table, age, print_data, timestamp};
use crate::road::SshArgs;
use crate::sidecar::{MANAGED_BY, OPERATION, SESSION, SidecarArgs, access::explain, remove};

/// Pods that run the sidecar: for a command, or as the participant of a restore.
const SIDECARS: &str = "app.kubernetes.io/name=etcd-sidecar";
/// The namespace of participants.
const STATIC_PODS: &str = "kube-system";

const EXAMPLES: &str = "\
Examples:
  # Show what is there, and ask before it is deleted
  kubectl etcd cleanup

  # Only show it
  kubectl etcd cleanup --dry-run

  # Delete it without a question
  kubectl etcd cleanup --yes

  # Show the old data of restores and replaced members; ask, and remove it
  kubectl etcd cleanup --old-data

  # The same over SSH, where no API server answers
  kubectl etcd cleanup --old-data --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12

  # Where it lies, and why it is kept
  kubectl etcd cleanup --old-data --dry-run -o wide";

/// Find and remove what an earlier run left behind
///
/// A run deletes its pods when it ends, fails or is interrupted; only one that was killed leaves them, and they end
/// by themselves soon after. A pod of a run that is still going on elsewhere is listed too: look at AGE and STARTED-BY.
///
/// A restore runs a participant on every control-plane node, as a static pod, which leaves when the restore has ended on all nodes. One
/// that has missed that is told to end. One whose restore has not ended stays: see `kubectl etcd restore --status`.
///
/// With --old-data, the old data that restores and rollbacks have kept on the control-plane nodes, what they have kept besides, and the
/// journals of those that have ended. Once it is removed, `kubectl etcd rollback` cannot put it back. The old data of members that
/// `kubectl etcd member replace` has replaced is found as well: nothing returns to that. What no journal tells of is named, and stays.
///
/// With --ssh no API server is asked: participants are found by the journals on the nodes, and pods of this program are not looked for.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Find and remove the old data that restores and replacements of members have kept on the nodes
    #[arg(long, alias = "aside")]
    old_data: bool,
    /// Delete without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show what would be deleted (client)
    #[arg(long, value_name = "client", value_parser = ["client"], num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.ssh.idle::<SidecarArgs>();
        if self.ssh.ssh.is_some() {
            idle.push(Idle::group::<Reach>("the journals on the nodes are read, which name no pod of etcd"));
            idle.push(Idle::group::<Manifests>("the journals on the nodes are read, and no manifest"));
        }
        idle
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.old_data {
        return old_data::run(args, context).await;
    }
    let printer = context.printer;
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let namespace = &args.sidecar.pod_namespace;
    let (static_pods, ours) = match plane.api() {
        Some(connection) => pods_of(connection, namespace, printer).await?,
        None => (Vec::new(), Vec::new()),
    };
    let asking = Participants::of(&args, &context, &plane, &static_pods);
    let participants = context.interruptible(asking).await?;
    let report = Report::of(ours, namespace, &participants);
    let nothing = report.pods.is_empty() && report.participants.is_empty();
    match plane.api() {
        Some(_) if report.pods.is_empty() => {
            printer.note(format!("no pod of kubectl etcd is in namespace {namespace}"));
        }
        None if nothing => printer.note("no participant of a restore is on the nodes that answer"),
        _ => {}
    }
    if !nothing || matches!(args.output, Format::Json | Format::Yaml) {
        print_data(printer, args.output, &report, || report.text(&participants, args.output == Format::Wide))?;
    }
    for advice in participants.advice() {
        printer.note(advice);
    }
    let ending = participants.left();
    if report.pods.is_empty() && ending == 0 || args.dry_run.is_some() {
        return Ok(());
    }
    let what = match (report.pods.len(), ending) {
        (pods, 0) => format!("Delete {pods} pod(s)?"),
        (0, ending) => format!("End {ending} participant(s)?"),
        (pods, ending) => format!("Delete {pods} pod(s) and end {ending} participant(s)?"),
    };
    let question = Question { text: what, otherwise: "nothing was deleted", hint: "kubectl etcd cleanup --yes" };
    question.ask(args.yes, printer).await?;
    let deleted = match plane.api() {
        Some(connection) => {
            let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
            delete(&context, &pods, &report.pods).await
        }
        None => Ok(()),
    };
    if ending == 0 {
        return deleted;
    }
    let interrupted =
        || Failed::new(Exit::Changed, "interrupted while participants were ended").hint("kubectl etcd cleanup");
    let ended = context.interruption.or(interrupted, participants.end(&args, &context, &plane)).await?;
    match (deleted, ended) {
        (Err(failed), ended) => Err(failed.also(ended)),
        (Ok(()), Err(failed)) if !report.pods.is_empty() => {
            Err(failed.after_change(format!("{} pod(s) were deleted", report.pods.len())))
        }
        (Ok(()), ended) => ended,
    }
}

/// The pods of participants, and those that commands of this program have made.
async fn pods_of(connection: &Connection, namespace: &str, printer: Printer) -> Outcome<(Vec<Pod>, Vec<Pod>)> {
    let mut listed = list(connection, namespace).await?;
    if namespace != STATIC_PODS {
        match list(connection, STATIC_PODS).await {
            Ok(others) => listed.extend(others.into_iter().filter(is_participant)),
            Err(failed) => printer.warn(format!("cannot look for participants of restores: {}", failed.one_line())),
        }
    }
    let (static_pods, mut ours): (Vec<Pod>, Vec<Pod>) = listed.into_iter().partition(is_participant);
    ours.retain(is_ours);
    Ok((static_pods, ours))
}

/// Whether a command of this program has made a pod.
fn is_ours(pod: &Pod) -> bool {
    MANAGED_BY.split_once('=').is_some_and(|(label, value)| pod.labels().get(label).is_some_and(|its| its == value))
}

/// Pods of this program, participants of restores among them.
async fn list(connection: &Connection, namespace: &str) -> Outcome<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels(SIDECARS)).await.map_err(|error| {
        explain(&error, "list", "pods", namespace, format!("look for pods of kubectl etcd in namespace {namespace}"))
    })?;
    Ok(listed.items)
}

/// Deletes pods, all of them even if one stays.
async fn delete(context: &Context, pods: &Api<Pod>, found: &[Found]) -> Outcome {
    let printer = context.printer;
    let mut left = Vec::new();
    for (number, pod) in found.iter().enumerate() {
        // The request that was sent last may have been carried out.
        let cut_off = || {
            let deleted = number - left.len();
            let done = format!("{deleted} of {} pods were deleted, or one more", found.len());
            Failed::new(Exit::Changed, "interrupted").effect(done).hint("kubectl etcd cleanup")
        };
        match context.interruption.or(cut_off, remove(pods, &pod.name)).await? {
            Ok(_) => printer.note(format!("pod/{} deleted", pod.name)),
            Err(reason) => left.push(format!("pod/{}: {reason}", pod.name)),
        }
    }
    undeleted(found.len(), left)
}

/// How the command ends; `left` says why a pod is still there.
fn undeleted(pods: usize, left: Vec<String>) -> Outcome {
    let deleted = pods - left.len();
    match (left.is_empty(), deleted) {
        (true, _) => Ok(()),
        (false, 0) => Err(Failed::plain("cannot delete the pods").causes(left).effect("nothing was deleted")),
        (false, _) => Err(Failed::new(Exit::Changed, format!("cannot delete {} of {pods} pods", left.len()))
            .causes(left)
            .effect(format!("{deleted} pod(s) were deleted"))),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    api_version: &'static str,
    kind: &'static str,
    pods: Vec<Found>,
    /// Participants of restores.
    participants: &'a [Participant],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    name: String,
    namespace: String,
    node: String,
    operation: String,
    session: String,
    phase: String,
    started_by: String,
    created: Option<String>,
    #[serde(skip)]
    age: String,
}

impl<'a> Report<'a> {
    fn of(pods: Vec<Pod>, namespace: &str, participants: &'a Participants) -> Report<'a> {
        let now = Timestamp::now();
        let found = |pod: Pod| {
            let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
            let created = pod.creation_timestamp().map(|time| time.0);
            Found {
                name: pod.name_any(),
                namespace: namespace.to_owned(),
                node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
                operation: label(OPERATION),
                session: label(SESSION),
                phase: pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
                started_by: pod.annotations().get("kubectl-etcd/started-by").cloned().unwrap_or_default(),
                created: created.map(timestamp),
                age: created.map(|created| age(created, now)).unwrap_or_default(),
            }
        };
        let pods = pods.into_iter().map(found).collect();
        Report { api_version: API_VERSION, kind: "Leftovers", pods, participants: &participants.all }
    }

    fn text(&self, participants: &Participants, wide: bool) -> String {
        match (self.pods.is_empty(), self.participants.is_empty()) {
            (false, true) => self.table(wide),
            (true, _) => participants.table(),
            (false, false) => format!("{}\n{}", self.table(wide), participants.table()),
        }
    }

    fn table(&self, wide: bool) -> String {
        let mut table = Table::new(&["NAME", "NODE", "OPERATION", "STATUS", "STARTED-BY", "AGE"]).fitted(wide);
        for pod in &self.pods {
            let cells = [&pod.name, &pod.node, &pod.operation, &pod.phase, &pod.started_by, &pod.age];
            table.row(cells.into_iter().cloned().collect());
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_has_a_value_or_none() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let dry = |words: &[&str]| {
            Line::try_parse_from([&["cleanup"], words].concat()).map(|line| line.args.dry_run.is_some()).ok()
        };
        assert_eq!(dry(&[]), Some(false));
        assert_eq!(dry(&["--dry-run"]), Some(true));
        assert_eq!(dry(&["--dry-run=client", "--old-data"]), Some(true));
        assert_eq!(dry(&["--dry-run", "--old-data", "-o", "wide"]), Some(true));
        for wrong in [&["--dry-run=server"][..], &["--dry-run=", "--old-data"], &["--dry-run", "--yes"]] {
            assert_eq!(dry(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_pod_that_stays_does_not_keep_the_others() {
        assert!(undeleted(2, Vec::new()).is_ok());
        let some = undeleted(2, vec!["pod/a: forbidden".into()]).expect_err("one is left");
        assert_eq!((some.exit, some.causes.len(), some.effects.len()), (Exit::Changed, 1, 1));
        let none = undeleted(1, vec!["pod/a: forbidden".into()]).expect_err("all are left");
        assert_eq!(none.exit, Exit::Failed);
    }
}
