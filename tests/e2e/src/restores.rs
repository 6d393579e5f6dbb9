//! What the tests of restores share: a cluster whose state tells which of two it is in, the nodes' journals, and the proof that
//! all of it is in one of the two.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Etcd, Options};
use serde_json::Value;

use crate::trouble::{etcdctl, processes, signal};
use crate::{Ran, Running, Scene, names, run, until, until_within};

/// The name that the lab's kubeconfig gives the cluster.
pub const CLUSTER: &str = "lab";

/// How long a restore may take that waits for nodes which do not come back.
const LONG: Duration = Duration::from_secs(300);

/// Which of its two states the cluster is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As before the restore.
    Old,
    /// As in the snapshot.
    New,
}

/// A lab with a backup, `a.db`, and objects that tell whether it is in place: `goes` is in it and was deleted since, `comes` was made
/// since, `changes` was changed from 1 to 2.
pub fn stage(nodes: u8, etcd: Etcd) -> Scene {
    stage_with(Options { nodes, etcd, ..Options::default() })
}

/// As [`stage`], with options.
pub fn stage_with(options: Options) -> Scene {
    let mut scene = Scene::with(options);
    for name in ["goes", "changes", "stays"] {
        make(&scene, name, "1");
    }
    scene.ok(&["backup", "a.db", "-q"]);
    age(&scene);
    scene.accept_nodes();
    scene
}

/// Makes the cluster another than that of the snapshot.
pub fn age(scene: &Scene) {
    run(scene.kubectl(&["delete", "configmap", "goes"])).expect_code(0);
    let patch = ["patch", "configmap", "changes", "--type", "merge", "-p", r#"{"data":{"v":"2"}}"#];
    run(scene.kubectl(&patch)).expect_code(0);
    make(scene, "comes", "1");
}

/// Makes a config map.
pub fn make(scene: &Scene, name: &str, value: &str) {
    scene.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"default"}},"data":{{"v":"{value}"}}}}"#
    ));
}

