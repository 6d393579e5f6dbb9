//! An etcd that systemd starts. It is stopped by `systemctl stop`, and held by a drop-in with a condition that is never met: whoever asks systemd to start it,
//! a boot included, starts nothing (systemd.unit(5), "Conditions and Asserts"). `mask` would not do: it fails for a unit in `/etc/systemd/system`.
//!
//! The drop-in is the record of what is held, as a manifest in the folder of held ones is. All functions block, and can be done again after they were cut
//! off anywhere.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use etcd_wire::restore::DROP_IN;
use etcd_wire::{Failure, FailureCode};
use serde::{Deserialize, Serialize};

use super::journal::storage;
use crate::node::Place;
use crate::node::etcds::UnitFile;
use crate::on_node;

/// Where the participant's container sees the node's file tree.
pub(super) const NODE: &str = "/host";
/// The folder of an administrator's units, whose drop-ins count before those of packages.
pub(super) const UNITS: &str = "etc/systemd/system";
const DRAFT: &str = ".zz-kubectl-etcd-restore.draft";
/// Its contents; `/` is always there.
const HOLD: &str = "# A restore by kubectl-etcd keeps etcd from being started, and removes this file when it starts etcd.\n[Unit]\nConditionPathExists=!/\n";
/// Its last line where the folder of drop-ins was made for it.
const WITH_FOLDER: &str = "# The folder is removed with it.\n";
/// Where distributions have systemctl.
const SYSTEMCTL: [&str; 2] = ["usr/bin/systemctl", "bin/systemctl"];

/// The unit of a component, as it was when the node was prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unit {
    /// Its file.
    pub(super) path: String,
    /// What it sets, by the names of etcd's flags.
    pub(super) settings: BTreeMap<String, String>,
    /// The data directory, where a variable says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data_dir_variable: Option<String>,
    /// Whether it ran, or was being started.
    pub(super) ran: bool,
}

impl Unit {
    /// Its name: `etcd.service`.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The unit as systemd knows it, if that is what its files say. `root` is where the node's file tree is. Of a node that is left out only that matters
    /// that the unit can be held: what is wrong with it may be why.
    ///
    /// # Errors
    /// [`FailureCode::Refused`]: systemd does not answer, or has loaded something else.
    pub(super) fn loaded(root: &Path, file: &UnitFile, is_left_out: bool) -> Result<Unit, Failure> {
        let unit = Unit {
            path: file.path.clone(),
            settings: file.settings.clone(),
            data_dir_variable: file.data_dir_variable.clone(),
            ran: false,
        };
        let shown = Systemd::of(root).run(&["show", unit.name(), PROPERTIES])?;
        match judge(&unit.path, &shown) {
            Err(_) if is_left_out => Ok(unit),
            ran => Ok(Unit { ran: ran?, ..unit }),
        }
    }
}

const PROPERTIES: &str =
    "--property=LoadState,FragmentPath,NeedDaemonReload,ActiveState,UnitFileState,RequiredBy,BoundBy,ConsistsOf";
/// Units that systemd stops together with this one, and does not start with it (systemd.unit(5)).
const DEPENDENTS: [&str; 3] = ["RequiredBy", "BoundBy", "ConsistsOf"];
/// A unit that ends and is started again is in one of these states, one after the other.
const RUNS: [&str; 5] = ["active", "activating", "deactivating", "reloading", "refreshing"];

