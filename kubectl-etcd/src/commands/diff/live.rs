//! A file beside the running cluster, through its API.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::catalog::Catalog;
use etcd_objects::key::{Key, Place};
use etcd_snapshot::LiveKeys;
use kube::api::ListParams;
use serde_json::Value;

use super::difference::{Change, Comparison, Difference};
use super::files::only;
use super::scope::Scope;
use crate::api::{Served, Serving, get, list};
use crate::connection::Connection;
use crate::contents::{Contents, Entry, Request, resource_name};
use crate::context::Context;
use crate::output::{Failed, Outcome};

/// Objects that are asked for at once.
const PAGE: u32 = 500;

/// A group, if the key says one, and the name of a resource.
type Kind = (Option<String>, String);

/// What the comparison came to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    /// Types that could not be compared, and why.
    pub(super) failures: Vec<String>,
    /// Types that are served and are not in etcd.
    pub(super) not_stored: Vec<String>,
    /// Types that were compared.
    compared: BTreeSet<Kind>,
    /// Where the cluster has objects that are compared, if not everything is.
    pub(super) places: BTreeSet<Place>,
}

impl Found {
    /// Whether objects of a type were compared.
    pub(super) fn has_compared(&self, request: &Request) -> bool {
        self.compared.iter().any(|(group, resource)| request.is_type(group.as_deref(), resource))
    }
}

/// What differs between a file and the cluster.
///
/// # Errors
/// The file or the cluster cannot be read at all.
pub(super) async fn compare(
    contents: &Contents,
    keys: LiveKeys,
    serving: &Serving,
    connection: &Connection,
    scope: &Scope,
    comparison: &Comparison<'_>,
    context: &Context,
) -> Outcome<Found> {
    let mut found = Found::default();
    let mut of_file = by_kind(contents, keys, scope);
    let (stored, not_stored) = serving.stored();
    if scope.requests().is_empty() {
        found.not_stored = not_stored;
        serving.silent(None).for_each(|silent| context.printer.warn(silent));
    }
    for kind in kinds(&of_file, &stored, scope, comparison.catalog) {
        let entries = contents.entries(of_file.remove(&kind).unwrap_or_default());
        let (listings, unserved) = listings(&kind, &entries, serving, &stored, comparison.catalog);
        let title = title(&kind);
        for (stored, instead) in unserved {
            let warning = match instead {
                Some(version) => {
                    format!("{title} is stored as {stored}, which the cluster does not serve: compared as {version}")
                }
                None => format!("the cluster does not serve {title} (stored as {stored}): not compared"),
            };
            context.printer.warn(warning);
        }
        if listings.is_empty() {
            // Away for now is not the same as not served.
            let silent: Vec<String> = serving.silent(Some(kind.0.as_deref().unwrap_or_default())).collect();
            if !silent.is_empty() {
                found.failures.extend(silent.into_iter().map(|silent| format!("{title}: {silent}")));
            } else if !scope.requests().is_empty() {
                found.failures.push(format!("the cluster does not serve {title}"));
            }
            continue;
        }
        match compare_kind(&kind, &entries, &listings, connection, scope, comparison).await {
            Ok((differences, places)) => {
                found.differences.extend(differences);
                found.places.extend(places.into_iter().filter(|_| scope.is_narrow()));
                found.compared.insert(kind);
            }
            Err(failed) => found.failures.push(failed.one_line()),
        }
    }
    Ok(found)
}

fn title(kind: &Kind) -> String {
    let (group, resource) = kind.clone();
    resource_name(&Place { group, resource, namespace: None, name: String::new() })
}

fn by_kind(contents: &Contents, keys: LiveKeys, scope: &Scope) -> BTreeMap<Kind, LiveKeys> {
    let mut kinds: BTreeMap<Kind, LiveKeys> = BTreeMap::new();
    for (key, live) in keys {
        if let Key::Object(place) = contents.prefix.parse(&key)
            && scope.means(&place)
        {
            kinds.entry((place.group, place.resource)).or_default().insert(key, live);
        }
    }
    kinds
}

