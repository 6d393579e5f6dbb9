//! Completion as kubectl's plugins do it: candidates on stdout, one a line with an optional tab and description, then a
//! line `:N` that says what the shell may add (kubectl
//! staging/src/k8s.io/kubectl/pkg/cmd/plugin/plugin_completion.go).

mod line;
mod snapshot;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, FromArgMatches};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};

use crate::connection::ConnectionArgs;
use crate::context::Context;
use crate::discovery;
use crate::output::{Failed, Outcome, Printer, visible};
use crate::snapshot_file::is_stored;
use line::Wanted;
use snapshot::Snapshot;

/// The shell completes file names if there is no candidate.
const FILES: u8 = 0;
/// No file names.
const NO_FILES: u8 = 4;
/// The shell completes folders.
const FOLDERS: u8 = 16;
/// Nobody waits longer for a candidate.
const LIMIT: Duration = Duration::from_secs(2);

/// Print candidates for the last of the given words
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The words after the plugin's name, the last one as far as it is typed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Completes a line of the program whose arguments `root` describes.
pub(crate) async fn run(args: Args, root: &Command, mut context: Context) -> Outcome {
    let printer = context.printer;
    // A completion has no place for anything but candidates.
    context.printer = Printer::new(true);
    let (word, before) = match args.words.split_last() {
        Some((word, before)) => (word.as_str(), before),
        None => ("", [].as_slice()),
    };
    // The flags that the user has typed say which cluster is asked.
    if let Some(connection) = typed_connection(root, before) {
        context.connection = connection;
    }
    let (wanted, kept) = line::wanted(root, before, word);
    let everywhere = before.iter().any(|word| word == "-A" || word == "--all-namespaces");
    let (candidates, directive) = match wanted {
        Wanted::Words(words) => (words, NO_FILES),
        Wanted::Files => (Vec::new(), FILES),
        Wanted::Folders => (Vec::new(), FOLDERS),
        wanted => {
            let found = tokio::time::timeout(LIMIT, found(wanted, everywhere, &context)).await;
            (found.ok().and_then(Result::ok).unwrap_or_default(), NO_FILES)
        }
    };
    let typed = word.strip_prefix(kept).unwrap_or_default();
    // What is no plain name could be taken for several candidates.
    let matching = candidates.iter().filter(|candidate| {
        candidate.starts_with(typed) && visible::is_plain(candidate.split('\t').next().unwrap_or_default())
    });
    let lines: String = matching.map(|candidate| format!("{kept}{candidate}\n")).collect();
    printer.data(&format!("{lines}:{directive}\n"))
}

/// The connection flags among the words, as far as they can be understood.
fn typed_connection(root: &Command, before: &[String]) -> Option<ConnectionArgs> {
    let words = std::iter::once("kubectl-etcd").chain(before.iter().map(String::as_str));
    let matches = root.clone().ignore_errors(true).try_get_matches_from(words).ok()?;
    ConnectionArgs::from_arg_matches(&matches).ok()
}

/// Looks in the cluster, in the kubeconfig or in a file. Its errors are told by the command itself.
async fn found(wanted: Wanted, everywhere: bool, context: &Context) -> Outcome<Vec<String>> {
    let all = |names: BTreeSet<String>| names.into_iter().collect();
    Ok(match wanted {
        Wanted::Nodes => nodes(context).await?,
        Wanted::Kubeconfig(part) => kubeconfig(context, part)?,
        Wanted::Namespaces(None) => namespaces(context).await?,
        Wanted::Namespaces(Some(file)) => all(read(file, context).await?.namespaces()),
        Wanted::Types(file) => all(read(file, context).await?.types()),
        Wanted::Names { file, kind, slash } => {
            let namespace = if everywhere { None } else { Some(context.connection.object_namespace()?) };
            let names = read(file, context).await?.names(&kind, namespace.as_deref());
            let written = |name: String| if slash { format!("{kind}/{name}") } else { name };
            names.into_iter().map(written).collect()
        }
        Wanted::Words(_) | Wanted::Files | Wanted::Folders | Wanted::Nothing => Vec::new(),
    })
}

async fn read(file: PathBuf, context: &Context) -> Outcome<Snapshot> {
    match is_stored(&file) {
        // Nobody waits for a transfer, or types a passphrase, to get a candidate.
        true => Err(Failed::plain("backups in a store are not looked into")),
        false => Snapshot::read(&file, context).await,
    }
}

/// Nodes with an etcd pod.
async fn nodes(context: &Context) -> Outcome<Vec<String>> {
    let connection = context.connection.connect().await?;
    let overrides = discovery::Overrides::default();
    let found = discovery::find(&connection, context.connection.etcd_namespace(), &overrides, None).await?;
    Ok(found.members.into_iter().map(|member| member.node).collect())
}

async fn namespaces(context: &Context) -> Outcome<Vec<String>> {
    use crate::output::ResultExt;
    let connection = context.connection.connect().await?;
    let namespaces: Api<Namespace> = Api::all(connection.client);
    let listed = namespaces.list(&ListParams::default()).await.or_fail(|| "cannot list namespaces".to_owned())?;
    Ok(listed.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect())
}

fn kubeconfig(context: &Context, part: &str) -> Outcome<Vec<String>> {
    let config = context.connection.load()?;
    Ok(match part {
        "context" => config.contexts.into_iter().map(|named| named.name).collect(),
        "cluster" => config.clusters.into_iter().map(|named| named.name).collect(),
        _ => config.auth_infos.into_iter().map(|named| named.name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_that_are_typed_say_which_cluster() {
        let root = crate::cli::command("kubectl-etcd");
        for line in ["--context prod status", "status --context prod", "status --context=prod --node"] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let typed = typed_connection(&root, &words).expect("flags");
            assert_eq!((typed.context.as_deref(), typed.etcd_namespace()), (Some("prod"), "kube-system"), "{line}");
        }
    }
}
