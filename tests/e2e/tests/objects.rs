//! Objects of a file beside those of the running cluster, and back into it: `kubectl etcd diff` and `apply`.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use e2e::{Ran, Scene, run, unpacked};
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

/// Runs the plugin on a terminal, and types an answer. Gives its exit code and all that it said.
fn on_a_terminal(scene: &Scene, args: &[&str], answer: &str) -> (Option<i32>, String) {
    asked_on_a_terminal(scene, args, || {}, answer)
}

/// The same; something happens between the question and the answer.
fn asked_on_a_terminal(scene: &Scene, args: &[&str], meanwhile: impl FnOnce(), answer: &str) -> (Option<i32>, String) {
    let plugin = scene.plugin(args);
    let words: Vec<String> = std::iter::once(plugin.get_program())
        .chain(plugin.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text")))
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(scene.folder.path());
    terminal.envs(plugin.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs");
    let (mut typed, mut shown) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&said).contains("(y/N)") {
        let read = shown.read(&mut piece).expect("what is shown");
        assert!(read > 0, "nothing was asked: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&piece[..read]);
    }
    meanwhile();
    typed.write_all(answer.as_bytes()).expect("an answer");
    drop(typed);
    shown.read_to_end(&mut said).expect("what is shown");
    let status = child.wait().expect("script ends");
    (status.code(), String::from_utf8_lossy(&said).into_owned())
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
    assert!(said.stderr.contains("left out unless they are named: events, leases"), "{}", said.stderr);
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

    // What is on neither side, where it is looked for.
    for (what, text) in [
        (&["cm/goes"][..], "configmaps/goes in namespace default is neither in a.db nor live; in a.db it is in shop\n"),
        (&["cm/comes"], "configmaps/comes in namespace default is neither in a.db nor live; live it is in shop\n"),
        (&["cm/comes"], "name the namespace\n  -n shop"),
        (&["cm/nope"], "is neither in a.db nor live, nor is it in another namespace"),
        (&["-n", "nosuch"], "namespace nosuch is neither in a.db nor live"),
    ] {
        let said = silent(&scene, &[&["diff", "a.db", "--live"], what].concat(), 2);
        assert!(said.stderr.contains(text) && said.stdout.is_empty(), "{what:?}: {}", said.stderr);
    }

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
    let patches = silent(&scene, &["diff", "a.db", "--live", "-o", "diff"], 1).stdout;
    for part in [
        "--- a.db: deployments.apps/web in namespace shop\n+++ live: deployments.apps/web in namespace shop\n",
        "-  replicas: 2\n+  replicas: 5\n",
        "-  password: \"<hidden: 9 bytes, before>\"\n+  password: \"<hidden: 9 bytes, after>\"\n",
        "+  password: \"<hidden: 9 bytes>\"\n",
    ] {
        assert!(patches.contains(part), "{part:?} is not in:\n{patches}");
    }
    assert!(!patches.contains("resourceVersion") && !patches.contains("uid:"), "{patches}");

    // A second file has what the cluster has.
    scene.ok(&["backup", "b.db"]);
    let said = silent(&scene, &["diff", "a.db", "b.db", "-o", "json"], 1);
    assert_eq!(differences(&said.json()), DIFFERENT, "{}", said.stderr);
    let said = silent(&scene, &["diff", "b.db", "./a.db", "secret/turns", "-n", "shop", "-o", "diff"], 1);
    assert!(said.stdout.contains("\"<hidden: 9 bytes, before>\""), "{}", said.stdout);
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
        (&["diff", "a.db"][..], 2, "missing: a second file, or --live"),
        (&["diff", "a.db", "cm"], 2, "\"cm\" is no file"),
        (&["diff", "a.db", "a.db", "podz"], 2, "did you mean"),
        (&["diff", "a.db", "--live", "cm/a", "-A"], 2, "-A cannot be"),
        (&["diff", "a.db", "gone.db"], 2, "there is no file gone.db"),
        (&["diff", "a.db", "cm/a"], 2, "kubectl etcd diff FILE --live"),
        (&["diff", "a.db", "--live", "csidrivers"], 2, "the cluster does not serve csidrivers.storage.k8s.io"),
    ] {
        run(scene.plugin(args)).expect_code(code).expect_error(&["error: ", text]);
    }
    let mut torn = std::fs::read(scene.path("a.db")).unwrap();
    torn.truncate(torn.len() / 2);
    std::fs::write(scene.path("torn.db"), torn).unwrap();
    run(scene.plugin(&["diff", "a.db", "torn.db"])).expect_code(3).expect_error(&["error: ", "torn.db"]);
    scene.assert_nodes_untouched();
}

/// All objects of the cluster, but for what changes by itself.
fn everything(scene: &Scene) -> Value {
    let types = "namespaces,configmaps,secrets,services,deployments,replicasets,serviceaccounts,clusterroles";
    run(scene.kubectl(&["get", types, "-A", "-o", "json", "--show-managed-fields"])).expect_code(0).json()
}

/// What is named: all that the file has and the cluster has not, or has otherwise.
const NAMED: [&str; 7] =
    ["clusterrole/shop", "secret/goes", "secret/turns", "cm/goes", "cm/turns", "svc/web", "deploy/web"];

fn apply<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["apply", "a.db", "-n", "shop"], &NAMED[..], more].concat()
}

