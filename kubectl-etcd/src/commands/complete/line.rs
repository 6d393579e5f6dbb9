//! What can stand at the place of the last word of a line: a pure function of the line.

use std::path::PathBuf;

use clap::{Arg, Command};

/// What can stand there.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// One of these, each with a tab and what it means.
    Words(Vec<String>),
    /// A file here.
    Files,
    /// A folder here.
    Folders,
    /// Nodes with an etcd pod.
    Nodes,
    /// Namespaces of the file, or of the cluster.
    Namespaces(Option<PathBuf>),
    /// Names of the kubeconfig's contexts, clusters or users.
    Kubeconfig(&'static str),
    /// Types that a file has objects of.
    Types(PathBuf),
    /// Names of objects of a type in a file; `slash`: in the form TYPE/NAME.
    Names {
        file: PathBuf,
        kind: String,
        slash: bool,
    },
    Nothing,
}

/// A line so far, taken apart.
struct Line<'a> {
    root: &'a Command,
    sub: Option<&'a Command>,
    /// The arguments of the command.
    arguments: Vec<&'a str>,
    /// The flags without a value.
    switches: Vec<&'a str>,
    /// The flag whose value comes next.
    open: Option<&'a Arg>,
}

impl<'a> Line<'a> {
    fn of(root: &'a Command, before: &'a [String]) -> Line<'a> {
        let mut line = Line { root, sub: None, arguments: Vec::new(), switches: Vec::new(), open: None };
        for word in before {
            if line.open.take().is_some() {
                continue;
            }
            if word.len() > 1 && word.starts_with('-') {
                if !word.contains('=') {
                    line.open = line.named(word);
                    line.switches.push(word);
                }
            } else if line.sub.is_none() {
                line.sub = root.find_subcommand(word).filter(|sub| !sub.is_hide_set());
            } else {
                line.arguments.push(word);
            }
        }
        line
    }

    fn flags(&self) -> impl Iterator<Item = &'a Arg> {
        self.sub.into_iter().flat_map(Command::get_arguments).chain(self.root.get_arguments())
    }

    /// The flag of that name, if its value can be the next word.
    fn named(&self, typed: &str) -> Option<&'a Arg> {
        let is = |arg: &&Arg| match typed.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => typed.strip_prefix('-').and_then(|s| s.chars().next()).is_some_and(|s| arg.get_short() == Some(s)),
        };
        let takes = |arg: &&Arg| arg.get_action().takes_values() && !arg.is_positional();
        self.flags().find(is).filter(takes)
    }

    fn file(&self) -> Option<PathBuf> {
        let reads = self.sub?.get_positionals().any(|arg| arg.get_id() == "what" || arg.get_id() == "words");
        let inspects = self.sub?.get_name() == "inspect";
        self.arguments.first().filter(|_| reads || inspects).map(PathBuf::from)
    }

    /// What the value of a flag or an argument can be.
    fn value_of(&self, arg: &Arg) -> Wanted {
        let values = arg.get_possible_values();
        if !values.is_empty() {
            let shown = values.iter().filter(|value| !value.is_hide_set());
            return Wanted::Words(shown.map(|value| value.get_name().to_owned()).collect());
        }
        match arg.get_id().as_str() {
            "context" => return Wanted::Kubeconfig("context"),
            "cluster" => return Wanted::Kubeconfig("cluster"),
            "user" => return Wanted::Kubeconfig("user"),
            "data_dir" | "manifests_dir" => return Wanted::Folders,
            _ => {}
        }
        match arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str()) {
            Some("FILE" | "PATH") => Wanted::Files,
            Some("DIR") => Wanted::Folders,
            Some("NODE") => Wanted::Nodes,
            Some("CHECK") => Wanted::Words(etcd_doctor::CHECKS.iter().map(|check| check.name.to_owned()).collect()),
            Some("NAMESPACE") if arg.get_id() == "namespace" => Wanted::Namespaces(self.file()),
            Some("NAMESPACE") => Wanted::Namespaces(None),
            _ => Wanted::Nothing,
        }
    }

    /// The next argument of a command.
    fn argument(&self, sub: &Command, word: &str) -> Wanted {
        let positionals: Vec<&Arg> = sub.get_positionals().collect();
        let place = self.arguments.len();
        let many = |arg: &&&Arg| arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        let arg = positionals.get(place).or_else(|| positionals.last().filter(many));
        let Some(arg) = arg else { return Wanted::Nothing };
        let Some((file, rest)) = self.arguments.split_first() else { return self.value_of(arg) };
        let live = self.switches.contains(&"--live");
        match arg.get_id().as_str() {
            "what" => object(file, rest, word),
            "words" if live => object(file, rest, word),
            "words" => match rest.split_first() {
                Some((_, rest)) => object(file, rest, word),
                None => Wanted::Files,
            },
            _ => self.value_of(arg),
        }
    }
}

