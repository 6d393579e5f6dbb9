//! What is never put back: somebody else makes it, or it would be of no use.

use serde_json::Value;

use etcd_objects::key::Place;

/// Why an object is not applied, whoever asks for it.
pub(super) fn never(place: &Place, object: &Value) -> Option<&'static str> {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (label, annotation) =
        (|name: &str| text(&metadata["labels"][name]), |name: &str| &metadata["annotations"][name]);
    match (place.group.as_deref().unwrap_or_default(), place.resource.as_str()) {
        ("", "events") => Some("an event is a record of the past"),
        ("coordination.k8s.io", "leases") => {
            Some("the holder renews the lease; an old lease would name the wrong holder")
        }
        ("", "nodes") => Some("a node registers itself"),
        ("discovery.k8s.io", "endpointslices")
            if label("endpointslice.kubernetes.io/managed-by").ends_with(".k8s.io") =>
        {
            Some("a controller makes it from its service and pods")
        }
        // The service `kubernetes` is kept by the API servers themselves.
        ("", "endpoints") | ("discovery.k8s.io", "endpointslices")
            if place.name == "kubernetes" && place.namespace.as_deref() == Some("default") =>
        {
            Some("the API servers write it themselves")
        }
        ("", "endpoints")
            if !annotation("endpoints.kubernetes.io/last-change-trigger-time").is_null()
                || label("endpoints.kubernetes.io/managed-by") == "endpoint-controller" =>
        {
            Some("a controller makes it from its service and pods")
        }
        ("", "secrets") if object["type"] == "kubernetes.io/service-account-token" => {
            Some("its token is not valid any more; kubectl create token makes a new one")
        }
        ("", "configmaps") if place.name == "kube-root-ca.crt" => Some("a controller puts it into every namespace"),
        ("", "pods") if !annotation("kubernetes.io/config.mirror").is_null() => {
            Some("it mirrors a static pod, of which the kubelet knows from a file")
        }
        _ => None,
    }
}

/// Whether it is work that is done: applied, it would be done again.
pub(super) fn has_ended(place: &Place, object: &Value) -> bool {
    let is = |kind: &str| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
    };
    match (place.group.as_deref().unwrap_or_default(), place.resource.as_str()) {
        ("batch", "jobs") => is("Complete") || is("Failed"),
        ("", "pods") => ["Succeeded", "Failed"].iter().any(|phase| object["status"]["phase"] == *phase),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_make_is_left_to_them() {
        let none = json!({});
        let slice = json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}}});
        let own_slice = json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": "me"}}});
        let triggered =
            json!({"metadata": {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026"}}});
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        let token = json!({"type": "kubernetes.io/service-account-token"});
        for (group, resource, name, object, refused) in [
            ("", "events", "a", &none, true),
            ("coordination.k8s.io", "leases", "a", &none, true),
            ("", "nodes", "a", &none, true),
            ("discovery.k8s.io", "endpointslices", "a", &slice, true),
            ("discovery.k8s.io", "endpointslices", "a", &own_slice, false),
            ("", "endpoints", "a", &triggered, true),
            ("", "endpoints", "a", &none, false),
            ("", "endpoints", "kubernetes", &none, true),
            ("", "secrets", "a", &token, true),
            ("", "secrets", "a", &json!({"type": "Opaque"}), false),
            ("", "configmaps", "kube-root-ca.crt", &none, true),
            ("", "configmaps", "a", &none, false),
            ("", "pods", "a", &mirror, true),
            ("example.com", "events", "a", &none, false),
        ] {
            let (namespace, name) = (Some("default".to_owned()), name.to_owned());
            let place = Place { group: Some(group.to_owned()), resource: resource.to_owned(), namespace, name };
            assert_eq!(never(&place, object).is_some(), refused, "{place:?} {object}");
        }
    }

    #[test]
    fn work_that_is_done_is_known() {
        let place = |group: &str, resource: &str| Place {
            group: Some(group.to_owned()),
            resource: resource.to_owned(),
            namespace: Some("shop".to_owned()),
            name: "a".to_owned(),
        };
        let (job, pod) = (place("batch", "jobs"), place("", "pods"));
        let done = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        assert!(has_ended(&job, &done("Complete", "True")) && has_ended(&job, &done("Failed", "True")));
        assert!(!has_ended(&job, &done("Complete", "False")) && !has_ended(&job, &json!({})));
        assert!(
            has_ended(&pod, &json!({"status": {"phase": "Failed"}}))
                && !has_ended(&pod, &json!({"status": {"phase": "Running"}}))
        );
    }
}
