//! `recover` and the request `survey` on the directory of a real member, while it runs and after it was killed.

use std::process::{Command, Output};

use etcd_wire::survey::{EtcdState, NodeSurvey, SurveyRequest};
use etcd_wire::{Frame, Reply, Request};

use crate::member::{Member, servers};
use crate::session::Session;

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";

fn recover(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_etcd-sidecar")).arg("recover").args(args).output().unwrap()
}

fn survey(data_dir: &str) -> NodeSurvey {
    let output = recover(&["--data-dir", data_dir, "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names, sizes, times and modes of everything below a folder.
fn tree(folder: &std::path::Path) -> Vec<String> {
    let listed = Command::new("find").arg(folder).args(["-printf", "%P %s %T@ %m\n"]).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_member_is_surveyed_while_it_runs_and_after_it_was_killed() {
    for server in servers() {
        let mut member = Member::with(&server, &[]);
        let object =
            format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"kube-system","uid":"{UID}"}}}}"#);
        member.ctl(&["put", "--", "/registry/namespaces/kube-system", &object]);
        let dir = member.folder.path().join("data");
        let data_dir = dir.to_str().unwrap().to_owned();

        // It commits its first batch soon.
        let running = loop {
            let survey = survey(&data_dir);
            let [etcd] = &survey.etcd[..] else { panic!("{survey:?}") };
            if etcd.database.as_ref().is_some_and(|database| database.kube_system_uid.is_some()) {
                break survey;
            }
        };
        let etcd = &running.etcd[0];
        let database = etcd.database.as_ref().unwrap();
        assert_eq!((etcd.state, database.kube_system_uid.as_deref()), (EtcdState::Running, Some(UID)));
        assert_eq!((database.members.len(), database.members[0].name.as_str()), (1, "m0"));
        assert_eq!(database.members[0].peer_urls, [member.peer.clone()]);
        let log = etcd.log.as_ref().unwrap();
        assert_eq!((&log.member_id, log.torn.as_ref()), (&database.members[0].id, None));

        // What was acknowledged is in one of the two, or in both.
        member.ctl(&["put", "--", "/registry/configmaps/default/last", "a secret"]);
        member.kill();
        let before = tree(&dir);
        let survey = survey(&data_dir);
        let etcd = &survey.etcd[0];
        assert_eq!((etcd.state, &etcd.failures), (EtcdState::Stopped, &vec![]));
        let (log, database) = (etcd.log.as_ref().unwrap(), etcd.database.as_ref().unwrap());
        let only = etcd.only_in_log.as_ref().unwrap();
        assert_eq!(only.entries, log.last.index - database.consistent_index.unwrap());
        assert_eq!((only.missing_from, only.database_is_ahead, only.unread), (None, false, 0));
        let listed = only.keys.iter().any(|key| key.key == "/registry/configmaps/default/last" && key.certain);
        assert!(listed || database.revision == 3, "{survey:?}");
        assert!(log.commit <= log.last.index && etcd.free_bytes > Some(0));

        let shown = recover(&["--data-dir", &data_dir]);
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success() && text.contains("stopped") && text.contains(UID), "{text}");
        assert!(!text.contains("a secret") && !format!("{survey:?}").contains("a secret"));

        let mut session = Session::open().await;
        let request = SurveyRequest { data_dir: Some(data_dir.clone()), ..SurveyRequest::default() };
        session.send(Frame::Request(Request::Survey(request))).await;
        match session.next().await {
            // What is free on the disk changes meanwhile.
            Frame::Reply(Reply::Survey(mut told)) => {
                told.etcd[0].free_bytes = etcd.free_bytes;
                assert_eq!(*told, survey);
            }
            other => panic!("{other:?}"),
        }
        assert!(session.close().await.success());
        assert_eq!(tree(&dir), before, "nothing is changed");
    }
}

#[test]
fn a_damaged_log_is_told_with_its_place_and_the_database_is_shown() {
    let mut member = Member::start();
    for number in 0..20 {
        member.ctl(&["put", "--", &format!("/registry/things/{number}"), "x"]);
    }
    member.kill();
    let dir = member.folder.path().join("data");
    let segment = dir.join("member/wal/0000000000000000-0000000000000000.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = recover(&["--data-dir", dir.to_str().unwrap(), "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let survey: NodeSurvey = serde_json::from_slice(&output.stdout).unwrap();
    let etcd = &survey.etcd[0];
    assert!(etcd.log.is_none() && etcd.only_in_log.is_none() && etcd.database.is_some());
    let told = format!("{:?}", etcd.failures);
    assert!(told.contains("is corrupt at offset") && told.contains("0000000000000000.wal"), "{told}");
}

#[test]
fn where_there_is_no_etcd_the_flag_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("none");
    let output = recover(&["--data-dir", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the survey is not complete; nothing was changed"), "{said}");
    let wrong = recover(&["--wal-dir", "/x"]);
    assert_eq!(wrong.status.code(), Some(2));
}
