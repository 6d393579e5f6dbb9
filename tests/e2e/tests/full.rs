//! A cluster whose etcd is full: it takes no writes, so no pod can be made, and etcd's own mirror pod is lost; or there is no API server.

use e2e::ssh::OverSsh;
use e2e::{Scene, run, until};
use lab::{Etcd, Lab, Options};
use serde_json::{Value, json};

/// The key whose history fills etcd.
const HISTORY: &str = "/test/history";

/// etcd's own words on its member, past the API server.
fn etcdctl(lab: &Lab, args: &[&str]) -> String {
    let output = lab.etcdctl("cp1", args).expect("etcdctl runs");
    assert!(output.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// With its key and the rest of the request it takes less than the quota of these labs is above a whole number of pages.
const SMALL: usize = 900;

/// Writes a key again and again until etcd is full of its history; gives the value that the key then has.
///
/// etcd refuses a write that its database has no room for, which may have some left: small writes take that, until less is left than a page has.
fn fill_with_history(lab: &Lab) -> String {
    let (mut acknowledged, mut bytes) = (String::new(), 50_000);
    for number in 0..1000 {
        let value = format!("{number}-{}", "x".repeat(bytes));
        let put = lab.etcdctl("cp1", &["put", HISTORY, &value]).expect("etcdctl runs");
        if !put.status.success() {
            let said = String::from_utf8_lossy(&put.stderr).into_owned();
            assert!(said.contains("database space exceeded"), "{said}");
            // etcd says so of a write that it looks at before it takes it, and of one that it takes as the last.
            let kept = etcdctl(lab, &["get", "--print-value-only", HISTORY]).trim_end().to_owned();
            assert!(kept == acknowledged || kept == value, "a write that was acknowledged is there");
            if bytes == SMALL {
                return kept;
            }
            etcdctl(lab, &["alarm", "disarm"]);
            (acknowledged, bytes) = (kept, SMALL);
            continue;
        }
        acknowledged = value;
    }
    panic!("etcd takes 50 MB");
}

/// All keys with their values and revisions.
fn keys(lab: &Lab) -> String {
    etcdctl(lab, &["get", "--prefix", "/", "-w", "fields"])
}

#[test]
fn a_full_etcd_without_a_mirror_pod_is_emptied_and_no_write_is_lost() {
    let scene = Scene::with(Options { etcd: Etcd::V3_5, etcd_quota: Some(2_000_000), ..Options::default() });
    let kept = fill_with_history(&scene.lab);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(scene.lab.lose_mirror("cp1")).expect("it is lost");
    let mirror = ["get", "pod", "-n", "kube-system", "etcd-cp1"];
    assert!(run(scene.kubectl(&mirror)).expect_code(1).stderr.contains("NotFound"));

    // Looking changes nothing.
    let before = keys(&scene.lab);
    let status = run(scene.kubectl_etcd(&["status"])).expect_code(0);
    let row: Vec<&str> = status.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(row.starts_with(&["cp1", "leader"]) && row.contains(&"NOSPACE"), "{}", status.stdout);
    status.expect_error(&["etcd is full", "\n  kubectl etcd compact --physical\n  kubectl etcd defrag\n"]);
    let json = run(scene.kubectl_etcd(&["status", "-o", "json", "--exit-code"])).expect_code(6).json();
    let member = &json["members"][0];
    assert_eq!(
        (&member["alarms"][0], &member["via"], &member["quota"]),
        (&"NOSPACE".into(), &"kubelet".into(), &2_000_000.into())
    );
    let alarms = run(scene.kubectl_etcd(&["alarms", "-o", "json"])).expect_code(0).json();
    assert_eq!((&alarms["alarms"][0]["member"], &alarms["alarms"][0]["alarm"]), (&"cp1".into(), &"NOSPACE".into()));
    // What needs a pod is not known; what ails the cluster is.
    let doctor = run(scene.kubectl_etcd(&["doctor", "-o", "json", "--exit-code"])).expect_code(2).json();
    let check = |name: &str| {
        let all = doctor["checks"].as_array().expect("checks");
        all.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name}: {doctor}"))
    };
    assert_eq!(check("alarms")["severity"], "error", "{doctor}");
    assert!(check("alarms")["evidence"].to_string().contains("NOSPACE"), "{doctor}");
    let planned = run(scene.kubectl_etcd(&["compact", "--dry-run=client", "-o", "json"])).expect_code(0).json();
    let size = |report: &Value, what: &str| report["members"][0][what].as_u64().unwrap_or_else(|| panic!("{report}"));
    assert!(planned["state"] == "planned" && size(&planned, "dbSizeInUse") > 1_500_000, "{planned}");
    let future = run(scene.kubectl_etcd(&["compact", "--revision", "999999999"])).expect_code(4);
    future.expect_error(&["revision 999999999 is in the future", "nothing was changed"]);
    assert_eq!(keys(&scene.lab), before, "nothing was written");

    let compacted = run(scene.kubectl_etcd(&["compact", "--physical", "-o", "json"])).expect_code(0).json();
    assert!(compacted["state"] == "compacted" && compacted["asked"] == "cp1", "{compacted}");
    run(scene.kubectl_etcd(&["compact", "--revision", "1"])).expect_code(4).expect_error(&["is compacted already"]);

    // The only member stands still only when the user says so.
    let asked = run(scene.kubectl_etcd(&["defrag"])).expect_code(4);
    asked.expect_error(&[
        "1. defragment\n",
        "confirmation required",
        "nothing was changed",
        "kubectl etcd defrag --yes",
    ]);
    assert_eq!(keys(&scene.lab), before);
    let done = run(scene.kubectl_etcd(&["defrag", "--yes", "-o", "json"])).expect_code(0).json();
    assert!(done["disarmed"] == true && size(&done, "freed") > 1_000_000, "{done}");
    assert_eq!(done["freed"], done["members"][0]["freed"]);

    let well = run(scene.kubectl_etcd(&["status", "-o", "json"])).expect_code(0).json();
    assert_eq!(well["members"][0]["alarms"], json!([]), "{well}");
    run(scene.kubectl_etcd(&["alarms"])).expect_code(0).expect_error(&["no alarm is raised"]);
    let after = etcdctl(&scene.lab, &["get", "--print-value-only", HISTORY]);
    assert!(after.trim_end() == kept, "the last value is kept: {}", &after[..after.len().min(20)]);
    scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: roomy, namespace: default}\n");
    let again = run(scene.kubectl_etcd(&["defrag", "--threshold", "90"])).expect_code(0);
    again.expect_error(&["no member has 90% to give back", "kubectl etcd compact --physical"]);
}

