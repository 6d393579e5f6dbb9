//! From the API server's JSON back to what it stores: the inverse of decoding, over the same table.
//!
//! Fields are written by ascending number, maps by their keys, values even when they are zero, as Go's generated code does: what the
//! API server stored comes out as it was, byte for byte, unless it holds JSON in bytes that was not written as serde_json writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::clock;
use crate::decode::DEPTH;
use crate::error::{EncodeError, name};
use crate::path::Path;
use crate::schema::{Field, Kind, Message, Schema, Shape, Special};
use crate::value::PROTOBUF;
use crate::wire::{put_bytes, put_fixed64, put_number};

/// Writes an object as the API server stores it. `apiVersion` and `kind` are those that are given, whatever the JSON says.
///
/// # Errors
/// See [`EncodeError`]: an unknown kind, a field that its kind does not have, a value that its field cannot take.
pub fn encode(json: &Value, api_version: &str, kind: &str) -> Result<Vec<u8>, EncodeError> {
    let schema = Schema::kubernetes();
    let unknown = || EncodeError::UnknownKind { api_version: name(api_version), kind: name(kind) };
    let message = schema.kind(api_version, kind).ok_or_else(unknown)?;
    let mut raw = Vec::new();
    Encoder { schema }.message(message, json, &Path::ROOT, 0, &mut raw)?;
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    let mut out = PROTOBUF.to_vec();
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, &raw);
    // Content encoding and type: there, and empty.
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    Ok(out)
}

struct Encoder {
    schema: &'static Schema,
}

type Encoded = Result<(), EncodeError>;

fn wrong<T>(path: &Path<'_>, expected: &'static str) -> Result<T, EncodeError> {
    Err(EncodeError::Type { path: path.text(), expected })
}

impl Encoder {
    fn message(&self, message: &Message, json: &Value, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Encoded {
        if depth > DEPTH {
            return Err(EncodeError::Depth(path.text()));
        }
        if let Some(special) = message.special {
            return self.special(special, message, json, path, depth, out);
        }
        if message.is_list {
            let items = message.fields.iter().map(|field| (field.json.to_owned(), json.clone())).collect();
            return self.fields(message, &items, path, depth, out);
        }
        let nothing = Map::new();
        let map = match json {
            Value::Object(map) => map,
            Value::Null => &nothing,
            _ => return wrong(path, "an object"),
        };
        if map.keys().any(|key| !self.has(message, key)) {
            return Err(EncodeError::UnknownField(path.text()));
        }
        self.fields(message, map, path, depth, out)
    }

    /// Whether JSON of a message may have this field.
    fn has(&self, message: &Message, key: &str) -> bool {
        message.is_kind && (key == "apiVersion" || key == "kind")
            || message.fields.iter().any(|field| match self.inlined(field) {
                Some(inlined) => self.has(inlined, key),
                None => field.json == key,
            })
    }

    fn inlined(&self, field: &Field) -> Option<&'static Message> {
        match field.kind {
            Kind::Message(number) if field.inline => self.schema.message(number),
            _ => None,
        }
    }

