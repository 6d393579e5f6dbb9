//! The snapshot on its way from a member's node to here. A transfer that breaks on the road begins anew.

use etcd_wire::message::{Compression, SnapshotRequest};

use crate::output::{Outcome, Printer};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Received, Session, Sink, TransferError};

/// How often a transfer that broke is begun anew.
const ATTEMPTS: u32 = 3;

/// Where an attempt writes to.
pub(super) struct Attempt<S> {
    pub(super) sink: S,
    /// Whether another attempt is possible: bytes in a pipe cannot be called back.
    pub(super) restartable: bool,
}

/// Receives the snapshot. `begin` is called before each attempt.
///
/// # Errors
/// The last attempt failed, or one in a way in which the next one would fail as well.
pub(super) async fn transfer<S: Sink>(
    road: &Road,
    sidecar: &Sidecar,
    request: &SnapshotRequest,
    printer: Printer,
    mut begin: impl AsyncFnMut() -> Outcome<Attempt<S>>,
) -> Outcome<(Session, Received<S>)> {
    let mut attempt = 1;
    loop {
        let Attempt { sink, restartable } = begin().await?;
        let outcome = match road.session(sidecar).await {
            Ok(mut session) => {
                let needs: &[&str] = if request.keep.is_some() { &["snapshot", "keep"] } else { &["snapshot"] };
                needs.iter().try_for_each(|need| session.require(need))?;
                let mut request = request.clone();
                if !session.peer().can("zstd") {
                    request.compression = Compression::None;
                }
                session.snapshot(request, sink).await.map(|received| (session, received))
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(received) => return Ok(received),
            Err(TransferError::Transport(failed)) if attempt < ATTEMPTS && restartable => {
                printer.warn(format!("{}; starting over (retry {attempt} of {})", failed.one_line(), ATTEMPTS - 1));
                attempt += 1;
            }
            Err(error) => return Err(error.into_failed()),
        }
    }
}

/// The compression that was asked for, as the wire has it.
pub(super) fn compression(word: &str) -> Compression {
    if word == "zstd" { Compression::Zstd } else { Compression::None }
}
