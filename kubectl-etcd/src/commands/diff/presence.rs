//! Whether what is named is there at all: nothing beside nothing is no equality. Pure.

use std::collections::BTreeSet;

use etcd_objects::key::Place;

use super::scope::{Scope, place_of_namespace};
use crate::contents::Request;

/// One side of a comparison.
pub(super) struct Side {
    /// `in a.db`, `live`
    pub(super) title: String,
    /// Its objects that [`Scope::seeks`], as far as they were looked for.
    pub(super) places: BTreeSet<Place>,
    /// Why it is not known which other namespaces have an object.
    pub(super) unknown: Option<String>,
}

impl Side {
    /// How a side is told: `a.db` or `live`.
    pub(super) fn new(name: &str, places: BTreeSet<Place>) -> Side {
        let title = if name == super::LIVE { name.to_owned() } else { format!("in {name}") };
        Side { title, places, unknown: None }
    }
}

/// What is on neither side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Absent {
    /// Objects and a namespace that are named: the comparison fails.
    pub(super) named: Vec<String>,
    /// Types without any object: there is nothing to compare.
    pub(super) types: Vec<String>,
    /// Namespaces in which objects of the names are.
    pub(super) elsewhere: BTreeSet<String>,
}

/// Objects that are named and on neither side, where they are looked for.
pub(super) fn lacking<'a>(scope: &'a Scope, sides: [&BTreeSet<Place>; 2]) -> Vec<(&'a Request, &'a str)> {
    let there = |request: &Request, name: &str| {
        let is = |place: &&Place| place.name == name && request.is_of(place) && scope.means(place);
        sides.iter().any(|places| places.iter().any(|place| is(&place)))
    };
    scope.named().filter(|(request, name)| !there(request, name)).collect()
}

/// What is on neither side, but for types that could not be compared.
pub(super) fn absent(scope: &Scope, sides: [&Side; 2], compared: impl Fn(&Request) -> bool) -> Absent {
    let mut absent = Absent::default();
    let neither = format!("neither {} nor {}", sides[0].title, sides[1].title);
    let within = scope.namespace().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    if let Some(namespace) = scope.whole_namespace() {
        let own = place_of_namespace(namespace);
        let is = |place: &Place| *place == own || place.namespace.as_deref() == Some(namespace);
        if !sides.iter().any(|side| side.places.iter().any(is)) {
            absent.named.push(format!("namespace {namespace} is {neither}"));
        }
    }
    for (request, name) in lacking(scope, [&sides[0].places, &sides[1].places]) {
        if !compared(request) {
            continue;
        }
        let title = format!("{}/{name}", request.resource.full_name());
        let mut said = match request.resource.namespaced {
            true => format!("{title}{within} is {neither}"),
            false => format!("{title} is {neither}"),
        };
        let mut found = false;
        for side in sides {
            let is = |place: &&Place| place.name == name && request.is_of(place);
            let namespaces: BTreeSet<&str> =
                side.places.iter().filter(is).filter_map(|place| place.namespace.as_deref()).collect();
            if !namespaces.is_empty() {
                found = true;
                absent.elsewhere.extend(namespaces.iter().map(|&namespace| namespace.to_owned()));
                let all = namespaces.into_iter().collect::<Vec<_>>().join(", ");
                said.push_str(&format!("; {} it is in {all}", side.title));
            } else if let Some(why) = &side.unknown {
                found = true;
                said.push_str(&format!("; whether it is {} in another namespace is not known: {why}", side.title));
            }
        }
        if !found && request.resource.namespaced {
            said.push_str(", nor is it in another namespace");
        }
        absent.named.push(said);
    }
    for request in scope.requests().iter().filter(|request| request.names.is_empty() && compared(request)) {
        let is = |place: &Place| request.is_of(place) && scope.means(place);
        if !sides.iter().any(|side| side.places.iter().any(is)) {
            let within = if request.resource.namespaced { within.as_str() } else { "" };
            absent.types.push(format!("there are no {}{within}, {neither}", request.resource.full_name()));
        }
    }
    absent
}

