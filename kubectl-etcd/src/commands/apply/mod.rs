//! `kubectl etcd apply`: objects of a file, back into the running cluster.

mod carry_out;
mod facts;
mod owners;
mod plan;
mod refuse;
mod rehearse;
mod show;
mod strip;

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_objects::catalog::Catalog;
use etcd_objects::key::Place;
use etcd_snapshot::{Keep, LiveKeys};

use crate::api::{self, Serving};
use crate::cli::Context;
use crate::connection::Connection;
use crate::contents::{Contents, Entry, FileArgs, Wanted, missing, not_there};
use crate::idle::{self, Idle};
use crate::output::{Exit, Failed, Format, Outcome, Printer, ResultExt};
use carry_out::{Action, Done, Uids, carry_out, expected};
use facts::Facts;
use owners::owners;
use plan::{Item, Plan, Surroundings};
use show::Report;

/// The end of the key of the object whose UID tells clusters apart.
const IDENTITY: &[u8] = b"/namespaces/kube-system";

const EXAMPLES: &str = "\
Examples:
  # Take back a config map that was deleted or changed: shows what would change, and asks
  kubectl etcd apply etcd.db cm/settings -n shop

  # Only see what the server would make of it
  kubectl etcd apply etcd.db cm/settings deployment/web -n shop --dry-run=server

  # What would be sent
  kubectl etcd apply etcd.db deployment/web -n shop --dry-run=client -o yaml

  # A whole namespace, without a question
  kubectl etcd apply etcd.db ns/shop --all --yes

  # A pod with the replica set and the deployment that it belonged to
  kubectl etcd apply etcd.db pod/web-7d4b9-x2x2l -n shop --recreate-owners";

/// Put objects of a snapshot back into the running cluster
///
/// Takes the objects that are named, in the version that they are stored in, takes out what the API server sets by itself and what no longer
/// holds (uid, resourceVersion, status; owners that are gone; the node of a pod; addresses that others have), and says so. Sends
/// everything as a server-side dry run first, shows what would change, asks, and then applies it server-side, owners and namespaces first.
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
    /// Which objects: TYPE/NAME..., or TYPE NAME...
    #[arg(required = true, value_name = "TYPE/NAME")]
    what: Vec<String>,
    /// With ns/NAME: everything in that namespace, and itself
    #[arg(long)]
    all: bool,
    /// client: show what would be sent; server: also ask the server what it would make of it
    #[arg(long, value_name = "HOW")]
    dry_run: Option<DryRun>,
    /// Apply without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Also put back owners that are gone, if the file has them
    #[arg(long)]
    recreate_owners: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        let idle = Idle::flags(&[idle::NAMESPACE], "with --all, ns/NAME is the namespace");
        if self.all { vec![idle] } else { Vec::new() }
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
    let printer = context.printer;
    let is_identity = |key: &[u8]| if key.ends_with(IDENTITY) { Keep::Value } else { Keep::Nothing };
    let (contents, keys) = Contents::open_with(&args.file, &context, is_identity).await?;
    let connection = context.connection.connect().await?;
    let serving = Serving::discover(&connection).await?;
    warn_of_another_cluster(&contents, keys, &serving, &connection, printer).await;
    let wanted = wanted(&args, &contents, &context)?;
    let mut entries = read(&wanted, &contents, &context).await?;
    let mut facts = Facts::default();
    gather(&args, &mut entries, &mut facts, &contents, &serving, &connection, &context).await?;

    let catalog = &contents.catalog;
    let whole_namespace = wanted.whole_namespace;
    let around = Surroundings { facts: &facts, serving: &serving, catalog, whole_namespace };
    let Plan { mut items, left_out, refusals, lacking } = plan::plan(&entries, &around);
    let left_out = left_out.lines();
    for what in &left_out {
        printer.note(format!("left out: {what}"));
    }
    if !refusals.is_empty() {
        let failed = refused(refusals, entries.len());
        let lacking: Vec<String> = lacking.into_iter().collect();
        let hint =
            || format!("apply as well, or before\n  kubectl etcd apply {} {}", contents.name(), lacking.join(" "));
        return Err(if lacking.is_empty() { failed } else { failed.hint(hint()) });
    }
    if args.dry_run == Some(DryRun::Client) {
        show::notes(&items, &context);
        return show::manifests(&items, args.output, &context);
    }

    let refusals = rehearse::rehearse(&mut items, &facts, &connection.client).await;
    show::notes(&items, &context);
    if !refusals.is_empty() {
        return Err(refused(refusals, items.len()));
    }
    let changes = items.iter().filter(|item| expected(item) != Action::Unchanged).count();
    printer.show(&rehearse::patches(&items));
    if args.dry_run.is_some() {
        let mut report = Report::new(Some("server"), &left_out);
        for item in &items {
            tell(&args, item, &Done::well(expected(item)), Some("server"), &context)?;
            report.add(item, Done::well(expected(item)));
        }
        return report.print(args.output, &context);
    }
    if changes > 0 {
        confirm(&args, changes, &connection, printer).await?;
    }
    apply(&args, &items, &left_out, &connection, &context).await
}