#[test]
fn what_differs_is_put_back() {
    let scene = changed();
    let before = everything(&scene);
    // What only looks changes nothing, nor does what nobody has confirmed.
    let sent = silent(&scene, &apply(&["--dry-run=client", "-o", "json"]), 0).json();
    let items = sent["items"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    let order = ["ClusterRole", "Secret", "Secret", "ConfigMap", "ConfigMap", "Service", "Deployment"];
    assert_eq!(kinds, order);
    for item in items {
        let metadata = item["metadata"].as_object().unwrap();
        let known = ["name", "namespace", "annotations", "labels"];
        assert!(metadata.keys().all(|field| known.contains(&field.as_str())) && item.get("status").is_none(), "{item}");
    }
    let yaml = silent(&scene, &["apply", "a.db", "-n", "shop", "secret/goes", "--dry-run=client", "-o", "yaml"], 0);
    assert!(yaml.stdout.contains("password: \"<hidden: 9 bytes>\""), "{}", yaml.stdout);
    let lines = [
        "clusterrole.rbac.authorization.k8s.io/shop created",
        "secret/goes created",
        "secret/turns configured",
        "configmap/goes created",
        "configmap/turns configured",
        "service/web created",
        "deployment.apps/web configured",
    ];
    let ended = |text: &str| -> Vec<String> { lines.iter().map(|line| format!("{line}{text}")).collect() };
    let dry = silent(&scene, &apply(&["--dry-run=server"]), 0);
    assert_eq!(dry.stdout.lines().collect::<Vec<_>>(), ended(" (server dry run)"));
    for part in ["-  replicas: 5\n+  replicas: 2\n", "+++ applied: configmap/goes", "\"<hidden: 9 bytes, after>\""] {
        assert!(dry.stderr.contains(part), "{part:?} is not in:\n{}", dry.stderr);
    }
    let asked = silent(&scene, &apply(&[]), 4);
    assert!(asked.stderr.contains("no terminal to ask on") && asked.stdout.is_empty(), "{}", asked.stderr);
    assert_eq!(everything(&scene), before);

    for answer in ["n\n", "\n"] {
        let (code, said) = on_a_terminal(&scene, &apply(&[]), answer);
        assert!(
            said.contains("Apply 7 object(s) to cluster lab (https://") && said.contains("nothing was applied"),
            "{said}"
        );
        assert_eq!(code, Some(4), "{said}");
    }
    assert_eq!(everything(&scene), before);
    let one = ["apply", "a.db", "clusterrole/shop"];
    let (code, said) = on_a_terminal(&scene, &one, "y\n");
    assert!(code == Some(0) && said.contains("clusterrole.rbac.authorization.k8s.io/shop created"), "{said}");
    run(scene.kubectl(&["delete", "clusterrole/shop"])).expect_code(0);

    // What changed between the question and the answer is not overwritten.
    let value = |name: &str| {
        run(scene.kubectl(&["get", "cm", name, "-n", "shop", "-o", "jsonpath={.data.v}"])).expect_code(0).stdout
    };
    let two = ["apply", "a.db", "cm/goes", "cm/turns", "-n", "shop"];
    let change = || {
        scene.apply(&config_map("goes", "theirs").to_string());
        patch(&scene, "configmap/turns", r#"{"data":{"v":"theirs"}}"#);
    };
    let (code, said) = asked_on_a_terminal(&scene, &two, change, "y\n");
    for text in [
        "2 of 2 objects were not applied",
        "configmap/goes: an object of this name was created meanwhile; it was not overwritten",
        "configmap/turns: the live object was changed meanwhile: data.v; it was not overwritten",
    ] {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    assert_eq!((code, value("goes"), value("turns")), (Some(4), "theirs".into(), "theirs".into()), "{said}");
    run(scene.kubectl(&["delete", "cm/goes", "-n", "shop"])).expect_code(0);
    let (code, said) = asked_on_a_terminal(&scene, &two, || patch(&scene, "cm/turns", r#"{"data":{"v":"2"}}"#), "y\n");
    assert!(
        said.contains("1 of 2 objects were not applied") && said.contains("\n1 of 2 objects was changed"),
        "{said}"
    );
    assert_eq!((code, value("goes"), value("turns")), (Some(5), "1".into(), "2".into()), "{said}");
    run(scene.kubectl(&["delete", "cm/goes", "-n", "shop"])).expect_code(0);

    // Nor is a file taken whose cluster nobody can tell.
    let before = everything(&scene);
    let blind = silent(&scene, &["apply", "a.db", "cm/goes", "-n", "shop", "--yes", "--as", "mallory"], 4);
    assert!(blind.stderr.contains("whether a.db is of cluster lab is not known"), "{}", blind.stderr);
    assert_eq!(everything(&scene), before);

    let done = silent(&scene, &apply(&["--yes"]), 0);
    assert_eq!(done.stdout.lines().collect::<Vec<_>>(), ended(""));
    let same = [&["diff", "a.db", "--live", "-n", "shop"], &NAMED[..]].concat();
    assert!(silent(&scene, &same, 0).stdout.is_empty());
    let left = silent(&scene, &["diff", "a.db", "--live", "-o", "json"], 1).json();
    assert_eq!(differences(&left), ["onlyInSecond secrets/comes", "onlyInSecond configmaps/comes"]);
    let again = silent(&scene, &apply(&["--yes", "-o", "json"]), 0).json();
    assert!(again["objects"].as_array().unwrap().iter().all(|one| one["action"] == "unchanged"), "{again}");
    let value = ["get", "secret", "turns", "-n", "shop", "-o", "jsonpath={.data.password}"];
    assert_eq!(run(scene.kubectl(&value)).expect_code(0).stdout, "aHVzaC1odXNo");

    // What somebody has added since stays, and is told.
    patch(&scene, "configmap/turns", r#"{"data":{"v":"3","new":"1"}}"#);
    let more = silent(&scene, &["apply", "a.db", "cm/turns", "-n", "shop", "--yes"], 0);
    assert!(
        more.stderr.contains("configmap/turns: fields only in the live object, left as they are: data.new"),
        "{}",
        more.stderr
    );
    assert_eq!(more.stdout, "configmap/turns configured\n");
    scene.assert_nodes_untouched();
}

fn uid(scene: &Scene, object: &str) -> String {
    let path = ["get", object, "-n", "shop", "-o", "jsonpath={.metadata.uid}"];
    run(scene.kubectl(&path)).expect_code(0).stdout
}

/// A replica set of the deployment `web`, and a pod of it.
fn owned(scene: &Scene) {
    let reference = |kind: &str, name: &str, uid: String| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let mut set = deployment(1);
    set["kind"] = json!("ReplicaSet");
    set["metadata"] = json!({"name": "web-1", "namespace": "shop",
        "ownerReferences": reference("Deployment", "web", uid(scene, "deployment/web"))});
    scene.apply(&set.to_string());
    let owners = reference("ReplicaSet", "web-1", uid(scene, "replicaset/web-1"));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        "metadata": {"name": "web-1-a", "namespace": "shop", "ownerReferences": owners}});
    scene.apply(&pod.to_string());
}

#[test]
fn a_namespace_comes_back_with_all_that_it_had() {
    let scene = Scene::new(1, Etcd::V3_5);
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "token", "namespace": "shop", "annotations": {"kubernetes.io/service-account.name": "web"}},
        "data": {"token": "aHVzaC1odXNo"}});
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "name": "web-1-a", "namespace": "shop"}, "reason": "Test", "message": "test"});
    let mut labelled = config_map("settings", "1");
    labelled["metadata"]["labels"] = json!({"tier": "front"});
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}}),
        labelled,
        secret("db", "aHVzaC1odXNo"),
        deployment(2),
        token,
        event,
    ] {
        scene.apply(&object.to_string());
    }
    owned(&scene);
    scene.ok(&["backup", "a.db"]);
    let old = [uid(&scene, "replicaset/web-1"), uid(&scene, "pod/web-1-a")];

    // A pod without its owners, and with them.
    for gone in ["pod/web-1-a", "replicaset/web-1"] {
        run(scene.kubectl(&["delete", gone, "-n", "shop", "--force", "--grace-period=0"])).expect_code(0);
    }
    let pod = ["apply", "a.db", "pod/web-1-a", "-n", "shop"];
    let alone = silent(&scene, &[&pod[..], &["--dry-run=server"]].concat(), 0);
    let note = "without its owner, which is not there any more: ReplicaSet web-1";
    assert!(alone.stderr.contains(note) && !alone.stderr.contains("ownerReferences"), "{}", alone.stderr);
    let with = silent(&scene, &[&pod[..], &["--recreate-owners", "--yes"]].concat(), 0);
    assert_eq!(with.stdout, "replicaset.apps/web-1 created\npod/web-1-a created\n");
    let owner = ["get", "pod/web-1-a", "-n", "shop", "-o", "jsonpath={.metadata.ownerReferences[0].uid}"];
    let new = uid(&scene, "replicaset/web-1");
    assert_eq!(run(scene.kubectl(&owner)).expect_code(0).stdout, new);
    assert!(!old.contains(&new));

    // What is refused leaves everything as it was.
    let before = everything(&scene);
    for (what, text) in [
        ("secret/token", "kubectl create token"),
        ("event/e", "a record of the past"),
        ("lease/plain", "has no leases.coordination.k8s.io/plain"),
    ] {
        let code = if text.starts_with("has no") { 1 } else { 4 };
        let refused = silent(&scene, &["apply", "a.db", what, "cm/settings", "-n", "shop", "--yes"], code);
        assert!(refused.stderr.contains(text) && refused.stdout.is_empty(), "{what}: {}", refused.stderr);
    }
    assert!(silent(&scene, &["apply", "a.db", "cm", "--yes"], 2).stderr.contains("which configmaps?"));
    assert_eq!(everything(&scene), before);
    run(scene.kubectl(&["delete", "namespace", "shop"])).expect_code(0);
    let refused = silent(&scene, &["apply", "a.db", "cm/settings", "-n", "shop", "--yes"], 4);
    for text in ["namespace shop is not there", "kubectl etcd apply a.db ns/shop"] {
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }

    let whole = silent(&scene, &["apply", "a.db", "ns/shop", "--all", "--yes"], 0);
    for text in [
        "left out: secrets token: ",
        "left out: events e: ",
        "left out: pods web-1-a: its controller makes it anew",
        "its namespace is created first",
    ] {
        assert!(whole.stderr.contains(text), "{text:?} is not in:\n{}", whole.stderr);
    }
    let lines = [
        "namespace/shop",
        "serviceaccount/default",
        "secret/db",
        "configmap/settings",
        "deployment.apps/web",
        "replicaset.apps/web-1",
    ];
    let created: Vec<String> = lines.iter().map(|line| format!("{line} created")).collect();
    assert_eq!(whole.stdout.lines().collect::<Vec<_>>(), created);
    let more = silent(&scene, &["apply", "a.db", "ns/shop", "ns/default", "--all", "--dry-run=server"], 0);
    let line = "configmap/settings in namespace shop unchanged (server dry run)";
    assert!(more.stdout.lines().any(|said| said == line), "{}", more.stdout);
    let none = silent(&scene, &["apply", "a.db", "cm,secrets", "-l", "no=such", "-n", "shop", "--yes"], 1);
    assert!(none.stderr.contains("a.db has no objects in namespace shop with these labels"), "{}", none.stderr);
    let selected = ["apply", "a.db", "cm,deploy", "-l", "tier=front", "-n", "shop", "--dry-run=server"];
    assert_eq!(silent(&scene, &selected, 0).stdout, "configmap/settings unchanged (server dry run)\n");
    silent(&scene, &["apply", "a.db", "cm/settings", "-l", "tier=front", "-n", "shop"], 2);

    let owner = ["get", "rs/web-1", "-n", "shop", "-o", "jsonpath={.metadata.ownerReferences[0].uid}"];
    assert_eq!(run(scene.kubectl(&owner)).expect_code(0).stdout, uid(&scene, "deployment/web"));
    let left = silent(&scene, &["diff", "a.db", "--live", "-n", "shop", "-o", "json"], 1).json();
    // Owners have other UIDs, and the token and the pod were left out.
    let left = differences(&left);
    assert_eq!(
        left,
        [
            "onlyInFirst secrets/token",
            "differs replicasets.apps/web-1 metadata.ownerReferences",
            "onlyInFirst pods/web-1-a",
        ]
    );
    scene.assert_nodes_untouched();
}

