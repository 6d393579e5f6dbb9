//! `etcd-sidecar prune`: deletes the backups of a store that no rule keeps, by the rules of `kubectl etcd prune`, without a question.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_store::freshness::{Asked, clock_trouble};
use etcd_store::retention::{self, Keep, Within};
use etcd_store::{Backups, ClusterUid, Environment, Freshness, Level, Scope, Store, TrustedKeys, observe};
use etcd_wire::{Failure, FailureCode};
use jiff::{SignedDuration, Timestamp};

use crate::backup::Ending;
use crate::cli::duration;
use crate::store_failure::{failed, usage};
use crate::which_store::named;

pub(crate) const EXAMPLES: &str = "\
Example, with a credential that may delete:

  # keep a day of hourly backups and a week of daily ones, of those that this key has signed
  etcd-sidecar prune --store s3://backups/prod --keep-hourly 24 --keep-daily 7 --trust-key /keys/sign.pub

The newest three verified backups stay whatever the rules say, and so does what is younger than a day. Nothing is deleted while the newest backup is
stale.

Exit codes: 0 done, or nothing to delete; 1 failed; 2 wrong usage; 4 refused: nothing was deleted.";

/// Which backups to keep.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Store, or one cluster in it (with /UID at its end).
    #[arg(long, value_name = "URL")]
    store: String,
    /// UID of the cluster (of its namespace kube-system), in a store of several.
    #[arg(long, value_name = "UID")]
    cluster_uid: Option<ClusterUid>,
    /// Keep the newest N.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_last: u32,
    /// Keep the newest of each of the newest N hours that have one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_hourly: u32,
    /// The same of days.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: u32,
    /// The same of weeks.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: u32,
    /// The same of months.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: u32,
    /// The same of years.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_yearly: u32,
    /// Keep what is at most so much older than the newest: years, months, days and hours, as in 1y5m7d2h.
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<Within>,
    /// Age from which on the newest backup is stale, and nothing is deleted.
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = duration)]
    max_age: Duration,
    /// Public key whose signatures count (a .pub file of ssh-keygen, or a file of allowed signers), this flag can be repeated.
    #[arg(long = "trust-key", value_name = "FILE")]
    trust_keys: Vec<PathBuf>,
}

impl Args {
    fn rules(&self) -> Keep {
        Keep {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
        }
    }
}

/// Deletes.
///
/// # Errors
/// Nothing was deleted, or not everything that should have been.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let scope = named(&args.store, args.cluster_uid.as_ref())?;
    let rules = args.rules();
    if rules.is_empty() {
        let failure = Failure::new(FailureCode::BadRequest, "no rule says what is kept");
        return Err(failure.hint("name at least one, such as --keep-last 10 or --keep-daily 7"));
    }
    let max_age = SignedDuration::try_from(args.max_age).map_err(|error| usage("--max-age is too long", &error))?;
    let trusted = match args.trust_keys.is_empty() {
        true => None,
        false => {
            Some(TrustedKeys::read(&args.trust_keys).map_err(|error| usage("cannot read the trust keys", &error))?)
        }
    };
    let store = Store::open(&scope.store, &Environment::of_process()).map_err(|error| failed(&error))?;
    if let Some(folder) = scope.store.folder().filter(|folder| !folder.is_dir()) {
        let failure = Failure::new(FailureCode::Storage, format!("the folder {} does not exist", folder.display()));
        return Err(failure.hint("correct the path, or mount the file system that the store is on"));
    }
    let mut ending = Ending::listen()?;
    let asked = Asked { max_age, level: Level::Written };
    let found = tokio::select! {
        failure = ending.heard() => return Err(failure.cause("nothing was deleted")),
        found = look(&store, &scope, trusted.as_ref(), &asked, &rules) => found?,
    };
    let plan = found;
    for (name, why) in &plan.passed_over {
        tracing::warn!("{name} is left alone: {why}");
    }
    if let Some(why) = &plan.held {
        return Err(Failure::new(FailureCode::Refused, format!("nothing is deleted: {why}")));
    }
    let deletions: Vec<_> =
        plan.deleted().map(|one| (one.backup.name.to_string(), one.backup.objects.as_slice())).collect();
    if deletions.is_empty() {
        tracing::info!("nothing to delete; {} backups stay", plan.decided.len());
        return Ok(());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let heard = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let failure = ending.heard().await;
            stop.store(true, Ordering::Relaxed);
            failure
        }
    });
    let goes_on = || !stop.load(Ordering::Relaxed);
    let done = retention::carry_out(&store, deletions, goes_on, |name| tracing::info!("deleted {name}")).await;
    if done.is_interrupted {
        let failure = heard.await.unwrap_or_else(|error| Failure::new(FailureCode::Other, "ended").source(&error));
        return Err(failure.cause(done));
    }
    tracing::info!("{done}");
    if done.failed.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} backups are not deleted, or not wholly", done.total - done.backups, done.total);
    let hint = done.failed.iter().rev().find_map(|(_, error)| retention::hint(error));
    let each = done.failed.iter().map(|(name, error)| format!("{name}: {error}"));
    let failure = each.fold(Failure::new(FailureCode::Other, message), Failure::cause);
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// Reads what decides, and decides.
async fn look(
    store: &Store,
    scope: &Scope,
    trusted: Option<&TrustedKeys>,
    asked: &Asked,
    rules: &Keep,
) -> Result<retention::Plan, Failure> {
    let now = Timestamp::now();
    let told = |error: etcd_store::StoreError| failed(&error);
    let listed = store.list(scope.cluster.as_ref()).await.map_err(told)?;
    let backups = Backups::of(&listed, now);
    let cluster = one_cluster(scope, &backups)?;
    trust_enough(&backups, &cluster, trusted.is_some())?;
    let newest = match clock_trouble(&listed, now).or_else(|| observe::clock_of(store)) {
        Some(why) => Freshness::cannot_tell(why),
        None => observe::newest(store, &backups, &cluster, trusted, asked, now).await.map_err(told)?,
    };
    let facts = observe::facts(store, &backups, &cluster, trusted).await.map_err(told)?;
    Ok(retention::plan(&cluster, &facts, &newest, rules, now))
}

