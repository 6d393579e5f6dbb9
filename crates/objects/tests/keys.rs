//! Keys of every layout, of a real cluster, and back.

mod support;

use std::collections::BTreeMap;

use etcd_objects::catalog::Catalog;
use etcd_objects::key::{Internal, Key, Place, Prefix};
use etcd_objects::{decode, surely_decodes};
use proptest::prelude::*;

fn place(group: Option<&str>, resource: &str, namespace: Option<&str>, name: &str) -> Place {
    let owned = |text: &str| text.to_owned();
    Place { group: group.map(owned), resource: owned(resource), namespace: namespace.map(owned), name: owned(name) }
}

#[test]
fn every_layout() {
    let prefix = Prefix::default();
    let objects = [
        ("namespaces/default", place(Some(""), "namespaces", None, "default")),
        ("pods/kube-system/etcd-cp1", place(Some(""), "pods", Some("kube-system"), "etcd-cp1")),
        ("minions/cp1", place(Some(""), "nodes", None, "cp1")),
        ("controllers/a/b", place(Some(""), "replicationcontrollers", Some("a"), "b")),
        ("services/specs/a/b", place(Some(""), "services", Some("a"), "b")),
        ("services/endpoints/a/b", place(Some(""), "endpoints", Some("a"), "b")),
        ("ingress/a/b", place(Some("networking.k8s.io"), "ingresses", Some("a"), "b")),
        ("deployments/a/b", place(Some("apps"), "deployments", Some("a"), "b")),
        ("leases/kube-node-lease/cp1", place(Some("coordination.k8s.io"), "leases", Some("kube-node-lease"), "cp1")),
        ("events/a/b.18a", place(Some(""), "events", Some("a"), "b.18a")),
        ("clusterroles/system:node", place(Some("rbac.authorization.k8s.io"), "clusterroles", None, "system:node")),
        ("podsecuritypolicy/x", place(Some("policy"), "podsecuritypolicies", None, "x")),
        ("example.com/widgets/a/b", place(Some("example.com"), "widgets", Some("a"), "b")),
        ("example.com/widgets/b", place(Some("example.com"), "widgets", None, "b")),
        (
            "apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
            place(Some("apiextensions.k8s.io"), "customresourcedefinitions", None, "widgets.example.com"),
        ),
        ("apiregistration.k8s.io/apiservices/v1.", place(Some("apiregistration.k8s.io"), "apiservices", None, "v1.")),
        ("newthings/a/b", place(None, "newthings", Some("a"), "b")),
    ];
    for (rest, place) in objects {
        let key = format!("/registry/{rest}").into_bytes();
        assert_eq!(prefix.key(&place), key, "{rest}");
        assert_eq!(prefix.parse(&key), Key::Object(place), "{rest}");
    }
    let internal = [
        ("/registry/masterleases/10.0.0.1", Internal::MasterLease("10.0.0.1".into())),
        ("/registry/peerserverleases/apiserver-x", Internal::PeerServerLease("apiserver-x".into())),
        ("/registry/ranges/serviceips", Internal::Range("serviceips".into())),
        ("/registry/ranges/servicenodeports", Internal::Range("servicenodeports".into())),
        ("/registry/health", Internal::Health),
        ("compact_rev_key", Internal::CompactRevision),
    ];
    for (key, what) in internal {
        assert_eq!(prefix.parse(key.as_bytes()), Key::Internal(what), "{key}");
    }
    let foreign: [&[u8]; 17] = [
        b"",
        b"/",
        b"/registry",
        b"/registry/",
        b"/registry/pods",
        b"/registry/pods/",
        b"/registry/pods/a/",
        b"/registry/pods//b",
        b"/registry/pods/a/b/c",
        b"/registry/services/a/b",
        b"/registry/services/other/a/b",
        b"/registry/example.com/widgets",
        b"/registry//a/b",
        b"/registry2/pods/a/b",
        b"/calico/ipam/v2/host",
        b"cilium/state/identities",
        b"/registry/pods/a/\xff",
    ];
    for key in foreign {
        assert_eq!(prefix.parse(key), Key::Foreign, "{}", String::from_utf8_lossy(key));
    }
}

#[test]
fn the_prefix_is_found() {
    let detect = |keys: &[&str]| Prefix::detect(keys.iter().map(|key| key.as_bytes())).map(|p| p.as_str().to_owned());
    assert_eq!(detect(&["/registry/namespaces/default", "/registry/pods/a/b"]).as_deref(), Some("/registry"));
    assert_eq!(detect(&["/kubernetes.io/namespaces/default", "/openshift.io/x/y"]).as_deref(), Some("/kubernetes.io"));
    let pod = "/registry/a/namespaces/default";
    assert_eq!(detect(&[pod, "/registry/namespaces/kube-system"]).as_deref(), Some("/registry"));
    assert_eq!(detect(&["/a/namespaces/x", "/b/namespaces/default"]).as_deref(), Some("/b"));
    assert_eq!(detect(&["/deep/er/namespaces/default"]).as_deref(), Some("/deep/er"));
    assert_eq!(detect(&["compact_rev_key", "/registry/namespaces/", "namespaces/default"]), None);
    for (typed, prefix) in
        [("/kubernetes.io/", "/kubernetes.io"), ("registry", "/registry"), ("/", ""), ("a/b", "/a/b")]
    {
        assert_eq!(Prefix::new(typed).as_str(), prefix);
    }
}

