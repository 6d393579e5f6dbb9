//! `--sort-by`, in kubectl's order: numbers by size, texts naturally (`web-2` before `web-10`), quantities by amount, and what has no value
//! first.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::show::{is_withheld, withhold};
use crate::contents::{Entry, Wanted};
use crate::json_path::JsonPath;
use crate::output::{Exit, Failed, Outcome};

/// Sorts entries by a field. Values of Secrets that are not named have no part in the order, nor in an error.
///
/// # Errors
/// None of them has it, or it is nothing that has an order.
pub(super) fn sort(entries: Vec<Entry>, by: &JsonPath, typed: &str, wanted: &Wanted) -> Outcome<Vec<Entry>> {
    let refused = |why: String| Failed::new(Exit::Usage, format!("cannot sort by {typed}")).cause(why);
    let mut keyed = Vec::with_capacity(entries.len());
    let mut withheld = false;
    for entry in entries {
        let object = entry.shown().map(|object| match is_withheld(&entry, wanted) {
            true => {
                withheld = true;
                let mut secret = object.json.clone();
                withhold(&mut secret);
                Cow::Owned(secret)
            }
            false => Cow::Borrowed(&object.json),
        });
        let found = match &object {
            Some(object) => by.values(object).map_err(refused)?.first().map(|value| value.as_ref().clone()),
            None => None,
        };
        drop(object);
        if matches!(found, Some(Value::Array(_) | Value::Object(_))) {
            return Err(refused("it is a list or an object, which has no order".to_owned()));
        }
        keyed.push((found, entry));
    }
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        let failed = refused("no object has this field".to_owned());
        return Err(match withheld {
            true => failed.cause("the values of Secrets are left out: they are used of Secrets that are named"),
            false => failed,
        });
    }
    let mut texts = keyed.iter().filter_map(|(key, _)| key.as_ref()?.as_str());
    let quantities = texts.all(|text| quantity(text).is_some());
    keyed.sort_by(|(one, _), (other, _)| order(one.as_ref(), other.as_ref(), quantities));
    Ok(keyed.into_iter().map(|(_, entry)| entry).collect())
}

/// `quantities`: all texts of the column are quantities. To decide that for each pair would be no order: 2 is before 1Ki as a quantity,
/// 1Ki before 1a and 1a before 2 as texts.
fn order(one: Option<&Value>, other: Option<&Value>, quantities: bool) -> Ordering {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return one.is_some().cmp(&other.is_some()),
    };
    match (one, other) {
        (Value::String(one), Value::String(other)) => match (quantity(one), quantity(other)) {
            (Some(one), Some(other)) if quantities => one.total_cmp(&other),
            _ => natural(one.as_bytes(), other.as_bytes()),
        },
        (Value::Number(one), Value::Number(other)) => {
            // Whole numbers that are one float are told apart, and still have one order with fractions.
            let float = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
            float(one).total_cmp(&float(other)).then_with(|| one.as_i64().cmp(&other.as_i64()))
        }
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

    use etcd_objects::catalog::Catalog;

    use super::*;
    use crate::contents::entry_of;

    fn wanted(words: &[&str]) -> Wanted {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Wanted::parse(&words, None, &Catalog::builtin()).expect("words")
    }

    fn sorted(values: &[Value]) -> Vec<Value> {
        let entry = |value: &Value| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "x": value});
            if value.is_null() {
                object.as_object_mut().expect("an object").remove("x");
            }
            entry_of("/registry/configmaps/default/a", &object)
        };
        let path = JsonPath::relaxed(".x").expect("a path");
        let all = sort(values.iter().map(entry).collect(), &path, ".x", &wanted(&["cm"])).expect("an order");
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
            let by = JsonPath::relaxed(path).expect("a path");
            let refused = sort(entries(), &by, path, &wanted(&["cm"])).map(|_| ()).expect_err(path);
            assert!(refused.causes[0].contains(why), "{refused}");
        }
        let by = JsonPath::relaxed(".b").expect("a path");
        assert!(sort(Vec::new(), &by, ".b", &wanted(&["cm"])).is_ok());
    }

    #[test]
    fn a_column_has_one_order_whatever_is_in_it() {
        let texts = ["2", "1Ki", "1a", "1", "500m", "x", "10", "1Gi", "1e3", "b-1"].map(Value::from);
        let large = 1_i64 << 53;
        let numbers = [json!(large), json!(large + 1), json!(large as f64), json!(0.5), json!(-1), json!(u64::MAX)];
        let all: Vec<Value> = texts.into_iter().chain(numbers).chain([json!(true), json!(null)]).collect();
        let at_most = |one, other| order(Some(one), Some(other), false).is_le();
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            for third in all.iter().filter(|third| at_most(one, other) && at_most(other, third)) {
                assert!(at_most(one, third), "{one} {other} {third}");
            }
        }
        assert_eq!(sorted(&["2", "1a", "1Ki"].map(Value::from)), ["1Ki", "1a", "2"]);
        assert_eq!(sorted(&["1Ki", "2"].map(Value::from)), ["2", "1Ki"]);
    }

    #[test]
    fn a_secret_that_is_not_named_is_not_sorted_by_its_values() {
        let entries = || {
            let secret = |name: &str, value: &str| {
                let copies = json!({"kubectl.kubernetes.io/last-applied-configuration": value});
                let metadata = json!({"name": name, "namespace": "shop", "annotations": copies});
                let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"x": value}});
                entry_of(&format!("/registry/secrets/shop/{name}"), &object)
            };
            vec![secret("a", "c2VjcmV0"), secret("b", "YWFh")]
        };
        let copy = r".metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration";
        for path in [".data.x", copy] {
            let by = JsonPath::relaxed(path).expect("a path");
            let refused = sort(entries(), &by, path, &wanted(&["secrets"])).map(|_| ()).expect_err(path);
            assert!(refused.causes[1].contains("Secrets that are named"), "{refused}");
            let named = sort(entries(), &by, path, &wanted(&["secret/a", "secret/b"])).expect("an order");
            assert_eq!(named[0].place.name, "b");
        }
        for path in [".data[?(@.x)]", ".data[0]", ".data.x[?(@.y)]", ".data", "..x", ".data.*"] {
            let Ok(by) = JsonPath::relaxed(path) else { panic!("{path}") };
            for words in [&["secrets"][..], &["secret/a", "secret/b"]] {
                if let Err(refused) = sort(entries(), &by, path, &wanted(words)) {
                    assert!(!refused.to_string().contains("c2VjcmV0"), "{refused}");
                }
            }
        }
    }
}
