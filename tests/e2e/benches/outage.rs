//! For how long clients cannot write while a control plane of three nodes is restored.
//!
//! `KUBECTL_ETCD_BIN=target/debug/kubectl-etcd cargo bench -p e2e --bench outage --profile dev -- MEGABYTES [FAULT NODE STEP]` as root; `.ci/image` makes the
//! sidecar's image. With a fault the restore meets it as soon as the node's journal has the entry:
//!
//! * `hang`: its disk hangs, for good as far as the others know. It works again when they have ended.
//! * `fail`: its disk fails. Another one with the same contents is put in its place, and the node started again, when the others have ended.
//! * `kill`: its participant is killed.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use e2e::history::{Outcome, Write, Writers, check};
use e2e::restores::{during, journal, kill_at, reached, restore, settled, stage_with};
use e2e::trouble::fill;
use e2e::{Scene, run, until_within};
use lab::{Etcd, Options};

const LONG: Duration = Duration::from_secs(300);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let megabytes = number(0).unwrap_or(16);
    let nodes = std::env::var("OUTAGE_NODES").ok().and_then(|nodes| nodes.parse().ok()).unwrap_or(3);
    let fault = (words.get(1).map(String::as_str), words.get(2).map(String::as_str), words.get(3).map(String::as_str));
    // The new data is beside the old, and etcd preallocates its log.
    let disk = u32::try_from(megabytes * 4 + 900).expect("a size of a disk");
    let needs_disk = matches!(fault.0, Some("hang" | "fail"));
    let options = Options {
        nodes,
        etcd: Etcd::V3_5,
        etcd_quota: Some(8_000_000_000),
        node_disk: needs_disk.then_some(disk),
        ..Options::default()
    };
    let scene = stage_with(options);
    if megabytes > 1 {
        fill(&scene.lab, usize::try_from(megabytes).expect("a size of a database"));
        scene.ok(&["backup", "a.db", "-q", "--force"]);
        println!("a snapshot of {} bytes", scene.path("a.db").metadata().expect("a file").len());
    }
    let writers = Writers::start(&scene);
    let ran = match fault {
        (Some(fault), Some(node), Some(step)) => during(&scene, &[], |_| meet(&scene, fault, node, step)),
        _ => run(restore(&scene, &["-q"])),
    };
    println!("{}\n{}", ran.status, ran.stderr);
    until_within("all nodes have ended", LONG, || scene.lab.node_names().iter().all(|node| ended(&scene, node)));
    println!("{:?}", settled(&scene));
    let writes = writers.stop();
    check(&scene, &writes);
    for node in scene.lab.node_names() {
        println!("{node}: nobody can write for {:?} ms", gaps(writes.iter().filter(|write| write.node == node)));
    }
    println!("any: nobody can write for {:?} ms", gaps(writes.iter()));
    println!("{}", run(scene.plugin(&["restore", "--status"])).stdout);
}

fn ended(scene: &Scene, node: &str) -> bool {
    journal(scene, node).iter().any(|entry| entry == "restored" || entry == "wentBack")
}

/// Lets something happen to a node.
fn meet(scene: &Scene, fault: &str, node: &str, step: &str) {
    if fault == "kill" {
        return kill_at(scene, node, step);
    }
    reached(scene, node, step);
    let others: Vec<String> = scene.lab.node_names().into_iter().filter(|other| other != node).collect();
    match fault {
        "hang" => scene.lab.freeze_disk(node).expect("the disk hangs"),
        "fail" => scene.lab.fail_disk(node).expect("the disk fails"),
        other => panic!("{other:?} is no fault"),
    }
    let begun = std::time::Instant::now();
    until_within("the others end", LONG, || others.iter().all(|other| ended(scene, other)));
    println!(
        "{} s after the fault the others have ended: {:?}",
        begun.elapsed().as_secs_f32(),
        journal(scene, &others[0]).last()
    );
    match fault {
        "hang" => scene.lab.thaw_disk(node).expect("the disk works again"),
        _ => {
            scene.lab.power_off(node).expect("the node goes down");
            scene.lab.mend_disk(node).expect("another disk is in it");
            scene.lab.power_on(node).expect("the node comes up");
        }
    }
}

/// The three longest times, in milliseconds, between two writes that were acknowledged, from the answer to the answer.
fn gaps<'a>(writes: impl Iterator<Item = &'a Write>) -> Vec<i64> {
    let mut answered: Vec<i64> =
        writes.filter(|write| matches!(write.outcome, Outcome::Acknowledged(_))).map(|write| write.answered).collect();
    answered.sort_unstable();
    let mut gaps: Vec<i64> = answered.windows(2).map(|two| two[1] - two[0]).collect();
    gaps.sort_unstable_by_key(|gap| -gap);
    gaps.truncate(3);
    gaps
}
