//! `restore FILE`, by hand.

use super::facts::{Facts, title};
use super::{Directory, Place, Script, Step, command, file_name, static_pods};
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// What a restore is to do.
#[derive(Debug)]
pub(crate) struct Restore<'a> {
    pub(crate) file: &'a str,
    /// By how much the revision is raised; 0 for not at all.
    pub(crate) bump: u64,
    pub(crate) skip_hash_check: bool,
}

/// How a running control plane is restored without this plugin.
///
/// # Errors
/// What it takes is not shown by a member's pod (exit 4).
pub(crate) fn restore(facts: &Facts, restore: &Restore<'_>) -> Outcome<String> {
    let first = facts.members.first().ok_or_else(|| Failed::new(Exit::Refused, "no member is known"))?;
    let name = file_name(restore.file);
    let on_node = format!("/var/tmp/{name}");
    let copy = Step::new(Place::Here, "every member is built from the same file")
        .beyond("the file must be of this cluster: the UID of namespace kube-system is compared")
        .beyond("the plan shows which objects would be deleted, come back or change back");
    let copy = facts.members.iter().fold(copy, |step, member| {
        let to = quoted(&format!("{}:{on_node}", member.host()));
        step.run(command(&["scp -p".to_owned(), quoted(restore.file), to]))
    });
    let mut steps = vec![copy];
    let peers = facts.members.iter().flat_map(|one| one.peer_urls.iter().map(move |url| format!("{}={url}", one.name)));
    let initial_cluster = peers.collect::<Vec<_>>().join(",");
    let mut can_bump = restore.bump > 0;
    for member in &facts.members {
        if member.name.is_empty() || member.peer_urls.is_empty() {
            return Err(Failed::new(
                Exit::Refused,
                format!("name and peer URL of the member on {} are not known", member.node),
            )
            .cause("its pod does not show them"));
        }
        let directory = Directory {
            file: on_node.clone(),
            data_dir: format!("{}-restored", member.data_dir()?),
            wal_dir: member.wal_dir.as_ref().map(|dir| format!("{dir}-restored")),
            name: member.name.clone(),
            initial_cluster: initial_cluster.clone(),
            token: format!("restored-{}", name.split('.').next().unwrap_or(name)),
            peer_urls: member.peer_urls.join(","),
            bump: restore.bump,
            skip_hash_check: restore.skip_hash_check,
            version: member.version,
        };
        can_bump &= member.version.can_bump();
        let why = "the new directory is built beside the old one while the cluster runs; a new token keeps old and new members apart";
        steps.push(directory.beyond(Step::new(member.place(), why)).run(directory.command()));
    }
    steps.extend(static_pods::stop(facts));
    for (at, member) in facts.members.iter().enumerate() {
        let data_dir = member.data_dir()?;
        let path = |suffix: &str| quoted(&format!("{data_dir}{suffix}"));
        let step = Step::new(
            member.place(),
            "the old data is kept: to go back, exchange it again; stop if a command fails on a node",
        );
        let step = if at == 0 {
            step.beyond("the old data is moved to DATA_DIR/.kubectl-etcd/ID/old; kubectl etcd rollback returns to it")
                .beyond("owner, mode and SELinux label of every file become those of the old one")
        } else {
            step
        };
        let step = step
            // One command: the old data must not go before the new data is there.
            .run(format!(
                "test -d {0} && \\\n  mv {1} {2} && \\\n  mv {0} {1}",
                path("-restored/member"),
                path("/member"),
                path("-before-restore")
            ))
            .run(format!("chown -R --reference={} {}", path(""), path("/member")))
            .run(format!("rm -r {} {}", path("-restored"), quoted(&on_node)));
        steps.push(match &member.wal_dir {
            None => step,
            Some(wal) => step.run(format!(
                "test -d {0} && \\\n  mv {1} {2} && \\\n  mv {0} {1}",
                quoted(&format!("{wal}-restored")),
                quoted(wal),
                quoted(&format!("{wal}-before-restore"))
            )),
        });
    }
    steps.extend(static_pods::start(facts, first));
    if !can_bump {
        steps.push(static_pods::restart_kubelets());
    }
    let title = title(&["restore", restore.file]);
    let notes =
        vec![facts.tools_note(), "Existing watches and leases end. The API is away while etcd is stopped.".to_owned()];
    Ok(Script { title, notes, steps }.text())
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::*;
    use crate::explain::Version;

    pub(in crate::explain) fn facts(version: &str, nodes: usize) -> Facts {
        let member = |number: usize| {
            let (node, address) = (format!("cp{number}"), format!("10.0.0.1{number}"));
            Member {
                name: node.clone(),
                endpoint: "https://127.0.0.1:2379".into(),
                data_dir: Some("/var/lib/etcd".into()),
                peer_urls: vec![format!("https://{address}:2380")],
                version: Version::parse(version),
                address: Some(address),
                node,
                ..Member::default()
            }
        };
        let members: Vec<Member> = (1..=nodes).map(member).collect();
        Facts {
            cluster: "prod".into(),
            api_servers: members.clone(),
            members,
            manifests_dir: "/etc/kubernetes/manifests".into(),
        }
    }

    fn explained(version: &str, nodes: usize) -> String {
        let what = Restore { file: "etcd.db", bump: 1_000_000_000, skip_hash_check: false };
        restore(&facts(version, nodes), &what).expect("all is known")
    }

    #[test]
    fn a_control_plane_of_one_node() {
        let text = explained("3.6.14", 1);
        let commands: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(
            commands.join("\n"),
            "\
scp -p etcd.db root@10.0.0.11:/var/tmp/etcd.db
etcdutl snapshot restore /var/tmp/etcd.db --name cp1 \\
  --initial-cluster 'cp1=https://10.0.0.11:2380' \\
  --initial-cluster-token restored-etcd \\
  --initial-advertise-peer-urls https://10.0.0.11:2380 \\
  --data-dir /var/lib/etcd-restored --bump-revision 1000000000 \\
  --mark-compacted
mkdir -p /etc/kubernetes/manifests-stopped
mv /etc/kubernetes/manifests/kube-controller-manager.yaml \\
  /etc/kubernetes/manifests/kube-scheduler.yaml \\
  /etc/kubernetes/manifests/kube-apiserver.yaml \\
  /etc/kubernetes/manifests-stopped/
while pgrep -x kube-apiserver >/dev/null; do sleep 1; done
mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/manifests-stopped/
while pgrep -x etcd >/dev/null; do sleep 1; done
test -d /var/lib/etcd-restored/member && \\
  mv /var/lib/etcd/member /var/lib/etcd-before-restore && \\
  mv /var/lib/etcd-restored/member /var/lib/etcd/member
chown -R --reference=/var/lib/etcd /var/lib/etcd/member
rm -r /var/lib/etcd-restored /var/tmp/etcd.db
mv /etc/kubernetes/manifests-stopped/etcd.yaml /etc/kubernetes/manifests/
until etcdctl --endpoints https://127.0.0.1:2379 endpoint health --cluster
do sleep 1; done
mv /etc/kubernetes/manifests-stopped/kube-controller-manager.yaml \\
  /etc/kubernetes/manifests-stopped/kube-scheduler.yaml \\
  /etc/kubernetes/manifests-stopped/kube-apiserver.yaml \\
  /etc/kubernetes/manifests/
rmdir /etc/kubernetes/manifests-stopped
until kubectl get --raw /readyz; do sleep 1; done"
        );
    }

    #[test]
    fn api_servers_are_stopped_where_they_are() {
        let mut apart = facts("3.6.14", 3);
        apart.api_servers = vec![apart.members.remove(0)];
        let what = Restore { file: "etcd.db", bump: 1, skip_hash_check: false };
        let text = restore(&apart, &what).expect("all is known");
        let stopped = text.split("-stopped/\n").next().expect("a command");
        assert!(stopped.contains("on node cp1 (10.0.0.11), as root") && !stopped.contains("etcd.yaml"), "{text}");
        assert!(text.contains("on each of cp2, cp3, as root"), "{text}");
        assert_eq!(text.matches("mkdir -p /etc/kubernetes/manifests-stopped").count(), 2, "{text}");
        assert!(!text.contains("root@10.0.0.11:"), "{text}");
    }

    #[test]
    fn a_control_plane_of_three_nodes_on_an_old_etcd() {
        let text = explained("3.5.1", 3);
        assert_eq!(text.matches("etcdutl snapshot restore").count(), 3);
        let all = "cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380";
        assert_eq!(text.matches(all).count(), 3, "{text}");
        assert!(text.contains("on each of cp1, cp2, cp3, as root"), "{text}");
        assert!(!text.contains("--bump-revision") && text.contains("systemctl restart kubelet"), "{text}");
        let mut unknown = facts("3.5.1", 1);
        unknown.members[0].data_dir = None;
        let what = Restore { file: "etcd.db", bump: 0, skip_hash_check: false };
        assert_eq!(restore(&unknown, &what).expect_err("no folder").exit, Exit::Refused);
    }
}
