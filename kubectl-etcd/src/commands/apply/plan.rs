//! What is sent, and in which order, decided before anything is sent. Pure.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::Object;
use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use serde_json::Value;

use super::facts::{Facts, claim_of, namespace_of, volume_of};
use super::owners::{Owner, link, owners, owners_first, rewrite};
use super::refuse::{has_ended, never};
use super::strip::{Around, strip};
use crate::api::{Served, Serving};
use crate::contents::Entry;
use crate::output::visible;

/// Why the server cannot try what is in a namespace that is sent as well.
pub(super) const NEW_NAMESPACE: &str = "its namespace is created first";

/// An object that will be sent.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) served: Served,
    /// What is sent.
    pub(super) manifest: Value,
    /// What is there now.
    pub(super) live: Option<Value>,
    /// Owners whose UIDs will be others, by the ones that the manifest names.
    pub(super) anew: BTreeMap<String, Place>,
    /// Why the server cannot try it without doing it.
    pub(super) late: Option<&'static str>,
    pub(super) notes: Vec<String>,
    /// What the server's dry run made of it.
    pub(super) dry: Option<Value>,
    /// Whether its namespace is told with its name, as there are others.
    pub(super) tells_namespace: bool,
}

impl Item {
    /// `deployment.apps/web`, as kubectl has it.
    pub(super) fn title(&self) -> String {
        let dot = if self.served.group.is_empty() { "" } else { "." };
        let namespace = self.place.namespace.as_ref().filter(|_| self.tells_namespace);
        let namespace = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let (kind, group, name) = (self.served.kind.to_lowercase(), &self.served.group, &self.place.name);
        let title = format!("{kind}{dot}{group}/{name}{namespace}");
        visible::name(&title).into_owned()
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order in which they are sent.
    pub(super) items: Vec<Item>,
    /// What a namespace has and nobody should put back, and why.
    pub(super) left_out: LeftOut,
    /// What speaks against it all.
    pub(super) refusals: Vec<String>,
    /// What would have to be applied as well.
    pub(super) lacking: BTreeSet<String>,
}

/// What is left out: titles by resource and reason.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeMap<(String, &'static str), Vec<String>>);

/// Of how many objects of a resource each is named.
const NAMED: usize = 3;

impl LeftOut {
    fn add(&mut self, entry: &Entry, why: &'static str) {
        self.0.entry((entry.resource(), why)).or_default().push(entry.place.name.clone());
    }

    /// A line for each resource and reason.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |((resource, why), names): (&(String, &str), &Vec<String>)| match names.len() {
            0..=NAMED => format!("{resource} {}: {why}", names.join(", ")),
            several => format!("{several} {resource}: {why}"),
        };
        self.0.iter().map(line).collect()
    }
}

/// What the plan is made with.
pub(super) struct Surroundings<'a> {
    pub(super) facts: &'a Facts,
    pub(super) serving: &'a Serving,
    pub(super) catalog: &'a Catalog,
    /// Whether a whole namespace is meant, in which not everything can be put back.
    pub(super) whole_namespace: bool,
    /// Whether objects of several namespaces are meant.
    pub(super) several_namespaces: bool,
}

/// Plans to apply what is meant.
pub(super) fn plan(entries: &[Entry], around: &Surroundings<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut sent: BTreeMap<&Place, &Object> = BTreeMap::new();
    for entry in entries {
        match &entry.object {
            Err(why) => plan.refusals.push(format!("{} cannot be read: {why}", entry.title())),
            Ok(object) => match never(&entry.place, &object.json) {
                None => drop(sent.insert(&entry.place, object)),
                Some(why) if around.whole_namespace => plan.left_out.add(entry, why),
                Some(why) => plan.refusals.push(format!("{}: {why}", entry.title())),
            },
        }
    }
    if around.whole_namespace {
        for (entry, why) in needless(entries, &sent, around) {
            sent.remove(&entry.place);
            plan.left_out.add(entry, why);
        }
    }
    for entry in entries {
        let Some(object) = sent.get(&entry.place) else { continue };
        if let Some(why) = odd(&entry.place, object) {
            plan.refusals.push(format!("{} {why}", entry.title()));
            continue;
        }
        match item(&entry.place, object, &sent, around) {
            Ok(item) => plan.items.push(item),
            Err(Refusal::Namespace(namespace)) => {
                plan.refusals.push(format!("{}: namespace {namespace} is not there", entry.title()));
                plan.lacking.insert(format!("ns/{namespace}"));
            }
            Err(Refusal::Leaving) => plan
                .refusals
                .push(format!("{}: the live object is being deleted; apply again when it is gone", entry.title())),
            Err(Refusal::Version(why)) => {
                plan.refusals.push(format!("{}: {why}", entry.title()));
                plan.lacking.extend(definition(&entry.place, around));
            }
        }
    }
    order(&mut plan.items, around.catalog);
    plan
}

