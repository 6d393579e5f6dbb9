//! `kubectl etcd doctor`: everything that will make a restore fail or lose a member. It changes nothing.
//!
//! The checks are those of `crates/doctor`; here is what they are asked of.

mod backups;
mod collect;
mod components;
mod report;
mod visit;

use std::time::Duration;

use etcd_doctor::{CHECKS, Summary};
use jiff::Timestamp;

use crate::connection::parse_age;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Overrides};
use crate::idle::Idle;
use crate::output::{Exit, Failed, Format, Outcome, Table, print_data};
use crate::road::SshArgs;
use crate::sidecar::SidecarArgs;
use crate::stores::TrustArgs;
use report::Report;

const EXAMPLES: &str = "\
Examples:
  # Everything that is wrong, and what mends it
  kubectl etcd doctor

  # With the newest backup in a store, which must be at most 6 hours old
  kubectl etcd doctor --store s3://backups/prod --max-age 6h

  # For a monitor: exit code 1 for warnings, 2 for errors
  kubectl etcd doctor --exit-code -o json

  # What a check looks at, why, and how to mend by hand what it finds
  kubectl etcd doctor --explain static-pods

  # Could the nodes be reached if the API server were down?
  kubectl etcd doctor --ssh --nodes cp1=10.0.0.11,cp2=10.0.0.12";

/// Find what will make a restore fail or lose a member
///
/// Asks the members as status does, and looks at every control-plane node by a sidecar: certificates, data that differs, quorum,
/// the database's quota, room on the disks, stray manifests, versions, clocks, what earlier restores and kubeadm have left on the nodes, and,
/// with --store, the newest backup. What a restore has left over in the cluster is asked of the API and of every kubelet: pods that no API
/// server has, Nodes without a machine, leases of API servers, volumes and tokens. Changes nothing but that a pod runs on each node for some
/// seconds; the kubelet makes the folders /var/lib/kubectl-etcd and /etc/kubernetes/tmp if they are not there, and they stay empty.
///
/// Shows what is wrong or could not be checked, errors first, and what mends it; -o wide and -o json show the checks that passed as well.
/// The last line says how many checks came to what. A check that could not be made is unknown, with the reason; it is no warning.
///
/// With --ssh no API server is asked: this machine's ssh logs in to the nodes, which is a check of its own (break-glass), and what only the
/// API server knows is unknown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Teach a check: what it looks at, why, and how to mend by hand what it finds. Without a name, list the checks. Needs no cluster
    #[arg(long, value_name = "CHECK", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// Store with the backups of the cluster: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX, file:///DIR
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// Age from which on the newest backup is too old: 36h, 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_age)]
    max_age: Duration,
    #[command(flatten)]
    trust: TrustArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    /// Exit with 2 if a check found an error, with 1 if one found a warning, and with 4 if no check could be made
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    overrides: Overrides,
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
        const TEXT: &str = "--explain prints a text";
        if self.explain.is_some() {
            let flags = ["store", "max_age", "output", "exit_code"];
            return vec![
                Idle::connection(TEXT),
                Idle::flags(&flags, TEXT),
                Idle::group::<TrustArgs>(TEXT),
                Idle::group::<Overrides>(TEXT),
                Idle::group::<Manifests>(TEXT),
                Idle::group::<SshArgs>(TEXT),
                Idle::group::<SidecarArgs>(TEXT),
            ];
        }
        let mut idle = self.ssh.idle::<SidecarArgs>();
        if self.store.is_none() {
            idle.push(Idle::flags(&["max_age", "trust_key"], "no backup is looked at without --store"));
        }
        idle
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if let Some(name) = &args.explain {
        return explain(name, &context);
    }
    let made = make(&args, &context).await;
    let report = made.map_err(|failed| if args.exit_code { nobody_can_tell(failed) } else { failed })?;
    let printed = print_data(context.printer, args.output, &report, || report.table(args.output == Format::Wide));
    match verdict(report.summary).filter(|_| args.exit_code) {
        Some(failed) => Err(failed.also(printed)),
        None => printed,
    }
}

async fn make(args: &Args, context: &Context) -> Outcome<Report> {
    // What is wrong with a flag is told before anybody is asked.
    let store = args.store.as_deref().map(|store| backups::Asked::new(store, args)).transpose()?;
    let plane = ControlPlane::open(&args.ssh, context).await?;
    let facts = collect::facts(args, context, &plane, store.as_ref()).await?;
    Ok(Report::of(plane.cluster(), Timestamp::now(), etcd_doctor::examine(&facts)))
}

/// With `--exit-code` 1 says that there are warnings, and nothing else does.
fn nobody_can_tell(failed: Failed) -> Failed {
    match failed.exit {
        Exit::Failed => Failed { exit: Exit::Refused, ..failed },
        _ => failed,
    }
}

/// The exit code of `--exit-code`. That a check could not be made is none.
fn verdict(summary: Summary) -> Option<Failed> {
    let found = |count: usize, what: &str| match count {
        1 => format!("1 check has found {what}"),
        _ => format!("{count} checks have found {what}"),
    };
    match summary {
        Summary { errors: 0, warnings: 0, .. } => None,
        Summary { errors: 0, warnings, .. } => Some(Failed::new(Exit::Different, found(warnings, "a warning"))),
        Summary { errors, .. } => Some(Failed::new(Exit::Ill, found(errors, "an error"))),
    }
}

/// Prints the page of a check, or the list of all.
fn explain(name: &str, context: &Context) -> Outcome {
    if let Some(check) = etcd_doctor::find(name) {
        return context.printer.data(&check.page());
    }
    let list = || {
        let mut table = Table::new(&["CHECK", "WHAT IS RIGHT"]);
        CHECKS.iter().for_each(|check| table.row(vec![check.name.to_owned(), check.title.to_owned()]));
        table.to_string()
    };
    match name {
        "" => context.printer.data(&list()),
        _ => Err(Failed::new(Exit::Usage, format!("there is no check {name:?}"))
            .hint(format!("the checks are\n{}", list().trim_end()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_warnings_and_passes_have_exit_codes_of_their_own() {
        let of = |errors, warnings, unknown| {
            verdict(Summary { errors, warnings, unknown, passed: 3 }).map(|failed| (failed.exit.code(), failed.message))
        };
        assert_eq!(of(0, 0, 5), None);
        assert_eq!(of(0, 1, 5), Some((1, "1 check has found a warning".to_owned())));
        assert_eq!(of(2, 1, 0), Some((2, "2 checks have found an error".to_owned())));
        assert_eq!(nobody_can_tell(Failed::plain("no API server")).exit.code(), 4);
        assert_eq!(nobody_can_tell(Failed::new(Exit::Interrupted, "")).exit.code(), 130);
    }

    #[test]
    fn an_unknown_check_is_answered_with_all() {
        let context = Context::new(crate::output::Printer::new(true), crate::connection::ConnectionArgs::default());
        let failed = explain("certs", &context).unwrap_err();
        assert_eq!(failed.exit, Exit::Usage);
        let said = failed.to_string();
        assert!(CHECKS.iter().all(|check| said.contains(check.name)), "{said}");
    }
}
