//! kubectl's connection flags and files, with kubectl's meaning; and what needs no connection makes none.

#[path = "support/kubeconfig.rs"]
mod kubeconfig;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use e2e::{Ran, Scene, plugin, run, unpacked, until};
use lab::{Etcd, Options};
use serde_json::{Value, json};

use self::kubeconfig::{Parts, text};
use crate::proxy::Proxy;

fn scene() -> Scene {
    Scene::new(1, Etcd::V3_5)
}

/// The plugin with its own name and without a scene.
fn alone(args: &[&str]) -> Command {
    let mut command = Command::new(plugin());
    command.args(args).stdin(Stdio::null());
    command
}

/// A command that asks the API server one thing and makes nothing.
const ASK: [&str; 2] = ["cleanup", "--dry-run"];

fn ask(scene: &Scene, flags: &[&str]) -> Command {
    scene.plugin(&[&ASK[..], flags].concat())
}

/// Asserts that the API server was asked and has answered.
#[track_caller]
fn answered(command: Command) {
    run(command).expect_code(0).expect_error(&["no pod of kubectl etcd is in namespace kube-system"]);
}

#[track_caller]
fn failed(command: Command, code: i32, texts: &[&str]) -> Ran {
    run(command).expect_code(code).expect_error(texts)
}

#[test]
fn what_needs_no_cluster_asks_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    server.set_nonblocking(true).expect("a listener that does not wait");
    let url = format!("https://{}", server.local_addr().expect("its address"));
    let unreachable = folder.path().join("unreachable.conf");
    let context = json!({"cluster": "x", "user": "x"});
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": url}}], "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": context}]});
    std::fs::write(&unreachable, config.to_string()).expect("a kubeconfig");
    let broken = folder.path().join("broken.conf");
    std::fs::write(&broken, "clusters: {[").expect("a kubeconfig");
    let snapshot = folder.path().join("x.db");
    std::fs::write(&snapshot, unpacked("snapshots/3.5.1.db.zst")).expect("a snapshot");

    let commands = ["backup", "verify", "status", "cleanup", "version", "completion"];
    for config in [&unreachable, &broken] {
        let offline = |args: &[&str]| {
            let mut command = alone(args);
            command.env("KUBECONFIG", config).env("HOME", folder.path());
            let ran = run(command).expect_code(0);
            assert!(!ran.stdout.is_empty(), "{args:?}");
            ran
        };
        let root = offline(&["--help"]);
        assert!(root.stdout.contains("\nUsage:\n  kubectl etcd COMMAND [OPTIONS]\n"), "{}", root.stdout);
        for command in commands {
            let help = offline(&[command, "--help"]).stdout;
            assert!(help.contains(&format!("\nUsage:\n  kubectl etcd {command} ")), "{help}");
            assert!(help.contains("\nExamples:\n"), "{help}");
        }
        assert!(offline(&["options"]).stdout.contains("--context"));
        assert_eq!(offline(&["help", "backup"]).stdout, offline(&["backup", "-h"]).stdout);
        assert_eq!(offline(&[]).stdout, root.stdout);
        offline(&["--version"]);
        assert_eq!(offline(&["version", "--client", "-o", "json"]).json()["protocol"], "1.0");
        offline(&["verify", text(&snapshot)]);
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let script = offline(&["completion", shell]).stdout;
            assert!(script.contains("kubectl-etcd") && script.contains("__complete"), "{shell}");
            if shell == "bash" {
                let path = folder.path().join("completion.sh");
                std::fs::write(&path, script).expect("a script");
                let mut bash = Command::new("bash");
                bash.arg("-n").arg(path);
                assert_eq!(run(bash).expect_code(0).stderr, "");
            }
        }
    }
    let waiting = server.accept().expect_err("nobody came");
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);

    // The same files, asked of by commands that need them.
    let mut command = alone(&ASK);
    command.env("KUBECONFIG", &broken);
    failed(command, 1, &["read the kubeconfig file", "broken.conf"]);
    failed(alone(&["status", "--nope"]), 2, &["error: unknown flag: --nope", "kubectl etcd status --help"]);
    failed(alone(&["frobnicate"]), 2, &["error: unknown command \"frobnicate\"", "kubectl etcd --help"]);
    failed(alone(&["snapshot", "save", "a.db"]), 2, &["unknown command \"snapshot save\"", "kubectl etcd backup a.db"]);
    failed(alone(&["help", "frobnicate"]), 2, &["no help topic is called \"frobnicate\""]);
}

