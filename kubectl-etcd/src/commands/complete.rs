//! `__complete`: what kubectl asks for when the user presses TAB after `kubectl etcd`.
//!
//! The protocol is cobra's: the words so far, the last one perhaps empty; answered by a candidate a line, with a tab
//! and a description, and a last line `:N` that says what the shell may add (kubectl
//! staging/src/k8s.io/kubectl/pkg/cmd/plugin/plugin_completion.go).

use std::time::Duration;

use clap::{Arg, Command, FromArgMatches};

use crate::connection::ConnectionArgs;
use crate::context::Context;
use crate::discovery;
use crate::output::{Outcome, visible};

/// The shell completes file names if there is no candidate.
const FILES: u8 = 0;
/// No file names.
const NO_FILES: u8 = 4;
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
    let (word, before) = match args.words.split_last() {
        Some((word, before)) => (word.as_str(), before),
        None => ("", [].as_slice()),
    };
    // The flags that the user has typed say which cluster is asked.
    if let Some(connection) = typed_connection(root, before) {
        context.connection = connection;
    }
    let (candidates, directive) = match complete(root, before, word) {
        Wanted::Words(words) => (words, NO_FILES),
        Wanted::Files => (Vec::new(), FILES),
        Wanted::Nodes => (nodes(&context).await, NO_FILES),
        Wanted::Kubeconfig(part) => (kubeconfig(&context, part), NO_FILES),
        Wanted::Nothing => (Vec::new(), NO_FILES),
    };
    let (prefix, typed) = match word.split_once('=') {
        Some((flag, value)) if word.starts_with("--") => (format!("{flag}="), value),
        _ => (String::new(), word),
    };
    let matching = candidates.iter().filter(|candidate| candidate.starts_with(typed));
    let lines: String = matching.map(|candidate| format!("{prefix}{candidate}\n")).collect();
    context.printer.data(&format!("{lines}:{directive}\n"))
}

/// The connection flags among the words, as far as they can be understood.
fn typed_connection(root: &Command, before: &[String]) -> Option<ConnectionArgs> {
    let words = std::iter::once("kubectl-etcd").chain(before.iter().map(String::as_str));
    let matches = root.clone().ignore_errors(true).try_get_matches_from(words).ok()?;
    ConnectionArgs::from_arg_matches(&matches).ok()
}

/// What can stand at the place of the last word.
#[derive(Debug, PartialEq)]
enum Wanted {
    Words(Vec<String>),
    Files,
    Nodes,
    Kubeconfig(&'static str),
    Nothing,
}

fn complete(root: &Command, before: &[String], word: &str) -> Wanted {
    let sub = before.iter().find_map(|typed| root.find_subcommand(typed));
    let args = || sub.into_iter().flat_map(Command::get_arguments).chain(root.get_arguments());
    let takes_value = |arg: &&Arg| arg.get_action().takes_values() && !arg.is_positional();
    let named = |typed: &str| {
        let find = |arg: &&Arg| match typed.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => typed.strip_prefix('-').and_then(|s| s.chars().next()).is_some_and(|s| arg.get_short() == Some(s)),
        };
        args().find(find).filter(takes_value)
    };
    if let Some((flag, _)) = word.split_once('=').filter(|_| word.starts_with("--")) {
        return named(flag).map_or(Wanted::Nothing, value_of);
    }
    if let Some(arg) = before.last().filter(|last| !last.contains('=')).and_then(|last| named(last)) {
        return value_of(arg);
    }
    if word.starts_with('-') {
        let flags = args().filter(|arg| !arg.is_hide_set() || arg.is_global_set()).filter_map(|arg| {
            let help = arg.get_help().map(|help| format!("\t{help}")).unwrap_or_default();
            Some(format!("--{}{help}", arg.get_long()?))
        });
        return Wanted::Words(flags.collect());
    }
    match sub {
        None => Wanted::Words(
            root.get_subcommands()
                .filter(|sub| !sub.is_hide_set())
                .map(|sub| {
                    format!("{}\t{}", sub.get_name(), sub.get_about().map(ToString::to_string).unwrap_or_default())
                })
                .collect(),
        ),
        Some(sub) => sub.get_positionals().next().map_or(Wanted::Nothing, value_of),
    }
}

