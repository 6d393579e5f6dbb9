//! What takes the space of a file: keys by resource, namespace and object, and their places on a map. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use etcd_objects::Neighbours;
use etcd_objects::key::Key;
use etcd_snapshot::{LiveKey, LiveKeys};

use super::treemap::{Rect, squarify};
use super::{OF_OTHERS, kept_for};
use crate::contents::resource_name;

/// What has less than this part of the whole is not shown by itself: a map has at most so many objects, namespaces and resources, however large the
/// file is.
const PARTS: u64 = 1000;

/// The map, in units of its own; pages stretch it.
pub(super) const FRAME: Rect = Rect { left: 0.0, top: 0.0, width: 1000.0, height: 560.0 };

/// What is counted of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) keys: u64,
    /// Of their values as they are now.
    pub(super) bytes: u64,
    pub(super) revisions: u64,
}

/// What areas on a map are in proportion to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum By {
    Bytes,
    Revisions,
}

impl Amount {
    fn of(live: &LiveKey) -> Amount {
        Amount { keys: 1, bytes: live.value_bytes, revisions: u64::from(live.versions) }
    }

    pub(super) fn by(&self, by: By) -> u64 {
        match by {
            By::Bytes => self.bytes,
            By::Revisions => self.revisions,
        }
    }

    fn add(&mut self, other: &Amount) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.revisions += other.revisions;
    }

    fn without(&self, others: &[Amount]) -> Amount {
        let mut all = Amount::default();
        others.iter().for_each(|other| all.add(other));
        Amount {
            keys: self.keys.saturating_sub(all.keys),
            bytes: self.bytes.saturating_sub(all.bytes),
            revisions: self.revisions.saturating_sub(all.revisions),
        }
    }
}

/// All keys, those of a resource, or those of a namespace, and by name what they consist of. Of objects only those that a map can show have
/// a part of their own. A namespace without a name has the objects that are in none.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) amount: Amount,
    below: BTreeMap<String, Part>,
}

impl Part {
    /// All keys of a file. Keys that are no objects are a resource whose name is in parentheses.
    pub(super) fn of(neighbours: &Neighbours, keys: &LiveKeys) -> Part {
        let mut all = Part::default();
        keys.values().for_each(|live| all.amount.add(&Amount::of(live)));
        let whole = all.amount;
        for (key, live) in keys {
            let amount = Amount::of(live);
            let (resource, namespace, name) = match neighbours.parse(key) {
                Key::Object(place) => (resource_name(&place), place.namespace.unwrap_or_default(), Some(place.name)),
                Key::Internal(internal) => (format!("({})", kept_for(&internal)), String::new(), None),
                _ => (format!("({OF_OTHERS})"), String::new(), None),
            };
            let namespace = all.take(resource, &amount).take(namespace, &amount);
            let is_large = |by| is_shown(amount.by(by), whole.by(by));
            if let Some(name) = name.filter(|_| is_large(By::Bytes) || is_large(By::Revisions)) {
                namespace.take(name, &amount);
            }
        }
        all
    }

    /// Counts a key in a part of this one.
    fn take(&mut self, name: String, amount: &Amount) -> &mut Part {
        let part = self.below.entry(name).or_default();
        part.amount.add(amount);
        part
    }

