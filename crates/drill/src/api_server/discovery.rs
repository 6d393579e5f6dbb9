//! Which resources an API server serves, and in which version each is listed. Pure: documents in, paths out.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/api`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Versions {
    #[serde(default)]
    pub(crate) versions: Vec<String>,
}

/// `/apis`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Groups {
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) versions: Vec<Version>,
    #[serde(default)]
    pub(crate) preferred_version: Version,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Version {
    #[serde(default)]
    pub(crate) version: String,
}

/// `/apis/GROUP/VERSION`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Resources {
    #[serde(default)]
    pub(crate) resources: Vec<Resource>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Resource {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) verbs: Vec<String>,
}

/// An APIService, as far as it says who serves.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ApiService {
    #[serde(default)]
    pub(crate) spec: ApiServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ApiServiceSpec {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    /// Another server.
    service: Option<serde::de::IgnoredAny>,
}

/// A CustomResourceDefinition, as far as it says in which version its objects are stored.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Definition {
    pub(crate) metadata: Named,
    #[serde(default)]
    pub(crate) spec: DefinitionSpec,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct DefinitionSpec {
    #[serde(default)]
    versions: Vec<DefinedVersion>,
}

#[derive(Debug, Default, Deserialize)]
struct DefinedVersion {
    name: String,
    #[serde(default)]
    storage: bool,
}

impl Definition {
    /// The version in which objects are stored: what is listed in it needs no conversion.
    pub(crate) fn stored_in(self) -> Option<(String, String)> {
        let version = self.spec.versions.into_iter().find(|version| version.storage)?;
        Some((self.metadata.name, version.name))
    }
}

/// A group and a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupVersion {
    /// Nothing for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
}

impl GroupVersion {
    /// As in a URL.
    pub(crate) fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// As in `apiVersion`.
    pub(crate) fn text(&self) -> String {
        self.path().trim_start_matches("/apis/").trim_start_matches("/api/").to_owned()
    }
}

/// All that are to be asked for their resources: for each group the version first that the API server prefers. Not those of other servers, and not those that only
/// show again what another group has.
pub(crate) fn group_versions(core: Versions, groups: Groups, elsewhere: &[ApiService]) -> Vec<GroupVersion> {
    let core = core.versions.into_iter().map(|version| GroupVersion { group: String::new(), version });
    let mut all: Vec<GroupVersion> = core.collect();
    for Group { name, versions, preferred_version } in groups.groups {
        let of = |version: String| GroupVersion { group: name.clone(), version };
        let mut own: Vec<GroupVersion> = versions.into_iter().map(|version| of(version.version)).collect();
        own.sort_by_key(|one| one.version != preferred_version.version);
        all.extend(own);
    }
    let is_elsewhere = |one: &GroupVersion| {
        let served =
            |spec: &ApiServiceSpec| spec.service.is_some() && spec.group == one.group && spec.version == one.version;
        elsewhere.iter().any(|service| served(&service.spec))
    };
    // Up to 1.21, extensions has what networking.k8s.io has.
    all.retain(|one| one.group != "extensions" && !is_elsewhere(one));
    all
}

/// Lists that are not of keys of their own: the same objects under another name, and what is asked of other programs.
const NOT_STORED: [&str; 2] = ["events.events.k8s.io", "componentstatuses"];

/// What can be listed.
#[derive(Debug, Default)]
pub(crate) struct Listable(BTreeMap<String, Vec<GroupVersion>>);

impl Listable {
    /// Adds what a group and version has. Those of a group come in the order of [`group_versions`].
    pub(crate) fn add(&mut self, of: &GroupVersion, resources: Resources) {
        let listed = |one: &Resource| !one.name.contains('/') && one.verbs.iter().any(|verb| verb == "list");
        for resource in resources.resources.into_iter().filter(listed) {
            let name = match of.group.as_str() {
                "" => resource.name,
                group => format!("{}.{group}", resource.name),
            };
            if !NOT_STORED.contains(&name.as_str()) {
                self.0.entry(name).or_default().push(of.clone());
            }
        }
    }

