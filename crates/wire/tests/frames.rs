//! Frames over a road that cuts, loses and changes bytes.

use bytes::Bytes;
use etcd_wire::drill::{DrillDone, DrillRequest, EncryptionConfig};
use etcd_wire::facts::{
    Disk, Encryption, EncryptionKey, FactsRequest, HealthFacts, HealthRequest, LeftFile, NodeFacts, StaticFile, Waits,
    Within,
};
use etcd_wire::message::{
    HashKvRequest, HashOutcome, KeyPair, KeysDone, KeysRequest, MemberHash, NodeStatus, SnapshotDone, SnapshotRequest,
    StatusRequest,
};
use etcd_wire::order::{Order, OrderOutcome, OrderRequest};
use etcd_wire::replay::{ReplayDone, ReplayRequest};
use etcd_wire::restore::Parts;
use etcd_wire::services::{EtcdService, NodeServices};
use etcd_wire::survey::{
    EtcdState, EtcdSurvey, KeyInLog, LogSurvey, NodeSurvey, OnlyInLog, RaftPosition, SurveyRequest,
};
use etcd_wire::{
    Ack, Begin, CHUNK, Chunk, Compression, Decoder, Digest, Encoding, End, Failure, FailureCode, Frame, Hello,
    Incoming, MAX_FRAME, Outgoing, Preface, Reply, Request, Sha256, WireError, crc32c,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn frames() -> impl Strategy<Value = Frame> {
    let text = ".{0,40}";
    let access =
        (vec(text, 0..3), proptest::option::of(text), vec((text, text), 0..3)).prop_map(|(endpoints, ca, pairs)| {
            let credentials = pairs.into_iter().map(|(cert, key)| KeyPair { cert, key }).collect();
            etcd_wire::message::EtcdAccess { endpoints, ca, credentials }
        });
    let data = (any::<u64>(), vec(any::<u8>(), 1..5000), any::<bool>()).prop_map(|(offset, bytes, zstd)| {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let chunk = Outgoing::new(compression).chunk(Bytes::from(bytes));
        Frame::Data(Chunk { offset, ..chunk })
    });
    let outcome = prop_oneof![
        Just(HashOutcome::Compacted),
        Just(HashOutcome::Future),
        (any::<u32>(), any::<i64>()).prop_map(|(hash, compact_revision)| HashOutcome::Known { hash, compact_revision }),
    ];
    prop_oneof![
        (text, vec(text, 0..4), proptest::option::of(text))
            .prop_map(|(version, capabilities, build)| Frame::Hello(Hello { version, capabilities, build })),
        (access.clone(), vec(text, 0..3), proptest::option::of(text)).prop_map(|(etcd, certificates, kube_system)| {
            Frame::Request(Request::Status(StatusRequest { etcd, certificates, kube_system, data_dir: None }))
        }),
        (access.clone(), proptest::option::of(text)).prop_map(|(etcd, keep)| {
            Frame::Request(Request::Snapshot(SnapshotRequest { etcd, compression: Compression::Zstd, keep }))
        }),
        (access.clone(), any::<i64>())
            .prop_map(|(etcd, revision)| Frame::Request(Request::HashKv(HashKvRequest { etcd, revision }))),
        (any::<u64>(), any::<i64>(), outcome).prop_map(|(member_id, current_revision, outcome)| {
            Frame::Reply(Reply::HashKv(MemberHash { member_id, current_revision, outcome }))
        }),
        access
            .clone()
            .prop_map(|etcd| { Frame::Request(Request::Keys(KeysRequest { etcd, compression: Compression::None })) }),
        (any::<u64>(), any::<i64>(), any::<u64>()).prop_map(|(member_id, revision, count)| {
            Frame::Reply(Reply::Keys(KeysDone { member_id, revision, count }))
        }),
        (text, proptest::option::of(text), proptest::option::of(any::<u16>())).prop_map(|(data_dir, wal_dir, port)| {
            let manifests_dir = data_dir.clone();
            let health = port.map(|peer_port| HealthRequest { metrics_urls: vec![data_dir.clone()], peer_port });
            let may_be_empty = wal_dir.is_some();
            let parts = if port.is_some() { Parts::Both } else { Parts::ApiServer };
            Frame::Request(Request::Facts(FactsRequest {
                data_dir,
                wal_dir,
                manifests_dir,
                may_be_empty,
                parts,
                health,
            }))
        }),
        facts(text).prop_map(|facts| Frame::Reply(Reply::Facts(Box::new(facts)))),
        proptest::option::of(text).prop_map(|data_dir| {
            Frame::Request(Request::Survey(SurveyRequest { data_dir, ..SurveyRequest::default() }))
        }),
        (text, any::<u64>(), any::<bool>()).prop_map(|(data_dir, index, may_run)| {
            let last = RaftPosition { term: 1, index };
            let replay = ReplayRequest { data_dir, last, may_run, ..ReplayRequest::default() };
            Frame::Request(Request::Replay(Box::new(replay)))
        }),
        any::<i64>()
            .prop_map(|revision| { Frame::Reply(Reply::Replay(ReplayDone { revision, ..ReplayDone::default() })) }),
        (text, any::<u64>(), proptest::option::of(any::<u32>()), proptest::option::of(text)).prop_map(
            |(name, bytes, hash_kv, config)| {
                let encryption_config = config.map(EncryptionConfig);
                let drill = DrillRequest { name, bytes, hash_kv, encryption_config, ..DrillRequest::default() };
                Frame::Request(Request::Drill(Box::new(drill)))
            }
        ),
        (text, any::<i64>()).prop_map(|(file, revision)| {
            let document = serde_json::json!({"verdict": "passed", "backup": {"file": file, "revision": revision}});
            Frame::Reply(Reply::Drill(DrillDone { document }))
        }),
        Just(Frame::Request(Request::Services)),
        (orders(), any::<u64>(), any::<u64>()).prop_map(|(order, cluster_id, member_id)| {
            let request =
                OrderRequest { etcd: etcd_wire::message::EtcdAccess::default(), cluster_id, member_id, order };
            Frame::Request(Request::Order(request))
        }),
        (0..5, text).prop_map(|(which, message)| {
            let failure = Failure::new(FailureCode::Etcd, message);
            let outcome = match which {
                0 => OrderOutcome::Done,
                1 => OrderOutcome::AlreadyCompacted,
                2 => OrderOutcome::Refused { failure },
                3 => OrderOutcome::MaybeDone { failure },
                _ => OrderOutcome::Unknown,
            };
            Frame::Reply(Reply::Ordered { outcome })
        }),
        (text, vec((text, text), 0..3), vec(text, 0..2)).prop_map(|(found_by, settings, why)| {
            let etcd = vec![EtcdService { found_by, settings: settings.into_iter().collect(), source: None }];
            let failures = why.into_iter().map(|message| Failure::new(FailureCode::Storage, message)).collect();
            Frame::Reply(Reply::Services(Box::new(NodeServices { etcd, failures })))
        }),
        survey(text).prop_map(|survey| Frame::Reply(Reply::Survey(Box::new(survey)))),
        proptest::option::of(text).prop_map(|kept| Frame::Reply(Reply::Snapshot(SnapshotDone { kept }))),
        (text, vec(text, 0..3)).prop_map(|(message, causes)| {
            Frame::Failure(Failure { code: FailureCode::Etcd, message, causes, hint: None })
        }),
        proptest::option::of(any::<u64>()).prop_map(|total| Frame::Begin(Begin { total })),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(length, sum)| Frame::End(End { length, sha256: Sha256(sum) })),
        any::<u64>().prop_map(|length| Frame::Ack(Ack { length })),
        Just(Frame::Ping),
        data,
    ]
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![
        (any::<i64>(), any::<bool>()).prop_map(|(revision, physical)| Order::Compact { revision, physical }),
        Just(Order::Defragment),
        Just(Order::DisarmNoSpace),
        any::<u64>().prop_map(|id| Order::RemoveMember { id }),
        any::<u64>().prop_map(|id| Order::Promote { id }),
        any::<u64>().prop_map(|id| Order::MoveLeader { id }),
    ]
}