#[test]
fn kubeconfigs_are_found_and_merged_as_kubectl_does() {
    let scene = scene();
    let parts = Parts::of(&scene.lab);
    failed(
        ask(&scene, &["--context", "nope"]),
        1,
        &["error: context \"nope\" does not exist", "kubectl config get-contexts"],
    );
    failed(ask(&scene, &["--cluster", "nope"]), 1, &["error: cluster \"nope\" does not exist"]);
    failed(ask(&scene, &["--user", "nope"]), 1, &["error: user \"nope\" does not exist"]);

    let cluster = parts.write("cluster.conf", &[("clusters", &parts.cluster)]);
    let context = json!({"cluster": "x", "user": "x"});
    let rest = [("users", &parts.user), ("contexts", &context), ("current-context", &json!("x"))];
    let user = parts.write("user.conf", &rest);
    let missing = parts.path("missing.conf");
    let joined = std::env::join_paths([&cluster, &missing, &user]).expect("a list of paths");
    let mut merged = ask(&scene, &[]);
    merged.env("KUBECONFIG", &joined);
    answered(merged);
    // The same list, with the real kubectl.
    let mut theirs = scene.kubectl(&["get", "pods", "-n", "kube-system", "-o", "name"]);
    theirs.env("KUBECONFIG", &joined);
    assert!(run(theirs).expect_code(0).stdout.contains("pod/etcd-cp1"));
    let mut half = ask(&scene, &[]);
    half.env("KUBECONFIG", &user);
    failed(half, 1, &["error: cluster \"x\" does not exist"]);

    // A file that is named must be there, and is the only one that counts.
    let whole = parts.whole("whole.conf", &parts.cluster, &parts.user);
    let mut named = ask(&scene, &["--kubeconfig", text(&whole)]);
    named.env("KUBECONFIG", &missing);
    answered(named);
    failed(ask(&scene, &["--kubeconfig", text(&missing)]), 1, &["read the kubeconfig file", "missing.conf"]);
    let mut home = ask(&scene, &[]);
    let kube = parts.path("home/.kube");
    std::fs::create_dir_all(&kube).expect("a folder");
    std::fs::copy(&whole, kube.join("config")).expect("a kubeconfig");
    home.env_remove("KUBECONFIG").env("HOME", parts.path("home"));
    answered(home);

    // Parts by name, without a current context.
    let loose =
        parts.write("loose.conf", &[("clusters", &parts.cluster), ("users", &parts.user), ("contexts", &context)]);
    let loose = |flags: &[&str]| ask(&scene, &[&["--kubeconfig", text(&loose)], flags].concat());
    failed(loose(&[]), 1, &["error: no cluster is configured"]);
    answered(loose(&["--context", "x"]));
    answered(loose(&["--cluster", "x", "--user", "x"]));
    scene.assert_nothing_left();
}

