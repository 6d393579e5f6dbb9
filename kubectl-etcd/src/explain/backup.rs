//! `backup`, by hand.

use super::facts::{Facts, title};
use super::{Place, Script, Step, command, file_name, words};
use crate::output::visible::quoted;

/// How a snapshot is taken without this plugin: from the first of the members that were discovered.
pub(crate) fn backup(facts: &Facts, file: &str) -> String {
    let Some(member) = facts.members.first() else { return String::new() };
    let on_node = quoted(&format!("/var/tmp/{}", file_name(file)));
    let file_here = quoted(file);
    let status =
        Step::new(member.place(), "the best source is a healthy member that is not behind, if possible no leader")
            .beyond("all members are asked at one moment; learners, alarms and members of another cluster are left out")
            .run(command(&[member.etcdctl(), words(&["endpoint status --cluster -w table"])].concat()));
    let save = Step::new(member.place(), "etcd sends a consistent copy of its database, while it goes on serving")
        .beyond("the snapshot is streamed to this machine: nothing is written on the node")
        .run("umask 077")
        .run(command(&[member.etcdctl(), vec![format!("snapshot save {on_node}")]].concat()));
    let copy = Step::new(Place::Here, "a backup that stays on its cluster is lost with it")
        .beyond("the file gets its name only once it is whole, and replaces nothing without --force")
        .run(command(&["scp -p".to_owned(), quoted_remote(&member.host(), file_name(file)), file_here.clone()]))
        .run(format!("chmod 600 {file_here}"));
    let check = Step::new(Place::Here, "a backup is a backup only once it is verified")
        .beyond("every page and record is checked, not only the keys")
        .beyond("the UID of namespace kube-system in the file is compared with that of the API")
        .beyond("FILE.json records members, versions, peer URLs and the SHA-256")
        .run(command(
            &[member.version.file_tool(), vec![format!("snapshot status {file_here}"), "-w table".to_owned()]].concat(),
        ));
    let remove = Step::new(member.place(), "the copy on the node holds every Secret of the cluster")
        .run(format!("rm -f {on_node}"));
    Script {
        title: title(&["backup", file]),
        notes: vec![facts.tools_note()],
        steps: vec![status, save, copy, check, remove],
    }
    .text()
}

/// `HOST:/var/tmp/FILE`, for scp.
fn quoted_remote(host: &str, file: &str) -> String {
    quoted(&format!("{host}:/var/tmp/{file}"))
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::*;
    use crate::explain::Version;

    fn facts(version: &str) -> Facts {
        let pki = "/etc/kubernetes/pki/etcd";
        let member = Member {
            node: "cp1".into(),
            address: Some("10.0.0.11".into()),
            name: "cp1".into(),
            endpoint: "https://127.0.0.1:2379".into(),
            ca: Some(format!("{pki}/ca.crt")),
            pair: Some((format!("{pki}/server.crt"), format!("{pki}/server.key"))),
            version: Version::parse(version),
            ..Member::default()
        };
        Facts {
            cluster: "prod".into(),
            api_servers: vec![member.clone()],
            members: vec![member],
            manifests_dir: "/etc/kubernetes/manifests".into(),
        }
    }

    #[test]
    fn a_backup_of_a_kubeadm_cluster() {
        assert_eq!(
            backup(&facts("3.5.16-0"), "./etcd.db"),
            "\
# kubectl etcd backup ./etcd.db, by hand. Nothing was done.
# Cluster prod, etcd 3.5.16: etcdctl and etcdutl of that version must be on the
# nodes (the etcd image holds them).
# \"tool:\" is what kubectl etcd does beyond the commands.

# 1. on node cp1 (10.0.0.11), as root
# why:  the best source is a healthy member that is not behind, if possible no
#       leader
# tool: all members are asked at one moment; learners, alarms and members of
#       another cluster are left out
etcdctl --endpoints https://127.0.0.1:2379 \\
  --cacert /etc/kubernetes/pki/etcd/ca.crt \\
  --cert /etc/kubernetes/pki/etcd/server.crt \\
  --key /etc/kubernetes/pki/etcd/server.key \\
  endpoint status --cluster -w table

# 2. on node cp1 (10.0.0.11), as root
# why:  etcd sends a consistent copy of its database, while it goes on serving
# tool: the snapshot is streamed to this machine: nothing is written on the
#       node
umask 077
etcdctl --endpoints https://127.0.0.1:2379 \\
  --cacert /etc/kubernetes/pki/etcd/ca.crt \\
  --cert /etc/kubernetes/pki/etcd/server.crt \\
  --key /etc/kubernetes/pki/etcd/server.key snapshot save /var/tmp/etcd.db

# 3. on this machine
# why:  a backup that stays on its cluster is lost with it
# tool: the file gets its name only once it is whole, and replaces nothing
#       without --force
scp -p root@10.0.0.11:/var/tmp/etcd.db ./etcd.db
chmod 600 ./etcd.db

# 4. on this machine
# why:  a backup is a backup only once it is verified
# tool: every page and record is checked, not only the keys
# tool: the UID of namespace kube-system in the file is compared with that of
#       the API
# tool: FILE.json records members, versions, peer URLs and the SHA-256
etcdutl snapshot status ./etcd.db -w table

# 5. on node cp1 (10.0.0.11), as root
# why:  the copy on the node holds every Secret of the cluster
rm -f /var/tmp/etcd.db
"
        );
    }

    #[test]
    fn etcd_3_4_has_one_program_for_both() {
        let text = backup(&facts("3.4.23"), "a.db");
        assert!(text.contains("ETCDCTL_API=3 etcdctl snapshot status a.db -w table"), "{text}");
        assert!(!text.contains("etcdutl"), "{text}");
    }
}
