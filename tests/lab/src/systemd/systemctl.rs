//! What systemctl is answered. Where the lab and the real one differ in words, it is in what the lab does not have.

use std::sync::Arc;

use anyhow::Result;

use super::files;
use super::manager::{End, Manager, Unit};
use super::outcome::Outcome;
use super::request::{self, Answer, Request, Verb};

/// The exit codes of the real one for what is not active, and for what there is not.
const NOT_ACTIVE: u8 = 3;
const NOT_INSTALLED: u8 = 5;

/// Answers one call.
pub(super) async fn answer(manager: &Arc<Manager>, args: &[String]) -> Answer {
    let answered = match request::parse(args) {
        Err(why) => Ok(Answer::error(1, &why)),
        Ok(Request::Reload) => manager.reload().map(|()| Answer::default()),
        Ok(Request::Job { verb, unit, block }) => job(manager, verb, &unit, block).await,
        Ok(Request::IsActive { unit }) => Ok(is_active(manager, &unit)),
        Ok(Request::ResetFailed { unit }) => Ok(reset_failed(manager, &unit)),
        Ok(Request::Enable { unit }) => enable(manager, &unit),
        Ok(Request::Disable { unit }) => disable(manager, &unit),
        Ok(Request::Show { unit, properties }) => show(manager, &unit, &properties),
    };
    answered.unwrap_or_else(|error| Answer::error(1, &format!("the lab's service manager failed: {error:#}")))
}

async fn job(manager: &Arc<Manager>, verb: Verb, name: &str, block: bool) -> Result<Answer> {
    let (end, mut answer) = {
        let mut units = manager.units();
        let unit = units.get_mut(name);
        let refused = |code, why: &str| Ok(Answer::error(code, &format!("Failed to {} {name}: {why}", verb.name())));
        let Some(unit) = unit.filter(|unit| verb == Verb::Stop || unit.definition.is_some()) else {
            let how = if verb == Verb::Stop { "not loaded" } else { "not found" };
            return refused(NOT_INSTALLED, &format!("Unit {name} {how}."));
        };
        if verb != Verb::Stop && unit.definition.as_ref().is_some_and(|unit| unit.bad.is_some()) {
            return refused(
                1,
                &format!(
                    "Unit {name} has a bad unit file setting.\nSee system logs and 'systemctl status {name}' for details."
                ),
            );
        }
        let mut answer = Answer::default();
        if has_changed(manager, unit)? {
            answer.errors = format!(
                "Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. Run 'systemctl daemon-reload' to reload units.\n"
            );
        }
        (manager.begin(unit, verb), answer)
    };
    if !block {
        return Ok(answer);
    }
    let failed = match end.await? {
        End::Done => return Ok(answer),
        End::Canceled => format!("Job for {name} canceled.\n"),
        End::Failed(outcome) => {
            let because = outcome.because();
            let mut failed = format!(
                "Job for {name} failed{because}.\nSee \"systemctl status {name}\" and \"journalctl -xeu {name}\" for details.\n"
            );
            if outcome == Outcome::StartLimitHit {
                failed.push_str(&format!(
                    "To force a start use \"systemctl reset-failed {name}\"\nfollowed by \"systemctl start {name}\" again.\n"
                ));
            }
            failed
        }
    };
    answer.code = 1;
    answer.errors.push_str(&failed);
    Ok(answer)
}

/// Links the unit where it is wanted, and reads all units anew, as the real one does.
fn enable(manager: &Manager, name: &str) -> Result<Answer> {
    let Some(definition) = files::define(name, &files::read(&manager.dir, name)?, &mut Vec::new()) else {
        return Ok(Answer::error(1, &format!("Failed to enable unit: Unit file {name} does not exist.")));
    };
    let mut answer = Answer::default();
    match definition.installable {
        true => answer.errors = files::enable(&manager.dir, name)?,
        // That is no error there either.
        false => {
            answer.errors = format!("The unit files have no installation config ({name}).\n");
            return Ok(answer);
        }
    }
    manager.reload()?;
    Ok(answer)
}

/// Takes the links away, also those of a unit whose file is gone.
fn disable(manager: &Manager, name: &str) -> Result<Answer> {
    let there = files::read(&manager.dir, name)?.fragment.is_some();
    if !there && !files::is_enabled(&manager.dir, name) {
        return Ok(Answer::error(1, &format!("Failed to disable unit: Unit file {name} does not exist.")));
    }
    let answer = Answer { errors: files::disable(&manager.dir, name)?, ..Answer::default() };
    manager.reload()?;
    Ok(answer)
}

fn is_active(manager: &Manager, name: &str) -> Answer {
    let state = manager.units().get(name).map_or("inactive", |unit| unit.service.states().0);
    let code = if state == "active" { 0 } else { NOT_ACTIVE };
    Answer { code, output: format!("{state}\n"), errors: String::new() }
}

fn reset_failed(manager: &Manager, name: &str) -> Answer {
    match manager.units().get_mut(name) {
        Some(unit) => {
            unit.service.reset_failed();
            Answer::default()
        }
        None => Answer::error(1, &format!("Failed to reset failed state of unit {name}: Unit {name} not loaded.")),
    }
}

fn has_changed(manager: &Manager, unit: &Unit) -> Result<bool> {
    Ok(files::read(&manager.dir, &unit.name)? != unit.files)
}

/// The properties that are asked for and known, in an order of the manager's own.
fn show(manager: &Manager, name: &str, wanted: &[String]) -> Result<Answer> {
    let units = manager.units();
    let unit = units.get(name);
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let definition = unit.and_then(|unit| unit.definition.as_ref());
    let load = match definition {
        None => "not-found",
        Some(definition) if definition.bad.is_some() => "bad-setting",
        Some(_) => "loaded",
    };
    let (active, sub) = unit.map_or(("inactive", "dead"), |unit| unit.service.states());
    let fragment = unit.and_then(|unit| unit.files.fragment.as_ref());
    let drop_ins = unit.map(|unit| unit.files.drop_ins.as_slice()).unwrap_or_default();
    let drop_ins: Vec<&str> = drop_ins.iter().map(|(path, ..)| path.as_str()).collect();
    let enabled = match definition {
        None => "",
        Some(_) if files::is_enabled(&manager.dir, name) => "enabled",
        Some(definition) if definition.installable => "disabled",
        Some(_) => "static",
    };
    let changed = unit.map_or(Ok(false), |unit| has_changed(manager, unit))?;
    let properties = [
        ("MainPID", unit.map_or(0, |unit| unit.service.pid()).to_string()),
        ("Result", unit.map_or(Outcome::Success, |unit| unit.service.outcome).name().to_owned()),
        ("Id", name.to_owned()),
        ("LoadState", load.to_owned()),
        ("ActiveState", active.to_owned()),
        ("SubState", sub.to_owned()),
        ("FragmentPath", fragment.map(|(path, ..)| path.clone()).unwrap_or_default()),
        ("DropInPaths", drop_ins.join(" ")),
        ("UnitFileState", enabled.to_owned()),
        ("NeedDaemonReload", yes_no(changed)),
        ("ConditionResult", yes_no(unit.is_some_and(|unit| unit.service.conditions_met))),
    ];
    let lines = properties.iter().filter(|(name, _)| wanted.iter().any(|wanted| wanted == name));
    Ok(Answer { output: lines.map(|(name, value)| format!("{name}={value}\n")).collect(), ..Answer::default() })
}
