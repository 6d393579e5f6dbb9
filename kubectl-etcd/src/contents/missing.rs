//! What is named and is not in a file.

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_objects::catalog::ResourceType;
use etcd_objects::key::{Key, Place};
use etcd_snapshot::Keep;

use super::{Contents, Entry, Request, Wanted, resource_name};
use crate::context::Context;
use crate::output::visible::quoted;
use crate::output::{Failed, Outcome};

/// What is named and is not among the entries.
pub(crate) fn missing(wanted: &Wanted, entries: &[Entry]) -> Vec<(ResourceType, String)> {
    let there: BTreeSet<(&str, &str)> =
        entries.iter().map(|entry| (entry.place.resource.as_str(), entry.place.name.as_str())).collect();
    let named =
        wanted.requests.iter().flat_map(|request| request.names.iter().map(move |name| (&request.resource, name)));
    let gone = named.filter(|(resource, name)| !there.contains(&(resource.plural.as_str(), name.as_str())));
    gone.map(|(resource, name)| (resource.clone(), name.clone())).collect()
}

/// That a file lacks what is named, and in which other namespaces it has objects of the names, as of its revision or an earlier one.
pub(crate) async fn not_there(
    missing: &[(ResourceType, String)],
    wanted: &Wanted,
    contents: &Contents,
    at: Option<i64>,
    context: &Context,
) -> Failed {
    let title = |(resource, name): &(ResourceType, String)| match &wanted.namespace {
        Some(namespace) if resource.namespaced => format!("{}/{name} in namespace {namespace}", resource.full_name()),
        _ => format!("{}/{name}", resource.full_name()),
    };
    let titles: Vec<String> = missing.iter().map(title).collect();
    let failed = match titles.as_slice() {
        [one] => Failed::plain(format!("{} has no {one}", contents.name())),
        several => Failed::plain(format!("{} lacks {} of the objects", contents.name(), several.len()))
            .causes(several.iter().cloned()),
    };
    match elsewhere(missing, wanted, contents, at, context).await {
        Err(why) => failed.cause(format!("other namespaces cannot be looked at: {}", why.one_line())),
        Ok(found) if found.is_empty() => failed,
        Ok(found) => {
            let title = |place: &Place| {
                let namespace = place.namespace.as_deref().unwrap_or_default();
                format!("{}/{} is in namespace {namespace}", resource_name(place), place.name)
            };
            let namespaces: BTreeSet<String> = found
                .iter()
                .filter_map(|place| Some(format!("\n  -n {}", quoted(place.namespace.as_ref()?))))
                .collect();
            let failed = failed.causes(found.iter().map(title));
            failed.hint(format!("name the namespace{}", namespaces.into_iter().collect::<String>()))
        }
    }
}

/// Objects of the names that are wanted, in namespaces in which they were not looked for.
async fn elsewhere(
    missing: &[(ResourceType, String)],
    wanted: &Wanted,
    contents: &Contents,
    at: Option<i64>,
    context: &Context,
) -> Outcome<BTreeSet<Place>> {
    let request =
        |(resource, name): &(ResourceType, String)| Request { resource: resource.clone(), names: vec![name.clone()] };
    let named = missing.iter().filter(|(resource, _)| resource.namespaced).map(request);
    let (named, namespace): (Vec<Request>, _) = (named.collect(), wanted.namespace.clone());
    if named.is_empty() {
        return Ok(BTreeSet::new());
    }
    let prefix = contents.prefix.clone();
    let is_elsewhere = move |place: &Place| {
        let is = |request: &Request| request.is_of(place) && request.names.contains(&place.name);
        place.namespace.is_some() && place.namespace != namespace && named.iter().any(is)
    };
    let place = move |key: &[u8]| match prefix.parse(key) {
        Key::Object(place) if is_elsewhere(&place) => Some(place),
        _ => None,
    };
    let parse = place.clone();
    let keep = move |key: &[u8]| if parse(key).is_some() { Keep::Key } else { Keep::Nothing };
    let keys = contents.keys(context, Arc::new(keep), at).await?;
    Ok(keys.keys().filter_map(|key| place(key)).collect())
}