/// Objects may well be taken to another cluster, but not by mistake.
async fn warn_of_another_cluster(
    contents: &Contents,
    mut keys: LiveKeys,
    serving: &Serving,
    connection: &Connection,
    printer: Printer,
) {
    keys.retain(|key, _| key.ends_with(IDENTITY));
    let entries = contents.entries(keys);
    let of_file = entries.iter().find_map(|entry| entry.object.as_ref().ok()?.uid());
    let Some(namespaces) = serving.preferred("", "namespaces") else { return };
    // Whoever may not look at it applies all the same.
    let live = api::get(&connection.client, namespaces, None, "kube-system").await.ok().flatten();
    let live = live.as_ref().and_then(|live| live["metadata"]["uid"].as_str());
    if let (Some(of_file), Some(live)) = (of_file, live)
        && of_file != live
    {
        printer.warn(format!("{} is of another cluster than {}", contents.name(), connection.cluster));
    }
}

fn refused(refusals: Vec<String>, of: usize) -> Failed {
    let message = format!("{} of {of} objects cannot be applied, and nothing was changed", refusals.len());
    Failed::new(Exit::Refused, message).causes(refusals)
}

fn wanted(args: &Args, contents: &Contents, context: &Context) -> Outcome<Wanted> {
    let namespace = context.connection.object_namespace()?;
    let wanted = Wanted::parse(&args.what, Some(namespace), &contents.catalog);
    let wanted = if args.all { wanted.and_then(Wanted::whole) } else { wanted };
    let wanted = wanted.map_err(|error| Failed::new(Exit::Usage, error))?;
    if let Some(request) = wanted.requests.iter().find(|request| request.names.is_empty()) {
        return Err(Failed::new(
            Exit::Usage,
            format!("which {}? Objects are named: TYPE/NAME", request.resource.plural),
        )
        .hint("a whole namespace is\n  ns/NAME --all"));
    }
    Ok(wanted)
}

/// The objects that are meant.
async fn read(wanted: &Wanted, contents: &Contents, context: &Context) -> Outcome<Vec<Entry>> {
    let keys = contents.keys(context, Arc::new(wanted.keep(&contents.prefix)), None).await?;
    let meant = |entry: &Entry| {
        let place = &entry.place;
        wanted.means(&place.resource, place.group.as_deref(), place.namespace.as_deref(), &place.name)
    };
    let entries: Vec<Entry> = contents.entries(keys).into_iter().filter(meant).collect();
    let missing = missing(wanted, &entries);
    if missing.is_empty() { Ok(entries) } else { Err(not_there(&missing, wanted, contents, None, context).await) }
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

async fn confirm(args: &Args, changes: usize, connection: &Connection, printer: Printer) -> Outcome {
    if args.yes {
        return Ok(());
    }
    if !Printer::interactive() {
        return Err(Failed::new(Exit::Refused, "nothing was applied: there is no terminal to ask on")
            .hint("read what would change, and then\n  --yes"));
    }
    let question = format!("Apply {changes} object(s) to cluster {} ({})?", connection.cluster, connection.server);
    let answer = tokio::task::spawn_blocking(move || printer.confirm(&question)).await;
    if answer.or_fail(|| "ask".to_owned())? { Ok(()) } else { Err(Failed::new(Exit::Refused, "nothing was applied")) }
}

/// Applies everything; what fails does not keep the rest from being applied.
async fn apply(
    args: &Args,
    items: &[Item],
    left_out: &[String],
    connection: &Connection,
    context: &Context,
) -> Outcome {
    let (mut report, mut uids) = (Report::new(None, left_out), Uids::default());
    let (mut failures, mut changed, mut unknown, mut told) = (Vec::new(), 0_usize, false, Ok(()));
    for item in items {
        // What was sent last may have been done.
        let done = format!("{changed} of {} objects were applied, or one more", items.len());
        context.note_going_on(Some(Failed::new(Exit::Changed, "interrupted").cause(done)));
        let done = carry_out(item, &mut uids, &connection.client).await;
        unknown |= done.unknown;
        changed += usize::from(matches!(done.action, Action::Created | Action::Configured));
        if let Some(error) = &done.error {
            failures.push(format!("{}: {error}", item.title()));
        }
        told = told.and(tell(args, item, &done, None, context));
        report.add(item, done);
    }
    context.note_going_on(None);
    let told = told.and_then(|()| report.print(args.output, context));
    if failures.is_empty() {
        let done = format!("{changed} of {} objects were changed; only the report of it is lost", items.len());
        return told.map_err(|failed| if changed > 0 { failed.after_change(done) } else { failed });
    }
    let exit = if changed > 0 || unknown { Exit::Changed } else { Exit::Failed };
    let message = format!("{} of {} objects were not applied", failures.len(), items.len());
    let failed = Failed::new(exit, message).causes(failures).also(told);
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
