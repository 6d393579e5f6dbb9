//! What is said to a sidecar: frame by frame, and a ping between them while there is nothing to say.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::{Frame, Sending, WireError};
use futures::FutureExt as _;
use tokio::task::JoinHandle;

use crate::road::{Ended, Writer};

const PING: Duration = Duration::from_secs(5);

type Shared = Arc<tokio::sync::Mutex<Sending<Writer>>>;

/// The sending side of a session. Dropped, it says nothing more.
pub(super) struct Voice {
    outgoing: Shared,
    pinger: Pinger,
    ended: Ended,
}

struct Pinger(JoinHandle<()>);

impl Drop for Pinger {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Voice {
    /// Begins to ping.
    pub(super) fn new(outgoing: Sending<Writer>, ended: Ended) -> Voice {
        let outgoing = Arc::new(tokio::sync::Mutex::new(outgoing));
        let pinger = Pinger(tokio::spawn(ping(Arc::clone(&outgoing))));
        Voice { outgoing, pinger, ended }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// Any [`WireError`], also when the road has ended meanwhile.
    pub(super) async fn send(&self, frame: &Frame) -> Result<(), WireError> {
        tokio::select! {
            sent = async { self.outgoing.lock().await.send(frame).await } => sent,
            // Nobody empties the pipe any more.
            _ = self.ended.clone() => Err(WireError::Io(std::io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Whether the process has not ended yet, as far as is known.
    pub(super) fn stands(&self) -> bool {
        self.ended.clone().now_or_never().is_none()
    }

    /// Says that nothing more comes, and waits until the process has ended by itself, for as long as it is given.
    pub(super) async fn close(self, patience: Duration) {
        let Voice { outgoing, mut pinger, ended } = self;
        pinger.0.abort();
        // It has been cut off, which is all there is to know; then nobody else holds the sender.
        let _cut = (&mut pinger.0).await;
        let closed = async {
            if let Some(outgoing) = Arc::into_inner(outgoing) {
                // A road that is gone cannot be closed, and has ended.
                let _gone = outgoing.into_inner().close().await;
            }
            ended.await
        };
        let _late = tokio::time::timeout(patience, closed).await;
    }
}

async fn ping(outgoing: Shared) {
    loop {
        tokio::time::sleep(PING).await;
        // A connection that is gone is noticed, and told, by the reading side.
        if outgoing.lock().await.send(&Frame::Ping).await.is_err() {
            return;
        }
    }
}
