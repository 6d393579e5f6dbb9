//! Work that reads on a thread of its own for a client, and ends when the client gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_wire::{Begin, End, Failure, FailureCode, Frame};
use tokio::sync::mpsc;

use crate::serve::{Client, Stop};

/// Does work that may block. It is told by the flag that the client has given up or is gone, and is waited for.
///
/// # Errors
/// The work failed, or the client does not want it any more.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    client: &mut Client,
    work: impl FnOnce(Arc<AtomicBool>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Stop> {
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&cancel);
    let mut reading = tokio::task::spawn_blocking(move || work(stop));
    let read = match client.during(&mut reading).await {
        Ok(read) => read,
        Err(stop) => {
            cancel.store(true, Ordering::Relaxed);
            // The request is over: what the thread still reports changes nothing.
            let _ = reading.await;
            return Err(stop);
        }
    };
    let lost = |error| Err(Failure::new(FailureCode::Other, "reading was cut off").source(&error));
    Ok(read.unwrap_or_else(lost)?)
}

/// Streams what work on a thread queues: `Begin`, its frames, `End`, and waits for the client's `Ack`.
///
/// # Errors
/// As [`on_a_thread`]; the client has not got it all.
pub(crate) async fn stream<D: Send + 'static>(
    client: &mut Client,
    read: impl FnOnce(mpsc::Sender<Frame>, Arc<AtomicBool>) -> Result<(End, D), Failure> + Send + 'static,
) -> Result<D, Stop> {
    client.send(Frame::Begin(Begin { total: None })).await?;
    let queue = client.queue();
    let (end, done) = on_a_thread(client, move |cancel| read(queue, cancel)).await?;
    let length = end.length;
    client.send(Frame::End(end)).await?;
    client.acknowledged(length).await?;
    Ok(done)
}
