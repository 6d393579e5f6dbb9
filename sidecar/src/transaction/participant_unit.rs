//! The participant as a unit of systemd: on a machine of etcd alone, where no kubelet need be. It is started again when it is killed and after a boot, as a
//! static pod is.
//!
//! The unit's file is the record of that there is a participant. All functions block, and can be done again after they were cut off anywhere.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use etcd_wire::Failure;

use super::journal::storage;
use super::layout::Layout;
use super::units::{Systemd, UNITS};
use crate::node::Place;

/// The name of the unit.
pub(super) const NAME: &str = "kubectl-etcd-restore.service";
const DRAFT: &str = ".kubectl-etcd-restore.draft";
/// What the line that says whose participant it is begins with.
const OF: &str = "# Restore: ";

/// The systemd of the machine that this program runs on.
pub(super) struct ParticipantUnit<'a> {
    systemd: Systemd<'a>,
}

impl<'a> ParticipantUnit<'a> {
    /// That of this machine: the unit is no container.
    pub(super) fn here() -> ParticipantUnit<'static> {
        ParticipantUnit { systemd: Systemd::of(Path::new("/")) }
    }

    fn file(&self) -> Place {
        self.systemd.root().join(UNITS).join(NAME)
    }

    /// Starts the participant of a restore, now and with every boot.
    ///
    /// # Errors
    /// The disk fails, or systemd does not take the order.
    pub(super) fn place(&self, layout: &Layout, program: &Path) -> Result<(), Failure> {
        let text = text(&layout.plan().id, program);
        let written = || -> io::Result<()> {
            let file = self.file();
            let draft = file.sibling(DRAFT);
            draft.remove_file()?;
            let mut open = draft.create()?;
            let placed = open.write_all(text.as_bytes()).and_then(|()| {
                open.set_permissions(PermissionsExt::from_mode(0o644))?;
                open.sync_all()?;
                draft.rename(&file)
            });
            if placed.is_err() {
                draft.remove_file()?;
            }
            placed
        };
        written().map_err(|error| storage("write the unit of the participant", &error))?;
        self.start()
    }

    /// Has systemd start a participant that is placed, now and with every boot: whoever placed it may have been cut off before that.
    ///
    /// # Errors
    /// systemd does not take the order.
    pub(super) fn start(&self) -> Result<(), Failure> {
        self.systemd.run(&["daemon-reload"])?;
        self.systemd.run(&["enable", NAME])?;
        self.systemd.run(&["start", "--no-block", NAME]).map(drop)
    }

    /// The text of the unit, if a participant is placed here.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn placed(&self) -> Result<Option<String>, Failure> {
        match self.file().read() {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage("look for the unit of the participant", &error)),
        }
    }

    /// Keeps the participant from being started again. One that runs goes on until [`stop`](ParticipantUnit::stop). systemd may remember a unit whose file
    /// is gone, where whoever removed it was cut off.
    ///
    /// # Errors
    /// The disk fails, or systemd does not take the order.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        if self.placed()?.is_some() {
            self.systemd.run(&["disable", NAME])?;
        }
        let removed = || -> io::Result<()> {
            let file = self.file();
            file.sibling(DRAFT).remove_file()?;
            if file.remove_file()? {
                file.sync_name()?;
            }
            Ok(())
        };
        removed().map_err(|error| storage("remove the unit of the participant", &error))?;
        self.systemd.run(&["daemon-reload"]).map(drop)
    }

    /// Has systemd end the participant, which may be this process.
    pub(super) fn stop(&self) {
        // One that has ended by itself is not loaded any more, which is an error of systemctl.
        let _not_loaded = self.systemd.run(&["stop", "--no-block", NAME]);
    }
}

/// Whether the text of a unit is that of the participant of a restore.
pub(super) fn is_of(text: &str, id: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(OF) == Some(id))
}

/// The unit. The shell is there so that SELinux lets systemd run a program that lies among data.
fn text(id: &str, program: &Path) -> String {
    format!(
        "# kubectl-etcd restores etcd on this machine, and removes this file when the restore has ended.\n\
         {OF}{id}\n\
         [Unit]\n\
         Description=Restore of etcd by kubectl-etcd\n\
         StartLimitIntervalSec=0\n\
         [Service]\n\
         ExecStart=/bin/sh -c \"exec {} participate {id}\"\n\
         Restart=always\n\
         RestartSec=1s\n\
         TimeoutStopSec=5s\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::layout::tests::layout;
    use super::*;
    use crate::node::probe;

    #[test]
    fn a_participant_has_a_unit_until_it_leaves_wherever_it_is_cut_off() {
        for count in 0.. {
            let root = tempfile::tempdir().unwrap();
            let units = root.path().join(UNITS);
            std::fs::create_dir_all(&units).unwrap();
            let orders = RefCell::new(Vec::new());
            let systemctl = Box::new(|args: &[&str]| {
                orders.borrow_mut().push(args.join(" "));
                Ok(String::new())
            });
            let unit = ParticipantUnit { systemd: Systemd::with(root.path(), systemctl) };
            let layout = layout(root.path());
            let (outcome, _) = probe::fail_after(count, || unit.place(&layout, Path::new("/x/etcd-sidecar")));
            if outcome.is_ok() {
                let text = unit.placed().unwrap().unwrap();
                assert!(is_of(&text, &layout.plan().id) && !is_of(&text, "20261121"), "{text}");
                assert!(text.contains("exec /x/etcd-sidecar participate 20261121-100000-abcde"), "{text}");
                let start = format!("start --no-block {NAME}");
                assert_eq!(orders.borrow_mut().drain(..).collect::<Vec<_>>()[2], start);
            }
            let (removed, _) = probe::fail_after(0, || unit.remove());
            assert!(removed.is_err());
            unit.remove().unwrap();
            unit.stop();
            assert_eq!((unit.placed().unwrap(), std::fs::read_dir(&units).unwrap().count()), (None, 0), "{count}");
            if outcome.is_ok() {
                break;
            }
        }
    }
}