#[test]
fn what_fails_does_not_keep_the_rest_back() {
    let scene = Scene::new(1, Etcd::V3_5);
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"containers": [{"name": "a", "image": "a:1"}]}})
    };
    let map = config_map("settings", "1");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    for object in [namespace, map, pod("one"), pod("two")] {
        scene.apply(&object.to_string());
    }
    scene.ok(&["backup", "a.db"]);
    for gone in ["pod/one", "pod/two", "cm/settings"] {
        run(scene.kubectl(&["delete", gone, "-n", "shop", "--force", "--grace-period=0"])).expect_code(0);
    }
    // Each alone would do: the dry run lets both pass.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one", "namespace": "shop"},
        "spec": {"hard": {"pods": "1"}}});
    scene.apply(&quota.to_string());
    let names = ["apply", "a.db", "pod/one", "pod/two", "cm/settings", "-n", "shop", "--yes"];
    let ran = silent(&scene, &names, 5);
    assert_eq!(ran.stdout, "configmap/settings created\npod/one created\n");
    for text in ["1 of 3 objects were not applied", "pod/two: ", "exceeded quota", "the same command again"] {
        assert!(ran.stderr.contains(text), "{text:?} is not in:\n{}", ran.stderr);
    }
    // By now the server says so before anything is done.
    let ran = silent(&scene, &names, 4);
    assert!(ran.stderr.contains("nothing was changed") && ran.stdout.is_empty(), "{}", ran.stderr);
    run(scene.kubectl(&["delete", "quota", "one", "-n", "shop"])).expect_code(0);
    let ran = silent(&scene, &names, 0);
    assert_eq!(ran.stdout, "configmap/settings unchanged\npod/one unchanged\npod/two created\n");
}

