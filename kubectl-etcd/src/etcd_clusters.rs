//! The etcd clusters among members that were asked, and which of them the API server uses: pure functions. Two clusters have nothing in
//! common: no raft index, revision or alarm of one says anything of the other.

use std::collections::BTreeMap;

use etcd_wire::message::{Member, MemberStatus};

use crate::discovery::{ApiServer, EtcdPod, address, is_loopback, is_wildcard};
use crate::kube_system::{Match, Served};
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};
use crate::sidecar::Surveyed;

/// What the API tells of the etcd that it uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// API servers whose flags can be seen.
    pub(crate) api_servers: &'a [ApiServer],
    /// Namespace kube-system as the API serves it, or why that is not known.
    pub(crate) served: Result<&'a Served, &'a str>,
}

impl<'a> Evidence<'a> {
    /// `--etcd-prefix`, where API servers tell and agree.
    pub(crate) fn prefix(&self) -> Option<&'a str> {
        let mut prefixes = self.api_servers.iter().map(|server| server.prefix.as_deref());
        let first = prefixes.next()??;
        prefixes.all(|other| other == Some(first)).then_some(first)
    }
}

/// The members, by cluster.
#[derive(Debug)]
pub(crate) struct EtcdClusters<'a> {
    /// That which the API server uses comes first.
    pub(crate) all: Vec<EtcdCluster<'a>>,
    /// Members that do not answer, and that no other member knows.
    pub(crate) unplaced: Vec<&'a Surveyed>,
    /// ID of that which the API server uses; `None` if it cannot be told.
    pub(crate) used: Option<u64>,
    /// Whether any API server's flags could be seen.
    flags_seen: bool,
}

/// One etcd cluster.
#[derive(Debug)]
pub(crate) struct EtcdCluster<'a> {
    pub(crate) id: u64,
    /// Its members: those that answer, and those that they know.
    pub(crate) members: Vec<&'a Surveyed>,
    /// Nodes whose API servers name it with `--etcd-servers`.
    pub(crate) served_on: Vec<&'a str>,
    /// Resources that an API server keeps in it by `--etcd-servers-overrides`.
    pub(crate) resources: Vec<&'a str>,
    /// Its namespace kube-system beside that of the API.
    pub(crate) kube_system: Match,
    /// Pods of silent members that may be its own: it is the only cluster.
    silent: usize,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The objects of the cluster.
    Cluster,
    /// The resources that the API server keeps in an etcd of their own.
    Resources(String),
    /// Nothing that the API server is known to keep.
    Other,
}

impl Contents {
    /// As a word for scripts: `cluster`, the resources, or `other`.
    pub(crate) fn word(&self) -> String {
        match self {
            Contents::Cluster => "cluster".to_owned(),
            Contents::Resources(resources) => resources.clone(),
            Contents::Other => "other".to_owned(),
        }
    }
}

/// How many of a cluster's voters answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quorum {
    pub(crate) voters: usize,
    pub(crate) answering: usize,
    /// Voters that answer and know the leader; where no member knows one, voters that answer.
    pub(crate) healthy: usize,
    /// Whether a voter that answers knows of a leader: there is none without a quorum. A learner may know one that has gone.
    pub(crate) holds: bool,
    /// Whether a member that answers has told the member list. Without a list, `voters` is the number of etcd pods that were found.
    pub(crate) listed: bool,
}

impl Quorum {
    /// How many more members the cluster can lose and still take writes; `None` if that is not known, or if it takes none now.
    pub(crate) fn can_lose(self) -> Option<usize> {
        self.healthy.checked_sub(self.voters / 2 + 1).filter(|_| self.holds && self.listed)
    }

    /// The state of the cluster in one line, for people.
    pub(crate) fn summary(self) -> String {
        let Quorum { voters, healthy, holds, listed, .. } = self;
        match self.can_lose() {
            Some(0) => format!("{healthy} of {voters} members healthy; can lose none"),
            Some(spare) => format!("{healthy} of {voters} members healthy; can lose {spare}"),
            // The others were not asked, or cannot be reached from here.
            None if self.is_unknown() => "only learners answer; quorum is not known".to_owned(),
            None if holds => format!("{}; there is a leader: quorum holds", self.answers()),
            None if healthy > voters / 2 && !listed => {
                format!("{}; there is no leader; the member list is not known", self.answers())
            }
            None if healthy > voters / 2 => format!("{healthy} of {voters} members healthy; there is no leader"),
            None => format!("{healthy} of {voters} members healthy; quorum is lost"),
        }
    }