fn survey(text: &'static str) -> impl Strategy<Value = NodeSurvey> {
    let log = (text, any::<u64>(), any::<u64>()).prop_map(|(member_id, term, index)| LogSurvey {
        member_id,
        last: RaftPosition { term, index },
        ..LogSurvey::default()
    });
    let keys = vec((text, any::<bool>()), 0..3);
    let keys = keys.prop_map(|keys| {
        keys.into_iter().map(|(key, certain)| KeyInLog { key, certain, ..KeyInLog::default() }).collect()
    });
    let only = proptest::option::of(keys.prop_map(|keys| OnlyInLog { keys, ..OnlyInLog::default() }));
    let state = prop_oneof![Just(EtcdState::Running), Just(EtcdState::Stopped), Just(EtcdState::Unknown)];
    let etcd = (text, state, proptest::option::of(log), only).prop_map(|(data_dir, state, log, only_in_log)| {
        EtcdSurvey { data_dir, state, log, only_in_log, ..EtcdSurvey::default() }
    });
    (text, vec(etcd, 0..3)).prop_map(|(node, etcd)| NodeSurvey { node, etcd, failures: Vec::new() })
}

fn facts(text: &'static str) -> impl Strategy<Value = NodeFacts> {
    let key = (text, text, text).prop_map(|(provider, version, name)| EncryptionKey { provider, version, name });
    let encryption = prop_oneof![
        Just(Encryption::Off),
        Just(Encryption::Unknown),
        text.prop_map(|why| Encryption::Unread { why }),
        vec(key, 0..3).prop_map(|keys| Encryption::Keys { keys }),
    ];
    let disk = (any::<u64>(), proptest::option::of(any::<u64>()), any::<u64>())
        .prop_map(|(free_bytes, wal_free_bytes, database_bytes)| Disk { free_bytes, wal_free_bytes, database_bytes });
    let manifests = proptest::collection::btree_map(text, text, 0..3);
    let failure = text.prop_map(|message| Failure::new(FailureCode::Storage, message));
    let health = proptest::option::of(health(text));
    (proptest::option::of(disk), proptest::option::of(manifests), encryption, vec(failure, 0..2), health).prop_map(
        |(disk, manifests, encryption, failures, health)| NodeFacts { disk, manifests, encryption, failures, health },
    )
}

