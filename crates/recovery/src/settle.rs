//! What an operator may order the nodes of an unfinished restore, as pure functions of how it stands: what is decided is brought to all,
//! certificates are made anew, nodes that are gone for good are left behind, waiting ends.

use etcd_transaction::{Node, NodeSet, Operator};
use etcd_wire::restore::Decision;

use crate::commands::Commands;
use crate::refusal::Refusal;
use crate::standing::{Phase, Standing};
use crate::words::{by_hand, names, quoted};

/// What `restore --resume` does.
#[derive(Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing has to be brought: the nodes end it by themselves.
    Follow,
    /// It is decided: these nodes have not heard so.
    Bring {
        /// What is decided.
        decision: Decision,
        /// Whom to tell.
        nodes: NodeSet,
    },
    /// All of these get new certificates of one authority.
    Identities {
        /// Who gets one.
        nodes: NodeSet,
    },
    /// These decide without the others.
    Exclude {
        /// Who gets a new certificate, and decides.
        rest: NodeSet,
        /// Who is gone for good.
        gone: NodeSet,
        /// Of their ballots.
        epoch: u8,
    },
}

impl Resume {
    /// The order that a node gets, if it gets one.
    pub fn order(&self) -> Option<Operator> {
        match *self {
            Resume::Follow | Resume::Identities { .. } => None,
            Resume::Bring { decision, .. } => Some(Operator::Decided { decision }),
            Resume::Exclude { gone, epoch, .. } => Some(Operator::Exclude { nodes: gone, epoch }),
        }
    }

    /// The nodes that get something.
    pub fn nodes(&self) -> NodeSet {
        match *self {
            Resume::Follow => NodeSet::EMPTY,
            Resume::Bring { nodes, .. } | Resume::Identities { nodes } => nodes,
            Resume::Exclude { rest, .. } => rest,
        }
    }

    /// Whether they get new certificates.
    pub fn renews(&self) -> bool {
        matches!(self, Resume::Identities { .. } | Resume::Exclude { .. })
    }
}

/// What `restore --resume` is to do.
///
/// # Errors
/// Nothing can be done, or new certificates would separate nodes that are deciding.
pub fn resume(standing: &Standing<'_>) -> Result<Resume, Refusal> {
    if let Some((decision, _)) = standing.usable()? {
        return Ok(bring(standing, decision));
    }
    let id = &standing.plan.id;
    let reached = standing.undecided();
    let away = standing.all().without(reached);
    if let Some(quorum) = standing.working_quorum() {
        if quorum.without(reached).is_empty() && away.is_empty() {
            // Whoever has lost its certificate among them gets one with all others.
            let mute = standing.which(|restore| !restore.has_identity);
            return Ok(if mute.is_empty() { Resume::Follow } else { Resume::Identities { nodes: reached } });
        }
        let deciding = names(&standing.name_all(quorum));
        return Err(Refusal::new(format!("new certificates are not needed for restore {id}"))
            .cause(format!("{deciding} hear each other and are enough to decide; new certificates would separate them from nodes that cannot be asked here"))
            .hint(format!("follow it to its end\n  {}", standing.commands.follow())));
    }
    if standing.is_quorum(reached) {
        return Ok(Resume::Identities { nodes: reached });
    }
    let gone = names(&standing.name_all(away));
    Err(Refusal::new(format!("restore {id} cannot be decided by the nodes that can be asked"))
        .cause(format!("{}, and these cannot be asked or have no journal of it: {gone}", standing.needed()))
        .hint(format!("bring back {gone}, and resume again; if they are gone for good\n  {}", standing.without(away))))
}

/// What `restore --resume --without` is to do.
///
/// # Errors
/// A name is no node of the restore, which is wrong usage; a named node answers, another one does not, or the others are enough.
pub fn without(standing: &Standing<'_>, named: &[String]) -> Result<Resume, Refusal> {
    let id = &standing.plan.id;
    let refused = |why: String| Refusal::new(why);
    let mut gone = NodeSet::EMPTY;
    for name in named {
        let Some(node) = standing.find(name) else {
            let all = names(&standing.name_all(standing.all()));
            let refusal = Refusal::new(format!("node {name} takes no part in restore {id}"));
            return Err(Refusal { usage: true, ..refusal.cause(format!("its nodes are {all}")) });
        };
        gone.insert(node);
    }
    let decided = standing.usable()?;
    let rest = standing.all().without(gone);
    let answers = standing.name_all(gone.without(standing.unread()));
    if !answers.is_empty() {
        return Err(refused(format!("--without names {}, whose node answers", names(&answers)))
            .cause("only a node that is gone for good may be excluded")
            .hint(format!("resume with it\n  {}", standing.commands.resume())));
    }
    if let Some((decision, _)) = decided {
        return Ok(bring(standing, decision));
    }
    // An answer is no journal: what was accepted, and the epoch, are not in it.
    let silent = standing.all().without(gone).without(standing.with_journal());
    if !silent.is_empty() {
        let silent_names = names(&standing.name_all(silent));
        let mut all = gone;
        silent.iter().for_each(|node| all.insert(node));
        return Err(refused(format!(
            "cannot decide restore {id} without {}: not all other nodes can be asked",
            named.join(", ")
        ))
        .cause(format!("the journal of every other node is needed, and of {silent_names} it cannot be read"))
        .hint(format!(
            "bring back {silent_names}; if gone for good, add the name to --without\n  {}",
            standing.without(all)
        )));
    }
    if standing.is_quorum_of_all(rest) {
        let enough = names(&standing.name_all(rest));
        return Err(refused(format!("--without is not needed: {enough} are enough to decide restore {id}"))
            .hint(format!("resume with all nodes\n  {}", standing.commands.resume())));
    }
    let epoch = standing.epoch().checked_add(1);
    let epoch =
        epoch.ok_or_else(|| refused(format!("restore {id} was resumed without nodes too often")).hint(by_hand()))?;
    Ok(Resume::Exclude { rest, gone, epoch })
}

