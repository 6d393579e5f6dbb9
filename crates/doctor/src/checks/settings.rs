//! How etcd and the API servers are started.

use std::collections::BTreeMap;

use etcd_wire::facts::{Encryption, EncryptionKey};
use etcd_wire::services::{has_feature, is_true};

use super::members::listed;
use crate::check::Check;
use crate::facts::{Facts, Known, Node};
use crate::judgement::Judgement;
use crate::start::Start;

/// Its command line, where it is known.
fn flags(node: &Node) -> Known<&Node> {
    if node.flags.is_empty() { Err("the command line of etcd is not known".to_owned()) } else { Ok(node) }
}

pub(super) const CORRUPTION_CHECK: Check = Check {
    name: "corruption-check",
    title: "etcd compares its data with its peers when it starts",
    looks_at: "The flags of every member: --experimental-initial-corrupt-check=true, or from etcd 3.6 on --feature-gates=InitialCorruptCheck=true. kubeadm sets it. Off is a
warning.",
    why: "With it, a member whose data differs from that of its peers does not start, and is noticed. Without it the member serves wrong data, and a backup of it is wrong as well.",
    by_hand: "Add the flag to the command of /etc/kubernetes/manifests/etcd.yaml on the node. The kubelet restarts etcd by itself: one node after the other. Where etcd is a systemd unit: set the
variable (ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true) in the unit's file of variables, or the name in etcd's configuration file, and restart it: systemctl restart etcd.",
    judge: corruption_check,
};

fn corruption_check(facts: &Facts) -> Judgement {
    Judgement::each(&facts.nodes, "on, on every member", flags, |node, _, judgement| {
        let on = node.flag("experimental-initial-corrupt-check").is_some_and(is_true)
            || node.flag("feature-gates").is_some_and(|gates| has_feature(gates, "InitialCorruptCheck"));
        if !on {
            let place = node.start.place(&["experimental-initial-corrupt-check", "feature-gates"]);
            let flag = place.setting("experimental-initial-corrupt-check", "true");
            let gate = place.setting("feature-gates", "InitialCorruptCheck=true");
            judgement.warning(
                format!("{}: etcd does not compare its data with its peers when it starts", node.title()),
                format!("add {flag} (3.6: {gate}) to {place}"),
            );
        }
    })
}

pub(super) const INITIAL_CLUSTER: Check = Check {
    name: "initial-cluster",
    title: "no member can come up as an empty cluster",
    looks_at: "Where there are several members: --initial-cluster and --initial-cluster-state of each. It is a warning if a member names only itself, and not the state existing. kubeadm leaves
the first node of every cluster so.",
    why: "etcd reads these flags when its data directory is empty. If the data of such a member is lost or moved away, it does not join the others: it comes up at once as an empty
cluster, with the same cluster and member ID, and its API server serves that. Controllers then see a cluster without objects.",
    by_hand: "On that node, in /etc/kubernetes/manifests/etcd.yaml, let --initial-cluster name all members (NAME=PEER-URL,...), and add --initial-cluster-state=existing. The
kubelet restarts etcd by itself. Where etcd is a systemd unit: ETCD_INITIAL_CLUSTER and ETCD_INITIAL_CLUSTER_STATE in its file of variables, or the names in etcd's configuration
file, then systemctl restart etcd. With the data in place the flags change nothing.",
    judge: initial_cluster,
};

fn initial_cluster(facts: &Facts) -> Judgement {
    let Some(members) = listed(facts) else {
        let mut judgement = Judgement::each(&facts.nodes, "", Node::status, |_, _, _| {});
        judgement.lacks("no member tells the member list");
        return judgement;
    };
    let all: Vec<String> = members
        .iter()
        .flat_map(|member| member.peer_urls.iter().map(move |url| format!("{}={url}", member.name)))
        .collect();
    let passed = if members.len() > 1 { "every member names others, or joins" } else { "there is one member" };
    Judgement::each(&facts.nodes, passed, flags, |node, _, judgement| {
        let named = node.flag("initial-cluster").unwrap_or_default();
        let others = named.split(',').any(|one| {
            let name = one.split('=').next().unwrap_or_default().trim();
            !name.is_empty() && name != node.member
        });
        let joins = node.flag("initial-cluster-state") == Some("existing");
        if members.len() > 1 && !others && !joins {
            let place = node.start.place(&["initial-cluster", "initial-cluster-state"]);
            let (names, joins) =
                (place.setting("initial-cluster", &all.join(",")), place.setting("initial-cluster-state", "existing"));
            judgement.warning(
                format!("{}: with its data lost it comes up as an empty cluster of its own", node.title()),
                format!("set {names}{}{joins} in {place} (on {})", place.between(), node.node),
            );
        }
    })
}