    fn fields(
        &self,
        message: &Message,
        map: &Map<String, Value>,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Encoded {
        for field in &message.fields {
            if let Some(inlined) = self.inlined(field) {
                let mut nested = Vec::new();
                self.fields(inlined, map, path, depth + 1, &mut nested)?;
                put_bytes(out, field.number, &nested);
                continue;
            }
            let path = path.field(field.json);
            let value = map.get(field.json).unwrap_or(&Value::Null);
            // What only older versions had they wrote, others do not.
            let retired = field.last < message.last();
            match (field.shape, value) {
                (Shape::Value, Value::Null) if retired => {}
                (Shape::Value, value) => self.value(field.kind, field.number, value, &path, depth, out)?,
                (_, Value::Null) => {}
                (Shape::Pointer, value) => self.value(field.kind, field.number, value, &path, depth, out)?,
                (Shape::List, Value::Array(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        self.item(field, item, &path.item(index), depth, out)?;
                    }
                }
                (Shape::Map, Value::Object(map)) => {
                    let mut entries: Vec<_> = map.iter().collect();
                    entries.sort_unstable_by_key(|(key, _)| key.as_str());
                    for (key, value) in entries {
                        let mut entry = Vec::new();
                        put_bytes(&mut entry, 1, key.as_bytes());
                        self.value(field.kind, 2, value, &path.entry(), depth, &mut entry)?;
                        put_bytes(out, field.number, &entry);
                    }
                }
                (Shape::List, _) => return wrong(&path, "a list"),
                (Shape::Map, _) => return wrong(&path, "an object"),
            }
        }
        Ok(())
    }

    fn item(&self, field: &Field, item: &Value, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Encoded {
        match (item, field.kind) {
            // Bytes that are null in a list still take their place.
            (Value::Null, Kind::Bytes) => put_bytes(out, field.number, b""),
            _ => self.value(field.kind, field.number, item, path, depth, out)?,
        }
        Ok(())
    }

    fn value(
        &self,
        kind: Kind,
        number: u32,
        value: &Value,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Encoded {
        match (kind, value) {
            (Kind::Message(message), value) => {
                let mut nested = Vec::new();
                if let Some(message) = self.schema.message(message) {
                    self.message(message, value, path, depth + 1, &mut nested)?;
                }
                put_bytes(out, number, &nested);
            }
            (Kind::Bytes, Value::Null) => {}
            (Kind::Bytes, Value::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => put_bytes(out, number, &bytes),
                Err(_) => return wrong(path, "base64"),
            },
            (Kind::Text, Value::Null) => put_bytes(out, number, b""),
            (Kind::Text, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
            (Kind::Bool, Value::Null) => put_number(out, number, 0),
            (Kind::Bool, Value::Bool(value)) => put_number(out, number, u64::from(*value)),
            (Kind::Int32 | Kind::Int64, Value::Null) => put_number(out, number, 0),
            (Kind::Int32 | Kind::Int64, Value::Number(value)) => {
                let fits = |value: &i64| kind == Kind::Int64 || i32::try_from(*value).is_ok();
                match value.as_i64().filter(fits) {
                    Some(value) => put_number(out, number, value.cast_unsigned()),
                    None => return wrong(path, "a whole number within its range"),
                }
            }
            (Kind::Double, Value::Null) => put_fixed64(out, number, 0),
            (Kind::Double, Value::Number(value)) => {
                put_fixed64(out, number, value.as_f64().unwrap_or_default().to_bits());
            }
            (Kind::Bytes, _) => return wrong(path, "base64"),
            (Kind::Text, _) => return wrong(path, "text"),
            (Kind::Bool, _) => return wrong(path, "true or false"),
            (Kind::Int32 | Kind::Int64 | Kind::Double, _) => return wrong(path, "a number"),
        }
        Ok(())
    }

    fn special(
        &self,
        special: Special,
        message: &Message,
        json: &Value,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Encoded {
        let text = || json.as_str();
        match (special, json) {
            (
                Special::Time
                | Special::MicroTime
                | Special::Json
                | Special::RawExtension
                | Special::SchemaOrArray
                | Special::SchemaOrStrings,
                Value::Null,
            ) => {}
            (Special::Time | Special::MicroTime, _) => {
                let Some((seconds, nanos)) = text().and_then(clock::parse_time) else {
                    return wrong(path, "a time");
                };
                let nanos = if special == Special::Time { 0 } else { nanos / 1000 * 1000 };
                put_number(out, 1, seconds.cast_unsigned());
                put_number(out, 2, i64::from(nanos).cast_unsigned());
            }
            (Special::Duration, _) => {
                let Some(nanos) = text().map_or(json.is_null().then_some(0), clock::parse_duration) else {
                    return wrong(path, "a duration");
                };
                put_number(out, 1, nanos.cast_unsigned());
            }
            (Special::Quantity, Value::String(text)) => put_bytes(out, 1, text.as_bytes()),
            (Special::Quantity, Value::Null) => put_bytes(out, 1, b"0"),
            (Special::Quantity, Value::Number(number)) => put_bytes(out, 1, number.to_string().as_bytes()),
            (Special::Quantity, _) => return wrong(path, "a quantity"),
            (Special::IntOrString, Value::String(text)) => {
                put_number(out, 1, 1);
                put_number(out, 2, 0);
                put_bytes(out, 3, text.as_bytes());
            }
            (Special::IntOrString, _) => {
                let value = if json.is_null() { Some(0) } else { json.as_i64() };
                let Some(value) = value.filter(|&value| i32::try_from(value).is_ok()) else {
                    return wrong(path, "a number or text");
                };
                put_number(out, 1, 0);
                put_number(out, 2, value.cast_unsigned());
                put_bytes(out, 3, b"");
            }
            (Special::Json | Special::RawExtension, json) => put_bytes(out, 1, json.to_string().as_bytes()),
            (Special::SchemaOrBool, json) => {
                let schema = json.is_object().then_some(json);
                let allows = schema.is_some() || json.as_bool().unwrap_or_default();
                self.alternatives(
                    message,
                    [Value::Bool(allows), schema.cloned().unwrap_or_default()],
                    path,
                    depth,
                    out,
                )?;
            }
            (Special::SchemaOrArray | Special::SchemaOrStrings, json) => {
                let both = if json.is_array() { [Value::Null, json.clone()] } else { [json.clone(), Value::Null] };
                self.alternatives(message, both, path, depth, out)?;
            }
        }
        Ok(())
    }

    /// Writes a message of two fields.
    fn alternatives(
        &self,
        message: &Message,
        both: [Value; 2],
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Encoded {
        let fields = message.fields.iter().map(|field| field.json.to_owned()).zip(both).collect();
        self.fields(message, &fields, path, depth, out)
    }
}