    pub(crate) fn has(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// Every resource with the version in which it is listed: that of `stored_in` where it is served, else the preferred one.
    pub(crate) fn all(self, stored_in: &BTreeMap<String, String>) -> BTreeMap<String, GroupVersion> {
        let choose = |(name, versions): (String, Vec<GroupVersion>)| {
            let stored = versions.iter().find(|one| stored_in.get(&name) == Some(&one.version));
            let chosen = stored.or(versions.first()).cloned();
            chosen.map(|version| (name, version))
        };
        self.0.into_iter().filter_map(choose).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: for<'a> Deserialize<'a>>(value: serde_json::Value) -> T {
        serde_json::from_value(value).expect("a document")
    }

    #[test]
    fn every_resource_is_listed_once_in_the_version_that_needs_no_conversion() {
        let groups = json!({"groups": [
            {"name": "apps", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
            {"name": "example.com", "versions": [{"version": "v2"}, {"version": "v1"}], "preferredVersion": {"version": "v2"}},
            {"name": "autoscaling", "versions": [{"version": "v1"}, {"version": "v2"}], "preferredVersion": {"version": "v2"}},
            {"name": "metrics.k8s.io", "versions": [{"version": "v1beta1"}], "preferredVersion": {"version": "v1beta1"}},
            {"name": "extensions", "versions": [{"version": "v1beta1"}], "preferredVersion": {"version": "v1beta1"}},
            {"name": "events.k8s.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
        ]});
        let services = [
            json!({"spec": {"group": "metrics.k8s.io", "version": "v1beta1", "service": {"name": "metrics-server"}}}),
            json!({"spec": {"group": "apps", "version": "v1", "service": null}}),
        ];
        let services: Vec<ApiService> = services.into_iter().map(read).collect();
        let all = group_versions(read(json!({"versions": ["v1"]})), read(groups), &services);
        let paths: Vec<String> = all.iter().map(GroupVersion::path).collect();
        assert_eq!(
            paths,
            [
                "/api/v1",
                "/apis/apps/v1",
                "/apis/example.com/v2",
                "/apis/example.com/v1",
                "/apis/autoscaling/v2",
                "/apis/autoscaling/v1",
                "/apis/events.k8s.io/v1"
            ]
        );
        let mut listable = Listable::default();
        let one = |name: &str, verbs: &[&str]| json!({"name": name, "verbs": verbs});
        for (of, resources) in all.iter().zip([
            vec![
                one("pods", &["get", "list"]),
                one("pods/log", &["get", "list"]),
                one("bindings", &["create"]),
                one("componentstatuses", &["list"]),
            ],
            vec![one("deployments", &["list"])],
            vec![one("widgets", &["list"])],
            vec![one("widgets", &["list"]), one("gadgets", &["list"])],
            vec![one("horizontalpodautoscalers", &["list"])],
            vec![one("horizontalpodautoscalers", &["list"])],
            vec![one("events", &["list"])],
        ]) {
            listable.add(of, read(json!({"resources": resources})));
        }
        assert!(listable.has("gadgets.example.com") && !listable.has("bindings"));
        let definition: Definition = read(json!({"metadata": {"name": "widgets.example.com"},
            "spec": {"versions": [{"name": "v2", "served": true}, {"name": "v1", "served": true, "storage": true}]}}));
        let stored_in = definition.stored_in().into_iter().collect();
        let all: Vec<String> =
            listable.all(&stored_in).iter().map(|(name, version)| format!("{name} {}", version.text())).collect();
        assert_eq!(
            all,
            [
                "deployments.apps apps/v1",
                "gadgets.example.com example.com/v1",
                "horizontalpodautoscalers.autoscaling autoscaling/v2",
                "pods v1",
                "widgets.example.com example.com/v1"
            ]
        );
    }
}
