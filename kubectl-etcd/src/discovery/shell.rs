//! Scripts given to a shell, as far as they only say how a program is started.

use std::collections::BTreeMap;

use super::command_line::{UNKNOWN, Word};
use super::environment::Environment;

/// Words that may stand before a command.
const BEFORE: [&str; 14] =
    ["exec", "env", "export", "if", "then", "else", "elif", "do", "while", "until", "!", "{", "command", "nohup"];

/// A program that a script starts.
#[derive(Debug, Default)]
pub(super) struct Started {
    /// Its arguments.
    pub(super) words: Vec<Word>,
    /// Variables that the script sets.
    pub(super) variables: BTreeMap<String, Result<String, String>>,
    /// Why it may be given more: the script reads a file that the API does not show.
    pub(super) more: Option<String>,
}

/// Finds the command of a script that starts a program. The kubelet has filled in `script` already.
pub(super) fn find(script: &Word, environment: &Environment, program: impl Fn(&str) -> bool) -> Option<Started> {
    let mut parser = Parser {
        rest: script.text.as_str(),
        why: script.why.as_deref(),
        environment,
        started: Started { more: environment.more.clone(), ..Started::default() },
    };
    while let Some(command) = parser.command() {
        // A folder may have the program's name: behind another word it is the program only if flags follow.
        let flags_follow = |at: usize| command.get(at + 1).is_some_and(|next| next.text.starts_with(['-', UNKNOWN]));
        let starts = |at: &usize| program(&command[*at].text) && (*at == 0 || flags_follow(*at));
        if let Some(at) = (0..command.len()).find(starts) {
            let Started { variables, more, .. } = parser.started;
            // A variable that is not known may stand for any number of flags.
            let words = command[at + 1..].to_vec();
            let open = words.iter().find(|word| word.text.starts_with(UNKNOWN)).and_then(|word| word.why.clone());
            return Some(Started { words, variables, more: more.or(open) });
        }
    }
    None
}

struct Parser<'a> {
    rest: &'a str,
    why: Option<&'a str>,
    environment: &'a Environment,
    started: Started,
}

impl Parser<'_> {
    /// The words of the next command. Assignments and files that are read take effect.
    fn command(&mut self) -> Option<Vec<Word>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut words: Vec<Word> = Vec::new();
        let mut redirected = false;
        while let Some(word) = self.word(&mut words) {
            match word {
                Next::Word if redirected => {
                    words.pop();
                    redirected = false;
                }
                Next::Word => {}
                Next::Redirection => redirected = true,
                Next::End => break,
            }
        }
        let mut own = words.as_slice();
        while let Some((first, after)) = own.split_first() {
            if let Some((name, value)) = first.text.split_once('=').filter(|(name, _)| is_name(name)) {
                let value = first.why.clone().map_or_else(|| Ok(value.to_owned()), Err);
                self.started.variables.insert(name.to_owned(), value);
            } else if !BEFORE.contains(&first.text.as_str()) {
                break;
            }
            own = after;
        }
        if let [first, file, ..] = own
            && matches!(first.text.as_str(), "." | "source")
        {
            let file = file.text.replace(UNKNOWN, "?");
            self.started.more = Some(format!("the script reads {file}, which the API does not show"));
        }
        Some(own.to_vec())
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Appends the next word to `words`, or says what else there is. `None` at the end of the script.
    fn word(&mut self, words: &mut Vec<Word>) -> Option<Next> {
        let mut word: Option<Word> = None;
        loop {
            let Some(next) = self.rest.chars().next() else {
                let word = word?;
                words.push(word);
                return Some(Next::Word);
            };
            let ends = next.is_whitespace() || ";&|()<>".contains(next);
            if let (true, Some(finished)) = (ends, word.take_if(|_| ends)) {
                let descriptor = finished.text.chars().all(|digit| digit.is_ascii_digit());
                if "<>".contains(next) && descriptor {
                    continue;
                }
                words.push(finished);
                return Some(Next::Word);
            }
            self.next();
            match next {
                '\n' | ';' | '|' | '(' | ')' | '&' => return Some(Next::End),
                '<' | '>' => {
                    self.rest = self.rest.trim_start_matches(['<', '>', '&']);
                    return Some(Next::Redirection);
                }
                '#' if word.is_none() => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                next if next.is_whitespace() => {}
                '\\' => match self.next() {
                    None | Some('\n') => {}
                    Some(escaped) => word.get_or_insert_default().text.push(escaped),
                },
                '\'' => {
                    let (inner, after) = self.rest.split_once('\'').unwrap_or((self.rest, ""));
                    self.rest = after;
                    self.push(word.get_or_insert_default(), inner);
                }
                '"' => self.quoted(word.get_or_insert_default()),
                '$' | '`' => self.expansion(next, &mut word, words, false),
                next => {
                    let mut text = [0; 4];
                    self.push(word.get_or_insert_default(), next.encode_utf8(&mut text));
                }
            }
        }
    }

    /// Text that the kubelet may have left a hole in.
    fn push(&self, word: &mut Word, text: &str) {
        if text.contains(UNKNOWN) && word.why.is_none() {
            word.why = Some(self.why.unwrap_or("it is not known").to_owned());
        }
        word.text.push_str(text);
    }

    fn quoted(&mut self, word: &mut Word) {
        while let Some(next) = self.next() {
            match next {
                '"' => return,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(escaped @ ('$' | '`' | '"' | '\\')) => word.text.push(escaped),
                    Some(other) => word.text.extend(['\\', other]),
                },
                '$' | '`' => {
                    let mut inner = Some(std::mem::take(word));
                    self.expansion(next, &mut inner, &mut Vec::new(), true);
                    *word = inner.unwrap_or_default();
                }
                next => {
                    let mut text = [0; 4];
                    self.push(word, next.encode_utf8(&mut text));
                }
            }
        }
    }

    /// What follows a dollar sign or a backtick.
    fn expansion(&mut self, sign: char, word: &mut Option<Word>, words: &mut Vec<Word>, quoted: bool) {
        let program = |parser: &mut Self, open: Option<char>, close: char| {
            let mut depth = 1;
            while let Some(next) = parser.next() {
                depth += usize::from(Some(next) == open);
                depth -= usize::from(next == close);
                if depth == 0 {
                    break;
                }
            }
        };
        if sign == '`' || self.rest.starts_with('(') {
            if sign == '`' {
                program(self, None, '`');
            } else {
                self.next();
                program(self, Some('('), ')');
            }
            word.get_or_insert_default().unknown("it is what another program prints".to_owned());
            return;
        }
        let name = if let Some(inner) = self.rest.strip_prefix('{') {
            let (name, after) = inner.split_once('}').unwrap_or((inner, ""));
            self.rest = after;
            name
        } else {
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let (name, after) = self.rest.split_at(end);
            self.rest = after;
            name
        };
        if name.is_empty() {
            // A dollar sign by itself, or a parameter such as $@.
            word.get_or_insert_default().text.push('$');
            return;
        }
        match self.value(name) {
            Ok(value) if quoted => word.get_or_insert_default().text.push_str(&value),
            Ok(value) => {
                for next in value.chars() {
                    if !next.is_whitespace() {
                        word.get_or_insert_default().text.push(next);
                    } else if let Some(finished) = word.take() {
                        words.push(finished);
                    }
                }
            }
            Err(why) => word.get_or_insert_default().unknown(why),
        }
    }

    fn value(&self, name: &str) -> Result<String, String> {
        if !is_name(name) {
            return Err(format!("${{{name}}} is not understood"));
        }
        if let Some(why) = &self.started.more {
            return Err(format!("{name} is not known: {why}"));
        }
        match self.started.variables.get(name) {
            Some(value) => value.clone(),
            None => match self.environment.get(name) {
                Some(value) => value.map(str::to_owned),
                None => Err(format!("{name} is set nowhere that the API shows")),
            },
        }
    }
}

