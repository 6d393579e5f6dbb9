//! Every row of what is told, by journals as the nodes may have left them.

use etcd_transaction::Ballot;
use etcd_transaction::Operator;
use etcd_wire::restore::{Event, Kept, Live, RestoreKind, RestoreNode, Step};
use jiff::Timestamp;

use super::*;
use crate::settle::{self, Resume, dismissal, forget, resume, without};

/// Nodes cp1 to cpN, of which cp1 coordinates.
struct Table {
    plan: RestorePlan,
    nodes: Vec<Seen>,
}

/// What is known of one node.
#[derive(Debug)]
enum Seen {
    Journal(Box<NodeRestore>),
    Other(Known<'static>),
}

impl Table {
    fn new(count: usize) -> Table {
        Table { plan: journal("cp1", count).plan, nodes: Vec::new() }
    }

    /// Adds the next node, as its journal is.
    fn journal(mut self, change: impl FnOnce(&mut NodeRestore)) -> Table {
        let mut restore = journal(&format!("cp{}", self.nodes.len() + 1), self.plan.nodes.len());
        change(&mut restore);
        self.nodes.push(Seen::Journal(Box::new(restore)));
        self
    }

    /// Adds the next node, which cannot be asked.
    fn silent(self) -> Table {
        self.known(Known::Unread("no route".to_owned()))
    }

    /// Adds the next node, of which no journal is at hand.
    fn known(mut self, known: Known<'static>) -> Table {
        self.nodes.push(Seen::Other(known));
        self
    }

    fn standing(&self) -> Standing<'_> {
        self.standing_at(Commands::Plugin)
    }

    fn standing_at(&self, commands: Commands) -> Standing<'_> {
        let known = self.nodes.iter().map(|node| match node {
            Seen::Journal(restore) => Known::Journal(restore),
            Seen::Other(known) => known.clone(),
        });
        Standing::new(&self.plan, known.collect(), commands).expect("a plan")
    }
}

/// What a node of so many says that has just been armed. The nodes are cp1, cp2 and so on, and cp1 coordinates.
fn journal(node: &str, nodes: usize) -> NodeRestore {
    let one = |index: usize| RestoreNode { node: format!("cp{index}"), ..RestoreNode::default() };
    NodeRestore {
        plan: RestorePlan {
            id: "id".into(),
            kind: RestoreKind::Snapshot {
                bump: 1,
                token: "t".into(),
                skip_hash_check: false,
                allow_lower_revisions: false,
            },
            cluster: "kind-a".into(),
            started_by: "a@b".into(),
            coordinator: "cp1".into(),
            nodes: (1..=nodes).map(one).collect(),
            not_reached: Vec::new(),
            peer_port: 2382,
            marker: None,
            start_timeout: 180,
            keep_unready: false,
            quorum_lost: None,
            replaces: None,
            build: None,
        },
        node: node.into(),
        begun_at: 1000,
        staged: None,
        armed: true,
        has_identity: true,
        events: Vec::new(),
        decision: None,
        ended: None,
        waits_for_others: false,
        vote: None,
        accepted: None,
        excluded: Vec::new(),
        epoch: 0,
        intruded: false,
        participates: true,
        live: Some(Live::default()),
        kept: Vec::new(),
        format: 2,
        aside: None,
        aside_bytes: 0,
    }
}

fn doubt(restore: &mut NodeRestore) {
    restore.vote = Some(true);
}

/// In doubt, and without these nodes' voices.
fn deaf(unheard: &[&str]) -> impl Fn(&mut NodeRestore) {
    let unheard: Vec<String> = unheard.iter().map(|name| (*name).to_owned()).collect();
    move |restore| {
        restore.vote = Some(true);
        restore.live = Some(Live { unheard: unheard.clone(), ..Live::default() });
    }
}

fn powerless(restore: &mut NodeRestore) {
    restore.vote = Some(true);
    restore.has_identity = false;
}

fn accepted(round: u32, decision: Decision) -> impl Fn(&mut NodeRestore) {
    move |restore| {
        restore.vote = Some(true);
        restore.accepted = Some((Ballot { epoch: 0, round, owner: Node(0) }, decision));
    }
}