#[test]
fn the_prefixes_of_several_api_servers_are_found() {
    let all = |keys: &[&str]| -> Vec<String> {
        let found = Prefix::detect_all(keys.iter().map(|key| key.as_bytes()));
        found.iter().map(|prefix| prefix.as_str().to_owned()).collect()
    };
    let own = ["/registry/namespaces/default", "/registry/namespaces/kube-system"];
    assert_eq!(all(&[&own[..], &["/a/b/namespaces/default", "/c/namespaces/x"]].concat()), ["/registry", "/c", "/a/b"]);
    // Below another one: a pod, a custom resource, an object of a type that is not known; and an API server.
    for below in ["pods", "example.com", "x"] {
        let key = format!("/registry/{below}/namespaces/default");
        assert_eq!(all(&[&own[..], &[&key]].concat()), ["/registry"], "{below}");
    }
    for (below, is_one) in [("pods", false), ("example.com", false), ("x", true), ("x/y", true)] {
        let key = format!("/registry/{below}/namespaces/kube-system");
        let found = all(&[&own[..], &[&key]].concat());
        assert_eq!(found.len(), 1 + usize::from(is_one), "{below}: {found:?}");
    }
    let prefix = Prefix::new("/a");
    assert!(
        prefix.covers(b"/a/b") && !prefix.covers(b"/a") && !prefix.covers(b"/ab/c") && Prefix::new("/").covers(b"/a/b")
    );
}

/// Every key of a real cluster leads to the object that is stored under it, and back.
#[test]
fn keys_of_a_real_cluster_say_what_their_objects_say() {
    let keys = support::keys_of("kubeadm-ha");
    let prefix = Prefix::detect(keys.keys().map(Vec::as_slice)).expect("a prefix");
    assert_eq!(prefix, Prefix::default());
    let mut catalog = Catalog::builtin();
    for (key, live) in &keys {
        if key.starts_with(b"/registry/apiextensions.k8s.io/") {
            let object = decode(live.value.as_deref().unwrap_or_default()).expect("a definition");
            catalog.add_crd(&object.json).expect("a definition");
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (key, live) in &keys {
        match prefix.parse(key) {
            Key::Object(place) => {
                let object = decode(live.value.as_deref().unwrap_or_default()).expect("an object");
                assert!(surely_decodes(live.value.as_deref().unwrap_or_default()), "{place:?}");
                let resource = catalog.of_kind(&object.api_version, &object.kind).expect("a known kind");
                assert_eq!((place.group.as_deref(), &place.resource), (Some(&*resource.group), &resource.plural));
                assert_eq!((place.namespace.as_deref(), Some(&*place.name)), (object.namespace(), object.name()));
                assert_eq!(resource.namespaced, place.namespace.is_some());
                assert_eq!(prefix.key(&place), *key);
                let namespace = object.namespace().unwrap_or("ignored");
                assert_eq!(prefix.key_of(resource, namespace, &place.name), *key);
                assert!(key.starts_with(&prefix.directory(resource, Some(namespace))));
                *counts.entry("objects".to_owned()).or_default() += 1;
            }
            Key::Internal(what) => *counts.entry(format!("{what:?}")).or_default() += 1,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(key)),
        }
    }
    let objects = counts.remove("objects");
    assert!(objects > Some(350), "{objects:?}");
    let kinds: Vec<_> = counts.keys().map(|what| what.split('(').next().unwrap_or_default().to_owned()).collect();
    assert!(kinds.contains(&"CompactRevision".to_owned()) && kinds.contains(&"Range".to_owned()), "{counts:?}");
}

fn any_place() -> impl Strategy<Value = Place> {
    let built_in = (0..Catalog::builtin().types().len()).prop_map(|index| {
        let resource = Catalog::builtin().types().get(index).cloned().expect("within");
        (Some(resource.group), resource.plural)
    });
    let custom = ("[a-z]{1,9}\\.[a-z.]{1,9}", "[a-z]{1,9}").prop_map(|(group, plural)| (Some(group), plural));
    let resource = prop_oneof![built_in, custom];
    (resource, proptest::option::of("[^/]{1,20}"), "[^/]{1,20}")
        .prop_map(|((group, resource), namespace, name)| Place { group, resource, namespace, name })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_place_has_a_key_that_leads_back(place in any_place(), prefix in "(/[a-z.]{1,9}){1,2}") {
        let prefix = Prefix::new(&prefix);
        prop_assert_eq!(prefix.parse(&prefix.key(&place)), Key::Object(place));
    }

    #[test]
    fn any_key_is_something(key in proptest::collection::vec(any::<u8>(), 0..60), text in "(/registry)?(/[a-z./]{0,9}){0,6}") {
        let prefix = Prefix::default();
        for key in [key.as_slice(), text.as_bytes()] {
            if let Key::Object(place) = prefix.parse(key) {
                prop_assert_eq!(prefix.key(&place), key);
            }
        }
        drop(Prefix::detect([key.as_slice(), text.as_bytes()]));
    }
}
