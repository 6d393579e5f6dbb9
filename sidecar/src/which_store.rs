//! Which store a command line names, and which cluster in it.

use etcd_store::{ClusterUid, Scope};
use etcd_wire::{Failure, FailureCode};

use crate::store_failure::usage;

/// The store, and the cluster if one is named: at its end, or by a flag.
///
/// # Errors
/// It is no store, or two clusters are named.
pub(crate) fn named(store: &str, cluster: Option<&ClusterUid>) -> Result<Scope, Failure> {
    let mut scope: Scope =
        store.parse().map_err(|error: etcd_store::UrlError| usage("--store names no store", &error))?;
    match (&scope.cluster, cluster) {
        (Some(here), Some(there)) if here != there => {
            let message = format!("the store names cluster {here}, and --cluster-uid names {there}");
            return Err(Failure::new(FailureCode::BadRequest, message));
        }
        (None, Some(cluster)) => scope.cluster = Some(cluster.clone()),
        _ => {}
    }
    Ok(scope)
}