fn ended(ending: Ending) -> impl Fn(&mut NodeRestore) {
    move |restore| {
        restore.vote = Some(ending == Ending::Restored);
        restore.decision = Some(if ending == Ending::Restored { Decision::Commit } else { Decision::Abort });
        restore.ended = Some(ending);
        restore.waits_for_others = true;
        restore.participates = true;
    }
}

fn committed(restore: &mut NodeRestore) {
    restore.vote = Some(true);
    restore.decision = Some(Decision::Commit);
}

fn told(table: &Table) -> Vec<Told> {
    table.standing().told(Timestamp::from_second(200).expect("a moment"))
}

/// The only thing that is told.
fn only(table: &Table) -> Told {
    let mut all = told(table);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_decision_is_known_by_a_journal_a_vote_no_or_a_quorum() {
    use Decision::{Abort, Commit};
    let no = |restore: &mut NodeRestore| restore.vote = Some(false);
    for (table, decided) in [
        (Table::new(3).journal(doubt).journal(doubt).silent(), None),
        (Table::new(3).journal(committed).journal(doubt).silent(), Some((Commit, Evidence::Journal("cp1")))),
        (Table::new(3).journal(doubt).journal(no).silent(), Some((Abort, Evidence::VoteNo("cp2")))),
        (
            Table::new(3).silent().journal(ended(Ending::WentBack)).journal(doubt),
            Some((Abort, Evidence::Journal("cp2"))),
        ),
        (
            Table::new(3).journal(accepted(0, Commit)).journal(accepted(0, Commit)).silent(),
            Some((Commit, Evidence::Quorum)),
        ),
        // Two ballots are no quorum, whatever they have accepted.
        (Table::new(3).journal(accepted(0, Commit)).journal(accepted(1, Commit)).silent(), None),
        (
            Table::new(4).journal(accepted(0, Commit)).journal(accepted(0, Commit)).silent().silent(),
            Some((Commit, Evidence::Quorum)),
        ),
        (Table::new(4).silent().silent().journal(accepted(0, Commit)).journal(accepted(0, Commit)), None),
        (Table::new(2).journal(accepted(0, Commit)).silent(), Some((Commit, Evidence::Quorum))),
        (Table::new(2).silent().journal(accepted(0, Commit)), None),
    ] {
        assert_eq!(table.standing().decided(), Ok(decided), "{:?}", table.nodes);
    }
}

#[test]
fn a_ballot_without_nodes_needs_all_others() {
    let in_epoch = |restore: &mut NodeRestore| {
        doubt(restore);
        (restore.epoch, restore.excluded) = (1, vec!["cp1".into(), "cp2".into(), "cp3".into()]);
        restore.accepted = Some((Ballot { epoch: 1, round: 1, owner: Node(3) }, Decision::Abort));
    };
    let lost = || Table::new(5).silent().silent().silent();
    let one = lost().journal(in_epoch).journal(doubt);
    assert_eq!(one.standing().decided(), Ok(None));
    let both = lost().journal(in_epoch).journal(in_epoch);
    assert_eq!(both.standing().decided(), Ok(Some((Decision::Abort, Evidence::Quorum))));
    assert!(one.standing().needed().starts_with("all nodes but cp1, cp2 and cp3 "));
    assert_eq!(without(&one.standing(), &["cp1".into(), "cp2".into(), "cp3".into()]).expect("allowed"), {
        let mut gone = NodeSet::EMPTY;
        (0..3).for_each(|node| gone.insert(Node(node)));
        Resume::Exclude { rest: NodeSet::first(5).without(gone), gone, epoch: 2 }
    });
}

#[test]
fn contradicting_journals_are_not_worked_on() {
    let table = Table::new(3).journal(committed).journal(ended(Ending::WentBack)).silent();
    let row = only(&table);
    assert_eq!(row.state, "contradiction");
    assert!(
        row.text.contains(
            "the new data stays by the journal of node cp1, and all nodes roll back by the journal of node cp2"
        ),
        "{row:?}"
    );
    let unvoted = Table::new(1).journal(|restore| restore.decision = Some(Decision::Commit));
    assert!(only(&unvoted).text.contains("node cp1 contradicts itself"));
    for table in [table, unvoted] {
        assert!(
            [resume(&table.standing()), without(&table.standing(), &[])]
                .into_iter()
                .all(|one| one.is_err_and(|failed| !failed.usage))
        );
        assert!(forget(&table.standing()).is_err());
    }
}

#[test]
fn in_doubt_without_a_quorum_says_who_is_missing_and_what_to_type() {
    let row = only(&Table::new(3).silent().journal(deaf(&["cp1", "cp3"])).silent());
    assert_eq!((row.state, &row.nodes[..]), ("blocked", &["cp2".to_owned()][..]));
    assert_eq!(
        row.text,
        "node cp2 has voted yes and waits for the decision: 2 of 3 nodes must hear each other, and only cp2 is heard. The API server is stopped there; \
         the old and the new data are intact. Bring back nodes cp1 and cp3, and the nodes decide by themselves; if a node has lost its certificate, resume. \
         If they are gone for good, the others can decide without them"
    );
    assert_eq!(row.commands, ["kubectl etcd restore --resume", "kubectl etcd restore --resume --without cp1,cp3"]);
    // The last line of what is printed is a command.
    assert!(row.lines().ends_with("\n  kubectl etcd restore --resume --without cp1,cp3"));
    let two = only(&Table::new(2).silent().journal(deaf(&["cp1"])));
    assert!(two.text.contains("node cp1, the coordinator, must be heard, and only cp2 is heard"), "{two:?}");
    let four = only(&Table::new(4).silent().silent().journal(deaf(&["cp1", "cp2"])).journal(deaf(&["cp1", "cp2"])));
    assert!(four.text.starts_with("nodes cp3 and cp4 have voted yes and wait for the decision: 3 of 4 nodes, or 2 with node cp1, must hear each other"), "{four:?}");
}

#[test]
fn a_quorum_that_hears_each_other_is_left_to_decide() {
    let row = only(&Table::new(3).silent().journal(deaf(&["cp1"])).journal(deaf(&["cp1"])));
    assert_eq!((row.state, &row.commands[..]), ("deciding", &["kubectl etcd restore --follow".to_owned()][..]));
    assert!(row.text.contains("Nodes cp2 and cp3 hear each other"), "{row:?}");
    // The plugin need not see all of them.
    let row = only(&Table::new(3).journal(powerless).journal(deaf(&["cp1"])).silent());
    assert_eq!(row.state, "deciding");
}

#[test]
fn a_node_without_a_certificate_asks_the_others() {
    let row = only(&Table::new(3).journal(powerless).journal(powerless).journal(deaf(&["cp1", "cp2"])));
    assert_eq!((row.state, &row.commands[..]), ("blocked", &["kubectl etcd restore --resume".to_owned()][..]));
    assert!(
        row.text.contains("Nodes cp1 and cp2 restarted without their certificate, and only ask the others"),
        "{row:?}"
    );
}

#[test]
fn nodes_that_run_and_do_not_hear_each_other_need_their_port() {
    let row = only(
        &Table::new(2)
            .journal(|restore| {
                restore.live = None;
                doubt(restore)
            })
            .journal(deaf(&["cp1"])),
    );
    assert_eq!((row.state, row.commands.len()), ("blocked", 0));
    assert!(row.text.contains("cp2 does not hear cp1") && row.text.contains("Open TCP port 2382"), "{row:?}");
}

#[test]
fn before_the_votes_it_is_under_way() {
    let row = only(&Table::new(3).journal(|_| {}).journal(|_| {}).silent());
    assert_eq!((row.state, &row.commands[..]), ("working", &["kubectl etcd restore --follow".to_owned()][..]));
}

#[test]
fn a_node_that_has_not_confirmed_the_end_is_named_with_forget() {
    let table = Table::new(3).journal(ended(Ending::Restored)).journal(ended(Ending::Restored)).silent();
    let row = only(&table);
    assert_eq!(
        row.text,
        "restore id has ended with the new data on nodes cp1 and cp2. Node cp3 has not confirmed it, and will follow when it returns. Until then another \
         restore is refused; to allow another restore without waiting"
    );
    assert_eq!((row.state, &row.commands[..]), ("notConfirmed", &["kubectl etcd restore --forget id".to_owned()][..]));
    let (why, command) = table.standing().bars().expect("it waits");
    assert_eq!(
        (why.as_str(), command.as_str()),
        (
            "restore id has ended on the nodes that can be asked, and waits for node cp3",
            "kubectl etcd restore --forget id"
        )
    );
    assert_eq!(forget(&table.standing()).map(NodeSet::len).ok(), Some(2));
    let back = only(&Table::new(3).journal(ended(Ending::WentBack)).silent().journal(ended(Ending::GivenUp)));
    assert!(back.text.starts_with("restore id has ended with the old data on nodes cp1 and cp3. Node cp2"), "{back:?}");
}

#[test]
fn a_node_that_has_not_heard_the_decision_is_told_by_resume() {
    let table = Table::new(3).journal(ended(Ending::Restored)).journal(deaf(&["cp1"])).journal(ended(Ending::Restored));
    let row = only(&table);
    assert_eq!(
        (row.state, &row.nodes[..], &row.commands[..]),
        ("notTold", &["cp2".to_owned()][..], &["kubectl etcd restore --resume".to_owned()][..])
    );
    let resumed = resume(&table.standing()).expect("known");
    assert_eq!(resumed, Resume::Bring { decision: Decision::Commit, nodes: NodeSet::of(Node(1)) });
    assert_eq!((resumed.order(), resumed.renews()), (Some(Operator::Decided { decision: Decision::Commit }), false));
    // A node that has not voted is told of an abort only.
    let aborting = Table::new(3).journal(|restore| restore.vote = Some(false)).journal(|_| {}).journal(doubt);
    assert_eq!(resume(&aborting.standing()).expect("known").nodes().len(), 2);
}

#[test]
fn what_fails_again_and_again_is_told_with_its_count() {
    let failing = |restore: &mut NodeRestore| {
        restore.vote = Some(false);
        let event = |at, step, note: Option<&str>| Event { at, step, done: false, note: note.map(str::to_owned) };
        restore.events = vec![
            event(20_000, Some(Step::UndoSwap), None),
            event(80_000, None, Some("no room")),
            event(81_000, Some(Step::UndoSwap), None),
            event(90_000, None, Some("I/O error")),
        ];
    };
    let all = told(&Table::new(2).journal(failing).journal(ended(Ending::WentBack)));
    let row = all.iter().find(|row| row.state == "failing").expect("a row");
    assert!(
        row.text.starts_with("node cp1 rolls back: puts the old data back; failed 2 time(s) in 3m: I/O error."),
        "{row:?}"
    );
    assert!(row.commands[0].contains("docs/RESTORE.md#when-a-node-cannot"));
}

#[test]
fn api_servers_that_do_not_become_ready_are_told_with_the_way_back() {
    let unready = |restore: &mut NodeRestore| {
        committed(restore);
        restore.live = Some(Live { unready: true, ..Live::default() });
    };
    let table = Table::new(2).journal(ended(Ending::Restored)).journal(unready);
    let row = only(&table);
    assert_eq!((row.state, row.commands.last().map(String::as_str)), ("unready", Some("kubectl etcd rollback")));
    assert!(row.commands[0].starts_with("kubectl etcd restore --forget "), "{:?}", row.commands);
    assert!(row.text.contains("within 180s. The decision stands"), "{row:?}");
    // The waiting for it is ended first.
    let bar = table.standing().bars();
    assert!(bar.is_some_and(|(why, command)| why.contains("waits for the API server") && command.contains("--forget")));
    assert!(forget(&table.standing()).is_ok_and(|nodes| nodes.contains(Node(1))));
}

#[test]
fn nodes_that_are_about_to_roll_back_by_themselves_are_left_to_it() {
    let unready = |restore: &mut NodeRestore| {
        committed(restore);
        restore.live = Some(Live { unready: true, ..Live::default() });
    };
    for table in [Table::new(2).journal(unready).journal(unready), Table::new(2).journal(unready).journal(committed)] {
        let all = told(&table);
        let rows: Vec<_> = all.iter().filter(|row| row.state == "unready").collect();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(row.text.contains("return to the old data by themselves"), "{row:?}");
            assert_eq!(row.commands, ["kubectl etcd restore --follow"]);
        }
    }
    // A node that is not heard may have an API server that was ready; and with --keep-unready nobody rolls back.
    let silent = Table::new(2).journal(unready).known(Known::Unread("no answer".to_owned()));
    assert!(told(&silent).iter().any(|row| row.commands.iter().any(|command| command == "kubectl etcd rollback")));
}

