//! `kubectl etcd apply`: objects of a file, back into the running cluster.

mod carry_out;
mod facts;
mod owners;
mod plan;
mod refuse;
mod rehearse;
mod show;
mod strip;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use etcd_snapshot::{DigestCheck, DigestState, Keep};
use kube::core::Selector;

use super::origin::{self, Origin};
use crate::api::Serving;
use crate::connection::Connection;
use crate::contents::{Contents, Entry, FileArgs, Wanted, missing, not_there, parse_selector, selects};
use crate::context::Context;
use crate::idle::{self, Idle};
use crate::interruption::interrupted;
use crate::output::confirm::Question;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Format, Outcome, Printer};
use carry_out::{Action, Done, Uids, carry_out, expected};
use facts::Facts;
use owners::owners;
use plan::{Item, Plan, Surroundings};
use rehearse::Refusals;
use show::Report;

/// What can be done about fields that others have set.
const FORCE: &str = "take over the fields that others have set with\n  --force-conflicts";

const EXAMPLES: &str = "\
Examples:
  # Take back a config map that was deleted or changed: shows what would change,
  # and asks
  kubectl etcd apply etcd.db cm/settings -n shop

  # Only show the result of a server dry run
  kubectl etcd apply etcd.db cm/settings deploy/web -n shop --dry-run=server

  # What would be sent
  kubectl etcd apply etcd.db deployment/web -n shop --dry-run=client -o yaml

  # Everything with a label
  kubectl etcd apply etcd.db cm,secrets -l app=web -n shop

  # Whole namespaces, without a question
  kubectl etcd apply etcd.db ns/shop ns/test --all --yes

  # A pod with the replica set and the deployment that it belonged to
  kubectl etcd apply etcd.db pod/web-7d4b9-x2x2l -n shop --recreate-owners";

/// Put objects of a snapshot back into the running cluster
///
/// Takes the objects that are named, in the version that they are stored in, takes out what the API server sets by itself and what no longer
/// holds (uid, resourceVersion, status; owners that are gone; the node of a pod; addresses that others have), and says so. Sends
/// everything as a server-side dry run first, shows what would change, asks, and then applies it server-side, owners and namespaces first.
///
/// As with kubectl apply --server-side, fields that others have set otherwise are conflicts: they are named before anything is changed,
/// and taken over with --force-conflicts. Nothing is overwritten that has changed since it was shown. A damaged file and the file
/// of another cluster, by the UID of kube-system, are refused.
///
/// Of a whole namespace, pods that a controller makes anew and work that has ended are left out.
///
/// Fields that are only live and that the file does not have stay as they are: they are told. Events, leases, nodes, and what controllers make of
/// other objects are not put back, nor are tokens of service accounts; fields of objects that are not known here are never dropped
/// silently. Values of Secrets are never shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// Which objects: TYPE/NAME..., TYPE NAME..., or TYPE with -l
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    what: Vec<String>,
    /// With ns/NAME...: everything in those namespaces, and they themselves
    #[arg(long)]
    all: bool,
    /// Label selector, as in kubectl: of a TYPE, or with --all
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = parse_selector)]
    selector: Option<Selector>,
    /// client: show what would be sent; server: also ask the server what it would make of it
    #[arg(long, value_name = "HOW")]
    dry_run: Option<DryRun>,
    /// Apply without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Also put back owners that are gone, if the file has them
    #[arg(long)]
    recreate_owners: bool,
    /// Take over fields that others have set, as kubectl apply --server-side --force-conflicts
    #[arg(long)]
    force_conflicts: bool,
    /// Accept a file that is of another cluster, or of an unknown one
    #[arg(long)]
    other_cluster: bool,
    /// Accept a file without the digest at its end, or with a wrong one (a copy of member/snap/db)
    #[arg(long)]
    skip_hash_check: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let mut idle = self.file.idle([]);
        if self.all {
            idle.push(Idle::flags(&[idle::NAMESPACE], "with --all, ns/NAME names the namespace"));
        }
        if self.dry_run == Some(DryRun::Client) {
            idle.push(Idle::flags(&["force_conflicts"], "--dry-run=client does not ask the server"));
        }
        idle
    }
}

