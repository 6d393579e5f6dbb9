//! What the server would make of it: everything is sent with dryRun first.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::Status;
use serde_json::Value;

use super::facts::Facts;
use super::owners::rewrite;
use super::plan::Item;
use super::strip::{drop_addresses, drop_node_ports};
use crate::api::{Applied, apply, conflicts, get, is_stale, only_to};
use crate::contents::{differing, plain, unified, without_values};

/// How often something can stand in the way that can be left out.
const ATTEMPTS: usize = 3;

/// What the server would not do.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) why: Vec<String>,
    /// Whether fields that others have set are among it.
    pub(super) conflicts: bool,
}

/// Sends everything that can be tried without doing it. Gives what the server refuses.
pub(super) async fn rehearse(items: &mut [Item], facts: &Facts, client: &Client, force: bool) -> Refusals {
    let mut refusals = Refusals::default();
    for item in items.iter_mut().filter(|item| item.late.is_none()) {
        let owners = known(&item.anew, |owner| facts.live(owner)?["metadata"]["uid"].as_str().map(str::to_owned));
        for attempt in 1..=ATTEMPTS {
            let mut manifest = item.manifest.clone();
            rewrite(&mut manifest, |_| true, &owners);
            only_to(item.live.as_ref(), &mut manifest);
            match apply(client, &item.served, &manifest, Applied { dry: true, force }).await {
                Ok(dry) => {
                    let stays = stays(&item.manifest, item.live.as_ref(), &dry);
                    if !stays.is_empty() {
                        item.notes
                            .push(format!("fields only in the live object, left as they are: {}", stays.join(", ")));
                    }
                    item.dry = Some(dry);
                }
                Err(kube::Error::Api(status)) if attempt < ATTEMPTS && give_way(item, &status) => continue,
                Err(kube::Error::Api(status)) if attempt < ATTEMPTS && is_stale(&status) => {
                    match look_again(item, item.live.as_ref(), client).await {
                        Ok(live) => {
                            item.live = live;
                            continue;
                        }
                        Err(why) => refusals.why.push(format!("{}: {why}", item.title())),
                    }
                }
                Err(error) => {
                    refusals.conflicts |= matches!(&error, kube::Error::Api(status) if !conflicts(status).is_empty());
                    refusals.why.push(format!("{}: {}", item.title(), reason(&error, &item.manifest)));
                }
            }
            break;
        }
    }
    refusals
}

/// Looks at an object that is not as it was seen, or is there by now. Where only what the server says by itself has changed, gives it as it is.
///
/// # Errors
/// What has become of it, or why that is not known.
pub(super) async fn look_again(item: &Item, seen: Option<&Value>, client: &Client) -> Result<Option<Value>, String> {
    let now = get(client, &item.served, item.place.namespace.as_deref(), &item.place.name).await;
    let now = now.map_err(|error| {
        format!("the live object was changed meanwhile, and cannot be read: {}", reason(&error, &item.manifest))
    })?;
    match (seen, &now) {
        (Some(_), None) => Err("the live object was deleted meanwhile".to_owned()),
        (None, Some(_)) => Err("an object of this name was created meanwhile".to_owned()),
        (Some(seen), Some(now)) if seen["metadata"]["uid"] != now["metadata"]["uid"] => {
            Err("the live object was replaced meanwhile".to_owned())
        }
        (Some(seen), Some(now)) if plain(seen, false) != plain(now, false) => {
            let fields = differing(&plain(seen, false), &plain(now, false));
            Err(format!("the live object was changed meanwhile: {}", fields.join(", ")))
        }
        _ => Ok(now),
    }
}

/// The UIDs that are known by now, by the ones that a manifest names.
pub(super) fn known(
    anew: &BTreeMap<String, etcd_objects::key::Place>,
    uid: impl Fn(&etcd_objects::key::Place) -> Option<String>,
) -> BTreeMap<String, String> {
    anew.iter().filter_map(|(old, place)| Some((old.clone(), uid(place)?))).collect()
}

/// Why a request failed, without a value of a Secret.
pub(super) fn reason(error: &kube::Error, manifest: &Value) -> String {
    let text = match error {
        kube::Error::Api(status) if !conflicts(status).is_empty() => conflicts(status).join("; "),
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => crate::output::Failed::plain("cannot send the object").source(error).one_line(),
    };
    without_values(&text, manifest)
}

