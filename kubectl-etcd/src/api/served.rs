//! Which resource types the cluster serves, in which versions.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::Client;
use kube::core::params::ListParams;
use serde_json::{Value, json};

use super::requests::list;
use crate::connection::Connection;
use crate::output::{Outcome, ResultExt};

/// Group versions that are asked at the same time.
const AT_ONCE: usize = 8;

/// A resource type in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// Its group; nothing for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    /// Its name in paths: `deployments`.
    pub(crate) plural: String,
    singular: String,
    pub(crate) kind: String,
    short_names: Vec<String>,
    pub(crate) namespaced: bool,
    /// Whether its objects can be listed.
    pub(crate) lists: bool,
}

impl Served {
    /// A type that is not served yet.
    pub(crate) fn new(api_version: &str, plural: &str, kind: &str, namespaced: bool) -> Served {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Served {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            kind: kind.to_owned(),
            short_names: Vec::new(),
            namespaced,
            lists: true,
        }
    }

    /// `apps/v1`
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of its objects, of all namespaces or of one.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{root}/{}/namespaces/{namespace}/{}", self.api_version(), self.plural)
            }
            _ => format!("{root}/{}/{}", self.api_version(), self.plural),
        }
    }

    /// What a definition of it would say, for a catalog that does not know it.
    pub(crate) fn definition(&self) -> Value {
        json!({"spec": {
            "group": self.group,
            "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
            "names": {"plural": self.plural, "singular": self.singular, "kind": self.kind, "shortNames": self.short_names},
            "versions": [{"name": self.version, "served": true}],
        }})
    }
}

/// All that the cluster serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Serving {
    /// The core group first, then as the API server orders them; of each group the preferred version first.
    types: Vec<Served>,
    /// Group versions that could not be asked, and why: an aggregated API server that is away, mostly.
    silent: Vec<(String, String)>,
    /// Groups that another server than kube-apiserver answers for: what they show is not in this etcd.
    elsewhere: BTreeSet<String>,
}

impl Serving {
    /// Asks the API server.
    ///
    /// # Errors
    /// It cannot be asked at all.
    pub(crate) async fn discover(connection: &Connection) -> Outcome<Serving> {
        let client = &connection.client;
        let doing = || format!("cannot ask {} for its resource types", connection.server);
        let groups = client.list_api_groups().await.or_fail(doing)?;
        let core = client.list_core_api_versions().await.or_fail(doing)?;
        let asked: Vec<String> = core.versions.into_iter().chain(group_versions(&groups)).collect();
        let mut answers = stream::iter(asked)
            .map(|version| async move {
                let answer = match version.contains('/') {
                    true => client.list_api_group_resources(&version).await,
                    false => client.list_core_api_resources(&version).await,
                };
                (version, answer)
            })
            .buffered(AT_ONCE);
        let mut serving = Serving { elsewhere: elsewhere(client).await, ..Serving::default() };
        while let Some((version, answer)) = answers.next().await {
            match answer {
                Ok(resources) => serving.add(&version, &resources),
                Err(kube::Error::Api(status)) if status.code != 401 => {
                    serving.silent.push((version, status.message.clone()));
                }
                Err(error) => return Err(error).or_fail(doing),
            }
        }
        Ok(serving)
    }

    fn add(&mut self, api_version: &str, resources: &APIResourceList) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // What has a slash in its name is a part of an object.
        for resource in resources.resources.iter().filter(|resource| !resource.name.contains('/')) {
            self.types.push(Served {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: resource.name.clone(),
                singular: resource.singular_name.clone(),
                kind: resource.kind.clone(),
                short_names: resource.short_names.clone().unwrap_or_default(),
                namespaced: resource.namespaced,
                lists: resource.verbs.iter().any(|verb| verb == "list"),
            });
        }
    }

    /// Versions of a group that do not answer, and why; of all groups, if none is named.
    pub(crate) fn silent(&self, group: Option<&str>) -> impl Iterator<Item = String> {
        let of = move |version: &str| {
            group.is_none_or(|group| version.split_once('/').map_or("", |(group, _)| group) == group)
        };
        let silent = self.silent.iter().filter(move |(version, _)| of(version));
        silent.map(|(version, why)| format!("{version} does not answer: {why}"))
    }

    /// A type in exactly this version.
    pub(crate) fn at(&self, api_version: &str, plural: &str) -> Option<&Served> {
        self.types.iter().find(|one| one.plural == plural && one.api_version() == api_version)
    }

    /// A type in the version that the API server prefers.
    pub(crate) fn preferred(&self, group: &str, plural: &str) -> Option<&Served> {
        self.types.iter().find(|one| one.plural == plural && one.group == group)
    }

    /// The types whose objects can be listed and are in etcd, each in the version that is preferred; and the names of those
    /// that can be listed and are not.
    pub(crate) fn stored(&self) -> (Vec<&Served>, Vec<String>) {
        let mut seen = BTreeSet::new();
        let (mut stored, mut others) = (Vec::new(), Vec::new());
        for one in self.types.iter().filter(|one| one.lists) {
            if !seen.insert((&one.group, &one.plural)) {
                continue;
            }
            // Made up of what the components answer: kubernetes/kubernetes pkg/registry/core/componentstatus.
            if self.elsewhere.contains(&one.group) || (one.group.is_empty() && one.plural == "componentstatuses") {
                let dot = if one.group.is_empty() { "" } else { "." };
                others.push(format!("{}{dot}{}", one.plural, one.group));
            } else {
                stored.push(one);
            }
        }
        (stored, others)
    }
}

