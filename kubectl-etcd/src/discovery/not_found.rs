//! Where etcd is if there are no etcd pods where they were looked for; or why that is, and what to pass instead.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams};

use super::api_server::{self, ApiServer, NAMESPACE, SELECTOR as API_SERVERS};
use super::distribution::{Facts, NodeFacts, distribution, lines};
use super::member::etcd_container;
use super::{Found, Overrides, SELECTOR, address, external, is_loopback, readiness};
use crate::connection::Connection;
use crate::output::{Exit, Failed, Outcome};
use crate::typed::Typed;

/// Labels that say best what a pod is, best first.
const TELLING: [&str; 4] = ["component", "app", "k8s-app", "app.kubernetes.io/name"];
/// Where OpenShift has its etcd pods.
const OPENSHIFT: &str = "openshift-etcd";
/// Where kubespray has the certificates of etcd.
const KUBESPRAY: &str = "/etc/ssl/etcd/ssl/";
/// So many nodes say what kind of Kubernetes it is.
const NODES: u32 = 100;
/// Where kubeadm has the files with which its API server reaches etcd.
const KUBEADM: [&str; 3] = [
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.key",
];

/// A pod that runs etcd and has other labels, or is in another namespace.
struct Other {
    namespace: String,
    name: String,
    /// `KEY=VALUE` of its most telling label.
    label: Option<String>,
}

impl Other {
    fn of(pod: &Pod) -> Option<Other> {
        etcd_container(pod.spec.as_ref()?)?;
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let telling = TELLING.iter().find_map(|key| labels.get_key_value(*key)).or_else(|| labels.iter().next());
        Some(Other {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            label: telling.map(|(key, value)| format!("{key}={value}")),
        })
    }
}

/// Looks for etcd elsewhere. A command that only speaks to members gets those outside of pods that API servers use.
///
/// # Errors
/// There are none, or the command needs their nodes: why no pod was found, and what to do.
pub(super) async fn otherwise(
    connection: &Connection,
    namespace: &str,
    overrides: &Overrides,
    only: Option<&str>,
    api_servers: kube::Result<Vec<ApiServer>>,
    kubelets: Option<Failed>,
) -> Outcome<Found> {
    let mut namespaces = vec![namespace];
    namespaces.extend([NAMESPACE, OPENSHIFT].into_iter().filter(|other| *other != namespace));
    let (others, facts, more) = tokio::join!(
        others(connection, &namespaces),
        facts(connection),
        api_server::labelled(connection, api_server::OTHER_SELECTOR)
    );
    // What cannot be listed cannot be found.
    let api_servers = api_servers.map(|servers| [servers, more.unwrap_or_default()].concat());
    namespaces.retain(|one| *one != OPENSHIFT || facts.openshift);
    let selector = &overrides.reach.pods.selector;
    let failed = Failed::new(Exit::Refused, format!("no etcd pods in namespace {namespace} with labels {selector}"));
    if !others.is_empty() {
        return Err(elsewhere(failed, &others, &connection.typed));
    }
    let servers = match api_servers {
        Err(error) => {
            let failed = failed.cause("and looking for API servers failed").source(&error);
            return Err(not_readable(failed, &connection.typed));
        }
        Ok(servers) => servers,
    };
    let mut why = None;
    if is_reached(&servers, kubelets.is_none(), &facts, overrides, &connection.typed) {
        let troubles = readiness::troubles(connection, servers.iter().map(|server| server.node.clone())).await;
        match external::members(&servers, &troubles, only, overrides) {
            Ok((mut members, line)) => {
                readiness::give(&troubles, &mut members);
                let (named, outside) = (only.is_some(), Some(line));
                return Ok(Found { members, api_servers: servers, named, outside, ..Found::default() });
            }
            Err(reason) => why = Some(reason),
        }
    }
    let seen = Seen { servers: &servers, kubelets, facts: &facts };
    let failed = without_pods(failed, &namespaces, seen, &connection.typed);
    Err(match why {
        Some(why) => failed.cause(why),
        None => failed,
    })
}

/// Whether members outside of pods are reached without being asked to: by a command that only speaks to members, where no agent runs etcd in its own way,
/// and where etcd is not a static pod of which only kubelets know.
fn is_reached(servers: &[ApiServer], kubelets_told: bool, facts: &Facts, overrides: &Overrides, typed: &Typed) -> bool {
    speaks(typed)
        && !servers.is_empty()
        && overrides.reach.pods.selector == SELECTOR
        && distribution(facts).is_none()
        && (kubelets_told || !servers.iter().any(is_local))
}

