//! How a command fails: what to say, what to suggest, and the exit code.

use std::fmt;

use etcd_wire::FailureCode;

use super::visible;
use crate::api_trouble::ApiTrouble;

/// Exit codes, as docs/EXIT-CODES.md and every `--help` promise them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Failed; nothing was changed.
    Failed,
    /// What was compared differs: no error, and told as none.
    Different,
    /// `doctor --exit-code` has found an error in the cluster: no error of the command, and told as none.
    Ill,
    /// The command line is wrong.
    Usage,
    /// The snapshot is damaged or cannot be restored.
    Damaged,
    /// Refused by a preflight, or not confirmed; nothing was changed.
    Refused,
    /// Failed after something was changed.
    Changed,
    /// `status --exit-code` has found something wrong: no error, and told as none.
    Degraded,
    /// Interrupted, cleaned up.
    Interrupted,
}

impl Exit {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Failed | Exit::Different => 1,
            Exit::Usage | Exit::Ill => 2,
            Exit::Damaged => 3,
            Exit::Refused => 4,
            Exit::Changed => 5,
            Exit::Degraded => 6,
            Exit::Interrupted => 130,
        }
    }
}

impl Exit {
    /// The exit code of `diff`: 1 says that there are differences, and nothing else does, as with diff and kubectl diff.
    pub(crate) fn code_of_diff(self) -> u8 {
        if self == Exit::Failed { Exit::Usage.code() } else { self.code() }
    }
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failed>;

/// A failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    /// What could not be done, with names; one line, lowercase, no period.
    pub(crate) message: String,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the command has changed all the same, or that nothing was changed: a sentence a line.
    pub(crate) effects: Vec<String>,
    /// What to do next, best with a command to paste. Each may have several lines.
    pub(crate) hints: Vec<String>,
    /// What this says of the API server.
    pub(crate) trouble: Option<ApiTrouble>,
}

impl Failed {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failed {
        Failed {
            exit,
            message: message.into(),
            causes: Vec::new(),
            effects: Vec::new(),
            hints: Vec::new(),
            trouble: None,
        }
    }

    /// The same failure, to be told in two places.
    pub(crate) fn copy(&self) -> Failed {
        let (causes, effects, hints) = (self.causes.clone(), self.effects.clone(), self.hints.clone());
        Failed { exit: self.exit, message: self.message.clone(), causes, effects, hints, trouble: self.trouble.clone() }
    }

    /// Message and causes in one line, for a list of several failures.
    pub(crate) fn one_line(&self) -> String {
        std::iter::once(&self.message)
            .chain(&self.causes)
            .map(|text| text.replace('\n', " "))
            .collect::<Vec<_>>()
            .join(": ")
    }

    /// Shorthand for the commonest kind.
    pub(crate) fn plain(message: impl Into<String>) -> Failed {
        Failed::new(Exit::Failed, message)
    }

    #[must_use]
    pub(crate) fn cause(mut self, cause: impl fmt::Display) -> Failed {
        self.causes.push(cause.to_string());
        self
    }

    #[must_use]
    pub(crate) fn causes(mut self, causes: impl IntoIterator<Item = String>) -> Failed {
        self.causes.extend(causes);
        self
    }

    /// Adds why each of several things failed, by name; those that failed for the same reason are told together. `noun` is
    /// what they are, in the plural.
    #[must_use]
    pub(crate) fn each(mut self, noun: &str, reasons: impl IntoIterator<Item = (String, String)>) -> Failed {
        self.causes.extend(grouped(noun, reasons));
        self
    }

    /// Says what was changed, or was not, on a line of its own.
    #[must_use]
    pub(crate) fn effect(mut self, effect: impl fmt::Display) -> Failed {
        let effect = effect.to_string();
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
        self
    }

    /// Says that nothing was changed.
    #[must_use]
    pub(crate) fn unchanged(self) -> Failed {
        self.effect("nothing was changed")
    }

