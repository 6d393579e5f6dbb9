//! `kubectl etcd inspect` and `kubectl etcd get` through the binary, offline, on the snapshot of a real cluster: against what the real kubectl
//! printed of the same objects seconds before.

use std::process::Command;

use e2e::{Ran, names, plugin, run, unpacked, workspace};
use serde_json::Value;

/// A folder with the snapshot in it, and no cluster anywhere.
struct Offline {
    folder: tempfile::TempDir,
}

impl Offline {
    fn new() -> Offline {
        Offline::of("kubeadm-ha")
    }

    fn of(snapshot: &str) -> Offline {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = unpacked(&format!("snapshots/{snapshot}.db.zst"));
        std::fs::write(folder.path().join("a.db"), bytes).expect("the snapshot");
        Offline { folder }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(plugin());
        command.args(args).current_dir(self.folder.path());
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        let before = std::fs::read(self.folder.path().join("a.db")).expect("the snapshot");
        let ran = run(command);
        assert!(std::fs::read(self.folder.path().join("a.db")).is_ok_and(|now| now == before), "the file has changed");
        ran
    }

    fn get(&self, what: &str) -> Ran {
        let words: Vec<&str> = what.split_whitespace().collect();
        self.run(&[&["get", "a.db"], &words[..]].concat())
    }
}

/// What kubectl printed, by kind, namespace and name.
fn printed() -> Vec<Value> {
    let of = |name: &str| {
        let text =
            std::fs::read_to_string(workspace().join(format!("tests/data/objects/{name}.yaml"))).expect("a list");
        let list: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        list["items"].as_array().cloned().expect("items")
    };
    ["cluster", "namespaced"].into_iter().flat_map(of).collect()
}

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn objects_are_what_kubectl_printed() {
    let (offline, printed) = (Offline::new(), printed());
    let find = |kind: &str, name: &str| {
        let is = |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == name;
        printed.iter().find(is).unwrap_or_else(|| panic!("{kind} {name}"))
    };
    for (what, kind, name) in [
        ("deploy/web -n shop", "Deployment", "web"),
        ("statefulsets.apps db -n shop", "StatefulSet", "db"),
        ("sts/db -n shop", "StatefulSet", "db"),
        ("node/cp2", "Node", "cp2"),
        ("ClusterRole cluster-admin", "ClusterRole", "cluster-admin"),
        ("crd widgets.shop.example.com", "CustomResourceDefinition", "widgets.shop.example.com"),
        ("svc/kubernetes", "Service", "kubernetes"),
        ("hpa.autoscaling/web -n shop", "HorizontalPodAutoscaler", "web"),
    ] {
        let shown = yaml(&offline.get(&format!("{what} -o yaml")).expect_code(0).stdout);
        assert_eq!(&shown, find(kind, name), "{what}");
        let json = offline.get(&format!("{what} -o json")).expect_code(0).json();
        assert_eq!(json, shown, "{what}");
    }
    // A custom resource by the type that the file itself defines; and a list.
    let widgets = yaml(&offline.get("widgets -A -o yaml").expect_code(0).stdout);
    let mut expected: Vec<&Value> = printed.iter().filter(|one| one["kind"] == "Widget").collect();
    expected.sort_by_key(|one| (text(one, "/metadata/namespace"), text(one, "/metadata/name")));
    assert_eq!(
        (&widgets["kind"], widgets["items"].as_array()),
        (&"List".into(), Some(&expected.into_iter().cloned().collect()))
    );
}

