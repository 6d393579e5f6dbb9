//! A copy of a backup that breaks half way: what is said, and what is left where it was going.
//!
//! Whatever happens, an object that has its name is whole, no record lies where another object of its backup is missing, no upload of parts
//! stays, and the same command goes on where it stopped.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use etcd_store::copy::{CopyError, copy, items};
use etcd_store::fetch::Found;
use etcd_store::layout::{Key, Part};
use etcd_store::{Store, Wanted};
use jiff::Timestamp;
use std::ops::ControlFlow;
use stores::{Act, Proxy, Seaweed, Seen};
use support::{Planted, Ran, bytes, keys, open, plugin, read, run, uid};

/// Two parts on their way into a store.
const DATA: usize = 9 << 20;

fn planted() -> Planted {
    Planted::new(&uid(), Timestamp::now(), bytes(DATA), Some(bytes(70_000)))
}

/// All objects of the only backup in a store, as the command copies them.
async fn copy_all(from: &Store, to: &Store) -> anyhow::Result<()> {
    let found = Found::find(from, None, &Wanted::Latest, None, Timestamp::now()).await?;
    let there = to.list(Some(&found.backup.cluster)).await?;
    for item in items(&found) {
        copy(&found, &item, to, &there, |_| ControlFlow::Continue(())).await?;
    }
    Ok(())
}

/// What can happen to a request. The length is for what is cut.
fn luck(length: usize) -> Vec<Act> {
    vec![
        Act::Refuse(500, "InternalError", ""),
        Act::Refuse(503, "SlowDown", ""),
        Act::Refuse(403, "AccessDenied", ""),
        Act::Drop,
        Act::CutRequest(300),
        Act::CutAnswer(0),
        Act::CutAnswer(40),
        Act::CutAnswer(length),
    ]
}

/// From a request on it goes on happening to that request, however often it is made.
fn always(unlucky: usize, act: Act) -> impl FnMut(&Seen) -> Act + Send + 'static {
    let mut target = None;
    move |seen| {
        if seen.index == unlucky {
            target = Some((seen.method.clone(), seen.target.clone()));
        }
        let hit = target.as_ref().is_some_and(|(method, target)| (method, target) == (&seen.method, &seen.target));
        if hit { act.clone() } else { Act::Pass }
    }
}

#[tokio::test]
async fn no_break_makes_half_a_copy() {
    let server = Seaweed::start().unwrap();
    let (from, to) = (Proxy::start(server.port()).unwrap(), Proxy::start(server.port()).unwrap());
    let source = open(&from.url("from"), from.variables());
    let target = open(&to.url("to"), to.variables());
    let lucky = open(&server.url("to"), server.variables());
    let backup = planted();
    backup.put(&open(&server.url("from"), server.variables())).await;
    for proxy in [&from, &to] {
        proxy.decide(|_| Act::Pass);
    }
    copy_all(&source, &target).await.unwrap();
    let requests = [from.seen().len(), to.seen().len()];
    // The listing, the record, and the other three objects; the listing, four requests for the two parts, and the other three objects.
    assert_eq!(requests, [5, 8]);
    take_away(&lucky).await;
    // Uploads that the store has begun and nobody knows of, because the answer got lost.
    let mut lost = 0;
    for (unlucky_side, count) in [(&from, requests[0]), (&to, requests[1])] {
        for unlucky in 0..count {
            for act in luck(DATA / 2) {
                let is_target = std::ptr::eq(unlucky_side, &to);
                let what =
                    format!("{act:?} of request {unlucky} of the {}", if is_target { "target" } else { "source" });
                from.decide(|_| Act::Pass);
                to.decide(|_| Act::Pass);
                unlucky_side.decide(always(unlucky, act.clone()));
                let done = copy_all(&source, &target).await;
                let seen = unlucky_side.seen();
                judge(&lucky, &backup, &done, &what).await;
                if matches!(act, Act::CutAnswer(_))
                    && seen[unlucky].method == "POST"
                    && seen[unlucky].target.contains("uploads")
                {
                    // The answer is short: half of the object's length cuts nothing of it.
                    lost += if act == Act::CutAnswer(DATA / 2) { 0 } else { seen.len() - unlucky };
                }
                assert_eq!(server.incomplete_uploads().unwrap(), lost, "{what}: {done:?}");
                // The same command goes on where it stopped.
                if done.is_err() {
                    from.decide(|_| Act::Pass);
                    to.decide(|_| Act::Pass);
                    copy_all(&source, &target).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
                    judge(&lucky, &backup, &Ok(()), &what).await;
                }
                take_away(&lucky).await;
            }
        }
    }
    // A source whose connection is cut once, after any byte, is read to its end.
    for cut in (0..DATA + 600).step_by(DATA / 9) {
        from.decide(move |seen| if seen.index == 2 { Act::CutAnswer(cut) } else { Act::Pass });
        copy_all(&source, &target).await.unwrap_or_else(|error| panic!("cut at {cut}: {error:#}"));
        judge(&lucky, &backup, &Ok(()), &format!("cut at {cut}")).await;
        take_away(&lucky).await;
    }
}

