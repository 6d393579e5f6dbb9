//! Looks for what a restore may have left over. Nothing is changed; what cannot be found out is told with its reason. What it comes to is judged by
//! `crates/doctor`, for `doctor` and at the end of a restore alike.
//!
//! Limits: of a list the first 200,000 objects within 30 s, of a kubelet 8 MiB within 5 s, of all kubelets what is there after 45 s, and of
//! everything what is there after two minutes. Of pods, Secrets and
//! ServiceAccounts only the metadata is asked for, so that no Secret's data is sent.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use etcd_doctor::{CameBack, Known, Kubelet, LeftOvers, Look, RunningPod};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::ObjectList;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::denial::Denial;
use crate::discovery::{API_SERVERS, OTHER_API_SERVERS, kubelet_pods};
use crate::output::Failed;

/// Objects that are listed at once, and most of one kind that are looked at.
const PAGE: u32 = 500;
const MOST: usize = 200_000;
/// How long a list may take.
const LIST: Duration = Duration::from_secs(30);
/// How long a kubelet may take, how many are asked at once, and how long all of them may take.
const ANSWER: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 32;
const ANSWERS: Duration = Duration::from_secs(45);
/// Longest answer of a kubelet, bytes: it runs some hundred pods at most.
const LONGEST: u64 = 8 << 20;
/// How long after one look the next one is.
const AGAIN: Duration = Duration::from_secs(3);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(120);
/// What kubelets run, as their container runtime says; and what they are to run.
const RUNNING: &str = "runningpods/";
const WANTED: &str = "pods";
/// The label of the leases by which API servers tell that they are there.
const IDENTITY: &str = "apiserver.kubernetes.io/identity=kube-apiserver";

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Twice, if something is found.
    Twice,
    /// As long as pods are found that their kubelets may be ending, up to a number.
    PodsMayEnd,
}

impl Patience {
    /// Most looks, by whether such pods were found.
    fn looks(self, pods: bool) -> usize {
        if pods && self == Patience::PodsMayEnd { 5 } else { 2 }
    }
}

/// What whoever looks knows besides.
#[derive(Debug, Default)]
pub(crate) struct Besides {
    /// What a restore knows of nodes.
    pub(crate) came_back: Vec<CameBack>,
    /// Pods of this run, NAMESPACE/NAME, which it ends itself.
    pub(crate) own: Vec<String>,
}