pub(super) const PEER_URLS: Check = Check {
    name: "peer-urls",
    title: "members can be reached by their peers",
    looks_at: "The peer URLs in the member list. A loopback address is an error if there are several members, and a warning if there is one.",
    why: "A restore that was made without --initial-advertise-peer-urls registers the member as http://localhost:2380. Alone it works; but no other member reaches it, and
kubeadm join --control-plane hangs.",
    by_hand: "etcdctl member update ID --peer-urls=https://ADDRESS:2380, on the node (crictl exec), with the address that --listen-peer-urls in its etcd.yaml
has. Where etcd is a systemd unit: on the node itself, with the address of ETCD_LISTEN_PEER_URLS or listen-peer-urls.",
    judge: peer_urls,
};

fn peer_urls(facts: &Facts) -> Judgement {
    let Some(members) = listed(facts) else { return Judgement::unknown("no member tells the member list") };
    let mut judgement = Judgement::pass("no peer URL is that of a loopback address");
    for member in members {
        for url in member.peer_urls.iter().filter(|url| is_loopback(url)) {
            let evidence = format!("member {} has the peer URL {url}", member.name);
            let node = facts.nodes.iter().find(|node| node.member == member.name);
            let mend = format!(
                "etcdctl member update {:x} --peer-urls=https://ADDRESS:2380 ({})",
                member.id,
                node.map_or(&Start::StaticPod, |node| &node.start).at_hand()
            );
            if members.len() > 1 { judgement.error(evidence, mend) } else { judgement.warning(evidence, mend) }
        }
    }
    judgement
}

/// Whether the host of a URL is this machine's alone.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) const ENCRYPTION: Check = Check {
    name: "encryption-keys",
    title: "all API servers encrypt with the same keys",
    looks_at: "The names of the keys in the encryption configuration of every API server (--encryption-provider-config). It is an error if they differ or cannot be read. The keys themselves
do not leave the node.",
    why: "What one API server encrypts, the others and the restored cluster have to decrypt. With a key missing, Secrets cannot be read after a restore, whatever the backup
holds.",
    by_hand: "Copy the file to all control-plane nodes, and restart their API servers. Keep old keys in the list until everything was rewritten with the new one: kubectl get
secrets -A -o json | kubectl replace -f -.",
    judge: encryption,
};

