//! From protobuf to the JSON that the API server answers with, by the table.
//!
//! Go's protobuf code writes every field that is no pointer, zero or not, and Go's JSON code decides by the struct's tags what of
//! it to show: so this goes by the same facts. What a nested message lacks is shown as Go shows it, too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use crate::error::{DecodeError, Fault};
use crate::path::Path;
use crate::schema::{Field, Kind, Message, Schema, Shape};
use crate::wire::{At, Content, Reader};

/// Messages in messages: a schema in a schema is two of them. JSON of this depth is the deepest that serde_json reads.
pub(crate) const DEPTH: usize = 126;
/// Unknown fields that are told apart.
const MOST_UNKNOWN: usize = 1000;

/// A field of which the table knows nothing: a newer Kubernetes wrote it. It is not in the JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownField {
    /// In what: `spec.containers[]`; nothing for the object itself.
    pub path: String,
    /// Its number.
    pub number: u32,
    /// Its wire type: 0 for numbers, 2 for text and messages, 1 and 5 for numbers of a fixed size.
    pub wire_type: u8,
    /// How often it is there.
    pub count: usize,
}

/// Goes through one value.
pub(crate) struct Decoder {
    pub(crate) schema: &'static Schema,
    unknown: BTreeMap<(String, u32, u8), usize>,
}

/// A value, and whether it is Go's zero value.
pub(crate) type Decoded = (Value, bool);

