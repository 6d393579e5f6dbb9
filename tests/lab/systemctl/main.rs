//! The systemctl of a lab's node: hands its arguments to the node's service manager and shows the answer. What the arguments mean,
//! the manager knows.

use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Where the real one finds its manager, too.
const SOCKET: &str = "/run/systemd/private";

fn main() -> ExitCode {
    match UnixStream::connect(SOCKET) {
        Ok(manager) => match ask(manager) {
            Ok(code) => code.into(),
            Err(error) => fail(&format!("Failed to get an answer of the service manager: {error}")),
        },
        Err(error) => {
            // As C says it: without the number.
            let error = error.to_string();
            let error = error.split(" (os error").next().unwrap_or_default();
            fail(&format!("Failed to connect to bus: {error}"))
        }
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// The arguments go out with a zero byte behind each. The answer is the exit code, the length of what goes to stdout as eight bytes
/// with the highest first, that, and what goes to stderr.
fn ask(mut manager: UnixStream) -> io::Result<u8> {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        words.extend_from_slice(word.as_bytes());
        words.push(0);
    }
    manager.write_all(&words)?;
    manager.shutdown(std::net::Shutdown::Write)?;
    let (mut code, mut length) = ([0; 1], [0; 8]);
    manager.read_exact(&mut code)?;
    manager.read_exact(&mut length)?;
    let mut output = Vec::new();
    (&mut manager).take(u64::from_be_bytes(length)).read_to_end(&mut output)?;
    let mut errors = Vec::new();
    manager.read_to_end(&mut errors)?;
    io::stdout().write_all(&output)?;
    io::stderr().write_all(&errors)?;
    Ok(code[0])
}
