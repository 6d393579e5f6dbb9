//! Why there is no drill, or why it has failed, as programs tell failures: what, why, and what to do.

use std::fmt;

/// What a failure says of the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the drill could not be made.
    Failed,
    /// Nothing: a check refused to make it.
    Refused,
    /// That no etcd serves it.
    Damaged,
    /// Nothing, and the folder of the drill is left, with every Secret in clear.
    Left,
}

/// A failure, without its place in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it says of the backup.
    pub kind: Kind,
    /// What could not be done: one line, lowercase.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What is left of the drill.
    pub effect: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What comes of a part of a drill.
pub type Outcome<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// A failure without causes, effect or hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Trouble {
        Trouble { kind, message: message.into(), causes: Vec::new(), effect: None, hint: None }
    }

    pub(crate) fn plain(message: impl Into<String>) -> Trouble {
        Trouble::new(Kind::Failed, message)
    }

    pub(crate) fn cause(mut self, cause: impl fmt::Display) -> Trouble {
        self.causes.push(cause.to_string());
        self
    }

    pub(crate) fn causes(mut self, causes: impl IntoIterator<Item = String>) -> Trouble {
        self.causes.extend(causes);
        self
    }

    /// Adds an error and what lies below it; a text that its parent has said already is left out.
    pub(crate) fn source(mut self, error: &(dyn std::error::Error + 'static)) -> Trouble {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !text.is_empty() && !self.causes.iter().any(|said| said.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    pub(crate) fn effect(self, effect: impl Into<String>) -> Trouble {
        Trouble { effect: Some(effect.into()), ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Trouble {
        Trouble { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}

impl std::error::Error for Trouble {}
