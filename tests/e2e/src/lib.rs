//! What the end-to-end tests share: a lab, the built plugin in a folder of its own, and the proof that nothing is left.
//!
//! A test drives `kubectl-etcd` as a user would and then looks at the folder, the cluster and the nodes. Needs root, and
//! what `tests/install` installs; `tests/run` builds everything and says where it is:
//! `KUBECTL_ETCD_BIN`, `LAB_BIN`, `LAB_IMAGE`.

pub mod history;
pub mod restores;
pub mod ssh;
pub mod trouble;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lab::{Etcd, Lab, Options};
use serde_json::Value;

/// How long anything that is waited for may take. Never part of an expectation: it only ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A lab, and an empty folder in which the plugin runs.
pub struct Scene {
    /// The practice control plane.
    pub lab: Lab,
    /// Where the plugin runs and writes.
    pub folder: tempfile::TempDir,
    nodes_before: BTreeMap<String, String>,
}

impl Scene {
    /// Starts a lab that has the sidecar's image.
    pub fn new(nodes: u8, etcd: Etcd) -> Scene {
        Scene::with(Options { nodes, etcd, ..Options::default() })
    }

    /// Starts a lab with these options that has the sidecar's image.
    pub fn with(options: Options) -> Scene {
        let program = std::env::var_os("LAB_BIN").map(PathBuf::from);
        let options = Options { images: vec![image()], program, ..options };
        let lab = Lab::start(options).expect("the lab starts");
        let folder = tempfile::tempdir().expect("a folder");
        let nodes_before = node_files(&lab);
        Scene { lab, folder, nodes_before }
    }

    /// A path in the scene's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plugin, called by its own name with the administrator's kubeconfig.
    pub fn plugin(&self, args: &[&str]) -> Command {
        let mut command = Command::new(plugin());
        command.args(args);
        self.prepare(&mut command);
        command
    }

    /// The plugin, called through the real kubectl.
    pub fn kubectl_etcd(&self, args: &[&str]) -> Command {
        self.kubectl(&[&["etcd"], args].concat())
    }

    /// The real kubectl.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args);
        self.prepare(&mut command);
        let own = plugin().parent().expect("the plugin is in a folder").to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(own).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).expect("a PATH"));
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("KUBECONFIG", self.lab.kubeconfig())
            // Not the folder that is looked at afterwards: kubectl keeps a cache at home.
            .env("HOME", self.lab.kubeconfig().parent().expect("the lab has a folder"))
            .stdin(Stdio::null());
        for name in ["KUBECTL_ETCD_IMAGE", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
    }

    /// Runs the plugin and expects success.
    pub fn ok(&self, args: &[&str]) -> Ran {
        run(self.plugin(args)).expect_code(0)
    }

    /// Makes objects with kubectl.
    pub fn apply(&self, manifest: &str) {
        let file = self.lab.kubeconfig().with_file_name("apply.yaml");
        std::fs::write(&file, manifest).expect("a manifest is written");
        run(self.kubectl(&["create", "--validate=false", "-f", file.to_str().expect("text")])).expect_code(0);
    }

    /// The names of the pods that the plugin has made and that are still there.
    pub fn sidecars(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/managed-by=kubectl-etcd";
        let listed = run(self.kubectl(&["get", "pods", "-A", "-l", selector, "-o", "json"])).expect_code(0);
        let list: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        let items = list["items"].as_array().expect("a list");
        items.iter().map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The files in the scene's folder.
    pub fn files(&self) -> Vec<String> {
        names(self.folder.path())
    }

    /// Asserts that a failed run left no file, no pod, and every node as it was.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(self.files().is_empty(), "files are left: {:?}", self.files());
        assert!(self.sidecars().is_empty(), "pods are left: {:?}", self.sidecars());
        self.assert_nodes_untouched();
    }

    /// Asserts that every file of every node is as it was, but for what etcd, the kubelet and the lab write themselves.
    #[track_caller]
    pub fn assert_nodes_untouched(&self) {
        assert_eq!(node_files(&self.lab), self.nodes_before, "a node was changed");
    }

    /// Takes the nodes as they are now for unchanged: the test itself has changed them.
    pub fn accept_nodes(&mut self) {
        self.nodes_before = node_files(&self.lab);
    }
}

/// The sidecar's image, as an archive of docker's.
pub fn image() -> PathBuf {
    std::env::var_os("LAB_IMAGE").map_or_else(|| workspace().join("target/image/etcd-sidecar.tar"), PathBuf::from)
}

/// The built plugin.
pub fn plugin() -> PathBuf {
    std::env::var_os("KUBECTL_ETCD_BIN").map_or_else(|| workspace().join("target/debug/kubectl-etcd"), PathBuf::from)
}

