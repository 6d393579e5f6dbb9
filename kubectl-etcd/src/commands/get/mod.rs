//! `kubectl etcd get`: objects out of a file, as kubectl would have shown them.

mod format;
mod show;
mod sort;
mod table;

use std::sync::Arc;

use etcd_snapshot::LiveKeys;
use kube::core::Selector;

use crate::connection::ConnectionArgs;
use crate::contents::{Contents, Entry, FileArgs, Wanted, missing, not_there, parse_selector, selects};
use crate::context::Context;
use crate::idle::{self, Idle};
use crate::json_path::JsonPath;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};
use format::{Format, FormatParser};

const EXAMPLES: &str = "\
Examples:
  # The config maps of a namespace
  kubectl etcd get etcd.db configmaps -n shop

  # One object, as kubectl printed it when it was live
  kubectl etcd get etcd.db deployment/web -n shop -o yaml

  # A whole namespace, in an order in which it can be applied
  kubectl etcd get etcd.db ns/shop --all -o yaml

  # What a config map was at an earlier revision that the file still has
  kubectl etcd get etcd.db cm/settings -n shop --revision 41873 -o yaml

  # The pods of a namespace by age, with one of their labels
  kubectl etcd get etcd.db pods -n shop --sort-by .metadata.creationTimestamp -L app

  # Names and images, by templates of kubectl
  kubectl etcd get etcd.db deploy -A -o jsonpath='{.items[*].metadata.name}'
  kubectl etcd get etcd.db po -A -o custom-columns='NODE:.spec.nodeName,IP:..podIP'

  # Objects of a custom resource in all namespaces, by label
  kubectl etcd get etcd.db certificates.cert-manager.io -A -l app=web

  # The bytes in etcd
  kubectl etcd get etcd.db secret/db -n shop --raw | hexdump -C";

/// Show objects in a snapshot
///
/// Takes what kubectl get takes: TYPE, TYPE,TYPE, TYPE NAME..., TYPE/NAME..., all; plural, singular and short names, kinds,
/// TYPE.GROUP. Custom resources are known from the file itself. Reads only the file: no cluster is needed, and nothing is changed. Its
/// pages and records are checked while it is read, its digest is not: kubectl etcd verify does that.
///
/// A table has kubectl's own columns, those of custom resources from their definition in the file. Ages are as of now, as kubectl
/// shows them. -o wide adds what etcd knows: the revision of the last change, how many versions the file has, bytes. Templates of
/// -o jsonpath are kubectl's.
///
/// An object is shown in the version that it is stored in, with the revision that last changed it as its resource version. Values of
/// Secrets are shown only of Secrets that are named, by themselves or with their whole namespace.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArgs,
    /// Which objects: TYPE[/NAME] [NAME...]
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    what: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// With ns/NAME...: everything in those namespaces, and they themselves
    #[arg(long, conflicts_with_all = ["all_namespaces", "raw"])]
    all: bool,
    /// Label selector, as in kubectl
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = parse_selector)]
    selector: Option<Selector>,
    /// Output format
    #[arg(short, long, value_parser = FormatParser, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// Sort by a field, as in kubectl: .metadata.creationTimestamp
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Leave out the headers of a table
    #[arg(long)]
    no_headers: bool,
    /// Show all labels as the last column
    #[arg(long)]
    show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// As of an earlier revision, which the file must still have
    #[arg(long, value_name = "REVISION")]
    revision: Option<i64>,
    /// Write the value of one object as it is stored; decrypted, if there is a key for it
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// Show metadata.managedFields with -o yaml and json
    #[arg(long)]
    show_managed_fields: bool,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self, connection: &ConnectionArgs) -> Vec<Idle> {
        let used = [&[idle::NAMESPACE], &idle::DEFAULT_NAMESPACE[..]].concat();
        let mut idle = self.file.idle([]);
        idle.push(Idle::connection("get reads only the file").but(&used));
        if self.all {
            idle.push(Idle::flags(&used, "with --all, ns/NAME names the namespace"));
        }
        if self.all_namespaces {
            idle.push(Idle::flags(&used, "-A is for all namespaces"));
        }
        if connection.named_namespace().is_some() {
            let why = "get takes only the namespace from a kubeconfig, and -n names another";
            idle.push(Idle::flags(&idle::DEFAULT_NAMESPACE, why));
        }
        if !matches!(self.output, Format::Yaml | Format::Json) {
            idle.push(Idle::flags(&["show_managed_fields"], "only -o yaml and -o json show whole objects"));
        }
        if !self.output.is_table() || self.raw {
            idle.push(Idle::flags(
                &["show_labels", "label_columns"],
                "only -o table and -o wide have columns for labels",
            ));
        }
        if !matches!(self.output, Format::Table | Format::Wide | Format::CustomColumns(_)) || self.raw {
            idle.push(Idle::flags(&["no_headers"], "only tables have headers"));
        }
        if self.raw {
            idle.push(Idle::flags(&["sort_by"], "--raw is for one object"));
        }
        idle
    }
}

