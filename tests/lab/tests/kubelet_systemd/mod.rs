//! Pods that mount the node's whole file tree, chroot there and speak with its service manager.

use serde_json::json;

use crate::PODS;
use crate::kubelet_support::{Admin, pod, start, wait};

#[tokio::test]
async fn a_pod_with_the_nodes_tree_stops_a_unit_by_the_nodes_own_systemctl() {
    let lab = start();
    let root = lab.node_root("cp1");
    std::fs::create_dir_all(root.join("etc/systemd/system")).expect("a folder");
    std::fs::write(root.join("etc/systemd/system/a.service"), "[Service]\nExecStart=/bin/sleep 1000\n")
        .expect("a unit");
    lab.systemd("cp1").expect("a service manager");
    let show = "show a --property=ActiveState";
    let drop_in = "etc/systemd/system/a.service.d";
    let script = format!(
        "systemctl() {{ busybox chroot /host /usr/bin/systemctl \"$@\"; echo \"= $?\"; }}; {{ \
         systemctl start a; systemctl {show}; busybox mkdir /host/{drop_in}; \
         echo '[Unit]\nConditionPathExists=/run/go' >/host/{drop_in}/hold.conf; systemctl daemon-reload; \
         systemctl restart a; systemctl {show}; : >/host/run/go; systemctl start a; systemctl {show}; \
         }} >/host/var/lib/kubectl-etcd/said.part 2>&1; busybox mv /host/var/lib/kubectl-etcd/said.part /host/var/lib/kubectl-etcd/said"
    );
    let mut pod = pod("chroots");
    pod["spec"]["volumes"] = json!([{ "name": "host", "hostPath": { "path": "/", "type": "Directory" } }]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "host", "mountPath": "/host" }]);
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    assert_eq!(Admin::new(&lab).send("POST", PODS, &pod).await.0, 201);
    let said = root.join("var/lib/kubectl-etcd/said");
    wait("the pod's word", async || said.exists()).await;
    let want = "= 0\nActiveState=active\n= 0\n= 0\n= 0\nActiveState=inactive\n= 0\n= 0\nActiveState=active\n= 0\n";
    assert_eq!(std::fs::read_to_string(said).expect("text"), want);
    assert!(!root.join("run/go").exists(), "the node's /run is mounted on the node alone");
    assert!(lab.inside("cp1", "/run/go").expect("the node runs").exists());
    lab.stop().expect("the lab goes away");
}
