//! Every kind of the schema, full and in part: through protobuf and back.

mod support;

use etcd_objects::schema::{Message, Schema};
use etcd_objects::{Object, decode, encode};
use proptest::prelude::*;
use serde_json::Value;
use support::instances::{Dice, Full, object};

fn kinds() -> impl Iterator<Item = &'static Message> {
    Schema::kubernetes().messages().iter().filter(|message| message.is_kind)
}

fn around(json: &Value, message: &Message) -> Object {
    let bytes = encode(json, message.api_version, message.name).unwrap_or_else(|error| panic!("{error}: {json}"));
    let object = decode(&bytes).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(object.unknown, []);
    object
}

/// Go shows fields that nobody set: as nothing, or as zero.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0" || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

/// All that was given is there, and what more is there is zero.
fn covers(path: &str, given: &Value, found: &Value) {
    match (given, found) {
        (Value::Object(given), Value::Object(found)) => {
            for (key, value) in given {
                match found.get(key) {
                    Some(found) => covers(&format!("{path}.{key}"), value, found),
                    None => assert!(is_zero(value), "{path}.{key} is gone"),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !given.contains_key(*key)) {
                assert!(is_zero(value), "{path}.{key} came from nowhere");
            }
        }
        (Value::Array(given), Value::Array(found)) if given.len() == found.len() => {
            given.iter().zip(found).for_each(|(given, found)| covers(&format!("{path}[]"), given, found));
        }
        (given, found) => assert!(given == found || is_zero(given) && is_zero(found), "{path}: {given} {found}"),
    }
}

/// The table is read in a moment: a command pays for it once.
#[test]
fn the_table_is_whole() {
    let table = include_str!("../schema/kubernetes.txt");
    let begin = std::time::Instant::now();
    let schema = Schema::parse(table).expect("a table");
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_millis(500), "{took:?}");
    assert!(schema.messages().len() > 1300 && kinds().count() > 250);
    for message in schema.messages() {
        let numbers: Vec<_> = message.fields.iter().map(|field| field.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{}", message.name);
        assert!(!message.is_list || message.fields.len() == 1, "{}", message.name);
    }
    assert_eq!(Schema::parse("@a/v1 a/v1\nA\n1 b str\n2 c Nothing\n").err(), Some(4));
    assert_eq!(Schema::parse("1 b str\n").err(), Some(1));
}

#[test]
fn every_kind_with_every_field() {
    for minor in [None, Some(19), Some(25), Some(33), Some(36)] {
        for message in kinds() {
            let json = object(message, &mut Full::of(minor));
            let found = around(&json, message);
            covers(message.name, &json, &found.json);
            if minor.is_none() {
                assert_eq!(found.json, json, "{} {}", message.api_version, message.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_kind_in_part(seed: u64) {
        let mut dice = Dice(seed);
        for message in kinds().skip(usize::try_from(seed % 7).expect("small")).step_by(7) {
            let json = object(message, &mut dice);
            let once = around(&json, message);
            covers(message.name, &json, &once.json);
            prop_assert_eq!(&around(&once.json, message).json, &once.json);
        }
    }
}