#[cfg(test)]
mod tests {
    use etcd_objects::catalog::Catalog;

    use super::super::scope::Where;
    use super::*;

    fn place(path: &str) -> Place {
        let parts: Vec<&str> = path.split('/').collect();
        let (resource, namespace, name) = match parts.as_slice() {
            [resource, namespace, name] => (*resource, Some((*namespace).to_owned()), *name),
            [resource, name] => (*resource, None, *name),
            _ => panic!("{path}"),
        };
        let group = Some(if resource == "deployments" { "apps" } else { "" }.to_owned());
        Place { group, resource: resource.to_owned(), namespace, name: name.to_owned() }
    }

    fn judge(words: &str, namespace: Option<&str>, sides: [&str; 2]) -> (Vec<String>, Vec<String>, Vec<String>) {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let place_of = Where { named: namespace, all: false, context: "default" };
        let scope = Scope::parse(&words, &place_of, &Catalog::builtin()).expect("understood");
        let side = |name: &str, places: &str| {
            let places = places.split_whitespace().map(place);
            Side::new(name, places.filter(|place| scope.seeks(place)).collect())
        };
        let (one, other) = (side("a.db", sides[0]), side("live", sides[1]));
        let Absent { named, types, elsewhere } = absent(&scope, [&one, &other], |_| true);
        (named, types, elsewhere.into_iter().collect())
    }

    #[test]
    fn what_is_on_neither_side_is_told_with_where_it_is() {
        let file = "namespaces/shop deployments/shop/web configmaps/shop/a nodes/cp1";
        let live = "namespaces/shop deployments/test/web configmaps/default/b";
        for (words, namespace, named, elsewhere) in [
            ("deploy/web", Some("shop"), "", ""),
            ("deploy/web", Some("test"), "", ""),
            (
                "deploy/web",
                None,
                "deployments.apps/web in namespace default is neither in a.db nor live; in a.db it is in shop; live it is in test",
                "shop test",
            ),
            (
                "deploy/nope",
                Some("shop"),
                "deployments.apps/nope in namespace shop is neither in a.db nor live, nor is it in another namespace",
                "",
            ),
            (
                "cm a b",
                None,
                "configmaps/a in namespace default is neither in a.db nor live; in a.db it is in shop",
                "shop",
            ),
            ("no/cp1", None, "", ""),
            ("no/cp2", Some("nosuch"), "nodes/cp2 is neither in a.db nor live", ""),
            ("", Some("nosuch"), "namespace nosuch is neither in a.db nor live", ""),
            ("cm", Some("nosuch"), "namespace nosuch is neither in a.db nor live", ""),
            ("", Some("shop"), "", ""),
            ("", None, "", ""),
            ("no", Some("nosuch"), "", ""),
        ] {
            let (said, _, places) = judge(words, namespace, [file, live]);
            assert_eq!(
                (said.join("\n").as_str(), places.join(" ").as_str()),
                (named, elsewhere),
                "{words} {namespace:?}"
            );
        }
        let (said, types, _) = judge("cm,svc", Some("shop"), [file, live]);
        assert_eq!(
            (said.len(), types.as_slice()),
            (0, &["there are no services in namespace shop, neither in a.db nor live".to_owned()][..])
        );
    }

    #[test]
    fn what_cannot_be_looked_at_is_told() {
        let scope =
            Scope::parse(&["cm/x".to_owned()], &Where { context: "default", ..Where::default() }, &Catalog::builtin());
        let scope = scope.expect("understood");
        let (one, mut other) = (Side::new("a.db", BTreeSet::new()), Side::new("live", BTreeSet::new()));
        other.unknown = Some("forbidden".to_owned());
        let said = absent(&scope, [&one, &other], |_| true).named;
        assert!(
            said[0].ends_with("nor live; whether it is live in another namespace is not known: forbidden"),
            "{said:?}"
        );
        assert_eq!(absent(&scope, [&one, &other], |_| false), Absent::default());
    }
}