/// `--dry-run`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    Client,
    Server,
}

/// Puts objects back.
///
/// # Errors
/// The file is damaged (exit 3), something speaks against it (exit 4), or not everything was applied (exit 5, or 1 if nothing was).
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    match context.interruptible(prepare(&args, &context)).await? {
        Some(ready) => apply(&args, &ready, &context).await,
        None => Ok(()),
    }
}

/// What is to be applied, as it was shown.
struct Ready {
    items: Vec<Item>,
    left_out: Vec<String>,
    connection: Connection,
}

/// Finds out what is to be applied, shows it, and asks. Nothing, if it was only to be shown.
async fn prepare(args: &Args, context: &Context) -> Outcome<Option<Ready>> {
    let printer = context.printer;
    let digest = if args.skip_hash_check { DigestCheck::Skip } else { DigestCheck::Compute };
    let (mut contents, keys) = Contents::open_checked(&args.file, context, digest, origin::keep).await?;
    if contents.report.digest == DigestState::Absent && !args.skip_hash_check {
        return Err(without_digest(&contents));
    }
    contents.learn(&args.what, None, context).await?;
    let connection = context.connection.connect().await?;
    // Whether the API server answers at all shows here.
    let serving = Serving::discover(&connection).await?;
    let origin = Origin::judge(origin::of_file(&contents, &keys), origin::of_cluster(&connection).await);
    allow(&origin, &contents.name(), &connection.cluster, args.other_cluster, printer)?;
    let wanted = wanted(args, &contents, context)?;
    let mut entries = read(args, &wanted, &contents, context).await?;
    let mut facts = Facts::default();
    gather(args, &mut entries, &mut facts, &contents, &serving, &connection, context).await?;

    let catalog = &contents.catalog;
    let whole_namespace = wanted.whole_namespace;
    let several_namespaces = wanted.namespace.is_none();
    let around = Surroundings { facts: &facts, serving: &serving, catalog, whole_namespace, several_namespaces };
    let Plan { mut items, left_out, refusals, lacking } = plan::plan(&entries, &around);
    let left_out = left_out.lines();
    for what in &left_out {
        printer.note(format!("left out: {what}"));
    }
    if !refusals.is_empty() {
        let failed = refused(refusals, entries.len());
        return Err(if lacking.is_empty() { failed } else { failed.hint(before(&contents.name(), &lacking)) });
    }
    if args.dry_run == Some(DryRun::Client) {
        show::notes(&items, context);
        return show::manifests(&items, args.output, context).map(|()| None);
    }

    let Refusals { why, conflicts } =
        rehearse::rehearse(&mut items, &facts, &connection.client, args.force_conflicts).await;
    show::notes(&items, context);
    if !why.is_empty() {
        let failed = refused(why, items.len());
        return Err(if conflicts { failed.hint(FORCE) } else { failed });
    }
    let changes = items.iter().filter(|item| expected(item) != Action::Unchanged).count();
    printer.show(&rehearse::patches(&items));
    if args.dry_run.is_some() {
        let mut report = Report::new(Some("server"), &left_out);
        for item in &items {
            tell(args, item, &Done::well(expected(item)), Some("server"), context)?;
            report.add(item, Done::well(expected(item)));
        }
        return report.print(args.output, context).map(|()| None);
    }
    if changes > 0 {
        let question = Question {
            text: format!("Apply {changes} object(s) to cluster {} ({})?", connection.cluster, connection.server),
            otherwise: "nothing was applied",
            hint: "read what would change, and then\n  --yes",
        };
        question.ask(args.yes, printer).await?;
    }
    Ok(Some(Ready { items, left_out, connection }))
}

/// The command that applies what is lacking.
fn before(file: &str, lacking: &BTreeSet<String>) -> String {
    let words: Vec<String> = lacking.iter().map(|word| quoted(word)).collect();
    format!("apply as well, or before\n  kubectl etcd apply {} {}", quoted(file), words.join(" "))
}

/// A file whose bytes nothing proves is taken only when that was asked for.
fn without_digest(contents: &Contents) -> Failed {
    Failed::new(Exit::Damaged, format!("{} has no digest at its end", contents.name()))
        .cause("it is a copy of a database file: nothing proves its bytes")
        .hint("if etcd was stopped when it was copied, take objects out of it with\n  --skip-hash-check")
}

