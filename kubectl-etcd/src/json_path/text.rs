//! Values as kubectl prints them: texts as they are, numbers as Go writes them, the rest as Go's JSON or in the words of its fmt.

use serde_json::Value;

/// A value by itself: lists and objects as JSON.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => escaped(&whole(value).to_string()),
        Value::Null => "null".to_owned(),
        value => plain(value),
    }
}

/// Values as an indented list of JSON.
pub(super) fn as_json(values: &[&Value]) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Values that were read as JSON are written as JSON into memory.
    let values: Vec<Value> = values.iter().copied().map(whole).collect();
    let _infallible = serde::Serialize::serialize(&values, &mut serializer);
    escaped(&String::from_utf8_lossy(&text)) + "\n"
}

/// A value whose whole numbers are written without a fraction.
fn whole(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), whole(value))).collect(),
        Value::Number(number) if number.is_f64() => match number.as_f64().map(|float| (float, float as i64)) {
            Some((float, integer)) if integer as f64 == float && integer < i64::MAX => Value::from(integer),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// JSON as Go writes it: what HTML gives a meaning, and separators of lines, are escaped. Those are only in texts.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// A value as Go's `%v` has it: `map[a:1 b:2]`, `[a b]`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(float)) => go_float(float),
            _ => number.to_string(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// A number as Go's `%v`: the shortest digits, with an exponent below 1e-4 and from 1e21 on.
fn go_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match exponent {
        -4..=20 => float.to_string(),
        21.. => format!("{digits}e+{exponent:02}"),
        _ => format!("{digits}e-{:02}", exponent.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_go_writes_them() {
        for (value, text) in [
            (json!(1e23), "1e+23"),
            (json!(0.00001), "1e-05"),
            (json!(123_456.5), "123456.5"),
            (json!(3.0), "3"),
            (json!({"a": [1, "b", null], "c": {"d": true}}), "map[a:[1 b <nil>] c:map[d:true]]"),
        ] {
            assert_eq!(plain(&value), text);
        }
        assert_eq!(printed(&json!(["<a>&\u{2028}"])), r#"["\u003ca\u003e\u0026\u2028"]"#);
    }
}