#[test]
fn a_journal_that_cannot_be_read_is_left_to_a_person() {
    let damaged = Known::Unread("the journal /x is damaged at byte 12".to_owned());
    let table = Table::new(2).journal(ended(Ending::WentBack)).known(damaged);
    let all = told(&table);
    let row = all.iter().find(|row| row.state == "journal").expect("a row");
    assert!(
        row.text.starts_with("node cp2: the journal /x is damaged at byte 12. Nothing is done on this node."),
        "{row:?}"
    );
}

#[test]
fn what_is_kept_and_who_intruded_is_told() {
    let intruded = |restore: &mut NodeRestore| {
        ended(Ending::WentBack)(restore);
        restore.waits_for_others = false;
        restore.intruded = true;
        restore.kept = vec![Kept {
            path: "/var/lib/etcd/.kubectl-etcd/id/kept".into(),
            why: "it was written to".into(),
            bytes: 0,
        }];
    };
    let row = only(&Table::new(1).journal(intruded));
    assert_eq!(row.state, "kept");
    for part in
        ["an API server ran on the new data", "; /var/lib/etcd/.kubectl-etcd/id/kept is kept: it was written to"]
    {
        assert!(row.text.contains(part), "{row:?}");
    }
}

#[test]
fn a_restore_of_version_0_1_is_left_to_that_version() {
    let old = |restore: &mut NodeRestore| restore.format = 1;
    let table = Table::new(2).journal(old).journal(old);
    assert_eq!(only(&table).text, "restore id was begun by version 0.1 and is unfinished; finish it with that version");
    assert!(table.standing().bars().is_some_and(|(why, _)| why.contains("version 0.1")));
    assert!(resume(&table.standing()).is_err_and(|failed| failed.message.contains("finish it with that version")));
    let over = |restore: &mut NodeRestore| (restore.format, restore.ended) = (1, Some(Ending::Restored));
    assert!(told(&Table::new(2).journal(over).journal(over)).is_empty());
}