/// What of a whole namespace comes by itself, or is over.
fn needless<'a>(
    entries: &'a [Entry],
    sent: &BTreeMap<&Place, &Object>,
    around: &Surroundings<'_>,
) -> Vec<(&'a Entry, &'static str)> {
    let comes = |place: &Place| sent.contains_key(place) || around.facts.live(place).is_some();
    let judge = |entry: &'a Entry| {
        let object = sent.get(&entry.place)?;
        if has_ended(&entry.place, &object.json) {
            return Some((entry, "it has ended, and would run again"));
        }
        let named = owners(&entry.place, &object.json, around.catalog);
        let of_pod =
            |owner: &Owner| owner.controls && owner.place.as_ref().is_some_and(|place| place.resource == "pods");
        if ["persistentvolumeclaims", "resourceclaims"].contains(&entry.place.resource.as_str())
            && named.iter().any(of_pod)
        {
            return Some((entry, "it is made anew for each pod"));
        }
        let controlled = named.iter().any(|owner| owner.controls && owner.place.as_ref().is_some_and(comes));
        (object.kind == "Pod" && object.group().is_empty() && controlled)
            .then_some((entry, "its controller makes it anew"))
    };
    entries.iter().filter_map(judge).collect()
}

/// What keeps an object from being sent, whatever the cluster has.
fn odd(place: &Place, object: &Object) -> Option<&'static str> {
    if !object.unknown.is_empty() {
        return Some("has fields that are not known here, and would be lost");
    }
    let metadata = &object.json["metadata"];
    let own = metadata["name"] == place.name.as_str() && metadata["namespace"].as_str() == place.namespace.as_deref();
    (!own).then_some("has the value of another object")
}

enum Refusal {
    Namespace(String),
    Version(String),
    /// It is there, and being deleted.
    Leaving,
}

fn item(
    place: &Place,
    object: &Object,
    sent: &BTreeMap<&Place, &Object>,
    around: &Surroundings<'_>,
) -> Result<Item, Refusal> {
    let facts = around.facts;
    if facts.live(place).is_some_and(|live| !live["metadata"]["deletionTimestamp"].is_null()) {
        return Err(Refusal::Leaving);
    }
    let mut late = None;
    if let Some(namespace) = namespace_of(place)
        && facts.live(&namespace).is_none()
    {
        if !sent.contains_key(&namespace) {
            return Err(Refusal::Namespace(namespace.name));
        }
        late = Some(NEW_NAMESPACE);
    }
    let served = match around.serving.at(&object.api_version, &place.resource) {
        Some(served) => served.clone(),
        None if is_defined(place, object, sent) => {
            late = Some("its type is only about to be defined");
            Served::new(&object.api_version, &place.resource, &object.kind, place.namespace.is_some())
        }
        None => return Err(Refusal::Version(unserved(place, object, around.serving))),
    };
    // What is sent as well is as good as there, and will be another object.
    let near = |place: Option<Place>| {
        let place = place?;
        facts.live(&place).or_else(|| sent.get(&place).map(|object| &object.json)).cloned()
    };
    let (live, volume) = (facts.live(place), near(volume_of(place, &object.json)));
    let volume = volume.map(|volume| without_stale_claim(volume, sent, facts));
    let claim = claim_of(place, &object.json).and_then(|claim| facts.live(&claim));
    let (mut manifest, mut notes) = strip(&object.json, &Around { live, volume: volume.as_ref(), claim });
    let named = owners(place, &object.json, around.catalog);
    let linked = link(&named, |owner| facts.is_live(owner), |owner| sent.contains_key(owner) && owner != place);
    let keeps =
        |uid: &str| linked.anew.contains_key(uid) || named.iter().any(|owner| owner.uid == uid && facts.is_live(owner));
    rewrite(&mut manifest, keeps, &BTreeMap::new());
    if live.is_none() && has_ended(place, &object.json) {
        notes.push("it had ended, and will run again".to_owned());
    }
    if !linked.dropped.is_empty() {
        notes.push(format!("without its owner, which is not there any more: {}", linked.dropped.join(", ")));
    }
    let (place, live) = (place.clone(), live.cloned());
    let tells_namespace = around.several_namespaces;
    Ok(Item { place, served, manifest, live, anew: linked.anew, late, notes, dry: None, tells_namespace })
}

