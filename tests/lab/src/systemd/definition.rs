//! What a unit's files say, as far as the lab knows it.

use std::time::Duration;

use super::syntax::{self, Line};
use super::{command_line, span};

/// `ConditionPathExists=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathCondition {
    pub(super) path: String,
    /// Whether the path has to be there; with `!` it must not.
    pub(super) exists: bool,
}

/// `EnvironmentFile=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VariableFile {
    pub(super) path: String,
    /// With `-`: no error where there is none.
    pub(super) optional: bool,
}

/// `Restart=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    No,
    Always,
    OnFailure,
}

/// A unit as it was last read. The values of a fresh one are systemd's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) conditions: Vec<PathCondition>,
    pub(super) limit_interval: Duration,
    pub(super) limit_burst: u32,
    /// Whether systemctl is told how the program's start went: not for a simple service.
    pub(super) tells: bool,
    /// Whether `User=root` is given, which adds variables.
    pub(super) user: bool,
    pub(super) environment: Vec<(String, String)>,
    pub(super) files: Vec<VariableFile>,
    pub(super) exec: Vec<Vec<String>>,
    pub(super) restart: Restart,
    pub(super) restart_after: Duration,
    pub(super) stop_timeout: Duration,
    /// Whether it has an `[Install]` section by which it can be enabled.
    pub(super) installable: bool,
    /// Why it cannot be started, if so.
    pub(super) bad: Option<String>,
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            limit_interval: Duration::from_secs(10),
            limit_burst: 5,
            tells: false,
            user: false,
            environment: Vec::new(),
            files: Vec::new(),
            exec: Vec::new(),
            restart: Restart::No,
            restart_after: Duration::from_millis(100),
            stop_timeout: Duration::from_secs(90),
            installable: false,
            bad: None,
        }
    }
}

impl Definition {
    /// Out of the lines of all files of the unit of this name, the fragment's first. What is not understood goes to the log and counts
    /// for nothing, as in the real one; what the real one does and the lab cannot makes the unit bad.
    pub(super) fn new(name: &str, all: &[Line], log: &mut Vec<String>) -> Self {
        let mut unit = Self::default();
        for line in all {
            if let Err(why) = unit.set(name, line) {
                let Line { section, key, value } = line;
                match why {
                    Trouble::Ignored(why) => log.push(format!("[{section}] {key}={value}: {why}, ignoring")),
                    Trouble::Refused(why) => unit.bad = Some(format!("{key}={value}: {why}")),
                }
            }
        }
        unit.bad = unit.bad.or(match unit.exec.len() {
            0 => Some("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.".into()),
            1 => None,
            _ => Some("Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.".into()),
        });
        log.extend(unit.bad.iter().cloned());
        unit
    }

