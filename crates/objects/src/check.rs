//! Whether a value can be decoded, without making anything of it: many times as fast, for whoever looks at all values of a file.
//!
//! It goes the way of `decode.rs` and `special.rs`, and whatever is rare it leaves to them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::decode::{DEPTH, bytes_of, text};
use crate::schema::{Field, Kind, Message, Schema, Shape, Special};
use crate::value::{CBOR, Format, PROTOBUF};
use crate::wire::{Content, Reader};

/// Messages in messages: those that a message lacks are made as well when it is decoded, and go deeper than what is there.
const SURE_DEPTH: usize = DEPTH - 26;
/// Unknown fields, of which only a thousand are told apart.
const MOST_UNKNOWN: usize = 1000;
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Whether [`decode`](crate::decode()) gives an object for sure. `false` says nothing: decode the value then.
#[must_use]
pub fn surely_decodes(value: &[u8]) -> bool {
    let mut checker = Checker { schema: Schema::kubernetes(), unknown: 0 };
    let sure = match Format::of(value) {
        Format::Protobuf => checker.envelope(Reader::new(value, 0), 0),
        Format::Json => json(value),
        _ => None,
    };
    sure.is_some()
}

struct Checker {
    schema: &'static Schema,
    unknown: usize,
}

/// Something that is sound.
type Sure = Option<()>;

impl Checker {
    fn pass_over(&mut self) -> Sure {
        self.unknown += 1;
        (self.unknown < MOST_UNKNOWN).then_some(())
    }

    fn envelope(&mut self, whole: Reader<'_>, depth: usize) -> Sure {
        let mut reader = Reader::new(whole.bytes().strip_prefix(PROTOBUF)?, 0);
        let (mut meta, mut raw, mut content_type) = (None, None, "");
        while let Some(field) = reader.field().ok()? {
            match field.number {
                1 if meta.is_none() => meta = Some(bytes_of(field.content, 0).ok()?),
                2 if raw.is_none() => raw = Some(bytes_of(field.content, 0).ok()?),
                // A content encoding is not known.
                3 if text(field.content, 0).ok()?.is_empty() => {}
                4 => content_type = text(field.content, 0).ok()?,
                1..=3 => return None,
                _ => self.pass_over()?,
            }
        }
        let (mut api_version, mut kind, mut meta) = ("", "", meta?);
        while let Some(field) = meta.field().ok()? {
            match field.number {
                1 => api_version = text(field.content, 0).ok()?,
                2 => kind = text(field.content, 0).ok()?,
                _ => self.pass_over()?,
            }
        }
        match content_type {
            // Other JSON than an object is none.
            "application/json" => {
                json(raw?.bytes()).filter(|()| Format::of(raw.map_or(&[], |raw| raw.bytes())) == Format::Json)
            }
            _ => self.fields(self.schema.kind(api_version, kind)?, raw?, depth),
        }
    }

    fn fields(&mut self, message: &'static Message, mut reader: Reader<'_>, depth: usize) -> Sure {
        let (mut seen, mut keys) = (0_u128, BTreeSet::new());
        if depth > SURE_DEPTH {
            return None;
        }
        while let Some(raw) = reader.field().ok()? {
            let Ok(place) = message.fields.binary_search_by_key(&raw.number, |field| field.number) else {
                self.pass_over()?;
                continue;
            };
            let field = message.fields.get(place)?;
            match field.shape {
                Shape::Value | Shape::Pointer => {
                    let bit = 1_u128.checked_shl(u32::try_from(place).ok()?)?;
                    if seen & bit != 0 {
                        return None;
                    }
                    seen |= bit;
                    match self.inlined(field) {
                        Some(inlined) => self.fields(inlined, bytes_of(raw.content, 0).ok()?, depth + 1)?,
                        None => self.value(field.kind, raw.content, depth)?,
                    }
                }
                Shape::List => self.items(field.kind, raw.content, depth)?,
                Shape::Map => {
                    let key = self.entry(field.kind, bytes_of(raw.content, 0).ok()?, depth)?;
                    keys.insert((place, key)).then_some(())?;
                }
            }
        }
        Some(())
    }

