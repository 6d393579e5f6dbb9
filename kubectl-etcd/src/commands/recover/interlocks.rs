//! Whether a cluster may be rebuilt, from what, and on which nodes: what the surveys of the nodes come to. Pure. A cluster is known by the UID of namespace
//! kube-system: kubeadm's first node comes up with the same IDs when its data directory was wiped.

use std::collections::BTreeSet;
use std::path::PathBuf;

use etcd_wire::survey::{EtcdState, EtcdSurvey, RaftPosition, SurveyedMember};

use super::Looked;

/// What the new data is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// The member that has the most.
    Best,
    /// The member on this node.
    Node(String),
    /// A snapshot file, or a backup in a store.
    File(PathBuf),
}

impl From {
    /// What the word of `--from` means, among these nodes.
    pub(super) fn read(word: &str, looked: &[Looked]) -> From {
        match word {
            "best" => From::Best,
            node if looked.iter().any(|one| one.host.node == node) => From::Node(node.to_owned()),
            file => From::File(file.into()),
        }
    }
}

/// What else is known before it is decided.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// The UID of namespace kube-system in the file of [`From::File`].
    pub(super) file_uid: Option<&'a str>,
    /// The members of the cluster when that file was written.
    pub(super) file_members: &'a [SurveyedMember],
    /// The members that are gone for good, as they were typed.
    pub(super) gone: &'a [String],
    /// A backup whose record was named, with its revision.
    pub(super) backup: Option<(&'a str, i64)>,
}

/// A member whose log can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) node: String,
    pub(super) data_dir: String,
    pub(super) wal_dir: Option<String>,
    pub(super) last: RaftPosition,
    pub(super) may_run: bool,
}

/// What may be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    /// The member that has the most; `None` if no log can be read.
    pub(super) best: Option<Source>,
    /// The member that the new data is made of, if it is made of one.
    pub(super) source: Option<Source>,
    /// Nodes that take part.
    pub(super) nodes: Vec<String>,
    /// Members that are left out.
    pub(super) gone: Vec<String>,
    /// Where the logs end.
    pub(super) ends: Vec<(String, RaftPosition)>,
    /// No revision on the nodes is higher; `None` if no node has data that tells.
    pub(super) highest: Option<i64>,
    pub(super) kube_system_uid: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// What speaks against it, and what to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) causes: Vec<String>,
    pub(super) hints: Vec<String>,
}

impl Refusal {
    fn add(&mut self, cause: String, hint: impl Into<String>) {
        self.causes.push(cause);
        let hint = hint.into();
        if !hint.is_empty() && !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }
}

/// A data directory on a node.
#[derive(Debug, Clone, Copy)]
struct Dir<'a> {
    node: &'a str,
    etcd: &'a EtcdSurvey,
}

impl Dir<'_> {
    fn last(&self) -> RaftPosition {
        self.etcd.log.as_ref().map(|log| log.last).unwrap_or_default()
    }

    fn uid(&self) -> Option<&str> {
        self.etcd.database.as_ref()?.kube_system_uid.as_deref()
    }

    fn cluster(&self) -> &str {
        self.etcd.log.as_ref().map(|log| log.cluster_id.as_str()).unwrap_or_default()
    }

    /// Whether etcd runs, or may.
    fn may_run(&self) -> bool {
        self.etcd.state != EtcdState::Stopped
    }

    /// Whether both may be of one cluster.
    fn is_with(&self, other: &Dir<'_>) -> bool {
        let uids_differ = matches!((self.uid(), other.uid()), (Some(one), Some(other)) if one != other);
        self.cluster() == other.cluster() && !uids_differ
    }

    /// Whether etcd may answer somebody there, with a log that cannot be read. Without any log it never does, though it may start and end all the time.
    fn may_vote(&self) -> bool {
        self.etcd.state == EtcdState::Running && !self.etcd.empty
    }

    fn source(&self) -> Source {
        Source {
            node: self.node.to_owned(),
            data_dir: self.etcd.data_dir.clone(),
            wal_dir: self.etcd.wal_dir.clone(),
            last: self.last(),
            may_run: self.may_run(),
        }
    }

    fn described(&self) -> String {
        let revision = self.etcd.database.as_ref().map(|database| database.revision.to_string());
        format!(
            "node {} has cluster {}, namespace kube-system {}, revision {}",
            self.node,
            self.cluster(),
            self.uid().unwrap_or("unknown"),
            revision.as_deref().unwrap_or("unknown")
        )
    }
}

