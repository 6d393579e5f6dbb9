//! A healthy control plane, for tests to make ill.

use etcd_wire::facts::{Disk, Encryption, HealthFacts, NodeFacts, StaticFile, Waits, Within};
use etcd_wire::message::{Certificate, HashOutcome, Member, MemberHash, MemberStatus};

use crate::check::{Finding, Severity};
use crate::facts::{BackupAge, Backups, Clock, Component, Facts, Login, Node};
use crate::left_overs::{
    ApiServer, ApiServerLease, Claim, ClaimRef, Kubelet, LeftOvers, Look, NodeObject, RunningPod, Token, Volume,
};
use crate::start::Start;

pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn certificate(path: &str, not_after: i64) -> Certificate {
    Certificate {
        path: path.to_owned(),
        not_after: Some(not_after),
        subject: Some(path.to_owned()),
        ..Certificate::default()
    }
}

/// Control planes of 1, 2, 3, ... members. With three, every check passes.
pub(crate) fn healthy(count: usize) -> Facts {
    let name = |number: usize| format!("cp{number}");
    let peer = |number: usize| format!("https://10.0.0.{number}:2380");
    let members: Vec<Member> = (1..=count)
        .map(|number| Member {
            id: number as u64,
            name: name(number),
            peer_urls: vec![peer(number)],
            ..Member::default()
        })
        .collect();
    let cluster: Vec<String> = (1..=count).map(|number| format!("{}={}", name(number), peer(number))).collect();
    let node = |number: usize| Node {
        node: name(number),
        member: name(number),
        start: Start::StaticPod,
        flags: vec![
            format!("--name={}", name(number)),
            format!("--initial-cluster={}", cluster.join(",")),
            "--experimental-initial-corrupt-check=true".to_owned(),
        ],
        quota: 2 << 30,
        status: Ok(MemberStatus {
            member_id: number as u64,
            leader_id: 1,
            version: "3.5.16".to_owned(),
            db_size: 1 << 20,
            db_size_in_use: 1 << 20,
            members: members.clone(),
            ..MemberStatus::default()
        }),
        served: Some(certificate("/pki/etcd/server.crt", NOW + 300 * 86_400)),
        certificates: Ok(vec![
            certificate("/pki/etcd/server.crt", NOW + 300 * 86_400),
            certificate("/pki/etcd/peer.crt", NOW + 300 * 86_400),
        ]),
        hash: Ok(Some(MemberHash {
            member_id: number as u64,
            current_revision: 9,
            outcome: HashOutcome::Known { hash: 1, compact_revision: 5 },
        })),
        disk: Ok(NodeFacts {
            disk: Some(Disk { free_bytes: 10 << 30, wal_free_bytes: None, database_bytes: 1 << 20 }),
            encryption: Encryption::Off,
            health: Some(HealthFacts {
                clock_ms: NOW * 1000,
                static_files: Ok(vec![StaticFile {
                    name: "etcd.yaml".to_owned(),
                    component: Some("etcd".to_owned()),
                    trouble: None,
                }]),
                kubeadm_backups: Ok(Vec::new()),
                database_members: Ok(members.iter().map(|member| format!("{:x}", member.id)).collect()),
                unrecorded_promotions: Ok(Vec::new()),
                wal_fsync: Ok(Waits { count: 1000, within: vec![Within { micros: 1000, count: 1000 }] }),
                peer_port_taken: Ok(false),
            }),
            ..NodeFacts::default()
        }),
        clock: Ok(Clock { ahead_ms: 20, within_ms: 50 }),
        kept: Ok(Vec::new()),
    };
    let look = Look {
        nodes: Ok((1..=count).map(|number| NodeObject { name: name(number), silent_since: None }).collect()),
        node_leases: Ok((1..=count).map(|number| (name(number), NOW - 5)).collect()),
        kubelets: (1..=count)
            .map(|number| {
                let etcd = RunningPod {
                    uid: format!("static-{number}"),
                    namespace: "kube-system".to_owned(),
                    name: format!("etcd-{}", name(number)),
                    is_static: true,
                };
                let web = RunningPod {
                    uid: format!("web-{number}"),
                    namespace: "shop".to_owned(),
                    name: format!("web-{number}"),
                    is_static: false,
                };
                (name(number), Kubelet::Runs(vec![etcd, web]))
            })
            .collect(),
        pods: Ok((1..=count).map(|number| format!("web-{number}")).collect()),
        api_server_leases: Ok((1..=count)
            .map(|number| ApiServerLease {
                name: format!("apiserver-{number}"),
                host: name(number),
                renewed: Some(NOW - 5),
            })
            .collect()),
        registered: Ok((1..=count).map(|number| format!("10.0.0.{number}")).collect()),
        api_servers: Ok((1..=count)
            .map(|number| ApiServer { node: name(number), addresses: [format!("10.0.0.{number}")].into() })
            .collect()),
        volumes: Ok(vec![Volume {
            name: "pv-1".to_owned(),
            claim: Some(ClaimRef { namespace: "shop".to_owned(), name: "data".to_owned(), uid: "c1".to_owned() }),
            provisioned: true,
            deleting: false,
            policy: "Delete".to_owned(),
        }]),
        claims: Ok(vec![Claim {
            namespace: "shop".to_owned(),
            name: "data".to_owned(),
            uid: "c1".to_owned(),
            volume: "pv-1".to_owned(),
        }]),
        tokens: Ok(vec![Token {
            namespace: "shop".to_owned(),
            name: "robot-token".to_owned(),
            account: "robot".to_owned(),
            account_uid: "u1".to_owned(),
        }]),
        accounts: Ok([(("shop".to_owned(), "robot".to_owned()), "u1".to_owned())].into()),
    };
    let kubelet = |number| Component { node: name(number), name: "kubelet", version: "v1.33.1".to_owned() };
    Facts {
        now: NOW,
        nodes: (1..=count).map(node).collect(),
        unreadable: Vec::new(),
        components: Ok((1..=count).map(kubelet).collect()),
        kubeconfig: Ok(Some(certificate("the client certificate", NOW + 300 * 86_400))),
        backups: Ok(Backups {
            store: "file:///b".to_owned(),
            newest: Some(BackupAge { name: "etcd-1".to_owned(), age: 3600, has_node_files: true }),
            max_age: 6 * 3600,
            why: String::new(),
        }),
        logins: Ok((1..=count).map(|number| Login { node: name(number), outcome: Ok(()) }).collect()),
        left_overs: LeftOvers { looks: vec![look], came_back: Vec::new() },
    }
}

