//! Whether a snapshot is one of the cluster that the API serves: by the UID of namespace kube-system, before and after it was taken.

use etcd_snapshot::LiveKeys;
use etcd_wire::message::KubeSystem;

use super::choose::Choice;
use crate::etcd_clusters::{Contents, EtcdCluster, EtcdClusters, Evidence};
use crate::kube_system::{Match, key};
use crate::output::{Exit, Failed, Outcome, Printer};

/// What a snapshot is compared with.
pub(super) struct Identity<'a> {
    pub(super) clusters: &'a EtcdClusters<'a>,
    /// The member's; `None` if no member answers.
    pub(super) cluster: Option<&'a EtcdCluster<'a>>,
    pub(super) evidence: Evidence<'a>,
    /// Whether the user has named which members are meant.
    pub(super) named: bool,
    /// Name of the cluster in the kubeconfig.
    pub(super) name: &'a str,
}

impl Identity<'_> {
    /// Compares what the member says. Where the snapshot cannot be compared afterwards, as in a pipe, from which no byte can be called back,
    /// this has to do: `is_final`.
    ///
    /// # Errors
    /// The member is one of another cluster (exit 3), or this is final and the member cannot be compared (exit 4).
    pub(super) fn before(&self, choice: &Choice<'_>, is_final: bool, printer: Printer) -> Outcome<Contents> {
        let said = choice.status.kube_system.as_ref();
        let found = Match::of_member(self.evidence.served, said, self.evidence.prefix());
        if is_final {
            if self.evidence.served.is_ok() && !matches!(said, Some(KubeSystem::Held { .. } | KubeSystem::Absent)) {
                let why = if let Match::Unknown(why) = &found {
                    why.as_str()
                } else {
                    "the member does not report namespace kube-system"
                };
                let message = format!("cannot tell which cluster member {} belongs to", choice.member.name);
                return Err(Failed::new(Exit::Refused, message)
                    .cause(why)
                    .cause("this snapshot cannot be compared afterwards")
                    .hint("write to a file that has room for the snapshot"));
            }
            self.warn(&found, printer);
        }
        let contents = self.judge(choice, &found, "member")?;
        if is_final {
            self.warn_of(&contents, choice, printer);
        }
        Ok(contents)
    }

    /// Compares what the file has.
    ///
    /// # Errors
    /// It is another cluster's (exit 3).
    pub(super) fn after(&self, choice: &Choice<'_>, keys: &LiveKeys, printer: Printer) -> Outcome<Contents> {
        let each = keys.values().map(|live| {
            let value = live.value.as_deref().unwrap_or_default();
            Match::of(self.evidence.served, Some((value, live.mod_revision)))
        });
        let found = Match::best(each).unwrap_or(Match::Absent);
        self.warn(&found, printer);
        let contents = self.judge(choice, &found, "file")?;
        self.warn_of(&contents, choice, printer);
        Ok(contents)
    }

    fn warn_of(&self, contents: &Contents, choice: &Choice<'_>, printer: Printer) {
        if *contents == Contents::Other {
            printer.warn(format!(
                "member {} has no namespace kube-system, and no --etcd-servers of an API server names it: its snapshot is no \
                 backup of the objects of cluster {}",
                choice.member.name, self.name
            ));
        }
    }

    fn warn(&self, found: &Match, printer: Printer) {
        if let Match::Unknown(why) = found {
            printer.warn(format!("cannot check that this is a snapshot of cluster {}: {why}", self.name));
        }
    }

    /// `what` was compared: the member or the file.
    fn judge(&self, choice: &Choice<'_>, found: &Match, what: &str) -> Outcome<Contents> {
        let contents = match self.cluster {
            Some(cluster) => self.clusters.contents(cluster, found, self.named),
            None => Err("no member answers".to_owned()),
        };
        contents.map_err(|why| {
            let member = choice.member;
            let message = format!(
                "a snapshot of member {} on node {} is not a backup of cluster {}",
                member.name, member.node, self.name
            );
            let failed = Failed::new(Exit::Damaged, message).cause(format!("the {what}: {why}"));
            let failed = match found {
                Match::Absent => failed.cause(format!("the key is {}", key(self.evidence.prefix()))),
                _ => failed,
            };
            failed.causes(self.cluster.map(EtcdCluster::describe)).hint(
                "name a member of the etcd that the API server uses with --node, or its pods by their labels with -l\n  \
                 kubectl etcd status\n  kubectl get pods -A --show-labels | grep etcd",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::LiveKey;

    use super::super::choose;
    use super::*;
    use crate::etcd_clusters::samples::{answers, api_server, held};
    use crate::kube_system::Served;
    use crate::sidecar::Surveyed;

    const LOCAL: &str = "https://127.0.0.1:2379";
    const EVENTS: &str = "https://127.0.0.1:2381";

    fn keys(uid: Option<&str>) -> LiveKeys {
        let live = |uid: &str| match held(uid) {
            KubeSystem::Held { mod_revision, value } => {
                let (value_bytes, value) = (value.len() as u64, Some(value));
                LiveKey { mod_revision, versions: 1, value_bytes, encrypted_by: None, value }
            }
            other => panic!("{other:?}"),
        };
        uid.map(|uid| (key(None).into_bytes(), live(uid))).into_iter().collect()
    }

    /// What comes of a backup from the one member that was asked, before it is taken and after: its contents, or the failure.
    fn taken(
        member: &Surveyed,
        file: &LiveKeys,
        served: Result<&str, &str>,
        named: bool,
    ) -> [Result<String, Failed>; 2] {
        let served = served.map(|uid| Served { uid: uid.into(), revision: None });
        let api_servers = [api_server("cp1", LOCAL, Some(EVENTS))];
        let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(|why| *why) };
        let clusters = EtcdClusters::of(std::slice::from_ref(member), &evidence);
        let cluster = clusters.choose("backup").expect("one");
        let choice = choose::choose(&[member], named).expect("it is healthy");
        let identity = Identity { clusters: &clusters, cluster, evidence, named, name: "prod" };
        let printer = Printer::new(true);
        [identity.before(&choice, false, printer), identity.after(&choice, file, printer)]
            .map(|contents| contents.map(|contents| contents.word()))
    }

    #[test]
    fn only_a_file_of_the_cluster_that_the_api_serves_is_a_backup_of_it() {
        let main = |kube_system| answers("cp1", 2379, 9, &["cp1"], kube_system);
        let (ours, theirs, none) = (keys(Some("ours")), keys(Some("theirs")), keys(None));
        let both = taken(&main(held("ours")), &ours, Ok("ours"), false).map(|one| one.expect("a backup"));
        assert_eq!(both, ["cluster", "cluster"]);
        for (member, file, texts) in [
            (held("theirs"), &theirs, ["UID theirs", "the API serves one with UID ours"]),
            (
                KubeSystem::Absent,
                &none,
                ["it has no namespace kube-system", "the key is /registry/namespaces/kube-system"],
            ),
        ] {
            for named in [false, true] {
                for (failed, what) in
                    taken(&main(member.clone()), file, Ok("ours"), named).into_iter().zip(["member", "file"])
                {
                    let failed = failed.expect_err("no backup");
                    let said = failed.to_string();
                    assert_eq!(failed.exit, Exit::Damaged, "{said}");
                    assert!(
                        texts.iter().all(|text| said.contains(text)) && said.contains(&format!("the {what}:")),
                        "{said}"
                    );
                    assert!(said.contains("member cp1-2379 on node cp1 is not a backup of cluster prod"), "{said}");
                }
            }
        }
        // A user who may not read the namespace gets a backup, but none of what is none.
        let [before, after] = taken(&main(held("theirs")), &theirs, Err("no right"), false);
        assert!(before.is_ok() && after.is_ok());
        assert!(taken(&main(held("theirs")), &none, Err("no right"), false)[1].is_err());
    }

    #[test]
    fn an_etcd_for_events_is_taken_by_naming_it_and_said_to_be_one() {
        let events = answers("cp1", 2381, 5, &["cp1"], KubeSystem::Absent);
        let both = taken(&events, &keys(None), Ok("ours"), true).map(|one| one.expect("a backup"));
        assert_eq!(both, ["events", "events"]);
        assert!(taken(&events, &keys(None), Ok("ours"), false).iter().all(Result::is_err));
        let other = answers("cp1", 2479, 5, &["cp1"], KubeSystem::Absent);
        assert_eq!(taken(&other, &keys(None), Ok("ours"), true).map(|one| one.expect("a backup")), ["other", "other"]);
    }

    #[test]
    fn a_pipe_is_not_begun_before_the_member_has_told_whose_it_is() {
        let mut silent = answers("cp1", 2379, 9, &["cp1"], KubeSystem::Unread { why: "no answer".into() });
        let served = Served { uid: "ours".into(), revision: None };
        for (said, exit) in [
            (Some(KubeSystem::Unread { why: "no answer".into() }), Some(Exit::Refused)),
            (None, Some(Exit::Refused)),
            (Some(KubeSystem::Absent), Some(Exit::Damaged)),
            (Some(held("theirs")), Some(Exit::Damaged)),
            (Some(held("ours")), None),
        ] {
            if let Ok(status) = &mut silent.outcome {
                status.etcd.as_mut().expect("it answers").kube_system.clone_from(&said);
            }
            let api_servers = [api_server("cp1", LOCAL, None)];
            let evidence = Evidence { api_servers: &api_servers, served: Ok(&served) };
            let clusters = EtcdClusters::of(std::slice::from_ref(&silent), &evidence);
            let choice = choose::choose(&[&silent], false).expect("it is healthy");
            let cluster = clusters.choose("backup").expect("one");
            let identity = Identity { clusters: &clusters, cluster, evidence, named: false, name: "prod" };
            let ended = identity.before(&choice, true, Printer::new(true));
            assert_eq!(ended.err().map(|failed| failed.exit), exit, "{said:?}");
        }
    }
}
