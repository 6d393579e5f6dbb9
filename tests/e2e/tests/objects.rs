//! Objects of a file beside those of the running cluster: `kubectl etcd diff`.

use e2e::{Ran, Scene, run};
use lab::Etcd;
use serde_json::{Value, json};

/// What must be nowhere, in clear and in base64.
const SECRETS: [&str; 4] = ["hush-hush", "aHVzaC1odXNo", "brand-new", "YnJhbmQtbmV3"];

fn secret(name: &str, value: &str) -> Value {
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{{\"data\":\"{value}\"}}")});
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"password": value},
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations}})
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"v": value}})
}

fn deployment(replicas: u32) -> Value {
    let containers = json!([{"name": "web", "image": "web:1"}]);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}})
}

/// A namespace with objects, backed up as a.db, and then changed in every way.
fn changed() -> Scene {
    let scene = Scene::new(1, Etcd::V3_5);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "shop"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "shop"}}),
        config_map("stays", "1"),
        config_map("goes", "1"),
        config_map("turns", "1"),
        secret("goes", "aHVzaC1odXNo"),
        secret("turns", "aHVzaC1odXNo"),
        deployment(2),
        service,
        role,
    ] {
        scene.apply(&object.to_string());
    }
    scene.ok(&["backup", "a.db"]);
    for gone in ["configmap/goes", "secret/goes", "service/web", "clusterrole/shop"] {
        run(scene.kubectl(&["delete", gone, "-n", "shop"])).expect_code(0);
    }
    patch(&scene, "configmap/turns", r#"{"data":{"v":"2"}}"#);
    patch(&scene, "secret/turns", r#"{"data":{"password":"YnJhbmQtbmV3"}}"#);
    patch(&scene, "deployment/web", r#"{"spec":{"replicas":5}}"#);
    // Changed, and back again.
    patch(&scene, "configmap/stays", r#"{"data":{"v":"2"}}"#);
    patch(&scene, "configmap/stays", r#"{"data":{"v":"1"}}"#);
    scene.apply(&config_map("comes", "1").to_string());
    scene.apply(&secret("comes", "YnJhbmQtbmV3").to_string());
    scene
}

fn patch(scene: &Scene, object: &str, patch: &str) {
    run(scene.kubectl(&["patch", object, "-n", "shop", "--type", "merge", "-p", patch])).expect_code(0);
}

/// Runs the plugin: whatever it does, values of Secrets are nowhere in what it says.
#[track_caller]
fn silent(scene: &Scene, args: &[&str], code: i32) -> Ran {
    let ran = run(scene.plugin(args)).expect_code(code);
    for value in SECRETS {
        assert!(!ran.stdout.contains(value) && !ran.stderr.contains(value), "{value} is in {args:?}:\n{ran:?}");
    }
    assert!(scene.sidecars().is_empty(), "pods are left");
    ran
}

/// What differs: change, resource, name and fields.
fn differences(said: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| {
        let fields: Vec<String> = one["fields"].as_array().unwrap().iter().map(text).collect();
        format!("{} {}/{} {}", text(&one["change"]), text(&one["resource"]), text(&one["name"]), fields.join(","))
            .trim_end()
            .to_owned()
    };
    said["differences"].as_array().unwrap().iter().map(one).collect()
}

const DIFFERENT: [&str; 9] = [
    "onlyInFirst clusterroles.rbac.authorization.k8s.io/shop",
    "onlyInSecond secrets/comes",
    "onlyInFirst secrets/goes",
    "differs secrets/turns data.password",
    "onlyInSecond configmaps/comes",
    "onlyInFirst configmaps/goes",
    "differs configmaps/turns data.v",
    "onlyInFirst services/web",
    "differs deployments.apps/web spec.replicas",
];

#[test]
fn what_differs_is_shown_and_nothing_else() {
    let scene = changed();
    // Nodes and pods of the lab change by themselves in what nobody wants of them.
    let said = silent(&scene, &["diff", "a.db", "--live", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT, "{}", said.stderr);
    assert!(said.stderr.contains("left out, as long as they are not named: events, leases"), "{}", said.stderr);
    assert!(
        !said.stderr.contains("error:") && said.stderr.contains("4 only in a.db, 2 only live, 3 differ"),
        "{}",
        said.stderr
    );

    // A namespace, types, one object.
    let said = silent(&scene, &["diff", "a.db", "--live", "-n", "shop", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT[1..]);
    let said = silent(&scene, &["diff", "a.db", "--live", "cm,svc", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT[4..8]);
    let said = silent(&scene, &["diff", "a.db", "--live", "cm/turns", "cm/stays", "-n", "shop", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT[6..7]);
    silent(&scene, &["diff", "a.db", "--live", "cm/stays", "-n", "shop"], 0);
    silent(&scene, &["diff", "a.db", "--live", "cm", "-n", "default"], 0);

    // For people, and as a patch.
    let table = silent(&scene, &["diff", "a.db", "--live"], 1).stdout;
    for line in [
        "only in a.db services shop web <none>",
        "only live configmaps shop comes <none>",
        "differs deployments.apps shop web spec.replicas",
    ] {
        let has = |row: &str| row.split_whitespace().eq(line.split_whitespace());
        assert!(table.lines().any(has), "{line:?} is not in:\n{table}");
    }
    let patches = silent(&scene, &["diff", "a.db", "--live", "-o", "yaml"], 1).stdout;
    for part in [
        "--- a.db: deployments.apps/web in namespace shop\n+++ live: deployments.apps/web in namespace shop\n",
        "-  replicas: 2\n+  replicas: 5\n",
        "-  password: '<hidden: 9 bytes, before>'\n+  password: '<hidden: 9 bytes, after>'\n",
        "+  password: '<hidden: 9 bytes>'\n",
    ] {
        assert!(patches.contains(part), "{part:?} is not in:\n{patches}");
    }
    assert!(!patches.contains("resourceVersion") && !patches.contains("uid:"), "{patches}");

    // A second file has what the cluster has.
    scene.ok(&["backup", "b.db"]);
    let said = silent(&scene, &["diff", "a.db", "b.db", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT, "{}", said.stderr);
    let said = silent(&scene, &["diff", "b.db", "./a.db", "secret/turns", "-n", "shop", "-o", "yaml"], 1);
    assert!(said.stdout.contains("'<hidden: 9 bytes, before>'"), "{}", said.stdout);
    for same in [&["diff", "a.db", "a.db"][..], &["diff", "b.db", "--live"]] {
        let said = silent(&scene, same, 0);
        assert!(said.stdout.is_empty(), "{}", said.stdout);
    }
    let said = silent(&scene, &["diff", "a.db", "a.db", "-o", "json"], 0).json();
    assert_eq!((differences(&said), &said["kind"]), (Vec::new(), &"Differences".into()));
    scene.assert_nodes_untouched();
}

#[test]
fn what_cannot_be_compared_is_told() {
    let scene = Scene::new(1, Etcd::V3_5);
    scene.ok(&["backup", "a.db"]);
    for (args, code, text) in [
        (&["diff", "a.db"][..], 2, "nothing says what the file is compared with"),
        (&["diff", "a.db", "cm"], 2, "\"cm\" is no file"),
        (&["diff", "a.db", "a.db", "podz"], 2, "did you mean"),
        (&["diff", "a.db", "--live", "cm/a", "-A"], 2, "-A cannot be"),
        (&["diff", "a.db", "gone.db"], 1, "gone.db"),
        (&["diff", "a.db", "--live", "csidrivers"], 1, "the cluster does not serve csidrivers.storage.k8s.io"),
    ] {
        run(scene.plugin(args)).expect_code(code).expect_error(&["error: ", text]);
    }
    let mut torn = std::fs::read(scene.path("a.db")).unwrap();
    torn.truncate(torn.len() / 2);
    std::fs::write(scene.path("torn.db"), torn).unwrap();
    run(scene.plugin(&["diff", "a.db", "torn.db"])).expect_code(3).expect_error(&["error: ", "torn.db"]);
    scene.assert_nodes_untouched();
}