/// The types that are compared: those of the file, and those that only the cluster has.
fn kinds(of_file: &BTreeMap<Kind, LiveKeys>, stored: &[&Served], scope: &Scope, catalog: &Catalog) -> BTreeSet<Kind> {
    let mut kinds: BTreeSet<Kind> = of_file.keys().cloned().collect();
    for request in scope.requests() {
        // A key of a newer type does not say its group.
        if !kinds.contains(&(None, request.resource.plural.clone())) {
            kinds.insert((Some(request.resource.group.clone()), request.resource.plural.clone()));
        }
    }
    for one in stored {
        // Some groups show the same objects, as events.k8s.io does events.
        let group = catalog.get(&one.group, &one.plural).map_or(&one.group, |resource| &resource.group);
        let kind = (Some(group.clone()), one.plural.clone());
        let of_namespace = scope.requests().is_empty() && scope.namespace().is_some();
        // A key of a newer type does not say its group.
        let is_there = kinds.contains(&(None, one.plural.clone()));
        if scope.means_type(Some(group), &one.plural) && !is_there && (one.namespaced || !of_namespace) {
            kinds.insert(kind);
        }
    }
    kinds
}

/// A list from the API, and which of the file's objects it is for.
struct Listing<'a> {
    served: &'a Served,
    /// The API versions that those are stored in.
    stored: Vec<String>,
    /// Whether the API version is another, and not to be compared.
    converted: bool,
}

/// In which versions a type is listed: in those that the file's objects are stored in, as long as they are served. Also gives those
/// that are not, and what is taken instead.
fn listings<'a>(
    kind: &Kind,
    entries: &[Entry],
    serving: &'a Serving,
    stored: &[&'a Served],
    catalog: &Catalog,
) -> (Vec<Listing<'a>>, Vec<(String, Option<String>)>) {
    let (group, plural) = kind;
    let versions: BTreeSet<&str> =
        entries.iter().filter_map(|entry| Some(entry.object.as_ref().ok()?.api_version.as_str())).collect();
    let mut groups: Vec<&str> = group.as_deref().into_iter().collect();
    if let Some(resource) = group.as_ref().and_then(|group| catalog.get(group, plural)) {
        groups.extend(resource.other_groups.iter().map(String::as_str));
    }
    let preferred = groups.iter().find_map(|group| serving.preferred(group, plural)).or_else(|| match group {
        None => stored.iter().find(|one| one.plural == *plural).copied(),
        Some(_) => None,
    });
    let (mut listings, mut unserved): (Vec<Listing<'_>>, _) = (Vec::new(), Vec::new());
    for version in versions {
        match serving.at(version, plural) {
            Some(served) => listings.push(Listing { served, stored: vec![version.to_owned()], converted: false }),
            None => {
                unserved.push((version.to_owned(), preferred.map(Served::api_version)));
                let stored = vec![version.to_owned()];
                listings.extend(preferred.map(|served| Listing { served, stored, converted: true }));
            }
        }
    }
    if listings.is_empty() && unserved.is_empty() {
        match preferred {
            Some(served) => listings.push(Listing { served, stored: Vec::new(), converted: false }),
            None => unserved.push(("its newest version".to_owned(), None)),
        }
    }
    (listings, unserved)
}

/// Where objects that are named and were not found are in other namespaces of the cluster, if they are; or why that cannot be looked for.
pub(super) async fn elsewhere(
    lacking: &[(&Request, &str)],
    serving: &Serving,
    connection: &Connection,
) -> Result<BTreeSet<Place>, String> {
    let mut places = BTreeSet::new();
    for (request, name) in lacking {
        let Some(served) = serving.preferred(&request.resource.group, &request.resource.plural) else { continue };
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let kind = (Some(request.resource.group.clone()), request.resource.plural.clone());
        match list(&connection.client, served, None, &params).await {
            Ok(page) => places.extend(page.items.iter().filter_map(|item| place_of(&kind, item))),
            Err(error) => return Err(why(&error)),
        }
    }
    Ok(places)
}

/// Whether the cluster has a namespace; or why that is not known.
pub(super) async fn has_namespace(name: &str, connection: &Connection) -> Result<bool, String> {
    let namespaces = Served::new("v1", "namespaces", "Namespace", false);
    let found = get(&connection.client, &namespaces, None, name).await;
    found.map(|found| found.is_some()).map_err(|error| why(&error))
}

fn why(error: &kube::Error) -> String {
    Failed::plain("").source(error).causes.join(": ")
}

async fn compare_kind(
    kind: &Kind,
    entries: &[Entry],
    listings: &[Listing<'_>],
    connection: &Connection,
    scope: &Scope,
    comparison: &Comparison<'_>,
) -> Outcome<(Vec<Difference>, BTreeSet<Place>)> {
    let by_place: BTreeMap<&Place, &Entry> = entries.iter().map(|entry| (&entry.place, entry)).collect();
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, listing) in listings.iter().enumerate() {
        let mut pages = Pages::new(kind, scope, listing.served);
        let (mut found, mut seen_here) = (Vec::new(), BTreeSet::new());
        while let Some(items) = pages.next(connection).await? {
            if pages.began_anew {
                pages.began_anew = false;
                found.clear();
                seen_here.clear();
            }
            for item in items {
                let Some(place) = place_of(kind, &item).filter(|place| scope.means(place)) else { continue };
                let entry = by_place.get(&place).copied();
                found.extend(judge(entry, &place, item, listing, index == 0, comparison));
                seen_here.insert(place);
            }
        }
        all.extend(found);
        seen.extend(seen_here);
    }
    let gone = entries.iter().filter(|entry| !seen.contains(&entry.place));
    all.extend(gone.map(|entry| only(comparison, Change::OnlyInFirst, &entry.place, Some(entry))));
    Ok((all, seen))
}

/// What a live object is beside that of the file. An object is judged once: in the list of the version it is stored in, or else in the
/// first one.
fn judge(
    entry: Option<&Entry>,
    place: &Place,
    mut live: Value,
    listing: &Listing<'_>,
    first_listing: bool,
    comparison: &Comparison<'_>,
) -> Option<Difference> {
    match entry.map(|entry| &entry.object) {
        None if first_listing => Some(comparison.only(Change::OnlyInSecond, place, Some(&live))),
        Some(Err(why)) if first_listing => Some(comparison.unreadable(Change::Differs, place, &why.to_string())),
        Some(Ok(object)) if listing.stored.contains(&object.api_version) => {
            if listing.converted {
                live["apiVersion"] = Value::from(object.api_version.as_str());
            }
            comparison.compare(place, object, &live)
        }
        _ => None,
    }
}

fn place_of(kind: &Kind, object: &Value) -> Option<Place> {
    let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (group, resource) = kind.clone();
    Some(Place { group, resource, namespace: text("namespace"), name: text("name")? })
}

/// The objects of a type, page by page.
struct Pages<'a> {
    served: &'a Served,
    namespace: Option<&'a str>,
    params: Option<ListParams>,
    /// The pages before count no more: the list was too slow for the API server, and is asked for at once.
    began_anew: bool,
}

