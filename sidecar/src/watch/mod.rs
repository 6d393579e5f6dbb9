//! `etcd-sidecar watch`: looks at a store again and again, and serves what it has seen as metrics. Needs no right to any cluster.

mod known;
mod look;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use etcd_store::freshness::Asked;
use etcd_store::{ClusterUid, Environment, Level, Scope, Store, TrustedKeys};
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::Sender;
use tokio::time::MissedTickBehavior;

use known::Known;
use look::Looker;

/// What is watched, and where it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Store, or one cluster in it: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX or file:///DIR, each with /UID at its end.
    #[arg(long, value_name = "URL")]
    store: String,
    /// Age from which on a backup is stale.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration)]
    max_age: Duration,
    /// How much has to be proved of a backup.
    #[arg(long, value_name = "LEVEL", default_value = "written", value_parser = ["written", "read", "opened", "booted"])]
    level: String,
    /// UID of the cluster (of its namespace kube-system), in a store of several.
    #[arg(long, value_name = "UID", conflicts_with = "all_clusters")]
    cluster_uid: Option<ClusterUid>,
    /// Every cluster that has backups in the store.
    #[arg(long)]
    all_clusters: bool,
    /// Public key whose signatures count; others do not count then. Repeat for several.
    #[arg(long = "trust-key", value_name = "FILE")]
    trust_keys: Vec<PathBuf>,
    /// Time between two looks at the store.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = crate::cli::duration)]
    every: Duration,
    /// Where GET /metrics and GET /healthz are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

/// A look that takes longer than this, or than the time between two looks, has failed.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// Runs until a signal ends it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // The kernel gives PID 1 no default handlers: a signal it does not handle does nothing.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let (looker, asked) = looker(&args)?;
    let listener = tokio::net::TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    tracing::info!("listening on {}", listener.local_addr()?);
    let (sender, known) = tokio::sync::watch::channel(Known::default());
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = look_again(&looker, args.every, &sender) => Ok(()),
        () = serve::serve(listener, known, asked) => Ok(()),
    }
}

/// Reads what the arguments name. No request is made.
///
/// # Errors
/// The store is none, a credential is missing, or a trust key cannot be read.
fn looker(args: &Args) -> anyhow::Result<(Looker, Asked)> {
    let mut scope: Scope = args.store.parse()?;
    match (&scope.cluster, &args.cluster_uid) {
        (Some(here), Some(there)) if here != there => {
            anyhow::bail!("the store names cluster {here}, and --cluster-uid names {there}")
        }
        (Some(here), _) if args.all_clusters => anyhow::bail!("the store names cluster {here}, and --all-clusters all"),
        (None, Some(cluster)) => scope.cluster = Some(cluster.clone()),
        _ => {}
    }
    let level: Level = args.level.parse().context("--level")?;
    let max_age = SignedDuration::try_from(args.max_age).context("--max-age is too long")?;
    let asked = Asked { max_age, level };
    let trusted = match args.trust_keys.is_empty() {
        true => None,
        false => Some(TrustedKeys::read(&args.trust_keys).context("cannot read the trust keys")?),
    };
    let store = Store::open(&scope.store, &Environment::of_process())?;
    Ok((Looker { store, cluster: scope.cluster, all: args.all_clusters, trusted, asked }, asked))
}

/// Looks at once, and then each time that long. What goes wrong is told when it begins, when it changes and when it ends.
async fn look_again(looker: &Looker, every: Duration, known: &Sender<Known>) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let limit = every.max(LONGEST_LOOK);
    loop {
        tick.tick().await;
        let seen = match tokio::time::timeout(limit, looker.look()).await {
            Ok(seen) => seen,
            Err(_) => Err(format!("the store has not answered within {} s", limit.as_secs())),
        };
        known.send_modify(|known| {
            let before = known.trouble().map(str::to_owned);
            known.learn(seen, Timestamp::now());
            match (before, known.trouble()) {
                (before, Some(now)) if before.as_deref() != Some(now) => {
                    tracing::warn!("cannot tell how old backups are: {now}");
                }
                (Some(_), None) => tracing::info!("the store can be asked again"),
                _ => {}
            }
        });
    }
}
