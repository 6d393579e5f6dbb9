//! `--explain`: what is printed is run as it stands, on this machine and on the nodes, and must do what the command does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::{Ran, Scene, run, until, workspace};
use lab::{Etcd, Options};

/// An etcd whose etcdutl can raise the revision.
fn tools() -> PathBuf {
    workspace().join("target/tools/etcd-3.5.16")
}

fn scene() -> Scene {
    let scene = Scene::with(Options { nodes: 1, etcd: Etcd::Dir(tools()), ..Options::default() });
    config_map(&scene, "marker");
    config_map(&scene, "stays");
    scene
}

fn config_map(scene: &Scene, name: &str) {
    scene.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{a: b}}\n"
    ));
}

/// The place of a step, and its commands.
fn steps(text: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        assert!(line.chars().count() <= 79, "too long: {line}");
        let number = line.strip_prefix("# ").and_then(|rest| rest.split_once(". "));
        if let Some((_, place)) = number.filter(|(number, _)| number.parse::<u32>().is_ok()) {
            steps.push((place.to_owned(), String::new()));
        } else if let Some((_, commands)) = steps.last_mut() {
            commands.push_str(line);
            commands.push('\n');
        }
    }
    assert!(!steps.is_empty(), "no step in:\n{text}");
    steps
}

