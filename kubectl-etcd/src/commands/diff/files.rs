//! A file beside another file.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use etcd_objects::key::{Key, Place};
use etcd_snapshot::{Keep, LiveKey, LiveKeys};

use super::difference::{Change, Comparison, Difference};
use super::scope::Scope;
use crate::cli::Context;
use crate::contents::{Contents, Entry};
use crate::output::Outcome;

/// A file's keys by what is there.
type Places = BTreeMap<Place, (Vec<u8>, LiveKey)>;

/// A file that has been read, and its keys with what their values hash to.
pub(super) struct Side {
    pub(super) contents: Contents,
    pub(super) keys: LiveKeys,
}

/// Where an object is on both sides.
enum Pair {
    One(Change, Place),
    Both(Place),
}

/// What differs between two files.
///
/// # Errors
/// A file cannot be read.
pub(super) async fn compare(
    first: Side,
    second: Side,
    scope: &Scope,
    comparison: &Comparison<'_>,
    context: &Context,
) -> Outcome<Vec<Difference>> {
    let (ours, theirs) = (places(&first, scope), places(&second, scope));
    let pairs = pair(&ours, &theirs);
    let wanted = |places: &Places, change: Change| -> HashSet<Vec<u8>> {
        let needed = pairs.iter().filter_map(|pair| match pair {
            Pair::Both(place) => places.get(place),
            Pair::One(only, place) if *only == change && comparison.patches => places.get(place),
            Pair::One(..) => None,
        });
        needed.map(|(key, _)| key.clone()).collect()
    };
    let (mut one, mut other) = tokio::try_join!(
        read(&first.contents, wanted(&ours, Change::OnlyInFirst), context),
        read(&second.contents, wanted(&theirs, Change::OnlyInSecond), context)
    )?;
    Ok(pairs
        .into_iter()
        .filter_map(|pair| match pair {
            Pair::One(change, place) => {
                let entry = match change {
                    Change::OnlyInSecond => other.remove(&place),
                    _ => one.remove(&place),
                };
                Some(only(comparison, change, &place, entry.as_ref()))
            }
            Pair::Both(place) => both(comparison, &place, &one.remove(&place)?, &other.remove(&place)?),
        })
        .collect())
}

fn places(side: &Side, scope: &Scope) -> Places {
    let object = |(key, live): (&Vec<u8>, &LiveKey)| match side.contents.prefix.parse(key) {
        Key::Object(place) if scope.means(&place) => Some((place, (key.clone(), live.clone()))),
        _ => None,
    };
    side.keys.iter().filter_map(object).collect()
}

/// What is only on one side, and what is on both with other bytes.
fn pair(ours: &Places, theirs: &Places) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (place, (_, live)) in ours {
        match theirs.get(place) {
            None => pairs.push(Pair::One(Change::OnlyInFirst, place.clone())),
            Some((_, other)) if live.fingerprint == other.fingerprint && live.fingerprint.is_some() => {}
            Some(_) => pairs.push(Pair::Both(place.clone())),
        }
    }
    let new = theirs.keys().filter(|place| !ours.contains_key(place));
    pairs.extend(new.map(|place| Pair::One(Change::OnlyInSecond, place.clone())));
    pairs
}

async fn read(contents: &Contents, keys: HashSet<Vec<u8>>, context: &Context) -> Outcome<BTreeMap<Place, Entry>> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keep = move |key: &[u8]| if keys.contains(key) { Keep::Value } else { Keep::Nothing };
    let read = contents.keys(context, Arc::new(keep), None, false).await?;
    Ok(contents.entries(read).into_iter().map(|entry| (entry.place.clone(), entry)).collect())
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

#[cfg(test)]
mod tests {
    use etcd_objects::catalog::Catalog;

    use super::*;
    use crate::contents::{Undecodable, entry_of};

    /// Encrypted anew, or with a key that nobody has given.
    #[test]
    fn what_cannot_be_read_is_told() {
        let catalog = Catalog::builtin();
        let (first, second) = ("a.db".to_owned(), "b.db".to_owned());
        let comparison = Comparison { first, second, with_status: false, patches: true, catalog: &catalog };
        let readable = || {
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
            entry_of("/registry/secrets/shop/a", &object)
        };
        let unreadable = |stored: &[u8]| Entry {
            object: Err(Undecodable::Decode(etcd_objects::DecodeError::UnknownFormat)),
            stored: stored.to_vec(),
            ..readable()
        };
        let place = readable().place;
        for (one, other) in
            [(unreadable(b"x"), readable()), (readable(), unreadable(b"x")), (unreadable(b"x"), unreadable(b"y"))]
        {
            let said = both(&comparison, &place, &one, &other).expect("a difference");
            assert!(said.unreadable.is_some_and(|why| why.starts_with("cannot be read: ")) && said.patch.is_empty());
        }
        assert!(both(&comparison, &place, &unreadable(b"x"), &unreadable(b"x")).is_none());
        let gone = only(&comparison, Change::OnlyInFirst, &place, Some(&unreadable(b"x")));
        assert!(gone.change == Change::OnlyInFirst && gone.unreadable.is_some());
    }

    #[test]
    fn only_other_bytes_are_looked_into() {
        let live = |fingerprint: u128| LiveKey {
            mod_revision: 1,
            versions: 1,
            value_bytes: 1,
            encrypted_by: None,
            value: None,
            fingerprint: Some(fingerprint),
        };
        let places = |objects: &[(&str, u128)]| -> Places {
            let place = |name: &str| Place {
                group: Some(String::new()),
                resource: "configmaps".to_owned(),
                namespace: Some("shop".to_owned()),
                name: name.to_owned(),
            };
            objects.iter().map(|(name, print)| (place(name), (name.as_bytes().to_vec(), live(*print)))).collect()
        };
        let pairs = pair(
            &places(&[("goes", 1), ("same", 2), ("turns", 3)]),
            &places(&[("comes", 1), ("same", 2), ("turns", 4)]),
        );
        let said: Vec<_> = pairs
            .iter()
            .map(|pair| match pair {
                Pair::One(change, place) => (Some(*change), place.name.as_str()),
                Pair::Both(place) => (None, place.name.as_str()),
            })
            .collect();
        assert_eq!(said, [(Some(Change::OnlyInFirst), "goes"), (None, "turns"), (Some(Change::OnlyInSecond), "comes")]);
    }
}
