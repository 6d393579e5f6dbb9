//! The streams of a process on a node, and its end.

use std::any::Any;
use std::future::Future;
use std::io::Result;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read of a process.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// What is written to a process.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;
/// How a process ended, once it has: what is said of it, or nothing when the road broke or nothing is said.
pub(crate) type Ended = Shared<BoxFuture<'static, Option<String>>>;

/// Makes the end of a process something that several can wait for.
pub(crate) fn ended(status: impl Future<Output = Option<String>> + Send + 'static) -> Ended {
    status.boxed().shared()
}

/// An open road: a process on a node whose streams are here.
pub(crate) struct Channel {
    /// What the process reads. Closed, it hears that nothing more comes.
    pub(crate) stdin: Writer,
    /// What it writes. Nothing is written after the end was told.
    pub(crate) stdout: Reader,
    /// What it says to people.
    pub(crate) stderr: Reader,
    /// Its end.
    pub(crate) ended: Ended,
    /// Where it is, for people: `pod NAME`, `node NAME`.
    pub(crate) place: String,
    /// How another program is put in its place, for people.
    pub(crate) another: String,
    /// What holds the road open. Dropped, the road is cut.
    pub(crate) held: Box<dyn Any + Send + Sync>,
}

/// The stdout or stderr of a process, which ends with the process. kube's client shuts its pipe down only when the kubelet says how the process
/// ended; after a connection that broke the pipe stays open, and its reader would wait in vain. The status is told or given up in both
/// cases, and nothing is written to the pipe after that.
pub(crate) struct Output<R> {
    pipe: R,
    /// `None` once it has ended: what has told its end cannot be asked again.
    ended: Option<Ended>,
}

impl<R> Output<R> {
    pub(crate) fn new(pipe: R, ended: Ended) -> Output<R> {
        Output { pipe, ended: Some(ended) }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.pipe).poll_read(cx, buf) {
            return Poll::Ready(read);
        }
        if self.ended.as_mut().is_some_and(|ended| ended.poll_unpin(cx).is_pending()) {
            return Poll::Pending;
        }
        self.ended = None;
        // What came between the two looks. Unconstrained: pending now means empty, never that it is another task's turn.
        let again = std::future::poll_fn(|cx| Pin::new(&mut self.pipe).poll_read(cx, buf));
        match pin!(tokio::task::unconstrained(again)).poll(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_broke_ends_the_stream_after_its_last_byte() {
        let (pipe, mut writer) = tokio::io::simplex(1 << 20);
        let (tell, told) = tokio::sync::oneshot::channel::<String>();
        let mut stdout = Output::new(pipe, ended(told.map(std::result::Result::ok)));
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).await.map(|_| bytes.len())
        });
        writer.write_all(&vec![7; 1 << 20]).await.expect("room");
        drop(tell);
        assert_eq!(reader.await.expect("no panic").expect("an end"), 1 << 20);
    }

    #[tokio::test]
    async fn a_stream_that_has_ended_can_be_read_again() {
        let (pipe, _writer) = tokio::io::simplex(16);
        let mut stdout = Output::new(pipe, ended(std::future::ready(None)));
        for _ in 0..3 {
            assert_eq!(stdout.read(&mut [0]).await.expect("an end"), 0);
        }
    }

    #[tokio::test]
    async fn the_end_is_not_told_while_the_connection_stands() {
        let (pipe, mut writer) = tokio::io::simplex(16);
        let (tell, told) = tokio::sync::oneshot::channel::<String>();
        let mut stdout = Output::new(pipe, ended(told.map(std::result::Result::ok)));
        writer.write_all(b"ab").await.expect("room");
        assert_eq!(stdout.read_u16().await.expect("two bytes"), u16::from_be_bytes(*b"ab"));
        let mut byte = [0];
        assert!(stdout.read(&mut byte).now_or_never().is_none());
        drop(tell);
        assert_eq!(stdout.read(&mut byte).await.expect("an end"), 0);
    }
}
