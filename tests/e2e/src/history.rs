//! Writes that go on while something happens to the cluster, and the check that none that was acknowledged is lost.
//!
//! A thread a node makes numbered config maps through the node's own API server and notes what became of each. At the end
//! every acknowledged one is in the serving state, or a restore that committed has replaced the state that it was in, or
//! it is in data that a node's journal says was kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use lab::Client;
use serde_json::{Value, json};

use crate::{Scene, run, until};

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// Between two writes through one API server: each is a TLS handshake.
const PAUSE: Duration = Duration::from_millis(250);

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The API server has answered that it is stored, at this revision.
    Acknowledged(i64),
    /// It is not stored: it was not sent, or was refused.
    Failed(String),
    /// It may be stored or not: there was no answer, or one that does not tell.
    Unknown(String),
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// The name of its config map.
    pub name: String,
    /// The node whose API server was asked.
    pub node: String,
    /// When it was sent, in milliseconds since 1970.
    pub sent: i64,
    /// When it was answered, or given up.
    pub answered: i64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Writers that run until they are [stopped](Writers::stop).
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Write>>>,
}

impl Writers {
    /// Starts a writer a node, and waits until each has been acknowledged once.
    #[track_caller]
    pub fn start(scene: &Scene) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let (first, acknowledged) = std::sync::mpsc::channel();
        let nodes = scene.lab.node_names();
        let writer = |node: &String| {
            let client = scene.lab.client(node).expect("a client of the node's API server");
            let (node, stop, first) = (node.clone(), Arc::clone(&stop), first.clone());
            std::thread::spawn(move || write(&client, &node, &stop, || first.send(()).unwrap_or_default()))
        };
        let threads = nodes.iter().map(writer).collect();
        let writers = Writers { stop, threads };
        for _ in &nodes {
            acknowledged.recv_timeout(crate::PATIENCE).expect("every API server takes a write");
        }
        writers
    }

    /// Ends the writers, and gives all that they wrote.
    #[track_caller]
    pub fn stop(mut self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().flat_map(|thread| thread.join().expect("a writer does not panic")).collect()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // A test that fails before it stops them has no use for what they say.
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(client: &Client, node: &str, stop: &AtomicBool, acknowledged: impl Fn()) -> Vec<Write> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut writes = Vec::new();
    let mut told = false;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("history-{node}-{:06}", writes.len());
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "v": name } });
        let sent = now();
        let answer = runtime.block_on(client.call(Method::POST, COLLECTION, Some(&object)));
        let outcome = match answer {
            Ok((status, object)) => outcome(status.as_u16(), &object),
            Err(error) if error.downcast_ref().is_some_and(nobody_listened) => Outcome::Failed(format!("{error:#}")),
            Err(error) => Outcome::Unknown(format!("{error:#}")),
        };
        if !told && matches!(outcome, Outcome::Acknowledged(_)) {
            told = true;
            acknowledged();
        }
        writes.push(Write { name, node: node.to_owned(), sent, answered: now(), outcome });
        std::thread::sleep(PAUSE);
    }
    writes
}

/// What an answer says. A server that answers 5xx may have handed the write to etcd before.
fn outcome(status: u16, answer: &Value) -> Outcome {
    let revision = answer["metadata"]["resourceVersion"].as_str().and_then(|revision| revision.parse().ok());
    match (status, revision) {
        (201, Some(revision)) => Outcome::Acknowledged(revision),
        (400..500, _) => Outcome::Failed(answer.to_string()),
        _ => Outcome::Unknown(format!("{status}: {answer}")),
    }
}