/// The one cluster that is meant.
fn one_cluster(scope: &Scope, backups: &Backups) -> Result<ClusterUid, Failure> {
    let clusters: Vec<&ClusterUid> = backups.clusters().into_iter().collect();
    match (&scope.cluster, clusters.as_slice()) {
        (Some(cluster), _) => Ok(cluster.clone()),
        (None, [cluster]) => Ok((*cluster).clone()),
        (None, []) => Err(Failure::new(FailureCode::Other, format!("no backup found in {}", scope.store))),
        (None, several) => {
            let message = format!("store {} has backups of {} clusters", scope.store, several.len());
            let named: Vec<String> = several.iter().take(5).map(|uid| format!("\n  --cluster-uid {uid}")).collect();
            let failure = Failure::new(FailureCode::BadRequest, message);
            Err(failure.hint(format!("say which cluster is meant{}", named.concat())))
        }
    }
}

/// Whether signatures are checked, where there are any: whoever may write to a store may put records there that fill the places of others.
fn trust_enough(backups: &Backups, cluster: &ClusterUid, trusts: bool) -> Result<(), Failure> {
    if trusts {
        return Ok(());
    }
    if backups.newest_first(cluster).iter().any(|backup| backup.has_signature) {
        let message = "backups are signed, and no key is given to check the signatures with";
        let failure = Failure::new(FailureCode::Refused, message)
            .cause("without a key, a record that anybody put into the store can count in place of a backup");
        return Err(failure.hint("name the public key of whoever signs the backups\n  --trust-key FILE"));
    }
    tracing::warn!("no signature is checked: whoever can write to the store can make this delete backups");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

    async fn prune(line: &str) -> Result<(), Failure> {
        let line = Line::try_parse_from(std::iter::once("prune").chain(line.split(' '))).expect("flags");
        run(&line.args).await
    }

    #[tokio::test]
    async fn what_is_not_said_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file://{}", folder.path().display());
        let bad = prune(&format!("--store {store}")).await.unwrap_err();
        assert_eq!((bad.code, bad.message.as_str()), (FailureCode::BadRequest, "no rule says what is kept"));
        let other = "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
        let bad = prune(&format!("--store {store}/{UID} --cluster-uid {other} --keep-last 1")).await.unwrap_err();
        assert_eq!(bad.code, FailureCode::BadRequest);
        let none = prune(&format!("--store {store} --keep-last 1")).await.unwrap_err();
        assert!(none.message.starts_with("no backup found"), "{none}");
        let gone = prune(&format!("--store {store}/nowhere --keep-last 1")).await.unwrap_err();
        assert!(gone.message.ends_with("does not exist"), "{gone}");
        // Nothing is deleted of a cluster without a fresh backup.
        let held = prune(&format!("--store {store} --cluster-uid {UID} --keep-last 1")).await.unwrap_err();
        assert_eq!(
            (held.code, held.message.as_str()),
            (FailureCode::Refused, "nothing is deleted: there is no backup")
        );
    }
}
