//! Flags of a container's command line, as the programs of the control plane take them.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::environment::{Environment, Sources};
use super::shell;

/// Stands in a word for what is not known of it.
pub(super) const UNKNOWN: char = '\u{0}';

/// A word of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text; [`UNKNOWN`] for each part that is not known.
    pub(super) text: String,
    /// Why a part of it is not known.
    pub(super) why: Option<String>,
}

impl Word {
    /// Appends a part that is not known.
    pub(super) fn unknown(&mut self, why: String) {
        self.text.push(UNKNOWN);
        self.why.get_or_insert(why);
    }
}

/// Whether a container starts a program, by itself or by a shell.
pub(super) fn starts(container: &Container, program: &str) -> bool {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    words.flat_map(|word| word.split_whitespace()).any(|word| is_program(word, program))
}

fn is_program(word: &str, program: &str) -> bool {
    word == program || word.strip_suffix(program).is_some_and(|folder| folder.ends_with('/'))
}

/// The script that a shell is given.
fn script(words: &[Word]) -> Option<&Word> {
    let (shell, rest) = words.split_first()?;
    let is_shell = ["sh", "bash", "ash", "dash"].iter().any(|name| is_program(&shell.text, name));
    let at = rest
        .iter()
        .position(|word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.ends_with('c'))?;
    rest.get(at + 1).filter(|_| is_shell)
}

/// Flags by name, without dashes. The last one wins, as in Go's flag package.
#[derive(Debug, Default)]
pub(super) struct Flags {
    all: HashMap<String, Word>,
    /// Why there may be flags that are not among them.
    more: Option<String>,
}

impl Flags {
    /// Of the program that a container starts. What the kubelet or a shell fills in is filled in, as far as the API shows it.
    pub(super) fn of(pod: &Pod, container: &Container, program: &str, sources: &Sources) -> Flags {
        let mut environment = Environment::of(pod, container, sources);
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let words: Vec<Word> = words.map(|word| environment.fill_in(word)).collect();
        let mut flags = match script(&words) {
            None => Flags::parse(&words),
            Some(script) => match shell::find(script, &environment, |word| is_program(word, program)) {
                Some(started) => {
                    environment.variables.extend(started.variables);
                    Flags { more: started.more, ..Flags::parse(&started.words) }
                }
                None => Flags {
                    more: Some(format!("the script does not show how {program} is started")),
                    ..Flags::default()
                },
            },
        };
        flags.more = flags.more.or(environment.more.clone());
        if program == "etcd" {
            flags.add_environment(&environment);
        }
        flags
    }

    /// Of settings that are known, by the names of flags.
    pub(super) fn of_settings(settings: &BTreeMap<String, String>) -> Flags {
        let word = |text: &String| Word { text: text.clone(), why: None };
        Flags { all: settings.iter().map(|(name, value)| (name.clone(), word(value))).collect(), more: None }
    }

