//! What an operator does on a node about a restore that has begun, where no API server is: looks at it, brings a decision that is known, gives nodes
//! new certificates, leaves behind what is gone for good, ends the waiting. Run in the participant's container, which sees what this needs.
//!
//! [`gather`] finds out, `etcd_recovery::settle` judges, [`settle_here`] says what this node can do of it, and the participant is told over its
//! socket. Nothing is written into the journal but by the participant.

mod args;
mod brought;
mod gather;
mod identity_file;
mod settle_here;
mod show;
#[cfg(test)]
mod tests;

use std::path::Path;

use etcd_recovery::settle::{self, Resume};
use etcd_recovery::{Commands, Refusal, Standing, identities};
use etcd_transaction::{Node, NodeSet, Operator};
use etcd_wire::restore::Decision;
use etcd_wire::{Failure, FailureCode};
use jiff::Timestamp;

pub(crate) use self::args::{Args, BEGUN};
use self::gather::Gathered;
use self::identity_file::IdentityFile;
use self::settle_here::{Here, settle_here};
use self::show::{nodes, visible};
use super::layout::STATE;
use super::{arm, network};
use crate::node::Place;

/// Does it, and gives what is to be printed.
///
/// # Errors
/// [`FailureCode::Refused`]: that cannot be done, or is not safe; nothing was changed. [`FailureCode::Unreachable`]: the participant does not answer.
/// [`FailureCode::Storage`]: a file cannot be read or written.
pub(crate) async fn operate(args: &Args) -> Result<String, Failure> {
    operate_in(&Place::new(STATE), args).await
}

async fn operate_in(state: &Place, args: &Args) -> Result<String, Failure> {
    let id = args.forget.as_deref().or(args.resume.as_ref().and_then(Option::as_deref));
    let gathered = Gathered::of(state, id, &args.journal).await?;
    if args.status {
        return show::status(gathered.as_ref(), args.output, Timestamp::now());
    }
    let gathered = gathered.filter(|gathered| args.forget.is_some() || etcd_recovery::moves_on_there(&gathered.here));
    let Some(gathered) = gathered else { return Ok("no restore is unfinished on this node".to_owned()) };
    match (&args.forget, &args.identity) {
        (Some(_), _) => forget(&gathered).await,
        (None, Some(file)) => take_identity(&gathered, file).await,
        (None, None) => resume(&gathered, args).await,
    }
}

/// A refusal, as everything else that fails here.
fn refuse(refusal: Refusal) -> Failure {
    let failure = Failure::new(FailureCode::Refused, refusal.message);
    let failure = refusal.causes.into_iter().fold(failure, Failure::cause);
    refusal.hint.into_iter().fold(failure, Failure::hint)
}

fn refused(message: String) -> Failure {
    Failure::new(FailureCode::Refused, message)
}

