use etcd_wire::survey::{DatabaseSurvey, LogSurvey, NodeSurvey, OnlyInLog, SurveyedMember, TornSurvey};

use super::*;
use crate::output::Failed;
use crate::road::Host;

const STOPPED: EtcdState = EtcdState::Stopped;
const RUNNING: EtcdState = EtcdState::Running;

fn etcd(member: &str, term: u64, index: u64, state: EtcdState) -> EtcdSurvey {
    let known = |name: &str| SurveyedMember { id: name.into(), name: name.into(), ..SurveyedMember::default() };
    EtcdSurvey {
        found_by: "the manifest /etc/kubernetes/manifests/etcd.yaml".into(),
        data_dir: "/var/lib/etcd".into(),
        state,
        log: Some(LogSurvey {
            member_id: member.into(),
            cluster_id: "c".into(),
            last: RaftPosition { term, index },
            ..LogSurvey::default()
        }),
        database: Some(DatabaseSurvey {
            revision: 90,
            members: ["cp1", "cp2", "cp3"].map(known).to_vec(),
            kube_system_uid: Some("uid".into()),
            ..DatabaseSurvey::default()
        }),
        only_in_log: Some(OnlyInLog { entries: 5, ..OnlyInLog::default() }),
        ..EtcdSurvey::default()
    }
}

fn node(name: &str, etcd: Vec<EtcdSurvey>) -> Looked {
    let host = Host { node: name.into(), address: "10.0.0.1".into() };
    Looked { host, found: Ok(NodeSurvey { node: name.into(), etcd, failures: Vec::new() }) }
}

fn member(name: &str, term: u64, index: u64, state: EtcdState) -> Looked {
    node(name, vec![etcd(name, term, index, state)])
}

fn dead(name: &str) -> Looked {
    let host = Host { node: name.into(), address: "10.0.0.1".into() };
    Looked { host, found: Err(Failed::plain("ssh does not reach it")) }
}