/// Looks until what was found was found twice, or is gone.
pub(crate) async fn look(connection: Option<&Connection>, patience: Patience, besides: Besides) -> LeftOvers {
    let Besides { came_back, own } = besides;
    let Some(connection) = connection else {
        let unknown = LeftOvers::not_looked("with --ssh no API server is asked");
        return LeftOvers { came_back, ..unknown };
    };
    let mut facts = LeftOvers { looks: Vec::new(), came_back };
    let looks = async {
        loop {
            facts.looks.push(one_look(&connection.client, &own).await);
            if !facts.suspects() || facts.looks.len() >= patience.looks(facts.pods_may_be_ending()) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    if tokio::time::timeout(WHOLE, looks).await.is_err() && facts.looks.is_empty() {
        facts.looks.push(Look::unknown(&format!("the API server did not tell within {}s", WHOLE.as_secs())));
    }
    facts
}

async fn one_look(client: &Client, own: &[String]) -> Look {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = listed("nodes", ListParams::default(), |page| of(&nodes, page), objects::node).await;
    let names: Vec<String> = nodes.iter().flatten().map(|node| node.name.clone()).collect();
    // A pod that is made meanwhile is not among what runs; one that is deleted is in the API until its kubelet has ended it.
    let mut kubelets = ask_all(client, names).await;
    for kubelet in kubelets.values_mut() {
        if let Kubelet::Runs(pods) = kubelet {
            pods.retain(|pod| !own.contains(&format!("{}/{}", pod.namespace, pod.name)));
        }
    }
    let all: Api<Pod> = Api::all(client.clone());
    let pods =
        listed("pods", ListParams::default(), |page| metadata_of(&all, page), |pod| Some(objects::uids(&pod))).await;
    let pods: Known<BTreeSet<String>> = pods.map(|pods| pods.into_iter().flatten().collect());
    if let Ok(known) = &pods {
        tell_static(client, &mut kubelets, known).await;
    }
    let rest = tokio::join!(
        node_leases(client),
        api_server_leases(client),
        registered(client),
        api_servers(client),
        volumes_and_claims(client),
        tokens_and_accounts(client),
    );
    let (node_leases, api_server_leases, registered, api_servers, (volumes, claims), (tokens, accounts)) = rest;
    Look {
        nodes,
        node_leases,
        kubelets,
        pods,
        api_server_leases,
        registered,
        api_servers,
        volumes,
        claims,
        tokens,
        accounts,
    }
}

/// What every node's kubelet runs.
async fn ask_all(client: &Client, nodes: Vec<String>) -> BTreeMap<String, Kubelet> {
    let mut said: BTreeMap<String, Kubelet> = BTreeMap::new();
    let mut why = format!("the kubelets did not all answer within {}s", ANSWERS.as_secs());
    let deadline = Instant::now() + ANSWERS;
    let asked = stream::iter(nodes.clone()).map(|node| async move {
        let kubelet = ask(client, &node).await;
        (node, kubelet)
    });
    let mut answers = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
    while let Ok(Some((node, kubelet))) = tokio::time::timeout_at(deadline, answers.next()).await {
        let denied = match &kubelet {
            Kubelet::NotAsked(why) => Some(why.clone()),
            Kubelet::Runs(_) | Kubelet::Silent(_) => None,
        };
        said.insert(node, kubelet);
        // What may not be asked of one may not be asked of any.
        if let Some(denied) = denied {
            why = denied;
            break;
        }
    }
    for node in nodes {
        said.entry(node).or_insert_with(|| Kubelet::NotAsked(why.clone()));
    }
    said
}

/// What a kubelet runs. Where it does not tell that, as its debugging handlers are turned off, what it is to run and has not ended.
async fn ask(client: &Client, node: &str) -> Kubelet {
    let running = |pods: Vec<Pod>| Kubelet::Runs(pods.iter().filter_map(objects::running).collect());
    match limited(client, node, RUNNING).await {
        Ok(pods) => running(pods),
        Err(Some(kube::Error::Api(status))) if matches!(status.code, 404 | 405) => {
            match limited(client, node, WANTED).await {
                Ok(pods) => running(pods),
                Err(error) => unheard(error),
            }
        }
        Err(error) => unheard(error),
    }
}

async fn limited(client: &Client, node: &str, path: &str) -> Result<Vec<Pod>, Option<kube::Error>> {
    match tokio::time::timeout(ANSWER, kubelet_pods(client, node, path, LONGEST)).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Why a kubelet was not heard; `None`: in time.
fn unheard(error: Option<kube::Error>) -> Kubelet {
    match error {
        None => Kubelet::Silent(format!("its kubelet does not answer within {}s", ANSWER.as_secs())),
        Some(error) => match denied(&error) {
            Some(rule) => Kubelet::NotAsked(format!("cannot ask kubelets what they run: {rule}")),
            None => Kubelet::Silent(Failed::plain("its kubelet does not answer").source(&error).one_line()),
        },
    }
}

/// Says of the pods that no API server has which of them are static.
async fn tell_static(client: &Client, kubelets: &mut BTreeMap<String, Kubelet>, known: &BTreeSet<String>) {
    let unknown = |kubelet: &Kubelet| match kubelet {
        Kubelet::Runs(pods) => pods.iter().any(|pod: &RunningPod| !pod.is_static && !known.contains(&pod.uid)),
        Kubelet::Silent(_) | Kubelet::NotAsked(_) => false,
    };
    let suspected = kubelets.iter_mut().filter(|(_, kubelet)| unknown(kubelet));
    let asked = suspected.map(|(node, kubelet)| async move {
        let wanted = limited(client, node, WANTED).await;
        *kubelet = match (std::mem::replace(kubelet, Kubelet::Runs(Vec::new())), wanted) {
            (Kubelet::Runs(pods), Ok(wanted)) => Kubelet::Runs(objects::with_static(pods, &wanted)),
            // Without them, a static pod could be taken for a left-over.
            (_, Err(error)) => unheard(error),
            (other, Ok(_)) => other,
        };
    });
    join_all(asked).await;
}

async fn node_leases(client: &Client) -> Known<BTreeMap<String, i64>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let what = "leases in namespace kube-node-lease";
    Ok(listed(what, ListParams::default(), |page| of(&leases, page), objects::node_lease).await?.into_iter().collect())
}

async fn api_server_leases(client: &Client) -> Known<Vec<etcd_doctor::ApiServerLease>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let params = ListParams::default().labels(IDENTITY);
    listed("leases in namespace kube-system", params, |page| of(&leases, page), objects::api_server_lease).await
}

/// Addresses of service kubernetes. A cluster whose API servers do not register has none.
async fn registered(client: &Client) -> Known<BTreeSet<String>> {
    let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), "default");
    match tokio::time::timeout(LIST, endpoints.get_opt("kubernetes")).await {
        Ok(Ok(found)) => Ok(found.map(objects::addresses).unwrap_or_default()),
        Ok(Err(error)) => Err(why("cannot get endpoints default/kubernetes", &error)),
        Err(_) => Err(silent("cannot get endpoints default/kubernetes")),
    }
}