    /// The names of the parts: the largest by bytes and the largest by revisions first, in turn.
    pub(super) fn largest(&self) -> Vec<&str> {
        let sorted = |by: By| {
            let mut parts: Vec<_> = self.below.iter().collect();
            parts.sort_by_key(|(name, part)| (Reverse(part.amount.by(by)), *name));
            parts.into_iter().map(|(name, _)| name.as_str())
        };
        let mut names = Vec::new();
        for name in sorted(By::Bytes).zip(sorted(By::Revisions)).flat_map(|(one, other)| [one, other]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The map of all keys. What has no bytes, or no revisions, has no place on it.
    pub(super) fn map(&self, by: By) -> Vec<Resource<'_>> {
        let whole = self.amount.by(by);
        let pieces = self.pieces(by, whole, FRAME);
        pieces.into_iter().map(|(piece, rect)| Resource::of(piece, rect, by, whole)).collect()
    }

    /// The parts that are shown by themselves and the rest as one, the largest first, each with its place in a frame.
    fn pieces(&self, by: By, whole: u64, frame: Rect) -> Vec<(Piece<'_>, Rect)> {
        let shown = self.below.iter().filter(|(_, part)| is_shown(part.amount.by(by), whole));
        let mut pieces: Vec<Piece<'_>> = shown.map(|(name, part)| Piece::Part(name, part)).collect();
        let rest = self.amount.without(&pieces.iter().map(Piece::amount).collect::<Vec<_>>());
        if rest.by(by) > 0 {
            pieces.push(Piece::Rest(rest));
        }
        // Sorting is stable: of equal ones the first by name.
        pieces.sort_by_key(|piece| Reverse(piece.amount().by(by)));
        let weights: Vec<u64> = pieces.iter().map(|piece| piece.amount().by(by)).collect();
        let rects = squarify(&weights, frame);
        pieces.into_iter().zip(rects).collect()
    }
}

fn is_shown(part: u64, whole: u64) -> bool {
    part > 0 && u128::from(part) * u128::from(PARTS) >= u128::from(whole)
}

enum Piece<'a> {
    Part(&'a str, &'a Part),
    Rest(Amount),
}

impl Piece<'_> {
    fn amount(&self) -> Amount {
        match self {
            Piece::Part(_, part) => part.amount,
            Piece::Rest(amount) => *amount,
        }
    }
}

/// A resource on a map; without a name the resources that are too small to be shown.
pub(super) struct Resource<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) rect: Rect,
    /// The places of its namespaces, if it has several.
    pub(super) namespaces: Vec<Rect>,
    /// What fills it. The first is at its top left.
    pub(super) tiles: Vec<Tile<'a>>,
}

/// An object on a map, or several.
pub(super) struct Tile<'a> {
    pub(super) rect: Rect,
    /// Its namespace, which is "" for an object that is in none; `None` if these are objects of several.
    pub(super) namespace: Option<&'a str>,
    /// Its name; `None` if these are several objects, or one of many small ones.
    pub(super) name: Option<&'a str>,
    pub(super) amount: Amount,
    /// Whether it is the first of its namespace.
    pub(super) begins: bool,
}