/// Objects may well be taken to another cluster, but not by mistake.
///
/// # Errors
/// They would be, or nobody can tell, and that was not asked for.
fn allow(origin: &Origin, file: &str, cluster: &str, other_cluster: bool, printer: Printer) -> Outcome {
    let (message, why) = match origin {
        Origin::Same => return Ok(()),
        Origin::Other => (format!("{file} is of another cluster than {cluster}"), Vec::new()),
        Origin::Unknown(why) => (format!("whether {file} is of cluster {cluster} is not known"), why.clone()),
    };
    if other_cluster {
        printer.warn(std::iter::once(message).chain(why).collect::<Vec<_>>().join(": "));
        return Ok(());
    }
    let failed = Failed::new(Exit::Refused, message).causes(why).unchanged();
    Err(failed.hint("apply its objects to this cluster all the same with\n  --other-cluster"))
}

fn refused(refusals: Vec<String>, of: usize) -> Failed {
    let message = format!("{} of {of} objects cannot be applied", refusals.len());
    Failed::new(Exit::Refused, message).causes(refusals).unchanged()
}

fn wanted(args: &Args, contents: &Contents, context: &Context) -> Outcome<Wanted> {
    let namespace = context.connection.object_namespace()?;
    let wanted = Wanted::parse(&args.what, Some(namespace), &contents.catalog);
    let wanted = if args.all { wanted.and_then(Wanted::whole) } else { wanted };
    let wanted = wanted.map_err(|error| Failed::new(Exit::Usage, error))?;
    let usage = |message: String| Failed::new(Exit::Usage, message);
    let (types, named): (Vec<_>, Vec<_>) = wanted.requests.iter().partition(|request| request.names.is_empty());
    if let (Some(request), None) = (types.first(), &args.selector) {
        let failed = usage(format!("which {}? Objects are named, TYPE/NAME, or selected", request.resource.plural));
        return Err(failed.hint("by labels, or a whole namespace\n  -l SELECTOR\n  ns/NAME --all"));
    }
    // Whether one is not there, or does not match, could not be told.
    if !named.is_empty() && args.selector.is_some() && !wanted.whole_namespace {
        return Err(usage("an object is either named, or found by a selector".to_owned()));
    }
    Ok(wanted)
}

/// The objects that are meant.
async fn read(args: &Args, wanted: &Wanted, contents: &Contents, context: &Context) -> Outcome<Vec<Entry>> {
    let keys = contents.keys(context, Arc::new(wanted.keep(&contents.prefix)), None).await?;
    let meant = |entry: &Entry| {
        let place = &entry.place;
        wanted.means(&place.resource, place.group.as_deref(), place.namespace.as_deref(), &place.name)
    };
    let mut entries: Vec<Entry> = contents.entries(keys).into_iter().filter(meant).collect();
    let missing = missing(wanted, &entries);
    if !missing.is_empty() {
        return Err(not_there(&missing, wanted, contents, None, context).await);
    }
    entries.retain(|entry| selects(args.selector.as_ref(), entry));
    if entries.is_empty() {
        let place = wanted.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        return Err(Failed::plain(format!("{} has no objects{place} with these labels", contents.name())));
    }
    Ok(entries)
}

/// Finds out what has to be known, and reads the owners that are wanted as well.
async fn gather(
    args: &Args,
    entries: &mut Vec<Entry>,
    facts: &mut Facts,
    contents: &Contents,
    serving: &Serving,
    connection: &Connection,
    context: &Context,
) -> Outcome {
    let mut tried: BTreeSet<Place> = entries.iter().map(|entry| entry.place.clone()).collect();
    loop {
        facts.gather(entries, serving, &contents.catalog, connection).await?;
        if !args.recreate_owners {
            return Ok(());
        }
        let gone = gone_owners(entries, facts, &contents.catalog);
        let gone: Vec<_> = gone.into_iter().filter(|(place, _)| tried.insert(place.clone())).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let keys: BTreeSet<Vec<u8>> = gone.iter().map(|(place, _)| contents.prefix.key(place)).collect();
        let keep = move |key: &[u8]| if keys.contains(key) { Keep::Value } else { Keep::Nothing };
        let found = contents.entries(contents.keys(context, Arc::new(keep), None).await?);
        entries.extend(found.into_iter().filter(|entry| is_owner(entry, &gone)));
    }
}

