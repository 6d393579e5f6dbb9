//! The life of the sidecars' pods: made, awaited, and deleted whatever happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, ListParams, PostParams};
use rand::Rng;
use tokio::task::JoinHandle;

use super::access::explain;
use super::removal::remove;
use super::spec::{Operation, PodPlan, SidecarArgs};
use crate::connection::Connection;
use crate::discovery::EtcdPod;
use crate::output::visible::quoted;
use crate::output::{Failed, Outcome, Printer};

const POLL: Duration = Duration::from_millis(200);
/// How often the events of a pod that does not start are looked at.
const EVENTS: Duration = Duration::from_secs(2);
/// How long an API server that fails has to recover while a pod is waited for.
const RECOVERY: Duration = Duration::from_secs(10);
const NAME_CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Every pod that this run has made, so that one place deletes them all.
#[derive(Clone)]
pub(crate) struct Pods {
    connection: Connection,
    args: SidecarArgs,
    printer: Printer,
    session: String,
    made: Arc<Mutex<Vec<Made>>>,
}

struct Made {
    name: String,
    /// The request that makes it. It is its own task: an interruption must not drop it half way, or a pod might
    /// come to be after it was deleted.
    request: Option<JoinHandle<()>>,
}

impl Pods {
    pub(crate) fn new(connection: &Connection, args: &SidecarArgs, printer: Printer) -> Pods {
        let (connection, args, session) = (connection.clone(), args.clone(), random_name(8));
        Pods { connection, args, printer, session, made: Arc::default() }
    }

    pub(crate) fn printer(&self) -> Printer {
        self.printer
    }

    /// The way to the API server.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.connection.client.clone(), &self.args.pod_namespace)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a sidecar on a member's node and waits until it runs. Gives the name of its pod, and the namespace.
    ///
    /// # Errors
    /// Rights, admission, quota, image, or whatever else keeps the pod from running, with the flag that mends it.
    pub(crate) async fn start(
        &self,
        member: &EtcdPod,
        operation: Operation,
        folder: Option<&str>,
    ) -> Outcome<(String, String)> {
        let plan = PodPlan {
            member,
            operation,
            args: &self.args,
            session: &self.session,
            suffix: &random_name(5),
            folder,
            started_by: &started_by(),
        };
        let name = plan.name();
        let (pods, pod, namespace) = (self.api(), plan.pod(), self.args.pod_namespace.clone());
        let doing = format!("create pod {namespace}/{name} on node {}", member.node);
        let (tell, told) = tokio::sync::oneshot::channel();
        let request = tokio::spawn(async move {
            let made = pods.create(&PostParams::default(), &pod).await;
            let outcome = made.map(|_| ()).map_err(|error| explain(&error, "create", "pods", &namespace, doing));
            let _gone = tell.send(outcome);
        });
        self.made().push(Made { name: name.clone(), request: Some(request) });
        told.await.map_err(|_| Failed::plain("cannot make the sidecar's pod").cause("its request was lost"))??;
        self.printer.detail(format!("pod/{name} created on node {}", member.node));
        if let Err(failed) = self.running(&name, &member.node).await {
            // Whoever reads journals tries again, with another.
            if matches!(operation, Operation::Recall | Operation::Follow) {
                self.delete_early(&name).await;
            }
            return Err(failed);
        }
        Ok((name, self.args.pod_namespace.clone()))
    }

    /// Asks the API server whether it would take a sidecar on a member's node: rights, quota and admission. Makes nothing.
    ///
    /// # Errors
    /// As [`Pods::start`], as far as the API server knows.
    pub(crate) async fn rehearse(&self, member: &EtcdPod, operation: Operation) -> Outcome {
        let plan = PodPlan {
            member,
            operation,
            args: &self.args,
            session: &self.session,
            suffix: &random_name(5),
            folder: None,
            started_by: &started_by(),
        };
        let namespace = &self.args.pod_namespace;
        let doing = format!("create pod {namespace}/{} on node {} (server dry run)", plan.name(), member.node);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made = self.api().create(&params, &plan.pod()).await;
        made.map(|_| ()).map_err(|error| explain(&error, "create", "pods", namespace, doing))
    }

