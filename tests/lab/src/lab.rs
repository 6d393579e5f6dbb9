//! A running lab.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::client::Client;
use crate::image::Store;
use crate::paths::{LAB_DIR, NodeDir};
use crate::pki::{self, Issue, Pair};
use crate::record::Record;
use crate::{files, network, start};

/// Which etcd a lab runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Etcd {
    /// Debian's, in `/usr/bin`.
    #[default]
    V3_4,
    /// 3.5.1: in the folder `LAB_ETCD_3_5` names, else in the workspace's `target/tools/etcd-3.5.1`.
    V3_5,
    /// `etcd` and `etcdctl` in this folder, of whatever version.
    Dir(PathBuf),
}

impl std::str::FromStr for Etcd {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "3.4" => Self::V3_4,
            "3.5" => Self::V3_5,
            dir => Self::Dir(dir.into()),
        })
    }
}

/// What lab to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name, made up if there is none.
    pub name: Option<String>,
    /// 1, 3 or 5.
    pub nodes: u8,
    /// Which etcd.
    pub etcd: Etcd,
    /// Where its files are; made and removed by the lab. `/var/tmp/lab-NAME` if not given.
    pub dir: Option<PathBuf>,
    /// Archives of images every node is to have.
    pub images: Vec<PathBuf>,
    /// How many seconds an API server that is told to end may go on. It takes them all, as the real one does; without
    /// this they are kubeadm's 30. A test that changes the manifest and is about something else asks for fewer.
    pub api_server_grace: Option<u32>,
    /// How many megabytes each node's `/var/lib/etcd` has, as a file system of its own (ext4, with its `lost+found`);
    /// without this it is a folder on this machine's disk. etcd takes 128 for its log before it stores anything.
    pub data_disk: Option<u32>,
    /// How many megabytes the disk of each node has on which its `/var/lib/etcd` and its `/var/lib/kubectl-etcd` lie, two
    /// folders of one file system. Not with a data disk.
    pub node_disk: Option<u32>,
    /// How many bytes etcd's database may have (`--quota-backend-bytes`); without this it is etcd's own 2 GiB. Two
    /// million are soon [full](Lab::exhaust).
    pub etcd_quota: Option<u64>,
    /// The `lab` program. Without it the one beside this program, or one folder above it, as cargo lays them out.
    pub program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            nodes: 1,
            etcd: Etcd::default(),
            dir: None,
            images: Vec::new(),
            api_server_grace: None,
            data_disk: None,
            node_disk: None,
            etcd_quota: None,
            program: None,
        }
    }
}

/// A running lab. It goes away when this is dropped, unless it is [kept](Lab::keep).
#[derive(Debug)]
pub struct Lab {
    pub(crate) record: Record,
    pub(crate) children: Mutex<Vec<Child>>,
    pub(crate) kept: bool,
    kubeconfig: PathBuf,
}

