//! One container of a pod: image, start, end, and the next start after a back-off.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

use super::handle::Handle;
use super::spec::Refusal;
use super::status::{State, now};
use super::{Node, runtime, sources, spec, volumes};
use crate::image::Image;
use crate::pod::{Container, RestartPolicy};

/// How often what may come to be there is looked for: an image, a host path.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// The kubelet's back-off: the first restart is at once, later ones wait, each twice as long.
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_LIMIT: Duration = Duration::from_secs(300);
/// A container that ran this long starts its back-off anew.
const STABLE: Duration = Duration::from_secs(600);

/// What happened to the container with this index.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) index: usize,
    pub(super) state: State,
    pub(super) restarts: u32,
    pub(super) image_id: String,
}

/// One container's life.
pub(super) struct Life<'a> {
    pub(super) node: &'a Node,
    pub(super) handle: &'a Handle,
    pub(super) index: usize,
    pub(super) container: &'a Container,
    pub(super) stop: watch::Receiver<Option<Duration>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Life<'_> {
    fn tell(&self, state: State, restarts: u32, image_id: &str) {
        if let State::Waiting { reason, message: Some(message) } = &state {
            tracing::warn!(
                pod = self.handle.pod.metadata.name,
                container = self.container().name,
                "{reason}: {message}"
            );
        }
        // The worker that listens outlives its containers.
        let _ = self.events.send(Event { index: self.index, state, restarts, image_id: image_id.to_owned() });
    }

    /// Waits, and says whether the pod is to end meanwhile.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop.wait_for(Option::is_some)).await.is_ok()
    }

    fn container(&self) -> &Container {
        self.container
    }

    /// Runs the container until it has ended for good; its last exit code, or nothing if its pod was to end before.
    pub(super) async fn run(mut self) -> Result<Option<i32>> {
        let mut restarts = 0;
        let mut back_off = Duration::ZERO;
        loop {
            // What is to end before it has begun is never begun: it might not be ready yet to take the signal.
            if self.stop.borrow().is_some() {
                return Ok(None);
            }
            let Some(image) = self.image(restarts).await? else { return Ok(None) };
            let Some(given) = self.variables(restarts, &image.id).await else { return Ok(None) };
            let begun = tokio::time::Instant::now();
            let (code, stopped) = match self.once(&image, &given, restarts).await? {
                Ok(end) => end,
                Err(refusal) => {
                    let state = State::Waiting { reason: refusal.reason, message: Some(refusal.message) };
                    self.tell(state, restarts, &image.id);
                    (1, false)
                }
            };
            let again = match self.handle.pod.spec.restart_policy {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => code != 0,
                RestartPolicy::Never => false,
            };
            if stopped || !again {
                return Ok((!stopped).then_some(code));
            }
            if begun.elapsed() > STABLE {
                back_off = Duration::ZERO;
            }
            if back_off > Duration::ZERO {
                let message =
                    format!("back-off {}s restarting failed container={}", back_off.as_secs(), self.container().name);
                self.tell(State::Waiting { reason: "CrashLoopBackOff", message: Some(message) }, restarts, &image.id);
            }
            if self.pause(back_off).await {
                return Ok(None);
            }
            back_off = if back_off.is_zero() { BACK_OFF } else { (back_off * 2).min(BACK_OFF_LIMIT) };
            restarts += 1;
        }
    }

    /// Runs the container once; the exit code, and whether it was ended by us.
    async fn once(
        &mut self,
        image: &Image,
        given: &BTreeMap<String, String>,
        restarts: u32,
    ) -> Result<Result<(i32, bool), Refusal>> {
        let (node, handle, name) = (self.node, self.handle, self.container().name.clone());
        let id = container_id(&handle.pod.metadata.uid, &name, restarts);
        let dir = node.dir.containers().join(&id);
        runtime::remove_dir(&dir)?;
        let root = runtime::overlay(&image.root, &dir)?;
        // Named, so that a container can be found by its pod, also after the node was switched off.
        fs_err::write(dir.join("uid"), &handle.pod.metadata.uid)?;
        fs_err::write(dir.join("name"), format!("{}/{}/{name}", handle.namespace(), handle.api_name(&node.name)))?;
        let failed = |error: anyhow::Error| Refusal { reason: "CreateContainerError", message: format!("{error:#}") };
        let made = volumes::mounts(node, &handle.pod, self.container(), &handle.dir(node))
            .map_err(failed)
            .and_then(|mounts| spec::oci(node, &handle.pod, self.container(), (image, given), &root, &mounts));
        let config = match made {
            Ok(config) => config,
            Err(refusal) => {
                runtime::remove_dir(&dir)?;
                return Ok(Err(refusal));
            }
        };
        let log = handle.dir(node).join(format!("{name}.log"));
        let running = match runtime::start(&node.dir.runtime(), &dir, &id, &config, &log).await {
            Ok(running) => running,
            Err(error) => {
                runtime::remove_dir(&dir)?;
                return Ok(Err(Refusal { reason: "RunContainerError", message: format!("{error:#}") }));
            }
        };
        let started = now();
        handle.set_running(&name, Some(id.clone()));
        self.tell(State::Running { id: id.clone(), started: started.clone() }, restarts, &image.id);

        let mut stopped = false;
        let code = tokio::select! {
            code = running.wait() => code?,
            grace = stop_asked(&mut self.stop) => {
                stopped = true;
                self.end(&running, grace).await?
            }
        };
        handle.set_running(&name, None);
        running.delete().await?;
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.tell(State::Terminated { id, code, started, finished: now(), reason }, restarts, &image.id);
        Ok(Ok((code, stopped)))
    }

    /// SIGTERM, the grace period, SIGKILL. A grace period that is made shorter counts from then on.
    async fn end(&mut self, running: &runtime::Running, mut grace: Duration) -> Result<i32> {
        running.signal(Signal::TERM)?;
        loop {
            tokio::select! {
                code = running.wait() => return code,
                shorter = async { drop(self.stop.changed().await); *self.stop.borrow() } => {
                    grace = shorter.unwrap_or(grace);
                }
                () = tokio::time::sleep(grace) => {
                    running.signal(Signal::KILL)?;
                    return running.wait().await;
                }
            }
        }
    }

    /// The variables that Secrets and ConfigMaps give, as soon as those are there; nothing if the pod is to end before.
    async fn variables(&mut self, restarts: u32, image_id: &str) -> Option<BTreeMap<String, String>> {
        let mut told = String::new();
        loop {
            let message = match sources::variables(self.node, &self.handle.pod, self.container()).await {
                Ok(given) => return Some(given),
                Err(error) => format!("{error:#}"),
            };
            if message != told {
                told.clone_from(&message);
                let reason = "CreateContainerConfigError";
                self.tell(State::Waiting { reason, message: Some(message) }, restarts, image_id);
            }
            if self.pause(RETRY).await {
                return None;
            }
        }
    }

    /// The image, as soon as it is there; nothing if the pod is to end before.
    async fn image(&mut self, restarts: u32) -> Result<Option<Image>> {
        let reference = self.container().image.clone();
        let latest =
            reference.ends_with(":latest") || !reference.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        let default = if latest { "Always" } else { "IfNotPresent" };
        let policy = self.container().image_pull_policy.clone().unwrap_or_else(|| default.to_owned());
        let mut waits = 0;
        loop {
            if policy != "Always"
                && let Some(image) = self.node.images.get(&reference)?
            {
                return Ok(Some(image));
            }
            let state = match (policy.as_str(), waits) {
                ("Never", 0) => Some(State::Waiting {
                    reason: "ErrImageNeverPull",
                    message: Some(format!("Container image {reference:?} is not present with pull policy of Never")),
                }),
                (_, 0) => Some(State::Waiting { reason: "ErrImagePull", message: Some(pull_error(&reference)) }),
                ("Never", _) => None,
                // The kubelet tries again after ten seconds, and says so in between.
                (_, 20) => Some(State::Waiting {
                    reason: "ImagePullBackOff",
                    message: Some(format!(
                        "Back-off pulling image {reference:?}: ErrImagePull: {}",
                        pull_error(&reference)
                    )),
                }),
                _ => None,
            };
            if let Some(state) = state {
                self.tell(state, restarts, "");
            }
            waits += 1;
            if self.pause(RETRY).await {
                return Ok(None);
            }
        }
    }
}

async fn stop_asked(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let grace = stop.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
    // The sender lives as long as the pod's handle, which outlives its containers: there is a grace period.
    grace.unwrap_or_default()
}

/// containerd's words for a registry that is not there: the lab has none.
fn pull_error(reference: &str) -> String {
    let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let (host, path) = name.split_once('/').unwrap_or(("docker.io", name));
    format!(
        "failed to pull and unpack image {reference:?}: failed to resolve image: failed to do request: Head \
         \"https://{host}/v2/{path}/manifests/{tag}\": dial tcp {host}: connect: connection refused"
    )
}

/// An id like containerd's: 64 hex digits.
fn container_id(uid: &str, name: &str, restarts: u32) -> String {
    let seed = format!("{uid}/{name}/{restarts}/{:?}", std::time::SystemTime::now());
    crate::image::hex(ring::digest::digest(&ring::digest::SHA256, seed.as_bytes()).as_ref())
}