async fn take_away(store: &Store) {
    for key in keys(store).await {
        store.delete(&key).await.unwrap();
    }
}

async fn judge(store: &Store, backup: &Planted, done: &anyhow::Result<()>, what: &str) {
    let there = keys(store).await;
    for key in &there {
        let found = read(store, key).await;
        assert!(found == backup.bytes_of(key), "{what}: {key} has {} bytes", found.len());
    }
    let (is_whole, has_record) = (there.len() == backup.objects.len(), backup.has_record_in(&there));
    assert!(is_whole || !has_record, "{what}: a backup without {there:?}");
    match done {
        Ok(()) => assert!(is_whole, "{what}: said to be copied"),
        Err(error) => {
            let unknown = matches!(error.downcast_ref(), Some(CopyError::Store(error)) if error.is_outcome_unknown());
            assert!(!has_record || unknown, "{what}: {error:#}, and it is there");
        }
    }
}

/// A break of the plugin's copy, and what it comes to.
struct Break {
    what: &'static str,
    /// What happens to requests at the source, and at the target.
    source: fn(&Seen, usize) -> Act,
    target: fn(&Seen, usize) -> Act,
    to: To,
    code: i32,
    said: &'static [&'static str],
    /// Which objects are left.
    left: fn(&Part) -> bool,
}

#[derive(Clone, Copy, PartialEq)]
enum To {
    File,
    Folder,
    Store,
}

fn pass(_: &Seen, _: usize) -> Act {
    Act::Pass
}

/// The connection is cut in the middle of the snapshot, and no other is to be had.
fn cut_data(seen: &Seen, before: usize) -> Act {
    match (seen.target.ends_with(".db.zst.age"), before) {
        (false, _) => Act::Pass,
        (true, 0) => Act::CutAnswer(5_000_001),
        (true, _) => Act::Drop,
    }
}

const BREAKS: [Break; 11] = [
    Break {
        what: "the source is cut once",
        source: |seen, before| if before == 0 { cut_data(seen, 0) } else { Act::Pass },
        target: pass,
        to: To::File,
        code: 0,
        said: &["copied"],
        left: |part| matches!(part, Part::Data { .. }),
    },
    Break {
        what: "the source goes away, and the copy is a file",
        source: cut_data,
        target: pass,
        to: To::File,
        code: 1,
        said: &["cannot read v1/", "the connection broke", "hint: "],
        left: |_| false,
    },
    Break {
        what: "the source goes away, and the copy is a folder",
        source: cut_data,
        target: pass,
        to: To::Folder,
        code: 1,
        said: &["the connection broke", "without its record it is no backup", "go on with\n  kubectl etcd copy "],
        left: |_| false,
    },
    Break {
        what: "the source goes away, and the copy is a store",
        source: cut_data,
        target: pass,
        to: To::Store,
        code: 1,
        said: &["the connection broke", "without its record it is no backup", "go on with\n  kubectl etcd copy "],
        left: |_| false,
    },
    Break {
        what: "the source gives no node files",
        source: |seen, _| if seen.target.contains(".node.tar") { Act::Refuse(503, "SlowDown", "") } else { Act::Pass },
        target: pass,
        to: To::Folder,
        code: 1,
        said: &["asks for fewer requests", "without its record it is no backup"],
        left: |part| matches!(part, Part::Data { .. }),
    },
    Break {
        what: "the source has a fault",
        source: |seen, before| {
            if seen.target.contains(".json.sig") && before > 0 {
                Act::Refuse(500, "InternalError", "")
            } else {
                Act::Pass
            }
        },
        target: pass,
        to: To::Store,
        code: 1,
        said: &["a fault of its own", "without its record it is no backup"],
        left: |part| matches!(part, Part::Data { .. } | Part::NodeFiles),
    },
    Break {
        what: "the target takes no second part",
        source: pass,
        target: |seen, _| {
            if seen.target.contains("partNumber=2") { Act::Refuse(500, "InternalError", "") } else { Act::Pass }
        },
        to: To::Store,
        code: 1,
        said: &["cannot write v1/", "a fault of its own", "without its record it is no backup"],
        left: |_| false,
    },
    Break {
        what: "the target is cut in a part",
        source: pass,
        target: |seen, _| if seen.target.contains("partNumber=1") { Act::CutRequest(4_000_000) } else { Act::Pass },
        to: To::Store,
        code: 1,
        said: &["cannot write v1/", "the connection broke", "without its record it is no backup"],
        left: |_| false,
    },
    Break {
        what: "the token expires while the source is read",
        source: |seen, _| if seen.index < 3 { Act::Pass } else { Act::Refuse(400, "ExpiredToken", "") },
        target: pass,
        to: To::Folder,
        code: 1,
        said: &[
            "the credential has expired: ExpiredToken",
            "get a new credential",
            "without its record it is no backup",
        ],
        left: |_| false,
    },
    // The parts that were sent cannot be taken back with a token that has expired: that is said.
    Break {
        what: "the token expires while the target is written",
        source: pass,
        target: |seen, _| if seen.index < 3 { Act::Pass } else { Act::Refuse(400, "ExpiredToken", "") },
        to: To::Store,
        code: 1,
        said: &[
            "cannot write v1/",
            "the credential has expired: ExpiredToken",
            ".db.zst.age stay in the store, where no listing shows them",
            "get a new credential",
            "without its record it is no backup",
            "go on with\n  kubectl etcd copy ",
        ],
        left: |_| false,
    },
    Break {
        what: "the target takes no record",
        source: pass,
        target: |seen, _| if seen.target.ends_with(".json") { Act::Refuse(503, "SlowDown", "") } else { Act::Pass },
        to: To::Store,
        code: 1,
        said: &["asks for fewer requests", "without its record it is no backup", "go on with\n  kubectl etcd copy "],
        left: |part| *part != Part::Record,
    },
];