/// Pods of these namespaces that run etcd.
async fn others(connection: &Connection, namespaces: &[&str]) -> Vec<Other> {
    let listed = namespaces.iter().map(|namespace| async move {
        let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
        pods.list(&ListParams::default()).await.map(|listed| listed.items).unwrap_or_default()
    });
    join_all(listed).await.iter().flatten().filter_map(Other::of).collect()
}

/// What can be seen of the cluster. A user who may not see nodes learns nothing of them.
async fn facts(connection: &Connection) -> Facts {
    let nodes: Api<Node> = Api::all(connection.client.clone());
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let few = ListParams::default().limit(NODES);
    let (nodes, openshift) = tokio::join!(nodes.list(&few), namespaces.get_opt(OPENSHIFT));
    Facts {
        nodes: nodes.map(|nodes| nodes.items.iter().map(NodeFacts::from).collect()).unwrap_or_default(),
        openshift: openshift.is_ok_and(|namespace| namespace.is_some()),
    }
}

/// Pods run etcd under other labels or in another namespace.
fn elsewhere(failed: Failed, others: &[Other], typed: &Typed) -> Failed {
    let name = |other: &Other| {
        let label = other.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
        format!("{}/{}{label}", other.namespace, other.name)
    };
    let names: Vec<String> = others.iter().map(name).collect();
    let failed = failed.cause(format!("these pods run etcd: {}", names.join(", ")));
    match others.iter().find_map(|other| Some((other, other.label.as_ref()?))) {
        Some((other, label)) => {
            let command = typed.with(&[("-n", &other.namespace), ("-l", label)]);
            failed.hint(format!("name them by namespace and label:\n  {command}"))
        }
        None => failed.hint("give them a label, and name it with -l"),
    }
}

/// The pods of API servers cannot be seen.
fn not_readable(failed: Failed, typed: &Typed) -> Failed {
    let [ca, cert, key] = KUBEADM;
    let flags = [
        ("--node", "NODE"),
        ("--endpoints", "https://127.0.0.1:2379"),
        ("--cacert", ca),
        ("--cert", cert),
        ("--key", key),
    ];
    failed.hint(format!(
        "where etcd runs outside of pods, name a node and the certificate files there; these are kubeadm's, as the API \
         server's own could not be read:\n  {}",
        lines(&reaching(typed).with(&flags))
    ))
}

/// What there is where no pod runs etcd.
struct Seen<'a> {
    servers: &'a [ApiServer],
    /// Why the kubelets did not tell of their pods.
    kubelets: Option<Failed>,
    facts: &'a Facts,
}

/// No pod runs etcd: API servers say where theirs is, or the nodes say what kind of Kubernetes this is.
fn without_pods(failed: Failed, namespaces: &[&str], seen: Seen, typed: &Typed) -> Failed {
    let Seen { servers, kubelets, facts } = seen;
    let kind = distribution(facts);
    let failed = match kind {
        Some(kind) => failed.cause(kind.cause(facts)),
        None => failed,
    };
    match (servers.first(), kind) {
        (Some(server), kind) => {
            let mut failed = failed.cause(outside(server));
            // Only an etcd beside the API server may be a static pod.
            if let Some(kubelets) = kubelets.filter(|_| is_local(server)) {
                failed = failed.cause(kubelets.one_line()).hint(
                    "where etcd is a static pod, its mirror in the API is gone while etcd takes no writes; the kubelets know \
                     the pod, and tell it to users with the right to get nodes/proxy",
                );
                failed.hints.extend(kubelets.hints);
            }
            let hints = kind.map(|kind| kind.hints(facts, typed, true)).unwrap_or_default();
            let failed = hints.into_iter().fold(failed, Failed::hint);
            // What an agent has written, the agent would write again.
            if kind.is_some() && !reads(typed) { failed } else { reach(failed, server, typed) }
        }
        (None, Some(kind)) => kind.hints(facts, typed, false).into_iter().fold(failed, Failed::hint),
        (None, None) => nothing_known(failed, namespaces, typed),
    }
}

/// Where an API server's etcd is.
fn outside(server: &ApiServer) -> String {
    let urls = server.servers.join(",");
    let kubespray = server.files.iter().flatten().any(|file| file.starts_with(KUBESPRAY));
    let by = if kubespray { ", as kubespray sets it up" } else { "" };
    match is_local(server) {
        true => {
            format!("the API server on node {} uses an etcd there that is no pod in the API{by}: {urls}", server.node)
        }
        false => format!("the API server uses an external etcd{by}: {urls}"),
    }
}