enum Next {
    /// It is the last of the words.
    Word,
    /// The next word is a file.
    Redirection,
    /// The command ends.
    End,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Option<Started> {
        let mut environment = Environment::default();
        environment.variables.insert("IP".into(), Ok("10.0.0.1".into()));
        environment.variables.insert("FLAGS".into(), Ok("--a=1 --b=2".into()));
        environment.variables.insert("SECRET".into(), Err("it comes from Secret s".into()));
        find(&environment.fill_in(script), &environment, |word| word == "etcd" || word.ends_with("/etcd"))
    }

    fn words(script: &str) -> Vec<String> {
        started(script).expect("it starts etcd").words.into_iter().map(|word| word.text.replace(UNKNOWN, "?")).collect()
    }

    #[test]
    fn the_command_that_starts_the_program_is_found_among_others() {
        for (script, expected) in [
            ("exec etcd --name=x --data-dir='/d e'", vec!["--name=x", "--data-dir=/d e"]),
            (
                "set -e; mkdir -p /d && exec /usr/local/bin/etcd \\\n  --name \"x\" >> /var/log/etcd.log 2>&1",
                vec!["--name", "x"],
            ),
            ("# etcd --name=no\nif true; then exec etcd --name=x; fi", vec!["--name=x"]),
            ("mkdir -p /var/lib/etcd && chown -R etcd /var/lib/etcd; exec nice -n 5 etcd --name=x", vec!["--name=x"]),
            (
                "etcd --u=https://${IP}:1,https://$IP:2 --v=\"$IP\" --w='$IP' --x=$(IP)",
                vec!["--u=https://10.0.0.1:1,https://10.0.0.1:2", "--v=10.0.0.1", "--w=$IP", "--x=10.0.0.1"],
            ),
            (
                "N=cp1; export D=/d; exec etcd --name=$N --data-dir=$D $FLAGS",
                vec!["--name=cp1", "--data-dir=/d", "--a=1", "--b=2"],
            ),
            ("etcd --name=$(hostname) --x=`date` --y=${IP:-1} --z=$NOPE", vec!["--name=?", "--x=?", "--y=?", "--z=?"]),
        ] {
            assert_eq!(words(script), expected, "{script}");
        }
        assert!(started("sleep 1; echo etcd.yaml").is_none());
    }

    #[test]
    fn what_a_file_sets_is_not_known() {
        let sourced = started("N=a; . /etc/etcd.env; exec etcd --name=$N --data-dir=/d").expect("it starts etcd");
        assert_eq!(sourced.more.as_deref(), Some("the script reads /etc/etcd.env, which the API does not show"));
        assert!(sourced.words[0].text.contains(UNKNOWN) && sourced.words[1].why.is_none());
        let open = started("exec etcd --name=a $SECRET").expect("it starts etcd");
        assert_eq!(open.more.as_deref(), Some("SECRET is not known: it comes from Secret s"));
        let variables = started("ETCD_NAME=a etcd").expect("it starts etcd").variables;
        assert_eq!(variables["ETCD_NAME"], Ok("a".to_owned()));
    }
}