    async fn running(&self, name: &str, node: &str) -> Outcome {
        let begun = Instant::now();
        let mut told = String::new();
        let mut looked = begun;
        loop {
            let pod = match self.api().get(name).await {
                Ok(pod) => pod,
                // As when another API server takes over.
                Err(error) if transient(&error) && begun.elapsed() < RECOVERY.min(self.args.pod_running_timeout) => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(error) => {
                    let doing = format!("watch pod {name} start on node {node}");
                    return Err(explain(&error, "get", "pods", &self.args.pod_namespace, doing));
                }
            };
            let state = match State::of(&pod) {
                State::Running => return Ok(()),
                State::Never { reason, message } => {
                    return Err(self.never(name, node, &reason).await.cause(format!("{reason}: {message}")));
                }
                State::Waiting(state) => state,
            };
            if state == "ContainerCreating" && looked.elapsed() > EVENTS {
                looked = Instant::now();
                // A folder that the node does not have keeps a pod in this state for ever; only its events tell.
                let failed = self.never(name, node, &state).await;
                if lacks_folder(&failed) {
                    return Err(failed);
                }
            }
            if begun.elapsed() > self.args.pod_running_timeout {
                let seconds = self.args.pod_running_timeout.as_secs();
                return Err(self
                    .never(name, node, &state)
                    .await
                    .cause(format!("after {seconds}s its state is {state}"))
                    .hint("give a slow node more time with --pod-running-timeout"));
            }
            if begun.elapsed() > Duration::from_secs(2) && told != state {
                self.printer.detail(format!("waiting for pod/{name} to start on node {node}: {state}"));
                told = state;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Why a pod does not start, with what its events say and the flag that mends it.
    async fn never(&self, name: &str, node: &str, reason: &str) -> Failed {
        let namespace = &self.args.pod_namespace;
        let mut failed = Failed::plain(format!("the sidecar's pod {namespace}/{name} does not start on node {node}"));
        let events: Api<Event> = Api::namespaced(self.connection.client.clone(), namespace);
        let selector = ListParams::default().fields(&format!("involvedObject.name={name}"));
        // Events explain; a user who may not read them has the pod's own state all the same.
        if let Ok(list) = events.list(&selector).await {
            let warnings = list.items.into_iter().filter(|event| event.type_.as_deref() == Some("Warning"));
            failed = failed.causes(warnings.filter_map(|event| event.message).take(3));
        }
        match reason {
            reason if reason.contains("Image") => failed.hint(format!(
                "name an image that node {node} has or can pull: --image REF, --image-pull-policy, --image-pull-secret NAME\n  \
                 now: {} ({})",
                self.args.image, self.args.image_pull_policy
            )),
            "the kubelet has not started the pod" => failed.hint(format!("see whether the node is there and ready:\n  kubectl get node {}", quoted(node))),
            "ContainerCreating" => failed.hint(format!(
                "a folder may be missing on the node: that of the certificates (name the files with --cacert, --cert and \
                 --key), that of --on-node, that of --manifests-dir, or /etc/kubernetes for --node-files\n  kubectl get events -n {} --field-selector involvedObject.name={}",
                quoted(namespace),
                quoted(name)
            )),
            _ => failed,
        }
    }

    /// Deletes every pod that was made, and waits until they are gone. Returns those that are not, with the reason.
    pub(crate) async fn delete_all(&self) -> Vec<(String, String)> {
        let made: Vec<String> = self.made().iter().map(|made| made.name.clone()).collect();
        let deletions =
            made.into_iter().map(|name| async move { self.delete(&name).await.err().map(|why| (name, why)) });
        futures::future::join_all(deletions).await.into_iter().flatten().collect()
    }

    /// The pods that are there now because of this run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.made().iter().map(|made| format!("{}/{}", self.args.pod_namespace, made.name)).collect()
    }

    /// Deletes one pod before the others, when it is not needed any more. One that stays is tried again at the end.
    pub(crate) async fn delete_early(&self, pod: &str) {
        if let Err(reason) = self.delete(pod).await {
            tracing::info!("pod {pod} is still there: {reason}");
        }
    }

    /// A pod stays on the list until it is gone: whoever interrupts this finds it there.
    async fn delete(&self, name: &str) -> Result<(), String> {
        let request = self.made().iter_mut().find(|made| made.name == name).and_then(|made| made.request.take());
        if let Some(request) = request {
            // One that is answered no more is not waited for: a pod that it still makes ends by itself.
            let _told_elsewhere = tokio::time::timeout(RECOVERY, request).await;
        }
        if remove(&self.api(), name).await? {
            self.printer.detail(format!("pod/{name} deleted"));
        }
        self.made().retain(|made| made.name != name);
        Ok(())
    }
}

/// Whether a pod does not start because its node has no such folder: what a kubelet says of a `hostPath` that is not there.
pub(crate) fn lacks_folder(failed: &Failed) -> bool {
    failed.causes.iter().any(|cause| cause.contains("hostPath type check failed"))
}

/// Whether a request may fare better in a moment: the server failed, or the road to it.
fn transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// What a pod's status means for someone who waits for it to run.
#[derive(Debug, PartialEq)]
enum State {
    Running,
    Waiting(String),
    Never { reason: String, message: String },
}

impl State {
    fn of(pod: &Pod) -> State {
        let Some(status) = &pod.status else { return State::Waiting("the kubelet has not started the pod".to_owned()) };
        let container = status.container_statuses.iter().flatten().next();
        // What comes first: the others wait for it.
        let init = status.init_container_statuses.iter().flatten().find(|init| !has_succeeded(init));
        let never = |reason: &str, message: Option<String>| State::Never {
            reason: reason.to_owned(),
            message: message.unwrap_or_else(|| "no message".to_owned()),
        };
        match status.phase.as_deref() {
            Some("Running") if container.is_some_and(runs) => State::Running,
            Some("Failed" | "Succeeded") => {
                let ended = init.or(container).and_then(|c| c.state.as_ref()?.terminated.as_ref());
                match ended {
                    Some(ended) => never(
                        ended.reason.as_deref().unwrap_or("Ended"),
                        Some(format!("exit code {} {}", ended.exit_code, ended.message.as_deref().unwrap_or_default())),
                    ),
                    None => never(status.reason.as_deref().unwrap_or("Failed"), status.message.clone()),
                }
            }
            _ => match init.or(container).and_then(|c| c.state.as_ref()?.waiting.as_ref()) {
                Some(waiting) => match waiting.reason.as_deref().unwrap_or("ContainerCreating") {
                    reason @ ("ErrImagePull"
                    | "ImagePullBackOff"
                    | "ErrImageNeverPull"
                    | "InvalidImageName"
                    | "ImageInspectError"
                    | "CreateContainerConfigError"
                    | "CreateContainerError"
                    | "RunContainerError"
                    | "CrashLoopBackOff") => never(reason, waiting.message.clone()),
                    reason => State::Waiting(reason.to_owned()),
                },
                None if container.is_none() => State::Waiting("the kubelet has not started the pod".to_owned()),
                None => State::Waiting("starting".to_owned()),
            },
        }
    }
}

fn has_succeeded(init: &ContainerStatus) -> bool {
    init.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == 0)
}

fn runs(container: &ContainerStatus) -> bool {
    container.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Random characters that spell no words.
pub(crate) fn random_name(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| NAME_CHARACTERS[random.random_range(0..NAME_CHARACTERS.len())] as char).collect()
}

/// The user and the machine, for whoever finds the pod.
pub(crate) fn started_by() -> String {
    let variable =
        |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok()).filter(|name| !name.is_empty());
    let user = variable(["USER", "USERNAME"]);
    // Shells know the name of the machine but do not hand it on; Linux has it in a file.
    let file = || Some(fs_err::read_to_string("/etc/hostname").ok()?.trim().to_owned());
    let machine = variable(["HOSTNAME", "COMPUTERNAME"]).or_else(file);
    let known = |name: Option<String>| name.unwrap_or_else(|| "unknown".to_owned());
    format!("{}@{}", known(user), known(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: serde_json::Value) -> State {
        State::of(&serde_json::from_value(serde_json::json!({"metadata": {}, "status": status})).expect("a pod"))
    }

    #[test]
    fn states_as_a_real_api_server_showed_them() {
        let waiting = |reason: &str| {
            serde_json::json!({"phase": "Pending", "containerStatuses": [{"name": "s", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "m"}}}]})
        };
        assert_eq!(
            state(serde_json::json!({"phase": "Pending"})),
            State::Waiting("the kubelet has not started the pod".into())
        );
        assert_eq!(state(waiting("ContainerCreating")), State::Waiting("ContainerCreating".into()));
        for reason in ["ErrImagePull", "ErrImageNeverPull"] {
            assert_eq!(state(waiting(reason)), State::Never { reason: reason.into(), message: "m".into() });
        }
        let running = serde_json::json!({"phase": "Running", "containerStatuses": [{"name": "s", "image": "", "imageID": "",
            "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-11-21T04:57:09Z"}}}]});
        assert_eq!(state(running), State::Running);
        let of = |name: &str, state: serde_json::Value| serde_json::json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let with_init = |phase: &str, init: serde_json::Value, main: &str| {
            let main = serde_json::json!({"waiting": {"reason": main, "message": "m"}});
            serde_json::json!({"phase": phase, "initContainerStatuses": [of("i", init)], "containerStatuses": [of("s", main)]})
        };
        let pulls = serde_json::json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        assert_eq!(
            state(with_init("Pending", pulls, "PodInitializing")),
            State::Never { reason: "ErrImagePull".into(), message: "no such image".into() }
        );
        let ended = |code: i32| serde_json::json!({"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }}});
        assert_eq!(
            state(with_init("Failed", ended(1), "PodInitializing")),
            State::Never { reason: "Error".into(), message: "exit code 1 ".into() }
        );
        assert_eq!(
            state(with_init("Pending", ended(0), "ErrImageNeverPull")),
            State::Never { reason: "ErrImageNeverPull".into(), message: "m".into() }
        );
        let running = serde_json::json!({"running": {"startedAt": "2026-11-21T04:57:09Z"}});
        assert_eq!(state(with_init("Pending", running, "PodInitializing")), State::Waiting("starting".into()));
        assert!(matches!(
            state(serde_json::json!({"phase": "Failed", "reason": "DeadlineExceeded"})),
            State::Never { .. }
        ));
    }
}