    fn set(&mut self, name: &str, Line { section, key, value }: &Line) -> Result<(), Trouble> {
        match (section.as_str(), key.as_str()) {
            ("Unit", "ConditionPathExists") if value.is_empty() => self.conditions.clear(),
            ("Unit", "ConditionPathExists") if value.starts_with('|') => {
                return Err(Trouble::refused("the lab has no triggering conditions"));
            }
            ("Unit", "ConditionPathExists") => {
                let (path, exists) = value.strip_prefix('!').map_or((value.as_str(), true), |path| (path, false));
                let path = absolute(&specifiers(name, path.trim())?)?;
                self.conditions.push(PathCondition { path, exists });
            }
            ("Unit", "StartLimitIntervalSec") => self.limit_interval = time(value)?,
            ("Unit", "StartLimitBurst") => {
                self.limit_burst = value.parse().map_err(|_| Trouble::ignored("no number"))?
            }
            ("Service", "Type") => match value.as_str() {
                "simple" | "idle" => self.tells = false,
                "exec" | "notify" => self.tells = true,
                "forking" | "oneshot" | "dbus" => return Err(Trouble::refused("the lab has no such services")),
                _ => return Err(Trouble::ignored("Failed to parse service type")),
            },
            ("Service", "User") if value == "root" => self.user = true,
            ("Service", "User") if value.is_empty() => self.user = false,
            ("Service", "User") => return Err(Trouble::refused("the lab's services are root's")),
            ("Service", "Environment") if value.is_empty() => self.environment.clear(),
            ("Service", "Environment") => {
                for word in words(&specifiers(name, value)?)? {
                    let (key, value) =
                        word.split_once('=').ok_or(Trouble::ignored("Invalid environment assignment"))?;
                    if !syntax::is_name(key) {
                        return Err(Trouble::ignored("Invalid environment assignment"));
                    }
                    self.environment.push((key.into(), value.into()));
                }
            }
            ("Service", "EnvironmentFile") if value.is_empty() => self.files.clear(),
            ("Service", "EnvironmentFile") => {
                let (path, optional) = value.strip_prefix('-').map_or((value.as_str(), false), |path| (path, true));
                let path = absolute(&specifiers(name, path)?)?;
                self.files.push(VariableFile { path, optional });
            }
            ("Service", "ExecStart") if value.is_empty() => self.exec.clear(),
            ("Service", "ExecStart") if value.starts_with(['-', '@', ':', '+', '!']) => {
                return Err(Trouble::refused("the lab knows no prefixes of commands"));
            }
            ("Service", "ExecStart") => {
                let line = words(&specifiers(name, value)?)?;
                if line.iter().skip(1).any(|word| word == ";") {
                    return Err(Trouble::refused("the lab takes one command"));
                }
                let program = line.first().ok_or(Trouble::ignored("Empty path in command line"))?;
                command_line::check_program(program).map_err(Trouble::Ignored)?;
                self.exec.push(line);
            }
            ("Service", "Restart") => {
                self.restart = match value.as_str() {
                    "no" => Restart::No,
                    "always" => Restart::Always,
                    "on-failure" => Restart::OnFailure,
                    "on-success" | "on-abnormal" | "on-abort" | "on-watchdog" => {
                        return Err(Trouble::refused("the lab restarts no, always or on-failure"));
                    }
                    _ => return Err(Trouble::ignored("Failed to parse service restart specifier")),
                };
            }
            ("Service", "RestartSec") => self.restart_after = time(value)?,
            ("Service", "TimeoutStopSec") => {
                // 0 has the same meaning, as it once was written.
                self.stop_timeout = Some(time(value)?).filter(|span| !span.is_zero()).unwrap_or(Duration::MAX);
            }
            ("Install", "WantedBy") => self.installable |= !value.is_empty(),
            ("Unit", "Description" | "Documentation" | "After" | "Wants") => {}
            // Left out, these would let a unit start that the real one holds, or hold what it does not.
            ("Unit", key) if key.starts_with("Condition") || key.starts_with("Assert") => {
                return Err(Trouble::refused("the lab does not know this condition"));
            }
            ("Service", key) if key.starts_with("Exec") => {
                return Err(Trouble::refused("the lab does not know this command"));
            }
            _ => return Err(Trouble::ignored("the lab does not know this")),
        }
        Ok(())
    }
}

/// Why a line does not count.
enum Trouble {
    /// As in the real one.
    Ignored(String),
    /// The real one would do what the lab cannot.
    Refused(String),
}

impl Trouble {
    fn ignored(why: &str) -> Self {
        Self::Ignored(why.into())
    }

    fn refused(why: &str) -> Self {
        Self::Refused(why.into())
    }
}

fn time(value: &str) -> Result<Duration, Trouble> {
    span::parse(value).ok_or(Trouble::ignored("Failed to parse time span"))
}

fn words(value: &str) -> Result<Vec<String>, Trouble> {
    syntax::words(value).map_err(|error| Trouble::Ignored(format!("{error:#}")))
}

