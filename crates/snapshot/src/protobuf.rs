//! Protobuf's wire format, as far as etcd's records use it: whole messages, and one message that comes in pieces.

use crate::bytes::varint;

/// A field's value as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes; etcd's records have none.
    Fixed,
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// The fields of a whole message, in the order in which they stand there. The last one is `None` if it cannot be parsed.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u64, Wire<'_>)>> {
    let mut rest = Some(message).filter(|message| !message.is_empty());
    std::iter::from_fn(move || {
        let field = field(rest?);
        rest = field.and_then(|(_, _, rest)| (!rest.is_empty()).then_some(rest));
        Some(field.map(|(field, wire, _)| (field, wire)))
    })
}

/// The first field, and what follows it.
#[inline]
fn field(message: &[u8]) -> Option<(u64, Wire<'_>, &[u8])> {
    let (tag, taken) = varint(message)?;
    let rest = message.get(taken..)?;
    let (wire, rest) = match tag & 7 {
        VARINT => {
            let (value, taken) = varint(rest)?;
            (Wire::Varint(value), rest.get(taken..)?)
        }
        BYTES => {
            let (length, taken) = varint(rest)?;
            let (value, rest) = rest.get(taken..)?.split_at_checked(usize::try_from(length).ok()?)?;
            (Wire::Bytes(value), rest)
        }
        FIXED_32 => (Wire::Fixed, rest.get(4..)?),
        FIXED_64 => (Wire::Fixed, rest.get(8..)?),
        _ => return None,
    };
    Some((tag >> 3, wire, rest))
}

/// Takes the fields of a message that is parsed in pieces. `false` refuses the message.
pub(crate) trait Message {
    /// A number.
    fn varint(&mut self, field: u64, value: u64) -> bool;
    /// Bytes begin, so many of them.
    fn begin(&mut self, field: u64, length: u64) -> bool;
    /// The next of these bytes.
    fn bytes(&mut self, field: u64, piece: &[u8]);
}

/// A message that is parsed in pieces, of any size.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// The varint being read: what came so far, and how many bits that is.
    value: u64,
    bits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Tag,
    Value { field: u64 },
    Length { field: u64 },
    Bytes { field: u64, left: u64 },
    Skipped { left: u64 },
    Refused,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self { state: State::Tag, value: 0, bits: 0 }
    }

    /// Takes the next piece of the message.
    pub(crate) fn feed(&mut self, mut piece: &[u8], message: &mut impl Message) {
        while !piece.is_empty() {
            // A field that is all there is taken at once; one that is not goes on in the next piece.
            if self.state == State::Tag
                && self.bits == 0
                && let Some((field, wire, rest)) = field(piece)
            {
                piece = rest;
                if !whole(field, wire, message) {
                    self.state = State::Refused;
                }
                continue;
            }
            self.state = match self.state {
                State::Bytes { field, left } => {
                    let (taken, rest) = split(piece, left);
                    message.bytes(field, taken);
                    piece = rest;
                    match left - taken.len() as u64 {
                        0 => State::Tag,
                        left => State::Bytes { field, left },
                    }
                }
                State::Skipped { left } => {
                    let (taken, rest) = split(piece, left);
                    piece = rest;
                    match left - taken.len() as u64 {
                        0 => State::Tag,
                        left => State::Skipped { left },
                    }
                }
                State::Refused => return,
                State::Tag | State::Value { .. } | State::Length { .. } => match self.number(&mut piece) {
                    Number::Incomplete => return,
                    Number::Bad => State::Refused,
                    Number::Whole(number) => self.after(number, message),
                },
            };
        }
    }

    /// Whether all pieces together were a message.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Tag && self.bits == 0
    }

    /// Where a number leads that was expected in this state.
    fn after(&self, number: u64, message: &mut impl Message) -> State {
        match self.state {
            State::Tag => match (number >> 3, number & 7) {
                (field, VARINT) => State::Value { field },
                (field, BYTES) => State::Length { field },
                (_, FIXED_32) => State::Skipped { left: 4 },
                (_, FIXED_64) => State::Skipped { left: 8 },
                _ => State::Refused,
            },
            State::Value { field } if message.varint(field, number) => State::Tag,
            State::Length { field } if message.begin(field, number) => match number {
                0 => State::Tag,
                left => State::Bytes { field, left },
            },
            _ => State::Refused,
        }
    }

    fn number(&mut self, piece: &mut &[u8]) -> Number {
        while let Some((&byte, rest)) = piece.split_first() {
            *piece = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the last bit.
            if self.bits == 63 && byte > 1 {
                return Number::Bad;
            }
            self.value |= bits << self.bits;
            if byte < 0x80 {
                self.bits = 0;
                return Number::Whole(std::mem::take(&mut self.value));
            }
            self.bits += 7;
        }
        Number::Incomplete
    }
}

