//! What a restore waits for, and what to do about it, in words: the rows of docs/RESTORE.md, "When a restore does not end".

use etcd_transaction::{Node, NodeSet};
use etcd_wire::restore::{Decision, NodeRestore};
use jiff::Timestamp;
use serde::Serialize;

use super::{Evidence, Known, Phase, Standing, is_unready};
use crate::step_labels;
use crate::words::{BY_HAND, names, span};

/// One thing to know about an unfinished restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// What kind of thing it is, for scripts.
    pub state: &'static str,
    /// The nodes that it is about.
    pub nodes: Vec<String>,
    /// What is so, and what to do. One paragraph.
    pub text: String,
    /// The commands for that, if there are any.
    pub commands: Vec<String>,
}

impl Told {
    /// For people: the text, and each command on a line of its own.
    pub fn lines(&self) -> String {
        self.commands.iter().fold(self.text.clone(), |text, command| format!("{text}\n  {command}"))
    }
}

/// How a decision is known.
pub(crate) fn evidence(evidence: Evidence<'_>) -> String {
    match evidence {
        Evidence::Journal(node) => format!("the journal of node {node}"),
        Evidence::Answer(node) => format!("the answer of node {node}"),
        Evidence::VoteNo(node) => format!("the vote of node {node}, which is no"),
        Evidence::Quorum => "what a quorum of the nodes has accepted".to_owned(),
    }
}

/// Why a restore of version 0.1 cannot be worked on.
pub(crate) fn of_version_0_1(id: &str) -> String {
    format!("restore {id} was begun by version 0.1 and is unfinished; finish it with that version")
}

/// `node cp1`, `nodes cp1 and cp2`.
fn nodes(all: &[&str]) -> String {
    format!("node{} {}", if all.len() == 1 { "" } else { "s" }, names(all))
}

impl Phase {
    /// How a node stands, in a few words for a table.
    pub fn word(restore: &NodeRestore) -> &'static str {
        match Phase::of(restore) {
            Phase::Ended => restore.ended.map(step_labels::ended).unwrap_or_default(),
            Phase::Prepared => "being prepared",
            Phase::Working => "working",
            Phase::InDoubt => "in doubt",
            Phase::Committed if is_unready(restore) => "API not ready",
            Phase::Committed => "committed",
            Phase::Aborting => "rolling back",
            Phase::Contradiction => "contradiction",
        }
    }
}

