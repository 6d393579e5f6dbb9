//! A stored value as an object.

use serde_json::{Map, Value};

use crate::decode::{Decoder, UnknownField, at, bytes_of, text};
use crate::error::{DecodeError, Fault, name};
use crate::path::Path;
use crate::value::{Format, PROTOBUF};
use crate::wire::{Content, Reader};

/// An object.
#[derive(Clone, PartialEq)]
pub struct Object {
    /// Its API version, `apps/v1`: the one it is stored in. Nothing if it is JSON or CBOR that does not say it.
    pub api_version: String,
    /// Its kind, likewise.
    pub kind: String,
    /// What the API server would answer in that version, but for what it fills in on reading; see [`Object::set_resource_version`].
    pub json: Value,
    /// Fields in the value of which the table knows nothing, and which are not in the JSON.
    pub unknown: Vec<UnknownField>,
}

/// Without what is in it: that may be a Secret.
impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Object { api_version, kind, json: _, unknown } = self;
        f.debug_struct("Object")
            .field("api_version", api_version)
            .field("kind", kind)
            .field("unknown", unknown)
            .finish_non_exhaustive()
    }
}

/// Reads a stored value: protobuf, JSON or CBOR.
///
/// # Errors
/// See [`DecodeError`]. Nothing of the value is in it.
pub fn decode(value: &[u8]) -> Result<Object, DecodeError> {
    let whole = Reader::new(value, 0);
    match Format::of(value) {
        Format::Protobuf => {
            let mut decoder = Decoder::new();
            let mut object = decoder.envelope(whole, &Path::ROOT, 0)?;
            object.unknown = decoder.into_unknown();
            Ok(object)
        }
        Format::Json => Object::of(crate::json::parse(value, 0).map_err(at(&Path::ROOT))?),
        Format::Cbor => {
            let parsed = crate::cbor::parse(value).map_err(|place| at(&Path::ROOT)((place, Fault::Cbor)));
            Object::of(parsed?)
        }
        Format::Encrypted(key) => Err(DecodeError::Encrypted(key)),
        Format::Other => Err(DecodeError::UnknownFormat),
    }
}

/// Reads what a protobuf value says even if nothing is known of its kind: its API version, its kind and its metadata, which is the first field of
/// nearly every kind. All that follows is in [`Object::unknown`].
///
/// # Errors
/// The value is none in protobuf, cannot be read as far as that, or does not begin with metadata that has a name. Nothing of the value is
/// in it.
pub fn decode_metadata(value: &[u8]) -> Result<Object, DecodeError> {
    if Format::of(value) != Format::Protobuf {
        return Err(DecodeError::UnknownFormat);
    }
    let (mut decoder, path) = (Decoder::new(), Path::ROOT);
    let Envelope { api_version, kind, mut raw, .. } = decoder.open(Reader::new(value, 0), &path)?;
    let unknown = || DecodeError::UnknownKind { api_version: name(api_version), kind: name(kind) };
    let message = decoder.schema.named("meta/v1", "ObjectMeta").ok_or_else(unknown)?;
    let mut json = Map::new();
    while let Some(field) = raw.field().map_err(at(&path))? {
        match (field.number, field.content) {
            (1, Content::Bytes(content)) => {
                let (metadata, _) = decoder.message(message, content, &path.field("metadata"), 0)?;
                if json.insert("metadata".to_owned(), metadata).is_some() {
                    return Err(at(&path)((field.offset, Fault::Repeated)));
                }
            }
            (number, content) => decoder.note_unknown(&path, number, content.wire_type(), field.offset)?,
        }
    }
    json.insert("apiVersion".to_owned(), Value::from(api_version));
    json.insert("kind".to_owned(), Value::from(kind));
    let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
    let object = Object { api_version, kind, json: Value::Object(json), unknown: decoder.into_unknown() };
    match object.name() {
        Some(text) if !text.is_empty() => Ok(object),
        _ => Err(DecodeError::UnknownKind { api_version: name(&object.api_version), kind: name(&object.kind) }),
    }
}

/// What `k8s\0` is followed by.
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    content_type: &'a str,
    /// The object itself.
    raw: Reader<'a>,
}

