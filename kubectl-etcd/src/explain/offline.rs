//! `restore --data-dir`, by hand.

use super::facts::{Version, title};
use super::{Place, Script, Step, command, flag, words};
use crate::output::visible::quoted;

/// A member directory that is built from a file, and the cluster that it is of.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) file: String,
    pub(crate) data_dir: String,
    pub(crate) wal_dir: Option<String>,
    pub(crate) name: String,
    pub(crate) initial_cluster: String,
    pub(crate) token: String,
    pub(crate) peer_urls: String,
    /// By how much the revision is raised; 0 for not at all.
    pub(crate) bump: u64,
    pub(crate) skip_hash_check: bool,
    pub(crate) version: Version,
}

impl Directory {
    /// `etcdutl snapshot restore` with all of it.
    pub(super) fn command(&self) -> String {
        let mut all = self.version.file_tool();
        all.extend([
            format!("snapshot restore {}", quoted(&self.file)),
            flag("name", &self.name),
            flag("initial-cluster", &self.initial_cluster),
            flag("initial-cluster-token", &self.token),
            flag("initial-advertise-peer-urls", &self.peer_urls),
            flag("data-dir", &self.data_dir),
        ]);
        all.extend(self.wal_dir.as_ref().map(|dir| flag("wal-dir", dir)));
        if self.skip_hash_check {
            all.push("--skip-hash-check".to_owned());
        }
        if self.bump > 0 && self.version.can_bump() {
            all.extend([flag("bump-revision", &self.bump.to_string()), "--mark-compacted".to_owned()]);
        }
        command(&all)
    }

    /// What the plugin does beyond it.
    pub(super) fn beyond(&self, step: Step) -> Step {
        let step = step.beyond("the whole file is checked, and the new database is read back before it gets its name");
        match self.bump > 0 && !self.version.can_bump() {
            true => step.beyond(&format!(
                "the revision is raised by {}, which etcd {} cannot do: without it, restart the kubelets and all controllers",
                self.bump,
                self.version.shown()
            )),
            false => step,
        }
    }
}

/// How a directory is built without this plugin, and what is done with it afterwards.
pub(crate) fn directory(directory: &Directory) -> String {
    let build = Step::new(
        Place::Here,
        "the members of the new cluster are written into the directory, and a new write-ahead log",
    );
    let build = directory.beyond(build).run(directory.command());
    let tool = directory.version.file_tool().last().cloned().unwrap_or_default();
    let note = format!("{tool} of the etcd version that will use the directory must be here. No cluster is needed.");
    let check = Step::new(Place::Here, "the database of the directory is read once more")
        .beyond("its HashKV is printed, as etcdctl endpoint hashkv shows it later")
        .run(command(
            &[
                directory.version.file_tool(),
                vec![format!("snapshot status {}", quoted(&format!("{}/member/snap/db", directory.data_dir)))],
                words(&["-w table"]),
            ]
            .concat(),
        ));
    let title = title(&["restore", &directory.file, "--data-dir", &directory.data_dir, "--name", &directory.name]);
    Script { title, notes: vec![note], steps: vec![build, check] }.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Directory {
        Directory {
            file: "etcd.db".into(),
            data_dir: "/var/lib/etcd-restored".into(),
            name: "cp1".into(),
            initial_cluster: "cp1=https://10.0.0.11:2380".into(),
            token: "etcd-cluster".into(),
            peer_urls: "https://10.0.0.11:2380".into(),
            bump: 1_000_000_000,
            version: Version::parse(version),
            ..Directory::default()
        }
    }

    #[test]
    fn a_directory_for_a_cluster_of_one() {
        assert_eq!(
            directory(&of("3.6.14")),
            "\
# kubectl etcd restore etcd.db --data-dir /var/lib/etcd-restored --name cp1, by
# hand. Nothing was done.
# etcdutl of the etcd version that will use the directory must be here. No
# cluster is needed.
# \"tool:\" is what kubectl etcd does beyond the commands.

# 1. on this machine
# why:  the members of the new cluster are written into the directory, and a
#       new write-ahead log
# tool: the whole file is checked, and the new database is read back before it
#       gets its name
etcdutl snapshot restore etcd.db --name cp1 \\
  --initial-cluster 'cp1=https://10.0.0.11:2380' \\
  --initial-cluster-token etcd-cluster \\
  --initial-advertise-peer-urls https://10.0.0.11:2380 \\
  --data-dir /var/lib/etcd-restored --bump-revision 1000000000 \\
  --mark-compacted

# 2. on this machine
# why:  the database of the directory is read once more
# tool: its HashKV is printed, as etcdctl endpoint hashkv shows it later
etcdutl snapshot status /var/lib/etcd-restored/member/snap/db -w table
"
        );
    }

    #[test]
    fn what_a_version_cannot_do_is_no_command() {
        let text = directory(&of("3.5.1"));
        assert!(!text.contains("--bump-revision") && text.contains("etcd 3.5.1 cannot do"), "{text}");
        let text = directory(&of("3.4.23"));
        assert!(text.contains("\nETCDCTL_API=3 etcdctl snapshot restore etcd.db --name cp1"), "{text}");
        assert!(!text.contains("etcdutl"), "{text}");
        let none = Directory { bump: 0, skip_hash_check: true, ..of("3.6.1") };
        let text = directory(&none);
        assert!(text.contains("--skip-hash-check") && !text.contains("--mark-compacted"), "{text}");
    }
}
