//! Writes protobuf messages: what raft's own files need of it.

/// A message that is being written, field by field.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn varint(mut self, field: u8, value: u64) -> Self {
        self.0.push(field << 3);
        self.raw(value);
        self
    }

    pub(crate) fn bytes(mut self, field: u8, value: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Wire, fields};

    #[test]
    fn is_read_as_it_was_written() {
        let message = Message::default().varint(1, 0).varint(2, u64::MAX).bytes(3, b"abc").bytes(4, b"").finish();
        let expected =
            [(1, Wire::Varint(0)), (2, Wire::Varint(u64::MAX)), (3, Wire::Bytes(b"abc")), (4, Wire::Bytes(b""))];
        assert_eq!(fields(&message).collect::<Vec<_>>(), expected.map(Some));
    }
}
