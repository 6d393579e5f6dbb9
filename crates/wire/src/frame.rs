//! Frames: what follows the preface, in both directions.
//!
//! ```text
//!  0         4      5                4 + length
//!  +---------+------+----------------+
//!  | length  | kind | payload        |   length: big-endian u32, counts kind and payload, 1..=MAX_FRAME
//!  +---------+------+----------------+
//! ```
//!
//! Payloads are JSON, but for `Data` (see [`Chunk`]) and `Ping` (empty). Kinds from 0x80 on may be sent by a later
//! minor version; a reader that does not know them passes over them. Every other unknown kind is an error.

use serde::{Serialize, de::DeserializeOwned};

use crate::bounds::Bounds;
use crate::{Ack, Begin, Chunk, End, Failure, Hello, Preface, Reply, Request, WireError};

/// Most bytes that a frame's kind and payload may have together. A chunk of [`CHUNK`](crate::CHUNK) bytes fits.
pub const MAX_FRAME: usize = 2 << 20;

const HELLO: u8 = 0x01;
const REQUEST: u8 = 0x02;
const REPLY: u8 = 0x03;
const FAILURE: u8 = 0x04;
const BEGIN: u8 = 0x05;
const DATA: u8 = 0x06;
const END: u8 = 0x07;
const ACK: u8 = 0x08;
const PING: u8 = 0x09;
const IGNORABLE: u8 = 0x80;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// First frame in each direction.
    Hello(Hello),
    /// Client to sidecar: do this. One at a time.
    Request(Request),
    /// Sidecar to client: the request is done, this is its answer.
    Reply(Reply),
    /// Either side: it cannot be done, this is why. Ends the request.
    Failure(Failure),
    /// Sidecar to client: a byte stream begins.
    Begin(Begin),
    /// A piece of the stream.
    Data(Chunk),
    /// The stream is complete.
    End(End),
    /// Client to sidecar: the whole stream is here and verified.
    Ack(Ack),
    /// Client to sidecar: still here. The sidecar gives up a client it has not heard of for a while.
    Ping,
}

impl Frame {
    /// The name used in error messages.
    pub fn name(&self) -> &'static str {
        match self {
            Frame::Hello(_) => "hello",
            Frame::Request(_) => "request",
            Frame::Reply(_) => "reply",
            Frame::Failure(_) => "failure",
            Frame::Begin(_) => "begin",
            Frame::Data(_) => "data",
            Frame::End(_) => "end",
            Frame::Ack(_) => "ack",
            Frame::Ping => "ping",
        }
    }

    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// [`WireError::FrameLength`] when it is larger than [`MAX_FRAME`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self {
            Frame::Hello(body) => json(out, HELLO, body),
            Frame::Request(body) => json(out, REQUEST, body),
            Frame::Reply(body) => json(out, REPLY, body),
            Frame::Failure(body) => json(out, FAILURE, body),
            Frame::Begin(body) => json(out, BEGIN, body),
            Frame::End(body) => json(out, END, body),
            Frame::Ack(body) => json(out, ACK, body),
            Frame::Ping => out.push(PING),
            Frame::Data(chunk) => {
                out.push(DATA);
                chunk.encode(out);
            }
        }
        let length = out.len() - start - 4;
        match u32::try_from(length) {
            Ok(header) if length <= MAX_FRAME => {
                out[start..start + 4].copy_from_slice(&header.to_be_bytes());
                Ok(())
            }
            _ => {
                out.truncate(start);
                Err(WireError::FrameLength { length: length as u64 })
            }
        }
    }

    /// Decodes kind and payload. `None` is a frame that a later version may send and this one passes over.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Frame>, WireError> {
        Ok(Some(match kind {
            HELLO => Frame::Hello(parse("hello", Bounds::SMALL, payload)?),
            REQUEST => Frame::Request(parse("request", Bounds::BODY, payload)?),
            REPLY => Frame::Reply(parse("reply", Bounds::BODY, payload)?),
            FAILURE => Frame::Failure(parse("failure", Bounds::FAILURE, payload)?),
            BEGIN => Frame::Begin(parse("begin", Bounds::SMALL, payload)?),
            DATA => Frame::Data(Chunk::decode(payload)?),
            END => Frame::End(parse("end", Bounds::SMALL, payload)?),
            ACK => Frame::Ack(parse("ack", Bounds::SMALL, payload)?),
            PING if payload.is_empty() => Frame::Ping,
            PING => return Err(WireError::malformed("ping", "it has a payload")),
            IGNORABLE.. => return Ok(None),
            _ => return Err(WireError::FrameKind { kind }),
        }))
    }
}

fn json(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) {
    out.push(kind);
    serde_json::to_writer(out, body).expect("the messages hold only strings, numbers, lists and structures");
}

fn parse<T: DeserializeOwned>(frame: &'static str, bounds: Bounds, payload: &[u8]) -> Result<T, WireError> {
    bounds.check(frame, payload)?;
    serde_json::from_slice(payload).map_err(|error| WireError::malformed(frame, error))
}

/// Takes bytes as they come, in pieces of any size, and gives the preface and then frames.
///
/// It never holds more than one frame and the piece that was pushed last. After an error it stays broken: what
/// follows a bad frame has no meaning.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// An empty decoder, before the preface.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// True when every byte that was pushed has been given out: an end of input here cuts no frame.
    pub fn is_empty(&self) -> bool {
        self.read == self.buffer.len()
    }

    /// The peer's preface, or `None` when more bytes are needed. To be called until it answers, before
    /// [`Decoder::frame`].
    ///
    /// # Errors
    /// [`WireError::NotOurs`] or [`WireError::Version`].
    pub fn preface(&mut self) -> Result<Option<Preface>, WireError> {
        match Preface::decode(&self.buffer[self.read..])? {
            Some(theirs) if theirs.major != Preface::OURS.major => Err(WireError::Version { theirs }),
            Some(theirs) => {
                self.read += Preface::LENGTH;
                Ok(Some(theirs))
            }
            None => Ok(None),
        }
    }

    /// The next frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::FrameLength`], before any memory is reserved for the frame, [`WireError::FrameKind`],
    /// [`WireError::Bound`] and [`WireError::Malformed`].
    pub fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            let rest = &self.buffer[self.read..];
            let Some((header, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_be_bytes(*header) as usize;
            if length == 0 || length > MAX_FRAME {
                return Err(WireError::FrameLength { length: length as u64 });
            }
            let Some(frame) = rest.get(..length) else {
                self.buffer.reserve(length - rest.len());
                return Ok(None);
            };
            let decoded = Frame::decode(frame[0], &frame[1..])?;
            self.read += 4 + length;
            if let Some(frame) = decoded {
                return Ok(Some(frame));
            }
        }
    }
}