/// `apps/v1`, of each group the preferred version first.
fn group_versions(groups: &APIGroupList) -> Vec<String> {
    let mut found = Vec::new();
    for group in &groups.groups {
        let preferred = group.preferred_version.iter().map(|version| &version.group_version);
        for version in preferred.chain(group.versions.iter().map(|version| &version.group_version)) {
            if !found.contains(version) {
                found.push(version.clone());
            }
        }
    }
    found
}

/// The groups that an aggregated API server answers for. Whoever may not list APIServices hears of those that are known.
async fn elsewhere(client: &Client) -> BTreeSet<String> {
    let services = Served::new("apiregistration.k8s.io/v1", "apiservices", "APIService", false);
    let mut groups: BTreeSet<String> =
        ["metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"].map(str::to_owned).into();
    if let Ok(page) = list(client, &services, None, &ListParams::default()).await {
        groups.extend(page.items.iter().filter_map(aggregated));
    }
    groups
}

/// The group of an APIService that leads to another server.
fn aggregated(service: &Value) -> Option<String> {
    service["spec"]["service"].is_object().then(|| service["spec"]["group"].as_str().map(str::to_owned))?
}

#[cfg(test)]
impl Serving {
    pub(crate) fn of(types: impl IntoIterator<Item = Served>) -> Serving {
        Serving { types: types.into_iter().collect(), ..Serving::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Serving {
        let mut serving = Serving { elsewhere: ["metrics.k8s.io".to_owned()].into(), ..Serving::default() };
        for (version, names) in [
            ("v1", &["pods", "pods/status", "componentstatuses", "bindings"][..]),
            ("apps/v1", &["deployments"]),
            ("apps/v1beta1", &["deployments", "old"]),
            ("metrics.k8s.io/v1beta1", &["pods"]),
        ] {
            let resource = |name: &&str| {
                let verbs: &[&str] = if *name == "bindings" { &["create"] } else { &["get", "list"] };
                json!({"name": name, "singularName": "", "kind": name.to_uppercase(), "namespaced": true, "verbs": verbs})
            };
            let list = json!({"groupVersion": version, "resources": names.iter().map(resource).collect::<Vec<_>>()});
            serving.add(version, &serde_json::from_value(list).expect("a list"));
        }
        serving
    }

    #[test]
    fn the_version_that_is_asked_for_or_the_preferred_one() {
        let serving = serving();
        assert_eq!(serving.at("apps/v1beta1", "deployments").map(Served::api_version).as_deref(), Some("apps/v1beta1"));
        assert_eq!(serving.at("apps/v1beta2", "deployments"), None);
        assert_eq!(serving.preferred("apps", "deployments").map(|one| one.version.as_str()), Some("v1"));
        assert_eq!(serving.preferred("apps", "old").map(|one| one.version.as_str()), Some("v1beta1"));
        let pods = serving.at("v1", "pods").expect("a type");
        assert_eq!(
            (pods.path(Some("shop")), pods.path(None)),
            ("/api/v1/namespaces/shop/pods".to_owned(), "/api/v1/pods".to_owned())
        );
        assert_eq!(
            serving.at("apps/v1", "deployments").map(|one| one.path(None)).as_deref(),
            Some("/apis/apps/v1/deployments")
        );
    }

    #[test]
    fn what_does_not_answer_is_known() {
        let silent = vec![("metrics.k8s.io/v1beta1".to_owned(), "away".to_owned())];
        let serving = Serving { silent, ..serving() };
        assert_eq!(serving.silent(None).count(), 1);
        assert_eq!(
            serving.silent(Some("metrics.k8s.io")).collect::<Vec<_>>(),
            ["metrics.k8s.io/v1beta1 does not answer: away"]
        );
        assert_eq!(serving.silent(Some("")).count() + serving.silent(Some("apps")).count(), 0);
    }

    #[test]
    fn what_is_not_in_etcd_is_told_apart() {
        let serving = serving();
        let (stored, others) = serving.stored();
        let names: Vec<_> = stored.iter().map(|one| (one.plural.as_str(), one.version.as_str())).collect();
        assert_eq!(names, [("pods", "v1"), ("deployments", "v1"), ("old", "v1beta1")]);
        assert_eq!(others, ["componentstatuses", "pods.metrics.k8s.io"]);
        assert_eq!(aggregated(&json!({"spec": {"group": "g", "service": {"name": "x"}}})).as_deref(), Some("g"));
        assert_eq!(aggregated(&json!({"spec": {"group": "apps", "service": null}})), None);
    }
}
