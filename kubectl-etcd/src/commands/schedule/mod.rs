//! `kubectl etcd schedule`: the objects of a cluster that takes backups by itself, as YAML. A pure function of arguments and the files they name.

mod cadence;
mod drill;
mod folder;
mod objects;
mod plan;
mod render;
mod rules;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use etcd_store::ClusterUid;

use crate::commands::prune::KeepArgs;
use crate::connection::parse_age;
use crate::context::Context;
use crate::idle::{Idle, NAMESPACE};
use crate::output::Outcome;
use crate::sidecar::DEFAULT_IMAGE;
use plan::Plan;

const EXAMPLES: &str = "\
Examples:
  # A backup every hour, encrypted for one recipient, and alerts; nothing is
  # applied
  kubectl etcd schedule --store s3://backups/prod --every 1h \\
    --recipient age1... > etcd-backup.yaml

  # Signed, and pruned every day by rules of restic's
  kubectl etcd schedule --store s3://backups/prod --every 1h -R team.txt \\
    --sign-key-secret etcd-backup-sign --trust-key backup.pub \\
    --keep-hourly 24 --keep-daily 7

  # And a restore drill every week, with the cluster's own etcd
  kubectl etcd schedule --store s3://backups/prod --every 1h -R team.txt \\
    --drill weekly --drill-etcd-image registry.k8s.io/etcd:3.6.6-0 \\
    --drill-identity-secret etcd-backup-identity

  # A folder for kustomize, in a cluster without the Prometheus operator
  kubectl etcd schedule --store gs://backups/prod --every 6h -R team.txt \\
    --no-prometheus --kustomize base/etcd-backup

Secrets are not in the output: its first lines say how to create them.";

/// Print the objects of a cluster that backs up its etcd by itself
///
/// Prints a CronJob that takes backups into an object store, a Deployment that tells their age as metrics, alerts for Prometheus, and what
/// these need: for Git, or for kubectl apply. With a --keep flag there is a CronJob which deletes old backups, and with --drill one which proves
/// that a real etcd serves the newest. No cluster is asked,
/// and nothing is applied. Equal arguments give equal output.
///
/// The pods have no token of the API server. That of a backup runs on a control-plane node, with the network of the node, and reads
/// /etc/kubernetes/pki and /etc/kubernetes/manifests. Kubernetes 1.27 or newer is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX
    #[arg(long, value_name = "URL")]
    store: String,
    /// Time between two backups: 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 24h (1d) or 168h (7d)
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    every: Duration,
    /// Time zone of the schedule
    #[arg(long, value_name = "ZONE", default_value = "Etc/UTC")]
    time_zone: String,
    /// age recipient that can decrypt the backups, this flag can be repeated
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File with age recipients, one a line, this flag can be repeated
    #[arg(short = 'R', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    recipients_file: Vec<PathBuf>,
    /// Do not encrypt the backups: whoever can read the store can read every Secret
    #[arg(long, conflicts_with_all = ["recipient", "recipients_file", "node_files"])]
    no_encryption: bool,
    /// Secret whose key "key" is the private key of OpenSSH (ssh-ed25519) that signs the record of each backup
    #[arg(long, value_name = "NAME")]
    sign_key_secret: Option<String>,
    /// Public key whose signatures count (a .pub file of ssh-keygen, or a file of allowed signers); others do not count then. Repeat for several
    #[arg(long = "trust-key", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    trust_keys: Vec<PathBuf>,
    /// Also back up the files of the node in /etc/kubernetes, which the pod can then read
    #[arg(long)]
    node_files: bool,
    /// Age from which on the newest backup is stale: 36h, 7d [default: three times --every]
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    max_age: Option<Duration>,
    /// UID of the cluster (of its namespace kube-system), for a store that has backups of several
    #[arg(long, value_name = "UID")]
    cluster_uid: Option<ClusterUid>,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    drill: drill::DrillArgs,
    #[command(flatten)]
    pods: PodArgs,
    /// Leave out PrometheusRule and ServiceMonitor: the cluster has no Prometheus operator
    #[arg(long)]
    no_prometheus: bool,
    /// Write a folder for kustomize instead, which must be empty or not exist
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    kustomize: Option<PathBuf>,
}

/// What the pods need of the cluster.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Pods")]
struct PodArgs {
    /// Secret with the credential of the store, as environment variables
    #[arg(long, value_name = "NAME", default_value = "etcd-backup-store")]
    credential_secret: String,
    /// No Secret: the nodes' or the ServiceAccount's own identity is the credential
    #[arg(long, conflicts_with_all = ["credential_secret", "prune_credential_secret"])]
    no_credential_secret: bool,
    /// Secret with a credential that may also delete, for the --keep flags
    #[arg(long, value_name = "NAME", default_value = "etcd-backup-prune")]
    prune_credential_secret: String,
    /// ConfigMap whose key "ca.crt" is the certificate authority of the store, for a URL with ca=FILE
    #[arg(long, value_name = "NAME")]
    ca_config_map: Option<String>,
    /// Label of the nodes on which backups are taken, this flag can be repeated
    #[arg(long, value_name = "KEY=VALUE", default_value = "node-role.kubernetes.io/control-plane=")]
    node_selector: Vec<String>,
    /// Another folder of the node that the backup reads, such as one with certificates, this flag can be repeated
    #[arg(long, value_name = "DIR")]
    node_dir: Vec<String>,
    /// Largest snapshot that can be taken: room on the disk of the node
    #[arg(long, value_name = "QUANTITY", default_value = "10Gi")]
    spool_size: String,
    /// Image of the sidecar
    #[arg(long, env = "KUBECTL_ETCD_IMAGE", default_value = DEFAULT_IMAGE, value_name = "REF")]
    image: String,
    /// When the node pulls the image
    #[arg(long, env = "KUBECTL_ETCD_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY",
          value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: String,
    /// Secret with which the image is pulled, this flag can be repeated
    #[arg(long, env = "KUBECTL_ETCD_IMAGE_PULL_SECRET", value_name = "NAME", value_delimiter = ',')]
    image_pull_secret: Vec<String>,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = vec![Idle::connection("schedule asks no cluster").but(&[NAMESPACE])];
        if self.keep.rules().is_empty() {
            let why = "nothing is pruned without a --keep flag";
            idle.push(Idle::flags(&["prune_credential_secret"], why));
        }
        if !self.drill.is_on() {
            idle.push(Idle::flags(&["drill_size"], "there is no drill without --drill"));
        }
        idle
    }
}

/// Checks, renders, and only then writes.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plan = Plan::of(&args, context.connection.named_namespace())?;
    if !plan.image.contains("@sha256:") {
        printer.warn(format!(
            "image {} is named without a digest: whoever can change the tag decides what runs on the nodes",
            plan.image
        ));
    }
    let objects = objects::all(&plan);
    match &args.kustomize {
        None => printer.data(&render::document(&plan, &objects)?),
        Some(folder) => {
            let files = render::files(&plan, &objects)?;
            folder::write(folder, &files)?;
            printer.result(format!("{} files written to {}", files.len(), folder.display()));
            Ok(())
        }
    }
}