/// Whether the unit runs, by what systemd shows of it.
fn judge(path: &str, shown: &str) -> Result<bool, Failure> {
    let of = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let refused =
        |why: String| Failure::new(FailureCode::Refused, format!("systemd does not run etcd by {path}: {why}"));
    let (load, fragment, reload) = (of("LoadState"), of("FragmentPath"), of("NeedDaemonReload"));
    if load != "loaded" {
        return Err(refused(format!("its state is {:?}", if load.is_empty() { "unknown" } else { load })));
    }
    if reload != "no" {
        return Err(refused("its files were changed, and systemd has not read them anew".to_owned()).hint(
            "have systemd read them on the node, and see that etcd runs as it should\n  systemctl daemon-reload && systemctl restart etcd",
        ));
    }
    if merged(fragment) != merged(path) {
        return Err(refused(format!("it has loaded {fragment}")));
    }
    let dependents: Vec<&str> = DEPENDENTS.iter().flat_map(|name| of(name).split_whitespace()).collect();
    if !dependents.is_empty() {
        let names = dependents.join(", ");
        return Err(refused(format!("other units stop with it, and would stay stopped: {names}"))
            .hint("let these units want etcd (Wants=, After=) instead of requiring it\n  systemctl edit --full UNIT"));
    }
    let runs = RUNS.contains(&of("ActiveState"));
    if !runs && of("UnitFileState") == "disabled" {
        // A package of etcd brings a unit that nobody uses.
        return Err(refused("it is disabled, and does not run".to_owned())
            .hint("if it is the one that starts etcd there, enable it on the node; if the node is to be left out, do not name the node\n  systemctl enable etcd"));
    }
    Ok(runs)
}

/// `/lib` is a link to `/usr/lib` by now, and distributions differ in which of the two systemd tells.
fn merged(path: &str) -> &str {
    path.strip_prefix("/usr").filter(|rest| rest.starts_with("/lib/")).unwrap_or(path)
}

/// Gives orders to systemd; gives what systemctl prints.
pub(super) type Systemctl<'a> = dyn Fn(&[&str]) -> Result<String, Failure> + 'a;

/// The systemd of a node.
pub(super) struct Systemd<'a> {
    root: Place,
    systemctl: Box<Systemctl<'a>>,
}

impl<'a> Systemd<'a> {
    /// That of the node whose file tree is at `root`.
    pub(super) fn of(root: &'a Path) -> Systemd<'a> {
        Systemd { root: Place::new(root), systemctl: Box::new(move |args| systemctl(root, args)) }
    }

    /// One whose orders are carried out otherwise.
    #[cfg(test)]
    pub(super) fn with(root: &'a Path, systemctl: Box<Systemctl<'a>>) -> Systemd<'a> {
        Systemd { root: Place::new(root), systemctl }
    }

    /// Where the node's file tree is.
    pub(super) fn root(&self) -> &Place {
        &self.root
    }

    /// Gives an order; gives what systemctl prints.
    ///
    /// # Errors
    /// systemctl cannot be run, or fails.
    pub(super) fn run(&self, args: &[&str]) -> Result<String, Failure> {
        (self.systemctl)(args)
    }

    fn folder(&self, unit: &Unit) -> Place {
        self.root.join(UNITS).join(format!("{}.d", unit.name()))
    }

    /// Whether the unit is kept from being started.
    ///
    /// # Errors
    /// Nobody can tell.
    pub(super) fn is_held(&self, unit: &Unit) -> Result<bool, Failure> {
        let drop_in = self.folder(unit).join(DROP_IN);
        drop_in.exists().map_err(|error| storage("look for the drop-in that holds etcd", &error))
    }

    /// Keeps the unit from being started, and has systemd stop it, which may still be going on when this returns. True if it was not held before.
    ///
    /// # Errors
    /// The disk fails, or systemd does not take the order.
    pub(super) fn hold(&self, unit: &Unit) -> Result<bool, Failure> {
        let new = !self.is_held(unit)?;
        if new {
            self.write(unit).map_err(|error| storage("write the drop-in that holds etcd", &error))?;
        }
        // Also where it was there: what was cut off may not have come to systemd.
        self.folder(unit).sync().map_err(|error| storage("synchronise the drop-in that holds etcd", &error))?;
        self.run(&["daemon-reload"])?;
        self.run(&["stop", "--no-block", unit.name()])?;
        Ok(new)
    }

