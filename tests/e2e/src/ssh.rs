//! What the tests of the road over SSH share: the flags that lead to a lab's nodes, a sidecar to send there, and what is left on them.

use std::path::PathBuf;
use std::process::Command;

use lab::{Lab, SshAccess};

use crate::trouble::processes;
use crate::{Scene, image, run};

/// Where a sidecar may be put on a node.
const FOLDERS: &str = "/var/lib/kubectl-etcd/bin /run /dev/shm";

/// The SSH servers of a lab's nodes, and a sidecar to send to them.
pub struct OverSsh {
    /// How to log in.
    pub access: SshAccess,
    sidecar: PathBuf,
    nodes: String,
}

impl OverSsh {
    /// Starts the servers.
    pub fn start(lab: &Lab) -> OverSsh {
        let access = lab.ssh().expect("SSH servers");
        let sidecar = unpack_sidecar(access.key.parent().expect("a folder").join("etcd-sidecar"));
        let nodes: Vec<String> = lab.node_names().iter().map(|node| format!("{node}={}", lab.node_ip(node))).collect();
        OverSsh { access, sidecar, nodes: nodes.join(",") }
    }

    /// The sidecar that is sent, a file.
    pub fn sidecar(&self) -> std::path::Display<'_> {
        self.sidecar.display()
    }

    /// The flags for a user, after a command's own arguments, for the nodes of the lab.
    pub fn flags(&self, user: &str, args: &[&str]) -> Vec<String> {
        self.flags_with(user, &["--nodes", &self.nodes], args)
    }

    /// The same with other words for the nodes.
    pub fn flags_with(&self, user: &str, nodes: &[&str], args: &[&str]) -> Vec<String> {
        let own = [format!("--ssh={user}@"), "--ssh-command".into(), self.access.command()];
        let binary = ["--sidecar-binary".to_owned(), self.sidecar.display().to_string()];
        let words = args.iter().chain(nodes).map(|word| (*word).to_owned());
        words.chain(own).chain(binary).collect()
    }

    /// The plugin over SSH, with a kubeconfig that leads nowhere.
    pub fn plugin(&self, scene: &Scene, words: &[String]) -> Command {
        let mut command = scene.plugin(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("KUBECONFIG", "/nonexistent");
        command
    }

    /// The sidecar's own command on a node, as root.
    pub fn sidecar_on(&self, lab: &Lab, node: &str, words: &str) -> Command {
        self.on(lab, node, &format!("{} {words}", self.sidecar.display()))
    }

    /// A command on a node, as root.
    pub fn on(&self, lab: &Lab, node: &str, script: &str) -> Command {
        let mut command = Command::new("sh");
        let line = format!("{} root@{} \"$1\"", self.access.command(), lab.node_ip(node));
        command.args(["-c", &line, "sh", script]);
        command
    }

    /// Asserts that no sidecar is on any node, neither as a file nor as a process.
    #[track_caller]
    pub fn assert_nothing_on_nodes(&self, lab: &Lab) {
        lab.node_names().iter().for_each(|node| self.assert_nothing_on(lab, node));
    }

    /// The same on one node.
    #[track_caller]
    pub fn assert_nothing_on(&self, lab: &Lab, node: &str) {
        let found = run(self.on(lab, node, &format!("find {FOLDERS} -name 'etcd-sidecar*' 2>/dev/null; true")));
        assert_eq!(found.expect_code(0).stdout, "", "{node}");
        let running = self.sidecars(lab, node);
        assert!(running.is_empty(), "{node}: {running:?}");
    }

    /// Processes of sidecars that came over SSH, on a node.
    pub fn sidecars(&self, lab: &Lab, node: &str) -> Vec<u32> {
        let command = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = |pid: &u32| memchr::memmem::find(&command(pid), b"/etcd-sidecar\0serve\0").is_some();
        processes(lab, node, &[]).into_iter().filter(ours).collect()
    }
}

/// The static sidecar of the image, as an administrator would take it out of there.
fn unpack_sidecar(path: PathBuf) -> PathBuf {
    let script = r#"set -e
        layer=$(tar -xOf "$1" manifest.json | jq -r '.[0].Layers[-1]')
        tar -xOf "$1" "$layer" | tar -xO etcd-sidecar >"$2"
        chmod 755 "$2""#;
    let mut unpack = Command::new("sh");
    unpack.args(["-c", script, "sh"]).arg(image()).arg(&path);
    run(unpack).expect_code(0);
    path
}