/// Gives a message a field; `false` if it refuses it.
#[inline]
fn whole(field: u64, wire: Wire<'_>, message: &mut impl Message) -> bool {
    match wire {
        Wire::Varint(value) => message.varint(field, value),
        Wire::Bytes(bytes) => {
            let taken = message.begin(field, bytes.len() as u64);
            if taken && !bytes.is_empty() {
                message.bytes(field, bytes);
            }
            taken
        }
        Wire::Fixed => true,
    }
}

enum Number {
    Whole(u64),
    Incomplete,
    Bad,
}

/// At most so many bytes of a piece, and the rest.
fn split(piece: &[u8], at_most: u64) -> (&[u8], &[u8]) {
    piece.split_at(usize::try_from(at_most).map_or(piece.len(), |most| most.min(piece.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a message had, in the form of [`fields`]; a fixed field is not told.
    #[derive(Debug, Default, PartialEq)]
    struct Seen(Vec<(u64, Result<u64, Vec<u8>>)>);

    impl Message for Seen {
        fn varint(&mut self, field: u64, value: u64) -> bool {
            self.0.push((field, Ok(value)));
            true
        }

        fn begin(&mut self, field: u64, _: u64) -> bool {
            self.0.push((field, Err(Vec::new())));
            true
        }

        fn bytes(&mut self, field: u64, piece: &[u8]) {
            match self.0.last_mut() {
                Some((last, Err(bytes))) if *last == field => bytes.extend(piece),
                other => panic!("bytes of {field} after {other:?}"),
            }
        }
    }

    fn whole(message: &[u8]) -> Option<Seen> {
        let all: Vec<_> = fields(message).collect::<Option<_>>()?;
        let seen = all.into_iter().filter_map(|(field, wire)| match wire {
            Wire::Varint(value) => Some((field, Ok(value))),
            Wire::Bytes(bytes) => Some((field, Err(bytes.to_vec()))),
            Wire::Fixed => None,
        });
        Some(Seen(seen.collect()))
    }

    fn in_pieces(message: &[u8], size: usize) -> Option<Seen> {
        let (mut parser, mut seen) = (Parser::new(), Seen::default());
        message.chunks(size).for_each(|piece| parser.feed(piece, &mut seen));
        parser.is_complete().then_some(seen)
    }

    #[test]
    fn known_messages() {
        let message =
            b"\x0a\x03abc\x10\xac\x02\x2a\x00\x25\x01\x02\x03\x04\x09\x01\x02\x03\x04\x05\x06\x07\x08\x30\x01";
        let expected = Seen(vec![(1, Err(b"abc".to_vec())), (2, Ok(300)), (5, Err(Vec::new())), (6, Ok(1))]);
        assert_eq!(whole(message).as_ref(), Some(&expected));
        assert_eq!(in_pieces(message, 1), Some(expected));
        for bad in
            [&b"\x0a"[..], b"\x0a\x02a", b"\x10", b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", b"\x0b", b"\x09\x01"]
        {
            assert_eq!((whole(bad), in_pieces(bad, 3)), (None, None), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            message in prop::collection::vec(prop_oneof![any::<u8>(), 0..0x40_u8, Just(1)], 0..40),
            size in 1..9_usize,
        ) {
            prop_assert_eq!(whole(&message), in_pieces(&message, size));
        }
    }
}
