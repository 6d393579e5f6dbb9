//! What is left over after a restore: the API does not know it, or only the API knows it. Nothing of it is certain, so it is never an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Check;
use crate::judgement::{Judgement, span};
use crate::left_overs::{CameBack, Kubelet, LeftOvers, Look, Volume};

/// How the left-overs are judged.
type Judge = fn(&LeftOvers) -> Judgement;

/// The checks of this file, for whoever knows nothing else.
pub(crate) const ALL: &[(&Check, Judge)] =
    &[(&PODS, pods), (&NODES, nodes), (&API_SERVERS, api_servers), (&VOLUMES, volumes), (&TOKENS, tokens)];

/// How much later than others a lease may be renewed, seconds. They are renewed every ten seconds.
const LATE: i64 = 300;
/// Most left-overs of one kind that are named.
const NAMED: usize = 50;

/// Something that seems to be left over.
struct Suspect {
    /// Names it, in all looks alike.
    key: String,
    evidence: String,
    mend: String,
}

/// What one look has of one kind.
#[derive(Default)]
struct Seen {
    suspects: Vec<Suspect>,
    /// Why some of it is not known.
    lacks: Vec<String>,
}

impl Seen {
    fn suspect(&mut self, key: impl Into<String>, evidence: impl Into<String>, mend: impl Into<String>) {
        self.suspects.push(Suspect { key: key.into(), evidence: evidence.into(), mend: mend.into() });
    }

    /// A reason that is told once.
    fn lacks(&mut self, why: &str) {
        if !self.lacks.iter().any(|known| known == why) {
            self.lacks.push(why.to_owned());
        }
    }
}

/// How one look is judged.
type Find = fn(&Look, &[CameBack]) -> Seen;

/// What was found in every look that could find it.
fn confirmed(facts: &LeftOvers, find: Find) -> Seen {
    let Some((last, before)) = facts.looks.split_last() else { return Seen::default() };
    let mut seen = find(last, &facts.came_back);
    for look in before {
        let earlier = find(look, &facts.came_back);
        // A look that did not see everything says nothing of what it has not found.
        if earlier.lacks.is_empty() {
            seen.suspects.retain(|one| earlier.suspects.iter().any(|other| other.key == one.key));
        }
    }
    seen
}

impl LeftOvers {
    /// Whether something was found in all looks so far, which another look may not find again.
    pub fn suspects(&self) -> bool {
        let kinds: [Find; 4] = [seen_nodes, seen_api_servers, seen_volumes, seen_tokens];
        self.pods_may_be_ending() || kinds.iter().any(|find| !confirmed(self, *find).suspects.is_empty())
    }

    /// Whether pods were found in all looks so far, which their kubelets may still be ending.
    pub fn pods_may_be_ending(&self) -> bool {
        !confirmed(self, seen_pods).suspects.is_empty()
    }
}

fn judged(facts: &LeftOvers, find: Find, passed: &str) -> Judgement {
    let Seen { suspects, lacks } = confirmed(facts, find);
    let mut judgement = Judgement::pass(passed);
    judgement.unknown = lacks;
    let more = suspects.len().saturating_sub(NAMED);
    for one in suspects.into_iter().take(NAMED) {
        judgement.warning(one.evidence, one.mend);
    }
    if more > 0 {
        judgement.warning(format!("and {more} more"), "mend these, and look again for the others: kubectl etcd doctor");
    }
    judgement
}

pub(super) const PODS: Check = Check {
    name: "left-over-pods",
    title: "no pod runs that the API does not know",
    looks_at: "What every kubelet runs, which it tells the API server's node proxy (/runningpods/, or /pods where that is turned off), and the pods of the API. A pod that runs and
whose UID is that of no pod of the API is a warning. Static pods come from a manifest on the node and do not count, nor do their mirrors. A pod counts that was seen twice, some
seconds apart.",
    why: "A restore takes away the API objects of pods that were made after the snapshot. Their kubelet ends them once it has listed its pods again, which may take a minute. A kubelet that
does not notice runs them on: such a pod holds its volumes and ports, writes beside its successor, and nobody sees it.",
    by_hand: "See what runs, and what the API has on that node:
    kubectl get --raw /api/v1/nodes/NODE/proxy/runningpods/
    kubectl get pods -A --field-selector spec.nodeName=NODE
Restart the kubelet of the node, which ends what is in no API. What runs even then is stopped by its UID:
    systemctl restart kubelet
    crictl stopp $(crictl pods -q --label io.kubernetes.pod.uid=UID)",
    judge: |facts| pods(&facts.left_overs),
};

