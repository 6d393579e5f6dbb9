//! What is refused, by whom, what is said of it, and that nothing is left: rights, admission, images, folders.

use std::process::Command;

use e2e::{Ran, Running, Scene, plugin, run, until};
use lab::Etcd;
use serde_json::{Value, json};

use crate::image;

/// What every refused backup says at its end.
const UNCHANGED: &str = "no file was written; nothing was changed on any node";

fn scene() -> Scene {
    Scene::new(1, Etcd::V3_5)
}

/// Runs a backup that must fail, and asserts that nothing is left.
#[track_caller]
fn refused(scene: &Scene, args: &[&str], code: i32, texts: &[&str]) -> Ran {
    let ran = run(scene.plugin(&[&["backup"], args].concat())).expect_code(code).expect_error(texts);
    assert_eq!(ran.stdout, "", "data was printed of what was not done");
    ran.expect_error(&[UNCHANGED]).left_nothing(scene)
}

trait LeftNothing {
    fn left_nothing(self, scene: &Scene) -> Self;
}

impl LeftNothing for Ran {
    #[track_caller]
    fn left_nothing(self, scene: &Scene) -> Ran {
        scene.assert_nothing_left();
        self
    }
}

/// The plugin as a user of the cluster who has no rights but those that a test gives.
fn as_user(scene: &Scene, user: &str, args: &[&str]) -> Command {
    let mut command = scene.plugin(args);
    command.env("KUBECONFIG", scene.lab.kubeconfig_for(user, &[]).expect("a kubeconfig"));
    command
}

/// Binds a user to a Role in kube-system.
fn bind(scene: &Scene, user: &str, role: &str) {
    scene.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: {user}, namespace: kube-system}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\n\
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]\n"
    ));
}

fn grant(scene: &Scene, user: &str, pods: &str, exec: &str) {
    scene.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: {user}, namespace: kube-system}}\nrules:\n\
         - {{apiGroups: [\"\"], resources: [pods], verbs: [{pods}]}}\n\
         - {{apiGroups: [\"\"], resources: [pods/exec], verbs: [{exec}]}}\n"
    ));
    bind(scene, user, user);
}

/// The Role that a hint prints, as it would be pasted.
#[track_caller]
fn hinted_role(stderr: &str) -> String {
    let (_, role) = stderr.split_once("to be bound to the user by someone who may:\n").expect("a hint with a Role");
    role.split("\n\n").next().expect("the hint's text").to_owned()
}

/// Runs the `kubectl auth can-i` lines of a failure as the user; each must show that the right is missing.
#[track_caller]
fn assert_lines_show_it(scene: &Scene, user: &str, stderr: &str) -> usize {
    let lines: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("hint: kubectl auth can-i ")).collect();
    for line in &lines {
        let mut command = scene.kubectl(&["auth", "can-i"]);
        command.args(line.split_whitespace());
        command.env("KUBECONFIG", scene.lab.kubeconfig_for(user, &[]).expect("a kubeconfig"));
        assert_eq!(run(command).expect_code(1).stdout.trim(), "no", "kubectl auth can-i {line}");
    }
    lines.len()
}

#[test]
fn rights_that_are_missing_are_named_with_the_role_that_mends_it() {
    let scene = scene();
    let refused = |user: &str, code: i32, texts: &[&str]| {
        run(as_user(&scene, user, &["backup"])).expect_code(code).expect_error(texts).expect_error(&[UNCHANGED])
    };

    let nobody = refused("nobody", 1, &["find the etcd pods", "User \"nobody\" cannot list resource \"pods\""]);
    assert_eq!(assert_lines_show_it(&scene, "nobody", &nobody.stderr), 1);

    grant(&scene, "makes-no-pods", "get, list, delete", "get, create");
    let ran = refused("makes-no-pods", 4, &["error: no right to create pods in namespace kube-system\n"]);
    assert_eq!(assert_lines_show_it(&scene, "makes-no-pods", &ran.stderr), 1);

    grant(&scene, "never-execs", "get, list, create, delete", "");
    let ran = refused("never-execs", 4, &["error: no right to get pods/exec, create pods/exec in namespace"]);
    assert_eq!(assert_lines_show_it(&scene, "never-execs", &ran.stderr), 2);

    grant(&scene, "mallory", "list", "");
    let ran =
        refused("mallory", 4, &["no right to create pods, get pods, delete pods, get pods/exec, create pods/exec"]);
    assert_eq!(assert_lines_show_it(&scene, "mallory", &ran.stderr), 5);
    scene.assert_nothing_left();

    // The Role that was printed is enough, as it was printed.
    scene.apply(&hinted_role(&ran.stderr));
    bind(&scene, "anna", "kubectl-etcd");
    let taken = run(as_user(&scene, "anna", &["backup", "x.db", "-o", "json"])).expect_code(0);
    assert_eq!(taken.json()["cluster"]["kubeSystemUid"], Value::Null);
    taken.expect_error(&["Warning: the cluster's identity is not recorded: cannot read namespace kube-system: namespaces \"kube-system\" is forbidden"]);
    assert_eq!(scene.files(), ["x.db", "x.db.json"]);
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
}

