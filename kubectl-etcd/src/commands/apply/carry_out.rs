//! Sends it, object by object.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_objects::key::Place;
use kube::Client;
use serde::Serialize;
use serde_json::Value;

use super::facts::namespace_of;
use super::owners::rewrite;
use super::plan::{Item, NEW_NAMESPACE};
use super::rehearse::{is_unchanged, known, look_again, reason};
use crate::api::{Applied, apply, conflicts, get, is_stale, only_to};
use crate::contents::plain;

/// How long a type that was just defined, or a namespace that was just made, may take until it can be used.
const PATIENCE: usize = 40;
const AGAIN: Duration = Duration::from_millis(500);
/// How often an object may change, in what the server says by itself, while it is sent.
const LOOKS: usize = 5;

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
    /// Whether it was left alone because it is not any more as it was when it was shown.
    pub(super) refused: bool,
}

impl Done {
    pub(super) fn well(action: Action) -> Done {
        Done { action, error: None, unknown: false, refused: false }
    }

    fn failed(error: String) -> Done {
        Done { error: Some(error), ..Done::well(Action::Failed) }
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

/// Applies one object, to what was seen of it. What would not change is left alone.
pub(super) async fn carry_out(item: &Item, uids: &mut Uids, client: &Client, force: bool) -> Done {
    let live_uid = item.live.as_ref().and_then(|live| live["metadata"]["uid"].as_str());
    if is_unchanged(item) {
        uids.0.extend(live_uid.map(|uid| (item.place.clone(), uid.to_owned())));
        return Done::well(Action::Unchanged);
    }
    let owners = known(&item.anew, |owner| uids.0.get(owner).cloned());
    let orphaned = item.anew.iter().find(|(old, _)| !owners.contains_key(*old));
    if let Some((_, owner)) = orphaned {
        // With an owner that is not there it would be taken away at once.
        return Done::failed(format!("its owner {}/{} was not applied", owner.resource, owner.name));
    }
    let mut manifest = item.manifest.clone();
    rewrite(&mut manifest, |_| true, &owners);
    // What is in a namespace that was made just now, controllers have put there.
    let made_here = item.late == Some(NEW_NAMESPACE)
        && namespace_of(&item.place).is_some_and(|namespace| uids.0.contains_key(&namespace));
    match send(item, &manifest, client, Applied { dry: false, force }, made_here).await {
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
        Err(Unsent::Stale(why)) => Done { refused: true, ..Done::failed(format!("{why}; it was not overwritten")) },
        Err(Unsent::Error(error)) => {
            let unknown = !matches!(&error, kube::Error::Api(status) if status.code < 500);
            let may = if unknown { "; it may have been applied all the same" } else { "" };
            let refused = matches!(&error, kube::Error::Api(status) if !conflicts(status).is_empty());
            Done { unknown, refused, ..Done::failed(format!("{}{may}", reason(&error, &manifest))) }
        }
    }
}

/// Why an object was not applied.
enum Unsent {
    /// It is not any more as it was seen.
    Stale(String),
    Error(kube::Error),
}

/// Sends an object; again, as long as what it needs was made only just now, or only what the server says by itself has changed.
///
/// An object that has appeared meanwhile is refused, with two exceptions. In a namespace that this program has made (`made_here`), controllers
/// make objects at once, as the service account `default`: such an object is applied to. One that the owner has made which was applied just
/// before, as a Deployment makes its ReplicaSet, is left to that owner.
async fn send(item: &Item, manifest: &Value, client: &Client, how: Applied, made_here: bool) -> Result<Value, Unsent> {
    let mut left = if item.late.is_some() { PATIENCE } else { 0 };
    let (mut seen, mut looks) = (item.live.clone(), LOOKS);
    loop {
        let mut sent = manifest.clone();
        only_to(seen.as_ref(), &mut sent);
        match apply(client, &item.served, &sent, how).await {
            Err(kube::Error::Api(status)) if left > 0 && comes(status.code, &status.message) => {
                left -= 1;
                tokio::time::sleep(AGAIN).await;
            }
            Err(kube::Error::Api(status)) if looks > 0 && is_stale(&status) => {
                looks -= 1;
                if seen.is_none() && (made_here || !item.anew.is_empty()) {
                    let now = get(client, &item.served, item.place.namespace.as_deref(), &item.place.name).await;
                    match now.map_err(Unsent::Error)? {
                        Some(now) if has_same_controller(&now, manifest) => return Ok(now),
                        Some(now) if made_here => {
                            seen = Some(now);
                            continue;
                        }
                        _ => {}
                    }
                }
                seen = look_again(item, seen.as_ref(), client).await.map_err(Unsent::Stale)?;
            }
            answer => return answer.map_err(Unsent::Error),
        }
    }
}

/// Whether the controller that a manifest names has made the object by itself.
fn has_same_controller(now: &Value, manifest: &Value) -> bool {
    let controller = |object: &Value| -> Option<Value> {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.into_iter().flatten().find(|owner| owner["controller"] == true).map(|owner| owner["uid"].clone())
    };
    controller(manifest).is_some_and(|uid| controller(now) == Some(uid))
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