#[test]
fn new_certificates_go_to_a_quorum_that_cannot_decide_otherwise() {
    let lost = Table::new(3).journal(powerless).journal(powerless).silent();
    assert_eq!(resume(&lost.standing()).expect("a quorum").nodes().len(), 2);
    assert!(resume(&lost.standing()).is_ok_and(|resume| resume.renews() && resume.order().is_none()));
    // cp2 and cp3 decide; that cp3 cannot be asked here must not separate them.
    let split = Table::new(3).journal(powerless).journal(deaf(&["cp1"])).silent();
    let failed = resume(&split.standing()).expect_err("it would split them");
    assert!(!failed.usage && failed.causes[0].starts_with("cp2 and cp3 hear each other"), "{failed}");
    let few = Table::new(3).silent().silent().journal(powerless);
    let failed = resume(&few.standing()).expect_err("no quorum");
    assert!(
        failed.hint.as_deref().is_some_and(|hint| hint.ends_with("kubectl etcd restore --resume --without cp1,cp2")),
        "{failed}"
    );
    assert_eq!(
        resume(&Table::new(3).journal(deaf(&[])).journal(deaf(&[])).journal(deaf(&[])).standing()).expect("all"),
        Resume::Follow
    );
}

#[test]
fn nodes_are_left_behind_only_if_they_are_gone_and_needed() {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let two_lost = Table::new(3).silent().silent().journal(deaf(&["cp1", "cp2"]));
    let standing = two_lost.standing();
    let resumed = without(&standing, &named(&["cp1", "cp2"])).expect("allowed");
    let mut gone = NodeSet::of(Node(0));
    gone.insert(Node(1));
    assert_eq!(resumed, Resume::Exclude { rest: NodeSet::of(Node(2)), gone, epoch: 1 });
    assert_eq!(resumed.order(), Some(Operator::Exclude { nodes: gone, epoch: 1 }));
    assert_eq!(
        settle::risk(&standing, gone),
        "cp1, cp2 may have decided otherwise and acted on it. If one of them runs again, two clusters may serve."
    );
    assert!(settle::risk(&standing, NodeSet::of(Node(0))).ends_with("If cp1 runs again, two clusters may serve."));
    for (table, names, text) in [
        (
            Table::new(3).silent().silent().journal(doubt),
            &["cp1"][..],
            "the journal of every other node is needed, and of cp2",
        ),
        (
            Table::new(3).silent().journal(doubt).journal(doubt),
            &["cp1"],
            "--without is not needed: cp2 and cp3 are enough",
        ),
        (
            Table::new(3).silent().silent().journal(doubt),
            &["cp1", "cp2", "cp3"],
            "--without names cp3, whose node answers",
        ),
        (Table::new(3).silent().silent().journal(doubt), &["cp9"], "node cp9 takes no part in restore id"),
    ] {
        let failed = without(&table.standing(), &named(names)).expect_err(text);
        assert!(failed.one_line().contains(text), "{failed}");
        assert_eq!(failed.usage, text.starts_with("node cp9"));
    }
    // What is known needs nobody's consent.
    let known = Table::new(3).silent().silent().journal(|restore| restore.vote = Some(false));
    assert_eq!(without(&known.standing(), &named(&["cp1", "cp2"])).expect("known"), Resume::Follow);
}

