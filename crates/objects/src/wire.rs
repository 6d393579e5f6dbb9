//! Protobuf's encoding: varints, tags, lengths. Every read is checked against the bytes that are there.

use crate::error::Fault;

/// Something to read from, which knows where in the whole value it is.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A field as it lies in a message.
pub(crate) struct RawField<'a> {
    pub(crate) number: u32,
    pub(crate) content: Content<'a>,
    /// Where its tag is.
    pub(crate) offset: usize,
}

/// A field's content by its wire type.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(Reader<'a>),
}

impl Content<'_> {
    /// The number of the wire type.
    pub(crate) fn wire_type(&self) -> u8 {
        match self {
            Content::Varint(_) => 0,
            Content::Fixed64(_) => 1,
            Content::Bytes(_) => 2,
            Content::Fixed32 => 5,
        }
    }
}

/// A fault, and where.
pub(crate) type At = (usize, Fault);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Reader { bytes, offset }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<Reader<'a>, At> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err((self.offset, Fault::Truncated));
        };
        let taken = Reader::new(taken, self.offset);
        (self.bytes, self.offset) = (rest, self.offset + length);
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, At> {
        let start = self.offset;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.bytes.first().ok_or((start, Fault::Truncated))?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err((start, Fault::Varint))
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, At> {
        let taken = self.take(8)?;
        let bytes = taken.bytes.try_into().map_err(|_| (taken.offset, Fault::Truncated))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The next field of a message; nothing at its end.
    pub(crate) fn field(&mut self) -> Result<Option<RawField<'a>>, At> {
        if self.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or((offset, Fault::FieldNumber))?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(self.fixed64()?),
            2 => {
                let at = self.offset;
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| (at, Fault::Truncated))?;
                Content::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Content::Fixed32
            }
            _ => return Err((offset, Fault::WireType)),
        };
        Ok(Some(RawField { number, content, offset }))
    }
}

/// Writes a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Writes a number under a field number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Writes bytes under a field number.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes eight bytes under a field number.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}