impl Lab {
    /// Starts a lab and waits until all its API servers are ready and its static pods are in the API. It blocks; it
    /// may be called from async code where that is no matter, as in a test.
    ///
    /// # Errors
    /// When anything it needs is not there, or it is not ready in a minute. What was started is taken away then.
    pub fn start(options: Options) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = options.name.clone().unwrap_or_else(|| format!("t{}-{count}", std::process::id()));
        let etcd = start::find_etcd(&options.etcd)?;
        let program = start::find_program(options.program.clone())?;
        let dir = options.dir.clone().unwrap_or_else(|| PathBuf::from(format!("/var/tmp/lab-{name}")));
        let dir = std::path::absolute(dir)?;
        let record = Record::claim(&name, dir, options.nodes, etcd, program)?;
        let lab = Self::of(record);
        start::start(&lab, &options)?;
        Ok(lab)
    }

    /// A lab that was started by another process. Dropping this leaves the lab alone.
    ///
    /// # Errors
    /// When there is no lab of this name.
    pub fn open(name: &str) -> Result<Self> {
        let mut lab = Self::of(Record::load(name)?);
        lab.kept = true;
        Ok(lab)
    }

    fn of(record: Record) -> Self {
        let kubeconfig = record.dir.join("admin.conf");
        Self { record, children: Mutex::default(), kept: false, kubeconfig }
    }

    /// Leaves the lab running when this is dropped.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Ends every process of the lab and takes away all it made.
    ///
    /// # Errors
    /// When something cannot be taken away; calling `lab down` later tries again.
    pub fn stop(mut self) -> Result<()> {
        self.kept = true;
        self.take_away()
    }

    fn take_away(&mut self) -> Result<()> {
        let removed = self.record.remove();
        for child in self.children.get_mut().expect("no panic while the lock is held") {
            // One that had not yet entered a namespace of the lab.
            child.kill()?;
            // What could not be ended may never end.
            if removed.is_ok() {
                child.wait()?;
            }
        }
        removed
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The administrator's kubeconfig; its server is the load balancer.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig for another user, with a client certificate by the lab's authority.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let ca = Pair::read(&self.dir("cp1")?.pki(), "ca")?;
        let path = self.record.state().users().join(format!("{}.conf", user.replace(['/', ':'], "-")));
        files::write(&path, pki::kubeconfig(&ca, user, groups, &self.server())?.as_bytes(), 0o600)?;
        Ok(path)
    }

    /// The administrator at a node's own API server.
    ///
    /// # Errors
    /// When the lab has no such node, or the kubeconfig cannot be read.
    pub fn client(&self, node: &str) -> Result<Client> {
        self.record.number(node)?;
        let url = format!("https://{}:6443", self.node_ip(node));
        Client::from_kubeconfig(&fs::read_to_string(&self.kubeconfig)?, Some(&url))
    }

    /// The URL of the load balancer.
    pub fn server(&self) -> String {
        format!("https://{}:6443", self.record.subnet.balancer())
    }

    /// `cp1` and so on.
    pub fn node_names(&self) -> Vec<String> {
        self.record.node_names()
    }

    /// The node's own file tree, on this machine.
    ///
    /// # Panics
    /// When the lab has no such node.
    pub fn node_root(&self, node: &str) -> PathBuf {
        self.dir(node).expect("a node of this lab").root()
    }

    /// The node's address.
    ///
    /// # Panics
    /// When the lab has no such node.
    pub fn node_ip(&self, node: &str) -> Ipv4Addr {
        self.record.subnet.node(self.record.number(node).expect("a node of this lab"))
    }

    /// The address of this machine at which the nodes reach it.
    pub fn host_ip(&self) -> Ipv4Addr {
        self.record.subnet.gateway()
    }

    /// The version of the lab's etcd, as `3.5.1`.
    pub fn etcd_version(&self) -> &str {
        &self.record.etcd_version
    }

    pub(crate) fn dir(&self, node: &str) -> Result<NodeDir> {
        self.record.number(node)?;
        Ok(self.record.state().node(node))
    }

    /// Gives every node the images in a docker-archive or an oci-archive, and returns their full names.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn load_image(&self, archive: &Path) -> Result<Vec<String>> {
        Store::new(self.record.state().images()).import(archive)
    }

    /// Gives all API servers the same faults; `{}` ends them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_faults(&self, faults: &serde_json::Value) -> Result<()> {
        for node in self.node_names() {
            let path = self.dir(&node)?.host(LAB_DIR).join("faults.json");
            files::write(&path, &serde_json::to_vec(faults)?, 0o600)?;
        }
        Ok(())
    }

    /// Writes the node's two etcd client pairs anew.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn reissue(&self, node: &str, kind: Issue) -> Result<()> {
        pki::write_etcd_clients(&self.dir(node)?.pki(), kind)
    }

    /// Writes all of the node's etcd pairs anew: the servers', the peers' and the clients'.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn reissue_all(&self, node: &str, kind: Issue) -> Result<()> {
        pki::write_etcd_leaves(&self.dir(node)?.pki(), node, self.node_ip(node), kind)
    }

    /// A command that will run in the node's network and process namespaces.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn command(&self, node: &str, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let init = self.init(node)?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.to_string(), "--net", "--pid", "--mount", "--wd=/", "--"]);
        command.arg(program).env("NODE_ROOT", self.dir(node)?.root());
        Ok(command)
    }

    /// The process id, on this machine, of the node's first process: its kubelet.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn init(&self, node: &str) -> Result<u32> {
        self.record.number(node)?;
        let netns = self.record.netns(node);
        let pids = if network::netns_exists(&netns) { network::pids(&netns)? } else { Vec::new() };
        for pid in pids {
            let pid = pid.as_raw_nonzero().get();
            // A process that ended in between is not the one.
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            // The innermost id comes last; processes of containers have one more namespace than the node.
            if ids.last() == Some(&"1") && self.is_kubelet(pid)? {
                return Ok(pid.cast_unsigned());
            }
        }
        bail!("node {node} of lab {:?} does not run", self.record.name)
    }

    fn is_kubelet(&self, pid: i32) -> Result<bool> {
        let command = fs::read(format!("/proc/{pid}/cmdline"))?;
        Ok(command.split(|byte| *byte == 0).nth(1) == Some(b"kubelet"))
    }

    /// A path of the node as its processes see it, on this machine: unlike below [`Lab::node_root`] also what lies in the
    /// node's `/run`, which is mounted on the node alone. It is good until the node's kubelet ends.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn inside(&self, node: &str, path: &str) -> Result<PathBuf> {
        let place = self.dir(node)?.host(path);
        let place = place.strip_prefix("/").context("a lab's folder is an absolute path")?;
        Ok(PathBuf::from(format!("/proc/{}/root", self.init(node)?)).join(place))
    }

    /// Kills the containers of a pod where they stand, and says how many. The pod is `NAMESPACE/NAME`, or `NAME` in
    /// kube-system; a static pod goes by the name in its manifest as well as by that of its mirror pod, which has the
    /// node's behind it. What else such a container has running is killed by its kubelet, before it starts again.
    ///
    /// # Errors
    /// When the pod has no running container.
    pub fn kill_container(&self, node: &str, pod: &str) -> Result<usize> {
        let pod = if pod.contains('/') { pod.to_owned() } else { format!("kube-system/{pod}") };
        let names = [format!("{pod}-{node}"), pod];
        let dir = self.dir(node)?;
        let (mut killed, mut complaint) = (0, String::new());
        for entry in fs::read_dir(dir.containers())? {
            let entry = entry?;
            let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if !name.rsplit_once('/').is_some_and(|(of, _)| names.iter().any(|name| name == of)) {
                continue;
            }
            let mut kill = self.command(node, "crun")?;
            kill.args(["--cgroup-manager=disabled", "--root"]).arg(dir.runtime());
            let output = kill.arg("kill").arg(entry.file_name()).arg("KILL").output()?;
            // One that is only being made, or has just ended, does not run.
            if output.status.success() {
                killed += 1;
            } else {
                complaint = format!(": crun kill: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        if killed == 0 {
            bail!("pod {} has no running container on {node}{complaint}", names[1]);
        }
        Ok(killed)
    }

    /// Runs etcdctl on a node, with its health check pair, at its own etcd unless the arguments say otherwise.
    ///
    /// # Errors
    /// When it cannot be run; its own failure is in the output.
    pub fn etcdctl(&self, node: &str, args: &[&str]) -> Result<Output> {
        let pki = self.dir(node)?.pki().join("etcd");
        let endpoint = format!("https://{}:2379", self.node_ip(node));
        Command::new(self.record.etcd.join("etcdctl"))
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", endpoint)
            .env("ETCDCTL_CACERT", pki.join("ca.crt"))
            .env("ETCDCTL_CERT", pki.join("healthcheck-client.crt"))
            .env("ETCDCTL_KEY", pki.join("healthcheck-client.key"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("cannot run etcdctl")
    }

    /// The names of the network namespaces the lab's processes are in: one a node, one for the load balancer.
    pub fn namespaces(&self) -> Vec<String> {
        self.node_names().iter().map(String::as_str).chain(["lb"]).map(|node| self.record.netns(node)).collect()
    }
}

impl Drop for Lab {
    #[allow(clippy::print_stderr, reason = "a destructor has nobody to return an error to")]
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.take_away()
        {
            eprintln!("cannot take the lab {:?} away: {error:#}", self.record.name);
        }
    }
}