async fn resume(gathered: &Gathered, args: &Args) -> Result<String, Failure> {
    let standing = gathered.standing()?;
    let resume = match args.without.is_empty() {
        true => settle::resume(&standing),
        false => settle::without(&standing, &args.without),
    };
    let resume = resume.map_err(refuse)?;
    if let Resume::Exclude { gone, .. } = resume {
        agreed(gathered, &standing, gone, args.confirm.as_deref())?;
    }
    let (plan, name) = (gathered.layout.plan(), &gathered.here.node);
    let see = format!("see how it ends\n  {}", Commands::Node.status());
    match settle_here(&resume, gathered.own()) {
        Here::Nothing => Ok(format!("nothing is needed on node {name}: the restore ends by itself\n{see}")),
        Here::Knows { others } => {
            let told = format!("nothing is needed on node {name}: its participant knows the decision");
            Ok(format!("{told}{}\n{see}", bring_others(gathered, &standing, others)))
        }
        Here::Tell { order, renews, others } => {
            let identity = match renews {
                true => Some(issue(gathered)?.swap_remove(gathered.layout.index())),
                false => None,
            };
            arm::tell(&gathered.layout, identity.as_ref(), order).await?;
            let told = match order {
                Some(Operator::Decided { decision: Decision::Commit }) => "knows now that the new data stays",
                Some(Operator::Decided { decision: Decision::Abort }) => {
                    "knows now that it has to return to the old data"
                }
                Some(Operator::Exclude { .. }) => "has a new certificate, and decides without the nodes that are gone",
                _ => "has a new certificate",
            };
            Ok(format!("node {name} {told}{}\n{see}", bring_others(gathered, &standing, others)))
        }
        Here::Carry { nodes: all, order } => {
            let named = nodes(&standing.name_all(all));
            let Some(folder) = &args.write_identities else {
                let flag = format!(
                    "{} --write-identities {}",
                    again(args),
                    gathered.layout.state().join("new-identities").display()
                );
                return Err(refused(format!("restore {} needs new certificates on several nodes", plan.id))
                    .cause(format!("{named} get certificates of one authority, which is made once, on one node"))
                    .hint(format!("write a file for each node, and carry each to its node\n  {flag}")));
            };
            let made = issue(gathered)?;
            let file = |node: Node| Some(IdentityFile::new(plan, node.index(), made.get(node.index())?.clone(), order));
            let files: Vec<IdentityFile> = all.iter().filter_map(file).collect();
            let written = tokio::task::block_in_place(|| identity_file::write(folder, &files))?;
            let mut told = format!(
                "new certificates for {named} are written; no node has taken one yet. Carry each file to its node, into {}, and take it there:",
                gathered.layout.state().display()
            );
            for (file, path) in files.iter().zip(&written) {
                told += &format!("\n  {}: {} --identity {}", file.node, Commands::Node.resume(), path.display());
            }
            Ok(told + "\neach file holds a key: delete all copies afterwards")
        }
    }
}

/// The command that was typed, as far as it says who is gone.
fn again(args: &Args) -> String {
    let names: Vec<&str> = args.without.iter().map(String::as_str).collect();
    let mut command = if names.is_empty() { Commands::Node.resume() } else { Commands::Node.without(&names) };
    for file in &args.journal {
        command += &format!(" --journal {}", etcd_recovery::quoted(&file.display().to_string()));
    }
    if let Some(cluster) = &args.confirm {
        command += &format!(" --confirm {}", etcd_recovery::quoted(cluster));
    }
    command
}

/// How those are told who do not know a decision: each by its own participant.
fn bring_others(gathered: &Gathered, standing: &Standing<'_>, others: NodeSet) -> String {
    if others.is_empty() {
        return String::new();
    }
    let (named, journal) = (nodes(&standing.name_all(others)), gathered.layout.journal().display());
    format!(
        "\nthe decision is not known on {named}. If it does not arrive there over the network, copy {journal} of a node that knows it there, and bring it\n  {} --journal FILE",
        Commands::Node.resume()
    )
}

/// Certificates of a new authority for all nodes of the plan.
fn issue(gathered: &Gathered) -> Result<Vec<etcd_wire::restore::Identity>, Failure> {
    let plan = gathered.layout.plan();
    let made = identities(&plan.id, plan.nodes.len());
    made.map_err(|error| Failure::new(FailureCode::Other, "cannot make certificates for the nodes").source(&error))
}

/// Refuses to leave nodes behind without consent to what that risks.
fn agreed(gathered: &Gathered, standing: &Standing<'_>, gone: NodeSet, confirm: Option<&str>) -> Result<(), Failure> {
    let cluster = &gathered.layout.plan().cluster;
    if confirm == Some(cluster) {
        return Ok(());
    }
    let message = match confirm {
        Some(other) => format!("the restore is of cluster {cluster}, and not of {other}"),
        None => "consent is needed to decide without nodes".to_owned(),
    };
    let mut failure = refused(message).cause(settle::risk(standing, gone));
    let machines = gathered.machines(&standing.name_all(gone));
    if !machines.is_empty() {
        let named = nodes(&machines);
        failure = failure.cause(format!("a machine answers at the address of {named}, although no participant does: make sure that it cannot start with the data that it had"));
    }
    Err(failure.hint(
        "destroy or reset what is gone, so that it cannot start; then add --confirm with the name of the cluster",
    ))
}