fn health(text: &'static str) -> impl Strategy<Value = HealthFacts> {
    (any::<i64>(), any::<u64>(), any::<bool>(), text, proptest::option::of(text)).prop_map(
        |(clock_ms, count, taken, name, trouble)| HealthFacts {
            clock_ms,
            static_files: Ok(vec![StaticFile {
                name: name.clone(),
                component: trouble.clone(),
                trouble: trouble.clone(),
            }]),
            kubeadm_backups: Ok(vec![LeftFile { path: name.clone(), bytes: count }]),
            database_members: trouble.clone().map_or_else(|| Ok(vec![name.clone()]), Err),
            unrecorded_promotions: trouble.map_or_else(|| Ok(vec![name.clone()]), Err),
            wal_fsync: Ok(Waits { count, within: vec![Within { micros: count, count }] }),
            peer_port_taken: if taken { Ok(taken) } else { Err(name) },
        },
    )
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Preface::OURS.encode().to_vec();
    frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
    bytes
}

/// Decodes all that `pieces` hold, and tells whether they end between two frames.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<Frame>, bool), WireError> {
    let (mut decoder, mut begun, mut frames) = (Decoder::new(), false, Vec::new());
    for piece in pieces {
        decoder.push(piece);
        if !begun {
            begun = decoder.preface()?.is_some();
        }
        while begun && let Some(frame) = decoder.frame()? {
            frames.push(frame);
        }
    }
    Ok((frames, begun && decoder.is_empty()))
}

/// One frame, by hand.
fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[kind], payload].concat()
}

fn alone(frame: &[u8]) -> Result<Option<Frame>, WireError> {
    let mut decoder = Decoder::new();
    decoder.push(frame);
    decoder.frame()
}