async fn api_servers(client: &Client) -> Known<Vec<etcd_doctor::ApiServer>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    for labels in [API_SERVERS, OTHER_API_SERVERS] {
        let params = ListParams::default().labels(labels);
        let found =
            listed("the API servers' pods in kube-system", params, |page| of(&pods, page), objects::api_server).await?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

type Volumes = (Known<Vec<etcd_doctor::Volume>>, Known<Vec<etcd_doctor::Claim>>);

/// The claims after the volumes: a claim is there before a volume names it.
async fn volumes_and_claims(client: &Client) -> Volumes {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volumes = listed("persistentvolumes", ListParams::default(), |page| of(&volumes, page), objects::volume).await;
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let claims =
        listed("persistentvolumeclaims", ListParams::default(), |page| of(&claims, page), objects::claim).await;
    (volumes, claims)
}

type Tokens = (Known<Vec<etcd_doctor::Token>>, Known<BTreeMap<(String, String), String>>);

/// The ServiceAccounts after the tokens, which are made for them.
async fn tokens_and_accounts(client: &Client) -> Tokens {
    let secrets: Api<Secret> = Api::all(client.clone());
    let of_type = ListParams::default().fields("type=kubernetes.io/service-account-token");
    let tokens = listed("secrets", of_type, |page| metadata_of(&secrets, page), |secret| objects::token(&secret)).await;
    let accounts: Api<ServiceAccount> = Api::all(client.clone());
    let accounts = listed(
        "serviceaccounts",
        ListParams::default(),
        |page| metadata_of(&accounts, page),
        |account| objects::account(&account),
    )
    .await;
    (tokens, accounts.map(|accounts| accounts.into_iter().collect()))
}

async fn of<K>(api: &Api<K>, page: ListParams) -> kube::Result<ObjectList<K>>
where
    K: Clone + serde::de::DeserializeOwned + Debug,
{
    api.list(&page).await
}

async fn metadata_of<K>(api: &Api<K>, page: ListParams) -> kube::Result<ObjectList<kube::core::PartialObjectMeta<K>>>
where
    K: Clone + serde::de::DeserializeOwned + Debug,
{
    api.list_metadata(&page).await
}

/// Lists in pages, and keeps of every object what counts.
async fn listed<K, T, Answer>(
    what: &str,
    params: ListParams,
    list: impl Fn(ListParams) -> Answer,
    read: impl Fn(K) -> Option<T>,
) -> Known<Vec<T>>
where
    K: Clone,
    Answer: Future<Output = kube::Result<ObjectList<K>>>,
{
    let cannot = format!("cannot list {what}");
    let all = async {
        let (mut all, mut page) = (Vec::new(), params.clone().limit(PAGE));
        loop {
            let listed = list(page).await.map_err(|error| why(&cannot, &error))?;
            all.extend(listed.items.into_iter().filter_map(&read));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(_) if all.len() >= MOST => return Err(format!("{cannot}: there are more than {MOST}")),
                Some(token) => page = params.clone().limit(PAGE).continue_token(&token),
                None => return Ok(all),
            }
        }
    };
    tokio::time::timeout(LIST, all).await.unwrap_or_else(|_| Err(silent(&cannot)))
}

