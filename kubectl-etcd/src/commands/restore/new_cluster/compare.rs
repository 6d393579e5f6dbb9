//! What of a lost cluster does not fit the machines that take over its state, what will not work because of it, and what mends that: a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use etcd_snapshot::minor;
use etcd_wire::facts::Encryption;
use serde::Serialize;

use super::side::{Known, Side};
use crate::commands::restore::at_rest::{Verdict, judge, names};
use crate::output::visible::quoted;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Subject {
    ClusterCa,
    FrontProxyCa,
    ServiceAccountKeys,
    EncryptionKeys,
    Nodes,
    ApiServers,
    Address,
    ServiceNetwork,
    PodNetwork,
    Kubernetes,
    Etcd,
    Administrators,
}

impl Subject {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::ClusterCa => "cluster CA",
            Subject::FrontProxyCa => "front-proxy CA",
            Subject::ServiceAccountKeys => "service account keys",
            Subject::EncryptionKeys => "encryption keys",
            Subject::Nodes => "nodes",
            Subject::ApiServers => "addresses of API servers",
            Subject::Address => "address of the API",
            Subject::ServiceNetwork => "service network",
            Subject::PodNetwork => "pod network",
            Subject::Kubernetes => "Kubernetes version",
            Subject::Etcd => "etcd version",
            Subject::Administrators => "rights of administrators",
        }
    }
}

/// How it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Same,
    Differs,
    NotCompared,
}

/// A command that mends something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mend {
    /// What it is for.
    pub(crate) to: String,
    pub(crate) command: String,
}

/// One thing of both clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    pub(crate) subject: Subject,
    pub(crate) result: Outcome,
    /// What the lost cluster has, and the one that is in place.
    pub(crate) lost: Option<String>,
    pub(crate) present: Option<String>,
    /// What will not work, or what else is to be known; why it was not compared.
    pub(crate) effect: Option<String>,
    /// What mends it after the restore, in this order.
    pub(crate) mend: Vec<Mend>,
}

/// Compares a lost cluster with the one that takes over its state. Every subject is in the result.
pub(crate) fn compare(lost: &Side, present: &Side) -> Vec<Comparison> {
    vec![
        cluster_ca(lost, present),
        front_proxy_ca(lost, present),
        service_account_keys(lost, present),
        encryption_keys(lost, present),
        nodes(lost, present),
        api_servers(lost, present),
        address(lost, present),
        network(Subject::ServiceNetwork, &lost.service_network, &present.service_network),
        network(Subject::PodNetwork, &lost.pod_network, &present.pod_network),
        kubernetes(lost, present),
        etcd(lost, present),
        administrators(lost, present),
    ]
}

impl Comparison {
    fn new(subject: Subject, result: Outcome, sides: [Option<String>; 2]) -> Comparison {
        let [lost, present] = sides;
        Comparison { subject, result, lost, present, effect: None, mend: Vec::new() }
    }

    fn with(self, effect: impl Into<String>) -> Comparison {
        Comparison { effect: Some(effect.into()), ..self }
    }

    fn mend(mut self, to: impl Into<String>, command: impl Into<String>) -> Comparison {
        self.mend.push(Mend { to: to.into(), command: command.into() });
        self
    }

    fn differs(&self) -> bool {
        self.result == Outcome::Differs
    }
}

/// What both sides know; or what is said of the subject where one of them does not.
fn both<'a, T>(
    subject: Subject,
    lost: &'a Known<T>,
    present: &'a Known<T>,
    shown: impl Fn(&T) -> String,
) -> Result<(&'a T, &'a T), Comparison> {
    match (lost, present) {
        (Ok(lost), Ok(present)) => Ok((lost, present)),
        _ => {
            let sides = [lost, present].map(|side| side.as_ref().ok().map(&shown));
            let why = |whose: &str, side: &Known<T>| side.as_ref().err().map(|why| format!("{whose}: {why}"));
            let whys = [why("the lost cluster", lost), why("this cluster", present)];
            let whys: Vec<String> = whys.into_iter().flatten().collect();
            Err(Comparison::new(subject, Outcome::NotCompared, sides).with(whys.join("; ")))
        }
    }
}

