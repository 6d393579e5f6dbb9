//! How a lab comes up: network, certificates, images, kubelets, etcd, and then the rest of the control plane.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use http::StatusCode;

use crate::client::Client;
use crate::image::Store;
use crate::lab::{Etcd, Lab, Options};
use crate::manifests::{self, VERSION};
use crate::paths::{DATA_DIR, LAB_DIR, node_name};
use crate::pki::{self, Authorities};
use crate::record::Record;
use crate::{bootstrap, disk, files, network};

/// How long a lab may take to be ready.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

/// The folder of etcd's programs, and its version.
pub(crate) fn find_etcd(etcd: &Etcd) -> Result<(PathBuf, String)> {
    let (dir, wanted) = match etcd {
        Etcd::V3_4 => (PathBuf::from("/usr/bin"), "3.4."),
        Etcd::V3_5 => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/etcd-3.5.1");
            (std::env::var_os("LAB_ETCD_3_5").map_or(workspace, PathBuf::from), "3.5.")
        }
        Etcd::Dir(dir) => (std::path::absolute(dir)?, ""),
    };
    let output = Command::new(dir.join("etcd"))
        .arg("--version")
        .output()
        .with_context(|| format!("no etcd in {}", dir.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or_default().trim();
    if version.is_empty() || !version.starts_with(wanted) {
        bail!("{}/etcd has version {version:?}, not {wanted}x", dir.display());
    }
    Ok((dir, version.to_owned()))
}

/// The `lab` program itself.
pub(crate) fn find_program(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(program) = given {
        return Ok(fs::canonicalize(program)?);
    }
    let here = std::env::current_exe()?;
    let dirs = here.ancestors().skip(1).take(2);
    dirs.map(|dir| dir.join("lab"))
        .find(|program| program.is_file())
        .with_context(|| format!("no program lab beside {}: build it with cargo build -p lab", here.display()))
}

/// Makes everything of a lab whose record is claimed.
pub(crate) fn start(lab: &Lab, options: &Options) -> Result<()> {
    let record = &lab.record;
    let (state, subnet) = (record.state(), record.subnet);
    network::bridge(subnet)?;
    network::host(subnet, &record.netns("lb"), "lb", subnet.balancer())?;
    assemble_images(record)?;
    for archive in &options.images {
        lab.load_image(archive)?;
    }
    let authorities = Authorities::new()?;
    let mut addresses = Vec::new();
    for number in 1..=record.nodes {
        let name = node_name(number);
        network::host(subnet, &record.netns(&name), &name, subnet.node(number))?;
        write_node(lab, &authorities, number, options)?;
        addresses.push(subnet.node(number).to_string());
    }
    fs::copy(state.node("cp1").host("/etc/kubernetes/admin.conf"), lab.kubeconfig())?;
    let mut balancer = Command::new("ip");
    balancer.args(["netns", "exec", &record.netns("lb")]).arg(&record.program).arg("balancer");
    balancer.args(["--listen", &format!("{}:6443", subnet.balancer()), "--nodes", &addresses.join(",")]);
    spawn(lab, balancer, &state.log("balancer"))?;
    wait_for(async || come_up(lab, options).await).with_context(|| logs(record))
}

/// Runs to the end in a runtime of its own on a thread of its own: the caller may be in one already.
fn wait_for<T: Send>(work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        });
        thread.join().unwrap_or_else(|_| bail!("waiting for the lab panicked"))
    })
}

/// Starts the kubelet of the node with this number.
pub(crate) fn kubelet(lab: &Lab, number: u8) -> Result<()> {
    let (record, name) = (&lab.record, node_name(number));
    // Not by ip netns exec, which mounts another /sys, and crun looks for cgroups in it even if it is to use none.
    let mut kubelet = Command::new("nsenter");
    kubelet.arg(format!("--net=/run/netns/{}", record.netns(&name)));
    kubelet.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(&record.program).arg("kubelet");
    kubelet.args(["--node", &name, "--address", &record.subnet.node(number).to_string(), "--state"]);
    kubelet.arg(record.state().dir());
    spawn(lab, kubelet, &record.state().node(&name).kubelet_log())
}

/// Starts a process that ends with the lab.
pub(crate) fn spawn(lab: &Lab, mut command: Command, log: &Path) -> Result<()> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?.into_parts().0;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A Ctrl-C at the terminal is for whoever holds the lab, who ends it in order.
    let child = command.process_group(0).spawn().context("cannot run ip or nsenter")?;
    lab.children.lock().expect("no panic while the lock is held").push(child);
    Ok(())
}

fn assemble_images(record: &Record) -> Result<()> {
    let store = Store::new(record.state().images());
    let etcd = ["etcd", "etcdctl", "etcdutl"].map(|name| (record.etcd.join(name), name.to_owned()));
    // A drill runs the API server's program beside etcd. The real one is linked statically; ours comes with its libraries.
    let lab = [(record.program.clone(), "lab".to_owned())];
    let etcd: Vec<_> = etcd.into_iter().filter(|(path, _)| path.exists()).chain(lab).collect();
    store.assemble(&format!("registry.k8s.io/etcd:{}-0", record.etcd_version), "/usr/local/bin/etcd", &etcd)?;
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let programs = [(record.program.clone(), name.to_owned())];
        store.assemble(&format!("registry.k8s.io/{name}:{VERSION}"), &format!("/usr/local/bin/{name}"), &programs)?;
    }
    Ok(())
}

