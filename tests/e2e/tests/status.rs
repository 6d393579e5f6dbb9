//! `status`: no pod is made and nothing is written, whichever way the members are asked.

use std::process::Command;

use e2e::trouble::signal;
use e2e::{Ran, Running, Scene, run, until};
use lab::Etcd;
use serde_json::{Value, json};

/// Every write of the API that a plugin could ask for, refused.
fn writes_refused() -> Value {
    let deny = |verb: &str, resource: &str| json!({"verb": verb, "resource": resource});
    json!({"deny": [deny("create", "pods"), deny("create", "selfsubjectaccessreviews"), deny("update", "*"), deny("patch", "*"),
        deny("delete", "*")]})
}

/// A member of the answer, by its node.
#[track_caller]
fn member<'a>(status: &'a Value, node: &str) -> &'a Value {
    let mut members = status["members"].as_array().expect("members").iter();
    members.find(|member| member["node"] == node).unwrap_or_else(|| panic!("{node} is not in {status}"))
}

fn status(scene: &Scene) -> Value {
    scene.ok(&["status", "-o", "json"]).json()
}

#[test]
fn members_are_asked_without_a_pod_and_without_a_write() {
    let scene = Scene::new(3, Etcd::V3_5);
    scene.lab.set_faults(&writes_refused()).unwrap();
    let said = status(&scene);
    for node in scene.lab.node_names() {
        let member = member(&said, &node);
        assert_eq!((&member["via"], &member["error"]), (&"pod".into(), &Value::Null), "{member}");
        assert_eq!(member["version"], scene.lab.etcd_version());
        assert!(member["servedCertificate"]["notAfter"].is_string(), "{member}");
        assert_eq!(member["servedCertificate"]["subject"], format!("CN={node}"));
        assert_eq!((&member["certificateFilesRead"], &member["certificates"]), (&false.into(), &json!([])));
    }
    assert_eq!((&said["degraded"], &said["clusters"][0]["canLose"]), (&false.into(), &1.into()));
    assert_eq!(said["clusters"][0]["contents"], "cluster", "whose etcd it is is told without a pod, too");
    let table = scene.ok(&["status", "--exit-code"]);
    assert!(table.stdout.ends_with("\n\n3 of 3 members healthy; can lose 1\n"), "{}", table.stdout);
    assert!(table.stdout.lines().all(|line| line.len() <= 80), "{}", table.stdout);
    assert_eq!(table.stderr, "");

    // It goes on until its reader has gone, or it is interrupted.
    let watched = ["status", "--watch"].map(str::to_owned);
    let mut shell = Command::new("sh");
    let line = format!("{} {} | head -n 6", e2e::plugin().display(), watched.join(" "));
    shell.args(["-c", &line]).env("KUBECONFIG", scene.lab.kubeconfig());
    let seen = run(shell).expect_code(0).stdout;
    assert!(seen.contains("3 of 3 members healthy"), "{seen}");
    let mut running = Running::start(scene.plugin(&["status", "--watch", "-v", "6"]));
    running.wait_for("requesting");
    running.signal("INT");
    assert_eq!(running.end().0.code(), Some(130));

    // What gives orders makes no pod either.
    leadership(&scene);
    membership(&scene);
    scene.assert_nothing_left();
}

/// The name of the leader, as a list of members has it.
#[track_caller]
fn leader(list: &Value) -> String {
    let mut members = list["members"].as_array().expect("members").iter();
    let leader = members.find(|member| member["role"] == "leader").unwrap_or_else(|| panic!("{list}"));
    leader["name"].as_str().expect("a name").to_owned()
}

/// Defragments all members, and asserts that the leader was the last one and gave its leadership away.
#[track_caller]
fn defragment(scene: &Scene, first: &str) {
    let done = scene.ok(&["defrag", "--threshold", "0", "-o", "json"]).json();
    let members = done["members"].as_array().expect("members");
    assert!(members.len() == 3 && members.iter().all(|member| member["freed"].is_u64()), "{done}");
    let last = members.iter().find(|member| member["order"] == 3).expect("the last one");
    assert_eq!((&last["name"], &done["leaderMoves"][0]["from"]), (&first.into(), &first.into()), "{done}");
    assert_eq!(done["leaderMoves"].as_array().map(Vec::len), Some(1));
}

