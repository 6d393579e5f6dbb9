//! The command line as it was typed, for hints that say what to type instead. Pure functions.

use std::borrow::Cow;

/// What was typed after the name of the program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    command: String,
    words: Vec<String>,
}

impl Typed {
    /// `command` is the command that was recognised among `words`.
    pub(crate) fn new(command: &str, words: &[String]) -> Typed {
        let mut shown = Vec::new();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            // A token is repeated nowhere.
            match word.as_str() {
                "--token" => {
                    rest.next();
                    shown.extend(["--token".to_owned(), "TOKEN".to_owned()]);
                }
                word if word.starts_with("--token=") => shown.push("--token=TOKEN".to_owned()),
                word => shown.push(word.to_owned()),
            }
        }
        Typed { command: command.to_owned(), words: shown }
    }

    /// The command: `status` where none was typed.
    pub(crate) fn command(&self) -> &str {
        if self.command.is_empty() { "status" } else { &self.command }
    }

    /// Whether it is this command with this word, as its action is.
    pub(crate) fn is(&self, command: &str, action: &str) -> bool {
        self.command() == command && self.words.iter().any(|word| word == action)
    }

    /// The same command line with these flags, each with a value; what was typed of them before goes.
    pub(crate) fn with(&self, flags: &[(&str, &str)]) -> String {
        let mut words = vec!["kubectl etcd".to_owned()];
        words.extend(match self.words.is_empty() {
            true => vec![self.command().to_owned()],
            false => self.without(flags).into_iter().map(|word| quoted(&word)).collect(),
        });
        words.extend(flags.iter().map(|(flag, value)| format!("{flag} {}", quoted(value))));
        words.join(" ")
    }

    /// The flags that lead to the nodes over SSH, as they were typed; empty if none was.
    pub(crate) fn way(&self) -> String {
        self.typed_of(&WAY).join(" ")
    }

    /// The same flags with these nodes in place of the plan that named them.
    pub(crate) fn way_to(&self, nodes: &str) -> String {
        let others: Vec<&str> = WAY.into_iter().filter(|flag| *flag != PLAN).collect();
        let mut way = self.typed_of(&others);
        way.extend([WAY[1].to_owned(), quoted(nodes)]);
        way.join(" ")
    }

    /// What was typed of these flags, for a shell.
    fn typed_of(&self, flags: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = self.words.iter();
        while let Some(word) = rest.next() {
            let name = word.split('=').next().unwrap_or_default();
            if !flags.contains(&name) {
                continue;
            }
            found.push(quoted(word));
            // `--ssh` takes its value behind a = only.
            if name != WAY[0] && !word.contains('=') {
                found.extend(rest.next().map(|value| quoted(value)));
            }
        }
        found
    }

    /// The same command line over SSH, to these nodes: without the flags that lead to an API server.
    pub(crate) fn over_ssh(&self, nodes: &str) -> String {
        let to_an_api_server = ["--kubeconfig", "--context", "--cluster", "--user", "--server", "-s", "--token"];
        let dropped: Vec<(&str, &str)> = to_an_api_server.iter().chain(&WAY[1..]).map(|flag| (*flag, "")).collect();
        let words = self.without(&dropped).into_iter().filter(|word| word.split('=').next() != Some(WAY[0]));
        let words: Vec<String> = words.map(|word| quoted(&word)).collect();
        format!("kubectl etcd {} {} {} {nodes}", words.join(" "), WAY[0], WAY[1])
    }

    fn without(&self, flags: &[(&str, &str)]) -> Vec<String> {
        let names: Vec<&str> = flags.iter().flat_map(|(flag, _)| both(flag)).collect();
        let mut kept = Vec::new();
        let mut rest = self.words.iter();
        while let Some(word) = rest.next() {
            let name = word.split('=').next().unwrap_or_default();
            let joined = !word.starts_with("--") && names.iter().any(|name| name.len() == 2 && word.starts_with(name));
            if names.contains(&name) && !word.contains('=') {
                rest.next();
            } else if !names.contains(&name) && !joined {
                kept.push(word.clone());
            }
        }
        kept
    }
}

