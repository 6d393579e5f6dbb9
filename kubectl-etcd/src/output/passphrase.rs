//! A passphrase that is typed: on a terminal alone, and not shown.

use secrecy::SecretString;

use super::{Exit, Failed, Outcome, Printer};

/// Asks for a passphrase, without showing what is typed. Nothing where there is no terminal to ask on.
///
/// # Errors
/// The terminal cannot be told to hide what is typed: then nothing is asked.
pub(crate) async fn ask(question: String, printer: Printer) -> Outcome<Option<SecretString>> {
    if !Printer::interactive() {
        return Ok(None);
    }
    let hidden = Hidden::begin().map_err(|error| {
        Failed::new(Exit::Failed, "cannot ask for a passphrase: the terminal would show it").source(&error)
    })?;
    // Dropped with this future, too: an interruption gives the terminal back as it was.
    let typed = printer.ask(question).await;
    drop(hidden);
    printer.show("\n");
    Ok(Some(SecretString::from(typed)))
}

/// A terminal that does not show what is typed, until this is dropped.
#[cfg(unix)]
struct Hidden(rustix::termios::Termios);

#[cfg(unix)]
impl Hidden {
    fn begin() -> std::io::Result<Hidden> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin())?;
        let mut hiding = before.clone();
        hiding.local_modes -= LocalModes::ECHO;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hiding)?;
        Ok(Hidden(before))
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no setting.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

#[cfg(not(unix))]
struct Hidden;

#[cfg(not(unix))]
impl Hidden {
    fn begin() -> std::io::Result<Hidden> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this system has no way to hide it"))
    }
}