impl Object {
    /// An object that is in JSON already.
    fn of(json: Value) -> Result<Object, DecodeError> {
        if !json.is_object() {
            return Err(DecodeError::UnknownFormat);
        }
        let text = |field| json.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Object { api_version: text("apiVersion"), kind: text("kind"), json, unknown: Vec::new() })
    }

    /// Puts the revision that last changed the key where the API server shows it. It is not stored: the API server fills it in on
    /// reading.
    pub fn set_resource_version(&mut self, mod_revision: i64) {
        if let Some(metadata) = self.metadata_mut() {
            metadata.insert("resourceVersion".to_owned(), Value::from(mod_revision.to_string()));
        }
    }

    /// Takes out who set which field, as `kubectl get` does without `--show-managed-fields`.
    pub fn strip_managed_fields(&mut self) {
        if let Some(metadata) = self.metadata_mut() {
            metadata.remove("managedFields");
        }
    }

    /// A text of its metadata.
    fn metadata(&self, field: &str) -> Option<&str> {
        self.json.get("metadata")?.get(field)?.as_str()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata("name")
    }

    /// Its namespace, if it is in one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.metadata("namespace")
    }

    /// Its UID.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.metadata("uid")
    }

    /// The group of its API version; nothing for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn metadata_mut(&mut self) -> Option<&mut Map<String, Value>> {
        self.json.get_mut("metadata")?.as_object_mut()
    }
}

impl Decoder {
    /// Reads `k8s\0` and what follows, with what is in it.
    pub(crate) fn envelope(&mut self, whole: Reader<'_>, path: &Path<'_>, depth: usize) -> Result<Object, DecodeError> {
        let Envelope { api_version, kind, content_type, raw } = self.open(whole, path)?;
        if content_type == "application/json" {
            return Object::of(crate::json::parse(raw.bytes(), raw.offset()).map_err(at(path))?);
        }
        let unknown = || DecodeError::UnknownKind { api_version: name(api_version), kind: name(kind) };
        let message = self.schema.kind(api_version, kind).ok_or_else(unknown)?;
        let mut json = Map::new();
        self.fields(message, raw, path, depth, &mut json)?;
        json.insert("apiVersion".to_owned(), Value::from(api_version));
        json.insert("kind".to_owned(), Value::from(kind));
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        Ok(Object { api_version, kind, json: Value::Object(json), unknown: Vec::new() })
    }

    /// Reads `k8s\0` and what follows: kubernetes/apimachinery pkg/runtime/generated.proto, message Unknown @ v0.36.2.
    fn open<'a>(&mut self, whole: Reader<'a>, path: &Path<'_>) -> Result<Envelope<'a>, DecodeError> {
        let rest = whole.bytes().strip_prefix(PROTOBUF).unwrap_or_default();
        let mut reader = Reader::new(rest, whole.offset() + PROTOBUF.len());
        let start = reader.offset();
        let (mut meta, mut raw, mut encoding, mut content_type) = (None, None, "", "");
        while let Some(field) = reader.field().map_err(at(path))? {
            let offset = field.offset;
            let once = |again: bool| if again { Err(at(path)((offset, Fault::Repeated))) } else { Ok(()) };
            let content = field.content;
            match field.number {
                1 => once(meta.replace(bytes_of(content, offset).map_err(at(path))?).is_some())?,
                2 => once(raw.replace(bytes_of(content, offset).map_err(at(path))?).is_some())?,
                3 => encoding = text(content, offset).map_err(at(path))?,
                4 => content_type = text(content, offset).map_err(at(path))?,
                number => self.note_unknown(path, number, content.wire_type(), offset)?,
            }
        }
        let (mut api_version, mut kind) = ("", "");
        let mut meta = meta.unwrap_or(Reader::new(&[], start));
        while let Some(field) = meta.field().map_err(at(path))? {
            match field.number {
                1 => api_version = text(field.content, field.offset).map_err(at(path))?,
                2 => kind = text(field.content, field.offset).map_err(at(path))?,
                number => self.note_unknown(path, number, field.content.wire_type(), field.offset)?,
            }
        }
        // The API server writes it even if there is nothing in it.
        let raw = raw.ok_or_else(|| at(path)((start, Fault::Truncated)))?;
        if !encoding.is_empty() {
            return Err(at(path)((start, Fault::Encoding)));
        }
        Ok(Envelope { api_version, kind, content_type, raw })
    }
}