#[test]
fn only_what_has_ended_is_forgotten() {
    for (table, text) in [
        (Table::new(2).journal(ended(Ending::WentBack)).journal(doubt), "has voted and waits"),
        (Table::new(2).journal(ended(Ending::WentBack)).journal(|_| {}), "still in progress"),
        (
            Table::new(2).journal(ended(Ending::WentBack)).journal(|restore| restore.vote = Some(false)),
            "still rolls back",
        ),
        (Table::new(2).journal(ended(Ending::Restored)).journal(committed), "not all components run yet"),
    ] {
        let failed = forget(&table.standing()).expect_err(text);
        assert!(!failed.usage && failed.one_line().contains(text) && failed.hint.is_some(), "{failed}");
    }
}

#[test]
fn a_participant_that_missed_its_dismissal_is_ended_by_what_is_right() {
    let both = Table::new(2).journal(ended(Ending::Restored)).journal(ended(Ending::Restored));
    assert_eq!(dismissal(&both.standing(), Node(0)), Some(Operator::AllEnded));
    let lost = Table::new(2).journal(ended(Ending::Restored)).silent();
    assert_eq!(dismissal(&lost.standing(), Node(0)), None);
    let forgotten = |restore: &mut NodeRestore| {
        ended(Ending::Restored)(restore);
        restore.waits_for_others = false;
    };
    let lost = Table::new(2).journal(forgotten).silent();
    assert_eq!(dismissal(&lost.standing(), Node(0)), Some(Operator::Forget));
    let open = Table::new(2).journal(ended(Ending::Restored)).journal(committed);
    assert_eq!((dismissal(&open.standing(), Node(0)), dismissal(&open.standing(), Node(1))), (None, None));
}

