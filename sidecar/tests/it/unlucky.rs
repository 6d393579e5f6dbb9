//! The pod of a schedule with a real server of S3: killed at every moment, on a node that goes off, with a credential that expires, and twice at
//! once. Whatever happens, what looks like a backup is one.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process};
use stores::{Act, Proxy, Seaweed};

use crate::backup::{Node, RECIPIENT, stalling};

fn tick(node: &Node, flags: &[&str]) -> Child {
    let spool = node.path("spool").display().to_string();
    node.start("backup", &[&["--recipient", RECIPIENT, "--spool", &spool], flags].concat())
}

#[tokio::test]
async fn a_pod_that_ends_during_an_upload_leaves_no_backup() {
    let server = Seaweed::start().unwrap();
    let node = Node::with(Some((server.url("prod"), server.variables())));
    node.member.fill(130, 120_000);
    // The first part has gone, and the rest of the snapshot does not come.
    node.manifests(&stalling(&node.member.url, 14 << 20));
    for (signal, left) in [(Signal::TERM, 0), (Signal::KILL, 1)] {
        let mut sidecar = tick(&node, &[]);
        let log = BufReader::new(sidecar.stderr.take().unwrap()).lines().map_while(Result::ok);
        while server.incomplete_uploads().unwrap() == 0 {
            assert!(sidecar.try_wait().unwrap().is_none(), "it runs");
        }
        kill_process(Pid::from_child(&sidecar), signal).unwrap();
        let told = log.collect::<Vec<_>>().join("\n");
        let code = sidecar.wait().unwrap().code();
        if signal == Signal::TERM {
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains("ended by SIGTERM") && told.contains("no backup was added to the store"), "{told}");
        }
        // What a killed pod has sent is no object: docs/STORE.md says what takes it away.
        assert_eq!(server.incomplete_uploads().unwrap(), left, "{signal:?}: {told}");
        assert_eq!(node.stored().await.1, 0, "{signal:?}: {told}");
        node.nothing_in_clear();
    }
    // The next tick is not in its way.
    node.manifests(&node.member.url);
    let (code, log) = node.backup(&["--every", "1h"]);
    assert_eq!(code, Some(0), "{log}");
    let (records, objects) = node.stored().await;
    assert_eq!((records.len(), objects), (1, 2));
    node.nothing_in_clear_at(&server);
}

#[tokio::test]
async fn a_pod_that_ends_at_any_request_leaves_a_whole_backup_or_none() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    for signal in [Signal::KILL, Signal::TERM] {
        let node = Node::with(Some((proxy.url(&format!("{signal:?}")), proxy.variables())));
        let mut whole = 0;
        for unlucky in 0.. {
            let (pid, hit) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
            let (its, was_hit) = (Arc::clone(&pid), Arc::clone(&hit));
            proxy.decide(move |seen| {
                if seen.index != unlucky {
                    return Act::Pass;
                }
                was_hit.store(true, Ordering::SeqCst);
                kill_process(*its.wait(), signal).unwrap();
                // What a killed pod has asked last is not heard; who is told to end has asked.
                if signal == Signal::KILL { Act::Drop } else { Act::Pass }
            });
            let sidecar = tick(&node, &[]);
            pid.set(Pid::from_child(&sidecar)).unwrap();
            let output = sidecar.wait_with_output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            proxy.decide(|_| Act::Pass);
            let (records, objects) = node.stored().await;
            let what = format!("{signal:?} at request {unlucky}: {log}");
            assert_eq!(server.incomplete_uploads().unwrap(), 0, "{what}");
            match records.len() - whole {
                0 => assert!(!output.status.success() && !log.contains("is in the store"), "{what}"),
                added => assert_eq!(added, 1, "{what}"),
            }
            whole = records.len();
            // Only a pod that is killed leaves an object of which nobody knows.
            assert!(signal == Signal::KILL || objects == 2 * whole, "{what}");
            if !hit.load(Ordering::SeqCst) {
                assert!(output.status.success() && unlucky > 3, "{what}");
                break;
            }
        }
        assert!(whole > 0);
        node.nothing_in_clear_at(&server);
    }
}

#[tokio::test]
async fn two_ticks_at_once_end_well() {
    let server = Seaweed::start().unwrap();
    let node = Node::with(Some((server.url("prod"), server.variables())));
    let both = [(); 2].map(|()| tick(&node, &["--every", "1h"]));
    for sidecar in both {
        let output = sidecar.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (records, objects) = node.stored().await;
    assert!(matches!(records.len(), 1 | 2), "{records:?}");
    assert_eq!((objects, server.incomplete_uploads().unwrap()), (2 * records.len(), 0));
    let (code, log) = node.backup(&["--every", "1h"]);
    assert!(code == Some(0) && log.contains("nothing to do"), "{log}");
}

#[tokio::test]
async fn a_token_that_expires_during_a_tick_leaves_no_backup() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let node = Node::with(Some((proxy.url("prod"), proxy.variables())));
    let (mut whole, mut left) = (0, 0);
    for last in 0.. {
        proxy.decide(move |seen| if seen.index < last { Act::Pass } else { Act::Refuse(400, "ExpiredToken", "") });
        let (code, log) = node.backup(&["--node-files"]);
        let was_refused = proxy.seen().len() > last;
        proxy.decide(|_| Act::Pass);
        let (records, objects) = node.stored().await;
        let what = format!("from request {last} on: {log}");
        if !was_refused {
            assert!(code == Some(0) && last > 4, "{what}");
            break;
        }
        assert!(log.contains("the credential has expired"), "{what}");
        match records.len() - whole {
            0 => {
                assert!(code == Some(1) && log.contains("get a new credential"), "{what}");
                assert!(!log.contains(" is in the store"), "{what}");
                // Each object that cannot be taken back is told, also where nothing can be listed.
                assert!(log.matches(" may be in the store: ").count() >= objects - left - 3 * whole, "{what}");
            }
            // Only the look at what was written could not be taken.
            added => assert!(code == Some(0) && added == 1 && log.contains("were not compared"), "{what}"),
        }
        whole = records.len();
        left = objects - 3 * whole;
    }
    assert!(left > 0, "some objects could not be taken back");
    assert_eq!(server.incomplete_uploads().unwrap(), 0);
    node.nothing_in_clear_at(&server);
}