fn encryption(facts: &Facts) -> Judgement {
    let mut by_keys: BTreeMap<Vec<&EncryptionKey>, Vec<&str>> = BTreeMap::new();
    let mut judgement = Judgement::each(&facts.nodes, "", Node::encryption, |node, encryption, judgement| {
        let keys: Vec<&EncryptionKey> = match encryption {
            Encryption::Off | Encryption::Unknown => Vec::new(),
            Encryption::Keys { keys } => keys.iter().collect(),
            Encryption::Unread { why } => {
                judgement.error(
                    format!("{}: the encryption configuration cannot be read: {why}", node.node),
                    "mend the file that --encryption-provider-config names (on the node)",
                );
                return;
            }
        };
        by_keys.entry(keys).or_default().push(&node.node);
    });
    let names = |keys: &[&EncryptionKey]| match keys {
        [] => "no key".to_owned(),
        keys => keys.iter().map(|key| format!("{}:{}", key.provider, key.name)).collect::<Vec<_>>().join(", "),
    };
    if by_keys.len() > 1 {
        let sides: Vec<String> =
            by_keys.iter().map(|(keys, nodes)| format!("{} on {}", names(keys), nodes.join(", "))).collect();
        judgement.error(
            format!("API servers have different keys: {}", sides.join("; ")),
            "copy the encryption configuration to all control-plane nodes",
        );
    }
    judgement.passed = match by_keys.keys().next() {
        Some(keys) if !keys.is_empty() => format!("all have {}", names(keys)),
        _ => "encryption at rest is off".to_owned(),
    };
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, healthy, made};

    #[test]
    fn a_corruption_check_that_is_off_is_told() {
        assert_passes("corruption-check");
        let with = |flag: &str| {
            let mut facts = healthy(3);
            facts.nodes[0].flags = vec!["--name=cp1".to_owned(), flag.to_owned()];
            facts
        };
        assert_finds("corruption-check", &with("--x=y"), Severity::Warning, "cp1: etcd does not compare");
        let gate = "--feature-gates=A=true,InitialCorruptCheck=true";
        assert_eq!(made("corruption-check", &with(gate)).severity, Severity::Ok);
        let off = with("--experimental-initial-corrupt-check=false");
        assert_eq!(made("corruption-check", &off).severity, Severity::Warning);
        let mut unknown = healthy(3);
        unknown.nodes[1].flags.clear();
        assert_finds("corruption-check", &unknown, Severity::Unknown, "cp2: the command line of etcd is not known");
    }

    #[test]
    fn kubeadms_first_node_is_told() {
        assert_passes("initial-cluster");
        let with = |count: usize, flags: &[&str]| {
            let mut facts = healthy(count);
            facts.nodes[0].flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            facts
        };
        let first = ["--name=cp1", "--initial-cluster=cp1=https://10.0.0.1:2380"];
        let finding = made("initial-cluster", &with(3, &first));
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.mend[0].contains(
            "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380 --initial-cluster-state=existing"
        ));
        assert_eq!(made("initial-cluster", &with(3, &first[..1])).severity, Severity::Warning);
        assert_eq!(made("initial-cluster", &with(1, &first)).severity, Severity::Ok);
        let joins = [first[0], first[1], "--initial-cluster-state=existing"];
        assert_eq!(made("initial-cluster", &with(3, &joins)).severity, Severity::Ok);
    }

    #[test]
    fn loopback_peer_urls_are_told() {
        assert_passes("peer-urls");
        for (url, loopback) in [
            ("http://localhost:2380", true),
            ("https://127.0.0.2:2380", true),
            ("https://[::1]:2380", true),
            ("https://10.0.0.1:2380", false),
            ("https://localhost.example:2380", false),
            ("https://[fd00::1]:2380", false),
        ] {
            assert_eq!(is_loopback(url), loopback, "{url}");
        }
        for (count, severity) in [(1, Severity::Warning), (3, Severity::Error)] {
            let mut facts = healthy(count);
            for node in &mut facts.nodes {
                node.status.as_mut().unwrap().members[0].peer_urls = vec!["http://localhost:2380".to_owned()];
            }
            assert_finds("peer-urls", &facts, severity, "member cp1 has the peer URL http://localhost:2380");
        }
    }

    #[test]
    fn keys_that_differ_are_told() {
        assert_passes("encryption-keys");
        let key = |name: &str| EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: name.into() };
        let mut facts = healthy(3);
        for node in &mut facts.nodes {
            node.disk.as_mut().unwrap().encryption = Encryption::Keys { keys: vec![key("key2"), key("key1")] };
        }
        assert_finds("encryption-keys", &facts, Severity::Ok, "all have aescbc:key2, aescbc:key1");
        facts.nodes[1].disk.as_mut().unwrap().encryption = Encryption::Keys { keys: vec![key("key1")] };
        assert_finds("encryption-keys", &facts, Severity::Error, "aescbc:key1 on cp2");
        facts.nodes[1].disk.as_mut().unwrap().encryption = Encryption::Unread { why: "c.yaml: no".to_owned() };
        assert_finds(
            "encryption-keys",
            &facts,
            Severity::Error,
            "cp2: the encryption configuration cannot be read: c.yaml: no",
        );
        facts.nodes[1].disk.as_mut().unwrap().encryption = Encryption::Unknown;
        assert_finds("encryption-keys", &facts, Severity::Unknown, "cp2: the API server's manifest is not known");
    }
}