#[test]
fn a_whole_namespace_comes_in_an_order_in_which_it_can_be_applied() {
    let (offline, printed) = (Offline::new(), printed());
    let list = yaml(&offline.get("ns/shop --all -o yaml").expect_code(0).stdout);
    let items = list["items"].as_array().expect("items");
    let kinds: Vec<&str> = items.iter().map(|one| text(one, "/kind")).collect();
    let place = |kind: &str| kinds.iter().position(|one| *one == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    let order = [
        "Namespace",
        "ServiceAccount",
        "Secret",
        "PersistentVolumeClaim",
        "Service",
        "Deployment",
        "Ingress",
        "Widget",
    ];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{kinds:?}");
    let both = offline.get("ns/shop ns/kube-public --all -o json").expect_code(0).json();
    let of = |namespace: &str| {
        let inside = |one: &&Value| text(one, "/metadata/namespace") == namespace;
        both["items"].as_array().expect("items").iter().filter(inside).count()
    };
    assert_eq!(of("shop"), items.iter().filter(|one| text(one, "/metadata/namespace") == "shop").count());
    assert!(of("kube-public") > 0 && of("default") == 0);
    let inside = |one: &&Value| text(one, "/metadata/namespace") == "shop";
    let expected: Vec<&Value> = printed.iter().filter(inside).collect();
    assert!(expected.iter().all(|one| items.contains(one)), "an object is missing");
    assert_eq!(
        items.iter().filter(inside).filter(|one| one["kind"] != "Event").count(),
        expected.iter().filter(|one| one["kind"] != "Event").count()
    );
}

#[test]
fn values_of_secrets_are_shown_to_whoever_names_them() {
    let (offline, printed) = (Offline::new(), printed());
    let secret = printed.iter().find(|one| one["kind"] == "Secret").expect("a secret");
    let (namespace, name) = (text(secret, "/metadata/namespace"), text(secret, "/metadata/name"));
    let value = secret["data"].as_object().and_then(|data| data.values().next()?.as_str()).expect("a value");
    for what in ["secrets -A", "secrets -A -o wide", "secrets -A -o yaml", "secrets -A -o json", "secrets -A -o name"] {
        let ran = offline.get(what).expect_code(0);
        assert!(ran.stdout.contains(name) && !ran.stdout.contains(value) && !ran.stderr.contains(value), "{what}");
    }
    assert!(offline.get("secrets -A -o yaml").stderr.contains("left out"));
    for format in ["json", "html"] {
        assert!(!offline.run(&["inspect", "a.db", "-o", format]).expect_code(0).stdout.contains(value), "{format}");
    }
    assert_eq!(&yaml(&offline.get(&format!("secret {name} -n {namespace} -o yaml")).expect_code(0).stdout), secret);
}

#[test]
fn what_is_not_there_or_not_understood_is_told() {
    let offline = Offline::new();
    for (what, code, said) in [
        ("podz", 2, "podz"),
        ("cm/a b", 2, "TYPE/NAME"),
        ("cm nothing -n shop", 1, "has no configmaps/nothing in namespace shop"),
        ("cm web-config", 1, "configmaps/web-config is in namespace shop"),
        ("cm/web-config -o yaml", 1, "name the namespace\n  -n shop"),
        ("cm kube-root-ca.crt nothing -n shop --raw", 1, "has no configmaps/nothing in namespace shop"),
        ("cm --context nosuch", 1, "context \"nosuch\" does not exist"),
        ("pods --all", 2, "ns/NAME --all"),
        ("cm/a -A", 2, "-A"),
        ("cm -A -n shop", 2, "-n/--namespace has no effect"),
        ("ns/shop --all -n other", 2, "-n/--namespace has no effect"),
        ("cm --server https://10.0.0.1:6443", 2, "--server has no effect"),
        ("cm --raw -A", 2, "--raw is for one object"),
        ("pods -l a=b=c", 2, "label selector"),
        ("pods --revision 7", 2, "has no revision 7"),
    ] {
        let ran = offline.get(what);
        assert_eq!(ran.status.code(), Some(code), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{what}: {}{}", ran.stdout, ran.stderr);
    }
    let none = offline.get("pods -n nowhere").expect_code(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("no objects found in namespace nowhere"), "{}", none.stderr);
    let file = offline.folder.path().join("a.db");
    let mut bytes = std::fs::read(&file).expect("the snapshot");
    let half = bytes.len() / 2;
    bytes[8192..half].fill(0xff);
    std::fs::write(&file, bytes).expect("it is damaged");
    for args in [&["inspect", "a.db"][..], &["get", "a.db", "pods", "-A"]] {
        let ran = offline.run(args).expect_code(3);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("a.db is damaged"), "{}{}", ran.stdout, ran.stderr);
    }
    assert_eq!(names(offline.folder.path()), ["a.db"]);
}

#[test]
fn a_folder_is_listed_with_what_is_whole_and_what_is_not() {
    let offline = Offline::new();
    let folder = offline.folder.path();
    let whole = std::fs::read(folder.join("a.db")).expect("the snapshot");
    let record = serde_json::json!({
        "kind": "Backup", "takenAt": "2026-11-21T06:16:40Z", "cluster": {"name": "prod-eu"}, "source": {"etcdVersion": "3.6.14"},
        "snapshot": {"size": whole.len(), "sha256": sha256(&folder.join("a.db")), "revision": 7},
    });
    std::fs::write(folder.join("a.db.json"), record.to_string()).expect("a record");
    std::fs::write(folder.join("notes.txt"), "not a snapshot").expect("a file");
    let list = |args: &[&str]| offline.run(&[&["list", "-o", "json"], args].concat());
    let items = |ran: &Ran| ran.json()["items"].as_array().cloned().expect("items");

    let all = items(&list(&[]).expect_code(0));
    assert_eq!((all.len(), &all[0]["file"], &all[0]["whole"]), (1, &"a.db".into(), &true.into()));
    assert_eq!((&all[0]["cluster"], &all[0]["takenAt"]), (&"prod-eu".into(), &"2026-11-21T06:16:40Z".into()));
    assert!(all[0]["revision"].as_i64().is_some_and(|revision| revision > 7), "the file's own, not the record's");
    let verified = offline.run(&["verify", "a.db"]).expect_code(0).stdout;
    assert!(
        verified.contains("a.db is whole:\n  cluster prod-eu, taken 2026-11-21 06:16:40 UTC, revision "),
        "{verified}"
    );

    // One that is damaged, and one that has no digest; a record of another file is not believed.
    let mut damaged = whole.clone();
    let half = damaged.len() / 2;
    damaged[8192..half].fill(0xff);
    std::fs::write(folder.join("b.db"), damaged).expect("a damaged file");
    std::fs::write(folder.join("b.db.json"), record.to_string()).expect("its record");
    std::fs::write(folder.join("c.db"), unpacked("restored/copied-3.5.30.db.zst")).expect("a copy");
    let ran = list(&[]).expect_code(3).expect_error(&["error: 1 of 3 snapshots is damaged", "cause: b.db: "]);
    let shown: Vec<Value> = items(&ran).iter().map(|one| one["whole"].clone()).collect();
    assert_eq!(shown, [Value::from(true), Value::from(false), Value::Null]);
    let quick = items(&list(&["--no-verify"]).expect_code(0));
    assert!(quick.iter().all(|one| one["state"] == "unchecked" && one["whole"].is_null()), "{quick:?}");
    // A file of another size than the recorded one is not whole, whoever looks.
    std::fs::write(folder.join("b.db"), &whole[..whole.len() - 4096]).expect("a short file");
    let quick = items(&list(&["--no-verify"]).expect_code(3));
    assert_eq!((&quick[1]["whole"], &quick[1]["cluster"]), (&false.into(), &Value::Null));

    let table = offline.run(&["list"]).expect_code(3).stdout;
    assert!(table.starts_with("FILE   CLUSTER") && table.lines().all(|line| line.len() <= 80), "{table}");
    let names = offline.run(&["list", "-o", "name"]).expect_code(3).stdout;
    assert_eq!(names, "a.db\nb.db\nc.db\n");
    for (args, code) in [(&["list", "a.db"][..], 2), (&["list", "gone"], 2), (&["list", "--context", "x"], 2)] {
        let ran = offline.run(args).expect_code(code);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("error: "), "{args:?}: {}", ran.stderr);
    }
}