/// Objects of a file, in kubectl's grammar.
fn object(file: &str, typed: &[&str], word: &str) -> Wanted {
    let file = PathBuf::from(file);
    match (word.split_once('/'), typed.first()) {
        (Some((kind, _)), _) => Wanted::Names { file, kind: kind.to_owned(), slash: true },
        (None, Some(kind)) if !typed.iter().any(|typed| typed.contains('/')) => {
            Wanted::Names { file, kind: (*kind).to_owned(), slash: false }
        }
        _ => Wanted::Types(file),
    }
}

/// What can stand at the place of `word`, after the words `before`, with the part of `word` that stays before each candidate.
pub(super) fn wanted<'a>(root: &Command, before: &[String], word: &'a str) -> (Wanted, &'a str) {
    let line = Line::of(root, before);
    // A list is completed behind its last comma.
    let listed = |arg: &Arg, value: &str| match arg.get_value_delimiter() {
        Some(comma) => value.rfind(comma).map_or(0, |place| place + 1),
        None => 0,
    };
    if let Some((flag, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
        return match line.named(flag) {
            Some(arg) => (line.value_of(arg), &word[..flag.len() + 1 + listed(arg, value)]),
            None => (Wanted::Nothing, ""),
        };
    }
    if let Some(arg) = line.open {
        return (line.value_of(arg), &word[..listed(arg, word)]);
    }
    if word.starts_with('-') {
        let asks = |arg: &Arg| ["help", "version"].contains(&arg.get_id().as_str());
        let shown = line.flags().filter(|arg| asks(arg) || arg.is_global_set() || !arg.is_hide_set());
        let flags = shown.filter_map(|arg| Some(described(&format!("--{}", arg.get_long()?), arg.get_help())));
        let mut flags: Vec<String> = flags.collect();
        flags.sort();
        flags.dedup();
        return (Wanted::Words(flags), "");
    }
    match line.sub {
        Some(sub) if sub.get_name() == "help" => {
            let topics = crate::help::topics().map(str::to_owned);
            (Wanted::Words(commands(root).chain(topics).collect()), "")
        }
        Some(sub) => (line.argument(sub, word), ""),
        None => (Wanted::Words(commands(root).collect()), ""),
    }
}

fn commands(root: &Command) -> impl Iterator<Item = String> {
    root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| described(sub.get_name(), sub.get_about()))
}