#[test]
fn what_the_api_server_refuses_is_told_in_its_own_words() {
    let mut scene = scene();
    let faults = |faults: Value| scene.lab.set_faults(&faults).expect("faults are set");

    let unreachable = ["--server", "https://127.0.0.1:1"];
    refused(
        &scene,
        &unreachable,
        1,
        &[
            "find the etcd pods",
            "Connection refused",
            "hint: no API server listens at https://",
            "systemctl status kubelet",
        ],
    );

    // The answer of a server that has lost its etcd. Looking afterwards needs the path again.
    faults(json!({"status": {"/api/v1/namespaces/kube-system/pods": 503}}));
    let ran = run(scene.plugin(&["backup"])).expect_code(1);
    faults(json!({}));
    ran.expect_error(&["find the etcd pods", "the lab was asked to refuse this path", UNCHANGED]).left_nothing(&scene);

    // Rights that end after they were asked for: here the server does not answer that question, and refuses later.
    let unasked = json!({"verb": "create", "resource": "selfsubjectaccessreviews"});
    faults(json!({"deny": [unasked, {"verb": "create", "resource": "pods"}]}));
    let texts = [
        "create pod kube-system/etcd-sidecar-",
        "cannot create resource \"pods\"",
        "hint: kubectl auth can-i create pods -n",
    ];
    refused(&scene, &[], 1, &[&texts[..], &["kind: Role"]].concat());
    for verb in ["get", "create"] {
        faults(json!({"deny": [unasked, {"verb": verb, "resource": "pods/exec"}]}));
        let ran = run(scene.plugin(&["backup", "x.db"]));
        // Which of the two verbs an exec needs depends on the server; the lab's wants at least `get`.
        if verb == "get" || ran.status.code() != Some(0) {
            let texts = ["open a session with the sidecar in pod", "--subresource=exec", "kind: Role", UNCHANGED];
            ran.expect_code(1).expect_error(&texts).left_nothing(&scene);
        }
    }

    faults(json!({"refusePods": "no host paths on Fridays"}));
    refused(
        &scene,
        &[],
        1,
        &["denied the request: no host paths on Fridays", "kubectl get validatingwebhookconfigurations"],
    );
    faults(json!({}));

    scene.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: restricted}}\n\
         ---\napiVersion: v1\nkind: Namespace\nmetadata: {name: full}\n\
         ---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: full}\nspec: {hard: {pods: 0}}\n",
    );
    let texts =
        ["violates PodSecurity \"restricted:latest\"", "--pod-namespace", "kubectl get namespace strict --show-labels"];
    refused(&scene, &["--pod-namespace", "strict"], 1, &texts);
    let texts = ["exceeded quota: none", "kubectl get resourcequota -n full"];
    refused(&scene, &["--pod-namespace", "full"], 1, &texts);
    refused(&scene, &["--pod-namespace", "gone"], 1, &["namespaces \"gone\" not found"]);

    // And none of it was the lab's own trouble.
    scene.accept_nodes();
    scene.ok(&["backup", "x.db"]);
}