/// Gives the API server bearer tokens, as its administrator would: through its manifest.
fn give_tokens(scene: &Scene, line: &str) {
    let root = scene.lab.node_root("cp1");
    std::fs::write(root.join("etc/kubernetes/pki/tokens.csv"), line).expect("the tokens");
    let manifest = root.join("etc/kubernetes/manifests/kube-apiserver.yaml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let mut pod: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let command = pod["spec"]["containers"][0]["command"].as_array_mut().expect("a command");
    command.push(json!("--token-auth-file=/etc/kubernetes/pki/tokens.csv"));
    std::fs::write(&manifest, pod.to_string()).expect("the manifest is written");
}

#[test]
fn every_way_to_log_in_works() {
    let options = Options { etcd: Etcd::V3_5, api_server_grace: Some(1), ..Options::default() };
    let mut scene = Scene::with(options);
    let parts = Parts::of(&scene.lab);
    let pki = scene.lab.node_root("cp1").join("etc/kubernetes/pki");
    let file = |name: &str| text(&pki.join(name)).to_owned();
    let ca = file("ca.crt");
    let (cert, key) = (parts.pem("client-certificate"), parts.pem("client-key"));
    let (cert, key) = (text(&cert), text(&key));
    let server = scene.lab.server();

    // Certificates, by flags alone.
    let bare = |flags: &[&str]| {
        let mut command = ask(&scene, &[&["--server", &server], flags].concat());
        command.env("KUBECONFIG", parts.path("missing.conf"));
        command
    };
    let pair = ["--client-certificate", cert, "--client-key", key];
    answered(bare(&[&pair[..], &["--certificate-authority", &ca]].concat()));
    failed(bare(&pair), 1, &["certificate"]);
    answered(bare(&[&pair[..], &["--insecure-skip-tls-verify"]].concat()));
    failed(bare(&["--certificate-authority", &ca]), 1, &["User \"system:anonymous\" cannot list resource \"pods\""]);
    let wrong = file("etcd/ca.crt");
    failed(ask(&scene, &["--certificate-authority", &wrong]), 1, &["certificate"]);
    answered(ask(&scene, &["--tls-server-name", "kubernetes"]));
    failed(ask(&scene, &["--tls-server-name", "elsewhere.example"]), 1, &["certificate", "elsewhere.example"]);
    failed(ask(&scene, &["--certificate-authority", &ca, "--insecure-skip-tls-verify"]), 2, &["exclude each other"]);

    // A program that gives credentials, and one that fails.
    let read = |path: &str| std::fs::read_to_string(path).expect("a file of the node");
    let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"clientCertificateData": read(cert), "clientKeyData": read(key)}});
    let script = parts.script("login", &format!("#!/bin/sh\ncat <<'END'\n{credential}\nEND\n"));
    let by = |program: &str, args: &[&str]| {
        let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": program,
            "interactiveMode": "Never"}});
        let config = parts.whole("exec.conf", &parts.cluster, &exec);
        scene.plugin(&[args, &["--kubeconfig", text(&config)]].concat())
    };
    run(by(text(&script), &["status"])).expect_code(0);
    let failing = parts.script("denied", "#!/bin/sh\necho 'your session has expired' >&2\nexit 3\n");
    failed(by(text(&failing), &ASK), 1, &["your session has expired"]);
    failed(by("/nope/login", &ASK), 1, &["/nope/login"]);

    // Bearer tokens: the flag wins over what the kubeconfig says.
    give_tokens(&scene, "s3cr3t,tina,7,\"system:masters\"\n");
    let token = |token: &str| bare(&["--certificate-authority", &ca, "--token", token]);
    until("the API server knows the token", || run(token("s3cr3t")).status.success());
    answered(token("s3cr3t"));
    failed(token("wrong"), 1, &["Unauthorized", "kubectl auth whoami"]);
    let user = parts.whole("wrong.conf", &parts.cluster, &json!({"token": "wrong"}));
    answered(ask(&scene, &["--kubeconfig", text(&user), "--token", "s3cr3t"]));
    scene.accept_nodes();
    scene.assert_nothing_left();
}