/// How etcd is stopped by hand on a node, by what starts it there.
fn stop(etcd: Option<&EtcdSurvey>) -> &'static str {
    match etcd.is_some_and(|etcd| etcd.found_by.starts_with(BY_UNIT)) {
        true => {
            "stop etcd and the API server on a node (log in to it)\n  mkdir -p /root/stopped && mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/stopped/\n  systemctl stop etcd"
        }
        false => {
            "stop etcd and the API server on a node (log in to it)\n  mkdir -p /root/stopped && mv /etc/kubernetes/manifests/{kube-apiserver,etcd}.yaml /root/stopped/"
        }
    }
}

/// What a survey begins with that tells of a unit: `the unit /etc/systemd/system/etcd.service`.
pub(super) const BY_UNIT: &str = "the unit ";

/// Decides.
///
/// # Errors
/// All that speaks against it.
pub(super) fn decide(looked: &[Looked], from: &From, known: &Known<'_>) -> Result<Decided, Refusal> {
    let mut against = Refusal::default();
    let (mut dirs, mut unread) = (Vec::new(), Vec::new());
    for (node, survey) in looked.iter().filter_map(|one| Some((one.host.node.as_str(), one.found.as_ref().ok()?))) {
        let with_log: Vec<&EtcdSurvey> = survey.etcd.iter().filter(|etcd| etcd.log.is_some()).collect();
        for etcd in &survey.etcd {
            if let Some((whose, command)) = managed(etcd) {
                against.add(format!("etcd on node {node} is managed by {whose}, which would undo it"), command);
            }
        }
        match &with_log[..] {
            [etcd] => dirs.push(Dir { node, etcd }),
            [] => unread.extend(survey.etcd.first().map(|etcd| Dir { node, etcd })),
            several => against.add(
                format!("node {node} has {} data directories with a log", several.len()),
                "name the one that is in use with --data-dir",
            ),
        }
    }
    let own = own(&dirs, from, known, &mut against);
    strangers(&dirs, &own, known, &mut against);
    let best = own.iter().max_by(|one, other| one.last().cmp(&other.last()).then(other.node.cmp(one.node))).copied();
    let source = match from {
        From::Best => best,
        From::Node(node) => own.iter().find(|dir| dir.node == node).copied(),
        From::File(_) => None,
    };
    if source.is_none() && !matches!(from, From::File(_)) && against.causes.is_empty() {
        let of_node = |dir: &&Dir<'_>| matches!(from, From::Node(node) if dir.node != node);
        let why = unread.iter().filter(|dir| !of_node(dir)).flat_map(|dir| {
            dir.etcd.failures.iter().map(|failure| format!("node {}: {failure}", dir.node)).collect::<Vec<_>>()
        });
        against.causes.extend(why);
        let what = match from {
            From::Node(node) => format!("no log of etcd can be read on node {node}"),
            _ => "no log of etcd can be read on any node".to_owned(),
        };
        against.add(what, "use the member on another node, or a backup\n  --from NODE\n  --from FILE");
    }
    if let Some(source) = source.filter(|source| source.etcd.database.is_none()) {
        against.causes.extend(source.etcd.failures.iter().map(|failure| format!("node {}: {failure}", source.node)));
        against.add(
            format!("the database on node {} cannot be read, so its log cannot be applied", source.node),
            "use the member on another node, which may lack entries, or a backup\n  --from NODE\n  --from FILE",
        );
    }
    let counted = count(looked, &own, &unread, known, &mut against);
    if !against.causes.is_empty() {
        return Err(against);
    }
    let gone = counted.gone;
    let unread: Vec<&Dir<'_>> = unread.iter().filter(|dir| !known.gone.iter().any(|gone| gone == dir.node)).collect();
    let mut warnings = counted.warnings;
    warnings.extend(unread.iter().map(|dir| match dir.etcd.is_bare() {
        true => format!(
            "node {} has no data of etcd in {}; the node takes part. If a disk is to be mounted there, mount it first",
            dir.node, dir.etcd.data_dir
        ),
        false => format!("the log on node {} cannot be read; the node takes part, and its data is set aside", dir.node),
    }));
    warnings.extend(own.iter().filter(|dir| dir.etcd.database.is_none()).map(|dir| {
        format!("the database on node {} cannot be read; the node takes part, and its data is set aside", dir.node)
    }));
    let is_bare = dirs.is_empty();
    if is_bare {
        warnings.push(
            "no node has data that tells whose cluster this is: make sure that the backup is of this cluster"
                .to_owned(),
        );
    }
    warnings.extend(doubts(source, best, known));
    let nodes: BTreeSet<String> =
        own.iter().map(|dir| dir.node).chain(unread.iter().map(|dir| dir.node)).map(str::to_owned).collect();
    Ok(Decided {
        best: best.map(|dir| dir.source()),
        source: source.map(|dir| dir.source()),
        nodes: nodes.into_iter().collect(),
        gone,
        ends: own.iter().map(|dir| (dir.node.to_owned(), dir.last())).collect(),
        highest: highest(&own),
        kube_system_uid: own.iter().find_map(Dir::uid).or(known.file_uid.filter(|_| is_bare)).map(str::to_owned),
        warnings,
    })
}