/// The resource version of an object that is written now.
#[track_caller]
pub fn version(scene: &Scene) -> i64 {
    make(scene, "now", "1");
    let listed = run(scene.kubectl(&["get", "configmap", "now", "-o", "json"])).expect_code(0).json();
    run(scene.kubectl(&["delete", "configmap", "now"])).expect_code(0);
    listed["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).expect("a version")
}

/// A restore of `a.db`, confirmed.
pub fn restore(scene: &Scene, flags: &[&str]) -> Command {
    scene.plugin(&[&["restore", "a.db", "--confirm", CLUSTER], flags].concat())
}

/// The config maps that a node's own API server serves, with their values.
fn config_maps(scene: &Scene, node: &str) -> Option<Vec<(String, String)>> {
    let server = format!("https://{}:6443", scene.lab.node_ip(node));
    let listed = run(scene.kubectl(&["--server", &server, "get", "configmaps", "-o", "json", "--request-timeout=5s"]));
    // kubectl prints an empty list, and exits with 1, where the API server ends before its answer.
    let list: Value = listed.status.success().then(|| serde_json::from_str(&listed.stdout).ok())??;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array()?;
    Some(items.iter().map(|one| (text(&one["metadata"]["name"]), text(&one["data"]["v"]))).collect())
}

/// Asserts that every node serves the same one of the two states, that the members are one cluster and agree on every key, that the cluster
/// takes writes, that every static pod is where it was, and that nothing of the restore runs any more. Says which state it is.
#[track_caller]
pub fn settled(scene: &Scene) -> State {
    settled_on(scene, &scene.lab.node_names())
}

/// As [`settled`], of some nodes only.
#[track_caller]
pub fn settled_on(scene: &Scene, nodes: &[String]) -> State {
    let mut states = Vec::new();
    for node in nodes {
        let mut maps = None;
        until("every API server serves", || {
            maps = config_maps(scene, node);
            maps.is_some()
        });
        let maps = maps.unwrap_or_default();
        let has = |name: &str, value: &str| maps.iter().any(|one| one.0 == name && one.1 == value);
        states.push(match (has("goes", "1"), has("changes", "1"), has("changes", "2"), has("comes", "1")) {
            (true, true, false, false) => State::New,
            (false, false, true, true) => State::Old,
            _ => panic!("node {node} is in neither state: {maps:?}"),
        });
    }
    assert!(states.iter().all(|state| *state == states[0]), "the nodes are in different states: {states:?}");
    agree_on(scene, nodes);
    let mark = "mark";
    make(scene, mark, "1");
    run(scene.kubectl(&["delete", "configmap", mark])).expect_code(0);
    until("the participants are gone", || nodes.iter().all(|node| participants(scene, node).is_empty()));
    let expected = ["etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"];
    for node in nodes {
        let kubernetes = scene.lab.node_root(node).join("etc/kubernetes");
        let own = |name: &String| expected.contains(&name.as_str()) || name.starts_with("own-");
        let manifests = names(&kubernetes.join("manifests"));
        assert!(
            manifests.iter().filter(|name| expected.contains(&name.as_str())).count() == 4,
            "{node}: {manifests:?}"
        );
        assert!(manifests.iter().all(own), "{node}: {manifests:?}");
        let held: Vec<String> = names(&kubernetes).into_iter().filter(|name| name.contains("kubectl-etcd")).collect();
        let inside: Vec<_> = held.iter().map(|name| names(&kubernetes.join(name))).collect();
        assert!(held.is_empty(), "{node} still holds {held:?}: {inside:?}, {:?}", journal(scene, node));
    }
    until("the controllers run", || {
        nodes.iter().all(|node| {
            ["kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd"]
                .iter()
                .all(|program| processes(&scene.lab, node, &[program]).len() == 1)
        })
    });
    states[0]
}

/// Asserts that all members are of one cluster and that their keys hash alike at one revision.
#[track_caller]
pub fn agree(scene: &Scene) {
    agree_on(scene, &scene.lab.node_names());
}

/// As [`agree`], of the members on some nodes.
#[track_caller]
fn agree_on(scene: &Scene, nodes: &[String]) {
    let ask = |node: &String, args: &[&str]| -> Option<Value> {
        let answer = run(etcdctl(&scene.lab, node, args));
        serde_json::from_str::<Value>(&answer.stdout).ok()?.as_array()?.first().cloned()
    };
    let mut said = Vec::new();
    until("all members agree", || {
        said.clear();
        let status: Vec<Value> =
            nodes.iter().filter_map(|node| ask(node, &["endpoint", "status", "-w", "json"])).collect();
        let headers: Vec<&Value> = status.iter().map(|one| &one["Status"]["header"]).collect();
        let Some(revision) = headers.iter().filter_map(|header| header["revision"].as_i64()).min() else {
            return false;
        };
        let revision = revision.to_string();
        let hashes =
            nodes.iter().filter_map(|node| ask(node, &["endpoint", "hashkv", "--rev", &revision, "-w", "json"]));
        let hashes: Vec<Value> = hashes.map(|one| one["HashKV"]["hash"].clone()).collect();
        said.extend(headers.iter().map(|header| header["cluster_id"].to_string()));
        said.extend(hashes.iter().map(ToString::to_string));
        let same = |all: &[String]| all.len() == nodes.len() && all.iter().all(|one| *one == all[0] && one != "null");
        said.len() == 2 * nodes.len() && same(&said[..nodes.len()]) && same(&said[nodes.len()..])
    });
}

/// The participants that run on a node, by their process ids on this machine.
pub fn participants(scene: &Scene, node: &str) -> Vec<u32> {
    let takes_part = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        let program = words.next().and_then(|program| program.rsplit(|&byte| byte == b'/').next());
        program.is_some_and(|program| program.starts_with(b"etcd-sidecar")) && words.next() == Some(b"participate")
    };
    processes(&scene.lab, node, &[]).into_iter().filter(takes_part).collect()
}

/// `etcd-sidecar restore` with these flags in the container of a node's participant, as `crictl exec` runs it: no API server takes part.
pub fn on_node(scene: &Scene, node: &str, flags: &[&str]) -> Command {
    let participant = participants(scene, node).first().copied().expect("a participant runs");
    let mut command = Command::new("nsenter");
    command.args(["--target", &participant.to_string(), "--mount", "--net", "--pid", "--root", "--wd", "--"]);
    command.args(["/etcd-sidecar", "restore"]).args(flags);
    command
}

/// The journal of a node's newest restore.
pub fn journal_file(scene: &Scene, node: &str) -> Option<PathBuf> {
    let folder = scene.lab.node_root(node).join("var/lib/kubectl-etcd");
    let entries = std::fs::read_dir(&folder).ok()?.flatten();
    let newest = entries.map(|entry| entry.path()).filter(|path| path.join("journal").exists()).max()?;
    Some(newest.join("journal"))
}

/// The entries of a node's newest journal, as short words: `staged`, `armed`, `swap`, `swap done`, `abort`, `restored`.
pub fn journal(scene: &Scene, node: &str) -> Vec<String> {
    let text = journal_file(scene, node).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(9..)?).ok());
    let words = entries.map(|entry| {
        let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        match entry["entry"].as_str().unwrap_or_default() {
            "step" if entry["done"] == true => format!("{} done", field("step")),
            "step" => field("step"),
            // A node that votes no rolls back at once, whatever the others have voted.
            "vote" if entry["yes"] == true => "yes".to_owned(),
            "vote" => "abort".to_owned(),
            "decided" => field("decision"),
            "ended" => field("ending"),
            "note" => field("text"),
            other => other.to_owned(),
        }
    });
    words.collect()
}

