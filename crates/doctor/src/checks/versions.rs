//! Versions of etcd and of Kubernetes.

use std::collections::BTreeMap;

use crate::check::Check;
use crate::facts::{Facts, Node};
use crate::judgement::Judgement;

/// A version of etcd, without what follows the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) patch: u32,
}

impl Version {
    /// `3.5.16`, `3.5.0-rc.1`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let plain = text.split(['-', '+']).next()?;
        let mut parts = plain.split('.').map(|part| part.parse().ok());
        Some(Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? })
    }
}

pub(super) const CORRUPTION_BUG: Check = Check {
    name: "corruption-bug",
    title: "no etcd of a version that corrupts data",
    looks_at: "The version of every member: 3.5.0, 3.5.1 and 3.5.2 are an error.",
    why: "These versions can lose entries when etcd is killed under load, so that members hold different data without noticing (etcd-io/etcd issue 13766, fixed in
3.5.3). A backup of such a member can be wrong, and passes every check of its file.",
    by_hand: "Update etcd to the newest 3.5, one member at a time: with kubeadm, kubeadm upgrade apply --etcd-upgrade=true, or the image in
/etc/kubernetes/manifests/etcd.yaml; where etcd is a systemd unit, with its program. Then compare the members: kubectl etcd doctor, check data.",
    judge: corruption_bug,
};

fn corruption_bug(facts: &Facts) -> Judgement {
    Judgement::each(
        &facts.nodes,
        "no member has a version that corrupts data",
        Node::status,
        |node, status, judgement| match Version::parse(&status.version) {
            Some(Version { major: 3, minor: 5, patch: 0..=2 }) => judgement.error(
                format!("{}: etcd {} can corrupt data when it is killed", node.title(), status.version),
                "update etcd to the newest 3.5, one member at a time",
            ),
            Some(_) => {}
            None => judgement.lacks(format!("{}: its version {:?} is not understood", node.title(), status.version)),
        },
    )
}

pub(super) const ETCD: Check = Check {
    name: "etcd-versions",
    title: "all members have one version",
    looks_at: "The version of every member. Two versions are a warning.",
    why: "Members of two versions are an upgrade that was not completed. etcd supports that for the time of the upgrade only; and a restore builds the data of all members for one
version.",
    by_hand: "Bring the upgrade to its end: kubeadm upgrade node on every control-plane node that is left. kubectl etcd status shows the versions.",
    judge: etcd_versions,
};

fn etcd_versions(facts: &Facts) -> Judgement {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut judgement = Judgement::each(&facts.nodes, "", Node::status, |node, status, _| {
        versions.entry(&status.version).or_default().push(&node.node);
    });
    judgement.passed = format!("etcd {}", versions.keys().copied().collect::<Vec<_>>().join(", "));
    differ("etcd", &versions, &mut judgement);
    judgement
}

pub(super) const KUBERNETES: Check = Check {
    name: "kubernetes-versions",
    title: "all control-plane nodes have one version of Kubernetes",
    looks_at: "The versions of the kubelets and of the API servers of control-plane nodes. Two versions of one component are a warning.",
    why: "Two versions are an upgrade that was not completed. After a restore, an API server can meet objects that a newer one has stored and that it does not know; and
kubeadm join fails while versions differ.",
    by_hand: "Bring the upgrade to its end: kubeadm upgrade node on every control-plane node that is left, then update its kubelet. kubectl get nodes shows the versions of
the kubelets.",
    judge: kubernetes,
};

fn kubernetes(facts: &Facts) -> Judgement {
    let components = match &facts.components {
        Ok(components) => components,
        Err(why) => return Judgement::unknown(why),
    };
    let mut by_name: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for one in components {
        by_name.entry(one.name).or_default().entry(&one.version).or_default().push(&one.node);
    }
    let all =
        by_name.iter().flat_map(|(name, versions)| versions.keys().map(move |version| format!("{name} {version}")));
    let mut judgement = Judgement::pass(all.collect::<Vec<_>>().join(", "));
    if by_name.is_empty() {
        judgement.lacks("the versions of the control-plane nodes are not known");
    }
    for (name, versions) in &by_name {
        differ(name, versions, &mut judgement);
    }
    judgement
}

fn differ(what: &str, versions: &BTreeMap<&str, Vec<&str>>, judgement: &mut Judgement) {
    if versions.len() > 1 {
        let each: Vec<String> =
            versions.iter().map(|(version, nodes)| format!("{version} on {}", nodes.join(", "))).collect();
        judgement.warning(
            format!("{what} has {} versions: {}", versions.len(), each.join("; ")),
            "kubeadm upgrade node (on the nodes that are left)",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, healthy};

    #[test]
    fn versions_that_corrupt_data_are_told() {
        assert_passes("corruption-bug");
        for (version, severity) in [
            ("3.5.0", Severity::Error),
            ("3.5.2", Severity::Error),
            ("3.5.3", Severity::Ok),
            ("3.4.1", Severity::Ok),
            ("3.6.1", Severity::Ok),
            ("3.5.0-rc.1", Severity::Error),
            ("new", Severity::Unknown),
        ] {
            let mut facts = healthy(3);
            facts.nodes[1].status.as_mut().unwrap().version = version.to_owned();
            assert_finds(
                "corruption-bug",
                &facts,
                severity,
                if severity == Severity::Ok { "no member" } else { "cp2: " },
            );
        }
    }

    #[test]
    fn mixed_versions_are_told() {
        assert_passes("etcd-versions");
        assert_passes("kubernetes-versions");
        let mut facts = healthy(3);
        facts.nodes[2].status.as_mut().unwrap().version = "3.5.17".to_owned();
        assert_finds("etcd-versions", &facts, Severity::Warning, "3.5.17 on cp3");
        facts.components.as_mut().unwrap()[0].version = "v1.32.0".to_owned();
        assert_finds("kubernetes-versions", &facts, Severity::Warning, "kubelet has 2 versions: v1.32.0 on cp1");
        facts.components = Err("no right".to_owned());
        assert_finds("kubernetes-versions", &facts, Severity::Unknown, "no right");
        facts.components = Ok(Vec::new());
        assert_finds("kubernetes-versions", &facts, Severity::Unknown, "not known");
    }
}