impl<'a> Resource<'a> {
    fn of(piece: Piece<'a>, rect: Rect, by: By, whole: u64) -> Resource<'a> {
        match piece {
            Piece::Part(name, part) => {
                let mut resource = Resource { name: Some(name), rect, namespaces: Vec::new(), tiles: Vec::new() };
                for (piece, rect) in part.pieces(by, whole, rect) {
                    resource.namespace(piece, rect, by, whole);
                }
                resource
            }
            Piece::Rest(amount) => {
                let tile = Tile { rect, namespace: None, name: None, amount, begins: false };
                Resource { name: None, rect, namespaces: Vec::new(), tiles: vec![tile] }
            }
        }
    }

    fn namespace(&mut self, piece: Piece<'a>, rect: Rect, by: By, whole: u64) {
        let Piece::Part(namespace, part) = piece else {
            self.tiles.push(Tile { rect, namespace: None, name: None, amount: piece.amount(), begins: false });
            return;
        };
        if !namespace.is_empty() {
            self.namespaces.push(rect);
        }
        for (at, (piece, rect)) in part.pieces(by, whole, rect).into_iter().enumerate() {
            let name = if let Piece::Part(name, _) = piece { Some(name) } else { None };
            let amount = piece.amount();
            self.tiles.push(Tile { rect, namespace: Some(namespace), name, amount, begins: at == 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(value_bytes: u64, versions: u32) -> LiveKey {
        LiveKey { mod_revision: 5, versions, value_bytes, encrypted_by: None, value: None }
    }

    fn sum<'a>(tiles: impl Iterator<Item = &'a Tile<'a>>) -> Amount {
        let mut all = Amount::default();
        tiles.for_each(|tile| all.add(&tile.amount));
        all
    }

    #[test]
    fn a_map_has_every_key_by_resource_namespace_and_object() {
        let mut keys = LiveKeys::new();
        for (key, bytes, versions) in [
            ("/registry/pods/shop/a", 100, 1),
            ("/registry/pods/shop/b", 300, 9),
            ("/registry/pods/web/c", 50, 1),
            ("/registry/namespaces/shop", 20, 1),
            ("/registry/masterleases/10.0.0.1", 2, 1),
            ("/other/thing", 4, 1),
        ] {
            keys.insert(key.into(), live(bytes, versions));
        }
        let all = Part::of(&Neighbours::default(), &keys);
        assert_eq!(all.amount, Amount { keys: 6, bytes: 476, revisions: 14 });
        assert_eq!(all.largest()[..3], ["pods", "namespaces", "(masterleases: API servers that run)"]);
        let map = all.map(By::Bytes);
        let named: Vec<_> = map.iter().map(|one| one.name.expect("a name")).collect();
        assert_eq!(
            named,
            ["pods", "namespaces", "(of others than this API server)", "(masterleases: API servers that run)"]
        );
        let tiles: Vec<_> = map[0].tiles.iter().map(|one| (one.namespace, one.name, one.amount.bytes)).collect();
        let shop = Some("shop");
        assert_eq!(tiles, [(shop, Some("b"), 300), (shop, Some("a"), 100), (Some("web"), Some("c"), 50)]);
        assert_eq!((map[0].namespaces.len(), map[1].namespaces.len()), (2, 0));
        assert_eq!((map[0].rect.left, map[0].rect.top), (0.0, 0.0));
        let by_revisions = all.map(By::Revisions);
        let share = by_revisions[0].rect.width * by_revisions[0].rect.height / (1000.0 * 560.0);
        assert!((share - 11.0 / 14.0).abs() < 1e-9, "{share}");
        for map in [map, by_revisions] {
            assert_eq!(sum(map.iter().flat_map(|one| &one.tiles)), all.amount);
        }
    }

    #[test]
    fn a_map_of_many_small_objects_is_bounded_and_has_them_all() {
        let mut keys = LiveKeys::new();
        for at in 0..60_000_u32 {
            let (resource, namespace) = (at % 2500, at % 3001);
            let key = format!("/registry/example.com/r{resource}/n{namespace}/o{at}");
            keys.insert(key.into(), live(u64::from(at % 7), 1 + at % 3));
        }
        for large in 0..3 {
            keys.insert(format!("/registry/configmaps/shop/large-{large}").into(), live(90_000, 1));
        }
        let all = Part::of(&Neighbours::default(), &keys);
        for by in [By::Bytes, By::Revisions] {
            let map = all.map(by);
            let tiles: Vec<_> = map.iter().flat_map(|one| &one.tiles).collect();
            assert!(tiles.len() < 2500 && map.len() <= 1001, "{} {}", tiles.len(), map.len());
            assert_eq!(sum(tiles.iter().copied()).by(by), all.amount.by(by));
            let rest = map.iter().find(|one| one.name.is_none()).expect("the other resources");
            assert!(rest.tiles[0].amount.keys > 50_000);
        }
        let map = all.map(By::Bytes);
        let large = map.iter().find(|one| one.name == Some("configmaps")).expect("a large resource");
        let largest: Vec<_> = large.tiles.iter().map(|one| one.name).collect();
        assert_eq!(largest, [Some("large-0"), Some("large-1"), Some("large-2")]);
    }

    #[test]
    fn what_is_equally_small_is_one_tile() {
        let keys: LiveKeys =
            (0..5000).map(|at| (format!("/registry/events/shop/{at}").into_bytes(), live(10, 1))).collect();
        let map = Part::of(&Neighbours::default(), &keys);
        let map = map.map(By::Bytes);
        let tile = &map[0].tiles[0];
        assert_eq!((map.len(), map[0].tiles.len(), tile.namespace, tile.name), (1, 1, Some("shop"), None));
        assert_eq!(tile.amount.keys, 5000);
    }
}