/// Shows what is meant.
///
/// # Errors
/// The file is damaged (exit 3); something that is named is not there, or cannot be read (exit 1).
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let sort_by = args.sort_by.as_deref().map(JsonPath::relaxed).transpose();
    let sort_by = sort_by.map_err(|why| Failed::new(Exit::Usage, "--sort-by is not understood").cause(why))?;
    let mut contents = Contents::open(&args.file, &context).await?;
    contents.learn(&args.what, args.revision, &context).await?;
    let wanted = wanted(&args, &context, &contents)?;
    let keys = contents.keys(&context, Arc::new(wanted.keep(&contents.prefix)), args.revision).await?;
    let mut entries = choose(&contents, &wanted, keys, args.selector.as_ref());
    if let (Some(path), Some(typed)) = (&sort_by, &args.sort_by) {
        entries = sort::sort(entries, path, typed, &wanted)?;
    }
    let missing = missing(&wanted, &entries);
    if args.raw && missing.is_empty() {
        return raw(&entries, &wanted, &context);
    }
    if args.raw {
        return Err(not_there(&missing, &wanted, &contents, args.revision, &context).await);
    }
    show::show(&args, &wanted, &entries, &contents, &context)?;
    if !missing.is_empty() {
        return Err(not_there(&missing, &wanted, &contents, args.revision, &context).await);
    }
    let unread = entries.iter().filter(|entry| entry.object.is_err()).count();
    if unread > 0 && (args.output.shows_objects() || args.selector.is_some()) {
        let message = format!("{unread} of {} objects cannot be read, or not whole", entries.len());
        return Err(Failed::plain(message).causes(table::reasons(&entries)).hint("see what is stored with\n  --raw"));
    }
    Ok(())
}

fn wanted(args: &Args, context: &Context, contents: &Contents) -> Outcome<Wanted> {
    let namespace = if args.all_namespaces { None } else { Some(context.connection.object_namespace()?) };
    let wanted = Wanted::parse(&args.what, namespace, &contents.catalog);
    let wanted = if args.all { wanted.and_then(Wanted::whole) } else { wanted };
    let wanted = wanted.map_err(|error| Failed::new(Exit::Usage, error).hint(types_of(&contents.name())))?;
    let named = wanted.requests.iter().any(|request| !request.names.is_empty() && request.resource.namespaced);
    if named && args.all_namespaces {
        return Err(Failed::new(Exit::Usage, "an object is in one namespace: with a name, -A cannot be"));
    }
    // Whether it is not there, or does not match, could not be told.
    let any = wanted.requests.iter().any(|request| !request.names.is_empty());
    if any && !wanted.whole_namespace && args.selector.is_some() {
        return Err(Failed::new(Exit::Usage, "an object is either named, or found by a selector"));
    }
    Ok(wanted)
}

fn types_of(file: &str) -> String {
    format!("see which types the file has\n  kubectl etcd inspect {}", quoted(file))
}

/// What is meant and matches, in the order in which it was asked for; a whole namespace in an order in which it can be applied.
fn choose(contents: &Contents, wanted: &Wanted, keys: LiveKeys, selector: Option<&Selector>) -> Vec<Entry> {
    let meant = |entry: &Entry| {
        let place = &entry.place;
        wanted.means(&place.resource, place.group.as_deref(), place.namespace.as_deref(), &place.name)
    };
    let mut entries: Vec<Entry> =
        contents.entries(keys).into_iter().filter(meant).filter(|entry| selects(selector, entry)).collect();
    let rank = |entry: &Entry| match wanted.whole_namespace {
        true => {
            let group = entry.place.group.as_deref().unwrap_or_default();
            contents.catalog.get(group, &entry.place.resource).map_or(u32::MAX, |resource| resource.rank())
        }
        false => {
            let own =
                wanted.requests.iter().zip(0..).find(|(request, _)| request.resource.plural == entry.place.resource);
            own.map_or(u32::MAX, |(_, index)| index)
        }
    };
    entries.sort_by_key(rank);
    entries
}

/// Writes the bytes of one value.
fn raw(entries: &[Entry], wanted: &Wanted, context: &Context) -> Outcome {
    let [entry] = entries else {
        return Err(Failed::new(Exit::Usage, format!("--raw is for one object, and {} are meant", entries.len())));
    };
    if show::is_withheld(entry, wanted) {
        return Err(Failed::new(Exit::Usage, "the value of a Secret is shown only if it is named: secret/NAME"));
    }
    context.printer.raw(&entry.stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_shows_the_types_can_be_pasted() {
        assert!(types_of("a;id.db").ends_with("\n  kubectl etcd inspect 'a;id.db'"));
    }
}
