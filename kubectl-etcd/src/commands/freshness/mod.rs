//! `kubectl etcd freshness`: whether a store has a backup that is young enough.

mod show;

use std::time::Duration;

use etcd_store::freshness::{Asked, State};
use etcd_store::observe::{self, AT_ONCE};
use etcd_store::{Backups, ClusterUid, Freshness, Level, Scope, Store, TrustedKeys};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use crate::connection::parse_age;
use crate::context::Context;
use crate::idle::Idle;
use crate::output::{Exit, Failed, Outcome};
use crate::stores::{self, TrustArgs};
use show::{Format, Told};

const EXAMPLES: &str = "\
Examples:
  # Whether the newest backup in a store is at most 3 hours old
  kubectl etcd freshness s3://backups/prod --max-age 3h

  # Only backups that this key has signed, and that were decrypted and checked
  kubectl etcd freshness s3://backups/prod --max-age 3h --level opened \\
    --trust-key backup.pub

  # All clusters of a store, as metrics for Prometheus
  kubectl etcd freshness s3://backups --all-clusters --max-age 3h -o prometheus";

/// Tell whether a store has a backup that is young enough
///
/// Looks at the newest backup that counts: the store lists all objects that its record names, with the sizes that it records; it is not from the
/// future; it is proved at least to the level that is asked for; and it is signed by a trusted key if keys are given. Backups of level digest never
/// count. Reads a listing, records, signatures and proofs, and no snapshot: that the stored bytes are still the recorded ones is what kubectl etcd
/// verify tells. No cluster is needed, and nothing is changed.
///
/// The time of a backup is that of its name, or that at which the store got its record if that is earlier: a copy is as old as its original.
///
/// Ends with exit code 0 if the backup is fresh, 1 if it is stale or there is none, and 4 if nobody can tell: the store does not answer, or a
/// clock is wrong. With --all-clusters, with the highest of all clusters.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Store, or one cluster in it: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX, file:///DIR, each with /UID at its end
    #[arg(value_name = "STORE")]
    store: String,
    /// Age from which on a backup is stale: 36h, 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    max_age: Duration,
    /// How much has to be proved of a backup
    #[arg(long, value_name = "LEVEL", default_value = "written", value_parser = ["written", "read", "opened", "booted"])]
    level: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// UID of the cluster (of its namespace kube-system), in a store of several
    #[arg(long, value_name = "UID", conflicts_with = "all_clusters")]
    cluster_uid: Option<ClusterUid>,
    /// Every cluster that has backups in the store
    #[arg(long)]
    all_clusters: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
}

impl Args {
    /// The flags that have no effect.
    #[expect(clippy::unused_self, reason = "every command is asked in the same way")]
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("freshness reads only the store")]
    }
}

/// A question that cannot be asked is one that nobody can answer.
fn cannot_tell(failed: Failed) -> Failed {
    Failed { exit: Exit::Refused, ..failed }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let scope = stores::scope_of(&args.store, args.cluster_uid.as_ref())?;
    let level: Level = args.level.parse().map_err(|error| Failed::new(Exit::Usage, "--level").source(&error))?;
    let max_age = SignedDuration::try_from(args.max_age)
        .map_err(|error| Failed::new(Exit::Usage, "--max-age is too long").source(&error))?;
    let asked = Asked { max_age, level };
    let trusted = args.trust.read()?;
    let store = stores::open(&scope).map_err(cannot_tell)?;
    let now = Timestamp::now();
    let told = match args.all_clusters {
        true => all(&store, &scope, trusted.as_ref(), &asked, now).await,
        false => vec![one(&store, &scope, trusted.as_ref(), &asked, now).await?],
    };
    let newest = || told.iter().filter_map(|one| one.freshness.newest.as_ref());
    newest().for_each(|newest| stores::tell_foreign(&newest.backup, context.printer));
    if trusted.is_none() && newest().any(|newest| newest.backup.has_signature) {
        context.printer.warn(
            "whether the newest backup is yours was not checked: anybody who can write to the store may have put it there; \
             name the key that must have signed it with\n  --trust-key FILE",
        );
    }
    let shown = show::show(args.output, &scope, &told, &asked, context.printer);
    match verdict(&told) {
        None => shown,
        Some(failed) => Err(failed.also(shown)),
    }
}

/// One cluster. Where it is not named, the listing of the store names it.
async fn one(
    store: &Store,
    scope: &Scope,
    trusted: Option<&TrustedKeys>,
    asked: &Asked,
    now: Timestamp,
) -> Outcome<Told> {
    if let Some(cluster) = &scope.cluster {
        let freshness = observe::freshness(store, cluster, trusted, asked, now).await;
        return Ok(Told::of(Some(cluster.clone()), freshness));
    }
    let listed = match store.list(None).await {
        Ok(listed) => listed,
        Err(error) => return Ok(Told::away(&error)),
    };
    let backups = Backups::of(&listed, now);
    let clusters: Vec<ClusterUid> = backups.clusters().into_iter().cloned().collect();
    if clusters.is_empty() {
        let none = "there is no backup".to_owned();
        return Ok(Told::of(None, Freshness { state: State::None, ..Freshness::cannot_tell(none) }));
    }
    let cluster = stores::one_cluster(scope, &clusters)?;
    let clock = etcd_store::freshness::clock_trouble(&listed, now).or_else(|| observe::clock_of(store));
    let freshness = match clock {
        Some(why) => Freshness::cannot_tell(why),
        None => match observe::newest(store, &backups, &cluster, trusted, asked, now).await {
            Ok(freshness) => freshness,
            Err(error) => Freshness::cannot_tell(error.to_string()),
        },
    };
    Ok(Told::of(Some(cluster), freshness))
}

/// All clusters of a store, or the one that is named.
async fn all(store: &Store, scope: &Scope, trusted: Option<&TrustedKeys>, asked: &Asked, now: Timestamp) -> Vec<Told> {
    let clusters = match &scope.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => match store.clusters().await {
            Ok(clusters) => clusters,
            Err(error) => return vec![Told::away(&error)],
        },
    };
    let looks = stream::iter(clusters).map(|cluster| async move {
        let freshness = observe::freshness(store, &cluster, trusted, asked, now).await;
        Told::of(Some(cluster), freshness)
    });
    looks.buffered(AT_ONCE).collect().await
}

/// The exit code, and what is said on stderr.
fn verdict(told: &[Told]) -> Option<Failed> {
    let of = |state: State| told.iter().filter(move |one| one.freshness.state == state);
    let message = |one: &Told, what: &str| match told.len() {
        1 => format!("{what}: {}", one.freshness.why),
        count => {
            let bad = told.iter().filter(|one| one.freshness.state != State::Fresh).count();
            format!("{bad} of {count} clusters have no backup that is known to be fresh")
        }
    };
    if let Some(one) = of(State::CannotTell).next() {
        let failed = Failed::new(Exit::Refused, message(one, "cannot tell whether there is a fresh backup"));
        return Some(one.hint.iter().fold(failed, |failed, hint| failed.hint(hint)));
    }
    let stale = of(State::Stale).next().map(|one| message(one, "stale"));
    let bad = stale.or_else(|| of(State::None).next().map(|one| message(one, "none")));
    match bad {
        Some(message) => Some(Failed::new(Exit::Different, message)),
        None if told.is_empty() => Some(Failed::new(Exit::Different, "none: there is no backup")),
        None => None,
    }
}
