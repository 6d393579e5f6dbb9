//! An operator on a node, with journals on a disk and a participant that hears what it is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use etcd_transaction::{Answer, Ballot, Ending, Entry as Fact, How, Step};
use etcd_wire::restore::{Control, Identity, Live, ParticipantState, RestoreNode};
use tempfile::TempDir;

use super::super::journal::{Entry, FORMAT, Journal, PROTOCOL};
use super::super::layout::Layout;
use super::super::layout::tests::plan;
use super::super::network::{Heard, Network};
use super::super::{control, identity};
use super::args::Format;
use super::*;

/// Nodes cp1 to cpN on loopback addresses, each with a folder of its own. The commands are given on cp1, which coordinates.
struct Nodes {
    root: TempDir,
    port: u16,
    count: usize,
    identities: Vec<Identity>,
}

impl Nodes {
    fn new(count: usize) -> Nodes {
        let root = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind(("127.0.0.2", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        Nodes { root, port, count, identities: identities("x", count).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn layout(&self, index: usize) -> Layout {
        let root = self.path(&format!("cp{}", index + 1));
        let mut plan = plan(&self.path("node"));
        plan.peer_port = self.port;
        let first = plan.nodes.remove(0);
        let node = |number: usize| RestoreNode {
            node: format!("cp{number}"),
            address: format!("127.0.0.{number}"),
            ..first.clone()
        };
        plan.nodes = (1..=self.count).map(node).collect();
        Layout::at(plan, &format!("cp{}", index + 1), &root.join("state")).unwrap()
    }

    /// Writes a node's journal: armed, and what else is given. Gives the file.
    fn journal(&self, index: usize, facts: &[Fact]) -> PathBuf {
        let layout = self.layout(index);
        std::fs::create_dir_all(self.path(&format!("cp{}/state", index + 1))).unwrap();
        std::fs::create_dir_all(self.path("node/etcd/member")).unwrap();
        std::fs::create_dir_all(self.path("node/kubernetes/manifests")).unwrap();
        let server = serde_json::json!({"host": "127.0.0.1", "port": 1, "tls": null});
        let ground = serde_json::json!({
            "components": [], "checksAtStart": false, "etcd": server, "api": server, "apiIsOpen": true,
            "before": {"clusterId": 1, "revision": 1},
        });
        let first = Entry::Transaction {
            format: FORMAT,
            protocol: PROTOCOL,
            plan: Box::new(layout.plan().clone()),
            node: layout.node().node.clone(),
            ground: Box::new(serde_json::from_value(ground).unwrap()),
        };
        let authority = Entry::Authority { authority: self.identities[0].ca.clone() };
        let mut journal = Journal::create(&layout.journal()).unwrap();
        let facts = facts.iter().map(|fact| Entry::Protocol(*fact));
        for entry in [first, authority, Entry::Protocol(Fact::Armed)].into_iter().chain(facts) {
            journal.append(entry).unwrap();
        }
        layout.journal().path()
    }

    /// Runs a command on cp1, whose participant hears these nodes. Gives what was said, and what the participant was told.
    async fn operate(&self, args: Args, hears: &[&str]) -> (Result<String, Failure>, Vec<Control>) {
        let layout = self.layout(0);
        let told: Arc<Mutex<Vec<Control>>> = Arc::default();
        let mut asks = control::listen(&layout).unwrap();
        let others = (2..=self.count).map(|number| format!("cp{number}"));
        let unheard: Vec<String> = others.filter(|name| !hears.contains(&name.as_str())).collect();
        let hearing = Arc::clone(&told);
        let participant = tokio::spawn(async move {
            while let Some((control, answer)) = asks.recv().await {
                if control != Control::Look {
                    hearing.lock().unwrap().push(control);
                }
                let live = Live { unheard: unheard.clone(), ..Live::default() };
                answer.send(Ok(ParticipantState { live, decision: None, ended: None })).unwrap();
            }
        });
        let done = operate_in(layout.state(), &args).await;
        participant.abort();
        let told = told.lock().unwrap().clone();
        (done, told)
    }

    /// Lets a node's participant answer queries, as long as what is given lives.
    async fn answers(&self, index: usize, decision: Option<Decision>) -> impl Sized {
        let (network, mut heard) = Network::start_on("127.0.0.2", &self.layout(index), &self.identities[index]).await;
        let answering = tokio::spawn(async move {
            while let Some(heard) = heard.recv().await {
                if let Heard::Queried { answer } = heard {
                    let _gone = answer.send(Answer { decision });
                }
            }
        });
        (network, answering)
    }
}

fn resumed() -> Args {
    Args { resume: Some(None), ..Args::default() }
}

fn without(names: &[&str], confirm: Option<&str>) -> Args {
    let without = names.iter().map(|name| (*name).to_owned()).collect();
    Args { without, confirm: confirm.map(str::to_owned), ..resumed() }
}

const YES: Fact = Fact::Vote { yes: true, why: None };
const COMMIT: Fact = Fact::Decided { decision: Decision::Commit, how: How::Operator };

fn decided(decision: Decision) -> Control {
    Control::Operator { order: Operator::Decided { decision } }
}

fn is_refused(done: Result<String, Failure>, text: &str) {
    let failure = done.unwrap_err();
    assert_eq!(failure.code, FailureCode::Refused, "{failure:?}");
    assert!(shown(&failure).contains(text), "{}", shown(&failure));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_journal_brings_the_decision() {
    let nodes = Nodes::new(3);
    nodes.journal(0, &[YES]);
    let copy = nodes.journal(1, &[YES, COMMIT]);
    // Alone, the node knows nothing, and two of three are needed.
    let (done, told) = nodes.operate(resumed(), &[]).await;
    is_refused(done, "cannot be decided by the nodes that can be asked");
    assert!(told.is_empty());
    let (done, told) = nodes.operate(Args { journal: vec![copy], ..resumed() }, &[]).await;
    assert!(done.as_ref().unwrap().contains("node cp1 knows now that the new data stays"), "{done:?}");
    assert_eq!(told, [decided(Decision::Commit)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_accepted_or_voted_decides_as_well() {
    let ballot = Ballot { epoch: 0, round: 0, owner: Node(0) };
    let accepted = Fact::Accepted { ballot, decision: Decision::Commit };
    for (own, copy, decision) in [
        (&[YES, accepted][..], &[YES, accepted][..], Decision::Commit),
        (&[YES], &[Fact::Vote { yes: false, why: None }], Decision::Abort),
    ] {
        let nodes = Nodes::new(3);
        nodes.journal(0, own);
        let journal = vec![nodes.journal(2, copy)];
        let (done, told) = nodes.operate(Args { journal, ..resumed() }, &[]).await;
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(told, [decided(decision)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_whole_or_of_something_else_is_refused() {
    let nodes = Nodes::new(3);
    let own = nodes.journal(0, &[YES]);
    let copy = nodes.journal(1, &[YES, COMMIT]);
    let whole = std::fs::read(&copy).unwrap();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    let other_plan = nodes.path("other-plan");
    // Of the same ID, with other nodes.
    let second = Nodes::new(2);
    std::fs::copy(second.journal(1, &[YES, COMMIT]), &other_plan).unwrap();
    let file = nodes.path("copy");
    for (bytes, text) in [
        (whole[..whole.len() - 3].to_vec(), "is not whole: its last entry is cut"),
        (Vec::new(), "is not whole"),
        (damaged, "is damaged at byte 0"),
        (std::fs::read(&own).unwrap(), "is this node's own"),
        (std::fs::read(&other_plan).unwrap(), "has another plan"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let (done, told) = nodes.operate(Args { journal: vec![file.clone()], ..resumed() }, &[]).await;
        let failure = done.unwrap_err();
        assert!(shown(&failure).contains(text), "{text}: {}", shown(&failure));
        assert!(told.is_empty());
    }
    let (done, told) = nodes.operate(Args { journal: vec![copy.clone(), copy], ..resumed() }, &[]).await;
    is_refused(done, "is another journal of node cp2");
    assert!(told.is_empty());
    let (done, _) = nodes.operate(Args { journal: vec![nodes.path("absent")], ..resumed() }, &[]).await;
    assert_eq!(done.unwrap_err().code, FailureCode::Storage);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_another_node_is_a_decision_and_status_shows_it() {
    let nodes = Nodes::new(3);
    nodes.journal(0, &[Fact::Step { step: Step::Swap, done: true }, YES]);
    let answering = nodes.answers(1, Some(Decision::Abort)).await;
    let status = Args { status: true, ..Args::default() };
    let (done, told) = nodes.operate(status, &[]).await;
    let text = done.unwrap();
    for part in ["in doubt", "this node: its participant answers", "answers: all nodes roll back", "does not answer:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("\n  etcd-sidecar restore --resume"), "{text}");
    assert!(told.is_empty(), "to look changes nothing");
    let json = Args { status: true, output: Format::Json, ..Args::default() };
    let read: serde_json::Value = serde_json::from_str(&nodes.operate(json, &[]).await.0.unwrap()).unwrap();
    assert_eq!((&read["decision"], &read["nodes"][0]["restore"]["vote"]), (&"abort".into(), &true.into()));
    let (done, told) = nodes.operate(resumed(), &[]).await;
    assert!(done.unwrap().contains("has to return to the old data"));
    assert_eq!(told, [decided(Decision::Abort)]);
    drop(answering);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_left_behind_with_consent_and_only_if_nothing_is_heard_of_them() {
    let nodes = Nodes::new(3);
    nodes.journal(0, &[YES]);
    let gone = ["cp2", "cp3"];
    for (confirm, text) in [
        (None, "cp2, cp3 may have decided otherwise and acted on it"),
        (Some("another"), "the restore is of cluster c, and not of another"),
    ] {
        let (done, told) = nodes.operate(without(&gone, confirm), &[]).await;
        // Nothing listens on these addresses, and they are there.
        assert!(shown(done.as_ref().unwrap_err()).contains("a machine answers at the address of nodes cp2 and cp3"));
        is_refused(done, text);
        assert!(told.is_empty() && identity::read(&nodes.layout(0)).unwrap().is_none());
    }
    let (done, told) = nodes.operate(without(&gone, Some("c")), &["cp3"]).await;
    is_refused(done, "--without names cp3, whose node answers");
    assert!(told.is_empty());
    let (done, _) = nodes.operate(without(&["cp2"], Some("c")), &[]).await;
    is_refused(done, "the journal of every other node is needed, and of cp3");
    let answering = nodes.answers(1, None).await;
    let (done, told) = nodes.operate(without(&gone, Some("c")), &[]).await;
    is_refused(done, "--without names cp2, whose node answers");
    assert!(told.is_empty() && identity::read(&nodes.layout(0)).unwrap().is_none());
    drop(answering);
    let (done, told) = nodes.operate(without(&gone, Some("c")), &[]).await;
    assert!(done.unwrap().contains("decides without the nodes that are gone"));
    let nodes_gone = NodeSet::of(Node(1)).union(NodeSet::of(Node(2)));
    let order = Operator::Exclude { nodes: nodes_gone, epoch: 1 };
    assert_eq!(told, [Control::Identity, Control::Operator { order }]);
    assert!(identity::read(&nodes.layout(0)).unwrap().is_some_and(|new| new.ca != nodes.identities[0].ca));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_written_for_several_nodes_and_each_takes_its_own() {
    let nodes = Nodes::new(3);
    nodes.journal(0, &[YES]);
    let journal = vec![nodes.journal(1, &[YES])];
    let (done, told) = nodes.operate(Args { journal: journal.clone(), ..resumed() }, &[]).await;
    is_refused(done, "--write-identities");
    assert!(told.is_empty());
    let folder = nodes.path("new");
    let write = || Args { journal: journal.clone(), write_identities: Some(folder.clone()), ..resumed() };
    let (done, told) = nodes.operate(write(), &[]).await;
    assert!(done.unwrap().contains("no node has taken one yet") && told.is_empty());
    assert!(identity::read(&nodes.layout(0)).unwrap().is_none());
    is_refused(nodes.operate(write(), &[]).await.0, "there are certificates in");
    let file = |name: &str| folder.join(format!("20261121-100000-abcde-{name}.identity.json"));
    let take = |path: &Path| Args { identity: Some(path.to_owned()), ..resumed() };
    let (done, told) = nodes.operate(take(&file("cp2")), &[]).await;
    is_refused(done, "the certificate is for node cp2, and this is node cp1");
    assert!(told.is_empty());
    std::fs::set_permissions(file("cp1"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    is_refused(nodes.operate(take(&file("cp1")), &[]).await.0, "can be read by others");
    std::fs::set_permissions(file("cp1"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (done, told) = nodes.operate(take(&file("cp1")), &[]).await;
    assert!(done.unwrap().contains("node cp1 has a new certificate. Delete "));
    assert_eq!(told, [Control::Identity]);
    assert!(identity::read(&nodes.layout(0)).unwrap().is_some_and(|new| new.ca != nodes.identities[0].ca));
    // Now it has one. A quorum that hears each other decides by itself.
    is_refused(nodes.operate(take(&file("cp1")), &["cp2"]).await.0, "hear each other and are enough to decide");
    let (done, told) = nodes.operate(Args { journal: journal.clone(), ..resumed() }, &["cp2"]).await;
    is_refused(done, "new certificates are not needed");
    assert!(told.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_a_decision_without_nodes_is_not_taken_when_they_answer_again() {
    let nodes = Nodes::new(5);
    nodes.journal(0, &[YES]);
    let journal = vec![nodes.journal(4, &[YES])];
    let folder = nodes.path("new");
    let write_identities = Some(folder.clone());
    let args = Args { journal, write_identities, ..without(&["cp2", "cp3", "cp4"], Some("c")) };
    let (done, told) = nodes.operate(args, &[]).await;
    assert!(done.unwrap().contains("nodes cp1 and cp5") && told.is_empty());
    let identity = Some(folder.join("20261121-100000-abcde-cp1.identity.json"));
    let take = || Args { identity: identity.clone(), ..resumed() };
    let (done, told) = nodes.operate(take(), &["cp3"]).await;
    is_refused(done, "without node cp3");
    let answering = nodes.answers(1, None).await;
    is_refused(nodes.operate(take(), &[]).await.0, "without node cp2");
    drop(answering);
    assert!(told.is_empty() && identity::read(&nodes.layout(0)).unwrap().is_none());
    let (_, told) = nodes.operate(take(), &[]).await;
    let gone = NodeSet::first(4).without(NodeSet::of(Node(0)));
    let order = Operator::Exclude { nodes: gone, epoch: 1 };
    assert_eq!(told, [Control::Identity, Control::Operator { order }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_only_where_it_has_ended() {
    let nodes = Nodes::new(3);
    nodes.journal(0, &[YES]);
    let id = nodes.layout(0).plan().id.clone();
    let forget = |id: &str| Args { forget: Some(id.to_owned()), ..Args::default() };
    let (done, told) = nodes.operate(forget(&id), &[]).await;
    is_refused(done, "it has voted and waits for the decision");
    is_refused(nodes.operate(forget("20200101-000000-aaaaa"), &[]).await.0, "has a journal of restore");
    assert!(told.is_empty());
    let nodes = Nodes::new(3);
    let launched = Fact::Step { step: Step::LaunchEtcd, done: true };
    nodes.journal(0, &[launched, YES, COMMIT, Fact::Ended { ending: Ending::Restored }]);
    let (done, told) = nodes.operate(forget(&id), &[]).await;
    assert!(done.unwrap().contains("to bring the decision to nodes cp2 and cp3"));
    assert_eq!(told, [Control::Operator { order: Operator::Forget }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_participant_nothing_is_written() {
    let nodes = Nodes::new(1);
    let layout = nodes.layout(0);
    let none = operate_in(layout.state(), &resumed()).await.unwrap();
    assert_eq!(none, "no restore is unfinished on this node");
    let nodes = Nodes::new(3);
    let layout = nodes.layout(0);
    nodes.journal(0, &[YES]);
    let failure = operate_in(layout.state(), &without(&["cp2", "cp3"], Some("c"))).await.unwrap_err();
    assert!(failure.code == FailureCode::Unreachable && failure.hint.is_some_and(|hint| hint.contains("crictl")));
    assert!(identity::read(&layout).unwrap().is_none());
}