    fn write(&self, unit: &Unit) -> io::Result<()> {
        let folder = self.folder(unit);
        let made = !folder.is_folder()?;
        if made {
            folder.create_folder()?;
            folder.open()?.set_permissions(PermissionsExt::from_mode(0o755))?;
            folder.sync_name()?;
        }
        let draft = folder.join(DRAFT);
        draft.remove_file()?;
        let mut file = draft.create()?;
        file.write_all(HOLD.as_bytes())?;
        if made {
            file.write_all(WITH_FOLDER.as_bytes())?;
        }
        file.set_permissions(PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        draft.rename(&folder.join(DROP_IN))
    }

    /// Lets the unit be started again. True if it was held.
    ///
    /// # Errors
    /// The disk fails, or systemd does not read its files.
    pub(super) fn release(&self, unit: &Unit) -> Result<bool, Failure> {
        let removed = || -> io::Result<bool> {
            let (folder, drop_in) = (self.folder(unit), self.folder(unit).join(DROP_IN));
            if !folder.is_folder()? {
                return Ok(false);
            }
            folder.join(DRAFT).remove_file()?;
            if !drop_in.exists()? {
                return Ok(false);
            }
            let with_folder = drop_in.read()?.ends_with(WITH_FOLDER.as_bytes());
            drop_in.remove_file()?;
            folder.sync()?;
            if with_folder && folder.remove_if_empty()? {
                folder.sync_name()?;
            }
            Ok(true)
        };
        let held = removed().map_err(|error| storage("remove the drop-in that holds etcd", &error))?;
        self.run(&["daemon-reload"])?;
        Ok(held)
    }

    /// Has systemd start the unit, however often it has failed before. Whether it comes up is seen later.
    ///
    /// # Errors
    /// systemd does not take the order.
    pub(super) fn start(&self, unit: &Unit) -> Result<(), Failure> {
        // systemd starts a unit no more that has failed too often (systemd.unit(5), StartLimitBurst). One that it has unloaded since has no such count, which
        // is an error of systemctl; a systemd that does not answer is told by the order to start.
        let _not_loaded = self.run(&["reset-failed", unit.name()]);
        self.run(&["start", "--no-block", unit.name()]).map(drop)
    }
}

/// Refuses to go on with a unit that is not as it was when the node was prepared. `root` is where the node's file tree is.
///
/// # Errors
/// [`FailureCode::Refused`]: the command line or a setting differs. Or the unit cannot be read.
pub(super) fn is_as_prepared(root: &Path, unit: &Unit, argv: &[String]) -> Result<(), Failure> {
    let cannot = || Failure::new(FailureCode::Storage, format!("cannot read {} on the node", unit.path));
    let output = on_node::in_tree(root, [""; 0]).map_err(|error| cannot().source(&error))?;
    if !output.status.success() {
        return Err(said(cannot(), &output));
    }
    let now: Option<UnitFile> = serde_json::from_slice(&output.stdout).map_err(|error| cannot().source(&error))?;
    match now {
        Some(now) if now.path == unit.path && now.argv == argv && now.settings == unit.settings => {
            // So that the first order to systemd is not the one that is given once the API server is stopped.
            Unit::loaded(root, &now, false).map(drop)
        }
        _ => {
            let message = format!("{}, or a file that it names, was changed since the node was prepared", unit.path);
            Err(Failure::new(FailureCode::Refused, message))
        }
    }
}

/// Runs the node's systemctl; gives what it prints.
fn systemctl(root: &Path, args: &[&str]) -> Result<String, Failure> {
    let line = format!("systemctl {}", args.join(" "));
    let failed = || Failure::new(FailureCode::Refused, format!("{line} failed on the node"));
    let program = SYSTEMCTL.into_iter().find(|path| root.join(path).exists());
    let program = program.ok_or_else(|| failed().cause("the node has no systemctl"))?;
    let program = format!("/{program}");
    let whole = std::iter::once(program.as_str()).chain(args.iter().copied());
    let output = on_node::in_tree(root, whole).map_err(|error| failed().source(&error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(said(failed(), &output)),
    }
}

/// With what a program has said before it ended.
fn said(failure: Failure, output: &Output) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| !line.trim().is_empty()).take(SAID);
    lines.fold(failure, Failure::cause).cause(output.status.to_string())
}

