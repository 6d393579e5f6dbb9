//! `kubectl etcd store check`.

use std::path::PathBuf;

use etcd_store::check::{self, Check, Verdict};
use etcd_store::{Encryption, Environment, Identities, Recipients, Store, StoreUrl};
use serde::Serialize;

use crate::context::Context;
use crate::idle::Idle;
use crate::output::API_VERSION;
use crate::output::{Failed, Format, Outcome, Table, print_data};
use crate::snapshot_file::identities;
use crate::stores;

const EXAMPLES: &str = "\
Examples:
  # Whether a bucket keeps what backups rely on
  kubectl etcd store check s3://backups/production

  # And whether the identity opens what is encrypted for the recipient
  kubectl etcd store check s3://backups/production --recipient age1... --identity key.txt";

/// Check whether a store can be trusted with backups
///
/// Writes test objects to a folder of their own in the store, reads them, and deletes them if it may. What a bucket of S3 is set to is asked for
/// as well: versions, object lock, encryption by the store. Of other stores, and where the credential may not ask, the command that shows it is
/// told. Credentials come from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
///
/// RESULT is ok, warning, failed or not checked. Ends with exit code 1 if a check has failed: backups in this store cannot be relied on then.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    action: Action,
    /// Store, as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER
    #[arg(value_name = "STORE")]
    store: StoreUrl,
    /// Encrypt the test object for this recipient (repeatable)
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// Encrypt the test object for the recipients in this file (repeatable)
    #[arg(short = 'R', long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Open the test object with the age identities in this file, which may have a passphrase (repeatable)
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Action {
    /// Check whether the store can be trusted
    Check,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("no cluster is asked")]
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    store: String,
    trusted: bool,
    checks: Vec<Check>,
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let Action::Check = args.action;
    let identities = match args.identity.as_slice() {
        [] => None,
        files => Some(identities(files, &context).await?),
    };
    let encryption = encryption(&args, identities.as_ref())?;
    let store = Store::open(&args.store, &Environment::of_process()).map_err(|error| stores::failed(&error))?;
    let facts = check::probe(&store, &encryption, identities.as_ref()).await;
    let checks = check::judge(&facts);
    let report = Report {
        api_version: API_VERSION,
        kind: "StoreCheck",
        store: args.store.to_string(),
        trusted: check::is_trusted(&checks),
        checks,
    };
    print_data(context.printer, args.output, &report, || text(&report))?;
    if report.trusted {
        return Ok(());
    }
    let bad = report.checks.iter().filter(|check| check.verdict == Verdict::Failed);
    let names: Vec<&str> = bad.map(|check| check.name).collect();
    Err(Failed::plain(format!("store {} cannot be trusted with backups: {} failed", report.store, names.join(", "))))
}

/// For the recipients that were named, or for those of the identities.
fn encryption(args: &Args, identities: Option<&Identities>) -> Outcome<Encryption> {
    let named = !args.recipient.is_empty() || !args.recipients_file.is_empty();
    let own = identities.map(Identities::recipients).unwrap_or_default();
    let texts = if named { &args.recipient } else { &own };
    if texts.is_empty() && !named {
        return Ok(Encryption::Off);
    }
    let recipients =
        Recipients::parse(texts, &args.recipients_file).map_err(|error| Failed::plain(error.to_string()))?;
    Ok(Encryption::Recipients(recipients))
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&["CHECK", "RESULT", "WHY"]);
    for check in &report.checks {
        table.row(vec![check.name.to_owned(), check.verdict.word().to_owned(), check.why.clone()]);
    }
    table.to_string()
}
