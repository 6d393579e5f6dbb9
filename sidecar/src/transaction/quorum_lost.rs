//! A node of a cluster that has lost its quorum. etcd and the API server need not run there, so the files of the member say what they would say; and
//! the node is taken as it is found: that is what an abort returns to.

use std::time::Duration;

use etcd_wire::message::EtcdAccess;
use etcd_wire::restore::{RestoreNode, RestorePlan};
use etcd_wire::survey::{EtcdState, EtcdSurvey, RaftPosition, SurveyRequest, SurveyedMember};
use etcd_wire::{Failure, FailureCode};
use futures::future::try_join_all;
use tokio::net::TcpStream;

use super::ground::{Before, ETCD, Ground};
use super::journal::storage;
use super::layout::Layout;
use super::process;
use crate::{etcd, recover};

/// How long an etcd that has a quorum may take to answer a read. One that takes longer does not serve.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a member that is gone may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How often an etcd is looked for that ends and starts again and again, and how long it is waited each time.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// Looks at the member, and says what its cluster was.
///
/// # Errors
/// [`FailureCode::Refused`]: the cluster has a quorum, or may have one without the plan's nodes; the member is of another cluster, or its log was written to
/// since the plan was made. [`FailureCode::Storage`]: its files cannot be read.
pub(super) async fn before(layout: &Layout) -> Result<Before, Failure> {
    let node = layout.node();
    let data_dir = Some(node.data_dir.clone());
    let request = SurveyRequest { data_dir, wal_dir: node.wal_dir.clone(), manifests_dir: None };
    let survey = recover::survey(request).await?.etcd.into_iter().next().unwrap_or_default();
    let before = judge(layout, &survey)?;
    none_serves(&node.etcd).await?;
    let members = survey.database.iter().flat_map(|database| &database.members);
    try_join_all(gone(layout.plan(), members).map(|member| stays_away(layout.plan(), member))).await?;
    Ok(before)
}

fn refused(what: String) -> Failure {
    Failure::new(FailureCode::Refused, what)
}

/// What a member's files say of its cluster, if they fit the plan. Files that cannot be read say nothing: the member takes part if nothing of the new data is
/// from it. A log that was read for the plan must be read again: if its
/// end has moved, something was written since.
fn judge(layout: &Layout, survey: &EtcdSurvey) -> Result<Before, Failure> {
    let (plan, node) = (layout.plan(), layout.node());
    let (log, database) = (survey.log.as_ref(), survey.database.as_ref());
    if log.is_none() && node.log_end.is_some() {
        let failure =
            Failure::new(FailureCode::Storage, format!("cannot read the member's files in {}", node.data_dir));
        let causes = survey.failures.iter().flat_map(|one| std::iter::once(&one.message).chain(&one.causes));
        return Err(causes.fold(failure, Failure::cause));
    }
    if let Some(uid) = database.and_then(|database| database.kube_system_uid.as_ref())
        && let Some(marker) = plan.marker.as_ref().filter(|marker| marker.uid != *uid)
    {
        return Err(refused(format!("the data in {} is of another cluster", node.data_dir))
            .cause(format!("namespace kube-system has the UID {uid} there, and {} in the new data", marker.uid))
            .hint("a node whose data directory was wiped comes up as an empty cluster of its own: stop etcd there, and name the member with --gone"));
    }
    // As where a disk was mounted meanwhile: this member may have more than the one that the new data is of.
    if log.is_some() && database.is_some() && node.log_end.is_none() {
        return Err(refused(format!("etcd has data in {} that was not there when the plan was made", node.data_dir))
            .cause("no log could be read there when the nodes were surveyed")
            .hint("run the command again: it surveys the members anew"));
    }
    if let Some(log) = log {
        as_surveyed(node.log_end, log.last)?;
    }
    // That of an etcd that never got to its log names nobody, and etcd serves nobody.
    if let Some(database) = database.filter(|database| log.is_some() || !database.members.is_empty()) {
        all_stop(plan, &database.members)?;
    }
    let cluster_id = log.and_then(|log| u64::from_str_radix(&log.cluster_id, 16).ok()).unwrap_or_default();
    // An entry makes one revision at most.
    let entries = survey.only_in_log.as_ref().map(|only| only.entries).or(log.map(|log| log.entries));
    let entries = i64::try_from(entries.unwrap_or_default()).unwrap_or(i64::MAX);
    let revision = database.map_or(0, |database| database.revision.saturating_add(entries));
    Ok(Before { cluster_id, revision })
}