#[test]
fn impersonation_arrives() {
    let scene = scene();
    failed(
        ask(&scene, &["--as", "bob"]),
        1,
        &["User \"bob\" cannot list resource \"pods\"", "kubectl auth can-i list pods"],
    );
    answered(ask(&scene, &["--as", "bob", "--as-group", "some", "--as-group", "system:masters"]));
    failed(ask(&scene, &["--as-group", "system:masters"]), 2, &["need --as"]);
    // Who may impersonate users alone is told what else was asked for.
    scene.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: acts}\n\
         rules: [{apiGroups: [\"\"], resources: [users], verbs: [impersonate]}]\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: acts}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: acts}\n\
         subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: carol}]\n",
    );
    let carol = scene.lab.kubeconfig_for("carol", &[]).expect("a kubeconfig");
    let carol = |flags: &[&str]| ask(&scene, &[&["--kubeconfig", text(&carol), "--as", "bob"], flags].concat());
    failed(carol(&[]), 1, &["User \"bob\" cannot list resource \"pods\""]);
    failed(carol(&["--as-uid", "42"]), 1, &["User \"carol\" cannot impersonate resource \"uids\""]);
    failed(
        carol(&["--as-user-extra", "scope=a"]),
        1,
        &["User \"carol\" cannot impersonate resource \"userextras/scope\""],
    );
    failed(carol(&["--as-group", "staff"]), 1, &["User \"carol\" cannot impersonate resource \"groups\""]);

    // The whole job, exec included, as someone else.
    scene.ok(&["backup", "x.db", "--as", "bob", "--as-group", "system:masters"]);
    assert!(scene.sidecars().is_empty());
}

#[test]
fn proxies_are_used_for_requests_and_for_streams() {
    let scene = scene();
    let parts = Parts::of(&scene.lab);
    let place = scene.lab.server().trim_start_matches("https://").to_owned();
    let proxy = Proxy::start(&place);
    // A name that only the certificate knows: nothing gets there but through the proxy.
    let server = ["--server", "https://kubernetes:6443"];
    let through = |variable: &str, args: &[&str]| {
        let mut command = scene.plugin(&[args, &server].concat());
        command.env_remove("NO_PROXY").env_remove("no_proxy").env(variable, &proxy.url);
        run(command).expect_code(0)
    };
    let status = through("HTTPS_PROXY", &["status", "-o", "json"]).json();
    assert_eq!(status["members"][0]["name"], "cp1");
    through("https_proxy", &["backup", "x.db"]);
    let asked = proxy.asked();
    assert!(asked.len() >= 2 && asked.iter().all(|place| place == "kubernetes:6443"), "{asked:?}");

    let mut cluster = parts.cluster.clone();
    (cluster["server"], cluster["proxy-url"]) = (json!("https://kubernetes:6443"), json!(proxy.url));
    let config = parts.whole("proxy.conf", &cluster, &parts.user);
    scene.ok(&["--kubeconfig", text(&config), "backup", "y.db"]);
    assert!(!proxy.asked().is_empty());

    // Left out where NO_PROXY says so; a dead proxy would tell.
    let host = place.split(':').next().expect("a host");
    let mut direct = ask(&scene, &[]);
    direct.env("HTTPS_PROXY", &proxy.url).env("NO_PROXY", host);
    answered(direct);
    assert_eq!(proxy.asked(), Vec::<String>::new());
    let mut dead = ask(&scene, &[]);
    dead.env_remove("NO_PROXY").env_remove("no_proxy").env("HTTPS_PROXY", "http://127.0.0.1:1");
    failed(dead, 1, &["Connection refused"]);
    assert!(scene.sidecars().is_empty());
}

#[test]
fn a_request_is_given_up_when_its_time_is_over() {
    let scene = scene();
    scene.lab.set_faults(&json!({"delayMs": 5000})).expect("faults are set");
    let ran = run(scene.plugin(&["backup", "--request-timeout", "1s"]));
    scene.lab.set_faults(&json!({})).expect("faults are ended");
    ran.expect_code(1).expect_error(&["find the etcd pods", "did not answer within 1s"]);
    scene.assert_nothing_left();
}

/// What bash would put in place of the last word, with bash-completion or without. The words are split as bash splits them.
fn in_bash(folder: &std::path::Path, library: bool, words: &[&str]) -> Vec<String> {
    const LIBRARY: &str = "/usr/share/bash-completion/bash_completion";
    let source = if library { format!("source {LIBRARY}") } else { "true".to_owned() };
    // compopt works only while bash completes a line.
    let script = format!(
        "{source} || exit 9; compopt() {{ :; }}; source <(\"$1\" completion bash); shift
         COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=$LINE; COMP_POINT=${{#COMP_LINE}}
         __kubectl_etcd && printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let line = words.join(" ").replace(" = ", "=").replace(" =", "=").replace(" : ", ":");
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &script, "bash"]).arg(plugin()).args(words).env("LINE", line);
    bash.current_dir(folder).stdin(Stdio::null());
    run(bash).expect_code(0).stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_line_is_completed_in_bash() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.db"), unpacked("snapshots/kubeadm-ha.db.zst")).expect("a snapshot");
    let program = plugin();
    let program = text(&program);
    for library in [true, false] {
        let complete = |words: &[&str]| in_bash(folder.path(), library, &[&[program], words].concat());
        assert_eq!(complete(&["stat"]), ["status"]);
        assert_eq!(complete(&["status", "--output", "=", "js"]), ["json"]);
        assert!(complete(&["__comp"]).is_empty());
        let types = complete(&["get", "a.db", ""]);
        assert!(
            types.contains(&"namespaces".to_owned()) && types.contains(&"deployments.apps".to_owned()),
            "{types:?}"
        );
        assert!(complete(&["get", "a.db", "ns/kube-s"]).contains(&"ns/kube-system".to_owned()));
        assert_eq!(complete(&["get", "a.db", "ns", "kube-s"]), ["kube-system"]);
        assert!(complete(&["get", "a.db", "cm", "-n", "kube-s"]).contains(&"kube-system".to_owned()));
        // bash completes the names of files.
        assert!(complete(&["verify", ""]).is_empty());
    }
}

#[test]
fn kubectl_runs_and_completes_it() {
    let scene = scene();
    let version = run(scene.kubectl_etcd(&["version", "-o", "json"])).expect_code(0).json();
    assert_eq!(version["etcd"][0]["node"], "cp1");
    let tag = version["etcd"][0]["version"].as_str().expect("a version");
    assert_eq!(tag.split('-').next(), Some(scene.lab.etcd_version()));
    assert!(version["serverVersion"].as_str().is_some_and(|version| version.starts_with("v1.")), "{version}");
    let help = run(scene.kubectl_etcd(&["backup", "--help"])).expect_code(0).stdout;
    assert!(help.contains("Usage:\n  kubectl etcd backup [OPTIONS] [FILE]"), "{help}");
    run(scene.kubectl_etcd(&["status", "--nope"])).expect_error(&["kubectl etcd status --help"]);
    let listed = run(scene.kubectl(&["plugin", "list"]));
    assert!(listed.stdout.contains("kubectl-etcd"), "{}", listed.stdout);

    let tools = tempfile::tempdir().expect("a folder");
    let program = tools.path().join("kubectl_complete-etcd");
    std::os::unix::fs::symlink(plugin(), &program).expect("a link");
    let complete = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).env("KUBECONFIG", scene.lab.kubeconfig()).stdin(Stdio::null());
        run(command).expect_code(0).stdout
    };
    assert_eq!(complete(&["status", "--node", ""]), "cp1\n:4\n");
    assert_eq!(complete(&["backup", "--node=c"]), "--node=cp1\n:4\n");
    assert_eq!(complete(&["status", "-o", "js"]), "json\n:4\n");
    assert_eq!(complete(&["verify", ""]), ":0\n");
    assert!(complete(&["st"]).starts_with("status\t"));
    let context = complete(&["--context", ""]);
    assert_eq!(complete(&["--context", "nope", "status", "--node", ""]), ":4\n", "it asks the cluster that was named");
    let theirs = run(scene.kubectl(&["config", "get-contexts", "-o", "name"])).expect_code(0).stdout;
    assert_eq!(context, format!("{theirs}:4\n"));
    scene.assert_nothing_left();
}
