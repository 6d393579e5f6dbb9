//! The command line as it was typed, for hints that say what to type instead. Pure functions.

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
    fn a_word_is_quoted_where_a_shell_needs_it() {
        for (word, shell) in [("a.db", "a.db"), ("my file", "'my file'"), ("it's", "'it'\\''s'"), ("", "''")] {
            assert_eq!(quoted(word), shell);
        }
    }
}