fn absolute(path: &str) -> Result<String, Trouble> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(Trouble::ignored("Path is not absolute")) }
}

/// Puts what `%n` and the like stand for in their places.
fn specifiers(name: &str, value: &str) -> Result<String, Trouble> {
    let mut parts = value.split('%');
    let mut all = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        let mut chars = part.chars();
        match chars.next() {
            // Two signs for one: the part between them is empty.
            None => {
                all.push('%');
                all.push_str(parts.next().unwrap_or_default());
                continue;
            }
            Some('n') => all.push_str(name),
            Some('N' | 'p') => all.push_str(name.trim_end_matches(".service")),
            Some(_) => return Err(Trouble::refused("the lab does not know this specifier")),
        }
        all.push_str(chars.as_str());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Definition, Vec<String>) {
        let mut log = Vec::new();
        let lines = syntax::lines(text, &mut log);
        (Definition::new("a.service", &lines, &mut log), log)
    }

    #[test]
    fn defaults_are_those_of_systemd() {
        let (unit, log) = read("[Service]\nExecStart=/bin/a\n");
        assert_eq!(unit, Definition { exec: vec![vec!["/bin/a".into()]], ..Definition::default() });
        assert!(log.is_empty(), "{log:?}");
    }

    #[test]
    fn an_empty_value_takes_back_what_was_before() {
        let (unit, log) = read(
            "[Unit]\nConditionPathExists=/a\nConditionPathExists=\nConditionPathExists=!/b\nConditionPathExists=/%p\n\
             [Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b --x='1 2' 50%%\nEnvironment=A=1\nEnvironment=\n\
             Environment=B=2 \"C=3 4\"\nEnvironmentFile=/x\nEnvironmentFile=\nEnvironmentFile=-/y\n\
             [Install]\nWantedBy=multi-user.target\n",
        );
        assert!(log.is_empty(), "{log:?}");
        let condition = |path: &str, exists| PathCondition { path: path.into(), exists };
        assert_eq!(unit.conditions, [condition("/b", false), condition("/a", true)]);
        assert_eq!(unit.exec, [["/bin/b", "--x=1 2", "50%"]]);
        assert_eq!(unit.environment, [("B".into(), "2".into()), ("C".into(), "3 4".into())]);
        assert_eq!(unit.files, [VariableFile { path: "/y".into(), optional: true }]);
        assert!(unit.installable && unit.bad.is_none());
    }

    #[test]
    fn what_is_not_understood_is_logged_and_ignored() {
        let (unit, log) = read(
            "[Unit]\nStartLimitBurst=x\nConditionPathExists=a\n[Service]\nExecStart=/bin/a\nRestart=maybe\nRestartSec=x\n\
             Type=odd\nLimitNOFILE=1\nTimeoutStopSec=0\n",
        );
        let want =
            Definition { exec: vec![vec!["/bin/a".into()]], stop_timeout: Duration::MAX, ..Definition::default() };
        assert_eq!(unit, want);
        assert_eq!(log.len(), 6, "{log:?}");
        assert!(
            log.iter().any(|line| line == "[Service] LimitNOFILE=1: the lab does not know this, ignoring"),
            "{log:?}"
        );
    }

    #[test]
    fn what_the_lab_cannot_do_makes_a_unit_bad() {
        for line in [
            "User=etcd",
            "Type=oneshot",
            "Restart=on-abort",
            "ExecStart=",
            "ExecStart=/bin/b",
            "ExecStart=-/bin/b",
            "ExecStop=/bin/b",
            "[Unit]\nAssertPathExists=/a",
            "[Unit]\nConditionPathExists=|/a",
            "Environment=A=%H",
        ] {
            let (unit, log) = read(&format!("[Service]\nExecStart=/bin/a\n{line}\n"));
            assert!(unit.bad.is_some(), "{line}");
            assert_eq!(log, unit.bad.into_iter().collect::<Vec<_>>(), "{line}");
        }
    }
}
