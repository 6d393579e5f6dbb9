//! What is said of a command line that cannot be understood.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::habits;
use crate::output::{Exit, Failed};

/// A command or a flag that does not exist: what to type instead. `None`: clap's own words say it.
pub(crate) fn explain(root: &Command, args: &[OsString], error: &clap::Error) -> Option<Failed> {
    let args: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words = Words::of(root, &args);
    let first = words.typed.first();
    let command = first.and_then(|word| root.find_subcommand(word));
    match (error.kind(), command) {
        (ErrorKind::InvalidSubcommand, None) => Some(unknown_command(root, &words)),
        (ErrorKind::UnknownArgument, None) if first.is_some() => Some(unknown_command(root, &words)),
        (ErrorKind::UnknownArgument, command) => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(typed)) => Some(unknown_argument(root, command, typed)),
            _ => None,
        },
        (ErrorKind::MissingSubcommand, _) => Some(
            Failed::new(Exit::Usage, "no command was named").hint("the commands are listed by\n  kubectl etcd --help"),
        ),
        (ErrorKind::MissingRequiredArgument, Some(command)) => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => {
                let missing = format!("missing: {}", missing.join(" "));
                Some(Failed::new(Exit::Usage, missing).hint(see(command)))
            }
            _ => None,
        },
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(command)) => invalid_value(command, error),
        _ => None,
    }
}

/// A value that its flag or argument does not take. `None`: the value is missing.
fn invalid_value(command: &Command, error: &clap::Error) -> Option<Failed> {
    let (Some(ContextValue::String(arg)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    if value.is_empty() {
        return None;
    }
    let failed = Failed::new(Exit::Usage, format!("invalid value \"{}\" for {arg}", shown(value)));
    let failed = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
        (Some(ContextValue::Strings(allowed)), _) if !allowed.is_empty() => {
            failed.cause(format!("possible values: {}", allowed.join(", ")))
        }
        (_, Some(why)) => failed.source(why),
        _ => failed,
    };
    Some(failed.hint(see(command)))
}

/// A URL may hold a password, even one that is refused because of it: only its scheme is shown.
fn shown(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, rest)) if rest.contains(['@', '?']) => format!("{scheme}://..."),
        _ => value.to_owned(),
    }
}

fn see(command: &Command) -> String {
    format!("see the flags and examples of this command\n  kubectl etcd {} --help", command.get_name())
}

/// The words of a command line that are no flags and no values of flags.
struct Words<'a> {
    args: &'a [String],
    typed: Vec<String>,
    /// Where each of them stands in `args`.
    places: Vec<usize>,
}

impl Words<'_> {
    fn of<'a>(root: &Command, args: &'a [String]) -> Words<'a> {
        let takes_value =
            |flag: &str| habits::ETCDCTL.contains(&flag) || flags(root).any(|arg| is(arg, flag) && takes(arg));
        let mut words = Words { args, typed: Vec::new(), places: Vec::new() };
        let mut rest = args.iter().enumerate();
        while let Some((place, arg)) = rest.next() {
            if arg.len() > 1 && arg.starts_with('-') {
                if !arg.contains('=') && takes_value(arg) {
                    rest.next();
                }
                continue;
            }
            words.typed.push(arg.clone());
            words.places.push(place);
        }
        words
    }

    /// What follows the first words, without the flags by which etcdctl finds a member.
    fn after(&self, count: usize) -> Vec<String> {
        let start = count.checked_sub(1).and_then(|last| self.places.get(last)).map_or(0, |place| place + 1);
        let mut kept = Vec::new();
        let mut rest = self.args.iter().skip(start);
        while let Some(arg) = rest.next() {
            match arg.split_once('=') {
                Some((flag, _)) if habits::ETCDCTL.contains(&flag) => {}
                None if habits::ETCDCTL.contains(&arg.as_str()) => {
                    rest.next();
                }
                _ => kept.push(arg.clone()),
            }
        }
        kept
    }

    fn has_etcdctl_flags(&self) -> bool {
        self.args.iter().any(|arg| habits::ETCDCTL[..4].contains(&arg.split('=').next().unwrap_or_default()))
    }
}

/// Every flag of the program and of its commands.
fn flags(root: &Command) -> impl Iterator<Item = &Arg> {
    root.get_arguments().chain(root.get_subcommands().flat_map(Command::get_arguments))
}

fn takes(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

fn is(flag: &Arg, typed: &str) -> bool {
    match typed.strip_prefix("--") {
        Some(long) => flag.get_long() == Some(long),
        None => flag.get_short().is_some_and(|short| typed.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4]))),
    }
}

fn unknown_command(root: &Command, words: &Words) -> Failed {
    if let Some((typed, hint)) = habits::answer(&words.typed, |count| words.after(count)) {
        let failed = Failed::new(Exit::Usage, format!("unknown command \"{typed}\"")).hint(hint);
        return match words.has_etcdctl_flags() {
            true => failed.hint("endpoints and certificates need no flags: they are read from the etcd pods"),
            false => failed,
        };
    }
    let typed = words.typed.first().map(String::as_str).unwrap_or_default();
    let failed = Failed::new(Exit::Usage, format!("unknown command \"{typed}\""));
    let names = root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name);
    match similar(typed, names) {
        similar if similar.is_empty() => failed.hint("the commands are listed by\n  kubectl etcd --help"),
        similar => failed.hint(format!("did you mean: {}", similar.join(", "))),
    }
}

