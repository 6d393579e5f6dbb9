//! Which objects are meant, in kubectl's grammar: `TYPE`, `TYPE,TYPE`, `TYPE NAME...`, `TYPE/NAME...`, `all`.

use etcd_objects::catalog::{Catalog, ResourceType};
use etcd_objects::key::{Place, Prefix};
use etcd_snapshot::Keep;

/// Objects of one type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) resource: ResourceType,
    /// Empty for all of them.
    pub(crate) names: Vec<String>,
}

impl Request {
    /// Whether an object is of the type.
    pub(crate) fn is_of(&self, place: &Place) -> bool {
        self.is_type(place.group.as_deref(), &place.resource)
    }

    /// Whether it is this type; a key that does not say its group may be of it.
    pub(crate) fn is_type(&self, group: Option<&str>, resource: &str) -> bool {
        let of = |group: &str| self.resource.group == group || self.resource.other_groups.iter().any(|o| o == group);
        self.resource.plural == resource && group.is_none_or(of)
    }
}

/// What is meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) requests: Vec<Request>,
    /// `None` for all namespaces, or for several.
    pub(crate) namespace: Option<String>,
    /// Whether all objects in the namespaces that are named are meant, and they themselves, whatever their type.
    pub(crate) whole_namespace: bool,
}

impl Wanted {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// What is not understood.
    pub(crate) fn parse(words: &[String], namespace: Option<String>, catalog: &Catalog) -> Result<Wanted, String> {
        let mut requests: Vec<Request> = Vec::new();
        let mut add = |resource: &ResourceType, name: Option<&str>| {
            let names = name.map(str::to_owned);
            match requests.iter_mut().find(|request| request.resource == *resource) {
                Some(request) => request.names.extend(names),
                None => requests.push(Request { resource: resource.clone(), names: names.into_iter().collect() }),
            }
        };
        let resolve = |text: &str| catalog.resolve(text).map_err(|error| error.to_string());
        if words.iter().any(|word| word.contains('/')) {
            for word in words {
                let Some((resource, name)) = word.split_once('/').filter(|(_, name)| !name.is_empty()) else {
                    return Err(format!("{word:?} is not TYPE/NAME, as the others are"));
                };
                add(resolve(resource)?, Some(name));
            }
        } else if let Some((types, names)) = words.split_first() {
            for text in types.split(',') {
                let of_category: Vec<&ResourceType> = catalog
                    .types()
                    .iter()
                    .filter(|one| one.categories.iter().any(|category| category == text))
                    .collect();
                let found = if of_category.is_empty() { vec![resolve(text)?] } else { of_category };
                for resource in found {
                    match names {
                        [] => add(resource, None),
                        names => names.iter().for_each(|name| add(resource, Some(name))),
                    }
                }
            }
        }
        Ok(Wanted { requests, namespace, whole_namespace: false })
    }

    /// The words that name types.
    pub(crate) fn types(words: &[String]) -> impl Iterator<Item = &str> {
        let named = words.iter().any(|word| word.contains('/'));
        let of_names = words.iter().filter(move |_| named).filter_map(|word| Some(word.split_once('/')?.0));
        let first = words.first().filter(|_| !named).into_iter().flat_map(|first| first.split(','));
        of_names.chain(first)
    }

    /// All that is in the namespaces that are named, and they themselves: `ns/NAME...` with `--all`.
    ///
    /// # Errors
    /// Something else than namespaces is named.
    pub(crate) fn whole(self) -> Result<Wanted, String> {
        match self.requests.as_slice() {
            [Request { resource, names }] if resource.kind == "Namespace" && !names.is_empty() => {
                let namespace = if let [one] = names.as_slice() { Some(one.clone()) } else { None };
                Ok(Wanted { namespace, whole_namespace: true, ..self })
            }
            _ => Err("--all is for whole namespaces: ns/NAME --all".to_owned()),
        }
    }

    /// Whether a namespace is one of those that are meant as a whole.
    fn has_whole(&self, namespace: &str) -> bool {
        self.whole_namespace && self.requests.iter().any(|request| request.names.iter().any(|name| name == namespace))
    }

    /// Whether an object is named: by its own name, or with its whole namespace.
    pub(crate) fn names(&self, resource: &str, name: &str) -> bool {
        let named =
            |request: &Request| request.resource.plural == resource && request.names.iter().any(|one| one == name);
        self.whole_namespace || self.requests.iter().any(named)
    }