/// Runs every step where it says, in order; the first that fails ends the test.
#[track_caller]
fn follow(scene: &Scene, text: &str) {
    for (place, commands) in steps(text) {
        let mut bash = match place.as_str() {
            "on this machine" => here(scene),
            place => {
                assert!(place.contains("cp1"), "{place}");
                let mut command = scene.lab.command("cp1", workspace().join("tests/lab/node-shell")).unwrap();
                command.env("NODE_BIND", tools()).env("PATH", path(&[&tools()])).arg("bash");
                command
            }
        };
        bash.args(["-euo", "pipefail", "-c", &commands]).stdin(Stdio::null());
        let ran = run(bash);
        assert!(ran.status.success(), "{place}:\n{commands}\nstdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    }
}

fn path(first: &[&Path]) -> std::ffi::OsString {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|path| path.to_path_buf());
    std::env::join_paths(first.chain(std::env::split_paths(&paths))).unwrap()
}

/// bash in the scene's folder, with an scp that knows the node: no ssh server runs there.
fn here(scene: &Scene) -> Command {
    let folder = scene.lab.kubeconfig().with_file_name("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let (scp, root) = (folder.join("scp"), scene.lab.node_root("cp1"));
    let address = scene.lab.node_ip("cp1");
    let script = format!(
        "#!/bin/bash\nset -eu\n[[ $1 == -p ]]\nexec cp -p \"${{2/#root@{address}:/{0}}}\" \"${{3/#root@{address}:/{0}}}\"\n",
        root.display()
    );
    std::fs::write(&scp, script).unwrap();
    std::fs::set_permissions(&scp, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("bash");
    command.current_dir(scene.folder.path()).env("KUBECONFIG", scene.lab.kubeconfig());
    command.env("PATH", path(&[&folder, &tools()]));
    command
}

/// Runs the plugin with `--explain`, and asserts that it did nothing.
#[track_caller]
fn explained(scene: &Scene, args: &[&str]) -> String {
    let before = scene.files();
    let Ran { stdout, stderr, .. } = scene.ok(&[args, &["--explain"]].concat());
    assert_eq!(stderr, "");
    assert_eq!(scene.files(), before);
    let events = run(scene.kubectl(&["get", "pods", "-A", "-o", "name"])).expect_code(0).stdout;
    assert!(!events.contains("etcd-sidecar"), "{events}");
    stdout
}

/// What a database file holds, by the plugin's own account.
fn holds(scene: &Scene, file: &str) -> serde_json::Value {
    let report = scene.ok(&["verify", file, "-o", "json"]).json();
    let figures = ["revision", "liveKeys", "compactRevision", "members"];
    figures.iter().map(|name| ((*name).to_owned(), report[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_backup_a_directory_and_a_restore_by_hand() {
    let scene = scene();
    // A backup that is taken by hand is one that the tool could have taken.
    let text = explained(&scene, &["backup", "hand.db"]);
    follow(&scene, &text);
    assert_eq!(scene.files(), ["hand.db"]);
    let mode = scene.path("hand.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!scene.lab.node_root("cp1").join("var/tmp/hand.db").exists(), "a copy is left on the node");
    scene.ok(&["backup", "tool.db", "-q"]);
    scene.ok(&["diff", "hand.db", "tool.db", "-n", "default", "cm/marker"]);
    follow(&scene, &explained(&scene, &["verify", "tool.db"]));

    // A directory: the same members, revision and keys.
    let text = explained(&scene, &["restore", "tool.db", "--data-dir", "hand"]);
    assert!(text.contains("--bump-revision 1000000000"), "{text}");
    follow(&scene, &text);
    scene.ok(&["restore", "tool.db", "--data-dir", "tool"]);
    assert_eq!(holds(&scene, "hand/member/snap/db"), holds(&scene, "tool/member/snap/db"));

    // The running control plane: an object that was deleted is back, one that was made since is gone.
    run(scene.kubectl(&["delete", "configmap", "marker"])).expect_code(0);
    config_map(&scene, "since");
    let text = explained(&scene, &["restore", "hand.db"]);
    follow(&scene, &text);
    let maps = || run(scene.kubectl(&["get", "configmaps", "-o", "name"])).stdout;
    until("the object is back", || maps().contains("configmap/marker"));
    assert!(!maps().contains("since"), "{}", maps());
    let old = scene.lab.node_root("cp1").join("var/lib/etcd-before-restore");
    assert!(old.join("snap/db").exists(), "the old data is not kept");
}

#[test]
fn a_rollback_by_hand_puts_back_what_a_restore_has_set_aside() {
    let scene = scene();
    scene.ok(&["backup", "a.db", "-q"]);
    run(scene.kubectl(&["delete", "configmap", "marker"])).expect_code(0);
    scene.ok(&["restore", "a.db", "--confirm", e2e::restores::CLUSTER, "-q"]);
    let maps = || run(scene.kubectl(&["get", "configmaps", "-o", "name"])).stdout;
    until("the object is back", || maps().contains("configmap/marker"));
    let text = explained(&scene, &["rollback"]);
    // The last step restarts the kubelets, by a systemd that the lab's nodes do not have.
    let (text, kubelets) = text.split_once("systemctl restart kubelet").expect("kubelets are restarted");
    assert_eq!(kubelets, "\n");
    // What is done there: nothing.
    let text = text.replace("on each of the nodes of the cluster, as root", "on this machine");
    follow(&scene, &format!("{text}true\n"));
    until("the object is gone again", || maps().trim() == "configmap/stays");
}

#[test]
fn flags_that_an_explanation_does_not_need_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = |args: &[&str]| {
        let mut command = Command::new(e2e::plugin());
        command.args(args).current_dir(folder.path()).env("KUBECONFIG", "/nonexistent");
        run(command)
    };
    for args in [
        &["backup", "--explain", "--force"][..],
        &["backup", "--explain", "--image", "x"],
        &["verify", "a.db", "--explain", "-o", "json"],
        &["verify", "a.db", "--explain", "--live"],
        &["restore", "a.db", "--explain", "--dry-run=client"],
        &["restore", "a.db", "--explain", "--no-rollback"],
        &["restore", "--explain", "--status"],
        &["rollback", "--explain", "--keep-revisions"],
    ] {
        assert_eq!(plugin(args).expect_code(2).stdout, "", "{args:?}");
    }
    // A file is described, whether it is there or not; a directory needs the members that the file records.
    assert!(plugin(&["verify", "a.db", "--explain"]).expect_code(0).stdout.contains("etcdutl snapshot status a.db"));
    plugin(&["restore", "a.db", "--data-dir", "d", "--explain"]).expect_code(1).expect_error(&["a.db"]);
    assert!(e2e::names(folder.path()).is_empty());
}
