//! A conversation of protocol 1.0, made by hand from docs/PROTOCOL.md: every later 1.x must understand it.

use etcd_wire::message::{
    Alarm, Certificate, CheckCopyRequest, CheckedCopy, CopiesFound, CopiesRequest, CopyFile, EtcdAccess, KeyPair,
    LeftOut, Member, MemberStatus, NodeFilesDone, NodeFilesRequest, NodeStatus, Owned, SnapshotDone, SnapshotRequest,
    StatusRequest,
};
use etcd_wire::{
    Ack, Begin, Compression, Decoder, Encoding, End, Failure, FailureCode, Frame, Hello, Incoming, Preface, Reply,
    Request, Sha256,
};

const CLIENT: &[u8] = include_bytes!("data/client-1.0.bin");
const SIDECAR: &[u8] = include_bytes!("data/sidecar-1.0.bin");

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    assert_eq!(decoder.preface().unwrap(), Some(Preface { major: 1, minor: 0 }));
    let frames = std::iter::from_fn(|| decoder.frame().unwrap()).collect();
    assert!(decoder.is_empty());
    frames
}

fn hello() -> Frame {
    let capabilities = ["status", "snapshot", "keep", "zstd"].map(str::to_owned).to_vec();
    Frame::Hello(Hello { version: "0.1.0".to_owned(), capabilities, build: None })
}

#[test]
fn the_client_is_understood() {
    let etcd = EtcdAccess {
        endpoints: vec!["https://127.0.0.1:2379".to_owned()],
        ca: Some("/etc/kubernetes/pki/etcd/ca.crt".to_owned()),
        credentials: vec![KeyPair {
            cert: "/etc/kubernetes/pki/etcd/healthcheck-client.crt".to_owned(),
            key: "/etc/kubernetes/pki/etcd/healthcheck-client.key".to_owned(),
        }],
    };
    let certificates = vec!["/etc/kubernetes/pki/etcd/server.crt".to_owned()];
    let keep = Some("/var/backups/etcd.db".to_owned());
    let expected = [
        hello(),
        Frame::Request(Request::Status(StatusRequest { etcd: etcd.clone(), certificates, ..StatusRequest::default() })),
        Frame::Ping,
        Frame::Request(Request::Snapshot(SnapshotRequest { etcd, compression: Compression::Zstd, keep })),
        Frame::Ack(Ack { length: 1536 }),
    ];
    assert_eq!(frames(CLIENT), expected);
}

#[test]
fn the_sidecar_is_understood() {
    let frames = frames(SIDECAR);
    let [greeting, status, begin, Frame::Data(first), Frame::Data(second), Frame::End(end), kept, failure] =
        &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(*greeting, hello());
    let id = 10_276_657_743_932_975_437;
    let etcd = MemberStatus {
        endpoint: "https://127.0.0.1:2379".to_owned(),
        cluster_id: 14_841_639_068_965_178_418,
        member_id: id,
        leader_id: id,
        version: "3.5.16".to_owned(),
        db_size: 20480,
        db_size_in_use: 16384,
        revision: 42,
        raft_term: 2,
        raft_index: 50,
        raft_applied_index: 50,
        members: vec![Member {
            id,
            name: "cp1".to_owned(),
            peer_urls: vec!["https://10.0.0.1:2380".to_owned()],
            client_urls: vec!["https://10.0.0.1:2379".to_owned()],
            learner: false,
        }],
        alarms: vec![Alarm { member_id: id, kind: "NOSPACE".to_owned() }],
        ..MemberStatus::default()
    };
    let certificate = Certificate {
        path: "/etc/kubernetes/pki/etcd/server.crt".to_owned(),
        subject: Some("CN=cp1".to_owned()),
        not_after: Some(1_800_000_000),
        fingerprint: None,
        error: None,
    };
    let expected = NodeStatus { etcd: Some(etcd), certificates: vec![certificate], ..NodeStatus::default() };
    assert_eq!(*status, Frame::Reply(Reply::Status(Box::new(expected))));

    assert_eq!(*begin, Frame::Begin(Begin { total: Some(1536) }));
    assert_eq!((first.encoding, second.encoding), (Encoding::Zstd, Encoding::Raw));
    let mut incoming = Incoming::new(u64::MAX);
    assert_eq!(incoming.accept(first).unwrap(), vec![b'A'; 1024]);
    assert_eq!(incoming.accept(second).unwrap(), vec![b'B'; 512]);
    incoming.finish(&End { length: 1536, sha256: Sha256(end.sha256.0) }).unwrap();

    let done = SnapshotDone { kept: Some("/var/backups/etcd.db".to_owned()) };
    assert_eq!(*kept, Frame::Reply(Reply::Snapshot(done)));
    let wanted = Failure::new(FailureCode::Credentials, "no certificate").cause("no file").hint("renew it");
    assert_eq!(*failure, Frame::Failure(wanted));
}

