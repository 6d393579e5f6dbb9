//! How often etcd has ended since it was launched. What will not run need not be waited for.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use etcd_wire::Failure;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::refused;
use super::wait::{POLL, running};
use crate::node::Place;
use crate::node::dir::descriptor;
use crate::transaction::ground::Component;

/// The database, in a member's folder of it and of the snapshots of the log.
const DATABASE: &str = "db";

/// Counts how often etcd ends. A look at the processes now and then does not see one that ends within milliseconds, as etcd does on data that it does
/// not take. The kernel tells of each time that the database is closed by somebody who may write to it, and etcd opens it once for each start
/// (bbolt db.go `Open`; etcd server/storage/backend/backend.go `newBackend` @ v3.6.13, alike from 3.4 to 3.7).
pub(super) struct Ends {
    component: Component,
    closed: Option<OwnedFd>,
    /// Whether it had a process at the last look.
    ran: bool,
    /// Ends that were seen by looks.
    looks: u32,
    /// Ends that the kernel told of.
    told: u32,
}

impl Ends {
    /// Begins to count, with the folder that etcd's database is in. To be done before etcd is launched. Where the kernel has no watch to spare, only the
    /// processes are looked at.
    pub(super) fn of(component: Component, folder: &Place) -> Ends {
        Ends { component, closed: watch(folder).ok(), ran: false, looks: 0, told: 0 }
    }

    /// Ends when the component has started and ended twice.
    pub(super) async fn twice(mut self) -> Failure {
        while self.looks.max(self.told) < 2 {
            tokio::time::sleep(POLL).await;
            if let Some(closed) = &self.closed {
                self.told += closings(closed);
            }
            match running(&self.component).await {
                Ok(running) => {
                    self.looks += u32::from(self.ran && running == 0);
                    self.ran = running > 0;
                }
                Err(failure) => return failure,
            }
        }
        refused(format!("{} started and ended twice", self.component.name)).hint(self.component.log())
    }
}

fn watch(folder: &Place) -> std::io::Result<OwnedFd> {
    let open = folder.open()?;
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, descriptor(&open), WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR)?;
    Ok(watch)
}

/// How often the database was closed since the last call. The kernel tells of one that follows another only once, which is why it also tells of what is
/// opened between them.
fn closings(watch: &OwnedFd) -> u32 {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut count = 0;
    // That there are no more events is an error, too.
    while let Ok(event) = reader.next() {
        let database = event.file_name().is_some_and(|name| name.to_bytes() == DATABASE.as_bytes());
        count += u32::from(database && event.events().contains(ReadFlags::CLOSE_WRITE));
    }
    count
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    #[test]
    fn each_end_of_a_process_that_has_the_database_is_counted_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in [DATABASE, "db.tmp"] {
            File::create(path(name)).expect("a file");
        }
        let watch = watch(&Place::new(folder.path())).expect("a watch");
        let open = |name: &str| drop(OpenOptions::new().read(true).write(true).open(path(name)).expect("it opens"));
        assert_eq!(closings(&watch), 0);
        open(DATABASE);
        open("db.tmp");
        drop(File::open(path(DATABASE)).expect("it opens"));
        open(DATABASE);
        assert_eq!((closings(&watch), closings(&watch)), (2, 0));
        let held = OpenOptions::new().write(true).open(path(DATABASE)).expect("it opens");
        assert_eq!(closings(&watch), 0);
        drop(held);
        assert_eq!(closings(&watch), 1);
    }

    #[tokio::test]
    async fn a_process_too_short_to_be_seen_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        File::create(folder.path().join(DATABASE)).expect("a file");
        let argv = vec!["no such program".to_owned()];
        let component =
            Component { name: "etcd".to_owned(), file: "etcd.yaml".to_owned(), argv, ..Component::default() };
        let ends = Ends::of(component, &Place::new(folder.path()));
        for _ in 0..2 {
            drop(OpenOptions::new().write(true).open(folder.path().join(DATABASE)).expect("it opens"));
        }
        assert_eq!(ends.twice().await.message, "etcd started and ended twice");
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_no_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let component = Component { name: "etcd".to_owned(), ..Component::default() };
        assert!(Ends::of(component, &Place::new(folder.path().join("missing"))).closed.is_none());
    }
}