/// The same through the plugin, which waits as long as it waits for a user.
#[tokio::test]
async fn a_copy_that_breaks_says_so_and_goes_on() {
    let server = Arc::new(Seaweed::start().unwrap());
    let backup = planted();
    backup.put(&open(&server.url("from"), server.variables())).await;
    // All at once: they mostly wait.
    let all = thread::scope(|scope| {
        let run = |index| {
            let (server, backup) = (&server, &backup);
            scope.spawn(move || breaks(&BREAKS[index], &format!("to{index}"), server, backup))
        };
        let running: Vec<_> = (0..BREAKS.len()).map(run).collect();
        running.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for (index, ended) in all.into_iter().enumerate() {
        assert!(ended.is_ok(), "{}", BREAKS[index].what);
        if BREAKS[index].to == To::Store {
            let there = keys(&open(&server.url(&format!("to{index}")), server.variables())).await;
            assert_eq!(there.len(), backup.objects.len(), "{}", BREAKS[index].what);
        }
    }
    // Of the token that has expired.
    assert_eq!(server.incomplete_uploads().unwrap(), 1);
}

fn counted(decide: fn(&Seen, usize) -> Act) -> impl FnMut(&Seen) -> Act + Send + 'static {
    let mut before = std::collections::BTreeMap::new();
    move |seen| {
        let count = before.entry((seen.method.clone(), seen.target.clone())).or_insert(0_usize);
        *count += 1;
        decide(seen, *count - 1)
    }
}

fn breaks(one: &Break, prefix: &str, server: &Seaweed, backup: &Planted) {
    let what = one.what;
    let (from, to) = (Proxy::start(server.port()).unwrap(), Proxy::start(server.port()).unwrap());
    from.decide(counted(one.source));
    to.decide(counted(one.target));
    let folder = tempfile::tempdir().unwrap();
    let address = match one.to {
        To::File => folder.path().join("a.db.zst.age").display().to_string(),
        To::Folder => folder.path().display().to_string(),
        To::Store => to.url(prefix),
    };
    let latest = from.url("from/latest");
    let copy = || {
        run(plugin(
            &["copy", &latest, &address, "--trust-key", support::trust_key().to_str().unwrap()],
            from.variables(),
        ))
    };
    let Ran { code, stdout, stderr } = copy();
    assert_eq!(code, Some(one.code), "{what}: {stderr}");
    for text in one.said {
        assert!(stderr.contains(text), "{what}: {text}: {stderr}");
    }
    assert_eq!(stdout.is_empty(), one.code != 0, "{what}: {stdout}");
    let expected: Vec<&(Key, bytes::Bytes)> = backup.objects.iter().filter(|(key, _)| (one.left)(&key.part)).collect();
    match one.to {
        To::File if one.code == 0 => assert!(std::fs::read(&address).unwrap() == *expected[0].1, "{what}"),
        To::File => assert_eq!(names(folder.path()), [""; 0], "{what}"),
        To::Folder => {
            let mut files: Vec<String> = expected.iter().map(|(key, _)| key.file()).collect();
            files.sort();
            assert_eq!(names(folder.path()), files, "{what}");
            for (key, bytes) in &expected {
                assert!(std::fs::read(folder.path().join(key.file())).unwrap() == *bytes, "{what}: {key}");
            }
        }
        To::Store => {
            let listed = run(plugin(&["list", &server.url(prefix), "-o", "json"], server.variables()));
            let items = listed.json()["items"].as_array().unwrap().clone();
            assert!(items.iter().all(|item| item["state"] == "unfinished"), "{what}: {items:?}");
            assert_eq!(items.len(), usize::from(!expected.is_empty()), "{what}: {items:?}");
        }
    }
    // The store is there again.
    from.decide(|_| Act::Pass);
    to.decide(|_| Act::Pass);
    if one.code != 0 {
        let again = copy();
        assert_eq!(again.code, Some(0), "{what}: {}", again.stderr);
        let kept = if one.to != To::File && !expected.is_empty() { "were there already" } else { "copied" };
        assert!(again.stderr.contains(kept), "{what}: {}", again.stderr);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