/// Whether etcd is on the node of the API server.
fn is_local(server: &ApiServer) -> bool {
    server.servers.iter().filter_map(|url| address(url)).any(|(host, _)| is_loopback(&host))
}

/// How an etcd outside of pods is reached: with the files that the API server itself uses.
fn reach(failed: Failed, server: &ApiServer, typed: &Typed) -> Failed {
    if !reads(typed) && typed.command() != "version" {
        let over_ssh = match typed.command() {
            "restore" => Some("restore FILE"),
            "rollback" => Some("rollback"),
            _ => None,
        };
        let over_ssh = over_ssh.map(|command| match is_local(server) {
            true => format!(
                "where systemd starts etcd on the control-plane nodes, use SSH\n  kubectl etcd {command} --ssh --nodes NODE=ADDRESS,..."
            ),
            false => {
                let etcd = server.servers.iter().filter_map(|url| address(url)).map(|(host, _)| host);
                let own = server.addresses.first().map_or("ADDRESS", String::as_str);
                let nodes: Vec<String> = etcd.chain([format!("{}={own}", server.node)]).collect();
                format!(
                    "use SSH, and name the machines of etcd and all nodes with API servers\n  kubectl etcd {command} --ssh --nodes {},...",
                    nodes.join(",")
                )
            }
        });
        return over_ssh.into_iter().fold(failed, Failed::hint).hint(super::OUTSIDE);
    }
    let urls = server.servers.join(",");
    let secure = server.servers.iter().any(|url| url.starts_with("https:"));
    let mut flags = vec![("--node", server.node.as_str()), ("--endpoints", urls.as_str())];
    for (flag, file) in ["--cacert", "--cert", "--key"].into_iter().zip(&server.files) {
        match file {
            Some(file) => flags.push((flag, file)),
            None if secure => flags.push((flag, "FILE")),
            None => {}
        }
    }
    failed.hint(format!(
        "name a node that reaches it and the certificate files there, here those of the API server:\n  {}",
        lines(&reaching(typed).with(&flags))
    ))
}

/// Neither pods nor nodes say anything.
fn nothing_known(failed: Failed, namespaces: &[&str], typed: &Typed) -> Failed {
    let looked = namespaces.join(" and ");
    let outside =
        [("--node", "NODE"), ("--endpoints", "URL"), ("--cacert", "FILE"), ("--cert", "FILE"), ("--key", "FILE")];
    failed
        .cause(format!("no pod in {looked} runs etcd, and no pod in {NAMESPACE} is an API server ({API_SERVERS})"))
        .hint(format!(
            "where etcd runs as pods, name them:\n  kubectl get pods -A | grep etcd\n  {}",
            typed.with(&[("-n", "NAMESPACE"), ("-l", "SELECTOR")])
        ))
        .hint(format!(
            "where etcd runs outside of pods, name a node and what clients of etcd use there:\n  {}",
            lines(&reaching(typed).with(&outside))
        ))
        .hint("a provider that runs the control plane hides its etcd, and backs it up")
}

/// Whether what was typed only reads, and can be told how to reach a member.
fn reads(typed: &Typed) -> bool {
    ["backup", "status", "verify"].contains(&typed.command())
}

/// Whether what was typed only speaks to members, and changes nothing on their nodes.
fn speaks(typed: &Typed) -> bool {
    let orders = ["alarms", "compact", "defrag", "member"].contains(&typed.command());
    reads(typed) || (orders && !typed.is("member", "replace"))
}

