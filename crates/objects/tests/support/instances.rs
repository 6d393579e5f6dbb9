//! Instances of messages as JSON, made from the schema.

use etcd_objects::schema::{Field, Kind, Message, Schema, Shape, Special};
use serde_json::{Map, Value, json};

/// Decides what an instance has in it.
pub trait Choice {
    /// Whether it has this field.
    fn takes(&mut self, message: &Message, field: &Field) -> bool;
    /// A number below a bound: how many items, which of several forms, which scalar.
    fn number(&mut self, bound: u64) -> u64;
}

/// Every field that a Kubernetes 1.N has, none of them empty.
pub struct Full {
    pub minor: Option<u8>,
    pub count: u64,
}

impl Full {
    pub fn of(minor: Option<u8>) -> Full {
        Full { minor, count: 0 }
    }
}

impl Choice for Full {
    fn takes(&mut self, message: &Message, field: &Field) -> bool {
        match self.minor {
            Some(minor) => (field.since..=field.last).contains(&minor),
            // What only older versions had, where newer ones have the message still, stands in the way of its successor.
            None => field.last == message.last(),
        }
    }

    fn number(&mut self, bound: u64) -> u64 {
        self.count += 1;
        1 + self.count % (bound - 1).max(1)
    }
}

/// Anything, by a random number's bits: xorshift.
pub struct Dice(pub u64);

impl Choice for Dice {
    fn takes(&mut self, _: &Message, _: &Field) -> bool {
        self.number(3) == 0
    }

    fn number(&mut self, bound: u64) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }
}

/// An instance of a message, without `apiVersion` and `kind`.
pub fn instance(message: &Message, choice: &mut dyn Choice) -> Value {
    make(message, choice, &mut Vec::new())
}

/// An instance of a kind.
pub fn object(message: &Message, choice: &mut dyn Choice) -> Value {
    let mut json = instance(message, choice);
    json["apiVersion"] = json!(message.api_version);
    json["kind"] = json!(message.name);
    json
}

fn name(message: &Message) -> (&'static str, &'static str) {
    (message.package, message.name)
}

/// What is in a message that is in one of its own kind is left out there.
fn make(message: &Message, choice: &mut dyn Choice, above: &mut Vec<(&'static str, &'static str)>) -> Value {
    let recurs = above.iter().filter(|other| **other == name(message)).count() > 0;
    above.push(name(message));
    let value = match message.special {
        Some(special) => made_special(special, message, choice, above),
        None if message.is_list => json!([text(choice), text(choice)]),
        None => {
            let mut map = Map::new();
            fill(message, choice, above, recurs, &mut map);
            Value::Object(map)
        }
    };
    above.pop();
    value
}

fn fill(
    message: &Message,
    choice: &mut dyn Choice,
    above: &mut Vec<(&'static str, &'static str)>,
    recurs: bool,
    map: &mut Map<String, Value>,
) {
    for field in &message.fields {
        let child = match field.kind {
            Kind::Message(number) => Schema::kubernetes().message(number),
            _ => None,
        };
        let again = child.is_some_and(|child| above.contains(&name(child)) || recurs);
        if again && field.shape != Shape::Value || !choice.takes(message, field) && !field.inline {
            continue;
        }
        if let (Some(child), true) = (child, field.inline) {
            fill(child, choice, above, recurs, map);
            continue;
        }
        let mut one = |choice: &mut dyn Choice| match child {
            Some(child) => make(child, choice, above),
            None => scalar(field.kind, choice),
        };
        let value = match field.shape {
            Shape::Value | Shape::Pointer => one(choice),
            Shape::List => (0..choice.number(3)).map(|_| one(choice)).collect(),
            Shape::Map => (0..choice.number(3)).map(|index| (format!("key-{index}"), one(choice))).collect(),
        };
        map.insert(field.json.to_owned(), value);
    }
    // The API server says of them what they are.
    let claims = map.get_mut("volumeClaimTemplates").filter(|_| message.name == "StatefulSetSpec");
    for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
    }
}

fn text(choice: &mut dyn Choice) -> String {
    match choice.number(4000) {
        0 => String::new(),
        number => format!("text {number} \u{e4}"),
    }
}

fn scalar(kind: Kind, choice: &mut dyn Choice) -> Value {
    let number = choice.number(100_000);
    match kind {
        Kind::Text => Value::from(text(choice)),
        Kind::Bytes => json!(["", "AA==", "/+8=", "AQID"][usize::try_from(number % 3).expect("small") + 1]),
        Kind::Bool => json!(number > 0),
        Kind::Int32 => json!(if number % 5 == 1 { -i64::from(i32::MAX) - 1 } else { number.cast_signed() }),
        Kind::Int64 => json!(if number % 5 == 1 { i64::MIN } else { number.cast_signed() }),
        Kind::Double => json!(number.cast_signed() as f64 + 0.5),
        Kind::Message(_) => unreachable!("made by its fields"),
    }
}

fn made_special(
    special: Special,
    message: &Message,
    choice: &mut dyn Choice,
    above: &mut Vec<(&'static str, &'static str)>,
) -> Value {
    let number = choice.number(60);
    let schema = |choice: &mut dyn Choice, above: &mut Vec<(&'static str, &'static str)>| {
        let all = Schema::kubernetes().messages();
        let schema = all.iter().find(|other| other.package == message.package && other.name == "JSONSchemaProps");
        let schema = schema.expect("the schema of schemas");
        // The schema of a schema says what it is, and no more.
        if above.len() > 12 { json!({"type": "string"}) } else { make(schema, choice, above) }
    };
    match special {
        Special::Time => json!(format!("2026-11-21T03:30:{number:02}Z")),
        Special::MicroTime => json!(format!("1969-12-31T23:59:{number:02}.{:06}Z", choice.number(1_000_000))),
        Special::Duration => json!(format!("1h{number}m30.5s")),
        Special::Quantity => json!(format!("{}m", number + 1)),
        Special::IntOrString if number.is_multiple_of(2) => json!(number.cast_signed() - 30),
        Special::IntOrString => json!(format!("{number}%")),
        Special::Json => json!({"f:metadata": {"f:labels": {}}, "n": number}),
        Special::RawExtension => json!({"raw": [number, null, 1.5, true]}),
        Special::SchemaOrBool if number.is_multiple_of(2) => json!(number > 20),
        Special::SchemaOrArray if number.is_multiple_of(2) => json!([schema(choice, above)]),
        Special::SchemaOrStrings if number.is_multiple_of(2) => json!(["a", "b"]),
        Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStrings => schema(choice, above),
    }
}
