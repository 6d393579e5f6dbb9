//! A file beside another file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_objects::key::{Key, Place};
use etcd_snapshot::{Beside, Fingerprints, Keep, LiveKey};

use super::difference::{Change, Comparison, Difference};
use super::scope::Scope;
use crate::contents::{Contents, Entry};
use crate::context::Context;
use crate::output::Outcome;

/// What differs between two files: all keys are compared by what they and their values hash to, and only those that differ are read.
///
/// # Errors
/// A file cannot be read.
pub(super) async fn compare(
    first: &Contents,
    second: &Contents,
    scope: &Arc<Scope>,
    comparison: &Comparison<'_>,
    context: &Context,
) -> Outcome<Vec<Difference>> {
    let (ours, theirs) = tokio::try_join!(first.fingerprints(context), second.fingerprints(context))?;
    let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
    // Of what only one side has the values are needed only to be shown.
    let alone = if comparison.patches { Keep::Value } else { Keep::Key };
    let here = read(first, [Arc::clone(&ours), Arc::clone(&theirs)], alone, scope, context);
    let there = read(second, [theirs, ours], alone, scope, context);
    let (mut one, mut other) = tokio::try_join!(here, there)?;
    let places: BTreeSet<Place> = one.keys().chain(other.keys()).cloned().collect();
    // Decoded one by one: an object takes several times its stored bytes.
    let entry = |contents: &Contents, found: Option<(Vec<u8>, LiveKey)>| {
        let (key, live) = found?;
        contents.entry(key, live)
    };
    let judge = |place: Place| match (entry(first, one.remove(&place)), entry(second, other.remove(&place))) {
        (Some(entry), None) => Some(only(comparison, Change::OnlyInFirst, &place, shown(&entry, comparison))),
        (None, Some(entry)) => Some(only(comparison, Change::OnlyInSecond, &place, shown(&entry, comparison))),
        (Some(one), Some(other)) => both(comparison, &place, &one, &other),
        (None, None) => None,
    };
    Ok(places.into_iter().filter_map(judge).collect())
}

/// The objects of one side that the other does not have like that.
async fn read(
    contents: &Contents,
    [own, others]: [Arc<Fingerprints>; 2],
    alone: Keep,
    scope: &Arc<Scope>,
    context: &Context,
) -> Outcome<BTreeMap<Place, (Vec<u8>, LiveKey)>> {
    let (scope, prefix) = (Arc::clone(scope), contents.prefix.clone());
    let keep = move |key: &[u8]| {
        let keep = match own.beside(&others, key, prefix.as_str().as_bytes()) {
            Beside::Same => return Keep::Nothing,
            Beside::Other => Keep::Value,
            Beside::Missing => alone,
        };
        match prefix.parse(key) {
            Key::Object(place) if scope.means(&place) => keep,
            _ => Keep::Nothing,
        }
    };
    let read = contents.keys(context, Arc::new(keep), None).await?;
    let placed = |(key, live): (Vec<u8>, LiveKey)| match contents.prefix.parse(&key) {
        Key::Object(place) => Some((place, (key, live))),
        _ => None,
    };
    Ok(read.into_iter().filter_map(placed).collect())
}

/// An entry whose value was read.
fn shown<'a>(entry: &'a Entry, comparison: &Comparison<'_>) -> Option<&'a Entry> {
    comparison.patches.then_some(entry)
}

/// An object that only one side has.
pub(super) fn only(comparison: &Comparison<'_>, change: Change, place: &Place, entry: Option<&Entry>) -> Difference {
    match entry.map(|entry| &entry.object) {
        Some(Err(why)) => comparison.unreadable(change, place, &why.to_string()),
        Some(Ok(object)) => comparison.only(change, place, Some(&object.json)),
        None => comparison.only(change, place, None),
    }
}

fn both(comparison: &Comparison<'_>, place: &Place, first: &Entry, second: &Entry) -> Option<Difference> {
    match (&first.object, &second.object) {
        // A revision of one file says nothing about that of another.
        (Ok(one), Ok(other)) => comparison.compare_plain(place, &one.json, &other.json),
        // What was decrypted can be compared, if not read.
        _ if first.stored == second.stored => None,
        (Err(why), _) | (_, Err(why)) => Some(comparison.unreadable(Change::Differs, place, &why.to_string())),
    }
}