/// What was typed, if it can be told how to reach a member; else `status`.
fn reaching(typed: &Typed) -> Typed {
    if reads(typed) { typed.clone() } else { Typed::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Failed {
        Failed::new(Exit::Refused, "no etcd pods")
    }

    #[test]
    fn a_pod_with_other_labels_is_named_with_its_own() {
        let pod: Pod =
            serde_saphyr::from_str(include_str!("../../../tests/data/discovery/etcd-env.yaml")).expect("a pod");
        let other = Other::of(&pod).expect("it runs etcd");
        let said = elsewhere(failed(), &[other], &typed("backup a.db -n default")).to_string();
        assert!(said.contains("these pods run etcd: kube-system/etcd-env (app=etcd)"), "{said}");
        assert!(said.contains("kubectl etcd backup a.db -n kube-system -l app=etcd"), "{said}");
        let none: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "command": ["sh", "-c", "cat /etcd/x; sleep 1"]}]}}))
        .expect("a pod");
        assert!(Other::of(&none).is_none());
    }

    fn typed(line: &str) -> Typed {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Typed::new(line.split(' ').next().unwrap_or_default(), &words)
    }

    fn said(servers: &[ApiServer], line: &str) -> String {
        let seen = Seen { servers, kubelets: Some(Failed::plain("no right")), facts: &Facts::default() };
        without_pods(failed(), &["kube-system"], seen, &typed(line)).to_string()
    }

    #[test]
    fn an_etcd_outside_of_pods_is_reached_with_the_api_servers_own_files() {
        let server = ApiServer {
            node: "n1".into(),
            servers: vec!["https://10.0.0.5:2379".into()],
            files: [Some("/etc/ssl/etcd/ssl/ca.pem".into()), Some("/etc/ssl/etcd/ssl/node.pem".into()), None],
            ..ApiServer::default()
        };
        let backup = said(std::slice::from_ref(&server), "backup a.db --node n9");
        for text in [
            "the API server uses an external etcd, as kubespray sets it up: https://10.0.0.5:2379",
            "kubectl etcd backup a.db --node n1 \\\n    --endpoints https://10.0.0.5:2379 \\\n    --cacert /etc/ssl/etcd/ssl/ca.pem",
            "--cert /etc/ssl/etcd/ssl/node.pem \\\n    --key FILE",
        ] {
            assert!(backup.contains(text), "{text:?} is not in {backup}");
        }
        let restore = said(std::slice::from_ref(&server), "restore a.db");
        assert!(restore.contains("restore FILE --data-dir DIR") && !restore.contains("--cacert"), "{restore}");
        assert!(restore.contains("kubectl etcd restore FILE --ssh --nodes 10.0.0.5,n1=ADDRESS,..."), "{restore}");
        let plain =
            ApiServer { servers: vec!["http://10.0.0.5:2379".into()], files: Default::default(), ..server.clone() };
        assert!(!said(&[plain], "status").contains("--cert"));
        let local = ApiServer { servers: vec!["https://127.0.0.1:2379".into()], ..server };
        let local = said(&[local], "status");
        assert!(
            local.contains("on node n1 uses an etcd there that is no pod in the API") && !local.contains("external"),
            "{local}"
        );
        assert!(local.contains("  cause: no right\n") && local.contains("the right to get nodes/proxy"), "{local}");
        assert!(!backup.contains("no right"), "{backup}");
    }

    #[test]
    fn only_what_speaks_to_members_reaches_an_etcd_outside_of_pods_by_itself() {
        let at = |url: &str| [ApiServer { node: "n1".into(), servers: vec![url.into()], ..ApiServer::default() }];
        let (there, here) = (at("https://10.0.0.5:2379"), at("https://127.0.0.1:2379"));
        let (facts, plain) = (Facts::default(), Overrides::default());
        let openshift = Facts { openshift: true, ..Facts::default() };
        let mut labels = Overrides::default();
        labels.reach.pods.selector = "app=etcd".into();
        for line in ["status", "backup a.db", "verify a.db --live", "defrag", "alarms disarm", "compact", "member list"]
        {
            assert!(is_reached(&there, false, &facts, &plain, &typed(line)), "{line}");
            assert!(is_reached(&here, true, &facts, &plain, &typed(line)), "{line}");
            // It may be a static pod without a mirror, of which only the kubelets know.
            assert!(!is_reached(&here, false, &facts, &plain, &typed(line)), "{line}");
            assert!(!is_reached(&there, true, &openshift, &plain, &typed(line)), "{line}");
            assert!(!is_reached(&there, true, &facts, &labels, &typed(line)), "{line}");
            assert!(!is_reached(&[], true, &facts, &plain, &typed(line)), "{line}");
        }
        for line in ["restore a.db", "rollback", "member replace cp1", "doctor", "version"] {
            assert!(!is_reached(&there, true, &facts, &plain, &typed(line)), "{line}");
        }
    }

    #[test]
    fn kubeadms_paths_are_named_only_where_the_api_servers_could_not_be_read_and_as_such() {
        let said = not_readable(failed(), &typed("status")).to_string();
        assert!(said.contains("these are kubeadm's") && said.contains(KUBEADM[0]), "{said}");
    }

    #[test]
    fn where_nothing_is_found_it_is_said_where_it_was_looked_for() {
        let seen = Seen { servers: &[], kubelets: None, facts: &Facts::default() };
        let failed = without_pods(failed(), &["default", "kube-system"], seen, &typed("backup a.db"));
        let said = failed.to_string();
        for text in [
            "no pod in default and kube-system runs etcd",
            "kubectl etcd backup a.db -n NAMESPACE -l SELECTOR",
            "kubectl etcd backup a.db --node NODE \\\n    --endpoints URL",
        ] {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
        assert!(!said.contains("/etc/kubernetes"), "{said}");
    }
}