    /// For people, where it is worth a line: a member does not answer, or there is no leader.
    pub(crate) fn line(self) -> Option<String> {
        let Quorum { voters, answering, holds, .. } = self;
        if self.is_unknown() {
            return Some(self.summary());
        }
        let verdict = if holds { "quorum holds" } else { "quorum is lost: there is no leader" };
        (answering < voters || !holds).then(|| format!("{}; {verdict}", self.answers()))
    }

    /// Whether nobody who votes has answered.
    pub(crate) fn is_unknown(self) -> bool {
        self.answering == 0
    }

    fn answers(self) -> String {
        let Quorum { voters, answering, listed, .. } = self;
        let of = if listed { format!(" of {voters}") } else { String::new() };
        let (members, answer) = match (listed, answering) {
            (false, 1) => ("member", "answers"),
            (true, 1) => ("members", "answers"),
            _ => ("members", "answer"),
        };
        format!("{answering}{of} {members} {answer}")
    }
}

impl<'a> EtcdClusters<'a> {
    /// Groups the members, and finds the cluster that the API server uses: by the URLs in its flags and, as proof, by namespace
    /// kube-system.
    pub(crate) fn of(surveyed: &'a [Surveyed], evidence: &Evidence<'a>) -> EtcdClusters<'a> {
        let mut members: BTreeMap<u64, Vec<&'a Surveyed>> = BTreeMap::new();
        for one in surveyed {
            if let Ok(status) = one.etcd() {
                members.entry(status.cluster_id).or_default().push(one);
            }
        }
        let silent: Vec<(&Surveyed, Option<u64>)> = surveyed
            .iter()
            .filter(|one| one.etcd().is_err())
            .map(|one| (one, known_to(&one.member, &members)))
            .collect();
        let mut unplaced = Vec::new();
        for (one, id) in silent {
            match id.and_then(|id| members.get_mut(&id)) {
                Some(cluster) => cluster.push(one),
                None => unplaced.push(one),
            }
        }
        let mut all: Vec<EtcdCluster<'a>> =
            members.into_iter().map(|(id, members)| EtcdCluster::of(id, members, evidence)).collect();
        if let [only] = &mut all[..] {
            only.silent = unplaced.len();
        }
        let used = used(&all);
        all.sort_by_key(|cluster| (Some(cluster.id) != used, cluster.id));
        EtcdClusters { all, unplaced, used, flags_seen: !evidence.api_servers.is_empty() }
    }

    /// The cluster that a command is about: the only one there is, as where the user has named its members, or that which the API server
    /// uses. `None` if no member answers.
    ///
    /// # Errors
    /// There are several, and nothing tells which (exit 4).
    pub(crate) fn choose(&self, command: &str) -> Outcome<Option<&EtcdCluster<'a>>> {
        let used = || self.all.iter().find(|cluster| Some(cluster.id) == self.used);
        match &self.all[..] {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            _ => used().map(Some).ok_or_else(|| self.ambiguous(command)),
        }
    }

    /// Which clusters there are, for someone who has to choose.
    fn ambiguous(&self, command: &str) -> Failed {
        let count = self.all.len();
        let message =
            format!("the members belong to {count} etcd clusters, and it cannot be told which one the API server uses");
        let failed = Failed::new(Exit::Refused, message).causes(self.all.iter().map(EtcdCluster::describe));
        let node = self.all.iter().flat_map(|cluster| &cluster.members).map(|one| one.member.node.as_str()).next();
        failed.hint(format!(
            "choose a cluster: name a node of its members with --node, or its pods by their labels with -l\n  \
             kubectl etcd {command} --node {}\n  kubectl get pods -A --show-labels | grep etcd",
            node.map_or("NODE".to_owned(), quoted)
        ))
    }

    /// What a snapshot of a cluster holds, given what it has as namespace kube-system.
    ///
    /// # Errors
    /// Why it is no backup of the API server's objects, nor of anything else that the user has named.
    pub(crate) fn contents(&self, cluster: &EtcdCluster<'_>, found: &Match, named: bool) -> Result<Contents, String> {
        match found {
            Match::Same | Match::Unknown(_) => Ok(Contents::Cluster),
            Match::Other { served, found } => {
                Err(format!("its namespace kube-system has UID {found}, the API serves one with UID {served}"))
            }
            Match::Absent if named && cluster.served_on.is_empty() && !cluster.resources.is_empty() => {
                Ok(Contents::Resources(cluster.resources.join(",")))
            }
            Match::Absent if named && cluster.served_on.is_empty() && self.flags_seen => Ok(Contents::Other),
            Match::Absent => Err("it has no namespace kube-system".to_owned()),
        }
    }
}