proptest! {
    #[test]
    fn it_does_not_matter_where_the_road_cuts(sent in vec(frames(), 0..6), cuts in vec(any::<prop::sample::Index>(), 0..12)) {
        let bytes = encoded(&sent);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(decoded(pieces).unwrap(), (sent, true));
    }

    #[test]
    fn arbitrary_bytes_are_no_danger(bytes in vec(any::<u8>(), 0..4096), behind_the_preface in any::<bool>()) {
        let begin = if behind_the_preface { Preface::OURS.encode().to_vec() } else { Vec::new() };
        if let Ok((frames, _)) = decoded([&begin[..], &bytes]) {
            for frame in frames {
                if let Frame::Data(chunk) = frame {
                    let _ = chunk.open();
                }
            }
        }
    }

    #[test]
    fn arbitrary_payloads_are_no_danger(kind in any::<u8>(), payload in vec(any::<u8>(), 0..4096)) {
        if let Ok(Some(Frame::Data(chunk))) = alone(&raw(kind, &payload)) && let Ok(bytes) = chunk.open() {
            prop_assert_eq!(bytes.len(), chunk.length as usize);
        }
    }

    #[test]
    fn a_stream_comes_out_as_it_went_in(bytes in vec(any::<u8>(), 1..20_000), cut in 1..9000_usize, zstd in any::<bool>()) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let (mut outgoing, mut incoming, mut received) = (Outgoing::new(compression), Incoming::new(u64::MAX), Vec::new());
        for piece in bytes.chunks(cut) {
            let chunk = outgoing.chunk(Bytes::copy_from_slice(piece));
            prop_assert!(chunk.payload.len() <= piece.len());
            received.extend_from_slice(&incoming.accept(&chunk).unwrap());
        }
        prop_assert_eq!((outgoing.offset(), incoming.offset()), (bytes.len() as u64, bytes.len() as u64));
        let mut digest = Digest::new();
        digest.update(&bytes);
        incoming.finish(&End { length: bytes.len() as u64, sha256: Sha256(digest.finish()) }).unwrap();
        prop_assert_eq!(received, bytes);
    }

    /// Header or payload, raw or compressed: what comes out of a damaged frame is never other bytes.
    #[test]
    fn a_flipped_bit_in_a_chunk_is_noticed(bytes in vec(0..8_u8, 1..3000), zstd in any::<bool>(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let chunk = Outgoing::new(compression).chunk(Bytes::from(bytes.clone()));
        let mut frame = Vec::new();
        Frame::Data(chunk).encode(&mut frame).unwrap();
        // The kind and everything behind it; a damaged length is the next test.
        let at = 4 + at.index(frame.len() - 4);
        frame[at] ^= 1 << bit;
        let taken = match alone(&frame) {
            Ok(Some(Frame::Data(chunk))) => Incoming::new(u64::MAX).accept(&chunk).map(Some),
            Ok(other) => { prop_assert!(!matches!(other, Some(Frame::End(_)))); Ok(None) }
            Err(error) => Err(error),
        };
        // zstd has bits that say nothing (its frame's unused flag, for one): then the bytes are the same.
        if let Ok(Some(taken)) = taken {
            prop_assert!(zstd, "damage in a raw chunk went unnoticed");
            prop_assert_eq!(taken, bytes);
        }
    }
}

#[test]
fn a_conversation_that_is_cut_anywhere_is_not_complete() {
    let mut outgoing = Outgoing::new(Compression::Zstd);
    let chunk = outgoing.chunk(Bytes::from(vec![1; 700]));
    let sent = [
        Frame::Hello(Hello::ours()),
        Frame::Begin(Begin { total: Some(700) }),
        Frame::Data(chunk),
        Frame::End(End { length: 700, sha256: Sha256([0; 32]) }),
        Frame::Reply(Reply::Snapshot(SnapshotDone::default())),
    ];
    let bytes = encoded(&sent);
    let mut boundaries = vec![];
    for (number, _) in sent.iter().enumerate() {
        boundaries.push(encoded(&sent[..number]).len());
    }
    for end in 0..bytes.len() {
        let (frames, whole) = decoded([&bytes[..end]]).unwrap();
        assert!(frames.len() < sent.len() && frames[..] == sent[..frames.len()], "{end}");
        assert_eq!(whole, boundaries.contains(&end), "{end}");
    }
    assert_eq!(decoded([&bytes[..]]).unwrap(), (sent.to_vec(), true));
}