impl Standing<'_> {
    /// What is to be known and done, the most urgent first; nothing if it has ended.
    pub fn told(&self, now: Timestamp) -> Vec<Told> {
        let mut all = Vec::new();
        let id = &self.plan.id;
        if self.is_of_version_0_1() {
            if self.is_unfinished() {
                all.push(self.row("version01", self.all(), of_version_0_1(id), &[]));
            }
            return all;
        }
        let decided = match self.decided() {
            Ok(decided) => decided,
            Err(why) => {
                let text = format!("restore {id}: {why}. Nothing is done on such a node; see what to do by hand");
                all.push(self.row("contradiction", self.all(), text, &[BY_HAND.to_owned()]));
                return all;
            }
        };
        if self.is_unfinished() {
            match decided {
                Some((decision, evidence)) => all.extend(self.decided_told(decision, evidence)),
                None => all.push(self.undecided_told()),
            }
            all.extend(self.journals().filter_map(|(node, name, restore)| self.troubled(node, name, restore, now)));
        }
        all.extend(self.nodes().filter_map(|(node, name, known)| self.unreadable(node, name, known)));
        all.extend(self.journals().filter_map(|(node, name, restore)| self.kept(node, name, restore)));
        all
    }

    fn row(&self, state: &'static str, about: NodeSet, text: String, commands: &[String]) -> Told {
        let nodes = self.name_all(about).into_iter().map(str::to_owned).collect();
        Told { state, nodes, text, commands: commands.to_vec() }
    }

    /// Nothing is decided, as far as the journals say that can be read.
    fn undecided_told(&self) -> Told {
        let id = &self.plan.id;
        let in_doubt = self.at(Phase::InDoubt);
        let follow = self.commands.follow();
        let resume = self.commands.resume();
        if in_doubt.is_empty() {
            let text = format!("restore {id} is in progress: no node that answers is in doubt. To follow it");
            return self.row("working", self.undecided(), text, &[follow]);
        }
        let waits = self.name_all(in_doubt);
        let voted = format!(
            "{} {} voted yes and {} for the decision",
            nodes(&waits),
            verb(&waits, "has", "have"),
            verb(&waits, "waits", "wait")
        );
        let intact = "The API server is stopped there; the old and the new data are intact";
        if let Some(quorum) = self.working_quorum() {
            let deciders = self.name_all(quorum);
            let text = format!(
                "{voted}. {} hear each other and are enough to decide; nothing has to be done. To follow it",
                capital(&nodes(&deciders))
            );
            return self.row("deciding", in_doubt, text, &[follow]);
        }
        let needed = self.needed();
        let mute = self.which(|restore| !restore.has_identity && restore.ended.is_none());
        let missing = self.unknown();
        let reached = self.undecided();
        if self.is_quorum(reached) {
            if mute.is_empty() {
                let port = self.plan.peer_port;
                let text = format!(
                    "{voted}: {needed}. All of them run and do not hear each other: {}. {intact}. Open TCP port {port} between them; they then decide by themselves",
                    self.deafness()
                );
                return self.row("blocked", in_doubt, text, &[]);
            }
            let lost = self.name_all(mute);
            let text = format!(
                "{voted}: {needed}. {} restarted without {} certificate, and only {} the others. {intact}. Nothing has to be done if one of them answers soon; else give all nodes new certificates",
                capital(&nodes(&lost)),
                verb(&lost, "its", "their"),
                verb(&lost, "asks", "ask"),
            );
            return self.row("blocked", in_doubt, text, &[resume]);
        }
        let heard: Vec<&str> = self.name_all(reached.without(mute));
        let heard = if heard.is_empty() {
            "none is".to_owned()
        } else {
            format!("only {} {}", names(&heard), verb(&heard, "is", "are"))
        };
        let away = self.name_all(missing);
        let text = format!(
            "{voted}: {needed}, and {heard} heard. {intact}. Bring back {}, and the nodes decide by themselves; if a node has lost its certificate, resume. If {} gone for good, the others can decide without {}",
            nodes(&away),
            verb(&away, "it is", "they are"),
            verb(&away, "it", "them"),
        );
        self.row("blocked", in_doubt, text, &[resume, self.without(missing)])
    }

    /// The command that decides without nodes.
    pub fn without(&self, missing: NodeSet) -> String {
        self.commands.without(&self.name_all(missing))
    }

    /// How many nodes must hear each other to decide.
    pub fn needed(&self) -> String {
        let (count, coordinator) = (self.plan.nodes.len(), &self.plan.coordinator);
        let (excluded, epoch) = self.excluded();
        match count {
            _ if epoch > 0 => format!("all nodes but {} must hear each other", names(&self.name_all(excluded))),
            1 => format!("node {coordinator} decides"),
            2 => format!("node {coordinator}, the coordinator, must be heard"),
            _ if count % 2 == 1 => format!("{} of {count} nodes must hear each other", count / 2 + 1),
            _ => format!(
                "{} of {count} nodes, or {} with node {coordinator}, must hear each other",
                count / 2 + 1,
                count / 2
            ),
        }
    }

    /// Who does not hear whom.
    fn deafness(&self) -> String {
        let deaf = self.journals().filter_map(|(_, name, restore)| {
            let unheard: Vec<&str> = restore.live.as_ref()?.unheard.iter().map(String::as_str).collect();
            (!unheard.is_empty()).then(|| format!("{name} does not hear {}", names(&unheard)))
        });
        let deaf: Vec<String> = deaf.collect();
        if deaf.is_empty() { "a participant does not answer on its own node".to_owned() } else { deaf.join("; ") }
    }

    /// It is decided, and not everywhere at its end.
    fn decided_told(&self, decision: Decision, how: Evidence<'_>) -> Vec<Told> {
        let id = &self.plan.id;
        let what = match decision {
            Decision::Commit => "committed: the new data stays",
            Decision::Abort => "cancelled: all nodes roll back to the old data",
        };
        let mut all = Vec::new();
        let unaware = self.undecided();
        let ended = self.at(Phase::Ended);
        let going = self.at(Phase::Committed).union(self.at(Phase::Aborting)).without(self.unready());
        if !unaware.is_empty() {
            let names = self.name_all(unaware);
            let text = format!(
                "restore {id} is {what} (known from {}). {} {} not heard that. If {} not soon, tell {}",
                evidence(how),
                capital(&nodes(&names)),
                verb(&names, "has", "have"),
                verb(&names, "it does", "they do"),
                verb(&names, "it", "them"),
            );
            all.push(self.row("notTold", unaware, text, &[self.commands.resume()]));
        }
        if !going.is_empty() {
            let names = self.name_all(going);
            let text = format!(
                "restore {id} is {what}; {} still {} work to do. To follow it",
                nodes(&names),
                verb(&names, "has", "have")
            );
            all.push(self.row("finishing", going, text, &[self.commands.follow()]));
        }
        // Nodes that never had a journal, or have none any more, have nothing to confirm.
        let away = self.unread();
        if !away.is_empty() && !ended.is_empty() && unaware.union(going).is_empty() {
            let (done, missing) = (self.name_all(ended), self.name_all(away));
            let serve = match decision {
                Decision::Commit => "has ended with the new data",
                Decision::Abort => "has ended with the old data",
            };
            let text = format!(
                "restore {id} {serve} on {}. {} {} not confirmed it, and will follow when {}. Until then another restore is refused; to allow another restore without waiting",
                nodes(&done),
                capital(&nodes(&missing)),
                verb(&missing, "has", "have"),
                verb(&missing, "it returns", "they return"),
            );
            all.push(self.row("notConfirmed", away, text, &[self.forget_command()]));
        } else if unaware.union(going).is_empty() && self.unready().is_empty() && !self.waiting().is_empty() {
            let waiting = self.name_all(self.waiting());
            let text = format!(
                "restore {id} has ended on all nodes; {} {} to hear that from all others, which takes seconds. If it does not end, stop the waiting",
                nodes(&waiting),
                verb(&waiting, "waits", "wait"),
            );
            all.push(self.row("leaving", self.waiting(), text, &[self.forget_command()]));
        }
        all
    }

    /// The command that ends the waiting of nodes that have ended.
    pub fn forget_command(&self) -> String {
        self.commands.forget(self.plan)
    }

    /// What keeps one node from its end.
    fn troubled(&self, node: Node, name: &str, restore: &NodeRestore, now: Timestamp) -> Option<Told> {
        let about = NodeSet::of(node);
        if is_unready(restore) && self.may_roll_back_by_itself() {
            let text = format!(
                "the API server on node {name} has not become ready on the new data within {}s. If that is so on all nodes, they return to the old data by \
                 themselves; this takes a few minutes more. Nothing needs to be done. To follow it",
                self.plan.start_timeout
            );
            return Some(self.row("unready", about, text, &[self.commands.follow()]));
        }
        if is_unready(restore) {
            let text = format!(
                "the API server on node {name} has not become ready on the new data within {}s. The decision stands, the other nodes are not affected, and the \
                 node goes on trying. Look at its log on the node (crictl ps -a, crictl logs). To return to the old data on all nodes, end the waiting first",
                self.plan.start_timeout
            );
            return Some(self.row(
                "unready",
                about,
                text,
                &[self.forget_command(), "kubectl etcd rollback".to_owned()],
            ));
        }
        if self.held_up().contains(node) {
            return Some(self.held(name, about));
        }
        let phase = Phase::of(restore);
        let (step, first) = restore.events.iter().rev().find_map(|event| Some((event.step?, event)))?;
        if !matches!(phase, Phase::Committed | Phase::Aborting) || first.done {
            return None;
        }
        let tries = restore.events.iter().rev().take_while(|event| event.step.is_none_or(|its| its == step));
        let (notes, begun): (Vec<_>, Vec<_>) = tries.partition(|event| event.step.is_none());
        let why = notes.iter().find_map(|event| event.note.as_deref())?;
        let begun_at = begun.last().map_or(first.at, |event| event.at);
        let since = Timestamp::from_millisecond(begun_at)
            .map_or_else(|_| "a while".to_owned(), |begun| span(now.as_second() - begun.as_second()));
        let text = format!(
            "node {name} {}; failed {} time(s) in {since}: {why}. The node goes on trying; the other nodes are not affected. See what to do on the node, by hand",
            step_labels::doing(step),
            notes.len(),
        );
        Some(self.row("failing", about, text, &[BY_HAND.to_owned()]))
    }

    /// Why the API server of a node without etcd is not started, and what to do.
    fn held(&self, name: &str, about: NodeSet) -> Told {
        let awaited = self.awaited_by(about);
        let text = format!(
            "the API server on node {name} stays stopped until etcd has its old data again on {}: it may go to any member, and a quorum of these may still run on \
             the new data",
            names(&self.name_all(awaited))
        );
        let unknown = awaited.without(awaited.without(self.unknown()));
        let back = awaited.without(awaited.without(self.at(Phase::Ended)));
        if !unknown.is_empty() {
            let gone = names(&self.name_all(unknown));
            let text = format!(
                "{text}. If {gone} can never start again with its data, or etcd is stopped there, end the waiting"
            );
            return self.row("held", about, text, &[self.forget_command()]);
        }
        if awaited.without(back).is_empty() {
            // It may have lost its certificate, or the network between them is blocked.
            let text = format!("{text}. All of them have it again, and the node does not hear them: end the waiting");
            return self.row("held", about, text, &[self.forget_command()]);
        }
        self.row("held", about, format!("{text}. It starts by itself once they are back"), &[self.commands.follow()])
    }

    /// Whether the nodes may still return to the old data by themselves, as far as is known: the plan says so, all of them answer, and none has an API server
    /// that became ready.
    fn may_roll_back_by_itself(&self) -> bool {
        let waits = |restore: &NodeRestore| is_unready(restore) || Phase::of(restore) == Phase::Committed;
        self.plan.way_back().is_some() && self.which(waits).len() == self.rules.count()
    }

    /// A journal that its own node does not understand.
    fn unreadable(&self, node: Node, name: &str, known: &Known<'_>) -> Option<Told> {
        let Known::Unread(why) = known else { return None };
        // What a node says of a journal begins so; what says that the node is not reached does not.
        why.starts_with("the journal ").then(|| {
            let text = format!("node {name}: {why}. Nothing is done on this node. See what to do there, by hand");
            self.row("journal", NodeSet::of(node), text, &[BY_HAND.to_owned()])
        })
    }

    /// What a node has kept besides the old data.
    fn kept(&self, node: Node, name: &str, restore: &NodeRestore) -> Option<Told> {
        if restore.kept.is_empty() && !restore.intruded {
            return None;
        }
        let mut text = format!("node {name}");
        if restore.intruded {
            text += ": an API server ran on the new data before the decision, because its manifest was put back during the restore; clients may have written to the new data";
        }
        for kept in &restore.kept {
            text += &format!("{} {} is kept: {}", if text.contains(':') { ";" } else { ":" }, kept.path, kept.why);
        }
        Some(self.row("kept", NodeSet::of(node), text, &[]))
    }

    /// Why another restore or a rollback is refused, and what to do; `None` if nothing speaks against one. A restore whose only fault is
    /// that API servers do not become ready does not stand in the way: the way back from it is a rollback.
    pub fn bars(&self) -> Option<(String, String)> {
        let id = &self.plan.id;
        if !self.is_unfinished() {
            return None;
        }
        if self.is_of_version_0_1() {
            return Some((of_version_0_1(id), self.commands.status()));
        }
        let unready = self.unready();
        let done = self.at(Phase::Ended).union(unready);
        if !unready.is_empty() && done == self.all() {
            let text = format!("restore {id} waits for the API server on {}", nodes(&self.name_all(unready)));
            return Some((text, self.forget_command()));
        }
        let open = self.which(|restore| restore.armed && restore.ended.is_none());
        if open.is_empty() {
            let away = self.name_all(self.all().without(self.at(Phase::Ended)));
            let away = if away.is_empty() { "a node that has not confirmed it".to_owned() } else { nodes(&away) };
            let text = format!("restore {id} has ended on the nodes that can be asked, and waits for {away}");
            return Some((text, self.forget_command()));
        }
        let command = match self.at(Phase::InDoubt).is_empty() {
            true => self.commands.follow(),
            false => self.commands.resume(),
        };
        Some((format!("restore {id} is unfinished on {}", nodes(&self.name_all(open))), command))
    }
}

/// The form of a verb or pronoun by how many there are.
fn verb<'v>(names: &[&str], one: &'v str, several: &'v str) -> &'v str {
    if names.len() == 1 { one } else { several }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