fn gone(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn decided(looked: &[Looked], from: &From, gone: &[String]) -> Result<Decided, Refusal> {
    decide(looked, from, &Known { gone, ..Known::default() })
}

#[track_caller]
fn refused(looked: &[Looked], from: &From, gone: &[String], text: &str) -> Refusal {
    let refusal = decided(looked, from, gone).expect_err(text);
    let all = [refusal.causes.as_slice(), &refusal.hints].concat().join("\n");
    assert!(all.contains(text), "{all}");
    refusal
}

#[test]
fn a_survivor_is_recovered_once_the_others_are_named() {
    for state in [STOPPED, RUNNING] {
        let looked = [member("cp1", 3, 100, state), dead("cp2"), dead("cp3")];
        let refusal = refused(&looked, &From::Best, &[], "may have its quorum on nodes that were not seen: cp2, cp3");
        assert!(refusal.hints[0].ends_with("--gone cp2,cp3"), "{refusal:?}");
        let decided = decided(&looked, &From::Best, &gone(&["cp3", "cp2"])).expect("two are gone");
        let source = decided.source.expect("cp1");
        assert_eq!((source.node.as_str(), source.may_run), ("cp1", state == RUNNING));
        assert_eq!((decided.nodes, decided.gone), (gone(&["cp1"]), gone(&["cp2", "cp3"])));
        assert_eq!((decided.highest, decided.kube_system_uid.as_deref()), (Some(95), Some("uid")));
        assert_eq!(decided.ends, [("cp1".to_owned(), RaftPosition { term: 3, index: 100 })]);
    }
    // One of the two that could still make a quorum with it is enough to refuse.
    refused(&[member("cp1", 3, 100, RUNNING), dead("cp2"), dead("cp3")], &From::Best, &gone(&["cp2"]), "not seen: cp3");
}

#[test]
fn a_quorum_that_holds_is_refused() {
    let two = [member("cp1", 3, 100, RUNNING), member("cp2", 3, 100, RUNNING), dead("cp3")];
    for from in [From::Best, From::Node("cp1".into()), From::File("a.db".into())] {
        let refusal = refused(&two, &from, &gone(&["cp3"]), "2 of 3 members are a quorum");
        assert!(refusal.hints.iter().any(|hint| hint.contains("kubectl etcd restore FILE")), "{refusal:?}");
    }
    // A lock that could not be tried may be held.
    let two = [member("cp1", 3, 100, RUNNING), member("cp2", 3, 100, EtcdState::Unknown)];
    refused(&two, &From::Best, &gone(&["cp3"]), "2 of 3 members are a quorum");
}

#[test]
fn a_node_that_is_gone_does_not_answer() {
    let looked = [member("cp1", 3, 100, STOPPED), member("cp2", 3, 90, STOPPED), dead("cp3")];
    refused(&looked, &From::Best, &gone(&["cp2", "cp3"]), "node cp2 of --gone answers, and it has the data");
    refused(&looked, &From::Best, &gone(&["cp9"]), "neither a node nor a member is called so");
    // A node whose directory was destroyed answers, and has no member.
    let empty = EtcdSurvey { data_dir: "/var/lib/etcd".into(), state: EtcdState::Unknown, ..EtcdSurvey::default() };
    let looked = [member("cp1", 3, 100, STOPPED), node("cp2", vec![empty]), node("cp3", Vec::new())];
    let decided = decided(&looked, &From::Best, &gone(&["cp2", "cp3"])).expect("no member is there");
    assert_eq!((decided.nodes, decided.gone), (gone(&["cp1"]), gone(&["cp2", "cp3"])));
}

#[test]
fn the_best_is_taken_and_one_that_is_behind_is_told() {
    let looked = [member("cp1", 2, 300, STOPPED), member("cp2", 3, 100, STOPPED), dead("cp3")];
    let best = decided(&looked, &From::Best, &[]).expect("one unseen of three cannot serve");
    assert_eq!(best.source.as_ref().map(|one| one.node.as_str()), Some("cp2"));
    assert_eq!((best.gone.clone(), best.nodes.clone()), (gone(&["cp3"]), gone(&["cp1", "cp2"])));
    assert!(best.warnings.iter().any(|one| one.contains("if etcd only has to be started")), "{:?}", best.warnings);
    let behind = decided(&looked, &From::Node("cp1".into()), &[]).expect("it is for the user to say");
    assert_eq!(behind.best, best.source);
    assert!(behind.warnings.iter().any(|one| one.contains("node cp1 is behind node cp2")), "{:?}", behind.warnings);
    let file = decided(&looked, &From::File("a.db".into()), &[]).expect("a backup");
    assert_eq!((file.source, file.best), (None, best.source));
}

/// kubeadm's first node comes up by itself as an empty cluster with the same IDs.
#[test]
fn a_wiped_first_node_is_never_taken_for_the_best() {
    let mut wiped = etcd("cp1", 50, 9000, RUNNING);
    let database = wiped.database.as_mut().expect("one");
    (database.kube_system_uid, database.revision) = (Some("other".into()), 7);
    database.members.truncate(1);
    let looked = [node("cp1", vec![wiped.clone()]), member("cp2", 3, 100, STOPPED), dead("cp3")];
    let refusal = refused(&looked, &From::Best, &gone(&["cp3"]), "data of several clusters");
    assert!(
        refusal
            .causes
            .iter()
            .any(|one| one.contains("node cp1 has cluster c, namespace kube-system other, revision 7"))
    );
    // It must not serve while the cluster is rebuilt.
    let from = From::Node("cp2".into());
    refused(&looked, &from, &gone(&["cp1", "cp3"]), "etcd runs with the data of another cluster");
    wiped.state = STOPPED;
    let looked = [node("cp1", vec![wiped]), member("cp2", 3, 100, STOPPED), dead("cp3")];
    refused(&looked, &from, &gone(&["cp3"]), "--gone cp1");
    let decided = decided(&looked, &from, &gone(&["cp1", "cp3"])).expect("it is left out");
    assert_eq!((decided.nodes, decided.gone), (gone(&["cp2"]), gone(&["cp1", "cp3"])));
    // A backup tells which cluster is meant, too.
    let known = Known { file_uid: Some("uid"), gone: &gone(&["cp1", "cp3"]), ..Known::default() };
    assert!(decide(&looked, &From::File("a.db".into()), &known).is_ok());
}

#[test]
fn a_log_that_cannot_be_read_is_not_taken() {
    let mut damaged = etcd("cp1", 3, 100, STOPPED);
    damaged.log = None;
    damaged.failures = vec![etcd_wire::Failure::new(etcd_wire::FailureCode::Storage, "a checksum is wrong")];
    let looked = [node("cp1", vec![damaged]), member("cp2", 3, 90, STOPPED), dead("cp3")];
    refused(&looked, &From::Node("cp1".into()), &gone(&["cp3"]), "no log of etcd can be read on node cp1");
    let decided = decided(&looked, &From::Best, &gone(&["cp3"])).expect("cp2 has a log");
    assert_eq!(decided.source.as_ref().map(|one| one.node.as_str()), Some("cp2"));
    assert_eq!((decided.nodes, decided.ends.len()), (gone(&["cp1", "cp2"]), 1));
    assert!(decided.warnings.iter().any(|one| one.contains("the log on node cp1 cannot be read")));
}

/// A node whose data was deleted, and on which the kubelet starts etcd again and again.
fn bare(name: &str, state: EtcdState) -> Looked {
    let mut bare = etcd(name, 0, 0, state);
    (bare.log, bare.only_in_log, bare.empty) = (None, None, true);
    bare.database = Some(DatabaseSurvey { revision: 1, ..DatabaseSurvey::default() });
    node(name, vec![bare])
}

#[test]
fn a_node_without_data_takes_part_and_never_counts_for_a_quorum() {
    let looked = [member("cp1", 3, 100, RUNNING), bare("cp2", RUNNING), bare("cp3", EtcdState::Unknown)];
    let decided = decided(&looked, &From::Best, &[]).expect("one of three members has data");
    assert_eq!((decided.nodes, decided.ends.len()), (gone(&["cp1", "cp2", "cp3"]), 1));
    assert_eq!((decided.gone, decided.highest), (gone(&[]), Some(95)));
    for node in ["cp2", "cp3"] {
        let told = format!("node {node} has no data of etcd in /var/lib/etcd; the node takes part");
        assert!(decided.warnings.iter().any(|one| one.starts_with(&told)), "{:?}", decided.warnings);
    }
    // One that cannot be read may be a member that serves.
    let mut unread = etcd("cp2", 3, 100, RUNNING);
    unread.log = None;
    let looked = [member("cp1", 3, 100, RUNNING), node("cp2", vec![unread]), bare("cp3", RUNNING)];
    refused(&looked, &From::Best, &[], "etcd runs on 2 nodes, and 2 of 3 members are a quorum");
}

/// etcd 3.5 before 3.5.20 writes no promotion of a learner to the database, and no name.
#[test]
fn a_learner_without_a_name_may_be_a_voter() {
    let stale = |state: EtcdState| {
        let mut stale = etcd("cp1", 3, 100, state);
        let members = &mut stale.database.as_mut().expect("one").members;
        for (member, address) in members[1..].iter_mut().zip(["10.0.0.2", "10.0.0.3"]) {
            (member.id, member.name) = (format!("id-{}", member.name), String::new());
            member.learner = true;
            member.peer_urls = vec![format!("https://{address}:2380")];
        }
        node("cp1", vec![stale])
    };
    for state in [STOPPED, RUNNING] {
        let refusal = refused(
            &[stale(state)],
            &From::Best,
            &[],
            "were not seen: id-cp2 (https://10.0.0.2:2380), id-cp3 (https://10.0.0.3:2380)",
        );
        assert!(refusal.hints[0].ends_with("--gone id-cp2,id-cp3"), "{refusal:?}");
        refused(&[stale(state)], &From::Best, &gone(&["id-cp2"]), "not seen: id-cp3 ");
        assert!(decided(&[stale(state)], &From::Best, &gone(&["id-cp2", "id-cp3"])).is_ok());
    }
    // Its node is known by the address of its peer.
    let mut other = bare("cp2", STOPPED);
    other.host.address = "10.0.0.2".into();
    let decided = decided(&[stale(RUNNING), other], &From::Best, &gone(&["id-cp3"])).expect("cp2 was seen");
    assert_eq!((decided.nodes, decided.gone), (gone(&["cp1", "cp2"]), gone(&["id-cp3"])));
}

#[test]
fn the_host_of_a_peer_is_found() {
    for (url, host) in [
        ("https://10.0.0.1:2380", Some("10.0.0.1")),
        ("https://[fd00::1]:2380", Some("fd00::1")),
        ("http://cp1.example:2380/", Some("cp1.example")),
        ("cp1", None),
    ] {
        assert_eq!(host_of(url), host);
    }
}

#[test]
fn where_no_node_has_data_the_backup_tells_the_members() {
    let file = From::File("a.db".into());
    let members = etcd("cp1", 1, 1, STOPPED).database.expect("one").members;
    let known = Known { file_uid: Some("uid"), file_members: &members, ..Known::default() };
    let looked = [bare("cp1", STOPPED), bare("cp2", RUNNING), bare("cp3", RUNNING)];
    let decided = decide(&looked, &file, &known).expect("nothing can have a quorum");
    assert_eq!((decided.best, decided.source, decided.highest), (None, None, None));
    assert_eq!((decided.nodes, decided.gone), (gone(&["cp1", "cp2", "cp3"]), gone(&[])));
    assert_eq!(decided.kube_system_uid.as_deref(), Some("uid"));
    assert!(decided.warnings.iter().any(|one| one.contains("make sure that the backup is of this cluster")));
    // Two that were not seen may be its quorum.
    let refusal = decide(&looked[..1], &file, &known).expect_err("two were not seen");
    assert!(refusal.causes[0].contains("not seen: cp2, cp3"), "{refusal:?}");
    refused(&looked, &From::Best, &[], "--from FILE");
    refused(&looked, &file, &[], "no database tells which members the cluster has");
}

#[test]
fn a_damaged_end_and_a_newer_backup_are_told() {
    let mut torn = etcd("cp1", 3, 100, STOPPED);
    let end = TornSurvey { segment: "0.wal".into(), offset: 7, records_follow: true, ..TornSurvey::default() };
    torn.log.as_mut().expect("one").torn = Some(end);
    let looked = [node("cp1", vec![torn])];
    let two = gone(&["cp2", "cp3"]);
    let told = |revision| {
        let known = Known { gone: &two, backup: Some(("b.db", revision)), ..Known::default() };
        decide(&looked, &From::Best, &known).expect("one is left").warnings
    };
    assert!(told(95).iter().any(|one| one.contains("damaged in 0.wal at offset 7")));
    assert!(!told(95).iter().any(|one| one.contains("newer than any member")));
    assert!(told(96).iter().any(|one| one.contains("--from b.db")));
}

#[test]
fn what_others_manage_is_refused_with_their_own_command() {
    for (dir, by, command) in [
        ("/var/lib/rancher/k3s/server/db/etcd", "a usual place", "k3s server --cluster-reset"),
        ("/var/lib/rancher/rke2/server/db/etcd", "a usual place", "rke2 server --cluster-reset"),
        ("/var/lib/etcd", "the manifest /etc/kubernetes/manifests/etcd-pod.yaml", "cluster-restore.sh"),
        ("/mnt/master-vol-1/var/etcd/data", "a process", "etcd-manager-ctl"),
    ] {
        let mut etcd = etcd("cp1", 3, 100, STOPPED);
        (etcd.data_dir, etcd.found_by) = (dir.into(), by.into());
        refused(&[node("cp1", vec![etcd])], &From::Best, &gone(&["cp2", "cp3"]), command);
    }
}

#[test]
fn the_only_member_of_a_cluster_is_recovered_once_it_is_stopped() {
    let mut only = etcd("cp1", 3, 100, STOPPED);
    only.database.as_mut().expect("one").members.truncate(1);
    assert!(decided(&[node("cp1", vec![only.clone()])], &From::Best, &[]).is_ok());
    only.state = RUNNING;
    refused(&[node("cp1", vec![only])], &From::Best, &[], "1 of 1 members are a quorum");
}

#[test]
fn from_names_a_node_or_a_file() {
    let looked = [dead("cp1")];
    for (word, from) in [
        ("best", From::Best),
        ("cp1", From::Node("cp1".into())),
        ("cp2", From::File("cp2".into())),
        ("s3://b/latest", From::File("s3://b/latest".into())),
    ] {
        assert_eq!(From::read(word, &looked), from);
    }
}