    fn inlined(&self, field: &Field) -> Option<&'static Message> {
        match field.kind {
            Kind::Message(number) if field.inline => self.schema.message(number),
            _ => None,
        }
    }

    fn items(&mut self, kind: Kind, content: Content<'_>, depth: usize) -> Sure {
        let is_number = matches!(kind, Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double);
        match content {
            Content::Bytes(mut packed) if is_number => {
                while !packed.is_empty() {
                    let content = match kind {
                        Kind::Double => Content::Fixed64(packed.fixed64().ok()?),
                        _ => Content::Varint(packed.varint().ok()?),
                    };
                    self.value(kind, content, depth)?;
                }
                Some(())
            }
            content => self.value(kind, content, depth),
        }
    }

    /// The key of an entry of a map.
    fn entry<'a>(&mut self, kind: Kind, mut reader: Reader<'a>, depth: usize) -> Option<&'a str> {
        let (mut key, mut value) = (None, None);
        while let Some(raw) = reader.field().ok()? {
            match raw.number {
                1 if key.is_none() => key = Some(text(raw.content, 0).ok()?),
                2 if value.is_none() => value = Some(self.value(kind, raw.content, depth)?),
                1 | 2 => return None,
                _ => self.pass_over()?,
            }
        }
        Some(key.unwrap_or_default())
    }

    fn value(&mut self, kind: Kind, content: Content<'_>, depth: usize) -> Sure {
        let sound = match (kind, content) {
            (Kind::Message(number), Content::Bytes(reader)) => {
                return self.message(self.schema.message(number)?, reader, depth + 1);
            }
            (Kind::Text, content) => text(content, 0).is_ok(),
            (Kind::Bytes, Content::Bytes(_)) | (Kind::Bool | Kind::Int64, Content::Varint(_)) => true,
            (Kind::Int32, Content::Varint(value)) => i32::try_from(value.cast_signed()).is_ok(),
            (Kind::Double, Content::Fixed64(bits)) => f64::from_bits(bits).is_finite(),
            _ => false,
        };
        sound.then_some(())
    }

    fn message(&mut self, message: &'static Message, reader: Reader<'_>, depth: usize) -> Sure {
        match message.special {
            Some(special @ (Special::Json | Special::RawExtension)) => return self.raw(special, reader, depth),
            Some(Special::Time | Special::MicroTime) => {
                between(reader, 1, LAST_SECOND).and(between(reader, 2, 999_999_999))?
            }
            Some(Special::IntOrString) => between(reader, 1, 1)?,
            _ => {}
        }
        self.fields(message, reader, depth)
    }

    fn raw(&mut self, special: Special, mut reader: Reader<'_>, depth: usize) -> Sure {
        let mut raw = None;
        while let Some(field) = reader.field().ok()? {
            match field.number {
                1 if raw.is_none() => raw = Some(bytes_of(field.content, 0).ok()?),
                1 => return None,
                _ => self.pass_over()?,
            }
        }
        match raw.filter(|raw| !raw.is_empty()) {
            None => Some(()),
            Some(raw) if special == Special::RawExtension && raw.bytes().starts_with(PROTOBUF) => {
                self.envelope(raw, depth + 1)
            }
            Some(raw) if raw.bytes().starts_with(CBOR) => None,
            Some(raw) => json(raw.bytes()),
        }
    }
}

/// Whether a number of a message, if it is there, is no greater than this one.
fn between(mut reader: Reader<'_>, number: u32, most: u64) -> Sure {
    while let Some(field) = reader.field().ok()? {
        if field.number == number && !matches!(field.content, Content::Varint(value) if value <= most) {
            return None;
        }
    }
    Some(())
}

/// Whether bytes are JSON, as a [`serde_json::Value`] is read from them.
fn json(bytes: &[u8]) -> Sure {
    serde_json::from_slice::<Anything>(bytes).ok().map(|Anything| ())
}

/// Any JSON, of which nothing is kept. Unlike with `IgnoredAny`, texts and numbers are read.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = Anything;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_str<E>(self, _: &str) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_unit<E>(self) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Anything, A::Error> {
        while items.next_element::<Anything>()?.is_some() {}
        Ok(Anything)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Anything, A::Error> {
        while fields.next_entry::<Anything, Anything>()?.is_some() {}
        Ok(Anything)
    }
}