fn pods(facts: &LeftOvers) -> Judgement {
    judged(facts, seen_pods, "the API knows every pod that the kubelets run")
}

fn seen_pods(look: &Look, _: &[CameBack]) -> Seen {
    let mut seen = Seen::default();
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    if let Err(why) = &look.nodes {
        seen.lacks(why);
    }
    for (node, kubelet) in &look.kubelets {
        match (kubelet, &look.pods) {
            (Kubelet::Silent(why) | Kubelet::NotAsked(why), _) => reasons.entry(why).or_default().push(node),
            (Kubelet::Runs(_), Err(why)) => seen.lacks(why),
            (Kubelet::Runs(running), Ok(known)) => {
                for pod in running.iter().filter(|pod| !pod.is_static && !known.contains(&pod.uid)) {
                    let mend = match is_plain(&pod.uid) {
                        true => format!(
                            "systemctl restart kubelet; if it still runs: crictl stopp $(crictl pods -q --label io.kubernetes.pod.uid={}) (on {node})",
                            pod.uid
                        ),
                        false => format!("systemctl restart kubelet (on {node})"),
                    };
                    let evidence = format!(
                        "{node}: {}/{} runs, and its UID {} is that of no pod of the API",
                        pod.namespace, pod.name, pod.uid
                    );
                    seen.suspect(format!("{node} {}", pod.uid), evidence, mend);
                }
            }
        }
    }
    seen.lacks.extend(reasons.into_iter().map(|(why, nodes)| format!("{}: {why}", some(&nodes))));
    seen
}

/// What a node tells is put into a command only if it is a word.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The first names, and how many more there are.
fn some(names: &[&str]) -> String {
    const NAMES: usize = 5;
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ")),
    }
}

pub(super) const NODES: Check = Check {
    name: "left-over-nodes",
    title: "every Node has a machine",
    looks_at: "The Node objects, their leases in namespace kube-node-lease, and whether their kubelets answer. A Node whose kubelet does not answer is a warning if condition Ready is Unknown, if its lease
was renewed more than five minutes before that of another node, or if a restore has just brought it back. A kubelet that answers has a machine.",
    why: "A restore brings back Nodes that were removed after the snapshot. Their pods count as running until they are evicted: a StatefulSet waits for them, a volume stays attached, and
Services send requests to them.",
    by_hand: "Look when the kubelet reported last:
    kubectl describe node NODE
If the machine is gone for good, remove the Node; its pods and its lease go with it:
    kubectl delete node NODE
If it is not, start it, or its kubelet: systemctl restart kubelet",
    judge: |facts| nodes(&facts.left_overs),
};

fn nodes(facts: &LeftOvers) -> Judgement {
    judged(facts, seen_nodes, "no Node without a machine was found")
}

fn seen_nodes(look: &Look, came_back: &[CameBack]) -> Seen {
    let mut seen = Seen::default();
    let of_restore = |one: &CameBack| {
        let with = one.with.as_ref().map(|left| format!(", with {}", left.brings())).unwrap_or_default();
        format!("{}: it came back with the restored data{with}, and was no node before the restore", one.node)
    };
    let mend = |node: &str| format!("kubectl delete node {node} (if its machine is gone for good)");
    let listed = match &look.nodes {
        Ok(listed) => listed,
        Err(why) => {
            seen.lacks(why);
            came_back.iter().for_each(|one| seen.suspect(&one.node, of_restore(one), mend(&one.node)));
            return seen;
        }
    };
    let leases = match &look.node_leases {
        Ok(leases) => leases.clone(),
        Err(why) => {
            seen.lacks(why);
            BTreeMap::new()
        }
    };
    let newest = leases.values().max();
    for node in listed {
        let name = &node.name;
        let why = match look.kubelets.get(name) {
            Some(Kubelet::Runs(_)) => continue,
            Some(Kubelet::Silent(why)) => Some(why),
            Some(Kubelet::NotAsked(_)) | None => None,
        };
        // Right after a restore a lease is as old as the snapshot, until its kubelet renews it.
        let late = newest.zip(leases.get(name)).map(|(newest, renewed)| newest - renewed).filter(|late| *late > LATE);
        let evidence = match (came_back.iter().find(|one| one.node == *name), &node.silent_since, why, late) {
            (Some(one), ..) => of_restore(one),
            (None, Some(since), ..) if since.is_empty() => format!("{name}: its kubelet does not report"),
            (None, Some(since), ..) => format!("{name}: its kubelet has not reported since {since}"),
            (None, None, Some(_), Some(late)) => {
                format!("{name}: its lease was renewed {} before that of another node", span(late))
            }
            (None, None, Some(why), None) => {
                seen.lacks(&format!("{name}: it is listed as a node that reports, and {why}"));
                continue;
            }
            (None, None, None, _) => continue,
        };
        let silent = why.map(|why| format!("; {why}")).unwrap_or_default();
        seen.suspect(name, format!("{evidence}{silent}"), mend(name));
    }
    seen
}

