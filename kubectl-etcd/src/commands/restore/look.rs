//! What the nodes' journals say, once the API server is there to reach them.

use std::time::{Duration, Instant};

use super::Args;
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::EtcdPod;
use crate::output::Outcome;
use crate::road::Road;
use crate::sidecar::{Operation, access};
use crate::transaction::{self, Recalled, Work, silence, unfinished};

/// How soon an unfinished restore is looked at again, once the API server is back.
const AGAIN: Duration = Duration::from_secs(2);

/// What the nodes' journals say. An API server that is away is waited for, and then the end of the restore that is under way.
pub(super) async fn look(
    args: &Args,
    context: &Context,
    connection: &Connection,
    road: &Road,
) -> Outcome<(Vec<EtcdPod>, Vec<Recalled>)> {
    let (printer, begun, limit) = (context.printer, Instant::now(), args.live.begun.timeout);
    let mut was_away = false;
    loop {
        let found = look_once(args, context, connection, road).await;
        match found {
            Ok((_, nodes))
                if args.live.begun.status && was_away && unfinished(&nodes).is_some() && begun.elapsed() < limit =>
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

async fn look_once(
    args: &Args,
    context: &Context,
    connection: &Connection,
    road: &Road,
) -> Outcome<(Vec<EtcdPod>, Vec<Recalled>)> {
    let members = super::live::members(args, context, connection).await?.readable(context.printer);
    access::preflight(connection, &args.sidecar.pod_namespace).await?;
    let nodes = {
        let work = Work::new(context, connection, road, &members, &args.sidecar);
        let mut watched = work.watch(Operation::Recall);
        let nodes = transaction::recall(&work, &mut watched).await;
        // Those that read journals can bring no certificates, and are not needed again.
        transaction::forget(&work, watched).await;
        nodes
    };
    match silence(&nodes) {
        Some(failed) => Err(failed),
        None => Ok((members, nodes)),
    }
}