/// The leadership goes where it is told.
fn leadership(scene: &Scene) {
    let first = leader(&scene.ok(&["member", "list", "-o", "json"]).json());
    let next = scene.lab.node_names().into_iter().find(|name| *name != first).expect("another");
    let moved = scene.ok(&["member", "move-leader", &next, "-o", "json"]).json();
    assert_eq!((&moved["changed"], leader(&moved)), (&true.into(), next.clone()));
    assert_eq!(scene.ok(&["compact", "-o", "json"]).json()["state"], "compacted");
    defragment(scene, &next);
}

/// A member goes for good, and comes back as a learner that becomes a voter.
fn membership(scene: &Scene) {
    run(scene.plugin(&["member", "remove"])).expect_code(2).expect_error(&["name the member"]);
    let unconfirmed = run(scene.plugin(&["member", "remove", "cp3"])).expect_code(4);
    unconfirmed.expect_error(&["confirmation required", "--confirm cp3", "nothing was changed"]);
    let removed = scene.ok(&["member", "remove", "cp3", "--confirm", "cp3"]);
    assert!(
        removed.stdout.contains("2 voter(s) are left") && removed.stdout.contains("kubeadm reset"),
        "{}",
        removed.stdout
    );
    assert_eq!(scene.ok(&["member", "list", "-o", "name"]).stdout, "cp1\ncp2\n");

    let url = format!("--peer-urls=https://{}:2380", scene.lab.node_ip("cp3"));
    let data = scene.lab.node_root("cp3").join("var/lib/etcd/member");
    until("the old data is gone", || std::fs::remove_dir_all(&data).is_ok() || !data.exists());
    let added = scene.lab.etcdctl("cp1", &["member", "add", "cp3", "--learner", &url]).unwrap();
    assert!(added.status.success(), "{added:?}");
    let mut list = Value::Null;
    until("the learner is promoted", || {
        let ran = run(scene.plugin(&["member", "promote", "cp3", "-o", "json"]));
        // Until it has started it has no name, and until it has caught up it is refused.
        assert!(matches!(ran.status.code(), Some(0 | 1 | 4)), "{ran:?}");
        let promoted = ran.status.success();
        if promoted {
            list = ran.json();
        }
        promoted
    });
    let voters = list["members"].as_array().expect("members").iter().filter(|one| one["learner"] == false);
    assert_eq!((voters.count(), &member(&list, "cp3")["status"]), (3, &"healthy".into()), "{list}");
}

#[test]
fn a_node_without_power_is_told_and_not_waited_for() {
    let scene = Scene::new(3, Etcd::V3_5);
    scene.lab.power_off("cp3").unwrap();
    let degraded = |args: &[&str]| run(scene.plugin(&[&["status", "--exit-code"], args].concat())).expect_code(6);
    // The API notices only after a while, and a member that does not answer is given up before.
    let said = degraded(&["-o", "json"]).json();
    assert!(member(&said, "cp3")["error"].is_string(), "{said}");
    assert_eq!((&member(&said, "cp1")["error"], &said["degraded"]), (&Value::Null, &true.into()));
    let table = degraded(&[]);
    assert!(table.stdout.ends_with("2 of 3 members healthy; can lose none\n"), "{}", table.stdout);
    table.expect_error(&["Warning: member cp3 on node cp3: "]);
    scene.ok(&["status"]);
    // Who asks about another member is not told of this one by the exit code.
    scene.ok(&["status", "--exit-code", "--node", "cp1"]);

    // The others are needed as they are; the one that is down may go.
    let defrag = run(scene.plugin(&["defrag", "--threshold", "0"])).expect_code(4);
    defrag.expect_error(&["the cluster needs it for its quorum", "member cp3 does not answer", "nothing was changed"]);
    let removed = scene.ok(&["member", "remove", "cp3", "--confirm", "cp3", "-o", "json"]).json();
    let names: Vec<&Value> = removed["members"].as_array().expect("members").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["cp1", "cp2"], "{removed}");
    assert!(scene.sidecars().is_empty());
}

