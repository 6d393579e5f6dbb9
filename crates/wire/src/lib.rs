//! The protocol between `kubectl-etcd` on a workstation and `etcd-sidecar` on a control-plane node.
//!
//! It runs over the stdin and stdout of one `exec`, and trusts neither: `kubectl exec` may lose the tail of stdout and
//! still report success (kubernetes/kubernetes#124571), and a closed socket looks like an orderly end. So everything
//! that matters is said in the protocol itself: a [preface](Preface) with name and version, length-prefixed
//! [frames](Frame) whose size is checked before memory is reserved, [chunks](Chunk) that carry their offset and
//! checksum, a last frame with length and SHA-256, and an acknowledgement before the sidecar ends. An end of input
//! anywhere else is an [error](WireError::Eof).
//!
//! The core does no I/O: [`Decoder`] takes bytes and gives frames, [`Frame::encode`] makes bytes, [`Outgoing`] and
//! [`Incoming`] turn a byte stream into chunks and back. [`Connection`] is the thin adapter to tokio's readers and
//! writers. What the frames say is in [`message`]. `docs/PROTOCOL.md` is the normative description.
//!
//! ```
//! use etcd_wire::{Decoder, Frame, Preface};
//! let mut bytes = Preface::OURS.encode().to_vec();
//! Frame::Ping.encode(&mut bytes).unwrap();
//! let mut decoder = Decoder::new();
//! decoder.push(&bytes);
//! assert_eq!(decoder.preface().unwrap(), Some(Preface::OURS));
//! assert_eq!(decoder.frame().unwrap(), Some(Frame::Ping));
//! assert_eq!(decoder.frame().unwrap(), None);
//! ```

mod bounds;
mod connection;
pub mod drill;
mod error;
pub mod facts;
mod frame;
mod keys;
pub mod message;
pub mod order;
mod preface;
pub mod replace;
pub mod replay;
pub mod restore;
pub mod services;
pub mod survey;
mod transfer;

pub use connection::{Connection, Receiving, Sending};
pub use error::WireError;
pub use frame::{Decoder, Frame, MAX_FRAME};
pub use keys::{KeyRecord, KeyRecords, MAX_KEY, MAX_KEYS, MAX_KEYS_BYTES, keys_bound};
pub use message::{Ack, Begin, CAPABILITIES, Compression, End, Failure, FailureCode, Hello, Reply, Request, Sha256};
pub use preface::Preface;
pub use transfer::{CHUNK, Chunk, Digest, Encoding, Incoming, Outgoing, crc32c};
