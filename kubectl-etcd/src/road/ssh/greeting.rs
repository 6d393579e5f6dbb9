//! What is said to the scripts on a node before the sidecar runs: the password that sudo wants, and the sidecar.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::binary::Binary;
use super::script::{self, Obstacle, Said};
use crate::output::{Failed, Outcome};

/// How much a login shell may say before the script is heard, in bytes.
const CHATTER: usize = 256 << 10;
/// As much of what is said on stderr is kept.
const KEPT: usize = 16 << 10;
/// How often sudo is given a password.
const PASSWORDS: usize = 3;

/// Why the sidecar does not run.
#[derive(Debug)]
pub(super) enum Broken {
    /// The script goes no further, and has taken away what it had begun.
    Obstacle(Obstacle),
    /// The connection ended, or was never there.
    Ended,
    /// It says too much, or nothing.
    Odd(String),
    /// The user's side goes no further.
    Here(Failed),
}

/// What was said on stderr so far, without the prompts of sudo.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    pub(super) said: String,
    prompt: String,
    prompts: usize,
}

impl Stderr {
    pub(super) fn new(nonce: &str) -> Stderr {
        Stderr { prompt: script::prompt(nonce), ..Stderr::default() }
    }

    /// Adds what came; true if sudo wants a password now.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> bool {
        self.said.push_str(&String::from_utf8_lossy(bytes));
        let asked = self.said.contains(&self.prompt);
        if asked {
            self.said = self.said.replace(&self.prompt, "");
            self.prompts += 1;
        }
        let mut begin = self.said.len().saturating_sub(KEPT);
        while !self.said.is_char_boundary(begin) {
            begin += 1;
        }
        self.said.drain(..begin);
        asked
    }
}

/// Both sides of a connection whose scripts are at work.
pub(super) struct Talk<'a, R, W> {
    pub(super) nonce: &'a str,
    pub(super) stdout: &'a mut R,
    pub(super) stdin: &'a mut W,
    pub(super) chunks: &'a mut mpsc::Receiver<Bytes>,
    pub(super) stderr: &'a mut Stderr,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Talk<'_, R, W> {
    /// Waits until the script is ready, and gives the type of the node's machine. `password` is asked each time that sudo wants one, with the
    /// number of times that it was asked before.
    ///
    /// # Errors
    /// See [`Broken`].
    pub(super) async fn ready(
        &mut self,
        patience: Duration,
        mut password: impl AsyncFnMut(usize) -> Outcome<SecretString>,
    ) -> Result<String, Broken> {
        match self.hear(patience, &mut password).await? {
            Said::Ready(machine) => Ok(machine),
            Said::Failed(obstacle) => Err(Broken::Obstacle(obstacle)),
            Said::Run => Err(Broken::Odd("the script runs what it has not got".to_owned())),
        }
    }

    /// Sends the sidecar, and waits until it runs.
    ///
    /// # Errors
    /// See [`Broken`].
    pub(super) async fn send(&mut self, binary: &Binary, patience: Duration) -> Result<(), Broken> {
        let order = format!("{} {}\n", binary.bytes.len(), binary.sha256);
        // What is written where nobody reads any more is explained by what the script says.
        let sent = async {
            self.stdin.write_all(order.as_bytes()).await?;
            self.stdin.write_all(&binary.bytes).await?;
            self.stdin.flush().await
        };
        let sent: io::Result<()> =
            tokio::time::timeout(patience, sent).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = &sent {
            tracing::info!("the sidecar was not sent whole: {error}");
        }
        let mut nobody = async |_| Err(Failed::plain("sudo asks for a password where none is wanted"));
        match self.hear(patience, &mut nobody).await? {
            Said::Run => Ok(()),
            Said::Failed(obstacle) => Err(Broken::Obstacle(obstacle)),
            Said::Ready(_) => Err(Broken::Odd("the script begins anew".to_owned())),
        }
    }

    /// The next thing that is meant for this side.
    async fn hear(
        &mut self,
        patience: Duration,
        password: &mut impl AsyncFnMut(usize) -> Outcome<SecretString>,
    ) -> Result<Said, Broken> {
        let (mut line, mut chatter, mut listening) = (Vec::new(), 0, true);
        loop {
            let heard = tokio::select! {
                read = self.stdout.read_until(b'\n', &mut line) => Heard::Line(read),
                chunk = self.chunks.recv(), if listening => Heard::Chunk(chunk),
                () = tokio::time::sleep(patience) => return Err(Broken::Odd(format!("no answer for {}s", patience.as_secs()))),
            };
            match heard {
                Heard::Line(Ok(0) | Err(_)) => return Err(Broken::Ended),
                Heard::Line(Ok(_)) => {
                    chatter += line.len();
                    if let Some(said) = script::read(&String::from_utf8_lossy(&line), self.nonce) {
                        return Ok(said);
                    }
                    if chatter > CHATTER {
                        return Err(Broken::Odd("its login shell writes too much to stdout".to_owned()));
                    }
                    line.clear();
                }
                Heard::Chunk(None) => listening = false,
                Heard::Chunk(Some(chunk)) => {
                    if self.stderr.hear(&chunk) {
                        self.answer(password).await?;
                    }
                }
            }
        }
    }

    async fn answer(&mut self, password: &mut impl AsyncFnMut(usize) -> Outcome<SecretString>) -> Result<(), Broken> {
        let before = self.stderr.prompts.saturating_sub(1);
        if before >= PASSWORDS {
            return Err(Broken::Odd("sudo takes no password".to_owned()));
        }
        let password = password(before).await.map_err(Broken::Here)?;
        let line = SecretString::from(format!("{}\n", password.expose_secret()));
        let sent = async {
            self.stdin.write_all(line.expose_secret().as_bytes()).await?;
            self.stdin.flush().await
        };
        sent.await.map_err(|_| Broken::Ended)
    }
}

enum Heard {
    Line(io::Result<usize>),
    Chunk(Option<Bytes>),
}

#[cfg(test)]
#[path = "greeting_tests.rs"]
mod tests;