/// The root of the sources.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in tests/e2e").to_owned()
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every file of every node with its mode and size; without what changes by itself.
fn node_files(lab: &Lab) -> BTreeMap<String, String> {
    const LIVE: [&str; 6] = ["var/lib/etcd", "var/lib/kubelet", "var/lib/lab", "var/log", "run", "tmp"];
    fn walk(root: &Path, folder: &Path, into: &mut BTreeMap<String, String>) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        // What vanishes while it is looked at was not ours.
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let relative = path.strip_prefix(root).expect("below the root");
            if LIVE.iter().any(|live| relative == Path::new(live)) {
                continue;
            }
            let Ok(meta) = path.symlink_metadata() else { continue };
            // The kubelet makes them for a pod that mounts them, and nobody can take a mount point away.
            let mounted = ["var/lib/kubectl-etcd", "etc/kubernetes/tmp"].map(Path::new);
            if mounted.contains(&relative) && names(&path).is_empty() {
                continue;
            }
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let what = format!("{:o} {} {size}", meta.permissions().mode(), meta.uid());
            into.insert(path.display().to_string(), what);
            if meta.is_dir() {
                walk(root, &path, into);
            }
        }
    }
    let mut files = BTreeMap::new();
    for node in lab.node_names() {
        let root = lab.node_root(&node);
        walk(&root, &root, &mut files);
    }
    files
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout, as text.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// What it wrote to stdout.
    pub bytes: Vec<u8>,
}

impl Ran {
    /// Asserts the exit code, and shows what the program said if it is another.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ran {
        assert_eq!(self.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that stderr has every one of the texts.
    #[track_caller]
    pub fn expect_error(self, texts: &[&str]) -> Ran {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        }
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// How long a program may run that is only waited for. It names the program that hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs a program to its end.
#[track_caller]
pub fn run(mut command: Command) -> Ran {
    let (program, shown) = (command.get_program().to_owned(), format!("{command:?}"));
    let (ended, end) = std::sync::mpsc::channel();
    // One that hangs is left to itself: its pipes end with this process.
    std::thread::spawn(move || ended.send(command.output()));
    let output = end.recv_timeout(LONGEST).unwrap_or_else(|error| panic!("{shown} hangs: {error}"));
    let output = output.unwrap_or_else(|error| panic!("{program:?} runs: {error}"));
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

/// A program that runs, and what it has said on stderr so far.
pub struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    said: String,
}

impl Running {
    /// Starts it with stdout thrown away.
    pub fn start(mut command: Command) -> Running {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines, said: String::new() }
    }

    /// Starts it with stdout thrown away, and stderr lost: a pipe that nobody reads any more.
    pub fn deaf(mut command: Command) -> Running {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = command.stdout(Stdio::null()).stderr(writer).spawn().expect("the program starts");
        let (_, lines) = std::sync::mpsc::channel();
        Running { child, lines, said: String::new() }
    }

    /// Waits until a line of stderr has `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return;
                    }
                }
                Err(error) => panic!("{text:?} was never said ({error}), but:\n{}", self.said),
            }
        }
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "signal {name} is sent");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits for its end; gives its exit status and all that it said.
    #[track_caller]
    pub fn end(self) -> (ExitStatus, String) {
        self.end_within(PATIENCE)
    }

    /// As [`Running::end`], for a program that may take longer.
    #[track_caller]
    pub fn end_within(mut self, patience: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            if Instant::now() >= deadline {
                self.said.extend(self.lines.try_iter().map(|line| line + "\n"));
                panic!("waited too long until the program ends, which said:\n{}", self.said);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        (status, std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Polls until `done`; a test that waits longer than [`PATIENCE`] fails.
#[track_caller]
pub fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(what, PATIENCE, done);
}

/// As [`until`], for what may take longer.
#[track_caller]
pub fn until_within(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a vendor's tool on a file and gives the JSON that it prints.
pub fn vendor(program: impl AsRef<OsStr>, args: &[&str]) -> Value {
    let mut command = Command::new(program);
    command.env("ETCDCTL_API", "3").args(args);
    run(command).expect_code(0).json()
}

/// `etcdutl` of etcd 3.5.
pub fn etcdutl() -> PathBuf {
    etcd_3_5().join("etcdutl")
}

/// The folder of etcd 3.5's programs.
pub fn etcd_3_5() -> PathBuf {
    workspace().join("target/tools/etcd-3.5.1")
}

/// The unpacked contents of a file of `tests/data`.
pub fn unpacked(name: &str) -> Vec<u8> {
    let packed = std::fs::File::open(workspace().join("tests/data").join(name)).expect("a file of tests/data");
    zstd::decode_all(packed).expect("zstd")
}