    /// Reads `--name=value`, `--name value` and the bare `--name` of a switch, with one dash or two.
    fn parse(words: &[Word]) -> Flags {
        let mut all = HashMap::new();
        let mut words = words.iter().peekable();
        while let Some(Word { text, why }) = words.next() {
            let Some(flag) = text.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Word { text: value.to_owned(), why: why.clone() }),
                None => match words.next_if(|next| !next.text.starts_with('-')) {
                    Some(value) => (flag, value.clone()),
                    None => (flag, Word { text: "true".to_owned(), why: None }),
                },
            };
            all.insert(name.to_owned(), value);
        }
        Flags { all, more: None }
    }

    /// Adds what etcd reads from its environment: `ETCD_DATA_DIR` is `--data-dir`. Flags win.
    fn add_environment(&mut self, environment: &Environment) {
        for (name, value) in &environment.variables {
            if let Some(name) = name.strip_prefix("ETCD_") {
                let mut word = Word::default();
                match value {
                    Ok(value) => word.text.push_str(value),
                    Err(why) => word.unknown(why.clone()),
                }
                self.all.entry(name.to_lowercase().replace('_', "-")).or_insert(word);
            }
        }
    }

    /// All flags, as `--name=value`, in the order of their names; without the value of one that is not known whole.
    pub(super) fn all(&self) -> Vec<String> {
        let one = |(name, word): (&String, &Word)| match word.text.contains(UNKNOWN) {
            true => format!("--{name}"),
            false => format!("--{name}={}", word.text),
        };
        let mut all: Vec<String> = self.all.iter().map(one).collect();
        all.sort();
        all
    }

    /// A value that is known.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(|word| word.text.as_str()).filter(|value| !value.is_empty() && !value.contains(UNKNOWN))
    }

    /// A value that is a list with commas: those of its parts that are known.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let Some(word) = self.all.get(name) else { return Vec::new() };
        let parts = word.text.split(',').map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty() && !part.contains(UNKNOWN)).collect()
    }

    /// Why a value is not known, whole or in part, or whether it is there at all. `None` if it is known.
    pub(super) fn unknown(&self, name: &str) -> Option<String> {
        match self.all.get(name) {
            Some(word) if word.text.contains(UNKNOWN) => {
                let why = word.why.as_deref().unwrap_or("a part of it is not known");
                Some(format!("--{name} is not known: {why}"))
            }
            Some(_) => None,
            None => self.more.as_ref().map(|why| format!("--{name} is not known: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str], env: &serde_json::Value) -> Flags {
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "etcd", "env": env})).expect("a container");
        let container = Container { command: Some(words.iter().map(|word| (*word).to_owned()).collect()), ..container };
        Flags::of(&Pod::default(), &container, "etcd", &Sources::default())
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        let words = [
            "etcd",
            "--name=a",
            "-data-dir",
            "/d",
            "--client-cert-auth",
            "--listen-client-urls=https://a,https://b",
            "--name=b",
        ];
        let flags = flags(
            &words,
            &serde_json::json!([{"name": "ETCD_WAL_DIR", "value": "/w"}, {"name": "ETCD_NAME", "value": "c"}]),
        );
        assert_eq!(
            (flags.get("name"), flags.get("data-dir"), flags.get("client-cert-auth"), flags.get("wal-dir")),
            (Some("b"), Some("/d"), Some("true"), Some("/w"))
        );
        assert_eq!(flags.list("listen-client-urls"), ["https://a", "https://b"]);
        assert!(flags.list("nothing").is_empty() && flags.unknown("nothing").is_none());
    }

    #[test]
    fn a_shell_script_is_taken_apart() {
        let none = serde_json::json!([]);
        for words in [
            &["sh", "-c", "exec etcd --name=x --data-dir='/d'"][..],
            &["/bin/bash", "-ec", "exec /bin/etcd --name x \\\n --data-dir=/d"],
        ] {
            let flags = flags(words, &none);
            assert_eq!((flags.get("name"), flags.get("data-dir")), (Some("x"), Some("/d")));
            assert_eq!(flags.unknown("cert-file"), None);
        }
        let sourced = flags(&["sh", "-c", ". /etc/etcd.env; etcd --name=x"], &none);
        assert_eq!((sourced.get("name"), sourced.get("data-dir")), (Some("x"), None));
        let why = "--data-dir is not known: the script reads /etc/etcd.env, which the API does not show";
        assert_eq!(sourced.unknown("data-dir").as_deref(), Some(why));
    }

    #[test]
    fn a_list_has_the_parts_that_are_known() {
        let env = serde_json::json!([
            {"name": "IP", "value": "10.0.0.1"},
            {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let flags = flags(&["etcd", "--listen-client-urls=https://$(IP):2379,https://$(OTHER):2379"], &env);
        assert_eq!(flags.list("listen-client-urls"), ["https://10.0.0.1:2379"]);
        let why = "--listen-client-urls is not known: OTHER is not known: it comes from Secret s";
        assert_eq!(flags.unknown("listen-client-urls").as_deref(), Some(why));
    }
}