/// Owners that are not there any more, with the UIDs that they had.
fn gone_owners(entries: &[Entry], facts: &Facts, catalog: &Catalog) -> Vec<(Place, String)> {
    let objects = entries.iter().filter_map(|entry| Some((&entry.place, &entry.object.as_ref().ok()?.json)));
    let named = objects.flat_map(|(place, object)| owners(place, object, catalog));
    let placed = named.filter_map(|owner| Some((owner.place?, owner.uid)));
    // One of its name that was made since is not the owner, and not to be overwritten.
    placed.filter(|(place, _)| facts.live(place).is_none()).collect()
}

/// Whether what the file has is the owner that is meant, and not another object of its name.
fn is_owner(entry: &Entry, gone: &[(Place, String)]) -> bool {
    let Ok(object) = &entry.object else { return false };
    let meant = |(place, uid): &(Place, String)| *place == entry.place && object.uid() == Some(uid);
    gone.iter().any(meant) && refuse::never(&entry.place, &object.json).is_none()
}

/// Applies everything; what fails does not keep the rest from being applied.
async fn apply(args: &Args, ready: &Ready, context: &Context) -> Outcome {
    let Ready { items, left_out, connection } = ready;
    let (mut report, mut uids) = (Report::new(None, left_out), Uids::default());
    let (mut failures, mut changed, mut refused) = (Vec::new(), 0_usize, 0_usize);
    let (mut unknown, mut told) = (false, Ok(()));
    for item in items {
        if context.interruption.happened() {
            return Err(match changed {
                0 => interrupted().unchanged(),
                _ => Failed::new(Exit::Changed, "interrupted")
                    .effect(format!("{changed} of {} objects were applied", items.len())),
            });
        }
        // What was sent last may have been done.
        let done = format!("{changed} of {} objects were applied, or one more", items.len());
        let cut_off = || Failed::new(Exit::Changed, "interrupted").effect(done);
        let sent = carry_out(item, &mut uids, &connection.client, args.force_conflicts);
        let done = context.interruption.or(cut_off, sent).await?;
        unknown |= done.unknown;
        refused += usize::from(done.refused);
        changed += usize::from(matches!(done.action, Action::Created | Action::Configured));
        if let Some(error) = &done.error {
            failures.push((item.title(), error.clone()));
        }
        told = told.and(tell(args, item, &done, None, context));
        report.add(item, done);
    }
    let told = told.and_then(|()| report.print(args.output, context));
    if failures.is_empty() {
        let done = format!("{changed} of {} objects were changed; only the report of it is lost", items.len());
        return told.map_err(|failed| if changed > 0 { failed.after_change(done) } else { failed });
    }
    let exit = match refused {
        _ if changed > 0 || unknown => Exit::Changed,
        all if all == failures.len() => Exit::Refused,
        _ => Exit::Failed,
    };
    let done = match exit {
        Exit::Changed if changed == 1 => format!("1 of {} objects was changed", items.len()),
        Exit::Changed => format!("{changed} of {} objects were changed", items.len()),
        _ => "nothing was changed".to_owned(),
    };
    let message = format!("{} of {} objects were not applied", failures.len(), items.len());
    let failed = Failed::new(exit, message).each("objects", failures).effect(done).also(told);
    let failed =
        if refused > 0 { failed.hint("the same command again shows what would change by now") } else { failed };
    Err(if changed > 0 {
        failed.hint("what was applied stays; the same command again applies the rest")
    } else {
        failed
    })
}

/// A line an object, as soon as it is known.
fn tell(args: &Args, item: &Item, done: &Done, dry_run: Option<&str>, context: &Context) -> Outcome {
    match args.output == Format::Table && done.action != Action::Failed {
        true => context.printer.data(&show::line(item, done.action, dry_run)),
        false => Ok(()),
    }
}