/// Puts a path to a fault.
pub(crate) fn at(path: &Path<'_>) -> impl FnOnce(At) -> DecodeError {
    move |(offset, fault)| DecodeError::Malformed { offset, path: path.text(), fault }
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Decoder { schema: Schema::kubernetes(), unknown: BTreeMap::new() }
    }

    pub(crate) fn into_unknown(self) -> Vec<UnknownField> {
        let field = |((path, number, wire_type), count)| UnknownField { path, number, wire_type, count };
        self.unknown.into_iter().map(field).collect()
    }

    /// Reads a message's fields into JSON. Tells whether it is Go's zero value.
    pub(crate) fn fields(
        &mut self,
        message: &Message,
        mut reader: Reader<'_>,
        path: &Path<'_>,
        depth: usize,
        into: &mut Map<String, Value>,
    ) -> Result<bool, DecodeError> {
        let start = reader.offset();
        if depth > DEPTH {
            return Err(at(path)((start, Fault::Depth)));
        }
        let mut slots: Vec<Option<Decoded>> = message.fields.iter().map(|_| None).collect();
        while let Some(raw) = reader.field().map_err(at(path))? {
            let known = message.fields.binary_search_by_key(&raw.number, |field| field.number);
            let known = known.ok().and_then(|place| message.fields.get(place).zip(slots.get_mut(place)));
            let Some((field, slot)) = known else {
                self.note_unknown(path, raw.number, raw.content.wire_type(), raw.offset)?;
                continue;
            };
            let path = if field.inline { *path } else { path.field(field.json) };
            match field.shape {
                Shape::Value | Shape::Pointer => {
                    if slot.is_some() {
                        return Err(at(&path)((raw.offset, Fault::Repeated)));
                    }
                    *slot = Some(match self.inlined(field) {
                        Some(inlined) => {
                            let content = bytes_of(raw.content, raw.offset).map_err(at(&path))?;
                            (Value::Null, self.fields(inlined, content, &path, depth + 1, into)?)
                        }
                        None => self.value(field.kind, raw.content, raw.offset, &path, depth)?,
                    });
                }
                Shape::List => {
                    let (list, _) = slot.get_or_insert_with(|| (Value::Array(Vec::new()), false));
                    let Value::Array(items) = list else { continue };
                    self.items(field.kind, raw.content, raw.offset, &path, depth, items)?;
                }
                Shape::Map => {
                    let (map, _) = slot.get_or_insert_with(|| (Value::Object(Map::new()), false));
                    let Value::Object(map) = map else { continue };
                    let content = bytes_of(raw.content, raw.offset).map_err(at(&path))?;
                    self.entry(field.kind, content, &path, depth, map)?;
                }
            }
        }
        let mut all_zero = true;
        for (field, slot) in message.fields.iter().zip(slots) {
            let is_there = slot.is_some();
            let end = Reader::new(&[], start);
            let (mut value, zero) = match (slot, field.shape, self.inlined(field)) {
                (Some((value, zero)), Shape::Value, _) => (value, zero),
                (Some((value, _)), ..) => (value, false),
                (None, Shape::Value, Some(inlined)) => (Value::Null, self.fields(inlined, end, path, depth + 1, into)?),
                (None, Shape::Value, None) => self.absent(field.kind, end, &path.field(field.json), depth)?,
                (None, ..) => (Value::Null, true),
            };
            all_zero &= zero;
            if is_claims_of_stateful_set(message, field) {
                value.as_array_mut().into_iter().flatten().for_each(name_claim);
            }
            // Nothing that is a struct is ever empty, and no pointer that is there.
            let empty = match (field.shape, field.kind) {
                (Shape::Value, Kind::Message(_)) => false,
                (Shape::Value, Kind::Bytes) => value.as_str().is_none_or(str::is_empty),
                (Shape::Value, _) => zero,
                _ => !is_there,
            };
            if !(field.inline || field.omit_empty && empty || field.omit_zero && zero) {
                into.insert(field.json.to_owned(), value);
            }
        }
        Ok(all_zero)
    }

    fn inlined(&self, field: &Field) -> Option<&'static Message> {
        match field.kind {
            Kind::Message(number) if field.inline => self.schema.message(number),
            _ => None,
        }
    }

    /// Adds an item to a list, or several that are packed.
    fn items(
        &mut self,
        kind: Kind,
        content: Content<'_>,
        offset: usize,
        path: &Path<'_>,
        depth: usize,
        items: &mut Vec<Value>,
    ) -> Result<(), DecodeError> {
        let is_number = matches!(kind, Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double);
        match content {
            Content::Bytes(mut packed) if is_number => {
                while !packed.is_empty() {
                    let offset = packed.offset();
                    let content = match kind {
                        Kind::Double => packed.fixed64().map(Content::Fixed64),
                        _ => packed.varint().map(Content::Varint),
                    };
                    let content = content.map_err(at(path))?;
                    items.push(self.value(kind, content, offset, &path.item(items.len()), depth)?.0);
                }
            }
            content => items.push(self.value(kind, content, offset, &path.item(items.len()), depth)?.0),
        }
        Ok(())
    }

    /// Adds an entry to a map: a message of a key and a value.
    fn entry(
        &mut self,
        kind: Kind,
        mut reader: Reader<'_>,
        path: &Path<'_>,
        depth: usize,
        map: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let path = path.entry();
        let (start, end) = (reader.offset(), Reader::new(&[], reader.offset()));
        let (mut key, mut value) = (None, None);
        while let Some(raw) = reader.field().map_err(at(&path))? {
            let again = match raw.number {
                1 => key.replace(text(raw.content, raw.offset).map_err(at(&path))?.to_owned()).is_some(),
                2 => value.replace(self.value(kind, raw.content, raw.offset, &path, depth)?.0).is_some(),
                number => {
                    self.note_unknown(&path, number, raw.content.wire_type(), raw.offset)?;
                    false
                }
            };
            if again {
                return Err(at(&path)((raw.offset, Fault::Repeated)));
            }
        }
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Kind::Bytes) => Value::from(""),
            (None, _) => self.absent(kind, end, &path, depth)?.0,
        };
        match map.insert(key.unwrap_or_default(), value) {
            Some(_) => Err(at(&path)((start, Fault::Repeated))),
            None => Ok(()),
        }
    }

    /// What Go has where nothing was written.
    fn absent(&mut self, kind: Kind, end: Reader<'_>, path: &Path<'_>, depth: usize) -> Result<Decoded, DecodeError> {
        match kind {
            Kind::Text => Ok((Value::from(""), true)),
            Kind::Bytes => Ok((Value::Null, true)),
            Kind::Bool => Ok((Value::from(false), true)),
            Kind::Int32 | Kind::Int64 | Kind::Double => Ok((Value::from(0), true)),
            Kind::Message(_) => self.value(kind, Content::Bytes(end), end.offset(), path, depth),
        }
    }

    fn value(
        &mut self,
        kind: Kind,
        content: Content<'_>,
        offset: usize,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Decoded, DecodeError> {
        if let Kind::Message(number) = kind {
            let content = bytes_of(content, offset).map_err(at(path))?;
            return match self.schema.message(number) {
                Some(message) => self.message(message, content, path, depth + 1),
                None => Err(at(path)((offset, Fault::WireType))),
            };
        }
        scalar(kind, content, offset).map_err(at(path))
    }

    /// Reads a message into its JSON.
    pub(crate) fn message(
        &mut self,
        message: &Message,
        reader: Reader<'_>,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Decoded, DecodeError> {
        if let Some(special) = message.special {
            return self.special(special, message, reader, path, depth);
        }
        let mut map = Map::new();
        let zero = self.fields(message, reader, path, depth, &mut map)?;
        if message.is_list {
            // The only field there is, shown always.
            let (_, list) = map.into_iter().next().unwrap_or_default();
            return Ok((list, zero));
        }
        Ok((Value::Object(map), zero))
    }

    pub(crate) fn note_unknown(
        &mut self,
        path: &Path<'_>,
        number: u32,
        wire_type: u8,
        offset: usize,
    ) -> Result<(), DecodeError> {
        *self.unknown.entry((path.pattern(), number, wire_type)).or_default() += 1;
        if self.unknown.len() > MOST_UNKNOWN { Err(at(path)((offset, Fault::TooManyUnknown))) } else { Ok(()) }
    }
}

