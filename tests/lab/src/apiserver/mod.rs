//! A strict stand-in for kube-apiserver: it keeps its objects as JSON in a real etcd under Kubernetes' own keys, and
//! answers like a real 1.36 server or not at all. It caches nothing, so that what it serves after a restore of the etcd
//! underneath is what was restored; but rights, namespaces and quotas are remembered for as long as etcd answers nothing.
//! Without a quorum of etcd a read waits until its time is over (`--request-timeout`, a minute), and a write until etcd
//! gives it up. A real server would still serve lists of revision 0 out of its caches. Of a database of gigabytes it holds
//! a few megabytes: ranges are read piece by piece, and lists and watches are written as they are read.
//!
//! Streams to a kubelet are WebSockets: exec and port forwarding by the channels of `v4.channel.k8s.io`, as kube-rs
//! speaks them. `kubectl exec` works; `kubectl port-forward` does not, as it has SPDY inside its WebSocket. The proxy of a
//! node passes on any request but an upgrade, and to the kubelet's port alone.
//!
//! What it does not do: sign or check service-account tokens, schedule, garbage-collect, run controllers, convert
//! versions, keep managed fields, speak SPDY, or protobuf but for kubectl's reviews (so of `kubectl
//! create` only `-f` works), narrow a kubelet's rights to its own node.

mod admission;
mod args;
mod auth;
mod discovery;
mod exec;
mod faults;
mod kubelet;
mod list;
mod node_proxy;
mod patch;
mod pieces;
mod pods;
mod protobuf;
mod rbac;
mod request;
mod resource;
mod respond;
mod rest;
mod reviews;
mod selector;
mod server;
mod store;
mod table;
mod tunnel;
mod validate;
mod watch;

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

pub use args::{Args, Meaningless};
use server::End;

/// What `kube-apiserver --version` prints.
#[must_use]
pub fn version() -> String {
    format!("Kubernetes {}", discovery::VERSION)
}

/// Serves until SIGTERM or SIGINT, then takes no more connections. Like the real server it serves those it has as long
/// as it is let live, for a watch never ends by itself: it spends whatever grace period it is given.
///
/// # Errors
/// When a file named on the command line cannot be used, the port cannot be listened on or etcd does not answer.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind((args.bind_address, args.secure_port)).await?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopper.cancel();
    });
    server::serve(args, listener, stop, End::Killed).await
}

/// Serves on a listener (whose port wins over `--secure-port`) until `stop`, then ends the watches and returns.
///
/// # Errors
/// When a file named on the command line cannot be used, or etcd does not answer.
pub async fn serve(args: Args, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    server::serve(args, listener, stop, End::Returns).await
}
