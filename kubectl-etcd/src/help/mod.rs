//! The help of every command, laid out as kubectl lays out its own: description, examples, flags, usage. Global flags are
//! shown by `kubectl etcd options`.

mod exit_codes;
mod habits;
mod usage;

use clap::{Arg, ArgAction, Command};

pub(crate) use usage::explain;

/// No line is wider, unless it is one of an example that has to be.
const WIDTH: usize = 80;
/// Flags that only ask for a text, and are in no list.
const ASKS: [&str; 2] = ["help", "version"];

/// The commands in the order in which `kubectl etcd --help` shows them. A command without a group is among the last.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Back up and restore",
        &["backup", "verify", "list", "drill", "restore", "rollback", "schedule", "freshness", "prune"],
    ),
    ("Look into a snapshot, and take out of it", &["inspect", "get", "diff", "apply"]),
    ("The etcd of the cluster", &["status", "doctor", "member", "alarms", "compact", "defrag", "cleanup"]),
    ("Other commands", &[]),
];

/// Texts that are no commands: `kubectl etcd help TOPIC`.
const TOPICS: [(&str, &str); 2] = [("environment", ENVIRONMENT), ("exit-codes", exit_codes::ALL)];

const ENVIRONMENT: &str = "\
Environment variables. A flag wins over its variable.

  KUBECONFIG                      kubeconfig files, as in kubectl
  HTTPS_PROXY, NO_PROXY           proxy to the API server, as in kubectl
  KUBECTL_ETCD_IMAGE              --image
  KUBECTL_ETCD_IMAGE_PULL_POLICY  --image-pull-policy
  KUBECTL_ETCD_IMAGE_PULL_SECRET  --image-pull-secret
  KUBECTL_ETCD_POD_NAMESPACE      --pod-namespace
  TMPDIR                          folder for snapshots that have to be unpacked
";

/// Gives the commands their names, as they are typed, and their help.
pub(crate) fn dress(root: Command, program: &str) -> Command {
    let name = match program.starts_with("kubectl-") {
        true => program.replacen('-', " ", 1).replace('_', "-"),
        false => "kubectl-etcd".to_owned(),
    };
    let page = root_page(&root, &name);
    root.mut_args(|flag| if flag.is_global_set() { flag.hide(true) } else { flag })
        .mut_subcommands(|sub| if sub.is_hide_set() { sub } else { of_command(sub, &name) })
        .disable_help_flag(true)
        .arg(help_flag())
        .disable_version_flag(true)
        .arg(Arg::new("version").short('V').long("version").action(ArgAction::Version).hide(true))
        .bin_name(name)
        .max_term_width(WIDTH)
        .help_template(page)
}

fn help_flag() -> Arg {
    Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).hide(true)
}

/// One command's help: its description is wrapped, and every line of its examples stays a line.
fn of_command(sub: Command, name: &str) -> Command {
    let description = sub.get_long_about().or(sub.get_about()).cloned().unwrap_or_default();
    let examples = sub.get_after_help().map(|examples| format!("{examples}\n\n")).unwrap_or_default();
    let flags = match sub.get_arguments().any(|arg| !arg.is_hide_set()) {
        true => "{all-args}\n\n",
        false => "",
    };
    let codes = exit_codes::of(sub.get_name(), name).map(|codes| format!("{codes}\n\n")).unwrap_or_default();
    let template = format!("{{before-help}}{examples}{flags}Usage:\n  {{usage}}\n\n{codes}{}", options_hint(name));
    sub.before_help(description)
        .mut_args(|arg| arg.hide_env_values(true))
        .next_line_help(true)
        .disable_help_flag(true)
        .arg(help_flag())
        .help_template(template)
}

fn options_hint(name: &str) -> String {
    format!("Use \"{name} options\" for a list of global command-line options\n(applies to all commands).\n")
}

/// The program's own help.
fn root_page(root: &Command, name: &str) -> String {
    let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, commands)| commands.iter().copied()).collect();
    let visible: Vec<&Command> = root.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    let width = visible.iter().map(|sub| sub.get_name().len()).max().unwrap_or_default();
    let line = |sub: &Command| {
        format!("  {:width$}  {}\n", sub.get_name(), sub.get_about().map(ToString::to_string).unwrap_or_default())
    };
    let groups = GROUPS.iter().map(|(heading, commands)| {
        let lines: String = match commands.is_empty() {
            true => visible.iter().filter(|sub| !grouped.contains(&sub.get_name())).map(|sub| line(sub)).collect(),
            false => commands.iter().filter_map(|command| root.find_subcommand(command)).map(line).collect(),
        };
        format!("{heading}:\n{lines}\n")
    });
    let groups: String = groups.collect();
    format!(
        "{{about}}\n\n{groups}Usage:\n  {name} COMMAND [OPTIONS]\n\n\
         Use \"{name} COMMAND --help\" for examples and flags of a command.\n{}\n\
         Documentation and issues: {}\n",
        options_hint(name),
        env!("CARGO_PKG_REPOSITORY")
    )
}