/// Nothing was sent, then.
fn nobody_listened(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionRefused
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

/// Asserts that no acknowledged write is lost, and that none that was refused is stored. To be called when the cluster serves
/// again and before the journals and the old data are cleaned up.
///
/// A write counts as replaced when its API server acknowledged it before that was stopped for a restore, or a rollback, that
/// committed. Kept data has a write if the write's key is in its database or its log.
#[track_caller]
pub fn check(scene: &Scene, writes: &[Write]) {
    let stored = stored(scene);
    let journals: Vec<Journal> = scene.lab.node_names().iter().flat_map(|node| Journal::all(scene, node)).collect();
    let kept: Vec<PathBuf> = journals.iter().flat_map(|journal| journal.kept.clone()).collect();
    let wrong =
        judge(writes, &stored, |write| replaced(&journals, write), |write| kept.iter().any(|path| has(path, write)));
    let restores: Vec<_> = journals.iter().map(|one| (&one.node, &one.id, one.stopped, one.committed)).collect();
    assert!(
        wrong.is_empty(),
        "of {} writes:\n{}\nrestores: {restores:?}, kept: {kept:?}",
        writes.len(),
        wrong.join("\n")
    );
}

/// What is wrong with each write with which something is.
fn judge(
    writes: &[Write],
    stored: &BTreeMap<String, String>,
    replaced: impl Fn(&Write) -> bool,
    kept: impl Fn(&Write) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for write in writes {
        let found = stored.get(&write.name);
        match &write.outcome {
            _ if found.is_some_and(|value| *value != write.name) => {
                wrong.push(format!("changed: {write:?}: {found:?}"))
            }
            Outcome::Acknowledged(_) if found.is_none() && !replaced(write) && !kept(write) => {
                wrong.push(format!("lost: {write:?}"));
            }
            Outcome::Failed(_) if found.is_some() => wrong.push(format!("refused, and stored: {write:?}")),
            Outcome::Acknowledged(_) | Outcome::Failed(_) | Outcome::Unknown(_) => {}
        }
    }
    wrong
}

/// The config maps that are served, with their values.
#[track_caller]
fn stored(scene: &Scene) -> BTreeMap<String, String> {
    let mut stored = BTreeMap::new();
    until("an API server serves", || {
        let listed = run(scene.kubectl(&["get", "configmaps", "-n", "default", "-o", "json", "--request-timeout=30s"]));
        // kubectl prints an empty list, and exits with 1, where the API server ends before its answer.
        let list = listed.status.success().then(|| serde_json::from_str::<Value>(&listed.stdout));
        let Some(Ok(list)) = list else { return false };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().expect("a list");
        stored = items.iter().map(|one| (text(&one["metadata"]["name"]), text(&one["data"]["v"]))).collect();
        true
    });
    stored
}

/// What a node's journal of one restore says of writes.
#[derive(Debug)]
struct Journal {
    node: String,
    id: String,
    /// When the node's API server was stopped for it.
    stopped: Option<i64>,
    committed: bool,
    /// Data that was kept, on this machine.
    kept: Vec<PathBuf>,
}

impl Journal {
    fn all(scene: &Scene, node: &str) -> Vec<Journal> {
        let root = scene.lab.node_root(node);
        let folder = root.join("var/lib/kubectl-etcd");
        if !folder.exists() {
            return Vec::new();
        }
        let ids = crate::names(&folder).into_iter().filter(|id| folder.join(id).join("journal").is_file());
        let read = |id: String| {
            let text = std::fs::read_to_string(folder.join(&id).join("journal")).expect("a journal is read");
            Journal::read(node, id, &text, &root)
        };
        ids.map(read).collect()
    }

    /// A last line that is cut counts as not written.
    fn read(node: &str, id: String, text: &str, root: &Path) -> Journal {
        let mut journal = Journal { node: node.to_owned(), id, stopped: None, committed: false, kept: Vec::new() };
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(9..)?).ok()) {
            match line["entry"].as_str() {
                Some("step") if line["step"] == "stopApi" && line["done"] == true => {
                    journal.stopped = line["at"].as_i64()
                }
                Some("decided") if line["decision"] == "commit" => journal.committed = true,
                Some("kept") => {
                    let path = line["path"].as_str().expect("what was kept has a path");
                    journal.kept.push(root.join(path.trim_start_matches('/')));
                }
                _ => {}
            }
        }
        journal
    }
}

/// Whether a restore that committed has replaced the state in which the write was acknowledged.
fn replaced(journals: &[Journal], write: &Write) -> bool {
    let committed = |id: &str| journals.iter().any(|journal| journal.id == id && journal.committed);
    let before = |journal: &Journal| journal.stopped.is_some_and(|stopped| write.answered <= stopped);
    journals.iter().any(|journal| journal.node == write.node && before(journal) && committed(&journal.id))
}