impl<'a> EtcdCluster<'a> {
    fn of(id: u64, members: Vec<&'a Surveyed>, evidence: &Evidence<'a>) -> EtcdCluster<'a> {
        let leads = |server: &ApiServer, urls: &[String]| urls.iter().any(|url| leads_to(url, &server.node, &members));
        let servers = evidence.api_servers.iter();
        let served_on = servers.filter(|server| leads(server, &server.servers)).map(|server| server.node.as_str());
        let overrides =
            evidence.api_servers.iter().flat_map(|server| server.overrides.iter().map(move |one| (server, one)));
        let mut resources: Vec<&str> = overrides
            .filter(|(server, one)| leads(server, &one.servers))
            .map(|(_, one)| one.resource.as_str())
            .collect();
        resources.sort_unstable();
        resources.dedup();
        let statuses = members.iter().filter_map(|one| one.etcd().ok());
        let matches =
            statuses.map(|status| Match::of_member(evidence.served, status.kube_system.as_ref(), evidence.prefix()));
        let kube_system = Match::best(matches).unwrap_or(Match::Unknown("no member answers".to_owned()));
        EtcdCluster { id, served_on: served_on.collect(), resources, kube_system, members, silent: 0 }
    }

    /// What its members that answer said.
    pub(crate) fn statuses(&self) -> Vec<&'a MemberStatus> {
        self.members.iter().filter_map(|one| one.etcd().ok()).collect()
    }

    /// How many of its voters answer.
    pub(crate) fn quorum(&self) -> Quorum {
        let statuses = self.statuses();
        let listed = statuses.iter().map(|status| status.members.iter().filter(|member| !member.learner).count()).max();
        let answering = statuses.iter().filter(|status| !status.learner).count();
        let listed = listed.filter(|voters| *voters > 0);
        let learners = statuses.iter().filter(|status| status.learner).count();
        let voters = listed.unwrap_or(self.members.len() + self.silent - learners);
        let led = statuses.iter().filter(|status| !status.learner && status.leader_id != 0).count();
        let holds = led > 0;
        Quorum { voters, answering, healthy: if holds { led } else { answering }, holds, listed: listed.is_some() }
    }

    /// Whether it is certain that the API server's objects are not in it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.kube_system, Match::Other { .. } | Match::Absent)
    }

    /// For someone who has to tell it from others.
    pub(crate) fn describe(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|one| format!("{} on node {}", one.member.name, one.member.node)).collect();
        let mut facts = Vec::new();
        if !self.served_on.is_empty() {
            facts.push(format!("named by --etcd-servers of the API server on {}", self.served_on.join(", ")));
        }
        if !self.resources.is_empty() {
            facts.push(format!("named by --etcd-servers-overrides for {}", self.resources.join(", ")));
        }
        facts.push(match &self.kube_system {
            Match::Same => "its namespace kube-system is that of the API".to_owned(),
            Match::Other { found, .. } => {
                format!("its namespace kube-system has another UID than that of the API: {found}")
            }
            Match::Absent => "it has no namespace kube-system".to_owned(),
            Match::Unknown(why) => why.clone(),
        });
        format!("etcd cluster {:x} ({}): {}", self.id, members.join(", "), facts.join("; "))
    }
}