fn sha256(path: &std::path::Path) -> String {
    let mut command = Command::new("sha256sum");
    command.arg(path);
    run(command).expect_code(0).stdout.split_whitespace().next().expect("a digest").to_owned()
}

/// The first lines of a table, each without its age and with one space between cells.
fn rows(table: &str) -> Vec<String> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let aged =
            |cell: &&&str| cell.starts_with(|c: char| c.is_ascii_digit()) && cell.ends_with(['s', 'm', 'h', 'd', 'y']);
        cells.iter().map(|cell| if aged(&cell) { "_" } else { cell }).collect::<Vec<_>>().join(" ")
    };
    table.lines().map(row).collect()
}

#[test]
fn tables_have_kubectls_columns_and_templates_its_meaning() {
    let offline = Offline::new();
    for (what, expected) in [
        ("deploy -n shop", &["NAME READY UP-TO-DATE AVAILABLE AGE", "web 3/3 3 3 _"][..]),
        (
            "sts/db svc/web -n shop",
            &["NAME READY AGE", "statefulset.apps/db 2/2 _", "", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"],
        ),
        ("nodes", &["NAME STATUS ROLES AGE VERSION", "cp1 Ready control-plane _ v1.36.2"]),
        ("pods -n kube-system", &["NAME READY STATUS RESTARTS AGE", "etcd-cp1 1/1 Running 1 (_ ago) _"]),
        ("widgets -A", &["NAMESPACE NAME AGE", "shop blue _"]),
        ("widgets -A -L nosuch --no-headers", &["shop blue _ <none>"]),
        ("deploy -n shop --no-headers -o custom-columns=A:.metadata.name,B:.nosuch", &["web <none>"]),
    ] {
        let ran = offline.get(what).expect_code(0);
        let shown = rows(&ran.stdout.replace(" ago)", " ago)   "));
        let shown: Vec<String> = shown.iter().map(|row| mask_restart(row)).collect();
        assert!(
            shown.starts_with(&expected.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>()),
            "{what}: {shown:#?}"
        );
    }
    let wide = offline.get("deploy -n shop -o wide").expect_code(0).stdout;
    assert!(wide.contains("SELECTOR") && wide.contains("REVISION") && wide.contains("apps/v1 Deployment"), "{wide}");
    let labels = offline.get("node/cp1 --show-labels").expect_code(0).stdout;
    assert!(labels.contains("node-role.kubernetes.io/control-plane="), "{labels}");
    for (what, printed) in [
        ("nodes -o jsonpath={.items[*].metadata.name}", "cp1 cp2 cp3"),
        ("node/cp1 -o jsonpath={.metadata.name}", "cp1"),
        ("node/cp1 -o jsonpath-as-json={.metadata.name}", "[\n    \"cp1\"\n]\n"),
        ("nodes -o name --sort-by .status.addresses[0].address", "node/cp1\nnode/cp2\nnode/cp3\n"),
    ] {
        assert_eq!(offline.get(what).expect_code(0).stdout, printed, "{what}");
    }
    for (what, said) in [
        ("nodes -o jsonpath={.items[9].metadata.name}", "array index out of bounds: index 9, length 3"),
        ("nodes -o jsonpath={.items", "unclosed action"),
        ("nodes --sort-by .nosuch", "no object has this field"),
        ("nodes -o yaml --show-labels", "--show-labels has no effect"),
        ("nodes -o yaml --no-headers", "--no-headers has no effect"),
    ] {
        let ran = offline.get(what).expect_code(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(said), "{what}: {}{}", ran.stdout, ran.stderr);
    }
}

/// The time of a last restart changes.
fn mask_restart(row: &str) -> String {
    match (row.find('('), row.find(" ago)")) {
        (Some(open), Some(close)) if open < close => format!("{}_{}", &row[..=open], &row[close..]),
        _ => row.to_owned(),
    }
}

#[test]
fn nothing_beside_nothing_is_no_equality() {
    let offline = Offline::new();
    std::fs::copy(offline.folder.path().join("a.db"), offline.folder.path().join("b.db")).expect("a copy");
    let neither = "is neither in a.db nor in b.db";
    for (what, code, said) in [
        ("deploy/web -n shop", 0, ""),
        (
            "deploy/web",
            2,
            "deployments.apps/web in namespace default is neither in a.db nor in b.db; in a.db it is in shop",
        ),
        ("deploy/web", 2, "name the namespace\n  -n shop"),
        ("deploy/nope -n shop", 2, "nor is it in another namespace"),
        ("deploy/web deploy/nope -n shop", 2, neither),
        ("no/cp9", 2, "nodes/cp9 is neither in a.db nor in b.db"),
        ("-n nosuch", 2, "namespace nosuch is neither in a.db nor in b.db"),
        ("-n shop", 0, ""),
        ("deploy -n default", 0, "there are no deployments.apps in namespace default, neither in a.db nor in b.db"),
        ("deploy -n shop", 0, ""),
    ] {
        let words: Vec<&str> = what.split_whitespace().collect();
        let ran = offline.run(&[&["diff", "a.db", "b.db"], &words[..]].concat()).expect_code(code);
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{what}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stderr.contains("error: "), code > 0, "{what}: {}", ran.stderr);
    }
    // Every error is above 1, which is a difference.
    offline.run(&["diff", "a.db", "gone.db"]).expect_code(2).expect_error(&["there is no file gone.db"]);
    offline.run(&["diff", "gone.db", "a.db"]).expect_code(2).expect_error(&["gone.db"]);
    offline.run(&["diff", "a.db", "--live"]).expect_code(2).expect_error(&["error: "]);
}