#[test]
fn a_namespace_of_another_cluster_can_be_taken_over() {
    let scene = Scene::new(1, Etcd::V3_5);
    // What a real API server stored, as protobuf.
    std::fs::write(scene.path("a.db"), unpacked("snapshots/kubeadm-ha.db.zst")).unwrap();
    let refused = silent(&scene, &["apply", "a.db", "ns/shop", "--all", "--yes"], 4);
    assert!(
        refused.stderr.contains("error: a.db is of another cluster than lab")
            && refused.stderr.contains("--other-cluster"),
        "{}",
        refused.stderr
    );
    let refused = silent(&scene, &["apply", "a.db", "ns/shop", "--all", "--yes", "--other-cluster"], 4);
    for text in [
        "Warning: a.db is of another cluster than lab",
        "pods: its controller makes it anew",
        "stored as autoscaling/v2 HorizontalPodAutoscaler, which the cluster does not serve",
        "kubectl etcd apply a.db crd/widgets.shop.example.com",
    ] {
        assert!(refused.stderr.contains(text), "{text:?} is not in:\n{}", refused.stderr);
    }
    let named = "ns/shop netpol/deny sa/default role/reader secret/db-password cm/web-config pvc/data svc/web pdb/web deploy/web \
                 sts/db ds/node-watch rs/web-d7475b874 cj/report pod/db-0 ing/web";
    let named: Vec<&str> = named.split_whitespace().collect();
    let ran = silent(&scene, &[&["apply", "a.db", "-n", "shop", "--yes", "--other-cluster"], &named[..]].concat(), 0);
    assert_eq!(ran.stdout.lines().filter(|line| line.ends_with(" created")).count(), named.len(), "{}", ran.stdout);
    for text in [
        "persistentvolumeclaim/data: without spec.volumeName: volume pv-1 is not there",
        "pod/db-0: without spec.nodeName",
        "pod/db-0: without the volume of its account's token",
    ] {
        assert!(ran.stderr.contains(text), "{text:?} is not in:\n{}", ran.stderr);
    }
    let diff = [&["diff", "a.db", "--live", "-n", "shop"], &named[..]].concat();
    let left = silent(&scene, &[&diff[..], &["-o", "json"]].concat(), 1);
    assert!(left.stderr.contains("Warning: a.db is of another cluster than the running cluster"), "{}", left.stderr);
    let left = left.json();
    let expected = [
        "differs persistentvolumeclaims/data metadata.annotations,spec.volumeName",
        "differs replicasets.apps/web-d7475b874 metadata.ownerReferences",
        "differs pods/db-0 metadata.ownerReferences,spec.containers,spec.nodeName,spec.volumes",
    ];
    assert_eq!(differences(&left), expected);

    let get = ["get", "a.db", "secret/db-password", "-n", "shop", "-o", "json"];
    let secret = scene.ok(&get).json();
    let live = run(scene.kubectl(&["get", "secret/db-password", "-n", "shop", "-o", "json"])).expect_code(0).json();
    assert_eq!(secret["data"], live["data"]);
    let values: Vec<&str> = secret["data"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    patch(&scene, "secret/db-password", r#"{"data":{"new":"YnJhbmQtbmV3"},"metadata":{"annotations":null}}"#);
    let patches = silent(&scene, &[&diff[..], &["-o", "yaml"]].concat(), 1);
    for value in values {
        for said in [&ran.stdout, &ran.stderr, &patches.stdout, &patches.stderr] {
            assert!(!said.contains(value), "{value} is in:\n{said}");
        }
    }

    // What a controller says of an object counts only if that is asked for.
    let status = ["patch", "svc/web", "-n", "shop", "--subresource=status", "--type=merge", "-p"];
    let ingress = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"10.1.1.1"}]}}}"#;
    run(scene.kubectl(&[&status[..], &[ingress]].concat())).expect_code(0);
    let service = ["diff", "a.db", "--live", "-n", "shop", "svc/web", "-o", "json"];
    silent(&scene, &service, 0);
    let said = silent(&scene, &[&service[..], &["--show-status"]].concat(), 1).json();
    assert_eq!(differences(&said), ["differs services/web status.loadBalancer"]);
}