/// All keys with their values and revisions, without what the answer says of its moment.
fn pairs(lab: &Lab) -> Value {
    let said: Value = serde_json::from_str(&etcdctl(lab, &["get", "--prefix", "/", "-w", "json"])).expect("JSON");
    said["kvs"].clone()
}

/// Takes every API server away.
fn stop_api_servers(scene: &Scene) {
    for node in scene.lab.node_names() {
        let manifest = scene.lab.node_root(&node).join("etc/kubernetes/manifests/kube-apiserver.yaml");
        std::fs::rename(manifest, scene.path(&format!("{node}.yaml"))).expect("a manifest");
    }
    for node in scene.lab.node_names() {
        let server = format!("https://{}:6443", scene.lab.node_ip(&node));
        let asked =
            || run(scene.kubectl(&["--server", &server, "--request-timeout", "2s", "get", "--raw", "/healthz"]));
        until("its API server is away", || !asked().status.success());
    }
}

#[test]
fn a_full_etcd_without_an_api_server_is_emptied_over_ssh_and_no_write_is_lost() {
    let options = Options { nodes: 3, etcd: Etcd::V3_5, etcd_quota: Some(2_000_000), ..Options::default() };
    let mut scene = Scene::with(options);
    for number in 0..20 {
        etcdctl(&scene.lab, &["put", &format!("/test/acknowledged/{number}"), &format!("value {number}")]);
    }
    fill_with_history(&scene.lab);
    stop_api_servers(&scene);
    let ssh = OverSsh::start(&scene.lab);
    scene.accept_nodes();
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));
    let before = pairs(&scene.lab);

    let alarms = go(&["alarms", "-o", "json"]).expect_code(0).json();
    assert_eq!(alarms["alarms"][0]["alarm"], "NOSPACE", "{alarms}");
    let refused = go(&["alarms", "disarm"]).expect_code(4);
    let refused = refused.expect_error(&["the alarm NOSPACE stays: there is no room yet", "nothing was changed"]);
    let compact = refused.stderr.lines().find(|line| line.starts_with("  kubectl etcd compact --physical "));
    assert!(compact.is_some_and(|line| line.contains(" --ssh=root@ ")), "{}", refused.stderr);
    let listed = go(&["member", "list", "-o", "json"]).expect_code(0).json();
    let members = listed["members"].as_array().expect("members");
    let leader = members.iter().find(|one| one["role"] == "leader").expect("a leader")["name"].clone();
    assert!(
        members.len() == 3 && members.iter().all(|one| one["status"] == "full" || one["status"] == "healthy"),
        "{listed}"
    );

    let compacted = go(&["compact", "--physical", "-o", "json"]).expect_code(0).json();
    assert!(compacted["state"] == "compacted" && compacted["asked"] != leader, "{compacted}");
    let done = go(&["defrag", "-o", "json"]).expect_code(0).json();
    assert!(done["disarmed"] == true && done["freed"].as_u64() > Some(3_000_000), "{done}");
    let moves = done["leaderMoves"].as_array().expect("moves");
    assert!(moves.len() == 1 && moves[0]["from"] == leader, "{done}");
    let last = done["members"].as_array().expect("members").iter().find(|one| one["order"] == 3).expect("a last one");
    assert_eq!(last["name"], leader, "the leader comes last: {done}");
    go(&["alarms", "disarm"]).expect_code(0).expect_error(&["no alarm is raised"]);

    assert_eq!(pairs(&scene.lab), before, "every write that was acknowledged is there, and no other");
    etcdctl(&scene.lab, &["put", "/test/after", "1"]);
    ssh.assert_nothing_on_nodes(&scene.lab);
    scene.assert_nodes_untouched();
}