#[test]
fn what_nothing_proves_is_not_applied() {
    let offline = Offline::new();
    let mut bytes = std::fs::read(offline.folder.path().join("a.db")).expect("the snapshot");
    bytes.iter_mut().rev().take(32).for_each(|byte| *byte = 0);
    std::fs::write(offline.folder.path().join("wrong.db"), bytes).expect("a copy");
    std::fs::write(offline.folder.path().join("copy.db"), unpacked("restored/copied-3.5.30.db.zst")).expect("a copy");
    for (file, said) in [("wrong.db", "SHA-256 of the data is"), ("copy.db", "has no digest at its end")] {
        let apply = ["apply", file, "cm/web-config", "-n", "shop", "--yes"];
        offline.run(&apply).expect_code(3).expect_error(&["error: ", said]);
        // The file is taken, and only the cluster is not there.
        let ran = offline.run(&[&apply[..], &["--skip-hash-check"]].concat()).expect_code(1);
        assert!(ran.stderr.contains("error: no cluster is configured"), "{}", ran.stderr);
    }
}

#[test]
fn stored_bytes_earlier_revisions_and_figures() {
    let offline = Offline::new();
    let raw = offline.get("node/cp1 --raw").expect_code(0);
    assert!(raw.bytes.starts_with(b"k8s\0"), "{:?}", &raw.bytes[..raw.bytes.len().min(8)]);
    let now = offline.get("node/cp1 -o json").expect_code(0).json();
    let revision: i64 = text(&now, "/metadata/resourceVersion").parse().expect("a revision");
    let before = offline.get(&format!("node/cp1 -o json --revision {}", revision - 1)).expect_code(0).json();
    assert!(text(&before, "/metadata/resourceVersion").parse::<i64>().is_ok_and(|before| before < revision));
    assert_eq!(before["metadata"]["uid"], now["metadata"]["uid"]);
    let selected = offline.get("pods -A -l tier=control-plane,component!=etcd -o name").expect_code(0).stdout;
    assert_eq!(selected.lines().count(), 9, "{selected}");
    assert!(selected.lines().all(|line| line.starts_with("pod/kube-")), "{selected}");
    let name = offline.get("deploy -n shop -o name").expect_code(0).stdout;
    assert_eq!(name, "deployment.apps/web\n");

    let inspection = offline.run(&["inspect", "a.db", "-o", "json"]).expect_code(0).json();
    let resources = inspection["resources"].as_array().expect("resources");
    let count =
        |name: &str| resources.iter().find(|one| one["resource"] == name).and_then(|one| one["objects"].as_u64());
    assert_eq!((count("nodes"), count("widgets.shop.example.com"), count("services")), (Some(3), Some(2), Some(2)));
    let all = resources.iter().chain(inspection["otherKeys"].as_array().expect("other keys"));
    assert_eq!(
        all.filter_map(|one| one["objects"].as_u64()).sum::<u64>(),
        inspection["keys"].as_u64().expect("a count")
    );
    let shop = offline.run(&["inspect", "a.db", "-n", "shop", "-o", "json"]).expect_code(0).json();
    let namespaces = shop["namespaces"].as_array().expect("namespaces");
    assert_eq!(
        (namespaces.len(), &namespaces[0]["namespace"], &shop["namespace"]),
        (1, &"shop".into(), &"shop".into())
    );
    let all = inspection["namespaces"].as_array().expect("namespaces").iter();
    assert_eq!(all.filter(|one| one["namespace"] == "shop").collect::<Vec<_>>(), [&namespaces[0]]);
    assert!(shop["otherKeys"].as_array().is_some_and(Vec::is_empty) && shop["keys"] != inspection["keys"], "{shop}");
    let none = offline.run(&["inspect", "a.db", "-n", "nosuch"]).expect_code(1);
    assert!(none.stdout.is_empty() && none.stderr.contains("has no namespace nosuch"), "{}", none.stderr);
    assert!(none.stderr.contains("kube-system, shop"), "{}", none.stderr);
    let page = offline.run(&["inspect", "a.db", "-o", "html"]).expect_code(0).stdout;
    for figure in ["keys", "totalSize", "bytes", "revision", "oldestRevision"] {
        let element = format!("data-field=\"{figure}\" value=\"{}\"", inspection[figure]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains(&element), "{element}");
    }
    let people = offline.run(&["inspect", "a.db"]).expect_code(0).stdout;
    assert!(
        people.contains("LARGEST") && people.contains("kube-node-lease") && people.contains("prefix /registry"),
        "{people}"
    );
}

