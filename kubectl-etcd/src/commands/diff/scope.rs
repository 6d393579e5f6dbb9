//! Which objects are compared.

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;

use crate::contents::{Request, Wanted};
use crate::output::{Exit, Failed, Outcome};
use crate::sidecar::POD_NAMES;

/// Types that are compared only when they are named: they change by themselves, all the time.
const RESTLESS: [(&str, &str); 2] = [("", "events"), ("coordination.k8s.io", "leases")];

/// Where objects are looked for.
#[derive(Debug, Default)]
pub(super) struct Where<'a> {
    /// `-n`
    pub(super) named: Option<&'a str>,
    /// `-A`
    pub(super) all: bool,
    /// That of the context.
    pub(super) context: &'a str,
}

/// What is compared.
#[derive(Debug)]
pub(super) struct Scope {
    /// Empty for every type.
    requests: Vec<Request>,
    /// Only objects in this namespace; `None` for all.
    namespace: Option<String>,
}

impl Scope {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// Usage.
    pub(super) fn parse(words: &[String], place: &Where<'_>, catalog: &Catalog) -> Outcome<Scope> {
        let usage = |error: String| Failed::new(Exit::Usage, error);
        let requests = Wanted::parse(words, None, catalog).map_err(usage)?.requests;
        let named = requests.iter().any(|request| !request.names.is_empty() && request.resource.namespaced);
        if named && place.all {
            return Err(usage("an object is in one namespace: with a name, -A cannot be".to_owned()));
        }
        let given = place.named.filter(|_| !place.all);
        let namespace = given.or(named.then_some(place.context)).map(str::to_owned);
        Ok(Scope { requests, namespace })
    }

    /// Whether an object is compared.
    pub(super) fn means(&self, place: &Place) -> bool {
        let group = place.group.as_deref();
        if !self.means_type(group, &place.resource) {
            return false;
        }
        // Every backup has the pod that took it.
        if self.requests.is_empty() && place.resource == "pods" && place.name.starts_with(POD_NAMES) {
            return false;
        }
        match (&self.namespace, &place.namespace) {
            // Of a namespace nothing is meant that is in none, unless its type is named.
            (Some(_), None) if self.requests.is_empty() => return false,
            (Some(meant), Some(namespace)) if meant != namespace => return false,
            _ => {}
        }
        let mut requests = self.requests.iter().filter(|request| request.is_of(place));
        self.requests.is_empty()
            || requests.any(|request| request.names.is_empty() || request.names.contains(&place.name))
    }

    /// Whether objects of a type are compared.
    pub(super) fn means_type(&self, group: Option<&str>, resource: &str) -> bool {
        match self.requests.as_slice() {
            [] => !RESTLESS.contains(&(group.unwrap_or_default(), resource)),
            requests => requests.iter().any(|request| request.is_type(group, resource)),
        }
    }

    /// The types that are named.
    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The one namespace that is looked at.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The namespace in which objects are looked for, unless all that is named is outside of namespaces.
    pub(super) fn whole_namespace(&self) -> Option<&str> {
        let inside = self.requests.is_empty() || self.requests.iter().any(|request| request.resource.namespaced);
        // An object that is named tells by itself that it is not there.
        let named = self.requests.iter().any(|request| !request.names.is_empty());
        self.namespace().filter(|_| inside && !named)
    }

    /// The objects that are named.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Request, &str)> {
        self.requests.iter().flat_map(|request| request.names.iter().map(move |name| (request, name.as_str())))
    }

    /// Whether something was named that may be on neither side.
    pub(super) fn is_narrow(&self) -> bool {
        !self.requests.is_empty() || self.namespace.is_some()
    }

    /// Whether an object tells if what is named is there: it is compared, has the name of one that is, or is the namespace.
    pub(super) fn seeks(&self, place: &Place) -> bool {
        self.means(place)
            || self.whole_namespace().is_some_and(|namespace| *place == place_of_namespace(namespace))
            || self.named().any(|(request, name)| place.name == name && request.is_of(place))
    }

    /// The one object that is meant of a type.
    pub(super) fn only_name(&self, group: Option<&str>, resource: &str) -> Option<&str> {
        match self.requests.iter().find(|request| request.is_type(group, resource))?.names.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// What is left out because nobody has named it.
    pub(super) fn left_out(&self) -> Vec<String> {
        if !self.requests.is_empty() {
            return Vec::new();
        }
        let own = format!("pods/{POD_NAMES}*");
        RESTLESS
            .iter()
            .map(|(group, name)| if group.is_empty() { (*name).to_owned() } else { format!("{name}.{group}") })
            .chain([own])
            .collect()
    }
}

/// The place of a namespace itself.
pub(super) fn place_of_namespace(name: &str) -> Place {
    let (resource, name) = ("namespaces".to_owned(), name.to_owned());
    Place { group: Some(String::new()), resource, namespace: None, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(
        words: &str,
        named: Option<&str>,
        all: bool,
        (group, resource, namespace, name): (&str, &str, Option<&str>, &str),
    ) -> bool {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let place = Where { named, all, context: "ctx" };
        let scope = Scope::parse(&words, &place, &Catalog::builtin()).expect("understood");
        let (namespace, name, resource) = (namespace.map(str::to_owned), name.to_owned(), resource.to_owned());
        scope.means(&Place { group: Some(group.to_owned()), resource, namespace, name })
    }

    #[test]
    fn what_is_compared() {
        let (map, node) = (("", "configmaps", Some("shop"), "a"), ("", "nodes", None, "cp1"));
        let mine = ("", "configmaps", Some("ctx"), "a");
        for (words, named, all, object, expected) in [
            ("", None, false, map, true),
            ("", None, false, node, true),
            ("", Some("shop"), false, map, true),
            ("", Some("shop"), false, node, false),
            ("", Some("other"), false, map, false),
            ("", Some("other"), true, map, true),
            ("cm", None, false, map, true),
            ("cm", None, false, node, false),
            ("cm,no", Some("shop"), false, node, true),
            ("cm/a", None, false, map, false),
            ("cm/a", None, false, mine, true),
            ("cm/a", Some("shop"), false, map, true),
            ("cm/b", Some("shop"), false, map, false),
            ("", None, false, ("", "events", Some("shop"), "e"), false),
            ("", None, false, ("", "pods", Some("kube-system"), "etcd-sidecar-1-2"), false),
            ("po", None, false, ("", "pods", Some("kube-system"), "etcd-sidecar-1-2"), true),
            ("events", None, false, ("", "events", Some("shop"), "e"), true),
            ("", None, false, ("coordination.k8s.io", "leases", Some("shop"), "l"), false),
            ("ing", None, false, ("extensions", "ingresses", Some("shop"), "i"), true),
        ] {
            assert_eq!(means(words, named, all, object), expected, "{words} {named:?} {all} {object:?}");
        }
        let all = Where { all: true, ..Where::default() };
        assert!(
            Scope::parse(&["cm/a".to_owned()], &all, &Catalog::builtin())
                .is_err_and(|failed| failed.exit == Exit::Usage)
        );
        assert!(Scope::parse(&["no/cp1".to_owned()], &all, &Catalog::builtin()).is_ok());
    }
}