/// The data directories of the cluster that is meant. Of several clusters none is guessed.
fn own<'a>(dirs: &[Dir<'a>], from: &From, known: &Known<'_>, against: &mut Refusal) -> Vec<Dir<'a>> {
    let meant = match from {
        From::Node(node) => dirs.iter().find(|dir| dir.node == node),
        From::File(_) => dirs.iter().find(|dir| dir.uid().is_some() && dir.uid() == known.file_uid),
        From::Best => None,
    };
    if let Some(meant) = meant {
        return dirs.iter().filter(|dir| dir.is_with(meant)).copied().collect();
    }
    let mixed = dirs.iter().enumerate().any(|(index, dir)| dirs[..index].iter().any(|other| !dir.is_with(other)));
    if mixed {
        against.causes.extend(dirs.iter().map(Dir::described));
        against.add(
            "the nodes have data of several clusters".to_owned(),
            "a node whose data directory was wiped may come up as an empty cluster with the same ID. Name a node of the cluster that is meant\n  --from NODE",
        );
    }
    dirs.to_vec()
}

/// Nodes with the data of another cluster.
fn strangers(dirs: &[Dir<'_>], own: &[Dir<'_>], known: &Known<'_>, against: &mut Refusal) {
    for dir in dirs.iter().filter(|dir| !own.iter().any(|own| own.node == dir.node)) {
        match dir.may_run() {
            true => against
                .add(format!("etcd runs with the data of another cluster: {}", dir.described()), stop(Some(dir.etcd))),
            false if !known.gone.iter().any(|gone| gone == dir.node) => against.add(
                format!("a node has the data of another cluster: {}", dir.described()),
                format!("leave the node out\n  --gone {}", dir.node),
            ),
            false => {}
        }
    }
}

/// What became of the members that vote.
struct Counted {
    gone: Vec<String>,
    warnings: Vec<String>,
}

