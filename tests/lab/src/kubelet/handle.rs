//! What the parts of the kubelet share about one pod.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

use super::Node;
use crate::pod::Pod;

/// Something to tell the API server about a pod, in order.
#[derive(Debug)]
pub(super) enum Report {
    Status(Value),
    /// The pod has ended and was to be deleted.
    Delete,
}

/// A pod on the node.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) pod: Pod,
    is_static: bool,
    /// The grace period, once the pod is to end.
    pub(super) stop: watch::Sender<Option<Duration>>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    /// The last status, told to the API server or not.
    status: Mutex<Value>,
    /// As the API told of it, or as the mirror pod will be.
    object: Mutex<Value>,
    /// Asks for the latest status to be sent again.
    pub(super) repost: Notify,
    pub(super) generation: AtomicU64,
    pub(super) generation_changed: Notify,
    /// Whether the object goes when the pod has ended.
    pub(super) deleting: AtomicBool,
    /// Whether the pod has ended for good.
    pub(super) ended: watch::Sender<bool>,
    /// The ids of the running containers by name.
    pub(super) running: Mutex<HashMap<String, String>>,
}

impl Handle {
    /// A pod of the API, by its object; or a static one, by the object that its mirror pod will be.
    pub(super) fn new(pod: Pod, object: Value, is_static: bool) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, receiver) = mpsc::unbounded_channel();
        let generation = AtomicU64::new(pod.metadata.generation.unwrap_or_default());
        let handle = Self {
            pod,
            status: Mutex::new(json!({"phase": "Pending"})),
            object: Mutex::new(object),
            is_static,
            stop: watch::Sender::new(None),
            reports,
            repost: Notify::new(),
            generation,
            generation_changed: Notify::new(),
            deleting: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            running: Mutex::default(),
        };
        (handle, receiver)
    }

    pub(super) fn is_static(&self) -> bool {
        self.is_static
    }

    /// The whole object; its status is what the pod had when the kubelet heard of it.
    pub(super) fn object(&self) -> Value {
        self.object.lock().expect("no panic while the lock is held").clone()
    }

    /// Takes the object as the API has it now.
    pub(super) fn renew(&self, object: &Value) {
        self.object.lock().expect("no panic while the lock is held").clone_from(object);
    }

    /// The last status.
    pub(super) fn status(&self) -> Value {
        self.status.lock().expect("no panic while the lock is held").clone()
    }

    /// Takes note of a status and has it told to the API server.
    pub(super) fn report(&self, status: Value) {
        self.status.lock().expect("no panic while the lock is held").clone_from(&status);
        // The reporter lives as long as the handle; after that nobody asks.
        let _ = self.reports.send(Report::Status(status));
    }

    pub(super) fn is_active(&self) -> bool {
        !*self.ended.borrow()
    }

    pub(super) fn namespace(&self) -> &str {
        &self.pod.metadata.namespace
    }

    /// The object's name: a static pod's bears the node's.
    pub(super) fn api_name(&self, node: &str) -> String {
        if self.is_static() { format!("{}-{node}", self.pod.metadata.name) } else { self.pod.metadata.name.clone() }
    }

    pub(super) fn api_path(&self, node: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace(), self.api_name(node))
    }

    pub(super) fn dir(&self, node: &Node) -> PathBuf {
        node.dir.pods().join(&self.pod.metadata.uid)
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.pod.spec.termination_grace_period_seconds)
    }

    /// Asks the pod to end. A later, shorter grace period counts.
    pub(super) fn end(&self, grace: Duration) {
        self.stop.send_if_modified(|stop| {
            let shorter = stop.is_none_or(|old| grace < old);
            if shorter {
                *stop = Some(grace);
            }
            shorter
        });
    }

    /// Takes note of the object's generation, which the status repeats.
    pub(super) fn observe(&self, generation: u64) {
        if self.generation.swap(generation, Ordering::SeqCst) != generation {
            self.generation_changed.notify_one();
        }
    }

    pub(super) fn container_id(&self, name: &str) -> Option<String> {
        self.running.lock().expect("no panic while the lock is held").get(name).cloned()
    }

    pub(super) fn set_running(&self, name: &str, id: Option<String>) {
        let mut running = self.running.lock().expect("no panic while the lock is held");
        match id {
            Some(id) => running.insert(name.to_owned(), id),
            None => running.remove(name),
        };
    }

    /// Waits until the pod has ended for good.
    pub(super) async fn wait_end(&self) {
        // The sender lives in this very handle.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}
