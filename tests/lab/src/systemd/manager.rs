//! The service manager: holds the units, and does what is decided for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use tokio::sync::oneshot;

use super::definition::Definition;
use super::files::{self, Files};
use super::outcome::Outcome;
use super::process;
use super::request::Verb;
use super::service::{Service, State, Step};
use crate::own_view;
use crate::paths::{NodeDir, State as LabState};

/// How a job has ended for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed(Outcome),
    Canceled,
}

/// What was last asked of a unit, until it has come about.
#[derive(Debug)]
struct Job {
    /// To start or to restart, not to stop.
    up: bool,
    waiting: Vec<oneshot::Sender<End>>,
}

impl Job {
    fn finish(self, end: End) {
        for waiting in self.waiting {
            // Who asked may have gone.
            let _ = waiting.send(end);
        }
    }
}

/// A unit: as it was last read, and as it is.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) files: Files,
    /// Nothing for one that runs and has no file any more.
    pub(super) definition: Option<Definition>,
    pub(super) service: Service,
    job: Option<Job>,
}

impl Unit {
    /// What it is held to; once its file is gone, to what systemd does by itself.
    fn rules(&self) -> Definition {
        self.definition.clone().unwrap_or_default()
    }

    fn settle(&mut self) {
        let settled = |job: &Job| {
            if job.up { self.service.is_settled_up() } else { self.service.is_settled_down() }
        };
        if self.job.as_ref().is_some_and(settled)
            && let Some(job) = self.job.take()
        {
            let failed = job.up && self.service.state == State::Failed;
            job.finish(if failed { End::Failed(self.service.outcome) } else { End::Done });
        }
    }
}

/// The manager of one node.
#[derive(Debug)]
pub(super) struct Manager {
    node: String,
    state: LabState,
    pub(super) dir: NodeDir,
    units: Mutex<BTreeMap<String, Unit>>,
}

impl Manager {
    pub(super) fn new(node: &str, state: &LabState) -> Arc<Self> {
        let (dir, state) = (state.node(node), state.clone());
        Arc::new(Self { node: node.to_owned(), state, dir, units: Mutex::default() })
    }