/// Whom to tell what is decided. A node that has not voted cannot be told that the new data stays: every vote was needed for that.
fn bring(standing: &Standing<'_>, decision: Decision) -> Resume {
    let nodes = match decision {
        Decision::Commit => standing.at(Phase::InDoubt),
        Decision::Abort => standing.undecided(),
    };
    if nodes.is_empty() { Resume::Follow } else { Resume::Bring { decision, nodes } }
}

/// What the operator has to agree to before nodes are left behind.
pub fn risk(standing: &Standing<'_>, gone: NodeSet) -> String {
    let gone = standing.name_all(gone);
    let who = gone.join(", ");
    let it = if gone.len() == 1 { who.clone() } else { "one of them".to_owned() };
    format!("{who} may have decided otherwise and acted on it. If {it} runs again, two clusters may serve.")
}

/// The nodes whose waiting `restore --forget` ends.
///
/// # Errors
/// A node has not ended it, with what to do instead.
pub fn forget(standing: &Standing<'_>) -> Result<NodeSet, Refusal> {
    let id = &standing.plan.id;
    standing.usable()?;
    let commands = standing.commands;
    let refused = |nodes: NodeSet, why: &str, hint: String| {
        let on = names(&standing.name_all(nodes));
        Err(Refusal::new(format!("restore {id} has not ended on {on}")).cause(why).hint(hint))
    };
    // Whoever says that it need not wait says that etcd does not run on the new data on nodes that cannot be asked.
    let held_up = standing.held_up();
    let awaited = standing.awaited_by(held_up);
    // One that has no journal any more had ended: those of restores that go on are not removed.
    let still = awaited.without(standing.at(Phase::Ended)).without(standing.unknown());
    if !still.is_empty() {
        let on = names(&standing.name_all(still));
        return refused(
            held_up,
            &format!("its API server waits until etcd has its old data again on {on}, which still rolls back"),
            format!("follow it to its end\n  {}", commands.follow()),
        );
    }
    for (phase, why, hint) in [
        (
            Phase::InDoubt,
            "it has voted and waits for the decision; if its waiting ends now, it could end with other data than the other nodes",
            format!("see what it waits for, and resume it\n  {}\n  {}", commands.status(), commands.resume()),
        ),
        (
            Phase::Working,
            "the restore is still in progress there",
            format!("follow it to its end\n  {}", commands.follow()),
        ),
        (
            Phase::Aborting,
            "the node still rolls back to the old data",
            format!("follow it to its end\n  {}", commands.follow()),
        ),
        (
            Phase::Committed,
            "the new data is in place there, and not all components run yet",
            format!("see what it waits for\n  {}", commands.status()),
        ),
    ] {
        // An API server that does not become ready is nothing that is waited for any more.
        let nodes = standing.at(phase).without(standing.unready()).without(held_up);
        if !nodes.is_empty() {
            return refused(nodes, why, hint);
        }
    }
    let waiting =
        standing.which(|restore| restore.ended.is_some() && (restore.waits_for_others || restore.participates));
    Ok(waiting.union(standing.unready()).union(held_up))
}

/// What ends a participant that has missed its dismissal: every node has ended, or the node was told before to wait no longer. `None` for
/// one that has still to be there.
pub fn dismissal(standing: &Standing<'_>, node: Node) -> Option<Operator> {
    let stays = standing.which(|restore| restore.participates && restore.ended.is_some());
    // Those of version 0.1 take no orders.
    if !stays.contains(node) || standing.is_of_version_0_1() || standing.decided().is_err() {
        return None;
    }
    let open = standing.which(|restore| restore.armed && restore.ended.is_none());
    let unread = standing.unread();
    if open.union(unread).is_empty() {
        return Some(Operator::AllEnded);
    }
    // Its journal says that it has heard of the end of all, or was told to forget.
    (!standing.waiting().contains(node)).then_some(Operator::Forget)
}

/// How a command about one restore is to name it.
pub fn unknown(id: &str, commands: Commands) -> Refusal {
    Refusal::new(format!("no node that can be asked has a journal of restore {id}")).hint(format!(
        "see which restores there are; the ID was {}\n  {} -o json",
        quoted(id),
        commands.status()
    ))
}
