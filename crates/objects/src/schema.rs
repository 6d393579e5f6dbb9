//! What the API types of Kubernetes look like in protobuf and in JSON: a table of facts, and an index over it.
//!
//! `schema/kubernetes.txt` says of every field of every message its number, its type, its JSON name and when JSON leaves it out;
//! its header explains the form, and `schema/generate.py` makes it from the tags of kubernetes/api, apimachinery,
//! apiextensions-apiserver and kube-aggregator, of 1.19 to 1.36.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The table.
const TABLE: &str = include_str!("../schema/kubernetes.txt");
/// The first and the last Kubernetes 1.N of which the table knows.
pub const MINORS: std::ops::RangeInclusive<u8> = 19..=36;

/// The messages of all API versions.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    names: HashMap<(&'static str, &'static str), usize>,
    kinds: HashMap<(&'static str, &'static str), usize>,
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its package, shortened: `apps/v1`, `meta/v1`, `intstr`.
    pub package: &'static str,
    /// Its API version as objects name it, `apps/v1`; nothing for packages that are none.
    pub api_version: &'static str,
    /// Its name, which is also its kind if it has one.
    pub name: &'static str,
    /// Whether it is a kind: something with `apiVersion` and `kind`.
    pub is_kind: bool,
    /// A list in JSON, which protobuf wraps in this message.
    pub is_list: bool,
    /// What makes its JSON, if not its fields.
    pub special: Option<Special>,
    /// Its fields by ascending number.
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number in protobuf.
    pub number: u32,
    /// Its name in JSON.
    pub json: &'static str,
    /// How often it occurs.
    pub shape: Shape,
    /// Of what it is.
    pub kind: Kind,
    /// JSON does not show it when it is empty: Go's `omitempty`, which knows no empty structs.
    pub omit_empty: bool,
    /// JSON does not show it when it is zero: Go's `omitzero`.
    pub omit_zero: bool,
    /// Its own fields stand in JSON among those of this message.
    pub inline: bool,
    /// The first Kubernetes 1.N that has it; the first that the table knows at the earliest.
    pub since: u8,
    /// The last Kubernetes 1.N that has it.
    pub last: u8,
}

/// How often a field occurs, and whether its absence is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Always there: the API server writes it even when it is zero.
    Value,
    /// There or not, which is not the same as zero.
    Pointer,
    /// Any number of times.
    List,
    /// By text keys.
    Map,
}

/// Of what a field, an item or a map's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `string`
    Text,
    /// `bytes`, base64 in JSON
    Bytes,
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `double`
    Double,
    /// Another message, by its number in [`Schema::message`].
    Message(usize),
}

/// A message whose JSON is not made of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// RFC 3339 in whole seconds.
    Time,
    /// RFC 3339 with six digits of a second.
    MicroTime,
    /// Go's `1h2m3.5s`.
    Duration,
    /// `100m`: its text.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// JSON in bytes.
    Json,
    /// Bytes that are JSON, CBOR, or an object of their own.
    RawExtension,
    /// A schema, or whether anything goes.
    SchemaOrBool,
    /// A schema, or several.
    SchemaOrArray,
    /// A schema, or names.
    SchemaOrStrings,
}

impl Message {
    /// The last Kubernetes 1.N that has it.
    #[must_use]
    pub fn last(&self) -> u8 {
        self.fields.iter().map(|field| field.last).max().unwrap_or(*MINORS.end())
    }
}

impl Special {
    /// kubernetes/apimachinery pkg/apis/meta/v1/{time,micro_time,duration,helpers}.go, pkg/api/resource/quantity.go,
    /// pkg/util/intstr/intstr.go, pkg/runtime/extension.go; kubernetes/apiextensions-apiserver
    /// pkg/apis/apiextensions/v1/marshal.go; all @ v0.36.2.
    fn of(package: &str, name: &str) -> Option<Special> {
        Some(match (package, name) {
            ("meta/v1", "Time") => Special::Time,
            ("meta/v1", "MicroTime") => Special::MicroTime,
            ("meta/v1", "Duration") => Special::Duration,
            ("meta/v1", "FieldsV1") => Special::Json,
            ("quantity", "Quantity" | "QuantityValue") => Special::Quantity,
            ("intstr", "IntOrString") => Special::IntOrString,
            ("runtime", "RawExtension") => Special::RawExtension,
            ("apiextensions/v1" | "apiextensions/v1beta1", name) => match name {
                "JSON" => Special::Json,
                "JSONSchemaPropsOrBool" => Special::SchemaOrBool,
                "JSONSchemaPropsOrArray" => Special::SchemaOrArray,
                "JSONSchemaPropsOrStringArray" => Special::SchemaOrStrings,
                _ => return None,
            },
            _ => return None,
        })
    }
}

