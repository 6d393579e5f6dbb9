//! A byte stream as chunks: cut, checked, compressed, put together again.
//!
//! ```text
//!  0          8        12        16         17
//!  +----------+--------+---------+----------+-----------+
//!  | offset   | length | crc32c  | encoding | bytes     |   big-endian u64, u32, u32, u8
//!  +----------+--------+---------+----------+-----------+
//! ```
//!
//! `offset` and `length` count the stream's own bytes, before compression, and the checksum is over those, so it
//! covers the compressor too. Each chunk is compressed by itself: the receiver needs no more memory than one chunk,
//! and a transfer can go on from any chunk.

use bytes::Bytes;

use crate::{Compression, End, WireError};

/// Most bytes of the stream that one chunk carries.
pub const CHUNK: usize = 1 << 20;

const HEADER: usize = 17;
/// Level 1 already shrinks Kubernetes objects well, and is the one that keeps up with a fast network.
const LEVEL: i32 = 1;

/// CRC-32C (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// How a chunk's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// A piece of a stream, as it stands in a `Data` frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the stream the piece begins.
    pub offset: u64,
    /// Bytes of the stream in it, 1..=[`CHUNK`].
    pub length: u32,
    /// CRC-32C of those bytes.
    pub checksum: u32,
    /// How `payload` holds them.
    pub encoding: Encoding,
    /// The bytes on the wire.
    pub payload: Bytes,
}

impl Chunk {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(HEADER + self.payload.len());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.checksum.to_be_bytes());
        out.push(match self.encoding {
            Encoding::Raw => 0,
            Encoding::Zstd => 1,
        });
        out.extend_from_slice(&self.payload);
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Chunk, WireError> {
        let malformed = |reason: &str| WireError::malformed("data", reason);
        let (header, bytes) =
            payload.split_first_chunk::<HEADER>().ok_or_else(|| malformed("shorter than its header"))?;
        let field = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = field(8);
        if length == 0 || length as usize > CHUNK {
            return Err(malformed(&format!("a chunk of {length} bytes is out of bounds")));
        }
        let encoding = match header[16] {
            0 if bytes.len() == length as usize => Encoding::Raw,
            0 => return Err(malformed(&format!("{} bytes where it says {length}", bytes.len()))),
            1 => Encoding::Zstd,
            other => return Err(malformed(&format!("unknown encoding {other}"))),
        };
        Ok(Chunk {
            offset: u64::from(field(0)) << 32 | u64::from(field(4)),
            length,
            checksum: field(12),
            encoding,
            payload: Bytes::copy_from_slice(bytes),
        })
    }

    /// The stream's bytes, decompressed and checked.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when they do not decompress to exactly the announced length (no more memory than
    /// that is used), [`WireError::Checksum`] when they are not what was sent.
    pub fn open(&self) -> Result<Bytes, WireError> {
        let bytes = match self.encoding {
            Encoding::Raw => self.payload.clone(),
            Encoding::Zstd => {
                let bytes = zstd::bulk::decompress(&self.payload, self.length as usize)
                    .map_err(|error| WireError::malformed("data", error))?;
                if bytes.len() != self.length as usize {
                    let reason = format!("decompresses to {} bytes where it says {}", bytes.len(), self.length);
                    return Err(WireError::malformed("data", reason));
                }
                Bytes::from(bytes)
            }
        };
        let got = crc32c(&bytes);
        if got != self.checksum {
            return Err(WireError::Checksum { offset: self.offset, expected: self.checksum, got });
        }
        Ok(bytes)
    }
}

/// The sending side of a stream: gives each piece its place.
#[derive(Debug)]
pub struct Outgoing {
    compression: Compression,
    offset: u64,
}

impl Outgoing {
    /// A stream from its first byte.
    pub fn new(compression: Compression) -> Outgoing {
        Outgoing { compression, offset: 0 }
    }

    /// The chunk for the next 1..=[`CHUNK`] bytes. What does not become smaller is sent as it is.
    ///
    /// # Panics
    /// When `bytes` is empty or longer than [`CHUNK`].
    pub fn chunk(&mut self, bytes: Bytes) -> Chunk {
        assert!((1..=CHUNK).contains(&bytes.len()), "a chunk of {} bytes", bytes.len());
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        let (length, checksum) = (bytes.len() as u32, crc32c(&bytes));
        let (encoding, payload) = match self.compression {
            Compression::None => (Encoding::Raw, bytes),
            Compression::Zstd => match zstd::bulk::compress(&bytes, LEVEL) {
                Ok(small) if small.len() < bytes.len() => (Encoding::Zstd, Bytes::from(small)),
                _ => (Encoding::Raw, bytes),
            },
        };
        Chunk { offset, length, checksum, encoding, payload }
    }

    /// Bytes of the stream that were cut into chunks so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// SHA-256 of a stream, as it is made.
#[derive(Clone)]
pub struct Digest(ring::digest::Context);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Digest {
        Digest(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

/// The receiving side of a stream: checks that the pieces are whole, in order and all there.
#[derive(Debug)]
pub struct Incoming {
    offset: u64,
    limit: u64,
    digest: Digest,
}

impl Incoming {
    /// A stream from its first byte, of at most `limit` bytes: as many as were announced, or as there can be.
    pub fn new(limit: u64) -> Incoming {
        Incoming { offset: 0, limit, digest: Digest::new() }
    }

    /// The bytes of the next chunk.
    ///
    /// # Errors
    /// [`WireError::Offset`], [`WireError::TooLong`], [`WireError::Checksum`] or [`WireError::Malformed`]; the stream is then broken.
    pub fn accept(&mut self, chunk: &Chunk) -> Result<Bytes, WireError> {
        if chunk.offset != self.offset {
            return Err(WireError::Offset { expected: self.offset, got: chunk.offset });
        }
        if self.limit - self.offset < u64::from(chunk.length) {
            return Err(WireError::TooLong { limit: self.limit });
        }
        let bytes = chunk.open()?;
        self.digest.update(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// Bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Checks the stream against its end. The digest can be continued by the caller.
    ///
    /// # Errors
    /// [`WireError::Length`] or [`WireError::Sha256`].
    pub fn finish(self, end: &End) -> Result<Digest, WireError> {
        if end.length != self.offset {
            return Err(WireError::Length { expected: end.length, got: self.offset });
        }
        let got = self.digest.clone().finish();
        if got != end.sha256.0 {
            return Err(WireError::Sha256 {
                expected: end.sha256.to_string(),
                got: crate::message::Sha256(got).to_string(),
            });
        }
        Ok(self.digest)
    }
}
