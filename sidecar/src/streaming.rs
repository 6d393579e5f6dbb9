//! Streams between a client and work on a thread of its own, which ends when the client gives up.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_wire::{Begin, End, Failure, FailureCode, Frame, Incoming, WireError};
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

/// Receives what the client sends, of so many bytes, into a file that is made once it begins. `not_written` tells why it cannot be written.
///
/// # Errors
/// The client sends something else, gives up or goes away; or the file cannot be written, of which the client has been told.
pub(crate) async fn receive(
    client: &mut Client,
    announced: u64,
    not_written: impl Fn(io::Error) -> Failure,
    make: impl FnOnce() -> io::Result<File>,
) -> Result<File, Stop> {
    let unexpected = |frame: &Frame, expected| Stop::Protocol(WireError::Unexpected { got: frame.name(), expected });
    match client.next().await? {
        Frame::Begin(begin) if begin.total == Some(announced) => {}
        Frame::Begin(_) => {
            return Err(Failure::new(FailureCode::BadRequest, "the snapshot has another size than announced").into());
        }
        other => return Err(unexpected(&other, "begin")),
    }
    let written = |error| Stop::from(not_written(error));
    let mut file = make().map_err(written)?;
    let mut incoming = Incoming::new(announced);
    loop {
        match client.next().await? {
            Frame::Data(chunk) => {
                let took = tokio::task::block_in_place(|| {
                    let bytes = incoming.accept(&chunk).map_err(Stop::Protocol)?;
                    file.write_all(&bytes).map_err(written)
                });
                match took {
                    // What is on its way still comes, and is passed over.
                    Err(Stop::Failed(failure)) => return drain(client, failure).await,
                    took => took?,
                }
            }
            Frame::End(end) => {
                incoming.finish(&end).map_err(Stop::Protocol)?;
                return Ok(file);
            }
            other => return Err(unexpected(&other, "data or end")),
        }
    }
}

/// Says at once why it does not go on, and passes over what comes until the client has heard it.
async fn drain(client: &mut Client, failure: Failure) -> Result<File, Stop> {
    Err(refuse(client, failure).await)
}

/// Says at once why nothing is made of a stream that the client has begun or is about to begin, and passes over it. Gives how that ended.
pub(crate) async fn refuse(client: &mut Client, failure: Failure) -> Stop {
    if let Err(stop) = client.send(Frame::Failure(failure)).await {
        return stop;
    }
    loop {
        match client.next().await {
            Ok(Frame::Begin(_) | Frame::Data(_)) => {}
            Ok(Frame::End(_)) | Err(Stop::GaveUp(_)) => return Stop::Told,
            Ok(other) => return Stop::Protocol(WireError::Unexpected { got: other.name(), expected: "end" }),
            Err(stop) => return stop,
        }
    }
}