/// The flags of the road over SSH.
const WAY: [&str; 6] = ["--ssh", "--nodes", PLAN, "--ssh-command", "--sudo", "--sidecar-binary"];
const PLAN: &str = "--plan";
/// The commands that take them.
const OVER_SSH: [&str; 10] =
    ["status", "backup", "restore", "rollback", "cleanup", "recover", "alarms", "compact", "defrag", "member"];

/// A text for people in which every command that stands in a line of its own, and goes to the nodes, goes the same way as the one that was typed.
pub(crate) fn by_way<'t>(text: &'t str, way: &str) -> Cow<'t, str> {
    let leads = |line: &str| {
        let mut words = line.trim_start().split(' ');
        let is_ours = words.next() == Some("kubectl") && words.next() == Some("etcd");
        is_ours
            && words.next().is_some_and(|command| OVER_SSH.contains(&command))
            && !line.contains("--ssh")
            && !line.contains("--data-dir")
    };
    if way.is_empty() || !text.lines().any(leads) {
        return Cow::Borrowed(text);
    }
    let lines = text.split('\n').map(|line| match leads(line) {
        true => format!("{line} {way}"),
        false => line.to_owned(),
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

/// A flag and its other spelling.
fn both(flag: &str) -> Vec<&str> {
    match flag {
        "-n" | "--namespace" => vec!["-n", "--namespace"],
        "-l" | "--selector" => vec!["-l", "--selector"],
        flag => vec![flag],
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Typed {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Typed::new("backup", &words)
    }

    #[test]
    fn a_hint_is_the_command_that_was_typed_with_other_flags() {
        for (line, flags, hint) in [
            ("backup a.db", &[("--node", "n1")][..], "kubectl etcd backup a.db --node n1"),
            ("backup a.db --node=x -n y", &[("--node", "n1")], "kubectl etcd backup a.db -n y --node n1"),
            ("-n default backup", &[("-n", "a"), ("-l", "b=c")], "kubectl etcd backup -n a -l b=c"),
            ("--namespace=x backup -ly", &[("-n", "a"), ("-l", "b=c")], "kubectl etcd backup -n a -l b=c"),
            ("--token secret backup --token=secret", &[], "kubectl etcd --token TOKEN backup --token=TOKEN"),
        ] {
            assert_eq!(typed(line).with(flags), hint);
        }
        assert_eq!(Typed::default().with(&[("-n", "it's")]), "kubectl etcd status -n 'it'\\''s'");
    }

    #[test]
    fn a_command_to_be_pasted_goes_the_way_that_was_typed() {
        let words =
            ["restore", "a.db", "--ssh=root@", "--nodes", "cp1=10.0.0.1", "--ssh-command", "ssh -p 2", "--token", "t"];
        let typed = Typed::new("restore", &words.map(str::to_owned));
        let way = typed.way();
        assert_eq!(way, "--ssh=root@ --nodes cp1=10.0.0.1 --ssh-command 'ssh -p 2'");
        assert_eq!(Typed::new("", &["--ssh", "status"].map(str::to_owned)).way(), "--ssh");
        for plan in [&["--plan", "s3://b/latest"][..], &["--plan=s3://b/latest"]] {
            let words = [&["recover", "--ssh=root@"], plan, &["--sudo", "ask"]].concat();
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(
                Typed::new("recover", &words).way_to("cp1=10.0.0.1"),
                "--ssh=root@ --sudo ask --nodes cp1=10.0.0.1"
            );
        }
        for (text, shown) in [
            (
                "look\n  kubectl etcd restore --status\nthen",
                format!("look\n  kubectl etcd restore --status {way}\nthen"),
            ),
            ("kubectl etcd cleanup", format!("kubectl etcd cleanup {way}")),
            ("see kubectl etcd status", "see kubectl etcd status".to_owned()),
            ("kubectl etcd status --ssh", "kubectl etcd status --ssh".to_owned()),
            ("kubectl etcd verify a.db", "kubectl etcd verify a.db".to_owned()),
            ("kubectl etcd restore a.db --data-dir d", "kubectl etcd restore a.db --data-dir d".to_owned()),
        ] {
            assert_eq!(by_way(text, &way), shown);
            assert_eq!(by_way(text, ""), text);
        }
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_needs_it() {
        for (word, shell) in [("a.db", "a.db"), ("my file", "'my file'"), ("it's", "'it'\\''s'"), ("", "''")] {
            assert_eq!(quoted(word), shell);
        }
    }
}