/// Whether a log ends where it ended when the plan was made.
fn as_surveyed(planned: Option<RaftPosition>, found: RaftPosition) -> Result<(), Failure> {
    let Some(planned) = planned.filter(|planned| *planned != found) else { return Ok(()) };
    let place = |at: RaftPosition| format!("term {}, index {}", at.term, at.index);
    Err(refused("the log of etcd was written to after it had been surveyed".to_owned())
        .cause(format!("it ended at {}, and ends at {} now", place(planned), place(found)))
        .hint("run the command again: it surveys the members anew"))
}

/// Every member that votes is on a node of the plan, or an operator has said that it is gone: none of them can go on as the old cluster.
fn all_stop(plan: &RestorePlan, members: &[SurveyedMember]) -> Result<(), Failure> {
    let voters = || members.iter().filter(|member| member.may_vote());
    if voters().next().is_none() {
        return Err(refused("the database of etcd lists no members".to_owned()));
    }
    let gone: Vec<&SurveyedMember> = gone(plan, members).collect();
    let stays = |member: &&SurveyedMember| {
        // One that has no name in the database is known by its URLs.
        let is_it = |node: &RestoreNode| {
            node.has_etcd() && node.member == member.name
                || member.peer_urls.iter().any(|url| node.peer_urls.contains(url))
        };
        !plan.nodes.iter().any(is_it) && !gone.iter().any(|one| one.id == member.id)
    };
    let stay: Vec<&str> = voters().filter(stays).map(name).collect();
    if stay.is_empty() {
        return Ok(());
    }
    let message = format!("members may run elsewhere, because nothing stops them: {}", stay.join(", "));
    Err(refused(message)
        .cause("a quorum of them would go on as the old cluster beside the new one")
        .hint("reach their nodes as well, or, if they are gone for good, name them:\n  --gone MEMBER,..."))
}

/// One that has not started yet has only its ID.
fn name(member: &SurveyedMember) -> &str {
    if member.name.is_empty() { &member.id } else { &member.name }
}

fn gone<'a>(
    plan: &'a RestorePlan,
    members: impl IntoIterator<Item = &'a SurveyedMember>,
) -> impl Iterator<Item = &'a SurveyedMember> {
    let names = plan.quorum_lost.as_ref().map(|lost| lost.gone.as_slice()).unwrap_or_default();
    members.into_iter().filter(move |member| names.iter().any(|gone| gone == name(member)))
}

/// Refuses if a member that is said to be gone listens for its peers.
async fn stays_away(plan: &RestorePlan, member: &SurveyedMember) -> Result<(), Failure> {
    // The address of a member may have become that of a node of the plan.
    let ours = |url: &String| plan.nodes.iter().any(|node| node.peer_urls.contains(url));
    for url in member.peer_urls.iter().filter(|url| !ours(url)) {
        let uri = url.parse::<http::Uri>().ok();
        let Some((host, port)) = uri.as_ref().and_then(|uri| uri.host().zip(uri.port_u16())) else { continue };
        let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
        if let Ok(Ok(_)) = tokio::time::timeout(CONNECT, connecting).await {
            let message = format!("member {} is not gone: a process listens on {url}", name(member));
            return Err(refused(message).hint("stop etcd there, or let that node take part"));
        }
    }
    Ok(())
}

/// Refuses if etcd on this node serves: it has a quorum then.
///
/// # Errors
/// [`FailureCode::Refused`], with the command for that.
pub(super) async fn none_serves(access: &EtcdAccess) -> Result<(), Failure> {
    let reading = async {
        // One that follows no leader would not answer a read for seconds.
        let member = etcd::connect(access).await.ok().filter(|member| member.status.0.leader != 0)?;
        // A read that all agree on. That it is denied was decided together with the others as well.
        match member.client.kv_client().get("health", None).await {
            Ok(_) => Some(member.endpoint),
            Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::PermissionDenied => {
                Some(member.endpoint)
            }
            Err(_) => None,
        }
    };
    match tokio::time::timeout(ANSWER, reading).await {
        Ok(Some(endpoint)) => Err(refused("the etcd cluster has a quorum".to_owned())
            .cause(format!("etcd at {endpoint} answers a linearizable read"))
            .hint("use the command for a cluster that serves\n  kubectl etcd restore FILE")),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Refuses if a process has the data open that is not the etcd which will be stopped. Blocks.
///
/// # Errors
/// [`FailureCode::Refused`]; [`FailureCode::Storage`] if nobody can tell.
pub(super) fn used_by_own(layout: &Layout, ground: &Ground) -> Result<(), Failure> {
    let etcd = ground.component(ETCD)?;
    let looked = |error: std::io::Error| storage("look who uses the database", &error);
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(LOOK);
        }
        let state = recover::in_use(&layout.data_dir(), layout.wal_dir().as_ref()).map_err(looked)?;
        if state != EtcdState::Running || !process::running(&etcd.command_lines()).map_err(looked)?.is_empty() {
            return Ok(());
        }
    }
    let (data_dir, file) = (layout.data_dir(), &etcd.file);
    Err(refused(format!(
        "a process uses the database in {}, and not with the command line of {file}",
        data_dir.display()
    ))
    .hint("find the process on the node, and end it: fuser -v FILE"))
}