/// Whether whatever the lost cluster trusted is trusted here, too.
fn trust(subject: Subject, lost: &Known<BTreeSet<String>>, present: &Known<BTreeSet<String>>) -> Comparison {
    match both(subject, lost, present, listed) {
        Err(unknown) => unknown,
        Ok((lost, present)) => {
            let result = if lost.is_subset(present) { Outcome::Same } else { Outcome::Differs };
            Comparison::new(subject, result, [Some(listed(lost)), Some(listed(present))])
        }
    }
}

fn listed<T: Display>(all: &BTreeSet<T>) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn cluster_ca(lost: &Side, present: &Side) -> Comparison {
    let found = trust(Subject::ClusterCa, &lost.cluster_ca, &present.cluster_ca);
    if !found.differs() {
        return found;
    }
    found
        .with(
            "certificates of kubelets and kubeconfigs of the lost cluster are refused, and no machine can join: ConfigMap cluster-info names the lost CA. \
             The kube-root-ca.crt ConfigMaps are written again by kube-controller-manager",
        )
        .mend("write cluster-info again (on a control-plane node)", "kubectl -n kube-public delete configmap cluster-info && kubeadm init phase bootstrap-token")
        .mend("join each machine again whose kubelet has a certificate of the lost CA", "kubeadm reset && kubeadm join ...")
}

fn front_proxy_ca(lost: &Side, present: &Side) -> Comparison {
    let found = trust(Subject::FrontProxyCa, &lost.front_proxy_ca, &present.front_proxy_ca);
    if !found.differs() {
        return found;
    }
    found
        .with("aggregated API servers, such as metrics-server, refuse requests until they have read the new CA, and go on trusting the lost CA as well")
        .mend(
            "let the API server write only its own CA, then restart the aggregated API servers",
            "kubectl -n kube-system delete configmap extension-apiserver-authentication",
        )
}

fn service_account_keys(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::ServiceAccountKeys;
    let found = trust(subject, &lost.service_account_keys, &present.service_account_keys);
    if !found.differs() {
        return found;
    }
    found
        .with("no token that the lost cluster has issued is accepted: pods that run with one cannot use the API, nor can whoever has one outside of the cluster")
        .mend("give pods new tokens, in each namespace", "kubectl rollout restart deployments,daemonsets,statefulsets -n NAMESPACE")
        .mend("and those that no controller makes", "kubectl delete pod NAME -n NAMESPACE")
        .mend("find the tokens that are Secrets", "kubectl get secrets -A --field-selector type=kubernetes.io/service-account-token")
        .mend(
            "and have each of them issued again",
            r#"kubectl patch secret NAME -n NAMESPACE --type json -p '[{"op":"remove","path":"/data/token"}]'"#,
        )
}

fn encryption_keys(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::EncryptionKeys;
    let shown = |keys: &Vec<_>| if keys.is_empty() { "none".to_owned() } else { names(keys) };
    if lost.encryption_keys.as_ref().is_ok_and(Vec::is_empty) {
        let present = present.encryption_keys.as_ref().ok().map(shown);
        return Comparison::new(subject, Outcome::Same, [Some("none".to_owned()), present])
            .with("no value in the snapshot is encrypted");
    }
    let (lost, present) = match both(subject, &lost.encryption_keys, &present.encryption_keys, shown) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(shown(lost)), Some(shown(present))];
    match judge(lost, &Encryption::Keys { keys: present.clone() }) {
        Verdict::Lacks(keys) => Comparison::new(subject, Outcome::Differs, sides)
            .with(format!("values that are encrypted by {keys} cannot be read, so the restore is refused"))
            .mend(
                "name the lost cluster's EncryptionConfiguration, which is among the node files of its backup, in the manifest of every API server",
                "--encryption-provider-config=FILE",
            ),
        Verdict::Readable => Comparison::new(subject, Outcome::Same, sides)
            .with("by their names: whether the keys are the same is not compared. If they are not, the API server cannot read these values; roll back then"),
        Verdict::Unknown(why) => Comparison::new(subject, Outcome::NotCompared, sides).with(why),
    }
}