impl<'a> Pages<'a> {
    fn new(kind: &Kind, scope: &'a Scope, served: &'a Served) -> Pages<'a> {
        let mut params = ListParams::default().limit(PAGE);
        if let Some(name) = scope.only_name(kind.0.as_deref(), &kind.1) {
            params = params.fields(&format!("metadata.name={name}"));
        }
        Pages { served, namespace: scope.namespace(), params: Some(params), began_anew: false }
    }

    async fn next(&mut self, connection: &Connection) -> Outcome<Option<Vec<Value>>> {
        let Some(params) = self.params.take() else { return Ok(None) };
        let page = match list(&connection.client, self.served, self.namespace, &params).await {
            Err(kube::Error::Api(status)) if status.code == 410 && params.continue_token.is_some() => {
                self.began_anew = true;
                let whole = ListParams { limit: None, continue_token: None, ..params.clone() };
                list(&connection.client, self.served, self.namespace, &whole).await
            }
            answer => answer,
        };
        let page = page.map_err(|error| {
            let place = self.namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
            Failed::plain(format!("cannot list {} of {}{place}", self.served.plural, self.served.api_version()))
                .source(&error)
        })?;
        self.params = page.next.map(|token| ListParams { continue_token: Some(token), ..params });
        Ok(Some(page.items))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_object_has_a_place() {
        let kind = (Some("apps".to_owned()), "deployments".to_owned());
        let place = place_of(&kind, &json!({"metadata": {"name": "web", "namespace": "shop"}})).expect("a name");
        assert_eq!(
            (place.namespace.as_deref(), place.name.as_str(), title(&kind).as_str()),
            (Some("shop"), "web", "deployments.apps")
        );
        assert_eq!(place_of(&kind, &json!({"metadata": {"namespace": "shop"}})), None);
    }
}
