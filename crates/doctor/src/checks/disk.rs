//! What lies on the nodes, and their clocks.

use std::collections::BTreeMap;

use etcd_wire::facts::StaticFile;

use crate::check::Check;
use crate::facts::{Change, Clock, Facts, Kept, Known, Node};
use crate::judgement::{Judgement, size};

/// How far clocks may be apart, milliseconds: etcd itself warns of more between peers (server/etcdserver/api/rafthttp/probing_status.go).
const APART: i64 = 1000;

pub(super) const STATIC_PODS: Check = Check {
    name: "static-pods",
    title: "the manifests folder has one manifest a component, and nothing else",
    looks_at: "Every file in the folder that the kubelet reads, /etc/kubernetes/manifests or --manifests-dir: the kubelet reads all that do not begin with a dot, whatever they end in. Two files
that start the same component are an error; a copy by its name (not .yaml, .yml or .json), and a file that is no pod, are a warning.",
    why: "A copy of etcd.yaml beside the original, such as etcd.yaml.bak, is run as well, or instead: the kubelet keeps one of the two, and edits of the other have no effect. In a restore the old etcd would
start again on the new data.",
    by_hand: "Move the copy out of the folder, on the node, and keep copies elsewhere:
    mv /etc/kubernetes/manifests/etcd.yaml.bak /root/",
    judge: static_pods,
};

