//! `--explain`: the commands that do by hand what a command of this plugin does, as a shell script with a reason for each step.
//!
//! Pure functions of [`Facts`]: nothing is asked of etcd or a node, and nothing is done. The text can be pasted: what is no command is a
//! comment.

mod backup;
mod facts;
mod offline;
mod restore;
mod rollback;
mod static_pods;
mod verify;

use std::fmt::Write as _;

pub(crate) use backup::backup;
#[cfg(test)]
use facts::Member;
pub(crate) use facts::{Facts, Version};
pub(crate) use offline::{Directory, directory};
pub(crate) use restore::{Restore, restore};
pub(crate) use rollback::rollback;
pub(crate) use verify::verify;

use crate::output::visible::quoted;

/// Columns of a terminal that the text keeps to.
const WIDTH: usize = 79;

/// Where the commands of a step are run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Where `kubectl etcd` is run.
    Here,
    /// On one node.
    Node { name: String, address: Option<String> },
    /// On each of several nodes, before the next step begins.
    Nodes(Vec<String>),
}

/// Commands that belong together.
#[derive(Debug)]
struct Step {
    place: Place,
    /// Why it is needed: one sentence.
    why: String,
    /// What the plugin does beyond it.
    beyond: Vec<String>,
    /// Each may have several lines.
    commands: Vec<String>,
}

impl Step {
    fn new(place: Place, why: &str) -> Step {
        Step { place, why: why.to_owned(), beyond: Vec::new(), commands: Vec::new() }
    }

    fn beyond(mut self, text: &str) -> Step {
        self.beyond.push(text.to_owned());
        self
    }

    fn run(mut self, command: impl Into<String>) -> Step {
        self.commands.push(command.into());
        self
    }
}

/// A whole explanation.
#[derive(Debug)]
struct Script {
    /// The command that is explained.
    title: String,
    /// What has to be known before the first step: one sentence each.
    notes: Vec<String>,
    steps: Vec<Step>,
}

impl Script {
    fn text(&self) -> String {
        let mut text = String::new();
        comment(&mut text, "", &format!("{}, by hand. Nothing was done.", self.title));
        self.notes.iter().for_each(|note| comment(&mut text, "", note));
        comment(&mut text, "", "\"tool:\" is what kubectl etcd does beyond the commands.");
        for (number, step) in self.steps.iter().enumerate() {
            let place = match &step.place {
                Place::Here => "on this machine".to_owned(),
                Place::Node { name, address: None } => format!("on node {name}, as root"),
                Place::Node { name, address: Some(address) } => format!("on node {name} ({address}), as root"),
                Place::Nodes(names) => format!("on each of {}, as root", names.join(", ")),
            };
            text.push('\n');
            comment(&mut text, "", &format!("{}. {place}", number + 1));
            comment(&mut text, "why:  ", &step.why);
            step.beyond.iter().for_each(|beyond| comment(&mut text, "tool: ", beyond));
            step.commands.iter().for_each(|command| {
                text.push_str(command);
                text.push('\n');
            });
        }
        text
    }
}

/// A comment that keeps to the width; further lines begin below the text of the first.
fn comment(text: &mut String, label: &str, sentence: &str) {
    let indent = " ".repeat(label.len());
    let mut line = format!("# {label}");
    let mut empty = true;
    // A name from the cluster never ends a comment: what follows would be a command.
    for word in sentence.split_whitespace() {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            let _infallible = writeln!(text, "{line}");
            line = format!("# {indent}");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _infallible = writeln!(text, "{line}");
}

/// A command of shell words that are quoted already, over as many lines as the width takes. `-f X` in one word stays together.
fn command(words: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        // Room for the backslash.
        if column > 0 && column + 1 + word.len() + 2 > WIDTH {
            text.push_str(" \\\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}

/// `--flag VALUE` as one word of [`command`].
fn flag(name: &str, value: &str) -> String {
    format!("--{name} {}", quoted(value))
}

/// Words of a command that need no quotes.
fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_to_the_width_and_names_end_no_comment() {
        let mut text = String::new();
        comment(&mut text, "why:  ", &"word ".repeat(40));
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.starts_with("# ")), "{text}");
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("#       word")), "{text}");
        let mut text = String::new();
        comment(&mut text, "", "node a\nrm -rf /\u{2028}b");
        assert_eq!(text.lines().count(), 1, "{text}");
        let long = command(&(0..20).map(|n| flag("flag", &format!("value-{n}"))).collect::<Vec<_>>());
        assert!(long.lines().all(|line| line.len() <= WIDTH), "{long}");
        assert_eq!(long.replace(" \\\n ", "").split(" --").count(), 20, "{long}");
        assert_eq!(flag("name", "a b"), "--name 'a b'");
    }
}