fn nodes(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::Nodes;
    let shown = |nodes: &BTreeMap<String, Vec<String>>| nodes.keys().cloned().collect::<Vec<_>>().join(", ");
    let (was, is) = match both(subject, &lost.nodes, &present.nodes, shown) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let gone: Vec<&String> = was.keys().filter(|name| !is.contains_key(*name)).collect();
    let new: Vec<&String> = is.keys().filter(|name| !was.contains_key(*name)).collect();
    let moved = |(name, old): &(&String, &Vec<String>)| {
        let new = is.get(*name).filter(|new| !new.is_empty() && !old.is_empty());
        new.is_some_and(|new| !new.iter().any(|address| old.contains(address)))
    };
    let moved: Vec<&String> = was.iter().filter(moved).map(|(name, _)| name).collect();
    let joined = |names: &[&String]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut effects = Vec::new();
    if !gone.is_empty() {
        effects.push(format!("Nodes without a machine come back, with their pods and leases: {}", joined(&gone)));
    }
    if !new.is_empty() {
        effects.push(format!(
            "the snapshot has no Node of {}: the kubelet registers again only when it restarts. Until then kubectl exec does not reach the machine, \
             nor does this command without --ssh",
            joined(&new)
        ));
    }
    if !moved.is_empty() {
        effects.push(format!("other addresses than in the snapshot: {}; each kubelet writes its own", joined(&moved)));
    }
    let result = if effects.is_empty() { Outcome::Same } else { Outcome::Differs };
    let mut found = Comparison::new(subject, result, [Some(shown(was)), Some(shown(is))]);
    found.effect = (!effects.is_empty()).then(|| effects.join(". "));
    if !new.is_empty() || !moved.is_empty() {
        let machines: Vec<&String> = new.iter().chain(&moved).copied().collect();
        found = found.mend(format!("register again (on {})", joined(&machines)), "systemctl restart kubelet");
    }
    for name in new.into_iter().filter(|name| present.control_plane.contains(*name)) {
        let command = format!("kubeadm init phase mark-control-plane --node-name {}", quoted(name));
        found = found.mend(format!("mark {name} as a control-plane node again (on {name})"), command);
    }
    if !gone.is_empty() {
        let names: Vec<_> = gone.iter().map(|name| quoted(name)).collect();
        let to = "remove the Nodes without a machine, before any other command of kubectl etcd: their etcd pods count as members that do not answer. Pods and leases are removed with them, a minute later";
        found = found.mend(to, format!("kubectl delete node {}", names.join(" ")));
    }
    found
}

fn api_servers(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::ApiServers;
    let (was, is) = match both(subject, &lost.api_servers, &present.api_servers, listed) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let stale: BTreeSet<&String> = was.difference(is).collect();
    let sides = [Some(listed(was)), Some(listed(is))];
    match stale.is_empty() {
        true => Comparison::new(subject, Outcome::Same, sides),
        false => Comparison::new(subject, Outcome::Differs, sides)
            .with(format!(
                "service kubernetes leads to {} as well, until the records of these API servers expire within a minute",
                listed(&stale)
            ))
            .mend("see that they are gone", "kubectl get endpoints kubernetes"),
    }
}

fn address(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::Address;
    let (was, is) = match both(subject, &lost.address, &present.address, String::clone) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(was.clone()), Some(is.clone())];
    if was == is {
        return Comparison::new(subject, Outcome::Same, sides);
    }
    Comparison::new(subject, Outcome::Differs, sides)
        .with(format!("kubeadm-config, cluster-info and kube-proxy's configuration name {was}: machines join there, and kubeconfigs of the lost cluster lead there. \
                       Let its name lead here, or write them again"))
        .mend("write kubeadm-config again, by the configuration of this control plane (on a control-plane node)", "kubeadm init phase upload-config all --config kubeadm.yaml")
        .mend("and cluster-info", "kubectl -n kube-public delete configmap cluster-info && kubeadm init phase bootstrap-token")
        .mend("and kube-proxy's configuration", "kubeadm init phase addon kube-proxy --config kubeadm.yaml")
}

fn network(subject: Subject, lost: &Known<String>, present: &Known<String>) -> Comparison {
    let (was, is) = match both(subject, lost, present, String::clone) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(was.clone()), Some(is.clone())];
    if was == is {
        return Comparison::new(subject, Outcome::Same, sides);
    }
    let (effect, flag) = match subject {
        Subject::ServiceNetwork => (
            "services keep addresses that the API server does not serve: cluster DNS and service kubernetes do not work",
            "--service-cidr",
        ),
        _ => ("Nodes and network plugin of the snapshot keep the addresses of the lost cluster", "--pod-network-cidr"),
    };
    Comparison::new(subject, Outcome::Differs, sides).with(effect).mend(
        "roll back, and set up the control plane again with that of the lost cluster",
        format!("kubeadm init {flag} {}", quoted(was)),
    )
}