/// Lines of systemctl that are told.
const SAID: usize = 5;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const PATH: &str = "/usr/lib/systemd/system/etcd.service";

    /// systemd as far as it counts: it knows a drop-in only once it has read its files, and starts nothing that has failed too often.
    #[derive(Default)]
    struct Model {
        root: std::path::PathBuf,
        held: bool,
        running: bool,
        failed: bool,
    }

    impl Model {
        fn run(&mut self, args: &[&str]) -> Result<String, Failure> {
            match args {
                ["daemon-reload"] => {
                    let folder = self.root.join("etc/systemd/system/etcd.service.d");
                    let text = std::fs::read_to_string(folder.join(DROP_IN)).unwrap_or_default();
                    self.held = text.lines().any(|line| line == "ConditionPathExists=!/");
                }
                ["stop", "--no-block", "etcd.service"] => self.running = false,
                // systemd 252 unloads a unit that is inactive and has not failed.
                ["reset-failed", "etcd.service"] if !self.failed && !self.running => {
                    return Err(Failure::new(FailureCode::Refused, "Unit etcd.service not loaded."));
                }
                ["reset-failed", "etcd.service"] => self.failed = false,
                ["start", "--no-block", "etcd.service"] => self.running |= !self.held && !self.failed,
                other => panic!("systemctl {other:?}"),
            }
            Ok(String::new())
        }
    }

    struct Node {
        root: tempfile::TempDir,
        model: RefCell<Model>,
    }

    impl Node {
        fn new() -> Node {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join(UNITS)).unwrap();
            let model = Model { root: root.path().to_owned(), running: true, ..Model::default() };
            Node { root, model: RefCell::new(model) }
        }

        fn systemd(&self) -> Systemd<'_> {
            let systemctl = Box::new(|args: &[&str]| self.model.borrow_mut().run(args));
            Systemd { root: Place::new(self.root.path()), systemctl }
        }

        /// Whether it is held, whether it runs, and what is in the folder of units.
        fn state(&self) -> (bool, bool, Vec<String>) {
            let mut names = Vec::new();
            for entry in walk(&self.root.path().join(UNITS)) {
                names.push(entry.strip_prefix(self.root.path().join(UNITS)).unwrap().display().to_string());
            }
            names.sort();
            (self.systemd().is_held(&unit()).unwrap(), self.model.borrow().running, names)
        }
    }

    fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] })
            .collect()
    }

    fn unit() -> Unit {
        Unit { path: PATH.into(), settings: BTreeMap::new(), data_dir_variable: None, ran: true }
    }

    #[test]
    fn a_unit_is_held_and_started_again_and_nothing_is_left() {
        let node = Node::new();
        let drop_in = format!("etcd.service.d/{DROP_IN}");
        assert!(node.systemd().hold(&unit()).unwrap());
        assert_eq!(node.state(), (true, false, vec!["etcd.service.d".to_owned(), drop_in]));
        // Whoever starts it now starts nothing.
        node.model.borrow_mut().run(&["start", "--no-block", "etcd.service"]).unwrap();
        assert!(!node.state().1);
        assert!(!node.systemd().hold(&unit()).unwrap(), "it is held already");
        // It has failed too often before.
        node.model.borrow_mut().failed = true;
        assert!(node.systemd().release(&unit()).unwrap());
        assert!(!node.state().1);
        node.systemd().start(&unit()).unwrap();
        assert_eq!(node.state(), (false, true, vec![]));
        assert!(!node.systemd().release(&unit()).unwrap());
        assert!(node.state().1, "what runs goes on");
    }

    #[test]
    fn what_an_administrator_has_put_there_stays() {
        for own in [Some("10-limits.conf"), None] {
            let node = Node::new();
            let folder = node.root.path().join(UNITS).join("etcd.service.d");
            std::fs::create_dir(&folder).unwrap();
            if let Some(own) = own {
                std::fs::write(folder.join(own), "[Service]\nLimitNOFILE=1\n").unwrap();
            }
            let before = node.state().2;
            node.systemd().hold(&unit()).unwrap();
            node.systemd().release(&unit()).unwrap();
            assert_eq!(node.state().2, before);
        }
    }

    #[test]
    fn a_draft_that_was_cut_off_is_written_anew_and_goes() {
        let node = Node::new();
        let folder = node.root.path().join(UNITS).join("etcd.service.d");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(DRAFT), "# half").unwrap();
        assert!(!node.state().0);
        node.systemd().hold(&unit()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join(DROP_IN)).unwrap(), HOLD);
        std::fs::write(folder.join(DRAFT), "# half").unwrap();
        node.systemd().release(&unit()).unwrap();
        assert_eq!(node.state().2, ["etcd.service.d"]);
    }

    #[test]
    fn an_order_that_systemd_refuses_is_told() {
        let node = Node::new();
        let systemctl = Box::new(|_: &[&str]| Err(Failure::new(FailureCode::Refused, "no systemd")));
        let systemd = Systemd { root: Place::new(node.root.path()), systemctl };
        assert_eq!(systemd.hold(&unit()).unwrap_err().message, "no systemd");
        // It is held all the same, for whoever tries again.
        assert!(node.state().0);
        assert!(systemd.start(&unit()).is_err());
        let none = systemctl_of_an_empty_tree();
        assert_eq!(
            (none.code, &none.causes[..]),
            (FailureCode::Refused, &["the node has no systemctl".to_owned()][..])
        );
    }

    fn systemctl_of_an_empty_tree() -> Failure {
        super::systemctl(tempfile::tempdir().unwrap().path(), &["daemon-reload"]).unwrap_err()
    }

    #[test]
    fn only_the_unit_that_systemd_has_loaded_counts() {
        let shown = |load: &str, path: &str, reload: &str, active: &str, enabled: &str| {
            let text = format!(
                "LoadState={load}\nActiveState={active}\nFragmentPath={path}\nNeedDaemonReload={reload}\nUnitFileState={enabled}\n"
            );
            judge(PATH, &text)
        };
        let states =
            [("active", true), ("activating", true), ("deactivating", true), ("inactive", false), ("failed", false)];
        for (active, runs) in states {
            for path in [PATH, "/lib/systemd/system/etcd.service"] {
                assert_eq!(shown("loaded", path, "no", active, "enabled").unwrap(), runs, "{active}");
            }
        }
        assert!(shown("loaded", PATH, "no", "active", "disabled").unwrap());
        for (load, path, reload, enabled, said) in [
            (
                "loaded",
                "/etc/systemd/system/etcd.service",
                "no",
                "enabled",
                "it has loaded /etc/systemd/system/etcd.service",
            ),
            ("loaded", PATH, "yes", "enabled", "its files were changed, and systemd has not read them anew"),
            ("loaded", PATH, "no", "disabled", "it is disabled, and does not run"),
            ("masked", PATH, "no", "masked", "its state is \"masked\""),
            ("not-found", "", "no", "", "its state is \"not-found\""),
        ] {
            let failure = shown(load, path, reload, "inactive", enabled).unwrap_err();
            assert_eq!(failure.code, FailureCode::Refused);
            assert!(failure.message.ends_with(said), "{failure}");
        }
        let text = format!("LoadState=loaded\nActiveState=active\nFragmentPath={PATH}\nNeedDaemonReload=no\n");
        assert!(judge(PATH, &format!("{text}RequiredBy=\nBoundBy=\n")).unwrap());
        let failure = judge(PATH, &format!("{text}RequiredBy=kubelet.service\nConsistsOf=a.service\n")).unwrap_err();
        assert!(failure.message.ends_with("would stay stopped: kubelet.service, a.service"), "{failure}");
        assert!(judge(PATH, "").unwrap_err().message.ends_with("its state is \"unknown\""));
    }
}
