//! Messages whose JSON is not made of their fields: see [`Special`].

use serde_json::{Map, Value};

use crate::clock;
use crate::decode::{Decoded, Decoder, at, bytes_of};
use crate::error::{DecodeError, Fault};
use crate::path::Path;
use crate::schema::{Message, Special};
use crate::value::{CBOR, PROTOBUF};
use crate::wire::Reader;

impl Decoder {
    pub(crate) fn special(
        &mut self,
        special: Special,
        message: &Message,
        reader: Reader<'_>,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Decoded, DecodeError> {
        if let Special::Json | Special::RawExtension = special {
            return self.raw(special, reader, path, depth);
        }
        let offset = reader.offset();
        // No bytes at all are the time zero, as the API server writes it; 1970 is written in full.
        let is_empty = reader.is_empty();
        let mut fields = Map::new();
        self.fields(message, reader, path, depth, &mut fields)?;
        let number = |name| fields.get(name).and_then(Value::as_i64).unwrap_or_default();
        let range = || at(path)((offset, Fault::Range));
        Ok(match special {
            Special::Time | Special::MicroTime if is_empty => (Value::Null, true),
            Special::Time => {
                let text = clock::time(number("seconds")).ok_or_else(range)?;
                (Value::from(text.clone()), text.is_none())
            }
            Special::MicroTime => {
                let text = clock::micro_time(number("seconds"), number("nanos")).ok_or_else(range)?;
                (Value::from(text.clone()), text.is_none())
            }
            Special::Duration => (Value::from(clock::duration(number("duration"))), number("duration") == 0),
            Special::Quantity => match fields.remove("string") {
                Some(Value::String(text)) if !text.is_empty() => {
                    let zero = text == "0";
                    (Value::String(text), zero)
                }
                _ => (Value::from("0"), true),
            },
            Special::IntOrString => match number("type") {
                0 => (Value::from(number("intVal")), number("intVal") == 0),
                1 => (fields.remove("strVal").unwrap_or_default(), false),
                _ => return Err(range()),
            },
            Special::SchemaOrBool => match fields.remove("Schema") {
                Some(schema @ Value::Object(_)) => (schema, false),
                _ => fields.remove("Allows").map_or((false.into(), true), |allows| (allows, false)),
            },
            Special::SchemaOrArray => (either(&mut fields, "JSONSchemas"), false),
            Special::SchemaOrStrings => (either(&mut fields, "Property"), false),
            Special::Json | Special::RawExtension => (Value::Null, true),
        })
    }

    /// Bytes that hold JSON, or what an extension may hold as well.
    fn raw(
        &mut self,
        special: Special,
        mut reader: Reader<'_>,
        path: &Path<'_>,
        depth: usize,
    ) -> Result<Decoded, DecodeError> {
        let mut raw = None;
        while let Some(field) = reader.field().map_err(at(path))? {
            if field.number != 1 {
                self.note_unknown(path, field.number, field.content.wire_type(), field.offset)?;
            } else if raw.replace(bytes_of(field.content, field.offset).map_err(at(path))?).is_some() {
                return Err(at(path)((field.offset, Fault::Repeated)));
            }
        }
        let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
            return Ok((Value::Null, true));
        };
        if special == Special::RawExtension && raw.bytes().starts_with(PROTOBUF) {
            let object = self.envelope(raw, path, depth + 1)?;
            return Ok((object.json, false));
        }
        let value = if raw.bytes().starts_with(CBOR) {
            crate::cbor::parse(raw.bytes()).map_err(|place| (raw.offset() + place, Fault::Cbor))
        } else {
            crate::json::parse(raw.bytes(), raw.offset())
        };
        value.map(|value| (value, false)).map_err(at(path))
    }
}

/// A list if there is one, else a schema, else nothing.
fn either(fields: &mut Map<String, Value>, list: &str) -> Value {
    match fields.remove(list) {
        Some(list @ Value::Array(_)) => list,
        _ => fields.remove("Schema").unwrap_or_default(),
    }
}