#[test]
fn sizes_have_bounds() {
    for length in [0, MAX_FRAME as u32 + 1, u32::MAX] {
        assert!(matches!(alone(&length.to_be_bytes()), Err(WireError::FrameLength { .. })), "{length}");
    }
    let mut full = Outgoing::new(Compression::None).chunk(Bytes::from(vec![0; CHUNK]));
    let mut bytes = Vec::new();
    Frame::Data(full.clone()).encode(&mut bytes).unwrap();
    assert_eq!(alone(&bytes).unwrap(), Some(Frame::Data(full.clone())));

    full.payload = Bytes::from(vec![0; MAX_FRAME]);
    let before = bytes.clone();
    assert!(matches!(Frame::Data(full).encode(&mut bytes), Err(WireError::FrameLength { .. })));
    assert!(bytes == before, "nothing is written of a frame that is too large");
}

#[test]
fn a_later_minor_may_send_what_this_one_does_not_know() {
    let later = [raw(0x80, b"news"), raw(0xff, b""), raw(0x09, b"")].concat();
    assert_eq!(alone(&later).unwrap(), Some(Frame::Ping));
    assert!(matches!(alone(&raw(0x0a, b"")), Err(WireError::FrameKind { kind: 0x0a })));
    assert!(matches!(alone(&raw(0x7f, b"")), Err(WireError::FrameKind { kind: 0x7f })));
    assert!(matches!(alone(&raw(0x00, b"")), Err(WireError::FrameKind { kind: 0 })));
    let grown = raw(0x08, br#"{"length":7,"mood":"fine"}"#);
    assert_eq!(alone(&grown).unwrap(), Some(Frame::Ack(Ack { length: 7 })));
    let unknown = raw(0x02, br#"{"operation":"dance","steps":3}"#);
    assert_eq!(alone(&unknown).unwrap(), Some(Frame::Request(Request::Unknown)));
    let code = raw(0x04, br#"{"code":"tooLate","message":"no"}"#);
    assert_eq!(alone(&code).unwrap(), Some(Frame::Failure(Failure::new(FailureCode::Other, "no"))));
}

#[test]
fn a_fact_that_an_earlier_sidecar_does_not_know_is_not_told() {
    let none = || Err::<(), _>("why".to_owned());
    let health = HealthFacts {
        clock_ms: 1,
        static_files: none().map(|()| Vec::new()),
        kubeadm_backups: none().map(|()| Vec::new()),
        database_members: Ok(vec!["1".to_owned()]),
        unrecorded_promotions: Ok(vec!["1".to_owned()]),
        wal_fsync: none().map(|()| Waits::default()),
        peer_port_taken: none().map(|()| false),
    };
    let mut json = serde_json::to_value(&health).unwrap();
    assert_eq!(serde_json::from_value::<HealthFacts>(json.clone()).unwrap(), health);
    json.as_object_mut().unwrap().remove("unrecordedPromotions").expect("the field");
    let read: HealthFacts = serde_json::from_value(json).unwrap();
    assert!(read.unrecorded_promotions.unwrap_err().contains("another version"));
    assert_eq!(read.database_members, health.database_members);
}

/// One value of each kind of frame that holds too much of something; each is read while it is one less.
#[test]
fn what_a_frame_holds_has_bounds() {
    let text = |length: usize| "x".repeat(length);
    let texts = |count: usize| serde_json::Value::from(vec![""; count]);
    let hello = |version: usize, capabilities: usize| serde_json::json!({"version": text(version), "capabilities": texts(capabilities)});
    let failure = |message: usize, causes: usize, hint: usize| serde_json::json!({"code": "etcd", "message": text(message), "causes": texts(causes), "hint": text(hint)});
    let member = |errors: usize, url: usize| {
        let mut status = serde_json::to_value(NodeStatus::default()).unwrap();
        status["etcd"] = serde_json::to_value(etcd_wire::message::MemberStatus::default()).unwrap();
        status["etcd"]["errors"] = texts(errors);
        status["etcd"]["members"] =
            serde_json::json!([{"id": 1, "name": "", "peerUrls": [text(url)], "clientUrls": [], "learner": false}]);
        status["operation"] = "status".into();
        status
    };
    let list = |field: &str, count: usize, entry: serde_json::Value| {
        let mut status = member(0, 0);
        status["etcd"][field] = vec![entry; count].into();
        status
    };
    let alarms = |count| list("alarms", count, serde_json::json!({"memberId": 1, "kind": ""}));
    let manifests = |count: usize| {
        let files: serde_json::Map<_, _> = (0..count).map(|n| (n.to_string(), "".into())).collect();
        serde_json::json!({"operation": "facts", "manifests": files})
    };
    let notes = |events: usize, note: usize| {
        let event = serde_json::json!({"at": 1, "done": true, "note": text(note)});
        let plan = serde_json::json!({"id": "", "kind": {"kind": "snapshot", "bump": 1, "token": "", "skipHashCheck": false},
            "cluster": "", "startedBy": "", "coordinator": "", "nodes": [], "peerPort": 1});
        serde_json::json!({"operation": "restores", "restores": [{"plan": plan, "node": "", "begunAt": 1, "armed": true,
            "events": vec![event; events], "asideBytes": 1}]})
    };
    let request = |endpoints: usize, path: usize| {
        serde_json::json!({"operation": "status", "etcd": {"endpoints": texts(endpoints), "credentials": []},
            "certificates": [text(path)]})
    };
    // A field that this version does not know, which is read all the same.
    let unknown = |values: usize| {
        let lists = vec![texts(4000); values / 4001];
        serde_json::json!({"operation": "status", "certificates": [], "later": lists})
    };
    let far = |length: usize| serde_json::json!({"total": 1, "later": text(length)});
    let (small, body) = (1024, 64 << 10);
    for (what, kind, fits, over) in [
        ("version", 0x01, hello(small, 0), hello(small + 1, 0)),
        ("capabilities", 0x01, hello(0, 256), hello(0, 257)),
        ("message", 0x04, failure(16 << 10, 0, 0), failure((16 << 10) + 1, 0, 0)),
        ("causes", 0x04, failure(0, 128, 0), failure(0, 129, 0)),
        ("hint", 0x04, failure(0, 0, 16 << 10), failure(0, 0, (16 << 10) + 1)),
        ("errors of a member", 0x03, member(4096, 0), member(4097, 0)),
        ("URL of a member", 0x03, member(0, body), member(0, body + 1)),
        ("alarms", 0x03, alarms(4096), alarms(4097)),
        ("manifests", 0x03, manifests(4096), manifests(4097)),
        ("events", 0x03, notes(4096, 0), notes(4097, 0)),
        ("note", 0x03, notes(1, body), notes(1, body + 1)),
        ("endpoints", 0x02, request(4096, 0), request(4097, 0)),
        ("path", 0x02, request(0, body), request(0, body + 1)),
        ("values", 0x03, unknown(128_000), unknown(136_034)),
        ("begin", 0x05, far(small), far(small + 1)),
    ] {
        let fits = raw(kind, fits.to_string().as_bytes());
        assert!(matches!(alone(&fits), Ok(Some(_))), "{what}: {:?}", alone(&fits).map(|_| ()));
        let refused = alone(&raw(kind, over.to_string().as_bytes())).map(|_| ());
        assert!(matches!(refused, Err(WireError::Bound { .. })), "{what}: {refused:?}");
        assert!(!refused.unwrap_err().is_transport(), "{what}: another attempt would bring the same");
    }
    // Whoever reports a failure keeps within the bounds.
    let long = (0..1000).fold(Failure::new(FailureCode::Etcd, text(1 << 20)).hint(text(1 << 20)), |failure, _| {
        failure.cause("\u{e9}".repeat(1 << 12))
    });
    let mut bytes = Vec::new();
    Frame::Failure(long).encode(&mut bytes).unwrap();
    let Some(Frame::Failure(told)) = alone(&bytes).unwrap() else { panic!("no failure") };
    assert!(told.causes.len() == 32 && told.message.len() <= 4096 && told.message.ends_with(" [...]"));
    // What serde says of a value may hold the value.
    let strange = serde_json::json!({"version": [], "capabilities": text(1000)});
    let Err(WireError::Malformed { reason, .. }) = alone(&raw(0x01, strange.to_string().as_bytes())) else {
        panic!("read")
    };
    assert!(reason.len() <= 4096);
}

#[test]
fn a_stream_ends_where_it_was_announced_to() {
    let mut outgoing = Outgoing::new(Compression::None);
    let (first, second) = (outgoing.chunk(Bytes::from_static(b"ab")), outgoing.chunk(Bytes::from_static(b"cd")));
    let mut incoming = Incoming::new(3);
    incoming.accept(&first).unwrap();
    let over = incoming.accept(&second).unwrap_err();
    assert!(matches!(over, WireError::TooLong { limit: 3 }) && !over.is_transport());
    // Before it is decompressed.
    let bomb =
        Chunk { offset: 0, length: 4, checksum: 0, encoding: Encoding::Zstd, payload: Bytes::from_static(b"no zstd") };
    assert!(matches!(Incoming::new(3).accept(&bomb), Err(WireError::TooLong { limit: 3 })));
    let mut incoming = Incoming::new(4);
    assert!(incoming.accept(&first).is_ok() && incoming.accept(&second).is_ok());
}

#[test]
fn chunks_must_follow_each_other() {
    let mut outgoing = Outgoing::new(Compression::None);
    let (first, second) = (outgoing.chunk(Bytes::from_static(b"ab")), outgoing.chunk(Bytes::from_static(b"cd")));
    let mut incoming = Incoming::new(u64::MAX);
    assert!(matches!(incoming.accept(&second), Err(WireError::Offset { expected: 0, got: 2 })));
    incoming.accept(&first).unwrap();
    assert!(matches!(incoming.accept(&first), Err(WireError::Offset { expected: 2, got: 0 })));
    let short = End { length: 4, sha256: Sha256([0; 32]) };
    assert!(matches!(incoming.finish(&short), Err(WireError::Length { expected: 4, got: 2 })));
    let mut incoming = Incoming::new(u64::MAX);
    incoming.accept(&first).unwrap();
    let other = End { length: 2, sha256: Sha256([0; 32]) };
    assert!(matches!(incoming.finish(&other), Err(WireError::Sha256 { .. })));
}

#[test]
fn a_chunk_does_not_grow_beyond_its_length() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < CHUNK);
    for length in [1, CHUNK as u32] {
        let chunk = Chunk { offset: 0, length, checksum: 0, encoding: Encoding::Zstd, payload: bomb.clone().into() };
        assert!(matches!(chunk.open(), Err(WireError::Malformed { .. })), "{length}");
    }
    let less = zstd::bulk::compress(b"abc", 1).unwrap();
    let checksum = crc32c(b"abc");
    let chunk = Chunk { offset: 0, length: 4, checksum, encoding: Encoding::Zstd, payload: less.into() };
    assert!(matches!(chunk.open(), Err(WireError::Malformed { .. })));
    for length in [0, CHUNK as u32 + 1] {
        let header = [&[0; 8][..], &length.to_be_bytes(), &[0; 4], &[1]].concat();
        assert!(matches!(alone(&raw(0x06, &header)), Err(WireError::Malformed { .. })), "{length}");
    }
}

#[test]
fn the_largest_status_fits() {
    let status = NodeStatus { certificates: vec![Default::default(); 1000], ..Default::default() };
    let mut bytes = Vec::new();
    Frame::Reply(Reply::Status(Box::new(status))).encode(&mut bytes).unwrap();
    assert!(bytes.len() < MAX_FRAME);
}

/// What a later version tells of an API server's encryption is not an error.
#[test]
fn facts_of_a_later_version_are_read() {
    let facts = r#"{"disk":null,"manifests":{},"encryption":{"state":"rotating","since":7},"mood":"fine"}"#;
    let facts: NodeFacts = serde_json::from_str(facts).unwrap();
    assert_eq!((facts.encryption, facts.manifests), (Encryption::Unknown, Some(Default::default())));
}
