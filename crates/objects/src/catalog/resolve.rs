//! What people call a resource type, as kubectl takes it.

use super::{Catalog, ResourceType};

/// Near names that an error tells.
const MOST_NEAR: usize = 3;

/// No resource type is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no resource type is called {text:?}{}", suggestion(.near))]
pub struct ResolveError {
    /// What was asked for.
    pub text: String,
    /// The names that look most like it.
    pub near: Vec<String>,
}

fn suggestion(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

impl Catalog {
    /// The type that is called so: by its plural, singular, kind or short name in any case, also as `TYPE.GROUP` and
    /// `TYPE.VERSION.GROUP`. The beginning of a group will do. Of several, built-in ones are taken before custom ones, the core
    /// group first; names count before short names.
    ///
    /// # Errors
    /// [`ResolveError`], which knows names that look alike.
    pub fn resolve(&self, text: &str) -> Result<&ResourceType, ResolveError> {
        let wanted = text.to_lowercase();
        let (name, group) = wanted.split_once('.').map_or((wanted.as_str(), None), |(name, group)| (name, Some(group)));
        // `TYPE.VERSION.GROUP` first; `pods.v1.` is the core group.
        let versioned = group.and_then(|rest| rest.split_once('.')).filter(|(version, _)| is_version(version));
        let found = versioned
            .and_then(|(version, group)| self.named(name, Some(group), Some(version)))
            .or_else(|| self.named(name, group, None));
        found.ok_or_else(|| ResolveError { text: text.to_owned(), near: self.near(name) })
    }

    /// Whether a type is called so, or a category.
    #[must_use]
    pub fn knows(&self, text: &str) -> bool {
        let is_category = |resource: &ResourceType| resource.categories.iter().any(|category| category == text);
        self.types.iter().any(is_category) || self.resolve(text).is_ok()
    }

    fn named(&self, name: &str, group: Option<&str>, version: Option<&str>) -> Option<&ResourceType> {
        // Built-in types know no versions: any Kubernetes serves others.
        let serves = |resource: &&ResourceType| {
            version.is_none_or(|version| resource.versions.is_empty() || resource.versions.iter().any(|v| v == version))
        };
        let exact = |resource: &&ResourceType| group.is_none_or(|group| resource.is_of(group));
        let begins = |resource: &&ResourceType| {
            group.is_some_and(|group| {
                !group.is_empty()
                    && std::iter::once(&resource.group).chain(&resource.other_groups).any(|g| g.starts_with(group))
            })
        };
        let mut candidates: Vec<&ResourceType> = self.types.iter().filter(serves).filter(exact).collect();
        if let Some(found) = best(&candidates, name) {
            return Some(found);
        }
        candidates = self.types.iter().filter(serves).filter(begins).collect();
        best(&candidates, name)
    }

    /// Names that begin alike or differ by a slip of the fingers.
    fn near(&self, name: &str) -> Vec<String> {
        // Beyond any name it would take time for nothing.
        if name.len() > 100 {
            return Vec::new();
        }
        let distance = |resource: &ResourceType| {
            let names = [&resource.plural, &resource.singular].into_iter().chain(&resource.short_names);
            let nearest = names.map(|candidate| distance(name, candidate)).min().unwrap_or(usize::MAX);
            if name.len() >= 3 && resource.plural.starts_with(name) { nearest.min(1) } else { nearest }
        };
        let close = if name.len() < 4 { 1 } else { 2 };
        let mut found: Vec<_> = self.types.iter().map(|resource| (distance(resource), resource)).collect();
        found.retain(|(distance, _)| *distance <= close);
        let nearest = found.iter().map(|(distance, _)| *distance).min();
        found.retain(|(distance, _)| Some(*distance) == nearest);
        found.into_iter().take(MOST_NEAR).map(|(_, resource)| resource.full_name()).collect()
    }
}

/// The first by name, else the first by short name; the core group before the others.
fn best<'a>(candidates: &[&'a ResourceType], name: &str) -> Option<&'a ResourceType> {
    let by_name = |resource: &ResourceType| {
        resource.plural == name || resource.singular == name || resource.kind.to_lowercase() == name
    };
    let by_short = |resource: &ResourceType| resource.short_names.iter().any(|short| short == name);
    let first = |test: &dyn Fn(&ResourceType) -> bool| {
        let found = candidates.iter().copied().filter(|resource| test(resource));
        found.min_by_key(|resource| (resource.undefined, resource.custom, !resource.group.is_empty()))
    };
    first(&by_name).or_else(|| first(&by_short))
}

/// `v1`, `v2beta1`
fn is_version(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('v').is_some_and(|rest| {
        let (major, minor) = rest.split_once("alpha").or_else(|| rest.split_once("beta")).unwrap_or((rest, "0"));
        digits(major) && digits(minor)
    })
}

