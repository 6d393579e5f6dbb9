//! No flag is taken and then ignored: one that has no effect on what was typed is a usage error that says why.
//!
//! Each command says by its arguments which flags those are; what an environment variable sets is never refused.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Id};

use crate::connection::ConnectionArgs;

/// The id of `-n`.
pub(crate) const NAMESPACE: &str = "namespace";
/// The flags that say which kubeconfig and which context of it the default namespace is taken from.
pub(crate) const DEFAULT_NAMESPACE: [&str; 2] = ["kubeconfig", "context"];

/// Flags that have no effect, and why.
#[derive(Debug)]
pub(crate) struct Idle {
    flags: Vec<Id>,
    why: &'static str,
}

impl Idle {
    /// All flags of a group.
    pub(crate) fn group<A: Args>(why: &'static str) -> Idle {
        let group = A::augment_args(Command::new(""));
        Idle { flags: group.get_arguments().map(|flag| flag.get_id().clone()).collect(), why }
    }

    /// Every connection flag, and `-n`.
    pub(crate) fn connection(why: &'static str) -> Idle {
        Idle::group::<ConnectionArgs>(why)
    }

    /// Flags by their ids.
    pub(crate) fn flags(ids: &[&'static str], why: &'static str) -> Idle {
        Idle { flags: ids.iter().map(|id| Id::from(*id)).collect(), why }
    }

    /// Without flags that do have an effect.
    pub(crate) fn but(mut self, ids: &[&str]) -> Idle {
        self.flags.retain(|flag| !ids.contains(&flag.as_str()));
        self
    }
}

/// What is wrong with a command line on which a flag was typed that has no effect.
pub(crate) fn find(idle: &[Idle], typed: &ArgMatches, root: &Command, name: &str) -> Option<String> {
    let is_typed = |id: &&Id| {
        let known = typed.ids().any(|known| known == *id);
        known && typed.value_source(id.as_str()) == Some(ValueSource::CommandLine)
    };
    let (id, why) = idle.iter().find_map(|one| Some((one.flags.iter().find(is_typed)?, one.why)))?;
    let own = root.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
    let flag = own.chain(root.get_arguments()).find(|flag| flag.get_id() == id).map_or(id.to_string(), written);
    Some(format!("{flag} has no effect: {why}"))
}

/// `-n/--namespace`, `--context`, or the name of an argument
fn written(flag: &Arg) -> String {
    if flag.is_positional() {
        return flag.get_value_names().and_then(<[_]>::first).map(ToString::to_string).unwrap_or_default();
    }
    let long = flag.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    flag.get_short().map_or(long.clone(), |short| format!("-{short}/{long}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli;

    /// What is said of a command line.
    fn parse(words: &[&str]) -> Result<(), String> {
        let args = std::iter::once("kubectl-etcd").chain(words.iter().copied()).map(Into::into).collect();
        cli::parse(&mut cli::command("kubectl-etcd"), args).map(drop).map_err(|error| error.to_string())
    }

    /// The global flags that a command line refuses, typed before the command or after it.
    fn refused(line: &str) -> BTreeSet<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(parse(&words), Ok(()), "{line}");
        let root = cli::command("kubectl-etcd");
        let globals = root.get_arguments().filter(|flag| flag.is_global_set());
        let mut refused = BTreeSet::new();
        for flag in globals {
            let value = match flag.get_id().as_str() {
                "quiet" => "",
                "v" => "=1",
                "request_timeout" => "=5s",
                "insecure_skip_tls_verify" | "disable_compression" => "=true",
                "as_user_extra" => "=a=b",
                _ => "=x",
            };
            let long = flag.get_long().map_or_else(|| "-v".to_owned(), |long| format!("--{long}"));
            let typed = format!("{long}{value}");
            let name = flag.get_id().to_string();
            let before = parse(&[&[typed.as_str()], &words[..]].concat());
            let after = parse(&[&words[..1], &[typed.as_str()], &words[1..]].concat());
            assert_eq!(before.is_err(), after.is_err(), "{line}: {typed}: {before:?}, {after:?}");
            if let Err(said) = before {
                assert!(said.contains(&format!("{long} has no effect: ")), "{line}: {typed}: {said}");
                refused.insert(name);
            }
        }
        refused
    }

    #[test]
    fn every_command_takes_the_global_flags_that_have_an_effect() {
        let connection: BTreeSet<String> = Idle::connection("").flags.iter().map(ToString::to_string).collect();
        let but = |used: &[&str]| -> BTreeSet<String> {
            connection.iter().filter(|id| !used.contains(&id.as_str())).cloned().collect()
        };
        let (all, none) = (but(&[]), BTreeSet::new());
        let (namespace, context) = (but(&["namespace"]), but(&["namespace", "kubeconfig", "context"]));
        let only_namespace: BTreeSet<String> = ["namespace".to_owned()].into();
        let table = [
            ("backup", &none),
            ("backup --ssh --nodes=cp1=10.0.0.11", &all),
            ("verify a.db", &all),
            ("verify a.db --live --ssh=core@ --plan=a.db.json", &all),
            ("list", &all),
            ("list --on-node=/b", &none),
            ("list --on-node=/b --nodes=cp1", &only_namespace),
            ("freshness file:///s --max-age=3h", &all),
            ("prune file:///s --keep-last=3", &all),
            ("copy s3://b/latest x", &all),
            ("schedule --store=s3://b --every=1h --no-encryption", &namespace),
            ("verify a.db --live", &none),
            ("drill a.db", &all),
            ("restore a.db", &none),
            ("restore a.db --dry-run=client", &none),
            ("restore --status", &none),
            ("restore a.db --ssh --nodes=cp1", &all),
            ("restore --status --ssh --nodes=cp1", &all),
            ("rollback --ssh --nodes=cp1", &all),
            ("cleanup --ssh --nodes=cp1", &all),
            ("restore a.db --data-dir=d", &all),
            ("rollback", &none),
            ("inspect a.db", &namespace),
            ("get a.db cm", &context),
            ("get a.db cm -A", &all),
            ("get a.db ns/shop --all", &all),
            ("diff a.db b.db", &namespace),
            ("diff a.db b.db cm", &namespace),
            ("diff a.db b.db cm/a", &context),
            ("diff a.db b.db no/a -A", &all),
            ("diff a.db --live", &none),
            ("diff a.db --live -A", &only_namespace),
            ("apply a.db cm/a", &none),
            ("apply a.db ns/shop --all", &only_namespace),
            ("status", &none),
            ("alarms", &none),
            ("alarms disarm", &none),
            ("compact", &none),
            ("member list", &none),
            ("member remove cp3", &none),
            ("defrag", &none),
            ("status --ssh --nodes=cp1", &all),
            ("doctor", &none),
            ("doctor --ssh --nodes=cp1", &all),
            ("doctor --explain quorum", &all),
            ("recover --ssh --nodes=cp1", &all),
            ("cleanup --aside", &none),
            ("cleanup", &none),
            ("store check s3://b", &all),
            ("version", &none),
            ("version --client", &all),
            ("completion bash", &all),
            ("help", &all),
            ("help exit-codes", &all),
            ("options", &all),
        ];
        for (line, expected) in table {
            assert_eq!(&refused(line), expected, "{line}");
        }
        // No command is forgotten.
        let tested: BTreeSet<&str> = table.iter().filter_map(|(line, _)| line.split(' ').next()).collect();
        let root = cli::command("kubectl-etcd");
        let all = root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name).collect();
        assert_eq!(tested, all);
    }

    #[test]
    fn a_namespace_that_is_typed_takes_the_place_of_the_contexts() {
        for line in ["get a.db cm -n shop --context=x", "diff a.db b.db cm/a -n shop --kubeconfig=x"] {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(parse(&words).is_err_and(|said| said.contains("has no effect")), "{line}");
        }
    }

    #[test]
    fn a_commands_own_flags_have_an_effect_too() {
        for (line, flag) in [
            ("verify a.db --image x", "--image"),
            ("status --ssh --nodes cp1 --image x", "--image"),
            ("backup --ssh --nodes cp1 --pod-namespace x", "--pod-namespace"),
            ("status --sudo no", "--sudo"),
            ("doctor --max-age 6h", "--max-age"),
            ("doctor --trust-key p", "--trust-key"),
            ("doctor --explain --store s3://b", "--store"),
            ("backup --ssh-command x", "--ssh-command"),
            ("backup --explain --ssh", "--ssh"),
            ("verify a.db --ssh", "--ssh"),
            ("list --image x", "--image"),
            ("list --on-node /b --nodes cp1 -l a=b", "-l/--selector"),
            ("verify a.db --endpoints https://10.0.0.1:2379", "--endpoints"),
            ("restore --resume --confirm prod", "--confirm"),
            ("restore --status --ssh --nodes cp1 --timeout 1s", "--timeout"),
            ("restore a.db --ssh --nodes cp1 --image x", "--image"),
            ("restore a.db --data-dir d --ssh", "--ssh"),
            ("rollback --sudo no", "--sudo"),
            ("cleanup --ssh --nodes cp1 -l a=b", "-l/--selector"),
            ("restore --forget x -o json", "-o/--output"),
            ("restore a.db --timeout 1s", "--timeout"),
            ("restore a.db --data-dir d --peer-port 1", "--peer-port"),
            ("restore a.db --data-dir d --image x", "--image"),
            ("restore a.db --data-dir d --bump-revision 0 --allow-lower-revisions", "--allow-lower-revisions"),
            ("alarms list --dry-run=client", "--dry-run"),
            ("member list --dry-run=client", "--dry-run"),
            ("member list cp1", "MEMBER"),
            ("member promote cp3 --confirm cp3", "--confirm"),
            ("version --client -l a=b", "-l/--selector"),
            ("get a.db cm --show-managed-fields", "--show-managed-fields"),
            ("get a.db cm --identity k", "--identity"),
            ("inspect a.db.zst.age --identity k --trust-key p", "--trust-key"),
            ("verify a.db --attest", "--attest"),
            ("diff a.db b.db --identity k", "--identity"),
            ("restore a.db --trust-key p", "--trust-key"),
            ("copy s3://b/latest x --identity k", "--identity"),
            ("recover --ssh --plan s3://b/latest --identity k", "--identity"),
            ("recover --ssh --plan a.db.json --trust-key p", "--trust-key"),
            ("recover --ssh --plan s3://b/latest --from best --identity k", "--identity"),
            ("schedule --store=s3://b --every=1h --prune-credential-secret=x", "--prune-credential-secret"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let said = parse(&words);
            assert!(
                said.as_ref().is_err_and(|said| said.contains(&format!("{flag} has no effect: "))),
                "{line}: {said:?}"
            );
        }
        // The versions of members are those of their images: no member is asked.
        assert!(parse(&["version", "--endpoints", "https://10.0.0.1:2379"]).is_err());
        for line in [
            "cleanup -l a=b",
            "list --on-node /b -l a=b --image x",
            "restore --resume --without cp1 --confirm prod",
            "restore --forget x --timeout 1s",
            "verify a.db --live --image x",
            "get a.db cm -o json --show-managed-fields",
            "verify s3://b/latest --identity k --trust-key p --attest",
            "diff a.db s3://b/latest --identity k",
            "apply a.db.zst.age cm/a --identity k",
            "restore file:///b/latest --identity k --trust-key p",
            "recover --ssh --plan s3://b/latest --trust-key p",
            "recover --ssh --plan s3://b/latest --from best --trust-key p",
        ] {
            assert_eq!(parse(&line.split(' ').collect::<Vec<_>>()), Ok(()), "{line}");
        }
    }
}
