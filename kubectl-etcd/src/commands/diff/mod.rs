//! `kubectl etcd diff`: what a file holds beside another file, or beside the running cluster.

mod arguments;
mod difference;
mod files;
mod live;
mod presence;
mod scope;
mod show;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use etcd_objects::catalog::Catalog;
use etcd_objects::key::{Key, Place};
use etcd_snapshot::{Keep, LiveKeys};

use super::origin::{self, Origin};
use crate::api::Serving;
use crate::connection::{Connection, ConnectionArgs};
use crate::contents::{Contents, FileArgs};
use crate::context::Context;
use crate::idle::{self, Idle};
use crate::output::visible::quoted;
use crate::output::{self, Exit, Failed, Outcome, Printer, print_data};
use crate::snapshot_file::is_stored;
use arguments::With;
use difference::Comparison;
use presence::{Absent, Side, absent, lacking};
use scope::{Scope, Where, place_of_namespace};
use show::Report;

/// What the running cluster is called.
const LIVE: &str = "live";

const EXAMPLES: &str = "\
Examples:
  # What has changed in the cluster since the snapshot
  kubectl etcd diff etcd.db --live

  # One namespace, in full
  kubectl etcd diff etcd.db --live -n shop -o diff

  # One object
  kubectl etcd diff etcd.db --live deployment/web -n shop -o diff

  # Last night beside this night
  kubectl etcd diff monday.db tuesday.db

  # Config maps and secrets of two files, as data
  kubectl etcd diff monday.db tuesday.db cm,secrets -o json

An object or a namespace that is named and on neither side is an error.";

/// Compare a snapshot with another one, or with the running cluster
///
/// Shows which objects are only in the one, only in the other, or differ, and in which fields. What the API server sets by itself does
/// not count: uid, resourceVersion, generation, timestamps, managedFields and status.
///
/// With --live the cluster is read through its API: get and list are all that it takes. Each type is listed in the version that the
/// file's objects are stored in. Events and leases change all the time, and every backup has the pod that took it: they are compared only
/// when their types are named.
///
/// Without -n all namespaces are compared; with it that namespace alone, and nothing outside of namespaces unless its type is named. Values
/// of Secrets are never shown, only that they differ. A warning says that the two sides are of different clusters, by the UID of kube-system.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// A second file or a backup in a store, unless there is --live; then which objects: TYPE[/NAME] [NAME...]
    #[arg(value_name = "FILE2|TYPE[/NAME]")]
    words: Vec<String>,
    /// Compare with the running cluster
    #[arg(long)]
    live: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Compare status, too
    #[arg(long)]
    show_status: bool,
    /// Output format; diff is a unified diff of the objects' YAML
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self, connection: &ConnectionArgs) -> Vec<Idle> {
        let second = self.words.first().filter(|_| !self.live).map(Path::new);
        let mut idle = self.file.idle(second);
        if self.all_namespaces {
            idle.push(Idle::flags(&[idle::NAMESPACE], "-A is for all namespaces"));
        }
        if !self.live {
            const WHY: &str = "without --live only files are read";
            let named = names(self.words.get(1..).unwrap_or_default());
            let by_context = named && !self.all_namespaces && connection.named_namespace().is_none();
            let idle_ones = Idle::connection(WHY).but(&[idle::NAMESPACE]);
            idle.push(if by_context { idle_ones.but(&idle::DEFAULT_NAMESPACE) } else { idle_ones });
        }
        idle
    }
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line an object
    Table,
    /// The same with all fields that differ
    Wide,
    /// A unified diff of each object's YAML
    #[value(alias = "yaml")]
    Diff,
    /// One JSON object
    Json,
}

/// Whether words name objects, and not only types.
fn names(words: &[String]) -> bool {
    words.len() > 1 || words.iter().any(|word| word.contains('/'))
}

/// Compares.
///
/// # Errors
/// There are differences (exit 1, told as no error); a file is damaged (exit 3), or something cannot be read.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let is_file = |name: &str| Path::new(name).is_file();
    let (with, types) = arguments::split(&args.words, args.live, is_file).map_err(|error| {
        Failed::new(Exit::Usage, error).hint("kubectl etcd diff FILE FILE2\n  kubectl etcd diff FILE --live")
    })?;
    let report = match with {
        With::File(second) if !is_stored(&second) && !second.exists() => {
            let hint = "with the running cluster a file is compared by\n  kubectl etcd diff FILE --live";
            return Err(Failed::plain(format!("there is no file {}", second.display())).hint(hint));
        }
        With::File(second) => between_files(&args, second, types, &context).await?,
        With::Cluster => with_cluster(&args, types, &context).await?,
    };
    match args.output {
        Format::Diff => context.printer.data(&report.patches())?,
        Format::Json => print_data(context.printer, output::Format::Json, &report, String::new)?,
        Format::Table => context.printer.data(&report.table(false))?,
        Format::Wide => context.printer.data(&report.table(true))?,
    }
    finish(report)
}