/// Letters to add, take away, exchange or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    for i in 1..=a.len() {
        rows.push(vec![i]);
        for j in 1..=b.len() {
            let (x, y) = (a.get(i - 1), b.get(j - 1));
            let mut least = (at(&rows, i - 1, j) + 1).min(at(&rows, i, j - 1) + 1);
            least = least.min(at(&rows, i - 1, j - 1) + usize::from(x != y));
            if i > 1 && j > 1 && x == b.get(j - 2) && y == a.get(i - 2) {
                least = least.min(at(&rows, i - 2, j - 2) + 1);
            }
            if let Some(row) = rows.get_mut(i) {
                row.push(least);
            }
        }
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::builtin();
        let definition = |group: &str, plural: &str, kind: &str, short: &str, versions: &[&str]| {
            let versions: Vec<_> = versions.iter().map(|name| json!({"name": name, "served": true})).collect();
            let names = json!({"plural": plural, "kind": kind, "shortNames": [short]});
            json!({"spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions}})
        };
        for definition in [
            definition("serving.knative.dev", "services", "Service", "ksvc", &["v1"]),
            definition("cert-manager.io", "certificates", "Certificate", "cert", &["v1", "v1alpha2"]),
            definition("z.example.com", "things", "Thing", "po", &["v1"]),
            definition("a.example.com", "things", "Thing", "th", &["v1"]),
        ] {
            catalog.add_crd(&definition).expect("a definition");
        }
        catalog
    }

    #[test]
    fn names() {
        let catalog = catalog();
        let cases = [
            ("pods", "pods"),
            ("Pod", "pods"),
            ("PO", "pods"),
            ("po.", "pods"),
            ("pods.v1.", "pods"),
            ("deploy", "deployments.apps"),
            ("deployment.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("deployments.extensions", "deployments.apps"),
            ("ing.networking", "ingresses.networking.k8s.io"),
            ("events.events.k8s.io", "events"),
            ("HorizontalPodAutoscaler.v2beta2.autoscaling", "horizontalpodautoscalers.autoscaling"),
            ("svc", "services"),
            ("service", "services"),
            ("services.serving.knative.dev", "services.serving.knative.dev"),
            ("services.serving", "services.serving.knative.dev"),
            ("ksvc", "services.serving.knative.dev"),
            ("certificates.v1alpha2.cert-manager.io", "certificates.cert-manager.io"),
            ("cert.cert-manager.io", "certificates.cert-manager.io"),
            ("things", "things.a.example.com"),
            ("po.z.example.com", "things.z.example.com"),
            ("crd", "customresourcedefinitions.apiextensions.k8s.io"),
            ("endpoints", "endpoints"),
        ];
        for (text, name) in cases {
            let found = catalog.resolve(text).map(ResourceType::full_name);
            assert_eq!(found.as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn types_without_a_definition_come_after_those_that_have_one() {
        let mut catalog = catalog();
        for (group, plural) in [(Some("gone.example.com"), "widgets"), (None, "newthings"), (Some("a.b"), "things")] {
            catalog.add_undefined(group, plural, true);
            catalog.add_undefined(group, plural, false);
        }
        // These are there already.
        catalog.add_undefined(Some(""), "pods", false);
        catalog.add_undefined(Some("cert-manager.io"), "certificates", false);
        let name = |text: &str| catalog.resolve(text).map(ResourceType::full_name);
        assert_eq!(name("widgets").as_deref(), Ok("widgets.gone.example.com"));
        assert_eq!(name("widgets.gone").as_deref(), Ok("widgets.gone.example.com"));
        assert_eq!(name("things").as_deref(), Ok("things.a.example.com"));
        assert_eq!(name("things.a.b").as_deref(), Ok("things.a.b"));
        assert_eq!(name("newthings").as_deref(), Ok("newthings"));
        let undefined: Vec<&ResourceType> = catalog.types().iter().filter(|resource| resource.undefined).collect();
        assert!(undefined.len() == 3 && undefined.iter().all(|resource| resource.namespaced), "{undefined:?}");
        assert_eq!(undefined[1].directory, "newthings");
    }

    #[test]
    fn what_is_not_known_looks_like_something() {
        let catalog = catalog();
        let error = |text: &str| catalog.resolve(text).expect_err("unknown").to_string();
        assert_eq!(error("pdos"), "no resource type is called \"pdos\"; did you mean pods?");
        assert_eq!(error("deployement"), "no resource type is called \"deployement\"; did you mean deployments.apps?");
        assert_eq!(
            error("certificates.v3.cert-manager.io.x"),
            "no resource type is called \"certificates.v3.cert-manager.io.x\"; did you mean certificates.cert-manager.io?"
        );
        assert_eq!(error("xyzzy"), "no resource type is called \"xyzzy\"");
        for text in ["", ".", "..", "pods..", "pods.v9.nowhere", &"a.".repeat(5000)] {
            assert!(catalog.resolve(text).is_err(), "{text}");
        }
    }
}