fn unknown_argument(root: &Command, command: Option<&Command>, typed: &str) -> Failed {
    let flag = typed.split('=').next().unwrap_or_default();
    let Some(command) = command else {
        let failed = Failed::new(Exit::Usage, format!("unknown flag: {flag}"));
        let of: Vec<&str> = root
            .get_subcommands()
            .filter(|sub| sub.get_arguments().any(|arg| is(arg, flag)))
            .map(Command::get_name)
            .collect();
        return match of.is_empty() {
            true => failed.hint("the flags that every command takes are listed by\n  kubectl etcd options"),
            false => failed.hint(format!("it is a flag of {}, and stands after the command", of.join(", "))),
        };
    };
    let see = see(command);
    if !typed.starts_with('-') {
        return Failed::new(Exit::Usage, format!("too many arguments: \"{typed}\"")).hint(see);
    }
    let all =
        command.get_arguments().chain(root.get_arguments()).filter(|arg| !arg.is_hide_set() || arg.is_global_set());
    let names = all.filter_map(Arg::get_long);
    let failed = Failed::new(Exit::Usage, format!("unknown flag: {flag}"));
    let meant = match flag {
        "--write-out" | "-w" => vec!["output"],
        flag => similar(flag.trim_start_matches('-'), names),
    };
    match meant {
        meant if meant.is_empty() => failed.hint(see),
        meant => failed.hint(format!("did you mean: --{}", meant.join(", --"))).hint(see),
    }
}

/// Names that differ from what was typed by a slip of the fingers, or begin with it. A short name has to be closer.
fn similar<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let allowed = if typed.len() <= 4 { 1 } else { 2 };
    let close =
        |name: &&str| strsim::osa_distance(typed, name) <= allowed || (typed.len() >= 2 && name.starts_with(typed));
    names.filter(close).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn said(line: &str) -> Failed {
        let args: Vec<OsString> = std::iter::once("kubectl-etcd").chain(line.split(' ')).map(Into::into).collect();
        let mut root = cli::command("kubectl-etcd");
        let error = cli::parse(&mut root, args.clone()).expect_err(line);
        explain(&root, &args, &error).unwrap_or_else(|| panic!("{line}: {error}"))
    }

    #[test]
    fn an_unknown_command_is_answered_with_the_one_that_does_it() {
        for (line, message, hint) in [
            ("snapshot save a.db", "unknown command \"snapshot save\"", "kubectl etcd backup a.db"),
            ("--context x snapshot save a.db", "unknown command \"snapshot save\"", "kubectl etcd backup a.db"),
            (
                "--endpoints=https://a:2379 --cacert /c snapshot save a.db",
                "unknown command \"snapshot save\"",
                "kubectl etcd backup a.db",
            ),
            (
                "snapshot --cacert /c save a.db --write-out table",
                "unknown command \"snapshot save\"",
                "kubectl etcd backup a.db",
            ),
            (
                "snapshot restore --endpoints x a.db --data-dir /d --name cp1",
                "unknown command \"snapshot restore\"",
                "kubectl etcd restore a.db --data-dir /d --name cp1",
            ),
            ("stauts", "unknown command \"stauts\"", "did you mean: status"),
            ("ver", "unknown command \"ver\"", "did you mean: verify, version"),
            ("frobnicate", "unknown command \"frobnicate\"", "the commands are listed by\n  kubectl etcd --help"),
        ] {
            let failed = said(line);
            assert_eq!((failed.exit, failed.message.as_str()), (Exit::Usage, message), "{line}");
            assert_eq!(failed.hints[0], hint, "{line}");
        }
        let with_flags = said("--cacert /c endpoint health");
        assert!(with_flags.hints[1].contains("need no flags"), "{with_flags}");
        // Not everything that sounds alike.
        for line in ["create", "rest", "state", "do"] {
            let failed = said(line);
            assert!(line == "rest" || !failed.to_string().contains("restore"), "{line}: {failed}");
        }
    }

    #[test]
    fn no_password_in_a_url_is_repeated() {
        for line in ["backup --store s3://user:pw@b/p", "backup --store s3://b/p?secret=pw"] {
            let failed = said(line);
            assert!(failed.message.starts_with("invalid value \"s3://...\" for --store"), "{failed}");
            assert!(!failed.to_string().contains("pw"), "{failed}");
        }
    }

    #[test]
    fn an_unknown_flag_is_answered_with_the_one_that_was_meant() {
        for (line, message, hint) in [
            ("status --nonsense", "unknown flag: --nonsense", "see the flags and examples"),
            ("status --ouptut json", "unknown flag: --ouptut", "did you mean: --output"),
            ("status --endpoint=x", "unknown flag: --endpoint", "did you mean: --endpoints"),
            ("verify a.db --write-out=json", "unknown flag: --write-out", "did you mean: --output"),
            ("verify a.db -w json", "unknown flag: -w", "did you mean: --output"),
            ("status extra", "too many arguments: \"extra\"", "see the flags and examples"),
            ("--cacert /c", "unknown flag: --cacert", "it is a flag of backup, verify"),
            ("--nope", "unknown flag: --nope", "the flags that every command takes"),
            ("verify", "missing: <FILE>", "kubectl etcd verify --help"),
            ("status -o foo", "invalid value \"foo\" for --output <FORMAT>", "kubectl etcd status --help"),
            ("status --request-timeout=x", "invalid value \"x\" for --request-timeout <DURATION>", "status --help"),
            ("--context x", "no command was named", "kubectl etcd --help"),
        ] {
            let failed = said(line);
            assert_eq!((failed.exit, failed.message.as_str()), (Exit::Usage, message), "{line}");
            assert!(failed.hints[0].contains(hint), "{line}: {failed}");
        }
    }
}