#[test]
fn where_there_is_no_etcd_pod_the_reason_is_looked_for() {
    let scene = scene();
    let elsewhere = [
        "no etcd pods in namespace default",
        "these pods run etcd: kube-system/etcd-cp1 (component=etcd)",
        "kubectl etcd backup -n kube-system -l component=etcd",
    ];
    refused(&scene, &["-n", "default"], 4, &elsewhere);
    refused(&scene, &["-l", "app=none"], 4, &["with labels app=none", elsewhere[1], elsewhere[2]]);
    refused(&scene, &["--node", "cp9"], 4, &["no etcd member runs on node cp9", "etcd runs on cp1"]);

    // As an etcd that is no pod is reached.
    let mut command = scene.plugin(&["backup", "x.db", "-l", "app=none", "--node", "cp1"]);
    command.args(["--endpoints", "https://127.0.0.1:2379", "--cacert", "/etc/kubernetes/pki/etcd/ca.crt"]);
    command.args(["--cert", "/etc/kubernetes/pki/apiserver-etcd-client.crt"]);
    command.args(["--key", "/etc/kubernetes/pki/apiserver-etcd-client.key"]);
    run(command).expect_code(0);
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
}

#[test]
fn a_pod_that_does_not_start_says_why() {
    let mut scene = scene();
    let here = ["error: no member can be snapshotted", "does not start on node cp1"];
    let start = |args: &[&str], texts: &[&str]| refused(&scene, args, 1, &[&here[..], texts].concat());

    let pull = [
        "ErrImagePull",
        "hint: name an image that node cp1 has or can pull: --image REF",
        "now: nope.example/x:1 (IfNotPresent)",
    ];
    start(&["--image", "nope.example/x:1"], &pull);
    let never = ["ErrImageNeverPull", "is not present with pull policy of Never", "now: nope.example/x:1 (Never)"];
    start(&["--image", "nope.example/x:1", "--image-pull-policy", "Never"], &never);

    let files = ["--cacert", "/nope/ca.crt", "--cert", "/nope/a.crt", "--key", "/nope/a.key"];
    start(&files, &["hostPath type check failed: /nope is not a directory", "a folder may be missing on the node"]);
    let texts = ["does not start on node cp1", "hostPath type check failed: /nope is not a directory", "--on-node"];
    refused(&scene, &["--on-node", "/nope"], 1, &texts);

    // A file of that name on the node is not overwritten.
    let folder = scene.lab.node_root("cp1").join("srv/backups");
    std::fs::create_dir_all(&folder).expect("a folder on the node");
    std::fs::write(folder.join("x.db"), "older").expect("a file on the node");
    scene.accept_nodes();
    refused(&scene, &["x.db", "--on-node", "/srv/backups"], 1, &["/srv/backups/x.db"]);
    assert_eq!(std::fs::read_to_string(folder.join("x.db")).expect("the older file"), "older");

    // What is there is told, too, by a pod that only reads.
    let list = |args: &[&str], code: i32, texts: &[&str]| {
        let ran = run(scene.plugin(&[&["list", "--on-node"], args].concat())).expect_code(code).expect_error(texts);
        assert!(scene.sidecars().is_empty());
        ran
    };
    let damaged = list(&["/srv/backups"], 3, &["1 of 1 snapshots is damaged", "cp1:/srv/backups/x.db", "only 5 bytes"]);
    assert!(damaged.stdout.contains("cp1:/srv/backups/x.db"), "{}", damaged.stdout);
    let unchecked = list(&["/srv/backups", "--no-verify", "-o", "json"], 0, &[]).json();
    assert_eq!((&unchecked["items"][0]["state"], &unchecked["items"][0]["size"]), (&"unchecked".into(), &5.into()));
    list(&["/nope"], 1, &["no node has the folder /nope", "nothing was changed"]);
    let gone = ["/srv/backups", "--nodes", "cp9", "--pod-running-timeout", "1s"];
    list(&gone, 1, &["1 of 1 nodes could not be asked", "cp9", "kubectl get node cp9"]);
    scene.assert_nodes_untouched();
}

