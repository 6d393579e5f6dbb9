//! `kubectl etcd cleanup`: what a crash left behind, and what restores have kept.

mod old_data;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use super::API_VERSION;
use crate::context::Context;
use crate::discovery::{Manifests, Reach};
use crate::idle::{Idle, NAMESPACE};
use crate::output::confirm::Question;
use crate::output::{Exit, Failed, Format, Outcome, Table, age, print_data, timestamp};
use crate::sidecar::{MANAGED_BY, OPERATION, SESSION, SidecarArgs, access::explain, remove};

const EXAMPLES: &str = "\
Examples:
  # Show what is there, and ask before it is deleted
  kubectl etcd cleanup

  # Only show it
  kubectl etcd cleanup --dry-run

  # Delete it without a question
  kubectl etcd cleanup --yes

  # Show the old data that restores have kept on the nodes; ask, and remove it
  kubectl etcd cleanup --old-data";

/// Find and delete pods that an earlier run left behind
///
/// A run deletes its pods when it ends, fails or is interrupted; only one that was killed leaves them, and they end
/// by themselves soon after. A pod of a run that is still going on elsewhere is listed too: look at AGE and STARTED-BY.
///
/// With --old-data, the old data that restores and rollbacks have kept on the control-plane nodes, and the journals of those that have
/// ended. Once it is removed, `kubectl etcd rollback` cannot put it back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Find and remove the old data that restores have kept on the nodes
    #[arg(long, alias = "aside")]
    old_data: bool,
    /// Delete without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "without --old-data only pods are looked for, in --pod-namespace";
        if self.old_data {
            return Vec::new();
        }
        let sidecar = Idle::group::<SidecarArgs>(WHY).but(&["pod_namespace"]);
        vec![Idle::group::<Reach>(WHY), Idle::group::<Manifests>(WHY), Idle::flags(&[NAMESPACE], WHY), sidecar]
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.old_data {
        return old_data::run(args, context).await;
    }
    let printer = context.printer;
    let connection = context.connection.connect().await?;
    let namespace = &args.sidecar.pod_namespace;
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels(MANAGED_BY)).await.map_err(|error| {
        explain(&error, "list", "pods", namespace, format!("look for pods of kubectl etcd in namespace {namespace}"))
    })?;
    let report = Report::of(listed.items, namespace);
    if report.pods.is_empty() {
        printer.note(format!("no pod of kubectl etcd is in namespace {namespace}"));
    }
    if !report.pods.is_empty() || matches!(args.output, Format::Json | Format::Yaml) {
        print_data(printer, args.output, &report, || report.table())?;
    }
    if report.pods.is_empty() || args.dry_run {
        return Ok(());
    }
    let question = Question {
        text: format!("Delete {} pod(s)?", report.pods.len()),
        otherwise: "nothing was deleted",
        hint: "kubectl etcd cleanup --yes",
    };
    question.ask(args.yes, printer).await?;
    let mut left = Vec::new();
    for (number, pod) in report.pods.iter().enumerate() {
        // The request that was sent last may have been carried out.
        let cut_off = || {
            let deleted = number - left.len();
            let done = format!("{deleted} of {} pods were deleted, or one more", report.pods.len());
            Failed::new(Exit::Changed, "interrupted").effect(done).hint("kubectl etcd cleanup")
        };
        match context.interruption.or(cut_off, remove(&pods, &pod.name)).await? {
            Ok(_) => printer.note(format!("pod/{} deleted", pod.name)),
            Err(reason) => left.push(format!("pod/{}: {reason}", pod.name)),
        }
    }
    undeleted(report.pods.len(), left)
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
struct Report {
    api_version: &'static str,
    kind: &'static str,
    pods: Vec<Found>,
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

impl Report {
    fn of(pods: Vec<Pod>, namespace: &str) -> Report {
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
        Report { api_version: API_VERSION, kind: "Leftovers", pods: pods.into_iter().map(found).collect() }
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["NAME", "NODE", "OPERATION", "STATUS", "STARTED-BY", "AGE"]);
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
    fn a_pod_that_stays_does_not_keep_the_others() {
        assert!(undeleted(2, Vec::new()).is_ok());
        let some = undeleted(2, vec!["pod/a: forbidden".into()]).expect_err("one is left");
        assert_eq!((some.exit, some.causes.len(), some.effects.len()), (Exit::Changed, 1, 1));
        let none = undeleted(1, vec!["pod/a: forbidden".into()]).expect_err("all are left");
        assert_eq!(none.exit, Exit::Failed);
    }
}
