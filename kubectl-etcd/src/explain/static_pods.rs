//! The steps that stop and start a control plane by its static pod manifests, and etcd by its unit where it is one.

use super::facts::{Facts, Member};
use super::{Place, Step, command, words};
use crate::output::visible::quoted;

/// Where the manifests wait while their pods are stopped. Not below the kubelet's folder, which it reads.
fn stopped(facts: &Facts) -> String {
    format!("{}-stopped", facts.manifests_dir)
}

fn moved(from: &str, names: &[&str], to: &str) -> String {
    let files = names.iter().map(|name| quoted(&format!("{from}/{name}.yaml")));
    let mut all = vec!["mv".to_owned()];
    all.extend(files);
    all.push(format!("{}/", quoted(to)));
    command(&all)
}

const API: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kube-apiserver"];

/// Stops the API servers and then etcd on every node.
pub(super) fn stop(facts: &Facts) -> Vec<Step> {
    let (running, stopped) = (&facts.manifests_dir, stopped(facts));
    let api = Step::new(facts.api_servers(), "no API server may write to a cluster that is being replaced; the kubelet stops a static pod whose manifest is gone")
        .beyond("a participant on each node does this and the next steps without an API server, and undoes them if one fails anywhere")
        .run(format!("mkdir -p {}", quoted(&stopped)))
        .run(moved(running, &API, &stopped))
        .run("while pgrep -x kube-apiserver >/dev/null; do sleep 1; done");
    let (pods, units) = by_starter(facts);
    let why = "the data directory must not change while it is exchanged";
    let pods = pods.map(|place| {
        // On machines of etcd alone the folder is not there yet.
        let step = Step::new(place, why);
        let step = if is_apart(facts) { step.run(format!("mkdir -p {}", quoted(&stopped))) } else { step };
        step.run(moved(running, &["etcd"], &stopped)).run("while pgrep -x etcd >/dev/null; do sleep 1; done")
    });
    let units =
        units.into_iter().map(|(place, unit)| Step::new(place, why).run(format!("systemctl stop {}", quoted(unit))));
    let mut etcd = pods.into_iter().chain(units);
    let first = etcd.next().map(|first| first.beyond("every node waits until all others have stopped"));
    std::iter::once(api).chain(first).chain(etcd).collect()
}

/// Whether a kubelet that knows no API server starts etcd.
fn is_apart(facts: &Facts) -> bool {
    let beside = |member: &Member| facts.api_servers.iter().any(|server| server.node == member.node);
    facts.members.iter().any(|member| member.unit.is_none() && !beside(member))
}

/// The nodes whose kubelet starts etcd, if there are any, and the others with their units.
fn by_starter(facts: &Facts) -> (Option<Place>, Vec<(Place, &str)>) {
    let pods: Vec<&Member> = facts.members.iter().filter(|member| member.unit.is_none()).collect();
    let place = match pods[..] {
        [] => None,
        [only] => Some(only.place()),
        _ => Some(Place::Nodes(pods.iter().map(|one| one.node.clone()).collect())),
    };
    let units = facts.members.iter().filter_map(|member| Some((member.place(), member.unit.as_deref()?)));
    (place, units.collect())
}

/// Starts etcd and then the API servers on every node.
pub(super) fn start(facts: &Facts, first: &Member) -> Vec<Step> {
    let (running, stopped) = (&facts.manifests_dir, stopped(facts));
    let health = command(&[words(&["until"]), first.etcdctl(), words(&["endpoint health --cluster"])].concat());
    let (pods, units) = by_starter(facts);
    let pods = pods.map(|place| {
        let step = Step::new(place, "the kubelet starts a static pod whose manifest is back");
        let step = step.run(moved(&stopped, &["etcd"], running));
        match is_apart(facts) {
            true => step.run(format!("rmdir --ignore-fail-on-non-empty {}", quoted(&stopped))),
            false => step,
        }
    });
    let units = units.into_iter().map(|(place, unit)| {
        // A member waits for the others before it is ready.
        Step::new(place, "systemd starts etcd on the new data")
            .run(format!("systemctl start --no-block {}", quoted(unit)))
    });
    let wait = Step::new(first.place(), "the API server needs a quorum")
        .beyond("every member must serve the new cluster at the expected revision, or all nodes go back")
        .run(format!("{health}\ndo sleep 1; done"));
    let api = Step::new(facts.api_servers(), "the API servers read the new state")
        .run(moved(&stopped, &API, running))
        .run(format!("rmdir {}", quoted(&stopped)));
    let ready = Step::new(Place::Here, "ready means that the API server can read etcd")
        .beyond("each API server is asked for an object of the new state before it is decided that the state stays")
        .run("until kubectl get --raw /readyz; do sleep 1; done");
    pods.into_iter().chain(units).chain([wait, api, ready]).collect()
}

/// Makes clients forget what they remember, where revisions went down.
pub(super) fn restart_kubelets() -> Step {
    Step::new(
        Place::Nodes(vec!["the nodes of the cluster".to_owned()]),
        "revisions went down: watches that exist receive no events; restart operators and network plugins, too",
    )
    .beyond("the revision is raised, so that every client reads everything again; no restart is needed")
    .run("systemctl restart kubelet")
}
