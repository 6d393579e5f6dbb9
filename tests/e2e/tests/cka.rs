//! The practice for the CKA: both tasks are done in its shell, by hand and with the plugin, and its check is asked before and after.

use std::io::Write;
use std::process::{Command, Stdio};

use e2e::{Ran, image, plugin, workspace};

/// Types lines into the shell of the practice.
#[track_caller]
fn practise(lines: &str) -> Ran {
    let lab = std::env::var_os("LAB_BIN").map_or_else(|| workspace().join("target/debug/lab"), Into::into);
    let mut command = Command::new(workspace().join("tests/lab/cka"));
    command.env("LAB_BIN", lab).env("LAB_IMAGE", image()).env("KUBECTL_ETCD_BIN", plugin());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the practice starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("the lines are typed");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr), bytes: output.stdout }
}

/// What the check said, and how it ended, each time that it was asked.
fn checks(ran: &Ran) -> Vec<String> {
    let lines = ran.stdout.lines().filter(|line| line.starts_with("task ") || line.starts_with("ended "));
    lines.map(str::to_owned).collect()
}

const CHECK: &str = "check; echo ended $?\n";
/// The kubelet and the API server take their time; the last one is shown.
const IN_THE_END: &str = "for i in $(seq 120); do check >/dev/null && break; sleep 1; done\n";
const PRICES: &str = "task 2: missing: ConfigMap prices is not in namespace shop";

#[test]
fn the_tasks_are_done_by_hand() {
    let save = "etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \
        --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key \
        snapshot save /opt/backup/etcd.db\n";
    let restore = "etcdutl snapshot restore /opt/backup/before.db --data-dir /var/lib/etcd-restored\n\
        sed -i 's#path: /var/lib/etcd$#path: /var/lib/etcd-restored#' /etc/kubernetes/manifests/etcd.yaml\n";
    let wrong = "cp /opt/backup/before.db /opt/backup/etcd.db\n";
    let broken = "head -c 5000 /opt/backup/before.db > /opt/backup/etcd.db\n";
    let again = "rm /opt/backup/etcd.db\n";
    // From a file: the practice's API server takes JSON, and kubectl sends what it makes itself in another form.
    let fake = "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: prices, namespace: shop}\\n' | \
        kubectl create --validate=false -f -\n";
    let no_longer = "kubectl delete configmap prices -n shop\n";
    let ran = practise(
        &[CHECK, wrong, CHECK, broken, CHECK, again, save, CHECK, fake, CHECK, no_longer, restore, IN_THE_END, CHECK]
            .concat(),
    );
    let expected = [
        "task 1: missing: /opt/backup/etcd.db does not exist",
        PRICES,
        "ended 1",
        "task 1: missing: /opt/backup/etcd.db has no ConfigMap inventory of namespace shop: it is older than the cluster was when you logged in",
        PRICES,
        "ended 1",
        "task 1: missing: /opt/backup/etcd.db is not a whole snapshot: kubectl etcd verify /opt/backup/etcd.db says why",
        PRICES,
        "ended 1",
        "task 1: done",
        PRICES,
        "ended 1",
        "task 1: done",
        "task 2: missing: ConfigMap prices is another object of the same name: it was created, not restored",
        "ended 1",
        "task 1: done",
        "task 2: done",
        "ended 0",
    ];
    assert_eq!(checks(&ran), expected, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    ran.expect_code(0);
}

#[test]
fn the_tasks_are_done_with_the_plugin() {
    let save = "kubectl etcd backup /opt/backup/etcd.db --quiet\n";
    let context = "name=$(kubectl etcd restore /opt/backup/before.db 2>&1 | sed -n 's/.*--confirm //p' | tail -1)\n";
    let restore = "kubectl etcd restore /opt/backup/before.db --confirm \"$name\" --quiet\n";
    let ran = practise(&[save, CHECK, context, restore, IN_THE_END, CHECK, "exit 7\n"].concat());
    let expected = ["task 1: done", PRICES, "ended 1", "task 1: done", "task 2: done", "ended 0"];
    assert_eq!(checks(&ran), expected, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    // It ends as the shell does.
    ran.expect_code(7);
}