    /// What is to be read of a key.
    pub(crate) fn keep(&self, prefix: &Prefix) -> impl Fn(&[u8]) -> Keep + Send + Sync + 'static {
        let mut exact: Vec<Vec<u8>> = Vec::new();
        let mut below: Vec<Vec<u8>> = Vec::new();
        for Request { resource, names } in &self.requests {
            match (names.as_slice(), &self.namespace) {
                ([], namespace) => below.push(prefix.directory(resource, namespace.as_deref())),
                (names, Some(namespace)) => {
                    exact.extend(names.iter().map(|name| prefix.key_of(resource, namespace, name)))
                }
                // In whichever namespace: told apart when the key is read.
                (_, None) => below.push(prefix.directory(resource, None)),
            }
        }
        let whole = self.requests.iter().filter(|_| self.whole_namespace).flat_map(|request| &request.names);
        let inside: Vec<Vec<u8>> = whole.map(|namespace| format!("/{namespace}/").into_bytes()).collect();
        let root = prefix.as_str().as_bytes().to_vec();
        move |key: &[u8]| {
            let named = exact.iter().any(|one| one == key) || below.iter().any(|one| key.starts_with(one));
            let is_inside = || {
                let is = |inside: &Vec<u8>| key.windows(inside.len()).any(|window| window == inside.as_slice());
                key.starts_with(&root) && inside.iter().any(is)
            };
            if named || is_inside() { Keep::Value } else { Keep::Nothing }
        }
    }

    /// Whether an object is meant. `keep` lets through more than that.
    pub(crate) fn means(&self, resource: &str, group: Option<&str>, namespace: Option<&str>, name: &str) -> bool {
        let inside = self.namespace.is_none() || namespace.is_none() || namespace == self.namespace.as_deref();
        let of = |request: &Request| {
            request.resource.plural == resource
                && group.is_none_or(|group| request.resource.group == group)
                && (request.names.is_empty() || request.names.iter().any(|one| one == name))
        };
        inside && (self.requests.iter().any(of) || namespace.is_some_and(|namespace| self.has_whole(namespace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn parse(text: &str, namespace: Option<&str>) -> Result<Wanted, String> {
        Wanted::parse(&words(text), namespace.map(str::to_owned), &Catalog::builtin())
    }

    fn plain(wanted: &Wanted) -> Vec<(String, Vec<String>)> {
        wanted.requests.iter().map(|one| (one.resource.full_name(), one.names.clone())).collect()
    }

    #[test]
    fn kubectls_grammar() {
        for (text, expected) in [
            ("po", &[("pods", "")][..]),
            ("pods,svc", &[("pods", ""), ("services", "")]),
            ("deploy web shop", &[("deployments.apps", "web shop")]),
            ("cm/a secret/b cm/c", &[("configmaps", "a c"), ("secrets", "b")]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(resource, names)| ((*resource).to_owned(), words(names))).collect();
            assert_eq!(parse(text, None).map(|wanted| plain(&wanted)), Ok(expected), "{text}");
        }
        assert!(plain(&parse("all", None).expect("a category")).iter().any(|(name, _)| name == "replicasets.apps"));
        for (wrong, text) in [("cm/a b", "\"b\" is not TYPE/NAME"), ("cm/", "is not TYPE/NAME"), ("podz", "podz")] {
            assert!(parse(wrong, None).is_err_and(|error| error.contains(text)), "{wrong}");
        }
        assert!(parse("pods", None).expect("a type").whole().is_err());
        let whole = parse("ns/shop", Some("default")).expect("a namespace").whole().expect("one");
        assert!(whole.means("pods", Some(""), Some("shop"), "a") && whole.means("namespaces", Some(""), None, "shop"));
        let both = parse("ns/a ns/b", Some("default")).expect("namespaces").whole().expect("two");
        assert!(both.means("pods", Some(""), Some("b"), "p") && both.means("namespaces", Some(""), None, "a"));
        assert!(!both.means("pods", Some(""), Some("c"), "a") && !both.means("nodes", Some(""), None, "a"));
        assert_eq!(both.namespace, None);
        assert!(
            !whole.means("pods", Some(""), Some("default"), "shop") && !whole.means("nodes", Some(""), None, "cp1")
        );
    }

    #[test]
    fn words_that_name_types() {
        for (text, types) in
            [("po,svc a b", "po svc"), ("cm/a secret/b", "cm secret"), ("cm/a b", "cm"), ("", ""), ("all", "all")]
        {
            let words = words(text);
            assert_eq!(Wanted::types(&words).collect::<Vec<_>>().join(" "), types, "{text}");
        }
    }

    #[test]
    fn only_what_is_meant_is_read() {
        let prefix = Prefix::default();
        let reads = |text: &str, namespace: Option<&str>, key: &str| {
            parse(text, namespace).expect("understood").keep(&prefix)(key.as_bytes()) == Keep::Value
        };
        assert!(reads("cm/a", Some("shop"), "/registry/configmaps/shop/a"));
        assert!(!reads("cm/a", Some("shop"), "/registry/configmaps/shop/ab"));
        assert!(!reads("cm", Some("shop"), "/registry/configmaps/shopping/a"));
        assert!(reads("cm", None, "/registry/configmaps/shopping/a"));
        assert!(reads("cm/a", None, "/registry/configmaps/other/a"));
        assert!(reads("svc", Some("shop"), "/registry/services/specs/shop/web"));
        let whole = parse("ns/shop", None).expect("understood").whole().expect("one").keep(&prefix);
        for key in ["/registry/namespaces/shop", "/registry/pods/shop/a", "/registry/example.com/widgets/shop/w"] {
            assert_eq!(whole(key.as_bytes()), Keep::Value, "{key}");
        }
        assert_eq!(whole(b"/registry/pods/default/a"), Keep::Nothing);
        let both = parse("ns a b", None).expect("understood").whole().expect("two").keep(&prefix);
        for key in ["/registry/namespaces/a", "/registry/pods/b/p", "/registry/example.com/widgets/a/w"] {
            assert_eq!(both(key.as_bytes()), Keep::Value, "{key}");
        }
        assert_eq!(both(b"/registry/pods/c/a"), Keep::Nothing);
    }
}