/// What one node tells of its health.
pub(crate) fn health(facts: &mut Facts, index: usize) -> &mut HealthFacts {
    facts.nodes[index].disk.as_mut().unwrap().health.as_mut().unwrap()
}

pub(crate) fn made(name: &str, facts: &Facts) -> Finding {
    crate::find(name).unwrap_or_else(|| panic!("no check {name}")).make(facts)
}

#[track_caller]
pub(crate) fn assert_passes(name: &str) {
    let finding = made(name, &healthy(3));
    assert_eq!((finding.severity, finding.mend.len(), finding.evidence.len()), (Severity::Ok, 0, 1), "{finding:?}");
    assert!(!finding.evidence[0].is_empty());
}

/// A check comes to that, and the first line of its evidence says so.
#[track_caller]
pub(crate) fn assert_finds(name: &str, facts: &Facts, severity: Severity, evidence: &str) {
    let finding = made(name, facts);
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert!(finding.evidence.iter().any(|line| line.contains(evidence)), "{finding:?}");
    let mends = matches!(severity, Severity::Warning | Severity::Error);
    assert_eq!(!finding.mend.is_empty(), mends, "{finding:?}");
}

#[test]
fn a_healthy_control_plane_passes_every_check() {
    let findings = crate::examine(&healthy(3));
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.severity != Severity::Ok).collect();
    assert!(bad.is_empty() && findings.len() == crate::CHECKS.len(), "{bad:?}");
    assert_eq!(
        crate::Summary::of(&findings).to_string(),
        format!("0 errors, 0 warnings, 0 not checked, {} passed", findings.len())
    );
}

#[test]
fn a_control_plane_of_which_nothing_is_known_passes_none() {
    let why = || "no right".to_owned();
    let node = |node: Node| Node {
        flags: Vec::new(),
        status: Err(why()),
        served: None,
        certificates: Err(why()),
        hash: Err(why()),
        disk: Err(why()),
        clock: Err(why()),
        kept: Err(why()),
        ..node
    };
    let known = healthy(3);
    let unknown = Facts {
        nodes: known.nodes.into_iter().map(node).collect(),
        components: Err(why()),
        kubeconfig: Err(why()),
        backups: Err(why()),
        logins: Err(why()),
        left_overs: LeftOvers::not_looked("no right"),
        ..known
    };
    let empty = Facts { nodes: Vec::new(), ..unknown.clone() };
    for facts in [unknown, empty] {
        for finding in crate::examine(&facts) {
            assert_eq!(finding.severity, Severity::Unknown, "{finding:?}");
        }
    }
}

#[test]
fn names_are_unlike_and_fit_their_column_and_every_page_teaches() {
    for (index, check) in crate::CHECKS.iter().enumerate() {
        assert!(check.name.len() <= 20 && crate::CHECKS[..index].iter().all(|other| other.name != check.name));
        let page = check.page();
        assert!(page.starts_with(&format!("{}: ", check.name)) && page.contains("How to mend it by hand"), "{page}");
        assert!(page.is_ascii() && page.len() > 400 && page.lines().all(|line| line.len() <= 80), "{page}");
    }
}