fn finish(mut report: Report) -> Outcome {
    let failures = std::mem::take(&mut report.failures);
    let failed = match (failures.as_slice(), report.differences.is_empty()) {
        ([], true) => return Ok(()),
        ([], false) => return Err(Failed::new(Exit::Different, report.summary())),
        ([one], true) => Failed::plain(one),
        (_, true) => Failed::plain("not everything could be compared").causes(failures),
        (_, false) => {
            let message = format!("not everything could be compared; of what was: {}", report.summary());
            Failed::plain(message).causes(failures)
        }
    };
    Err(report.hint.into_iter().fold(failed, Failed::hint))
}

fn scope(args: &Args, words: &[String], context: &Context, catalogs: &[&Catalog]) -> Outcome<Scope> {
    let own = match names(words) {
        true => context.connection.object_namespace()?,
        false => String::new(),
    };
    let place = Where { named: context.connection.named_namespace(), all: args.all_namespaces, context: &own };
    // The first that knows all the types: what is told is what the first of them does not know.
    let mut parsed = catalogs.iter().map(|catalog| Scope::parse(words, &place, catalog));
    let first = parsed.next().unwrap_or_else(|| Scope::parse(words, &place, &Catalog::builtin()));
    let scope = first.or_else(|failed| parsed.find_map(Result::ok).ok_or(failed))?;
    let left_out = scope.left_out();
    if !left_out.is_empty() {
        context.printer.note(format!("left out unless they are named: {}", left_out.join(", ")));
    }
    Ok(scope)
}

async fn between_files(
    args: &Args,
    second: std::path::PathBuf,
    words: &[String],
    context: &Context,
) -> Outcome<Report> {
    let other = args.file.beside(second);
    let open = |file| Contents::open_with(file, context, origin::keep);
    let ((mut contents, keys), (mut other, other_keys)) = tokio::try_join!(open(&args.file), open(&other))?;
    tokio::try_join!(contents.learn(words, None, context), other.learn(words, None, context))?;
    let names = (contents.name(), other.name());
    let origin = Origin::judge(origin::of_file(&contents, &keys), origin::of_file(&other, &other_keys));
    warn_of_another_cluster(&origin, &names, context.printer);
    let scope = Arc::new(scope(args, words, context, &[&contents.catalog, &other.catalog])?);
    let comparison = comparison(args, &names, &contents.catalog);
    let differences = files::compare(&contents, &other, &scope, &comparison, context).await?;
    let mut report = Report::new(names.clone(), differences, scope.left_out(), Vec::new());
    // A difference in a namespace says that the namespace is there: the files need not be read again.
    let is_there = scope.requests().is_empty() && !report.differences.is_empty();
    if scope.is_narrow() && !is_there {
        let sought = |contents| sought(contents, &scope, context);
        let (here, there) = tokio::try_join!(sought(&contents), sought(&other))?;
        let sides = [Side::new(&names.0, here), Side::new(&names.1, there)];
        tell_absent(absent(&scope, [&sides[0], &sides[1]], |_| true), &mut report, context.printer);
    }
    Ok(report)
}

/// The places in a file that tell whether what is named is there.
async fn sought(contents: &Contents, scope: &Arc<Scope>, context: &Context) -> Outcome<BTreeSet<Place>> {
    let (scope, prefix) = (Arc::clone(scope), contents.prefix.clone());
    let keep = move |key: &[u8]| match prefix.parse(key) {
        Key::Object(place) if scope.seeks(&place) => Keep::Key,
        _ => Keep::Nothing,
    };
    let keys = contents.keys(context, Arc::new(keep), None).await?;
    Ok(places(contents, &keys))
}

fn places(contents: &Contents, keys: &LiveKeys) -> BTreeSet<Place> {
    let place = |key: &Vec<u8>| match contents.prefix.parse(key) {
        Key::Object(place) => Some(place),
        _ => None,
    };
    keys.keys().filter_map(place).collect()
}

fn tell_absent(absent: Absent, report: &mut Report, printer: Printer) {
    absent.types.iter().for_each(|nothing| printer.note(nothing));
    report.failures.extend(absent.named);
    if !absent.elsewhere.is_empty() {
        let namespaces = absent.elsewhere.iter().map(|namespace| format!("\n  -n {}", quoted(namespace)));
        report.hint = Some(format!("name the namespace{}", namespaces.collect::<String>()));
    }
}

