//! `status`: no pod is made and nothing is written, whichever way the members are asked.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use e2e::ssh::OverSsh;
use e2e::trouble::{processes, signal};
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
    let ran = run(scene.plugin(&["status", "--exit-code"])).expect_code(6);
    assert!(ran.stdout.contains("2 of 3 members healthy; can lose none"), "{}", ran.stdout);

    // No API server, and no kubelet that could run a pod: what is left is SSH.
    for node in scene.lab.node_names() {
        signal(scene.lab.init(&node).unwrap(), "STOP");
        for pid in processes(&scene.lab, &node, &["kube-apiserver"]) {
            signal(pid, "KILL");
        }
    }
    over_ssh(&scene);
    for node in scene.lab.node_names() {
        signal(scene.lab.init(&node).unwrap(), "CONT");
    }
}

/// The commands over SSH, on a cluster of three whose API servers are dead.
fn over_ssh(scene: &Scene) {
    let ran = run(scene.plugin(&["status", "--request-timeout", "3s"])).expect_code(1);
    ran.expect_error(&["kubectl etcd status --ssh --nodes ", "kubectl etcd backup --ssh --nodes "]);
    let ssh = OverSsh::start(&scene.lab);
    let go = |words: &[String]| run(ssh.plugin(scene, words));
    let nothing_left = || ssh.assert_nothing_on_nodes(&scene.lab);

    let said = go(&ssh.flags("root", &["status", "-o", "json"])).expect_code(0).json();
    for node in scene.lab.node_names() {
        let member = member(&said, &node);
        assert_eq!((&member["via"], &member["error"]), (&"sidecar".into(), &Value::Null), "{member}");
        assert_eq!(member["certificateFilesRead"], true);
    }
    assert_eq!(said["clusters"][0]["quorum"], true, "{said}");
    nothing_left();

    // What a cluster without quorum would be recovered from. This one has a quorum, which is told.
    let ran = go(&ssh.flags("root", &["recover", "-o", "json"])).expect_code(0);
    let said = ran.expect_error(&["etcd runs on 3 of 3 nodes, which may be a quorum"]).json();
    assert_eq!(said["members"].as_array().map(Vec::len), Some(3), "{said}");
    assert_eq!(said["quorum"]["running"], 3, "{said}");
    for one in said["nodes"].as_array().unwrap() {
        assert_eq!((&one["survey"]["etcd"][0]["state"], &one["error"]), (&"running".into(), &Value::Null), "{one}");
    }
    let ran = go(&ssh.flags("root", &["recover"])).expect_code(0);
    assert!(ran.stdout.contains("has the most"), "{}", ran.stdout);
    nothing_left();

    let named = |nodes: &[&str]| {
        nodes.iter().map(|node| format!("{node}={}", scene.lab.node_ip(node))).collect::<Vec<_>>().join(",")
    };

    // To a file, whose record leads to the nodes from then on; and to a store.
    let ran = go(&ssh.flags(lab::OPERATOR, &["backup", "a.db"])).expect_code(0);
    ran.expect_error(&["cannot check that this is a snapshot of cluster cp1: with --ssh no API server is asked"]);
    let record: Value = serde_json::from_slice(&std::fs::read(scene.path("a.db.json")).unwrap()).unwrap();
    let uid = record["cluster"]["kubeSystemUid"].as_str().expect("the UID in the snapshot").to_owned();
    scene.ok(&["verify", "a.db"]);
    let plan = scene.path("a.db.json").display().to_string();
    let by_plan = |args: &[&str]| go(&ssh.flags_with("root", &["--plan", &plan], args));
    let said = by_plan(&["verify", "a.db", "--live", "-o", "json"]).expect_code(0).json();
    let equal = said["live"].as_array().unwrap().iter().filter(|one| one["result"] == "equal");
    assert_eq!(equal.count(), 3, "{said}");
    let store = format!("file://{}", scene.path("store").display());
    std::fs::create_dir(scene.path("store")).unwrap();
    by_plan(&["backup", "--store", &store, "--no-encryption", "--node", "cp2"]).expect_code(0);
    let latest = format!("{store}/latest");
    let said = scene.ok(&["verify", &latest, "-o", "json"]).stdout;
    assert!(scene.path("store").join("v1").join(&uid).is_dir(), "{said}");
    // Its record leads to the nodes as well, for what needs it most.
    let by_store = |args: &[&str]| go(&ssh.flags_with("root", &["--plan", &latest], args));
    let ran = by_store(&["recover", "-o", "json"]).expect_code(0);
    let members = ran.json()["members"].as_array().map(Vec::len);
    assert_eq!(members, Some(3), "{}", ran.stdout);
    // The backup has looked at one node, and etcd has told of the others.
    ran.expect_error(&[
        "the plan of backup ",
        &named(&["cp1"]),
        &named(&["cp2"]),
        &named(&["cp3"]),
        "--trust-key FILE",
    ]);
    by_store(&["recover", "--trust-key", "none.pub"]).expect_code(2).expect_error(&["cannot read the trust keys"]);
    by_store(&["status"]).expect_code(2).expect_error(&["only recover reads the plan of a backup in a store"]);
    let empty = format!("{store}/none/latest");
    let ran = go(&ssh.flags_with("root", &["--plan", &empty], &["recover"])).expect_code(1);
    ran.expect_error(&["the folder does not exist"]);
    nothing_left();

    // sudo with a password, which is typed; a wrong one first. Without a terminal nobody is asked.
    let (first, two) = (named(&["cp1"]), named(&["cp1", "cp2"]));
    let go_to = |nodes: &str, user: &str, args: &[&str]| go(&ssh.flags_with(user, &["--nodes", nodes], args));
    let ran = go_to(&first, lab::ADMIN, &["status"]).expect_code(4);
    ran.expect_error(&["sudo on node cp1 asks for a password, and there is no terminal", "--ssh=root@"]);
    let by_two = ssh.flags_with(lab::ADMIN, &["--nodes", &two], &["status"]);
    let (ended, shown) = typed(ssh.plugin(scene, &by_two), &["wrong", lab::PASSWORD]);
    assert!(ended && shown.contains("2 of 3 members healthy"), "{shown}");
    assert!(shown.contains("sudo does not take this password") && !shown.contains(lab::PASSWORD), "{shown}");
    nothing_left();

    // What ssh refuses is told in its words, with what to do.
    let ran = go_to(&first, "nobody-here", &["status"]).expect_code(1);
    ran.expect_error(&["ssh does not reach node cp1", "Permission denied (publickey)", "--ssh=USER@"]);
    let known = std::fs::read_to_string(&ssh.access.known_hosts).unwrap();
    let lines: Vec<&str> = known.lines().collect();
    let key_of = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    let swapped = known.replace(&key_of(lines[1]), &key_of(lines[0]));
    std::fs::write(&ssh.access.known_hosts, swapped).unwrap();
    let ran = go_to(&two, "root", &["status"]).expect_code(0);
    ran.expect_error(&["ssh does not reach node cp2", "REMOTE HOST IDENTIFICATION HAS CHANGED"]);
    let ran = go_to(&named(&["cp2"]), "root", &["backup", "b.db"]).expect_code(1);
    ran.expect_error(&["ssh-keygen -R", "no file was written; nothing was changed on any node"]);
    std::fs::write(&ssh.access.known_hosts, known).unwrap();
    nothing_left();

    // Killed in the middle it leaves nothing either, on the node least of all.
    let watch = ssh.flags_with(lab::OPERATOR, &["--nodes", &first], &["status", "--watch", "-v", "1"]);
    let mut running = Running::start(ssh.plugin(scene, &watch));
    running.wait_for("sending the sidecar");
    until("a sidecar runs", || !ssh.sidecars(&scene.lab, "cp1").is_empty());
    running.signal("KILL");
    until("it has gone", || ssh.sidecars(&scene.lab, "cp1").is_empty());
    until("so have the files", || {
        run(ssh.on(&scene.lab, "cp1", "ls -d /run/etcd-sidecar* /var/lib/kubectl-etcd/bin")).stdout.is_empty()
    });
    nothing_left();

    // Folders that let no program run are passed over; where all are such, that is told.
    let noexec = |place: &str| {
        let line = format!("mkdir -p {place} && mount --bind {place} {place} && mount -o remount,bind,noexec {place}");
        // sshd's own mount namespace, which its sessions share.
        run(ssh.on(&scene.lab, "cp1", &line)).expect_code(0);
    };
    ["/var/lib/kubectl-etcd", "/run"].iter().for_each(|place| noexec(place));
    go_to(&first, "root", &["status"]).expect_code(0);
    noexec("/dev/shm");
    let ran = go_to(&first, "root", &["status"]).expect_code(4);
    ran.expect_error(&["no folder on node cp1 takes the sidecar and lets it run", "findmnt"]);
    nothing_left();
}

/// Runs a command on a terminal of its own, and types a line at each question. Gives whether it went well, and what the terminal showed.
fn typed(command: Command, answers: &[&str]) -> (bool, String) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"))).collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"]);
    terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.current_dir(command.get_current_dir().expect("a folder"));
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut answered, mut buffer) = (String::new(), 0, [0; 4096]);
    loop {
        let read = screen.read(&mut buffer).expect("the terminal is read");
        shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if read == 0 {
            break;
        }
        if answered < answers.len() && shown.matches("Password for sudo on node").count() > answered {
            writeln!(keyboard, "{}", answers[answered]).expect("the keyboard is there");
            answered += 1;
        }
    }
    drop(keyboard);
    (child.wait().expect("its end").success(), shown)
}