    /// Adds an error and what lies below it; a text that its parent has said already is left out. A disk that is full
    /// brings its hint along.
    #[must_use]
    pub(crate) fn source(mut self, error: &(dyn std::error::Error + 'static)) -> Failed {
        self.trouble = self.trouble.take().or_else(|| ApiTrouble::of(error));
        let mut next = Some(error);
        while let Some(error) = next {
            // The text of an API server's answer is its message; kube's own adds a dump of the whole status.
            let (text, below) = match error.downcast_ref::<kube::Error>() {
                Some(kube::Error::Api(status)) if !status.message.is_empty() => (status.message.clone(), None),
                _ => (error.to_string(), error.source()),
            };
            if !text.is_empty() && !self.causes.iter().any(|said| said.contains(&text)) {
                self.causes.push(text);
            }
            let io = error.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) && self.hints.is_empty() {
                self.hints.push("make room, or name a place on another disk".to_owned());
            }
            next = below;
        }
        self
    }

    /// The same failure, once something was changed: `done` says what.
    #[must_use]
    pub(crate) fn after_change(self, done: impl fmt::Display) -> Failed {
        Failed { exit: Exit::Changed, ..self }.effect(done)
    }

    /// Adds what failed besides, which counts for less: that the output was lost hides no damage and no refusal.
    #[must_use]
    pub(crate) fn also(self, other: Outcome) -> Failed {
        match other {
            Ok(()) => self,
            Err(other) => {
                Failed { hints: [self.hints.clone(), other.hints.clone()].concat(), ..self }.cause(other.one_line())
            }
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failed {
        self.hints.push(hint.into());
        self
    }

    /// Puts what was being done in front; the message so far becomes the first cause.
    #[must_use]
    pub(crate) fn context(mut self, message: impl Into<String>) -> Failed {
        let inner = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, inner);
        self
    }
}

impl From<etcd_wire::Failure> for Failed {
    fn from(failure: etcd_wire::Failure) -> Failed {
        let exit = match failure.code {
            FailureCode::Busy | FailureCode::Refused => Exit::Refused,
            FailureCode::Damaged => Exit::Damaged,
            _ => Exit::Failed,
        };
        let mut failed = Failed::new(exit, failure.message).causes(failure.causes);
        failed.hints.extend(failure.hint);
        failed
    }
}

/// Things by name, as many as can be read at a glance.
/// Names and reasons, each reason once with the names that it is of.
pub(crate) fn grouped(noun: &str, reasons: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for (name, reason) in reasons {
        match grouped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => grouped.push((reason, vec![name])),
        }
    }
    grouped.into_iter().map(|(reason, names)| format!("{}: {reason}", named(noun, &names))).collect()
}

fn named(noun: &str, names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names {
        [name] => name.clone(),
        names if names.len() <= SHOWN => names.join(", "),
        names => {
            let (shown, rest) = names.split_at(SHOWN);
            format!("{} {noun} ({} and {} more)", names.len(), shown.join(", "), rest.len())
        }
    }
}

/// Turns library errors into failures that say what was being done.
pub(crate) trait ResultExt<T> {
    /// `message` says what could not be done.
    fn or_fail(self, message: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: std::error::Error + 'static> ResultExt<T> for Result<T, E> {
    fn or_fail(self, message: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failed::plain(message()).source(&error))
    }
}

impl From<etcd_recovery::Refusal> for Failed {
    fn from(refusal: etcd_recovery::Refusal) -> Failed {
        let exit = if refusal.usage { Exit::Usage } else { Exit::Refused };
        let failed = Failed::new(exit, refusal.message).causes(refusal.causes).unchanged();
        refusal.hint.into_iter().fold(failed, Failed::hint)
    }
}