/// Kills a node's participant as soon as its journal has an entry; one that is through may have ended by then. One that leaves for that of another
/// restore may be gone: then the next one is killed.
#[track_caller]
pub fn kill_at(scene: &Scene, node: &str, entry: &str) {
    let killed = |pid: &u32| {
        let mut kill = Command::new("kill");
        kill.args(["-s", "KILL", &pid.to_string()]);
        run(kill).status.success()
    };
    reached(scene, node, entry);
    until("a participant is killed, or was through", || {
        participants(scene, node).iter().filter(|pid| killed(pid)).count() > 0
            || journal(scene, node).iter().any(|entry| entry == "restored")
    });
}

/// Waits until the journal of a restore that began after this was called has an entry; looks often, to be there in time.
#[track_caller]
pub fn reached(scene: &Scene, node: &str, entry: &str) {
    let deadline = Instant::now() + crate::PATIENCE;
    while !journal(scene, node).iter().any(|one| one == entry) {
        assert!(Instant::now() < deadline, "{node} never reached {entry}: {:?}", journal(scene, node));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As [`crate::until_within`], for a restore: a test that waits too long shows the journals of all nodes.
#[track_caller]
pub fn journals_until(scene: &Scene, what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() >= deadline {
            let journals =
                scene.lab.node_names().into_iter().map(|node| format!("\n{node}: {:?}", journal(scene, &node)));
            panic!("waited too long until {what}{}", journals.collect::<String>());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets the disk of a node hang once its journal has an entry. Its participant is stopped while the disk begins to hang, which takes its time on
/// a machine with much to do. The node may have begun the next step all the same.
#[track_caller]
pub fn hang_disk_at(scene: &Scene, node: &str, entry: &str) {
    reached(scene, node, "armed");
    let participants = participants(scene, node);
    reached(scene, node, entry);
    participants.iter().for_each(|&pid| signal(pid, "STOP"));
    scene.lab.freeze_disk(node).expect("the disk hangs");
    participants.iter().for_each(|&pid| signal(pid, "CONT"));
}

/// Whether a node knows how a restore is decided.
pub fn decided(scene: &Scene, node: &str) -> bool {
    journal(scene, node).iter().any(|entry| entry == "abort" || entry == "commit")
}

/// Keeps the API servers of nodes from starting again until that is the case on each of them.
#[track_caller]
pub fn spoil_api_servers(scene: &Scene, nodes: &[&str], until_all: impl Fn(&str) -> bool) {
    let key = |node: &str| scene.lab.node_root(node).join("etc/kubernetes/pki/apiserver.key");
    for node in nodes {
        reached(scene, node, "stopApi done");
        std::fs::rename(key(node), key(node).with_extension("away")).expect("the key is taken away");
    }
    until_within("API servers are late", LONG, || nodes.iter().all(|node| until_all(node)));
    for node in nodes {
        std::fs::rename(key(node).with_extension("away"), key(node)).expect("the key is put back");
    }
}

/// Whether the API server of a node was not ready in time on the new data.
pub fn is_late(scene: &Scene, node: &str) -> bool {
    journal(scene, node).iter().any(|entry| entry.contains("the API server was started and is not ready yet"))
}

/// Whether the newest journal of a node is that of a rollback that the nodes have begun by themselves.
pub fn rolls_back_by_itself(scene: &Scene, node: &str) -> bool {
    let id = journal_file(scene, node).and_then(|file| Some(file.parent()?.file_name()?.to_owned()));
    id.is_some_and(|id| id.to_string_lossy().ends_with("-r"))
}

/// Spoils the new data of a node that is armed: its etcd will not take it.
#[track_caller]
pub fn spoil_new_data(scene: &Scene, node: &str) {
    reached(scene, node, "armed");
    let file = journal_file(scene, node).expect("a journal");
    let id = file.parent().and_then(|folder| folder.file_name()).expect("an id").to_owned();
    let data = scene.lab.node_root(node).join("var/lib/etcd/.kubectl-etcd").join(id);
    std::fs::write(data.join("new/member/snap/db"), "no database").expect("the new data is spoilt");
}

/// Runs a restore to its end while something happens to it.
#[track_caller]
pub fn during(scene: &Scene, flags: &[&str], trouble: impl FnOnce(&Running)) -> Ran {
    let before: Vec<_> = scene.lab.node_names().iter().map(|node| journal_file(scene, node)).collect();
    let mut running = Running::start(restore(scene, flags));
    until("a restore begins, or the plugin ends", || {
        let nodes = scene.lab.node_names();
        let now = nodes.iter().map(|node| journal_file(scene, node));
        now.zip(&before).all(|(now, before)| now.is_some() && now != *before) || !running.runs()
    });
    if !running.runs() {
        let (status, said) = running.end();
        panic!("the restore never began: {status}\n{said}");
    }
    trouble(&running);
    let (status, stderr) = running.end_within(LONG);
    Ran { status, stdout: String::new(), stderr, bytes: Vec::new() }
}