/// Looks whether there is a quorum, or may be one.
fn count<'a>(
    looked: &[Looked],
    own: &[Dir<'a>],
    unread: &[Dir<'_>],
    known: &Known<'a>,
    against: &mut Refusal,
) -> Counted {
    // A database that was wiped knows itself alone.
    let voters_of = |members: &'a [SurveyedMember]| members.iter().filter(|member| member.may_vote());
    let databases = own.iter().filter_map(|dir| dir.etcd.database.as_ref()).map(|database| &database.members[..]);
    let members = databases.max_by_key(|members| voters_of(members).count());
    // Where no node tells, the backup does.
    let members = members.filter(|members| voters_of(members).count() > 0).unwrap_or(known.file_members);
    let voters: Vec<_> = voters_of(members).collect();
    let seen = |id: &str| own.iter().any(|dir| dir.etcd.log.as_ref().is_some_and(|log| log.member_id == id));
    let name = |name: &str, id: &str| if name.is_empty() { id.to_owned() } else { name.to_owned() };
    // A log that cannot be read does not say whose it is; on a kubeadm cluster a member is called as its node.
    let unread = || unread.iter().filter(|dir| !known.gone.iter().any(|gone| gone == dir.node));
    // A member may have no name in the database; its peers reach it on its node.
    let address = |node: &str| looked.iter().find(|one| one.host.node == node).map(|one| one.host.address.as_str());
    let is_at =
        |member: &SurveyedMember, address: &str| member.peer_urls.iter().any(|url| host_of(url) == Some(address));
    let is_unread = |member: &SurveyedMember| {
        unread().any(|dir| dir.node == member.name || address(dir.node).is_some_and(|address| is_at(member, address)))
    };
    let unseen = voters.iter().filter(|one| !seen(&one.id) && !is_unread(one));
    let unseen: Vec<String> = unseen.map(|one| name(&one.name, &one.id)).collect();
    let mut gone: Vec<&String> = Vec::new();
    for typed in known.gone {
        if let Some(dir) = own.iter().find(|dir| dir.node == typed) {
            let state = if dir.may_run() { "etcd runs there" } else { "it has the data of its member" };
            against
                .add(format!("node {typed} of --gone answers, and {state}"), "leave it out of --gone: it takes part");
        } else if looked.iter().any(|one| one.host.node == *typed) || unseen.contains(typed) {
            gone.push(typed);
        } else {
            let names = voters.iter().map(|one| name(&one.name, &one.id)).collect::<Vec<_>>().join(", ");
            against.add(
                format!("--gone names {typed}, and neither a node nor a member is called so"),
                format!("the members are {names}"),
            );
        }
    }
    let untyped: Vec<&String> = unseen.iter().filter(|name| !gone.contains(name)).collect();
    let running = own.iter().filter(|dir| dir.may_run()).count() + unread().filter(|dir| dir.may_vote()).count();
    let needed = voters.len() / 2 + 1;
    // A learner that may have become a voter, or not: so many are enough in any case.
    let least = voters.iter().filter(|member| !member.learner).count() / 2 + 1;
    let mut warnings = Vec::new();
    if voters.is_empty() {
        let hint = "use a backup, which tells the members\n  --from FILE";
        against.add("no database tells which members the cluster has".to_owned(), hint);
    } else if running >= needed {
        against.add(
            format!("etcd runs on {running} nodes, and {needed} of {} members are a quorum", voters.len()),
            "look at the members of a cluster that has its quorum; restore it, or give one member new data\n  kubectl etcd status\n  kubectl etcd restore FILE\n  kubectl etcd member replace NODE",
        );
        against.hints.push(format!(
            "if the members that run do not reach each other, {}",
            stop(own.first().map(|dir| dir.etcd))
        ));
    } else if !untyped.is_empty() && running + untyped.len() >= least {
        let names = untyped.iter().map(|name| name.as_str()).collect::<Vec<_>>();
        let shown = names.iter().map(|name| {
            let nameless = voters.iter().find(|one| one.name.is_empty() && one.id == **name);
            let url = nameless.and_then(|one| one.peer_urls.first());
            url.map_or_else(|| (*name).to_owned(), |url| format!("{name} ({url})"))
        });
        let shown: Vec<String> = shown.collect();
        let typed = gone.iter().map(|name| name.as_str()).chain(names.iter().copied()).collect::<Vec<_>>().join(",");
        against.add(
            format!("the cluster may have its quorum on nodes that were not seen: {}", shown.join(", ")),
            format!("if these nodes are gone for good, and can never start again with their data, name them\n  --gone {typed}"),
        );
    } else if !untyped.is_empty() {
        let names = untyped.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        warnings.push(format!("{names} was not seen, and is left out"));
    }
    if own.len() >= needed && needed > 1 && running < own.len() {
        warnings.push(format!(
            "{} of {} members have their data, which is a quorum: if etcd only has to be started there, start etcd, and do not recover",
            own.len(),
            voters.len()
        ));
    }
    Counted { gone: unseen, warnings }
}

/// The host of a URL, without the brackets of an IPv6 address.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    Some(host).filter(|host| !host.is_empty())
}

