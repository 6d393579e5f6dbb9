//! What is named and is not in a file.

use std::collections::BTreeSet;

use etcd_objects::catalog::ResourceType;

use super::{Contents, Entry, Wanted};
use crate::output::Failed;

/// What is named and is not among the entries.
pub(crate) fn missing(wanted: &Wanted, entries: &[Entry]) -> Vec<String> {
    let there: BTreeSet<(&str, &str)> =
        entries.iter().map(|entry| (entry.place.resource.as_str(), entry.place.name.as_str())).collect();
    let named =
        wanted.requests.iter().flat_map(|request| request.names.iter().map(move |name| (&request.resource, name)));
    let gone = named.filter(|(resource, name)| !there.contains(&(resource.plural.as_str(), name.as_str())));
    let title = |(resource, name): (&ResourceType, &String)| match &wanted.namespace {
        Some(namespace) if resource.namespaced => format!("{}/{name} in namespace {namespace}", resource.full_name()),
        _ => format!("{}/{name}", resource.full_name()),
    };
    gone.map(title).collect()
}

/// That a file lacks what is named.
pub(crate) fn not_there(missing: &[String], contents: &Contents) -> Failed {
    match missing {
        [one] => Failed::plain(format!("{} has no {one}", contents.name())),
        several => Failed::plain(format!("{} lacks {} of the objects", contents.name(), several.len()))
            .causes(several.iter().cloned()),
    }
}
