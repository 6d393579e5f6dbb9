//! Sends it, object by object.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_objects::key::Place;
use kube::Client;
use serde::Serialize;
use serde_json::Value;

use super::owners::rewrite;
use super::plan::Item;
use super::rehearse::{is_unchanged, known, reason};
use crate::api::{Applied, apply};
use crate::contents::plain;

/// How long a type that was just defined, or a namespace that was just made, may take until it can be used.
const PATIENCE: usize = 40;
const AGAIN: Duration = Duration::from_millis(500);

/// What became of an object, as kubectl says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    Created,
    Configured,
    Unchanged,
    Failed,
}

/// An object, and what became of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) action: Action,
    pub(super) error: Option<String>,
    /// Whether nobody knows if it was done all the same: the answer did not come.
    pub(super) unknown: bool,
}

impl Done {
    pub(super) fn well(action: Action) -> Done {
        Done { action, error: None, unknown: false }
    }
}

/// What would become of an object, by the server's dry run.
pub(super) fn expected(item: &Item) -> Action {
    match &item.live {
        None => Action::Created,
        Some(_) if is_unchanged(item) => Action::Unchanged,
        Some(_) => Action::Configured,
    }
}

/// The UIDs of what is there by now, for those that name it as their owner.
#[derive(Debug, Default)]
pub(super) struct Uids(BTreeMap<Place, String>);

/// Applies one object. What would not change is left alone.
pub(super) async fn carry_out(item: &Item, uids: &mut Uids, client: &Client) -> Done {
    let live_uid = item.live.as_ref().and_then(|live| live["metadata"]["uid"].as_str());
    if is_unchanged(item) {
        uids.0.extend(live_uid.map(|uid| (item.place.clone(), uid.to_owned())));
        return Done::well(Action::Unchanged);
    }
    let owners = known(&item.anew, |owner| uids.0.get(owner).cloned());
    let orphaned = item.anew.iter().find(|(old, _)| !owners.contains_key(*old));
    if let Some((_, owner)) = orphaned {
        // With an owner that is not there it would be taken away at once.
        let error = format!("its owner {}/{} was not applied", owner.resource, owner.name);
        return Done { action: Action::Failed, error: Some(error), unknown: false };
    }
    let mut manifest = item.manifest.clone();
    rewrite(&mut manifest, |_| true, &owners);
    match send(item, &manifest, client).await {
        Ok(applied) => {
            let uid = applied["metadata"]["uid"].as_str();
            uids.0.extend(uid.map(|uid| (item.place.clone(), uid.to_owned())));
            let action = match &item.live {
                None => Action::Created,
                Some(live) if plain(live, false) == plain(&applied, false) => Action::Unchanged,
                Some(_) => Action::Configured,
            };
            Done::well(action)
        }
        Err(error) => {
            let unknown = !matches!(&error, kube::Error::Api(status) if status.code < 500);
            let may = if unknown { "; it may have been applied all the same" } else { "" };
            Done { action: Action::Failed, error: Some(format!("{}{may}", reason(&error, &manifest))), unknown }
        }
    }
}

/// Sends an object; again, as long as what it needs was made only just now.
async fn send(item: &Item, manifest: &Value, client: &Client) -> Result<Value, kube::Error> {
    let mut left = if item.late.is_some() { PATIENCE } else { 0 };
    loop {
        match apply(client, &item.served, manifest, Applied::Really).await {
            Err(kube::Error::Api(status)) if left > 0 && comes(status.code, &status.message) => {
                left -= 1;
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}

/// Whether a refusal is of something that comes: a type that is not served yet, the account that every namespace gets.
fn comes(code: u16, message: &str) -> bool {
    code == 404 || (code == 403 && message.contains("serviceaccount") && message.contains("not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_waited_for() {
        assert!(comes(404, "the server could not find the requested resource"));
        assert!(comes(
            403,
            "pods \"a\" is forbidden: error looking up service account shop/default: serviceaccount \"default\" not found"
        ));
        assert!(!comes(403, "pods is forbidden: User \"mallory\" cannot patch resource \"pods\""));
    }
}