/// A revision that none of them exceeds: an entry makes one at most.
fn highest(own: &[Dir<'_>]) -> Option<i64> {
    let of = |dir: &Dir<'_>| {
        let more = dir.etcd.only_in_log.as_ref().map_or(0, |only| only.entries);
        Some(dir.etcd.database.as_ref()?.revision.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)))
    };
    own.iter().filter_map(of).max()
}

/// What is worth knowing before the cluster is named.
fn doubts(source: Option<Dir<'_>>, best: Option<Dir<'_>>, known: &Known<'_>) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(source) = source {
        let torn = source.etcd.log.as_ref().and_then(|log| log.torn.as_ref());
        if let Some(torn) = torn.filter(|torn| torn.records_follow) {
            doubts.push(format!(
                "the log of node {} is damaged in {} at offset {}: what follows is lost, and clients may have been told of it",
                source.node, torn.segment, torn.offset
            ));
        }
        if let Some(best) = best.filter(|best| best.last() > source.last()) {
            let (one, other) = (source.last(), best.last());
            doubts.push(format!(
                "node {} is behind node {}: its log ends at term {}, index {}, the other at term {}, index {}. The plan shows what would be lost",
                source.node, best.node, one.term, one.index, other.term, other.index
            ));
        }
        if let Some((file, revision)) = known.backup
            && best.is_some_and(|best| highest(&[best]).is_none_or(|highest| revision > highest))
        {
            doubts.push(format!(
                "the backup {file} is newer than any member: it has revision {revision}. To use it\n  --from {file}"
            ));
        }
    }
    doubts
}

/// Who manages an etcd that is found there, and what is typed instead.
fn managed(etcd: &EtcdSurvey) -> Option<(&'static str, &'static str)> {
    const K3S: &str = "on the node\n  k3s server --cluster-reset";
    const RKE2: &str = "on the node\n  rke2 server --cluster-reset";
    const OPENSHIFT: &str = "on the node\n  /usr/local/bin/cluster-restore.sh BACKUP_FOLDER";
    const KOPS: &str = "on the node\n  etcd-manager-ctl --backup-store=BACKUPS list-backups";
    let (dir, by) = (etcd.data_dir.as_str(), etcd.found_by.as_str());
    match () {
        () if dir.starts_with("/var/lib/rancher/k3s") => Some(("k3s", K3S)),
        () if dir.starts_with("/var/lib/rancher/rke2") => Some(("RKE2", RKE2)),
        () if by.ends_with("/etcd-pod.yaml") => Some(("OpenShift", OPENSHIFT)),
        () if by.contains("etcd-manager") || dir.ends_with("/var/etcd/data") => Some(("kOps", KOPS)),
        () => None,
    }
}

#[cfg(test)]
#[path = "interlocks_tests.rs"]
mod tests;
