//! One look at the store.

use etcd_store::freshness::{Asked, State, clock_trouble};
use etcd_store::observe::{self, AT_ONCE};
use etcd_store::{Backups, ClusterUid, Freshness, Level, Store, StoreError, TrustedKeys};
use futures::{StreamExt, stream};
use jiff::Timestamp;

use super::known::Seen;

/// What is looked at, and what counts.
pub(super) struct Looker {
    pub(super) store: Store,
    pub(super) cluster: Option<ClusterUid>,
    pub(super) all: bool,
    pub(super) trusted: Option<TrustedKeys>,
    pub(super) asked: Asked,
}

impl Looker {
    /// What the store says of its clusters now.
    ///
    /// # Errors
    /// The store does not answer, its folder is not there, or it has several clusters and none is named.
    pub(super) async fn look(&self) -> Result<Vec<Seen>, String> {
        if let Some(folder) = self.store.url().folder()
            && !tokio::fs::metadata(folder).await.is_ok_and(|found| found.is_dir())
        {
            return Err(format!("store {}: the folder does not exist", self.store.url()));
        }
        let clusters = match &self.cluster {
            Some(cluster) => vec![cluster.clone()],
            None => self.store.clusters().await.map_err(|error| error.to_string())?,
        };
        if clusters.len() > 1 && !self.all {
            return Err(format!(
                "store {} has backups of {} clusters: say --cluster-uid UID or --all-clusters",
                self.store.url(),
                clusters.len()
            ));
        }
        Ok(stream::iter(clusters).map(|cluster| self.look_at(cluster)).buffered(AT_ONCE).collect().await)
    }

    async fn look_at(&self, cluster: ClusterUid) -> Seen {
        match self.of(&cluster).await {
            Ok((freshness, opened, booted)) => Seen { cluster, freshness, opened, booted },
            Err(error) => {
                let freshness = Freshness::cannot_tell(error.to_string());
                Seen { cluster, freshness, opened: None, booted: None }
            }
        }
    }

    async fn of(&self, cluster: &ClusterUid) -> Result<(Freshness, Option<Timestamp>, Option<Timestamp>), StoreError> {
        let now = Timestamp::now();
        let listed = self.store.list(Some(cluster)).await?;
        if let Some(why) = clock_trouble(&listed, now).or_else(|| observe::clock_of(&self.store)) {
            return Ok((Freshness::cannot_tell(why), None, None));
        }
        let backups = Backups::of(&listed, now);
        let trusted = self.trusted.as_ref();
        let freshness = observe::newest(&self.store, &backups, cluster, trusted, &self.asked, now).await?;
        if freshness.state == State::CannotTell {
            return Ok((freshness, None, None));
        }
        let at = |level| observe::proved_at(&self.store, &backups, cluster, trusted, level);
        let (opened, booted) = (at(Level::Opened).await?, at(Level::Booted).await?);
        Ok((freshness, opened, booted))
    }
}