/// A node that goes off neither ends its connections nor says anything: its processes stop. One that was only away goes on where it was.
#[tokio::test]
async fn a_tick_on_a_node_that_goes_off_is_made_up_for_by_the_next() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let [mut first, mut second, _third] = Node::three();
    let stop = |pid: Pid| kill_process(pid, Signal::STOP).unwrap();
    for unlucky in 0.. {
        let prefix = format!("off-at-{unlucky}");
        first.store_in(proxy.url(&prefix), proxy.variables());
        second.store_in(server.url(&prefix), server.variables());
        let (pid, (hit, hits)) = (Arc::new(OnceLock::new()), channel());
        let its = Arc::clone(&pid);
        proxy.decide(move |seen| {
            if seen.index == unlucky {
                stop(*its.wait());
                hit.send(()).unwrap();
            }
            // What it has asked last is heard, or not.
            if seen.index == unlucky && unlucky % 2 == 0 { Act::Drop } else { Act::Pass }
        });
        let mut sidecar = tick(&first, &["--every", "1h"]);
        pid.set(Pid::from_child(&sidecar)).unwrap();
        let is_off = loop {
            match (hits.recv_timeout(Duration::from_millis(20)), sidecar.try_wait().unwrap()) {
                (Ok(()), _) => break true,
                (_, Some(_)) => break hits.try_recv().is_ok(),
                _ => {}
            }
        };
        if !is_off {
            assert!(sidecar.wait().unwrap().success() && unlucky > 3);
            break;
        }
        let (before, left) = second.stored().await;
        assert!(before.len() <= 1 && left <= 2, "{unlucky}: {before:?}");
        // The next tick is on another node. It takes what is whole for the backup of this hour, and nothing else.
        let (code, log) = second.backup(&["--every", "1h"]);
        assert_eq!(code, Some(0), "{unlucky}: {log}");
        assert_eq!(log.contains("nothing to do"), before.len() == 1, "{unlucky}: {log}");
        assert_eq!(log.contains("is in the store"), before.is_empty(), "{unlucky}: {log}");
        let (records, objects) = second.stored().await;
        assert_eq!((records.len(), objects), (1, if before.is_empty() { left + 2 } else { left }), "{unlucky}: {log}");
        // The node comes back: its pod goes on, and completes its own or leaves nothing. One that does not come back leaves what it has left.
        let comes_back = unlucky % 3 != 0;
        kill_process(Pid::from_child(&sidecar), if comes_back { Signal::CONT } else { Signal::KILL }).unwrap();
        let output = sidecar.wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        let (records, objects) = second.stored().await;
        match comes_back {
            true => assert_eq!((output.status.success(), objects), (true, 2 * records.len()), "{unlucky}: {log}"),
            false => assert!(!output.status.success() && records.len() == 1, "{unlucky}: {log}"),
        }
        assert_eq!(server.incomplete_uploads().unwrap(), 0, "{unlucky}: {log}");
        let (code, log) = second.backup(&["--every", "1h"]);
        assert!(code == Some(0) && log.contains("nothing to do"), "{unlucky}: {log}");
    }
    // With the node its member is off, too: another one is taken, which follows.
    second.store_in(server.url("without-a-member"), server.variables());
    first.member.signal(Signal::STOP);
    let (code, log) = second.backup(&["--every", "1h"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("member m0 does not answer") && log.contains("from member m1: "), "{log}");
    assert_eq!(second.stored().await.0.len(), 1);
    first.member.signal(Signal::CONT);
    second.nothing_in_clear_at(&server);
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_takes_no_backup() {
    let server = Seaweed::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let node = Node::with(Some((proxy.url("prod"), proxy.variables())));
    for hours in [1, -1] {
        proxy.decide(move |_| Act::Later(SignedDuration::from_hours(hours)));
        let (code, log) = node.backup(&["--every", "1h"]);
        assert_eq!(code, Some(4), "{log}");
        assert!(log.contains("differs too much from the clock of the store"), "{log}");
        assert!(
            log.contains("set the clock of this node") && log.contains("no backup was added to the store"),
            "{log}"
        );
        proxy.decide(|_| Act::Pass);
        assert_eq!(node.stored().await.1, 0);
    }
}
