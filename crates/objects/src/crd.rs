//! Custom resource definitions: the API server stores them as v1beta1, which it no longer serves.

use serde_json::{Map, Value};

use crate::Object;

const GROUP: &str = "apiextensions.k8s.io";

impl Object {
    /// Turns a custom resource definition of v1beta1 into v1, as the API server does on reading; others stay as they are.
    ///
    /// An API server of any version from 1.16 to 1.36 stores them as v1beta1, and since 1.22 none takes or shows that version:
    /// kubernetes/apiextensions-apiserver pkg/apis/apiextensions/v1/conversion.go @ v0.36.2.
    #[must_use]
    pub fn into_served(mut self) -> Object {
        if self.group() == GROUP && self.kind == "CustomResourceDefinition" && self.api_version.ends_with("/v1beta1") {
            self.api_version = format!("{GROUP}/v1");
            if let Some(json) = self.json.as_object_mut() {
                json.insert("apiVersion".to_owned(), Value::from(self.api_version.clone()));
                if let Some(spec) = json.get_mut("spec").and_then(Value::as_object_mut) {
                    to_v1(spec);
                }
            }
        }
        self
    }
}

/// What was said once for all versions is said by every version.
fn to_v1(spec: &mut Map<String, Value>) {
    let version = spec.remove("version");
    let mut shared = Map::new();
    for (old, new) in [
        ("subresources", "subresources"),
        ("validation", "schema"),
        ("additionalPrinterColumns", "additionalPrinterColumns"),
        ("selectableFields", "selectableFields"),
    ] {
        if let Some(value) = spec.remove(old).filter(|value| !value.is_null()) {
            shared.insert(new.to_owned(), value);
        }
    }
    let versions = spec.entry("versions").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(versions) = versions {
        if let (true, Some(name)) = (versions.is_empty(), version) {
            versions.push(serde_json::json!({"name": name, "served": true, "storage": true}));
        }
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            version.extend(shared.clone());
            let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
            for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
                if let Some(path) = column.remove("JSONPath") {
                    column.insert("jsonPath".to_owned(), path);
                }
            }
        }
    }
    if spec.get("preserveUnknownFields") != Some(&Value::Bool(true)) {
        spec.remove("preserveUnknownFields");
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let (client, versions) =
            (conversion.remove("webhookClientConfig"), conversion.remove("conversionReviewVersions"));
        if client.is_some() || versions.is_some() {
            let mut webhook = Map::new();
            webhook.insert("conversionReviewVersions".to_owned(), versions.unwrap_or_default());
            webhook.extend(client.map(|client| ("clientConfig".to_owned(), client)));
            conversion.insert("webhook".to_owned(), Value::Object(webhook));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::decode;

    #[test]
    fn definitions_are_read_as_v1() {
        let stored = json!({
            "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "metadata": {"name": "as.b.c"},
            "spec": {
                "group": "b.c", "version": "v1", "scope": "Namespaced", "preserveUnknownFields": true,
                "names": {"plural": "as", "kind": "A"},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Age", "type": "date", "JSONPath": ".metadata.creationTimestamp"}],
                "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]},
            },
        });
        let object = decode(stored.to_string().as_bytes()).expect("an object").into_served();
        let expected = json!({
            "group": "b.c", "scope": "Namespaced", "preserveUnknownFields": true, "names": {"plural": "as", "kind": "A"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
            }],
            "conversion": {
                "strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]},
            },
        });
        assert_eq!(
            (object.json.get("spec"), object.api_version.as_str()),
            (Some(&expected), "apiextensions.k8s.io/v1")
        );
        assert_eq!(object.json.pointer("/apiVersion"), Some(&json!("apiextensions.k8s.io/v1")));
    }
}