/// Whether a folder of kept data has the write's key in one of its files.
fn has(path: &Path, write: &Write) -> bool {
    if path.is_dir() {
        return crate::names(path).iter().any(|name| has(&path.join(name), write));
    }
    let key = format!("/registry/configmaps/default/{}", write.name);
    std::fs::read(path).is_ok_and(|bytes| memchr::memmem::find(&bytes, key.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(node: &str, number: usize, answered: i64, outcome: Outcome) -> Write {
        Write {
            name: format!("history-{node}-{number:06}"),
            node: node.to_owned(),
            sent: answered - 5,
            answered,
            outcome,
        }
    }

    fn line(json: &Value) -> String {
        format!("01234567 {json}\n")
    }

    #[test]
    fn a_write_is_lost_unless_it_is_stored_or_was_replaced_or_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("var/lib/etcd/kept/member/snap");
        std::fs::create_dir_all(&kept).expect("a folder");
        std::fs::write(kept.join("db"), b"..\x12/registry/configmaps/default/history-cp2-000001..")
            .expect("a database");
        let text = |node: &str, stopped: i64| {
            line(&json!({ "at": 1, "entry": "armed" }))
                + &line(&json!({ "at": stopped - 50, "entry": "step", "step": "stopApi", "done": false }))
                + &line(&json!({ "at": stopped, "entry": "step", "step": "stopApi", "done": true }))
                + &line(&json!({ "at": 300, "entry": "kept", "path": "/var/lib/etcd/kept", "why": "etcd ran on it" }))
                // Only one of them has heard it yet.
                + if node == "cp1" { r#"01234567 {"at": 400, "entry": "decided", "decision": "commit", "why": "all"}"# } else { "0123" }
        };
        let journal = |node: &str, stopped| Journal::read(node, "7".to_owned(), &text(node, stopped), folder.path());
        let journals = [journal("cp1", 100), journal("cp2", 120)];
        assert_eq!((journals[1].stopped, journals[1].committed), (Some(120), false));

        let acknowledged = |node, number, at| written(node, number, at, Outcome::Acknowledged(at));
        let writes = [
            acknowledged("cp1", 0, 100),
            acknowledged("cp1", 1, 101),
            acknowledged("cp2", 0, 120),
            acknowledged("cp2", 1, 250),
            acknowledged("cp2", 2, 500),
            written("cp2", 3, 510, Outcome::Unknown("no answer".to_owned())),
            written("cp2", 4, 520, Outcome::Failed("refused".to_owned())),
            written("cp2", 5, 530, Outcome::Failed("refused".to_owned())),
            acknowledged("cp2", 6, 540),
        ];
        let stored = [("history-cp2-000002", "history-cp2-000002"), ("history-cp2-000004", "history-cp2-000004")];
        let mut stored: BTreeMap<_, _> =
            stored.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        stored.insert("history-cp2-000006".to_owned(), "another".to_owned());
        let is_kept = |write: &Write| journals.iter().flat_map(|journal| &journal.kept).any(|path| has(path, write));
        let wrong = judge(&writes, &stored, |write| replaced(&journals, write), is_kept);
        let of = |what: &str, name: &str| wrong.iter().any(|one| one.starts_with(what) && one.contains(name));
        assert!(of("lost", "history-cp1-000001") && of("refused, and stored", "history-cp2-000004"), "{wrong:?}");
        assert!(of("changed", "history-cp2-000006") && wrong.len() == 3, "{wrong:?}");
        // A restore that was not committed replaces no write.
        let uncommitted = [journal("cp2", 120)];
        assert!(!replaced(&uncommitted, &writes[2]));
    }

    #[test]
    fn only_a_plain_answer_is_believed() {
        let made = json!({ "metadata": { "resourceVersion": "12" } });
        assert_eq!(outcome(201, &made), Outcome::Acknowledged(12));
        assert!(matches!(outcome(201, &json!("cut off")), Outcome::Unknown(_)));
        assert!(matches!(outcome(409, &json!({})), Outcome::Failed(_)));
        assert!(matches!(outcome(500, &json!({})), Outcome::Unknown(_)));
    }
}