fn as_user(scene: &Scene, user: &str, args: &[&str]) -> Ran {
    let mut command = scene.plugin(args);
    command.env("KUBECONFIG", scene.lab.kubeconfig_for(user, &[]).expect("a kubeconfig"));
    run(command)
}

/// Rights of a user in a namespace; each a list of resources and of verbs.
fn grant(scene: &Scene, user: &str, namespace: &str, rules: &[(&str, &str)]) {
    let rules: String = rules
        .iter()
        .map(|(resources, verbs)| format!("- {{apiGroups: [\"\"], resources: [{resources}], verbs: [{verbs}]}}\n"))
        .collect();
    scene.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {user}, namespace: {namespace}}}\nrules:\n{rules}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {user}, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {user}}}\n\
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]\n"
    ));
}

#[test]
fn rights_decide_how_members_are_asked() {
    let scene = Scene::new(1, Etcd::V3_5);
    // The Role of docs/RBAC.md.
    let all = [("pods", "get, list"), ("pods/exec", "get, create"), ("pods/portforward", "get, create")];
    grant(&scene, "reader", "kube-system", &all);
    let said = as_user(&scene, "reader", &["status", "-o", "json"]).expect_code(0).json();
    let cp1 = member(&said, "cp1");
    assert_eq!((&cp1["via"], cp1["servedCertificate"]["notAfter"].is_string()), (&"pod".into(), true), "{cp1}");

    // Without a right to forward ports the certificate is not known, and nothing else is lost.
    grant(&scene, "execs", "kube-system", &all[..2]);
    let ran = as_user(&scene, "execs", &["status"]).expect_code(0);
    ran.expect_error(&[
        "member cp1 on node cp1: certificate https://127.0.0.1:2379: it is not known: no right to create pods/portforward",
    ]);

    // Without a right to exec there, by a pod of a namespace that the user may use.
    let text = "kind: Namespace\napiVersion: v1\nmetadata: {name: tools}\n";
    scene.apply(text);
    grant(&scene, "elsewhere", "kube-system", &all[..1]);
    grant(&scene, "elsewhere", "tools", &[("pods", "get, list, create, delete"), ("pods/exec", "get, create")]);
    let ran = as_user(&scene, "elsewhere", &["status", "--pod-namespace", "tools", "-o", "json"]).expect_code(0);
    let said = ran.json();
    assert_eq!(
        (&member(&said, "cp1")["via"], &member(&said, "cp1")["certificateFilesRead"]),
        (&"sidecar".into(), &true.into())
    );
    ran.expect_error(&["asking by pods on the nodes: no right to exec in pods of namespace kube-system"]);

    // And with none of these it is said which are missing.
    let ran = as_user(&scene, "elsewhere", &["status"]).expect_code(1);
    ran.expect_error(&[
        "no right to exec in pods of namespace kube-system",
        "no right to create nodes/proxy",
        "kind: Role",
    ]);
    let ran = as_user(&scene, "elsewhere", &["alarms"]).expect_code(4);
    ran.expect_error(&[
        "no member can be asked",
        "no right to exec in pods of namespace kube-system",
        "nothing was changed",
        "kubectl auth can-i create nodes --subresource=proxy",
    ]);
    assert!(scene.sidecars().is_empty());
}