impl Schema {
    /// The table, read once.
    ///
    /// # Panics
    /// Never: that the table can be read is tested.
    pub fn kubernetes() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::parse(TABLE).expect("the table is the one that was tested"))
    }

    /// The message of a kind, as stored under this `apiVersion` and `kind`.
    #[must_use]
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        self.kind_number(api_version, kind).and_then(|number| self.message(number))
    }

    pub(crate) fn named(&self, package: &str, name: &str) -> Option<&Message> {
        let names: &HashMap<(&str, &str), usize> = &self.names;
        names.get(&(package, name)).and_then(|&number| self.message(number))
    }

    /// A message by its number.
    #[must_use]
    pub fn message(&self, number: usize) -> Option<&Message> {
        self.messages.get(number)
    }

    /// All messages.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(crate) fn kind_number(&self, api_version: &str, kind: &str) -> Option<usize> {
        let kinds: &HashMap<(&str, &str), usize> = &self.kinds;
        kinds.get(&(api_version, kind)).copied()
    }

    /// Reads a table; the error is the line that cannot be read.
    ///
    /// # Errors
    /// The number of the line.
    pub fn parse(table: &'static str) -> Result<Schema, usize> {
        let mut schema = Schema { messages: Vec::with_capacity(2048), names: HashMap::new(), kinds: HashMap::new() };
        let lines =
            || table.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, l)| !l.starts_with('#'));
        let mut package = ("", "");
        for (number, line) in lines() {
            if let Some(rest) = line.strip_prefix('@') {
                let (name, api_version) = rest.split_once(' ').ok_or(number)?;
                package = (name, if api_version == "-" { "" } else { api_version });
            } else if !line.starts_with(|c: char| c.is_ascii_digit()) {
                schema.add(package, line);
            }
        }
        // The message before the next one.
        let mut next = 0_usize;
        let mut package = "";
        for (number, line) in lines() {
            if let Some(rest) = line.strip_prefix('@') {
                package = rest.split(' ').next().unwrap_or_default();
            } else if line.starts_with(|c: char| c.is_ascii_digit()) {
                let field = schema.field(package, line).ok_or(number)?;
                next.checked_sub(1).and_then(|at| schema.messages.get_mut(at)).ok_or(number)?.fields.push(field);
            } else {
                next += 1;
            }
        }
        Ok(schema)
    }

    fn add(&mut self, (package, api_version): (&'static str, &'static str), line: &'static str) {
        let name = line.trim_end_matches(['!', '[', ']']);
        let number = self.messages.len();
        let (is_kind, is_list) = (line.ends_with('!'), line.ends_with("[]"));
        let special = Special::of(package, name);
        self.messages.push(Message { package, api_version, name, is_kind, is_list, special, fields: Vec::new() });
        self.names.insert((package, name), number);
        if is_kind {
            self.kinds.insert((api_version, name), number);
        }
    }

    fn field(&self, package: &'static str, line: &'static str) -> Option<Field> {
        let mut words = line.split(' ');
        let (number, json, mut kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let mut shape = Shape::Value;
        for (prefix, of) in [("*", Shape::Pointer), ("[]", Shape::List), ("{}", Shape::Map)] {
            if let Some(rest) = kind.strip_prefix(prefix) {
                (kind, shape) = (rest, of);
            }
        }
        let kind = match kind {
            "str" => Kind::Text,
            "bytes" => Kind::Bytes,
            "bool" => Kind::Bool,
            "i32" => Kind::Int32,
            "i64" => Kind::Int64,
            "f64" => Kind::Double,
            message => Kind::Message(*self.names.get(&message.rsplit_once('.').unwrap_or((package, message)))?),
        };
        let (mut since, mut last) = (*MINORS.start(), *MINORS.end());
        let (mut omit_empty, mut omit_zero, mut inline) = (false, false, false);
        for word in words {
            if let Some(minor) = word.strip_prefix('+') {
                since = minor.parse().ok()?;
            } else if let Some(minor) = word.strip_prefix('-') {
                last = minor.parse().ok()?;
            } else {
                (omit_empty, omit_zero, inline) = (word.contains('?'), word.contains('0'), word.contains('<'));
            }
        }
        Some(Field { number, json, shape, kind, omit_empty, omit_zero, inline, since, last })
    }
}