#[test]
fn a_kubelet_that_does_not_take_the_pod_is_waited_for_only_so_long() {
    let scene = scene();
    let kubelet = scene.lab.init("cp1").expect("the node runs").to_string();
    let signal =
        |name: &str| assert!(Command::new("kill").args(["-s", name, &kubelet]).status().expect("kill runs").success());
    signal("STOP");
    let mut plugin = Running::start(scene.plugin(&["backup", "--pod-running-timeout", "3s", "-v", "1"]));
    plugin.wait_for("created on node cp1");
    // It gives up, and deletes a pod whose kubelet has to say that it is gone.
    until("the pod is being deleted", || {
        let pods = ["get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/managed-by=kubectl-etcd", "-o"];
        let listed = run(scene.kubectl(&[&pods[..], &["jsonpath={.items[*].metadata.deletionTimestamp}"]].concat()));
        !listed.expect_code(0).stdout.is_empty()
    });
    signal("CONT");
    let (status, said) = plugin.end();
    assert_eq!(status.code(), Some(1), "{said}");
    for text in ["after 3s its state is", "--pod-running-timeout", "kubectl get node cp1", UNCHANGED] {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    scene.assert_nothing_left();
}

#[test]
fn what_is_no_sidecar_of_this_version_is_recognised() {
    let scene = scene();
    image::impostor(&scene.lab, "lab.example/garbage:1", "echo Welcome to the machine; echo and a complaint >&2");
    let garbage = [
        "talk to the sidecar in pod",
        "Welcome to",
        "this may not be a sidecar; take the one that belongs to this plugin: --image ",
    ];
    refused(&scene, &["--image", "lab.example/garbage:1"], 1, &garbage);

    image::impostor(&scene.lab, "lab.example/silent:1", "echo 'I cannot' >&2; exit 7");
    let ended = ["talk to the sidecar in pod", "exit code 7", "the sidecar said: I cannot"];
    refused(&scene, &["--image", "lab.example/silent:1"], 1, &ended);

    image::impostor(
        &scene.lab,
        "lab.example/newer:1",
        r"printf 'kubectl-etcd\000\002\000\000'; /busybox cat >/dev/null",
    );
    let mut show = Command::new(plugin());
    show.args(["version", "--client", "-o", "json"]);
    let own = run(show).expect_code(0).json()["sidecarImage"].as_str().expect("an image").to_owned();
    let newer = ["speaks another protocol version", "it speaks 2.0, this plugin 1.0", &format!("--image {own}")];
    refused(&scene, &["--image", "lab.example/newer:1"], 4, &newer);
}

#[test]
fn what_a_killed_run_leaves_is_found_and_deleted() {
    let scene = scene();
    run(scene.plugin(&["cleanup"]))
        .expect_code(0)
        .expect_error(&["no pod of kubectl etcd is in namespace kube-system"]);
    scene.lab.set_faults(&json!({"exec": {"cutAfter": 65536, "mode": "stall"}})).expect("faults are set");
    let mut plugin = Running::start(scene.plugin(&["backup", "x.db"]));
    plugin.wait_for("taking the snapshot from");
    plugin.signal("KILL");
    assert_eq!(plugin.end().0.code(), None);
    scene.lab.set_faults(&json!({})).expect("faults are ended");
    let [name] = &scene.sidecars()[..] else { panic!("not one pod: {:?}", scene.sidecars()) };
    // What a killed run had written keeps the name that says it is not whole, and the next run says so.
    assert_eq!(scene.files(), ["x.db.part"]);
    run(scene.plugin(&["backup", "x.db"]))
        .expect_code(1)
        .expect_error(&["another run is writing it, or one was killed"]);
    std::fs::remove_file(scene.path("x.db.part")).expect("the rest is removed, as the hint says");

    // It would end by itself: the sidecar when nobody speaks to it, and the kubelet sees to it that it does.
    let pod = run(scene.kubectl(&["get", "pod", name, "-n", "kube-system", "-o", "json"])).expect_code(0).json();
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 6 * 3600);
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["wait", "--idle-timeout=120s"]));

    let shown = run(scene.plugin(&["cleanup", "--dry-run"])).expect_code(0);
    assert!(shown.stdout.contains(name) && shown.stdout.contains("backup"), "{}", shown.stdout);
    let listed = run(scene.plugin(&["cleanup", "--dry-run", "-o", "json"])).expect_code(0).json();
    assert_eq!(listed["kind"], "Leftovers");
    let found = &listed["pods"][0];
    assert_eq!([&found["name"], &found["node"], &found["operation"]], [name.as_str(), "cp1", "backup"]);
    assert_eq!(found["created"], pod["metadata"]["creationTimestamp"]);
    run(scene.plugin(&["cleanup"])).expect_code(4).expect_error(&["nothing was deleted", "kubectl etcd cleanup --yes"]);
    assert_eq!(scene.sidecars(), [name.as_str()]);
    run(scene.plugin(&["cleanup", "--yes"])).expect_code(0).expect_error(&[&format!("pod/{name} deleted")]);
    until("the pod is gone", || scene.sidecars().is_empty());
    scene.assert_nothing_left();
}
