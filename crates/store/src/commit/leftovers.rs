//! What is left of a backup that was not committed.

use std::fmt;

use crate::layout::{Key, Part};
use crate::{ClusterUid, Name, Object, Store};

/// What is left in the store of a backup that was not committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Objects that were not removed. They are, or may be, in the store.
    pub stay: Vec<Stays>,
}

/// An object that was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// Which.
    pub key: Key,
    /// Whether the store lists it. Without a list it may be there.
    pub is_listed: bool,
    /// Why it was not removed.
    pub why: String,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stays = if self.is_listed { "stays in the store" } else { "may be in the store" };
        write!(f, "{} {stays}: {}", self.key, self.why)
    }
}

impl Leftovers {
    /// Whether a record is, or may be, among them: whoever lists the store would take it for a backup.
    pub fn has_record(&self) -> bool {
        self.stay.iter().any(|one| one.key.part == Part::Record)
    }
}

/// Removes what was begun, the record first: what is under a record that stays, stays, too.
pub(super) async fn remove(store: &Store, cluster: &ClusterUid, name: &Name, begun: &[Part]) -> Leftovers {
    let mut stay: Vec<Stays> = Vec::new();
    for part in begun.iter().rev() {
        let key = Key::new(cluster, name, part.clone());
        let has_record = stay.iter().any(|one| one.key.part == Part::Record);
        if has_record {
            stay.push(Stays { key, is_listed: false, why: "its record could not be removed".to_owned() });
            continue;
        }
        match store.delete(&key).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => stay.push(Stays { key, is_listed: false, why: error.to_string() }),
        }
    }
    if stay.is_empty() {
        return Leftovers::default();
    }
    // A credential that may not delete gets the same answer for objects that are not there.
    match listed(store, cluster).await {
        Some(listed) => Leftovers { stay: seen(stay, &listed).filter(|one| one.is_listed).collect() },
        None => Leftovers { stay },
    }
}

/// Removes nothing: nobody knows whether this is a backup.
pub(super) async fn untouched(store: &Store, cluster: &ClusterUid, name: &Name, begun: &[Part]) -> Leftovers {
    let stay = begun.iter().map(|part| Stays {
        key: Key::new(cluster, name, part.clone()),
        is_listed: false,
        why: "it was not removed, because it may be part of a complete backup".to_owned(),
    });
    match listed(store, cluster).await {
        Some(listed) => Leftovers { stay: seen(stay.collect(), &listed).collect() },
        None => Leftovers { stay: stay.collect() },
    }
}

async fn listed(store: &Store, cluster: &ClusterUid) -> Option<Vec<Object>> {
    // What is left is told by its names all the same.
    store.list(Some(cluster)).await.ok().map(|listed| listed.objects)
}

fn seen(stay: Vec<Stays>, listed: &[Object]) -> impl Iterator<Item = Stays> {
    stay.into_iter().map(|one| Stays { is_listed: listed.iter().any(|object| object.key == one.key), ..one })
}
