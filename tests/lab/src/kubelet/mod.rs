//! The kubelet stand-in: static pods from the manifests folder, mirror pods, pods from the API, exec, port forwarding. One process a
//! node, in the node's network, mount and process namespaces, where it is the first process.
//!
//! Its own server answers on port 10250 as the real one does: `/pods`, `/runningpods/`, `/run`, `/exec`, `/portForward`, `/containerLogs`,
//! `/healthz`. What it does not do: ask the API server who may do what (it obeys the API server's certificate and no
//! other), take the UID of a pod in a path, speak SPDY, measure (`/metrics`, `/stats`).

mod api;
mod boot;
mod container;
mod exec;
mod handle;
mod pods;
mod port_forward;
mod reap;
mod run;
mod runtime;
mod server;
mod sources;
mod spec;
mod statics;
mod status;
mod volumes;
mod websocket;
mod worker;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use fs_err as fs;

use crate::client::Client;
use crate::image::Store;
use crate::paths::{NodeDir, State};
use handle::Handle;

/// The kubelet's command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// Address of the node.
    #[arg(long)]
    address: Ipv4Addr,
    /// State folder of the lab.
    #[arg(long)]
    state: PathBuf,
}

/// The node as its kubelet knows it.
#[derive(Debug)]
struct Node {
    name: String,
    address: Ipv4Addr,
    dir: NodeDir,
    images: Store,
    api: Client,
    /// All pods on the node by UID; a static pod's UID is its hash.
    pods: Mutex<HashMap<String, Arc<Handle>>>,
    /// The containers that the node's last run left behind: the UID of their pod, and their id.
    lost: HashMap<String, String>,
    /// Told when the set of static pods changed.
    statics_changed: tokio::sync::Notify,
}

impl Node {
    fn pods(&self) -> Vec<Arc<Handle>> {
        self.pods.lock().expect("no panic while the lock is held").values().cloned().collect()
    }

    fn insert(&self, uid: &str, handle: Arc<Handle>) {
        self.pods.lock().expect("no panic while the lock is held").insert(uid.to_owned(), handle);
    }

    fn remove(&self, uid: &str) {
        self.pods.lock().expect("no panic while the lock is held").remove(uid);
    }

    /// The pod of this name; of two, the one that has not ended.
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Handle>> {
        let all = self.pods().into_iter();
        all.filter(|handle| handle.namespace() == namespace && handle.api_name(&self.name) == name)
            .max_by_key(|handle| handle.is_active())
    }
}

/// Runs until the process is killed, or fails to start.
pub(crate) async fn run(args: Args) -> Result<()> {
    // crun looks at cgroups even when it is to use none, and refuses hosts that have both versions. In the node's own
    // mount namespace there is one.
    rustix::mount::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", rustix::mount::MountFlags::empty(), None)
        .context("cannot mount cgroup2")?;
    let state = State::new(args.state);
    let dir = state.node(&args.node);
    boot::private_mounts(&state, &dir)?;
    boot::fresh_run(&dir)?;
    let lost = boot::clear(&dir)?;
    let kubeconfig = fs::read_to_string(dir.host("/etc/kubernetes/kubelet.conf"))?;
    let api = Client::from_kubeconfig(&kubeconfig, Some(&format!("https://{}:6443", args.address)))?;
    let node = Arc::new(Node {
        name: args.node,
        address: args.address,
        dir,
        images: Store::new(state.images()),
        api,
        pods: Mutex::default(),
        lost,
        statics_changed: tokio::sync::Notify::new(),
    });
    // Each of these ends only by an error, and the kubelet with it.
    tokio::select! {
        result = server::healthz() => result,
        result = server::serve(Arc::clone(&node)) => result,
        result = statics::run(Arc::clone(&node)) => result,
        result = api::run(Arc::clone(&node)) => result,
        result = reap::run() => result,
    }
}
