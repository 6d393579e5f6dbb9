//! The only place that writes to the terminal: data to stdout, everything else to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the one place that prints")]

use std::io::{IsTerminal, Write};

/// Writes for people and for scripts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    quiet: bool,
}

impl Printer {
    /// `quiet` leaves only data, warnings and errors.
    pub(crate) fn new(quiet: bool) -> Printer {
        Printer { quiet }
    }

    /// Data. A reader that has gone away (a closed pipe) ends the output quietly, as other tools do.
    pub(crate) fn data(self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _closed_pipe = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Data that is no text.
    ///
    /// # Errors
    /// stdout is a terminal, on which it would do harm.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut out = std::io::stdout().lock();
        if out.is_terminal() && std::str::from_utf8(bytes).is_err() {
            return Err("it is no text, and stdout is a terminal");
        }
        let _closed_pipe = out.write_all(bytes).and_then(|()| out.flush());
        Ok(())
    }

    /// What is going on, for people.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Something that went well but not as it should.
    pub(crate) fn warn(self, text: impl AsRef<str>) {
        eprintln!("Warning: {}", text.as_ref());
    }

    /// A failure, the last thing a command says.
    pub(crate) fn failure(self, failed: &super::Failed) {
        eprint!("{failed}");
    }

    /// Asks a question that is answered by typing `y`; anything else, and the end of input, is no.
    pub(crate) fn confirm(self, question: &str) -> bool {
        matches!(self.ask(&format!("{question} (y/N) ")).as_str(), "y" | "Y" | "yes")
    }

    /// Asks a question, and gives what is typed, without white space around it. The end of input is an empty answer.
    pub(crate) fn ask(self, question: &str) -> String {
        eprint!("{question}");
        let mut answer = String::new();
        match std::io::stdin().read_line(&mut answer) {
            Ok(_) => answer.trim().to_owned(),
            Err(_) => String::new(),
        }
    }

    /// What has to be read before a question is answered. Never quiet.
    pub(crate) fn show(self, text: &str) {
        eprint!("{text}");
    }

    pub(crate) fn quiet(self) -> bool {
        self.quiet
    }

    /// Whether questions can be asked.
    pub(crate) fn interactive() -> bool {
        std::io::stdin().is_terminal()
    }
}