#[test]
fn types_without_a_definition_are_shown() {
    let offline = Offline::of("undefined-types");
    let inspection = offline.run(&["inspect", "a.db", "-o", "json"]).expect_code(0).json();
    let resources = inspection["resources"].as_array().expect("resources");
    for resource in resources.iter().filter(|one| one["resource"] != "namespaces") {
        let listed = offline.get(&format!("{} -A -o name", text(resource, "/resource"))).expect_code(0).stdout;
        assert_eq!(Some(listed.lines().count() as u64), resource["objects"].as_u64(), "{resource}");
    }
    assert_eq!(resources.len(), 4);
    let small = offline.get("widgets.gone.example.com/small -n shop -o json").expect_code(0).json();
    assert_eq!((&small["kind"], &small["spec"]["size"]), (&"Widget".into(), &1.into()));
    assert_eq!(offline.get("gadgets/only -o json").expect_code(0).json()["kind"], "Gadget");
    // The definition was deleted, and the file still has it.
    offline.get("wd -A").expect_code(2);
    let before = offline.get("wd -A --revision 7 -o name").expect_code(0).stdout;
    assert_eq!(before, "widget.gone.example.com/big\nwidget.gone.example.com/small\n");
    // A built-in type of a newer Kubernetes: its metadata, and that this is not all.
    let ran = offline.get("newthings -n shop -o json").expect_code(1);
    let list = ran.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((text(&list, "/items/0/kind"), text(&list, "/items/0/metadata/name")), ("NewThing", "one"));
    ran.expect_error(&[
        "newthings/one in namespace shop: field 2 is not known",
        "only its metadata can be read",
        "newthings/odd",
    ]);
    // A diff knows them as well, of both files and of one.
    std::fs::write(offline.folder.path().join("b.db"), unpacked("snapshots/kubeadm-ha.db.zst")).expect("another");
    for (first, second) in [("a.db", "b.db"), ("b.db", "a.db")] {
        let ran = offline.run(&["diff", first, second, "widgets.gone.example.com,newthings", "-A"]).expect_code(1);
        assert_eq!(ran.stdout.matches("only in a.db").count(), 3, "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn several_api_servers_in_one_etcd_are_told_apart() {
    let offline = Offline::of("two-prefixes");
    let left_out = |prefix: &str, keys: u64| format!("not looked at: {keys} under {prefix} (--prefix {prefix})");
    let revision = |args: &str| {
        let object = offline.get(&format!("ns/kube-system -o json {args}")).expect_code(0).json();
        text(&object, "/metadata/resourceVersion").to_owned()
    };
    let (alpha, beta) = (revision(""), revision("--prefix /beta/registry"));
    assert!(alpha != beta && alpha == revision("--prefix alpha/registry/"));
    for args in [&["get", "a.db", "ns"][..], &["inspect", "a.db"], &["diff", "a.db", "a.db"]] {
        let ran = offline.run(args).expect_code(0);
        ran.expect_error(&["Warning: a.db: ", &left_out("/beta/registry", 353)]);
        // Whoever names one knows of the other: no warning, and with -q nothing.
        let named = [args, &["--prefix", "/beta/registry"]].concat();
        let ran = offline.run(&named).expect_code(0);
        assert!(!ran.stderr.contains("Warning: "), "{}", ran.stderr);
        ran.expect_error(&[&left_out("/alpha/registry", 356)]);
        assert_eq!(offline.run(&[&named[..], &["-q"]].concat()).expect_code(0).stderr, "");
    }
    let inspection = offline.run(&["inspect", "a.db", "-o", "json"]).expect_code(0).json();
    assert_eq!(
        (&inspection["prefix"], &inspection["otherPrefixes"]),
        (&"/alpha/registry".into(), &serde_json::json!(["/beta/registry"]))
    );
    let ran = offline.run(&["get", "a.db", "ns", "--prefix", "/registry"]).expect_code(2);
    let ran = ran.expect_error(&["a.db has no keys under the prefix /registry", "/alpha/registry, /beta/registry"]);
    assert!(ran.stdout.is_empty());
}

#[test]
fn values_that_cannot_be_read_are_counted_and_named_with_the_place() {
    let offline = Offline::of("broken-values");
    let inspection = offline.run(&["inspect", "a.db", "-o", "json"]).expect_code(0).json();
    let count = |one: &Value| one["unreadable"].as_u64().expect("a count");
    let resources = inspection["resources"].as_array().expect("resources");
    assert_eq!(resources.iter().map(count).sum::<u64>(), count(&inspection));
    let named = inspection["unreadableObjects"].as_array().expect("names");
    assert_eq!(Some(named.len() as u64), Some(count(&inspection)).filter(|count| *count == 6));
    let people = offline.run(&["inspect", "a.db", "-o", "wide"]).expect_code(0).stdout;
    for one in named {
        let (resource, name, reason) = (text(one, "/resource"), text(one, "/name"), text(one, "/reason"));
        assert!(!reason.contains("byte 0"), "{one}");
        assert!(people.contains(&format!("{resource}/{name}")) && people.contains(reason), "{people}");
        // What inspect says, get says as well.
        offline
            .get(&format!("{resource} -A -o yaml"))
            .expect_code(1)
            .expect_error(&[&format!("{resource}/{name}"), reason]);
    }
    assert!(named.iter().any(|one| text(one, "/reason").contains("invalid JSON")), "{named:?}");
    assert!(!offline.run(&["inspect", "a.db"]).stdout.contains("(0)"));
    assert_eq!(Offline::new().run(&["inspect", "a.db", "-o", "json"]).expect_code(0).json()["unreadable"], 0);
}