/// What can follow `help`, as far as it is no command.
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|(name, _)| *name)
}

/// The help of a command, of a topic, or of the program. `None`: neither is called that.
pub(crate) fn page(mut root: Command, wanted: Option<&str>) -> Option<String> {
    let Some(wanted) = wanted else { return Some(root.render_help().to_string()) };
    if let Some((_, text)) = TOPICS.iter().find(|(name, _)| *name == wanted) {
        return Some((*text).to_owned());
    }
    root.build();
    let sub = root.find_subcommand_mut(wanted).filter(|sub| !sub.is_hide_set())?;
    Some(sub.render_help().to_string())
}

/// The flags that every command takes.
pub(crate) fn options(root: Command) -> String {
    let flags = root.get_arguments().filter(|flag| flag.is_global_set() && !ASKS.contains(&flag.get_id().as_str()));
    let flags = flags.map(|flag| flag.clone().hide(false).help_heading(None::<&str>).hide_env_values(true));
    let only = Command::new("options").disable_help_flag(true).max_term_width(WIDTH).next_line_help(true);
    let template = "The following options can be passed to any command:\n\n{options}\n";
    only.args(flags).help_template(template).render_help().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn root() -> Command {
        cli::command("kubectl-etcd")
    }

    fn names() -> Vec<String> {
        root().get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| sub.get_name().to_owned()).collect()
    }

    #[test]
    fn no_help_is_wider_than_a_terminal_and_none_repeats_the_global_flags() {
        for name in names() {
            let text = page(root(), Some(&name)).expect(&name);
            // A command of an example may have to be wide; it can be pasted as it stands.
            let own =
                cli::undressed().find_subcommand(&name).and_then(Command::get_after_help).map(ToString::to_string);
            let example =
                |line: &str| !line.trim_start().starts_with('#') && own.as_ref().is_some_and(|own| own.contains(line));
            let wide = text.lines().find(|line| line.len() > WIDTH && !example(line));
            assert_eq!(wide, None, "{name}");
            for global in ["--kubeconfig", "--request-timeout", "--quiet", "--help"] {
                assert!(!text.lines().any(|line| line.trim_start().starts_with(global)), "{name}: {text}");
            }
            assert!(text.contains("\nExamples:\n"), "{name}: {text}");
            assert!(text.contains(&format!("\nUsage:\n  kubectl etcd {name}")), "{name}: {text}");
            assert!(text.ends_with("(applies to all commands).\n"), "{name}: {text}");
        }
        for text in [page(root(), None).expect("a page"), options(root())] {
            assert_eq!(text.lines().find(|line| line.len() > WIDTH), None);
        }
    }

    #[test]
    fn a_line_of_an_example_stays_a_line() {
        for name in names() {
            let examples = cli::undressed().find_subcommand(&name).and_then(Command::get_after_help).cloned();
            let examples = examples.expect("every command has examples").to_string();
            assert!(page(root(), Some(&name)).expect(&name).contains(&examples), "{name}");
            // A long command goes on in the next line, after a backslash; a break that the source alone has is none.
            let wide = examples.lines().find(|line| line.len() > WIDTH + 15 && !line.ends_with('\\'));
            assert_eq!(wide, None, "{name}");
        }
    }

    #[test]
    fn every_command_is_listed_once_and_every_group_has_one() {
        let text = page(root(), None).expect("a page");
        for name in names() {
            let listed = text.lines().filter(|line| line.split_whitespace().next() == Some(&name)).count();
            assert_eq!(listed, 1, "{name}: {text}");
        }
        assert!(!text.contains("__complete") && !text.contains(":\n\n"), "{text}");
    }

    #[test]
    fn the_options_are_all_global_flags() {
        let text = options(root());
        for flag in root().get_arguments().filter(|flag| flag.is_global_set()) {
            let long = flag.get_long().expect("a long name");
            assert!(text.contains(&format!("--{long}")), "{long}: {text}");
        }
    }

    #[test]
    fn help_knows_commands_and_topics_and_nothing_else() {
        for topic in topics() {
            let text = page(root(), Some(topic)).expect(topic);
            assert_eq!(text.lines().find(|line| line.len() > WIDTH), None, "{topic}");
        }
        assert!(page(root(), Some("nosuch")).is_none() && page(root(), Some("__complete")).is_none());
    }
}