/// The one place where a kind is in another and the API server says so, although it is not stored: kubernetes/kubernetes
/// pkg/apis/apps/v1/conversion.go @ 1.36, and in the same way since 1.17.
fn is_claims_of_stateful_set(message: &Message, field: &Field) -> bool {
    field.json == "volumeClaimTemplates" && message.name == "StatefulSetSpec"
}

fn name_claim(claim: &mut Value) {
    if let Value::Object(claim) = claim {
        claim.insert("apiVersion".to_owned(), Value::from("v1"));
        claim.insert("kind".to_owned(), Value::from("PersistentVolumeClaim"));
    }
}

/// A field's content as bytes, if that is what it is.
pub(crate) fn bytes_of(content: Content<'_>, offset: usize) -> Result<Reader<'_>, At> {
    match content {
        Content::Bytes(reader) => Ok(reader),
        _ => Err((offset, Fault::WireType)),
    }
}

/// A field's content as text, if that is what it is.
pub(crate) fn text(content: Content<'_>, offset: usize) -> Result<&str, At> {
    let reader = bytes_of(content, offset)?;
    std::str::from_utf8(reader.bytes()).map_err(|error| (reader.offset() + error.valid_up_to(), Fault::Utf8))
}

fn scalar(kind: Kind, content: Content<'_>, offset: usize) -> Result<Decoded, At> {
    Ok(match (kind, content) {
        (Kind::Text, content) => {
            let text = text(content, offset)?;
            (Value::from(text), text.is_empty())
        }
        // Bytes that are there are not zero, and be there none.
        (Kind::Bytes, content) => (Value::from(STANDARD.encode(bytes_of(content, offset)?.bytes())), false),
        (Kind::Bool, Content::Varint(value)) => (Value::from(value != 0), value == 0),
        (Kind::Int32, Content::Varint(value)) => {
            let value = i32::try_from(value.cast_signed()).map_err(|_| (offset, Fault::Range))?;
            (Value::from(value), value == 0)
        }
        (Kind::Int64, Content::Varint(value)) => (Value::from(value.cast_signed()), value == 0),
        (Kind::Double, Content::Fixed64(bits)) => {
            let value = f64::from_bits(bits);
            (number(value).ok_or((offset, Fault::Range))?, value == 0.0)
        }
        _ => return Err((offset, Fault::WireType)),
    })
}

/// A number as Go writes it: without a fraction if it has none.
pub(crate) fn number(value: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT && !(value == 0.0 && value.is_sign_negative()) {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number that a double holds exactly")]
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}
