//! Why something is not ordered.

/// Why an order is refused. Nothing was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the command line is wrong, and not the moment.
    pub usage: bool,
    /// What cannot be done; one line, lowercase, no period.
    pub message: String,
    /// Why.
    pub causes: Vec<String>,
    /// What to do next, if something can be done: a text, and commands on lines of their own.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), ..Refusal::default() }
    }

    /// Says why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Refusal {
        self.causes.push(cause.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }

    /// Message and causes in one line.
    pub fn one_line(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).cloned().collect::<Vec<_>>().join(": ")
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.one_line())
    }
}

impl std::error::Error for Refusal {}