/// What the value of an argument can be.
fn value_of(arg: &Arg) -> Wanted {
    let values = arg.get_possible_values();
    if !values.is_empty() {
        return Wanted::Words(values.iter().map(|value| value.get_name().to_owned()).collect());
    }
    match arg.get_id().as_str() {
        "node" => Wanted::Nodes,
        "context" => Wanted::Kubeconfig("context"),
        "cluster" => Wanted::Kubeconfig("cluster"),
        "user" => Wanted::Kubeconfig("user"),
        "file" | "kubeconfig" | "certificate_authority" | "client_certificate" | "client_key" => Wanted::Files,
        _ => Wanted::Nothing,
    }
}

/// Nodes with an etcd pod. Silent when the cluster does not answer soon: a completion has no place for errors.
async fn nodes(context: &Context) -> Vec<String> {
    let found = async {
        let connection = context.connection.connect().await?;
        let overrides = discovery::Overrides::default();
        discovery::find(&connection, context.connection.etcd_namespace(), &overrides, None).await
    };
    match tokio::time::timeout(LIMIT, found).await {
        // What is no plain name could be taken for several candidates.
        Ok(Ok(found)) => {
            found.members.into_iter().map(|member| member.node).filter(|node| visible::is_plain(node)).collect()
        }
        _ => Vec::new(),
    }
}

fn kubeconfig(context: &Context, part: &str) -> Vec<String> {
    let Ok(config) = context.connection.load() else { return Vec::new() };
    let mut names: Vec<String> = match part {
        "context" => config.contexts.into_iter().map(|named| named.name).collect(),
        "cluster" => config.clusters.into_iter().map(|named| named.name).collect(),
        _ => config.auth_infos.into_iter().map(|named| named.name).collect(),
    };
    names.retain(|name| visible::is_plain(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Wanted {
        let (word, before) = words.split_last().expect("a last word");
        let before: Vec<String> = before.iter().map(|&w| w.to_owned()).collect();
        complete(&crate::cli::command("kubectl-etcd"), &before, word)
    }

    fn words(wanted: Wanted) -> Vec<String> {
        match wanted {
            Wanted::Words(words) => {
                words.into_iter().map(|w| w.split('\t').next().unwrap_or_default().to_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_flags_that_are_typed_say_which_cluster() {
        let root = crate::cli::command("kubectl-etcd");
        for line in ["--context prod status", "status --context prod", "status --context=prod --node"] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let typed = typed_connection(&root, &words).expect("flags");
            assert_eq!((typed.context.as_deref(), typed.etcd_namespace()), (Some("prod"), "kube-system"), "{line}");
        }
    }

    #[test]
    fn commands_then_their_flags_then_their_values() {
        let commands = words(wanted(&[""]));
        assert!(
            ["backup", "verify", "status", "cleanup", "version", "completion"]
                .iter()
                .all(|c| commands.contains(&(*c).to_owned()))
        );
        assert!(!commands.contains(&"__complete".to_owned()));
        assert!(words(wanted(&["backup", "--"])).contains(&"--on-node".to_owned()));
        assert!(words(wanted(&["backup", "--"])).contains(&"--context".to_owned()));
        assert_eq!(words(wanted(&["backup", "--compress", ""])), ["zstd", "none"]);
        assert_eq!(words(wanted(&["status", "--output="])), ["table", "wide", "json", "yaml"]);
        assert_eq!(words(wanted(&["status", "-o", ""])), ["table", "wide", "json", "yaml"]);
    }

    #[test]
    fn what_is_not_a_fixed_word() {
        assert_eq!(wanted(&["backup", "--node", ""]), Wanted::Nodes);
        assert_eq!(wanted(&["--context", ""]), Wanted::Kubeconfig("context"));
        assert_eq!(wanted(&["verify", ""]), Wanted::Files);
        assert_eq!(wanted(&["status", ""]), Wanted::Nothing);
    }
}
