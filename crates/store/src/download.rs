//! An object that is being read.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::backend::Failure;
use crate::trouble::{StoreError, Trouble};

/// The bytes of an object. A connection that breaks is made again, and reading goes on where it was.
pub struct Download {
    /// The size of the object, as the store says. Exactly so many bytes come, or an error.
    pub size: u64,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl Download {
    pub(crate) fn new(
        size: u64,
        expected: u64,
        stream: BoxStream<'static, Result<Bytes, Failure>>,
        error: impl Fn(Failure) -> StoreError + Send + 'static,
    ) -> Download {
        Download { size, stream: Box::pin(Exact { stream, left: expected, error, ended: false }) }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A stream that ends after as many bytes as were announced, and not before.
struct Exact<E> {
    stream: BoxStream<'static, Result<Bytes, Failure>>,
    left: u64,
    error: E,
    ended: bool,
}

impl<E: Fn(Failure) -> StoreError> Exact<E> {
    fn end(&mut self, failure: Failure) -> Poll<Option<Result<Bytes, StoreError>>> {
        self.ended = true;
        Poll::Ready(Some(Err((self.error)(failure))))
    }
}

impl<E: Fn(Failure) -> StoreError> Unpin for Exact<E> {}

impl<E: Fn(Failure) -> StoreError> Stream for Exact<E> {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.stream.poll_next_unpin(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(failure))) => self.end(failure),
            Poll::Ready(Some(Ok(bytes))) => match self.left.checked_sub(bytes.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Poll::Ready(Some(Ok(bytes)))
                }
                None => self.end(Failure::new(Trouble::Damaged, "the store sent more bytes than it announced")),
            },
            Poll::Ready(None) if self.left > 0 => {
                let detail = format!("{} bytes are missing at its end", self.left);
                self.end(Failure::new(Trouble::Interrupted, detail))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::trouble::Task;

    async fn read(size: u64, chunks: &[&'static [u8]]) -> Result<Vec<u8>, Trouble> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let stream = futures::stream::iter(chunks).boxed();
        let error = |failure: Failure| StoreError::new(Task::Read, "s3://b", failure.trouble, failure.detail);
        let download = Download::new(size, size, stream, error);
        let read: Result<Vec<Bytes>, StoreError> = download.stream.try_collect().await;
        read.map(|chunks| chunks.concat()).map_err(|error| error.trouble().clone())
    }

    #[tokio::test]
    async fn no_byte_is_missing_and_none_is_added() {
        assert_eq!(read(6, &[b"abc", b"def"]).await, Ok(b"abcdef".to_vec()));
        assert_eq!(read(7, &[b"abc", b"def"]).await, Err(Trouble::Interrupted));
        assert_eq!(read(5, &[b"abc", b"def"]).await, Err(Trouble::Damaged));
        assert_eq!(read(0, &[]).await, Ok(Vec::new()));
    }
}
