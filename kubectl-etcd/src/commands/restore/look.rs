//! What the nodes' journals say, once the way to the nodes is there.

use std::time::{Duration, Instant};

use super::Args;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{EtcdPod, Overrides};
use crate::output::Outcome;
use crate::road::Road;
use crate::sidecar::Operation;
use crate::transaction::{self, Recalled, Work, silence, unfinished};

/// How soon an unfinished restore is looked at again, once the API server is back.
const AGAIN: Duration = Duration::from_secs(2);

/// What was found.
pub(super) struct Looked {
    pub(super) road: Road,
    /// The members of the nodes.
    pub(super) members: Vec<EtcdPod>,
    /// What the nodes say.
    pub(super) nodes: Vec<Recalled>,
}

/// What the nodes' journals say. An API server that is away is waited for, and then the end of the restore that is under way.
pub(super) async fn look(args: &Args, context: &Context, plane: &ControlPlane) -> Outcome<Looked> {
    let Some(connection) = plane.api() else { return look_once(args, context, plane).await };
    let (printer, begun, limit) = (context.printer, Instant::now(), args.live.begun.timeout);
    let mut was_away = false;
    loop {
        let found = look_once(args, context, plane).await;
        match found {
            Ok(found)
                if args.live.begun.status
                    && was_away
                    && unfinished(&found.nodes).is_some()
                    && begun.elapsed() < limit =>
            {
                printer.detail("the API server is back; the restore is not finished on all nodes");
                tokio::time::sleep(AGAIN).await;
            }
            Ok(found) => return Ok(found),
            Err(failed) => match transaction::until_back(connection, begun, limit, printer).await {
                Ok(true) => was_away = true,
                // It went away and came back, or it is there and something else fails.
                Ok(false) if was_away && begun.elapsed() < limit => tokio::time::sleep(AGAIN).await,
                Ok(false) => return Err(failed),
                Err(away) => return Err(away),
            },
        }
    }
}

async fn look_once(args: &Args, context: &Context, plane: &ControlPlane) -> Outcome<Looked> {
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let mut members = transaction::to_recall(plane, context, &overrides, &args.live.manifests).await?;
    let road = plane.road(&args.sidecar, context).await?;
    let nodes = {
        let work = Work::new(context, plane, &road, &members, &args.sidecar);
        let mut watched = work.watch(Operation::Recall);
        let nodes = transaction::recall(&work, &mut watched).await;
        // Those that read journals can bring no certificates, and are not needed again.
        transaction::forget(&work, watched).await;
        nodes
    };
    transaction::describe(&mut members, &nodes);
    match silence(&nodes) {
        Some(failed) => Err(failed),
        None => Ok(Looked { road, members, nodes }),
    }
}