impl From<etcd_members::Refusal> for Failed {
    fn from(refusal: etcd_members::Refusal) -> Failed {
        let failed = Failed::new(Exit::Refused, refusal.message).causes(refusal.causes).unchanged();
        refusal.hint.into_iter().fold(failed, Failed::hint)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = if matches!(self.exit, Exit::Different | Exit::Degraded | Exit::Ill) { "" } else { "error: " };
        writeln!(f, "{error}{}", visible::name(&self.message))?;
        for cause in &self.causes {
            writeln!(f, "  cause: {}", visible::text(cause.trim_end()).replace('\n', "\n         "))?;
        }
        for effect in &self.effects {
            writeln!(f, "{}", visible::name(effect))?;
        }
        for hint in &self.hints {
            writeln!(f, "\nhint: {}", visible::message(hint.trim_end()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_why_and_what_to_do() {
        let io = std::io::Error::other("no route");
        let failed = Failed::plain("reach cp1").source(&io).context("take a snapshot").hint("kubectl etcd status");
        assert_eq!(
            failed.to_string(),
            "error: take a snapshot\n  cause: reach cp1\n  cause: no route\n\nhint: kubectl etcd status\n"
        );
    }

    #[test]
    fn what_was_changed_is_a_line_of_its_own() {
        let failed = Failed::plain("cannot reach cp1").cause("no route").unchanged().unchanged().hint("status");
        assert_eq!(
            failed.to_string(),
            "error: cannot reach cp1\n  cause: no route\nnothing was changed\n\nhint: status\n"
        );
        assert_eq!(failed.one_line(), "cannot reach cp1: no route");
    }

    #[test]
    fn equal_reasons_are_told_once() {
        let pages = (1..=30).map(|number| (format!("cm/{number}"), "its page is damaged".to_owned()));
        let reasons = pages.chain([("cm/31".to_owned(), "no value".to_owned())]);
        let failed = Failed::plain("31 objects cannot be read").each("objects", reasons);
        assert_eq!(
            failed.causes,
            ["30 objects (cm/1, cm/2, cm/3 and 27 more): its page is damaged", "cm/31: no value"]
        );
    }

    #[test]
    fn an_api_servers_answer_is_told_without_the_dump_of_it() {
        let status = kube::core::Status { message: "pods is forbidden".to_owned(), code: 403, ..Default::default() };
        let failed = Failed::plain("list").source(&kube::Error::Api(Box::new(status)));
        assert_eq!(failed.one_line(), "list: pods is forbidden");
    }

    #[test]
    fn a_difference_is_no_error_and_fails_all_the_same() {
        let different = Failed::new(Exit::Different, "2 objects differ");
        assert_eq!((different.to_string().as_str(), different.exit.code_of_diff()), ("2 objects differ\n", 1));
        for error in [Exit::Failed, Exit::Usage, Exit::Damaged, Exit::Refused, Exit::Changed, Exit::Interrupted] {
            assert!(error.code_of_diff() > 1, "{error:?}");
        }
    }

    #[test]
    fn what_fails_besides_is_told_and_hides_nothing() {
        let damaged = || Failed::new(Exit::Damaged, "damaged").cause("a page");
        assert_eq!(damaged().also(Ok(())).causes, ["a page"]);
        let both = damaged().also(Err(Failed::plain("cannot write to stdout").cause("full").hint("make room")));
        assert_eq!(
            (both.exit, both.causes, both.hints),
            (
                Exit::Damaged,
                vec!["a page".to_owned(), "cannot write to stdout: full".to_owned()],
                vec!["make room".to_owned()],
            )
        );
        let changed = Failed::plain("cannot write to stdout").after_change("3 objects were applied");
        assert_eq!((changed.exit, changed.effects), (Exit::Changed, vec!["3 objects were applied".to_owned()]));
    }

    #[test]
    fn what_a_server_says_neither_paints_nor_forges_lines() {
        let message = "no\u{1b}[2J\rpods\u{202e}\nerror: all is well\u{9b}31m".to_owned();
        let status = kube::core::Status { message: message.clone(), code: 403, ..Default::default() };
        let failed = Failed::plain("list").source(&kube::Error::Api(Box::new(status)));
        assert_eq!(
            failed.to_string(),
            "error: list\n  cause: no\\x1b[2J\\rpods\\u202e\n         error: all is well\\x9b31m\n"
        );
        let node = etcd_wire::Failure {
            code: FailureCode::Etcd,
            message: message.clone(),
            causes: vec![message.clone()],
            hint: Some(message),
        };
        let text = Failed::from(node).to_string();
        assert!(text.chars().all(|c| !c.is_control() || c == '\n') && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.starts_with("error: no\\x1b[2J\\rpods\\u202e\\nerror: all"), "{text}");
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let io = std::io::Error::other("no route");
        assert_eq!(Failed::plain("x").cause("dial: no route").source(&io).causes.len(), 1);
    }
}