/// The node's files, but the manifests of what needs etcd.
fn write_node(lab: &Lab, authorities: &Authorities, number: u8, options: &Options) -> Result<()> {
    let (record, name) = (&lab.record, node_name(number));
    let (subnet, dir) = (record.subnet, record.state().node(&name));
    let address = subnet.node(number);
    authorities.write_node(&dir.pki(), &name, address, subnet.balancer())?;
    authorities.kubelet_server(&name, address)?.write(&dir.host("/var/lib/kubelet/pki"), "kubelet")?;
    let node_user = format!("system:node:{name}");
    let local = format!("https://{address}:6443");
    for (file, user, groups, server) in [
        ("admin", "kubernetes-admin", &["kubeadm:cluster-admins"][..], &lab.server()),
        ("super-admin", "kubernetes-super-admin", &["system:masters"][..], &lab.server()),
        ("controller-manager", "system:kube-controller-manager", &[][..], &local),
        ("scheduler", "system:kube-scheduler", &[][..], &local),
        ("kubelet", &node_user, &["system:nodes"][..], &local),
    ] {
        let config = pki::kubeconfig(&authorities.kubernetes, user, groups, server)?;
        files::write(&dir.host(&format!("/etc/kubernetes/{file}.conf")), config.as_bytes(), 0o600)?;
    }
    files::write(&dir.host("/var/lib/kubelet/config.yaml"), manifests::kubelet_config()?.as_bytes(), 0o644)?;
    files::write(&dir.host(LAB_DIR).join("faults.json"), b"{}", 0o600)?;
    fs::create_dir_all(dir.host(DATA_DIR))?;
    disk::make(&dir, options)
}

/// What the manifests of the node with this number depend on.
pub(crate) fn node<'a>(
    record: &'a Record,
    name: &'a str,
    number: u8,
    initial_cluster: &'a str,
    options: &Options,
) -> manifests::Node<'a> {
    manifests::Node {
        name,
        address: record.subnet.node(number),
        etcd_version: &record.etcd_version,
        initial_cluster,
        first: number == 1,
        etcd_quota: options.etcd_quota,
    }
}

/// Joins the members of etcd, starts the kubelets with etcd's manifests, writes those of what needs etcd, and waits for all.
async fn come_up(lab: &Lab, options: &Options) -> Result<()> {
    let record = &lab.record;
    let until = Instant::now() + PATIENCE;
    let clusters = bootstrap::members(lab, options, until).await?;
    for (number, initial_cluster) in (1..=record.nodes).zip(&clusters) {
        let name = node_name(number);
        let node = node(record, &name, number, initial_cluster, options);
        manifests::write(&record.state().node(&name).manifests(), "etcd", &manifests::etcd(&node))?;
    }
    for number in 1..=record.nodes {
        kubelet(lab, number)?;
    }
    for number in 1..=record.nodes {
        let client = bootstrap::client(lab, number)?;
        poll(until, "etcd", async || Ok(client.get("/health").await?["health"] == "true")).await?;
    }
    for (number, initial_cluster) in (1..=record.nodes).zip(&clusters) {
        let name = node_name(number);
        let dir = record.state().node(&name).manifests();
        let node = node(record, &name, number, initial_cluster, options);
        manifests::write(&dir, "kube-apiserver", &manifests::api_server(&node, options.api_server_grace))?;
        manifests::write(&dir, "kube-controller-manager", &manifests::controller_manager())?;
        manifests::write(&dir, "kube-scheduler", &manifests::scheduler())?;
    }
    let admin = fs::read_to_string(lab.kubeconfig())?;
    for number in 1..=record.nodes {
        let url = format!("https://{}:6443", record.subnet.node(number));
        let client = Client::from_kubeconfig(&admin, Some(&url))?;
        poll(until, "the API servers", async || {
            Ok(client.call(http::Method::GET, "/readyz", None).await?.0 == StatusCode::OK)
        })
        .await?;
    }
    let client = Client::from_kubeconfig(&admin, None)?;
    poll(until, "the static pods in the API", async || {
        let list = client.get("/api/v1/namespaces/kube-system/pods").await?;
        let running = list["items"].as_array().into_iter().flatten().filter(|pod| pod["status"]["phase"] == "Running");
        Ok(running.count() == 4 * usize::from(record.nodes))
    })
    .await
}

/// Asks again and again until the answer is yes, or until the time is over, also where an answer does not come.
pub(crate) async fn poll(until: Instant, what: &str, mut check: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    loop {
        let silence = || format!("{what} did not answer");
        let result = tokio::time::timeout_at(until.into(), check()).await.with_context(silence).flatten();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > until {
            let why = result.err().map_or_else(String::new, |error| format!(": {error:#}"));
            bail!("{what} did not come up in {PATIENCE:?}{why}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The ends of all logs, for an error message: the files are about to go.
fn logs(record: &Record) -> String {
    let mut all = String::from("the lab did not start");
    let mut tell = |path: &Path| {
        if let Ok(log) = fs::read_to_string(path) {
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(10)..];
            all.push_str(&format!("\n--- {}\n{}", path.display(), end.join("\n")));
        }
    };
    for name in record.node_names() {
        let dir = record.state().node(&name);
        tell(&record.state().log(&bootstrap::log(&name)));
        tell(&dir.kubelet_log());
        for pod in std::fs::read_dir(dir.pods()).into_iter().flatten().flatten() {
            for log in std::fs::read_dir(pod.path()).into_iter().flatten().flatten() {
                if log.path().extension().is_some_and(|extension| extension == "log") {
                    tell(&log.path());
                }
            }
        }
    }
    all.push_str("\n---");
    all
}
