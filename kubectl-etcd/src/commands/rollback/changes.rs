//! What a rollback would change: the keys of the cluster beside those of the old data, both read on one node.

use etcd_objects::key::Prefix;
use etcd_wire::restore::RestorePlan;

use crate::commands::proposal::{ApiServerLeases, Changes, kept_keys, live_keys};
use crate::discovery::EtcdPod;
use crate::output::{Failed, Outcome, Printer};
use crate::road::Road;
use crate::sidecar::{Ask, Operation, SidecarArgs, survey};

/// What a rollback would change, and which API servers run.
pub(super) struct Looked {
    pub(super) changes: Changes,
    pub(super) leases: ApiServerLeases,
}

/// By the first node that tells both. `of` is the restore that has kept the data, `other_cluster` whether that is of another cluster.
///
/// # Errors
/// No node tells both; what the last one said.
pub(super) async fn changes(
    road: &Road,
    members: &[EtcdPod],
    order: &RestorePlan,
    of: &str,
    other_cluster: bool,
    args: &SidecarArgs,
) -> Outcome<Looked> {
    let mut failed = Failed::plain("no etcd member is found on the nodes of that restore");
    for node in order.serving() {
        let Some(member) = members.iter().find(|member| member.node == node.node) else { continue };
        match on_node(road, member, &node.data_dir, of, other_cluster, args).await {
            Ok(looked) => return Ok(looked),
            Err(why) => failed = why.context(format!("node {}", node.node)),
        }
    }
    Err(failed)
}

async fn on_node(
    road: &Road,
    member: &EtcdPod,
    data_dir: &str,
    of: &str,
    other_cluster: bool,
    args: &SidecarArgs,
) -> Outcome<Looked> {
    let surveyed = survey(road, vec![member.clone()], Operation::Plan, &Ask::default()).await;
    let Some(sidecar) = surveyed.first().and_then(|one| one.sidecar.clone()) else {
        let failed = surveyed.first().and_then(|one| Some(one.outcome.as_ref().err()?.copy()));
        return Err(failed.unwrap_or_else(|| Failed::plain("no sidecar runs")));
    };
    let printer: Printer = road.printer();
    let both = async {
        let live = live_keys(road, &surveyed, printer).await?;
        let kept = kept_keys(road, &sidecar, data_dir, of, printer).await?;
        let prefix = Prefix::detect(live.keys().map(Vec::as_slice)).unwrap_or_default();
        let changes = if other_cluster { Changes::replacing } else { Changes::between };
        let leases = ApiServerLeases::of(&live, &prefix);
        Ok(Looked { changes: changes(&live, &kept, &prefix, &args.pod_namespace), leases })
    };
    let both = both.await;
    // Whoever carries the plan out has sidecars of another kind.
    road.make_way(&sidecar).await;
    both
}