/// A volume that is sent as well names its claim without the UID of the one that was.
fn without_stale_claim(mut volume: Value, sent: &BTreeMap<&Place, &Object>, facts: &Facts) -> Value {
    let place = Place {
        group: Some(String::new()),
        resource: "persistentvolumes".to_owned(),
        namespace: None,
        name: volume["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    if sent.contains_key(&place)
        && facts.live(&place).is_none()
        && let Some(claim) = volume.pointer_mut("/spec/claimRef").and_then(Value::as_object_mut)
    {
        claim.remove("uid");
    }
    volume
}

/// Whether the definition of a custom resource's type is sent as well.
fn is_defined(place: &Place, object: &Object, sent: &BTreeMap<&Place, &Object>) -> bool {
    let defines = |definition: &Object| {
        let spec = &definition.json["spec"];
        definition.kind == "CustomResourceDefinition"
            && spec["group"] == object.group()
            && spec["names"]["plural"] == place.resource
    };
    sent.values().any(|sent| defines(sent))
}

fn unserved(place: &Place, object: &Object, serving: &Serving) -> String {
    let group = place.group.as_deref().unwrap_or_default();
    let instead = serving.preferred(group, &place.resource).map(Served::api_version);
    let instead = instead.map(|version| format!(", but {version}")).unwrap_or_default();
    format!("it is stored as {} {}, which the cluster does not serve{instead}", object.api_version, object.kind)
}

/// The definition that makes the type of a custom resource, if the cluster knows nothing of it.
fn definition(place: &Place, around: &Surroundings<'_>) -> Option<String> {
    let group = place.group.as_deref()?;
    let custom = around.catalog.get(group, &place.resource)?.custom
        && around.serving.preferred(group, &place.resource).is_none();
    custom.then(|| format!("crd/{}.{group}", place.resource))
}

/// What others refer to comes first.
fn order(items: &mut Vec<Item>, catalog: &Catalog) {
    let rank = |item: &Item| {
        let group = item.place.group.as_deref().unwrap_or_default();
        catalog.get(group, &item.place.resource).map_or(u32::MAX, |resource| resource.rank())
    };
    items.sort_by_key(rank);
    let owned = items.iter().map(|item| (item.place.clone(), item.anew.values().cloned().collect()));
    let order = owners_first(&owned.collect::<Vec<_>>());
    let mut all: Vec<Option<Item>> = std::mem::take(items).into_iter().map(Some).collect();
    items.extend(order.into_iter().filter_map(|index| all.get_mut(index)?.take()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::carry_out::Action;
    use super::super::rehearse::patches;
    use super::super::show;
    use super::*;
    use crate::contents::entry_of;

    fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Value {
        let mut object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "uid": format!("{name}-uid")}});
        if let (Some(fields), Value::Object(more)) = (object.as_object_mut(), more) {
            for (field, value) in more {
                match (fields.get_mut(&field).and_then(Value::as_object_mut), value) {
                    (Some(old), Value::Object(new)) => old.extend(new),
                    (_, value) => drop(fields.insert(field, value)),
                }
            }
        }
        object
    }

    fn entry(key: &str, object: &Value) -> Entry {
        entry_of(&format!("/registry/{key}"), object)
    }

    fn serving() -> Serving {
        let types = [
            ("v1", "namespaces", "Namespace", false),
            ("v1", "configmaps", "ConfigMap", true),
            ("v1", "secrets", "Secret", true),
            ("v1", "pods", "Pod", true),
            ("v1", "events", "Event", true),
            ("apps/v1", "replicasets", "ReplicaSet", true),
            ("apps/v1", "deployments", "Deployment", true),
            ("networking.k8s.io/v1", "ingresses", "Ingress", true),
            ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false),
        ];
        Serving::of(types.map(|(version, plural, kind, namespaced)| Served::new(version, plural, kind, namespaced)))
    }

    fn namespace() -> (Place, Value) {
        let place =
            Place { group: Some(String::new()), resource: "namespaces".into(), namespace: None, name: "shop".into() };
        (place, object("v1", "Namespace", "shop", json!({})))
    }

    fn planned(entries: &[Entry], facts: &Facts, whole_namespace: bool) -> Plan {
        let (serving, catalog) = (serving(), Catalog::builtin());
        let (serving, catalog, several_namespaces) = (&serving, &catalog, false);
        plan(entries, &Surroundings { facts, serving, catalog, whole_namespace, several_namespaces })
    }

    fn in_shop(more: Value) -> Value {
        let mut more = more;
        more["metadata"]["namespace"] = json!("shop");
        more
    }

    #[test]
    fn a_namespace_is_there_or_comes_along() {
        let map = object("v1", "ConfigMap", "a", in_shop(json!({"data": {"a": "b"}})));
        let map = entry("configmaps/shop/a", &map);
        let refused = planned(std::slice::from_ref(&map), &Facts::default(), false);
        assert_eq!((refused.items.len(), refused.lacking.len()), (0, 1));
        assert!(refused.refusals[0].contains("namespace shop is not there"), "{:?}", refused.refusals);
        let there = planned(std::slice::from_ref(&map), &Facts::of([namespace()]), false);
        assert!(there.refusals.is_empty() && there.items[0].late.is_none(), "{there:?}");
        assert!(there.items[0].manifest["metadata"].get("uid").is_none());
        assert_eq!(there.items[0].title(), "configmap/a");
        let along = planned(&[map, entry("namespaces/shop", &namespace().1)], &Facts::default(), false);
        let titles: Vec<_> = along.items.iter().map(|item| (item.title(), item.late.is_some())).collect();
        assert_eq!(titles, [("namespace/shop".to_owned(), false), ("configmap/a".to_owned(), true)]);
    }

    #[test]
    fn hostile_objects_are_shown_without_what_would_paint() {
        let hostile = "x\u{1b}[2K\nconfigmap a created\u{202e}";
        let data = json!({"data": {"a": "\u{9b}31m\u{1b}c", "b\u{2066}": "lines\nof \u{202e}text\n"}});
        let map = entry(&format!("configmaps/shop/{hostile}"), &object("v1", "ConfigMap", hostile, in_shop(data)));
        let plan = planned(&[map], &Facts::of([namespace()]), false);
        let item = &plan.items[0];
        let line = show::line(item, Action::Created, Some("server"));
        assert_eq!(line, "configmap/x\\x1b[2K\\nconfigmap a created\\u202e created (server dry run)\n");
        let patch = patches(&plan.items);
        assert!(patch.contains(r"b\U00002066") && patch.contains(r"\x9B31m\ec"), "{patch}");
        for text in [&line, &patch] {
            let hidden = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2066}');
            assert!(!text.contains(hidden), "{text:?}");
        }
        assert_eq!(patch.matches("configmap a created").count(), patch.matches(r"\nconfigmap a created").count());
    }

    #[test]
    fn owners_come_along_or_are_not_named() {
        let owned = |kind: &str, name: &str| {
            json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("{name}-uid")}]}})
        };
        let pod = entry("pods/shop/p", &object("v1", "Pod", "p", in_shop(owned("ReplicaSet", "r"))));
        let set = entry("replicasets/shop/r", &object("apps/v1", "ReplicaSet", "r", in_shop(owned("Deployment", "d"))));
        let facts = Facts::of([namespace()]);
        let plan = planned(&[pod, set], &facts, false);
        let titles: Vec<_> = plan.items.iter().map(Item::title).collect();
        assert_eq!(titles, ["replicaset.apps/r", "pod/p"]);
        assert!(plan.items[0].manifest["metadata"].get("ownerReferences").is_none());
        assert!(plan.items[0].notes[0].contains("Deployment d"), "{:?}", plan.items[0].notes);
        assert_eq!(plan.items[1].anew.keys().collect::<Vec<_>>(), ["r-uid"]);
        assert_eq!(plan.items[1].manifest["metadata"]["ownerReferences"][0]["uid"], "r-uid");
    }

    #[test]
    fn what_cannot_be_put_back_is_refused_and_of_a_namespace_left_out() {
        let token = object("v1", "Secret", "t", in_shop(json!({"type": "kubernetes.io/service-account-token"})));
        let event = object("v1", "Event", "e", in_shop(json!({})));
        let old = object("extensions/v1beta1", "Ingress", "i", in_shop(json!({})));
        let facts = Facts::of([namespace()]);
        let entries = || vec![entry("secrets/shop/t", &token), entry("events/shop/e", &event)];
        let plan = planned(&entries(), &facts, false);
        assert_eq!((plan.refusals.len(), plan.left_out.lines().len(), plan.items.len()), (2, 0, 0));
        let plan = planned(&entries(), &facts, true);
        assert_eq!((plan.refusals.len(), plan.left_out.lines().len(), plan.items.len()), (0, 2, 0));
        let plan = planned(&[entry("ingress/shop/i", &old)], &facts, true);
        assert!(
            plan.refusals[0].contains(
                "stored as extensions/v1beta1 Ingress, which the cluster does not serve, but networking.k8s.io/v1"
            ),
            "{:?}",
            plan.refusals
        );
        let broken = entry_of("/registry/configmaps/shop/x", &json!("none"));
        assert!(
            planned(
                &[Entry {
                    object: Err(crate::contents::Undecodable::Decode(etcd_objects::DecodeError::UnknownFormat)),
                    ..broken
                }],
                &facts,
                true
            )
            .refusals[0]
                .contains("cannot be read")
        );
    }

    #[test]
    fn of_a_namespace_what_comes_by_itself_is_left_out() {
        let of_set = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r-uid", "controller": true}]}});
        let done = json!({"status": {"phase": "Succeeded"}});
        let entries = [
            entry("pods/shop/p", &object("v1", "Pod", "p", in_shop(of_set))),
            entry("pods/shop/done", &object("v1", "Pod", "done", in_shop(done))),
            entry("pods/shop/alone", &object("v1", "Pod", "alone", in_shop(json!({})))),
            entry("replicasets/shop/r", &object("apps/v1", "ReplicaSet", "r", in_shop(json!({})))),
        ];
        let facts = Facts::of([namespace()]);
        let titles = |plan: &Plan| plan.items.iter().map(Item::title).collect::<Vec<_>>();
        let whole = planned(&entries, &facts, true);
        assert_eq!(titles(&whole), ["replicaset.apps/r", "pod/alone"]);
        assert_eq!(whole.left_out.lines().len(), 2);
        let named = planned(&entries, &facts, false);
        assert_eq!(titles(&named).len(), 4);
        assert!(named.items.iter().any(|item| item.notes.iter().any(|note| note.contains("will run again"))));
        // Nobody makes it anew without its set.
        assert_eq!(titles(&planned(&entries[..1], &facts, true)), ["pod/p"]);
    }

    #[test]
    fn a_few_that_are_left_out_are_named() {
        let mut left_out = LeftOut::default();
        for name in ["a", "b", "c", "d"] {
            left_out.add(&entry(&format!("events/shop/{name}"), &json!({})), "over");
        }
        left_out.add(&entry("minions/cp1", &json!({})), "registers itself");
        assert_eq!(left_out.lines(), ["4 events: over", "nodes cp1: registers itself"]);
    }

    #[test]
    fn a_type_may_be_defined_on_the_way() {
        let definition = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "widgets.example.com",
            json!({
            "spec": {"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"}}}),
        );
        let widget = object("example.com/v1", "Widget", "w", in_shop(json!({})));
        let widget = entry("example.com/widgets/shop/w", &widget);
        let facts = Facts::of([namespace()]);
        assert_eq!(planned(std::slice::from_ref(&widget), &facts, false).refusals.len(), 1);
        let definition = entry("apiextensions.k8s.io/customresourcedefinitions/widgets.example.com", &definition);
        let plan = planned(&[widget, definition], &facts, false);
        assert_eq!(plan.items.iter().map(|item| item.late.is_some()).collect::<Vec<_>>(), [false, true]);
        assert_eq!(plan.items[1].served.path(Some("shop")), "/apis/example.com/v1/namespaces/shop/widgets");
    }
}