fn kubernetes(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::Kubernetes;
    let (was, is) = match both(subject, &lost.kubernetes, &present.kubernetes, String::clone) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(was.clone()), Some(is.clone())];
    let number = |text: &str| minor(text.strip_prefix('v').unwrap_or(text));
    let (Some((major, old)), Some((its, new))) = (number(was), number(is)) else {
        return Comparison::new(subject, Outcome::NotCompared, sides).with("a version cannot be read");
    };
    let again = "roll back, and set up the control plane again with that of the lost cluster";
    let command = format!("kubeadm init --kubernetes-version {}", quoted(was));
    if (major, old) == (its, new) {
        Comparison::new(subject, Outcome::Same, sides)
    } else if (its, new) < (major, old) {
        Comparison::new(subject, Outcome::Differs, sides)
            .with("an older API server may not know objects that the newer one has stored")
            .mend(again, command)
    } else if (its, new) == (major, old + 1) {
        Comparison::new(subject, Outcome::Differs, sides)
            .with("as after an upgrade by one minor version: addons of the lost cluster may have to be upgraded, too")
            .mend("upgrade the addons (on a control-plane node)", "kubeadm init phase addon all --config kubeadm.yaml")
    } else {
        Comparison::new(subject, Outcome::Differs, sides)
            .with("more than one minor version newer: the API server may not read objects in API versions that were removed since")
            .mend(again, command)
    }
}

fn etcd(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::Etcd;
    let (was, is) = match both(subject, &lost.etcd, &present.etcd, String::clone) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(was.clone()), Some(is.clone())];
    match (minor(was), minor(is)) {
        (Some(old), Some(new)) if new < old => Comparison::new(subject, Outcome::Differs, sides)
            .with("an older etcd does not read the data of a newer one, so the restore is refused")
            .mend(
                "set up the control plane again with an image of this version or a newer one, in kubeadm.yaml",
                "etcd: {local: {imageTag: VERSION}}",
            ),
        (Some(_), Some(_)) => Comparison::new(subject, Outcome::Same, sides),
        _ => Comparison::new(subject, Outcome::NotCompared, sides).with("a version cannot be read"),
    }
}

