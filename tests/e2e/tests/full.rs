//! A cluster whose etcd is full: it takes no writes, so no pod can be made, and etcd's own mirror pod is lost.

use std::process::Command;

use e2e::{Scene, run};
use lab::{Etcd, Lab, Options};

/// etcd's own words on one of its members, past the API server.
fn etcdctl(lab: &Lab, args: &[&str]) -> String {
    let output = lab.etcdctl("cp1", args).expect("etcdctl runs");
    assert!(output.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn status_of_a_full_etcd_without_a_mirror_pod_says_how_to_make_room() {
    let scene = Scene::with(Options { etcd: Etcd::V3_5, etcd_quota: Some(2_000_000), ..Options::default() });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(scene.lab.exhaust()).expect("it is full");
    runtime.block_on(scene.lab.lose_mirror("cp1")).expect("it is lost");
    let mirror = ["get", "pod", "-n", "kube-system", "etcd-cp1"];
    assert!(run(scene.kubectl(&mirror)).expect_code(1).stderr.contains("NotFound"));

    let before = etcdctl(&scene.lab, &["get", "--prefix", "/", "--keys-only"]);
    let status = run(scene.kubectl_etcd(&["status"])).expect_code(0);
    let row: Vec<&str> = status.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(row.starts_with(&["cp1", "leader"]) && row.contains(&"NOSPACE"), "{}", status.stdout);
    let json = run(scene.kubectl_etcd(&["status", "-o", "json", "--exit-code"])).expect_code(6).json();
    let member = &json["members"][0];
    assert_eq!(
        (&member["alarms"][0], &member["via"], &member["quota"]),
        (&"NOSPACE".into(), &"kubelet".into(), &2_000_000.into())
    );
    assert_eq!(etcdctl(&scene.lab, &["get", "--prefix", "/", "--keys-only"]), before, "status writes nothing");

    // Something has to go, and then what status says makes room.
    etcdctl(&scene.lab, &["del", "--prefix", "/registry/pods/filled/"]);
    etcdctl(&scene.lab, &["del", "--prefix", "/registry/secrets/filled/"]);
    let said = run(scene.kubectl_etcd(&["status"])).expect_code(0).stderr;
    let commands: Vec<&str> =
        said.lines().map(str::trim).filter(|line| line.starts_with("kubectl create --raw ")).collect();
    assert_eq!(commands.len(), 3, "{said}");
    for command in commands {
        let mut shell = Command::new("sh");
        shell.env("KUBECONFIG", scene.lab.kubeconfig()).env("HOME", scene.folder.path()).args(["-c", command]);
        run(shell).expect_code(0);
    }
    let well = run(scene.kubectl_etcd(&["status", "-o", "json", "--exit-code"])).expect_code(0).json();
    assert_eq!((&well["degraded"], &well["members"][0]["alarms"]), (&false.into(), &serde_json::json!([])));
    scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: roomy, namespace: default}\n");
}
