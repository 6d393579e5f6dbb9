//! Resource types that a custom resource definition makes.

use serde_json::Value;

use super::{CUSTOM_RANK, Catalog, ResourceType};

/// What should be a custom resource definition says neither a group nor names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a custom resource definition without {0}")]
pub struct NotADefinition(&'static str);

impl Catalog {
    /// Adds the type that a custom resource definition makes, of v1 or of v1beta1, which is what the API server stores. A type of
    /// the same group and plural that was added before is replaced; built-in ones stay.
    ///
    /// # Errors
    /// [`NotADefinition`], if it has no group, no plural or no kind.
    pub fn add_crd(&mut self, definition: &Value) -> Result<(), NotADefinition> {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let list = |pointer: &str| -> Vec<String> {
            let items = definition.pointer(pointer).and_then(Value::as_array);
            items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let group = text("/spec/group").ok_or(NotADefinition("spec.group"))?;
        let plural = text("/spec/names/plural").ok_or(NotADefinition("spec.names.plural"))?;
        let kind = text("/spec/names/kind").ok_or(NotADefinition("spec.names.kind"))?;
        let served = |version: &&Value| version.get("served").and_then(Value::as_bool).unwrap_or(true);
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        let names = versions.into_iter().flatten().filter(served).filter_map(|version| version.get("name")?.as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            names.extend(text("/spec/version").map(str::to_owned));
        }
        let resource = ResourceType {
            group: group.to_owned(),
            other_groups: Vec::new(),
            plural: plural.to_owned(),
            singular: text("/spec/names/singular").map_or_else(|| kind.to_lowercase(), str::to_owned),
            kind: kind.to_owned(),
            short_names: list("/spec/names/shortNames"),
            categories: list("/spec/names/categories"),
            namespaced: text("/spec/scope") != Some("Cluster"),
            versions: names,
            directory: format!("{group}/{plural}"),
            custom: true,
            undefined: false,
            rank: CUSTOM_RANK,
        };
        self.types.retain(|other| !(other.custom && other.group == resource.group && other.plural == resource.plural));
        let sorts_before = |other: &ResourceType| {
            let is_less = (&other.group, &other.plural) < (&resource.group, &resource.plural);
            !other.custom || (!other.undefined && is_less)
        };
        let place = self.types.partition_point(sorts_before);
        self.types.insert(place, resource);
        Ok(())
    }
}