/// Fills etcd, and deletes the mirror pods of some members, which cannot come back.
fn full(scene: &Scene, without_mirror: &[&str]) {
    let manifest = scene.lab.node_root("cp2").join("etc/kubernetes/manifests/etcd.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let data = text.lines().find(|line| line.contains("--data-dir=")).unwrap();
    std::fs::write(&manifest, text.replace(data, &format!("{data}\n    - --quota-backend-bytes=65536"))).unwrap();
    until("the alarm is raised", || {
        let _refused = scene.lab.etcdctl("cp2", &["put", "/some/key", &"x".repeat(10_000)]).unwrap();
        let listed = scene.lab.etcdctl("cp2", &["alarm", "list"]).unwrap();
        String::from_utf8_lossy(&listed.stdout).contains("NOSPACE")
    });
    for node in without_mirror {
        delete_mirror(scene, node);
    }
}

/// etcd takes deletions when it is full.
fn delete_mirror(scene: &Scene, node: &str) {
    let pod = format!("etcd-{node}");
    let key = format!("/registry/pods/kube-system/{pod}");
    let deleted = scene.lab.etcdctl("cp1", &["del", &key]).unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
    until("the mirror pod is gone", || {
        run(scene.kubectl(&["get", "pod", "-n", "kube-system", "--ignore-not-found", "-o", "name", &pod]))
            .stdout
            .is_empty()
    });
}

#[test]
fn a_full_etcd_without_mirror_pods_is_asked_by_the_kubelets() {
    let mut scene = Scene::new(3, Etcd::V3_5);
    full(&scene, &["cp2"]);
    scene.accept_nodes();
    let said = status(&scene);
    let via: Vec<&Value> = scene.lab.node_names().iter().map(|node| &member(&said, node)["via"]).collect();
    assert_eq!(via, ["pod", "kubelet", "pod"], "{said}");
    assert_eq!((&member(&said, "cp2")["alarms"], &said["degraded"]), (&json!(["NOSPACE"]), &true.into()));

    // Named by its node, it is found there, too.
    let named = scene.ok(&["status", "-o", "json", "--node", "cp2"]).json();
    assert_eq!(member(&named, "cp2")["via"], "kubelet", "{named}");

    for node in ["cp1", "cp3"] {
        delete_mirror(&scene, node);
    }
    let ran = run(scene.plugin(&["status", "--exit-code", "-o", "wide"])).expect_code(6);
    assert_eq!(ran.stdout.matches("   kubelet").count(), 3, "{}", ran.stdout);
    ran.expect_error(&["member cp2 on node cp2 has raised the alarm NOSPACE", "etcd is full", "kubectl etcd defrag"]);
    // Members are defragmented by the kubelets, too; the alarm stays as long as one is larger than its quota.
    run(scene.plugin(&["alarms", "disarm"]))
        .expect_code(4)
        .expect_error(&["there is no room yet", "nothing was changed"]);
    scene.ok(&["compact", "--physical"]);
    let ran = run(scene.plugin(&["defrag", "--threshold", "0%", "-o", "json"])).expect_code(5);
    let done = ran.json();
    let members = done["members"].as_array().expect("members");
    assert!(members.iter().all(|member| member["freed"].is_u64()) && done["disarmed"] == false, "{done}");
    ran.expect_error(&["the alarm NOSPACE stays", "the database of member cp2 has", "defragmented: "]);

    // What needs a pod says that it cannot be made, and not that etcd is elsewhere.
    let backup = run(scene.plugin(&["backup", "a.db"])).expect_code(1);
    assert!(!backup.stderr.contains("external etcd"), "{}", backup.stderr);
    backup.expect_error(&["database space exceeded"]);
    // A user without the right to ask kubelets hears of it.
    scene.lab.set_faults(&json!({"deny": [{"verb": "get", "resource": "nodes/proxy"}]})).unwrap();
    let ran = run(scene.plugin(&["status"])).expect_code(4);
    assert!(!ran.stderr.contains("external etcd"), "{}", ran.stderr);
    ran.expect_error(&["no right to get nodes/proxy"]);
    scene.assert_nothing_left();
}

#[test]
fn an_etcd_that_is_stopped_is_told_from_one_that_is_not_asked() {
    let scene = Scene::new(3, Etcd::V3_4);
    defragment(&scene, &leader(&scene.ok(&["member", "list", "-o", "json"]).json()));
    let kubelet = scene.lab.init("cp3").unwrap();
    signal(kubelet, "STOP");
    let ran = run(scene.plugin(&["status", "--exit-code"]));
    signal(kubelet, "CONT");
    let ran = ran.expect_code(6);
    assert!(ran.stdout.contains("2 of 3 members healthy; can lose none"), "{}", ran.stdout);
}