/// The one that the API servers use. Their flags name it; one whose namespace kube-system is not theirs cannot be it, whatever the flags say.
fn used(all: &[EtcdCluster<'_>]) -> Option<u64> {
    let possible = || all.iter().filter(|cluster| !cluster.is_foreign());
    let only = |wanted: &dyn Fn(&EtcdCluster<'_>) -> bool| {
        let mut fit = possible().filter(|cluster| wanted(cluster));
        (fit.next(), fit.next())
    };
    // Where flags name some, no other counts.
    if all.iter().any(|cluster| !cluster.served_on.is_empty()) {
        return match only(&|cluster| !cluster.served_on.is_empty()) {
            (Some(one), None) => Some(one.id),
            _ => None,
        };
    }
    match only(&|cluster| cluster.kube_system == Match::Same) {
        (Some(one), None) => Some(one.id),
        _ => None,
    }
}

/// The cluster whose members know a member that does not answer: by its URLs, or else by its name.
fn known_to(member: &EtcdPod, clusters: &BTreeMap<u64, Vec<&Surveyed>>) -> Option<u64> {
    let known = |wanted: &dyn Fn(&Member) -> bool| -> Vec<u64> {
        let lists = |members: &[&Surveyed]| {
            members.iter().filter_map(|one| one.etcd().ok()).any(|status| status.members.iter().any(wanted))
        };
        clusters.iter().filter(|(_, members)| lists(members)).map(|(id, _)| *id).collect()
    };
    let by_url = known(&|one| has_url_of(one, member));
    let ids = if by_url.is_empty() { known(&|one| one.name == member.name) } else { by_url };
    if let [id] = ids[..] { Some(id) } else { None }
}

/// Whether a pod is one of these members: by its URLs or, where it shows none, by its name. Members of two clusters may have one name.
pub(crate) fn lists(members: &[Member], pod: &EtcdPod) -> bool {
    let shows_no_url = pod.peer_urls.is_empty() && pod.client_urls.is_empty();
    members.iter().any(|one| has_url_of(one, pod) || (shows_no_url && one.name == pod.name))
}

fn has_url_of(member: &Member, pod: &EtcdPod) -> bool {
    let same = |ours: &[String], theirs: &[String]| {
        let mut ours = ours.iter().filter_map(|url| address(url));
        ours.any(|one| theirs.iter().any(|url| address(url).as_ref() == Some(&one)))
    };
    same(&pod.peer_urls, &member.peer_urls) || same(&pod.client_urls, &member.client_urls)
}

/// Whether a URL, as seen from a node, leads to one of these members.
fn leads_to(url: &str, from: &str, members: &[&Surveyed]) -> bool {
    let Some((host, port)) = address(url) else { return false };
    members.iter().any(|one| {
        let member = &one.member;
        let own = |urls: &[String], wanted: &dyn Fn(&str) -> bool| {
            urls.iter().filter_map(|url| address(url)).any(|(host, its)| its == port && wanted(&host))
        };
        if is_loopback(&host) {
            let listens = if member.listen_urls.is_empty() { &member.access.endpoints } else { &member.listen_urls };
            return member.node == from && own(listens, &|host| is_loopback(host) || is_wildcard(host));
        }
        let listed = one.etcd().ok().map(|status| status.members.as_slice()).unwrap_or_default();
        own(&member.client_urls, &|its| its == host)
            || own(&member.listen_urls, &|its| its == host || is_wildcard(its) && member.addresses.contains(&host))
            || own(&member.access.endpoints, &|its| its == host)
            || listed.iter().any(|one| own(&one.client_urls, &|its| its == host))
    })
}

#[cfg(test)]
pub(crate) mod samples {
    use etcd_wire::message::{KubeSystem, NodeStatus};

    use super::*;
    use crate::road::Sidecar;
    use crate::sidecar::Via;

    /// Namespace kube-system with this UID as a member stores it.
    pub(crate) fn held(uid: &str) -> KubeSystem {
        let stored = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
        KubeSystem::Held { mod_revision: 1, value: serde_json::to_vec(&stored).expect("JSON") }
    }

    /// A member's pod on a node, whose clients come by this port.
    pub(crate) fn pod(node: &str, port: u16) -> EtcdPod {
        EtcdPod {
            node: node.into(),
            name: format!("{node}-{port}"),
            pod: format!("etcd-{node}-{port}"),
            client_urls: vec![format!("https://{node}.example:{port}")],
            listen_urls: vec![format!("https://127.0.0.1:{port}"), format!("https://{node}.example:{port}")],
            peer_urls: vec![format!("https://{node}.example:{}", port + 1)],
            ..EtcdPod::default()
        }
    }

    /// A member that answers. Its cluster has members on these nodes, at the same port.
    pub(crate) fn answers(node: &str, port: u16, cluster_id: u64, nodes: &[&str], kube_system: KubeSystem) -> Surveyed {
        let listed = |node: &&str| {
            let EtcdPod { name, client_urls, peer_urls, .. } = pod(node, port);
            Member { name, client_urls, peer_urls, ..Member::default() }
        };
        let status = MemberStatus {
            cluster_id,
            member_id: u64::from(etcd_wire::crc32c(node.as_bytes())) + u64::from(port),
            leader_id: 1,
            raft_index: 5000,
            raft_applied_index: 5000,
            members: nodes.iter().map(listed).collect(),
            kube_system: Some(kube_system),
            ..MemberStatus::default()
        };
        let sidecar = Sidecar::Pod {
            pod: format!("pod-{node}-{port}"),
            namespace: "kube-system".into(),
            program: "/etcd-sidecar",
        };
        let status = NodeStatus { etcd: Some(status), ..NodeStatus::default() };
        Surveyed {
            member: pod(node, port),
            outcome: Ok(status),
            via: Via::Sidecar,
            sidecar: Some(sidecar),
            served: None,
        }
    }

    /// One that does not.
    pub(crate) fn silent(node: &str, port: u16) -> Surveyed {
        let outcome = Err(Failed::plain("no answer"));
        Surveyed { member: pod(node, port), outcome, via: Via::Sidecar, sidecar: None, served: None }
    }

    /// kubeadm's API server on a node, and its etcd for events.
    pub(crate) fn api_server(node: &str, servers: &str, events: Option<&str>) -> ApiServer {
        let url = |url: &str| vec![url.to_owned()];
        let overrides =
            events.map(|events| crate::discovery::Override { resource: "events".into(), servers: url(events) });
        ApiServer {
            node: node.into(),
            servers: url(servers),
            overrides: overrides.into_iter().collect(),
            prefix: Some("/registry".into()),
            ..ApiServer::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::KubeSystem;

    use super::samples::{answers, api_server, held, silent};
    use super::*;

    const LOCAL: &str = "https://127.0.0.1:2379";

    fn served() -> Served {
        Served { uid: "ours".into(), revision: None }
    }

    /// The IDs, that of the API server's first, and the error of choosing.
    fn told(surveyed: &[Surveyed], api_servers: &[ApiServer]) -> (Vec<u64>, Option<u64>, Result<u64, String>) {
        let served = served();
        let clusters = EtcdClusters::of(surveyed, &Evidence { api_servers, served: Ok(&served) });
        let chosen = clusters.choose("backup").map(|one| one.map_or(0, |one| one.id));
        (clusters.all.iter().map(|one| one.id).collect(), clusters.used, chosen.map_err(|failed| failed.to_string()))
    }

    #[test]
    fn an_etcd_for_events_is_told_from_that_of_the_api_server() {
        let all =
            [answers("cp1", 2379, 9, &["cp1"], held("ours")), answers("cp1", 2381, 5, &["cp1"], KubeSystem::Absent)];
        let api = [api_server("cp1", LOCAL, Some("https://127.0.0.1:2381"))];
        assert_eq!(told(&all, &api), (vec![9, 5], Some(9), Ok(9)));
        // Also where the flags cannot be seen.
        assert_eq!(told(&all, &[]), (vec![9, 5], Some(9), Ok(9)));
        let served = served();
        let clusters = EtcdClusters::of(&all, &Evidence { api_servers: &api, served: Ok(&served) });
        let events = &clusters.all[1];
        let contents = |found: Match, named| clusters.contents(events, &found, named).map(|contents| contents.word());
        assert_eq!(contents(Match::Absent, true), Ok("events".to_owned()));
        assert_eq!(contents(Match::Absent, false), Err("it has no namespace kube-system".to_owned()));
        assert!(contents(Match::Other { served: "a".into(), found: "b".into() }, true).is_err());
        // That of the API server without its objects is no backup, whoever names it.
        assert!(clusters.contents(&clusters.all[0], &Match::Absent, true).is_err());
        assert_eq!(clusters.contents(&clusters.all[0], &Match::Same, false), Ok(Contents::Cluster));
        // Only the member for events is found, and neither --node nor -l names it.
        let (_, used, chosen) = told(&all[1..], &api);
        assert_eq!((used, chosen), (None, Ok(5)));
        assert!(
            events
                .describe()
                .ends_with("named by --etcd-servers-overrides for events; it has no namespace kube-system")
        );
    }

    #[test]
    fn a_member_that_was_restored_by_itself_is_a_cluster_of_its_own() {
        let all = [
            answers("cp1", 2379, 9, &["cp1", "cp2", "cp3"], held("ours")),
            answers("cp2", 2379, 9, &["cp1", "cp2", "cp3"], held("ours")),
            answers("cp3", 2379, 5, &["cp3"], held("ours")),
        ];
        let api = ["cp1", "cp2", "cp3"].map(|node| api_server(node, LOCAL, None));
        // Two API servers serve the one, one serves the other.
        let (ids, used, chosen) = told(&all, &api);
        let said = chosen.expect_err("ambiguous");
        assert_eq!((ids, used), (vec![5, 9], None));
        for text in [
            "2 etcd clusters",
            "etcd cluster 9 (cp1-2379 on node cp1, cp2-2379 on node cp2)",
            "on cp1, cp2",
            "--node cp3",
        ] {
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
        // A node's name is one word of the command, whatever is in it.
        let hostile =
            [answers("a;id", 2379, 9, &["a;id"], held("ours")), answers("a;id", 2381, 5, &["a;id"], held("ours"))];
        let said = told(&hostile, &[]).2.expect_err("ambiguous");
        assert!(said.contains("--node 'a;id'\n"), "{said}");
        // An API server that was sent away from it.
        let api = ["cp1", "cp2", "cp3"].map(|node| api_server(node, "https://cp1.example:2379", None));
        assert_eq!(told(&all, &api), (vec![9, 5], Some(9), Ok(9)));
        // Named, it is what was meant.
        assert_eq!(told(&all[2..], &api).2, Ok(5));
    }

    #[test]
    fn two_stacks_in_one_namespace_are_told_by_what_they_hold() {
        let all = [answers("cp1", 2379, 9, &["cp1"], held("theirs")), answers("cp2", 2379, 5, &["cp2"], held("ours"))];
        assert_eq!(told(&all, &[]), (vec![5, 9], Some(5), Ok(5)));
        // Flags that lead to another cluster's objects are not believed.
        let (_, used, chosen) = told(&all, &[api_server("cp1", LOCAL, None)]);
        assert!(used.is_none() && chosen.is_err());
    }

    #[test]
    fn members_that_do_not_answer_belong_to_who_knows_them() {
        let all = [
            answers("cp1", 2379, 9, &["cp1", "cp2", "cp3"], held("ours")),
            answers("cp1", 2381, 5, &["cp1", "cp2"], KubeSystem::Absent),
            silent("cp2", 2379),
            silent("cp2", 2381),
            silent("cp9", 2379),
        ];
        let served = served();
        let clusters = EtcdClusters::of(&all, &Evidence { api_servers: &[], served: Ok(&served) });
        let names = |members: &[&Surveyed]| members.iter().map(|one| one.member.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&clusters.all[0].members), ["cp1-2379", "cp2-2379"]);
        assert_eq!(names(&clusters.all[1].members), ["cp1-2381", "cp2-2381"]);
        assert_eq!(names(&clusters.unplaced), ["cp9-2379"]);
        let quorum = clusters.all[0].quorum();
        assert_eq!(quorum.line().as_deref(), Some("1 of 3 members answers; quorum holds"));
        let lost = Quorum { holds: false, ..quorum };
        assert_eq!(lost.line().as_deref(), Some("1 of 3 members answers; quorum is lost: there is no leader"));
        assert_eq!(Quorum { answering: 3, ..quorum }.line(), None);
    }

    #[test]
    fn a_cluster_tells_what_it_can_lose() {
        let summary =
            |voters, answering, healthy, holds| Quorum { voters, answering, healthy, holds, listed: true }.summary();
        for (quorum, text) in [
            ((3, 3, 3, true), "3 of 3 members healthy; can lose 1"),
            ((5, 5, 5, true), "5 of 5 members healthy; can lose 2"),
            ((3, 2, 2, true), "2 of 3 members healthy; can lose none"),
            ((1, 1, 1, true), "1 of 1 members healthy; can lose none"),
            ((3, 3, 2, true), "2 of 3 members healthy; can lose none"),
            ((3, 1, 1, false), "1 of 3 members healthy; quorum is lost"),
            ((3, 3, 3, false), "3 of 3 members healthy; there is no leader"),
            ((3, 1, 1, true), "1 of 3 members answers; there is a leader: quorum holds"),
        ] {
            let (voters, answering, healthy, holds) = quorum;
            assert_eq!(summary(voters, answering, healthy, holds), text);
        }
    }

    #[test]
    fn only_voters_tell_of_a_quorum_and_only_a_list_tells_how_many_there_are() {
        let unlisted = |node: &str, learner: bool, leader: u64| {
            let mut one = answers(node, 2379, 9, &[], held("ours"));
            if let Ok(status) = &mut one.outcome {
                let status = status.etcd.as_mut().expect("it answers");
                (status.learner, status.leader_id) = (learner, leader);
            }
            one
        };
        let summary = |all: &[Surveyed]| {
            EtcdClusters::of(all, &Evidence { api_servers: &[], served: Err("no right") }).all[0].quorum().summary()
        };
        // The list of a survivor is not known: pods are counted, and those that are silent, too.
        let survivor = || unlisted("cp1", false, 0);
        let lost = "1 of 3 members healthy; quorum is lost";
        assert_eq!(summary(&[survivor(), silent("cp2", 2379), silent("cp3", 2379)]), lost);
        assert_eq!(summary(&[survivor()]), "1 member answers; there is no leader; the member list is not known");
        assert_eq!(summary(&[unlisted("cp1", false, 1)]), "1 member answers; there is a leader: quorum holds");
        // The leader that a learner knows may have gone.
        let learner = || unlisted("cp4", true, 1);
        assert_eq!(summary(&[survivor(), learner(), silent("cp2", 2379), silent("cp3", 2379)]), lost);
        assert_eq!(summary(&[learner(), silent("cp2", 2379)]), "only learners answer; quorum is not known");
    }

    #[test]
    fn a_user_who_may_not_read_the_namespace_has_the_flags() {
        let all = [answers("cp1", 2379, 9, &["cp1"], held("ours")), answers("cp1", 2381, 5, &["cp1"], held("ours"))];
        let api = [api_server("cp1", LOCAL, None)];
        let clusters = EtcdClusters::of(&all, &Evidence { api_servers: &api, served: Err("no right") });
        assert_eq!(clusters.used, Some(9));
        assert_eq!(clusters.contents(&clusters.all[0], &clusters.all[0].kube_system, false), Ok(Contents::Cluster));
        let clusters = EtcdClusters::of(&all, &Evidence { api_servers: &[], served: Err("no right") });
        assert!(clusters.choose("backup").is_err());
        // Nobody tells anything of the only one there is.
        let clusters = EtcdClusters::of(&all[..1], &Evidence { api_servers: &[], served: Err("no right") });
        assert_eq!(clusters.choose("backup").unwrap().map(|one| one.id), Some(9));
    }

    #[test]
    fn urls_are_compared_by_what_they_lead_to() {
        let mut everywhere = silent("cp1", 2379);
        everywhere.member.listen_urls = vec!["https://0.0.0.0:2379".into()];
        everywhere.member.addresses = vec!["10.0.0.1".into()];
        for (url, from, leads) in [
            (LOCAL, "cp1", true),
            (LOCAL, "cp2", false),
            ("https://127.0.0.1:2381", "cp1", false),
            ("https://10.0.0.1:2379", "cp2", true),
            ("https://10.0.0.2:2379", "cp2", false),
            ("https://cp1.example:2379", "cp2", true),
        ] {
            assert_eq!(leads_to(url, from, &[&everywhere]), leads, "{url} from {from}");
        }
    }
}