/// Refuses if the log of the member, which is stopped, ends elsewhere than when the plan was made. Blocks: the whole log is read.
///
/// # Errors
/// [`FailureCode::Refused`]; [`FailureCode::Storage`] if the log cannot be read.
pub(super) fn log_is_as_surveyed(layout: &Layout) -> Result<(), Failure> {
    match layout.node().log_end {
        None => Ok(()),
        planned => as_surveyed(planned, recover::log_end(&layout.data_dir(), layout.wal_dir().as_ref())?),
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::restore::{Marker, QuorumLost};
    use etcd_wire::survey::{DatabaseSurvey, LogSurvey, OnlyInLog};

    use super::super::layout::tests::plan;
    use super::*;

    const END: RaftPosition = RaftPosition { term: 3, index: 40 };

    fn member(id: &str, name: &str, learner: bool) -> SurveyedMember {
        SurveyedMember { id: id.into(), name: name.into(), peer_urls: Vec::new(), learner }
    }

    /// What is left of cp1 of three members.
    fn survey() -> EtcdSurvey {
        let database = DatabaseSurvey {
            revision: 100,
            members: vec![member("a1", "cp1", false), member("a2", "cp2", false), member("a3", "cp3", false)],
            kube_system_uid: Some("u".into()),
            ..DatabaseSurvey::default()
        };
        let log = LogSurvey { cluster_id: "c1".into(), last: END, entries: 9, ..LogSurvey::default() };
        let only_in_log = Some(OnlyInLog { entries: 5, ..OnlyInLog::default() });
        EtcdSurvey { log: Some(log), database: Some(database), only_in_log, ..EtcdSurvey::default() }
    }

    fn layout(gone: &[&str]) -> Layout {
        let mut plan = plan(std::path::Path::new("/x"));
        plan.marker = Some(Marker { uid: "u".into(), resource_version: 1, key: None });
        plan.quorum_lost = Some(QuorumLost { gone: gone.iter().map(|&name| name.to_owned()).collect() });
        plan.nodes[0].log_end = Some(END);
        Layout::new(plan, "cp1").unwrap()
    }

    /// New data begins above everything that a client of this member may have seen: its log counts.
    #[test]
    fn the_files_of_a_member_say_what_etcd_would_say() {
        let both = layout(&["cp2", "cp3"]);
        assert_eq!(judge(&both, &survey()).unwrap(), Before { cluster_id: 0xc1, revision: 105 });
        // Without the index that the database has applied, every entry of the log may count.
        let unknown = EtcdSurvey { only_in_log: None, ..survey() };
        assert_eq!(judge(&both, &unknown).unwrap().revision, 109);
        let spoilt = |spoil: fn(&mut EtcdSurvey)| {
            let mut survey = survey();
            survey.failures = vec![Failure::new(FailureCode::Storage, "torn").cause("by a crash")];
            spoil(&mut survey);
            survey
        };
        let (no_log, no_database) = (spoilt(|one| one.log = None), spoilt(|one| one.database = None));
        let failure = judge(&both, &no_log).unwrap_err();
        assert_eq!(
            (failure.code, &failure.causes[..]),
            (FailureCode::Storage, &["torn".to_owned(), "by a crash".to_owned()][..])
        );
        // A database that is damaged is what other members, or a backup, make up for.
        assert_eq!(judge(&both, &no_database).unwrap(), Before { cluster_id: 0xc1, revision: 0 });
        // New data of a file needs nothing of this member.
        let mut plan = both.plan().clone();
        plan.nodes[0].log_end = None;
        let without = Layout::new(plan, "cp1").unwrap();
        assert_eq!(judge(&without, &no_log).unwrap().revision, 105);
        assert_eq!(judge(&without, &no_database).unwrap().revision, 0);
    }

    /// As where a disk is mounted between the plan and its confirmation.
    #[test]
    fn data_that_was_not_there_when_the_plan_was_made_is_refused() {
        let mut plan = layout(&["cp2", "cp3"]).plan().clone();
        plan.nodes[0].log_end = None;
        let bare = Layout::new(plan, "cp1").unwrap();
        assert_eq!(judge(&bare, &EtcdSurvey::default()).unwrap(), Before::default());
        let failure = judge(&bare, &survey()).unwrap_err();
        assert_eq!(failure.code, FailureCode::Refused);
        assert!(failure.message.contains("was not there when the plan was made"), "{failure}");
    }

    #[test]
    fn whoever_votes_is_stopped_or_gone() {
        let refusal = |gone: &[&str], survey: &EtcdSurvey| judge(&layout(gone), survey).err();
        assert!(refusal(&["cp2", "cp3"], &survey()).is_none());
        for (gone, stay) in [(&["cp2"][..], "cp3"), (&[], "cp2, cp3"), (&["cp3", "other"], "cp2")] {
            let failure = refusal(gone, &survey()).unwrap();
            assert_eq!(failure.code, FailureCode::Refused);
            assert!(failure.message.ends_with(&format!("nothing stops them: {stay}")), "{failure}");
            assert!(failure.hint.unwrap().contains("--gone"));
        }
        let with = |member: SurveyedMember| {
            let mut survey = survey();
            survey.database.as_mut().unwrap().members[2] = member;
            survey
        };
        // A learner has no vote; a member that never started is known by its ID.
        assert!(refusal(&["cp2"], &with(member("a3", "cp3", true))).is_none());
        assert!(refusal(&["cp2"], &with(member("a3", "", false))).unwrap().message.ends_with(": a3"));
        assert!(refusal(&["cp2", "a3"], &with(member("a3", "", false))).is_none());
        let mut none = survey();
        none.database.as_mut().unwrap().members.clear();
        assert!(refusal(&["cp2", "cp3"], &none).unwrap().message.contains("no members"));
    }

    /// By its IDs alone, the first node of kubeadm that was wiped is taken for the old cluster.
    #[test]
    fn another_cluster_and_another_end_of_the_log_are_refused() {
        let both = layout(&["cp2", "cp3"]);
        let mut other = survey();
        other.database.as_mut().unwrap().kube_system_uid = Some("v".into());
        let failure = judge(&both, &other).unwrap_err();
        assert!(failure.code == FailureCode::Refused && failure.message.contains("another cluster"), "{failure}");
        // One that is encrypted does not tell.
        other.database.as_mut().unwrap().kube_system_uid = None;
        judge(&both, &other).unwrap();

        for (last, taken) in [
            (END, true),
            (RaftPosition { index: 41, ..END }, false),
            (RaftPosition { index: 39, ..END }, false),
            (RaftPosition { term: 4, ..END }, false),
        ] {
            let mut survey = survey();
            survey.log.as_mut().unwrap().last = last;
            let judged = judge(&both, &survey);
            assert_eq!(judged.is_ok(), taken, "{last:?}");
            if let Err(failure) = judged {
                assert!(failure.causes[0].contains("ended at term 3, index 40"), "{:?}", failure.causes);
            }
        }
        assert!(as_surveyed(None, END).is_ok());
    }

    #[tokio::test]
    async fn a_member_that_listens_is_not_gone() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let gone = SurveyedMember { peer_urls: vec!["no URL".into(), url.clone()], ..member("a2", "cp2", false) };
        let mut plan = plan(std::path::Path::new("/x"));
        let failure = stays_away(&plan, &gone).await.unwrap_err();
        assert!(failure.code == FailureCode::Refused && failure.message.contains("cp2 is not gone"), "{failure}");
        // The address is that of a node that takes part.
        plan.nodes[0].peer_urls.push(url);
        stays_away(&plan, &gone).await.unwrap();
        plan.nodes[0].peer_urls.clear();
        drop(listener);
        stays_away(&plan, &gone).await.unwrap();
    }

    #[tokio::test]
    async fn an_etcd_that_does_not_answer_serves_nobody() {
        let endpoints = vec!["http://127.0.0.1:1".to_owned()];
        none_serves(&EtcdAccess { endpoints, ..EtcdAccess::default() }).await.unwrap();
    }
}