/// Takes out what others have by now: addresses and node ports of a service. Whether there was any.
fn give_way(item: &mut Item, status: &Status) -> bool {
    if item.served.kind != "Service" || !item.served.group.is_empty() {
        return false;
    }
    let (addresses, ports) = taken(status);
    let mut gave = false;
    if addresses && drop_addresses(&mut item.manifest) {
        item.notes.push("without spec.clusterIP, which is taken: it gets another one".to_owned());
        gave = true;
    }
    if ports && drop_node_ports(&mut item.manifest) {
        item.notes.push("without its node ports, which are taken: it gets others".to_owned());
        gave = true;
    }
    gave
}

/// Whether addresses, and whether ports are what the server cannot give: kubernetes/kubernetes pkg/registry/core/service/storage/alloc.go and
/// pkg/registry/core/service/ipallocator, portallocator.
fn taken(status: &Status) -> (bool, bool) {
    let is_taken = |message: &str| {
        ["already allocated", "not in the valid range", "failed to allocate"]
            .iter()
            .any(|words| message.contains(words))
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let (mut addresses, mut ports) = (false, false);
    for (field, message) in causes.map(|cause| (cause.field.as_str(), cause.message.as_str())) {
        addresses |= field.contains("clusterIP") && is_taken(message);
        ports |= (field.contains("nodePort") || field.contains("NodePort")) && is_taken(message);
    }
    if !addresses && !ports {
        let message = &status.message;
        addresses = message.contains("clusterIP") && is_taken(message);
        ports = message.to_lowercase().contains("nodeport") && is_taken(message);
    }
    (addresses, ports)
}

/// Fields that the file does not have, and that stay all the same: somebody else has set them since.
fn stays(manifest: &Value, live: Option<&Value>, dry: &Value) -> Vec<String> {
    let Some(live) = live else { return Vec::new() };
    let (live, dry) = (plain(live, false), plain(dry, false));
    let changed = differing(&live, &dry);
    let told = |field: String| if changed.contains(&field) { format!("{field} (in part)") } else { field };
    differing(&plain(manifest, false), &dry).into_iter().map(told).collect()
}

/// Whether nothing would change.
pub(super) fn is_unchanged(item: &Item) -> bool {
    match (&item.live, &item.dry) {
        (Some(live), Some(dry)) => plain(live, false) == plain(dry, false),
        _ => false,
    }
}

/// What would change, as a unified diff an object; what nobody can tell yet as it is sent.
pub(super) fn patches(items: &[Item]) -> String {
    let one = |item: &Item| {
        let after = plain(item.dry.as_ref().unwrap_or(&item.manifest), false);
        let live = item.live.as_ref().map(|live| plain(live, false));
        let title = item.title();
        unified((&format!("live: {title}"), live.as_ref()), (&format!("applied: {title}"), Some(&after)))
    };
    items.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_service_cannot_have_is_told_from_other_errors() {
        let status = |message: &str, causes: Value| -> Status {
            serde_json::from_value(json!({"status": "Failure", "message": message, "reason": "Invalid", "code": 422,
                "details": {"causes": causes}}))
            .expect("a status")
        };
        let cause =
            |field: &str, message: &str| json!({"reason": "FieldValueInvalid", "field": field, "message": message});
        let address = cause(
            "spec.clusterIPs",
            "Invalid value: [\"10.96.0.9\"]: failed to allocate IP 10.96.0.9: provided IP is already allocated",
        );
        let port = cause("spec.ports[0].nodePort", "Invalid value: 30080: provided port is already allocated");
        let other = cause("spec.ports[0].port", "Required value");
        assert_eq!(taken(&status("", json!([address]))), (true, false));
        assert_eq!(taken(&status("", json!([port, address]))), (true, true));
        assert_eq!(taken(&status("", json!([other]))), (false, false));
        let text = "Service \"a\" is invalid: spec.clusterIPs: Invalid value: []: failed to allocate IP 10.0.0.9: the provided IP is not in the valid range.";
        assert_eq!(taken(&status(text, json!([]))), (true, false));
    }

    #[test]
    fn what_is_only_live_is_told() {
        let manifest = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1", "b": "1"}});
        let live = json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"a": "2", "b": "1", "new": "1"}});
        let dry = json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"a": "1", "b": "1", "new": "1"}});
        assert_eq!(stays(&manifest, Some(&live), &dry), ["data.new"]);
        assert!(stays(&manifest, None, &dry).is_empty());
    }
}