fn warn_of_another_cluster(origin: &Origin, (first, second): &(String, String), printer: Printer) {
    let second = if second == LIVE { "the running cluster" } else { second };
    match origin {
        Origin::Same => {}
        Origin::Other => printer.warn(format!("{first} is of another cluster than {second}")),
        Origin::Unknown(why) => {
            printer.warn(format!("whether {first} is of the same cluster as {second} is not known: {}", why.join("; ")))
        }
    }
}

async fn with_cluster(args: &Args, words: &[String], context: &Context) -> Outcome<Report> {
    let connection = context.connection.connect().await?;
    let (mut contents, keys) = Contents::open_with(&args.file, context, origin::keep).await?;
    contents.learn(words, None, context).await?;
    let names = (contents.name(), LIVE.to_owned());
    let serving = Serving::discover(&connection).await?;
    let origin = Origin::judge(origin::of_file(&contents, &keys), origin::of_cluster(&connection).await);
    warn_of_another_cluster(&origin, &names, context.printer);
    let mut catalog = contents.catalog.clone();
    for served in serving.stored().0 {
        if catalog.get(&served.group, &served.plural).is_none() {
            // One without a group cannot be added, and is compared all the same.
            let _core = catalog.add_crd(&served.definition());
        }
    }
    let scope = scope(args, words, context, &[&catalog])?;
    contents.catalog = catalog.clone();
    let scope = Arc::new(scope);
    let (meant, prefix) = (Arc::clone(&scope), contents.prefix.clone());
    let keep = move |key: &[u8]| match prefix.parse(key) {
        Key::Object(place) if meant.means(&place) => Keep::Value,
        _ => Keep::Nothing,
    };
    let keys = contents.keys(context, Arc::new(keep), None).await?;
    let here = if scope.is_narrow() { places(&contents, &keys) } else { BTreeSet::new() };
    let comparison = comparison(args, &names, &catalog);
    let mut found = live::compare(&contents, keys, &serving, &connection, &scope, &comparison, context).await?;
    if !found.not_stored.is_empty() {
        context.printer.note(format!("left out, as they are not in etcd: {}", found.not_stored.join(", ")));
    }
    let left_out = scope.left_out().into_iter().chain(std::mem::take(&mut found.not_stored)).collect();
    let (differences, failures) = (std::mem::take(&mut found.differences), std::mem::take(&mut found.failures));
    let mut report = Report::new(names, differences, left_out, failures);
    if scope.is_narrow() {
        let absent = absent_live(&contents, here, &found, &serving, &connection, &scope, context).await?;
        tell_absent(absent, &mut report, context.printer);
    }
    Ok(report)
}

/// What is on neither side, after a second look wherever it may be instead.
async fn absent_live(
    contents: &Contents,
    here: BTreeSet<Place>,
    found: &live::Found,
    serving: &Serving,
    connection: &Connection,
    scope: &Arc<Scope>,
    context: &Context,
) -> Outcome<Absent> {
    let mut lacking = lacking(scope, [&here, &found.places]);
    lacking.retain(|(request, _)| found.has_compared(request));
    let inside = |place: &Place| place.namespace.is_some();
    // A namespace in which nothing is may be there all the same.
    let empty = scope.whole_namespace().filter(|_| !here.iter().chain(&found.places).any(inside));
    let mut sides = [Side::new(&contents.name(), here), Side::new(LIVE, found.places.clone())];
    if !lacking.is_empty() || empty.is_some() {
        sides[0].places = sought(contents, scope, context).await?;
    }
    if !lacking.is_empty() {
        match live::elsewhere(&lacking, serving, connection).await {
            Ok(places) => sides[1].places.extend(places),
            Err(why) => sides[1].unknown = Some(why),
        }
    }
    let Some(namespace) = empty else {
        return Ok(absent(scope, [&sides[0], &sides[1]], |one| found.has_compared(one)));
    };
    match live::has_namespace(namespace, connection).await {
        Ok(false) => {}
        Ok(true) => drop(sides[1].places.insert(place_of_namespace(namespace))),
        Err(why) => {
            context.printer.warn(format!("whether namespace {namespace} is live is not known: {why}"));
            sides[1].places.insert(place_of_namespace(namespace));
        }
    }
    Ok(absent(scope, [&sides[0], &sides[1]], |one| found.has_compared(one)))
}

fn comparison<'a>(args: &Args, (first, second): &(String, String), catalog: &'a Catalog) -> Comparison<'a> {
    let (first, second) = (first.clone(), second.clone());
    let patches = args.output == Format::Diff;
    Comparison { first, second, with_status: args.show_status, patches, catalog }
}