#[test]
fn a_participant_of_an_ended_restore_waits_for_others_that_answer() {
    let row = only(&Table::new(2).journal(ended(Ending::Restored)).journal(ended(Ending::Restored)));
    assert_eq!((row.state, &row.commands[..]), ("leaving", &["kubectl etcd restore --forget id".to_owned()][..]));
}

#[test]
fn an_answer_is_a_decision_or_a_node_that_lives_and_no_journal() {
    let told = Table::new(3).journal(doubt).known(Known::Answers(Some(Decision::Commit))).silent();
    assert_eq!(told.standing().decided(), Ok(Some((Decision::Commit, Evidence::Answer("cp2")))));
    let bring = Resume::Bring { decision: Decision::Commit, nodes: NodeSet::of(Node(0)) };
    assert_eq!(resume(&told.standing()).expect("known"), bring);
    let contradicts =
        Table::new(3).journal(|restore| restore.vote = Some(false)).known(Known::Answers(Some(Decision::Commit)));
    assert!(contradicts.silent().standing().decided().is_err_and(|why| why.contains("by the answer of node cp2")));
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let alive = Table::new(3).journal(deaf(&["cp2", "cp3"])).known(Known::Answers(None)).silent();
    let failed = without(&alive.standing(), &named(&["cp2", "cp3"])).expect_err("it lives");
    assert!(failed.message.contains("--without names cp2, whose node answers"), "{failed}");
    // What it has accepted is not known.
    let five = Table::new(5).journal(doubt).known(Known::Answers(None)).silent().silent().silent();
    let failed = without(&five.standing(), &named(&["cp3", "cp4", "cp5"])).expect_err("no journal");
    assert!(failed.one_line().contains("of cp2 it cannot be read"), "{failed}");
    let quorum = Table::new(3).journal(powerless).known(Known::Answers(None)).silent();
    assert_eq!(resume(&quorum.standing()).expect("a quorum").nodes().len(), 2);
}