    pub(super) fn units(&self) -> MutexGuard<'_, BTreeMap<String, Unit>> {
        self.units.lock().expect("no panic while the lock is held")
    }

    fn log(&self, unit: &str) -> PathBuf {
        super::unit_log(&self.state, &self.node, unit)
    }

    /// Reads all units anew. What runs goes on.
    pub(super) fn reload(&self) -> Result<()> {
        let mut units = self.units();
        let mut names = files::names(&self.dir)?;
        names.extend(units.keys().filter(|name| !names.contains(*name)).cloned().collect::<Vec<_>>());
        for name in names {
            let files = files::read(&self.dir, &name)?;
            let mut log = Vec::new();
            let definition = files::define(&name, &files, &mut log);
            for line in log {
                tracing::warn!("{name}: {line}");
            }
            let unit = units.entry(name.clone()).or_insert_with(|| Unit {
                name: name.clone(),
                files: Files::default(),
                definition: None,
                service: Service::default(),
                job: None,
            });
            (unit.files, unit.definition) = (files, definition);
            unit.service.reloaded();
            if unit.definition.is_none() && matches!(unit.service.state, State::Dead | State::Failed) {
                units.remove(&name);
            }
        }
        Ok(())
    }

    /// Starts what is enabled.
    pub(super) fn start_enabled(self: &Arc<Self>) {
        for unit in self.units().values_mut() {
            if files::is_enabled(&self.dir, &unit.name) {
                let step = unit.service.start();
                self.carry_out(unit, step);
            }
        }
    }

    /// Begins a job, and gives what tells its end. A job of the other direction is canceled, as in the real one.
    pub(super) fn begin(self: &Arc<Self>, unit: &mut Unit, verb: Verb) -> oneshot::Receiver<End> {
        let up = verb != Verb::Stop;
        if let Some(other) = unit.job.take_if(|job| job.up != up) {
            other.finish(End::Canceled);
        }
        let (ended, end) = oneshot::channel();
        unit.job.get_or_insert(Job { up, waiting: Vec::new() }).waiting.push(ended);
        let rules = unit.rules();
        let step = match verb {
            Verb::Start => unit.service.start(),
            Verb::Stop => unit.service.stop(&rules),
            Verb::Restart => unit.service.restart(&rules),
        };
        self.carry_out(unit, step);
        end
    }

    fn carry_out(self: &Arc<Self>, unit: &mut Unit, mut step: Step) {
        loop {
            step = match step {
                Step::Nothing => break,
                Step::Attempt => self.attempt(unit),
                Step::Spawn => self.spawn(unit),
                Step::Terminate { pid, patience } => {
                    tracing::info!("Stopping {}", unit.name);
                    process::signal(pid, Signal::TERM);
                    self.later(unit, patience, Service::stop_timeout);
                    Step::Nothing
                }
                Step::Kill { pid } => {
                    tracing::warn!("{}: State 'stop-sigterm' timed out. Killing.", unit.name);
                    process::signal(pid, Signal::KILL);
                    Step::Nothing
                }
                Step::Wait(time) => {
                    self.later(unit, time, Service::due);
                    Step::Nothing
                }
            };
        }
        unit.settle();
    }

    fn attempt(&self, unit: &mut Unit) -> Step {
        // Gone or spoiled since it was started.
        let Some(rules) = unit.definition.as_ref().filter(|rules| rules.bad.is_none()) else { return Step::Nothing };
        if let Err(error) = own_view::follow(&self.dir) {
            tracing::error!("cannot follow the node's folders: {error:#}");
        }
        let unmet = rules.conditions.iter().find(|one| files::place(&self.dir, &one.path).exists() != one.exists);
        if let Some(one) = unmet {
            let sign = if one.exists { "" } else { "!" };
            tracing::info!("{}: unmet condition check (ConditionPathExists={sign}{})", unit.name, one.path);
        }
        let step = unit.service.attempt(rules, Instant::now(), unmet.is_none());
        if unmet.is_none() && step == Step::Nothing {
            tracing::warn!("{}: Start request repeated too quickly.", unit.name);
        }
        step
    }

    fn spawn(self: &Arc<Self>, unit: &mut Unit) -> Step {
        let rules = unit.rules();
        match process::spawn(&self.dir, &rules, &self.log(&unit.name)) {
            Ok(mut child) => {
                // A child that was not waited for has an id.
                let pid = child.id().unwrap_or_default();
                tracing::info!("Started {} as {pid}", unit.name);
                unit.service.started(pid);
                let (manager, name) = (Arc::clone(self), unit.name.clone());
                tokio::spawn(async move {
                    match child.wait().await {
                        Ok(status) => manager.ended(&name, pid, status),
                        Err(error) => tracing::error!("{name}: cannot wait for {pid}: {error}"),
                    }
                });
                Step::Nothing
            }
            Err(process::NotStarted { outcome, why }) => {
                tracing::warn!("{}: {why:#}", unit.name);
                let step = unit.service.ended(&rules, outcome);
                // Who has asked for it waits for no restart.
                if let Some(job) = unit.job.take() {
                    let simple = outcome == Outcome::ExitCode && !rules.tells;
                    job.finish(if simple { End::Done } else { End::Failed(outcome) });
                }
                step
            }
        }
    }

    fn ended(self: &Arc<Self>, name: &str, pid: u32, status: std::process::ExitStatus) {
        // What it has left in its group goes with it.
        process::signal(pid, Signal::KILL);
        let mut units = self.units();
        if let Some(unit) = units.get_mut(name).filter(|unit| unit.service.pid() == pid) {
            tracing::info!("{name}: Main process exited, {status}");
            let rules = unit.rules();
            let step = unit.service.ended(&rules, Outcome::of(status));
            self.carry_out(unit, step);
        }
    }

    /// Decides after a while, if nothing else has been decided until then.
    fn later(self: &Arc<Self>, unit: &Unit, time: Duration, decide: fn(&mut Service) -> Step) {
        let (manager, name, turn) = (Arc::clone(self), unit.name.clone(), unit.service.turn);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let mut units = manager.units();
            if let Some(unit) = units.get_mut(&name).filter(|unit| unit.service.turn == turn) {
                let step = decide(&mut unit.service);
                manager.carry_out(unit, step);
            }
        });
    }
}
