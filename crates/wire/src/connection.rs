//! The protocol over tokio's readers and writers.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Decoder, Frame, Hello, Preface, WireError};

const READ: usize = 256 << 10;

/// Both directions of a conversation, after the greeting. [`Connection::split`] where both are used at once.
#[derive(Debug)]
pub struct Connection<R, W> {
    /// What the peer says.
    pub incoming: Receiving<R>,
    /// What is said to it.
    pub outgoing: Sending<W>,
    /// How it introduced itself.
    pub peer: Hello,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Sends this side's preface and greeting and reads the peer's. Both sides do the same; neither waits first.
    ///
    /// # Errors
    /// [`WireError::NotOurs`] when something else answers, [`WireError::Version`] when the majors differ (the peer
    /// has then got our preface and can say the same), or any other [`WireError`].
    pub async fn establish(reader: R, writer: W, ours: Hello) -> Result<Connection<R, W>, WireError> {
        let mut outgoing = Sending { writer, buffer: Preface::OURS.encode().to_vec() };
        let mut incoming = Receiving { reader, decoder: Decoder::new(), buffer: vec![0; READ] };
        // At once, so that no road is too narrow for two greetings; and what the peer said counts before a failure to
        // greet it: a shell that complains does not read.
        let greeting = Frame::Hello(ours);
        let (sent, greeted) = tokio::join!(outgoing.send(&greeting), incoming.greeting());
        let peer = greeted?;
        sent?;
        Ok(Connection { incoming, outgoing, peer })
    }

    /// The two directions by themselves.
    pub fn split(self) -> (Receiving<R>, Sending<W>, Hello) {
        (self.incoming, self.outgoing, self.peer)
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Receiving<R> {
    reader: R,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Receiving<R> {
    /// The next frame, which must come: `expected` says what for when the input ends instead.
    ///
    /// Cancel safe: what was read stays.
    ///
    /// # Errors
    /// Any [`WireError`]; [`WireError::Eof`] when the input ends.
    pub async fn next(&mut self, expected: &'static str) -> Result<Frame, WireError> {
        self.maybe_next().await?.ok_or(WireError::Eof { expected })
    }

    /// The next frame, or `None` when the input ends between two frames.
    ///
    /// # Errors
    /// Any [`WireError`]; [`WireError::Eof`] when the input ends inside a frame.
    pub async fn maybe_next(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.decoder.frame()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return if self.decoder.is_empty() {
                    Ok(None)
                } else {
                    Err(WireError::Eof { expected: "the rest of a frame" })
                };
            }
        }
    }

    async fn greeting(&mut self) -> Result<Hello, WireError> {
        while self.decoder.preface()?.is_none() {
            if !self.fill().await? {
                return Err(WireError::Eof { expected: "the preface" });
            }
        }
        match self.next("the greeting").await? {
            Frame::Hello(hello) => Ok(hello),
            other => Err(WireError::Unexpected { got: other.name(), expected: "hello" }),
        }
    }

    async fn fill(&mut self) -> Result<bool, WireError> {
        let read = self.reader.read(&mut self.buffer).await?;
        self.decoder.push(&self.buffer[..read]);
        Ok(read > 0)
    }
}

/// The writing half.
#[derive(Debug)]
pub struct Sending<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Sending<W> {
    /// Sends one frame and flushes.
    ///
    /// Not cancel safe: a frame that is half written breaks the conversation.
    ///
    /// # Errors
    /// [`WireError::Io`], or [`WireError::FrameLength`] for a frame that is too large.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), WireError> {
        frame.encode(&mut self.buffer)?;
        self.writer.write_all(&self.buffer).await?;
        self.buffer.clear();
        self.writer.flush().await?;
        Ok(())
    }

    /// Closes this direction: the peer sees the end of input.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub async fn close(mut self) -> Result<(), WireError> {
        Ok(self.writer.shutdown().await?)
    }
}
