//! The only place that writes to the terminal: data to stdout, everything else to stderr.
//!
//! Never with `eprintln!` and its like: they panic when stderr cannot be written.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use super::{Failed, Outcome, screen, visible};
use crate::typed::by_way;

/// The flags of the road over SSH that this run goes: those who paste a command of ours into a shell go the same way.
static WAY: OnceLock<String> = OnceLock::new();

fn by_the_way(text: &str) -> Cow<'_, str> {
    by_way(text, WAY.get().map(String::as_str).unwrap_or_default())
}

/// Writes for people and for scripts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    quiet: bool,
    verbose: bool,
}

impl Printer {
    /// `quiet` leaves only data, warnings and errors.
    pub(crate) fn new(quiet: bool) -> Printer {
        Printer { quiet, verbose: false }
    }

    /// The same printer; `verbose` lets lines stay that are only of passing interest.
    #[must_use]
    pub(crate) fn verbose(self, verbose: bool) -> Printer {
        Printer { verbose, ..self }
    }

    /// Data. A reader that has gone away (a closed pipe) ends the output quietly, as other tools do.
    ///
    /// # Errors
    /// Anything else that keeps stdout from being written: a full disk, a terminal that is gone.
    pub(crate) fn data(self, text: &str) -> Outcome {
        // JSON and YAML come with everything escaped: there is nothing left to be shown in another way.
        Self::stdout(visible::text(text).as_bytes())
    }

    /// Data for people, in which commands go the way that this run goes.
    ///
    /// # Errors
    /// See [`Printer::data`].
    pub(crate) fn for_people(self, text: &str) -> Outcome {
        self.data(&by_the_way(text))
    }

    /// From now on, commands that are shown go this way: flags as they were typed.
    pub(crate) fn reach_by(self, way: String) {
        // A run goes one way.
        let _again = WAY.set(way);
    }

    /// Data that is shown again and again: on a terminal in the place of what was there before, below it elsewhere. Gives whether there is
    /// still a reader.
    ///
    /// # Errors
    /// See [`Printer::data`].
    pub(crate) fn again(self, text: &str) -> Outcome<bool> {
        const CLEAR: &str = "\x1b[H\x1b[2J";
        let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
        let bytes = format!("{clear}{}", visible::text(text));
        let write = || {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes.as_bytes()).and_then(|()| out.flush())
        };
        match screen::beside(write) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            result => written(result).map(|()| true),
        }
    }

    /// Data as it is; what of it is text, on a terminal, is shown as any text is.
    ///
    /// # Errors
    /// It is no text and stdout is a terminal, on which it would do harm; or stdout cannot be written.
    pub(crate) fn raw(self, bytes: &[u8]) -> Outcome {
        Self::stdout(&shown(bytes, std::io::stdout().is_terminal())?)
    }

    fn stdout(bytes: &[u8]) -> Outcome {
        screen::beside(|| {
            let mut out = std::io::stdout().lock();
            written(out.write_all(bytes).and_then(|()| out.flush()))
        })
    }

    /// Help, the version, and what is wrong with a command line.
    ///
    /// # Errors
    /// Help or the version cannot be written to stdout.
    pub(crate) fn usage(self, usage: &clap::Error) -> Outcome {
        let printed = usage.print().and_then(|()| std::io::stdout().flush());
        if usage.use_stderr() { Ok(()) } else { written(printed) }
    }

    /// Everything for people. Nobody can be told that stderr is lost (a closed pipe, a terminal that is gone), and the
    /// command has to end as it would have: pods are still to be deleted.
    fn stderr(text: &str) -> std::io::Result<()> {
        screen::beside(|| std::io::stderr().lock().write_all(visible::text(text).as_bytes()))
    }

    /// What is going on, for people.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            self.show(&format!("{}\n", visible::message(text.as_ref())));
        }
    }

    /// What is of passing interest: pods that come and go, steps on nodes. It stays with `-v`; else it is shown on a terminal until the
    /// next line, and nowhere else.
    pub(crate) fn detail(self, text: impl AsRef<str>) {
        match (self.quiet, self.verbose) {
            (true, _) => {}
            (false, true) => self.note(text),
            (false, false) => screen::transient(&visible::name(text.as_ref())),
        }
    }

    /// How a command that changed something has ended, in one line: the last thing that it says.
    pub(crate) fn result(self, text: impl AsRef<str>) {
        self.note(text);
    }

    /// Something that went well but not as it should.
    pub(crate) fn warn(self, text: impl AsRef<str>) {
        self.show(&format!("Warning: {}\n", visible::message(text.as_ref())));
    }

    /// A failure, the last thing a command says.
    pub(crate) fn failure(self, failed: &Failed) {
        self.show(&failed.to_string());
    }

    /// Asks a question, and gives what is typed, without white space around it. The end of input is an empty answer, and so
    /// is a question that cannot be shown. Nobody waits for the thread that reads: an interruption ends the program at once.
    pub(crate) async fn ask(self, question: String) -> String {
        let (tell, told) = tokio::sync::oneshot::channel();
        let read = move || {
            let mut answer = String::new();
            let read = Self::stderr(&question).and_then(|()| std::io::stdin().read_line(&mut answer));
            let _gone = tell.send(if read.is_ok() { answer.trim().to_owned() } else { String::new() });
        };
        match std::thread::Builder::new().name("question".to_owned()).spawn(read) {
            Ok(_) => told.await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// What has to be read before a question is answered. Never quiet.
    pub(crate) fn show(self, text: &str) {
        let _lost = Self::stderr(&by_the_way(text));
    }

    pub(crate) fn quiet(self) -> bool {
        self.quiet
    }

    /// Whether questions can be asked.
    pub(crate) fn interactive() -> bool {
        std::io::stdin().is_terminal()
    }
}

fn shown(bytes: &[u8], terminal: bool) -> Outcome<Cow<'_, [u8]>> {
    if !terminal {
        return Ok(Cow::Borrowed(bytes));
    }
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| {
        Failed::plain("the value is no text, and stdout is a terminal").hint("send it elsewhere\n  --raw > FILE")
    })?;
    Ok(match visible::text(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// What became of a write to stdout.
fn written(result: std::io::Result<()>) -> Outcome {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failed::plain("cannot write to stdout").source(&error))
        }
        _ => Ok(()),
    }
}

/// Where log lines go: to stderr, and nowhere when that is lost.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let _lost = Printer::stderr(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_pipe_is_a_good_end() {
        assert!(written(Ok(())).is_ok());
        assert!(written(Err(ErrorKind::BrokenPipe.into())).is_ok());
        for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::NotConnected] {
            assert!(written(Err(kind.into())).is_err(), "{kind}");
        }
    }

    #[test]
    fn raw_data_is_shown_on_a_terminal_and_passed_on_elsewhere() {
        for bytes in [&b"\x1b[2J"[..], b"\xff\0"] {
            assert_eq!(shown(bytes, false).expect("raw").as_ref(), bytes);
        }
        assert_eq!(shown(b"{\x1b[2J\n}", true).expect("text").as_ref(), b"{\\x1b[2J\n}");
        assert!(shown(b"\xff\0", true).is_err());
    }
}