fn silent(cannot: &str) -> String {
    format!("{cannot}: no answer within {}s", LIST.as_secs())
}

fn why(cannot: &str, error: &kube::Error) -> String {
    match denied(error) {
        Some(rule) => format!("{cannot}: {rule}"),
        None => Failed::plain(cannot).source(error).one_line(),
    }
}

/// The rule that is missing, where the API server has refused for want of one.
fn denied(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let denial = Denial::of(&status.message)?;
            Some(format!("no right; the rule to add is {} (docs/RBAC.md, \"Doctor\")", denial.rule()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api_error(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    #[test]
    fn a_right_that_is_missing_is_named_as_a_rule() {
        let message = "nodes \"cp1\" is forbidden: User \"u\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope";
        let Kubelet::NotAsked(why) = unheard(Some(api_error(403, message))) else { panic!("it was not asked") };
        assert_eq!(
            why,
            "cannot ask kubelets what they run: no right; the rule to add is {apiGroups: [\"\"], resources: [nodes/proxy], verbs: [get]} \
             (docs/RBAC.md, \"Doctor\")"
        );
        // A kubelet's own refusal is no right of the user's.
        for error in [
            Some(api_error(403, "Forbidden (user=a, verb=get, resource=nodes)")),
            Some(api_error(503, "no route")),
            None,
        ] {
            assert!(matches!(unheard(error), Kubelet::Silent(_)));
        }
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end_or_told_why_not() {
        let page = |text: &str| -> ObjectList<Node> { serde_json::from_str(text).expect("a list") };
        let of_name = |node: Node| node.metadata.name;
        let pages = |params: ListParams| async move {
            Ok(match params.continue_token.as_deref() {
                None => page(r#"{"metadata":{"continue":"t"},"items":[{"metadata":{"name":"a"}},{"metadata":{}}]}"#),
                Some(_) => page(r#"{"metadata":{},"items":[{"metadata":{"name":"b"}}]}"#),
            })
        };
        assert_eq!(
            listed("nodes", ListParams::default(), pages, of_name).await,
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        let gone = |_| async { Err(api_error(410, "too old")) };
        let failed = listed("nodes", ListParams::default(), gone, of_name).await.expect_err("gone");
        assert!(failed.starts_with("cannot list nodes: ") && failed.contains("too old"), "{failed}");
    }

    #[test]
    fn only_a_restore_waits_for_pods_to_end() {
        let looks = |pods| [Patience::Twice, Patience::PodsMayEnd].map(|patience| patience.looks(pods));
        assert_eq!((looks(false), looks(true)), ([2, 2], [2, 5]));
    }

    #[tokio::test]
    async fn without_an_api_server_nothing_passes() {
        let facts =
            look(None, Patience::Twice, Besides { came_back: vec![CameBack::default()], own: Vec::new() }).await;
        assert!(facts.looks[0].pods.is_err() && facts.came_back.len() == 1);
    }
}