#[test]
fn on_a_node_the_commands_are_those_of_the_node() {
    let table = Table::new(3).silent().journal(deaf(&["cp1", "cp3"])).silent();
    let told = table.standing_at(Commands::Node).told(Timestamp::UNIX_EPOCH);
    assert_eq!(
        told.first().map(|row| row.commands.clone()).unwrap_or_default(),
        ["etcd-sidecar restore --resume", "etcd-sidecar restore --resume --without cp1,cp3"]
    );
    let failed = resume(&table.standing_at(Commands::Node)).expect_err("no quorum");
    assert!(failed.hint.is_some_and(|hint| hint.ends_with("  etcd-sidecar restore --resume --without cp1,cp3")));
    assert!(
        settle::unknown("x", Commands::Node).hint.is_some_and(|hint| hint.contains("etcd-sidecar restore --status"))
    );
}

/// Of three nodes the last one has no etcd, and goes back; it waits for these.
fn held_up_by(names: &[&str]) -> impl Fn(&mut NodeRestore) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    move |restore| {
        (restore.vote, restore.decision) = (Some(true), Some(Decision::Abort));
        restore.live = Some(Live { awaited: names.clone(), ..Live::default() });
    }
}

#[test]
fn an_api_server_that_waits_for_etcd_is_told_and_let_go() {
    let table = |second: fn(Table) -> Table| {
        let mut table = Table::new(3);
        table.plan.nodes[2].parts = etcd_wire::restore::Parts::ApiServer;
        second(table.journal(ended(Ending::WentBack))).journal(held_up_by(&["cp2"]))
    };
    // Its etcd still goes back: nothing has to be done, and nothing can be.
    let goes_back = table(|table| table.journal(|restore| restore.decision = Some(Decision::Abort)));
    let standing = goes_back.standing();
    let told = standing.told(Timestamp::UNIX_EPOCH);
    let held = told.iter().find(|one| one.state == "held").expect("it is told");
    assert!(held.text.contains("on node cp3 stays stopped until etcd has its old data again on cp2"), "{held:?}");
    assert_eq!(held.commands, ["kubectl etcd restore --follow"]);
    let refused = forget(&standing).expect_err("too early");
    assert!(refused.causes[0].contains("waits until etcd has its old data again on cp2"), "{refused:?}");
    // Nobody can ask its node: a person has to know.
    let gone = table(Table::silent);
    let standing = gone.standing();
    let told = standing.told(Timestamp::UNIX_EPOCH);
    let held = told.iter().find(|one| one.state == "held").expect("it is told");
    assert!(held.text.contains("If cp2 can never start again"), "{held:?}");
    assert_eq!(held.commands, ["kubectl etcd restore --forget id"]);
    let nodes = forget(&standing).expect("it is said");
    assert!(nodes.contains(Node(2)) && nodes.contains(Node(0)));
    // One that has ended, and is not heard.
    let back = table(|table| table.journal(ended(Ending::WentBack)));
    let told = back.standing().told(Timestamp::UNIX_EPOCH);
    let held = told.iter().find(|one| one.state == "held").expect("it is told");
    assert!(held.text.contains("All of them have it again"), "{held:?}");
    assert_eq!(held.commands, ["kubectl etcd restore --forget id"]);
    // Its journal was removed since.
    let removed = table(|table| table.known(Known::NoJournal));
    assert!(forget(&removed.standing()).expect("it is said").contains(Node(2)));
    assert!(forget(&back.standing()).expect("it has gone back").contains(Node(2)));
}
