//! The first sixteen bytes in each direction: who speaks, and which protocol.
//!
//! ```text
//!  0                         12      14      16
//!  +--------------------------+-------+-------+
//!  | "kubectl-etcd"           | major | minor |   numbers are big-endian u16
//!  +--------------------------+-------+-------+
//! ```
//!
//! The name is text so that anything else on stdout (a shell's complaint, a proxy's page) is recognised as such and
//! can be shown. Equal majors understand each other; a minor only ever adds capabilities.

use crate::WireError;

const NAME: &[u8; 12] = b"kubectl-etcd";

/// The protocol version that a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preface {
    /// Peers with different majors do not talk.
    pub major: u16,
    /// Informational: what a peer can do is in the capabilities of its [`Hello`](crate::Hello).
    pub minor: u16,
}

impl Preface {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 16;
    /// What this build speaks.
    pub const OURS: Preface = Preface { major: 1, minor: 0 };

    /// The bytes to send.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..12].copy_from_slice(NAME);
        bytes[12..14].copy_from_slice(&self.major.to_be_bytes());
        bytes[14..].copy_from_slice(&self.minor.to_be_bytes());
        bytes
    }

    /// Reads a preface from the first bytes a peer sent.
    ///
    /// # Errors
    /// [`WireError::NotOurs`] as soon as a byte cannot belong to the name, even when fewer than
    /// [`Preface::LENGTH`] bytes are there; `Ok(None)` when more are needed.
    pub fn decode(bytes: &[u8]) -> Result<Option<Preface>, WireError> {
        let name = &bytes[..bytes.len().min(NAME.len())];
        if name != &NAME[..name.len()] {
            return Err(WireError::not_ours(bytes));
        }
        let Some(rest) = bytes.get(12..Self::LENGTH) else { return Ok(None) };
        Ok(Some(Preface {
            major: u16::from_be_bytes([rest[0], rest[1]]),
            minor: u16::from_be_bytes([rest[2], rest[3]]),
        }))
    }
}

impl std::fmt::Display for Preface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