pub(super) const API_SERVERS: Check = Check {
    name: "left-over-leases",
    title: "every API server that has registered is there",
    looks_at: "The leases of API servers in kube-system (label apiserver.kubernetes.io/identity): one that was renewed more than five minutes before another is a warning. And the addresses of
service kubernetes, which are those that API servers have written to /registry/masterleases in etcd: an address that no API server's pod has is a warning.",
    why: "A restore brings back the records of API servers that are gone. Pods reach the API through service kubernetes: requests to an address without an API server fail. The record
expires within a minute if its etcd lease came back with it.",
    by_hand: "See who has registered:
    kubectl get lease -n kube-system -l apiserver.kubernetes.io/identity
    kubectl get endpoints kubernetes
    kubectl get pods -n kube-system -l component=kube-apiserver -o wide
Remove the lease of an API server that is gone, and the record of its address (in etcd's pod, with the certificates of kubeadm):
    kubectl delete lease -n kube-system NAME
    kubectl exec -n kube-system etcd-NODE -- etcdctl \\
      --cacert /etc/kubernetes/pki/etcd/ca.crt \\
      --cert /etc/kubernetes/pki/etcd/server.crt \\
      --key /etc/kubernetes/pki/etcd/server.key \\
      del /registry/masterleases/ADDRESS",
    judge: |facts| api_servers(&facts.left_overs),
};

fn api_servers(facts: &LeftOvers) -> Judgement {
    judged(facts, seen_api_servers, "no lease and no address of an API server that is gone was found")
}

fn seen_api_servers(look: &Look, came_back: &[CameBack]) -> Seen {
    let mut seen = Seen::default();
    match &look.api_server_leases {
        Err(why) => seen.lacks(why),
        Ok(leases) => {
            let newest = leases.iter().filter_map(|lease| lease.renewed).max();
            for lease in leases {
                let mend = format!("kubectl delete lease -n kube-system {}", lease.name);
                let of = if lease.host.is_empty() { String::new() } else { format!(" of {}", lease.host) };
                let what = format!("lease {}{of}", lease.name);
                match newest.zip(lease.renewed).map(|(newest, renewed)| newest - renewed) {
                    Some(late) if late > LATE => seen.suspect(
                        &lease.name,
                        format!("{what} was renewed {} before that of another API server", span(late)),
                        mend,
                    ),
                    Some(_) => {}
                    None => seen.suspect(&lease.name, format!("{what} was never renewed"), mend),
                }
            }
        }
    }
    // The pod of an API server whose machine is gone came back as well.
    let gone: BTreeSet<String> = seen_nodes(look, came_back).suspects.into_iter().map(|one| one.key).collect();
    match (&look.registered, &look.api_servers) {
        (Err(why), _) => seen.lacks(why),
        (Ok(registered), _) if registered.is_empty() => {}
        (Ok(_), Err(why)) => seen.lacks(why),
        (Ok(registered), Ok(servers)) => {
            let there: Vec<_> = servers.iter().filter(|server| !gone.contains(&server.node)).collect();
            let Some(first) = there.first() else {
                seen.lacks("no pod of an API server was found, so that the addresses of API servers are not known");
                return seen;
            };
            for address in registered.iter().filter(|address| !there.iter().any(|one| one.addresses.contains(*address)))
            {
                seen.suspect(
                    address,
                    format!("service kubernetes has address {address}, and no API server's pod has it"),
                    format!(
                        "kubectl exec -n kube-system etcd-{} -- etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt --key \
                         /etc/kubernetes/pki/etcd/server.key del /registry/masterleases/{address} (if it is still there after a minute; as kubeadm names pods and files)",
                        first.node
                    ),
                );
            }
        }
    }
    seen
}

pub(super) const VOLUMES: Check = Check {
    name: "left-over-volumes",
    title: "every PersistentVolume has its claim",
    looks_at: "PersistentVolumes and PersistentVolumeClaims. A volume is a warning if its claim is gone, was made anew (another UID), or is bound to another volume, or if a provisioner has made it and it names
no claim. A volume that waits for a claim is none.",
    why: "After a restore, volumes and claims are those of the snapshot, and the storage behind them is that of now. A volume without its claim is storage that nobody uses and nobody removes; a
claim that was made anew stays pending, or got an empty volume.",
    by_hand: "See the volume, and the claim that it names:
    kubectl get pv NAME -o yaml
    kubectl get pvc -n NAMESPACE NAME -o yaml
To give it to the claim of the same name that is there now, take the old UID out of it (the claim has to be pending):
    kubectl patch pv NAME --type json \\
      -p '[{\"op\":\"remove\",\"path\":\"/spec/claimRef/uid\"}]'
If its data is not needed, delete it. With policy Delete the storage may be removed as well, and the data with it:
    kubectl delete pv NAME",
    judge: |facts| volumes(&facts.left_overs),
};

fn volumes(facts: &LeftOvers) -> Judgement {
    judged(facts, seen_volumes, "every PersistentVolume has its claim, or waits for one")
}

fn seen_volumes(look: &Look, _: &[CameBack]) -> Seen {
    let mut seen = Seen::default();
    let (volumes, claims) = match (&look.volumes, &look.claims) {
        (Ok(volumes), Ok(claims)) => (volumes, claims),
        (volumes, claims) => {
            [volumes.as_ref().err(), claims.as_ref().err()].into_iter().flatten().for_each(|why| seen.lacks(why));
            return seen;
        }
    };
    let by_name: BTreeMap<_, _> =
        claims.iter().map(|claim| ((claim.namespace.as_str(), claim.name.as_str()), claim)).collect();
    for volume in volumes.iter().filter(|volume| !volume.deleting) {
        let Volume { name, policy, .. } = volume;
        let delete = format!("kubectl delete pv {name} (if its data is not needed; its policy is {policy})");
        let Some(wanted) = &volume.claim else {
            if volume.provisioned {
                seen.suspect(name, format!("{name}: a provisioner has made it, and it names no claim"), delete);
            }
            continue;
        };
        let title = format!("{}/{}", wanted.namespace, wanted.name);
        match by_name.get(&(wanted.namespace.as_str(), wanted.name.as_str())) {
            // It is reserved for a claim that is still to come.
            None if wanted.uid.is_empty() => {}
            None => seen.suspect(name, format!("{name}: its claim {title} is gone"), delete),
            Some(claim) if !claim.volume.is_empty() && claim.volume != *name => {
                seen.suspect(name, format!("{name}: its claim {title} is bound to {}", claim.volume), delete);
            }
            Some(claim) if !wanted.uid.is_empty() && claim.uid != wanted.uid => seen.suspect(
                name,
                format!("{name}: its claim {title} was made anew: it has UID {}, and the volume is for {}", claim.uid, wanted.uid),
                format!("kubectl patch pv {name} --type json -p '[{{\"op\":\"remove\",\"path\":\"/spec/claimRef/uid\"}}]' (to give it to that claim)"),
            ),
            Some(_) => {}
        }
    }
    seen
}

pub(super) const TOKENS: Check = Check {
    name: "left-over-tokens",
    title: "every token Secret has its ServiceAccount",
    looks_at: "Secrets of type kubernetes.io/service-account-token, without their data, and the ServiceAccounts. A Secret whose ServiceAccount is gone, or has another UID than the Secret names, is a warning.",
    why: "The controller manager deletes such Secrets by itself. One that stays means that it does not, or may not; and should a restore bring back its ServiceAccount, the
token in it is valid again, whoever has a copy.",
    by_hand: "See which ServiceAccount it names:
    kubectl get secret -n NAMESPACE NAME \\
      -o jsonpath='{.metadata.annotations}'
    kubectl get serviceaccount -n NAMESPACE ACCOUNT -o yaml
Delete it. Whoever used it needs a new one: kubectl create token ACCOUNT -n NAMESPACE
    kubectl delete secret -n NAMESPACE NAME",
    judge: |facts| tokens(&facts.left_overs),
};

fn tokens(facts: &LeftOvers) -> Judgement {
    judged(facts, seen_tokens, "every token Secret has its ServiceAccount")
}

fn seen_tokens(look: &Look, _: &[CameBack]) -> Seen {
    let mut seen = Seen::default();
    let (tokens, accounts) = match (&look.tokens, &look.accounts) {
        (Ok(tokens), Ok(accounts)) => (tokens, accounts),
        (tokens, accounts) => {
            [tokens.as_ref().err(), accounts.as_ref().err()].into_iter().flatten().for_each(|why| seen.lacks(why));
            return seen;
        }
    };
    for token in tokens {
        let title = format!("{}/{}", token.namespace, token.name);
        let evidence = match accounts.get(&(token.namespace.clone(), token.account.clone())) {
            None => format!("{title}: its ServiceAccount {} is gone", token.account),
            Some(uid) if !token.account_uid.is_empty() && *uid != token.account_uid => {
                format!(
                    "{title}: its ServiceAccount {} was made anew: it has UID {uid}, and the token is for {}",
                    token.account, token.account_uid
                )
            }
            Some(_) => continue,
        };
        seen.suspect(&title, evidence, format!("kubectl delete secret -n {} {}", token.namespace, token.name));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;
    use crate::facts::Facts;
    use crate::left_overs::{ApiServer, ApiServerLease, Claim, ClaimRef, NodeLeft, NodeObject, RunningPod, Token};
    use crate::samples::{NOW, assert_finds, assert_passes, healthy, made};

    /// A healthy cluster whose look is changed.
    fn with(change: impl FnOnce(&mut Look)) -> Facts {
        let mut facts = healthy(3);
        change(&mut facts.left_overs.looks[0]);
        facts
    }

    fn running(uid: &str, is_static: bool) -> Kubelet {
        let pod = RunningPod { uid: uid.into(), namespace: "shop".into(), name: "web-0".into(), is_static };
        Kubelet::Runs(vec![pod])
    }

    #[test]
    fn a_pod_that_no_api_knows_is_told_with_its_node_and_uid() {
        assert_passes("left-over-pods");
        let facts = with(|look| {
            look.kubelets.insert("cp2".into(), running("u-9", false));
        });
        assert_finds(
            "left-over-pods",
            &facts,
            Severity::Warning,
            "cp2: shop/web-0 runs, and its UID u-9 is that of no pod",
        );
        let mend = &made("left-over-pods", &facts).mend[0];
        assert!(mend.starts_with("systemctl restart kubelet; ") && mend.contains("pod.uid=u-9) (on cp2)"), "{mend}");
        // A static pod has no object of its own, and a mirror names its UID.
        let of_file = with(|look| {
            look.kubelets.insert("cp2".into(), running("u-9", true));
        });
        let mirrored = with(|look| {
            look.kubelets.insert("cp2".into(), running("u-9", false));
            look.pods.as_mut().unwrap().insert("u-9".into());
        });
        for facts in [of_file, mirrored] {
            assert_eq!(made("left-over-pods", &facts).severity, Severity::Ok);
        }
        // Nothing of a node is put into a command that is no word.
        let odd = with(|look| {
            look.kubelets.insert("cp2".into(), running("u $(reboot)", false));
        });
        assert_eq!(made("left-over-pods", &odd).mend, ["systemctl restart kubelet (on cp2)"]);
    }

    #[test]
    fn a_kubelet_that_is_not_heard_is_no_pass() {
        for (kubelet, said) in [
            (Kubelet::Silent("its kubelet does not answer".into()), "cp2: its kubelet does not answer"),
            (Kubelet::NotAsked("no right".into()), "cp2: no right"),
        ] {
            let facts = with(|look| {
                look.kubelets.insert("cp2".into(), kubelet);
            });
            assert_finds("left-over-pods", &facts, Severity::Unknown, said);
        }
        assert_finds("left-over-pods", &with(|look| look.pods = Err("no list".into())), Severity::Unknown, "no list");
        // All are told in one line, and what was found all the same counts.
        let facts = with(|look| {
            look.kubelets.values_mut().for_each(|one| *one = Kubelet::NotAsked("no right".into()));
            look.kubelets.insert("w1".into(), running("u-9", false));
        });
        let finding = made("left-over-pods", &facts);
        assert_eq!((finding.severity, finding.evidence.len()), (Severity::Warning, 2), "{finding:?}");
        assert_eq!(finding.evidence[1], "cp1, cp2, cp3: no right");
    }

    #[test]
    fn what_only_one_look_has_found_does_not_count() {
        let look = |uids: &[&str]| {
            let mut look = healthy(1).left_overs.looks.remove(0);
            let pod = |uid: &&str| RunningPod { uid: (*uid).to_owned(), ..RunningPod::default() };
            look.kubelets.insert("cp1".into(), Kubelet::Runs(uids.iter().map(pod).collect()));
            look
        };
        let seen = |looks: Vec<Look>| {
            let facts = LeftOvers { looks, came_back: Vec::new() };
            (facts.suspects(), facts.pods_may_be_ending(), crate::examine_left_overs(&facts)[0].evidence.len())
        };
        assert_eq!(seen(vec![look(&["a"]), look(&["b"])]), (false, false, 1));
        assert_eq!(seen(vec![look(&["a"]), look(&["a", "b"])]), (true, true, 1));
        assert_eq!(
            crate::examine_left_overs(&LeftOvers {
                looks: vec![look(&["b", "a"]), look(&["a", "b"])],
                came_back: Vec::new()
            })[0]
                .evidence
                .len(),
            2
        );
        // A look that saw nothing takes nothing back.
        let blind = Look { pods: Err("no list".into()), ..look(&["a"]) };
        assert_eq!(seen(vec![blind, look(&["a"])]), (true, true, 1));
    }

    #[test]
    fn nodes_without_a_machine_are_told_and_one_that_answers_is_none() {
        assert_passes("left-over-nodes");
        let silent = || Kubelet::Silent("its kubelet does not answer".to_owned());
        let node = |look: &mut Look, since: Option<&str>, kubelet: Kubelet| {
            look.nodes
                .as_mut()
                .unwrap()
                .push(NodeObject { name: "old".into(), silent_since: since.map(str::to_owned) });
            look.kubelets.insert("old".into(), kubelet);
        };
        let unknown = with(|look| node(look, Some("2026-11-27T10:00:00Z"), silent()));
        assert_finds(
            "left-over-nodes",
            &unknown,
            Severity::Warning,
            "old: its kubelet has not reported since 2026-11-27T10:00:00Z; its kubelet does not answer",
        );
        assert_eq!(
            made("left-over-nodes", &unknown).mend,
            ["kubectl delete node old (if its machine is gone for good)"]
        );
        // Who may not ask kubelets hears what the control plane says.
        let unasked = with(|look| node(look, Some(""), Kubelet::NotAsked("no right".into())));
        assert_finds("left-over-nodes", &unasked, Severity::Warning, "old: its kubelet does not report");
        let late = |renewed: i64, kubelet: Kubelet| {
            with(|look| {
                node(look, None, kubelet);
                look.node_leases.as_mut().unwrap().insert("old".into(), renewed);
            })
        };
        assert_finds(
            "left-over-nodes",
            &late(NOW - 7205, silent()),
            Severity::Warning,
            "old: its lease was renewed 2 hours before that of another node",
        );
        assert_finds(
            "left-over-nodes",
            &late(NOW - 60, silent()),
            Severity::Unknown,
            "old: it is listed as a node that reports, and its kubelet does not answer",
        );
        for passes in [late(NOW - 7205, running("u", true)), late(NOW - 7205, Kubelet::NotAsked("no right".into()))] {
            assert_eq!(made("left-over-nodes", &passes).severity, Severity::Ok);
        }
        for change in [
            |look: &mut Look| look.nodes = Err("no list".into()),
            |look: &mut Look| look.node_leases = Err("no list".into()),
        ] {
            assert_finds("left-over-nodes", &with(change), Severity::Unknown, "no list");
        }
    }

    #[test]
    fn nodes_that_a_restore_has_brought_back_are_told_until_they_answer() {
        let left = NodeLeft { node: "old".into(), pods: vec!["shop/db".into()], lease: true };
        let came_back = |listed: bool, kubelet: Kubelet| {
            let mut facts = with(|look| {
                if listed {
                    look.nodes.as_mut().unwrap().push(NodeObject { name: "old".into(), silent_since: None });
                }
                look.kubelets.insert("old".into(), kubelet);
            });
            facts.left_overs.came_back = vec![CameBack { node: "old".into(), with: Some(left.clone()) }];
            facts
        };
        let facts = came_back(true, Kubelet::Silent("its kubelet does not answer".into()));
        assert_finds(
            "left-over-nodes",
            &facts,
            Severity::Warning,
            "old: it came back with the restored data, with 1 pod (shop/db), a lease, and was no node before the restore; its kubelet",
        );
        assert_eq!(made("left-over-nodes", &came_back(true, running("u", true))).severity, Severity::Ok);
        // It was deleted meanwhile.
        assert_eq!(made("left-over-nodes", &came_back(false, running("u", true))).severity, Severity::Ok);
        // What a restore knows needs no API.
        let unasked = LeftOvers {
            came_back: facts.left_overs.came_back,
            ..LeftOvers::not_looked("with --ssh no API server is asked")
        };
        let findings = crate::examine_left_overs(&unasked);
        assert_eq!(
            findings.iter().map(|one| one.severity).collect::<Vec<_>>(),
            [Severity::Unknown, Severity::Warning, Severity::Unknown, Severity::Unknown, Severity::Unknown]
        );
        assert_eq!(findings[1].evidence.len(), 2, "{:?}", findings[1]);
    }

    #[test]
    fn what_an_api_server_that_is_gone_has_left_is_told() {
        const CHECK: &str = "left-over-leases";
        assert_passes(CHECK);
        let lease = |renewed| ApiServerLease { name: "apiserver-x".into(), host: "cp9".into(), renewed };
        let old = with(|look| look.api_server_leases.as_mut().unwrap().push(lease(Some(NOW - 10_805))));
        assert_finds(
            CHECK,
            &old,
            Severity::Warning,
            "lease apiserver-x of cp9 was renewed 3 hours before that of another API server",
        );
        assert_eq!(made(CHECK, &old).mend, ["kubectl delete lease -n kube-system apiserver-x"]);
        let never = with(|look| look.api_server_leases.as_mut().unwrap().push(lease(None)));
        assert_finds(CHECK, &never, Severity::Warning, "lease apiserver-x of cp9 was never renewed");
        let young = with(|look| look.api_server_leases.as_mut().unwrap().push(lease(Some(NOW - 100))));
        assert_eq!(made(CHECK, &young).severity, Severity::Ok);

        let address = |look: &mut Look| {
            look.registered.as_mut().unwrap().insert("10.0.0.9".into());
        };
        let stale = with(address);
        assert_finds(
            CHECK,
            &stale,
            Severity::Warning,
            "service kubernetes has address 10.0.0.9, and no API server's pod has it",
        );
        let mend = &made(CHECK, &stale).mend[0];
        assert!(
            mend.starts_with("kubectl exec -n kube-system etcd-cp1 -- etcdctl ")
                && mend.contains("del /registry/masterleases/10.0.0.9 "),
            "{mend}"
        );
        // The pod of an API server counts only where its node does.
        let server = || ApiServer { node: "old".into(), addresses: ["10.0.0.9".to_owned()].into() };
        let of_gone = |since: Option<&str>| {
            with(|look| {
                address(look);
                look.api_servers.as_mut().unwrap().push(server());
                look.nodes
                    .as_mut()
                    .unwrap()
                    .push(NodeObject { name: "old".into(), silent_since: since.map(str::to_owned) });
            })
        };
        assert_finds(CHECK, &of_gone(Some("")), Severity::Warning, "10.0.0.9");
        assert_eq!(made(CHECK, &of_gone(None)).severity, Severity::Ok);
        // No pod, no answer.
        let external = with(|look| look.api_servers = Ok(Vec::new()));
        assert_finds(CHECK, &external, Severity::Unknown, "no pod of an API server was found");
        let alone = with(|look| {
            look.api_servers = Ok(Vec::new());
            look.registered = Ok(BTreeSet::new());
        });
        assert_eq!(made(CHECK, &alone).severity, Severity::Ok);
        for change in [
            |look: &mut Look| look.api_server_leases = Err("no list".into()),
            |look: &mut Look| look.registered = Err("no list".into()),
            |look: &mut Look| look.api_servers = Err("no list".into()),
        ] {
            assert_finds(CHECK, &with(change), Severity::Unknown, "no list");
        }
    }

    #[test]
    fn volumes_whose_claim_is_another_or_none_are_told() {
        const CHECK: &str = "left-over-volumes";
        assert_passes(CHECK);
        let claim = |uid: &str| Some(ClaimRef { namespace: "shop".into(), name: "data".into(), uid: uid.into() });
        let volume = |claim: Option<ClaimRef>, provisioned: bool| Volume {
            name: "pv-1".into(),
            claim,
            provisioned,
            deleting: false,
            policy: "Retain".into(),
        };
        let with_claim = |volume: Volume, bound: Option<(&str, &str)>| {
            with(|look| {
                look.volumes = Ok(vec![volume]);
                let claim = |(uid, volume): (&str, &str)| Claim {
                    namespace: "shop".into(),
                    name: "data".into(),
                    uid: uid.into(),
                    volume: volume.into(),
                };
                look.claims = Ok(bound.map(claim).into_iter().collect());
            })
        };
        for (volume, bound, evidence, mend) in [
            (
                volume(claim("u1"), true),
                None,
                "pv-1: its claim shop/data is gone",
                "kubectl delete pv pv-1 (if its data is not needed; its policy is Retain)",
            ),
            (
                volume(claim("u1"), true),
                Some(("u2", "")),
                "was made anew: it has UID u2, and the volume is for u1",
                "kubectl patch pv pv-1 ",
            ),
            (
                volume(claim("u1"), true),
                Some(("u1", "pv-2")),
                "its claim shop/data is bound to pv-2",
                "kubectl delete pv pv-1 ",
            ),
            (volume(claim(""), false), Some(("u1", "pv-2")), "is bound to pv-2", "kubectl delete pv pv-1 "),
            (volume(None, true), None, "a provisioner has made it, and it names no claim", "kubectl delete pv pv-1 "),
        ] {
            let facts = with_claim(volume, bound);
            assert_finds(CHECK, &facts, Severity::Warning, evidence);
            assert!(made(CHECK, &facts).mend[0].starts_with(mend), "{:?}", made(CHECK, &facts).mend);
        }
        for (volume, bound) in [
            (volume(claim("u1"), true), Some(("u1", "pv-1"))),
            // It is being bound, or waits for its claim, or for any.
            (volume(claim("u1"), true), Some(("u1", ""))),
            (volume(claim(""), false), None),
            (volume(None, false), None),
            (Volume { deleting: true, ..volume(claim("u1"), true) }, None),
        ] {
            assert_eq!(made(CHECK, &with_claim(volume, bound)).severity, Severity::Ok);
        }
        for change in [
            |look: &mut Look| look.volumes = Err("no list".into()),
            |look: &mut Look| look.claims = Err("no list".into()),
        ] {
            assert_finds(CHECK, &with(change), Severity::Unknown, "no list");
        }
        let many = with(|look| {
            look.volumes = Ok((0..60)
                .map(|number| Volume { name: format!("pv-{number}"), ..volume(claim("u1"), true) })
                .collect());
        });
        let finding = made(CHECK, &many);
        assert_eq!((finding.evidence.len(), finding.evidence.last().map(String::as_str)), (51, Some("and 10 more")));
    }

    #[test]
    fn tokens_of_another_service_account_or_none_are_told() {
        const CHECK: &str = "left-over-tokens";
        assert_passes(CHECK);
        let token = |account: &str, uid: &str| Token {
            namespace: "shop".into(),
            name: "t".into(),
            account: account.into(),
            account_uid: uid.into(),
        };
        let facts = |token: Token| with(|look| look.tokens = Ok(vec![token]));
        assert_finds(CHECK, &facts(token("gone", "u1")), Severity::Warning, "shop/t: its ServiceAccount gone is gone");
        assert_finds(
            CHECK,
            &facts(token("robot", "u0")),
            Severity::Warning,
            "robot was made anew: it has UID u1, and the token is for u0",
        );
        assert_eq!(made(CHECK, &facts(token("gone", ""))).mend, ["kubectl delete secret -n shop t"]);
        // The controller has yet to write the UID.
        assert_eq!(made(CHECK, &facts(token("robot", ""))).severity, Severity::Ok);
        for change in [
            |look: &mut Look| look.tokens = Err("no list".into()),
            |look: &mut Look| look.accounts = Err("no list".into()),
        ] {
            assert_finds(CHECK, &with(change), Severity::Unknown, "no list");
        }
    }
}
