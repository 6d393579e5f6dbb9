//! The rules of etcd's snapshot stream, without its I/O.
//!
//! Every message holds the next piece of the database and says how much of it remains; the last one holds the 32 bytes
//! of SHA-256 of all that came before, and `remaining` is 0 in it too (etcd: server/etcdserver/api/v3rpc/maintenance.go).
//! gRPC's own end says nothing: only the digest shows that the stream is whole.

use bytes::{Bytes, BytesMut};
use etcd_wire::{CHUNK, End, Sha256};

const DIGEST: usize = 32;

/// What is wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("after {received} of {total} bytes it says that {remaining} remain")]
    Remaining { received: u64, total: u64, remaining: u64 },
    #[error("it ended after {received} of {total} bytes")]
    Short { received: u64, total: u64 },
    #[error("it ended without etcd's checksum: {bytes} bytes came where 32 belong")]
    NoDigest { bytes: usize },
    #[error("more came after etcd's checksum")]
    Long,
}

/// A stream that is being received.
#[derive(Debug)]
pub(super) struct Assembly {
    total: u64,
    received: u64,
    gathered: BytesMut,
    digest: Vec<u8>,
}

impl Assembly {
    /// Made from the first message, which is still to be pushed.
    pub(super) fn new(blob: &[u8], remaining: u64) -> Assembly {
        let total = remaining.saturating_add(blob.len() as u64);
        Assembly { total, received: 0, gathered: BytesMut::with_capacity(CHUNK), digest: Vec::new() }
    }

    /// Bytes of the database.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes a message; gives the chunks that it completes.
    pub(super) fn push(&mut self, blob: &[u8], remaining: u64) -> Result<Vec<Bytes>, Wrong> {
        let missing = usize::try_from(self.total - self.received).unwrap_or(usize::MAX);
        let (mut database, after) = blob.split_at(blob.len().min(missing));
        self.received += database.len() as u64;
        if self.received.checked_add(remaining) != Some(self.total) {
            return Err(Wrong::Remaining { received: self.received, total: self.total, remaining });
        }
        if self.digest.len() + after.len() > DIGEST {
            return Err(Wrong::Long);
        }
        self.digest.extend_from_slice(after);
        let mut chunks = Vec::new();
        while !database.is_empty() {
            let (fits, rest) = database.split_at(database.len().min(CHUNK - self.gathered.len()));
            self.gathered.extend_from_slice(fits);
            database = rest;
            if self.gathered.len() == CHUNK {
                chunks.push(std::mem::replace(&mut self.gathered, BytesMut::with_capacity(CHUNK)).freeze());
            }
        }
        if self.received == self.total && !self.gathered.is_empty() {
            chunks.push(std::mem::take(&mut self.gathered).freeze());
        }
        Ok(chunks)
    }

    /// The end of the stream.
    pub(super) fn finish(self) -> Result<End, Wrong> {
        if self.received != self.total {
            return Err(Wrong::Short { received: self.received, total: self.total });
        }
        match <[u8; DIGEST]>::try_from(self.digest) {
            Ok(digest) => Ok(End { length: self.total, sha256: Sha256(digest) }),
            Err(short) => Err(Wrong::NoDigest { bytes: short.len() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes out when `messages` go in, each with what remains after it.
    fn run(messages: &[(&[u8], u64)]) -> Result<(Vec<u8>, End), Wrong> {
        let mut assembly = Assembly::new(messages[0].0, messages[0].1);
        let mut database = Vec::new();
        for (blob, remaining) in messages {
            for chunk in assembly.push(blob, *remaining)? {
                assert!(!chunk.is_empty() && chunk.len() <= CHUNK);
                database.extend_from_slice(&chunk);
            }
        }
        assembly.finish().map(|end| (database, end))
    }

    const SUM: [u8; 32] = [7; 32];

    #[test]
    fn the_digest_is_not_part_of_the_database() {
        let (database, end) = run(&[(&[1; 1024], 512), (&[2; 512], 0), (&SUM, 0)]).unwrap();
        assert_eq!(database, [vec![1; 1024], vec![2; 512]].concat());
        assert_eq!(end, End { length: 1536, sha256: Sha256(SUM) });
    }

    #[test]
    fn a_database_of_several_chunks_is_cut() {
        let piece = vec![3; CHUNK / 2 + 512];
        let rest = piece.len() as u64;
        let (database, _) = run(&[(&piece, 2 * rest), (&piece, rest), (&piece, 0), (&SUM, 0)]).unwrap();
        assert_eq!(database.len(), 3 * piece.len());
    }

    #[test]
    fn a_stream_that_is_not_whole_is_refused() {
        assert_eq!(run(&[(&[1; 512], 512)]), Err(Wrong::Short { received: 512, total: 1024 }));
        assert_eq!(run(&[(&[1; 512], 0)]), Err(Wrong::NoDigest { bytes: 0 }));
        assert_eq!(run(&[(&[1; 512], 0), (&SUM[1..], 0)]), Err(Wrong::NoDigest { bytes: 31 }));
        assert_eq!(run(&[(&[1; 512], 0), (&SUM, 0), (&[0], 0)]), Err(Wrong::Long));
        let lies = Wrong::Remaining { received: 1024, total: 1024, remaining: 1 };
        assert_eq!(run(&[(&[1; 512], 512), (&[1; 512], 1)]), Err(lies));
        let overflows = Wrong::Remaining { received: 512, total: u64::MAX, remaining: u64::MAX };
        assert_eq!(run(&[(&[1; 512], u64::MAX)]), Err(overflows));
    }
}