fn static_pods(facts: &Facts) -> Judgement {
    let files = |node| Node::health(node)?.static_files.as_deref().map_err(Clone::clone);
    Judgement::each(&facts.nodes, "each component has one manifest", files, |node, files, judgement| {
        let mut by_component: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in files {
            if let Some(component) = &file.component {
                by_component.entry(component).or_default().push(&file.name);
            }
        }
        for (component, names) in by_component.iter().filter(|(_, names)| names.len() > 1) {
            let stray = names.iter().find(|name| !is_manifest(name)).or(names.last()).copied().unwrap_or_default();
            judgement.error(format!("{}: {} all start {component}", node.node, names.join(", ")), moved(node, stray));
        }
        let told = |file: &StaticFile| {
            file.component
                .as_ref()
                .is_some_and(|component| by_component.get(&**component).is_some_and(|all| all.len() > 1))
        };
        for file in files.iter().filter(|file| !told(file)) {
            match &file.trouble {
                Some(why) => {
                    judgement.warning(format!("{}: {} is no pod: {why}", node.node, file.name), moved(node, &file.name))
                }
                None if !is_manifest(&file.name) => judgement.warning(
                    format!("{}: {} is run as a static pod, too", node.node, file.name),
                    moved(node, &file.name),
                ),
                None => {}
            }
        }
    })
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

fn moved(node: &Node, name: &str) -> String {
    format!("move {name} out of the manifests folder (on {})", node.node)
}

pub(super) const KUBEADM: Check = Check {
    name: "kubeadm-backups",
    title: "kubeadm has left no copies of etcd's data",
    looks_at: "/etc/kubernetes/tmp/kubeadm-backup-etcd-* on every node. A copy with a database is a warning.",
    why: "kubeadm copies etcd's data before an upgrade, and leaves the copy. It takes room that a restore needs. It is also a database that somebody may restore from
by mistake, though it is as old as the upgrade; where no backup is left, it is better than nothing.",
    by_hand: "If there are backups: rm -r /etc/kubernetes/tmp/kubeadm-backup-etcd-*, on the node. If there are none: kubectl etcd verify on a copy of its
etcd/member/snap/db first.",
    judge: kubeadm,
};

fn kubeadm(facts: &Facts) -> Judgement {
    let left = |node| Node::health(node)?.kubeadm_backups.as_deref().map_err(Clone::clone);
    Judgement::each(&facts.nodes, "kubeadm has left none", left, |node, left, judgement| {
        let bytes = left.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        if !left.is_empty() {
            let copies = if left.len() == 1 { "1 copy".to_owned() } else { format!("{} copies", left.len()) };
            judgement.warning(
                format!("{}: {copies} of etcd's data in /etc/kubernetes/tmp, {}", node.node, size(bytes)),
                format!("rm -r /etc/kubernetes/tmp/kubeadm-backup-etcd-* (on {})", node.node),
            );
        }
    })
}

/// What restores have left.
fn kept(node: &Node) -> Known<&[Kept]> {
    node.kept.as_deref().map_err(Clone::clone)
}

pub(super) const OLD_DATA: Check = Check {
    name: "old-data",
    title: "no old data of a restore is left",
    looks_at: "What restores by this program, and replacements of members, have kept on every node: the data that was in place before. Old data is a warning.",
    why: "It takes the room that the next restore needs. Until you are sure of a restored cluster, what the restore has kept is the way back, so only you can say when it may go.",
    by_hand: "Go back to it, or remove it:
    kubectl etcd rollback
    kubectl etcd cleanup --old-data",
    judge: old_data,
};

fn old_data(facts: &Facts) -> Judgement {
    Judgement::each(&facts.nodes, "none is kept", kept, |node, kept, judgement| {
        let of = |change: Change| {
            let ended = kept.iter().filter(|one| one.ended && one.change == change);
            ended.fold(0_u64, |sum, one| sum.saturating_add(one.bytes))
        };
        let (restores, replacements) = (of(Change::Restore), of(Change::Replacement));
        if restores > 0 {
            judgement.warning(
                format!("{}: {} of old data is kept", node.node, size(restores)),
                "kubectl etcd cleanup --old-data (rollback is not possible then)",
            );
        }
        if replacements > 0 {
            judgement.warning(
                format!("{}: {} of old data of replaced members is kept", node.node, size(replacements)),
                "kubectl etcd cleanup --old-data",
            );
        }
    })
}

pub(super) const UNFINISHED: Check = Check {
    name: "unfinished-restore",
    title: "no restore is under way or was left unfinished",
    looks_at: "The journals of restores and of replacements of members on every node. One that has not ended is an error.",
    why: "While it has not ended, some nodes may have new data and others old data, static pods may be out of their folder, and no other restore can begin.",
    by_hand: "See what it waits for, and go on with it:
    kubectl etcd restore --status
    kubectl etcd restore --resume
Without an API server, on a node:
    etcd-sidecar restore --status
Go on with a replacement:
    kubectl etcd member replace NODE",
    judge: unfinished,
};

fn unfinished(facts: &Facts) -> Judgement {
    Judgement::each(&facts.nodes, "no restore is unfinished", kept, |node, kept, judgement| {
        for one in kept.iter().filter(|one| !one.ended) {
            match one.change {
                Change::Restore => judgement.error(
                    format!("{}: restore {} has not ended", node.node, one.id),
                    "kubectl etcd restore --status, then kubectl etcd restore --resume",
                ),
                Change::Replacement => judgement.error(
                    format!("{}: replacement {} of the member has not ended", node.node, one.id),
                    format!("kubectl etcd member replace {}", node.node),
                ),
            }
        }
    })
}

pub(super) const CLOCKS: Check = Check {
    name: "clocks",
    title: "the clocks of the nodes agree",
    looks_at: "The clock of every node, beside that of this machine, and how long the answer took. It is a warning if two nodes are certainly more than a second apart.",
    why: "Certificates are valid, leases expire and backups are named by the clock. With clocks apart a new certificate may not be valid yet on one node, and the
newest backup is not the newest.",
    by_hand: "Let every node keep its time by NTP: timedatectl, chronyc tracking, on the node.",
    judge: clocks,
};

fn clocks(facts: &Facts) -> Judgement {
    let mut told: Vec<(&Node, Clock)> = Vec::new();
    let mut judgement = Judgement::each(&facts.nodes, "", Node::clock, |node, clock, _| told.push((node, *clock)));
    // At least so far ahead, and at most.
    let first = told.iter().min_by_key(|(_, clock)| clock.ahead_ms.saturating_add(clock.within_ms));
    let last = told.iter().max_by_key(|(_, clock)| clock.ahead_ms.saturating_sub(clock.within_ms));
    judgement.passed = "they are less than a second apart, as far as can be told".to_owned();
    if let (Some((slow, at_most)), Some((fast, at_least))) = (first, last) {
        let apart = at_least.ahead_ms.saturating_sub(at_least.within_ms);
        let apart = apart.saturating_sub(at_most.ahead_ms.saturating_add(at_most.within_ms));
        if apart > APART {
            judgement.warning(
                format!(
                    "the clock of {} is at least {}.{} s ahead of that of {}",
                    fast.node,
                    apart / 1000,
                    apart % 1000 / 100,
                    slow.node
                ),
                "timedatectl set-ntp true (on both nodes)",
            );
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::LeftFile;

    use super::*;
    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, health, healthy, made};

    fn file(name: &str, component: Option<&str>, trouble: Option<&str>) -> StaticFile {
        StaticFile { name: name.into(), component: component.map(Into::into), trouble: trouble.map(Into::into) }
    }

    #[test]
    fn a_copy_of_a_manifest_is_told() {
        assert_passes("static-pods");
        let with = |file: StaticFile| {
            let mut facts = healthy(3);
            health(&mut facts, 1).static_files.as_mut().unwrap().push(file);
            facts
        };
        let copy = with(file("etcd.yaml.bak", Some("etcd"), None));
        assert_finds("static-pods", &copy, Severity::Error, "cp2: etcd.yaml, etcd.yaml.bak all start etcd");
        assert_eq!(made("static-pods", &copy).mend, ["move etcd.yaml.bak out of the manifests folder (on cp2)"]);
        let other = with(file("vip.yaml.orig", None, None));
        assert_finds("static-pods", &other, Severity::Warning, "cp2: vip.yaml.orig is run as a static pod, too");
        let none = with(file("notes", None, Some("it is no Pod")));
        assert_finds("static-pods", &none, Severity::Warning, "cp2: notes is no pod: it is no Pod");
        assert_eq!(made("static-pods", &with(file("vip.yaml", None, None))).severity, Severity::Ok);
    }

    #[test]
    fn what_kubeadm_and_restores_have_left_is_told() {
        for name in ["kubeadm-backups", "old-data", "unfinished-restore"] {
            assert_passes(name);
        }
        let mut facts = healthy(3);
        health(&mut facts, 0).kubeadm_backups = Ok(vec![LeftFile { path: "/x".to_owned(), bytes: 700_000_000 }]);
        assert_finds(
            "kubeadm-backups",
            &facts,
            Severity::Warning,
            "cp1: 1 copy of etcd's data in /etc/kubernetes/tmp, 700.0 MB",
        );
        let ended = Kept { change: Change::Restore, id: "a".to_owned(), ended: true, bytes: 5000 };
        facts.nodes[2].kept = Ok(vec![ended.clone(), Kept { bytes: 0, ..ended.clone() }]);
        assert_finds("old-data", &facts, Severity::Warning, "cp3: 5.0 kB of old data is kept");
        assert_eq!(made("unfinished-restore", &facts).severity, Severity::Ok);
        let replaced = Kept { change: Change::Replacement, bytes: 7000, ..ended };
        facts.nodes[2].kept = Ok(vec![replaced.clone()]);
        assert_finds("old-data", &facts, Severity::Warning, "cp3: 7.0 kB of old data of replaced members is kept");
        assert_eq!(made("old-data", &facts).mend, ["kubectl etcd cleanup --old-data"]);
        facts.nodes[2].kept = Ok(vec![Kept { ended: false, ..replaced }]);
        assert_finds("unfinished-restore", &facts, Severity::Error, "cp3: replacement a of the member has not ended");
        assert_eq!(made("unfinished-restore", &facts).mend, ["kubectl etcd member replace cp3"]);
        facts.nodes[2].kept = Ok(vec![Kept { id: "b".to_owned(), bytes: 9, ..Kept::default() }]);
        assert_finds("unfinished-restore", &facts, Severity::Error, "cp3: restore b has not ended");
        assert_eq!(made("old-data", &facts).severity, Severity::Ok);
        facts.nodes[2].kept = Err("no pod".to_owned());
        assert_finds("unfinished-restore", &facts, Severity::Unknown, "cp3: no pod");
    }

    #[test]
    fn clocks_that_are_certainly_apart_are_told() {
        assert_passes("clocks");
        let with = |ahead_ms: i64, within_ms: i64| {
            let mut facts = healthy(3);
            facts.nodes[1].clock = Ok(Clock { ahead_ms, within_ms });
            facts
        };
        assert_finds(
            "clocks",
            &with(3200, 100),
            Severity::Warning,
            "the clock of cp2 is at least 3.0 s ahead of that of cp",
        );
        assert_finds("clocks", &with(-3200, 100), Severity::Warning, "ahead of that of cp2");
        // The answer took so long that it may be nothing.
        assert_eq!(made("clocks", &with(3200, 2200)).severity, Severity::Ok);
        // This machine's clock does not count.
        let mut all = healthy(3);
        all.nodes.iter_mut().for_each(|node| node.clock = Ok(Clock { ahead_ms: 90_000, within_ms: 5 }));
        assert_eq!(made("clocks", &all).severity, Severity::Ok);
    }
}