fn administrators(lost: &Side, present: &Side) -> Comparison {
    let subject = Subject::Administrators;
    let shown = |bound: &bool| if *bound { "bound".to_owned() } else { "not bound".to_owned() };
    let (was, is) = match both(subject, &lost.administrators, &present.administrators, shown) {
        Ok(both) => both,
        Err(unknown) => return unknown,
    };
    let sides = [Some(shown(was)), Some(shown(is))];
    if *was || !*is {
        return Comparison::new(subject, Outcome::Same, sides);
    }
    Comparison::new(subject, Outcome::Differs, sides)
        .with("the snapshot is of a kubeadm before 1.29, and does not bind group kubeadm:cluster-admins: admin.conf may do nothing")
        .mend(
            "bind the group (on a control-plane node)",
            "kubectl --kubeconfig /etc/kubernetes/super-admin.conf create clusterrolebinding kubeadm:cluster-admins --clusterrole=cluster-admin --group=kubeadm:cluster-admins",
        )
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::EncryptionKey;

    use super::super::side::tests::side;
    use super::*;

    /// What is found of a subject where the sides were changed in this way.
    fn found(subject: Subject, change: impl FnOnce(&mut Side, &mut Side)) -> Comparison {
        let (mut lost, mut present) = (side(), side());
        change(&mut lost, &mut present);
        let mut all = compare(&lost, &present);
        // Nothing else is touched by it.
        let others = all.iter().filter(|one| one.subject != subject && one.result != Outcome::Same);
        assert_eq!(others.count(), 0, "{all:?}");
        all.swap_remove(all.iter().position(|one| one.subject == subject).expect("every subject"))
    }

    #[track_caller]
    fn assert_differs(found: &Comparison, effect: &str, commands: &[&str]) {
        assert_eq!(found.result, Outcome::Differs, "{found:?}");
        assert!(found.effect.as_deref().is_some_and(|told| told.contains(effect)), "{found:?}");
        let all: Vec<&str> = found.mend.iter().map(|mend| mend.command.as_str()).collect();
        assert!(commands.iter().all(|command| all.iter().any(|one| one.contains(command))), "{all:?}");
        assert!(commands.is_empty() == all.is_empty() && found.mend.iter().all(|mend| !mend.to.is_empty()), "{all:?}");
    }

    fn one(text: &str) -> Known<BTreeSet<String>> {
        Ok(BTreeSet::from([text.to_owned()]))
    }

    #[test]
    fn equal_clusters_do_not_differ() {
        let all = compare(&side(), &side());
        assert!(all.len() == 12 && all.iter().all(|one| one.result == Outcome::Same && one.mend.is_empty()), "{all:?}");
    }

    #[test]
    fn what_one_side_does_not_tell_is_not_compared() {
        let unknown =
            found(Subject::ServiceAccountKeys, |lost, _| lost.service_account_keys = Err("no node files".into()));
        assert_eq!(unknown.result, Outcome::NotCompared);
        assert_eq!(unknown.effect.as_deref(), Some("the lost cluster: no node files"));
        assert_eq!((unknown.lost, unknown.present.as_deref()), (None, Some("sa")));
        for subject in [
            found(Subject::ClusterCa, |_, present| present.cluster_ca = Err("forbidden".into())),
            found(Subject::FrontProxyCa, |_, present| present.front_proxy_ca = Err("forbidden".into())),
            found(Subject::Nodes, |_, present| present.nodes = Err("forbidden".into())),
            found(Subject::ApiServers, |_, present| present.api_servers = Err("forbidden".into())),
            found(Subject::Address, |_, present| present.address = Err("forbidden".into())),
            found(Subject::PodNetwork, |_, present| present.pod_network = Err("forbidden".into())),
            found(Subject::Kubernetes, |_, present| present.kubernetes = Err("forbidden".into())),
            found(Subject::Etcd, |_, present| present.etcd = Err("forbidden".into())),
            found(Subject::Administrators, |_, present| present.administrators = Err("forbidden".into())),
        ] {
            assert_eq!(
                (subject.result, subject.effect.as_deref()),
                (Outcome::NotCompared, Some("this cluster: forbidden"))
            );
        }
        let odd = found(Subject::Kubernetes, |lost, _| lost.kubernetes = Ok("latest".into()));
        assert_eq!(odd.result, Outcome::NotCompared);
    }

    #[test]
    fn another_ca_keeps_machines_from_joining() {
        let other = found(Subject::ClusterCa, |_, present| present.cluster_ca = one("new"));
        assert_differs(
            &other,
            "are refused, and no machine can join",
            &["delete configmap cluster-info", "bootstrap-token", "kubeadm reset"],
        );
        assert_eq!((other.lost.as_deref(), other.present.as_deref()), (Some("ca"), Some("new")));
        // One that is trusted beside another, as while it is replaced.
        let more = |_: &mut Side, present: &mut Side| present.cluster_ca = Ok(["ca", "new"].map(str::to_owned).into());
        assert_eq!(found(Subject::ClusterCa, more).result, Outcome::Same);
        let proxy = found(Subject::FrontProxyCa, |_, present| present.front_proxy_ca = one("new"));
        assert_differs(&proxy, "aggregated API servers", &["delete configmap extension-apiserver-authentication"]);
    }

    #[test]
    fn another_service_account_key_makes_all_tokens_invalid() {
        let other = found(Subject::ServiceAccountKeys, |_, present| present.service_account_keys = one("new"));
        assert_differs(
            &other,
            "no token that the lost cluster has issued is accepted",
            &["rollout restart", "kubectl delete pod", "/data/token"],
        );
    }

    #[test]
    fn values_of_a_key_that_is_not_here_cannot_be_read() {
        let key = |name: &str| EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: name.into() };
        let with = |lost_keys: &[&str], present_keys: Known<Vec<&str>>| {
            found(Subject::EncryptionKeys, |lost, present| {
                lost.encryption_keys = Ok(lost_keys.iter().map(|name| key(name)).collect());
                present.encryption_keys = present_keys.map(|keys| keys.into_iter().map(key).collect());
            })
        };
        let lacks = with(&["a", "b"], Ok(vec!["b"]));
        assert_differs(&lacks, "encrypted by aescbc:v1:a cannot be read", &["--encryption-provider-config=FILE"]);
        assert_differs(&with(&["a"], Ok(vec![])), "cannot be read", &["--encryption-provider-config"]);
        let same = with(&["a"], Ok(vec!["a"]));
        assert!(same.result == Outcome::Same && same.effect.is_some_and(|told| told.contains("is not compared")));
        assert_eq!(with(&["a"], Err("unread".into())).result, Outcome::NotCompared);
        // Nothing is encrypted: nobody needs a key.
        assert_eq!(with(&[], Err("unread".into())).result, Outcome::Same);
    }

    #[test]
    fn nodes_are_compared_by_name_and_address() {
        let other = found(Subject::Nodes, |lost, present| {
            let node = |name: &str, address: &str| (name.to_owned(), vec![address.to_owned()]);
            lost.nodes = Ok([node("cp1", "10.0.0.1"), node("old", "10.0.0.2")].into());
            present.nodes = Ok([node("cp1", "10.9.0.1"), node("new", "10.9.0.2"), node("worker", "10.9.0.3")].into());
            present.control_plane = BTreeSet::from(["cp1".to_owned(), "new".to_owned()]);
        });
        assert_differs(
            &other,
            "leases: old. the snapshot has no Node of new, worker: the kubelet",
            &["kubectl delete node old", "systemctl restart kubelet"],
        );
        assert!(other.effect.as_deref().is_some_and(|told| told.contains("in the snapshot: cp1;")), "{other:?}");
        let marks: Vec<_> = other.mend.iter().filter(|mend| mend.command.contains("mark-control-plane")).collect();
        assert!(marks.len() == 1 && marks[0].command.ends_with("--node-name new"), "{marks:?}");
        assert!(other.mend[0].to.contains("(on new, worker, cp1)"), "{other:?}");
        // An address that is not known is none that differs.
        let silent = |_: &mut Side, present: &mut Side| present.nodes = Ok([("cp1".to_owned(), vec![])].into());
        assert_eq!(found(Subject::Nodes, silent).result, Outcome::Same);
    }

    #[test]
    fn api_servers_that_are_gone_are_told() {
        let stale = found(Subject::ApiServers, |lost, _| lost.api_servers = one("10.0.0.9"));
        assert_differs(&stale, "leads to 10.0.0.9 as well", &["kubectl get endpoints kubernetes"]);
        let fewer = found(Subject::ApiServers, |lost, _| lost.api_servers = Ok(BTreeSet::new()));
        assert_eq!(fewer.result, Outcome::Same);
    }

    #[test]
    fn another_address_is_written_again() {
        let other = found(Subject::Address, |_, present| present.address = Ok("new.example:6443".into()));
        assert_differs(&other, "name api.example:6443", &["upload-config", "bootstrap-token", "addon kube-proxy"]);
    }

    #[test]
    fn another_network_needs_a_new_control_plane() {
        let services = found(Subject::ServiceNetwork, |_, present| present.service_network = Ok("10.0.0.0/24".into()));
        assert_differs(&services, "cluster DNS", &["kubeadm init --service-cidr 10.96.0.0/12"]);
        let pods = found(Subject::PodNetwork, |_, present| present.pod_network = Ok("10.0.0.0/24".into()));
        assert_differs(&pods, "network plugin", &["kubeadm init --pod-network-cidr 10.244.0.0/16"]);
    }

    #[test]
    fn versions_may_be_one_minor_apart() {
        let kubernetes = |was: &str, is: &str| {
            found(Subject::Kubernetes, |lost, present| {
                (lost.kubernetes, present.kubernetes) = (Ok(was.to_owned()), Ok(is.to_owned()));
            })
        };
        assert_eq!(kubernetes("v1.36.0", "v1.36.9").result, Outcome::Same);
        assert_differs(&kubernetes("v1.36.2", "v1.35.0"), "an older API server", &["--kubernetes-version v1.36.2"]);
        assert_differs(&kubernetes("v1.35.0", "v1.36.0"), "as after an upgrade", &["addon all"]);
        assert_differs(&kubernetes("v1.34.0", "v1.36.0"), "more than one minor", &["--kubernetes-version v1.34.0"]);
        let etcd = |is: &str| found(Subject::Etcd, |_, present| present.etcd = Ok(is.to_owned()));
        assert_eq!(etcd("3.7.1").result, Outcome::Same);
        assert_differs(&etcd("3.5.16"), "does not read", &["imageTag"]);
    }

    #[test]
    fn administrators_of_a_newer_kubeadm_are_bound() {
        let older = found(Subject::Administrators, |lost, _| lost.administrators = Ok(false));
        assert_differs(&older, "admin.conf may do nothing", &["super-admin.conf create clusterrolebinding"]);
        let newer = found(Subject::Administrators, |_, present| present.administrators = Ok(false));
        assert_eq!(newer.result, Outcome::Same);
    }
}
