//! Which resource a key of the API server's store belongs to.

/// The resource as kubectl names it, with its group where the key shows one; `None` for a key that is no object.
///
/// Read from kubernetes pkg/kubeapiserver/default_storage_factory_builder.go and pkg/registry/core/rest/storage_core.go @ v1.36.0:
/// keys are `/PREFIX/[GROUP/]RESOURCE/...`, with the group for all but the old ones, whose resources may have names of their own.
pub(super) fn resource(key: &[u8]) -> Option<String> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix('/')?.split('/').skip(1);
    let (first, second) = (parts.next()?, parts.next()?);
    Some(match (first, second) {
        ("minions", _) => "nodes".to_owned(),
        ("services", "specs") => "services".to_owned(),
        ("services", "endpoints") => "endpoints".to_owned(),
        ("leases", _) => "leases.coordination.k8s.io".to_owned(),
        (group, resource) if group.contains('.') => format!("{resource}.{group}"),
        (resource, _) => resource.to_owned(),
    })
}

/// The name of a Node, if the key is one's.
pub(super) fn node_name(key: &[u8]) -> Option<&str> {
    let (_, name) = std::str::from_utf8(key).ok()?.split_once("/minions/")?;
    (!name.contains('/')).then_some(name)
}

/// The address of an API server, if the key is the record by which it tells that it is there.
pub(super) fn master(key: &[u8]) -> Option<&str> {
    let (_, address) = std::str::from_utf8(key).ok()?.split_once("/masterleases/")?;
    (!address.contains('/')).then_some(address)
}

/// Whether a key is that of namespace kube-system, whose UID a cluster keeps for life.
pub(super) fn is_kube_system(key: &[u8]) -> bool {
    key.ends_with(b"/namespaces/kube-system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_a_real_api_server_wrote_them() {
        for (key, expected) in [
            ("/registry/pods/default/web", "pods"),
            ("/registry/minions/cp1", "nodes"),
            ("/registry/services/specs/default/kubernetes", "services"),
            ("/registry/services/endpoints/default/kubernetes", "endpoints"),
            ("/registry/leases/kube-node-lease/cp1", "leases.coordination.k8s.io"),
            ("/registry/masterleases/10.0.0.1", "masterleases"),
            ("/registry/apiregistration.k8s.io/apiservices/v1.apps", "apiservices.apiregistration.k8s.io"),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                "customresourcedefinitions.apiextensions.k8s.io",
            ),
            ("/other/example.com/widgets/shop/one", "widgets.example.com"),
        ] {
            assert_eq!(resource(key.as_bytes()).as_deref(), Some(expected), "{key}");
        }
        for key in [&b"compact_rev_key"[..], b"/registry/x", b"/registry", b"\xff/a/b/c", b""] {
            assert_eq!(resource(key), None, "{key:?}");
        }
        assert_eq!(node_name(b"/registry/minions/cp1"), Some("cp1"));
        assert_eq!(node_name(b"/registry/pods/minions/cp1/x"), None);
        assert_eq!(master(b"/registry/masterleases/10.0.0.1"), Some("10.0.0.1"));
        assert_eq!(master(b"/registry/leases/masterleases/10.0.0.1/x"), None);
        assert!(
            is_kube_system(b"/registry/namespaces/kube-system")
                && !is_kube_system(b"/registry/namespaces/kube-systems")
        );
    }
}