fn described(name: &str, help: Option<&clap::builder::StyledStr>) -> String {
    match help.map(ToString::to_string) {
        Some(help) if !help.is_empty() => format!("{name}\t{}", help.lines().next().unwrap_or_default()),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (Wanted, String) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (word, before) = words.split_last().expect("a last word");
        let (wanted, kept) = wanted(&crate::cli::command("kubectl-etcd"), before, word);
        (wanted, kept.to_owned())
    }

    fn words(line: &str) -> Vec<String> {
        match of(line).0 {
            Wanted::Words(words) => {
                words.into_iter().map(|w| w.split('\t').next().unwrap_or_default().to_owned()).collect()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_then_their_flags_then_their_values() {
        let commands = words("");
        assert!(["backup", "verify", "status", "help", "options"].iter().all(|c| commands.contains(&(*c).to_owned())));
        assert!(!commands.contains(&"__complete".to_owned()));
        let flags = words("backup --");
        assert!(["--on-node", "--context", "--help"].iter().all(|f| flags.contains(&(*f).to_owned())), "{flags:?}");
        assert_eq!(words("backup --compress "), ["zstd", "none"]);
        assert!(words("status --output=").contains(&"wide".to_owned()));
        assert!(words("--context prod status -o ").contains(&"json".to_owned()));
        assert!(words("help ").contains(&"exit-codes".to_owned()) && words("help ").iter().any(|w| w == "backup"));
        assert_eq!(words("completion "), ["bash", "zsh", "fish", "powershell"]);
    }

    #[test]
    fn no_hidden_flag_and_no_hidden_command_is_suggested() {
        let root = crate::cli::command("kubectl-etcd");
        let lines = root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| (sub, sub.get_name()));
        for (sub, name) in lines {
            let flags = words(&format!("{name} --"));
            for arg in sub.get_arguments().filter(|arg| arg.is_hide_set() && arg.get_id() != "help") {
                let long = format!("--{}", arg.get_long().unwrap_or("no flag"));
                assert!(!flags.contains(&long), "{name}: {long}");
            }
        }
        assert_eq!(of("__complete "), of(""));
    }

    #[test]
    fn files_folders_and_names() {
        let file = || PathBuf::from("a.db");
        let names = |kind: &str, slash| Wanted::Names { file: file(), kind: kind.to_owned(), slash };
        for (line, wanted) in [
            ("verify ", Wanted::Files),
            ("verify a.db ", Wanted::Nothing),
            ("backup ", Wanted::Files),
            ("diff ", Wanted::Files),
            ("diff a.db ", Wanted::Files),
            ("diff a.db --live ", Wanted::Types(file())),
            ("diff a.db b.db ", Wanted::Types(file())),
            ("restore a.db --data-dir ", Wanted::Folders),
            ("backup --on-node ", Wanted::Folders),
            ("status --cacert ", Wanted::Files),
            ("status --kubeconfig=", Wanted::Files),
            ("get a.db ", Wanted::Types(file())),
            ("get -n shop a.db ", Wanted::Types(file())),
            ("get a.db cm/", names("cm", true)),
            ("get a.db cm/a ns/", names("ns", true)),
            ("get a.db cm/a ", Wanted::Types(file())),
            ("get a.db cm ", names("cm", false)),
            ("get a.db cm a ", names("cm", false)),
            ("apply a.db deploy/", names("deploy", true)),
            ("get a.db cm -n ", Wanted::Namespaces(Some(file()))),
            ("inspect a.db -n ", Wanted::Namespaces(Some(file()))),
            ("status -n ", Wanted::Namespaces(None)),
            ("backup a.db -n ", Wanted::Namespaces(None)),
            ("backup --pod-namespace ", Wanted::Namespaces(None)),
            ("backup --node ", Wanted::Nodes),
            ("--context ", Wanted::Kubeconfig("context")),
            ("status --cluster ", Wanted::Kubeconfig("cluster")),
            ("status --user=", Wanted::Kubeconfig("user")),
            ("restore a.db --confirm ", Wanted::Nothing),
            (
                "doctor --explain=",
                Wanted::Words(etcd_doctor::CHECKS.iter().map(|check| check.name.to_owned()).collect()),
            ),
            ("status ", Wanted::Nothing),
            ("nonsense --nonsense=", Wanted::Nothing),
        ] {
            assert_eq!(of(line).0, wanted, "{line}");
        }
    }

    #[test]
    fn what_is_typed_of_a_value_stays() {
        assert_eq!(of("status --output=js").1, "--output=");
        assert_eq!(of("restore a.db --to-nodes cp1,c"), (Wanted::Nodes, "cp1,".to_owned()));
        assert_eq!(of("restore a.db --to-nodes=cp1,c").1, "--to-nodes=cp1,");
        assert_eq!(of("status --node c").1, "");
    }
}