/// Requests and replies that 1.x has added, as they are on the wire.
#[test]
fn node_files_are_understood() {
    let request = r#"{"operation":"nodeFiles","paths":["/etc/kubernetes"],"compression":"zstd"}"#;
    let wanted = NodeFilesRequest {
        paths: vec!["/etc/kubernetes".to_owned()],
        etcd_unit: false,
        compression: Compression::Zstd,
    };
    assert_eq!(serde_json::from_str::<Request>(request).unwrap(), Request::NodeFiles(wanted.clone()));
    assert_eq!(serde_json::to_string(&Request::NodeFiles(wanted)).unwrap(), request);
    let reply = r#"{"operation":"nodeFiles","files":9,"leftOut":[{"path":"/etc/kubernetes/a","why":"is a pipe"}],"leftOutCount":1}"#;
    let left = LeftOut { path: "/etc/kubernetes/a".to_owned(), why: "is a pipe".to_owned() };
    let done = NodeFilesDone { files: 9, left_out: vec![left], left_out_count: 1 };
    assert_eq!(serde_json::from_str::<Reply>(reply).unwrap(), Reply::NodeFiles(done.clone()));
    assert_eq!(serde_json::to_string(&Reply::NodeFiles(done)).unwrap(), reply);
    // What is not said has a meaning.
    let plain = r#"{"operation":"nodeFiles","paths":[]}"#;
    assert_eq!(serde_json::from_str::<Request>(plain).unwrap(), Request::NodeFiles(NodeFilesRequest::default()));
    let plain = r#"{"operation":"nodeFiles","files":1}"#;
    let done = NodeFilesDone { files: 1, ..NodeFilesDone::default() };
    assert_eq!(serde_json::from_str::<Reply>(plain).unwrap(), Reply::NodeFiles(done));
}

#[test]
fn copies_on_a_node_are_understood() {
    let request = r#"{"operation":"copies","folder":"/srv/b"}"#;
    let wanted = Request::Copies(CopiesRequest { folder: "/srv/b".to_owned() });
    assert_eq!(serde_json::from_str::<Request>(request).unwrap(), wanted);
    assert_eq!(serde_json::to_string(&wanted).unwrap(), request);
    let reply = r#"{"operation":"copies","copies":[{"name":"a.db","size":9}],"omitted":1}"#;
    let copies = vec![CopyFile { name: "a.db".to_owned(), size: 9 }];
    let found = Reply::Copies(CopiesFound { copies, omitted: 1 });
    assert_eq!(serde_json::from_str::<Reply>(reply).unwrap(), found);
    assert_eq!(serde_json::to_string(&found).unwrap(), reply);

    let request = r#"{"operation":"checkCopy","folder":"/srv/b","name":"a.db"}"#;
    let wanted = Request::CheckCopy(CheckCopyRequest { folder: "/srv/b".to_owned(), name: "a.db".to_owned() });
    assert_eq!(serde_json::from_str::<Request>(request).unwrap(), wanted);
    assert_eq!(serde_json::to_string(&wanted).unwrap(), request);
    let reply = r#"{"operation":"checkedCopy","damage":null,"proven":true,"revision":7,"kubeSystemUid":"u"}"#;
    let kube_system_uid = Some("u".to_owned());
    let checked = Reply::CheckedCopy(CheckedCopy { damage: None, proven: true, revision: Some(7), kube_system_uid });
    assert_eq!(serde_json::from_str::<Reply>(reply).unwrap(), checked);
    assert_eq!(serde_json::to_string(&checked).unwrap(), reply);
}

#[test]
fn the_data_directory_is_asked_for_and_told() {
    let request = r#"{"operation":"status","etcd":{"endpoints":[],"ca":null,"credentials":[]},"certificates":[],"dataDir":"/var/lib/etcd"}"#;
    let wanted = StatusRequest { data_dir: Some("/var/lib/etcd".to_owned()), ..StatusRequest::default() };
    assert_eq!(serde_json::from_str::<Request>(request).unwrap(), Request::Status(wanted.clone()));
    assert_eq!(serde_json::to_string(&Request::Status(wanted)).unwrap(), request);
    let reply = r#"{"operation":"status","etcd":null,"failure":null,"certificates":[],"dataDir":{"owner":997,"group":996,"mode":448}}"#;
    let owned = Owned { owner: 997, group: 996, mode: 0o700 };
    let status = NodeStatus { data_dir: Some(owned), ..NodeStatus::default() };
    let status = Reply::Status(Box::new(status));
    assert_eq!(serde_json::from_str::<Reply>(reply).unwrap(), status);
    assert_eq!(serde_json::to_string(&status).unwrap(), reply);
}
