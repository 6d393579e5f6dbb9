//! What can be wrong with what a peer sent, or with the road it came by.

use crate::Preface;

/// A broken conversation. What a peer reports of its own work is a [`Failure`](crate::Failure) instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes are not this protocol at all; the text is the beginning of what came instead.
    #[error("the other side does not speak the kubectl-etcd protocol, it said: {0:?}")]
    NotOurs(String),
    /// The peer speaks another major version.
    #[error("the other side speaks protocol {theirs}, this side {}", Preface::OURS)]
    Version {
        /// What the peer announced.
        theirs: Preface,
    },
    /// A frame announces more than [`MAX_FRAME`](crate::MAX_FRAME) bytes, or none.
    #[error("a frame of {length} bytes is out of bounds")]
    FrameLength {
        /// The length that the frame's header claims.
        length: u64,
    },
    /// A frame type that this version does not know and that is not marked as ignorable.
    #[error("unknown frame type 0x{kind:02x}")]
    FrameKind {
        /// The type byte.
        kind: u8,
    },
    /// The contents of a frame are larger than any that this protocol needs.
    #[error("a {frame} frame with more than {limit} {what}")]
    Bound {
        /// Name of the frame type.
        frame: &'static str,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// A stream goes on behind the length that was announced, or that such a stream can have.
    #[error("more came than the {limit} bytes that were announced or can be")]
    TooLong {
        /// Most bytes of the stream.
        limit: u64,
    },
    /// The contents of a frame do not decode.
    #[error("malformed {frame} frame: {reason}")]
    Malformed {
        /// Name of the frame type.
        frame: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A frame that is legal, but not here.
    #[error("unexpected {got} frame, expected {expected}")]
    Unexpected {
        /// Name of the frame that came.
        got: &'static str,
        /// What the conversation was waiting for.
        expected: &'static str,
    },
    /// A chunk that does not continue where the last one ended.
    #[error("a chunk is for offset {got}, expected {expected}")]
    Offset {
        /// The next byte that is wanted.
        expected: u64,
        /// Where the chunk says it belongs.
        got: u64,
    },
    /// A chunk whose bytes are not the ones that were sent.
    #[error("the chunk at offset {offset} has checksum {got:08x}, expected {expected:08x}")]
    Checksum {
        /// Offset of the chunk in the stream.
        offset: u64,
        /// CRC-32C in the chunk's header.
        expected: u32,
        /// CRC-32C of the bytes that arrived.
        got: u32,
    },
    /// The stream has another length than its end says.
    #[error("the stream has {got} bytes, its end says {expected}")]
    Length {
        /// Bytes that the end frame announces.
        expected: u64,
        /// Bytes that arrived.
        got: u64,
    },
    /// The bytes that arrived have another SHA-256 than the end frame says.
    #[error("the stream has SHA-256 {got}, its end says {expected}")]
    Sha256 {
        /// Hex digest that the end frame carries.
        expected: String,
        /// Hex digest of what arrived.
        got: String,
    },
    /// The input ended where the protocol does not allow it.
    #[error("the connection ended before {expected}")]
    Eof {
        /// What was still to come.
        expected: &'static str,
    },
    /// Reading or writing failed.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
}

impl WireError {
    /// True when another connection may fare better: the road broke, or bytes changed on it. False when the peer
    /// itself is wrong, which a second attempt does not mend.
    pub fn is_transport(&self) -> bool {
        use WireError as E;
        matches!(
            self,
            E::Eof { .. } | E::Io(_) | E::Checksum { .. } | E::Length { .. } | E::Sha256 { .. } | E::Offset { .. }
        )
    }

    pub(crate) fn not_ours(bytes: &[u8]) -> WireError {
        WireError::NotOurs(String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim_end().to_owned())
    }

    pub(crate) fn malformed(frame: &'static str, reason: impl std::fmt::Display) -> WireError {
        WireError::Malformed { frame, reason: crate::bounds::told(reason.to_string()) }
    }
}