/// Takes the certificate that was made on another node.
async fn take_identity(gathered: &Gathered, file: &Path) -> Result<String, Failure> {
    let brought = tokio::task::block_in_place(|| identity_file::read(file))?;
    let standing = gathered.standing()?;
    may_take(gathered, &standing, &brought)?;
    network::check_for(&brought.identity, gathered.own(), gathered.layout.plan().nodes.len())?;
    arm::tell(&gathered.layout, Some(&brought.identity), brought.order()).await?;
    let what = if brought.without.is_some() { ", and decides without the nodes that are gone" } else { "" };
    let see = format!("see how it ends\n  {}", Commands::Node.status());
    Ok(format!("node {} has a new certificate{what}. Delete {}: it holds a key\n{see}", brought.node, file.display()))
}

/// Whether a certificate is this node's, and is still needed.
fn may_take(gathered: &Gathered, standing: &Standing<'_>, brought: &IdentityFile) -> Result<(), Failure> {
    let (id, name) = (&gathered.layout.plan().id, &gathered.here.node);
    if brought.id != *id {
        return Err(refused(format!("the certificate is for restore {}, and not for {id}", brought.id)));
    }
    if brought.node != *name {
        let message = format!("the certificate is for node {}, and this is node {name}", brought.node);
        return Err(refused(message).hint(format!("carry it to node {}", brought.node)));
    }
    let follow = format!("see how it ends\n  {}", Commands::Node.follow());
    if standing.usable().map_err(refuse)?.is_some() {
        return Err(refused(format!("new certificates are not needed for restore {id}: it is decided"))
            .hint(format!("tell this node, if it does not know\n  {}", Commands::Node.resume())));
    }
    let Some((gone, _)) = brought.without else {
        return match standing.working_quorum() {
            Some(quorum) => Err(refused(format!("new certificates are not needed for restore {id}"))
                .cause(format!("{} hear each other and are enough to decide", nodes(&standing.name_all(quorum))))
                .hint(follow)),
            None => Ok(()),
        };
    };
    let answers = standing.name_all(gone.without(standing.unread()));
    if !answers.is_empty() {
        return Err(refused(format!(
            "the certificate is for a decision without {}, and something answers there",
            nodes(&answers)
        ))
        .hint(format!("resume with all nodes\n  {}", Commands::Node.resume())));
    }
    Ok(())
}

/// Ends the waiting of this node.
async fn forget(gathered: &Gathered) -> Result<String, Failure> {
    let standing = gathered.standing()?;
    let (id, name) = (&gathered.layout.plan().id, &gathered.here.node);
    let waiting = settle::forget(&standing).map_err(refuse)?;
    if !waiting.contains(gathered.own()) {
        return Ok(format!("node {name} does not wait for the end of restore {id} any more"));
    }
    arm::tell(&gathered.layout, None, Some(Operator::Forget)).await?;
    let away = standing.name_all(standing.unread());
    let mut told =
        format!("node {name} does not wait any more for the end of restore {id}; its participant ends within a minute");
    if !away.is_empty() {
        told += &format!(
            "\nits journal keeps the decision: to bring the decision to {} later, copy {} there, and type there\n  {} --journal FILE",
            nodes(&away),
            gathered.layout.journal().display(),
            Commands::Node.resume()
        );
    }
    Ok(told)
}

/// How a failure is printed.
pub(crate) fn shown(failure: &Failure) -> String {
    let mut text = format!("error: {}", failure.message);
    failure.causes.iter().for_each(|cause| text += &format!("\n  {cause}"));
    failure.hint.iter().for_each(|hint| text += &format!("\n\n{hint}"));
    visible(&text)
}
