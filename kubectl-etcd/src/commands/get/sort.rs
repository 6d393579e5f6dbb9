//! `--sort-by`, in kubectl's order: numbers by size, texts naturally (`web-2` before `web-10`), quantities by amount, and what has no value
//! first.

use std::cmp::Ordering;

use serde_json::Value;

use crate::contents::Entry;
use crate::json_path::JsonPath;
use crate::output::{Exit, Failed, Outcome};

/// Sorts entries by a field.
///
/// # Errors
/// None of them has it, or it is nothing that has an order.
pub(super) fn sort(entries: Vec<Entry>, by: &JsonPath, typed: &str) -> Outcome<Vec<Entry>> {
    let refused = |why: String| Failed::new(Exit::Usage, format!("cannot sort by {typed}")).cause(why);
    let mut keyed = Vec::with_capacity(entries.len());
    for entry in entries {
        let found = match entry.shown() {
            Some(object) => by.values(&object.json).map_err(refused)?.first().map(|value| value.as_ref().clone()),
            None => None,
        };
        if matches!(found, Some(Value::Array(_) | Value::Object(_))) {
            return Err(refused("it is a list or an object, which has no order".to_owned()));
        }
        keyed.push((found, entry));
    }
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        return Err(refused("no object has this field".to_owned()));
    }
    keyed.sort_by(|(one, _), (other, _)| order(one.as_ref(), other.as_ref()));
    Ok(keyed.into_iter().map(|(_, entry)| entry).collect())
}

fn order(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return one.is_some().cmp(&other.is_some()),
    };
    match (one, other) {
        (Value::String(one), Value::String(other)) => match (quantity(one), quantity(other)) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => natural(one.as_bytes(), other.as_bytes()),
        },
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

/// An order between values of different types: any will do, as long as it is one.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        _ => 3,
    }
}

/// The amount of a Kubernetes quantity: `500m`, `1.5Gi`, `2e3`. Two that differ by less than a float can tell are equal here.
fn quantity(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let power = |base: f64, power: i32| Some(base.powi(power));
    let factor = match suffix {
        "" => Some(1.0),
        "n" => power(10.0, -9),
        "u" => power(10.0, -6),
        "m" => power(10.0, -3),
        "k" => power(10.0, 3),
        "M" => power(10.0, 6),
        "G" => power(10.0, 9),
        "T" => power(10.0, 12),
        "P" => power(10.0, 15),
        "E" => power(10.0, 18),
        "Ki" => power(2.0, 10),
        "Mi" => power(2.0, 20),
        "Gi" => power(2.0, 30),
        "Ti" => power(2.0, 40),
        "Pi" => power(2.0, 50),
        "Ei" => power(2.0, 60),
        _ => suffix.strip_prefix(['e', 'E']).and_then(|exponent| power(10.0, exponent.parse().ok()?)),
    };
    Some(number * factor?)
}

/// Compares texts with their numbers as numbers.
fn natural(mut one: &[u8], mut other: &[u8]) -> Ordering {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    loop {
        let (left, right) = (digits(one), digits(other));
        if left > 0 && right > 0 {
            let (number, their) = (trim_zeros(&one[..left]), trim_zeros(&other[..right]));
            let order = number.len().cmp(&their.len()).then_with(|| number.cmp(their)).then_with(|| left.cmp(&right));
            if order != Ordering::Equal {
                return order;
            }
            (one, other) = (&one[left..], &other[right..]);
            continue;
        }
        match (one.split_first(), other.split_first()) {
            (Some((first, rest)), Some((their, their_rest))) if first == their => (one, other) = (rest, their_rest),
            (first, their) => return first.map(|(byte, _)| byte).cmp(&their.map(|(byte, _)| byte)),
        }
    }
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|byte| **byte == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contents::entry_of;

    fn sorted(values: &[Value]) -> Vec<Value> {
        let entry = |value: &Value| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "x": value});
            if value.is_null() {
                object.as_object_mut().expect("an object").remove("x");
            }
            entry_of("/registry/configmaps/default/a", &object)
        };
        let path = JsonPath::relaxed(".x").expect("a path");
        let all = sort(values.iter().map(entry).collect(), &path, ".x").expect("an order");
        all.iter().map(|entry| entry.shown().expect("an object").json["x"].clone()).collect()
    }

    #[test]
    fn kubectls_order() {
        for all in [
            &[json!(null), json!(2), json!(10), json!(10.5)][..],
            &[json!("web-2"), json!("web-10"), json!("web-010"), json!("web-a")],
            &[json!("500m"), json!("1"), json!("1k"), json!("1Ki"), json!("2e3"), json!("1.5Gi")],
            &[json!("2026-01-31T00:00:00Z"), json!("2026-11-01T00:00:00Z")],
            &[json!(false), json!(true)],
        ] {
            let mixed: Vec<Value> = all.iter().rev().cloned().collect();
            assert_eq!(sorted(&mixed), all);
        }
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let entries = || {
            vec![entry_of(
                "/registry/configmaps/default/a",
                &json!({"apiVersion": "v1", "kind": "ConfigMap", "a": [1]}),
            )]
        };
        for (path, why) in [(".a", "no order"), (".b", "no object has this field"), (".a[3]", "out of bounds")] {
            let refused = sort(entries(), &JsonPath::relaxed(path).expect("a path"), path).map(|_| ()).expect_err(path);
            assert!(refused.causes[0].contains(why), "{refused}");
        }
        assert!(sort(Vec::new(), &JsonPath::relaxed(".b").expect("a path"), ".b").is_ok());
    }
}
